//! The comparison of logits: where candle-transformers has to agree, and how far its faults take it elsewhere.
//! Not here: what the faults are (`faults`), the prompts (`prompts`).

use std::path::Path;

use anyhow::Result;
use othink::model::files::ModelFiles;
use othink::processor::Prompt;

use crate::candle_side::Theirs;
use crate::faults::{Faults, Fed, hidden_in_prompt};
use crate::our_side::{Ours, logits};
use crate::prompts::{self, Case};

/// f32 arithmetic in another order, relative to the largest logit: the bound of all comparisons with transformers.
const TOLERANCE: f64 = 1e-4;

/// A line of the table.
struct Line {
    case: String,
    fed: Fed,
    hidden: Faults,
    seen: Faults,
    /// Ours to candle-transformers'.
    difference: f64,
    /// Ours and candle-transformers' to transformers'.
    to_golden: Option<[f64; 2]>,
}

/// The table, and whether the two agree wherever no fault can be seen, and we with transformers.
///
/// # Errors
/// The folder does not hold a Qwen3-VL checkpoint, or one of the two cannot compute it.
pub fn run(folder: &Path) -> Result<(String, bool)> {
    let (ours, theirs) = (Ours::load(folder)?, Theirs::load(folder)?);
    let vision = &ours.config.vision;
    let token_side = vision.patch_size * vision.spatial_merge_size;
    let mut cases = prompts::drawn(&ModelFiles::Folder(folder.to_owned()), token_side as u32)?;
    cases.extend(prompts::golden(folder)?);
    let mut lines = Vec::new();
    for case in &cases {
        for (fed, hidden) in settings(&case.prompt) {
            lines.push(compare(&ours, &theirs, case, (fed, hidden))?);
        }
    }
    let is_right = lines.iter().all(Line::is_right);
    Ok((table(&lines), is_right))
}

/// Ways to feed a prompt, each with the faults that are hidden: none; all; and all but one, where there are several.
fn settings(prompt: &Prompt) -> Vec<(Fed, Faults)> {
    let can_be_cut = prompt.images.iter().all(|image| image.n_tokens() == 1);
    let fed = if can_be_cut { vec![Fed::OneByOne, Fed::Whole] } else { vec![Fed::Whole] };
    let mut settings = Vec::new();
    for fed in fed {
        let seen = Faults::of(prompt, fed);
        settings.push((fed, Faults::default()));
        if seen.each().count() > 1 {
            settings.extend(seen.each().map(|one| (fed, seen.minus(one))));
        }
        if seen != Faults::default() {
            settings.push((fed, seen));
        }
    }
    settings
}

fn compare(
    ours: &Ours,
    theirs: &Theirs,
    case: &Case,
    (fed, hidden): (Fed, Faults),
) -> Result<Line> {
    let prompt = &case.prompt;
    let by_us = logits(&ours.model(hidden)?, &hidden_in_prompt(prompt, hidden))?;
    let by_them = theirs.model(hidden, prompt.input_ids.len())?.logits(prompt, fed)?;
    let golden = case.golden.as_ref().filter(|_| hidden == Faults::default());
    Ok(Line {
        case: case.name.clone(),
        fed,
        hidden,
        seen: Faults::of(prompt, fed).minus(hidden),
        difference: relative_difference(&by_us, &by_them),
        to_golden: golden.map(|golden| [&by_us, &by_them].map(|x| relative_difference(x, golden))),
    })
}

/// The largest difference, relative to the largest element of the second; infinite where a number is not finite.
fn relative_difference(a: &[f32], b: &[f32]) -> f64 {
    if a.len() != b.len() || a.iter().chain(b).any(|x| !x.is_finite()) {
        return f64::INFINITY;
    }
    let largest = b.iter().fold(0.0f64, |largest, &x| largest.max(f64::from(x).abs()));
    let apart = |(&a, &b): (&f32, &f32)| (f64::from(a) - f64::from(b)).abs();
    let difference = a.iter().zip(b).map(apart).fold(0.0, f64::max);
    difference / largest.max(1e-12)
}

impl Line {
    fn is_right(&self) -> bool {
        let agrees = self.difference <= TOLERANCE || self.seen != Faults::default();
        agrees && self.to_golden.is_none_or(|[ours, _]| ours <= TOLERANCE)
    }

    fn verdict(&self) -> &'static str {
        match (self.is_right(), self.difference <= TOLERANCE) {
            (false, _) => "WRONG",
            (true, true) => "agrees",
            (true, false) => "differs, as explained",
        }
    }
}

fn table(lines: &[Line]) -> String {
    let mut text = format!(
        "Largest difference of the logits after a prompt, relative to the largest logit; at most {TOLERANCE:e} agrees.\n\n\
         | prompt | fed | hidden | seen | othink to candle | othink to transformers | candle to transformers | |\n\
         |---|---|---|---|---|---|---|---|\n"
    );
    for line in lines {
        let fed = match line.fed {
            Fed::Whole => "whole",
            Fed::OneByOne => "token by token",
        };
        let golden =
            line.to_golden.map(|both| both.map(|x| format!("{x:.2e}"))).unwrap_or_default();
        let Line { case, hidden, seen, difference, .. } = line;
        let [ours, theirs] = golden;
        let verdict = line.verdict();
        text.push_str(&format!(
            "| {case} | {fed} | {hidden} | {seen} | {difference:.2e} | {ours} | {theirs} | {verdict} |\n"
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_difference_is_relative_to_the_largest_of_the_second() {
        assert_eq!(relative_difference(&[1.0, -3.0], &[1.0, -4.0]), 0.25);
        assert_eq!(relative_difference(&[1.0, f32::NAN], &[1.0, 1.0]), f64::INFINITY);
        assert_eq!(relative_difference(&[1.0], &[1.0, 1.0]), f64::INFINITY);
    }
}
