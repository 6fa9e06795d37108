//! The training loop: one update after the other, in the order of the paper.
//! Not here: each stage's own work, which stands in the file of its name.
//!
//! An update is one optimiser step. A batch of rollouts serves `updates_per_rollout` of them; a run is
//! saved and interrupted between batches, so that a checkpoint never has to hold rollouts.

use std::collections::BTreeMap;
use std::time::Instant;

use candle_core::Tensor;

use super::error::TrainError;
use super::learner::Learner;
use super::optimizer::StepReport;
use super::policy_step::{
    Anchors, NonFiniteLoss, ObjectiveSettings, ScoringSettings, TrainedCompletion, TrainedGroup,
    accumulate_gradients, score_groups,
};
use super::reference::Reference;
use super::rollouts::{RolloutGroup, RolloutNames, sample_groups, score_groups as reward_groups};
use super::supervised_step::{Taught, accumulate_supervised};
use crate::config::SftTarget;
use crate::data::{Sample, bare_answer, supervised_completion};
use crate::grpo::objective::ClipRange;
use crate::model::qwen2_vl::Qwen2Vl;
use crate::reward::Scorer;
use crate::rollout::engine::GenerationSettings;
use crate::run_folder::metrics::{UpdateMetrics, peak_bytes};

/// What a batch gave: a line of metrics per update, and what was sampled for them.
pub(super) struct Trained {
    /// One per update.
    pub(super) metrics: Vec<UpdateMetrics>,
    /// The batch's groups; none in supervised training.
    pub(super) groups: Vec<RolloutGroup>,
    /// Why rows were left out.
    pub(super) skipped: Vec<String>,
}

/// Runs updates of GRPO and GRPO-D.
pub(super) struct PolicyTrainer<'a> {
    pub(super) learner: &'a mut Learner,
    pub(super) reference: &'a Reference,
    pub(super) generation: &'a GenerationSettings,
    pub(super) scorer: &'a mut Scorer,
    pub(super) scoring: ScoringSettings,
    pub(super) clip_range: ClipRange,
    pub(super) on_stage: &'a mut dyn FnMut(&'static str, usize),
}

