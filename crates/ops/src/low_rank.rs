//! LoRA's change of a linear map: `y += s (x A^T) B^T` (Hu et al. 2021, section 4.1), with its gradients. Under dropout `A` is
//! given what is left of `x`.
//! Not here: the map itself (`linear`), which numbers are dropped (`dropout`); names, ranks and scales of a model's adapters
//! (the program's `model`).

use std::borrow::Cow;
use std::ops::Range;

use candle_core::{DType, Result, Tensor, bail};
#[cfg(feature = "cuda")]
use othink_cuda::{Array, LowRankGradients, Output};

use super::dropout::Dropout;
use super::linear::Product;
use super::matmul::{self, Matrix, Store, Threads, matmul, matmul_by_rows};
use super::parameter::Parameter;
use super::plain;
use super::real::Real;

/// What LoRA adds to a map's weight, `scale * B A`.
#[derive(Debug, Clone)]
pub struct LowRank {
    /// `[rank, in]`, PEFT's `lora_A`.
    pub a: Parameter,
    /// `[out, rank]`, PEFT's `lora_B`.
    pub b: Parameter,
    /// What the product is multiplied by.
    pub scale: f64,
    /// What `A` is not given of its input; none but where a map is trained.
    pub dropout: Option<Dropout>,
}

/// The rows that a map is given.
#[derive(Clone, Copy)]
pub(super) struct Rows<'a, R> {
    /// `[n, inner]`, dense.
    pub(super) x: &'a [R],
    pub(super) n: usize,
    pub(super) inner: usize,
}

impl LowRank {
    /// # Errors
    /// The factors are not those of a map `[out, in]`.
    pub(super) fn require_fit(&self, (out, inner): (usize, usize)) -> Result<()> {
        let [a, b] = [&self.a, &self.b].map(|factor| factor.value().dims());
        match (a, b) {
            ([rank, a_in], [b_out, b_rank])
                if rank == b_rank && (*a_in, *b_out) == (inner, out) && *rank > 0 =>
            {
                Ok(())
            }
            _ => bail!("{}: {a:?} and {b:?} beside a weight [{out}, {inner}]", self.a.name()),
        }
    }

    /// The weight `W + scale * B A`, summed in f32 or f64 and rounded to the dtype of `weight`; frozen.
    ///
    /// - `weight`: `[out, in]`
    ///
    /// # Errors
    /// Shapes do not fit.
    pub fn merged(&self, weight: &Parameter) -> Result<Parameter> {
        let dtype = weight.value().dtype();
        let wide = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let [w, a, b] = [weight, &self.a, &self.b].map(|x| x.value().detach().to_dtype(wide));
        let merged = (w? + (b?.matmul(&a?)? * self.scale)?)?;
        Ok(Parameter::frozen(weight.name(), &merged.to_dtype(dtype)?))
    }

    fn rank(&self) -> usize {
        self.a.value().elem_count() / self.a.value().dims()[1..].iter().product::<usize>().max(1)
    }

    /// Adds these outputs' share of `scale * (x A^T) B^T` to `out [n, outputs]`.
    pub(super) fn add_to<R: Real>(
        &self,
        out: &mut [R],
        x: Rows<R>,
        outputs: Range<usize>,
        product: Product,
    ) -> Result<()> {
        let (rank, n, scale) = (self.rank(), outputs.len(), R::from_f64(self.scale));
        let left = self.left_of(x.x);
        let inner = self.inner(Rows { x: &left, ..x }, product)?;
        self.b.with_value(|b: &[R]| {
            let b = &b[outputs.start * rank..outputs.end * rank];
            match product {
                Product::Blocked => {
                    let (inner, b) = (Matrix::new(&inner, x.n, rank), Matrix::new(b, n, rank).t());
                    matmul((out, n), Store::Add, scale, inner, b, Threads::All);
                }
                Product::RowByRow => {
                    let added = matmul_by_rows(&inner, b, x.n, rank);
                    for (y, added) in out.iter_mut().zip(added) {
                        *y += scale * added;
                    }
                }
            }
            Ok(())
        })
    }

