//! Eq. (1): rewards that rules can check, `r = accuracy + alpha * format`, and further components beside them.
//!
//! In reading order: [`mod@format`], the form of a completion; [`mod@rule`], when its answer is right, with [`answer`],
//! our own reading of answers, and [`math_verify`], R1-V's; [`algebra`], the arithmetic under both. Further components,
//! one file each: [`mod@choice`], [`mod@relative_error`], [`mod@set_match`], [`mod@box_iou`], [`mod@length_penalty`],
//! [`mod@repetition_penalty`]. [`registry`] names, weighs and sums them; [`external`] is a reward of the user's own;
//! [`scorer`] puts both together for the trainer; [`solutions`] looks at a data set before anything is computed.
//! Not here: prompts and data (`data`); what a reward is worth within its group (`grpo::advantage`).
//!
//! A completion that cannot be graded earns 0; that is never an error. What may fail is a command of the user's.

pub mod algebra;
pub mod answer;
pub mod box_iou;
pub mod choice;
pub mod external;
pub mod format;
pub mod length_penalty;
pub mod math_verify;
pub mod registry;
pub mod relative_error;
pub mod repetition_penalty;
pub mod rule;
pub mod scorer;
pub mod set_match;
pub mod solutions;
pub mod verdict;

#[cfg(test)]
mod test_hostile;
#[cfg(test)]
mod test_verdicts;

use crate::config::RewardRule;

pub use external::{ExternalCommand, ExternalError};
pub use registry::{Component, Gold, RewardSettings, ScoredText, UnusableGold, score_group};
pub use rule::{GoldAnswer, Rule, UnparsableGold, grade};
pub use scorer::{Group, Scorer};
pub use solutions::{UnusableSolution, check_solutions};
pub use verdict::{Explanation, Reason, Verdict};

impl From<RewardRule> for Rule {
    fn from(choice: RewardRule) -> Self {
        match choice {
            RewardRule::AnswerTag => Self::AnswerTag,
            RewardRule::R1vReward => Self::R1vReward,
            RewardRule::R1vSuperclevr => Self::R1vSuperclevr,
            RewardRule::R1vGeoqa => Self::R1vGeoqa,
        }
    }
}

/// The name of a custom reward among the components.
pub const EXTERNAL: &str = "command";

/// The reward of one completion, by component.
#[derive(Clone, Debug, PartialEq)]
pub struct Reward {
    /// `R_acc`: 1 if the answer is right, else 0.
    pub accuracy: f64,
    /// `R_format`: 1 if the whole completion has the asked-for form, else 0.
    pub format: f64,
    /// The further components by name, unweighted, in the order of the run file; a custom reward last, as [`EXTERNAL`].
    pub components: Vec<(&'static str, f64)>,
    /// The weighted sum of them all, what training maximises; `accuracy + alpha * format` in the paper.
    pub total: f64,
    /// The answer that was found in the completion, for people to read.
    pub answer: Option<String>,
    /// Why `accuracy` is what it is.
    pub reason: Reason,
}
