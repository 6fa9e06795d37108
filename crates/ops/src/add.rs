//! The sum of two tensors, as a residual connection has it, with its gradients.
//! Not here: gradients that are added to their buffers (`gradients`).

#[cfg(feature = "cuda")]
use candle_core::{CpuStorage, CudaStorage, CustomOp2, Layout, Shape, bail};
use candle_core::{Result, Tensor};
#[cfg(feature = "cuda")]
use othink_cuda::Array;

use super::path::Path;

/// `x + y`; candle's own but in bf16 on a GPU.
///
/// - `x`, `y`: one shape, the run's dtype
/// - returns that shape. Gradients to both: the sum's own.
///
/// # Errors
/// Shapes or dtypes differ.
pub fn add(x: &Tensor, y: &Tensor) -> Result<Tensor> {
    match Path::of(x) {
        #[cfg(feature = "cuda")]
        Path::Cuda => x.contiguous()?.apply_op2(&y.contiguous()?, Add),
        _ => x + y,
    }
}

#[cfg(feature = "cuda")]
struct Add;

#[cfg(feature = "cuda")]
impl CustomOp2 for Add {
    fn name(&self) -> &'static str {
        "add"
    }

    fn cpu_fwd(
        &self,
        _x: &CpuStorage,
        _x_layout: &Layout,
        _y: &CpuStorage,
        _y_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        bail!("add: the CPU has candle's own operation")
    }

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
