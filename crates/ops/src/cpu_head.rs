//! Log-probabilities under the vocabulary head on the CPU: logits exist a block at a time, in the cache of the thread that needs them.
//! Not here: the operation's contract (`token_logprob`), its other paths (`cuda_head`, `plain_head`).

use std::ops::Range;
use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp1, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::matmul::{Matrix, Store, Threads, matmul, product};
use super::parameter::Parameter;
use super::real::{Real, slice_of, vectorized, with_slice};
use super::token_logprob::TokenLogprob;

/// Rows of a block of logits.
const BLOCK_ROWS: usize = 512;
/// Tokens of a block of logits: 1 MiB of f32 with [`BLOCK_ROWS`].
const BLOCK_TOKENS: usize = 512;
/// Blocks for each thread whose gradients to the rows are held at once, until they are added up in the vocabulary's order.
const BLOCKS_PER_THREAD: usize = 2;
/// What the number of rows is rounded up to, with zeros: as many as a product takes without a copy of them.
const LANES: usize = 16;

/// Numbers that are held at once in the backward pass of [`token_logprob`](super::token_logprob()) on the CPU's path: blocks of logits,
/// and gradients to the rows.
pub fn head_numbers(rows: usize, vocab: usize, hidden: usize) -> usize {
    let (block_rows, blocks) = (rows.min(BLOCK_ROWS), vocab.div_ceil(BLOCK_TOKENS));
    let threads = rayon::current_num_threads();
    let logits = blocks.min(threads) * block_rows * vocab.min(BLOCK_TOKENS);
    let parts = blocks.min(BLOCKS_PER_THREAD * threads) * block_rows * hidden;
    logits + parts + (block_rows + rows) * hidden
}

pub(super) fn token_logprob(
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
    let head = Head { weight: weight.clone(), targets, temperature, seen: seen.clone() };
    let logp = hidden.contiguous()?.apply_op1(head)?;
    let Some(RowStatistics { entropy, .. }) = seen.get() else {
        bail!("token_logprob: no forward pass")
    };
    let entropy = Tensor::new(entropy.as_slice(), hidden.device())?.to_dtype(logp.dtype())?;
    Ok(TokenLogprob { logp, entropy })
}

/// Per row: what the backward pass needs, and the entropy.
struct RowStatistics {
    logsumexp: Vec<f64>,
    entropy: Vec<f64>,
}

struct Head {
    weight: Parameter,
    targets: Vec<u32>,
    temperature: f64,
    seen: Arc<OnceLock<RowStatistics>>,
}

/// Up to [`BLOCK_ROWS`] rows, transposed, since products are fastest along what is dense; so a column of the logits is a row's.
struct Columns<R> {
    /// `[inner, width]`
    x: Vec<R>,
    /// The number of rows, rounded up to [`LANES`].
    width: usize,
}

impl<R: Real> Columns<R> {
    /// Of the rows `x [n, inner]`.
    fn of(x: &[R], inner: usize) -> Self {
        let width = (x.len() / inner).next_multiple_of(LANES);
        let mut columns = vec![R::ZERO; inner * width];
        for (i, row) in x.chunks_exact(inner).enumerate() {
            for (column, value) in columns[i..].iter_mut().step_by(width).zip(row) {
                *column = *value;
            }
        }
        Self { x: columns, width }
    }

    /// Logits over temperature for the tokens of `w [m, inner]`: `[m, width]`.
    fn logits(&self, w: Matrix<R>, temperature: f64) -> Vec<R> {
        let x = Matrix::new(&self.x, w.dims()[1], self.width);
        product(R::from_f64(1.0 / temperature), w, x, Threads::One)
    }
}

/// Up to [`BLOCK_ROWS`] rows in the backward pass.
struct Rows<'a, R> {
    /// `[n, inner]`
    x: Matrix<'a, R>,
    columns: Columns<R>,
    targets: &'a [u32],
    /// `[width]`, with anything beyond the rows.
    logsumexp: Vec<R>,
    /// `[width]`, of the loss, to each row's log-probability over the temperature; zeros beyond the rows.
    grad: Vec<R>,
}

/// Some tokens of the vocabulary in the backward pass.
struct Tokens<'a, R> {
    first: usize,
    /// `[m, inner]`
    w: Matrix<'a, R>,
    /// The rows of the weight's gradient, where it is trained.
    dw: Option<&'a mut [R]>,
}

