//! Whether an answer is the gold, and why.
//! Not here: reading either (`read`); the values themselves (`value`); the arithmetic (`algebra`).
//!
//! The rules, with `a` the answer and `g` the gold (reasons in `docs/grading.md`):
//! 1. Exact values must be equal exactly: fractions, roots, π and letters by their normal form.
//! 2. A decimal also equals a value that has no finite decimal if it is that value rounded to the places it shows, of
//!    which at least `MIN_ROUNDED_DIGITS` are significant; and a longer decimal that rounds to it, if it shows at least
//!    `MIN_SHARED_DIGITS`; and anything within `DECIMAL_ERROR` of it, the noise of binary fractions.
//! 3. A unit may be missing on either side; two units of one kind are converted; two of different kinds differ.
//! 4. `50%` is 0.5; where one side lacks the sign, 50 too, unless the number is below 1.
//! 5. A list is equal to a list alone: a guess among several answers earns nothing.

use std::fmt;

use super::units::Unit;
use super::value::{compare_values, same_value};
use super::{Answer, Brackets, Order, Quantity};
use crate::algebra::normal_form::are_proportional;
use crate::algebra::{Constant, Decimal, Expression, Rational};

/// The longest list whose order does not count.
const MAX_UNORDERED: usize = 24;

/// How an answer compares with the gold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Comparison {
    /// Equal: one number, exactly.
    SameNumber,
    /// Equal: the decimal is the other number, rounded.
    RoundedNumber,
    /// Equal: one text.
    SameText,
    /// Equal: one choice.
    SameChoice,
    /// Equal: the same answers.
    SameList,
    /// Equal: one equation or inequality.
    SameRelation,
    /// Different numbers.
    OtherNumber,
    /// One number in units of different kinds.
    OtherUnit,
    /// One number by different names.
    OtherName,
    /// Different texts.
    OtherText,
    /// Different choices.
    OtherChoice,
    /// Different lists.
    OtherList,
    /// Different equations or inequalities.
    OtherRelation,
    /// A list where one answer was asked for.
    SeveralAnswers,
    /// Nothing that can be compared, such as a text and a number.
    OtherKind,
}

impl Comparison {
    /// Whether the answer is right.
    pub fn is_equal(self) -> bool {
        matches!(
            self,
            Self::SameNumber
                | Self::RoundedNumber
                | Self::SameText
                | Self::SameChoice
                | Self::SameList
                | Self::SameRelation
        )
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SameNumber => "same number",
            Self::RoundedNumber => "same number, rounded",
            Self::SameText => "same text",
            Self::SameChoice => "same choice",
            Self::SameList => "same list",
            Self::SameRelation => "same relation",
            Self::OtherNumber => "another number",
            Self::OtherUnit => "same number, another unit",
            Self::OtherName => "same number, another name",
            Self::OtherText => "another text",
            Self::OtherChoice => "another choice",
            Self::OtherList => "another list",
            Self::OtherRelation => "another relation",
            Self::SeveralAnswers => "several answers where one was asked for",
            Self::OtherKind => "an answer of another kind",
        })
    }
}

/// Compares an answer with the gold.
pub fn compare(answer: &Answer, gold: &Answer) -> Comparison {
    match (answer, gold) {
        (Answer::Choice { .. }, _) | (_, Answer::Choice { .. }) => compare_choices(answer, gold),
        (Answer::Quantity(answer), Answer::Quantity(gold)) => compare_quantities(answer, gold),
        (Answer::Text(answer), Answer::Text(gold)) => {
            if answer == gold {
                Comparison::SameText
            } else {
                Comparison::OtherText
            }
        }
        (
            Answer::List { brackets, items },
            Answer::List { brackets: gold_brackets, items: gold_items },
        ) => compare_lists((*brackets, items), (*gold_brackets, gold_items)),
        (Answer::List { brackets, items }, Answer::Inequality { sides, orders })
        | (Answer::Inequality { sides, orders }, Answer::List { brackets, items }) => verdict(
            is_interval(*brackets, items, sides, orders),
            Comparison::SameRelation,
            Comparison::OtherRelation,
        ),
        // A set of one is its element.
        (Answer::List { items, .. }, gold) if items.len() == 1 => compare(&items[0], gold),
        (answer, Answer::List { items, .. }) if items.len() == 1 => compare(answer, &items[0]),
        (Answer::List { .. }, _) => Comparison::SeveralAnswers,
        (_, Answer::List { .. }) => Comparison::OtherList,
        (
            Answer::Inequality { sides, orders },
            Answer::Inequality { sides: others, orders: other_orders },
        ) => {
            let is_same = inequalities_equal((sides, orders), (others, other_orders));
            verdict(is_same, Comparison::SameRelation, Comparison::OtherRelation)
        }
        _ => match (as_difference(answer), as_difference(gold)) {
            (Some(answer), Some(gold)) => verdict(
                are_proportional(&answer, &gold) == Some(true),
                Comparison::SameRelation,
                Comparison::OtherRelation,
            ),
            _ => Comparison::OtherKind,
        },
    }
}

