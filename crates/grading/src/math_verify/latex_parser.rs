//! LaTeX as a value, by the grammar math-verify uses (`PS.g4` of `latex2sympy2_extended` 1.11) and its conversion.
//! Not here: formulas (`latex_formula`); tokens (`latex_lexer`); corrections made before (`normalize`).
//!
//! Left out, so that they do not parse: matrices, integrals, sums, limits, norms, set operations.
//! Surprises, kept: two integers side by side are added like a mixed number (`3 4` is 7, `2(3)` is 5), a colon divides,
//! a degree sign is dropped, letters lose their case, `f(2)` is a function for any letter `f`, and of `a ≈ b` only one
//! side stays: the right one if the left is made of letters alone.

use super::latex_lexer::{Token, tokenize};
use super::python_expression::decimal;
use super::value::{Relation, Value};
use crate::algebra::{Expression, MAX_DEPTH, Rational};

/// Reads LaTeX that has been normalized; none where math-verify would raise an error.
pub(super) fn parse(text: &str) -> Option<Value> {
    let tokens = tokenize(text)?;
    let at_start = || Parser { tokens: &tokens, position: 0, depth: 0, n_steps: 0 };
    if let Some(value) = at_start().assignment() {
        return Some(value);
    }
    let value = at_start().whole()?;
    // `1,234` is a set for the grammar, but the number was meant.
    Some(thousands(text).map_or(value, Value::Expression))
}

/// `1,234.5` without white space between.
fn thousands(text: &str) -> Option<Expression> {
    let text = text.trim();
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    let (integer, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let mut groups = integer.split(',');
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let first = groups.next().filter(|first| is_digits(first) && first.len() <= 3)?;
    let has_groups =
        integer.contains(',') && groups.clone().all(|group| is_digits(group) && group.len() == 3);
    if !has_groups || (digits.contains('.') && !is_digits(fraction)) {
        return None;
    }
    let joined: String = groups.fold(format!("{sign}{first}"), |joined, group| joined + group);
    if first.starts_with('0') {
        // `0,111` is read as 0.111.
        return number(&text.replace(',', "."));
    }
    number(&if fraction.is_empty() { joined } else { format!("{joined}.{fraction}") })
}

/// A number as sympy would make it of its digits.
pub(super) fn number(text: &str) -> Option<Expression> {
    if text.contains('.') {
        return Some(Expression::Decimal(decimal(text)?));
    }
    let (digits, is_negative) =
        text.strip_prefix('-').map_or((text, false), |digits| (digits, true));
    let value = Expression::Number(Rational::from_decimal(digits)?);
    Some(if is_negative { value.negate() } else { value })
}

/// Tokens and how far they are read.
pub(super) struct Parser<'a> {
    pub(super) tokens: &'a [Token],
    pub(super) position: usize,
    depth: usize,
    /// Tokens read, repeated reading included; bounds what backtracking may cost.
    pub(super) n_steps: usize,
}

/// The most tokens read on the way to one value.
pub(super) const MAX_STEPS: usize = 4_000;

