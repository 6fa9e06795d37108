//! GELU, `x Phi(x)` with `Phi` the normal distribution (Hendrycks and Gimpel 2016), in its three forms, with their gradients.
//! Not here: the gated activation of the language model (`swiglu`).

use std::marker::PhantomData;

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor};
#[cfg(feature = "cuda")]
use candle_core::{CudaStorage, bail};
#[cfg(feature = "cuda")]
use othink_cuda::{Activation, Array};
use rayon::prelude::*;

use super::path::Path;
use super::plain;
use super::real::{Real, slice_of, vectorized, with_slice};
use super::swiglu::sigmoid;

/// Elements per parallel task.
const CHUNK: usize = 1 << 14;

/// Which form, where a model has one of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gelu {
    /// [`quick_gelu`].
    Quick,
    /// [`gelu_tanh`].
    Tanh,
    /// [`gelu_erf`].
    Erf,
}

impl Gelu {
    /// The activation of every number.
    ///
    /// # Errors
    /// The dtype is not a float.
    pub fn apply(self, x: &Tensor) -> Result<Tensor> {
        match self {
            Self::Quick => quick_gelu(x),
            Self::Tanh => gelu_tanh(x),
            Self::Erf => gelu_erf(x),
        }
    }

    /// The gradient to `x` of [`Self::apply`] on the CPU's path; both dense.
    pub(super) fn backward(self, x: &Tensor, grad: &Tensor) -> Result<Tensor> {
        match self {
            Self::Quick => Elementwise::<QuickGelu>::backward_of(x, grad),
            Self::Tanh => Elementwise::<GeluTanh>::backward_of(x, grad),
            Self::Erf => Elementwise::<GeluErf>::backward_of(x, grad),
        }
    }
}

#[cfg(feature = "cuda")]
impl From<Gelu> for Activation {
    fn from(form: Gelu) -> Self {
        match form {
            Gelu::Quick => Self::QuickGelu,
            Gelu::Tanh => Self::GeluTanh,
            Gelu::Erf => Self::GeluErf,
        }
    }
}

/// `x / (1 + exp(-1.702 x))`, the approximation of CLIP and Qwen2-VL's vision tower.
///
/// - `x`: any shape, the run's dtype; returns that shape. Gradient to `x`.
///
/// # Errors
/// The dtype is not a float.
pub fn quick_gelu(x: &Tensor) -> Result<Tensor> {
    match Path::of(x) {
        Path::Cpu => x.contiguous()?.apply_op1(Elementwise(PhantomData::<QuickGelu>)),
        #[cfg(feature = "cuda")]
        Path::Cuda => x.contiguous()?.apply_op1(OnGpu(Gelu::Quick.into())),
        Path::Plain => plain::quick_gelu(x),
    }
}

/// `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`, the approximation that transformers calls `gelu_pytorch_tanh`.
///
/// - `x`: any shape, the run's dtype; returns that shape. Gradient to `x`.
///
/// # Errors
/// The dtype is not a float.
pub fn gelu_tanh(x: &Tensor) -> Result<Tensor> {
    match Path::of(x) {
        Path::Cpu => x.contiguous()?.apply_op1(Elementwise(PhantomData::<GeluTanh>)),
        #[cfg(feature = "cuda")]
        Path::Cuda => x.contiguous()?.apply_op1(OnGpu(Gelu::Tanh.into())),
        Path::Plain => plain::gelu_tanh(x),
    }
}

/// `x Phi(x)`, exact: the activation of Qwen2-VL's patch merger.
///
/// - `x`: any shape, the run's dtype; returns that shape. Gradient to `x`.
///
/// # Errors
/// The dtype is not a float.
pub fn gelu_erf(x: &Tensor) -> Result<Tensor> {
    match Path::of(x) {
        Path::Cpu => x.contiguous()?.apply_op1(Elementwise(PhantomData::<GeluErf>)),
        #[cfg(feature = "cuda")]
        Path::Cuda => x.contiguous()?.apply_op1(OnGpu(Gelu::Erf.into())),
        Path::Plain => plain::gelu_erf(x),
    }
}

/// An activation as a function of one number, with its derivative.
trait Function: Send + Sync + 'static {
    const NAME: &'static str;
    fn value<R: Real>(x: R) -> R;
    fn slope<R: Real>(x: R) -> R;
}

struct QuickGelu;

/// The steepness of [`quick_gelu`].
const STEEPNESS: f64 = 1.702;

impl Function for QuickGelu {
    const NAME: &'static str = "quick_gelu";

