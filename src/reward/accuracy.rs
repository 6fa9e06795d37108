//! `R_acc`: whether a completion's answer is the sample's solution.
//! Not here: the form of the completion (`format`); what either is worth (`score` in the parent).

use std::fmt;
use std::str::FromStr;

/// How an answer is found and compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rule {
    /// The contents of the last `<answer>` alone, so that reasoning cannot earn the reward: equal as numbers
    /// (integers and decimals, with sign, thousands separators and a unit), else as text.
    #[default]
    AnswerTag,
}

impl Rule {
    /// The name under which run files and the command line know the rule.
    pub fn name(self) -> &'static str {
        match self {
            Self::AnswerTag => "answer-tag",
        }
    }
}

/// A rule of this name does not exist.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "found the rule {name:?}, expected \"answer-tag\"\nhint: answer-tag compares the contents of the last <answer>"
)]
pub struct UnknownRule {
    /// The name that was asked for.
    pub name: String,
}

impl FromStr for Rule {
    type Err = UnknownRule;

    fn from_str(name: &str) -> Result<Self, UnknownRule> {
        match name {
            "answer-tag" => Ok(Self::AnswerTag),
            _ => Err(UnknownRule { name: name.to_owned() }),
        }
    }
}

/// What became of a completion under a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// Whether the answer is right.
    pub is_correct: bool,
    /// The answer that was found, trimmed; none if the completion has none.
    pub answer: Option<String>,
    /// Why.
    pub reason: Reason,
}

/// Why a verdict is what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// Right: the two are the same number, and no unit contradicts.
    SameNumber,
    /// Right: the two are the same text.
    SameText,
    /// Wrong: two numbers that differ.
    OtherNumber,
    /// Wrong: the same number in another unit.
    OtherUnit,
    /// Wrong: at least one is not a number, and the texts differ.
    OtherText,
    /// Wrong: the completion has no `<answer>...</answer>`.
    NoAnswer,
    /// Wrong: there is nothing in the answer.
    EmptyAnswer,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SameNumber => "same number",
            Self::SameText => "same text",
            Self::OtherNumber => "another number",
            Self::OtherUnit => "same number, another unit",
            Self::OtherText => "another text",
            Self::NoAnswer => "no <answer>...</answer> in the completion",
            Self::EmptyAnswer => "nothing in the <answer>",
        })
    }
}

/// Grades a completion against the sample's solution, which may stand in `<answer>` tags of its own.
///
/// Never fails: what cannot be graded is wrong, and the reason says why.
pub fn grade(rule: Rule, completion: &str, solution: &str) -> Verdict {
    match rule {
        Rule::AnswerTag => grade_answer_tag(completion, solution),
    }
}

fn grade_answer_tag(completion: &str, solution: &str) -> Verdict {
    let Some(answer) = last_answer(completion) else {
        return Verdict { is_correct: false, answer: None, reason: Reason::NoAnswer };
    };
    let gold = last_answer(solution).unwrap_or(solution.trim());
    let reason = compare(answer, gold);
    let is_correct = matches!(reason, Reason::SameNumber | Reason::SameText);
    Verdict { is_correct, answer: Some(answer.to_owned()), reason }
}

/// The trimmed contents of the last `<answer>` that is closed, up to the first `</answer>` after it. Of nested tags
/// that is the innermost; an `<answer>` that the token limit cut off does not hide one before it.
fn last_answer(text: &str) -> Option<&str> {
    let (before, _) = text.rsplit_once("</answer>")?;
    let (_, contents) = before.rsplit_once("<answer>")?;
    // Of `<answer>5</answer></answer>` the first close ends the answer.
    let contents = contents.split_once("</answer>").map_or(contents, |(first, _)| first);
    Some(contents.trim())
}

fn compare(answer: &str, gold: &str) -> Reason {
    if answer.is_empty() {
        return Reason::EmptyAnswer;
    }
    match (Quantity::parse(answer), Quantity::parse(gold)) {
        (Some(answer), Some(gold)) if answer.number != gold.number => Reason::OtherNumber,
        (Some(answer), Some(gold)) if answer.unit.contradicts(&gold.unit) => Reason::OtherUnit,
        (Some(_), Some(_)) => Reason::SameNumber,
        _ if answer == gold => Reason::SameText,
        _ => Reason::OtherText,
    }
}

/// A number with the unit that may follow it.
struct Quantity {
    number: Decimal,
    unit: Unit,
}

