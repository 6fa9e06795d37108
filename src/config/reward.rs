//! `[reward]`: what makes a reward: accuracy and format, further components, a command of one's own.
//! Not here: the rules and the components themselves (`reward`, `docs/rewards.md`).

use std::collections::BTreeMap;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::violation::{Violation, count, not_negative, require};
use crate::limits;
use crate::reward::format::FORMAT;
use crate::reward::{COMPONENTS, Component, Rule};

/// `length_buffer` where the run file does not give it, as a fraction of the limit. DAPO: 4096 of 20480 tokens.
const BUFFER_PART: usize = 5;

/// A day: a batch of rewards that takes longer is stuck.
const MAX_TIMEOUT_S: f64 = 86_400.0;

/// `[reward]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RewardConfig {
    /// Weight of the format reward: `r = R_acc + alpha * R_format`.
    pub alpha: f64,
    /// The rule that decides accuracy; without it, the task's: `answer-tag`, or R1-V's for its tasks.
    #[serde(with = "super::rule", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::of_rule")]
    pub rule: Option<Rule>,
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

/// `[reward.weights]`: a component that is not named is not computed; 0 records it without counting it. Penalties are
/// negative by themselves. The keys are the registry's names, in its order, but for the format's, whose weight is
/// `reward.alpha`.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RewardWeights(Vec<(&'static Component, f64)>);

/// The keys of `[reward.weights]`.
static WEIGHT_KEYS: LazyLock<Vec<&'static str>> =
    LazyLock::new(|| weighable().map(|component| component.name).collect());

fn weighable() -> impl Iterator<Item = &'static Component> {
    COMPONENTS.into_iter().filter(|component| **component != FORMAT)
}

/// `[reward.command]`: a program that reads completions and writes scores, started without a shell.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RewardCommand {
    /// A path, or a name on the search path.
    pub program: String,
    /// Its arguments, exactly as they stand here.
    pub args: Vec<String>,
    /// Weight of its score in the sum; 0 records it without counting it.
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
    /// The keys that may stand in the section.
    pub(super) fn keys() -> &'static [&'static str] {
        &WEIGHT_KEYS
    }

    /// The components that are named, with their weights, in the registry's order.
    pub fn named(&self) -> &[(&'static Component, f64)] {
        &self.0
    }

    fn check(&self) -> Result<(), Violation> {
        let hint = "0 records a component without counting it; penalties are negative already";
        for (component, weight) in &self.0 {
            not_negative(format!("reward.weights.{component}"), *weight, hint)?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for RewardWeights {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let given: BTreeMap<String, f64> = BTreeMap::deserialize(deserializer)?;
        if let Some(key) = given.keys().find(|key| !Self::keys().contains(&key.as_str())) {
            return Err(D::Error::unknown_field(key, Self::keys()));
        }
        let weight = |component: &'static Component| Some((component, *given.get(component.name)?));
        Ok(Self(weighable().filter_map(weight).collect()))
    }
}

impl Serialize for RewardWeights {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(component, weight)| (component.name, weight)))
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
            count(
                "reward.length_limit",
                limit,
                limits::TOKENS,
                "leave it out for rollout.max_new_tokens",
            )?;
        }
        count("reward.repetition_ngram", self.repetition_ngram, limits::TOKENS, "3 is open-r1's")?;
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
        assert_eq!(config.rule, Some(Rule::R1vSuperclevr));
        let named =
            config.weights.named().iter().map(|(component, weight)| (component.name, *weight));
        assert_eq!(named.collect::<Vec<_>>(), [("accuracy", 0.0), ("box_iou", 2.0)]);
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
        let error = toml::from_str::<RewardConfig>("rule = \"exact\"").unwrap_err();
        assert_eq!(
            error.message(),
            "unknown variant `exact`, expected one of `answer-tag`, `r1v-reward`, \
             `r1v-superclevr`, `r1v-geoqa`"
        );
    }

    #[test]
    fn keys_of_the_weights_are_the_components_that_alpha_does_not_weigh() {
        for component in COMPONENTS {
            let text = format!("[weights]\n{component} = 1");
            let weights = toml::from_str::<RewardConfig>(&text).map(|config| config.weights);
            match weights {
                Ok(weights) => assert_eq!(weights.named(), [(component, 1.0)]),
                Err(error) => assert!(*component == FORMAT, "{error}"),
            }
        }
        let error = toml::from_str::<RewardConfig>("[weights]\nformat = 1").unwrap_err();
        assert!(error.message().starts_with("unknown field `format`, expected one of `accuracy`"));
    }

    #[test]
    fn weights_are_written_in_the_order_of_the_registry() {
        let text = "[weights]\nrepetition_penalty = 1.0\nchoice = 2.0\n";
        let config: RewardConfig = toml::from_str(text).unwrap();
        let written = toml::to_string(&config).unwrap();
        assert!(
            written.ends_with("[weights]\nchoice = 2.0\nrepetition_penalty = 1.0\n"),
            "{written}"
        );
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
