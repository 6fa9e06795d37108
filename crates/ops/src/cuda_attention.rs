//! Self-attention on a packed stream on a GPU, from its projections to its output, as one part of a layer.
//! Not here: the kernels and products (`othink_cuda`), what it is composed of elsewhere (`self_attention`), candle's tape
//! (`cuda_tape`).

use std::sync::Arc;

use candle_core::{Error, Result, Shape, Tensor};
use othink_cuda::{Array, AttentionBackward, Output, Qkv, Tiles};

use super::cuda_linear::CudaLinear;
use super::cuda_tape::Map;
use super::linear::LinearPart;
use super::norm::NormParameters;
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
    /// `[T, heads, head_dim]`, rotated; where heads have norms, before these, which cost little to compute again.
    q: Tensor,
    /// Likewise, `[T, kv_heads, head_dim]`.
    k: Tensor,
    /// `[T, kv_heads, head_dim]`
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
    fn turned(&self, heads: Array, is_inverse: bool) -> Result<Output> {
        let [cos, sin] = self.angles.parts().map(Array::of);
        othink_cuda::rotary(heads, cos?, sin?, is_inverse)
    }

    fn norms(&self) -> [Option<&NormParameters>; 2] {
        let norms = self.maps.head_norms.as_ref();
        [norms.map(|norms| &norms.q), norms.map(|norms| &norms.k)]
    }

    /// Heads normalised, where they have a norm, and turned.
    fn placed(&self, heads: Array, norm: Option<&NormParameters>) -> Result<Output> {
        match norm {
            Some(norm) => self.turned(norm.forward_cuda(heads)?.array()?, false),
            None => self.turned(heads, false),
        }
    }

    /// The gradient to heads, from that to what [`Self::placed`] made of them.
    fn placed_backward(
        &self,
        heads: &Tensor,
        norm: Option<&NormParameters>,
        grad: &Output,
    ) -> Result<Output> {
        // A rotation's gradient is the rotation back.
        let grad = self.turned(grad.array()?, true)?;
        match norm {
            Some(norm) => norm.backward_cuda(Array::of(heads)?, grad.array()?, None),
            None => Ok(grad),
        }
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
        let [q_norm, k_norm] = self.norms();
        let heads = |part, norm| {
            let heads = self.heads(part, h)?;
            Ok::<_, Error>((self.placed(heads.array()?, norm)?, heads))
        };
        let ((q, q_heads), (k, k_heads)) =
            (heads(&self.maps.q, q_norm)?, heads(&self.maps.k, k_norm)?);
        let v = self.heads(&self.maps.v, h)?;
        let x = Qkv { q: q.array()?, k: k.array()?, v: v.array()? };
        let attended = othink_cuda::attention(x, &self.tiles)?;
        let (q, k) = if q_norm.is_some() { (q_heads, k_heads) } else { (q, k) };
        let [q, k, v, lse] = [q, k, v, attended.lse].map(Output::into_tensor);
        let attended = attended.out.into_tensor();
        keep(Kept { q, k, v, attended: attended.clone(), lse });
        CudaLinear::of(&self.maps.o)?.forward(Array::of(&attended.flatten_from(1)?)?)
    }

    fn backward(&self, h: Array, kept: &Kept, grad: Array) -> Result<Output> {
        let Kept { q: q_heads, k: k_heads, v, attended, lse } = kept;
        let [q_norm, k_norm] = self.norms();
        let again = |heads: &Tensor, norm: Option<&NormParameters>| {
            norm.map(|_| self.placed(Array::of(heads)?, norm).map(Output::into_tensor)).transpose()
        };
        let (q, k) = (again(q_heads, q_norm)?, again(k_heads, k_norm)?);
        let (q, k) = (q.as_ref().unwrap_or(q_heads), k.as_ref().unwrap_or(k_heads));
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
        let dq = self.placed_backward(q_heads, q_norm, &dq)?;
        let dk = self.placed_backward(k_heads, k_norm, &dk)?;
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
