//! LoRA's change of a linear map, `y += s (x A^T) B^T`, with its gradients.
//! Not here: the map itself (`linear`), the products (`product`).

use std::ops::Range;

use candle_core::{DType, Result};

use super::array::{Array, Output, Target};
use super::linear::linear;
use super::product::{Matrix, gemm};

/// Where the gradients of the factors are added; `None` for what is not trained.
pub struct LowRankGradients<'a> {
    /// `[rank, in]`
    pub a: Option<Target<'a>>,
    /// `[outputs, rank]`: those rows that were used.
    pub b: Option<Target<'a>>,
}

/// `y + scale * (x A^T) B^T` for some rows of `B`, in place; `x A^T` is rounded to bf16, the sum once more.
///
/// - `x`: `[T, in]`; `factors`: `A [rank, in]` and `B [out, rank]`; `y`: `[T, outputs]`; all bf16
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn low_rank(
    x: Array,
    (a, b): (Array, Array),
    outputs: Range<usize>,
    scale: f64,
    y: Output,
) -> Result<Output> {
    let (rank, _) = a.rows();
    let inner = linear(x, a, None, 0..rank)?;
    let (rows, _) = x.rows();
    let sum = Matrix::of(y.array()?);
    let sum = sum.require("what is added to", DType::BF16, (rows, outputs.len()))?;
    gemm(sum, 1.0, scale as f32, Matrix::of(inner.array()?), Matrix::of(b).rows(outputs)?.t())?;
    Ok(y)
}

/// The gradient of [`low_rank`] to `x`, added to `dx` in bf16; those of the factors are added in f32 to `gradients`. The
/// gradient to `x A^T` is rounded to bf16.
///
/// - `grad`: `[T, outputs]`; `dx`: `[T, in]`, both bf16
///
/// # Errors
/// Shapes or dtypes do not fit, or there are no rows.
pub fn low_rank_backward(
    x: Array,
    (a, b): (Array, Array),
    grad: Array,
    outputs: Range<usize>,
    scale: f64,
    gradients: &LowRankGradients,
    dx: Output,
) -> Result<Output> {
    let ((rank, _), (rows, _), scale) = (a.rows(), x.rows(), scale as f32);
    let grad = grad.require("a low-rank map's gradient", DType::BF16, &[rows, outputs.len()])?;
    let grad = Matrix::of(grad);
    if let Some(Target { array, add }) = gradients.b {
        let inner = linear(x, a, None, 0..rank)?;
        let beta = f32::from(add);
        gemm(Matrix::of(array), beta, scale, grad.t(), Matrix::of(inner.array()?))?;
    }
    let d_inner = Output::new(x.device(), (rows, rank), DType::BF16)?;
    gemm(Matrix::of(d_inner.array()?), 0.0, scale, grad, Matrix::of(b).rows(outputs)?)?;
    let d_inner = Matrix::of(d_inner.array()?);
    if let Some(Target { array, add }) = gradients.a {
        gemm(Matrix::of(array), f32::from(add), 1.0, d_inner.t(), Matrix::of(x))?;
    }
    let sum = Matrix::of(dx.array()?).require("a gradient to add to", DType::BF16, x.rows())?;
    gemm(sum, 1.0, 1.0, d_inner, Matrix::of(a))?;
    Ok(dx)
}
