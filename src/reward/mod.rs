//! Eq. (1): rewards that rules can check, `r = accuracy + alpha * format`.
//!
//! In reading order: [`mod@format`], the form of a completion; [`mod@rule`], when its answer is right, with [`answer`],
//! our own reading of answers, and [`math_verify`], R1-V's; [`algebra`], the arithmetic under both; [`score`], the sum.
//! Not here: prompts and data (`data`); what a reward is worth within its group (`grpo::advantage`).
//!
//! A completion that cannot be graded earns 0; that is never an error. Components are named fields, so that more
//! of them can join without a change in what stands here.

pub mod algebra;
pub mod answer;
pub mod format;
pub mod math_verify;
pub mod rule;
pub mod verdict;

#[cfg(test)]
mod test_hostile;
#[cfg(test)]
mod test_verdicts;

pub use rule::{GoldAnswer, Rule, UnparsableGold, grade};
pub use verdict::{Explanation, Reason, Verdict};

/// The reward of one completion, by component.
#[derive(Clone, Debug, PartialEq)]
pub struct Reward {
    /// `R_acc`: 1 if the answer is right, else 0.
    pub accuracy: f64,
    /// `R_format`: 1 if the whole completion has the asked-for form, else 0.
    pub format: f64,
    /// `accuracy + alpha * format`, what training maximises.
    pub total: f64,
    /// The answer that was found in the completion, for people to read.
    pub answer: Option<String>,
    /// Why `accuracy` is what it is.
    pub reason: Reason,
}

/// Scores a completion against the sample's solution, Eq. (1).
///
/// - `completion`: the generated text, without stop tokens
/// - `solution`: the sample's gold answer, bare or in `<answer>` tags
/// - `alpha`: what the format is worth next to the accuracy; 1 by default in the run file
pub fn score(completion: &str, solution: &str, alpha: f64, rule: Rule) -> Reward {
    score_parsed(completion, &GoldAnswer::parse_or_unequal(rule, solution), alpha)
}

/// As [`score`], with a solution that was parsed before.
pub fn score_parsed(completion: &str, gold: &GoldAnswer, alpha: f64) -> Reward {
    let verdict = gold.grade(completion);
    let accuracy = if verdict.is_correct { 1.0 } else { 0.0 };
    let format = if format::is_well_formed(completion) { 1.0 } else { 0.0 };
    Reward {
        accuracy,
        format,
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
