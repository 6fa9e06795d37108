//! The updates of GRPO and GRPO-D, in the order of the paper.
//! Not here: the stages themselves, each in the file of its name.
//!
//! An update is one optimiser step. A batch of rollouts serves `updates_per_rollout` of them; a run is
//! saved and interrupted between batches, so that a checkpoint never has to hold rollouts.

use std::sync::Arc;

use super::OnStage;
use super::accumulate::{
    Anchors, LossSettings, NonFiniteLoss, ObjectiveSums, ScoringSettings, TrainedCompletion,
    TrainedGroup, accumulate, count,
};
use super::anchor::BatchAnchors;
use super::draw::{DrawnQuestions, Question, check_lengths};
use super::error::TrainError;
use super::policy::Policy;
use super::record::{UpdateClock, update_metrics};
use super::reference::Reference;
use super::reward::{RolloutGroup, reward};
use super::sample::{RolloutNames, sample};
use super::stage::Stage;
use crate::grpo::advantage::Estimator;
use crate::grpo::kl_schedule::KlSchedule;
use crate::grpo::objective::ObjectiveSettings;
use crate::model::lora::UpdateDropout;
use crate::processor::Processor;
use crate::reward::Scorer;
use crate::rollout::engine::{Completion, GenerationSettings};
use crate::rollout::replay::Recording;
use crate::run_folder::metrics::UpdateMetrics;

/// The result of a batch: a line of metrics per update, and the groups sampled for them.
pub(super) struct TrainedBatch {
    /// One per update.
    pub(super) metrics: Vec<UpdateMetrics>,
    /// The batch's groups; none in supervised training.
    pub(super) groups: Vec<RolloutGroup>,
    /// Why rows were left out.
    pub(super) skipped: Vec<String>,
}

/// What holds for every update of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct GrpoSettings {
    /// The run's seed.
    pub seed: u64,
    /// Completions per prompt.
    pub group_size: usize,
    /// Prompts of a mini-batch: of one update.
    pub prompts_per_update: usize,
    /// Mini-batches of a batch of rollouts.
    pub mini_batches: usize,
    /// Updates that a batch of rollouts serves: passes over it, a mini-batch each.
    pub updates_per_rollout: usize,
    /// Leaves completions that the token limit cut off out of the loss.
    pub mask_truncated: bool,
    /// The probability that an input of low-rank factors is dropped while they learn.
    pub dropout: f64,
    /// How rewards become advantages.
    pub estimator: Estimator,
    /// How log-probabilities are computed.
    pub scoring: ScoringSettings,
    /// Eq. (4).
    pub objective: ObjectiveSettings,
    /// The KL weight over the run, Eq. (3).
    pub kl_schedule: KlSchedule,
    /// Updates of the whole run.
    pub total_updates: u64,
}

/// Everything that the updates of GRPO need besides the policy and the rows.
pub(super) struct GrpoTrainer {
    pub(super) settings: GrpoSettings,
    pub(super) generation: GenerationSettings,
    /// Recorded completions to use instead of sampling.
    pub(super) recording: Option<Recording>,
    pub(super) processor: Arc<Processor>,
    pub(super) scorer: Scorer,
    pub(super) reference: Reference,
    /// What was sampled for the batch under way or the last one; empty until it is.
    pub(super) sampled: Vec<SampledGroup>,
}

/// A prompt's completions before anything is made of them.
#[derive(Debug, Clone)]
pub(super) struct SampledGroup {
    /// The data row's identifier.
    pub(super) prompt_id: String,
    pub(super) completions: Vec<Completion>,
}

