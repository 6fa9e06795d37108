//! Whether two values are equal to math-verify (`grader.py` of math-verify 0.9, `verify` with its defaults).
//! Not here: reading the values (`extract`).
//!
//! Surprises, kept: a decimal equals whatever agrees with it after rounding to six places, irrational numbers included,
//! but never an integer it only rounds to (`12.00000001` is not 12); `50%` equals both 0.5 and 50; the right side of
//! `AB = 5` is its value.
//! Where sympy would simplify, exact normal forms decide, and floating point where there are none.

use std::cmp::Ordering;

use super::latex_parser::is_of_letters;
use super::value::{Relation, Value};
use crate::algebra::normal_form::are_proportional;
use crate::algebra::{Constant, Expression, NormalForm, evaluate, exactly_equal};

/// The places that decimals are rounded to.
const ROUNDING_PLACES: u32 = 6;
/// How far apart, relative to their size, two numbers may be that are the same up to floating-point error.
const EVALUATION_ERROR: f64 = 1e-13;

/// Whether `target` equals `gold`, in math-verify's words; R1-V passes the completion as `gold`.
pub(super) fn are_equal(gold: &Value, target: &Value) -> bool {
    let gold = if is_assignment(gold) { &shortened(gold) } else { gold };
    let target = if is_assignment(target) { &shortened(target) } else { target };
    let (gold, target) = if is_equation(target) && !is_equation(gold) {
        (gold, last_side(target))
    } else if is_assignment(gold) && !is_equation(target) {
        (last_side(gold), target)
    } else {
        (gold, target)
    };
    if gold == target {
        return true;
    }
    match (gold, target) {
        (Value::Relations(..), Value::Relations(..)) => relations_equal(gold, target),
        (Value::Expression(gold), Value::Expression(target)) => expressions_equal(gold, target),
        (Value::Relations(..), _) | (_, Value::Relations(..)) => false,
        _ => collections_equal(gold, target),
    }
}

fn steps(value: &Value) -> &[(Relation, Value)] {
    match value {
        Value::Relations(_, steps) => steps,
        _ => &[],
    }
}

fn is_equation(value: &Value) -> bool {
    matches!(value, Value::Relations(..))
        && steps(value).iter().all(|(relation, _)| *relation == Relation::Equal)
}

/// An equation whose left side is made of letters.
fn is_assignment(value: &Value) -> bool {
    is_equation(value) && matches!(value, Value::Relations(first, _) if is_of_letters(first))
}

fn last_side(value: &Value) -> &Value {
    steps(value).last().map_or(value, |(_, side)| side)
}

/// `a = b = c` as `a = c`.
fn shortened(value: &Value) -> Value {
    match value {
        Value::Relations(first, steps) => {
            Value::Relations(first.clone(), steps.last().cloned().into_iter().collect())
        }
        other => other.clone(),
    }
}

/// Numbers, formulas and letters.
pub(super) fn expressions_equal(gold: &Expression, target: &Expression) -> bool {
    if gold == target {
        return true;
    }
    if let Some(equal) = letters_equal(gold, target) {
        return equal;
    }
    let is_number =
        |value: &Expression| matches!(value, Expression::Number(_) | Expression::Decimal(_));
    let is_decimal = |value: &Expression| matches!(value, Expression::Decimal(_));
    if is_number(without_percent(gold)) || is_number(without_percent(target)) {
        if is_decimal(without_percent(gold)) || is_decimal(without_percent(target)) {
            if let (Some(gold), Some(target)) = (rounded(gold), rounded(target))
                && gold == target
            {
                return true;
            }
        } else if let (Expression::Number(gold), Expression::Number(target)) =
            (without_percent(gold), without_percent(target))
            && gold == target
            && gold.is_integer()
        {
            return true;
        }
    }
    difference_is_zero(gold, target)
}

fn without_percent(value: &Expression) -> &Expression {
    match value {
        Expression::Percent(inner) => inner,
        other => other,
    }
}

