//! Attention within the segments of a packed stream, on the CPU streaming over blocks of keys, with its gradients.
//! Not here: which token sees which (`segments`), attention over a cache (`cached_attention`).
//!
//! Longer than most because forward and backward share their masks and blocks. Blocks of queries are
//! combined with blocks of keys as in `FlashAttention` (Dao et al. 2022, 2023): a running maximum and sum per
//! query, and in the backward pass the weights computed again from the saved log-sum-exp.
//! One task is one group and one query head; no task ever holds a group-squared matrix. The plain composition does,
//! for all heads of a group at a time, and keeps it for its backward pass.

#[cfg(feature = "cuda")]
mod cuda;

use std::ops::Range;
use std::sync::OnceLock;

use candle_core::{CpuStorage, CustomOp3, DType, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::matmul::{Matrix, Store, Threads, dot, largest, matmul, sum};
use super::path::Path;
use super::plain;
use super::real::{Real, slice_of, vectorized, with_slice};
use super::segments::{Group, Segments};

/// Queries per block.
const QUERIES: usize = 64;
/// Keys per block.
const KEYS: usize = 256;

/// Softmax attention in which a token sees its own segment (up to itself, or all of it in the vision
/// tower) and, in a completion, all of the completion's prompt; weights `softmax(q k / sqrt(head_dim))`.
///
/// - `q`: `[T, heads, head_dim]`; `k`, `v`: `[T, kv_heads, head_dim]`, all in the run's dtype;
///   `heads` a multiple of `kv_heads` (grouped-query attention)
/// - returns `[T, heads, head_dim]`. Gradients to `q`, `k` and `v`.
///
/// # Errors
/// Shapes do not fit each other or `segments`.
pub fn segment_attention(
    q: &Tensor,
    k: &Tensor,
    v: &Tensor,
    segments: &Segments,
) -> Result<Tensor> {
    let shape = HeadShape::of([q, k, v], segments)?;
    match Path::of(q) {
        Path::Cpu => {
            let op = Attention::new(shape, segments);
            q.contiguous()?.apply_op3(&k.contiguous()?, &v.contiguous()?, op)
        }
        #[cfg(feature = "cuda")]
        Path::Cuda if othink_cuda::attention_takes(shape.head_dim) => {
            cuda::segment_attention(q, k, v, segments)
        }
        #[cfg(feature = "cuda")]
        Path::Cuda => plain::segment_attention(q, k, v, segments),
        Path::Plain => plain::segment_attention(q, k, v, segments),
    }
}

#[derive(Debug, Clone, Copy)]
pub(super) struct HeadShape {
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl HeadShape {
    /// # Errors
    /// Queries, keys and values do not fit each other or `segments`.
    pub(super) fn of([q, k, v]: [&Tensor; 3], segments: &Segments) -> Result<Self> {
        let (tokens, heads, head_dim) = q.dims3()?;
        let (k_tokens, kv_heads, k_dim) = k.dims3()?;
        let fits = k.dims() == v.dims() && k_dim == head_dim && k_tokens == tokens;
        if !fits || tokens != segments.len() {
            let (q, k, v, n) = (q.dims(), k.dims(), v.dims(), segments.len());
            bail!("segment_attention: q {q:?}, k {k:?}, v {v:?} and {n} tokens do not fit");
        }
        if kv_heads == 0 || heads % kv_heads != 0 {
            bail!("segment_attention: {heads} heads cannot share {kv_heads} key-value heads");
        }
        Ok(Self { heads, kv_heads, head_dim })
    }
}

/// The CPU's attention on candle's tape, or in an operation that holds it.
pub(super) struct Attention {
    segments: Segments,
    shape: HeadShape,
    /// `[task][row of the group]`, in f64; what the backward pass needs besides the output.
    logsumexp: OnceLock<Vec<Vec<f64>>>,
}

/// One group and one query head.
#[derive(Clone, Copy)]
struct Task<'a> {
    segments: &'a Segments,
    group: &'a Group,
    head: usize,
    shape: HeadShape,
}

/// The rows of `[T, heads, head_dim]` data that belong to a task's head, from row `start` on.
fn head_rows<R: Real>(
    data: &[R],
    n_heads: usize,
    head: usize,
    dim: usize,
    rows: Range<usize>,
) -> Matrix<'_, R> {
    let stride = n_heads * dim;
    Matrix::strided(&data[rows.start * stride + head * dim..], rows.len(), dim, stride)
}

/// Blocks of `step` rows covering `rows`.
fn blocks(rows: Range<usize>, step: usize) -> impl Iterator<Item = Range<usize>> {
    rows.clone().step_by(step).map(move |start| start..(start + step).min(rows.end))
}

impl<'a> Task<'a> {
    fn kv_head(&self) -> usize {
        self.head / (self.shape.heads / self.shape.kv_heads)
    }

