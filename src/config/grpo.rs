//! `[grpo]`: groups, batches and the clip range of the objective.
//! Not here: the equations (`grpo`), the KL weight (`kl`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::violation::{Violation, count, positive, require};
use crate::limits;

/// `[grpo]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GrpoConfig {
    /// Completions drawn for each prompt, G.
    pub group_size: usize,
    /// Prompts per optimiser step.
    pub prompts_per_update: usize,
    /// Optimiser steps taken on one batch of rollouts; above 1 the ratio to the policy that drew
    /// them leaves 1 and the clip range takes effect. A multiple of `mini_batches`.
    pub updates_per_rollout: usize,
    /// Mini-batches that a batch of rollouts is cut into, one optimiser step on each: rollouts are drawn
    /// for `prompts_per_update * mini_batches` prompts at a time.
    pub mini_batches: usize,
    /// The ratio is clipped below at `1 - clip_low`.
    pub clip_low: f64,
    /// The ratio is clipped above at `1 + clip_high`.
    pub clip_high: f64,
    /// Leaves completions that hit `rollout.max_new_tokens` out of the loss.
    pub mask_truncated: bool,
    /// Log-ratios are clamped to this size before `exp`, nats.
    pub log_ratio_limit: f64,
}

impl Default for GrpoConfig {
    fn default() -> Self {
        Self {
            group_size: 8,          // R1-V: --num_generations 8
            prompts_per_update: 16, // R1-V: 8 GPUs, 1 prompt each, 2 accumulation steps
            updates_per_rollout: 1, // R1-V: on-policy; TRL: num_iterations 1
            mini_batches: 1,        // TRL: a rollout batch is one optimiser step
            clip_low: 0.2,          // TRL: epsilon 0.2; R1-V has no clip, the paper gives no value
            clip_high: 0.2,         // TRL: epsilon_high defaults to epsilon
            mask_truncated: false,  // TRL: mask_truncated_completions False
            log_ratio_limit: 20.0,  // ours: exp(20) is far from f32's limit, and far above any clip
        }
    }
}

impl GrpoConfig {
    /// Prompts in a batch of rollouts.
    pub fn prompts_per_rollout(&self) -> usize {
        self.prompts_per_update.saturating_mul(self.mini_batches)
    }

    pub(super) fn check(&self) -> Result<(), Violation> {
        require(
            (2..=limits::BATCH).contains(&self.group_size),
            "grpo.group_size",
            self.group_size,
            &format!("a whole number from 2 to {}", limits::BATCH),
            "advantages compare the completions of a group with each other; 8 is usual",
        )?;
        count("grpo.prompts_per_update", self.prompts_per_update, limits::BATCH, "16 is R1-V's")?;
        count("grpo.mini_batches", self.mini_batches, limits::BATCH, "1 makes a batch one step")?;
        require(
            (1..=limits::BATCH).contains(&self.updates_per_rollout)
                && self.updates_per_rollout.is_multiple_of(self.mini_batches),
            "grpo.updates_per_rollout",
            self.updates_per_rollout,
            &format!(
                "a multiple of grpo.mini_batches ({}), at most {}",
                self.mini_batches,
                limits::BATCH
            ),
            "each pass over a batch of rollouts takes one optimiser step per mini-batch",
        )?;
        let completions = self.prompts_per_rollout().saturating_mul(self.group_size);
        require(
            completions <= limits::ROLLOUT,
            "grpo.group_size",
            self.group_size,
            &format!(
                "at most {} completions of a rollout, and these settings make {completions}",
                limits::ROLLOUT
            ),
            "lower grpo.group_size, grpo.prompts_per_update or grpo.mini_batches",
        )?;
        require(
            self.clip_low > 0.0 && self.clip_low <= 1.0,
            "grpo.clip_low",
            self.clip_low,
            "a number above 0 and at most 1",
            "0.2 is usual; 1 never clips from below",
        )?;
        positive("grpo.clip_high", self.clip_high, "0.2 is usual; a large number never clips")?;
        require(
            self.log_ratio_limit > 0.0 && self.log_ratio_limit <= 80.0,
            "grpo.log_ratio_limit",
            self.log_ratio_limit,
            "a number above 0 and at most 80",
            "exp(88.7) overflows 32-bit floats; 20 is the default",
        )
    }
}
