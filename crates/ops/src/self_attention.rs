//! Self-attention of a layer: projections to heads, rotation, attention, projection back.
//! Not here: which token sees which (`segments`, `cached_attention`), the residual connection around it (`residual`).

use candle_core::{Result, Tensor};

use super::linear::{LinearParameters, LinearPart, Product, linear, linear_heads};
use super::rotary::{Angles, rotary};

/// The maps of self-attention.
#[derive(Debug, Clone)]
pub struct AttentionMaps {
    /// To queries, `heads * head_dim` outputs.
    pub q: LinearPart,
    /// To keys, `kv_heads * head_dim` outputs.
    pub k: LinearPart,
    /// To values, as many as keys.
    pub v: LinearPart,
    /// `[hidden, heads * head_dim]`
    pub o: LinearParameters,
    /// Elements of a head.
    pub head_dim: usize,
}

/// Queries, keys and values of a layer's tokens, rotated: `[T, heads, head_dim]` and twice
/// `[T, kv_heads, head_dim]`.
#[derive(Debug)]
pub struct Qkv {
    /// Queries.
    pub q: Tensor,
    /// Keys.
    pub k: Tensor,
    /// Values.
    pub v: Tensor,
}

/// `o(attend(rotary(q(h)), rotary(k(h)), v(h)))`, in which `attend` is all by which tokens see each other.
///
/// - `h`: `[T, hidden]` in the run's dtype; `attend` returns the shape of its queries
/// - returns `[T, hidden]`. Gradients to `h` and to the maps' parameters.
///
/// # Errors
/// Shapes or dtypes do not fit, or `attend`'s own.
pub fn self_attention(
    h: &Tensor,
    maps: &AttentionMaps,
    angles: &Angles,
    product: Product,
    attend: impl FnOnce(Qkv) -> Result<Tensor>,
) -> Result<Tensor> {
    let heads = |part: &LinearPart| linear_heads(h, part, maps.head_dim, product);
    let (q, k) = (rotary(&heads(&maps.q)?, angles)?, rotary(&heads(&maps.k)?, angles)?);
    let attended = attend(Qkv { q, k, v: heads(&maps.v)? })?;
    linear(&attended, &maps.o.weight, maps.o.bias.as_ref(), product)
}