    /// What the token at `row` sees, as one or two ranges of rows: of its prompt, of its own segment.
    fn visible(&self, row: usize) -> [Range<usize>; 2] {
        let prompt = self.group.start..self.group.start + self.group.prompt_len;
        let own = self.segments.own_rows(self.group, row);
        if prompt.contains(&row) { [0..0, own] } else { [prompt, own] }
    }

    /// Blocks of keys that some query of `queries` sees.
    fn key_blocks(&self, queries: &Range<usize>) -> impl Iterator<Item = Range<usize>> + use<'a> {
        let [prompt, first] = self.visible(queries.start);
        let last = self.visible(queries.end - 1)[1].clone();
        // A block of queries that starts in the prompt sees one range of keys without a gap.
        let crosses = prompt.is_empty();
        let own =
            if crosses { first.start..last.end.max(first.end) } else { first.start..last.end };
        let (prompt, own) = if crosses { (0..0, own) } else { (prompt, own) };
        blocks(prompt, KEYS).chain(blocks(own, KEYS))
    }

    /// `scale * q k^T` for a block, minus infinity where a query does not see a key.
    fn scores<R: Real>(
        &self,
        out: &mut [R],
        qk: [&[R]; 2],
        queries: &Range<usize>,
        keys: &Range<usize>,
    ) {
        let HeadShape { heads, kv_heads, head_dim } = self.shape;
        let n_keys = keys.len();
        let scale = R::from_f64(1.0 / (head_dim as f64).sqrt());
        let q = head_rows(qk[0], heads, self.head, head_dim, queries.clone());
        let k = head_rows(qk[1], kv_heads, self.kv_head(), head_dim, keys.clone());
        matmul((out, n_keys), Store::Overwrite, scale, q, k.t(), Threads::One);
        for (row, scores) in queries.clone().zip(out.chunks_exact_mut(n_keys)) {
            let [prompt, own] = self.visible(row);
            let mut column = keys.start;
            for seen in [prompt, own] {
                let hidden_until = seen.start.clamp(column, keys.end);
                scores[column - keys.start..hidden_until - keys.start].fill(R::NEG_INFINITY);
                column = seen.end.clamp(hidden_until, keys.end);
            }
            scores[column - keys.start..].fill(R::NEG_INFINITY);
        }
    }

    /// The output rows of this head `[group, head_dim]` and their log-sum-exp.
    fn forward<R: Real>(&self, q: &[R], k: &[R], v: &[R]) -> (Vec<R>, Vec<f64>) {
        let HeadShape { kv_heads, head_dim, .. } = self.shape;
        let rows = self.group.rows();
        let mut out = vec![R::ZERO; rows.len() * head_dim];
        let mut logsumexp = vec![0.0; rows.len()];
        let mut scores = [R::ZERO; QUERIES * KEYS];
        for queries in blocks(rows.clone(), QUERIES) {
            let local = queries.start - rows.start;
            let out = &mut out[local * head_dim..(local + queries.len()) * head_dim];
            let mut maximum = [R::NEG_INFINITY; QUERIES];
            let mut total = [R::ZERO; QUERIES];
            for keys in self.key_blocks(&queries) {
                let scores = &mut scores[..queries.len() * keys.len()];
                self.scores(scores, [q, k], &queries, &keys);
                vectorized(
                    #[inline(always)]
                    || {
                        let state = (&mut maximum[..], &mut total[..]);
                        online_softmax(scores, out, state, keys.len(), head_dim);
                    },
                );
                let weights = Matrix::new(scores, queries.len(), keys.len());
                let v = head_rows(v, kv_heads, self.kv_head(), head_dim, keys);
                matmul((&mut *out, head_dim), Store::Add, R::ONE, weights, v, Threads::One);
            }
            for (i, row) in out.chunks_exact_mut(head_dim).enumerate() {
                let inverse = R::ONE / total[i];
                for y in row.iter_mut() {
                    *y *= inverse;
                }
                logsumexp[local + i] = (maximum[i] + total[i].ln()).to_f64();
            }
        }
        (out, logsumexp)
    }

    /// The gradients of this head's `q`, `k`, `v` rows, each `[group, head_dim]`.
    fn backward<R: Real>(&self, x: &Saved<R>, logsumexp: &[f64]) -> [Vec<R>; 3] {
        let HeadShape { heads, kv_heads, head_dim } = self.shape;
        let rows = self.group.rows();
        let mut gradients = [(); 3].map(|()| vec![R::ZERO; rows.len() * head_dim]);
        let [dq, dk, dv] = &mut gradients;
        let mut weights = [R::ZERO; QUERIES * KEYS];
        let mut slopes = [R::ZERO; QUERIES * KEYS];
        let scale = R::from_f64(1.0 / (head_dim as f64).sqrt());
        let local = |rows_: &Range<usize>| {
            (rows_.start - rows.start) * head_dim..(rows_.end - rows.start) * head_dim
        };
        for queries in blocks(rows.clone(), QUERIES) {
            let grad = head_rows(x.grad, heads, self.head, head_dim, queries.clone());
            let q = head_rows(x.q, heads, self.head, head_dim, queries.clone());
            // sum_j weight_j * (grad . v_j) = grad . out, once per query
            let mut along = [R::ZERO; QUERIES];
            vectorized(
                #[inline(always)]
                || {
                    for (along, row) in along.iter_mut().zip(queries.clone()) {
                        let start = (row * heads + self.head) * head_dim;
                        let columns = start..start + head_dim;
                        *along = dot(&x.grad[columns.clone()], &x.out[columns]);
                    }
                },
            );
            let lse = &logsumexp[queries.start - rows.start..queries.end - rows.start];
            for keys in self.key_blocks(&queries) {
                let (n_queries, n_keys) = (queries.len(), keys.len());
                let weights = &mut weights[..n_queries * n_keys];
                let slopes = &mut slopes[..n_queries * n_keys];
                self.scores(weights, [x.q, x.k], &queries, &keys);
                let k = head_rows(x.k, kv_heads, self.kv_head(), head_dim, keys.clone());
                let v = head_rows(x.v, kv_heads, self.kv_head(), head_dim, keys.clone());
                matmul((&mut *slopes, n_keys), Store::Overwrite, R::ONE, grad, v.t(), Threads::One);
                vectorized(
                    #[inline(always)]
                    || softmax_slopes(weights, slopes, lse, &along, n_keys),
                );
                let weights = Matrix::new(weights, n_queries, n_keys);
                let slopes = Matrix::new(slopes, n_queries, n_keys);
                let dst = |buffer| (buffer, head_dim);
                let one = Threads::One;
                matmul(dst(&mut dv[local(&keys)]), Store::Add, R::ONE, weights.t(), grad, one);
                matmul(dst(&mut dq[local(&queries)]), Store::Add, scale, slopes, k, one);
                matmul(dst(&mut dk[local(&keys)]), Store::Add, scale, slopes.t(), q, one);
            }
        }
        gradients
    }
}

