//! The halves of a layer, `x + f(norm(x))`: residual connections with the norm inside (Xiong et al. 2020).
//! Not here: what `f` is (`self_attention`, `mlp`). On the CPU a half that is
//! tracked is one operation on candle's tape (`cpu_tape`), and in bf16 on a GPU every half (`cuda_tape`).

use candle_core::{Result, Tensor};

use super::add::add;
use super::cpu_attention;
use super::cpu_tape;
#[cfg(feature = "cuda")]
use super::cuda_attention::SelfAttention;
#[cfg(feature = "cuda")]
use super::cuda_tape;
use super::linear::Product;
use super::mlp::{GatedMaps, MlpMaps, gated_mlp, mlp};
use super::norm::NormParameters;
use super::path::Path;
use super::rotary::Angles;
use super::segment_attention::segment_attention;
use super::segments::Segments;
use super::self_attention::{AttentionMaps, Qkv, self_attention};

/// `x + f(norm(x))`.
///
/// - `x`: `[T, hidden]` in the run's dtype; `f` returns the shape of what it is given
///
/// # Errors
/// Shapes or dtypes do not fit, or `f`'s own.
pub fn residual(
    x: &Tensor,
    norm: &NormParameters,
    f: impl FnOnce(&Tensor) -> Result<Tensor>,
) -> Result<Tensor> {
    add(x, &f(&norm.apply(x)?)?)
}

/// [`residual`] around [`self_attention`] within the segments of a packed stream ([`segment_attention`]), many rows at a time.
///
/// In bf16 on a GPU the gradients to the norm's output are added up map by map and rounded each time.
///
/// - `x`: `[T, hidden]` in the run's dtype
/// - returns `[T, hidden]`. Gradients to `x` and to all parameters; none is computed for a frozen one.
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn residual_attention(
    x: &Tensor,
    norm: &NormParameters,
    maps: &AttentionMaps,
    angles: &Angles,
    segments: &Segments,
) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if Path::of(x) == Path::Cuda && othink_cuda::attention_takes(maps.head_dim) {
        let map = SelfAttention::new(maps, angles, segments, x)?;
        return cuda_tape::residual(x, norm, map);
    }
    if Path::of(x) == Path::Cpu && x.track_op() {
        let (maps, angles, segments) = (maps.clone(), angles.clone(), segments.clone());
        return cpu_tape::residual(
            x,
            norm,
            cpu_attention::SelfAttention { maps, angles, segments },
        );
    }
    let attend = |h: Qkv| segment_attention(&h.q, &h.k, &h.v, segments);
    residual(x, norm, |h| self_attention(h, maps, angles, Product::Blocked, attend))
}

/// [`residual`] around an MLP with SwiGLU (Shazeer 2020), `down(silu(gate(h)) * up(h))`.
///
/// In bf16 on a GPU the gradient to the norm's output is the sum of two products, of which the first is rounded before the second
/// is added to it. Shapes and gradients are those of [`residual_attention`].
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn residual_gated_mlp(
    x: &Tensor,
    norm: &NormParameters,
    maps: &GatedMaps,
    product: Product,
) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if Path::of(x) == Path::Cuda {
        return cuda_tape::residual(x, norm, maps.clone());
    }
    if Path::of(x) == Path::Cpu && x.track_op() && product == Product::Blocked {
        return cpu_tape::residual(x, norm, maps.clone());
    }
    residual(x, norm, |h| gated_mlp(h, maps, product))
}

/// [`residual`] around [`mlp()`]. Shapes and gradients are those of [`residual_attention`].
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn residual_mlp(
    x: &Tensor,
    norm: &NormParameters,
    maps: &MlpMaps,
    product: Product,
) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if Path::of(x) == Path::Cuda {
        return cuda_tape::residual(x, norm, maps.clone());
    }
    if Path::of(x) == Path::Cpu && x.track_op() && product == Product::Blocked {
        return cpu_tape::residual(x, norm, maps.clone());
    }
    residual(x, norm, |h| mlp(h, maps, product))
}
