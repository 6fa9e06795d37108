//! What to change in a run whose GPU ran out of memory in mid-run: planned anew for a card in which what was seen would fit.
//! Not here: the ladder of settings (`fit`), what is said of it (`train::out_of_memory`).
//!
//! The plan may have said that the run fits. What a run holds in every stage (weights, gradients, the optimiser's state)
//! is known; so what the stage holds besides was planned too low, at least by the ratio of what the card had left
//! for it to what was planned, and is raised by that ratio, and by what plans may be off, under every other configuration.

use super::fit::{Enough, Lengths, Shortfall, alternatives, ladder};
use super::memory::Memory;
use super::needs::Needs;
use crate::config::RunConfig;
use crate::train::stage::Stage;

/// Settings that are named.
const MOST_NAMED: usize = 3;
/// What a stage holds besides is planned within a twentieth (`held`).
const MARGIN: f64 = 1.05;

/// What makes a run fit that did not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relief {
    /// Settings each of which is enough, at most three: those first that a run in progress may be continued with.
    pub alternatives: Vec<Enough>,
    /// Where there are none: what is needed with everything that lowers anything.
    pub shortfall: Option<Shortfall>,
}

impl Relief {
    /// - `stage`: the one that ran out
    /// - `available_bytes`: of the GPU, to this run
    /// - `may_change`: whether a run in progress may be continued with another value of a key
    pub(in crate::train) fn of(
        config: &RunConfig,
        needs: &Needs,
        (stage, available_bytes): (Stage, u64),
        may_change: &dyn Fn(&str) -> bool,
    ) -> Self {
        let memory = |changed: &RunConfig| needs.memory(changed);
        relief(config, needs.workload.lengths(), (stage, available_bytes), &memory, may_change)
    }
}

fn relief(
    config: &RunConfig,
    lengths: Lengths,
    (stage, available_bytes): (Stage, u64),
    memory: &dyn Fn(&RunConfig) -> Memory,
    may_change: &dyn Fn(&str) -> bool,
) -> Relief {
    let raised = Raised::by(&memory(config), stage, available_bytes);
    let needed = |changed: &RunConfig| raised.needed(&memory(changed));
    // While weights are loaded nothing is raised, and what is needed may seem to fit: then it is what did not.
    let as_it_was = needed(config);
    let room =
        if as_it_was > available_bytes { available_bytes } else { as_it_was - as_it_was / 20 };
    let found = |may_change: &dyn Fn(&str) -> bool| {
        alternatives(config, lengths, room, &needed, may_change)
    };
    let mut settings = found(may_change);
    for other in found(&|_| true) {
        if !settings.contains(&other) {
            settings.push(other);
        }
    }
    settings.truncate(MOST_NAMED);
    let is_short = settings.is_empty();
    let shortfall = is_short.then(|| ladder(config, lengths, room, needed).shortfall).flatten();
    Relief { alternatives: settings, shortfall }
}

/// By how much the plan is raised.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Raised {
    decoding: f64,
    learning: f64,
}

impl Raised {
    /// - `planned`: under the configuration that ran out
    fn by(planned: &Memory, stage: Stage, available_bytes: u64) -> Self {
        let left = available_bytes.saturating_sub(planned.always()) as f64;
        let ratio = |planned: u64| (left / planned.max(1) as f64).max(1.0);
        match stage {
            Stage::Loading => Self { decoding: 1.0, learning: 1.0 },
            _ if stage.decodes() => Self { decoding: ratio(planned.rollout), learning: 1.0 },
            _ => Self { decoding: 1.0, learning: ratio(planned.learning) },
        }
    }

