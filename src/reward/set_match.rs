//! `set_match`: how much of a set or list an answer has.
//! Not here: how one item is read and compared (`grading::answer`).

use super::component::Component;
use super::gold::{Gold, GoldKind};
use super::grading::algebra::{Constant, Expression};
use super::grading::answer::{Answer, Quantity, compare, last_answer, read};

/// The component.
pub static SET_MATCH: Component = Component {
    name: "set_match",
    gold: Some(GoldKind::Items),
    score: |scoring| match scoring.gold {
        Some(Gold::Items(items)) => set_match(scoring.completion.text, items),
        _ => 0.0,
    },
    formula: "F1 of the items: `2 * matched / (items of the answer + items of the gold)`",
    range: "0 to 1",
    source: "F1 of SQuAD, Rajpurkar et al. 2016, over items",
};

/// A list of more items is not compared: it earns nothing, so that the cost stays bounded.
pub const MAX_ITEMS: usize = 32;

/// Nor is a list with more formulas, which cost the most to compare.
pub const MAX_FORMULAS: usize = 8;

/// Nor is a longer text.
pub const MAX_BYTES: usize = 1000;

/// F1 of the items in the last `<answer>` against those of the gold: the harmonic mean of precision and recall,
///
/// `F1 = 2 * n_matched / (n_answer + n_gold)`
///
/// - `gold`: the items of the solution, as [`set_items`] reads them
/// - returns 0 to 1; 1 if and only if every item is matched
///
/// Items are matched one to one by `answer-tag`'s comparison, so that repeating one earns nothing; order and brackets
/// carry no meaning. The F1 of SQuAD (Rajpurkar et al. 2016, section 6.1) over items instead of words. Unlike accuracy
/// it gives partial credit: all numbers from 1 to 10 for a gold of `3` earn 2 / 11.
pub fn set_match(completion: &str, gold: &[Answer]) -> f64 {
    let Some(items) = last_answer(completion).and_then(set_items) else { return 0.0 };
    let mut is_taken = vec![false; gold.len()];
    let mut n_matched = 0_usize;
    for item in &items {
        let is_partner = |idx: &usize| !is_taken[*idx] && compare(item, &gold[*idx]).is_equal();
        if let Some(idx) = (0..gold.len()).find(is_partner) {
            is_taken[idx] = true;
            n_matched += 1;
        }
    }
    2.0 * n_matched as f64 / (items.len() + gold.len()) as f64
}

/// The items of an answer: each line's, with or without a bullet; in a line those of a list, a set or a tuple, else of
/// a text separated by commas, semicolons, "and" and "or"; a line that is none of these is one item.
///
/// - returns 1 to [`MAX_ITEMS`] items; none if there are none, or more than one of the bounds above allows
pub fn set_items(text: &str) -> Option<Vec<Answer>> {
    if text.len() > MAX_BYTES {
        return None;
    }
    // One more than allowed, so that too many are detected.
    let items: Vec<Answer> =
        text.lines().map(without_bullet).flat_map(line_items).take(MAX_ITEMS + 1).collect();
    let n_formulas = items.iter().filter(|item| !is_plain(item)).count();
    ((1..=MAX_ITEMS).contains(&items.len()) && n_formulas <= MAX_FORMULAS).then_some(items)
}

/// Whether an item is a text, a letter or a number as it stands.
fn is_plain(item: &Answer) -> bool {
    match item {
        Answer::Text(_) | Answer::Choice { content: None, .. } => true,
        Answer::Quantity(Quantity { value, .. }) => {
            matches!(value, Expression::Number(_) | Expression::Decimal(_))
        }
        _ => false,
    }
}

fn without_bullet(line: &str) -> &str {
    let line = line.trim();
    ["- ", "* ", "• "].iter().find_map(|bullet| line.strip_prefix(bullet)).unwrap_or(line)
}

fn line_items(line: &str) -> Vec<Answer> {
    match read(line) {
        // In brackets a word is read as a product of letters.
        Answer::List { items, .. } if !items.iter().any(is_word) => items,
        Answer::List { .. } | Answer::Text(_) => text_items(line),
        single => vec![single],
    }
}

fn is_word(item: &Answer) -> bool {
    match item {
        Answer::Quantity(Quantity { name: None, value, .. }) => match value {
            Expression::Symbol(_) => true,
            Expression::Product(factors) => factors.iter().all(|factor| {
                matches!(factor, Expression::Symbol(_) | Expression::Constant(Constant::E))
            }),
            _ => false,
        },
        _ => false,
    }
}

