//! The start of a backward pass from gradients that are given for several tensors.
//! Not here: which tensors (the stages of `model`); what candle's tape does from there on.

#[cfg(feature = "cuda")]
use candle_core::backend::BackendDevice;
use candle_core::backprop::GradStore;
use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
#[cfg(feature = "cuda")]
use candle_core::{CudaStorage, DType, backend::BackendStorage};

/// Runs candle's backward pass from several tensors, each with its gradient: the gradients of
/// `sum(output * gradient)` over all of them, without computing that sum. `None` where there is no output.
///
/// - `outputs`: tensors on a tape, of any dtype, each with a gradient of its shape
///
/// # Errors
/// Shapes differ, or an operation's own.
pub fn backward(outputs: &[(&Tensor, &Tensor)]) -> Result<Option<GradStore>> {
    let mut root: Option<Tensor> = None;
    for (output, gradient) in outputs {
        if output.dims() != gradient.dims() {
            bail!("a gradient of shape {:?} for an output {:?}", gradient.dims(), output.dims());
        }
        let gradient = gradient.detach().to_dtype(output.dtype())?;
        let seed = output.apply_op1(Seed { gradient })?;
        root = Some(match root {
            Some(root) => (root + seed)?,
            None => seed,
        });
    }
    root.map(|root| root.backward()).transpose()
}

/// A scalar that stands for `sum(output * gradient)`: its value is no more than a zero, and its own gradient is one.
struct Seed {
    gradient: Tensor,
}

impl CustomOp1 for Seed {
    fn name(&self) -> &'static str {
        "seed"
    }

    fn cpu_fwd(&self, _output: &CpuStorage, _layout: &Layout) -> Result<(CpuStorage, Shape)> {
        Ok((CpuStorage::F32(vec![0.0]), Shape::from(())))
    }

    #[cfg(feature = "cuda")]
    fn cuda_fwd(&self, output: &CudaStorage, _layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let shape = Shape::from(());
        Ok((output.device().zeros_impl(&shape, DType::F32)?, shape))
    }

    fn bwd(&self, _output: &Tensor, _res: &Tensor, _grad: &Tensor) -> Result<Option<Tensor>> {
        Ok(Some(self.gradient.clone()))
    }
}