    /// Bytes that a run then needs.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "bytes of a card, not negative"
    )]
    fn needed(self, planned: &Memory) -> u64 {
        let decoding = planned.rollout as f64 * self.decoding;
        let learning = planned.learning as f64 * self.learning;
        planned.always() + (decoding.max(learning) * MARGIN) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTHS: Lengths = Lengths { stream: 4096, group: 1024 };

    fn config() -> RunConfig {
        let mut config = RunConfig::default();
        config.train.tokens_per_micro_batch = 4096;
        (config.rollout.max_batch, config.eval.max_batch) = (32, 1);
        (config.grpo.prompts_per_update, config.grpo.group_size) = (4, 8);
        (config.data.max_pixels, config.data.min_pixels) = (3000, 3000);
        config
    }

    /// 6000 bytes always, a third of them the optimiser's, which can be moved; a byte a token of a stream, on top of 100;
    /// 100 bytes for each completion decoded at a time.
    fn memory(config: &RunConfig) -> Memory {
        let optimizer = if config.optim.offload { 0 } else { 2000 };
        let learning = config.train.tokens_per_micro_batch as u64 + 100;
        let rollout = config.rollout.max_batch as u64 * 100;
        let total = 4000 + optimizer + learning.max(rollout);
        Memory { weights: 4000, optimizer, learning, rollout, total, ..Memory::default() }
    }

    fn relieved(stage: Stage, available: u64, may_change: &dyn Fn(&str) -> bool) -> Relief {
        relief(&config(), LENGTHS, (stage, available), &memory, may_change)
    }

    fn flags(relief: &Relief) -> Vec<String> {
        relief.alternatives.iter().map(Enough::flags).collect()
    }

    #[test]
    fn what_was_known_not_to_fit_needs_as_much_less_as_the_plan_says_and_a_margin() {
        // 6000 and 4196 in 10,100: nothing is raised. Streams of 2048 tokens take 2148, fewer than 32 completions.
        let policy = relieved(Stage::Policy, 10_100, &|_| true);
        let expected = ["--set train.tokens_per_micro_batch=2048", "--set optim.offload=true"];
        assert_eq!(flags(&policy), expected);
        assert_eq!(policy.alternatives[0].bytes, 6000 + 3360, "with a twentieth");
        assert_eq!(policy.alternatives[1].bytes, 4000 + 4405, "with a twentieth");
        assert_eq!(policy.shortfall, None);
        // 8205 bytes would do for 4000 and 4196, but for the twentieth.
        for (available, suffices) in [(8404, false), (8405, true)] {
            let policy = relieved(Stage::Policy, available, &|key| key == "optim.offload");
            let alone = flags(&policy).contains(&"--set optim.offload=true".to_owned());
            assert_eq!(alone, suffices, "{policy:?}");
        }
    }

    #[test]
    fn what_was_planned_to_fit_is_planned_higher_in_the_stage_that_did_not() {
        // Planned: 6000 and 4196. There were 5000 for it, and they were not enough: a fifth more, and a twentieth.
        let policy = relieved(Stage::Policy, 11_000, &|_| true);
        let expected = ["--set train.tokens_per_micro_batch=2048", "--set optim.offload=true"];
        assert_eq!(flags(&policy), expected);
        // 2148 * 5000 / 4196 * 1.05 = 2687, less than 32 completions and a twentieth.
        assert_eq!(policy.alternatives[0].bytes, 6000 + 3360);
        assert_eq!(policy.alternatives[1].bytes, 4000 + 5250);

        // Rollouts were planned to take 3200 of them.
        let rollout = relieved(Stage::Rollout, 11_000, &|_| true);
        let expected = ["--set rollout.max_batch=16", "--set optim.offload=true"];
        assert_eq!(flags(&rollout), expected, "shorter streams do not help");
        assert_eq!(relieved(Stage::Evaluation, 11_000, &|_| true), rollout);
    }

    #[test]
    fn weights_that_did_not_fit_need_less_than_they_seemed_to() {
        let short = relieved(Stage::Loading, 5900, &|_| true);
        assert!(!short.alternatives.is_empty());
        for enough in &short.alternatives {
            assert!(
                enough.flags().contains("optim.offload=true"),
                "6000 are the weights': {enough:?}"
            );
        }
        let unknown = relieved(Stage::Loading, 50_000, &|_| true);
        let as_it_was = 6000 + 4405;
        assert!(!unknown.alternatives.is_empty());
        for enough in &unknown.alternatives {
            assert!(enough.bytes <= as_it_was - as_it_was / 20, "{enough:?}");
        }
    }

    #[test]
    fn settings_that_a_run_may_be_continued_with_come_first() {
        let offload_alone = |key: &str| key == "optim.offload";
        let policy = relieved(Stage::Policy, 11_000, &offload_alone);
        let expected = ["--set optim.offload=true", "--set train.tokens_per_micro_batch=2048"];
        assert_eq!(flags(&policy), expected);
    }

    #[test]
    fn where_nothing_is_enough_the_least_is_named() {
        let none = relieved(Stage::Policy, 4100, &|_| true);
        assert_eq!(none.alternatives, []);
        // 4000 for the weights, one completion at a time, 128 tokens and 100 more, with a twentieth.
        assert_eq!(none.shortfall.map(|short| short.least_bytes), Some(4000 + 239));
    }
}
