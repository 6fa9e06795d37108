//! Warnings that a run is learning nothing, or the wrong thing, each with what to try.
//! Not here: the figures (`run_folder::metrics`), how warnings are shown (`progress`).

use std::collections::VecDeque;
use std::fmt;

use crate::config::{Method, RunConfig};
use crate::printable::count;
use crate::run_folder::metrics::UpdateMetrics;
use crate::run_folder::records::CompletionRecord;

/// Updates over which the format and accuracy rewards are averaged before means are compared.
/// Ours: with 32 completions an update, the standard error of such a mean is at most about 0.02.
const WINDOW: usize = 20;
/// By how much the format reward must have risen from one window to the next.
const FORMAT_RISE: f64 = 0.2;
/// By how much the accuracy reward may have risen and still be called flat.
const ACCURACY_RISE: f64 = 0.02;
/// Above this, accuracy has little room to rise.
const ACCURACY_ENOUGH: f64 = 0.9;
/// Of the entropy that drawing every token alike has: a policy this near to it has forgotten everything. Ours.
const RANDOM_ENTROPY: f64 = 0.98;
/// Nats by which log-probabilities of sampling and training may differ in the mean: a ratio of about 1.1 where it should be 1. In
/// bf16 on a GPU 0.015 was seen. Ours.
const MISMATCH: f64 = 0.1;
/// Updates for which a warning is not repeated, doubled with each time that it is.
const FIRST_PAUSE: u64 = 10;

/// The limits at which a warning is given; the run file's `train.warn_*`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Thresholds {
    /// Consecutive updates in which no group had a signal; 0 never warns.
    pub silent_updates: usize,
    /// Fraction of a batch's completions that repeat another of their group, 0 to 1; 1 never warns.
    pub duplicate_fraction: f64,
    /// Fraction of a batch's completions that were cut off, 0 to 1; 1 never warns.
    pub truncated_fraction: f64,
    /// Entropy of drawing every token of the vocabulary alike, nats; `None` where the vocabulary is not known.
    pub most_entropy: Option<f64>,
    /// Whether what learns is another policy than what sampled, as under dropout, so that their log-probabilities differ.
    pub is_dropped: bool,
}

impl Thresholds {
    /// The same for a model with so many tokens.
    #[must_use]
    pub fn in_vocabulary(self, tokens: usize) -> Self {
        Self { most_entropy: Some((tokens as f64).ln()), ..self }
    }
}

/// Something that the user should look at. Its text says what was seen, why it matters and
/// what to try.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Warning {
    /// No group has had a signal for a while.
    Silent {
        /// How many consecutive updates.
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
    /// The policy draws all tokens alike.
    Random {
        /// Its mean entropy, nats.
        entropy: f64,
        /// That of drawing every token alike.
        most: f64,
    },
    /// Groups had a signal and the gradient is zero.
    NoGradient,
    /// Training computes other log-probabilities than those that tokens were drawn with.
    Mismatch {
        /// Their mean difference, nats.
        mean: f64,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Silent { updates, reward } => {
                write!(
                    f,
                    "for {} in a row, all completions of each group had the same reward",
                    count(updates, "update")
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
                 policy does not know the template (data.template) or has degenerated (lower optim.lr)",
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
            Self::Random { entropy, most } => write!(
                f,
                "the policy's entropy is {entropy:.2} nats, and drawing every token alike has {most:.2}: it has forgotten \
                 everything\n\
                 hint: start from a checkpoint before that, with a lower optim.lr; an untrained base model begins like this"
            ),
            Self::NoGradient => f.write_str(
                "the gradient is zero although groups had a signal: nothing is learnt\n\
                 hint: with grpo.mask_truncated the completions that differ may all be cut off: raise \
                 rollout.max_new_tokens; otherwise look for a trained parameter (model.freeze_vision) and at model.dtype",
            ),
            Self::Mismatch { mean } => write!(
                f,
                "training computes log-probabilities that differ by {mean:.3} nats in the mean from those that tokens were drawn \
                 with: ratios that should be 1 are not\n\
                 hint: `othink gpu-check` and `othink doctor` compare the device's arithmetic; model.dtype = \"f32\" differs less"
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
            "off-policy by {}: completions are sampled from a filtered distribution, but log-probabilities \
             and gradients are those of the whole one, and no ratio corrects for it\n\
             hint: leave out settings that you do not need; rollout.temperature applies to both",
            filters.join(", ")
        )
    })
}

/// Monitors a run's updates.
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
    random: Alarm,
    no_gradient: Alarm,
    mismatch: Alarm,
}

