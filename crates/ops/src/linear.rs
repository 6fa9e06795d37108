//! The affine map `y = x W^T + b` on packed rows, with its gradients.
//! Not here: where a weight's gradient is kept (`parameter`), the vocabulary head (`token_logprob`).

use std::ops::Range;

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, bail};
#[cfg(feature = "cuda")]
use othink_cuda::Array;
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use super::cuda_linear::CudaLinear;
use super::low_rank::{LowRank, Rows};
use super::matmul::{Matrix, Threads, matmul_by_rows, product};
use super::parameter::Parameter;
use super::path::Path;
use super::plain;
use super::real::{Real, slice_of, with_slice};

/// Rows that a task adds a bias to.
const ROWS_PER_TASK: usize = 32;
/// Columns that a task adds up.
const COLUMNS_PER_TASK: usize = 128;

/// How the rows of a product are multiplied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// In blocks, the fastest way for many rows. The last bits of a row may depend on the number of rows.
    Blocked,
    /// Each row by itself, so that a decoding step's results do not depend on which sequences share the
    /// step. The CPU's path alone has such a product; the others treat it as `Blocked`.
    RowByRow,
}

/// What a linear map is made of.
#[derive(Debug, Clone)]
pub struct LinearParameters {
    /// `[out, in]`, or `[out, ...]` with `in` elements per row.
    pub weight: Parameter,
    /// `[out]`
    pub bias: Option<Parameter>,
    /// What LoRA adds to the weight.
    pub low_rank: Option<LowRank>,
}

impl LinearParameters {
    /// A map as it is in a checkpoint.
    pub fn new(weight: Parameter, bias: Option<Parameter>) -> Self {
        Self { weight, bias, low_rank: None }
    }
}

/// Some outputs of a linear map: one of several maps stacked in one weight, or all of one.
#[derive(Debug, Clone)]
pub struct LinearPart {
    /// The whole map.
    pub parameters: LinearParameters,
    /// The weight's rows that are used.
    pub rows: Range<usize>,
}

impl LinearPart {
    /// All outputs.
    ///
    /// # Errors
    /// The weight has no axes.
    pub fn whole(parameters: LinearParameters) -> Result<Self> {
        let rows = 0..parameters.weight.value().dim(0)?;
        Ok(Self { parameters, rows })
    }

    /// How many outputs.
    #[expect(clippy::len_without_is_empty, reason = "a map without outputs is none")]
    pub fn len(&self) -> usize {
        self.rows.len()
    }
}

/// `x W^T + b`, and what LoRA adds.
///
/// - `x`: `[T, in]`, or `[T, ...]` with `in` elements per row, in the run's dtype
/// - returns `[T, out]`. Gradients to `x` and to the map's parameters; none is computed for a frozen
///   parameter, nor for an `x` that nothing tracks.
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn linear(x: &Tensor, map: &LinearParameters, product: Product) -> Result<Tensor> {
    let rows = 0..map.weight.value().dim(0)?;
    linear_of(x, map, Outputs { rows, head_dim: None }, product)
}

/// The gradient to `x` of [`linear()`] with [`Product::Blocked`] on the CPU's path; those of trained parameters go to their buffers.
///
/// - `grad`: `[T, out]`
pub(super) fn linear_backward(x: &Tensor, map: &LinearParameters, grad: &Tensor) -> Result<Tensor> {
    let rows = 0..map.weight.value().dim(0)?;
    backward_of(x, map, rows, grad)
}

/// [`linear_backward`] for [`linear_heads`].
///
/// - `grad`: `[T, outputs / head_dim, head_dim]`
pub(super) fn linear_heads_backward(
    x: &Tensor,
    part: &LinearPart,
    grad: &Tensor,
) -> Result<Tensor> {
    backward_of(x, &part.parameters, part.rows.clone(), grad)
}

fn backward_of(
    x: &Tensor,
    map: &LinearParameters,
    rows: Range<usize>,
    grad: &Tensor,
) -> Result<Tensor> {
    let linear = Linear::new(map, Product::Blocked, Outputs { rows, head_dim: None });
    let (x, grad) = (x.contiguous()?, grad.contiguous()?);
    match x.dtype() {
        DType::F32 => linear.backward::<f32>(&x, &grad),
        _ => linear.backward::<f64>(&x, &grad),
    }
}