/// What the backward pass reads, all of `[T, heads or kv_heads, head_dim]`.
struct Saved<'a, R> {
    q: &'a [R],
    k: &'a [R],
    v: &'a [R],
    out: &'a [R],
    grad: &'a [R],
}

/// Turns a block of scores into unnormalised weights under a running maximum, rescaling what the
/// earlier blocks left in `out` and `total`.
#[inline(always)]
fn online_softmax<R: Real>(
    scores: &mut [R],
    out: &mut [R],
    (maximum, total): (&mut [R], &mut [R]),
    n_keys: usize,
    head_dim: usize,
) {
    for (i, row) in scores.chunks_exact_mut(n_keys).enumerate() {
        let block_maximum = largest(row);
        let new_maximum = maximum[i].larger(block_maximum);
        if new_maximum == R::NEG_INFINITY {
            row.fill(R::ZERO); // nothing seen yet, and nothing in this block
            continue;
        }
        if new_maximum > maximum[i] {
            let shrink = if maximum[i] == R::NEG_INFINITY {
                R::ZERO
            } else {
                (maximum[i] - new_maximum).exp()
            };
            total[i] *= shrink;
            out[i * head_dim..(i + 1) * head_dim].iter_mut().for_each(|y| *y *= shrink);
            maximum[i] = new_maximum;
        }
        for score in row.iter_mut() {
            // The f32 kernel's exp never reaches zero; an unseen key's weight must be exactly zero.
            let weight = (*score - new_maximum).exp();
            *score = if *score == R::NEG_INFINITY { R::ZERO } else { weight };
        }
        total[i] += sum(row);
    }
}

/// `weights = exp(scores - logsumexp)` in place, `slopes = weights * (slopes - along)` in place.
#[inline(always)]
fn softmax_slopes<R: Real>(
    weights: &mut [R],
    slopes: &mut [R],
    lse: &[f64],
    along: &[R],
    n_keys: usize,
) {
    for (i, (weights, slopes)) in
        weights.chunks_exact_mut(n_keys).zip(slopes.chunks_exact_mut(n_keys)).enumerate()
    {
        let lse = R::from_f64(lse[i]);
        for (w, s) in weights.iter_mut().zip(slopes) {
            let weight = (*w - lse).exp();
            let weight = if *w == R::NEG_INFINITY { R::ZERO } else { weight };
            *w = weight;
            *s = weight * (*s - along[i]);
        }
    }
}

impl Attention {
    pub(super) fn new(shape: HeadShape, segments: &Segments) -> Self {
        Self { segments: segments.clone(), shape, logsumexp: OnceLock::new() }
    }

