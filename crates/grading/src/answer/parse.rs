//! Tokens as an answer: numbers with units, equations, lists, intervals.
//! Not here: tokens (`lexer`); choices, phrases and words (`read`); formulas (`formula`).

use super::formula::{Formula, formula};
use super::lexer::{Bracket, Kind, Sign, Token};
use super::value::same_value;
use super::{Answer, Brackets, Order, Quantity};
use crate::algebra::{Expression, MAX_DEPTH};

/// Reads all tokens as one answer; none if they are not one.
pub(super) fn answer(tokens: &[Token]) -> Option<Answer> {
    list(tokens, Brackets::None, 0)
}

/// Items between commas, semicolons, "and" and "or"; a single item is itself.
fn list(tokens: &[Token], brackets: Brackets, depth: usize) -> Option<Answer> {
    let mut items = Vec::new();
    for part in split(tokens, is_separator)? {
        if part.is_empty() {
            // `2, 3, and 4` has an empty part, but an answer of nothing is none.
            continue;
        }
        match item(part, depth)? {
            Answer::List { brackets: Brackets::None, items: inner } => items.extend(inner),
            other => items.push(other),
        }
    }
    match items.pop() {
        None => None,
        Some(only) if items.is_empty() && brackets != Brackets::Set => Some(only),
        Some(last) => {
            items.push(last);
            Some(Answer::List { brackets, items })
        }
    }
}

fn is_separator(token: &Token) -> bool {
    match &token.kind {
        Kind::Sign(Sign::Comma | Sign::Semicolon) => true,
        Kind::Word(word) => word == "and" || word == "or" || word == "或" || word == "和",
        _ => false,
    }
}

