//! The answers we read ourselves: found in the `<answer>` tag, parsed, compared with the gold.
//!
//! In reading order: [`mod@extract`] finds the text; [`mod@read`] takes phrases, choices and words from it and leaves
//! mathematics to `lexer`, `parse` and `formula`, with the units of [`mod@units`]; [`mod@compare`] and [`mod@value`] decide.
//! Not here: R1-V's own ways (`math_verify`, `rule`); arithmetic (`algebra`).
//!
//! The rules in words, with their reasons, are in `docs/grading.md`. Everything is bounded: texts beyond some hundred
//! characters are compared as text, formulas have at most `lexer::MAX_TOKENS` tokens and
//! [`MAX_DEPTH`](super::algebra::MAX_DEPTH) levels, and no step looks at a token more than a fixed number of times.

pub mod compare;
mod digits;
pub mod extract;
mod formula;
mod formula_unit;
mod formula_word;
mod lexer;
mod parse;
pub mod read;
mod spellings;
pub mod units;
pub mod value;

use std::fmt;

use super::algebra::Expression;
use units::Unit;

pub use compare::{Comparison, compare};
pub use extract::last_answer;
pub use read::read;

/// What an answer says.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// A number or a formula, perhaps with a unit and a name.
    Quantity(Quantity),
    /// An equation between two formulas.
    Equation {
        /// The left side.
        left: Expression,
        /// The right side.
        right: Expression,
    },
    /// `a < b`, `a < b ≤ c`.
    Inequality {
        /// The sides, at least two.
        sides: Vec<Expression>,
        /// The relation after each side but the last.
        orders: Vec<Order>,
    },
    /// Several answers, a set, a tuple or an interval.
    List {
        /// What stands around them.
        brackets: Brackets,
        /// The answers, in order.
        items: Vec<Answer>,
    },
    /// A letter of multiple choice.
    Choice {
        /// `A` to `H`.
        letter: char,
        /// What the choice says, if it is written out.
        content: Option<Box<Answer>>,
    },
    /// Anything else, in lower case.
    Text(String),
}

/// A number or a formula with what stands around it.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantity {
    /// What it is called, as in `x = 5`.
    pub name: Option<String>,
    /// What it is worth.
    pub value: Expression,
    /// What it is a number of.
    pub unit: Option<Unit>,
}

/// How two sides are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `<`.
    Less,
    /// `≤`.
    LessOrEqual,
    /// `>`.
    Greater,
    /// `≥`.
    GreaterOrEqual,
    /// `≠`.
    NotEqual,
}

/// What stands around a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brackets {
    /// Nothing: a list without order.
    None,
    /// Braces: a set, without order.
    Set,
    /// `( )`: a tuple or an open interval.
    Round,
    /// `[ ]`: a list with order or a closed interval.
    Square,
    /// `( ]`.
    LeftOpen,
    /// `[ )`.
    RightOpen,
}

/// A gold answer that cannot be parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unreadable;

/// Reads a gold answer, which must be readable.
///
/// # Errors
/// It is empty, or it looks like mathematics that does not parse.
pub fn read_gold(text: &str) -> Result<Answer, Unreadable> {
    let answer = read(text);
    match &answer {
        Answer::Text(_) if read::is_broken(text) => Err(Unreadable),
        _ => Ok(answer),
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quantity(quantity) => {
                write!(f, "number {}", quantity.value)?;
                if let Some(name) = &quantity.name {
                    write!(f, " called {name}")?;
                }
                match &quantity.unit {
                    Some(unit) => write!(f, " in {unit}"),
                    None => Ok(()),
                }
            }
            Self::Equation { left, right } => write!(f, "equation {left} = {right}"),
            Self::Inequality { sides, .. } => write!(f, "inequality of {} sides", sides.len()),
            Self::List { brackets, items } => {
                f.write_str(match brackets {
                    Brackets::None => "list",
                    Brackets::Set => "set",
                    Brackets::Round => "tuple or open interval",
                    Brackets::Square => "tuple or closed interval",
                    Brackets::LeftOpen | Brackets::RightOpen => "interval",
                })?;
                write!(f, " of {} answers", items.len())?;
                for (idx, item) in items.iter().enumerate() {
                    write!(f, "{} {item}", if idx == 0 { ":" } else { ";" })?;
                }
                Ok(())
            }
            Self::Choice { letter, content: None } => write!(f, "choice {letter}"),
            Self::Choice { letter, content: Some(content) } => {
                write!(f, "choice {letter}, {content}")
            }
            Self::Text(text) => write!(f, "text {text:?}"),
        }
    }
}
