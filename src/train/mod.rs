//! The trainer: updates, checkpoints, metrics.

pub mod micro_batch;
pub mod optimizer;
pub mod policy_step;
pub mod supervised_step;