/// Keeps one warning from being repeated at every update.
#[derive(Debug, Clone)]
struct Alarm {
    quiet_until: u64,
    pause: u64,
}

impl Health {
    /// A monitor that has observed no update.
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
            random: alarm(),
            no_gradient: alarm(),
            mismatch: alarm(),
        }
    }

    /// A monitor of a run that goes on, which has observed the recorded updates, without their completions; its warnings about
    /// them are dropped.
    pub fn resumed(thresholds: Thresholds, recorded: &[UpdateMetrics]) -> Self {
        let mut health = Self::new(thresholds);
        for line in recorded {
            health.observe(line, &[]);
        }
        health
    }

    /// Observes an update; returns the warnings that are due.
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
        if is_too_long && self.silent.is_due(update) {
            let updates = self.silent_updates;
            warnings.push(Warning::Silent { updates, reward: metrics.reward });
        }

        let fraction = duplicate_fraction(completions);
        if fraction > limits.duplicate_fraction && self.duplicates.is_due(update) {
            warnings.push(Warning::Duplicates { fraction });
        }

        let fraction = metrics.truncated_fraction.unwrap_or(0.0);
        if fraction > limits.truncated_fraction && self.truncated.is_due(update) {
            warnings.push(Warning::Truncated { fraction });
        }

        if let (Some(format), Some(accuracy)) = (metrics.format_reward, metrics.accuracy_reward) {
            if self.rewards.len() == 2 * WINDOW {
                self.rewards.pop_front();
            }
            self.rewards.push_back([format, accuracy]);
            if let Some(warning) = format_only_climb(&self.rewards)
                && self.format_only.is_due(update)
            {
                warnings.push(warning);
            }
        }
        warnings.extend(self.faults(metrics));
        warnings
    }

    /// Warnings of what no sound run does.
    fn faults(&mut self, metrics: &UpdateMetrics) -> Vec<Warning> {
        let update = metrics.update;
        let mut warnings = Vec::new();
        if let (Some(entropy), Some(most)) = (metrics.entropy, self.thresholds.most_entropy)
            && entropy >= RANDOM_ENTROPY * most
            && self.random.is_due(update)
        {
            warnings.push(Warning::Random { entropy, most });
        }
        let has_signal = metrics.zero_signal_fraction.is_some_and(|fraction| fraction < 1.0);
        if has_signal && metrics.grad_norm <= 0.0 && self.no_gradient.is_due(update) {
            warnings.push(Warning::NoGradient);
        }
        if let Some(mean) = metrics.logp_mismatch_mean.filter(|mean| *mean > MISMATCH)
            && !self.thresholds.is_dropped
            && self.mismatch.is_due(update)
        {
            warnings.push(Warning::Mismatch { mean });
        }
        warnings
    }
}

