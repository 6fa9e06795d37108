//! The MLPs of a layer: the decoder's, which is gated, and the vision tower's.
//! Not here: their maps and activations (`linear`, `swiglu`, `gelu`), which they are composed of except on a GPU, where an MLP
//! is one operation (`cuda_mlp`).

use candle_core::{Result, Tensor};

#[cfg(feature = "cuda")]
use super::cuda_mlp;
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

/// `down(silu(gate(h)) * up(h))`, the MLP with SwiGLU (Shazeer 2020).
///
/// On a GPU in bf16 all of it is one operation on the tape; the gradient to `h` is then the sum of two products, of which the
/// first is rounded to bf16 before the second is added to it.
///
/// - `h`: `[T, hidden]` in the run's dtype
/// - returns `[T, hidden]`. Gradients to `h` and to the maps' parameters; none is computed for a frozen one, nor for an `h`
///   that nothing tracks.
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn gated_mlp(h: &Tensor, maps: &GatedMaps, product: Product) -> Result<Tensor> {
    match Path::of(h) {
        #[cfg(feature = "cuda")]
        Path::Cuda => cuda_mlp::gated_mlp(h, maps),
        _ => {
            let gated = swiglu(&apply(&maps.gate, h, product)?, &apply(&maps.up, h, product)?)?;
            apply(&maps.down, &gated, product)
        }
    }
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
/// - returns `[T, out]`. Gradients as of [`gated_mlp`].
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn mlp(h: &Tensor, maps: &MlpMaps, product: Product) -> Result<Tensor> {
    match Path::of(h) {
        #[cfg(feature = "cuda")]
        Path::Cuda => cuda_mlp::mlp(h, maps),
        _ => {
            let h = maps.activation.apply(&apply(&maps.first, h, product)?)?;
            apply(&maps.second, &h, product)
        }
    }
}

fn apply(map: &LinearParameters, x: &Tensor, product: Product) -> Result<Tensor> {
    linear(x, &map.weight, map.bias.as_ref(), product)
}
