//! The arithmetic both comparisons stand on.
//!
//! In reading order: [`Rational`], exact fractions; [`Expression`], what an answer says; [`normal_form`], exact equality
//! with roots, π and letters; [`mod@evaluate`], floating point for what has no normal form here.
//! Not here: text (`answer`, `math_verify`). Everything is bounded: 128-bit checked integers, sums of at most
//! [`normal_form::MAX_TERMS`] terms, trees of at most [`MAX_DEPTH`] levels.

pub mod evaluate;
pub mod expression;
pub mod normal_form;
pub mod rational;

pub use evaluate::evaluate;
pub use expression::{Constant, Decimal, Expression, Function, MAX_DEPTH};
pub use normal_form::{NormalForm, exactly_equal};
pub use rational::Rational;
