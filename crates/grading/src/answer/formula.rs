//! Tokens as a formula with a unit: precedence, implicit products, mixed numbers.
//! Not here: equations and lists (`parse`); letters (`formula_word`); the unit (`formula_unit`).
//!
//! Products bind from the left whether their sign is written or not: `1/2x` is `(1/2)x`, as in Python and in sympy.

use super::lexer::{Bracket, Kind, Sign, Token};
use super::units::Unit;
use crate::algebra::{Constant, Decimal, Expression, Function, MAX_DEPTH, Rational};

/// A formula and the unit behind it.
pub(super) struct Formula {
    pub(super) value: Expression,
    pub(super) unit: Option<Unit>,
}

/// Reads all tokens as one formula; none if they are not one.
pub(super) fn formula(tokens: &[Token]) -> Option<Formula> {
    let mut parser = Parser { tokens, position: 0, depth: 0, has_degree: false };
    let value = parser.sum()?;
    let written_unit = parser.unit_to_the_end();
    if let Some(unit) = written_unit {
        return (!parser.has_degree).then_some(Formula { value, unit: Some(unit) });
    }
    if parser.position < tokens.len() {
        return None;
    }
    Some(Formula { value, unit: parser.has_degree.then_some(Unit::DEGREE) })
}

/// Tokens and how far they are read.
pub(super) struct Parser<'a> {
    pub(super) tokens: &'a [Token],
    pub(super) position: usize,
    pub(super) depth: usize,
    /// Whether a degree sign was read that no function has used.
    pub(super) has_degree: bool,
}

