//! `format`, the paper's `R_format`: whether a completion has the asked-for form.
//! Not here: what that form is (`grading::format`).

use super::component::Component;
use super::grading::format::is_well_formed;

/// The component.
pub static FORMAT: Component = Component {
    name: "format",
    gold: None,
    score: |scoring| f64::from(is_well_formed(scoring.completion.text)),
    formula: "1 if the whole completion is `<think>...</think>`, white space, `<answer>...</answer>`",
    range: "0 or 1",
    source: "R1-V",
};
