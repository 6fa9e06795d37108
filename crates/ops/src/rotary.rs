//! Rotary position embedding, rotate-half form, on packed heads, with its gradient.
//! Not here: which position a token has (`processor::positions`), which angles that makes (`model::angles`).

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, bail};
#[cfg(feature = "cuda")]
use othink_cuda::Array;
use rayon::prelude::*;

use super::path::Path;
use super::plain;
use super::real::{Real, slice_of, vectorized, with_slice};

/// Cosines and sines of every token's angles.
#[derive(Debug, Clone)]
pub struct Angles {
    cos: Tensor,
    sin: Tensor,
}

impl Angles {
    /// Cosines and sines rounded to `dtype`, as transformers has them in the language model.
    ///
    /// - `angles`: `[T, head_dim / 2]`, radians; `dtype`: of what is rotated
    ///
    /// # Errors
    /// The tensor cannot be converted.
    pub fn new(angles: &Tensor, dtype: DType) -> Result<Self> {
        let kept = Self::kept(angles, dtype);
        let round = |x: Tensor| x.to_dtype(dtype)?.to_dtype(kept)?.contiguous();
        Ok(Self { cos: round(angles.cos()?)?, sin: round(angles.sin()?)? })
    }

    /// Cosines and sines in f32, as transformers has them in the vision tower. The plain path computes in one dtype: there
    /// they are rounded as of [`Self::new`].
    ///
    /// - `angles`: `[T, head_dim / 2]`, radians; `dtype`: of what is rotated
    ///
    /// # Errors
    /// The tensor cannot be converted.
    pub fn exact(angles: &Tensor, dtype: DType) -> Result<Self> {
        Self::new(angles, Self::kept(angles, dtype))
    }

    /// Cosines and sines, `[T, head_dim / 2]` each.
    pub fn parts(&self) -> [&Tensor; 2] {
        [&self.cos, &self.sin]
    }

    /// The GPU's kernel computes in f32 whatever it rotates; elsewhere angles have the dtype of what is rotated.
    fn kept(angles: &Tensor, dtype: DType) -> DType {
        match Path::resolve(angles.device(), dtype) {
            #[cfg(feature = "cuda")]
            Path::Cuda => DType::F32,
            Path::Cpu | Path::Plain => dtype,
        }
    }
}

/// Rotates each pair `(x[i], x[i + head_dim / 2])` by its token's angle `i` (Su et al. 2021, in the
/// rotate-half order of transformers).
///
/// - `x`: `[T, heads, head_dim]` in the dtype that `angles` were made for
/// - returns the same shape. Gradient to `x`.
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn rotary(x: &Tensor, angles: &Angles) -> Result<Tensor> {
    let (tokens, _, head_dim) = x.dims3()?;
    if angles.cos.dims() != [tokens, head_dim / 2] {
        bail!("rotary: angles {:?} do not fit {:?}", angles.cos.dims(), x.dims());
    }
    match Path::of(x) {
        Path::Cpu => Rotary { angles: angles.clone(), inverse: false }.apply(x),
        #[cfg(feature = "cuda")]
        Path::Cuda => Rotary { angles: angles.clone(), inverse: false }.apply(x),
        Path::Plain => plain::rotary(x, &angles.cos, &angles.sin),
    }
}

/// The gradient to `x` of [`rotary`], on the CPU's path: the rotation back.
pub(super) fn rotary_backward(grad: &Tensor, angles: &Angles) -> Result<Tensor> {
    grad.contiguous()?.apply_op1_no_bwd(&Rotary { angles: angles.clone(), inverse: true })
}

struct Rotary {
    angles: Angles,
    inverse: bool,
}

impl Rotary {
    fn apply(self, x: &Tensor) -> Result<Tensor> {
        x.contiguous()?.apply_op1(self)
    }

    fn run<R: Real>(&self, x: &[R], heads: usize, head_dim: usize) -> Result<Vec<R>> {
        let half = head_dim / 2;
        let mut out = vec![R::ZERO; x.len()];
        with_slice(&self.angles.cos, |cos: &[R]| {
            with_slice(&self.angles.sin, |sin: &[R]| {
                out.par_chunks_mut(heads * head_dim)
                    .zip(x.par_chunks(heads * head_dim))
                    .zip(cos.par_chunks(half).zip(sin.par_chunks(half)))
                    .for_each(|((out, x), (cos, sin))| {
                        vectorized(
                            #[inline(always)]
                            || self.rotate_token(out, x, cos, sin),
                        );
                    });
                Ok(())
            })
        })?;
        Ok(out)
    }

    #[inline(always)]
    fn rotate_token<R: Real>(&self, out: &mut [R], x: &[R], cos: &[R], sin: &[R]) {
        let half = cos.len();
        let sign = if self.inverse { R::ONE.neg() } else { R::ONE };
        for (out, x) in out.chunks_exact_mut(2 * half).zip(x.chunks_exact(2 * half)) {
            let (out_low, out_high) = out.split_at_mut(half);
            let (low, high) = x.split_at(half);
            for i in 0..half {
                let sin = sin[i] * sign;
                out_low[i] = low[i] * cos[i] - high[i] * sin;
                out_high[i] = high[i] * cos[i] + low[i] * sin;
            }
        }
    }
}

impl CustomOp1 for Rotary {
    fn name(&self) -> &'static str {
        "rotary"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (_, heads, head_dim) = layout.shape().dims3()?;
        let out = match storage {
            CpuStorage::F32(_) => {
                CpuStorage::F32(self.run(slice_of(storage, layout)?, heads, head_dim)?)
            }
            _ => CpuStorage::F64(self.run(slice_of(storage, layout)?, heads, head_dim)?),
        };
        Ok((out, layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, storage: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let (cos, sin) = (Array::of(&self.angles.cos)?, Array::of(&self.angles.sin)?);
        let x = Array::of_storage(storage, layout)?;
        Ok(othink_cuda::rotary(x, cos, sin, self.inverse)?.into_parts())
    }

    /// A rotation's gradient is the rotation back.
    fn bwd(&self, _x: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let back = Rotary { angles: self.angles.clone(), inverse: !self.inverse };
        grad.contiguous()?.apply_op1_no_bwd(&back).map(Some)
    }
}
