//! The optimiser: AdamW, learning-rate schedules, gradient clipping.
//!
//! In the order of an update: [`clip`] measures the gradients, [`lr_schedule`] gives the learning rate,
//! [`adamw`] moves the parameters.
//! Not here: gradients themselves and their accumulation (`train`); saving the state (`run_folder::checkpoint`).

pub mod adamw;
#[cfg(feature = "cuda")]
mod adamw_cuda;
mod adamw_fused;
pub mod clip;
pub mod lr_schedule;