    #[inline(always)]
    fn value<R: Real>(x: R) -> R {
        x * sigmoid(R::from_f64(STEEPNESS) * x)
    }

    #[inline(always)]
    fn slope<R: Real>(x: R) -> R {
        let steepness = R::from_f64(STEEPNESS);
        let s = sigmoid(steepness * x);
        s + steepness * x * s * (R::ONE - s)
    }
}

struct GeluTanh;

/// The weight of the cube in [`gelu_tanh`].
const CUBIC: f64 = 0.044_715;

/// `2 sqrt(2 / pi)`: since `(1 + tanh(u)) / 2 = sigmoid(2 u)`, what is multiplied by `x + 0.044715 x^3` there.
const TWICE: f64 = 2.0 * std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;

impl Function for GeluTanh {
    const NAME: &'static str = "gelu_tanh";

    #[inline(always)]
    fn value<R: Real>(x: R) -> R {
        x * sigmoid(R::from_f64(TWICE) * (x + R::from_f64(CUBIC) * x * x * x))
    }

    #[inline(always)]
    fn slope<R: Real>(x: R) -> R {
        let (twice, cubic) = (R::from_f64(TWICE), R::from_f64(CUBIC) * x * x);
        let s = sigmoid(twice * (x + cubic * x));
        s + x * s * (R::ONE - s) * twice * (R::ONE + R::from_f64(3.0) * cubic)
    }
}

struct GeluErf;

/// The normal distribution, `(1 + erf(x / sqrt(2))) / 2`.
#[inline(always)]
fn phi<R: Real>(x: R) -> R {
    let half = R::from_f64(0.5);
    half + half * (R::from_f64(std::f64::consts::FRAC_1_SQRT_2) * x).erf()
}

impl Function for GeluErf {
    const NAME: &'static str = "gelu_erf";

    #[inline(always)]
    fn value<R: Real>(x: R) -> R {
        x * phi(x)
    }

    #[inline(always)]
    fn slope<R: Real>(x: R) -> R {
        // 1 / sqrt(2 pi), the density at 0.
        let top = 0.5 * std::f64::consts::FRAC_2_SQRT_PI * std::f64::consts::FRAC_1_SQRT_2;
        phi(x) + x * R::from_f64(top) * (R::from_f64(-0.5) * x * x).exp()
    }
}

struct Elementwise<F>(PhantomData<F>);

impl<F: Function> Elementwise<F> {
    fn forward<R: Real>(x: &[R]) -> Vec<R> {
        let mut out = vec![R::ZERO; x.len()];
        out.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).for_each(|(out, x)| {
            vectorized(
                #[inline(always)]
                || {
                    for (y, &x) in out.iter_mut().zip(x) {
                        *y = F::value(x);
                    }
                },
            );
        });
        out
    }

    fn backward_of(x: &Tensor, grad: &Tensor) -> Result<Tensor> {
        match x.dtype() {
            DType::F32 => Self::backward::<f32>(x, grad),
            _ => Self::backward::<f64>(x, grad),
        }
    }

    fn backward<R: Real>(x: &Tensor, grad: &Tensor) -> Result<Tensor> {
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
                                    dx[i] = grad[i] * F::slope(x[i]);
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

impl<F: Function> CustomOp1 for Elementwise<F> {
    fn name(&self) -> &'static str {
        F::NAME
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let out = match storage {
            CpuStorage::F32(_) => CpuStorage::F32(Self::forward(slice_of(storage, layout)?)),
            _ => CpuStorage::F64(Self::forward(slice_of(storage, layout)?)),
        };
        Ok((out, layout.shape().clone()))
    }

    fn bwd(&self, x: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        Self::backward_of(x, &grad.contiguous()?).map(Some)
    }
}

/// An activation by the GPU's kernel.
#[cfg(feature = "cuda")]
struct OnGpu(Activation);

#[cfg(feature = "cuda")]
impl CustomOp1 for OnGpu {
    fn name(&self) -> &'static str {
        "activation"
    }

    fn cpu_fwd(&self, _storage: &CpuStorage, _layout: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("{:?}: a kernel of the GPU was given an array on the CPU", self.0)
    }

    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let x = Array::of_storage(storage, layout)?;
        Ok(othink_cuda::activate(x, self.0)?.into_parts())
    }

    fn bwd(&self, x: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let grad = grad.contiguous()?;
        let dx = othink_cuda::activate_backward(Array::of(x)?, Array::of(&grad)?, self.0)?;
        Ok(Some(dx.into_tensor()))
    }
}
