//! The optimiser: AdamW, learning-rate schedules, gradient clipping.
//!
//! In the order of an update: [`clip`] measures the gradients, [`lr_schedule`] gives the learning rate,
//! [`adamw`] moves the parameters; [`memory`] is where it keeps what it knows of them.
//! Not here: gradients themselves and their accumulation (`train`); saving the state (`run_folder::checkpoint`).

pub mod adamw;
#[cfg(feature = "cuda")]
mod adamw_cuda;
mod adamw_fused;
pub mod clip;
#[cfg(feature = "cuda")]
mod host_memory;
#[cfg(not(feature = "cuda"))]
#[path = "no_host_memory.rs"]
mod host_memory;
pub mod lr_schedule;
pub mod memory;
mod rounding;
