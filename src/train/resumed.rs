//! A run's folder from before the first update: the one of a run that is continued, compared with what is there now, or a new one.
//! Not here: what is compared (`identity::run`, `run_folder`); the run (`run`).

use std::path::Path;

use serde_json::{Map, Value};

use super::error::TrainError;
use super::run::ResumeOptions;
use super::settings::batches;
use super::setup::Setup;
use crate::config::RunConfig;
use crate::identity::run::origin_of_run;
use crate::ops;
use crate::progress::ProgressDisplay;
use crate::run_folder::RunFolder;
use crate::run_folder::checkpoint::{self, Loaded};
use crate::run_folder::origin::Origin;
use crate::run_folder::records::RunRecords;

/// What a run's folder is of: the resolved run file with absolute paths, and the contents that the run is computed from.
pub(super) struct Began {
    pub(super) toml: String,
    /// As [`origin_of_run`] says it.
    pub(super) contents: Map<String, Value>,
}

impl Began {
    /// # Errors
    /// The rows, their pictures or the base model cannot be read.
    pub(super) fn of(config: &RunConfig, setup: &Setup) -> Result<Self, TrainError> {
        let toml = config.with_absolute_paths().resolved_toml();
        let toml = toml.map_err(|source| TrainError::Resolve { source })?;
        let contents = origin_of_run(config, &setup.questions.all().dataset, &setup.files)?;
        Ok(Self { toml, contents })
    }
}

/// The folder of a run that is continued.
pub(super) struct Resumed {
    folder: RunFolder,
    checkpoint: Option<Loaded>,
    has_changed: bool,
}

impl Resumed {
    /// Opens the folder; nothing about what has changed is written yet.
    ///
    /// - `runs_on`: the path of the run's device and number format
    ///
    /// # Errors
    /// The folder is not of this run, or holds no whole checkpoint.
    pub(super) fn open(
        path: &Path,
        options: ResumeOptions,
        began: &Began,
        runs_on: ops::Path,
        display: &ProgressDisplay,
    ) -> Result<Self, TrainError> {
        let folder = RunFolder::reopen(path, &began.toml, runs_on)?;
        let origin = Origin::of(folder.path())?;
        let changed =
            origin.compare(folder.path(), &began.contents, options.allows_changed_data)?;
        for difference in &changed {
            display.warn(&format!("going on over changed data: {difference}"));
        }
        let checkpoint = checkpoint::latest(&folder)?;
        for damage in checkpoint.iter().flat_map(|checkpoint| &checkpoint.skipped) {
            display.warn(&format!("{damage}; using the one before it"));
        }
        Ok(Self { folder, checkpoint, has_changed: !changed.is_empty() })
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(super) fn checkpoint(&self) -> Option<&Loaded> {
        self.checkpoint.as_ref()
    }
}

/// The folder of a run all of whose parts are open, and the last checkpoint in it; the folder of a new run is made.
///
/// - `update`: updates made
///
/// # Errors
/// The folder cannot be made or written.
pub(super) fn folder_of(
    resumed: Option<Resumed>,
    out: &Path,
    began: Began,
    update: u64,
) -> Result<(RunFolder, Option<Loaded>), TrainError> {
    let Some(Resumed { folder, checkpoint, has_changed }) = resumed else {
        return Ok((RunFolder::create(out, &began.toml, &Origin::new(began.contents))?, None));
    };
    if has_changed {
        folder.change_origin(update, began.contents)?;
    }
    Ok((folder, checkpoint))
}

/// The run's files of records as they were at a checkpoint.
///
/// # Errors
/// A file cannot be read or written, or lacks a record that is to stay.
pub(super) fn records(
    folder: &RunFolder,
    checkpoint: Option<&Loaded>,
    config: &RunConfig,
    repairs: bool,
    display: &ProgressDisplay,
) -> Result<RunRecords, TrainError> {
    let last_update = checkpoint.map(|checkpoint| checkpoint.progress.update);
    let saved = checkpoint.and_then(|checkpoint| checkpoint.records.as_ref());
    let (records, notes) =
        RunRecords::resume(folder, last_update, batches(config), saved, repairs)?;
    for note in notes {
        display.note(&note);
    }
    Ok(records)
}
