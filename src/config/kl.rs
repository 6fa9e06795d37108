//! `[kl]`: the weight of the KL term over the run.
//! Not here: the schedules themselves (`grpo::kl_schedule`), the estimate (`grpo::kl`).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::update_span::UpdateSpan;
use super::violation::{Violation, not_negative, require};

/// `[kl]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct KlConfig {
    /// How the weight moves; `method = "grpo"` makes `constant` the default.
    pub schedule: KlScheduleKind,
    /// The weight of the constant schedule.
    pub beta: f64,
    /// The dynamic schedule's lowest weight, reached at the end of exploration.
    pub beta_min: f64,
    /// The dynamic schedule's highest weight, reached at the end of the run.
    pub beta_max: f64,
    /// How long the dynamic schedule explores (the weight falls) before it exploits (it rises).
    pub explore: UpdateSpan,
}

/// How the KL weight moves over the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum KlScheduleKind {
    /// GRPO-D, Eq. (3): falls from the middle to `beta_min`, then rises to `beta_max`.
    Dynamic,
    /// Plain GRPO: `beta` throughout.
    Constant,
    /// No KL term and no reference model.
    Zero,
}

impl KlScheduleKind {
    /// The name in run files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Dynamic => "dynamic",
            Self::Constant => "constant",
            Self::Zero => "zero",
        }
    }
}

impl Default for KlConfig {
    fn default() -> Self {
        Self {
            schedule: KlScheduleKind::Dynamic,  // the paper's method
            beta: 0.04, // TRL 0.14 as R1-V pins it; the paper's best constant for counting
            beta_min: 0.0, // our reading: the paper gives no range, its ablation starts at 0
            beta_max: 0.08, // our reading: twice the best constant, so that the middle is that
            explore: UpdateSpan::Fraction(0.5), // our reading: half the run; the paper gives none
        }
    }
}

impl KlConfig {
    pub(super) fn check(&self) -> Result<(), Violation> {
        not_negative("kl.beta", self.beta, "0.04 is usual; kl.schedule = \"zero\" drops the term")?;
        not_negative("kl.beta_min", self.beta_min, "0 lets exploration end without KL")?;
        require(
            self.beta_max.is_finite() && self.beta_max >= self.beta_min,
            "kl.beta_max",
            self.beta_max,
            &format!("a finite number of at least kl.beta_min ({})", self.beta_min),
            "twice the best constant weight keeps the middle of the range at that constant",
        )
    }
}
