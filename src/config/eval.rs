//! `[eval]`: what a training run measures itself on.
//! Not here: the evaluation (`eval`); the flags of `othink eval`, which mirror these keys (`cli`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rollout::DEFAULT_MAX_BATCH;
use super::violation::{Violation, count, require};
use crate::limits;
use crate::reward::{Component, Rule};

/// `[eval]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct EvalConfig {
    /// A task by name; without it, the task that is trained on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub task: Option<String>,
    /// A file of samples, or a folder that holds one, in place of the task's own rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
    /// The task's split: `test`, or `shifted` for the drawn tasks.
    pub split: String,
    /// A template's name or text, as `data.template`; without it, the task's for evaluation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template: Option<String>,
    /// The rule that decides accuracy; without it, the task's own. `answer-tag` is reported beside it.
    #[serde(with = "super::rule", skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "super::schema::of_rule")]
    pub rule: Option<Rule>,
    /// Reward components whose means are reported beside accuracy; without any, the task's own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(with = "Vec<String>")]
    pub components: Vec<&'static Component>,
    /// At most that many questions; without it, all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// An answer of that many tokens is cut off; without it, the task's limit, else `rollout.max_new_tokens`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_new_tokens: Option<usize>,
    /// Images with fewer pixels are enlarged; without it, the task's limit, else the checkpoint's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_pixels: Option<usize>,
    /// Images with more pixels are shrunk; without it, the task's limit, else the checkpoint's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_pixels: Option<usize>,
    /// Sequences decoded at a time. As `rollout.max_batch`, it changes speed and memory, and in 16 bits and on a GPU also
    /// the last bits of the logits, and so some answers.
    pub max_batch: usize,
    /// Measures before the first update.
    pub before_training: bool,
    /// Measures after the last update.
    pub after_training: bool,
}

impl Default for EvalConfig {
    fn default() -> Self {
        Self {
            task: None,
            data: None,
            split: "test".to_owned(),
            rule: None, // R1-V: its own rule for each evaluation
            components: Vec::new(),
            limit: None,
            template: None,
            max_new_tokens: None, // R1-V: 256 for counting, 1024 for geometry
            min_pixels: None,     // R1-V evaluates with the checkpoint's own limits
            max_pixels: None,
            max_batch: DEFAULT_MAX_BATCH,
            before_training: false, // R1-V evaluates by separate scripts
            after_training: false,
        }
    }
}

impl EvalConfig {
    pub(super) fn check(&self) -> Result<(), Violation> {
        require(
            !self.split.trim().is_empty(),
            "eval.split",
            "empty",
            "a split's name",
            "leave the key out for the test split",
        )?;
        if let Some(limit) = self.limit {
            count("eval.limit", limit, limits::ROWS, "leave the key out for every question")?;
        }
        if let Some(max_new_tokens) = self.max_new_tokens {
            count(
                "eval.max_new_tokens",
                max_new_tokens,
                limits::TOKENS,
                "256 is R1-V's for counting",
            )?;
        }
        require(
            self.max_pixels.is_none_or(|max| {
                (self.min_pixels.unwrap_or(0).max(784)..=limits::PICTURE_PIXELS as usize)
                    .contains(&max)
            }),
            "eval.max_pixels",
            self.max_pixels.unwrap_or_default(),
            &format!(
                "at least 784 and at least eval.min_pixels, at most {}",
                limits::PICTURE_PIXELS
            ),
            "784 pixels make one merged patch, the least an image can have",
        )?;
        count(
            "eval.max_batch",
            self.max_batch,
            limits::BATCH,
            "it bounds the sequences decoded at a time",
        )
    }
}
