//! A run from its first write to its end: folder, records, checkpoints, interruptions.
//! Not here: the updates themselves (`update`, `supervised_update`).

use std::ops::ControlFlow;
use std::path::PathBuf;

use super::banner::banner;
use super::closing::Closing;
use super::draw::DrawnQuestions;
use super::error::TrainError;
use super::evaluation::{Best, Evaluation};
use super::failed::leave;
use super::health::Health;
use super::opened::Opened;
use super::out_of_memory::{Circumstances, Remains};
use super::plan::Needs;
use super::policy::Policy;
use super::ranks::Solo;
use super::record::completion_records;
use super::resumed::{Resumed, folder_of, records};
use super::saving::{Saving, Unsaved};
use super::settings::thresholds;
use super::setup::{Setup, Trainer};
use super::stage::Stage;
use super::update::TrainedBatch;
use crate::config::RunConfig;
use crate::data::tasks::resolved;
use crate::eval::questions::EvaluationQuestions;
use crate::eval::{Answer, evaluate, summarize};
use crate::interrupt::Interrupt;
use crate::ops;
use crate::printable::count;
use crate::progress::ProgressDisplay;
use crate::run_folder::checkpoint::{Loaded, Progress};
use crate::run_folder::records::{CompletionRecord, EvaluationRecord, RunRecords};
use crate::run_folder::{RunFolder, json_lines, metrics};

/// Where a run is written, and whether it is resumed.
#[derive(Debug, Clone)]
pub struct TrainOptions {
    /// The run's folder.
    pub out: PathBuf,
    /// How the run in it is continued; `None` for a new run.
    pub resume: Option<ResumeOptions>,
    /// Whether to begin although the GPU has too little memory, as far as it can be foreseen.
    pub is_forced: bool,
}

/// What a run that is continued may differ in from what its folder says; nothing by default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ResumeOptions {
    /// Whether it goes on over data that has changed.
    pub allows_changed_data: bool,
    /// Whether records that are out of place are left out.
    pub repairs: bool,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// All updates are done; the last checkpoint.
    Finished(PathBuf),
    /// Interrupted after a batch; the checkpoint saved then.
    Interrupted(PathBuf),
}

/// Trains as the run file says.
///
/// # Errors
/// See [`TrainError`]; the last checkpoint is kept whatever happens.
pub fn train(
    config: &RunConfig,
    options: &TrainOptions,
    interrupt: &Interrupt,
    display: &mut ProgressDisplay,
) -> Result<Ended, TrainError> {
    let opened = Opened::open(resolved(config)?, options, display)?;
    if let Some(resumed) = &opened.resumed
        && let Some(checkpoint) = resumed.finished(&opened.config, repairs(options), display)?
    {
        return Ok(Ended::Finished(checkpoint.to_owned()));
    }
    Run::begin(opened, options, display)?.go(interrupt)
}

/// Whether records of a run that is continued are to be repaired.
fn repairs(options: &TrainOptions) -> bool {
    options.resume.is_some_and(|resume| resume.repairs)
}

struct Run<'a> {
    config: RunConfig,
    folder: RunFolder,
    records: RunRecords,
    closing: Closing,
    policy: Policy,
    questions: DrawnQuestions,
    trainer: Trainer,
    /// Updates of the whole run.
    total_updates: u64,
    health: Health,
    /// What its memory hangs on besides the configuration.
    needs: Needs,
    /// Under way, or the last one.
    stage: Stage,
    /// What the run evaluates its policy on; `None` where it never does.
    evaluation: Option<Evaluation>,
    best: Best,
    /// The last state between two batches: what a checkpoint can hold.
    between_batches: Progress,
    saving: Saving,
    display: &'a mut ProgressDisplay,
}

impl<'a> Run<'a> {
    /// Loads what the run needs; its folder is made or changed last, once all else has been checked.
    fn begin(
        opened: Opened,
        options: &TrainOptions,
        display: &'a mut ProgressDisplay,
    ) -> Result<Self, TrainError> {
        let Opened { config, mut setup, needs, plan, began, runs_on, resumed } = opened;
        let checkpoint = resumed.as_ref().and_then(Resumed::checkpoint);
        let evaluation = Evaluation::open(&config, &setup, display)?;
        let loaded = setup.load(&config, checkpoint, Box::new(Solo));
        let (policy, trainer) = loaded.map_err(|error| {
            let saved = checkpoint.map(|checkpoint| checkpoint.path.as_path());
            let remains = Remains::of(resumed.as_ref().map(Resumed::path), saved);
            let (config, needs, device) = (&config, &needs, &setup.device);
            let circumstances = Circumstances { config, needs, device, runs_on };
            circumstances.explain(error, (Stage::Loading, 0), remains)
        })?;
        let mut saving = Saving::new(&config, &setup.files)?;
        let (folder, checkpoint) = folder_of(resumed, &options.out, began, policy.update)?;
        let records = records(&folder, checkpoint.as_ref(), &config, repairs(options), display)?;
        saving.last = checkpoint.map(|Loaded { progress, path, .. }| (progress.update, path));
        let limits = thresholds(&config).in_vocabulary(policy.model.vocab_size());
        let health = Health::resumed(limits, &metrics::read(&folder.metrics())?);
        let best = Best::on_record(&config, &folder)?;
        let closing = Closing::begin(&folder, policy.update)?;
        display.note(&banner(&config, &setup, &plan, evaluation.as_ref(), folder.path())?);
        let Setup { questions, total_updates, .. } = setup;
        display.start(policy.update, total_updates);
        let between_batches = Progress { update: policy.update, draws: questions.state() };
        Ok(Self {
            config,
            folder,
            records,
            closing,
            policy,
            questions,
            trainer,
            total_updates,
            health,
            needs,
            stage: Stage::Loading,
            evaluation,
            best,
            between_batches,
            saving,
            display,
        })
    }

