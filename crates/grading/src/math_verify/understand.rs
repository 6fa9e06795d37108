//! What a find in a text means: a number, arithmetic, LaTeX.
//! Not here: which finds there are and in what order they are tried (`extract`).

use super::boxed::{self, Boxes};
use super::compare::expressions_equal;
use super::extract::{Find, FindKind};
use super::normalize::{MAX_LENGTH, normalize};
use super::scan::{Plain, Span};
use super::value::Value;
use super::{latex_parser, python_expression};
use crate::algebra::{Expression, Rational};

/// The value of a find, if it parses, and its text. None where math-verify fails over the whole text.
pub(super) fn understand(text: &[char], find: &Find) -> Option<(Option<Value>, String)> {
    let string = |span: &Span| text[span.clone()].iter().collect::<String>();
    match &find.kind {
        FindKind::Plain(Plain::Arithmetic(span)) => {
            let arithmetic = string(span);
            Some((python_expression::parse(&arithmetic).map(Value::Expression), arithmetic))
        }
        FindKind::Plain(Plain::Number { integer, decimal, is_percent }) => {
            let (value, digits) = number(&string(integer), &string(decimal))?;
            Some((Some(Value::Expression(with_percent(value, *is_percent))), digits))
        }
        FindKind::Boxed(span) => Some(latex(&string(span), Boxes::Last, false)),
        FindKind::Latex(environments) => {
            let mut parts = environments
                .iter()
                .map(|one| latex(&string(&one.content), Boxes::All, one.is_percent))
                .collect::<Vec<_>>();
            if parts.len() > 1 && parts.iter().all(|(value, _)| value.is_some()) {
                let texts: Vec<_> = parts.iter().map(|(_, text)| text.as_str()).collect();
                let joined = texts.join(" and ");
                let values = parts.into_iter().filter_map(|(value, _)| value);
                return Some((Some(joined_set(values)), joined));
            }
            Some(parts.swap_remove(0))
        }
    }
}

/// The digits without separators and leading zeros, as a number; none where Python refuses them.
fn number(integer: &str, decimal: &str) -> Option<(Expression, String)> {
    let integer: String = integer.chars().filter(|c| !matches!(c, ',' | ' ')).collect();
    let integer = integer.trim_start_matches('0');
    let integer = if integer.is_empty() { "0" } else { integer };
    let digits = format!("{integer}{}", decimal.replace(',', "."));
    if !digits.is_ascii() {
        return None;
    }
    if !decimal.is_empty() {
        return Some((Expression::Decimal(python_expression::decimal(&digits)?), digits));
    }
    let unsigned = integer.strip_prefix('-').unwrap_or(integer);
    // `-007` keeps its zeros, and Python has no such integer.
    if unsigned.starts_with('0') && unsigned.bytes().any(|digit| digit != b'0') {
        return None;
    }
    let value = match Rational::from_decimal(unsigned) {
        Some(value) if integer.starts_with('-') => Expression::Number(value).negate(),
        Some(value) => Expression::Number(value),
        // Numbers beyond 128 bits are told apart by their digits.
        None => Expression::Symbol(integer.to_owned()),
    };
    Some((value, digits))
}

fn with_percent(value: Expression, is_percent: bool) -> Expression {
    if is_percent { Expression::Percent(Box::new(value)) } else { value }
}

/// A piece of LaTeX, parsed if it can be, and as the text that was tried.
fn latex(text: &str, boxes: Boxes, is_percent: bool) -> (Option<Value>, String) {
    let text = boxed::contents(text, boxes);
    if text.len() > MAX_LENGTH {
        return (None, text);
    }
    let text = normalize(&text);
    let value = latex_parser::parse(&text).or_else(|| latex_parser::parse(last_side(&text)?));
    let value = match value {
        Some(Value::Expression(value)) => Some(Value::Expression(with_percent(value, is_percent))),
        other => other,
    };
    (value, text)
}

/// What follows the last equals sign of an equation with at least two.
fn last_side(text: &str) -> Option<&str> {
    if text.contains([',', ';']) {
        return None;
    }
    let is_equals = |at: &usize| !text[..*at].ends_with(['\\', '<', '!', '>']);
    let mut places = text.match_indices('=').map(|(at, _)| at).filter(is_equals);
    places.next()?;
    places.next_back().map(|at| &text[at + 1..])
}

/// `$1$, $2$ and $3$` are one set; sets among them are opened.
fn joined_set(values: impl Iterator<Item = Value>) -> Value {
    let mut elements: Vec<Value> = Vec::new();
    for value in values {
        match value {
            Value::Set(inner) => elements.extend(inner),
            other => elements.push(other),
        }
    }
    let is_new = |idx: usize| {
        let same = |other: &Value| match (&elements[idx], other) {
            (Value::Expression(left), Value::Expression(right)) => {
                left == right || expressions_same(left, right)
            }
            (left, right) => left == right,
        };
        !elements[..idx].iter().any(same)
    };
    let kept: Vec<bool> = (0..elements.len()).map(is_new).collect();
    let mut kept = kept.into_iter();
    elements.retain(|_| kept.next().unwrap_or(true));
    Value::Set(elements)
}

fn expressions_same(left: &Expression, right: &Expression) -> bool {
    matches!((left, right), (Expression::Number(_), Expression::Number(_)))
        && expressions_equal(left, right)
}