/// [`linear()`] with some of the outputs, as heads.
///
/// - returns `[T, outputs / head_dim, head_dim]`
///
/// # Errors
/// Shapes or dtypes do not fit, or the outputs do not make whole heads.
pub fn linear_heads(
    x: &Tensor,
    part: &LinearPart,
    head_dim: usize,
    product: Product,
) -> Result<Tensor> {
    let (LinearPart { parameters, rows }, n) = (part, part.len());
    if head_dim == 0 || !n.is_multiple_of(head_dim) {
        let name = parameters.weight.name();
        bail!("linear {name}: {n} rows do not make heads of {head_dim}");
    }
    let outputs = Outputs { rows: rows.clone(), head_dim: Some(head_dim) };
    linear_of(x, parameters, outputs, product)
}

fn linear_of(
    x: &Tensor,
    map: &LinearParameters,
    outputs: Outputs,
    product: Product,
) -> Result<Tensor> {
    let LinearParameters { weight, bias, low_rank } = map;
    let (_, inner) = rows_of(x.dims());
    let (stacked, expected) = weight.matrix_dims()?;
    if x.rank() < 2 || inner != expected || outputs.rows.end > stacked {
        let (name, rows) = (weight.name(), &outputs.rows);
        bail!(
            "linear {name}: input has {inner} columns, weight is [{stacked}, {expected}], rows {rows:?}"
        );
    }
    low_rank.as_ref().map_or(Ok(()), |low_rank| low_rank.require_fit((stacked, inner)))?;
    match Path::of(x) {
        Path::Cpu => Linear::new(map, product, outputs).apply(x),
        #[cfg(feature = "cuda")]
        Path::Cuda => Linear::new(map, product, outputs).apply(x),
        Path::Plain => {
            let (first, n) = (outputs.rows.start, outputs.rows.len());
            let part = |x: &Parameter| x.value().narrow(0, first, n);
            let (x, weight) = (x.flatten_from(1)?, part(weight)?.reshape((n, inner))?);
            let mut y = plain::linear(&x, &weight, bias.as_ref().map(part).transpose()?.as_ref())?;
            if let Some(low_rank) = low_rank {
                y = (y + low_rank.plain(&x, outputs.rows.clone())?)?;
            }
            if outputs.head_dim.is_some() { y.reshape(outputs.shape(x.dim(0)?)) } else { Ok(y) }
        }
    }
}

/// Which outputs of a map are wanted, and their shape.
struct Outputs {
    /// The weight's rows that are used.
    rows: Range<usize>,
    /// Elements of a head, where the outputs are heads.
    head_dim: Option<usize>,
}

impl Outputs {
    fn shape(&self, tokens: usize) -> Shape {
        match self.head_dim {
            Some(head_dim) => (tokens, self.rows.len() / head_dim, head_dim).into(),
            None => (tokens, self.rows.len()).into(),
        }
    }
}

/// Rows, and elements of a row.
fn rows_of(dims: &[usize]) -> (usize, usize) {
    (dims.first().copied().unwrap_or(1), dims.iter().skip(1).product())
}

struct Linear {
    parameters: LinearParameters,
    product: Product,
    outputs: Outputs,
}

impl Linear {
    fn new(map: &LinearParameters, product: Product, outputs: Outputs) -> Self {
        Self { parameters: map.clone(), product, outputs }
    }

    fn apply(self, x: &Tensor) -> Result<Tensor> {
        x.contiguous()?.apply_op1(self)
    }