/// The stretches between separating tokens outside all brackets; none if brackets do not close.
fn split(tokens: &[Token], separates: impl Fn(&Token) -> bool) -> Option<Vec<&[Token]>> {
    let mut parts = Vec::new();
    let mut depth = 0usize;
    let mut start = 0;
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            Kind::Sign(Sign::Open(_)) => depth += 1,
            Kind::Sign(Sign::Close(_)) => depth = depth.checked_sub(1)?,
            _ if depth == 0 && separates(token) => {
                parts.push(&tokens[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&tokens[start..]);
    (depth == 0).then_some(parts)
}

fn item(tokens: &[Token], depth: usize) -> Option<Answer> {
    if depth > MAX_DEPTH {
        return None;
    }
    if let Some(collection) = collection(tokens, depth) {
        return Some(collection);
    }
    let relations: Vec<Sign> = tokens.iter().filter_map(relation_sign).collect();
    if relations.is_empty() {
        return side(tokens);
    }
    let sides = split(tokens, |token| relation_sign(token).is_some())?;
    // A relation inside brackets has no meaning here.
    (sides.len() == relations.len() + 1).then_some(())?;
    let is_equality =
        |sign: &Sign| matches!(sign, Sign::Equal | Sign::Approximate | Sign::Element | Sign::Colon);
    if relations.iter().all(is_equality) {
        let is_exact = relations.iter().all(|sign| *sign == Sign::Equal);
        return equality(&sides, depth).filter(|_| !is_exact || holds(&sides));
    }
    let orders = relations.iter().copied().map(order).collect::<Option<Vec<_>>>()?;
    let sides = sides.into_iter().map(plain_formula).collect::<Option<Vec<_>>>()?;
    Some(Answer::Inequality { sides, orders })
}

fn relation_sign(token: &Token) -> Option<Sign> {
    match token.kind {
        Kind::Sign(
            sign @ (Sign::Equal
            | Sign::Approximate
            | Sign::Element
            | Sign::NotEqual
            | Sign::Less
            | Sign::LessOrEqual
            | Sign::Greater
            | Sign::GreaterOrEqual),
        ) => Some(sign),
        _ => None,
    }
}

fn order(sign: Sign) -> Option<Order> {
    Some(match sign {
        Sign::Less => Order::Less,
        Sign::LessOrEqual => Order::LessOrEqual,
        Sign::Greater => Order::Greater,
        Sign::GreaterOrEqual => Order::GreaterOrEqual,
        Sign::NotEqual => Order::NotEqual,
        _ => return None,
    })
}

/// A tuple, a set, an interval: brackets from the first token to the last, with a comma inside.
fn collection(tokens: &[Token], depth: usize) -> Option<Answer> {
    let (first, rest) = tokens.split_first()?;
    let (last, inside) = rest.split_last()?;
    let (Kind::Sign(Sign::Open(open)), Kind::Sign(Sign::Close(close))) = (&first.kind, &last.kind)
    else {
        return None;
    };
    // `(1)(2)` begins and ends with brackets, too, but not with a pair.
    split(inside, |_| false)?;
    let brackets = match (open, close) {
        (Bracket::Round, Bracket::Round) => Brackets::Round,
        (Bracket::Square, Bracket::Square) => Brackets::Square,
        (Bracket::Round, Bracket::Square) => Brackets::LeftOpen,
        (Bracket::Square, Bracket::Round) => Brackets::RightOpen,
        (Bracket::Set, Bracket::Set) | (Bracket::Brace, Bracket::Brace) => Brackets::Set,
        _ => return None,
    };
    let n_parts = split(inside, is_separator)?.len();
    if n_parts < 2 && *open != Bracket::Set {
        return None;
    }
    list(inside, brackets, depth + 1)
}

/// `x = 5`, `x = 3 + 2 = 5`, `S ≈ 5`: the last side with the name of the first; `2x + y = 5`: an equation.
fn equality(sides: &[&[Token]], depth: usize) -> Option<Answer> {
    let (first, rest) = sides.split_first()?;
    let last = rest.last()?;
    let value = collection(last, depth).or_else(|| side(last))?;
    let name = name(first);
    if name.is_none() {
        let left = plain_formula(first);
        if let (Some(left), Answer::Quantity(right), 1) = (&left, &value, rest.len())
            && left.has_symbol()
        {
            return Some(Answer::Equation { left: left.clone(), right: right.value.clone() });
        }
        left?;
    }
    Some(match value {
        Answer::Quantity(quantity) => Answer::Quantity(Quantity { name, ..quantity }),
        other => other,
    })
}

/// Whether the sides that are numbers are one: `6 = 5` is two guesses.
fn holds(sides: &[&[Token]]) -> bool {
    let numbers =
        sides.iter().filter_map(|side| plain_formula(side)).filter(|side| !side.has_symbol());
    let numbers: Vec<Expression> = numbers.collect();
    numbers.windows(2).all(|pair| same_value(&pair[0], &pair[1]).is_some())
}

/// What stands left of an equals sign, if it is a name: letters, perhaps with a figure sign or an index.
fn name(tokens: &[Token]) -> Option<String> {
    let mut name = String::new();
    let mut after_underscore = false;
    for token in tokens {
        match &token.kind {
            Kind::Word(word) => name.push_str(&word.to_lowercase()),
            Kind::Sign(
                Sign::Figure
                | Sign::Degree
                | Sign::Open(Bracket::Brace)
                | Sign::Close(Bracket::Brace),
            ) => {}
            Kind::Sign(Sign::Underscore) => name.push('_'),
            Kind::Number { value, .. } if after_underscore => name.push_str(&value.to_string()),
            _ => return None,
        }
        let stays = matches!(token.kind, Kind::Sign(Sign::Open(_)));
        after_underscore =
            token.kind == Kind::Sign(Sign::Underscore) || (after_underscore && stays);
    }
    let name = ["measureofangle", "angle", "theangle"]
        .iter()
        .find_map(|figure| name.strip_prefix(figure).filter(|rest| !rest.is_empty()))
        .map_or(name.clone(), str::to_owned);
    (!name.is_empty()).then_some(name)
}

/// A number with its unit, or two of them around `±`.
fn side(tokens: &[Token]) -> Option<Answer> {
    let ratio = split(tokens, |token| token.kind == Kind::Sign(Sign::Colon))?;
    if ratio.len() > 2 {
        return proportion(&ratio);
    }
    let parts = split(tokens, |token| token.kind == Kind::Sign(Sign::PlusMinus))?;
    let quantity =
        |formula: Formula| Quantity { name: None, value: formula.value, unit: formula.unit };
    if let [left, right] = parts.as_slice() {
        let right = formula(right)?;
        let left = if left.is_empty() { None } else { Some(plain_formula(left)?) };
        let with = |term: Expression| {
            let value = left.clone().map_or(term.clone(), |left| left.plus(term));
            Answer::Quantity(Quantity { name: None, value, unit: right.unit.clone() })
        };
        let items = vec![with(right.value.clone()), with(right.value.clone().negate())];
        return Some(Answer::List { brackets: Brackets::None, items });
    }
    formula(tokens).map(|formula| Answer::Quantity(quantity(formula)))
}

/// `3:2:1`: each part over the first, so that `6:4:2` is the same.
fn proportion(parts: &[&[Token]]) -> Option<Answer> {
    let parts = parts.iter().map(|part| plain_formula(part)).collect::<Option<Vec<_>>>()?;
    let first = parts.first()?.clone();
    let over_first = |part: Expression| {
        let value = part.over(first.clone());
        Answer::Quantity(Quantity { name: None, value, unit: None })
    };
    let items = parts.into_iter().map(over_first).collect();
    Some(Answer::List { brackets: Brackets::Square, items })
}

fn plain_formula(tokens: &[Token]) -> Option<Expression> {
    formula(tokens).map(|formula| formula.value)
}
