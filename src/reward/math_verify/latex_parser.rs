//! LaTeX as a value, by the grammar math-verify uses (`PS.g4` of latex2sympy2_extended 1.11) and its conversion.
//! Not here: tokens (`latex_lexer`); mending before (`normalize`).
//!
//! Left out, so that they do not parse: matrices, integrals, sums, limits, norms, set operations.
//! Surprises, kept: two integers side by side are added like a mixed number (`3 4` is 7, `2(3)` is 5), a colon divides,
//! a degree sign is dropped, letters lose their case, `f(2)` is a function for any letter `f`, and of `a ≈ b` only one
//! side stays: the right one if the left is made of letters alone.

use super::latex_lexer::{Token, tokenize};
use super::python_expression::decimal;
use super::value::{Relation, Value};
use crate::reward::algebra::{Constant, Decimal, Expression, Function, MAX_DEPTH, Rational};

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

fn number(text: &str) -> Option<Expression> {
    if text.contains('.') {
        return Some(Expression::Decimal(decimal(text)?));
    }
    let (digits, is_negative) =
        text.strip_prefix('-').map_or((text, false), |digits| (digits, true));
    let value = Expression::Number(Rational::from_decimal(digits)?);
    Some(if is_negative { value.negate() } else { value })
}

struct Parser<'a> {
    tokens: &'a [Token],
    position: usize,
    depth: usize,
    /// Tokens read, repeated reading included; bounds what backtracking may cost.
    n_steps: usize,
}

