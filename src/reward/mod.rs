//! Eq. (1): rewards that rules can check, `r = accuracy + alpha * format`, and further components beside them.
//!
//! In reading order: [`mod@format`], the form of a completion; [`mod@rule`], when its answer is right, with [`answer`],
//! our own reading of answers, and [`math_verify`], R1-V's; [`algebra`], the arithmetic under both. Further components,
//! one file each: [`mod@choice`], [`mod@relative_error`], [`mod@set_match`], [`mod@box_iou`], [`mod@length_penalty`],
//! [`mod@repetition_penalty`]. [`registry`] names, weighs and sums them; [`external`] is a reward of the user's own;
//! [`scorer`] puts both together for the trainer.
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
pub mod verdict;

#[cfg(test)]
mod test_hostile;
#[cfg(test)]
mod test_verdicts;

pub use external::{ExternalCommand, ExternalError};
pub use registry::{Component, Gold, RewardSettings, ScoredText, UnusableGold, score_group};
pub use rule::{GoldAnswer, Rule, UnparsableGold, grade};
pub use scorer::{Group, Scorer};
pub use verdict::{Explanation, Reason, Verdict};

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

/// Scores a completion against the sample's solution by the paper's reward alone, Eq. (1).
///
/// - `completion`: the generated text, without stop tokens
/// - `solution`: the sample's gold answer, bare or in `<answer>` tags
/// - `alpha`: what the format is worth next to the accuracy; 1 by default in the run file
pub fn score(completion: &str, solution: &str, alpha: f64, rule: Rule) -> Reward {
    let verdict = grade(rule, completion, solution);
    let accuracy = if verdict.is_correct { 1.0 } else { 0.0 };
    let format = if format::is_well_formed(completion) { 1.0 } else { 0.0 };
    Reward {
        accuracy,
        format,
        components: Vec::new(),
        total: accuracy + alpha * format,
        answer: verdict.answer,
        reason: verdict.reason,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn total_is_accuracy_plus_alpha_times_format() {
        let both = score("<think>a</think><answer>7</answer>", "7", 0.25, Rule::AnswerTag);
        assert_eq!((both.accuracy, both.format, both.total), (1.0, 1.0, 1.25));
        let accuracy_alone = score("<answer>7</answer>", "7", 0.25, Rule::AnswerTag);
        assert_eq!((accuracy_alone.format, accuracy_alone.total), (0.0, 1.0));
        let format_alone = score("<think>a</think><answer>8</answer>", "7", 0.25, Rule::AnswerTag);
        assert_eq!((format_alone.accuracy, format_alone.total), (0.0, 0.25));
        assert_eq!(format_alone.answer.as_deref(), Some("8"));
    }

    #[test]
    fn text_without_answer_earns_nothing() {
        let reward = score("I do not know", "7", 1.0, Rule::AnswerTag);
        assert_eq!((reward.total, reward.answer), (0.0, None));
    }
}
