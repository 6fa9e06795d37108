//! The vocabulary head on the plain path: computed by chunks of rows, and each chunk again for its gradient.
//! Not here: the composition (`plain`), the CPU's kernel (`token_logprob`).

use std::ops::Range;

use candle_core::backend::BackendStorage;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, Layout, Result, Shape, Storage, Tensor, Var, bail,
};

use super::parameter::Parameter;
use super::plain;
use super::token_logprob::{MAX_LOGITS, TokenLogprob};

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
    let (detached, table) = (hidden.detach(), weight.value().detach());
    let (mut logp, mut entropy) = (Vec::new(), Vec::new());
    for Range { start, end } in chunks(hidden.dim(0)?, table.dim(0)?) {
        let part = detached.narrow(0, start, end - start)?;
        let all = plain::log_probabilities(&part, &table, temperature)?; // [chunk, vocab]
        logp.push(plain::gather(&all, &targets.narrow(0, start, end - start)?)?);
        entropy.push((all.exp()? * all)?.sum(1)?.neg()?);
    }
    let (logp, entropy) = (Tensor::cat(&logp, 0)?, Tensor::cat(&entropy, 0)?);
    let (weight, targets) = (weight.clone(), targets.clone());
    let head = RecomputedHead { weight, targets, temperature, logp };
    Ok(TokenLogprob { logp: hidden.apply_op1(head)?, entropy })
}

/// Ranges of rows whose logits are held at once; a single empty range where there are no rows.
fn chunks(rows: usize, vocab: usize) -> impl Iterator<Item = Range<usize>> {
    let chunk = (MAX_LOGITS / vocab.max(1)).max(1);
    (0..rows.max(1)).step_by(chunk).map(move |start| start..(start + chunk).min(rows))
}

/// Replaces the composition on the tape: its log-probabilities are computed already, and its backward pass
/// computes the composition again for their gradient.
struct RecomputedHead {
    weight: Parameter,
    targets: Tensor,
    temperature: f64,
    logp: Tensor,
}

impl CustomOp1 for RecomputedHead {
    fn name(&self) -> &'static str {
        "recomputed_head"
    }

    fn cpu_fwd(&self, _hidden: &CpuStorage, _layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (storage, layout) = self.logp.storage_and_layout();
        match &*storage {
            Storage::Cpu(logp) => Ok((logp.try_clone(layout)?, layout.shape().clone())),
            _ => bail!("log-probabilities and hidden states are on different devices"),
        }
    }

    fn cuda_fwd(&self, _hidden: &CudaStorage, _layout: &Layout) -> Result<(CudaStorage, Shape)> {
        let (storage, layout) = self.logp.storage_and_layout();
        match &*storage {
            Storage::Cuda(logp) => Ok((logp.try_clone(layout)?, layout.shape().clone())),
            _ => bail!("log-probabilities and hidden states are on different devices"),
        }
    }

    fn bwd(&self, hidden: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        let mut gradients = Vec::new();
        for Range { start, end } in chunks(hidden.dim(0)?, self.weight.value().dim(0)?) {
            let part = |x: &Tensor| x.narrow(0, start, end - start);
            let x = Var::from_tensor(&part(hidden)?)?;
            let (table, targets) = (self.weight.value(), part(&self.targets)?);
            let logp = plain::token_logprob(&x, table, &targets, self.temperature)?;
            let mut store = (logp * part(grad)?)?.sum_all()?.backward()?;
            self.weight.collect(&mut store)?;
            gradients.push(match store.remove(&x) {
                Some(gradient) => gradient.detach(),
                None => x.zeros_like()?,
            });
        }
        Tensor::cat(&gradients, 0).map(Some)
    }
}
