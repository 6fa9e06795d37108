//! The affine map `y = x W^T + b` with its gradients.
//! Not here: the product (`product`), where a weight's gradient is kept.

use std::ops::Range;

use candle_core::{DType, Result};

use super::array::{Array, Output, Target};
use super::launch::{Grid, Kernel, kernel, launch};
use super::product::{Matrix, gemm};
use super::reduce::accumulate_rows_sum;

const REPEAT_ROW: Kernel = kernel!("linear", "repeat_row");

/// `x W^T + b` for some rows of `W` and `b`; summed in f32 and rounded once.
///
/// - `x`: `[T, in]`; `weight`: `[out, in]`, or `[out, ...]` with `in` numbers per row; `bias`: `[out]`; all bf16
/// - `outputs`: the rows of `weight` and `bias` that are used
/// - returns `[T, outputs]` bf16
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn linear(
    x: Array,
    weight: Array,
    bias: Option<Array>,
    outputs: Range<usize>,
) -> Result<Output> {
    let (rows, _) = x.rows();
    let out = Output::new(x.device(), (rows, outputs.len()), DType::BF16)?;
    let y = Matrix::of(out.array()?);
    let beta = f32::from(bias.is_some());
    if let Some(bias) = bias {
        repeat(Matrix::of(bias).rows(outputs.clone())?, y)?;
    }
    gemm(y, beta, 1.0, Matrix::of(x), Matrix::of(weight).rows(outputs)?.t())?;
    Ok(out)
}

/// Sets every row of `out` to `row`: a product is then added to it, so that the bias costs no rounding of its own.
fn repeat(row: Matrix, out: Matrix) -> Result<()> {
    let (rows, width) = out.dims();
    row.expect("a linear map's bias", DType::BF16, (width, 1))?;
    // A thread has eight columns of every n-th row.
    let blocks = [width.div_ceil(8 * 128), rows.min(1024), 1];
    let grid = Grid { blocks, threads: 128, shared: 0 };
    let arguments = [row.into(), out.into(), rows.into(), width.into()];
    // SAFETY: `row` has width numbers and `out` rows * width.
    unsafe { launch(out.device(), &REPEAT_ROW, grid, &arguments) }
}

/// Where the gradients of a linear map's parameters are added; `None` for what is not trained.
pub struct LinearGradients<'a> {
    /// `[outputs, in]`, or `[outputs, ...]`: those rows of the weight that were used.
    pub weight: Option<Target<'a>>,
    /// `[outputs]`.
    pub bias: Option<Target<'a>>,
}

/// The gradient of [`linear()`] to `x`; those of its parameters are added to `parameters`, products of bf16 summed in f32.
///
/// - `x`: `[T, in]`; `grad`: `[T, outputs]`, both bf16
/// - returns `[T, in]` bf16
///
/// # Errors
/// Shapes or dtypes do not fit, or there are no rows.
pub fn linear_backward(
    x: Array,
    weight: Array,
    grad: Array,
    outputs: Range<usize>,
    parameters: &LinearGradients,
) -> Result<Output> {
    let (rows, inner) = x.rows();
    let grad = grad.expect("a linear map's gradient", DType::BF16, &[rows, outputs.len()])?;
    if let Some(Target { array, add }) = parameters.weight {
        let (sum, beta) = (Matrix::of(array), f32::from(add));
        gemm(sum, beta, 1.0, Matrix::of(grad).t(), Matrix::of(x))?;
    }
    if let Some(target) = parameters.bias {
        accumulate_rows_sum(grad, target)?;
    }
    let dx = Output::new(x.device(), (rows, inner), DType::BF16)?;
    let weight = Matrix::of(weight).rows(outputs)?;
    gemm(Matrix::of(dx.array()?), 0.0, 1.0, Matrix::of(grad), weight)?;
    Ok(dx)
}
