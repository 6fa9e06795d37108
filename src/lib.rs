//! Post-training of vision-language models by reinforcement learning with verifiable rewards (GRPO-D).
//!
//! Modules in reading order. ARCHITECTURE.md has the table of which module may use which; no other module uses [`cli`].

pub mod limits;

pub mod input_file;
pub mod printable;

pub mod host;
pub mod program;
pub mod utc;

pub mod config;

pub mod hub;

pub mod data;
pub mod processor;

#[doc(inline)]
pub use othink_ops as ops;

pub mod model;

pub mod rng;

pub mod prefetch;

pub mod out_file;

pub mod rollout;

pub mod reward;

pub mod grpo;

pub mod optim;

pub mod eval;

pub mod run_folder;

pub mod identity;

pub mod interrupt;
pub mod progress;

pub mod train;

pub mod experiment;
pub mod report;

pub mod doctor;
pub mod gpu_check;

pub mod cli;