    /// The gradients to queries, keys and values, `out` and `grad` being those of the forward pass's output.
    pub(super) fn gradients(
        &self,
        qkv: [&Tensor; 3],
        out: &Tensor,
        grad: &Tensor,
    ) -> Result<[Tensor; 3]> {
        match out.dtype() {
            DType::F32 => self.backward::<f32>(qkv, out, grad),
            _ => self.backward::<f64>(qkv, out, grad),
        }
    }

    fn tasks(&self) -> Vec<Task<'_>> {
        let (segments, shape) = (&self.segments, self.shape);
        segments
            .groups()
            .iter()
            .flat_map(|group| {
                (0..shape.heads).map(move |head| Task { segments, group, head, shape })
            })
            .collect()
    }

    fn forward<R: Real>(&self, q: &[R], k: &[R], v: &[R]) -> Vec<R> {
        let tasks = self.tasks();
        let results: Vec<_> = tasks.par_iter().map(|task| task.forward(q, k, v)).collect();
        let mut out = vec![R::ZERO; q.len()];
        let mut logsumexp = Vec::with_capacity(tasks.len());
        for (task, (rows, lse)) in tasks.iter().zip(results) {
            scatter_head(&mut out, &rows, task.group, task.head, self.shape.heads);
            logsumexp.push(lse);
        }
        // The op runs forward once; a second run would find the same values here.
        self.logsumexp.get_or_init(|| logsumexp);
        out
    }

    fn backward<R: Real>(
        &self,
        qkv: [&Tensor; 3],
        out: &Tensor,
        grad: &Tensor,
    ) -> Result<[Tensor; 3]> {
        let Some(logsumexp) = self.logsumexp.get() else {
            bail!("segment_attention: backward before forward")
        };
        let tasks = self.tasks();
        let [q, k, v] = qkv;
        let results: Vec<[Vec<R>; 3]> = with_slice(q, |q: &[R]| {
            with_slice(k, |k: &[R]| {
                with_slice(v, |v: &[R]| {
                    with_slice(out, |out: &[R]| {
                        with_slice(grad, |grad: &[R]| {
                            let x = Saved { q, k, v, out, grad };
                            let run = |(task, lse): (&Task, &Vec<f64>)| task.backward(&x, lse);
                            Ok(tasks.par_iter().zip(logsumexp.par_iter()).map(run).collect())
                        })
                    })
                })
            })
        })?;
        let HeadShape { heads, kv_heads, .. } = self.shape;
        let mut gradients = qkv.map(|x| vec![R::ZERO; x.elem_count()]);
        let [dq, dk, dv] = &mut gradients;
        for (task, rows) in tasks.iter().zip(&results) {
            // Query heads that share a key head add up in head order.
            scatter_head(dq, &rows[0], task.group, task.head, heads);
            scatter_head(dk, &rows[1], task.group, task.kv_head(), kv_heads);
            scatter_head(dv, &rows[2], task.group, task.kv_head(), kv_heads);
        }
        let [dq, dk, dv] = gradients;
        let tensor = |data, like: &Tensor| Tensor::from_vec(data, like.shape(), like.device());
        Ok([tensor(dq, q)?, tensor(dk, k)?, tensor(dv, v)?])
    }
}

/// Adds a task's rows `[group, head_dim]` to its head of `[T, n_heads, head_dim]` data.
fn scatter_head<R: Real>(data: &mut [R], rows: &[R], group: &Group, head: usize, n_heads: usize) {
    let head_dim = rows.len() / group.len();
    let first = group.start * n_heads * head_dim;
    let tokens = data[first..].chunks_exact_mut(n_heads * head_dim);
    for (token, row) in tokens.zip(rows.chunks_exact(head_dim)) {
        for (y, x) in token[head * head_dim..(head + 1) * head_dim].iter_mut().zip(row) {
            *y += *x;
        }
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "segment_attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        k: &CpuStorage,
        k_layout: &Layout,
        v: &CpuStorage,
        v_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let out = match q {
            CpuStorage::F32(_) => CpuStorage::F32(self.forward(
                slice_of(q, q_layout)?,
                slice_of(k, k_layout)?,
                slice_of(v, v_layout)?,
            )),
            _ => CpuStorage::F64(self.forward(
                slice_of(q, q_layout)?,
                slice_of(k, k_layout)?,
                slice_of(v, v_layout)?,
            )),
        };
        Ok((out, q_layout.shape().clone()))
    }

    fn bwd(
        &self,
        q: &Tensor,
        k: &Tensor,
        v: &Tensor,
        res: &Tensor,
        grad: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let [dq, dk, dv] = self.gradients([q, k, v], res, &grad.contiguous()?)?;
        Ok((Some(dq), Some(dk), Some(dv)))
    }
}