/// A decimal number without redundant zeros: equal as numbers means equal here, without rounding.
#[derive(PartialEq, Eq)]
struct Decimal {
    is_negative: bool,
    /// Without leading zeros; empty for zero.
    integer: String,
    /// Without trailing zeros; empty for an integer.
    fraction: String,
}

/// What may stand after a number. Units are told apart, not converted.
#[derive(PartialEq, Eq)]
enum Unit {
    Absent,
    Named(&'static str),
}

/// The spellings of the units that are known, and the one name each goes by. Longer spellings stand
/// before their own endings.
const UNITS: [(&str, &str); 16] = [
    ("^{\\circ}", "degree"),
    ("^\\circ", "degree"),
    ("degrees", "degree"),
    ("degree", "degree"),
    ("°", "degree"),
    ("cm^2", "cm²"),
    ("cm²", "cm²"),
    ("cm", "cm"),
    ("mm", "mm"),
    ("km", "km"),
    ("m^2", "m²"),
    ("m²", "m²"),
    ("m", "m"),
    ("meters", "m"),
    ("units", "unit"),
    ("unit", "unit"),
];

impl Unit {
    /// Two units that differ; a missing one agrees with any, since golds and answers leave them out freely.
    fn contradicts(&self, other: &Self) -> bool {
        *self != Self::Absent && *other != Self::Absent && self != other
    }

    /// Splits a known unit off the end of a text.
    fn split_off(text: &str) -> (&str, Self) {
        for (spelling, name) in UNITS {
            if let Some(number) = text.strip_suffix(spelling) {
                return (number.trim_end(), Self::Named(name));
            }
        }
        (text, Self::Absent)
    }
}

impl Quantity {
    fn parse(text: &str) -> Option<Self> {
        let (number, unit) = Unit::split_off(text.trim());
        Some(Self { number: Decimal::parse(number)?, unit })
    }
}

impl Decimal {
    /// Reads `-1,234.50`, `+3`, `.5`, `7.`; none for anything else. A minus may be U+2212.
    fn parse(text: &str) -> Option<Self> {
        let unsigned = text.strip_prefix(['-', '\u{2212}']);
        let is_negative = unsigned.is_some();
        let unsigned = unsigned.or_else(|| text.strip_prefix('+')).unwrap_or(text).trim_start();
        let (integer, fraction) = unsigned.split_once('.').unwrap_or((unsigned, ""));
        let integer = without_separators(integer)?;
        let is_digits = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit());
        if !is_digits(&integer) || !is_digits(fraction) || integer.len() + fraction.len() == 0 {
            return None;
        }
        let integer = integer.trim_start_matches('0').to_owned();
        let fraction = fraction.trim_end_matches('0').to_owned();
        let is_zero = integer.is_empty() && fraction.is_empty();
        Some(Self { is_negative: is_negative && !is_zero, integer, fraction })
    }
}

