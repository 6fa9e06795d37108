//! The paper's equations, one file each: pure functions of tensors and numbers.
//!
//! In reading order: [`advantage`] Eq. (2), [`kl_schedule`] Eq. (3), [`kl`] Eq. (5), [`objective`] Eq. (4).
//! Not here: rewards, Eq. (1) (`reward`); log-probabilities (`ops`); the loop that calls these (`train`);
//! and no I/O, clock, logging or configuration of any kind.

pub mod advantage;
pub mod kl;
pub mod kl_schedule;
pub mod objective;