/// The most tokens read on the way to one value.
const MAX_STEPS: usize = 4_000;

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.position)
    }

    fn peek_sign(&self) -> Option<&'static str> {
        match self.peek() {
            Some(Token::Sign(sign)) => Some(sign),
            _ => None,
        }
    }

    fn take(&mut self, sign: &str) -> Option<()> {
        self.n_steps += 1;
        (self.peek_sign() == Some(sign) && self.n_steps < MAX_STEPS).then_some(())?;
        self.position += 1;
        Some(())
    }

    fn take_any(&mut self, signs: &[&'static str]) -> Option<&'static str> {
        let sign = self.peek_sign().filter(|sign| signs.contains(sign))?;
        self.take(sign)?;
        Some(sign)
    }

    /// Tries to read; on failure the position is as before.
    fn attempt<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
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

    fn sum(&mut self) -> Option<Expression> {
        let mut sum = self.product(true)?;
        while let Some(sign) = self.take_any(&["+", "-"]) {
            let term = self.product(true)?;
            sum = sum.plus(if sign == "-" { term.negate() } else { term });
        }
        Some(sum)
    }

    /// `allows_function`: whether a function may stand after the first factor, as it may not in `\sin 2\cos x`.
    fn product(&mut self, allows_function: bool) -> Option<Expression> {
        let mut product = self.signed(allows_function)?;
        while let Some(sign) = self.take_any(&["*", "/"]) {
            let factor = self.signed(allows_function)?;
            product = if sign == "*" { product.times(factor) } else { product.over(factor) };
        }
        Some(product)
    }

    fn signed(&mut self, allows_function: bool) -> Option<Expression> {
        match self.take_any(&["+", "-"]) {
            Some("-") => {
                self.attempt(|parser| parser.signed(allows_function)).map(Expression::negate)
            }
            Some(_) => self.attempt(|parser| parser.signed(allows_function)),
            None => self.side_by_side(allows_function),
        }
    }

    fn side_by_side(&mut self, allows_function: bool) -> Option<Expression> {
        let mut factors = vec![self.postfix()?];
        loop {
            if !allows_function
                && matches!(self.peek(), Some(Token::Function(_) | Token::Sign("\\sqrt")))
            {
                break;
            }
            match self.attempt(Self::postfix) {
                Some(factor) => factors.push(factor),
                None => break,
            }
        }
        let mut product = factors.pop()?;
        while let Some(left) = factors.pop() {
            product = mixed_number(&left, &product).unwrap_or_else(|| flat_product(left, product));
        }
        Some(product)
    }

    fn postfix(&mut self) -> Option<Expression> {
        let mut value = self.power()?;
        while let Some(sign) = self.take_any(&["!", "degree", "transpose"]) {
            if sign == "!" {
                value = Expression::Call(Function::Factorial, Box::new(value));
            }
        }
        Some(value)
    }

    fn power(&mut self) -> Option<Expression> {
        let mut base = self.component()?;
        while self.take("^").is_some() {
            let exponent = self.script()?;
            base = base.to_power(exponent);
        }
        Some(base)
    }

    /// What follows `^`: one atom, or an expression in braces.
    fn script(&mut self) -> Option<Expression> {
        if self.take("{").is_some() {
            let inside = self.attempt(Self::sum)?;
            self.take("}")?;
            return Some(inside);
        }
        self.atom()
    }

    fn component(&mut self) -> Option<Expression> {
        if let Some(Token::Function(name)) = self.peek() {
            let name = name.clone();
            self.position += 1;
            return self.attempt(|parser| parser.function(&name));
        }
        if let Some(call) = self.attempt(Self::call_of_letter) {
            return Some(call);
        }
        let Some(sign) = self.peek_sign() else { return self.atom() };
        let close = match sign {
            "(" => ")",
            "[" => "]",
            "{" => "}",
            "\\{" => "\\}",
            "\\lbrace" => "\\rbrace",
            "\\lbrack" => "\\rbrack",
            "\\lgroup" => "\\rgroup",
            "|" | "\\lvert" | "\\vert" => return self.absolute(sign),
            "\\sqrt" => return self.root(),
            "\\frac" => return self.fraction(),
            "\\boxed" => {
                self.take("\\boxed")?;
                return self.braced();
            }
            _ => return self.atom(),
        };
        self.take(sign)?;
        let inside = self.attempt(Self::sum)?;
        self.take(close)?;
        Some(inside)
    }

    fn absolute(&mut self, open: &'static str) -> Option<Expression> {
        self.take(open)?;
        let inside = self.attempt(Self::sum)?;
        self.take(if open == "\\lvert" { "\\rvert" } else { open })?;
        Some(Expression::Call(Function::Abs, Box::new(inside)))
    }

    fn braced(&mut self) -> Option<Expression> {
        self.take("{")?;
        let inside = self.attempt(Self::sum)?;
        self.take("}")?;
        Some(inside)
    }

    fn root(&mut self) -> Option<Expression> {
        self.take("\\sqrt")?;
        if self.take("[").is_some() {
            let index = self.attempt(Self::sum)?;
            self.take("]")?;
            return Some(self.braced()?.root(index));
        }
        Some(self.braced()?.square_root())
    }

    fn fraction(&mut self) -> Option<Expression> {
        self.take("\\frac")?;
        let above = self.braced()?;
        Some(above.over(self.braced()?))
    }

    /// `\sin 30`, `\sin^2(x)`, `\log_{2} 8`; the argument without parentheses takes all factors that follow.
    fn function(&mut self, name: &str) -> Option<Expression> {
        let mut base = None;
        let mut exponent = None;
        loop {
            if self.take("_").is_some() {
                base = Some(self.script()?);
            } else if self.take("^").is_some() {
                exponent = Some(self.script()?);
            } else {
                break;
            }
        }
        let in_parentheses = self.attempt(|parser| {
            parser.take("(")?;
            let inside = parser.sum()?;
            parser.take(")")?;
            Some(inside)
        });
        let argument = in_parentheses.or_else(|| self.attempt(|parser| parser.product(false)))?;
        let is_inverse = exponent == Some(Expression::integer(-1));
        let value = apply(name, argument, base, is_inverse)?;
        Some(match exponent.filter(|_| !is_inverse) {
            Some(exponent) => value.to_power(exponent),
            None => value,
        })
    }

    /// `f(2)`, `f(x)`: a letter before one atom in parentheses, or before several arguments.
    fn call_of_letter(&mut self) -> Option<Expression> {
        let Expression::Symbol(name) = self.letter_without_power()? else { return None };
        self.take("(")?;
        let start = self.position;
        let argument = self.attempt(|parser| {
            let argument = parser.atom()?;
            parser.take(")")?;
            Some(argument)
        });
        if let Some(argument) = argument {
            return Some(Expression::Call(Function::Named(name), Box::new(argument)));
        }
        self.attempt(|parser| {
            parser.sum()?;
            parser.take(",")?;
            while parser.take(")").is_none() {
                parser.sum()?;
                parser.take(",");
            }
            Some(())
        })?;
        let arguments = format!("{name}({:?})", &self.tokens[start..self.position]);
        Some(Expression::Call(Function::Named(arguments), Box::new(Expression::integer(0))))
    }

    fn letter(&mut self) -> Option<Expression> {
        let letter = self.letter_without_power()?;
        if self.take("^").is_some() {
            let exponent = self.script()?;
            return Some(letter.to_power(exponent));
        }
        Some(letter)
    }

    /// A letter with its index.
    fn letter_without_power(&mut self) -> Option<Expression> {
        let name = match self.peek()? {
            Token::Symbol(name) | Token::Text(name) => name.clone(),
            Token::ImaginaryUnit => "I".to_owned(),
            _ => return None,
        };
        let is_imaginary = self.peek() == Some(&Token::ImaginaryUnit);
        self.position += 1;
        let mut index = String::new();
        if self.take("_").is_some() {
            let start = self.position;
            self.attempt(Self::script)?;
            index = self.tokens[start..self.position].iter().map(spelled).collect();
            index = index.trim_matches(['{', '}']).to_owned();
            index = if index.chars().count() > 1 {
                format!("_{{{index}}}")
            } else {
                format!("_{index}")
            };
        }
        if is_imaginary {
            return Some(Expression::Constant(Constant::ImaginaryUnit));
        }
        Some(named(&format!("{name}{index}")))
    }

    fn atom(&mut self) -> Option<Expression> {
        self.n_steps += 1;
        (self.n_steps < MAX_STEPS).then_some(())?;
        let atom = match self.peek()? {
            Token::Number(text) => number(text)?,
            Token::Percent(text) => Expression::Percent(Box::new(number(text)?)),
            Token::Scientific(text) => scientific(text)?,
            Token::BigE => Expression::Symbol("e".to_owned()),
            Token::Euler => {
                self.position += 1;
                if self.take("^").is_some() {
                    let exponent = self.script()?;
                    return Some(Expression::Constant(Constant::E).to_power(exponent));
                }
                return Some(Expression::Constant(Constant::E));
            }
            Token::Differential(name) => Expression::Symbol(name.clone()),
            Token::Sign("\\infty") => Expression::Constant(Constant::Infinity),
            Token::Symbol(_) | Token::Text(_) | Token::ImaginaryUnit => return self.letter(),
            Token::Function(_) | Token::Sign(_) => return None,
        };
        let takes_index = matches!(self.peek(), Some(Token::Number(_)));
        self.position += 1;
        if takes_index && self.take("_").is_some() {
            self.script()?;
        }
        Some(atom)
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

/// `2\frac{1}{2}`; but also any integer before a fraction or another integer.
fn mixed_number(left: &Expression, right: &Expression) -> Option<Expression> {
    let (Expression::Number(left), Expression::Number(right)) = (left, right) else { return None };
    if !left.is_integer() || right.is_negative() || right.is_zero() {
        return None;
    }
    let sum = if left.is_negative() { left.subtract(*right)? } else { left.add(*right)? };
    Some(Expression::Number(sum))
}

fn flat_product(left: Expression, right: Expression) -> Expression {
    match right {
        Expression::Product(factors) => factors.into_iter().fold(left, Expression::times),
        right => left.times(right),
    }
}

fn named(name: &str) -> Expression {
    let lower = name.to_lowercase();
    if lower == "pi" { Expression::Constant(Constant::Pi) } else { Expression::Symbol(lower) }
}

fn spelled(token: &Token) -> String {
    match token {
        Token::Number(text) | Token::Scientific(text) | Token::Symbol(text) | Token::Text(text) => {
            text.clone()
        }
        Token::Percent(text) => format!("{text}%"),
        Token::ImaginaryUnit => "I".to_owned(),
        Token::Euler => "e".to_owned(),
        Token::BigE => "E".to_owned(),
        Token::Differential(name) | Token::Function(name) => name.clone(),
        Token::Sign(sign) => (*sign).to_owned(),
    }
}

fn scientific(text: &str) -> Option<Expression> {
    let (mantissa, exponent) = text.split_once('E')?;
    let exponent: i32 = exponent.parse().ok()?;
    let mantissa = decimal(mantissa)?;
    let scale = Rational::integer(10).power(exponent)?;
    let value = mantissa.value.multiply(scale)?;
    Some(Expression::Decimal(Decimal { value, places: mantissa.places - exponent }))
}

fn apply(
    name: &str,
    argument: Expression,
    base: Option<Expression>,
    is_inverse: bool,
) -> Option<Expression> {
    let function = match (name, is_inverse) {
        ("sin", false) => Function::Sin,
        ("cos", false) => Function::Cos,
        ("tan", false) => Function::Tan,
        ("sin", true) | ("arcsin", _) => Function::Arcsin,
        ("cos", true) | ("arccos", _) => Function::Arccos,
        ("tan", true) | ("arctan", _) => Function::Arctan,
        ("exp", _) => return Some(Expression::Constant(Constant::E).to_power(argument)),
        ("ln", _) if base.is_none() => Function::Ln,
        ("ln" | "log", _) => {
            let base = base.unwrap_or(Expression::integer(10));
            let logarithm = |of| Expression::Call(Function::Ln, Box::new(of));
            return Some(logarithm(argument).over(logarithm(base)));
        }
        ("cot", false) => return Some(Expression::integer(1).over(call(Function::Tan, argument))),
        ("sec", false) => return Some(Expression::integer(1).over(call(Function::Cos, argument))),
        ("csc", false) => return Some(Expression::integer(1).over(call(Function::Sin, argument))),
        _ => return None,
    };
    Some(call(function, argument))
}

fn call(function: Function, argument: Expression) -> Expression {
    Expression::Call(function, Box::new(argument))
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