impl PolicyTrainer<'_> {
    /// Samples a batch of rollouts and makes its updates.
    pub(super) fn train_batch(&mut self) -> Result<Trained, TrainError> {
        let started = Instant::now();
        let (groups, skipped) = self.rollouts()?;
        let s_rollout = started.elapsed().as_secs_f64();

        let masks = self.learner.config.grpo.mask_truncated;
        let n_prompts = self.learner.config.grpo.prompts_per_update;
        let mini_batches: Vec<&[RolloutGroup]> = groups.chunks(n_prompts).collect();
        let anchors = self.anchors(&mini_batches, masks)?;
        let mut clock = started;
        let mut metrics = Vec::new();
        for i in 0..self.learner.updates_of_batch() {
            let part = i % mini_batches.len();
            let mut line = self.update(mini_batches[part], &anchors.of(part), masks)?;
            if i == 0 {
                line.s_rollout = s_rollout;
                line.s_reference = anchors.s_reference;
            }
            line.s_total = clock.elapsed().as_secs_f64();
            line.tokens_per_s /= line.s_total;
            clock = Instant::now();
            metrics.push(line);
        }
        Ok(Trained { metrics, groups, skipped })
    }

    /// Prompts, completions, rewards, advantages.
    fn rollouts(&mut self) -> Result<(Vec<RolloutGroup>, Vec<String>), TrainError> {
        let learner = &mut *self.learner;
        let grpo = &learner.config.grpo;
        let batch = learner.next_questions(grpo.prompts_per_rollout())?;
        learner.check_lengths(&batch.questions, self.generation.max_new_tokens)?;
        let names = RolloutNames {
            seed: learner.config.train.seed,
            update: learner.progress.update as u32,
            group_size: learner.config.grpo.group_size,
        };
        (self.on_stage)("rollout", 0);
        let mut on_tokens = |n| (self.on_stage)("rollout", n);
        let completions = sample_groups(
            &learner.sampler,
            &batch.questions,
            self.generation,
            names,
            &mut on_tokens,
        )
        .map_err(TrainError::during("sampling completions"))?;
        let groups =
            reward_groups(&learner.setup.processor, batch.questions, completions, self.scorer)?;
        Ok((groups, batch.skipped))
    }

    /// The log-probabilities that stay put while the batch's updates move the policy.
    fn anchors(
        &mut self,
        parts: &[&[RolloutGroup]],
        masks: bool,
    ) -> Result<BatchAnchors, TrainError> {
        let started = Instant::now();
        let mut anchors = BatchAnchors::default();
        if let Some(reference) = self.reference.model() {
            (self.on_stage)("reference", 0);
            anchors.reference = self.score(reference, parts, masks)?;
        }
        anchors.s_reference = started.elapsed().as_secs_f64();
        if self.learner.config.grpo.updates_per_rollout > 1 {
            (self.on_stage)("old policy", 0);
            anchors.old = self.score(&self.learner.sampler, parts, masks)?;
        }
        Ok(anchors)
    }

    fn score(
        &self,
        model: &Qwen2Vl,
        parts: &[&[RolloutGroup]],
        masks: bool,
    ) -> Result<Vec<Vec<Tensor>>, TrainError> {
        let score =
            |part: &&[RolloutGroup]| score_groups(model, &trained(part, masks), self.scoring);
        let all: candle_core::Result<_> = parts.iter().map(score).collect();
        all.map_err(TrainError::during("computing log-probabilities"))
    }

    /// One optimiser step on a part of the batch.
    fn update(
        &mut self,
        groups: &[RolloutGroup],
        anchors: &Anchors,
        masks: bool,
    ) -> Result<UpdateMetrics, TrainError> {
        (self.on_stage)("policy", 0);
        let learner = &mut *self.learner;
        let beta = learner.kl_schedule.beta(learner.progress.update);
        let limit = learner.config.grpo.log_ratio_limit;
        let settings =
            ObjectiveSettings { clip_range: self.clip_range, beta, log_ratio_limit: limit };
        let started = Instant::now();
        let trained = trained(groups, masks);
        let sums =
            accumulate_gradients(&learner.model, &trained, *anchors, (self.scoring, settings))
                .map_err(TrainError::during("computing gradients"))?
                .map_err(|bad| learner.non_finite_loss(&bad, groups))?;
        let s_policy = started.elapsed().as_secs_f64();

        let started = Instant::now();
        let samples = || groups.iter().map(|g| g.question.sample.id.clone()).collect();
        let StepReport { lr, grad_norm } = learner.step(samples)?;
        let rewards = RewardMeans::of(groups);
        Ok(UpdateMetrics {
            update: learner.progress.update,
            beta: Some(beta),
            lr,
            loss: sums.loss,
            reward: Some(rewards.reward),
            reward_std: Some(rewards.std),
            accuracy_reward: Some(rewards.accuracy),
            format_reward: Some(rewards.format),
            reward_components: rewards.components,
            ungraded_fraction: Some(rewards.ungraded),
            kl: anchors.reference.map(|_| sums.kl),
            clip_fraction: Some(sums.n_clipped / sums.n_tokens.max(1.0)),
            entropy: Some(sums.entropy / sums.n_scored.max(1.0)),
            completion_length: rewards.length,
            truncated_fraction: Some(rewards.truncated),
            zero_signal_fraction: Some(rewards.without_signal),
            grad_norm,
            tokens_per_s: sums.n_packed as f64,
            s_policy,
            s_optimizer: started.elapsed().as_secs_f64(),
            peak_bytes: peak_bytes(),
            ..UpdateMetrics::default()
        })
    }
}

/// [`Anchors`] of every part of a batch.
#[derive(Default)]
struct BatchAnchors {
    reference: Vec<Vec<Tensor>>,
    old: Vec<Vec<Tensor>>,
    s_reference: f64,
}

impl BatchAnchors {
    fn of(&self, part: usize) -> Anchors<'_> {
        Anchors {
            old: self.old.get(part).map(Vec::as_slice),
            reference: self.reference.get(part).map(Vec::as_slice),
        }
    }
}

/// The groups as the policy step sees them.
fn trained(groups: &[RolloutGroup], masks_truncated: bool) -> Vec<TrainedGroup<'_>> {
    groups
        .iter()
        .map(|group| TrainedGroup {
            prompt: &group.question.prompt,
            completions: group
                .completions
                .iter()
                .map(|scored| TrainedCompletion {
                    token_ids: &scored.completion.token_ids,
                    advantage: scored.advantage,
                    is_masked: masks_truncated && !scored.completion.is_finished,
                })
                .collect(),
        })
        .collect()
}

/// Means over the completions of a batch.
struct RewardMeans {
    reward: f64,
    std: f64,
    accuracy: f64,
    format: f64,
    length: f64,
    truncated: f64,
    ungraded: f64,
    components: BTreeMap<String, f64>,
    without_signal: f64,
}