/// Takes the commas out of `1,234,567`; none if they do not stand every three digits.
fn without_separators(integer: &str) -> Option<String> {
    let mut groups = integer.split(',');
    let first = groups.next()?;
    let rest: Vec<&str> = groups.collect();
    let is_grouped = (1..=3).contains(&first.len()) && rest.iter().all(|group| group.len() == 3);
    (rest.is_empty() || is_grouped).then(|| first.to_owned() + &rest.concat())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn reason(answer: &str, gold: &str) -> Reason {
        let completion = format!("<think>6 or 7?</think><answer>{answer}</answer>");
        grade(Rule::AnswerTag, &completion, gold).reason
    }

    #[test]
    fn numbers_are_compared_as_numbers() {
        for (answer, gold) in [
            ("5", "5"),
            (" 5\n", "5"),
            ("5", "5.0"),
            ("5.", "5"),
            ("05", "5"),
            ("+5", "5"),
            (".50", "0.5"),
            ("-0", "0"),
            ("\u{2212}3", "-3"),
            ("- 3", "-3"),
            ("1,234", "1234"),
            ("1,234,567.5", "1234567.50"),
            ("9007199254740993", "9,007,199,254,740,993"),
        ] {
            assert_eq!(reason(answer, gold), Reason::SameNumber, "{answer:?} against {gold:?}");
        }
        for (answer, gold) in [
            ("5", "6"),
            ("5", "-5"),
            ("50", "5"),
            ("0.5", "5"),
            // These two are one number in f64.
            ("9007199254740993", "9007199254740992"),
        ] {
            assert_eq!(reason(answer, gold), Reason::OtherNumber, "{answer:?} against {gold:?}");
        }
    }

    #[test]
    fn unit_may_be_left_out_but_not_changed() {
        for (answer, gold) in [
            ("140", "140°"),
            ("140°", "140"),
            ("140 degrees", "140°"),
            ("140^\\circ", "140^{\\circ}"),
            ("3 cm", "3cm"),
            ("3", "3cm"),
            ("12cm^2", "12 cm²"),
        ] {
            assert_eq!(reason(answer, gold), Reason::SameNumber, "{answer:?} against {gold:?}");
        }
        assert_eq!(reason("3m", "3cm"), Reason::OtherUnit);
        assert_eq!(reason("3cm²", "3cm"), Reason::OtherUnit);
        assert_eq!(reason("4m", "3cm"), Reason::OtherNumber);
    }

    #[test]
    fn what_is_no_number_is_compared_as_text() {
        assert_eq!(reason("√{3}", "√{3}"), Reason::SameText);
        assert_eq!(reason("A", "A"), Reason::SameText);
        for (answer, gold) in [
            ("B", "A"),
            ("x=5", "5"),
            ("5 or 6", "5"),
            ("1,2,3,4,5", "5"),
            ("12,34", "1234"),
            (",123", "123"),
            ("50%", "50"),
            ("1e3", "1000"),
            ("5..0", "5"),
            ("--5", "5"),
            (".", "0"),
            ("cm", "0"),
            ("inf", "5"),
            ("٥", "5"),
        ] {
            assert_eq!(reason(answer, gold), Reason::OtherText, "{answer:?} against {gold:?}");
        }
    }

    #[test]
    fn answer_is_the_contents_of_the_last_closed_tag() {
        let answer = |completion: &str| grade(Rule::AnswerTag, completion, "5").answer;
        for (completion, expected) in [
            ("<answer>4</answer><answer>5</answer>", Some("5")),
            ("<answer>4</answer> then <answer>5", Some("4")),
            ("<answer><answer>5</answer></answer>", Some("5")),
            ("<answer>5</answer></answer>", Some("5")),
            ("<answer>\n 5 \n</answer>.", Some("5")),
            ("<answer></answer>", Some("")),
            ("</answer>5<answer>", None),
            ("<answer>5", None),
            ("5", None),
            ("", None),
        ] {
            assert_eq!(answer(completion).as_deref(), expected, "{completion:?}");
        }
    }

    #[test]
    fn reasoning_earns_nothing() {
        let verdict = grade(Rule::AnswerTag, "<think>It is 5.</think><answer>4</answer>", "5");
        assert_eq!((verdict.is_correct, verdict.reason), (false, Reason::OtherNumber));
        assert_eq!(grade(Rule::AnswerTag, "It is 5.", "5").reason, Reason::NoAnswer);
        assert_eq!(reason(" ", ""), Reason::EmptyAnswer);
    }

    #[test]
    fn gold_may_stand_in_answer_tags() {
        assert!(grade(Rule::AnswerTag, "<answer>7</answer>", "<answer> 7 </answer>").is_correct);
        assert!(!grade(Rule::AnswerTag, "<answer>8</answer>", "<answer> 7 </answer>").is_correct);
    }

    #[test]
    fn rules_are_known_by_their_names() {
        assert_eq!("answer-tag".parse(), Ok(Rule::AnswerTag));
        assert_eq!(Rule::AnswerTag.name(), "answer-tag");
        let message = "exact".parse::<Rule>().unwrap_err().to_string();
        assert!(message.starts_with("found the rule \"exact\", expected \"answer-tag\"\nhint: "));
    }

    proptest! {
        #[test]
        fn any_text_is_graded_without_failing(completion in ".*", solution in ".*") {
            let verdict = grade(Rule::AnswerTag, &completion, &solution);
            prop_assert!(verdict.answer.is_some() || !verdict.is_correct);
        }

        #[test]
        fn integers_are_right_exactly_when_equal(answer in -2000i64..2000, gold in -2000i64..2000) {
            let completion = format!("<answer>{answer}</answer>");
            let verdict = grade(Rule::AnswerTag, &completion, &gold.to_string());
            prop_assert_eq!(verdict.is_correct, answer == gold);
        }
    }
}
