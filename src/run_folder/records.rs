//! What a run writes down as it goes: its files of records, and a completion's record.
//! Not here: an update's record (`metrics`); the files' formats (`json_lines`, `tensorboard`).

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::continuity::Expected;
use super::error::RunFolderError;
use super::folder::RunFolder;
use super::json_lines::JsonLines;
use super::manifest::Manifest;
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

/// When completions are sampled, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Batches {
    /// Updates that learn from one batch of completions; they are recorded with its first update.
    pub updates: u64,
    /// Completions of a batch; 0 where none are sampled.
    pub completions: usize,
}

impl Batches {
    /// How many completions are recorded with an update, which are counted from 1.
    fn completions_of(self, update: u64) -> usize {
        let is_first = update > 0 && (update - 1).is_multiple_of(self.updates.max(1));
        if is_first { self.completions } else { 0 }
    }
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

/// Those that are JSON lines: metrics, completions, evaluations.
type Lines = [JsonLines; 3];

impl RunRecords {
    /// Opens the files as they were after an update; `None` starts over.
    ///
    /// - `batches`: of which updates there are completions
    /// - `saved`: what the files were when the checkpoint was saved, if that was written down
    /// - `repairs`: what is out of place in a file is left out, and a copy of it kept, instead of an error
    /// - returns what was cut off or left out besides, in words
    ///
    /// # Errors
    /// A file cannot be read or written, or what is to stay is not the records of all updates up to the last.
    pub fn resume(
        folder: &RunFolder,
        last_update: Option<u64>,
        batches: Batches,
        saved: Option<&Manifest>,
        repairs: bool,
    ) -> Result<(Self, Vec<String>), RunFolderError> {
        let (lines, notes) = Self::lines(folder, last_update, batches, saved, repairs)?;
        let [metrics, completions, evaluations] = lines;
        let next_step = last_update.map_or(0, |update| update + 1);
        let events = EventFile::start(folder.path(), next_step)?;
        Ok((Self { metrics, completions, evaluations, events }, notes))
    }

    /// The same of a run in which nothing is left to do: its records are checked, or repaired.
    ///
    /// # Errors
    /// As [`RunRecords::resume`].
    pub fn check(
        folder: &RunFolder,
        last_update: u64,
        batches: Batches,
        saved: Option<&Manifest>,
        repairs: bool,
    ) -> Result<Vec<String>, RunFolderError> {
        Ok(Self::lines(folder, Some(last_update), batches, saved, repairs)?.1)
    }

    fn lines(
        folder: &RunFolder,
        last_update: Option<u64>,
        batches: Batches,
        saved: Option<&Manifest>,
        repairs: bool,
    ) -> Result<(Lines, Vec<String>), RunFolderError> {
        let mut notes = Vec::new();
        let mut open = |path: PathBuf, expected: Expected| {
            let (lines, found) = JsonLines::resume(&path, last_update, expected, saved, repairs)?;
            notes.extend(found);
            Ok::<_, RunFolderError>(lines)
        };
        let exactly = |n: usize| n..=n;
        let lines = [
            open(folder.metrics(), &|update| exactly(usize::from(update > 0)))?,
            open(folder.completions(), &|update| exactly(batches.completions_of(update)))?,
            // When evaluations are due may change while a run is interrupted.
            open(folder.evaluations(), &|_| 0..=1)?,
        ];
        Ok((lines, notes))
    }

    /// What the files hold now, to be saved with a checkpoint; TensorBoard's events are not part of it.
    ///
    /// # Errors
    /// A file is gone or was cut since it was written.
    pub fn manifest(&self) -> Result<Manifest, RunFolderError> {
        let files = [&self.metrics, &self.completions, &self.evaluations].map(JsonLines::written);
        let files = files.into_iter().collect::<Result<Vec<_>, _>>()?;
        Ok(Manifest::of_growing(files))
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