impl Parser<'_> {
    pub(super) fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.position)
    }

    pub(super) fn peek_sign(&self) -> Option<&'static str> {
        match self.peek() {
            Some(Token::Sign(sign)) => Some(sign),
            _ => None,
        }
    }

    pub(super) fn take(&mut self, sign: &str) -> Option<()> {
        self.n_steps += 1;
        (self.peek_sign() == Some(sign) && self.n_steps < MAX_STEPS).then_some(())?;
        self.position += 1;
        Some(())
    }

    pub(super) fn take_any(&mut self, signs: &[&'static str]) -> Option<&'static str> {
        let sign = self.peek_sign().filter(|sign| signs.contains(sign))?;
        self.take(sign)?;
        Some(sign)
    }

    /// Tries to read; on failure the position is as before.
    pub(super) fn attempt<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        let (position, depth) = (self.position, self.depth);
        if depth > MAX_DEPTH {
            return None;
        }
        self.depth += 1;
        let found = read(self);
        self.depth = depth;
        if found.is_none() {
            self.position = position;
        }
        found
    }

    fn is_at_end(&self) -> bool {
        self.position == self.tokens.len()
    }

    /// `x = 5` and `x = 1, 2`: one letter, and no relation on the right.
    fn assignment(&mut self) -> Option<Value> {
        let left = self.letter()?;
        self.take_any(&["=", "∈"])?;
        let right = self.elements(false)?;
        self.is_at_end().then(|| Value::Relations(left, vec![(Relation::Equal, right)]))
    }

    fn whole(&mut self) -> Option<Value> {
        let value = self.elements(true)?;
        self.is_at_end().then_some(value)
    }

    /// Elements joined by commas and semicolons: the only one, or a set.
    fn elements(&mut self, allows_relation: bool) -> Option<Value> {
        let groups = self.groups(allows_relation)?;
        Some(set_or_single(groups))
    }

    fn groups(&mut self, allows_relation: bool) -> Option<Vec<Vec<Value>>> {
        let mut groups = vec![Vec::new()];
        loop {
            let element = self.element(allows_relation)?;
            if let Some(group) = groups.last_mut() {
                group.extend(element);
            }
            match self.take_any(&[",", ";"]) {
                Some(";") => groups.push(Vec::new()),
                Some(_) => {}
                None => return Some(groups),
            }
        }
    }

    /// `±a` and `a ± b` are two elements.
    fn element(&mut self, allows_relation: bool) -> Option<Vec<Value>> {
        if let Some(found) =
            self.attempt(|parser| parser.plus_minus().filter(|_| parser.ends_element()))
        {
            return Some(found);
        }
        if let Some(found) =
            self.attempt(|parser| parser.collection().filter(|_| parser.ends_element()))
        {
            return Some(vec![found]);
        }
        if allows_relation {
            return self.attempt(Self::relation).map(|found| vec![found]);
        }
        self.attempt(Self::sum).map(|found| vec![Value::Expression(found)])
    }

    fn ends_element(&self) -> bool {
        const ENDS: [&str; 9] = [",", ";", ")", "]", "}", "\\}", "\\)", "\\rbrack", "\\rgroup"];
        self.is_at_end() || self.peek_sign().is_some_and(|sign| ENDS.contains(&sign))
    }

    fn plus_minus(&mut self) -> Option<Vec<Value>> {
        if self.take("±").is_some() {
            let term = self.sum()?;
            return Some(vec![Value::Expression(term.clone().negate()), Value::Expression(term)]);
        }
        let left = self.sum()?;
        self.take("±")?;
        let right = self.sum()?;
        let difference = left.clone().plus(right.clone().negate());
        Some(vec![Value::Expression(left.plus(right)), Value::Expression(difference)])
    }

    /// An interval, a named set, a tuple or a set.
    fn collection(&mut self) -> Option<Value> {
        if let Some(interval) = self.attempt(Self::interval) {
            return Some(interval);
        }
        if let Some(name) = self.take_any(&["∅", "ℕ", "ℤ", "ℚ", "ℝ", "ℂ"]) {
            return Some(Value::Named(name));
        }
        let open = self.peek_sign()?;
        if open == "\\boxed" {
            self.take("\\boxed")?;
            self.take("{")?;
            let inside = self.attempt(|parser| parser.elements(true))?;
            self.take("}")?;
            return Some(inside);
        }
        let close = match open {
            "(" => ")",
            "\\(" => "\\)",
            "[" => "]",
            "{" => "}",
            "\\{" => "\\}",
            _ => return None,
        };
        self.take(open)?;
        if open == "{" && self.take("}").is_some() {
            return Some(Value::Named("∅"));
        }
        let groups = self.attempt(|parser| parser.groups(true))?;
        self.take(close)?;
        let mut elements: Vec<Value> = groups.into_iter().flatten().collect();
        if open == "{" || open == "\\{" {
            return Some(Value::Set(elements));
        }
        if elements.len() == 1 {
            return elements.pop();
        }
        Some(Value::Tuple(elements))
    }

    fn interval(&mut self) -> Option<Value> {
        let open = self.take_any(&["[", "(", "\\(", "\\lbrack", "\\lgroup"])?;
        let start = self.sum()?;
        self.take(",")?;
        let end = self.sum()?;
        let close = self.take_any(&["]", ")", "\\)", "\\rbrack", "\\rgroup"])?;
        let is_left_open = open != "[" && open != "\\lbrack";
        let is_right_open = close != "]" && close != "\\rbrack";
        let order = super::compare::order(&start, &end);
        let is_backwards = match order {
            Some(std::cmp::Ordering::Greater) => is_left_open == is_right_open,
            Some(std::cmp::Ordering::Equal) => is_left_open && is_right_open,
            _ => false,
        };
        if order == Some(std::cmp::Ordering::Equal) && !is_left_open && !is_right_open {
            return Some(Value::Set(vec![Value::Expression(start)]));
        }
        if is_backwards {
            return Some(Value::Tuple(vec![Value::Expression(start), Value::Expression(end)]));
        }
        Some(Value::Interval { start, end, is_left_open, is_right_open })
    }

    fn relation(&mut self) -> Option<Value> {
        let mut left = Value::Expression(self.sum()?);
        while let Some(sign) = self.take_any(&["=", "==", "≈", "<", "≤", ">", "≥", "≠"]) {
            let right = self.sum()?;
            let relation = match sign {
                "=" | "==" => Relation::Equal,
                "<" => Relation::Less,
                "≤" => Relation::LessOrEqual,
                ">" => Relation::Greater,
                "≥" => Relation::GreaterOrEqual,
                "≠" => Relation::NotEqual,
                // The approximation is not wanted.
                _ => {
                    if is_made_of_letters(&left) {
                        left = Value::Expression(right);
                    }
                    continue;
                }
            };
            let step = (relation, Value::Expression(right));
            left = match left {
                Value::Expression(first) => Value::Relations(first, vec![step]),
                Value::Relations(first, mut steps) => {
                    steps.push(step);
                    Value::Relations(first, steps)
                }
                _ => return None,
            };
        }
        Some(left)
    }
}

