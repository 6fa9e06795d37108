//! A run from its first write to its end: folder, records, checkpoints, interruptions.
//! Not here: the updates themselves (`trainer`).

use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use super::error::TrainError;
use super::health::{Health, Thresholds};
use super::learner::{Learner, Place};
use super::optimizer::Optimizer;
use super::plan::plan_opened;
use super::policy_step::ScoringSettings;
use super::reference::Reference;
use super::rollouts::RolloutGroup;
use super::settings::{generation_settings, kl_schedule, optimizer_settings, reward_settings};
use super::setup::Setup;
use super::trainer::{PolicyTrainer, Trained};
use crate::config::{Method, RunConfig};
use crate::data::tasks::resolved;
use crate::eval::questions::{EvaluationQuestions, evaluation_questions};
use crate::eval::{Answer, evaluate, summarize};
use crate::grpo::objective::ClipRange;
use crate::interrupt::Interrupt;
use crate::processor::Processor;
use crate::progress::ProgressDisplay;
use crate::reward::Scorer;
use crate::rollout::engine::GenerationSettings;
use crate::run_folder::RunFolder;
use crate::run_folder::checkpoint::{self, Contents, Loaded, Progress, State};
use crate::run_folder::metrics;
use crate::run_folder::records::{CompletionRecord, EvaluationRecord, RunRecords};

/// Where a run is written, and whether it goes on from there.
#[derive(Debug, Clone)]
pub struct TrainOptions {
    /// The run's folder.
    pub out: PathBuf,
    /// Whether to continue the run in it.
    pub resume: bool,
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// All updates are done; the last checkpoint.
    Finished(PathBuf),
    /// Interrupted after a batch, and saved there.
    Interrupted(PathBuf),
}

/// Trains as the run file says.
///
/// # Errors
/// See [`TrainError`]; the last checkpoint stands whatever happens.
pub fn train(
    config: &RunConfig,
    options: &TrainOptions,
    interrupt: &Interrupt,
    display: &mut ProgressDisplay,
) -> Result<Ended, TrainError> {
    Run::open(config, options, display)?.go(interrupt)
}

/// What a run measures itself on.
struct Evaluation {
    asked: EvaluationQuestions,
    processor: Arc<Processor>,
}

impl Evaluation {
    fn open(config: &RunConfig, setup: &Setup) -> Result<Self, TrainError> {
        let asked = evaluation_questions(config)?;
        let processor = asked.processor(&setup.files)?;
        Ok(Self { asked, processor })
    }
}

struct Run<'a> {
    folder: RunFolder,
    records: RunRecords,
    learner: Learner,
    reference: Reference,
    generation: GenerationSettings,
    scorer: Scorer,
    health: Health,
    /// What the run measures itself on; `None` where it never does.
    evaluation: Option<Evaluation>,
    display: &'a mut ProgressDisplay,
}

impl<'a> Run<'a> {
    /// Opens everything the run needs; its folder comes last, once all else is known to be right.
    fn open(
        config: &RunConfig,
        options: &TrainOptions,
        display: &'a mut ProgressDisplay,
    ) -> Result<Self, TrainError> {
        let config = &resolved(config)?;
        let setup = Setup::open(config)?;
        if let Some(shortage) = plan_opened(config, &setup)?.shortage() {
            display.warn(&shortage);
        }
        let toml = config.resolved_toml().map_err(|source| TrainError::Resolve { source })?;
        let resumed = if options.resume {
            let folder = RunFolder::reopen(&options.out, &toml)?;
            let checkpoint = checkpoint::latest(&folder)?;
            Some((folder, checkpoint))
        } else {
            None
        };
        let checkpoint = resumed.as_ref().and_then(|(_, checkpoint)| checkpoint.as_ref());
        for damage in checkpoint.iter().flat_map(|checkpoint| &checkpoint.skipped) {
            display.warn(&format!("{damage}; using the one before it"));
        }
        let learner = learner(config, setup, checkpoint)?;
        let reference = Reference::open(&learner.kl_schedule, &learner.setup)?;
        let eval = &config.eval;
        let evaluates = eval.before_training || eval.after_training || config.train.eval_every > 0;
        let evaluation = evaluates.then(|| Evaluation::open(config, &learner.setup)).transpose()?;
        let vocab_size = learner.model.config().text.vocab_size;
        let generation = generation_settings(config, &learner.setup.processor, vocab_size);
        let last_update = checkpoint.map(|checkpoint| checkpoint.progress.update);
        let folder = match resumed {
            Some((folder, _)) => folder,
            None => RunFolder::create(&options.out, &toml)?,
        };
        let scorer = Scorer::new(reward_settings(config))?;
        let records = RunRecords::resume(&folder, last_update)?;
        let health = health(config, &folder)?;
        display.start(learner.progress.update, learner.setup.total_updates);
        Ok(Self {
            folder,
            records,
            learner,
            reference,
            generation,
            scorer,
            health,
            evaluation,
            display,
        })
    }

