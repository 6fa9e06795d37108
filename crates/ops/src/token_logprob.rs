//! Log-probabilities of given tokens under the vocabulary head, without keeping logits.
//! Not here: which rows predict which tokens (`model::packed`), sampling (`rollout`).

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

#[cfg(feature = "cuda")]
use super::cuda_head;
use super::matmul::{Matrix, Store, Threads, matmul, sum_lanes};
use super::parameter::Parameter;
use super::path::Path;
use super::plain_head;
use super::real::{Real, slice_of, vectorized, with_slice};

/// Logits held at once, in elements: 64 MiB of f32.
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
/// Rows are taken in chunks; the backward pass computes each chunk's logits again, so that on every path no
/// `[N, vocab]` matrix is ever held. Softmax statistics are taken in f32 or wider.
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
        Path::Cpu => kernel(hidden, weight, targets, temperature),
        #[cfg(feature = "cuda")]
        Path::Cuda => cuda_head::token_logprob(hidden, weight, targets, temperature),
        Path::Plain => plain_head::token_logprob(hidden, weight, targets, temperature),
    }
}

fn kernel(
    hidden: &Tensor,
    weight: &Parameter,
    targets: &Tensor,
    temperature: f64,
) -> Result<TokenLogprob> {
    let vocab = weight.value().dim(0)?;
    let targets = targets.to_vec1::<u32>()?;
    if let Some(id) = targets.iter().find(|&&id| id as usize >= vocab) {
        bail!("token_logprob: target {id} is beyond the vocabulary of {vocab}");
    }
    let seen = Arc::new(OnceLock::new());
    let head = Head { weight: weight.clone(), vocab, targets, temperature, seen: seen.clone() };
    let logp = hidden.contiguous()?.apply_op1(head)?;
    let Some(RowStatistics { entropy, .. }) = seen.get() else {
        bail!("token_logprob: no forward pass")
    };
    let entropy = Tensor::new(entropy.as_slice(), hidden.device())?.to_dtype(logp.dtype())?;
    Ok(TokenLogprob { logp, entropy })
}

/// Per row, in f64: what the backward pass needs, and the entropy.
struct RowStatistics {
    logsumexp: Vec<f64>,
    entropy: Vec<f64>,
}

struct Head {
    weight: Parameter,
    vocab: usize,
    targets: Vec<u32>,
    temperature: f64,
    seen: Arc<OnceLock<RowStatistics>>,
}

/// One row's results.
#[derive(Clone, Copy)]
struct Row {
    logp: f64,
    logsumexp: f64,
    entropy: f64,
}

impl Head {
    fn chunk(&self) -> usize {
        (MAX_LOGITS / self.vocab).max(1)
    }

    /// Logits over temperature of the rows `x [n, inner]`, into `out [n, vocab]`.
    fn logits<R: Real>(&self, out: &mut [R], x: &[R], w: &[R], inner: usize) {
        let scale = R::from_f64(1.0 / self.temperature);
        let (x, w) =
            (Matrix::new(x, x.len() / inner, inner), Matrix::new(w, self.vocab, inner).t());
        matmul((out, self.vocab), Store::Overwrite, scale, x, w, Threads::All);
    }

    fn forward<R: Real>(&self, x: &[R], inner: usize) -> Result<Vec<R>> {
        let vocab = self.vocab;
        let mut rows = Vec::with_capacity(self.targets.len());
        self.weight.with_value(|w: &[R]| {
            let mut logits = vec![R::ZERO; self.chunk().min(self.targets.len()) * vocab];
            let chunks = x.chunks(self.chunk() * inner).zip(self.targets.chunks(self.chunk()));
            for (x, targets) in chunks {
                let logits = &mut logits[..targets.len() * vocab];
                self.logits(logits, x, w, inner);
                let part: Vec<Row> = logits
                    .par_chunks(vocab)
                    .zip(targets)
                    .map(|(logits, &target)| {
                        vectorized(
                            #[inline(always)]
                            || row_statistics(logits, target),
                        )
                    })
                    .collect();
                rows.extend(part);
            }
            Ok(())
        })?;
        self.seen.get_or_init(|| RowStatistics {
            logsumexp: rows.iter().map(|row| row.logsumexp).collect(),
            entropy: rows.iter().map(|row| row.entropy).collect(),
        });
        Ok(rows.iter().map(|row| R::from_f64(row.logp)).collect())
    }