impl GrpoTrainer {
    /// Samples a batch of rollouts and makes its updates.
    pub(super) fn train_batch(
        &mut self,
        policy: &mut Policy,
        questions: &mut DrawnQuestions,
        on_stage: &mut OnStage,
    ) -> Result<TrainedBatch, TrainError> {
        let settings = self.settings.clone();
        self.sampled.clear();
        let mut clock = UpdateClock::start();
        let drawn = questions.take(settings.prompts_per_update * settings.mini_batches)?;
        check_lengths(&drawn.questions, self.generation.max_new_tokens, &policy.model)?;

        on_stage(Stage::Rollout, 0);
        let completions = self.completions(policy, &drawn.questions, on_stage)?;
        let groups = drawn.questions.iter().zip(&completions);
        self.sampled =
            groups.map(|(question, completions)| SampledGroup::of(question, completions)).collect();

        on_stage(Stage::Reward, 0);
        let scorer = (&mut self.scorer, settings.estimator);
        let groups = reward(&self.processor, scorer, drawn.questions, completions)?;
        clock.rollout_ends();

        let chunks: Vec<&[RolloutGroup]> = groups.chunks(settings.prompts_per_update).collect();
        let mini_batches: Vec<Vec<TrainedGroup>> =
            chunks.iter().map(|groups| trained(groups, settings.mask_truncated)).collect();
        // In a batch's only update the policy is the one that sampled.
        let old = (settings.updates_per_rollout > 1).then_some(&policy.sampling);
        let models = (&mut self.reference, &policy.model, old);
        let anchors = BatchAnchors::compute(&mini_batches, models, settings.scoring, on_stage)?;
        clock.reference_took(anchors.s_reference);

        let mut metrics = Vec::new();
        for i in 0..settings.updates_of_batch(policy.update) {
            on_stage(Stage::Policy, 0);
            clock.policy_begins();
            let mini_batch = i % mini_batches.len();
            let loss = settings.loss(policy.update);
            let (anchors, groups) = (anchors.of(mini_batch), chunks[mini_batch]);
            let sums = policy.accumulate(&mini_batches[mini_batch], anchors, &loss, groups)?;
            on_stage(Stage::Optimizer, 0);
            clock.step_begins();
            let step = policy.step(|| groups.iter().map(RolloutGroup::sample_id).collect())?;
            let line = update_metrics(
                (policy.update, loss.beta),
                groups,
                &sums,
                step,
                (&mut clock, policy.model.device()),
            );
            metrics.push(UpdateMetrics { kl: anchors.reference.map(|_| sums.kl), ..line });
        }
        questions.observe(&groups.iter().map(RolloutGroup::outcome).collect::<Vec<_>>());
        Ok(TrainedBatch { metrics, groups, skipped: drawn.skipped })
    }
}

impl SampledGroup {
    fn of(question: &Question, completions: &[Completion]) -> Self {
        Self { prompt_id: question.sample.id.clone(), completions: completions.to_vec() }
    }
}

impl GrpoTrainer {
    /// A group per question, sampled or recorded.
    fn completions(
        &mut self,
        policy: &Policy,
        questions: &[Question],
        on_stage: &mut OnStage,
    ) -> Result<Vec<Vec<Completion>>, TrainError> {
        if let Some(recording) = &mut self.recording {
            let ids: Vec<&str> = questions.iter().map(|q| q.sample.id.as_str()).collect();
            return Ok(recording.take(policy.update + 1, &ids)?);
        }
        let names = self.settings.names(policy.update);
        let mut on_tokens = |n| on_stage(Stage::Rollout, n);
        sample(&policy.sampling, questions, &self.generation, names, &mut on_tokens)
            .map_err(TrainError::during("sampling completions"))
    }
}

impl GrpoSettings {
    /// The first update of the batch that an update is of; both from 1.
    pub(super) fn first_of_batch(&self, update: u64) -> u64 {
        let of_batch = self.updates_per_rollout as u64;
        (update - 1) / of_batch * of_batch + 1
    }

    /// Updates that the next batch of rollouts serves: fewer at the very end of a run.
    fn updates_of_batch(&self, update: u64) -> usize {
        let left = self.total_updates - update;
        self.updates_per_rollout.min(left as usize)
    }

    fn names(&self, update: u64) -> RolloutNames {
        RolloutNames { seed: self.seed, update: update as u32, group_size: self.group_size }
    }

    fn loss(&self, update: u64) -> LossSettings {
        let beta = self.kl_schedule.beta(update);
        let dropout = UpdateDropout::new(self.dropout, self.seed, update);
        LossSettings { scoring: self.scoring, objective: self.objective, beta, dropout }
    }
}

