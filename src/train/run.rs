//! A run from its first write to its end: folder, records, checkpoints, interruptions.
//! Not here: the updates themselves (`trainer`).

use std::path::PathBuf;

use super::error::TrainError;
use super::learner::{Learner, Place};
use super::metrics::UpdateMetrics;
use super::optimizer::Optimizer;
use super::policy_step::ScoringSettings;
use super::records::{CompletionRecord, RunRecords};
use super::rollouts::{RewardSettings, RolloutGroup};
use super::run_folder::RunFolder;
use super::setup::{
    Setup, generation_settings, kl_schedule, optimizer_settings, rule,
};
use super::trainer::{PolicyTrainer, Trained};
use crate::config::{Method, RunConfig};
use crate::grpo::objective::ClipRange;
use crate::model::qwen2_vl::Qwen2Vl;
use crate::model::save::save;
use crate::rollout::engine::GenerationSettings;

/// Where a run is written, and whether it goes on from there.
#[derive(Debug, Clone)]
pub struct TrainOptions {
    /// The run's folder.
    pub out: PathBuf,
    /// Whether to continue the run in it.
    pub resume: bool,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All updates are done.
    Finished,
    /// Interrupted after a batch, and saved.
    Interrupted,
}

/// Trains as the run file says.
///
/// # Errors
/// See [`TrainError`]; the last checkpoint stands whatever happens.
pub fn train(
    config: &RunConfig,
    options: &TrainOptions,
    is_interrupted: &dyn Fn() -> bool,
) -> Result<Ended, TrainError> {
    let mut run = Run::start(config, options)?;
    run.go(is_interrupted)
}

struct Run {
    folder: RunFolder,
    records: RunRecords,
    learner: Learner,
    reference: Option<Qwen2Vl>,
    generation: GenerationSettings,
    reward: RewardSettings,
    scoring: ScoringSettings,
}

impl Run {
    fn start(config: &RunConfig, options: &TrainOptions) -> Result<Self, TrainError> {
        let setup = Setup::open(config)?;
        let kl_schedule = kl_schedule(config, setup.total_updates);
        let settings = optimizer_settings(config, setup.total_updates);
        let model = setup.open_policy(config, &setup.files)?;
        let building = TrainError::during("preparing the model");
        let sampler = model.detached().map_err(&building)?;
        let optimizer = Optimizer::new(settings, model.parameters()).map_err(&building)?;
        let reference = kl_schedule.needs_reference().then(|| setup.open_reference()).transpose()?;
        let vocab_size = model.config().text.vocab_size;
        let generation = generation_settings(config, &setup.processor, vocab_size);

        let toml = config.resolved_toml().map_err(|_| TrainError::NoRows { name: String::new() })?;
        let folder = RunFolder::create(&options.out, &toml)?;
        let records = RunRecords::start(&folder)?;
        let progress = Place::default();
        let config = config.clone();
        Ok(Self {
            folder,
            records,
            reference,
            generation,
            reward: RewardSettings { rule: rule(&config), alpha: config.reward.alpha },
            scoring: ScoringSettings {
                temperature: if config.method == Method::Sft { 1.0 } else { config.rollout.temperature },
                tokens_per_micro_batch: config.train.tokens_per_micro_batch,
                recompute: config.model.activation_checkpointing,
            },
            learner: Learner { config, setup, model, sampler, optimizer, kl_schedule, progress },
        })
    }

    fn go(&mut self, is_interrupted: &dyn Fn() -> bool) -> Result<Ended, TrainError> {
        while self.learner.progress.update < self.learner.setup.total_updates {
            let before = self.learner.progress.update;
            let trained = self.train_batch()?;
            self.record(&trained)?;
            if is_interrupted() {
                self.save()?;
                return Ok(Ended::Interrupted);
            }
            if self.is_due(before, self.learner.config.train.checkpoint_every) {
                self.save()?;
            }
        }
        self.save()?;
        Ok(Ended::Finished)
    }

    /// Whether a multiple of `every` updates has been reached since update `before`.
    fn is_due(&self, before: u64, every: usize) -> bool {
        every > 0 && before / every as u64 != self.learner.progress.update / every as u64
    }

    fn train_batch(&mut self) -> Result<Trained, TrainError> {
        if self.learner.config.method == Method::Sft {
            return self.learner.train_supervised(self.scoring);
        }
        let grpo = &self.learner.config.grpo;
        let clip_range = ClipRange { low: grpo.clip_low, high: grpo.clip_high };
        let mut trainer = PolicyTrainer {
            learner: &mut self.learner,
            reference: self.reference.as_ref(),
            generation: &self.generation,
            reward: self.reward,
            scoring: self.scoring,
            clip_range,
            on_stage: &mut |_, _| {},
        };
        trainer.train_batch()
    }

    fn record(&mut self, trained: &Trained) -> Result<(), TrainError> {
        for reason in &trained.skipped {
            tracing::warn!(%reason, "left out a row");
        }
        let first = trained.metrics.first().map_or(0, |line| line.update);
        for group in &trained.groups {
            for record in completion_records(group, first) {
                self.records.completions.append(&record)?;
            }
        }
        for line in &trained.metrics {
            self.records.metrics.append(line)?;
            log(line);
        }
        Ok(())
    }

    fn save(&mut self) -> Result<(), TrainError> {
        let learner = &self.learner;
        let name = format!("step-{:06}", learner.progress.update);
        let path = self.folder.checkpoints().join(name);
        let config = learner.model.config();
        let tensors: Vec<_> = config
            .parameter_shapes()
            .into_iter()
            .filter_map(|(name, _)| {
                let value = learner.model.parameters().get(&name).ok()?.value().detach();
                Some((name, value))
            })
            .collect();
        save(&path, &tensors, learner.setup.dtype, &learner.setup.files, 5_000_000_000)?;
        Ok(())
    }
}

fn log(line: &UpdateMetrics) {
    tracing::info!(
        update = line.update,
        loss = line.loss,
        reward = line.reward,
        accuracy = line.accuracy_reward,
        format = line.format_reward,
        kl = line.kl,
        beta = line.beta,
        grad_norm = line.grad_norm,
        tokens_per_s = line.tokens_per_s,
        s_total = line.s_total,
    );
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
        reward: scored.reward.total,
        advantage: scored.advantage,
        n_tokens: scored.completion.token_ids.len(),
        is_truncated: !scored.completion.is_finished,
    })
}
