//! Attention within the segments of a packed stream on a GPU.
//! Not here: the kernels (the crate `othink-cuda`).

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CudaStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use othink_cuda::{Array, AttentionBackward, Qkv, Tiles};

use super::super::segments::Segments;

/// See [`super::segment_attention`]; all in bf16, with heads of a size that the kernels take.
///
/// # Errors
/// The device has no memory for it.
pub(super) fn segment_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    segments: &Segments,
) -> Result<Tensor> {
    let tiles = segments.tiles(q.device(), q.dim(1)? / k.dim(1)?)?;
    let op = Attention { tiles, lse: OnceLock::new() };
    q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, op)
}

struct Attention {
    tiles: Arc<Tiles>,
    /// `[heads, T]` f32: what the backward pass needs besides the output.
    lse: OnceLock<Tensor>,
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "segment_attention"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        bail!("segment_attention: these kernels are of a GPU")
    }

    fn cuda_fwd(
        &self,
        q: &CudaStorage,
        q_layout: &Layout,
        k: &CudaStorage,
        k_layout: &Layout,
        v: &CudaStorage,
        v_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let x = Qkv {
            q: Array::of_storage(q, q_layout)?,
            k: Array::of_storage(k, k_layout)?,
            v: Array::of_storage(v, v_layout)?,
        };
        let attended = othink_cuda::attention(x, &self.tiles)?;
        // The op runs forward once; a second run would find the same values here.
        self.lse.get_or_init(|| attended.lse.into_tensor());
        Ok(attended.out.into_parts())
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        out: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let Some(lse) = self.lse.get() else { bail!("segment_attention: backward before forward") };
        let grad = grad.contiguous()?;
        let x = Qkv { q: Array::of(q)?, k: Array::of(k)?, v: Array::of(v)? };
        let (out, lse, grad) = (Array::of(out)?, Array::of(lse)?, Array::of(&grad)?);
        let saved = AttentionBackward { x, out, lse, grad };
        let gradients = othink_cuda::attention_backward(saved, &self.tiles)?;
        let [dq, dk, dv] = gradients.map(|gradient| Some(gradient.into_tensor()));
        Ok((dq, dk, dv))
    }
}
