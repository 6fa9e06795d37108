//! The MLPs of a layer: the decoder's, which is gated, and the vision tower's.
//! Not here: their maps and activations (`linear`, `swiglu`, `gelu`), which they are composed of; in bf16 on a GPU an MLP is
//! one operation (`cuda_tape`), and with what is around it in a layer (`residual`) on the CPU too (`cpu_tape`).

use candle_core::{Result, Tensor};

#[cfg(feature = "cuda")]
use super::cuda_tape;
use super::gelu::Gelu;
use super::linear::{LinearParameters, Product, linear};
use super::path::Path;
use super::swiglu::swiglu;

/// The maps of a gated MLP.
#[derive(Debug, Clone)]
pub struct GatedMaps {
    /// `[wide, hidden]`; its output goes through `silu`.
    pub gate: LinearParameters,
    /// `[wide, hidden]`
    pub up: LinearParameters,
    /// `[hidden, wide]`
    pub down: LinearParameters,
}

/// `down(silu(gate(h)) * up(h))`, the MLP with SwiGLU (Shazeer 2020), composed of its maps.
///
/// - `h`: `[T, hidden]` in the run's dtype
/// - returns `[T, hidden]`. Gradients to `h` and to the maps' parameters.
///
/// # Errors
/// Shapes or dtypes do not fit.
pub(super) fn gated_mlp(h: &Tensor, maps: &GatedMaps, product: Product) -> Result<Tensor> {
    let gated = swiglu(&linear(h, &maps.gate, product)?, &linear(h, &maps.up, product)?)?;
    linear(&gated, &maps.down, product)
}

/// The maps of an MLP with an activation between them.
#[derive(Debug, Clone)]
pub struct MlpMaps {
    /// `[wide, hidden]`
    pub first: LinearParameters,
    /// The form of GELU in the middle.
    pub activation: Gelu,
    /// `[out, wide]`
    pub second: LinearParameters,
}

/// `second(gelu(first(h)))`.
///
/// - `h`: `[T, hidden]` in the run's dtype
/// - returns `[T, out]`. Gradients to `h` and to the maps' parameters; none is computed for a frozen one, nor for an `h`
///   that nothing tracks.
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn mlp(h: &Tensor, maps: &MlpMaps, product: Product) -> Result<Tensor> {
    match Path::of(h) {
        #[cfg(feature = "cuda")]
        Path::Cuda => cuda_tape::apply(h, maps.clone()),
        _ => {
            let h = maps.activation.apply(&linear(h, &maps.first, product)?)?;
            linear(&h, &maps.second, product)
        }
    }
}
