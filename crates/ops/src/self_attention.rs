//! Self-attention of a layer: projections to heads, their norms where there are any, rotation, attention, projection back.
//! Not here: which token sees which (`segments`, `cached_attention`), the residual connection around it (`residual`).

use candle_core::{Result, Tensor};

use super::linear::{LinearParameters, LinearPart, Product, linear, linear_heads};
use super::norm::NormParameters;
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
    /// Norms of every head of queries and of keys before they are rotated.
    pub head_norms: Option<HeadNorms>,
}

/// Norms over the elements of a head (Dehghani et al. 2023), the same for all heads.
#[derive(Debug, Clone)]
pub struct HeadNorms {
    /// Of queries, `[head_dim]`.
    pub q: NormParameters,
    /// Of keys, `[head_dim]`.
    pub k: NormParameters,
}

/// A norm over the elements of every head, `[T, heads, head_dim]`.
pub(super) fn normalized(heads: &Tensor, norm: &NormParameters) -> Result<Tensor> {
    let (tokens, n, head_dim) = heads.dims3()?;
    norm.apply(&heads.reshape((tokens * n, head_dim))?)?.reshape((tokens, n, head_dim))
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

/// `o(attend(rotary(norm(q(h))), rotary(norm(k(h))), v(h)))`, without norms where there are none, in which `attend` is all by
/// which tokens see each other.
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
    let (mut q, mut k) = (heads(&maps.q)?, heads(&maps.k)?);
    if let Some(norms) = &maps.head_norms {
        (q, k) = (normalized(&q, &norms.q)?, normalized(&k, &norms.k)?);
    }
    let (q, k) = (rotary(&q, angles)?, rotary(&k, angles)?);
    let attended = attend(Qkv { q, k, v: heads(&maps.v)? })?;
    linear(&attended, &maps.o, product)
}
