//! The vocabulary head on a GPU: an operation on candle's tape around the kernels of `othink_cuda`.
//! Not here: those kernels, and how rows are cut into chunks; the CPU's kernel (`token_logprob`).

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CudaStorage, CustomOp1, Layout, Result, Shape, Tensor, bail};
use othink_cuda::Array;

use super::gradients::Destination;
use super::parameter::Parameter;
use super::token_logprob::{ROWS_ON_GPU, TokenLogprob};

/// See [`super::token_logprob()`].
///
/// # Errors
/// Shapes or dtypes do not fit.
pub(super) fn token_logprob(
    hidden: &Tensor,
    weight: &Parameter,
    targets: &Tensor,
    temperature: f64,
) -> Result<TokenLogprob> {
    let (weight, targets) = (weight.clone(), targets.contiguous()?);
    let seen = Arc::new(OnceLock::new());
    let head = Head { weight, targets, temperature, seen: seen.clone() };
    let logp = hidden.contiguous()?.apply_op1(head)?;
    let Some(RowStatistics { entropy, .. }) = seen.get() else {
        bail!("token_logprob: no forward pass")
    };
    Ok(TokenLogprob { logp, entropy: entropy.clone() })
}

/// `[N]` f32 each.
struct RowStatistics {
    log_sum_exp: Tensor,
    entropy: Tensor,
}

struct Head {
    weight: Parameter,
    targets: Tensor,
    temperature: f64,
    seen: Arc<OnceLock<RowStatistics>>,
}

impl Head {
    fn of<'a>(&'a self, hidden: Array<'a>) -> Result<othink_cuda::Head<'a>> {
        let (weight, targets) = (Array::of(self.weight.value())?, Array::of(&self.targets)?);
        let (temperature, rows_at_once) = (self.temperature, ROWS_ON_GPU);
        Ok(othink_cuda::Head { hidden, weight, targets, temperature, rows_at_once })
    }
}

impl CustomOp1 for Head {
    fn name(&self) -> &'static str {
        "token_logprob"
    }

    fn cpu_fwd(&self, _hidden: &CpuStorage, _layout: &Layout) -> Result<(CpuStorage, Shape)> {
        bail!("token_logprob: a GPU's kernel was given hidden states on the CPU")
    }

    fn cuda_fwd(&self, hidden: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let head = self.of(Array::of_storage(hidden, layout)?)?;
        let statistics = othink_cuda::token_logprob(head)?;
        self.seen.get_or_init(|| RowStatistics {
            log_sum_exp: statistics.log_sum_exp.into_tensor(),
            entropy: statistics.entropy.into_tensor(),
        });
        Ok(statistics.logp.into_parts())
    }

    fn bwd(&self, hidden: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let Some(RowStatistics { log_sum_exp, .. }) = self.seen.get() else {
            bail!("token_logprob: backward before forward")
        };
        let grad = grad.contiguous()?;
        let weight_sum = self.weight.destination(0..self.weight.value().dim(0)?)?;
        let weight_sum = weight_sum.as_ref().map(Destination::target).transpose()?;
        let (log_sum_exp, grad) = (Array::of(log_sum_exp)?, Array::of(&grad)?);
        let head = self.of(Array::of(hidden)?)?;
        let dx = othink_cuda::token_logprob_backward(head, log_sum_exp, grad, weight_sum)?;
        Ok(Some(dx.into_tensor()))
    }
}
