//! What a run writes down as it goes: its files of records, and a completion's record.
//! Not here: an update's record (`metrics`); the files' formats (`json_lines`, `tensorboard`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::error::RunFolderError;
use super::folder::RunFolder;
use super::json_lines::JsonLines;
use super::tensorboard::EventFile;
use crate::eval::Summary;

/// One line of `completions.jsonl`.
///
/// `completion` and `solution` are named as `othink grade` reads them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CompletionRecord {
    /// The update that the completion was sampled for, from 1.
    pub update: u64,
    /// The data row's identifier.
    pub prompt_id: String,
    /// Which completion of its group, from 0.
    pub completion_idx: usize,
    /// The data row's question, before the template.
    pub problem: String,
    /// The data row's solution.
    pub solution: String,
    /// The text, without special tokens.
    pub completion: String,
    /// What was found in it as its answer; `None` where there was nothing.
    pub answer: Option<String>,
    /// `R_acc`, 0 to 1.
    pub accuracy_reward: f64,
    /// `R_format`, 0 to 1, before it is weighted.
    pub format_reward: f64,
    /// The run file's further components by name, before they are weighted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub components: BTreeMap<String, f64>,
    /// The weighted sum; `R_acc + alpha * R_format` where there are no further components.
    pub reward: f64,
    /// Eq. (2), the same for every token.
    pub advantage: f64,
    /// Length in tokens, a stop token included.
    pub n_tokens: usize,
    /// The token ids; `None` where the run file does not ask for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_ids: Option<Vec<u32>>,
    /// Whether the token limit cut it off.
    pub is_truncated: bool,
}

/// One line of `evaluations.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationRecord {
    /// Updates made when the policy was measured; 0 before training.
    pub update: u64,
    /// The result.
    pub summary: Summary,
}

/// The files of records of a run, open for appending.
///
/// Records of an update are written before its checkpoint, evaluations included: resuming from the
/// checkpoint keeps what it finds up to that update and repeats what comes after.
#[derive(Debug)]
pub struct RunRecords {
    /// `metrics.jsonl`: [`super::metrics::UpdateMetrics`].
    pub metrics: JsonLines,
    /// `completions.jsonl`: [`CompletionRecord`].
    pub completions: JsonLines,
    /// `evaluations.jsonl`: [`EvaluationRecord`].
    pub evaluations: JsonLines,
    /// The updates' and evaluations' figures once more, for TensorBoard.
    pub events: EventFile,
}

impl RunRecords {
    /// Opens the files of a new run.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn start(folder: &RunFolder) -> Result<Self, RunFolderError> {
        Self::resume(folder, None)
    }

    /// Opens the files as they were after an update; `None` starts over.
    ///
    /// # Errors
    /// A file cannot be read or written, or a line in what is to stay is not a record.
    pub fn resume(folder: &RunFolder, last_update: Option<u64>) -> Result<Self, RunFolderError> {
        let open = |path| JsonLines::resume(path, last_update);
        Ok(Self {
            metrics: open(&folder.metrics())?,
            completions: open(&folder.completions())?,
            evaluations: open(&folder.evaluations())?,
            events: EventFile::start(folder.path(), last_update.map_or(0, |update| update + 1))?,
        })
    }

    /// Waits until all records are on the disk; to be called before each checkpoint.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn sync(&self) -> Result<(), RunFolderError> {
        self.metrics.sync()?;
        self.completions.sync()?;
        self.evaluations.sync()?;
        self.events.sync()
    }
}