/// A letter against letters side by side: `\text{ABC}` is `ABC`. None if neither side is a letter.
fn letters_equal(gold: &Expression, target: &Expression) -> Option<bool> {
    let ((Expression::Symbol(name), other) | (other, Expression::Symbol(name))) = (gold, target)
    else {
        return None;
    };
    let joined = match other {
        Expression::Symbol(other) => Some(other.clone()),
        Expression::Constant(Constant::E) => Some("e".to_owned()),
        Expression::Product(factors) => joined_letters(factors),
        // The letter may be a number in text: `\text{5}` is 5.
        Expression::Number(value) => Some(value.to_string()),
        _ => None,
    };
    Some(joined.is_some_and(|joined| joined.to_lowercase() == name.to_lowercase()))
}

/// The letters of a product as they are written; none if a factor is no letter.
fn joined_letters(factors: &[Expression]) -> Option<String> {
    let mut names = Vec::new();
    for factor in factors {
        match factor {
            Expression::Symbol(name) => names.push(name.as_str()),
            Expression::Constant(Constant::E) => names.push("e"),
            _ => return None,
        }
    }
    Some(names.concat())
}

/// What rounding to six places leaves: sympy keeps integers apart from decimals that happen to be whole.
#[derive(PartialEq)]
enum Rounded {
    Integer(i128),
    /// In units of the last place.
    Decimal(i128),
}

fn rounded(value: &Expression) -> Option<Rounded> {
    if let Expression::Decimal(decimal) = value {
        return decimal.value.round_half_even(ROUNDING_PLACES).map(Rounded::Decimal);
    }
    if !value.has_decimal()
        && let Some(exact) = NormalForm::of(value).and_then(|form| form.as_rational())
    {
        if exact.is_integer() {
            return Some(Rounded::Integer(exact.numerator()));
        }
        return exact.round_half_even(ROUNDING_PLACES).map(Rounded::Decimal);
    }
    let scaled = number_of(value)? * 10f64.powi(ROUNDING_PLACES as i32);
    (scaled.abs() < 1e30).then(|| Rounded::Decimal(scaled.round_ties_even() as i128))
}

/// The value of an expression without letters.
fn number_of(value: &Expression) -> Option<f64> {
    if value.has_symbol() {
        return None;
    }
    evaluate(value, &|_| f64::NAN)
}

fn difference_is_zero(gold: &Expression, target: &Expression) -> bool {
    let has_decimal = gold.has_decimal() || target.has_decimal();
    if (!has_decimal || gold.has_symbol() || target.has_symbol())
        && let Some(equal) = exactly_equal(gold, target)
    {
        return equal;
    }
    let (Some(gold_number), Some(target_number)) = (number_of(gold), number_of(target)) else {
        return false;
    };
    let difference = (gold_number - target_number).abs();
    let is_atom = |value: &Expression| {
        matches!(without_percent(value), Expression::Number(_) | Expression::Decimal(_))
    };
    if has_decimal && (is_atom(gold) || is_atom(target)) {
        // sympy subtracts in floating point, too: 10/3.0 is not 10/3 to it, but 1/3.0 is 1/3.
        return difference == 0.0;
    }
    difference <= EVALUATION_ERROR * gold_number.abs().max(target_number.abs())
}

/// The order of two numbers that may be infinite; none for letters.
pub(super) fn order(left: &Expression, right: &Expression) -> Option<Ordering> {
    if !left.has_symbol() && !right.has_symbol() && exactly_equal(left, right) == Some(true) {
        return Some(Ordering::Equal);
    }
    extended(left)?.partial_cmp(&extended(right)?)
}

fn extended(value: &Expression) -> Option<f64> {
    let infinity = Expression::Constant(Constant::Infinity);
    if *value == infinity {
        return Some(f64::INFINITY);
    }
    if *value == infinity.negate() {
        return Some(f64::NEG_INFINITY);
    }
    number_of(value)
}