    /// Runs to the end. If an error ends the run early, the finished updates are saved first where possible.
    fn go(mut self, interrupt: &Interrupt) -> Result<Ended, TrainError> {
        let ended = self.train(interrupt);
        self.display.finish();
        let ended = ended.map_err(|error| {
            let place = (self.stage, self.policy.update);
            self.leave_failed(&error, place);
            self.save_after_failure();
            self.explain(error, place)
        });
        let (folder, update) = (&self.folder, self.policy.update);
        self.closing.close(&ended, (&self.config, folder, update), self.display);
        ended
    }

    /// The error, explained if it is that the GPU had no room.
    fn explain(&self, error: TrainError, place: (Stage, u64)) -> TrainError {
        let model = &self.policy.model;
        let runs_on = ops::Path::resolve(model.device(), model.dtype());
        let (config, needs, device) = (&self.config, &self.needs, model.device());
        let saved = self.saving.last.as_ref().map(|(_, path)| path.as_path());
        let remains = Remains::of(Some(self.folder.path()), saved);
        Circumstances { config, needs, device, runs_on }.explain(error, place, remains)
    }

    /// Batch after batch, evaluated and saved when that is due.
    fn train(&mut self, interrupt: &Interrupt) -> Result<Ended, TrainError> {
        loop {
            let update = self.policy.update;
            let is_cut_short = self.is_evaluation_due()? && self.evaluate(interrupt)?.is_break();
            let is_last = update == self.total_updates;
            let is_interrupted = is_cut_short || (interrupt.is_requested() && !is_last);
            let is_due = self.has_reached(self.config.train.checkpoint_every)
                || self.best.update() == Some(update);
            if is_last || is_interrupted || is_due {
                let checkpoint = self.save()?;
                if is_interrupted {
                    return Ok(Ended::Interrupted(checkpoint));
                }
                if is_last {
                    self.folder.finish(&checkpoint)?;
                    return Ok(Ended::Finished(checkpoint));
                }
            }
            let trained = self.train_batch()?;
            self.record(&trained)?;
            let update = self.policy.update;
            self.between_batches = Progress { update, draws: self.questions.state() };
        }
    }

    /// Whether the policy is due for evaluation after this update and has not been evaluated yet.
    fn is_evaluation_due(&self) -> Result<bool, TrainError> {
        let (update, eval) = (self.policy.update, &self.config.eval);
        let is_due = (update == 0 && eval.before_training)
            || (update == self.total_updates && eval.after_training)
            || self.has_reached(self.config.train.eval_every);
        if !is_due {
            return Ok(false);
        }
        let recorded: Vec<EvaluationRecord> = json_lines::read(&self.folder.evaluations())?;
        Ok(recorded.iter().all(|record| record.update != update))
    }

    /// Whether the batch that ended last has reached a multiple of `every` updates.
    fn has_reached(&self, every: usize) -> bool {
        let of_batch = match &self.trainer {
            Trainer::Grpo(trainer) => trainer.settings.updates_per_rollout as u64,
            Trainer::Supervised(_) => 1,
        };
        ends_at_multiple(self.policy.update, of_batch, every as u64)
    }

