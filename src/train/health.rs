//! Signs that a run is learning nothing, or the wrong thing, in words that say what to try.
//! Not here: the figures (`metrics`), how warnings reach a person (`progress`).

use std::collections::VecDeque;
use std::fmt;

use crate::config::{Method, RunConfig};
use crate::run_folder::metrics::UpdateMetrics;
use crate::run_folder::records::CompletionRecord;

/// Updates over which the format and accuracy rewards are averaged before means are compared.
/// Ours: with 32 completions an update, such a mean is certain to about 0.02.
const WINDOW: usize = 20;
/// By how much the format reward must have risen from one window to the next.
const FORMAT_RISE: f64 = 0.2;
/// By how much the accuracy reward may have risen and still be called flat.
const ACCURACY_RISE: f64 = 0.02;
/// Above this, accuracy has little room to rise.
const ACCURACY_ENOUGH: f64 = 0.9;
/// Updates for which a warning is not repeated, doubled with each time that it is.
const FIRST_PAUSE: u64 = 10;

/// From where on a person is warned; the run file's `train.warn_*`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Updates in a row in which no group had a signal; 0 never warns.
    pub silent_updates: usize,
    /// Fraction of a batch's completions that repeat another of their group, 0 to 1; 1 never warns.
    pub duplicate_fraction: f64,
    /// Fraction of a batch's completions that were cut off, 0 to 1; 1 never warns.
    pub truncated_fraction: f64,
}

/// Something that a person should look at. Displayed, it says what was seen, why it matters and
/// what to try.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Warning {
    /// No group has had a signal for a while.
    Silent {
        /// How many updates in a row.
        updates: usize,
        /// The mean reward of the last one.
        reward: Option<f64>,
    },
    /// Completions of a group repeat each other.
    Duplicates {
        /// Fraction of the batch's completions that do.
        fraction: f64,
    },
    /// Completions are cut off by the token limit.
    Truncated {
        /// Fraction of the batch's completions that are.
        fraction: f64,
    },
    /// The format reward climbs and the accuracy reward does not.
    FormatOnly {
        /// Mean format reward over one window and over the next.
        format: [f64; 2],
        /// Mean accuracy reward over the same two.
        accuracy: [f64; 2],
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Silent { updates, reward } => {
                write!(
                    f,
                    "for {updates} updates in a row, all completions of each group had the same reward"
                )?;
                if let Some(reward) = reward {
                    write!(f, " (mean {reward:.2})")?;
                }
                f.write_str(
                    ": every advantage is 0 and nothing is learnt\n\
                     hint: raise grpo.group_size or rollout.temperature; if the reward is low, take \
                     easier data and look at `answer` in completions.jsonl; if it is high, harder data",
                )
            }
            Self::Duplicates { fraction } => write!(
                f,
                "{:.0}% of the completions repeat another of their group: the policy no longer \
                 explores, and groups without variety have no signal\n\
                 hint: raise rollout.temperature or the KL weight (kl.beta_max, kl.beta), or lower optim.lr",
                fraction * 100.0
            ),
            Self::Truncated { fraction } => write!(
                f,
                "{:.0}% of the completions were cut off by the token limit: most never reach an \
                 answer, so that the reward measures length\n\
                 hint: raise rollout.max_new_tokens; if the texts in completions.jsonl ramble, the \
                 policy does not know the template (data.template) or has come apart (lower optim.lr)",
                fraction * 100.0
            ),
            Self::FormatOnly { format, accuracy } => write!(
                f,
                "over {WINDOW} updates the format reward rose from {:.2} to {:.2} while accuracy \
                 stayed at {:.2} (before: {:.2}): the policy learns the tags and not the task\n\
                 hint: usual in a run's first updates; if it lasts, lower reward.alpha, and check in \
                 completions.jsonl that right answers are found (`answer`, `solution`)",
                format[0], format[1], accuracy[1], accuracy[0]
            ),
        }
    }
}

/// The warning, if completions are sampled from another distribution than the one that is trained.
pub fn off_policy(config: &RunConfig) -> Option<String> {
    let filters = config.rollout.filters();
    let is_off_policy = config.method != Method::Sft && !filters.is_empty();
    is_off_policy.then(|| {
        format!(
            "off-policy by {}: completions are not sampled from the whole distribution, which is what \
             log-probabilities and their gradient are of, and no ratio corrects for it\n\
             hint: leave out what is not meant; rollout.temperature counts in both",
            filters.join(", ")
        )
    })
}

/// Watches a run's updates.
#[derive(Debug, Clone)]
pub struct Health {
    thresholds: Thresholds,
    silent_updates: usize,
    /// Format and accuracy rewards of the last two windows.
    rewards: VecDeque<[f64; 2]>,
    silent: Alarm,
    duplicates: Alarm,
    truncated: Alarm,
    format_only: Alarm,
}

/// Keeps one warning from being repeated at every update.
#[derive(Debug, Clone)]
struct Alarm {
    quiet_until: u64,
    pause: u64,
}

