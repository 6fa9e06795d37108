//! The CUDA kernels of the program's operations, each with the function that launches it.
//!
//! An operation's kernel takes and returns bf16 and computes in f32; the optimiser's take f32. All give the same bits every
//! time: sums run in a fixed order, and no number is added to atomically. A function here checks what it is given, so that a kernel never reads or writes
//! beyond an array; it starts the work and returns at once. All work runs on the device's one stream, in the order it was
//! started.
//!
//! The only crate with unsafe code. Not here: the tape and which operation runs where (the crate of the operations).
#![expect(unsafe_code, reason = "launching kernels")]

mod activation;
mod adamw;
mod adamw_rounded;
mod add;
mod array;
mod attention;
mod attention_tiles;
mod decode;
mod device;
mod dropout;
mod gradients;
mod head;
mod host;
mod launch;
mod lent;
mod libraries;
mod linear;
mod low_rank;
mod memory;
mod norm;
mod philox;
mod pieces;
mod product;
mod reduce;
mod rotary;
mod row_groups;
mod rows;
mod squares;
mod table;

pub use activation::{Activation, activate, activate_backward, swiglu, swiglu_backward};
pub use adamw::{AdamWArrays, AdamWRule, AdamWUpdate, adamw};
pub use adamw_rounded::{RoundedAdamWUpdate, adamw_rounded};
pub use add::add;
pub use array::{Array, Output, Target};
pub use attention::{
    Attended, AttentionBackward, Qkv, attention, attention_backward, attention_takes,
};
pub use attention_tiles::{Segment, Tiles};
pub use decode::{
    DeviceSampler, Drawing, DrawnToken, Finish, Graph, HeadShape, KeptTokens, NewestTokens, RowMap,
    RowStates, TokenRing, Workspace, decode_attention, row_product,
};
pub use device::open;
pub use dropout::Dropout;
pub use gradients::{accumulate, fill_with_zeros};
pub use head::{Head, HeadStatistics, token_logprob, token_logprob_backward};
pub use host::HostArray;
pub use lent::with_lent;
pub use libraries::{MissingLibrary, load};
pub use linear::{LinearGradients, linear, linear_backward, linear_backward_added};
pub use low_rank::{LowRank, LowRankGradients, low_rank, low_rank_backward};
pub use memory::{allocated_bytes, is_out_of_memory, kept_bytes, peak_bytes, reset_peak};
pub use norm::{NormBackward, NormGradients, norm, norm_backward, norm_into};
pub use philox::PhiloxStream;
pub use reduce::{accumulate_partials, accumulate_rows_sum};
pub use rotary::rotary;
pub use rows::{accumulate_rows, select_rows, select_rows_backward};
pub use squares::sums_of_squares;
