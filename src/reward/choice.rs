//! `choice`: whether the letter of a multiple choice is the right one.
//! Not here: how a choice is recognised (`grading::answer::read`); choices compared by their text
//! (`grading::answer::compare`).

use super::component::Component;
use super::gold::{Gold, GoldKind};
use super::grading::answer::{Answer, last_answer, read};

/// The component.
pub static CHOICE: Component = Component {
    name: "choice",
    gold: Some(GoldKind::Choice),
    score: |scoring| match scoring.gold {
        Some(Gold::Choice(letter)) => choice(scoring.completion.text, *letter),
        _ => 0.0,
    },
    formula: "1 if the answer names the gold's letter (`A`, `(B)`, `C. 30°`, `option d`) and no other",
    range: "0 or 1",
    source: "usual scoring of multiple choice",
};

/// 1 if the last `<answer>` of the completion names `gold` and no other letter, else 0.
///
/// - `gold`: `A` to `H`, as [`choice_letter`] reads it from a solution
///
/// Unlike accuracy under `answer-tag`, the letter alone decides: `B. 40°` is right for a gold `B. 45°`, and `40°`
/// without a letter is wrong. This is the usual scoring of multiple choice (R1-V's and VLM-R1's data among others);
/// refusing second letters is ours, so that naming all choices earns nothing.
pub fn choice(completion: &str, gold: char) -> f64 {
    let letter = last_answer(completion).and_then(choice_letter);
    if letter == Some(gold) { 1.0 } else { 0.0 }
}

/// The letter an answer chooses: `A`, `(B)`, `b)`, `C. 30°`, `option d`, `The answer is E.`
///
/// - returns `A` to `H`; none if the answer has no letter or more than one
pub fn choice_letter(answer: &str) -> Option<char> {
    let Answer::Choice { letter, .. } = read(answer) else { return None };
    (!marks_another(answer, letter)).then_some(letter)
}

/// Whether a second letter is marked as a choice: `C.` in `B. cat, C. dog`, `(C)` in `B. (C)`. The last word may end
/// the sentence, as in `B. Point C.`
fn marks_another(answer: &str, letter: char) -> bool {
    let words =
        answer.split([' ', '\t', '\n', '\r', ',', ';', '/']).filter(|word| !word.is_empty());
    let words: Vec<&str> = words.collect();
    let is_other = |word: &str| {
        let mut letters = word.trim_matches(['(', ')', '.', ':', '、', '*']).chars();
        let first = letters.next().filter(|first| letters.next().is_none() && *first != letter);
        first.is_some_and(|first| ('A'..='H').contains(&first))
    };
    let is_marked = |word: &str| word.ends_with(['.', ')', ':', '、']);
    match words.as_slice() {
        [_, second] => is_other(second) && second.starts_with('('),
        [before_last @ .., _] => before_last.iter().any(|word| is_other(word) && is_marked(word)),
        [] => false,
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "0 and 1 are exact")]
mod tests {
    use super::*;

    fn score(answer: &str, gold: char) -> f64 {
        choice(&format!("<think>A or C?</think><answer>{answer}</answer>"), gold)
    }

    #[test]
    fn letter_is_found_however_it_is_written() {
        for (answer, letter) in [
            ("A", 'A'),
            ("(B)", 'B'),
            ("b)", 'B'),
            ("C.", 'C'),
            ("C. 30°", 'C'),
            ("option d", 'D'),
            ("The correct answer is (E).", 'E'),
            ("**F**", 'F'),
            ("B. Point C.", 'B'),
            ("\\boxed{D}", 'D'),
        ] {
            assert_eq!(choice_letter(answer), Some(letter), "{answer}");
            assert_eq!(score(answer, letter), 1.0, "{answer}");
            assert_eq!(score(answer, 'H'), 0.0, "{answer}");
        }
    }

    #[test]
    fn no_letter_or_several_earn_nothing() {
        for answer in ["", "30°", "cat", "J", "A or B", "A, B", "A/B", "B. cat, C. dog", "A. (B)"]
        {
            assert_eq!(choice_letter(answer), None, "{answer}");
            assert_eq!(score(answer, 'A') + score(answer, 'B'), 0.0, "{answer}");
        }
    }

    #[test]
    fn letter_decides_and_not_what_it_says() {
        assert_eq!(score("B. 40°", 'B'), 1.0);
        assert_eq!(score("C. 45°", 'B'), 0.0);
    }

    #[test]
    fn only_the_last_closed_answer_counts() {
        assert_eq!(choice("<answer>A</answer> no, <answer>B</answer>", 'B'), 1.0);
        assert_eq!(choice("<answer>A</answer> no, <answer>B</answer>", 'A'), 0.0);
        assert_eq!(choice("The answer is B", 'B'), 0.0);
    }
}
