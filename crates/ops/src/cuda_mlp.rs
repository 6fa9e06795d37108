//! The MLPs of a layer on a GPU, whose activations are computed again for the backward pass.
//! Not here: the kernels and products (`othink_cuda`), what an MLP is (`mlp`), candle's tape (`cuda_tape`).

use candle_core::{Result, Tensor};
use othink_cuda::{Array, Output};

use super::cuda_linear::CudaLinear;
use super::cuda_tape::Map;
use super::mlp::{GatedMaps, MlpMaps};

impl Map for GatedMaps {
    /// The outputs of `gate` and `up`, `[T, wide]` each.
    type Kept = [Tensor; 2];

    fn name(&self) -> &'static str {
        "gated_mlp"
    }

    fn forward(&self, h: Array, keep: impl FnOnce(Self::Kept)) -> Result<Output> {
        let gate = CudaLinear::of(&self.gate)?.forward(h)?;
        let up = CudaLinear::of(&self.up)?.forward(h)?;
        let gated = othink_cuda::swiglu(gate.array()?, up.array()?)?;
        keep([gate.into_tensor(), up.into_tensor()]); // before the next product needs memory
        CudaLinear::of(&self.down)?.forward(gated.array()?)
    }

    fn backward(&self, h: Array, [gate, up]: &Self::Kept, grad: Array) -> Result<Output> {
        let (gate, up) = (Array::of(gate)?, Array::of(up)?);
        let gated = othink_cuda::swiglu(gate, up)?;
        let d_gated = CudaLinear::of(&self.down)?.backward(gated.array()?, grad)?;
        drop(gated);
        let [d_gate, d_up] = othink_cuda::swiglu_backward(gate, up, d_gated.array()?)?;
        drop(d_gated);
        let dh = CudaLinear::of(&self.gate)?.backward(h, d_gate.array()?)?;
        drop(d_gate);
        CudaLinear::of(&self.up)?.backward_added(h, d_up.array()?, dh)
    }
}

impl Map for MlpMaps {
    /// The output of `first`, `[T, wide]`.
    type Kept = Tensor;

    fn name(&self) -> &'static str {
        "mlp"
    }

    fn forward(&self, h: Array, keep: impl FnOnce(Self::Kept)) -> Result<Output> {
        let wide = CudaLinear::of(&self.first)?.forward(h)?;
        let activated = othink_cuda::activate(wide.array()?, self.activation.into())?;
        keep(wide.into_tensor());
        CudaLinear::of(&self.second)?.forward(activated.array()?)
    }

    fn backward(&self, h: Array, wide: &Self::Kept, grad: Array) -> Result<Output> {
        let (wide, activation) = (Array::of(wide)?, self.activation.into());
        let activated = othink_cuda::activate(wide, activation)?;
        let d_activated = CudaLinear::of(&self.second)?.backward(activated.array()?, grad)?;
        drop(activated);
        let d_wide = othink_cuda::activate_backward(wide, d_activated.array()?, activation)?;
        drop(d_activated);
        CudaLinear::of(&self.first)?.backward(h, d_wide.array()?)
    }
}
