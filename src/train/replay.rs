//! An update computed again, from the checkpoint before it and the run's own completions, beside what was recorded of it.
//! Not here: completions from a file (`rollout::replay`), how the figures are compared (`replayed`), a run that goes on (`run`).
//!
//! Nothing is written, and the run may be going on. Where no checkpoint is old enough, the base model is where it starts.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::draw::DrawnQuestions;
use super::error::TrainError;
use super::failed::message;
use super::policy::Policy;
use super::ranks::Solo;
use super::record::completion_records;
use super::replayed::{CompletionCounts, Figure, figures, read_back};
use super::resumed::Began;
use super::settings::recording_limits;
use super::setup::{Setup, Trainer};
use super::stage::Stage;
use super::update::TrainedBatch;
use crate::config::{ConfigFile, RunConfig};
use crate::data::tasks::resolved;
use crate::identity::IdentityError;
use crate::printable::count;
use crate::progress::ProgressDisplay;
use crate::rollout::replay::{Recording, RecordingLimits};
use crate::run_folder::checkpoint::{self, Loaded};
use crate::run_folder::failed::FailedUpdate;
use crate::run_folder::folder::{COMPLETIONS, CONFIG, METRICS, has_run};
use crate::run_folder::metrics::{self, UpdateMetrics};
use crate::run_folder::origin::Origin;
use crate::run_folder::records::CompletionRecord;
use crate::run_folder::{RunFolderError, json_lines};

/// Which update, and how.
#[derive(Debug, Clone)]
pub struct ReplayOptions {
    /// The run's folder.
    pub run: PathBuf,
    /// The update, from 1.
    pub update: u64,
    /// Whether completions are sampled again rather than taken from the record.
    pub samples: bool,
    /// Changes to the run's configuration, such as `model.device=cpu`.
    pub overrides: Vec<String>,
}

/// An update that was computed again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Replayed {
    /// The update, from 1.
    pub update: u64,
    /// Updates of the checkpoint that it was computed from; 0 for the base model.
    pub from: u64,
    /// Whether completions were sampled again.
    pub sampled: bool,
    /// The first of the updates between that whose figures are others than recorded.
    pub differs_from: Option<u64>,
    /// What became of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// How an update ended when it was computed again.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// It was made, and had been.
    Made {
        /// Its figures.
        figures: Vec<Figure>,
        /// The completions of its batch.
        completions: CompletionCounts,
    },
    /// It failed, and so it had before.
    Failed {
        /// What the run had left of it.
        recorded: FailedUpdate,
        /// The stage that failed now.
        stage: &'static str,
        /// The message now.
        error: String,
    },
    /// It was made, and had failed before.
    NoLongerFails {
        /// What the run had left of it.
        recorded: FailedUpdate,
        /// The figures now.
        figures: Vec<Figure>,
    },
}

/// What a run has on record of an update.
enum Record {
    Made(Box<UpdateMetrics>),
    Failed(FailedUpdate, PathBuf),
}

/// Computes an update again.
///
/// # Errors
/// The run or the update is not on record, the run cannot be opened, or data or model are not those that it was computed
/// from; or an update fails that had not.
pub fn replay(
    options: &ReplayOptions,
    display: &mut ProgressDisplay,
) -> Result<Replayed, TrainError> {
    display.between("opening the model and the data", "");
    let mut replay = Replay::open(options, display)?;
    let (from, update) = (replay.policy.update, options.update);
    let mut differs_from = None;
    let outcome = loop {
        let first = replay.policy.update + 1;
        display.between("computing again", format!("update {first} of {} to {update}", from + 1));
        let batch = match replay.next_batch()? {
            Batch::Made(batch) => batch,
            Batch::Failed(outcome) => break outcome,
        };
        let (earlier, rest): (Vec<_>, Vec<_>) =
            batch.metrics.iter().partition(|line| line.update < update);
        let differing = earlier.into_iter().find(|line| replay.differs(line));
        differs_from = differs_from.or(differing.map(|line| line.update));
        if let Some(line) = rest.first() {
            break replay.outcome(first, line, &batch)?;
        }
    };
    let sampled = replay.samples();
    Ok(Replayed { update, from, sampled, differs_from, outcome })
}

/// A run that is computed again.
struct Replay<'a> {
    options: &'a ReplayOptions,
    /// Every update on record.
    metrics: Vec<UpdateMetrics>,
    record: Record,
    policy: Policy,
    trainer: Trainer,
    questions: DrawnQuestions,
    limits: RecordingLimits,
}

/// A batch of updates that was computed again.
enum Batch {
    Made(TrainedBatch),
    /// The update failed as it had before.
    Failed(Outcome),
}

impl<'a> Replay<'a> {
    fn open(options: &'a ReplayOptions, display: &ProgressDisplay) -> Result<Self, TrainError> {
        let ReplayOptions { run, update, .. } = options;
        let own = config_of(options)?;
        let metrics = metrics::read(&run.join(METRICS))?;
        let record = Record::find(run, *update, &metrics)?;
        let mut setup = Setup::open(&own)?;
        let origin = Origin::of(run)?;
        origin.compare(run, &Began::of(&own, &setup)?.contents, false)?;
        let start = start(run, *update, display)?;
        origin.require_unchanged_since(run, start.as_ref().map_or(0, |s| s.progress.update))?;
        let mut config = own;
        if options.samples {
            config.rollout.replay = None;
        } else if config.train.record_token_ids {
            config.rollout.replay = Some(run.join(COMPLETIONS));
        }
        let (policy, trainer) = setup.load(&config, start.as_ref(), Box::new(Solo))?;
        let limits = recording_limits(&config, policy.model.vocab_size(), setup.total_updates);
        let questions = setup.questions;
        Ok(Self { options, metrics, record, policy, trainer, questions, limits })
    }

