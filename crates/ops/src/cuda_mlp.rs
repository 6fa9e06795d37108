//! An MLP on a GPU as one operation on candle's tape, whose only edge is the MLP's input: inside, nothing is filled with zeros
//! and added to, as the tape does for every edge, and no activation is kept that is cheaper to compute again.
//! Not here: the kernels and products (`othink_cuda`), what an MLP is (`mlp`).

use std::sync::OnceLock;

use candle_core::{CpuStorage, CudaStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use othink_cuda::Array;

use super::cuda_linear::CudaLinear;
use super::mlp::{GatedMaps, MlpMaps};

/// See [`super::gated_mlp`].
///
/// # Errors
/// Shapes or dtypes do not fit.
pub(super) fn gated_mlp(h: &Tensor, maps: &GatedMaps) -> Result<Tensor> {
    let kept = h.track_op().then(OnceLock::new);
    h.contiguous()?.apply_op1(GatedMlp { maps: maps.clone(), kept })
}

/// See [`super::mlp()`].
///
/// # Errors
/// Shapes or dtypes do not fit.
pub(super) fn mlp(h: &Tensor, maps: &MlpMaps) -> Result<Tensor> {
    let kept = h.track_op().then(OnceLock::new);
    h.contiguous()?.apply_op1(Mlp { maps: maps.clone(), kept })
}

struct GatedMlp {
    maps: GatedMaps,
    /// The outputs of `gate` and `up`, `[T, wide]` each, until the tape is dropped; no place for them where no tape is made.
    kept: Option<OnceLock<[Tensor; 2]>>,
}

impl CustomOp1 for GatedMlp {
    fn name(&self) -> &'static str {
        "gated_mlp"
    }

    fn cpu_fwd(&self, _h: &CpuStorage, _layout: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("gated_mlp: a GPU's kernels were given an array on the CPU")
    }

    fn cuda_fwd(&self, h: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let h = Array::of_storage(h, layout)?;
        let gate = CudaLinear::of(&self.maps.gate)?.forward(h)?;
        let up = CudaLinear::of(&self.maps.up)?.forward(h)?;
        let gated = othink_cuda::swiglu(gate.array()?, up.array()?)?;
        match &self.kept {
            Some(kept) => {
                kept.get_or_init(|| [gate.into_tensor(), up.into_tensor()]);
            }
            None => drop([gate, up]), // before the next product needs memory
        }
        Ok(CudaLinear::of(&self.maps.down)?.forward(gated.array()?)?.into_parts())
    }

    fn bwd(&self, h: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let Some([gate, up]) = self.kept.as_ref().and_then(OnceLock::get) else {
            bail!("gated_mlp: backward before forward")
        };
        let grad = grad.contiguous()?;
        let [h, gate, up, grad] = [h, gate, up, &grad].map(Array::of);
        let (h, gate, up) = (h?, gate?, up?);
        let gated = othink_cuda::swiglu(gate, up)?;
        let d_gated = CudaLinear::of(&self.maps.down)?.backward(gated.array()?, grad?)?;
        drop(gated);
        let [d_gate, d_up] = othink_cuda::swiglu_backward(gate, up, d_gated.array()?)?;
        drop(d_gated);
        let dh = CudaLinear::of(&self.maps.gate)?.backward(h, d_gate.array()?)?;
        drop(d_gate);
        let dh = CudaLinear::of(&self.maps.up)?.backward_added(h, d_up.array()?, dh)?;
        Ok(Some(dh.into_tensor()))
    }
}

struct Mlp {
    maps: MlpMaps,
    /// The output of `first`, `[T, wide]`, until the tape is dropped; no place for it where no tape is made.
    kept: Option<OnceLock<Tensor>>,
}

impl CustomOp1 for Mlp {
    fn name(&self) -> &'static str {
        "mlp"
    }

    fn cpu_fwd(&self, _h: &CpuStorage, _layout: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("mlp: a GPU's kernels were given an array on the CPU")
    }

    fn cuda_fwd(&self, h: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let wide = CudaLinear::of(&self.maps.first)?.forward(Array::of_storage(h, layout)?)?;
        let activated = othink_cuda::activate(wide.array()?, self.maps.activation.into())?;
        match &self.kept {
            Some(kept) => {
                kept.get_or_init(|| wide.into_tensor());
            }
            None => drop(wide),
        }
        Ok(CudaLinear::of(&self.maps.second)?.forward(activated.array()?)?.into_parts())
    }

    fn bwd(&self, h: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let Some(wide) = self.kept.as_ref().and_then(OnceLock::get) else {
            bail!("mlp: backward before forward")
        };
        let grad = grad.contiguous()?;
        let (wide, activation) = (Array::of(wide)?, self.maps.activation.into());
        let activated = othink_cuda::activate(wide, activation)?;
        let second = CudaLinear::of(&self.maps.second)?;
        let d_activated = second.backward(activated.array()?, Array::of(&grad)?)?;
        drop(activated);
        let d_wide = othink_cuda::activate_backward(wide, d_activated.array()?, activation)?;
        drop(d_activated);
        let dh = CudaLinear::of(&self.maps.first)?.backward(Array::of(h)?, d_wide.array()?)?;
        Ok(Some(dh.into_tensor()))
    }
}