    fn backward<R: Real>(&self, hidden: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let (rows, inner) = hidden.dims2()?;
        let vocab = self.vocab;
        let Some(statistics) = self.seen.get() else {
            bail!("token_logprob: backward before forward")
        };
        let mut dx = vec![R::ZERO; rows * inner];
        let chunk = self.chunk().min(rows.max(1));
        let mut slopes = vec![R::ZERO; chunk * vocab];
        let grad = grad.to_vec1::<R>()?;
        with_slice(hidden, |x: &[R]| {
            let parts = dx.chunks_mut(chunk * inner).zip(x.chunks(chunk * inner));
            for (i, (dx, x)) in parts.enumerate() {
                let n = x.len() / inner;
                let slopes = &mut slopes[..n * vocab];
                self.weight.with_value(|w: &[R]| {
                    self.logits(slopes, x, w, inner);
                    slopes.par_chunks_mut(vocab).enumerate().for_each(|(j, slopes)| {
                        let row = i * chunk + j;
                        let target = self.targets[row] as usize;
                        let scale = grad[row] * R::from_f64(1.0 / self.temperature);
                        let logsumexp = R::from_f64(statistics.logsumexp[row]);
                        vectorized(
                            #[inline(always)]
                            || {
                                for s in slopes.iter_mut() {
                                    *s = (*s - logsumexp).exp() * scale.neg();
                                }
                            },
                        );
                        slopes[target] += scale;
                    });
                    let slopes = Matrix::new(slopes, n, vocab);
                    let w = Matrix::new(w, vocab, inner);
                    matmul((dx, inner), Store::Overwrite, R::ONE, slopes, w, Threads::All);
                    Ok(())
                })?;
                self.weight.accumulate_outer(slopes, x, n, 0)?;
            }
            Ok(())
        })?;
        Tensor::from_vec(dx, (rows, inner), hidden.device())
    }
}

/// `log-sum-exp`, the target's log-probability and the entropy of one row of logits.
#[inline(always)]
fn row_statistics<R: Real>(logits: &[R], target: u32) -> Row {
    let (blocks, rest) = logits.as_chunks::<16>();
    let mut maxima = [R::NEG_INFINITY; 16];
    for block in blocks {
        for lane in 0..16 {
            maxima[lane] = maxima[lane].larger(block[lane]);
        }
    }
    let maximum = maxima.iter().chain(rest).fold(R::NEG_INFINITY, |m, &x| m.larger(x));
    let (mut sum, mut weighted) = (0.0, 0.0);
    // Partial sums over 4096 logits in the row's dtype, their total in f64, because the vocabulary is large.
    for part in logits.chunks(4096) {
        let (blocks, rest) = part.as_chunks::<16>();
        let (mut sums, mut moments) = ([R::ZERO; 16], [R::ZERO; 16]);
        for block in blocks {
            for lane in 0..16 {
                let shifted = block[lane] - maximum;
                let e = shifted.exp();
                sums[lane] += e;
                moments[lane] = e.mul_add(shifted, moments[lane]);
            }
        }
        sum += sum_lanes(sums).to_f64();
        weighted += sum_lanes(moments).to_f64();
        for &logit in rest {
            let shifted = logit - maximum;
            let e = shifted.exp();
            sum += e.to_f64();
            weighted += (e * shifted).to_f64();
        }
    }
    let log_sum = sum.ln();
    let logsumexp = maximum.to_f64() + log_sum;
    let logp = logits[target as usize].to_f64() - logsumexp;
    Row { logp, logsumexp, entropy: log_sum - weighted / sum }
}

impl CustomOp1 for Head {
    fn name(&self) -> &'static str {
        "token_logprob"
    }

    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (rows, inner) = layout.shape().dims2()?;
        let out = match storage {
            CpuStorage::F32(_) => CpuStorage::F32(self.forward(slice_of(storage, layout)?, inner)?),
            _ => CpuStorage::F64(self.forward(slice_of(storage, layout)?, inner)?),
        };
        Ok((out, rows.into()))
    }

    fn bwd(&self, hidden: &Tensor, _res: &Tensor, grad: &Tensor) -> Result<Option<Tensor>> {
        match hidden.dtype() {
            DType::F32 => self.backward::<f32>(hidden, grad).map(Some),
            _ => self.backward::<f64>(hidden, grad).map(Some),
        }
    }
}