impl Head {
    fn forward<R: Real>(&self, x: &[R], inner: usize) -> Result<Vec<R>> {
        let mut sums: Vec<RowSums> = Vec::with_capacity(self.targets.len());
        self.weight.with_value(|w: &[R]| {
            let parts = x.chunks(BLOCK_ROWS * inner).zip(self.targets.chunks(BLOCK_ROWS));
            for (x, targets) in parts {
                let columns = Columns::of(x, inner);
                let blocks = w.par_chunks(BLOCK_TOKENS * inner).enumerate();
                let blocks = blocks.map(|(i, w)| {
                    let w = Matrix::new(w, w.len() / inner, inner);
                    let logits = columns.logits(w, self.temperature);
                    block_sums(&logits, columns.width, i * BLOCK_TOKENS, targets)
                });
                let blocks: Vec<Vec<RowSums>> = blocks.collect();
                let of_row = |row| blocks.iter().map(|block| block[row]).reduce(RowSums::and);
                sums.extend((0..targets.len()).filter_map(of_row));
            }
            Ok(())
        })?;
        self.seen.get_or_init(|| RowStatistics {
            logsumexp: sums.iter().map(RowSums::logsumexp).collect(),
            entropy: sums.iter().map(RowSums::entropy).collect(),
        });
        Ok(sums.iter().map(|sums| R::from_f64(sums.target - sums.logsumexp())).collect())
    }

    fn backward<R: Real>(&self, hidden: &Tensor, grad: &Tensor) -> Result<Tensor> {
        let (n, inner) = hidden.dims2()?;
        let Some(RowStatistics { logsumexp, .. }) = self.seen.get() else {
            bail!("token_logprob: backward before forward")
        };
        let mut dx = vec![R::ZERO; n * inner];
        let grad = grad.to_vec1::<R>()?;
        let scale = R::from_f64(1.0 / self.temperature);
        with_slice(hidden, |x: &[R]| {
            for (i, dx) in dx.chunks_mut(BLOCK_ROWS * inner).enumerate() {
                let range = i * BLOCK_ROWS..i * BLOCK_ROWS + dx.len() / inner;
                let x = &x[range.start * inner..range.end * inner];
                let columns = Columns::of(x, inner);
                let filled = |values: &mut dyn Iterator<Item = R>| {
                    values.chain(std::iter::repeat(R::ZERO)).take(columns.width).collect()
                };
                let rows = Rows {
                    x: Matrix::new(x, range.len(), inner),
                    targets: &self.targets[range.clone()],
                    logsumexp: filled(
                        &mut logsumexp[range.clone()].iter().map(|&x| R::from_f64(x)),
                    ),
                    grad: filled(&mut grad[range].iter().map(|&grad| grad * scale)),
                    columns,
                };
                self.weight.with_value(|w: &[R]| {
                    self.weight.with_gradient(|gradient| self.backward_rows(dx, &rows, w, gradient))
                })?;
            }
            Ok(())
        })?;
        Tensor::from_vec(dx, (n, inner), hidden.device())
    }

    /// Adds some rows' gradients to `dx`, and to the weight's or in its place. However many threads there are, the blocks' parts of `dx`
    /// are added in the vocabulary's order.
    fn backward_rows<R: Real>(
        &self,
        dx: &mut [R],
        rows: &Rows<R>,
        w: &[R],
        gradient: Option<(&mut [R], Store)>,
    ) {
        let inner = dx.len() / rows.targets.len();
        let (dw, store) = gradient.map_or((None, Store::Add), |(dw, store)| (Some(dw), store));
        let mut dw = dw.map(|dw| dw.chunks_mut(BLOCK_TOKENS * inner));
        let blocks = w.chunks(BLOCK_TOKENS * inner).enumerate().map(|(i, w)| Tokens {
            first: i * BLOCK_TOKENS,
            w: Matrix::new(w, w.len() / inner, inner),
            dw: dw.as_mut().and_then(Iterator::next),
        });
        let mut blocks: Vec<Tokens<R>> = blocks.collect();
        for blocks in blocks.chunks_mut(BLOCKS_PER_THREAD * rayon::current_num_threads()) {
            let parts =
                blocks.par_iter_mut().map(|tokens| self.backward_block(rows, tokens, store));
            let parts: Vec<Vec<R>> = parts.collect();
            let stretch = 1 << 14;
            dx.par_chunks_mut(stretch).enumerate().for_each(|(i, dx)| {
                for part in &parts {
                    let part = &part[i * stretch..];
                    dx.iter_mut().zip(part).for_each(|(dx, part)| *dx += *part);
                }
            });
        }
    }

