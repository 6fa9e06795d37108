//! Tests of the rules on any text at all: nothing panics, nothing takes long, and what must hold of every answer holds.
//! Not here: verdicts on real and chosen answers (`test_verdicts`).

use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::answer::{Answer, compare, read};
use super::rule::RULES;
use super::test_verdicts::{HAND_CHECKED, PAIRS, RECORDED, in_tag, rows, text};
use super::{GoldAnswer, Rule, grade};

/// What hostile texts are made of.
const HOSTILE_UNITS: &[&str] = &[
    "(",
    "{",
    "[",
    "\\frac{",
    "\\sqrt{",
    "^",
    "9^",
    "-",
    "√",
    "$",
    "$$",
    "\\[",
    "\\(",
    "$a$,\\[",
    "answer",
    "answer:",
    "final answer is ",
    "final answer ",
    "1 1 ",
    "1+",
    "1/",
    "1 1 1 1 1 +1",
    "=",
    " ",
    "\n",
    "\t1",
    "\\boxed{",
    "}",
    "\\boxed{1},",
    "1,",
    "1,234",
    "%",
    "1%",
    "x+",
    "(x+y)",
    "(a+b)(c+d)",
    "|",
    "<answer>",
    "</answer>",
    "0",
    "9",
    ".",
    "√2+",
    "2√3+",
    "é",
    "中",
    "\u{a0}",
    "_",
    "\\text{",
    "\\text{a}",
    " and ",
    " or ",
    "±",
    "m/s ",
    "!",
    "x_{",
    "1 percent ",
    "answer 1 = ",
    "=1",
    "= ",
    "answer= ",
    "\\sin ",
    "f(",
    "\\left(",
    "\"",
];

/// Texts that are hard on parsers: nesting, towers of powers, runs that patterns read again and again.
fn hostile_texts(n_bytes: usize) -> Vec<String> {
    let filled = |unit: &str| unit.repeat(n_bytes / unit.len());
    let mut texts: Vec<String> = HOSTILE_UNITS.iter().map(|unit| filled(unit)).collect();
    texts.push(format!("{}x", filled("1 1 1+")));
    texts.push(format!("{}{}x", filled("1 "), filled("+1")));
    texts.push(format!("answer{}", filled("1 1 ")));
    texts.push("9^9^9^9".to_owned());
    texts.push("2^{2^{2^{2^{2^{2^2}}}}}".to_owned());
    texts.push("10^{-10^{10}}".to_owned());
    texts.push(format!(
        "({})^31",
        ["x", "y", "z", "a", "b"].map(|letter| format!("1/({letter}+√2)")).join("+")
    ));
    texts.push("√(99999989)+√(99999971)+√(99999959)+√(99999941)+√(99999931)".to_owned());
    texts
}

#[test]
fn hostile_texts_take_no_longer_than_a_bound() {
    // Unoptimised code is many times slower, and tests run beside others.
    let bound = Duration::from_millis(if cfg!(debug_assertions) { 300 } else { 10 });
    let elapsed = |rule: Rule, completion: &str, solution: &str| {
        let start = Instant::now();
        grade(rule, completion, solution);
        start.elapsed()
    };
    for n_bytes in [100, 400, 3_000, 60_000, 1_000_000] {
        for text in hostile_texts(n_bytes) {
            let tagged = in_tag(&text);
            for rule in RULES {
                for (completion, solution) in
                    [(&text, "5"), (&tagged, "5"), (&tagged, text.as_str())]
                {
                    // The best of three, since another process may hold the core.
                    let best = (0..3).map(|_| elapsed(rule, completion, solution)).min().unwrap();
                    let head: String = text.chars().take(40).collect();
                    assert!(best < bound, "{rule}, {n_bytes} bytes of {head:?}: {best:?}");
                }
            }
        }
    }
}

/// Mutates committed answers for `OTHINK_FUZZ_SECONDS` seconds (default 600): nothing may panic or take long.
///
/// The same entry as the fuzz target in `fuzz/`, for machines without a nightly compiler.
#[test]
#[ignore = "runs for ten minutes"]
fn mutated_answers_are_graded_without_failing() {
    let seconds =
        std::env::var("OTHINK_FUZZ_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(600);
    let mut seeds: Vec<String> =
        rows(HAND_CHECKED).iter().map(|row| text(row, "completion").to_owned()).collect();
    seeds.extend(rows(PAIRS).iter().map(|row| text(row, "answer").to_owned()));
    seeds.extend(rows(RECORDED).iter().map(|row| text(row, "completion").to_owned()));
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut below = |bound: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % bound as u64) as usize
    };
    while Instant::now() < deadline {
        let mut chars: Vec<char> = seeds[below(seeds.len())].chars().collect();
        for _ in 0..=below(6) {
            let other: Vec<char> = seeds[below(seeds.len())].chars().collect();
            if chars.is_empty() || other.is_empty() {
                break;
            }
            let (at, from) = (below(chars.len()), below(other.len()));
            let length = below(8) + 1;
            match below(4) {
                0 => chars[at] = other[from],
                1 => drop(chars.drain(at..(at + length).min(chars.len()))),
                2 => {
                    let part = other[from..(from + length).min(other.len())].to_vec();
                    chars.splice(at..at, part);
                }
                _ => {
                    let part = chars[at..(at + length).min(chars.len())].repeat(below(40) + 1);
                    chars.splice(at..at, part);
                }
            }
        }
        let completion: String = chars.into_iter().collect();
        let solution = seeds[below(seeds.len())].clone();
        for rule in RULES {
            let start = Instant::now();
            grade(rule, &completion, &solution);
            grade(rule, &in_tag(&completion), &completion);
            assert!(
                start.elapsed() < Duration::from_millis(500),
                "{rule}: {completion:?} and {solution:?}"
            );
        }
    }
}

