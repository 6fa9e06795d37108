//! Self-attention on a packed stream on a GPU, from its projections to its output, as one part of a layer.
//! Not here: the kernels and products (`othink_cuda`), what it is composed of elsewhere (`self_attention`), candle's tape
//! (`cuda_tape`).

use std::sync::Arc;

use candle_core::{Result, Shape, Tensor};
use othink_cuda::{Array, AttentionBackward, Output, Qkv, Tiles};

use super::cuda_linear::CudaLinear;
use super::cuda_tape::Map;
use super::linear::LinearPart;
use super::rotary::Angles;
use super::segments::Segments;
use super::self_attention::AttentionMaps;

/// Self-attention within the segments of one stream.
pub(super) struct SelfAttention {
    maps: AttentionMaps,
    angles: Angles,
    tiles: Arc<Tiles>,
}

/// What the backward pass needs besides its input.
pub(super) struct Kept {
    /// Rotated, `[T, heads, head_dim]`.
    q: Tensor,
    /// Rotated, `[T, kv_heads, head_dim]`.
    k: Tensor,
    /// As `k`.
    v: Tensor,
    /// What attention made of them, as `q`.
    attended: Tensor,
    /// `[heads, T]` f32, attention's log-sum-exp.
    lse: Tensor,
}

impl SelfAttention {
    /// - `maps`: with heads of a size that the kernels take
    pub(super) fn new(
        maps: &AttentionMaps,
        angles: &Angles,
        segments: &Segments,
        like: &Tensor,
    ) -> Result<Self> {
        let tiles = segments.tiles(like.device(), maps.q.len() / maps.k.len())?;
        Ok(Self { maps: maps.clone(), angles: angles.clone(), tiles })
    }

    fn heads(&self, part: &LinearPart, h: Array) -> Result<Output> {
        let heads = part.len() / self.maps.head_dim;
        let y = map(part).forward(h)?;
        let tokens = y.array()?.shape().dim(0)?;
        y.reshape(Shape::from((tokens, heads, self.maps.head_dim)))
    }

    /// Heads turned by their tokens' angles, or back.
    fn turned(&self, heads: &Output, is_inverse: bool) -> Result<Output> {
        let [cos, sin] = self.angles.parts().map(Array::of);
        othink_cuda::rotary(heads.array()?, cos?, sin?, is_inverse)
    }
}

fn map(part: &LinearPart) -> CudaLinear<'_> {
    CudaLinear::part(&part.parameters, part.rows.clone())
}

impl Map for SelfAttention {
    type Kept = Kept;

    fn name(&self) -> &'static str {
        "self_attention"
    }

    fn forward(&self, h: Array, keep: impl FnOnce(Kept)) -> Result<Output> {
        let turned = |part: &LinearPart| self.turned(&self.heads(part, h)?, false);
        let (q, k) = (turned(&self.maps.q)?, turned(&self.maps.k)?);
        let v = self.heads(&self.maps.v, h)?;
        let x = Qkv { q: q.array()?, k: k.array()?, v: v.array()? };
        let attended = othink_cuda::attention(x, &self.tiles)?;
        let [q, k, v, lse] = [q, k, v, attended.lse].map(Output::into_tensor);
        let attended = attended.out.into_tensor();
        keep(Kept { q, k, v, attended: attended.clone(), lse });
        CudaLinear::of(&self.maps.o)?.forward(Array::of(&attended.flatten_from(1)?)?)
    }

    fn backward(&self, h: Array, kept: &Kept, grad: Array) -> Result<Output> {
        let Kept { q, k, v, attended, lse } = kept;
        let attended_rows = attended.flatten_from(1)?;
        let d_attended =
            CudaLinear::of(&self.maps.o)?.backward(Array::of(&attended_rows)?, grad)?;
        let d_attended = d_attended.reshape(attended.shape().clone())?;
        let [dq, dk, dv] = othink_cuda::attention_backward(
            AttentionBackward {
                x: Qkv { q: Array::of(q)?, k: Array::of(k)?, v: Array::of(v)? },
                out: Array::of(attended)?,
                lse: Array::of(lse)?,
                grad: d_attended.array()?,
            },
            &self.tiles,
        )?;
        drop(d_attended);
        // A rotation's gradient is the rotation back.
        let (dq, dk) = (self.turned(&dq, true)?, self.turned(&dk, true)?);
        let AttentionMaps { q, k, v, .. } = &self.maps;
        let rows = |heads: Output, part: &LinearPart| {
            let tokens = heads.array()?.shape().dim(0)?;
            heads.reshape(Shape::from((tokens, part.len())))
        };
        let dh = map(q).backward(h, rows(dq, q)?.array()?)?;
        let dh = map(k).backward_added(h, rows(dk, k)?.array()?, dh)?;
        map(v).backward_added(h, rows(dv, v)?.array()?, dh)
    }
}
