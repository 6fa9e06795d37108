//! What a failed update leaves, so that it can be computed again.
//! Not here: the files (`run_folder::failed`), computing it again (`replay`).

use std::path::PathBuf;

use super::error::TrainError;
use super::setup::Trainer;
use super::stage::Stage;
use super::update::GrpoTrainer;
use crate::model::error::ModelError;
use crate::run_folder::failed::{FailedCompletion, FailedUpdate};
use crate::run_folder::{RunFolder, RunFolderError};

/// Writes down an update that failed in one of its stages, with the completions of its batch; where it is written down, or
/// `None` for an error that comes from elsewhere.
///
/// - `update`: finished updates
///
/// # Errors
/// The files cannot be written, or the run's folder is no longer where it was.
pub(super) fn leave(
    folder: &RunFolder,
    trainer: &Trainer,
    error: &TrainError,
    (stage, update): (Stage, u64),
) -> Result<Option<PathBuf>, RunFolderError> {
    // With other weights the reference is another: the update cannot be computed again.
    let lies_outside = matches!(error, TrainError::Folder(_))
        || matches!(error, TrainError::Model(ModelError::Changed { .. }));
    if !stage.is_of_an_update() || lies_outside {
        return Ok(None);
    }
    folder.require_in_place()?;
    let completions = match trainer {
        Trainer::Grpo(trainer) => sampled(trainer, update + 1),
        Trainer::Supervised(_) => Vec::new(),
    };
    let failed = FailedUpdate {
        update: update + 1,
        stage: stage.name().to_owned(),
        error: message(error),
        completions: completions.len(),
    };
    failed.write(folder, &completions).map(Some)
}

/// The message of an error, without the backtrace that candle appends where `RUST_BACKTRACE` is set.
pub(super) fn message(error: &TrainError) -> String {
    let text = error.to_string();
    let is_frame = |line: &&str| {
        let line = line.trim_start();
        let number = line.split(": ").next().unwrap_or_default();
        line.starts_with("at ")
            || (!number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()))
    };
    text.lines()
        .filter(|line| !line.starts_with(' ') || !is_frame(line))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The completions of the batch under way.
///
/// - `update`: the one that failed, from 1
fn sampled(trainer: &GrpoTrainer, update: u64) -> Vec<FailedCompletion> {
    let first = trainer.settings.first_of_batch(update);
    let groups = trainer.sampled.iter().flat_map(|group| {
        group.completions.iter().enumerate().map(|(completion_idx, completion)| FailedCompletion {
            update: first,
            prompt_id: group.prompt_id.clone(),
            completion_idx,
            token_ids: completion.token_ids.clone(),
            is_truncated: !completion.is_finished,
            completion: trainer.processor.decode(&completion.token_ids, true).ok(),
        })
    });
    groups.collect()
}
