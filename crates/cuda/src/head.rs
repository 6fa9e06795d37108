//! Log-probabilities of given tokens under the vocabulary head, with their gradients, a chunk of rows at a time.
//! Not here: the products (`product`), where the weight's gradient is kept.

use std::ops::Range;

use candle_core::{CudaDevice, DType, Result, bail};

use super::array::{Array, Output, Target};
use super::launch::{Argument, Grid, Kernel, kernel, launch};
use super::product::{Matrix, gemm};

const STATISTICS: Kernel = kernel!("head", "head_statistics");
const SLOPES: Kernel = kernel!("head", "head_slopes");

/// Threads of a block, which has a row.
const THREADS: usize = 512;

/// What a softmax over logits is asked about.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    /// `[N, hidden]` bf16.
    pub hidden: Array<'a>,
    /// `[vocab, hidden]` bf16.
    pub weight: Array<'a>,
    /// `[N]` u32.
    pub targets: Array<'a>,
    /// Above 0.
    pub temperature: f64,
    /// Rows whose logits are held at once, above 0: a thousand rows of a vocabulary of 151,936 are 0.6 GB of f32.
    pub rows_at_once: usize,
}

/// What [`token_logprob`] returns, `[N]` f32 each, in nats.
pub struct HeadStatistics {
    /// The log-probability of each target.
    pub logp: Output,
    /// The logarithm of each softmax's denominator, which the backward pass takes.
    pub log_sum_exp: Output,
    /// The entropy of each row's distribution.
    pub entropy: Output,
}

/// `log softmax(hidden W^T / temperature)[target]`, with the logits in f32.
///
/// A target beyond the vocabulary has a log-probability of NaN: nothing is read from there, and nobody waits for the device
/// to refuse it.
///
/// # Errors
/// Shapes or dtypes do not fit.
pub fn token_logprob(head: Head) -> Result<HeadStatistics> {
    let Sizes { rows, vocab, .. } = head.sizes()?;
    let device = head.hidden.device();
    let [logp, log_sum_exp, entropy] = [(), (), ()].map(|()| Output::new(device, rows, DType::F32));
    let result = HeadStatistics { logp: logp?, log_sum_exp: log_sum_exp?, entropy: entropy? };
    let logits = Logits::new(device, rows.min(head.rows_at_once), vocab)?;
    let logits = logits.matrix()?;
    for chunk in head.chunks(rows) {
        let logits = head.logits(logits, chunk.clone())?;
        let part = |array: Array| Matrix::of(array).rows(chunk.clone()).map(Argument::from);
        let arguments = [
            logits.into(),
            part(head.targets)?,
            part(result.logp.array()?)?,
            part(result.log_sum_exp.array()?)?,
            part(result.entropy.array()?)?,
            vocab.into(),
            logits.stride().into(),
        ];
        let grid = Grid { blocks: [chunk.len(), 1, 1], threads: THREADS, shared: 0 };
        // SAFETY: the first array has a row of `stride` >= vocab numbers for each block, a multiple of 8, and all others a
        // number for each.
        unsafe { launch(device, &STATISTICS, grid, &arguments)? };
    }
    Ok(result)
}

