//! Self-attention of a layer on the CPU, of which the inputs of attention and its output are kept for the backward pass.
//! Not here: what self-attention is (`self_attention`), attention itself (`segment_attention`), candle's tape (`cpu_tape`).

use candle_core::{Result, Tensor};

use super::add::add;
use super::cpu_tape::Map;
use super::linear::{Product, linear, linear_backward, linear_heads, linear_heads_backward};
use super::norm::NormParameters;
use super::rotary::{Angles, rotary, rotary_backward};
use super::segment_attention::{Attention, HeadShape};
use super::segments::Segments;
use super::self_attention::{AttentionMaps, normalized};

/// Self-attention within the segments of a packed stream.
pub(super) struct SelfAttention {
    pub(super) maps: AttentionMaps,
    pub(super) angles: Angles,
    pub(super) segments: Segments,
}

pub(super) struct Kept {
    /// Queries and keys before their norms, where they have any.
    heads: Option<[Tensor; 2]>,
    /// What attention was given: queries, keys and values.
    qkv: [Tensor; 3],
    attention: Attention,
    /// `[T, heads, head_dim]`
    attended: Tensor,
}

impl Map for SelfAttention {
    type Kept = Kept;

    fn name(&self) -> &'static str {
        "self_attention"
    }

    fn forward(&self, h: &Tensor) -> Result<(Tensor, Kept)> {
        let AttentionMaps { q, k, v, o, head_dim, head_norms } = &self.maps;
        let [q, k, v] = [q, k, v].map(|part| linear_heads(h, part, *head_dim, Product::Blocked));
        let (mut q, mut k, v) = (q?, k?, v?);
        let mut heads = None;
        if let Some(norms) = head_norms {
            let normed = [normalized(&q, &norms.q)?, normalized(&k, &norms.k)?];
            heads = Some([q, k]);
            [q, k] = normed;
        }
        let qkv = [rotary(&q, &self.angles)?, rotary(&k, &self.angles)?, v];
        let shape = HeadShape::of(qkv.each_ref(), &self.segments)?;
        let attention = Attention::new(shape, &self.segments);
        let attended = qkv[0].apply_op3_no_bwd(&qkv[1], &qkv[2], &attention)?;
        let y = linear(&attended, o, Product::Blocked)?;
        Ok((y, Kept { heads, qkv, attention, attended }))
    }

    fn backward(&self, h: &Tensor, kept: &Kept, grad: &Tensor) -> Result<Tensor> {
        let AttentionMaps { q, k, v, o, head_norms, .. } = &self.maps;
        let d_attended = linear_backward(&kept.attended, o, grad)?;
        let [dq, dk, dv] =
            kept.attention.gradients(kept.qkv.each_ref(), &kept.attended, &d_attended)?;
        drop(d_attended);
        let dv = linear_heads_backward(h, v, &dv)?;
        let [mut dq, mut dk] =
            [rotary_backward(&dq, &self.angles)?, rotary_backward(&dk, &self.angles)?];
        if let (Some(norms), Some([q, k])) = (head_norms, &kept.heads) {
            dq = normalized_backward(q, &norms.q, &dq)?;
            dk = normalized_backward(k, &norms.k, &dk)?;
        }
        let dk = linear_heads_backward(h, k, &dk)?;
        add(&add(&dv, &dk)?, &linear_heads_backward(h, q, &dq)?)
    }
}

/// The gradient to the heads of [`normalized`].
fn normalized_backward(heads: &Tensor, norm: &NormParameters, grad: &Tensor) -> Result<Tensor> {
    let (tokens, n, head_dim) = heads.dims3()?;
    let [heads, grad] = [heads, grad].map(|x| x.reshape((tokens * n, head_dim)));
    norm.backward(&heads?, &grad?)?.reshape((tokens, n, head_dim))
}
