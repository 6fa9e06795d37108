//! The sum of two tensors, as a residual connection has it, with its gradients.
//! Not here: gradients that are added to their buffers (`gradients`).

#[cfg(feature = "cuda")]
use candle_core::CudaStorage;
use candle_core::{CpuStorage, CustomOp2, Layout, Result, Shape, Storage, Tensor, bail};
#[cfg(feature = "cuda")]
use othink_cuda::Array;
use rayon::prelude::*;

use super::path::Path;
use super::real::{Real, slice_of, vectorized};

/// Elements per parallel task.
const CHUNK: usize = 1 << 14;

/// `x + y`.
///
/// - `x`, `y`: one shape, the run's dtype
/// - returns that shape. Gradients to both: the sum's own.
///
/// # Errors
/// Shapes or dtypes differ.
pub fn add(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    match Path::of(x) {
        Path::Cpu => Add::apply(x, y),
        #[cfg(feature = "cuda")]
        Path::Cuda => Add::apply(x, y),
        Path::Plain => x + y,
    }
}

pub(super) struct Add;

impl Add {
    fn apply(x: &Tensor, y: &Tensor) -> Result<Tensor> {
        if x.dims() != y.dims() {
            bail!("add: {:?} and {:?}", x.dims(), y.dims());
        }
        x.contiguous()?.apply_op2(&y.contiguous()?, Self)
    }

    /// The sum with a tensor of the same shape, which must be dense.
    pub(super) fn to_storage(
        x: &CpuStorage,
        layout: &Layout,
        y: &Tensor,
    ) -> Result<(CpuStorage, Shape)> {
        let (storage, y_layout) = y.storage_and_layout();
        match &*storage {
            Storage::Cpu(y) => Self.cpu_fwd(x, layout, y, y_layout),
            _ => bail!("add: tensors of two devices"),
        }
    }

    fn forward<R: Real>(x: &[R], y: &[R]) -> Vec<R> {
        let mut out = x.to_vec();
        out.par_chunks_mut(CHUNK).zip(y.par_chunks(CHUNK)).for_each(|(out, y)| {
            vectorized(
                #[inline(always)]
                || {
                    for (sum, y) in out.iter_mut().zip(y) {
                        *sum += *y;
                    }
                },
            );
        });
        out
    }
}

impl CustomOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(
        &self,
        x: &CpuStorage,
        x_layout: &Layout,
        y: &CpuStorage,
        y_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let out = match x {
            CpuStorage::F32(_) => {
                CpuStorage::F32(Self::forward(slice_of(x, x_layout)?, slice_of(y, y_layout)?))
            }
            _ => CpuStorage::F64(Self::forward(slice_of(x, x_layout)?, slice_of(y, y_layout)?)),
        };
        Ok((out, x_layout.shape().clone()))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(
        &self,
        x: &CudaStorage,
        x_layout: &Layout,
        y: &CudaStorage,
        y_layout: &Layout,
    ) -> Result<(CudaStorage, Shape)> {
        let [x, y] = [Array::of_storage(x, x_layout), Array::of_storage(y, y_layout)];
        Ok(othink_cuda::add(x?, y?)?.into_parts())
    }

    fn bwd(
        &self,
        _x: &Tensor,
        _y: &Tensor,
        _res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(grad.clone()), Some(grad.clone())))
    }
}
