//! A run's checkpoints as it goes: what is saved of it, and which are kept.
//! Not here: when it is saved (`run`), writing a checkpoint (`run_folder::checkpoint`).

use std::path::{Path, PathBuf};

use super::card::{Trained, card};
use super::error::TrainError;
use super::policy::Policy;
use super::settings::lora;
use crate::config::RunConfig;
use crate::model::adapter::{AdapterSettings, base_of};
use crate::model::files::ModelFiles;
use crate::model::save::SideFiles;
use crate::ops;
use crate::run_folder::checkpoint::{self, Contents, Progress, State, Weights};
use crate::run_folder::records::{EvaluationRecord, RunRecords};
use crate::run_folder::removal::Kept;
use crate::run_folder::{RunFolder, json_lines};

/// What a run saves from, and what it has saved.
pub(super) struct Saving {
    /// The other files of the model that the run started from.
    side_files: SideFiles,
    /// What an adapter of this run is for.
    base: String,
    /// The last checkpoint, with its update.
    pub(super) last: Option<(u64, PathBuf)>,
}

/// A run as it stands between two batches.
pub(super) struct Unsaved<'a> {
    pub(super) config: &'a RunConfig,
    pub(super) folder: &'a RunFolder,
    pub(super) records: &'a RunRecords,
    pub(super) policy: &'a Policy,
    pub(super) progress: &'a Progress,
    /// The update of the best evaluation, where its checkpoint is kept.
    pub(super) best: Option<u64>,
    /// Rows of an epoch.
    pub(super) n_rows: usize,
    /// Updates of the whole run.
    pub(super) total_updates: u64,
}

impl Saving {
    /// - `files`: of the model that the run started from; they are not needed again
    ///
    /// # Errors
    /// A file cannot be read, or there is no configuration.
    pub(super) fn new(config: &RunConfig, files: &ModelFiles) -> Result<Self, TrainError> {
        let side_files = SideFiles::read(files)?;
        Ok(Self { side_files, base: base_name(config, files)?, last: None })
    }

    /// The last checkpoint, if it is that of the update.
    pub(super) fn saved_after(&self, update: u64) -> Option<PathBuf> {
        self.last.as_ref().filter(|(saved, _)| *saved == update).map(|(_, path)| path.clone())
    }

    /// Writes a checkpoint; its folder.
    ///
    /// # Errors
    /// A file cannot be written, or a tensor cannot be stored.
    pub(super) fn save(&mut self, run: &Unsaved) -> Result<PathBuf, TrainError> {
        let Unsaved { config, folder, records, policy, .. } = run;
        folder.require_in_place()?;
        records.sync()?;
        let failed = TrainError::during("collecting the optimiser's state");
        let (model, optimizer) = (&policy.model, &policy.optimizer);
        let parameters = model.parameters().in_hub_order();
        let tensors: Vec<_> =
            parameters.map(|p| (p.name().to_owned(), p.value().detach())).collect();
        let lora = lora(config);
        let weights = match &lora {
            Some(lora) => Weights::Factors(model, AdapterSettings { lora, base: &self.base }),
            None => Weights::Model(&tensors),
        };
        let state = optimizer.state().map_err(&failed)?;
        let masters = optimizer.masters().map_err(&failed)?;
        let state = State { optimizer: &state, master_weights: &masters };
        let contents = Contents {
            progress: run.progress,
            weights,
            dtype: model.dtype(),
            side_files: &self.side_files,
            records: &records.manifest()?,
            card: &run.card()?,
            state: config.train.save_optimizer.then_some(state),
        };
        let kept = Kept { newest: config.train.keep, best: run.best };
        let path = checkpoint::save(folder, &contents, kept)?;
        self.last = Some((policy.update, path.clone()));
        if let Some(update) = run.best {
            folder.set_best(&checkpoint::path_of(folder, update))?;
        }
        Ok(path)
    }
}

/// What an adapter of this run is for, in words that mean the same from any folder: the run's model, or what that is an adapter
/// for.
fn base_name(config: &RunConfig, files: &ModelFiles) -> Result<String, TrainError> {
    let path = match files {
        ModelFiles::Adapter(_) => base_of(files)?,
        ModelFiles::Folder(_) | ModelFiles::Builtin(_) => config.model.path.clone(),
    };
    let folder = Path::new(&path);
    let is_folder = !matches!(files.base(), ModelFiles::Builtin(_)) && folder.is_dir();
    let absolute = is_folder.then(|| std::path::absolute(folder).ok()).flatten();
    Ok(absolute.map_or(path, |folder| folder.display().to_string()))
}

impl Unsaved<'_> {
    /// The card of the model as it is now.
    fn card(&self) -> Result<String, TrainError> {
        let evaluations: Vec<EvaluationRecord> = json_lines::read(&self.folder.evaluations())?;
        let model = &self.policy.model;
        let trained = Trained {
            runs_on: ops::Path::resolve(model.device(), model.dtype()),
            n_rows: self.n_rows,
            updates: [self.policy.update, self.total_updates],
            evaluations: &evaluations,
        };
        card(self.config, &trained)
    }
}