fn set_or_single(groups: Vec<Vec<Value>>) -> Value {
    if groups.iter().all(|group| group.len() == 1) || groups.len() == 1 {
        let mut elements: Vec<Value> = groups.into_iter().flatten().collect();
        return match elements.pop() {
            Some(only) if elements.is_empty() => only,
            last => Value::Set(elements.into_iter().chain(last).collect()),
        };
    }
    Value::Set(groups.into_iter().map(Value::Tuple).collect())
}

/// Whether every side of an equation, or the only one, is made of letters.
fn is_made_of_letters(value: &Value) -> bool {
    match value {
        Value::Expression(expression) => is_of_letters(expression),
        Value::Relations(first, steps) => {
            is_of_letters(first) && steps.iter().all(|(_, side)| is_made_of_letters(side))
        }
        _ => false,
    }
}

/// Whether an expression is a letter, or letters multiplied, added or divided, with no number among them.
pub(super) fn is_of_letters(expression: &Expression) -> bool {
    match expression {
        Expression::Symbol(_) => true,
        Expression::Sum(parts) | Expression::Product(parts) => parts.iter().all(is_of_letters),
        Expression::Power(base, exponent) => {
            **exponent == Expression::integer(-1) && is_of_letters(base)
        }
        Expression::Call(_, argument) => is_of_letters(argument),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_side_by_side_are_a_mixed_number() {
        let half = Expression::Number(Rational::new(5, 2).unwrap());
        assert_eq!(parse("2\\frac{1}{2}"), Some(Value::Expression(half)));
        assert_eq!(parse("2(3)"), Some(Value::Expression(Expression::integer(5))));
    }

    #[test]
    fn thousands_are_a_number_and_spaced_elements_a_set() {
        assert_eq!(parse("1,234"), Some(Value::Expression(Expression::integer(1234))));
        assert!(matches!(parse("1, 234"), Some(Value::Set(elements)) if elements.len() == 2));
    }

    #[test]
    fn what_the_grammar_does_not_know_does_not_parse() {
        for text in ["√3", "50°", "\\unknown", "x^-1", "", "(1", "\\frac12", "5 = "] {
            assert_eq!(parse(text), None, "{text}");
        }
        assert_eq!(parse(&"{".repeat(300)), None);
    }

    #[test]
    fn equations_keep_their_sides() {
        let letters = Expression::Symbol("a".to_owned()).times(Expression::Symbol("b".to_owned()));
        let equation = Value::Relations(
            letters,
            vec![(Relation::Equal, Value::Expression(Expression::integer(5)))],
        );
        assert_eq!(parse("AB=5"), Some(equation));
        assert_eq!(parse("50^\\circ"), Some(Value::Expression(Expression::integer(50))));
    }
}
