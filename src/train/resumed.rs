//! A run's folder from before the first update: the one of a run that is continued, compared with what is there now, or a new one.
//! Not here: what is compared (`identity::run`, `run_folder`); the run (`run`).

use std::path::Path;

use serde_json::{Map, Value};

use super::error::TrainError;
use super::longer::Longer;
use super::run::{ResumeOptions, TrainOptions};
use super::settings::batches;
use super::setup::Setup;
use crate::config::RunConfig;
use crate::identity::run::origin_of_run;
use crate::ops;
use crate::printable::count;
use crate::progress::ProgressDisplay;
use crate::run_folder::RunFolder;
use crate::run_folder::checkpoint::{self, Loaded};
use crate::run_folder::folder::{Reopened, has_run};
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
    reopened: Reopened,
    checkpoint: Option<Loaded>,
    has_changed: bool,
    longer: Option<Longer>,
}

impl Resumed {
    /// Opens the folder of the run that is to be continued and says where it goes on; nothing about what has changed is written
    /// yet. `None` for a run that begins, as one does that is to be resumed and has no folder.
    ///
    /// - `runs_on`: the path of the run's device and number format
    ///
    /// # Errors
    /// The folder is not of this run, or holds no whole checkpoint.
    pub(super) fn open(
        options: &TrainOptions,
        (config, setup): (&RunConfig, &Setup),
        began: &Began,
        runs_on: ops::Path,
        display: &ProgressDisplay,
    ) -> Result<Option<Self>, TrainError> {
        let Some(allowed) = options.resume else { return Ok(None) };
        let path = options.out.as_path();
        if !has_run(path)? {
            display.note(&format!("no run to resume in {}: a new one begins", path.display()));
            return Ok(None);
        }
        let reopened = RunFolder::reopen(path, &began.toml, runs_on)?;
        let changed = changed(&reopened.folder, &began.contents, allowed, display)?;
        let checkpoint = checkpoint::latest(&reopened.folder)?;
        for damage in checkpoint.iter().flat_map(|checkpoint| &checkpoint.skipped) {
            display.warn(&format!("{damage}; using the one before it"));
        }
        let update = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.progress.update);
        let longer = Longer::of(&reopened, config, setup.questions.n_rows(), update)?;
        match &longer {
            Some(Longer { is_as_before: false, told }) => display.warn(told),
            Some(Longer { is_as_before: true, told }) => display.note(told),
            None => {}
        }
        let from = checkpoint.as_ref().map(|checkpoint| checkpoint.path.as_path());
        display.note(&where_it_goes_on(path, from, update, setup.total_updates));
        Ok(Some(Self { reopened, checkpoint, has_changed: changed, longer }))
    }

    /// The last checkpoint, if there is nothing left to do and nothing to be written down. Its records are looked at all the same.
    ///
    /// # Errors
    /// The run's folder cannot be read, or its records are not whole and are not to be repaired.
    pub(super) fn finished(
        &self,
        config: &RunConfig,
        repairs: bool,
        display: &ProgressDisplay,
    ) -> Result<Option<&Path>, TrainError> {
        let Some(Loaded { path, progress, records, .. }) = &self.checkpoint else {
            return Ok(None);
        };
        let folder = &self.reopened.folder;
        let is_same = !self.has_changed && !self.reopened.has_changed();
        if !is_same || !folder.is_finished_with(path)? {
            return Ok(None);
        }
        let (update, saved) = (progress.update, records.as_ref());
        for note in RunRecords::check(folder, update, batches(config), saved, repairs)? {
            display.note(&note);
        }
        Ok(Some(path.as_path()))
    }

    pub(super) fn path(&self) -> &Path {
        self.reopened.folder.path()
    }

    pub(super) fn checkpoint(&self) -> Option<&Loaded> {
        self.checkpoint.as_ref()
    }
}

/// Whether the run goes on over other contents than before, which is warned of.
///
/// # Errors
/// They are not those of the run, and may not be others.
fn changed(
    folder: &RunFolder,
    contents: &Map<String, Value>,
    allowed: ResumeOptions,
    display: &ProgressDisplay,
) -> Result<bool, TrainError> {
    let origin = Origin::of(folder.path())?;
    let changed = origin.compare(folder.path(), contents, allowed.allows_changed_data)?;
    for difference in &changed {
        display.warn(&format!("going on over changed data: {difference}"));
    }
    Ok(!changed.is_empty())
}

/// - `from`: the checkpoint after `update` of `total` updates
fn where_it_goes_on(run: &Path, from: Option<&Path>, update: u64, total: u64) -> String {
    match from.map(Path::display) {
        None => format!("no checkpoint in {} yet: the run starts over", run.display()),
        Some(from) if update == total => {
            format!("the run is finished, after {}: {from}", count(total, "update"))
        }
        Some(from) => format!("going on after update {update} of {total}, from {from}"),
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
    let Some(Resumed { reopened, checkpoint, has_changed, longer }) = resumed else {
        return Ok((RunFolder::create(out, &began.toml, &Origin::new(began.contents))?, None));
    };
    let contents = has_changed.then_some(began.contents);
    let folder = reopened.go_on(update, contents, longer.map(|longer| longer.is_as_before))?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resumed_run_says_where_it_goes_on() {
        let told = |from: Option<&str>, update, total| {
            where_it_goes_on(Path::new("r"), from.map(Path::new), update, total)
        };
        assert_eq!(told(None, 0, 9), "no checkpoint in r yet: the run starts over");
        assert_eq!(told(Some("c"), 4, 9), "going on after update 4 of 9, from c");
        assert_eq!(told(Some("c"), 9, 9), "the run is finished, after 9 updates: c");
        assert_eq!(told(Some("c"), 1, 1), "the run is finished, after 1 update: c");
    }
}