fn verdict(is_equal: bool, equal: Comparison, other: Comparison) -> Comparison {
    if is_equal { equal } else { other }
}

fn compare_choices(answer: &Answer, gold: &Answer) -> Comparison {
    match (answer, gold) {
        (
            Answer::Choice { letter, content },
            Answer::Choice { letter: gold_letter, content: gold_content },
        ) => {
            let agrees = match (content, gold_content) {
                (Some(content), Some(gold)) => compare(content, gold).is_equal(),
                _ => true,
            };
            verdict(
                letter == gold_letter && agrees,
                Comparison::SameChoice,
                Comparison::OtherChoice,
            )
        }
        (Answer::Choice { content: Some(content), .. }, gold) => compare(content, gold),
        (answer, Answer::Choice { content: Some(content), .. }) => compare(answer, content),
        (Answer::List { .. }, _) => Comparison::SeveralAnswers,
        (Answer::Choice { letter, .. }, Answer::Quantity(other))
        | (Answer::Quantity(other), Answer::Choice { letter, .. }) => {
            // The letter may be the variable that is asked for.
            let is_letter = matches!(&other.value, Expression::Symbol(name) if name.eq_ignore_ascii_case(&letter.to_string()));
            verdict(is_letter, Comparison::SameText, Comparison::OtherKind)
        }
        _ => Comparison::OtherKind,
    }
}

fn compare_quantities(answer: &Quantity, gold: &Quantity) -> Comparison {
    let found = compare_measures(answer, gold);
    if found.is_equal() && names_differ(answer, gold) { Comparison::OtherName } else { found }
}

/// Two short names that differ; longer ones are words such as "area".
fn names_differ(answer: &Quantity, gold: &Quantity) -> bool {
    match (&answer.name, &gold.name) {
        (Some(answer), Some(gold)) => answer != gold && answer.len() <= 4 && gold.len() <= 4,
        _ => false,
    }
}

fn compare_measures(answer: &Quantity, gold: &Quantity) -> Comparison {
    let plain = || compare_values(&answer.value, &gold.value);
    match (&answer.unit, &gold.unit) {
        (
            Some(Unit::Measure { kind, scale }),
            Some(Unit::Measure { kind: gold_kind, scale: gold_scale }),
        ) => {
            if kind != gold_kind {
                let found = plain();
                return if found.is_equal() { Comparison::OtherUnit } else { found };
            }
            if scale == gold_scale {
                return plain();
            }
            match scale.divide(*gold_scale) {
                Some(ratio) => compare_values(&scaled(&answer.value, ratio), &gold.value),
                None => Comparison::OtherNumber,
            }
        }
        (Some(Unit::Radian), Some(unit)) if *unit == Unit::DEGREE => {
            compare_values(&in_degrees(&answer.value), &gold.value)
        }
        (Some(unit), Some(Unit::Radian)) if *unit == Unit::DEGREE => {
            compare_values(&answer.value, &in_degrees(&gold.value))
        }
        (Some(Unit::Things), Some(other)) | (Some(other), Some(Unit::Things))
            if *other == Unit::DEGREE || *other == Unit::Radian =>
        {
            let found = plain();
            if found.is_equal() { Comparison::OtherUnit } else { found }
        }
        _ => plain(),
    }
}

/// In another unit; a decimal keeps being one, its digits being as significant as before.
fn scaled(value: &Expression, ratio: Rational) -> Expression {
    if let Expression::Decimal(decimal) = value
        && let Some(product) = decimal.value.multiply(ratio)
    {
        let shift = ratio.to_f64().log10().round() as i32;
        return Expression::Decimal(Decimal { value: product, places: decimal.places - shift });
    }
    value.clone().times(Expression::Number(ratio))
}

