//! `[reward]`: how accuracy and format make a reward.
//! Not here: the rules themselves (`reward`).

use serde::{Deserialize, Serialize};

use super::violation::{Violation, not_negative};

/// `[reward]`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RewardConfig {
    /// Weight of the format reward: `r = R_acc + alpha * R_format`.
    pub alpha: f64,
    /// The rule that decides accuracy.
    pub rule: RewardRule,
}

/// The rule that decides whether a completion's answer is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RewardRule {
    /// The contents of the last `<answer>` alone, so that the reasoning cannot earn the reward.
    #[default]
    AnswerTag,
}

impl Default for RewardConfig {
    fn default() -> Self {
        Self {
            alpha: 1.0, // the paper's; R1-V sums the two unweighted
            rule: RewardRule::AnswerTag,
        }
    }
}

impl RewardConfig {
    pub(super) fn check(&self) -> Result<(), Violation> {
        not_negative("reward.alpha", self.alpha, "1 is the paper's, 0 drops the format reward")
    }
}
