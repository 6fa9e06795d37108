//! `relative_error`: whether a number is near enough to the gold, as readings off a chart are.
//! Not here: how numbers are read (`grading::answer::read`); exact comparison (`grading::answer::compare`).

use super::component::Component;
use super::gold::{Gold, GoldKind};
use super::grading::algebra::evaluate;
use super::grading::answer::units::Unit;
use super::grading::answer::{Answer, Quantity, compare, last_answer, read};

/// The component.
pub static RELATIVE_ERROR: Component = Component {
    name: "relative_error",
    gold: Some(GoldKind::Value),
    score: |scoring| match scoring.gold {
        Some(Gold::Value(value)) => {
            relative_error(scoring.completion.text, value, scoring.settings.relative_error)
        }
        _ => 0.0,
    },
    formula: "1 if `abs(answer - gold) <= tolerance * abs(gold)`; for what is not a number on both sides, 1 if equal",
    range: "0 or 1",
    source: "relaxed accuracy of ChartQA, Masry et al. 2022",
};

/// Allowance for binary rounding: 1.05 is within 5% of 1.
const ROUNDING: f64 = 1e-9;

/// ChartQA's relaxed accuracy (Masry et al. 2022, section 5.1, after Methani et al. 2020): 1 if the number in the last
/// `<answer>` is within a relative error of the gold,
///
/// `|answer - gold| <= tolerance * |gold|`
///
/// and for what is not a number on both sides, 1 if the two are equal under `answer-tag`; else 0.
///
/// - `gold`: the solution as [`read`](read()) gives it
/// - `tolerance`: a ratio; 0.05 is ChartQA's
///
/// Numbers are those of `answer-tag`: fractions, roots, thousands separators, words. A percent sign is a hundredth,
/// as in ChartQA. Lengths and the like are converted where both sides have a unit, and different kinds are never near.
/// For a gold of 0 only 0 is right. Not suited to years: 5% of 2020 is 101 years.
pub fn relative_error(completion: &str, gold: &Answer, tolerance: f64) -> f64 {
    let Some(text) = last_answer(completion).filter(|text| !text.is_empty()) else { return 0.0 };
    let answer = read(text);
    let is_right = match (measure(&answer), measure(gold)) {
        (Some(answer), Some(gold)) => answer.is_near(&gold, tolerance),
        _ => compare(&answer, gold).is_equal(),
    };
    if is_right { 1.0 } else { 0.0 }
}

/// A number with its unit.
struct Measure<'a> {
    value: f64,
    unit: Option<&'a Unit>,
}

impl Measure<'_> {
    fn is_near(&self, gold: &Self, tolerance: f64) -> bool {
        let (answer_scale, gold_scale) = match (self.unit, gold.unit) {
            (
                Some(Unit::Measure { kind, scale }),
                Some(Unit::Measure { kind: gold_kind, scale: gold_scale }),
            ) => {
                if kind != gold_kind {
                    return false;
                }
                (scale.to_f64(), gold_scale.to_f64())
            }
            (Some(Unit::Radian), Some(Unit::Measure { .. }))
            | (Some(Unit::Measure { .. }), Some(Unit::Radian)) => return false,
            _ => (1.0, 1.0),
        };
        let (answer, gold) = (self.value * answer_scale, gold.value * gold_scale);
        if gold == 0.0 {
            return answer == 0.0;
        }
        ((answer - gold) / gold).abs() <= tolerance + ROUNDING
    }
}

/// The number an answer is, perhaps behind a choice's letter; none for letters, lists and text.
fn measure(answer: &Answer) -> Option<Measure<'_>> {
    match answer {
        Answer::Quantity(Quantity { value, unit, .. }) if !value.has_symbol() => {
            let value = evaluate(value, &|_| f64::NAN)?;
            Some(Measure { value, unit: unit.as_ref() })
        }
        Answer::Choice { content: Some(content), .. } => measure(content),
        _ => None,
    }
}

#[cfg(test)]
#[expect(clippy::float_cmp, reason = "0 and 1 are exact")]
mod tests {
    use super::*;

    fn score(answer: &str, gold: &str) -> f64 {
        relative_error(&format!("<answer>{answer}</answer>"), &read(gold), 0.05)
    }

    #[test]
    fn number_within_five_percent_is_right_and_one_beyond_is_not() {
        for (answer, gold) in [
            ("105", "100"), // 5 / 100 = 0.05
            ("95", "100"),
            ("1.05", "1"),
            ("-105", "-100"),
            ("0.19", "\\frac{1}{5}"), // 0.01 / 0.2
            ("1,050", "1000"),
            ("twenty", "21"), // 1 / 21 = 0.0476
            ("0", "0"),
        ] {
            assert_eq!(score(answer, gold), 1.0, "{answer} for {gold}");
        }
        for (answer, gold) in [
            ("105.1", "100"),
            ("94.9", "100"),
            ("100", "-100"),
            ("0.001", "0"),
            ("0.5", "50"),
            ("50%", "50"),
        ] {
            assert_eq!(score(answer, gold), 0.0, "{answer} for {gold}");
        }
    }

    #[test]
    fn error_is_relative_to_the_gold_and_not_to_the_answer() {
        // 100 misses 95.2 by 4.8 / 95.2 = 0.0504, though 95.2 is within 4.8% of 100.
        assert_eq!(score("100", "95.2"), 0.0);
        assert_eq!(score("95.2", "100"), 1.0);
    }

    #[test]
    fn percent_sign_is_a_hundredth() {
        assert_eq!(score("51%", "0.5"), 1.0);
        assert_eq!(score("51%", "50%"), 1.0);
    }

    #[test]
    fn units_are_converted_and_different_kinds_are_never_near() {
        assert_eq!(score("301 cm", "3 m"), 1.0);
        assert_eq!(score("3 cm", "3 m"), 0.0);
        assert_eq!(score("3 s", "3 m"), 0.0);
        assert_eq!(score("3.1", "3 m"), 1.0);
    }

    #[test]
    fn what_is_no_number_must_be_equal() {
        assert_eq!(score("Germany", "germany"), 1.0);
        assert_eq!(score("France", "Germany"), 0.0);
        assert_eq!(score("Germany", "12"), 0.0);
        assert_eq!(score("12", "Germany"), 0.0);
    }

    #[test]
    fn several_numbers_or_none_earn_nothing() {
        for answer in ["", "95, 100, 105", "95 to 105", "x"] {
            assert_eq!(score(answer, "100"), 0.0, "{answer}");
        }
        assert_eq!(relative_error("it is 100", &read("100"), 0.05), 0.0);
    }

    #[test]
    fn tolerance_of_zero_wants_the_number_itself() {
        let exact = |answer: &str| relative_error(answer, &read("100"), 0.0);
        assert_eq!(exact("<answer>100.0</answer>"), 1.0);
        assert_eq!(exact("<answer>100.01</answer>"), 0.0);
    }
}
