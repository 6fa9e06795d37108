//! `[reward]`: what makes a reward: accuracy and format, further components, a command of one's own.
//! Not here: the rules and the components themselves (`reward`, `docs/rewards.md`).

use serde::{Deserialize, Serialize};

use super::violation::{Violation, at_least_one, not_negative, require};

/// `length_buffer` where the run file does not give it, as a part of the limit. DAPO: 4096 of 20480 tokens.
const BUFFER_PART: usize = 5;

/// A day: a batch of rewards that takes longer is stuck.
const MAX_TIMEOUT_S: f64 = 86_400.0;

/// `[reward]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RewardConfig {
    /// Weight of the format reward: `r = R_acc + alpha * R_format`.
    pub alpha: f64,
    /// The rule that decides accuracy; without it, the task's: `answer-tag`, or R1-V's for its tasks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rule: Option<RewardRule>,
    /// Tolerance of the component `relative_error`, a ratio.
    pub relative_error: f64,
    /// Tokens from which `length_penalty` costs its full weight; without it, `rollout.max_new_tokens`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length_limit: Option<usize>,
    /// Tokens before the limit over which `length_penalty` grows; without it, a fifth of the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length_buffer: Option<usize>,
    /// Words in an n-gram of `repetition_penalty`.
    pub repetition_ngram: usize,
    /// Weights of further components, `[reward.weights]`.
    pub weights: RewardWeights,
    /// A reward of one's own, `[reward.command]`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<RewardCommand>,
}

/// The rule that decides whether a completion's answer is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RewardRule {
    /// The contents of the last `<answer>` alone, so that the reasoning cannot earn the reward.
    #[default]
    AnswerTag,
    /// R1-V's reward for training: math-verify on the whole completion, else equality of the first `<answer>` as text.
    R1vReward,
    /// R1-V's evaluation of counting: the integer in the first `<answer>` that holds nothing else.
    R1vSuperclevr,
    /// R1-V's evaluation of geometry: math-verify on the whole completion.
    R1vGeoqa,
}

/// `[reward.weights]`: a component that is not named is not computed; 0 records it without counting it. Penalties are
/// negative by themselves. The format's weight is `reward.alpha`.
#[derive(Debug, Clone, PartialEq, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RewardWeights {
    /// Accuracy under the rule; without it, 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
    /// The letter of a multiple choice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub choice: Option<f64>,
    /// A number within `reward.relative_error` of the gold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relative_error: Option<f64>,
    /// F1 of a set's items.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub set_match: Option<f64>,
    /// Intersection over union of bounding boxes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub box_iou: Option<f64>,
    /// DAPO's soft overlong punishment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length_penalty: Option<f64>,
    /// The share of repeated n-grams.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub repetition_penalty: Option<f64>,
}

/// `[reward.command]`: a program that reads completions and writes scores, started without a shell.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RewardCommand {
    /// A path, or a name on the search path.
    pub program: String,
    /// Its arguments, exactly as they stand here.
    pub args: Vec<String>,
    /// What its score counts in the sum; 0 records it without counting it.
    pub weight: f64,
    /// Seconds from the first completion of a batch to its last score; the first batch includes the program's start.
    pub timeout_s: f64,
}

impl Default for RewardConfig {
    fn default() -> Self {
        Self {
            alpha: 1.0, // the paper's; R1-V sums the two unweighted
            rule: None,
            relative_error: 0.05,              // ChartQA's relaxed accuracy
            length_limit: None, // a truncated completion costs the full weight, as in DAPO
            length_buffer: None, // DAPO: 4096 of 20480
            repetition_ngram: 3, // open-r1's and TRL's default
            weights: RewardWeights::default(), // the paper's reward has no other component
            command: None,
        }
    }
}

impl Default for RewardCommand {
    fn default() -> Self {
        Self {
            program: String::new(),
            args: Vec::new(),
            weight: 1.0,     // as much as a right answer, for a score from 0 to 1
            timeout_s: 60.0, // ours: room for an interpreter's start, short enough to notice a hang
        }
    }
}

impl RewardWeights {
    /// The components that are named, by the names of the reward registry, with their weights.
    pub fn named(&self) -> Vec<(&'static str, f64)> {
        self.all().into_iter().filter_map(|(name, weight)| Some((name, weight?))).collect()
    }

