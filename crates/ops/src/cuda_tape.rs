//! A part of a layer on a GPU as one operation on candle's tape: its only edge is its input, so that inside nothing is filled
//! with zeros and added to, as the tape does for every edge, and it keeps no activation that is cheaper to compute again.
//! Not here: the parts (`cuda_attention`, `cuda_mlp`).

use std::sync::OnceLock;

use candle_core::{CpuStorage, CudaStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use othink_cuda::{Array, Output};

use super::norm::NormParameters;

/// A map of rows in bf16.
pub(super) trait Map: Send + Sync + 'static {
    /// What its backward pass needs besides its input.
    type Kept: Send + Sync;

    /// How it is called in errors.
    fn name(&self) -> &'static str;

    /// - `h`: `[T, in]`; returns `[T, out]`
    /// - `keep`: is given what the backward pass needs as soon as that is there, and drops it where there will be none
    fn forward(&self, h: Array, keep: impl FnOnce(Self::Kept)) -> Result<Output>;

    /// The gradient to `h`; those of trained parameters go to their buffers.
    fn backward(&self, h: Array, kept: &Self::Kept, grad: Array) -> Result<Output>;
}

/// `map(h)`.
///
/// # Errors
/// The map's own.
pub(super) fn apply<M: Map>(h: &Tensor, map: M) -> Result<Tensor> {
    on_tape(h, map, None)
}

/// `x + map(norm(x))`. The norm's output is computed again for the backward pass.
///
/// # Errors
/// The map's own, and those of a norm.
pub(super) fn residual<M: Map>(x: &Tensor, norm: &NormParameters, map: M) -> Result<Tensor> {
    on_tape(x, map, Some(norm.clone()))
}

fn on_tape<M: Map>(x: &Tensor, map: M, norm: Option<NormParameters>) -> Result<Tensor> {
    let kept = x.track_op().then(OnceLock::new);
    x.contiguous()?.apply_op1(OneOperation { map, norm, kept })
}

struct OneOperation<M: Map> {
    map: M,
    /// That of a residual connection around the map, where there is one.
    norm: Option<NormParameters>,
    /// Until the tape is dropped; no place for it where no tape is made.
    kept: Option<OnceLock<M::Kept>>,
}

impl<M: Map> CustomOp1 for OneOperation<M> {
    fn name(&self) -> &'static str {
        self.map.name()
    }

    fn cpu_fwd(&self, _x: &CpuStorage, _layout: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("{}: a GPU's kernels were given an array on the CPU", self.name())
    }

    fn cuda_fwd(&self, x: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let x = Array::of_storage(x, layout)?;
        let keep = |made| match &self.kept {
            // The operation runs forward once; a second run would find the same values here.
            Some(kept) => drop(kept.set(made)),
            None => drop(made),
        };
        let out = match &self.norm {
            None => self.map.forward(x, keep)?,
            Some(norm) => {
                let h = norm.forward_cuda(x)?;
                let y = self.map.forward(h.array()?, keep)?;
                drop(h);
                othink_cuda::add(x, y.array()?)?
            }
        };
        Ok(out.into_parts())
    }

    fn bwd(&self, x: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let Some(kept) = self.kept.as_ref().and_then(OnceLock::get) else {
            bail!("{}: backward before forward", self.name())
        };
        let grad = grad.contiguous()?;
        let (x, grad) = (Array::of(x)?, Array::of(&grad)?);
        let dx = match &self.norm {
            None => self.map.backward(x, kept, grad)?,
            Some(norm) => {
                let h = norm.forward_cuda(x)?;
                let dh = self.map.backward(h.array()?, kept, grad)?;
                drop(h);
                norm.backward_cuda(x, dh.array()?, Some(grad))?
            }
        };
        Ok(Some(dx.into_tensor()))
    }
}
