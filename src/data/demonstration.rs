//! What supervised training teaches for a sample.
//! Not here: where the data has it (`listed`, the drawn tasks); the step that teaches it (`train`).

use super::{Sample, gold_answer};

/// A worked example of a sample's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Demonstration {
    /// A whole completion, taught as it stands.
    Completion(String),
    /// The reasoning that leads to the answer, without the answer, perhaps in `<think>` tags.
    Reasoning(String),
}

/// The completion that teaches a sample's answer without reasoning: `<answer> 7 </answer>`.
pub fn bare_answer(sample: &Sample) -> String {
    format!("<answer> {} </answer>", gold_answer(&sample.solution))
}

/// The completion that supervised training teaches for a sample, if it has a demonstration: a whole one as it
/// stands; reasoning as `<think>reasoning</think>`, a line break, `<answer> 7 </answer>`.
///
/// Tags already around the reasoning are not doubled, and reasoning that holds an `<answer>` counts as a whole
/// completion. The answer has spaces around it because R1-V's accuracy reward (math-verify) does not see a number
/// that follows `>` directly.
pub fn supervised_completion(sample: &Sample) -> Option<String> {
    let reasoning = match sample.demonstration.as_ref()? {
        Demonstration::Completion(completion) => return Some(completion.trim().to_owned()),
        Demonstration::Reasoning(reasoning) => reasoning.trim(),
    };
    if reasoning.contains("<answer>") {
        return Some(reasoning.to_owned());
    }
    let inside = reasoning.strip_prefix("<think>").unwrap_or(reasoning);
    let inside = inside.strip_suffix("</think>").unwrap_or(inside).trim();
    Some(format!("<think>{inside}</think>\n{}", bare_answer(sample)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taught(solution: &str, demonstration: Option<Demonstration>) -> Option<String> {
        supervised_completion(&Sample {
            id: String::new(),
            images: Vec::new(),
            problem: String::new(),
            solution: solution.to_owned(),
            demonstration,
            columns: std::sync::Arc::default(),
        })
    }

    #[test]
    fn a_reasoning_is_taught_in_the_format_that_is_rewarded() {
        let reasoning = |text: &str| Some(Demonstration::Reasoning(text.to_owned()));
        let wanted = Some("<think>one: 1</think>\n<answer> 1 </answer>".to_owned());
        assert_eq!(taught("1", reasoning("one: 1")), wanted);
        assert_eq!(taught("<answer> 1 </answer>", reasoning("<think>one: 1</think>\n")), wanted);
        assert_eq!(taught("1", reasoning(&wanted.clone().unwrap())), wanted);
        assert_eq!(taught("1", None), None);
    }

    #[test]
    fn a_completion_is_taught_as_it_stands() {
        let whole = Demonstration::Completion("There is one.\n".to_owned());
        assert_eq!(taught("1", Some(whole)).as_deref(), Some("There is one."));
    }
}
