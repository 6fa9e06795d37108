//! The CUDA kernels of the program's operations, each with the function that launches it.
//!
//! A kernel takes and returns bf16, computes in f32, and gives the same bits every time: no atomics, sums in a fixed
//! order. A function here checks what it is given, so that a kernel never reads or writes beyond an array; it starts
//! the work and returns at once. All work runs on the device's one stream, in the order it was started.
//!
//! The only crate with unsafe code. Not here: the tape and which operation runs where (the crate of the operations).
#![expect(unsafe_code, reason = "launching kernels")]

mod activation;
mod array;
mod device;
mod gradients;
mod launch;
mod norm;
mod pieces;
mod reduce;
mod rotary;
mod rows;

pub use activation::{Activation, activate, activate_backward, swiglu, swiglu_backward};
pub use array::{Array, Output, Target};
pub use device::open;
pub use gradients::{accumulate, fill_with_zeros};
pub use norm::{NormGradients, norm, norm_backward};
pub use reduce::{accumulate_partials, accumulate_rows_sum};
pub use rotary::rotary;
pub use rows::{accumulate_rows, select_rows, select_rows_backward};
