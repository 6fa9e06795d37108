//! Log-probabilities of given tokens under the vocabulary head, without keeping logits.
//! Not here: which rows predict which tokens (`model::packed`), sampling (`rollout`).

use candle_core::{Result, Tensor, bail};

#[cfg(feature = "cuda")]
use super::cuda_head;
use super::parameter::Parameter;
use super::path::Path;
use super::{cpu_head, plain_head};

/// Logits held at once on the plain path, in elements: 64 MiB of f32.
pub const MAX_LOGITS: usize = 1 << 24;
/// Rows whose logits are held at once in bf16 on a GPU: 0.6 GB of f32 for Qwen2-VL's vocabulary.
pub const ROWS_ON_GPU: usize = 1024;

/// What [`token_logprob`] returns.
#[derive(Debug, Clone)]
pub struct TokenLogprob {
    /// `[N]` f32 (f64 for f64), nats: the log-probability of each target. On a GPU it is NaN where the target is beyond the
    /// vocabulary.
    pub logp: Tensor,
    /// `[N]` f32 (f64 for f64), nats: the entropy of each row's distribution; no gradient flows.
    pub entropy: Tensor,
}

/// `log softmax(hidden W^T / temperature)[target]` for every row, and the entropy of that softmax.
///
/// Rows are taken in chunks, and on the CPU the vocabulary in blocks; the backward pass computes logits again, so that on every path
/// no `[N, vocab]` matrix is ever held. Softmax statistics are taken in f32 or wider.
///
/// - `hidden`: `[N, hidden]` in the run's dtype; `weight`: `[vocab, hidden]`
/// - `targets`: `[N]` u32, below `vocab`; `temperature` > 0
/// - returns `[N]` twice. Gradients of `logp` to `hidden` and `weight`.
///
/// # Errors
/// Shapes do not fit; on the CPU, a target is beyond the vocabulary. Nobody waits for a GPU to tell.
pub fn token_logprob(
    hidden: &Tensor,
    weight: &Parameter,
    targets: &Tensor,
    temperature: f64,
) -> Result<TokenLogprob> {
    let (rows, inner) = hidden.dims2()?;
    let (vocab, expected) = weight.value().dims2()?;
    if inner != expected || targets.dims() != [rows] {
        let (h, t) = (hidden.dims(), targets.dims());
        bail!(
            "token_logprob: hidden {h:?}, targets {t:?} and weight [{vocab}, {expected}] do not fit"
        );
    }
    match Path::of(hidden) {
        Path::Cpu => cpu_head::token_logprob(hidden, weight, targets, temperature),
        #[cfg(feature = "cuda")]
        Path::Cuda => cuda_head::token_logprob(hidden, weight, targets, temperature),
        Path::Plain => plain_head::token_logprob(hidden, weight, targets, temperature),
    }
}