    /// The gradient that goes back to the rows by some tokens' logits, `[n, inner]`; that of the tokens' weights is stored.
    fn backward_block<R: Real>(
        &self,
        rows: &Rows<R>,
        tokens: &mut Tokens<R>,
        store: Store,
    ) -> Vec<R> {
        let (n, width, [m, inner]) = (rows.targets.len(), rows.columns.width, tokens.w.dims());
        let mut slopes = rows.columns.logits(tokens.w, self.temperature);
        vectorized(
            #[inline(always)]
            || {
                for slopes in slopes.chunks_exact_mut(width) {
                    for ((s, logsumexp), grad) in
                        slopes.iter_mut().zip(&rows.logsumexp).zip(&rows.grad)
                    {
                        *s = (*s - *logsumexp).exp() * grad.neg();
                    }
                }
            },
        );
        for (row, target) in targets_among(rows.targets, tokens.first..tokens.first + m) {
            slopes[target * width + row] += rows.grad[row];
        }
        let slopes = Matrix::strided(&slopes, m, n, width);
        if let Some(dw) = tokens.dw.as_deref_mut() {
            matmul((dw, inner), store, R::ONE, slopes, rows.x, Threads::One);
        }
        product(R::ONE, slopes.t(), tokens.w, Threads::One)
    }
}

/// The rows whose target is among these tokens, each with its number there.
fn targets_among(targets: &[u32], tokens: Range<usize>) -> impl Iterator<Item = (usize, usize)> {
    let targets = targets.iter().map(|&target| target as usize).enumerate();
    let among = move |(row, target)| tokens.contains(&target).then(|| (row, target - tokens.start));
    targets.filter_map(among)
}

/// What is known of a row's softmax from some of its logits.
#[derive(Clone, Copy)]
struct RowSums {
    maximum: f64,
    /// Of `exp(logit - maximum)`.
    sum: f64,
    /// Of `exp(logit - maximum) (logit - maximum)`.
    weighted: f64,
    /// The target's logit, and 0 where it is not among these.
    target: f64,
}

/// Of each row's logits for the tokens from `first` on, `[m, width]`.
fn block_sums<R: Real>(logits: &[R], width: usize, first: usize, targets: &[u32]) -> Vec<RowSums> {
    let mut maxima = vec![R::NEG_INFINITY; width];
    let [mut sums, mut moments] = [vec![R::ZERO; width], vec![R::ZERO; width]];
    vectorized(
        #[inline(always)]
        || {
            for logits in logits.chunks_exact(width) {
                for (maximum, logit) in maxima.iter_mut().zip(logits) {
                    *maximum = maximum.larger(*logit);
                }
            }
            for logits in logits.chunks_exact(width) {
                let of_row = maxima.iter().zip(sums.iter_mut().zip(&mut moments));
                for (logit, (maximum, (sum, moment))) in logits.iter().zip(of_row) {
                    let shifted = *logit - *maximum;
                    let e = shifted.exp();
                    *sum += e;
                    *moment = e.mul_add(shifted, *moment);
                }
            }
        },
    );
    let mut rows: Vec<RowSums> = (0..targets.len())
        .map(|row| RowSums {
            maximum: maxima[row].to_f64(),
            sum: sums[row].to_f64(),
            weighted: moments[row].to_f64(),
            target: 0.0,
        })
        .collect();
    for (row, target) in targets_among(targets, first..first + logits.len() / width) {
        rows[row].target = logits[target * width + row].to_f64();
    }
    rows
}

impl RowSums {
    /// Of both sets of logits.
    fn and(self, other: Self) -> Self {
        let maximum = self.maximum.max(other.maximum);
        let [(sum, weighted), (other_sum, other_weighted)] = [self, other].map(|sums| {
            let shift = sums.maximum - maximum;
            let scale = shift.exp();
            (scale * sums.sum, scale * (sums.weighted + shift * sums.sum))
        });
        Self {
            maximum,
            sum: sum + other_sum,
            weighted: weighted + other_weighted,
            target: self.target + other.target,
        }
    }

    fn logsumexp(&self) -> f64 {
        self.maximum + self.sum.ln()
    }

    fn entropy(&self) -> f64 {
        self.sum.ln() - self.weighted / self.sum
    }
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
