//! The trainer: updates, checkpoints, metrics.