    fn forward<R: Real>(&self, x: &[R], rows: usize, inner: usize) -> Result<Vec<R>> {
        let (n, first) = (self.outputs.rows.len(), self.outputs.rows.start);
        let mut out = self.parameters.weight.with_value(|w: &[R]| {
            let w = &w[first * inner..(first + n) * inner];
            Ok(match self.product {
                Product::Blocked => {
                    let (x, w) = (Matrix::new(x, rows, inner), Matrix::new(w, n, inner).t());
                    product(R::ONE, x, w, Threads::All)
                }
                Product::RowByRow => matmul_by_rows(x, w, rows, inner),
            })
        })?;
        if let Some(bias) = &self.parameters.bias {
            bias.with_value(|b: &[R]| {
                let b = &b[first..first + n];
                out.par_chunks_mut(ROWS_PER_TASK * n).for_each(|rows| {
                    for row in rows.chunks_exact_mut(n) {
                        row.iter_mut().zip(b).for_each(|(y, b)| *y += *b);
                    }
                });
                Ok(())
            })?;
        }
        if let Some(low_rank) = &self.parameters.low_rank {
            let x = Rows { x, n: rows, inner };
            low_rank.add_to(&mut out, x, self.outputs.rows.clone(), self.product)?;
        }
        Ok(out)
    }

    fn backward<R: Real>(&self, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let (rows, inner) = rows_of(x.dims());
        let (n, first) = (self.outputs.rows.len(), self.outputs.rows.start);
        let LinearParameters { weight, bias, low_rank } = &self.parameters;
        with_slice(grad, |g: &[R]| {
            if weight.is_trainable() {
                with_slice(x, |x: &[R]| weight.accumulate_outer(g, x, rows, first))?;
            }
            if let Some(bias) = bias.as_ref().filter(|bias| bias.is_trainable()) {
                // The bias is a weight whose input is one in every row.
                bias.accumulate_outer(&sum_rows(g, n), &[R::ONE], 1, first)?;
            }
            let mut dx = weight.with_value(|w: &[R]| {
                let w = &w[first * inner..(first + n) * inner];
                let (g, w) = (Matrix::new(g, rows, n), Matrix::new(w, n, inner));
                Ok(product(R::ONE, g, w, Threads::All))
            })?;
            if let Some(low_rank) = low_rank {
                with_slice(x, |x: &[R]| {
                    let x = Rows { x, n: rows, inner };
                    low_rank.backward(&mut dx, x, g, self.outputs.rows.clone())
                })?;
            }
            Tensor::from_vec(dx, x.shape(), x.device())
        })
    }
}

/// Column sums of a dense `[rows, width]` matrix, rows added in order.
pub(super) fn sum_rows<R: Real>(data: &[R], width: usize) -> Vec<R> {
    let mut sums = vec![R::ZERO; width];
    sums.par_chunks_mut(COLUMNS_PER_TASK).enumerate().for_each(|(i, sums)| {
        for row in data.chunks_exact(width) {
            for (sum, value) in sums.iter_mut().zip(&row[i * COLUMNS_PER_TASK..]) {
                *sum += *value;
            }
        }
    });
    sums
}

impl CustomOp1 for Linear {
    fn name(&self) -> &'static str {
        "linear"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, inner) = rows_of(layout.dims());
        let out = match storage {
            CpuStorage::F32(_) => {
                CpuStorage::F32(self.forward(slice_of(storage, layout)?, rows, inner)?)
            }
            _ => CpuStorage::F64(self.forward(slice_of(storage, layout)?, rows, inner)?),
        };
        Ok((out, self.outputs.shape(rows)))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let map = CudaLinear::part(&self.parameters, self.outputs.rows.clone());
        let (rows, inner) = rows_of(layout.dims());
        let matrix = Layout::contiguous_with_offset((rows, inner), layout.start_offset());
        let (y, _) = map.forward(Array::of_storage(storage, &matrix)?)?.into_parts();
        Ok((y, self.outputs.shape(rows)))
    }

    fn bwd(&self, x: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        #[cfg(feature = "cuda")]
        if Path::of(x) == Path::Cuda {
            let map = CudaLinear::part(&self.parameters, self.outputs.rows.clone());
            let (rows, grad) = (x.flatten_from(1)?, grad.flatten_from(1)?);
            let dx = map.backward(Array::of(&rows)?, Array::of(&grad)?)?;
            return dx.into_tensor().reshape(x.shape()).map(Some);
        }
        match x.dtype() {
            DType::F32 => self.backward::<f32>(x, &grad).map(Some),
            _ => self.backward::<f64>(x, &grad).map(Some),
        }
    }
}