    fn samples(&self) -> bool {
        matches!(&self.trainer, Trainer::Grpo(trainer) if trainer.recording.is_none())
    }

    fn next_batch(&mut self) -> Result<Batch, TrainError> {
        let (update, first) = (self.options.update, self.policy.update + 1);
        if let (Trainer::Grpo(trainer), Record::Failed(failed, path)) =
            (&mut self.trainer, &self.record)
            && trainer.settings.first_of_batch(update) == first
        {
            // Its completions are beside the record of the failure, if they had been sampled.
            let is_recorded = failed.completions > 0 && !self.options.samples;
            trainer.recording =
                is_recorded.then(|| Recording::open(path, &self.limits)).transpose()?;
        }
        let mut reached = Stage::Prompts;
        let mut on_stage = |stage: Stage, _: usize| reached = stage;
        let batch = self.trainer.train_batch(&mut self.policy, &mut self.questions, &mut on_stage);
        match (batch, &self.record) {
            (Ok(batch), _) => Ok(Batch::Made(batch)),
            (Err(error), Record::Failed(recorded, _)) if self.policy.update + 1 == update => {
                let (stage, error) = (reached.name(), message(&error));
                Ok(Batch::Failed(Outcome::Failed { recorded: recorded.clone(), stage, error }))
            }
            (Err(error), _) => Err(error),
        }
    }

    /// Whether an update before the one that is asked for has other figures than it had.
    fn differs(&self, line: &UpdateMetrics) -> bool {
        let recorded = self.metrics.iter().find(|recorded| recorded.update == line.update);
        recorded.is_some_and(|recorded| figures(Some(recorded), line).iter().any(Figure::differs))
    }

    /// - `first`: the first update of the batch
    fn outcome(
        &self,
        first: u64,
        line: &UpdateMetrics,
        batch: &TrainedBatch,
    ) -> Result<Outcome, TrainError> {
        match &self.record {
            Record::Failed(recorded, _) => {
                let (recorded, figures) = (recorded.clone(), figures(None, line));
                Ok(Outcome::NoLongerFails { recorded, figures })
            }
            Record::Made(recorded) => {
                let path = self.options.run.join(COMPLETIONS);
                let mut before: Vec<CompletionRecord> = Vec::new();
                json_lines::visit(&path, |record: CompletionRecord| {
                    let is_past = record.update > first;
                    if record.update == first {
                        before.push(record);
                    }
                    !is_past
                })?;
                let records = |group| completion_records(group, first, true);
                let now = batch.groups.iter().flat_map(records).map(|record| read_back(&record));
                let now: Vec<_> = now.collect();
                let completions = CompletionCounts::of(&before, &now);
                Ok(Outcome::Made { figures: figures(Some(recorded), line), completions })
            }
        }
    }
}

impl Record {
    fn find(run: &Path, update: u64, metrics: &[UpdateMetrics]) -> Result<Self, TrainError> {
        if let Some(line) = metrics.iter().find(|line| line.update == update) {
            return Ok(Self::Made(Box::new(line.clone())));
        }
        if let Some((failed, completions)) = FailedUpdate::read(run, update)? {
            return Ok(Self::Failed(failed, completions));
        }
        let last = metrics.last().map_or(0, |line| line.update);
        Err(TrainError::NotOnRecord { run: run.to_owned(), update, last })
    }
}

/// The run's own configuration, with the changes that are asked for.
fn config_of(options: &ReplayOptions) -> Result<RunConfig, TrainError> {
    let run = &options.run;
    if !has_run(run)? {
        return Err(RunFolderError::NoRun { path: run.clone() }.into());
    }
    let config = ConfigFile::of_run(&run.join(CONFIG))
        .and_then(|file| RunConfig::from_file(&file, &options.overrides));
    Ok(resolved(&config.map_err(IdentityError::from)?)?)
}

/// The newest whole checkpoint before the update; `None` where the base model has to do.
fn start(run: &Path, update: u64, display: &ProgressDisplay) -> Result<Option<Loaded>, TrainError> {
    let (found, damaged) = match checkpoint::newest_before(run, update) {
        Ok(Some(loaded)) => {
            let damaged = loaded.skipped.iter().map(ToString::to_string).collect();
            (Some(loaded), damaged)
        }
        // None at all, or without the optimiser's state.
        Ok(None) | Err(RunFolderError::ModelOnly { .. }) => (None, Vec::new()),
        Err(error @ RunFolderError::NoWholeCheckpoint { .. }) => (None, vec![error.to_string()]),
        Err(error) => return Err(error.into()),
    };
    for damage in damaged {
        display.warn(&damage);
    }
    if found.is_none() && update > 1 {
        display.note(&format!(
            "no checkpoint before update {update} to begin from: the base model, and {}",
            count(update, "update")
        ));
    }
    Ok(found)
}
