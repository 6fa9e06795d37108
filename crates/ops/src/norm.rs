//! RMSNorm and LayerNorm over the last axis, with their gradients.
//! Not here: where a weight's gradient is kept (`parameter`).

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};
#[cfg(feature = "cuda")]
use othink_cuda::{Array, Output};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use super::gradients::Destination;
use super::linear::sum_rows;
use super::matmul::{dot, sum, sum_lanes};
use super::parameter::Parameter;
use super::path::Path;
use super::plain;
use super::real::{Real, slice_of, vectorized, with_slice};

/// Rows per parallel task.
const ROWS: usize = 32;

/// What a norm is made of: LayerNorm where there is a bias, RMSNorm otherwise.
#[derive(Debug, Clone)]
pub struct NormParameters {
    /// `[width]`
    pub weight: Parameter,
    /// `[width]`
    pub bias: Option<Parameter>,
    /// Added to the variance, or to the mean square.
    pub eps: f64,
}

impl NormParameters {
    /// [`rms_norm`] or [`layer_norm`] with these parameters.
    ///
    /// # Errors
    /// Shapes or dtypes do not fit.
    pub fn apply(&self, x: &Tensor) -> Result<Tensor> {
        match &self.bias {
            Some(bias) => layer_norm(x, &self.weight, bias, self.eps),
            None => rms_norm(x, &self.weight, self.eps),
        }
    }

    fn on_tape(self, x: &Tensor) -> Result<Tensor> {
        x.contiguous()?.apply_op1(Norm(self))
    }
}

/// `x / sqrt(mean(x^2) + eps) * weight` (Zhang and Sennrich 2019), statistics in f32 (f64 for f64).
///
/// - `x`: `[T, width]` in the run's dtype; `weight`: `[width]`
/// - returns `[T, width]`. Gradients to `x` and `weight`.
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn rms_norm(x: &Tensor, weight: &Parameter, eps: f64) -> Result<Tensor> {
    if Path::of(x) == Path::Plain {
        return plain::rms_norm(x, weight.value(), eps);
    }
    NormParameters { weight: weight.clone(), bias: None, eps }.on_tape(x)
}

/// `(x - mean(x)) / sqrt(var(x) + eps) * weight + bias` (Ba et al. 2016), statistics in f32 (f64 for f64).
///
/// - `x`: `[T, width]` in the run's dtype; `weight`, `bias`: `[width]`
/// - returns `[T, width]`. Gradients to `x`, `weight` and `bias`.
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn layer_norm(x: &Tensor, weight: &Parameter, bias: &Parameter, eps: f64) -> Result<Tensor> {
    if Path::of(x) == Path::Plain {
        return plain::layer_norm(x, weight.value(), bias.value(), eps);
    }
    NormParameters { weight: weight.clone(), bias: Some(bias.clone()), eps }.on_tape(x)
}

/// Both norms on candle's tape.
struct Norm(NormParameters);

/// What normalises one row: `(x - mean) * scale`.
struct Statistics<R> {
    mean: R,
    scale: R,
}

impl NormParameters {
    #[inline(always)]
    fn statistics<R: Real>(&self, x: &[R]) -> Statistics<R> {
        let n = R::from_f64(x.len() as f64);
        let eps = R::from_f64(self.eps);
        if self.bias.is_none() {
            return Statistics { mean: R::ZERO, scale: R::ONE / (dot(x, x) / n + eps).sqrt() };
        }
        let mean = sum(x) / n;
        let mut squares = [R::ZERO; 16];
        let (blocks, rest) = x.as_chunks::<16>();
        for block in blocks {
            for lane in 0..16 {
                let d = block[lane] - mean;
                squares[lane] = d.mul_add(d, squares[lane]);
            }
        }
        let mut total = sum_lanes(squares);
        for &value in rest {
            total += (value - mean) * (value - mean);
        }
        Statistics { mean, scale: R::ONE / (total / n + eps).sqrt() }
    }

    fn forward<R: Real>(&self, x: &[R], width: usize) -> Result<Vec<R>> {
        let mut out = vec![R::ZERO; x.len()];
        self.weight.with_value(|w: &[R]| {
            out.par_chunks_mut(ROWS * width).zip(x.par_chunks(ROWS * width)).for_each(
                |(out, x)| {
                    vectorized(
                        #[inline(always)]
                        || {
                            for (out, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
                                let Statistics { mean, scale } = self.statistics(x);
                                for ((y, x), w) in out.iter_mut().zip(x).zip(w) {
                                    *y = (*x - mean) * scale * *w;
                                }
                            }
                        },
                    );
                },
            );
            Ok(())
        })?;
        if let Some(bias) = &self.bias {
            bias.with_value(|b: &[R]| {
                out.par_chunks_mut(width).for_each(|row| {
                    for (y, b) in row.iter_mut().zip(b) {
                        *y += *b;
                    }
                });
                Ok(())
            })?;
        }
        Ok(out)
    }