    /// The run: batch after batch, evaluated and saved when that is due.
    fn go(mut self, interrupt: &Interrupt) -> Result<Ended, TrainError> {
        let total = self.learner.setup.total_updates;
        if self.learner.progress.update == 0 && self.learner.config.eval.before_training {
            self.evaluate()?;
        }
        let mut saved = None;
        while self.learner.progress.update < total {
            let before = self.learner.progress.update;
            let trained = self.train_batch()?;
            self.record(&trained)?;
            let is_last = self.learner.progress.update == total;
            let eval = &self.learner.config.eval;
            let train = &self.learner.config.train;
            let evaluates =
                (is_last && eval.after_training) || self.is_due(before, train.eval_every);
            let saves = is_last || self.is_due(before, train.checkpoint_every);
            if evaluates {
                self.evaluate()?;
            }
            let is_interrupted = interrupt.is_requested() && !is_last;
            saved = if saves || is_interrupted { Some(self.save()?) } else { None };
            if is_interrupted && let Some(path) = saved {
                self.display.finish();
                return Ok(Ended::Interrupted(path));
            }
        }
        self.display.finish();
        let last = match saved {
            Some(path) => path,
            // Resumed after its last update.
            None => self.save()?,
        };
        self.folder.finish(&last)?;
        Ok(Ended::Finished(last))
    }

    /// Measures the policy and writes the outcome down.
    fn evaluate(&mut self) -> Result<(), TrainError> {
        let learner = &self.learner;
        let Some(Evaluation { asked, processor }) = &self.evaluation else { return Ok(()) };
        self.display.stage("evaluation");
        let EvaluationQuestions { label, questions, settings, .. } = asked;
        let mut go_on = |_: &Answer| Ok(ControlFlow::Continue(()));
        let answers =
            evaluate(&learner.sampler, processor, questions, settings, Vec::new(), &mut go_on)?;
        let summary = summarize(label, settings.rule, &answers);
        let update = learner.progress.update;
        let (accuracy, format) = (100.0 * summary.accuracy, 100.0 * summary.format_rate);
        let [low, high] = summary.ci95.map(|bound| 100.0 * bound);
        self.display.note(&format!(
            "evaluation after {update} updates: {} accuracy {accuracy:.1}% ({low:.1} to {high:.1}), \
             format {format:.1}%, {} questions",
            summary.task, summary.n,
        ));
        let record = EvaluationRecord { update, summary };
        self.records.evaluations.append(&record)?;
        Ok(self.records.events.evaluation(&record)?)
    }

    /// Whether a multiple of `every` updates has been reached since update `before`.
    fn is_due(&self, before: u64, every: usize) -> bool {
        every > 0 && before / every as u64 != self.learner.progress.update / every as u64
    }

