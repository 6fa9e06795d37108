//! The trainer: updates, a run's folder, checkpoints, metrics.
//!
//! Reading order: a run from its first write to its end ([`run`]), what it needs ([`setup`]) and measures itself on ([`evaluation`]), its plan ([`plan`]), what
//! moves (`learner`), the loop (`trainer`) with its stages in their order: [`questions`],
//! [`rollouts`], [`reference`](mod@reference), [`policy_step`] or [`supervised_step`] over [`micro_batch`]es, [`optimizer`]. Then the
//! folder and its lock ([`run_folder`]), what is written into it as the run goes ([`records`],
//! [`metrics`], [`json_lines`], [`tensorboard`]), what a run is resumed from ([`checkpoint`]), and what a person sees
//! and does meanwhile ([`progress`], [`health`], [`interrupt`]).
//! Not here: the equations (`grpo`), the optimiser's arithmetic (`optim`), model files (`model`).

pub mod error;

pub mod run;

pub mod setup;

pub mod evaluation;

pub mod plan;

mod learner;

mod trainer;

pub mod questions;

pub mod rollouts;

pub mod reference;

pub mod policy_step;

pub mod supervised_step;

pub mod micro_batch;

pub mod optimizer;

pub mod run_folder;

pub mod records;

pub mod metrics;

pub mod json_lines;

pub mod tensorboard;

pub mod checkpoint;

mod crc32;
mod durable;
mod manifest;

pub mod progress;

pub mod health;

pub mod interrupt;