    fn all(&self) -> [(&'static str, Option<f64>); 7] {
        let Self {
            accuracy,
            choice,
            relative_error,
            set_match,
            box_iou,
            length_penalty,
            repetition_penalty,
        } = *self;
        [
            ("accuracy", accuracy),
            ("choice", choice),
            ("relative_error", relative_error),
            ("set_match", set_match),
            ("box_iou", box_iou),
            ("length_penalty", length_penalty),
            ("repetition_penalty", repetition_penalty),
        ]
    }

    fn check(&self) -> Result<(), Violation> {
        let hint = "0 records a component without counting it; penalties are negative already";
        for (key, weight) in [
            ("reward.weights.accuracy", self.accuracy),
            ("reward.weights.choice", self.choice),
            ("reward.weights.relative_error", self.relative_error),
            ("reward.weights.set_match", self.set_match),
            ("reward.weights.box_iou", self.box_iou),
            ("reward.weights.length_penalty", self.length_penalty),
            ("reward.weights.repetition_penalty", self.repetition_penalty),
        ] {
            not_negative(key, weight.unwrap_or(0.0), hint)?;
        }
        Ok(())
    }
}

impl RewardCommand {
    fn check(&self) -> Result<(), Violation> {
        require(
            !self.program.trim().is_empty(),
            "reward.command.program",
            "empty",
            "a path or a name on the search path",
            "arguments go into reward.command.args; leave [reward.command] out for no command",
        )?;
        not_negative(
            "reward.command.weight",
            self.weight,
            "0 records the score without counting it; the command itself may answer below 0",
        )?;
        require(
            self.timeout_s > 0.0 && self.timeout_s <= MAX_TIMEOUT_S,
            "reward.command.timeout_s",
            self.timeout_s,
            "a number above 0 and at most 86400",
            "it bounds one batch: all completions of a rollout",
        )
    }
}

impl RewardConfig {
    /// `length_limit` and `length_buffer` in tokens, for rollouts of at most `max_new_tokens`.
    pub fn length(&self, max_new_tokens: usize) -> (usize, usize) {
        let limit = self.length_limit.unwrap_or(max_new_tokens);
        (limit, self.length_buffer.unwrap_or(limit / BUFFER_PART))
    }

    pub(super) fn check(&self) -> Result<(), Violation> {
        not_negative("reward.alpha", self.alpha, "1 is the paper's, 0 drops the format reward")?;
        not_negative("reward.relative_error", self.relative_error, "0.05 is ChartQA's")?;
        if let Some(limit) = self.length_limit {
            at_least_one("reward.length_limit", limit, "leave it out for rollout.max_new_tokens")?;
        }
        at_least_one("reward.repetition_ngram", self.repetition_ngram, "3 is open-r1's")?;
        self.weights.check()?;
        self.command.as_ref().map_or(Ok(()), RewardCommand::check)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_and_weights_go_by_the_names_of_the_registry() {
        let text = "rule = \"r1v-superclevr\"\n[weights]\nbox_iou = 2.0\naccuracy = 0.0\n\
                    [command]\nprogram = \"score\"\n";
        let config: RewardConfig = toml::from_str(text).unwrap();
        assert_eq!(config.rule, Some(RewardRule::R1vSuperclevr));
        assert_eq!(config.weights.named(), [("accuracy", 0.0), ("box_iou", 2.0)]);
        let command = config.command.clone().unwrap();
        assert_eq!((command.weight, command.timeout_s, command.args.len()), (1.0, 60.0, 0));
        let again: RewardConfig = toml::from_str(&toml::to_string(&config).unwrap()).unwrap();
        assert_eq!(again, config);
        for rule in ["answer-tag", "r1v-reward", "r1v-superclevr", "r1v-geoqa"] {
            assert!(
                toml::from_str::<RewardConfig>(&format!("rule = \"{rule}\"")).is_ok(),
                "{rule}"
            );
        }
    }

    #[test]
    fn defaults_are_the_papers_reward() {
        let config = RewardConfig::default();
        assert!(config.weights.named().is_empty() && config.command.is_none());
        assert_eq!(config.length(512), (512, 102));
    }

    #[test]
    fn length_limit_follows_the_rollouts_unless_it_is_given() {
        let config = RewardConfig { length_limit: Some(100), ..RewardConfig::default() };
        assert_eq!(config.length(512), (100, 20));
        let config = RewardConfig { length_buffer: Some(0), ..RewardConfig::default() };
        assert_eq!(config.length(512), (512, 0));
    }
}
