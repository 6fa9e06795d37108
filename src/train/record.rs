//! The last stage of an update: its line of metrics and its completions' records.
//! Not here: the files that they go to (`run_folder`).

use std::collections::BTreeMap;
use std::time::Instant;

use candle_core::Device;

use super::accumulate::ObjectiveSums;
use super::reward::{RewardedCompletion, RolloutGroup};
use super::step::StepReport;
use crate::grpo::advantage::standard_deviation;
use crate::model::gpu;
use crate::run_folder::metrics::{UpdateMetrics, peak_bytes};
use crate::run_folder::records::CompletionRecord;

/// Times the stages of an update. What a batch does before its first update counts towards that update.
pub(super) struct UpdateClock {
    update_began: Instant,
    stage_began: Instant,
    times: UpdateMetrics,
}

impl UpdateClock {
    pub(super) fn start() -> Self {
        let now = Instant::now();
        Self { update_began: now, stage_began: now, times: UpdateMetrics::default() }
    }

    pub(super) fn rollout_ends(&mut self) {
        self.times.s_rollout = self.stage_began.elapsed().as_secs_f64();
    }

    pub(super) fn reference_took(&mut self, seconds: f64) {
        self.times.s_reference = seconds;
    }

    pub(super) fn policy_begins(&mut self) {
        self.stage_began = Instant::now();
    }

    pub(super) fn step_begins(&mut self) {
        self.times.s_policy = self.stage_began.elapsed().as_secs_f64();
        self.stage_began = Instant::now();
    }

    /// The update's times and the peak of the memory that it computes in, without other figures; starts timing the next update.
    pub(super) fn update_ends(&mut self, n_packed: f64, device: &Device) -> UpdateMetrics {
        let s_total = self.update_began.elapsed().as_secs_f64();
        let times = UpdateMetrics {
            tokens_per_s: n_packed / s_total,
            s_optimizer: self.stage_began.elapsed().as_secs_f64(),
            s_total,
            peak_bytes: if device.is_cpu() { peak_bytes() } else { gpu::peak_bytes(device).ok() },
            ..std::mem::take(&mut self.times)
        };
        self.update_began = Instant::now();
        times
    }
}

/// The metrics of an update of GRPO, except the KL divergence, which the caller adds where there is a reference.
///
/// - `update`, `beta`: its number, from 1, and its KL weight
pub(super) fn update_metrics(
    (update, beta): (u64, f64),
    groups: &[RolloutGroup],
    sums: &ObjectiveSums,
    step: StepReport,
    (clock, device): (&mut UpdateClock, &Device),
) -> UpdateMetrics {
    let all = || groups.iter().flat_map(|group| &group.completions);
    let n = all().count().max(1) as f64;
    let mean = |of: &dyn Fn(&RewardedCompletion) -> f64| all().map(of).sum::<f64>() / n;
    let fraction = |is: &dyn Fn(&RewardedCompletion) -> bool| {
        Some(all().filter(|completion| is(completion)).count() as f64 / n)
    };
    let n_groups = groups.len().max(1) as f64;
    let std = groups.iter().map(|group| standard_deviation(&group.rewards())).sum::<f64>();
    let n_silent = groups.iter().filter(|group| !group.has_signal).count() as f64;
    let mismatch = Some(sums.mismatch).filter(|mismatch| mismatch.n_tokens > 0.0);
    UpdateMetrics {
        update,
        beta: Some(beta),
        lr: step.lr,
        loss: sums.loss,
        reward: Some(mean(&|c| c.reward.total)),
        reward_std: Some(std / n_groups),
        accuracy_reward: Some(mean(&|c| c.reward.accuracy)),
        format_reward: Some(mean(&|c| c.reward.format)),
        reward_components: component_means(groups, n),
        ungraded_fraction: fraction(&|c| !c.reward.reason.is_graded()),
        clip_fraction: Some(sums.n_clipped / sums.n_tokens.max(1.0)),
        entropy: Some(sums.entropy / sums.n_scored.max(1.0)),
        logp_mismatch_max: mismatch.map(|mismatch| mismatch.max),
        logp_mismatch_mean: mismatch.map(|mismatch| mismatch.sum / mismatch.n_tokens),
        completion_length: mean(&|c| c.completion.token_ids.len() as f64),
        truncated_fraction: fraction(&|c| !c.completion.is_finished),
        zero_signal_fraction: Some(n_silent / n_groups),
        grad_norm: step.grad_norm,
        ..clock.update_ends(sums.n_packed, device)
    }
}

