//! Differentiable operations on packed rows, one file each.
//!
//! On CPU tensors of f32 and f64 an operation runs its own threaded kernel with its own backward pass;
//! everywhere else (CUDA, bf16, f16) it runs its [`plain`] composition of candle's differentiable
//! primitives, which is also what its kernel is tested against. Which of the two is decided by [`Path`],
//! and nowhere else.
//!
//! A crate of its own, compiled as one unit: a kernel's loop is vector code only where all that it calls is inlined
//! into it, iterators of the standard library included, and the program is built without link-time optimisation.
//! Not here: anything that depends on the model or the run.
#![expect(
    clippy::inline_always,
    reason = "a kernel's loop must be compiled inside `real::vectorized`"
)]

mod add;
mod backward;
mod cached_attention;
mod cpu_attention;
mod cpu_head;
mod cpu_mlp;
mod cpu_tape;
#[cfg(feature = "cuda")]
mod cuda_attention;
#[cfg(feature = "cuda")]
mod cuda_head;
#[cfg(feature = "cuda")]
mod cuda_linear;
#[cfg(feature = "cuda")]
mod cuda_mlp;
#[cfg(feature = "cuda")]
mod cuda_tape;
mod dropout;
mod gelu;
mod gradients;
mod linear;
mod low_rank;
mod matmul;
mod mlp;
mod norm;
mod parameter;
mod path;
mod philox;
pub mod plain;
mod plain_head;
mod real;
mod residual;
mod rotary;
mod row_product;
mod rows;
mod segment_attention;
mod segments;
mod self_attention;
mod swiglu;
mod token_logprob;

pub use add::add;
pub use backward::backward;
pub use cached_attention::{CachedSequence, cached_attention};
pub use cpu_head::head_numbers;
pub use dropout::Dropout;
pub use gelu::{Gelu, gelu_erf, gelu_tanh, quick_gelu};
pub use gradients::GradientArena;
pub use linear::{LinearParameters, LinearPart, Product, linear, linear_heads};
pub use low_rank::LowRank;
pub use mlp::{GatedMaps, MlpMaps, mlp};
pub use norm::{NormParameters, layer_norm, rms_norm};
pub use parameter::Parameter;
pub use path::Path;
pub use philox::{Philox, philox};
pub use residual::{residual, residual_attention, residual_gated_mlp, residual_mlp};
pub use rotary::{Angles, rotary};
pub use rows::{add_to_rows, select_rows};
pub use segment_attention::segment_attention;
pub use segments::{Group, Segments, Visibility};
pub use self_attention::{AttentionMaps, HeadNorms, Qkv, self_attention};
pub use swiglu::swiglu;
pub use token_logprob::{MAX_LOGITS, ROWS_ON_GPU, TokenLogprob, token_logprob};

#[cfg(test)]
mod tests;