    /// The gradient to `x` on the CPU's path; those of trained parameters go to their buffers.
    ///
    /// - `x`, `grad`: `[T, width]`, dense
    pub(super) fn backward(&self, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
        match x.dtype() {
            DType::F32 => self.backward_in::<f32>(x, grad),
            _ => self.backward_in::<f64>(x, grad),
        }
    }

    fn backward_in<R: Real>(&self, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let (rows, width) = x.dims2()?;
        let mut dx = vec![R::ZERO; rows * width];
        let n_tasks = rows.div_ceil(ROWS);
        // Per task, the sums over its rows of grad * normalised x: partial sums of the weight's gradient.
        let mut d_weight = vec![R::ZERO; n_tasks * width];
        with_slice(x, |x: &[R]| {
            with_slice(grad, |g: &[R]| {
                self.weight.with_value(|w: &[R]| {
                    dx.par_chunks_mut(ROWS * width)
                        .zip(d_weight.par_chunks_mut(width))
                        .zip(x.par_chunks(ROWS * width).zip(g.par_chunks(ROWS * width)))
                        .for_each(|((dx, d_weight), (x, g))| {
                            vectorized(
                                #[inline(always)]
                                || self.backward_rows(dx, d_weight, x, g, w),
                            );
                        });
                    Ok(())
                })?;
                if let Some(bias) = self.bias.as_ref().filter(|bias| bias.is_trainable()) {
                    bias.accumulate(&Tensor::from_vec(sum_rows(g, width), width, grad.device())?)?;
                }
                Ok(())
            })
        })?;
        if self.weight.is_trainable() {
            let sums = sum_rows(&d_weight, width);
            self.weight.accumulate(&Tensor::from_vec(sums, width, grad.device())?)?;
        }
        Tensor::from_vec(dx, (rows, width), grad.device())
    }

    /// On a GPU, in bf16.
    #[cfg(feature = "cuda")]
    pub(super) fn forward_cuda(&self, x: Array) -> Result<Output> {
        let bias = self.bias.as_ref().map(|bias| Array::of(bias.value())).transpose()?;
        othink_cuda::norm(x, Array::of(self.weight.value())?, bias, self.eps)
    }

    /// The gradient to `x`, with `residual` added to it; those of trained parameters go to their buffers.
    #[cfg(feature = "cuda")]
    pub(super) fn backward_cuda(
        &self,
        x: Array,
        grad: Array,
        residual: Option<Array>,
    ) -> Result<Output> {
        let weight_sum = self.weight.destination(0..self.weight.value().dim(0)?)?;
        let bias_sum = match &self.bias {
            Some(bias) => bias.destination(0..bias.value().dim(0)?)?,
            None => None,
        };
        let parameters = othink_cuda::NormGradients {
            weight: weight_sum.as_ref().map(Destination::target).transpose()?,
            bias: bias_sum.as_ref().map(Destination::target).transpose()?,
        };
        let norm = othink_cuda::NormBackward {
            weight: Array::of(self.weight.value())?,
            is_centred: self.bias.is_some(),
            eps: self.eps,
        };
        othink_cuda::norm_backward(x, grad, residual, &norm, &parameters)
    }

    /// With `h = (x - mean) * scale` and `d = grad * w`:
    /// `dx = scale * (d - mean(d) - h * mean(d * h))`, without `mean(d)` for RMSNorm.
    #[inline(always)]
    fn backward_rows<R: Real>(&self, dx: &mut [R], dw: &mut [R], x: &[R], g: &[R], w: &[R]) {
        let width = w.len();
        let n = R::from_f64(width as f64);
        let mut h = vec![R::ZERO; width];
        let mut d = vec![R::ZERO; width];
        for ((dx, x), g) in
            dx.chunks_exact_mut(width).zip(x.chunks_exact(width)).zip(g.chunks_exact(width))
        {
            let Statistics { mean, scale } = self.statistics(x);
            for i in 0..width {
                h[i] = (x[i] - mean) * scale;
                d[i] = g[i] * w[i];
                dw[i] = g[i].mul_add(h[i], dw[i]);
            }
            let along = dot(&d, &h) / n;
            let centre = if self.bias.is_some() { sum(&d) / n } else { R::ZERO };
            for i in 0..width {
                dx[i] = scale * (d[i] - centre - h[i] * along);
            }
        }
    }
}

impl CustomOp1 for Norm {
    fn name(&self) -> &'static str {
        "norm"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, width) = layout.shape().dims2()?;
        let out = match storage {
            CpuStorage::F32(_) => {
                CpuStorage::F32(self.0.forward(slice_of(storage, layout)?, width)?)
            }
            _ => CpuStorage::F64(self.0.forward(slice_of(storage, layout)?, width)?),
        };
        Ok((out, layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        Ok(self.0.forward_cuda(Array::of_storage(storage, layout)?)?.into_parts())
    }

    fn bwd(&self, x: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        #[cfg(feature = "cuda")]
        if Path::of(x) == Path::Cuda {
            let dx = self.0.backward_cuda(Array::of(x)?, Array::of(&grad)?, None)?;
            return Ok(Some(dx.into_tensor()));
        }
        self.0.backward(x, &grad).map(Some)
    }
}
