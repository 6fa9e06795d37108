//! SwiGLU, the gated activation of the language model, with its gradients.
//! Not here: activations of one input (`gelu`).

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp2, DType, Layout, Result, Shape, Tensor, bail};
#[cfg(feature = "cuda")]
use othink_cuda::Array;
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
        Path::Cpu => SwiGlu::apply(gate, up),
        #[cfg(feature = "cuda")]
        Path::Cuda => SwiGlu::apply(gate, up),
        Path::Plain => plain::swiglu(gate, up),
    }
}

/// The gradients of [`swiglu`] to `gate` and `up` on the CPU's path.
pub(super) fn swiglu_backward(
    gate: &Tensor,
    up: &Tensor,
    grad: &Tensor,
) -> Result<(Tensor, Tensor)> {
    match gate.dtype() {
        DType::F32 => SwiGlu::backward::<f32>(gate, up, grad),
        _ => SwiGlu::backward::<f64>(gate, up, grad),
    }
}

#[inline(always)]
pub(super) fn sigmoid<R: Real>(x: R) -> R {
    R::ONE / (R::ONE + x.neg().exp())
}

struct SwiGlu;

impl SwiGlu {
    fn apply(gate: &Tensor, up: &Tensor) -> Result<Tensor> {
        gate.contiguous()?.apply_op2(&up.contiguous()?, Self)
    }

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

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        gate: &CudaStorage,
        gate_layout: &Layout,
        up: &CudaStorage,
        up_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let gate = Array::of_storage(gate, gate_layout)?;
        let up = Array::of_storage(up, up_layout)?;
        Ok(othink_cuda::swiglu(gate, up)?.into_parts())
    }

    fn bwd(
        &self,
        gate: &Tensor,
        up: &Tensor,
        _res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let grad = grad.contiguous()?;
        #[cfg(feature = "cuda")]
        if Path::of(gate) == Path::Cuda {
            let [gate, up, grad] = [gate, up, &grad].map(Array::of);
            let [d_gate, d_up] = othink_cuda::swiglu_backward(gate?, up?, grad?)?;
            return Ok((Some(d_gate.into_tensor()), Some(d_up.into_tensor())));
        }
        let (d_gate, d_up) = swiglu_backward(gate, up, &grad)?;
        Ok((Some(d_gate), Some(d_up)))
    }
}
