//! The CUDA kernels of the program's operations, each with the function that launches it.
//!
//! A kernel takes and returns bf16, computes in f32, and gives the same bits every time: no atomics, sums in a fixed
//! order. A function here checks what it is given, so that a kernel never reads or writes beyond an array; it starts
//! the work and returns at once. All work runs on the device's one stream, in the order it was started.
//!
//! The only crate with unsafe code. Not here: the tape and which operation runs where (the crate of the operations).
#![expect(unsafe_code, reason = "launching kernels")]

mod array;
mod attention;
mod attention_tiles;
mod device;
mod launch;
mod norm;
mod reduce;

pub use array::{Array, Output, Target};
pub use attention::{
    Attended, AttentionBackward, Qkv, attention, attention_backward, attention_takes,
};
pub use attention_tiles::{Segment, Tiles};
pub use device::open;
pub use norm::{NormGradients, norm, norm_backward};
pub use reduce::{accumulate_partials, accumulate_rows_sum};