impl<'a> Parser<'a> {
    pub(super) fn peek(&self) -> Option<&'a Token> {
        self.tokens.get(self.position)
    }

    pub(super) fn peek_sign(&self) -> Option<Sign> {
        self.sign_at(self.position)
    }

    pub(super) fn sign_at(&self, position: usize) -> Option<Sign> {
        match self.tokens.get(position)?.kind {
            Kind::Sign(sign) => Some(sign),
            _ => None,
        }
    }

    pub(super) fn word_at(&self, position: usize) -> Option<&'a str> {
        match &self.tokens.get(position)?.kind {
            Kind::Word(word) => Some(word),
            _ => None,
        }
    }

    pub(super) fn number_at(&self, position: usize) -> Option<Rational> {
        match self.tokens.get(position)?.kind {
            Kind::Number { value, .. } => Some(value),
            _ => None,
        }
    }

    pub(super) fn take(&mut self, sign: Sign) -> Option<()> {
        (self.peek_sign() == Some(sign)).then_some(())?;
        self.position += 1;
        Some(())
    }

    pub(super) fn nested<T>(&mut self, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T> {
        self.depth += 1;
        (self.depth <= MAX_DEPTH).then_some(())?;
        let found = read(self);
        self.depth -= 1;
        found
    }

    fn sum(&mut self) -> Option<Expression> {
        let mut sum = self.product()?;
        loop {
            let is_minus = match self.peek_sign() {
                Some(Sign::Plus) => false,
                Some(Sign::Minus) => true,
                _ => return Some(sum),
            };
            self.position += 1;
            let term = self.product()?;
            sum = sum.plus(if is_minus { term.negate() } else { term });
        }
    }

    fn product(&mut self) -> Option<Expression> {
        let mut product = self.signed()?;
        loop {
            match self.peek_sign() {
                Some(Sign::Times) => {
                    self.position += 1;
                    product = product.times(self.signed()?);
                }
                Some(Sign::Over | Sign::Colon) => {
                    self.position += 1;
                    product = product.over(self.signed()?);
                }
                _ if self.begins_factor() => product = self.beside(product)?,
                _ => return Some(product),
            }
        }
    }

    /// The factor that stands beside `left` without a sign, multiplied; of a whole number and a fraction, added.
    fn beside(&mut self, left: Expression) -> Option<Expression> {
        let is_whole = matches!(&left, Expression::Number(value) if value.is_integer() && !value.is_negative());
        let was_number = self.number_at(self.position - 1).is_some();
        let is_fraction = self.peek_sign() == Some(Sign::Fraction);
        let right = self.factor()?;
        match right {
            Expression::Number(fraction)
                if is_fraction && is_whole && was_number && !fraction.is_negative() =>
            {
                Some(left.plus(Expression::Number(fraction)))
            }
            right => Some(left.times(right)),
        }
    }

    /// Whether the next token may follow a factor as another one.
    fn begins_factor(&self) -> bool {
        match self.peek().map(|token| &token.kind) {
            Some(Kind::Word(_)) => !self.is_unit_to_the_end(),
            Some(Kind::Sign(sign)) => matches!(
                sign,
                Sign::Open(Bracket::Round | Bracket::Square | Bracket::Brace)
                    | Sign::Root
                    | Sign::Fraction
                    | Sign::Pi
            ),
            _ => false,
        }
    }

    fn signed(&mut self) -> Option<Expression> {
        match self.peek_sign() {
            Some(Sign::Plus) => {
                self.position += 1;
                self.nested(Self::signed)
            }
            Some(Sign::Minus) => {
                self.position += 1;
                self.nested(Self::signed).map(Expression::negate)
            }
            _ => self.factor(),
        }
    }

    pub(super) fn factor(&mut self) -> Option<Expression> {
        let mut value = self.atom()?;
        loop {
            match self.peek_sign() {
                Some(Sign::Degree) => {
                    self.position += 1;
                    self.has_degree = true;
                }
                Some(Sign::Caret) if self.take_degree_script().is_some() => self.has_degree = true,
                // A caret that no exponent follows closes the markdown superscript of a unit.
                Some(Sign::Caret) => {
                    self.position += 1;
                    let exponent = self.nested(Self::exponent)?;
                    value = value.to_power(exponent);
                }
                Some(Sign::Factorial) => {
                    self.position += 1;
                    value = Expression::Call(Function::Factorial, Box::new(value));
                }
                Some(Sign::Percent) => {
                    self.position += 1;
                    value = Expression::Percent(Box::new(value));
                }
                _ if matches!(
                    self.word_at(self.position),
                    Some("percent" | "percentage" | "pct")
                ) =>
                {
                    self.position += 1;
                    value = Expression::Percent(Box::new(value));
                }
                _ => return Some(value),
            }
        }
    }

    /// `^\circ` and `^{\circ}`.
    fn take_degree_script(&mut self) -> Option<()> {
        if self.sign_at(self.position + 1) == Some(Sign::Degree) {
            self.position += 2;
            return Some(());
        }
        let is_braced = self.sign_at(self.position + 1) == Some(Sign::Open(Bracket::Brace))
            && self.sign_at(self.position + 2) == Some(Sign::Degree)
            && self.sign_at(self.position + 3) == Some(Sign::Close(Bracket::Brace));
        is_braced.then(|| self.position += 4)
    }

    pub(super) fn exponent(&mut self) -> Option<Expression> {
        match self.peek_sign() {
            Some(Sign::Minus) => {
                self.position += 1;
                self.nested(Self::exponent).map(Expression::negate)
            }
            Some(Sign::Plus) => {
                self.position += 1;
                self.nested(Self::exponent)
            }
            _ => {
                let base = self.atom()?;
                // 2^3^2 is 2^(3^2).
                if self.peek_sign() == Some(Sign::Caret) {
                    self.position += 1;
                    return Some(base.to_power(self.nested(Self::exponent)?));
                }
                Some(base)
            }
        }
    }

    fn atom(&mut self) -> Option<Expression> {
        let token = self.peek()?;
        match &token.kind {
            Kind::Number { value, places } => {
                self.position += 1;
                let value = *value;
                Some(match places {
                    Some(places) => Expression::Decimal(Decimal { value, places: *places }),
                    None => self.mixed(value),
                })
            }
            Kind::Word(word) => self.word(word),
            Kind::Sign(Sign::Pi) => {
                self.position += 1;
                Some(Expression::Constant(Constant::Pi))
            }
            Kind::Sign(Sign::Infinity) => {
                self.position += 1;
                Some(Expression::Constant(Constant::Infinity))
            }
            Kind::Sign(Sign::Root) => self.root(),
            Kind::Sign(Sign::Fraction) => self.fraction(),
            Kind::Sign(Sign::Bar) => {
                self.position += 1;
                let inside = self.nested(Self::sum)?;
                self.take(Sign::Bar)?;
                Some(Expression::Call(Function::Abs, Box::new(inside)))
            }
            Kind::Sign(Sign::Open(
                bracket @ (Bracket::Round | Bracket::Square | Bracket::Brace),
            )) => self.group(*bracket),
            Kind::Sign(_) => None,
        }
    }

    pub(super) fn group(&mut self, bracket: Bracket) -> Option<Expression> {
        self.take(Sign::Open(bracket))?;
        let inside = self.nested(Self::sum)?;
        self.take(Sign::Close(bracket))?;
        Some(inside)
    }

    /// `1 3/4` and `1½`: a whole number before a fraction is added to it.
    fn mixed(&mut self, whole: Rational) -> Expression {
        let next = self.number_at(self.position).filter(|_| whole.is_integer());
        let Some(next) = next else { return Expression::Number(whole) };
        let below = (self.peek_sign_after(1) == Some(Sign::Over))
            .then(|| self.number_at(self.position + 2))
            .flatten();
        let is_apart = self.peek().is_some_and(|token| token.is_apart);
        let fraction = match below {
            Some(below) if is_apart && next.is_integer() && below.is_integer() => {
                self.position += 3;
                next.divide(below)
            }
            _ if !next.is_integer() && self.is_exact(self.position) => {
                self.position += 1;
                Some(next)
            }
            _ => return Expression::Number(whole),
        };
        fraction
            .and_then(|fraction| whole.add(fraction))
            .map_or(Expression::Number(whole), Expression::Number)
    }

    fn is_exact(&self, position: usize) -> bool {
        matches!(
            self.tokens.get(position).map(|token| &token.kind),
            Some(Kind::Number { places: None, .. })
        )
    }

    fn peek_sign_after(&self, n_tokens: usize) -> Option<Sign> {
        self.sign_at(self.position + n_tokens)
    }

    /// `√3`, `√{3}`, `√(3)`, `\sqrt[3]{8}`, `√x`.
    fn root(&mut self) -> Option<Expression> {
        self.take(Sign::Root)?;
        let is_index = self.peek_sign() == Some(Sign::Open(Bracket::Square));
        let index = if is_index { Some(self.group(Bracket::Square)?) } else { None };
        let radicand = self.nested(Self::atom)?;
        Some(match index {
            Some(index) => radicand.root(index),
            None => radicand.square_root(),
        })
    }

    /// `\frac{a}{b}`, `\frac12`, `\frac{a}2`.
    fn fraction(&mut self) -> Option<Expression> {
        self.take(Sign::Fraction)?;
        let is_group_after = self.peek_sign_after(1) == Some(Sign::Open(Bracket::Brace));
        if let Some(number) =
            self.number_at(self.position).filter(|number| number.is_integer() && !is_group_after)
        {
            // The lexer has read `12` of `\frac12` as one number.
            if (10..100).contains(&number.numerator()) {
                self.position += 1;
                let digit = |value: i128| Expression::integer(value);
                return Some(digit(number.numerator() / 10).over(digit(number.numerator() % 10)));
            }
        }
        let above = self.nested(Self::atom)?;
        let below = self.nested(Self::atom)?;
        Some(above.over(below))
    }
}