impl RewardMeans {
    fn of(groups: &[RolloutGroup]) -> Self {
        let all = || groups.iter().flat_map(|group| &group.completions);
        let n = all().count().max(1) as f64;
        let n_groups = groups.len().max(1) as f64;
        let std = |group: &RolloutGroup| {
            let rewards: Vec<f64> = group.completions.iter().map(|c| c.reward.total).collect();
            let mean = rewards.iter().sum::<f64>() / rewards.len() as f64;
            let squares: f64 = rewards.iter().map(|r| (r - mean).powi(2)).sum();
            (squares / (rewards.len() as f64 - 1.0).max(1.0)).sqrt()
        };
        let mut components: BTreeMap<String, f64> = BTreeMap::new();
        for (name, value) in all().flat_map(|c| &c.reward.components) {
            *components.entry((*name).to_owned()).or_insert(0.0) += value;
        }
        for sum in components.values_mut() {
            *sum /= n;
        }
        Self {
            components,
            reward: all().map(|c| c.reward.total).sum::<f64>() / n,
            std: groups.iter().map(std).sum::<f64>() / n_groups,
            accuracy: all().map(|c| c.reward.accuracy).sum::<f64>() / n,
            format: all().map(|c| c.reward.format).sum::<f64>() / n,
            length: all().map(|c| c.completion.token_ids.len() as f64).sum::<f64>() / n,
            truncated: all().filter(|c| !c.completion.is_finished).count() as f64 / n,
            ungraded: all().filter(|c| !c.reward.reason.is_graded()).count() as f64 / n,
            without_signal: groups.iter().filter(|g| !g.has_signal()).count() as f64 / n_groups,
        }
    }
}

/// What supervised training teaches of a sample.
pub(super) fn taught_text(sample: &Sample, target: SftTarget) -> Result<String, TrainError> {
    match target {
        SftTarget::Solution => Ok(bare_answer(sample)),
        SftTarget::Auto => Ok(supervised_completion(sample).unwrap_or_else(|| bare_answer(sample))),
        SftTarget::Reasoning => supervised_completion(sample)
            .ok_or_else(|| TrainError::NoCompletion { sample: sample.id.clone() }),
    }
}

impl Learner {
    /// One optimiser step of supervised training.
    pub(super) fn train_supervised(
        &mut self,
        scoring: ScoringSettings,
    ) -> Result<Trained, TrainError> {
        let started = Instant::now();
        let n_prompts = self.config.grpo.prompts_per_update;
        let batch = self.next_questions(n_prompts)?;
        let answers = batch.questions.iter().map(|question| -> Result<_, TrainError> {
            let sample = &question.sample;
            let text = taught_text(sample, self.config.sft.target)?;
            let mut token_ids = self.setup.processor.encode_text(&text)?;
            token_ids.push(self.setup.processor.special().im_end);
            Ok(token_ids)
        });
        let answers: Vec<Vec<u32>> = answers.collect::<Result<_, _>>()?;
        let longest = answers.iter().map(Vec::len).max().unwrap_or(0);
        self.check_lengths(&batch.questions, longest)?;
        let groups: Vec<TrainedGroup> = batch
            .questions
            .iter()
            .zip(&answers)
            .map(|(question, token_ids)| TrainedGroup {
                prompt: &question.prompt,
                completions: vec![TrainedCompletion {
                    token_ids,
                    advantage: 0.0,
                    is_masked: false,
                }],
            })
            .collect();
        let taught = if self.config.sft.train_on_prompt {
            Taught::PromptAndCompletion
        } else {
            Taught::Completion
        };
        let sums = accumulate_supervised(&self.model, &groups, taught, scoring)
            .map_err(TrainError::during("computing gradients"))?;
        let samples =
            || -> Vec<String> { batch.questions.iter().map(|q| q.sample.id.clone()).collect() };
        if !sums.loss.is_finite() {
            return Err(self.not_finite("loss", sums.loss, &samples()));
        }
        let s_policy = started.elapsed().as_secs_f64();
        let stepped = Instant::now();
        let StepReport { lr, grad_norm } = self.step(samples)?;
        let s_total = started.elapsed().as_secs_f64();
        let metrics = UpdateMetrics {
            update: self.progress.update,
            lr,
            loss: sums.loss,
            entropy: Some(sums.entropy / sums.n_tokens as f64),
            completion_length: answers.iter().map(Vec::len).sum::<usize>() as f64
                / answers.len() as f64,
            grad_norm,
            tokens_per_s: sums.n_packed as f64 / s_total,
            s_policy,
            s_optimizer: stepped.elapsed().as_secs_f64(),
            s_total,
            peak_bytes: peak_bytes(),
            ..UpdateMetrics::default()
        };
        Ok(Trained { metrics: vec![metrics], groups: Vec::new(), skipped: batch.skipped })
    }

    fn non_finite_loss(&self, bad: &NonFiniteLoss, groups: &[RolloutGroup]) -> TrainError {
        let of = |&group: &usize| groups[group].question.sample.id.clone();
        let samples: Vec<String> = bad.groups.iter().map(of).collect();
        self.not_finite("loss", bad.loss, &samples)
    }
}
