//! The MLPs of a layer on the CPU, whose activations are computed again for the backward pass.
//! Not here: what an MLP is (`mlp`), its maps and activations (`linear`, `swiglu`, `gelu`), candle's tape (`cpu_tape`).

use candle_core::{Result, Tensor};

use super::add::add;
use super::cpu_tape::Map;
use super::linear::{Product, linear, linear_backward};
use super::mlp::{GatedMaps, MlpMaps};
use super::swiglu::{swiglu, swiglu_backward};

impl Map for GatedMaps {
    /// The outputs of `gate` and `up`, `[T, wide]` each.
    type Kept = [Tensor; 2];

    fn name(&self) -> &'static str {
        "gated_mlp"
    }

    fn forward(&self, h: &Tensor) -> Result<(Tensor, Self::Kept)> {
        let [gate, up] = [&self.gate, &self.up].map(|map| linear(h, map, Product::Blocked));
        let (gate, up) = (gate?, up?);
        let y = linear(&swiglu(&gate, &up)?, &self.down, Product::Blocked)?;
        Ok((y, [gate, up]))
    }

    fn backward(&self, h: &Tensor, [gate, up]: &Self::Kept, grad: &Tensor) -> Result<Tensor> {
        let d_gated = linear_backward(&swiglu(gate, up)?, &self.down, grad)?;
        let (d_gate, d_up) = swiglu_backward(gate, up, &d_gated)?;
        drop(d_gated);
        let dh = linear_backward(h, &self.gate, &d_gate)?;
        drop(d_gate);
        add(&dh, &linear_backward(h, &self.up, &d_up)?)
    }
}

impl Map for MlpMaps {
    /// The output of `first`, `[T, wide]`.
    type Kept = Tensor;

    fn name(&self) -> &'static str {
        "mlp"
    }

    fn forward(&self, h: &Tensor) -> Result<(Tensor, Self::Kept)> {
        let wide = linear(h, &self.first, Product::Blocked)?;
        let y = linear(&self.activation.apply(&wide)?, &self.second, Product::Blocked)?;
        Ok((y, wide))
    }

    fn backward(&self, h: &Tensor, wide: &Self::Kept, grad: &Tensor) -> Result<Tensor> {
        let activated = self.activation.apply(wide)?;
        let d_activated = linear_backward(&activated, &self.second, grad)?;
        drop(activated);
        let d_wide = self.activation.backward(wide, &d_activated)?;
        drop(d_activated);
        linear_backward(h, &self.first, &d_wide)
    }
}
