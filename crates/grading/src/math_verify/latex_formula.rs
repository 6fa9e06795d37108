//! Formulas of math-verify's LaTeX grammar: sums, products, powers, functions, letters.
//! Not here: equations, sets and intervals (`latex_parser`, whose header names the surprises).

use super::latex_lexer::Token;
use super::latex_parser::{MAX_STEPS, Parser, number};
use super::python_expression::decimal;
use crate::algebra::{Constant, Decimal, Expression, Function, Rational};

impl Parser<'_> {
    pub(super) fn sum(&mut self) -> Option<Expression> {
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

    pub(super) fn letter(&mut self) -> Option<Expression> {
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
