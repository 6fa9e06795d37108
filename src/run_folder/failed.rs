//! What a failed update leaves in a run's folder, so that it can be computed again.
//! Not here: what can fail (`train::error`), computing it again (`train::replay`).
//!
//! ```text
//! runs/NAME/failed/
//!   update-000813.json                which stage failed, and how
//!   update-000813.completions.jsonl   the completions of its batch, where they had been sampled
//! ```
//!
//! The completions have the fields that `rollout.replay` reads, and their texts.

use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::RunFolder;
use super::durable::{failed, replace};
use super::error::RunFolderError;
use crate::input_file;
use crate::limits;

/// Their folder.
pub(super) const FAILED: &str = "failed";

/// A failed update.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FailedUpdate {
    /// Its number, from 1.
    pub update: u64,
    /// The stage by its name.
    pub stage: String,
    /// The error's message.
    pub error: String,
    /// Completions beside it.
    pub completions: usize,
}

/// A completion of the failed update's batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedCompletion {
    /// The first update of the batch, from 1.
    pub update: u64,
    /// The data row's identifier.
    pub prompt_id: String,
    /// Which completion of its group, from 0.
    pub completion_idx: usize,
    /// Its tokens.
    pub token_ids: Vec<u32>,
    /// Whether the token limit cut it off.
    pub is_truncated: bool,
    /// The text, without special tokens; `None` where it cannot be decoded.
    pub completion: Option<String>,
}

impl FailedUpdate {
    /// Writes it, over what the same update left before; where it is.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(
        &self,
        folder: &RunFolder,
        completions: &[FailedCompletion],
    ) -> Result<PathBuf, RunFolderError> {
        let parent = folder.subfolder(FAILED)?;
        let [own, listed] = names(self.update);
        let mut lines = Vec::new();
        for completion in completions {
            serde_json::to_writer(&mut lines, completion).map_err(json(&parent.join(&listed)))?;
            lines.push(b'\n');
        }
        let path = parent.join(&own);
        let text = serde_json::to_string_pretty(self).map_err(json(&path))?;
        // The description last: where it is, the completions are.
        replace(&parent, &listed, &lines)?;
        replace(&parent, &own, format!("{text}\n").as_bytes())?;
        Ok(path)
    }

    /// What an update has left in a run's folder, and the file of its completions; `None` where it has left nothing.
    ///
    /// # Errors
    /// The file cannot be read, or is not such a description.
    pub fn read(run: &Path, update: u64) -> Result<Option<(Self, PathBuf)>, RunFolderError> {
        let [own, listed] = names(update).map(|name| run.join(FAILED).join(name));
        if !own.exists() {
            return Ok(None);
        }
        let read = || -> std::io::Result<Self> {
            let text = input_file::read(&own, limits::RUN_FILE_BYTES)?;
            serde_json::from_slice(&text).map_err(|error| Error::new(ErrorKind::InvalidData, error))
        };
        Ok(Some((read().map_err(failed("read", &own))?, listed)))
    }
}

fn names(update: u64) -> [String; 2] {
    [format!("update-{update:06}.json"), format!("update-{update:06}.completions.jsonl")]
}

fn json(path: &Path) -> impl FnOnce(serde_json::Error) -> RunFolderError {
    move |source| RunFolderError::Json { path: path.to_owned(), source }
}
