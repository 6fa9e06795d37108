//! The trainer: updates of a run, from the prompts to the step.
//!
//! Reading order: a run from its first write to its end ([`run`]), what it needs ([`setup`], [`settings`]), its plan
//! ([`plan`]), what moves (`learner`), the loop (`trainer`) with its stages in their order: [`questions`],
//! [`rollouts`], [`reference`](mod@reference), [`policy_step`] or [`supervised_step`] over [`micro_batch`]es,
//! [`optimizer`]; what a person should look at ([`health`]).
//! Not here: the folder and what is written into it (`run_folder`), the equations (`grpo`), the optimiser's arithmetic
//! (`optim`), model files (`model`).

pub mod error;

pub mod run;

pub mod setup;

pub mod settings;

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

pub mod health;
