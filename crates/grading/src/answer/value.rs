//! Whether two values are equal: exactly, as rounded decimals, or but for floating-point noise.
//! Not here: units, names and lists (`compare`, whose header states the rules).

use std::borrow::Cow;

use super::Comparison;
use crate::algebra::{Decimal, Expression, NormalForm, Rational, evaluate, exactly_equal};

/// The fewest significant digits of a decimal that may stand for an irrational number or a fraction without finite decimal.
pub const MIN_ROUNDED_DIGITS: i32 = 3;

/// The fewest significant digits in which two decimals of different length must agree.
pub const MIN_SHARED_DIGITS: i32 = 6;

/// How far, relative to its size, a decimal may be from a value it equals.
pub const DECIMAL_ERROR: f64 = 1e-9;

/// The same for formulas without decimals that have no normal form.
const EVALUATION_ERROR: f64 = 1e-12;

/// Two values, with the two readings of a percent sign.
pub(super) fn compare_values(answer: &Expression, gold: &Expression) -> Comparison {
    let found = match (answer, gold) {
        (Expression::Percent(answer), Expression::Percent(gold)) => same_value(answer, gold),
        (Expression::Percent(inner), other) => {
            same_value(answer, gold).or_else(|| same_without_sign(inner, other))
        }
        (other, Expression::Percent(inner)) => {
            same_value(answer, gold).or_else(|| same_without_sign(other, inner))
        }
        _ => same_value(answer, gold),
    };
    found.unwrap_or(Comparison::OtherNumber)
}

/// The percent sign as a unit that one side leaves out.
fn same_without_sign(answer: &Expression, gold: &Expression) -> Option<Comparison> {
    let is_large = |value: &Expression| number_of(value).is_some_and(|value| value.abs() >= 1.0);
    (is_large(answer) && is_large(gold)).then(|| same_value(answer, gold)).flatten()
}

/// How two values are equal; none if they are not.
pub(super) fn same_value(answer: &Expression, gold: &Expression) -> Option<Comparison> {
    let (answer, gold) = (without_percent(answer), without_percent(gold));
    let (answer, gold) = (answer.as_ref(), gold.as_ref());
    if answer == gold {
        return Some(Comparison::SameNumber);
    }
    let exact = exactly_equal(answer, gold);
    if exact == Some(true) {
        return Some(Comparison::SameNumber);
    }
    match (answer, gold) {
        (Expression::Number(_), Expression::Number(_)) => return None,
        (Expression::Decimal(answer), Expression::Decimal(gold)) => {
            return (is_near(answer.value.to_f64(), gold.value.to_f64(), DECIMAL_ERROR)
                || decimals_agree(*answer, *gold))
            .then_some(Comparison::RoundedNumber);
        }
        (Expression::Decimal(decimal), other) | (other, Expression::Decimal(decimal)) => {
            return is_rounding(*decimal, other).then_some(Comparison::RoundedNumber);
        }
        _ => {}
    }
    let has_decimal = answer.has_decimal() || gold.has_decimal();
    if exact == Some(false) && !has_decimal {
        return None;
    }
    let error = if has_decimal { DECIMAL_ERROR } else { EVALUATION_ERROR };
    agree_everywhere(answer, gold, error).then_some(Comparison::SameNumber)
}

/// `33.3%` as the decimal 0.333.
fn without_percent(value: &Expression) -> Cow<'_, Expression> {
    if let Expression::Percent(inner) = value
        && let Expression::Decimal(decimal) = inner.as_ref()
        && let Some(value) =
            Rational::new(1, 100).and_then(|hundredth| decimal.value.multiply(hundredth))
    {
        return Cow::Owned(Expression::Decimal(Decimal { value, places: decimal.places + 2 }));
    }
    Cow::Borrowed(value)
}

fn is_near(left: f64, right: f64, error: f64) -> bool {
    (left - right).abs() <= error * left.abs().max(right.abs())
}

/// The value of an expression without letters.
fn number_of(value: &Expression) -> Option<f64> {
    if value.has_symbol() { None } else { evaluate(value, &|_| f64::NAN) }
}

/// Whether two formulas without normal form agree at a few fixed points: numbers at one, functions of letters at all.
///
/// Two formulas of an answer's length that differ do not agree to twelve digits at four unrelated points.
fn agree_everywhere(answer: &Expression, gold: &Expression, error: f64) -> bool {
    const POINTS: [f64; 4] = [1.372_281_3, 0.618_273_9, 2.791_043_7, 5.183_920_1];
    let agrees = |point: f64| {
        let value_of = |name: &str| {
            // Letters stand for different numbers, the same ones on both sides.
            let shift = name
                .bytes()
                .fold(7u32, |sum, byte| sum.wrapping_mul(31).wrapping_add(u32::from(byte)));
            point + f64::from(shift % 1009) / 1009.0
        };
        match (evaluate(answer, &value_of), evaluate(gold, &value_of)) {
            (Some(answer), Some(gold)) => is_near(answer, gold, error),
            _ => false,
        }
    };
    if answer.has_symbol() || gold.has_symbol() {
        POINTS.into_iter().all(agrees)
    } else {
        agrees(POINTS[0])
    }
}

/// How many digits of a decimal are significant.
fn significant_digits(decimal: Decimal) -> i32 {
    let size = decimal.value.to_f64().abs();
    if size == 0.0 { 0 } else { size.log10().floor() as i32 + 1 + decimal.places }
}

/// Whether the longer of two decimals rounds to the shorter.
fn decimals_agree(answer: Decimal, gold: Decimal) -> bool {
    let (shorter, longer) =
        if answer.places <= gold.places { (answer, gold) } else { (gold, answer) };
    significant_digits(shorter) >= MIN_SHARED_DIGITS && rounds_to(longer.value.to_f64(), shorter)
}

/// Whether a decimal stands for `other`: a fraction or a root that it approximates, or noise away from any number.
fn is_rounding(decimal: Decimal, other: &Expression) -> bool {
    let Some(value) = number_of(other) else { return false };
    if is_near(decimal.value.to_f64(), value, DECIMAL_ERROR) {
        return true;
    }
    if other.has_decimal() || significant_digits(decimal) < MIN_ROUNDED_DIGITS {
        return false;
    }
    // 1.13 is no 9/8: what has a finite decimal can be written out.
    let has_finite_decimal =
        NormalForm::of(other).and_then(|form| form.as_rational()).is_some_and(is_finite_decimal);
    !has_finite_decimal && rounds_to(value, decimal)
}

fn rounds_to(value: f64, decimal: Decimal) -> bool {
    let half_place = 0.5 * 10f64.powi(-decimal.places);
    (value - decimal.value.to_f64()).abs() <= half_place * (1.0 + 1e-9)
}

/// Whether nothing but twos and fives divides the denominator.
fn is_finite_decimal(value: Rational) -> bool {
    let mut rest = value.denominator();
    for prime in [2, 5] {
        while rest % prime == 0 {
            rest /= prime;
        }
    }
    rest == 1
}
