//! End-to-end tests, in one binary because each further one would link candle again.
//!
//! `cli` runs the program and compares what it prints; `tidy` holds the house rules of the source.
//! Not here: tests of a module's own claims, which stand beside its code.

mod cli;
mod golden;
mod parity;
mod tidy;
mod training_parity;