    /// Evaluates the policy and records the outcome; `Break` where the run was asked to end meanwhile.
    fn evaluate(&mut self, interrupt: &Interrupt) -> Result<ControlFlow<()>, TrainError> {
        let Some(Evaluation { asked, processor }) = &self.evaluation else {
            return Ok(ControlFlow::Continue(()));
        };
        let EvaluationQuestions { label, questions, settings, .. } = asked;
        self.stage = Stage::Evaluation;
        let (mut n_answers, n) = (0, settings.n_answers(&questions.dataset));
        self.display.between("evaluation", format!("0 of {n} answers"));
        let mut go_on = |_: &Answer| {
            n_answers += 1;
            self.display.between("evaluation", format!("{n_answers} of {n} answers"));
            let goes_on = !interrupt.is_requested();
            Ok(if goes_on { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        };
        let model = &self.policy.sampling;
        let answers = evaluate(model, processor, questions, settings, Vec::new(), &mut go_on)?;
        if answers.len() < n {
            return Ok(ControlFlow::Break(()));
        }
        let summary = summarize(label, settings.rule, &answers);
        let update = self.policy.update;
        let (accuracy, format) = (100.0 * summary.accuracy, 100.0 * summary.format_rate);
        let [low, high] = summary.ci95.map(|bound| 100.0 * bound);
        self.display.note(&format!(
            "evaluation after {}: {} accuracy {accuracy:.1}% ({low:.1} to {high:.1}), format {format:.1}%, {}",
            count(update, "update"),
            summary.task,
            count(summary.n, "question"),
        ));
        let record = EvaluationRecord { update, summary };
        self.folder.require_in_place()?;
        self.records.evaluations.append(&record)?;
        self.records.events.evaluation(&record)?;
        if self.best.observe(&record) {
            self.display.note("the best evaluation so far: its checkpoint stays");
        }
        Ok(ControlFlow::Continue(()))
    }

    fn train_batch(&mut self) -> Result<TrainedBatch, TrainError> {
        let (display, under_way) = (&*self.display, &mut self.stage);
        let mut n_tokens = 0;
        let mut on_stage = |stage: Stage, n_new: usize| {
            *under_way = stage;
            n_tokens += n_new;
            match n_new {
                0 => display.stage(stage.name(), ""),
                _ => display.stage(stage.name(), count(n_tokens, "token")),
            }
        };
        on_stage(Stage::Prompts, 0);
        let (policy, questions) = (&mut self.policy, &mut self.questions);
        self.trainer.train_batch(policy, questions, &mut on_stage)
    }

    fn record(&mut self, trained: &TrainedBatch) -> Result<(), TrainError> {
        self.folder.require_in_place()?;
        for reason in &trained.skipped {
            self.display.warn(&format!("left out a row: {reason}"));
        }
        let first = trained.metrics.first().map_or(0, |line| line.update);
        let records_ids = self.config.train.record_token_ids;
        let records = |group| completion_records(group, first, records_ids);
        let mut completions: Vec<CompletionRecord> =
            trained.groups.iter().flat_map(records).collect();
        for record in &completions {
            self.records.completions.append(record)?;
        }
        for line in &trained.metrics {
            self.records.metrics.append(line)?;
            self.records.events.update(line)?;
            self.display.update(line);
            for warning in self.health.observe(line, &completions) {
                self.display.warn(&warning.to_string());
            }
            // Later updates of the batch have no new completions.
            completions.clear();
        }
        Ok(())
    }

    /// Saves the run as it stands between two batches; the checkpoint's folder.
    fn save(&mut self) -> Result<PathBuf, TrainError> {
        if let Some(path) = self.saving.saved_after(self.policy.update) {
            return Ok(path);
        }
        self.stage = Stage::Checkpoint;
        self.display.between(self.stage.name(), "");
        let state = Unsaved {
            config: &self.config,
            folder: &self.folder,
            records: &self.records,
            policy: &self.policy,
            progress: &self.between_batches,
            best: self.best.update(),
            n_rows: self.questions.n_rows(),
            total_updates: self.total_updates,
        };
        self.saving.save(&state)
    }

    /// Writes down what an update that failed is computed again from.
    fn leave_failed(&self, error: &TrainError, place: (Stage, u64)) {
        match leave(&self.folder, &self.trainer, error, place) {
            Ok(None) => {}
            Ok(Some(path)) => self.display.note(&format!(
                "wrote {}; `othink replay {} --update {}` computes the update again",
                path.display(),
                self.folder.path().display(),
                place.1 + 1
            )),
            Err(error) => self.display.warn(&format!("cannot write down what failed: {error}")),
        }
    }

    /// Saves after an error, if the policy has not been updated since the last batch ended and saving was not what failed.
    fn save_after_failure(&mut self) {
        let is_between_batches = self.policy.update == self.between_batches.update;
        if self.policy.update == 0 || !is_between_batches || self.stage == Stage::Checkpoint {
            return;
        }
        match self.save() {
            Ok(path) => self.display.note(&format!("saved {}; --resume continues", path.display())),
            Err(error) => self.display.warn(&format!("cannot save the finished updates: {error}")),
        }
    }
}

/// Whether the batch that ended at `update` reached a multiple of `every`, never where that is 0. A batch has `of_batch`
/// updates, the last of a run perhaps fewer.
fn ends_at_multiple(update: u64, of_batch: u64, every: u64) -> bool {
    let before = update.saturating_sub(1) / of_batch * of_batch;
    every > 0 && before / every != update / every
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_due_at_a_multiple_comes_after_the_batch_that_reaches_it() {
        let ends = |of_batch, every| -> Vec<u64> {
            (0..=10).filter(|&update| ends_at_multiple(update, of_batch, every)).collect()
        };
        assert_eq!(ends(1, 3), [3, 6, 9]);
        assert_eq!(ends(1, 0), [0; 0]);
        // Batches end at 4, 8 and, the run being over, anywhere later.
        let batches = |every| -> Vec<u64> {
            [4, 8, 10].into_iter().filter(|&update| ends_at_multiple(update, 4, every)).collect()
        };
        assert_eq!(batches(3), [4, 8, 10]);
        assert_eq!(batches(5), [8, 10]);
        assert_eq!(batches(8), [8]);
        assert_eq!(batches(9), [10]);
    }
}