fn in_degrees(radians: &Expression) -> Expression {
    radians.clone().times(Expression::integer(180)).over(Expression::Constant(Constant::Pi))
}

fn compare_lists(answer: (Brackets, &[Answer]), gold: (Brackets, &[Answer])) -> Comparison {
    let (brackets, items) = answer;
    let (gold_brackets, gold_items) = gold;
    let is_unordered = |brackets: Brackets| matches!(brackets, Brackets::None | Brackets::Set);
    let fits = match (brackets, gold_brackets) {
        (_, Brackets::None) => !matches!(brackets, Brackets::LeftOpen | Brackets::RightOpen),
        (Brackets::None, Brackets::Set | Brackets::Round | Brackets::Square) => true,
        (brackets, gold) => brackets == gold,
    };
    let is_same = fits
        && items.len() == gold_items.len()
        && if is_unordered(gold_brackets) && items.len() <= MAX_UNORDERED {
            same_elements(items, gold_items)
        } else {
            items.iter().zip(gold_items).all(|(answer, gold)| compare(answer, gold).is_equal())
        };
    verdict(is_same, Comparison::SameList, Comparison::OtherList)
}

/// Whether each gold answer is met by another answer.
fn same_elements(items: &[Answer], gold: &[Answer]) -> bool {
    let mut is_used = vec![false; items.len()];
    gold.iter().all(|gold| {
        let met =
            (0..items.len()).find(|idx| !is_used[*idx] && compare(&items[*idx], gold).is_equal());
        met.map(|idx| is_used[idx] = true).is_some()
    })
}

/// `left - right` of an equation, or of a letter and its value.
fn as_difference(answer: &Answer) -> Option<Expression> {
    match answer {
        Answer::Equation { left, right } => Some(left.clone().plus(right.clone().negate())),
        Answer::Quantity(Quantity { name: Some(name), value, .. }) => {
            let letter = Expression::Symbol(name.clone());
            (name.chars().count() == 1).then(|| letter.plus(value.clone().negate()))
        }
        _ => None,
    }
}

/// One inequality or a chain, with the smaller sides first.
fn inequalities_equal(answer: (&[Expression], &[Order]), gold: (&[Expression], &[Order])) -> bool {
    let (answer, gold) = (ascending(answer.0, answer.1), ascending(gold.0, gold.1));
    answer.1 == gold.1
        && answer.0.len() == gold.0.len()
        && answer.0.windows(2).zip(gold.0.windows(2)).all(|(answer, gold)| {
            let difference =
                |sides: &[Expression]| sides[0].clone().plus(sides[1].clone().negate());
            let (answer, gold) = (difference(answer), difference(gold));
            same_value(&answer, &gold).is_some()
        })
}

fn ascending(sides: &[Expression], orders: &[Order]) -> (Vec<Expression>, Vec<Order>) {
    let is_descending =
        orders.iter().all(|order| matches!(order, Order::Greater | Order::GreaterOrEqual));
    if !is_descending {
        return (sides.to_vec(), orders.to_vec());
    }
    let flipped = |order: &Order| match order {
        Order::Greater => Order::Less,
        _ => Order::LessOrEqual,
    };
    (sides.iter().rev().cloned().collect(), orders.iter().rev().map(flipped).collect())
}

/// Whether `a < x < b` says the same as an interval.
fn is_interval(
    brackets: Brackets,
    items: &[Answer],
    sides: &[Expression],
    orders: &[Order],
) -> bool {
    let (sides, orders) = ascending(sides, orders);
    let ([low, Expression::Symbol(_), high], [first, second]) =
        (sides.as_slice(), orders.as_slice())
    else {
        return false;
    };
    let expected = match (first, second) {
        (Order::Less, Order::Less) => Brackets::Round,
        (Order::LessOrEqual, Order::LessOrEqual) => Brackets::Square,
        (Order::Less, Order::LessOrEqual) => Brackets::LeftOpen,
        (Order::LessOrEqual, Order::Less) => Brackets::RightOpen,
        _ => return false,
    };
    let is = |item: &Answer, end: &Expression| match item {
        Answer::Quantity(quantity) => same_value(&quantity.value, end).is_some(),
        _ => false,
    };
    brackets == expected && matches!(items, [start, end] if is(start, low) && is(end, high))
}