/// Texts that look like answers, right or malformed.
fn answers() -> impl Strategy<Value = String> {
    let pieces = prop::sample::select(vec![
        "1",
        "12",
        "3.5",
        "x",
        "y",
        "√",
        "√{3}",
        "\\sqrt{2}",
        "\\frac{1}{2}",
        "\\frac",
        "{",
        "}",
        "(",
        ")",
        "[",
        "]",
        ",",
        " ",
        "+",
        "-",
        "*",
        "/",
        "^",
        "^2",
        "π",
        "\\pi",
        "°",
        "%",
        "cm",
        " m/s",
        "=",
        "<",
        "±",
        "$",
        "A",
        "B. ",
        "and",
        "or",
        "\\text{cm}",
        "\\boxed{5}",
        "1,234",
        "!",
        "_",
        "|",
        "three",
        "\\circ",
        "½",
        "e",
        "sin",
    ]);
    prop::collection::vec(pieces, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn any_text_is_graded_without_failing(completion in ".*", solution in ".*") {
        for rule in RULES {
            let verdict = grade(rule, &completion, &solution);
            prop_assert!(verdict.answer.is_some() || !verdict.is_correct);
        }
    }

    #[test]
    fn anything_like_an_answer_is_graded_without_failing(answer in answers(), gold in answers()) {
        for rule in RULES {
            grade(rule, &in_tag(&answer), &gold);
            grade(rule, &answer, &gold);
        }
    }

    #[test]
    fn readable_gold_equals_itself(gold in answers()) {
        if let Ok(parsed) = GoldAnswer::parse(Rule::AnswerTag, &gold) {
            let is_infinite = ["^", "!", "/", "\\frac"].iter().any(|sign| gold.contains(sign));
            // What has no value, such as 1/0, still equals itself as it is written.
            prop_assert!(parsed.grade(&in_tag(&gold)).is_correct || is_infinite, "{gold}");
        }
    }

    #[test]
    fn equality_of_numbers_has_no_direction(answer in answers(), gold in answers()) {
        if let (left @ Answer::Quantity(_), right @ Answer::Quantity(_)) = (read(&answer), read(&gold)) {
            prop_assert_eq!(compare(&left, &right).is_equal(), compare(&right, &left).is_equal());
        }
    }

    #[test]
    fn white_space_around_an_answer_does_not_count(answer in answers(), gold in answers()) {
        let bare = grade(Rule::AnswerTag, &in_tag(&answer), &gold);
        let spaced = grade(Rule::AnswerTag, &in_tag(&format!("\n {answer} \n")), &format!(" {gold}\n"));
        prop_assert_eq!(bare.is_correct, spaced.is_correct);
    }

    #[test]
    fn integers_are_right_exactly_when_equal(answer in -2000i64..2000, gold in -2000i64..2000) {
        let verdict = grade(Rule::AnswerTag, &in_tag(&answer.to_string()), &gold.to_string());
        prop_assert_eq!(verdict.is_correct, answer == gold);
    }

    #[test]
    fn list_that_contains_the_gold_is_not_the_gold(gold in 1i64..100, others in prop::collection::vec(1i64..100, 1..9)) {
        let mut list: Vec<String> = others.iter().map(i64::to_string).collect();
        list.push(gold.to_string());
        for separator in [", ", " or ", "; ", " and ", " "] {
            let verdict = grade(Rule::AnswerTag, &in_tag(&list.join(separator)), &gold.to_string());
            prop_assert!(!verdict.is_correct);
        }
    }

    #[test]
    fn fractions_are_equal_exactly_when_cross_products_are(a in -40i64..40, b in 1i64..40, c in -40i64..40, d in 1i64..40) {
        let verdict = grade(Rule::AnswerTag, &in_tag(&format!("{a}/{b}")), &format!("\\frac{{{c}}}{{{d}}}"));
        prop_assert_eq!(verdict.is_correct, a * d == b * c);
    }

    #[test]
    fn roots_are_equal_exactly_when_their_squares_are(a in 1i64..30, n in 1i64..60, b in 1i64..30, m in 1i64..60) {
        let verdict = grade(Rule::AnswerTag, &in_tag(&format!("{a}√{n}")), &format!("{b}\\sqrt{{{m}}}"));
        prop_assert_eq!(verdict.is_correct, a * a * n == b * b * m);
    }
}