    /// What `A` is given of `x`.
    fn left_of<'x, R: Real>(&self, x: &'x [R]) -> Cow<'x, [R]> {
        self.dropout.map_or(Cow::Borrowed(x), |dropout| Cow::Owned(dropout.of(x)))
    }

    /// `x A^T`, `[n, rank]`.
    fn inner<R: Real>(&self, x: Rows<R>, product: Product) -> Result<Vec<R>> {
        let rank = self.rank();
        self.a.with_value(|a: &[R]| {
            Ok(match product {
                Product::Blocked => {
                    let (x, a) = (Matrix::new(x.x, x.n, x.inner), Matrix::new(a, rank, x.inner));
                    matmul::product(R::ONE, x, a.t(), Threads::All)
                }
                Product::RowByRow => matmul_by_rows(x.x, a, x.n, x.inner),
            })
        })
    }

    /// Adds the gradients to the factors' buffers, and the gradient to `x` to `dx [n, inner]`.
    ///
    /// - `grad`: `[n, outputs]`
    pub(super) fn backward<R: Real>(
        &self,
        dx: &mut [R],
        x: Rows<R>,
        grad: &[R],
        outputs: Range<usize>,
    ) -> Result<()> {
        let (rank, n, scale) = (self.rank(), outputs.len(), R::from_f64(self.scale));
        let left = self.left_of(x.x);
        let x = Rows { x: &left, ..x };
        if self.b.is_trainable() {
            let mut inner = self.inner(x, Product::Blocked)?;
            for value in &mut inner {
                *value *= scale;
            }
            self.b.accumulate_outer(grad, &inner, x.n, outputs.start)?;
        }
        let d_inner = self.b.with_value(|b: &[R]| {
            let b = &b[outputs.start * rank..outputs.end * rank];
            let (grad, b) = (Matrix::new(grad, x.n, n), Matrix::new(b, n, rank));
            Ok(matmul::product(scale, grad, b, Threads::All))
        })?;
        if self.a.is_trainable() {
            self.a.accumulate_outer(&d_inner, x.x, x.n, 0)?;
        }
        self.a.with_value(|a: &[R]| {
            let (d_inner, a) = (Matrix::new(&d_inner, x.n, rank), Matrix::new(a, rank, x.inner));
            let Some(dropout) = self.dropout else {
                matmul((dx, x.inner), Store::Add, R::ONE, d_inner, a, Threads::All);
                return Ok(());
            };
            let d_left = matmul::product(R::ONE, d_inner, a, Threads::All);
            dropout.add_to(dx, &d_left);
            Ok(())
        })
    }

    /// The change that these outputs get, composed of candle's primitives.
    ///
    /// - `x`: `[T, in]`; returns `[T, outputs]`
    pub(super) fn plain(&self, x: &Tensor, outputs: Range<usize>) -> Result<Tensor> {
        let b = self.b.value().narrow(0, outputs.start, outputs.len())?;
        let left = self.dropout.map(|dropout| dropout.plain(x)).transpose()?;
        let inner = plain::linear(left.as_ref().unwrap_or(x), self.a.value(), None)?;
        plain::linear(&inner, &b, None)? * self.scale
    }

    /// `y` with the change added, which is rounded to bf16 with it.
    #[cfg(feature = "cuda")]
    pub(super) fn cuda_forward(
        &self,
        x: Array,
        outputs: Range<usize>,
        y: Output,
    ) -> Result<Output> {
        othink_cuda::low_rank(x, &self.on_device()?, outputs, y)
    }

    #[cfg(feature = "cuda")]
    fn on_device(&self) -> Result<othink_cuda::LowRank<'_>> {
        let (a, b) = (Array::of(self.a.value())?, Array::of(self.b.value())?);
        let dropout = self.dropout.as_ref().map(Dropout::on_device);
        Ok(othink_cuda::LowRank { a, b, scale: self.scale, dropout })
    }

    /// `dx` with the change's gradient added; those of the factors go to their buffers.
    #[cfg(feature = "cuda")]
    pub(super) fn cuda_backward(
        &self,
        x: Array,
        grad: Array,
        outputs: Range<usize>,
        dx: Output,
    ) -> Result<Output> {
        let sums = [self.a.destination(0..self.rank())?, self.b.destination(outputs.clone())?];
        let [a, b] = &sums;
        let gradients = LowRankGradients {
            a: a.as_ref().map(|sum| sum.target()).transpose()?,
            b: b.as_ref().map(|sum| sum.target()).transpose()?,
        };
        othink_cuda::low_rank_backward(x, &self.on_device()?, grad, outputs, &gradients, dx)
    }
}