/// The gradient of [`token_logprob`]'s `logp` to `hidden`; that to the weight is added to `weight`.
///
/// Each chunk's logits are computed again, and rewritten in place as slopes in bf16, which both products take.
///
/// - `log_sum_exp`: `[N]` f32, of the forward pass; `grad`: `[N]` f32; `weight`: `[vocab, hidden]`, `None` where it is frozen
/// - returns `[N, hidden]` bf16
///
/// # Errors
/// Shapes or dtypes do not fit, or there are no rows.
pub fn token_logprob_backward(
    head: Head,
    log_sum_exp: Array,
    grad: Array,
    weight: Option<Target>,
) -> Result<Output> {
    let Sizes { rows, inner, vocab } = head.sizes()?;
    if rows == 0 {
        bail!("a head's gradient without rows") // nothing would be written where its weight's is
    }
    let log_sum_exp = log_sum_exp.require("log-sum-exp", DType::F32, &[rows])?;
    let grad = grad.require("a log-probability's gradient", DType::F32, &[rows])?;
    let device = head.hidden.device();
    let dx = Output::new(device, (rows, inner), DType::BF16)?;
    let (dx_rows, hidden) = (Matrix::of(dx.array()?), Matrix::of(head.hidden));
    let logits = Logits::new(device, rows.min(head.rows_at_once), vocab)?;
    let logits = logits.matrix()?;
    for chunk in head.chunks(rows) {
        let logits = head.logits(logits, chunk.clone())?;
        let part = |array: Array| Matrix::of(array).rows(chunk.clone()).map(Argument::from);
        let arguments = [
            logits.into(),
            part(head.targets)?,
            part(log_sum_exp)?,
            part(grad)?,
            vocab.into(),
            logits.stride().into(),
            (1.0 / head.temperature).into(),
        ];
        let grid = Grid { blocks: [chunk.len(), 1, 1], threads: THREADS, shared: 0 };
        // SAFETY: the first array has a row of `stride` >= vocab numbers for each block, a multiple of 8, and all others a
        // number for each.
        unsafe { launch(device, &SLOPES, grid, &arguments)? };
        let slopes = logits.as_bf16().first_columns(vocab)?;
        gemm(dx_rows.rows(chunk.clone())?, 0.0, 1.0, slopes, Matrix::of(head.weight))?;
        if let Some(Target { array, add }) = weight {
            let beta = f32::from(add || chunk.start > 0);
            gemm(Matrix::of(array), beta, 1.0, slopes.t(), hidden.rows(chunk)?)?;
        }
    }
    Ok(dx)
}

struct Sizes {
    rows: usize,
    inner: usize,
    vocab: usize,
}

impl Head<'_> {
    fn sizes(&self) -> Result<Sizes> {
        let [rows, inner] = *self.hidden.shape().dims() else {
            bail!("hidden states are {:?}, expected [N, hidden]", self.hidden.shape())
        };
        let [vocab, _] = *self.weight.shape().dims() else {
            bail!("a head's weight is {:?}, expected [vocab, hidden]", self.weight.shape())
        };
        self.hidden.require("hidden states", DType::BF16, &[rows, inner])?;
        self.weight.require("a head's weight", DType::BF16, &[vocab, inner])?;
        self.targets.require("targets", DType::U32, &[rows])?;
        if self.rows_at_once == 0 {
            bail!("a head that may hold no row's logits")
        }
        Ok(Sizes { rows, inner, vocab })
    }

    /// The rows, in chunks.
    fn chunks(&self, rows: usize) -> impl Iterator<Item = Range<usize>> + use<> {
        let step = self.rows_at_once;
        (0..rows).step_by(step).map(move |start| start..rows.min(start + step))
    }

    /// The logits of some rows over the temperature, in the first rows of `room`.
    fn logits<'r>(&self, room: Matrix<'r>, rows: Range<usize>) -> Result<Matrix<'r>> {
        let logits = room.rows(0..rows.len())?;
        let (hidden, weight) = (Matrix::of(self.hidden).rows(rows)?, Matrix::of(self.weight));
        let (vocab, _) = weight.dims();
        let alpha = (1.0 / self.temperature) as f32;
        gemm(logits.first_columns(vocab)?, 0.0, alpha, hidden, weight.t())?;
        Ok(logits)
    }
}

/// Room for a chunk's logits, in rows that start at a multiple of 32 bytes.
struct Logits(Output);

impl Logits {
    fn new(device: &CudaDevice, rows: usize, vocab: usize) -> Result<Self> {
        let shape = (rows, vocab.next_multiple_of(8));
        Ok(Self(Output::new(device, shape, DType::F32)?))
    }

    fn matrix(&self) -> Result<Matrix<'_>> {
        Ok(Matrix::of(self.0.array()?))
    }
}
