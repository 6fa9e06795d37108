//! LoRA's change of a linear map, `y += s (x A^T) B^T`, with its gradients.
//! Not here: the map itself (`linear`), the products (`product`).

use std::ops::Range;

use candle_core::{DType, Result};

use super::array::{Array, Output, Target};
use super::dropout::Dropout;
use super::linear::linear;
use super::product::{Matrix, gemm};

/// What is beside a linear map.
#[derive(Clone, Copy)]
pub struct LowRank<'a> {
    /// `[rank, in]`, bf16.
    pub a: Array<'a>,
    /// `[out, rank]`, bf16.
    pub b: Array<'a>,
    /// What the product is multiplied by.
    pub scale: f64,
    /// What `A` is not given of its input.
    pub dropout: Option<Dropout>,
}

/// Where the gradients of the factors are added; `None` for what is not trained.
pub struct LowRankGradients<'a> {
    /// `[rank, in]`
    pub a: Option<Target<'a>>,
    /// `[outputs, rank]`: those rows that were used.
    pub b: Option<Target<'a>>,
}

/// `y + scale * (x A^T) B^T` for some rows of `B`, in place; `x A^T` is rounded to bf16, the sum once more.
///
/// - `x`: `[T, in]`; `y`: `[T, outputs]`; both bf16
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn low_rank(x: Array, map: &LowRank, outputs: Range<usize>, y: Output) -> Result<Output> {
    let dropped = map.dropout.map(|dropout| dropout.of(x)).transpose()?;
    let x = dropped.as_ref().map_or(Ok(x), Output::array)?;
    let (rank, _) = map.a.rows();
    let inner = linear(x, map.a, None, 0..rank)?;
    let (rows, _) = x.rows();
    let sum = Matrix::of(y.array()?);
    let sum = sum.require("what is added to", DType::BF16, (rows, outputs.len()))?;
    let b = Matrix::of(map.b).rows(outputs)?;
    gemm(sum, 1.0, map.scale as f32, Matrix::of(inner.array()?), b.t())?;
    Ok(y)
}

/// The gradient of [`low_rank`] to `x`, added to `dx` in bf16; those of the factors are added to `gradients`. The
/// gradient to `x A^T` is rounded to bf16, and under dropout that to what `A` was given.
///
/// - `x`: `[T, in]`; `grad`: `[T, outputs]`; `dx`: `[T, in]`; all bf16
///
/// # Errors
/// Shapes or dtypes do not fit, or there are no rows.
pub fn low_rank_backward(
    x: Array,
    map: &LowRank,
    grad: Array,
    outputs: Range<usize>,
    gradients: &LowRankGradients,
    dx: Output,
) -> Result<Output> {
    let dropped = map.dropout.map(|dropout| dropout.of(x)).transpose()?;
    let given = dropped.as_ref().map_or(Ok(x), Output::array)?;
    let ((rank, _), (rows, _), scale) = (map.a.rows(), x.rows(), map.scale as f32);
    let grad = grad.require("a low-rank map's gradient", DType::BF16, &[rows, outputs.len()])?;
    let grad = Matrix::of(grad);
    if let Some(Target { array, add }) = gradients.b {
        let inner = linear(given, map.a, None, 0..rank)?;
        let beta = f32::from(add);
        gemm(Matrix::of(array), beta, scale, grad.t(), Matrix::of(inner.array()?))?;
    }
    let d_inner = Output::new(x.device(), (rows, rank), DType::BF16)?;
    gemm(Matrix::of(d_inner.array()?), 0.0, scale, grad, Matrix::of(map.b).rows(outputs)?)?;
    let d_inner = Matrix::of(d_inner.array()?);
    if let Some(Target { array, add }) = gradients.a {
        gemm(Matrix::of(array), f32::from(add), 1.0, d_inner.t(), Matrix::of(given))?;
    }
    let Some(dropout) = map.dropout else {
        let sum = Matrix::of(dx.array()?).require("a gradient to add to", DType::BF16, x.rows())?;
        gemm(sum, 1.0, 1.0, d_inner, Matrix::of(map.a))?;
        return Ok(dx);
    };
    drop(dropped);
    let d_given = Output::new(x.device(), x.shape(), DType::BF16)?;
    gemm(Matrix::of(d_given.array()?), 0.0, 1.0, d_inner, Matrix::of(map.a))?;
    dropout.add_to(&dx, d_given.array()?)?;
    Ok(dx)
}
