//! The activations between linear layers: SwiGLU in the language model, quick-GELU in the vision tower.
//! Not here: the exact GELU of the patch merger, which is candle's own `gelu_erf`.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::path::Path;
use super::plain;
use super::real::{Real, slice_of, vectorized, with_slice};

/// Elements per parallel task.
const CHUNK: usize = 1 << 14;

/// `silu(gate) * up` (Shazeer 2020), `silu(x) = x / (1 + exp(-x))`.
///
/// - `gate`, `up`: one shape, the run's dtype
/// - returns that shape. Gradients to both.
///
/// # Errors
/// Shapes or dtypes differ.
pub fn swiglu(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
    if gate.dims() != up.dims() {
        bail!("swiglu: gate is {:?}, up is {:?}", gate.dims(), up.dims());
    }
    match Path::of(gate) {
        Path::Cpu => gate.contiguous()?.apply_op2(&up.contiguous()?, SwiGlu),
        #[cfg(feature = "cuda")]
        Path::Cuda => plain::swiglu(gate, up),
        Path::Plain => plain::swiglu(gate, up),
    }
}

/// `x / (1 + exp(-1.702 x))`, the GELU approximation of CLIP and Qwen2-VL's vision tower.
///
/// - `x`: any shape, the run's dtype; returns that shape. Gradient to `x`.
///
/// # Errors
/// The dtype is not a float.
pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    match Path::of(x) {
        Path::Cpu => x.contiguous()?.apply_op1(QuickGelu),
        #[cfg(feature = "cuda")]
        Path::Cuda => plain::quick_gelu(x),
        Path::Plain => plain::quick_gelu(x),
    }
}

#[inline(always)]
fn sigmoid<R: Real>(x: R) -> R {
    R::ONE / (R::ONE + x.neg().exp())
}

struct SwiGlu;

impl SwiGlu {
    fn forward<R: Real>(gate: &[R], up: &[R]) -> Vec<R> {
        let mut out = vec![R::ZERO; gate.len()];
        out.par_chunks_mut(CHUNK).zip(gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK))).for_each(
            |(out, (gate, up))| {
                vectorized(
                    #[inline(always)]
                    || {
                        for ((y, &g), &u) in out.iter_mut().zip(gate).zip(up) {
                            *y = g * sigmoid(g) * u;
                        }
                    },
                );
            },
        );
        out
    }

    fn backward<R: Real>(gate: &Tensor, up: &Tensor, grad: &Tensor) -> Result<(Tensor, Tensor)> {
        let n = gate.elem_count();
        let (mut d_gate, mut d_up) = (vec![R::ZERO; n], vec![R::ZERO; n]);
        with_slice(gate, |gate: &[R]| {
            with_slice(up, |up: &[R]| {
                with_slice(grad, |grad: &[R]| {
                    d_gate
                        .par_chunks_mut(CHUNK)
                        .zip(d_up.par_chunks_mut(CHUNK))
                        .zip(gate.par_chunks(CHUNK).zip(up.par_chunks(CHUNK)))
                        .zip(grad.par_chunks(CHUNK))
                        .for_each(|(((d_gate, d_up), (gate, up)), grad)| {
                            vectorized(
                                #[inline(always)]
                                || {
                                    for i in 0..grad.len() {
                                        let s = sigmoid(gate[i]);
                                        let silu = gate[i] * s;
                                        d_up[i] = grad[i] * silu;
                                        d_gate[i] = grad[i] * up[i] * (s + silu * (R::ONE - s));
                                    }
                                },
                            );
                        });
                    Ok(())
                })
            })
        })?;
        let (shape, device) = (gate.shape(), gate.device());
        Ok((Tensor::from_vec(d_gate, shape, device)?, Tensor::from_vec(d_up, shape, device)?))
    }
}

impl CustomOp2 for SwiGlu {
    fn name(&self) -> &'static str {
        "swiglu"
    }

    fn cpu_fwd(
        &self,
        gate: &CpuStorage,
        gate_layout: &Layout,
        up: &CpuStorage,
        up_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let out = match gate {
            CpuStorage::F32(_) => CpuStorage::F32(Self::forward(
                slice_of(gate, gate_layout)?,
                slice_of(up, up_layout)?,
            )),
            _ => CpuStorage::F64(Self::forward(
                slice_of(gate, gate_layout)?,
                slice_of(up, up_layout)?,
            )),
        };
        Ok((out, gate_layout.shape().clone()))
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        let (d_gate, d_up) = match gate.dtype() {
            DType::F32 => Self::backward::<f32>(gate, up, &grad)?,
            _ => Self::backward::<f64>(gate, up, &grad)?,
        };
        Ok((Some(d_gate), Some(d_up)))
    }
}

struct QuickGelu;

/// The steepness of the approximation.
const STEEPNESS: f64 = 1.702;

impl QuickGelu {
    fn forward<R: Real>(x: &[R]) -> Vec<R> {
        let steepness = R::from_f64(STEEPNESS);
        let mut out = vec![R::ZERO; x.len()];
        out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(out, x)| {
            vectorized(
                #[inline(always)]
                || {
                    for (y, &x) in out.iter_mut().zip(x) {
                        *y = x * sigmoid(steepness * x);
                    }
                },
            );
        });
        out
    }

    fn backward<R: Real>(x: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let steepness = R::from_f64(STEEPNESS);
        let mut dx = vec![R::ZERO; x.elem_count()];
        with_slice(x, |x: &[R]| {
            with_slice(grad, |grad: &[R]| {
                dx.par_chunks_mut(CHUNK)
                    .zip(x.par_chunks(CHUNK).zip(grad.par_chunks(CHUNK)))
                    .for_each(|(dx, (x, grad))| {
                        vectorized(
                            #[inline(always)]
                            || {
                                for i in 0..grad.len() {
                                    let s = sigmoid(steepness * x[i]);
                                    let slope = s + steepness * x[i] * s * (R::ONE - s);
                                    dx[i] = grad[i] * slope;
                                }
                            },
                        );
                    });
                Ok(())
            })
        })?;
        Tensor::from_vec(dx, x.shape(), x.device())
    }
}

impl CustomOp1 for QuickGelu {
    fn name(&self) -> &'static str {
        "quick_gelu"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let out = match storage {
            CpuStorage::F32(_) => CpuStorage::F32(Self::forward(slice_of(storage, layout)?)),
            _ => CpuStorage::F64(Self::forward(slice_of(storage, layout)?)),
        };
        Ok((out, layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        match x.dtype() {
            DType::F32 => Self::backward::<f32>(x, &grad).map(Some),
            _ => Self::backward::<f64>(x, &grad).map(Some),
        }
    }
}
