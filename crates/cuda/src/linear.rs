//! The affine map `y = x W^T + b` with its gradients.
//! Not here: the product (`product`), where a weight's gradient is kept.

use std::ops::Range;

use candle_core::{DType, Result};

use super::array::{Array, Output, Target};
use super::product::{Matrix, gemm, gemm_with_bias};
use super::reduce::accumulate_rows_sum;

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
    let (y, x) = (Matrix::of(out.array()?), Matrix::of(x));
    let weight = Matrix::of(weight).rows(outputs.clone())?.t();
    match bias {
        Some(bias) => gemm_with_bias(y, x, weight, Matrix::of(bias).rows(outputs)?)?,
        None => gemm(y, 0.0, 1.0, x, weight)?,
    }
    Ok(out)
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
    let dx = Output::new(x.device(), x.rows(), DType::BF16)?;
    parameters_backward(x, grad, outputs.len(), parameters)?;
    gemm(Matrix::of(dx.array()?), 0.0, 1.0, Matrix::of(grad), Matrix::of(weight).rows(outputs)?)?;
    Ok(dx)
}

/// [`linear_backward`] of one of several maps of one `x`: its gradient to `x` is added to `dx`, which the others have returned
/// in bf16, and the sum is rounded to bf16 again.
///
/// - `dx`: `[T, in]` bf16; returns the sum
///
/// # Errors
/// Shapes or dtypes do not fit, or there are no rows.
pub fn linear_backward_added(
    x: Array,
    weight: Array,
    grad: Array,
    outputs: Range<usize>,
    parameters: &LinearGradients,
    dx: Output,
) -> Result<Output> {
    parameters_backward(x, grad, outputs.len(), parameters)?;
    let sum = Matrix::of(dx.array()?).require("a gradient to add to", DType::BF16, x.rows())?;
    gemm(sum, 1.0, 1.0, Matrix::of(grad), Matrix::of(weight).rows(outputs)?)?;
    Ok(dx)
}

/// Adds the gradients of a linear map's parameters.
fn parameters_backward(
    x: Array,
    grad: Array,
    outputs: usize,
    parameters: &LinearGradients,
) -> Result<()> {
    let (rows, _) = x.rows();
    let grad = grad.require("a linear map's gradient", DType::BF16, &[rows, outputs])?;
    if let Some(Target { array, add }) = parameters.weight {
        let (sum, beta) = (Matrix::of(array), f32::from(add));
        gemm(sum, beta, 1.0, Matrix::of(grad).t(), Matrix::of(x))?;
    }
    match parameters.bias {
        Some(target) => accumulate_rows_sum(grad, target),
        None => Ok(()),
    }
}