impl Alarm {
    /// Whether to warn now, given that there is reason to.
    fn is_due(&mut self, update: u64) -> bool {
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

/// The warning, if the last two windows are full and the format reward rises without the accuracy reward.
fn format_only_climb(rewards: &VecDeque<[f64; 2]>) -> Option<Warning> {
    if rewards.len() < 2 * WINDOW {
        return None;
    }
    let mean = |reward: usize, start: usize| {
        rewards.iter().skip(start).take(WINDOW).map(|pair| pair[reward]).sum::<f64>()
            / WINDOW as f64
    };
    let means = |reward| [mean(reward, 0), mean(reward, WINDOW)];
    let (format, accuracy) = (means(0), means(1));
    let is_climbing = format[1] - format[0] >= FORMAT_RISE;
    let is_flat = accuracy[1] - accuracy[0] <= ACCURACY_RISE && accuracy[1] < ACCURACY_ENOUGH;
    (is_climbing && is_flat).then_some(Warning::FormatOnly { format, accuracy })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ConfigFile;

    const NEVER: Thresholds = Thresholds {
        silent_updates: 0,
        duplicate_fraction: 1.0,
        truncated_fraction: 1.0,
        most_entropy: Some(10.0),
        is_dropped: false,
    };

    fn line(update: u64, change: impl Fn(&mut UpdateMetrics)) -> UpdateMetrics {
        let mut line = UpdateMetrics { update, ..UpdateMetrics::default() };
        line.grad_norm = 1.0;
        change(&mut line);
        line
    }

    const NONE: [u64; 0] = [];

    /// The updates among the first `n` at which there is a warning, each update changed alike.
    fn warned_at(
        thresholds: Thresholds,
        n: u64,
        change: impl Fn(u64, &mut UpdateMetrics),
    ) -> Vec<u64> {
        let mut health = Health::new(thresholds);
        let mut observe = |update| health.observe(&line(update, |line| change(update, line)), &[]);
        (1..=n).filter(|&update| !observe(update).is_empty()).collect()
    }

    fn completion(prompt_id: &str, completion_idx: usize, text: &str) -> CompletionRecord {
        let record = serde_json::json!({
            "update": 1, "prompt_id": prompt_id, "completion_idx": completion_idx, "problem": "?",
            "solution": "4", "completion": text, "answer": null, "accuracy_reward": 0.0,
            "format_reward": 0.0, "reward": 0.0, "advantage": 0.0, "n_tokens": 1, "is_truncated": false,
        });
        serde_json::from_value(record).unwrap()
    }

    #[test]
    fn updates_without_a_signal_are_warned_of_once_there_are_enough_in_a_row() {
        let thresholds = Thresholds { silent_updates: 3, ..NEVER };
        let silent = |line: &mut UpdateMetrics| line.zero_signal_fraction = Some(1.0);
        let mut health = Health::new(thresholds);
        for update in 1..=2 {
            assert_eq!(health.observe(&line(update, silent), &[]), []);
        }
        let third = line(3, |line| (silent(line), line.reward = Some(0.5)).0);
        let expected = Warning::Silent { updates: 3, reward: Some(0.5) };
        assert_eq!(health.observe(&third, &[]), [expected]);

        let with_signal_at_3 = |update, line: &mut UpdateMetrics| {
            line.zero_signal_fraction = Some(if update == 3 { 0.99 } else { 1.0 });
        };
        assert_eq!(warned_at(thresholds, 5, with_signal_at_3), NONE);
        assert_eq!(warned_at(thresholds, 6, with_signal_at_3), [6]);
        assert_eq!(warned_at(NEVER, 30, |_, line| silent(line)), NONE);
        assert_eq!(warned_at(thresholds, 30, |_, _| {}), NONE, "supervised training has no groups");
    }

    #[test]
    fn a_warning_is_repeated_after_pauses_that_double() {
        let thresholds = Thresholds { truncated_fraction: 0.5, ..NEVER };
        let cut_off = |_, line: &mut UpdateMetrics| line.truncated_fraction = Some(0.75);
        assert_eq!(warned_at(thresholds, 75, cut_off), [1, 11, 31, 71]);
    }

    #[test]
    fn completions_cut_off_are_warned_of_above_the_threshold() {
        let thresholds = Thresholds { truncated_fraction: 0.5, ..NEVER };
        let mut health = Health::new(thresholds);
        assert_eq!(health.observe(&line(1, |line| line.truncated_fraction = Some(0.5)), &[]), []);
        let above = line(2, |line| line.truncated_fraction = Some(0.51));
        assert_eq!(health.observe(&above, &[]), [Warning::Truncated { fraction: 0.51 }]);
    }

    #[test]
    fn completions_that_repeat_another_of_their_group_are_warned_of_above_the_threshold() {
        // Three of "a" are the same. "b" repeats a text of "a" and, drawn again, one of itself, and so does "c", a group of
        // one completion; these do not count.
        let completions = [
            completion("a", 0, "x"),
            completion("a", 1, "x"),
            completion("a", 2, "x"),
            completion("b", 0, "x"),
            completion("b", 1, "z"),
            completion("b", 0, "z"),
            completion("b", 1, "w"),
            completion("b", 2, "v"),
            completion("c", 0, "u"),
            completion("c", 0, "u"),
        ];
        assert!((duplicate_fraction(&completions) - 0.3).abs() < 1e-12);
        assert!(duplicate_fraction(&[]).abs() < 1e-12);
        let observe = |duplicate_fraction| {
            Health::new(Thresholds { duplicate_fraction, ..NEVER })
                .observe(&line(1, |_| {}), &completions)
        };
        assert_eq!(observe(0.3), []);
        assert_eq!(observe(0.29), [Warning::Duplicates { fraction: 0.3 }]);
    }

    /// The updates with a warning, where format and accuracy have one value up to update `before` and another afterwards.
    fn climb(before: u64, format: [f64; 2], accuracy: [f64; 2]) -> Vec<u64> {
        let value = |values: [f64; 2], update| Some(values[usize::from(update > before)]);
        warned_at(NEVER, 40, |update, line| {
            line.format_reward = value(format, update);
            line.accuracy_reward = value(accuracy, update);
        })
    }

    #[test]
    fn a_format_reward_that_climbs_alone_is_warned_of_when_two_windows_are_full() {
        assert_eq!(climb(20, [0.125, 0.375], [0.5, 0.5]), [40]);
        assert_eq!(climb(20, [0.125, 0.25], [0.5, 0.5]), NONE, "too small a rise");
        assert_eq!(climb(20, [0.375, 0.125], [0.5, 0.5]), NONE, "a fall");
        assert_eq!(climb(20, [0.125, 0.375], [0.5, 0.515]), [40], "accuracy is flat");
        assert_eq!(climb(20, [0.125, 0.375], [0.5, 0.53]), NONE, "accuracy rises too");
        assert_eq!(climb(20, [0.125, 0.375], [0.75, 0.5]), [40], "accuracy falls");
        assert_eq!(climb(20, [0.125, 0.375], [0.89, 0.89]), [40]);
        assert_eq!(climb(20, [0.125, 0.375], [0.9, 0.9]), NONE, "accuracy has no room");
        // A rise of 0.25 in the middle of the first window: means of 0.25 and 0.375.
        assert_eq!(climb(10, [0.125, 0.375], [0.5, 0.5]), NONE);
    }

    #[test]
    fn windows_slide_and_hold_the_last_forty_updates() {
        // At the 50th update, and only then, the rise after update 30 lies between the two windows.
        let late = |update, line: &mut UpdateMetrics| {
            line.format_reward = Some(if update > 30 { 0.33 } else { 0.125 });
            line.accuracy_reward = Some(0.5);
        };
        assert_eq!(warned_at(NEVER, 80, late), [50]);
        let mut health = Health::new(NEVER);
        let mut observe = |update| health.observe(&line(update, |line| late(update, line)), &[]);
        let warning = (1..=50).flat_map(&mut observe).next();
        let Some(Warning::FormatOnly { format, accuracy }) = warning else { panic!("{warning:?}") };
        for (found, expected) in format.into_iter().chain(accuracy).zip([0.125, 0.33, 0.5, 0.5]) {
            assert!((found - expected).abs() < 1e-12, "{format:?} {accuracy:?}");
        }
    }

    #[test]
    fn what_no_sound_run_does_is_warned_of() {
        let warned =
            |change: fn(&mut UpdateMetrics)| Health::new(NEVER).observe(&line(1, change), &[]);
        assert_eq!(warned(|line| line.entropy = Some(9.79)), []);
        let random = Warning::Random { entropy: 9.81, most: 10.0 };
        assert_eq!(warned(|line| line.entropy = Some(9.81)), [random]);
        let silent = |line: &mut UpdateMetrics| {
            (line.grad_norm, line.zero_signal_fraction) = (0.0, Some(1.0));
        };
        assert_eq!(warned(silent), [], "without a signal there is nothing to learn from");
        let with_signal = |line: &mut UpdateMetrics| {
            (line.grad_norm, line.zero_signal_fraction) = (0.0, Some(0.75));
        };
        assert_eq!(warned(with_signal), [Warning::NoGradient]);
        assert_eq!(warned(|line| line.logp_mismatch_mean = Some(0.1)), []);
        let mismatch = Warning::Mismatch { mean: 0.11 };
        assert_eq!(warned(|line| line.logp_mismatch_mean = Some(0.11)), [mismatch]);
        let mut under_dropout = Health::new(Thresholds { is_dropped: true, ..NEVER });
        let differing = line(1, |line| line.logp_mismatch_mean = Some(0.11));
        assert_eq!(under_dropout.observe(&differing, &[]), []);
    }

    #[test]
    fn every_warning_says_what_was_seen_and_what_to_try() {
        for (warning, seen) in [
            (Warning::Silent { updates: 7, reward: Some(0.25) }, "for 7 updates in a row"),
            (Warning::Duplicates { fraction: 0.61 }, "61% of the completions repeat"),
            (Warning::Truncated { fraction: 0.62 }, "62% of the completions were cut off"),
            (
                Warning::FormatOnly { format: [0.1, 0.4], accuracy: [0.5, 0.51] },
                "over 20 updates the format reward rose from 0.10 to 0.40 while accuracy stayed at 0.51 (before: 0.50)",
            ),
            (
                Warning::Random { entropy: 6.2, most: 6.25 },
                "entropy is 6.20 nats, and drawing every token alike has 6.25",
            ),
            (Warning::NoGradient, "the gradient is zero although groups had a signal"),
            (Warning::Mismatch { mean: 0.25 }, "differ by 0.250 nats in the mean"),
        ] {
            let text = warning.to_string();
            assert!(text.contains(seen) && text.contains("\nhint: "), "{text}");
        }
    }

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