impl Health {
    /// A watch that has seen nothing yet. That of a resumed run is shown the earlier updates first,
    /// without their completions, and its warnings about them are dropped.
    pub fn new(thresholds: Thresholds) -> Self {
        let alarm = || Alarm { quiet_until: 0, pause: FIRST_PAUSE };
        Self {
            thresholds,
            silent_updates: 0,
            rewards: VecDeque::with_capacity(2 * WINDOW),
            silent: alarm(),
            duplicates: alarm(),
            truncated: alarm(),
            format_only: alarm(),
        }
    }

    /// Looks at an update; what is worth a warning now.
    ///
    /// - `completions`: those of the update, group after group
    pub fn observe(
        &mut self,
        metrics: &UpdateMetrics,
        completions: &[CompletionRecord],
    ) -> Vec<Warning> {
        let update = metrics.update;
        let limits = self.thresholds;
        let mut warnings = Vec::new();

        let is_silent = metrics.zero_signal_fraction.is_some_and(|fraction| fraction >= 1.0);
        self.silent_updates = if is_silent { self.silent_updates + 1 } else { 0 };
        let is_too_long = limits.silent_updates > 0 && self.silent_updates >= limits.silent_updates;
        if is_too_long && self.silent.sounds(update) {
            let updates = self.silent_updates;
            warnings.push(Warning::Silent { updates, reward: metrics.reward });
        }

        let fraction = duplicate_fraction(completions);
        if fraction > limits.duplicate_fraction && self.duplicates.sounds(update) {
            warnings.push(Warning::Duplicates { fraction });
        }

        let fraction = metrics.truncated_fraction.unwrap_or(0.0);
        if fraction > limits.truncated_fraction && self.truncated.sounds(update) {
            warnings.push(Warning::Truncated { fraction });
        }

        if let (Some(format), Some(accuracy)) = (metrics.format_reward, metrics.accuracy_reward) {
            if self.rewards.len() == 2 * WINDOW {
                self.rewards.pop_front();
            }
            self.rewards.push_back([format, accuracy]);
            if let Some(warning) = format_only_climb(&self.rewards)
                && self.format_only.sounds(update)
            {
                warnings.push(warning);
            }
        }
        warnings
    }
}

impl Alarm {
    /// Whether to warn now, given that there is reason to.
    fn sounds(&mut self, update: u64) -> bool {
        if update < self.quiet_until {
            return false;
        }
        self.quiet_until = update + self.pause;
        self.pause *= 2;
        true
    }
}

/// The fraction of the completions whose text is also that of another one of their group, 0 to 1.
///
/// - `completions`: group after group, each in the order of its indices
pub fn duplicate_fraction(completions: &[CompletionRecord]) -> f64 {
    // A prompt that is drawn twice in a row makes two groups: the index falls back to 0.
    let is_same_group = |left: &CompletionRecord, right: &CompletionRecord| {
        left.prompt_id == right.prompt_id && left.completion_idx < right.completion_idx
    };
    let repeated: usize = completions.chunk_by(is_same_group).map(n_repeated).sum();
    repeated as f64 / completions.len().max(1) as f64
}

fn n_repeated(group: &[CompletionRecord]) -> usize {
    let mut texts: Vec<&str> = group.iter().map(|record| record.completion.as_str()).collect();
    texts.sort_unstable();
    texts.chunk_by(|left, right| left == right).map(<[_]>::len).filter(|count| *count > 1).sum()
}

/// The warning, if the last two windows are full and show the one reward rising without the other.
fn format_only_climb(rewards: &VecDeque<[f64; 2]>) -> Option<Warning> {
    if rewards.len() < 2 * WINDOW {
        return None;
    }
    let mean = |part: usize, start: usize| {
        rewards.iter().skip(start).take(WINDOW).map(|pair| pair[part]).sum::<f64>() / WINDOW as f64
    };
    let means = |part| [mean(part, 0), mean(part, WINDOW)];
    let (format, accuracy) = (means(0), means(1));
    let is_climbing = format[1] - format[0] >= FORMAT_RISE;
    let is_flat = accuracy[1] - accuracy[0] <= ACCURACY_RISE && accuracy[1] < ACCURACY_ENOUGH;
    (is_climbing && is_flat).then_some(Warning::FormatOnly { format, accuracy })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigFile;

    #[test]
    fn sampling_from_another_distribution_than_the_trained_one_is_told() {
        let warning = |overrides: &[&str]| {
            let file = ConfigFile::from_text("run.toml", "[data]\ntask = \"synth-vc\"\n");
            let overrides: Vec<String> = overrides.iter().map(|text| (*text).to_owned()).collect();
            off_policy(&RunConfig::from_file(&file, &overrides).unwrap())
        };
        assert_eq!(warning(&["rollout.temperature=0.5", "rollout.max_new_tokens=9"]), None);
        for filter in [
            "rollout.top_k=1",
            "rollout.top_p=0.999",
            "rollout.min_p=0.001",
            "rollout.repetition_penalty=1.001",
            "rollout.repetition_penalty=0.999",
            "rollout.min_new_tokens=1",
        ] {
            let (key, _) = filter.split_once('=').unwrap();
            let told = warning(&[filter]).unwrap();
            assert!(told.starts_with(&format!("off-policy by {key}: ")), "{told}");
            assert_eq!(warning(&[filter, "method=sft"]), None);
        }
    }
}
