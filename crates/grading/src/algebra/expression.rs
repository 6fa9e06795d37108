//! What a mathematical answer says, as a tree: what both parsers build and both comparisons read.
//! Not here: how text becomes a tree (`answer::parse`, `math_verify::latex_parser`); what a tree is worth (`evaluate`,
//! `normal_form`).

use std::fmt;

use super::Rational;

/// A mathematical expression. Parsers bound its depth by [`MAX_DEPTH`] and its size, so that recursion over it is safe.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// An integer or a fraction, exact.
    Number(Rational),
    /// A number written with a decimal point, which may stand for a rounded one.
    Decimal(Decimal),
    /// A variable, by its name.
    Symbol(String),
    /// A named number.
    Constant(Constant),
    /// The sum of the terms.
    Sum(Vec<Expression>),
    /// The product of the factors.
    Product(Vec<Expression>),
    /// Base and exponent.
    Power(Box<Expression>, Box<Expression>),
    /// A function of one argument.
    Call(Function, Box<Expression>),
    /// A hundredth of the inner expression, written with a percent sign.
    Percent(Box<Expression>),
}

/// The deepest nesting a parser may build.
pub const MAX_DEPTH: usize = 24;

/// A number as it was written with a decimal point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    /// The value of the digits.
    pub value: Rational,
    /// How many digits stand after the point; negative for `1.2e5`.
    pub places: i32,
}

/// Numbers that have names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Constant {
    /// π.
    Pi,
    /// Euler's number.
    E,
    /// Positive infinity, as an end of an interval.
    Infinity,
    /// The root of -1.
    ImaginaryUnit,
}

/// Functions of one argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Function {
    /// Sine of an angle in radians.
    Sin,
    /// Cosine.
    Cos,
    /// Tangent.
    Tan,
    /// Inverse sine.
    Arcsin,
    /// Inverse cosine.
    Arccos,
    /// Inverse tangent.
    Arctan,
    /// The natural logarithm.
    Ln,
    /// The absolute value.
    Abs,
    /// `n!`.
    Factorial,
    /// A function known by its name alone.
    Named(String),
}

impl Expression {
    /// The integer `value`.
    pub fn integer(value: i128) -> Self {
        Self::Number(Rational::integer(value))
    }

    /// `-self`, a number staying a number.
    #[must_use]
    pub fn negate(self) -> Self {
        match self {
            Self::Number(value) => match value.negate() {
                Some(value) => Self::Number(value),
                None => Self::Product(vec![Self::integer(-1), Self::Number(value)]),
            },
            Self::Decimal(decimal) => match decimal.value.negate() {
                Some(value) => Self::Decimal(Decimal { value, ..decimal }),
                None => Self::Product(vec![Self::integer(-1), Self::Decimal(decimal)]),
            },
            other => Self::Product(vec![Self::integer(-1), other]),
        }
    }

    /// `self + other`.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        match self {
            Self::Sum(mut terms) => {
                terms.push(other);
                Self::Sum(terms)
            }
            first => Self::Sum(vec![first, other]),
        }
    }

    /// `self * other`.
    #[must_use]
    pub fn times(self, other: Self) -> Self {
        match self {
            Self::Product(mut factors) => {
                factors.push(other);
                Self::Product(factors)
            }
            first => Self::Product(vec![first, other]),
        }
    }

    /// `self ^ exponent`.
    #[must_use]
    pub fn to_power(self, exponent: Self) -> Self {
        Self::Power(Box::new(self), Box::new(exponent))
    }

    /// `self / other`; of two integers, the fraction.
    #[must_use]
    pub fn over(self, other: Self) -> Self {
        if let (Self::Number(above), Self::Number(below)) = (&self, &other)
            && let Some(fraction) = above.divide(*below)
        {
            return Self::Number(fraction);
        }
        self.times(other.to_power(Self::integer(-1)))
    }

    /// The `index`-th root.
    #[must_use]
    pub fn root(self, index: Self) -> Self {
        self.to_power(Self::integer(1).over(index))
    }

    /// The square root.
    #[must_use]
    pub fn square_root(self) -> Self {
        self.root(Self::integer(2))
    }

    /// Whether the expression contains a decimal anywhere.
    pub fn has_decimal(&self) -> bool {
        self.any(&|part| matches!(part, Self::Decimal(_)))
    }

    /// Whether the expression contains a letter anywhere.
    pub fn has_symbol(&self) -> bool {
        self.any(&|part| matches!(part, Self::Symbol(_) | Self::Call(Function::Named(_), _)))
    }

    /// Whether `claim` holds of the expression or any part of it.
    pub fn any(&self, claim: &dyn Fn(&Self) -> bool) -> bool {
        claim(self)
            || match self {
                Self::Sum(parts) | Self::Product(parts) => parts.iter().any(|part| part.any(claim)),
                Self::Power(base, exponent) => base.any(claim) || exponent.any(claim),
                Self::Call(_, argument) => argument.any(claim),
                Self::Percent(inner) => inner.any(claim),
                Self::Number(_) | Self::Decimal(_) | Self::Symbol(_) | Self::Constant(_) => false,
            }
    }
}

/// For people to read: every product and power in parentheses where it is a part.
impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let joined = |f: &mut fmt::Formatter<'_>, parts: &[Self], sign: &str| {
            for (idx, part) in parts.iter().enumerate() {
                f.write_str(if idx == 0 { "" } else { sign })?;
                match part {
                    Self::Sum(_) => write!(f, "({part})")?,
                    part => write!(f, "{part}")?,
                }
            }
            Ok(())
        };
        match self {
            Self::Number(value) => write!(f, "{value}"),
            Self::Decimal(decimal) => write!(f, "{}", decimal.value.to_f64()),
            Self::Symbol(name) => f.write_str(name),
            Self::Constant(constant) => f.write_str(match constant {
                Constant::Pi => "π",
                Constant::E => "e",
                Constant::Infinity => "∞",
                Constant::ImaginaryUnit => "i",
            }),
            Self::Sum(terms) => joined(f, terms, " + "),
            Self::Product(factors) => joined(f, factors, " * "),
            Self::Power(base, exponent) => match base.as_ref() {
                Self::Sum(_) | Self::Product(_) | Self::Power(..) => {
                    write!(f, "({base})^({exponent})")
                }
                base => write!(f, "{base}^({exponent})"),
            },
            Self::Call(function, argument) => write!(f, "{function:?}({argument})"),
            Self::Percent(inner) => write!(f, "{inner}%"),
        }
    }
}
