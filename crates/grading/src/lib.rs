//! Whether the answer in a model's completion is right, by named rules, with the reason.
//!
//! ```
//! use othink_grading::{GoldAnswer, Rule, grade};
//!
//! let completion = "<think>12 is 4 times 3.</think><answer>2√3 cm</answer>";
//! assert!(grade(Rule::AnswerTag, completion, "\\sqrt{12}").is_correct);
//!
//! // A solution is parsed once for many completions; one that the rule cannot read is an error.
//! let gold = GoldAnswer::parse(Rule::AnswerTag, "\\frac{1}{3}")?;
//! let verdict = gold.grade("<answer>0.33</answer>");
//! assert!(!verdict.is_correct);
//! println!("{}: {}", verdict.answer.unwrap_or_default(), verdict.reason);
//! assert!(GoldAnswer::parse(Rule::AnswerTag, "\\frac{1}{").is_err());
//! # Ok::<(), othink_grading::UnparsableGold>(())
//! ```
//!
//! In reading order: [`mod@rule`] names the rules and grades; [`answer`] is our own reading of answers, [`math_verify`]
//! R1-V's, [`algebra`] the arithmetic under both; [`verdict`] says what became of a completion and why, [`mod@format`]
//! whether it has the asked-for form. The rules in words, with their reasons, are in `docs/grading.md`.
//! Not here: what a right answer is worth, data sets, models.
//!
//! A verdict depends on the rule, the completion and the solution alone: no network, clock or randomness. No text makes
//! it fail or takes more than some milliseconds; what cannot be graded is wrong.

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
