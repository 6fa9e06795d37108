//! Rewards.
pub mod algebra;
pub mod format;
pub mod math_verify;
