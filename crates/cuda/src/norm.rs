//! RMSNorm and LayerNorm with their gradients.
//! Not here: where a weight's gradient is kept.

use candle_core::{DType, Result, bail};

use super::array::{Array, Output, Target};
use super::launch::{Grid, Kernel, kernel, launch, launch_early};
use super::reduce::{accumulate_partials, parts};

const NORM: Kernel = kernel!("norm", "norm_forward");

/// Threads of a block of the forward pass; each takes eight columns at a time.
const THREADS: usize = 128;
/// Warps of a block of the backward pass (`WARPS` in `kernels/norm.cu`).
const BACKWARD_WARPS: usize = 6;

/// The kernel of the backward pass for rows of this width.
fn backward_kernel(width: usize, is_centred: bool) -> Result<Kernel> {
    // What a warp can hold: `PER_LANE` vectors of eight numbers in each of 32 lanes.
    let of_warp = if is_centred { 5 * 32 * 8 } else { 6 * 32 * 8 };
    let most = BACKWARD_WARPS * of_warp;
    if width > most {
        bail!("a norm's gradient has {width} columns, at most {most} are possible");
    }
    Ok(match (is_centred, width <= of_warp) {
        (false, true) => kernel!("norm", "rms_norm_backward_narrow"),
        (false, false) => kernel!("norm", "rms_norm_backward_wide"),
        (true, true) => kernel!("norm", "layer_norm_backward_narrow"),
        (true, false) => kernel!("norm", "layer_norm_backward_wide"),
    })
}

/// RMSNorm, or LayerNorm where there is a bias.
///
/// - `x`: `[..., width]`; `weight`, `bias`: `[width]`; all bf16, `width` a multiple of 8
/// - returns the shape of `x`
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn norm(x: Array, weight: Array, bias: Option<Array>, eps: f64) -> Result<Output> {
    let out = Output::new(x.device(), x.shape(), DType::BF16)?;
    norm_into(x, weight, bias, eps, out.array()?)?;
    Ok(out)
}

/// [`norm`] into an array that is there.
///
/// - `out`: the shape of `x`, bf16, overwritten
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn norm_into(x: Array, weight: Array, bias: Option<Array>, eps: f64, out: Array) -> Result<()> {
    let (rows, width) = checked(&x)?;
    let weight = weight.require("a norm's weight", DType::BF16, &[width])?;
    let bias = bias.map(|bias| bias.require("a norm's bias", DType::BF16, &[width])).transpose()?;
    let out = out.require("a norm's result", DType::BF16, x.shape().dims())?;
    let grid = Grid { blocks: [rows, 1, 1], threads: THREADS, shared: 0 };
    let arguments = [x.into(), weight.into(), bias.into(), out.into(), width.into(), eps.into()];
    // SAFETY: `x` and `out` have rows * width numbers, `weight` and `bias` width; width is a multiple of 8.
    unsafe { launch_early(x.device(), &NORM, grid, &arguments) }
}

/// Where the gradients of a norm's parameters are added; `None` for what is not trained.
pub struct NormGradients<'a> {
    /// `[width]`.
    pub weight: Option<Target<'a>>,
    /// `[width]`.
    pub bias: Option<Target<'a>>,
}

/// What a norm's backward pass knows of it.
#[derive(Clone, Copy)]
pub struct NormBackward<'a> {
    /// `[width]` bf16.
    pub weight: Array<'a>,
    /// Whether it subtracts the mean, as one with a bias does.
    pub is_centred: bool,
    /// What [`norm`] was given.
    pub eps: f64,
}

/// The gradient of [`norm`] to `x`; those of its parameters are added to `parameters`.
///
/// - `grad`: the shape of `x`, bf16; `residual`: as well, added to the gradient to `x` before that is rounded: what reaches
///   `x` past the norm
///
/// # Errors
/// Shapes or dtypes do not fit, or `width` is above 9,216 (7,680 with a bias).
pub fn norm_backward(
    x: Array,
    grad: Array,
    residual: Option<Array>,
    &NormBackward { weight, is_centred, eps }: &NormBackward,
    parameters: &NormGradients,
) -> Result<Output> {
    let (rows, width) = checked(&x)?;
    let weight = weight.require("a norm's weight", DType::BF16, &[width])?;
    let dims = x.shape().dims();
    let grad = grad.require("a norm's gradient", DType::BF16, dims)?;
    let residual = residual
        .map(|grad| grad.require("a residual's gradient", DType::BF16, dims))
        .transpose()?;
    let kernel = backward_kernel(width, is_centred)?;
    let device = x.device();
    let dx = Output::new(device, x.shape(), DType::BF16)?;
    let (n_parts, per_part) = parts(rows);
    let partial = |target: Option<Target>| {
        target.map(|_| Output::new(device, (n_parts, width), DType::F32)).transpose()
    };
    let (d_weight, d_bias) = (partial(parameters.weight)?, partial(parameters.bias)?);
    let [weight_sums, bias_sums] =
        [&d_weight, &d_bias].map(|sums| sums.as_ref().map(Output::array));
    let (weight_sums, bias_sums) = (weight_sums.transpose()?, bias_sums.transpose()?);
    let (threads, shared) = (32 * BACKWARD_WARPS, width * size_of::<f32>());
    let grid = Grid { blocks: [n_parts, 1, 1], threads, shared };
    let arguments = [
        x.into(),
        weight.into(),
        grad.into(),
        residual.into(),
        dx.array()?.into(),
        weight_sums.into(),
        bias_sums.into(),
        rows.into(),
        per_part.into(),
        width.into(),
        eps.into(),
    ];
    // SAFETY: `x`, `grad`, `residual` and `dx` have rows * width numbers, `weight` width, the sums n_parts * width or none;
    // n_parts * per_part >= rows, width is a multiple of 8, and the kernel is one for this width.
    unsafe { launch(device, &kernel, grid, &arguments)? };
    for (sums, target) in [(weight_sums, parameters.weight), (bias_sums, parameters.bias)] {
        if let (Some(sums), Some(target)) = (sums, target) {
            accumulate_partials(sums, target)?;
        }
    }
    Ok(dx)
}

fn checked(x: &Array) -> Result<(usize, usize)> {
    let (rows, width) = x.rows();
    x.require("a norm's input", DType::BF16, x.shape().dims())?;
    if width % 8 != 0 {
        bail!("a norm's input has {width} columns, expected a multiple of 8");
    }
    Ok((rows, width))
}