/// Means of the further reward components, by name.
fn component_means(groups: &[RolloutGroup], n: f64) -> BTreeMap<String, f64> {
    let mut means: BTreeMap<String, f64> = BTreeMap::new();
    let completions = groups.iter().flat_map(|group| &group.completions);
    for (name, value) in completions.flat_map(|completion| &completion.reward.components) {
        *means.entry((*name).to_owned()).or_insert(0.0) += value;
    }
    for sum in means.values_mut() {
        *sum /= n;
    }
    means
}

/// A group's lines of `completions.jsonl`.
///
/// - `update`: the first update that it serves, from 1
/// - `records_ids`: whether to include the token ids
pub(super) fn completion_records(
    group: &RolloutGroup,
    update: u64,
    records_ids: bool,
) -> impl Iterator<Item = CompletionRecord> {
    let sample = &group.question.sample;
    group.completions.iter().enumerate().map(move |(completion_idx, member)| {
        let reward = &member.reward;
        let components = reward.components.iter().map(|&(name, x)| (name.to_owned(), x));
        CompletionRecord {
            update,
            prompt_id: sample.id.clone(),
            completion_idx,
            problem: sample.problem.clone(),
            solution: sample.solution.clone(),
            completion: member.text.clone(),
            answer: reward.answer.clone(),
            accuracy_reward: reward.accuracy,
            format_reward: reward.format,
            components: components.collect(),
            reward: reward.total,
            advantage: member.advantage,
            n_tokens: member.completion.token_ids.len(),
            token_ids: records_ids.then(|| member.completion.token_ids.clone()),
            is_truncated: !member.completion.is_finished,
        }
    })
}

#[cfg(test)]
mod tests {
    use std::thread::sleep;
    use std::time::Duration;

    use super::*;

    /// Sleeping takes at least as long as it is told to, so that these bounds hold on any machine.
    #[test]
    #[expect(clippy::float_cmp, reason = "the same numbers divided")]
    fn stages_take_the_time_between_their_calls_and_none_is_counted_twice() {
        let began = Instant::now();
        let mut clock = UpdateClock::start();
        let pause = Duration::from_millis(3);
        let least = pause.as_secs_f64();
        sleep(pause);
        clock.rollout_ends();
        clock.reference_took(0.125);
        sleep(pause);
        clock.policy_begins();
        sleep(pause);
        clock.step_begins();
        sleep(pause);
        let first = clock.update_ends(100.0, &Device::Cpu);
        let stages = [first.s_rollout, first.s_policy, first.s_optimizer];
        assert!(stages.iter().all(|stage| *stage >= least), "{stages:?}");
        assert!(stages.iter().sum::<f64>() + least <= first.s_total, "{first:?}");
        assert_eq!(first.s_reference, 0.125);
        assert_eq!(first.tokens_per_s, 100.0 / first.s_total);
        assert_eq!(first.peak_bytes.is_some(), peak_bytes().is_some());

        // The second update of the batch samples nothing.
        clock.policy_begins();
        clock.step_begins();
        sleep(pause);
        let second = clock.update_ends(100.0, &Device::Cpu);
        assert_eq!((second.s_rollout, second.s_reference), (0.0, 0.0));
        assert!(first.s_total + second.s_total <= began.elapsed().as_secs_f64());
    }
}
