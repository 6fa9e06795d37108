//! The figures of an update that was computed again, beside the recorded ones.
//! Not here: computing it (`replay`).

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::run_folder::metrics::UpdateMetrics;
use crate::run_folder::records::CompletionRecord;

/// The figures of a line of metrics by the stage that they come from. Those of [`OF_THE_MACHINE`] are left out.
const STAGES: [(&str, &[&str]); 5] = [
    ("rollout", &["completion_length", "truncated_fraction"]),
    (
        "reward",
        &[
            "reward",
            "reward_std",
            "accuracy_reward",
            "format_reward",
            "reward_components",
            "ungraded_fraction",
            "zero_signal_fraction",
        ],
    ),
    ("reference", &["kl"]),
    (
        "policy",
        &["beta", "loss", "entropy", "clip_fraction", "logp_mismatch_max", "logp_mismatch_mean"],
    ),
    ("optimizer step", &["grad_norm", "lr"]),
];
/// What an update's number is, and what its repetition on the same machine may change.
#[cfg(test)]
const OF_THE_MACHINE: [&str; 8] = [
    "update",
    "tokens_per_s",
    "s_rollout",
    "s_reference",
    "s_policy",
    "s_optimizer",
    "s_total",
    "peak_bytes",
];

/// A figure of an update.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// The stage that it comes from.
    pub stage: &'static str,
    /// Its name in `metrics.jsonl`.
    pub name: String,
    /// As it is recorded; null where it is not.
    pub recorded: Value,
    /// As it was computed again; null where this takes completions whose log-probabilities are not on record.
    pub replayed: Value,
}

impl Figure {
    /// Whether both are there and are not the same to the bit.
    pub fn differs(&self) -> bool {
        !self.recorded.is_null() && !self.replayed.is_null() && self.recorded != self.replayed
    }

    /// Their difference, relative to the larger one's size; `None` where one is not there or not finite.
    pub fn relative_difference(&self) -> Option<f64> {
        let (recorded, replayed) = (self.recorded.as_f64()?, self.replayed.as_f64()?);
        let size = recorded.abs().max(replayed.abs());
        Some(if size > 0.0 { (recorded - replayed).abs() / size } else { 0.0 })
    }
}

/// How completions compare with those on record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct CompletionCounts {
    /// Completions of the batch.
    pub completions: usize,
    /// That have other tokens, or no record.
    pub other_tokens: usize,
    /// With other rewards, in sum or in one component.
    pub other_rewards: usize,
    /// With another advantage.
    pub other_advantages: usize,
}

impl CompletionCounts {
    /// Compares completions in their order.
    pub(super) fn of(recorded: &[CompletionRecord], now: &[CompletionRecord]) -> Self {
        let mut counts = Self { completions: now.len(), ..Self::default() };
        for (i, now) in now.iter().enumerate() {
            let Some(recorded) = recorded.get(i) else {
                counts.other_tokens += 1;
                continue;
            };
            // The texts where the record has no tokens.
            let tokens = recorded.token_ids.as_ref().map(|ids| Some(ids) == now.token_ids.as_ref());
            let has_same_tokens = tokens.unwrap_or(recorded.completion == now.completion);
            let rewards = |of: &CompletionRecord| {
                let sums = [of.reward, of.accuracy_reward, of.format_reward].map(f64::to_bits);
                let parts = of.components.iter().map(|(name, x)| (name.clone(), x.to_bits()));
                (sums, parts.collect::<Vec<_>>())
            };
            let is_advantage_same = recorded.advantage.to_bits() == now.advantage.to_bits();
            counts.other_tokens += usize::from(!has_same_tokens);
            counts.other_rewards += usize::from(rewards(recorded) != rewards(now));
            counts.other_advantages += usize::from(!is_advantage_same);
        }
        counts
    }

    /// Whether any differs.
    pub fn differ(self) -> bool {
        self.other_tokens + self.other_rewards + self.other_advantages > 0
    }
}

/// The figures of an update in the order of its stages; those that its method does not have are left out.
///
/// - `recorded`: `None` where nothing is recorded of it
pub(super) fn figures(recorded: Option<&UpdateMetrics>, now: &UpdateMetrics) -> Vec<Figure> {
    let (recorded, now) = (recorded.map(fields).unwrap_or_default(), fields(&read_back(now)));
    let mut figures = Vec::new();
    let mut add = |stage, name: String, recorded: Value, replayed: Value| {
        if !(recorded.is_null() && replayed.is_null()) {
            figures.push(Figure { stage, name, recorded, replayed });
        }
    };
    let value = |of: &Map<String, Value>, name: &str| of.get(name).cloned().unwrap_or_default();
    for (stage, names) in STAGES {
        for name in names {
            match (value(&recorded, name), value(&now, name)) {
                (before, Value::Object(now)) => {
                    for (part, now) in now {
                        let before = before.get(&part).cloned().unwrap_or_default();
                        add(stage, format!("{name}.{part}"), before, now);
                    }
                }
                (before, now) => add(stage, (*name).to_owned(), before, now),
            }
        }
    }
    figures
}

fn fields(line: &UpdateMetrics) -> Map<String, Value> {
    match serde_json::to_value(line) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    }
}

/// A record as it comes out of a file: a number's decimals are not always read as its bits.
pub(super) fn read_back<T: Serialize + DeserializeOwned + Clone>(record: &T) -> T {
    let read = serde_json::to_string(record).and_then(|text| serde_json::from_str(&text));
    read.unwrap_or_else(|_| record.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_a_line_has_its_stage_or_is_of_the_machine() {
        let line = UpdateMetrics {
            reward_components: [("steps".to_owned(), 0.5)].into(),
            ..UpdateMetrics::default()
        };
        let listed = STAGES.iter().flat_map(|(_, names)| *names).chain(&OF_THE_MACHINE);
        let mut listed: Vec<&str> = listed.copied().collect();
        let fields = fields(&line);
        let mut names: Vec<&str> = fields.keys().map(String::as_str).collect();
        listed.sort_unstable();
        names.sort_unstable();
        assert_eq!(listed, names);
    }

    #[test]
    fn one_bit_is_a_difference_and_what_only_one_of_them_has_is_none() {
        let line = |kl: Option<f64>, loss: f64| UpdateMetrics {
            kl,
            loss,
            reward_components: [("steps".to_owned(), loss)].into(),
            ..UpdateMetrics::default()
        };
        let differing = |before: &UpdateMetrics, now: &UpdateMetrics| -> Vec<String> {
            let figures = figures(Some(before), now);
            figures.into_iter().filter(Figure::differs).map(|figure| figure.name).collect()
        };
        let before = line(Some(0.1), 0.3);
        assert!(differing(&before, &line(Some(0.1), 0.3)).is_empty());
        assert!(differing(&before, &line(None, 0.3)).is_empty());
        let next = f64::from_bits(0.3_f64.to_bits() + 1);
        assert_eq!(differing(&before, &line(Some(0.1), next)), ["reward_components.steps", "loss"]);
        let unequal = differing(&before, &line(Some(0.1), f64::NAN));
        assert_eq!(unequal, ["reward_components.steps", "loss"]);
        assert!(differing(&line(None, f64::NAN), &line(None, f64::NAN)).is_empty());
        let figures = figures(Some(&line(None, 2.0)), &line(None, 1.0));
        let loss = figures.iter().find(|figure| figure.name == "loss").unwrap();
        assert_eq!(loss.relative_difference(), Some(0.5));
    }
}
