//! `[rollout]`: how completions are sampled while training.
//! A checkpoint's own generation settings never reach the rollouts: these values alone do.
//! Not here: the sampler (`rollout::sampler`); greedy decoding for evaluation (`eval`).

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::violation::{Violation, count, fraction, positive, require};
use crate::limits;

/// Sequences decoded at a time where the run file does not say: a step reads every weight once, for all of them.
pub(super) const DEFAULT_MAX_BATCH: usize = 64;

/// `[rollout]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RolloutConfig {
    /// Logits are divided by it.
    pub temperature: f64,
    /// Keeps that many likeliest tokens; 0 keeps all.
    pub top_k: usize,
    /// Keeps the likeliest tokens that together reach this probability; 1 keeps all.
    pub top_p: f64,
    /// Keeps tokens of at least this probability relative to the likeliest; 0 keeps all.
    pub min_p: f64,
    /// Logits of tokens already seen are divided (if positive) or multiplied by it; 1 is off.
    pub repetition_penalty: f64,
    /// A completion of that many tokens is cut off.
    pub max_new_tokens: usize,
    /// No stop token before that many tokens.
    pub min_new_tokens: usize,
    /// Sequences decoded at a time. Changes speed and memory, and never the completions where the CPU's kernels run; in
    /// 16 bits and on a GPU it changes the last bits of the logits, and so some completions.
    pub max_batch: usize,
    /// Takes the completions from this file, a run's `completions.jsonl` with token ids, instead of sampling them.
    /// Relative paths start at the working folder.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub replay: Option<PathBuf>,
}

impl Default for RolloutConfig {
    fn default() -> Self {
        Self {
            temperature: 1.0,        // R1-V: hard-coded to 1
            top_k: 0,                // TRL: off, so that the sampled distribution is the policy
            top_p: 1.0,              // TRL: off
            min_p: 0.0,              // TRL: off
            repetition_penalty: 1.0, // TRL: off
            max_new_tokens: 512,     // R1-V's README: --max_completion_length 512
            min_new_tokens: 0,
            max_batch: DEFAULT_MAX_BATCH,
            replay: None,
        }
    }
}

impl RolloutConfig {
    /// The keys whose values make completions come from another distribution than the one that is trained, the policy's
    /// at `temperature`.
    pub fn filters(&self) -> Vec<&'static str> {
        let set = [
            ("rollout.top_k", self.top_k > 0),
            ("rollout.top_p", self.top_p < 1.0),
            ("rollout.min_p", self.min_p > 0.0),
            ("rollout.repetition_penalty", (self.repetition_penalty - 1.0).abs() > 0.0),
            ("rollout.min_new_tokens", self.min_new_tokens > 0),
        ];
        set.into_iter().filter_map(|(key, is_set)| is_set.then_some(key)).collect()
    }

    pub(super) fn check(&self) -> Result<(), Violation> {
        require(
            self.replay.as_ref().is_none_or(|path| !path.as_os_str().is_empty()),
            "rollout.replay",
            "empty",
            "a file of recorded completions",
            "leave the key out to sample completions",
        )?;
        positive(
            "rollout.temperature",
            self.temperature,
            "1 samples the policy itself; greedy completions of a group would all be equal",
        )?;
        require(
            self.top_p > 0.0 && self.top_p <= 1.0,
            "rollout.top_p",
            self.top_p,
            "a number above 0 and at most 1",
            "1 keeps every token",
        )?;
        fraction("rollout.min_p", self.min_p, "0 keeps every token")?;
        positive("rollout.repetition_penalty", self.repetition_penalty, "1 turns it off")?;
        count("rollout.max_new_tokens", self.max_new_tokens, limits::TOKENS, "512 is R1-V's")?;
        require(
            self.min_new_tokens <= self.max_new_tokens,
            "rollout.min_new_tokens",
            self.min_new_tokens,
            &format!("at most rollout.max_new_tokens ({})", self.max_new_tokens),
            "0 lets a completion end at once",
        )?;
        count(
            "rollout.max_batch",
            self.max_batch,
            limits::BATCH,
            "it bounds the sequences decoded at a time, not those of an update",
        )
    }
}