fn text_items(text: &str) -> Vec<Answer> {
    let inside = text.trim().trim_start_matches(['[', '{', '(']).trim_end_matches([']', '}', ')']);
    let parts = inside
        .split([',', ';', '，', '；', '、'])
        .flat_map(|part| part.split(" and "))
        .flat_map(|part| part.split(" or "))
        .map(str::trim)
        .map(|part| part.strip_prefix("and ").or(part.strip_prefix("or ")).unwrap_or(part))
        .filter(|part| !part.is_empty());
    parts.take(MAX_ITEMS + 1).map(read).collect()
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "the same fraction on both sides")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn score(answer: &str, gold: &str) -> f64 {
        set_match(&format!("<answer>{answer}</answer>"), &set_items(gold).unwrap())
    }

    #[test]
    fn f1_weighs_what_is_missing_and_what_is_too_much() {
        // 2 of 3 found and nothing else: 2 * 2 / (2 + 3)
        assert_eq!(score("1, 2", "1, 2, 3"), 0.8);
        // All found and one too many: 2 * 2 / (3 + 2)
        assert_eq!(score("1, 2, 4", "1, 2"), 0.8);
        // One of two on each side: 2 * 1 / 4
        assert_eq!(score("1, 5", "1, 2"), 0.5);
        assert_eq!(score("7, 8", "1, 2"), 0.0);
    }

    #[test]
    fn order_and_brackets_carry_no_meaning() {
        for answer in ["3, 1, 2", "{1, 2, 3}", "[2, 1, 3]", "(1, 2, 3)"] {
            assert_eq!(score(answer, "{1, 2, 3}"), 1.0, "{answer}");
        }
    }

    #[test]
    fn items_are_compared_as_answers() {
        assert_eq!(score("0.5, 2.0", "\\frac{1}{2}, 2"), 1.0);
        assert_eq!(score("Cat and dog", "dog, cat"), 1.0);
        assert_eq!(score("red cube; blue sphere", "Blue sphere, red cube"), 1.0);
        assert_eq!(score("[\"cat\", \"dog\"]", "cat, dog"), 1.0);
        assert_eq!(score("- cat\n- dog", "cat, dog"), 1.0);
        assert_eq!(score("[cat, act]", "cat, dog"), 0.5);
        assert_eq!(score("['red', 'blue', 3]", "red, 3, blue"), 1.0);
        assert_eq!(score("-3\n-4", "-3, -4"), 1.0);
        assert_eq!(score("cat, dog, and bird", "bird, cat, dog"), 1.0);
        assert_eq!(score("x = 2 or x = 3", "2, 3"), score("2, 3", "2, 3"));
    }

    #[test]
    fn item_said_twice_counts_once() {
        // 2 * 1 / (3 + 2)
        assert_eq!(score("1, 1, 1", "1, 2"), 0.4);
        assert_eq!(score("1, 1", "1, 1"), 1.0);
    }

    #[test]
    fn hedging_earns_little_and_more_than_the_bound_nothing() {
        // 2 * 1 / (10 + 1)
        assert_eq!(score("1, 2, 3, 4, 5, 6, 7, 8, 9, 10", "3"), 2.0 / 11.0);
        let all: Vec<String> = (0..=MAX_ITEMS).map(|idx| format!("word{idx}")).collect();
        assert_eq!(score(&all.join("; "), "word1"), 0.0);
        assert_eq!(set_items(&all.join(", ")), None);
        assert_eq!(set_items(&all[1..].join(", ")).map(|items| items.len()), Some(MAX_ITEMS));
        let roots: Vec<String> =
            (0..=MAX_FORMULAS).map(|idx| format!("√{}", 2 * idx + 3)).collect();
        assert_eq!(set_items(&roots.join(", ")), None);
        assert_eq!(score(&roots[1..].join(", "), "√5"), 2.0 / 9.0);
    }

    #[test]
    fn completion_without_answer_earns_nothing() {
        let gold = set_items("1, 2").unwrap();
        for completion in ["1, 2", "<answer></answer>", "<answer> , </answer>", ""] {
            assert_eq!(set_match(completion, &gold), 0.0, "{completion}");
        }
    }

    proptest! {
        #[test]
        fn score_stays_in_its_range_and_swaps_its_sides(
            left in prop::collection::vec(0u8..9, 1..8), right in prop::collection::vec(0u8..9, 1..8),
        ) {
            let join = |items: &[u8]| {
                items.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
            };
            let (left, right) = (join(&left), join(&right));
            let found = score(&left, &right);
            prop_assert!((0.0..=1.0).contains(&found));
            prop_assert_eq!(found, score(&right, &left));
            prop_assert_eq!(score(&left, &left), 1.0);
        }
    }
}
