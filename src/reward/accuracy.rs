//! `accuracy`, the paper's `R_acc`: whether the answer is right under a rule.
//! Not here: the rules (`grading`).

use super::component::Component;
use super::gold::GoldKind;

/// The component.
pub static ACCURACY: Component = Component {
    name: "accuracy",
    gold: Some(GoldKind::Answer),
    score: |scoring| f64::from(scoring.verdict.is_correct),
    formula: "1 if the answer is right under `reward.rule` ([how answers are graded](grading.md))",
    range: "0 or 1",
    source: "the paper, Eq. (1); R1-V",
};