    fn train_batch(&mut self) -> Result<Trained, TrainError> {
        let config = &self.learner.config;
        let is_supervised = config.method == Method::Sft;
        let scoring = ScoringSettings {
            // Teaching is at temperature 1, whatever completions are sampled at.
            temperature: if is_supervised { 1.0 } else { config.rollout.temperature },
            tokens_per_micro_batch: config.train.tokens_per_micro_batch,
            recompute: config.model.activation_checkpointing,
        };
        if is_supervised {
            return self.learner.train_supervised(scoring);
        }
        let display = &*self.display;
        let mut n_tokens = 0;
        let mut on_stage = |name: &'static str, n_new: usize| {
            n_tokens += n_new;
            match n_new {
                0 => display.stage(name),
                _ => display.stage(format!("{name}, {n_tokens} tokens")),
            }
        };
        PolicyTrainer {
            clip_range: ClipRange { low: config.grpo.clip_low, high: config.grpo.clip_high },
            learner: &mut self.learner,
            reference: &self.reference,
            generation: &self.generation,
            scorer: &mut self.scorer,
            scoring,
            on_stage: &mut on_stage,
        }
        .train_batch()
    }

    fn record(&mut self, trained: &Trained) -> Result<(), TrainError> {
        for reason in &trained.skipped {
            self.display.warn(&format!("left out a row: {reason}"));
        }
        let first = trained.metrics.first().map_or(0, |line| line.update);
        let mut completions: Vec<CompletionRecord> =
            trained.groups.iter().flat_map(|group| completion_records(group, first)).collect();
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
            // A batch's later updates sampled nothing new.
            completions.clear();
        }
        Ok(())
    }

    fn save(&mut self) -> Result<PathBuf, TrainError> {
        self.records.sync()?;
        let learner = &self.learner;
        let parameters = learner.model.parameters().in_hub_order();
        let tensors: Vec<_> =
            parameters.map(|p| (p.name().to_owned(), p.value().detach())).collect();
        let (optimizer, masters) = (learner.optimizer.state(), learner.optimizer.masters());
        let state = State { optimizer: &optimizer, master_weights: &masters };
        let train = &learner.config.train;
        let contents = Contents {
            progress: Progress {
                update: learner.progress.update,
                optimizer_steps: learner.optimizer.n_steps(),
                prompts_seen: learner.progress.prompts_seen,
            },
            tensors: &tensors,
            dtype: learner.setup.dtype,
            source: &learner.setup.files,
            state: train.save_optimizer.then_some(state),
        };
        Ok(checkpoint::save(&self.folder, &contents, train.keep)?)
    }
}

/// The policy and its optimiser, fresh or from a checkpoint.
fn learner(
    config: &RunConfig,
    setup: Setup,
    checkpoint: Option<&Loaded>,
) -> Result<Learner, TrainError> {
    let building = TrainError::during("preparing the model");
    let kl_schedule = kl_schedule(config, setup.total_updates);
    let settings = optimizer_settings(config, setup.total_updates);
    let (model, optimizer, progress) = match checkpoint {
        None => {
            let model = setup.open_policy(config, &setup.files)?;
            let optimizer = Optimizer::new(settings, model.parameters()).map_err(&building)?;
            (model, optimizer, Place::default())
        }
        Some(loaded) => {
            let model = setup.open_policy(config, &loaded.model_files())?;
            let (state, masters) =
                (loaded.optimizer(&setup.device)?, loaded.master_weights(&setup.device)?);
            let Progress { update, optimizer_steps, prompts_seen } = loaded.progress;
            let optimizer = Optimizer::restore(settings, optimizer_steps, state, masters);
            (model, optimizer.map_err(&building)?, Place { update, prompts_seen })
        }
    };
    let sampler = model.detached().map_err(&building)?;
    let config = config.clone();
    Ok(Learner { config, setup, model, sampler, optimizer, kl_schedule, progress })
}

/// The watch over a run, which has seen what the run's records hold already.
fn health(config: &RunConfig, folder: &RunFolder) -> Result<Health, TrainError> {
    let train = &config.train;
    let mut health = Health::new(Thresholds {
        silent_updates: train.warn_after_silent_updates,
        duplicate_fraction: train.warn_duplicate_fraction,
        truncated_fraction: train.warn_truncated_fraction,
    });
    for line in metrics::read(&folder.metrics())? {
        health.observe(&line, &[]);
    }
    Ok(health)
}

/// The lines of `completions.jsonl` of a group.
fn completion_records(group: &RolloutGroup, update: u64) -> impl Iterator<Item = CompletionRecord> {
    let sample = &group.question.sample;
    group.completions.iter().enumerate().map(move |(completion_idx, scored)| CompletionRecord {
        update,
        prompt_id: sample.id.clone(),
        completion_idx,
        problem: sample.problem.clone(),
        solution: sample.solution.clone(),
        completion: scored.text.clone(),
        answer: scored.reward.answer.clone(),
        accuracy_reward: scored.reward.accuracy,
        format_reward: scored.reward.format,
        components: scored
            .reward
            .components
            .iter()
            .map(|&(name, x)| (name.to_owned(), x))
            .collect(),
        reward: scored.reward.total,
        advantage: scored.advantage,
        n_tokens: scored.completion.token_ids.len(),
        is_truncated: !scored.completion.is_finished,
    })
}
