//! What math-verify makes of an answer: expressions, and what is built of them.
//! Not here: reading them (`latex_parser`, `python_expression`); comparing them (`compare`).

use crate::algebra::Expression;

/// A parsed answer.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    /// A number or a formula.
    Expression(Expression),
    /// `a = b`, `a < b < c`: the first side, then each relation with its right side.
    Relations(Expression, Vec<(Relation, Value)>),
    /// A set; its elements as written.
    Set(Vec<Value>),
    /// A tuple, or an interval whose ends are not in order.
    Tuple(Vec<Value>),
    /// An interval.
    Interval { start: Expression, end: Expression, is_left_open: bool, is_right_open: bool },
    /// A set known by its name, such as the empty one.
    Named(&'static str),
}

/// A relation between two sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    /// `=`, and `∈`, which math-verify reads as one.
    Equal,
    /// `≠`.
    NotEqual,
    /// `<`.
    Less,
    /// `≤`.
    LessOrEqual,
    /// `>`.
    Greater,
    /// `≥`.
    GreaterOrEqual,
}

impl Relation {
    /// The relation with its sides exchanged.
    pub(super) fn flipped(self) -> Self {
        match self {
            Self::Less => Self::Greater,
            Self::LessOrEqual => Self::GreaterOrEqual,
            Self::Greater => Self::Less,
            Self::GreaterOrEqual => Self::LessOrEqual,
            other => other,
        }
    }
}