fn collections_equal(gold: &Value, target: &Value) -> bool {
    if let (
        Value::Interval { start, end, is_left_open, is_right_open },
        Value::Interval {
            start: other_start,
            end: other_end,
            is_left_open: is_other_left_open,
            is_right_open: is_other_right_open,
        },
    ) = (gold, target)
    {
        return is_left_open == is_other_left_open
            && is_right_open == is_other_right_open
            && expressions_equal(start, other_start)
            && expressions_equal(end, other_end);
    }
    let (Some(gold), Some(target)) = (elements(gold), elements(target)) else { return false };
    if gold.is_set && target.is_set {
        // An element may stand on its own: {5} is 5.
        return lists_equal(&sorted(gold.values), &sorted(target.values));
    }
    let gold = if gold.is_set { sorted(gold.values) } else { gold.values };
    // Against a tuple, a set keeps the order in which it was written.
    lists_equal(&gold, &target.values)
}

struct Elements {
    is_set: bool,
    values: Vec<Value>,
}

fn elements(value: &Value) -> Option<Elements> {
    Some(match value {
        Value::Set(values) => Elements { is_set: true, values: values.clone() },
        Value::Tuple(values) => Elements { is_set: false, values: values.clone() },
        Value::Expression(_) => Elements { is_set: true, values: vec![value.clone()] },
        // (1, 2) may be an interval or a pair.
        Value::Interval { start, end, is_left_open: true, is_right_open: true } => Elements {
            is_set: false,
            values: vec![Value::Expression(start.clone()), Value::Expression(end.clone())],
        },
        _ => return None,
    })
}

/// The elements of a set in the order of their values, without repetition.
fn sorted(values: Vec<Value>) -> Vec<Value> {
    let key = |value: &Value| match if is_assignment(value) { last_side(value) } else { value } {
        Value::Expression(expression) => number_of(expression),
        _ => None,
    };
    let mut kept: Vec<Value> = Vec::with_capacity(values.len());
    for value in values {
        if !kept.contains(&value) {
            kept.push(value);
        }
    }
    kept.sort_by(|left, right| match (key(left), key(right)) {
        (Some(left), Some(right)) => left.total_cmp(&right),
        (left, right) => left.is_none().cmp(&right.is_none()),
    });
    kept
}

fn lists_equal(gold: &[Value], target: &[Value]) -> bool {
    gold.len() == target.len()
        && gold.iter().zip(target).all(|(gold, target)| are_equal(gold, target))
}

fn relations_equal(gold: &Value, target: &Value) -> bool {
    let (gold_pairs, target_pairs) = (pairs(gold), pairs(target));
    gold_pairs.len() == target_pairs.len()
        && gold_pairs
            .iter()
            .zip(&target_pairs)
            .all(|(gold, target)| pair_equal(gold.as_ref(), target.as_ref()))
}

/// A relation between two expressions, as the difference of its sides.
struct Pair {
    relation: Relation,
    difference: Expression,
}

fn pairs(value: &Value) -> Vec<Option<Pair>> {
    let Value::Relations(first, steps) = value else { return Vec::new() };
    let mut left = Some(first);
    steps
        .iter()
        .map(|(relation, side)| {
            let right = match side {
                Value::Expression(right) => Some(right),
                _ => None,
            };
            let sides = left.zip(right);
            left = right;
            let (left, right) = sides?;
            Some(Pair {
                relation: *relation,
                difference: left.clone().plus(right.clone().negate()),
            })
        })
        .collect()
}

fn pair_equal(gold: Option<&Pair>, target: Option<&Pair>) -> bool {
    let (Some(gold), Some(target)) = (gold, target) else { return false };
    if gold.relation == target.relation && expressions_equal(&gold.difference, &target.difference) {
        return true;
    }
    if gold.relation.flipped() == target.relation
        && expressions_equal(&gold.difference, &target.difference.clone().negate())
    {
        return true;
    }
    // Equations with the same solutions: one is a multiple of the other.
    gold.relation == Relation::Equal
        && target.relation == Relation::Equal
        && gold.difference.has_symbol()
        && are_proportional(&gold.difference, &target.difference) == Some(true)
}
