//! Which checkpoints go, and how: renamed in one step before they are deleted, so that an interrupted removal leaves no partial
//! checkpoint.
//! Not here: writing and reading them (`checkpoint`).

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::checkpoint::{TEMPORARY, entries, list};
use super::durable::{failed, rename};
use super::error::RunFolderError;
use crate::out_file::with_ending;

/// Which checkpoints stay when one is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kept {
    /// How many of the newest; the one that is written always does.
    pub newest: usize,
    /// And the one after this update.
    pub best: Option<u64>,
}

/// Removes the checkpoints that are not kept, and those after the newest: they were given up.
pub(super) fn prune(parent: &Path, newest: u64, kept: Kept) -> Result<(), RunFolderError> {
    let (course, given_up): (Vec<_>, Vec<_>) =
        list(parent)?.into_iter().partition(|(update, _)| *update <= newest);
    let n_old = course.len().saturating_sub(kept.newest.max(1));
    let old = course.into_iter().take(n_old).filter(|(update, _)| kept.best != Some(*update));
    for (_, path) in old.chain(given_up) {
        remove_temporary(&set_aside(&path)?)?;
    }
    Ok(())
}

/// Removes what interrupted saves and removals have left.
pub(super) fn remove_remains(parent: &Path) -> Result<(), RunFolderError> {
    for path in entries(parent)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with("step-") && name.ends_with(TEMPORARY) {
            report_failure(remove_temporary(&path));
        }
    }
    Ok(())
}

/// Renames a checkpoint for removal.
pub(super) fn set_aside(path: &Path) -> Result<PathBuf, RunFolderError> {
    let aside = with_ending(path, &format!(".old{TEMPORARY}"));
    remove_temporary(&aside)?;
    rename(path, &aside)?;
    Ok(aside)
}

/// Removes a folder that is no checkpoint, if it is there.
pub(super) fn remove_temporary(path: &Path) -> Result<(), RunFolderError> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(failed("remove", path)(error)),
        _ => Ok(()),
    }
}

/// Logs a failed removal: it is no reason to stop a run.
pub(super) fn report_failure(outcome: Result<(), RunFolderError>) {
    if let Err(error) = outcome {
        tracing::warn!(%error, "cannot remove an old checkpoint");
    }
}