impl Policy {
    /// Adds the gradients of a mini-batch to the buffers, on every rank or on none.
    fn accumulate(
        &self,
        mini_batch: &[TrainedGroup],
        anchors: Anchors,
        loss: &LossSettings,
        groups: &[RolloutGroup],
    ) -> Result<ObjectiveSums, TrainError> {
        let failed = TrainError::during("computing gradients");
        let ranks = self.ranks.as_ref();
        let totals = count(mini_batch, ranks).map_err(&failed)?;
        let sums = accumulate(&self.model, mini_batch, anchors, totals, loss);
        let sums = sums.map_err(&failed).and_then(|sums| {
            sums.map_err(|NonFiniteLoss { loss, groups: of }| {
                let samples: Vec<String> = of.iter().map(|&g| groups[g].sample_id()).collect();
                self.not_finite("loss", loss, &samples)
            })
        });
        self.agreed(sums)?.sum_over(ranks).map_err(&failed)
    }
}

/// The groups as the policy learns from them.
fn trained(groups: &[RolloutGroup], masks_truncated: bool) -> Vec<TrainedGroup<'_>> {
    groups
        .iter()
        .map(|group| {
            let completions = group.completions.iter().map(|member| TrainedCompletion {
                token_ids: &member.completion.token_ids,
                sampled_logps: &member.completion.logps,
                advantage: member.advantage,
                is_masked: masks_truncated && !member.completion.is_finished,
            });
            TrainedGroup { prompt: &group.question.prompt, completions: completions.collect() }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::super::prompt_sampler::{Listed, Outcome};
    use super::super::ranks::Solo;
    use super::super::settings::grpo_settings;
    use super::super::setup::{Setup, Trainer};
    use super::*;
    use crate::config::RunConfig;
    use crate::data::tasks::resolved;

    #[test]
    fn what_an_update_drops_is_named_by_the_seed_and_the_update() {
        let changes = ["train.seed=9", "model.lora.rank=4", "model.lora.dropout=0.25"];
        let config = RunConfig::load("quickstart.toml", &changes.map(str::to_owned)).unwrap();
        let settings = grpo_settings(&resolved(&config).unwrap(), 50);
        assert_eq!(settings.loss(7).dropout, UpdateDropout::new(0.25, 9, 7));
        let none = GrpoSettings { dropout: 0.0, ..settings };
        assert_eq!(none.loss(7).dropout, None);
    }

    #[test]
    fn the_sampler_receives_the_rewards_and_truncated_completions_are_masked_where_asked() {
        let changes =
            ["grpo.prompts_per_update=2", "grpo.group_size=2", "rollout.max_new_tokens=40"];
        let config = RunConfig::load("quickstart.toml", &changes.map(str::to_owned)).unwrap();
        let config = resolved(&config).unwrap();
        let mut setup = Setup::open(&config).unwrap();
        let observed = Arc::<Mutex<Vec<Outcome>>>::default();
        let rows = Box::new(Listed::new(vec![3, 1], Arc::clone(&observed)));
        let (all, processor) = (setup.questions.all().clone(), Arc::clone(&setup.processor));
        let mut questions = DrawnQuestions::new(all, processor, (rows, 4), &config.data).unwrap();
        let (mut policy, trainer) = setup.load(&config, None, Box::new(Solo)).unwrap();
        let Trainer::Grpo(mut trainer) = trainer else { panic!("GRPO-D samples") };
        let mut batch = trainer.train_batch(&mut policy, &mut questions, &mut |_, _| {}).unwrap();
        let rewards = batch.groups.iter().map(RolloutGroup::rewards);
        let expected: Vec<Outcome> = [3, 1]
            .into_iter()
            .zip(rewards)
            .map(|(row, rewards)| Outcome { row, rewards })
            .collect();
        assert_eq!(*observed.lock().unwrap(), expected);

        for (i, member) in batch.groups[0].completions.iter_mut().enumerate() {
            member.completion.is_finished = i == 0;
        }
        for (masks_truncated, expected) in [(true, [false, true]), (false, [false; 2])] {
            let group = &trained(&batch.groups, masks_truncated)[0];
            let are_masked: Vec<bool> = group.completions.iter().map(|c| c.is_masked).collect();
            assert_eq!(are_masked, expected);
        }
    }
}
