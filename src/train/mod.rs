//! The trainer: updates, a run's folder, checkpoints, metrics.

pub mod error;
pub mod run_folder;
pub mod records;
pub mod metrics;
pub mod json_lines;
mod crc32;
mod durable;

pub mod setup;
pub mod questions;
pub mod rollouts;
pub mod micro_batch;
pub mod policy_step;
pub mod supervised_step;
pub mod optimizer;
mod learner;
pub mod run;
mod trainer;
