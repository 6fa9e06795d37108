//! Attention of one new token per sequence over its cached keys and values: those of its prompt,
//! shared by the whole group, and those of its own suffix. No gradient flows: rollouts and evaluation only.
//! Not here: which sequence has which cache rows (`rollout::host_decoder`).

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::matmul::{dot, largest, sum};
use super::path::Path;
use super::plain;
use super::real::{Real, slice_of, vectorized, with_slice};

/// What one sequence attends to.
#[derive(Debug, Clone)]
pub struct CachedSequence {
    /// `[prompt_len, kv_heads, head_dim]`, the prompt's keys; shared between sequences.
    pub prompt_keys: Tensor,
    /// `[prompt_len, kv_heads, head_dim]`, the prompt's values.
    pub prompt_values: Tensor,
    /// First row of the sequence's own keys and values in the suffix cache.
    pub suffix_start: usize,
    /// Its own rows so far, the new token's included.
    pub suffix_len: usize,
}

/// Softmax attention of each sequence's one query over its prompt and its own suffix.
///
/// - `q`: `[n, heads, head_dim]`, one row per sequence
/// - `keys`, `values`: `[rows, kv_heads, head_dim]`, the suffix cache of this layer
/// - returns `[n, heads, head_dim]`. A sequence's result does not depend on the others.
///
/// # Errors
/// Shapes do not fit.
pub fn cached_attention(
    q: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    sequences: &[CachedSequence],
) -> Result<Tensor> {
    let (n, heads, head_dim) = q.dims3()?;
    let (rows, kv_heads, _) = keys.dims3()?;
    if n != sequences.len() || kv_heads == 0 || heads % kv_heads != 0 {
        bail!(
            "cached_attention: q {:?}, cache {:?}, {} sequences",
            q.dims(),
            keys.dims(),
            sequences.len()
        );
    }
    if sequences.iter().any(|s| s.suffix_start + s.suffix_len > rows) {
        bail!("cached_attention: a sequence reaches beyond the cache of {rows} rows");
    }
    match Path::of(q) {
        Path::Cpu => {
            let op = Cached { sequences, heads, kv_heads, head_dim };
            q.contiguous()?.apply_op3_no_bwd(keys, values, &op)
        }
        #[cfg(feature = "cuda")]
        Path::Cuda => plain_cached_attention(q, keys, values, sequences),
        Path::Plain => plain_cached_attention(q, keys, values, sequences),
    }
}

fn plain_cached_attention(
    q: &Tensor,
    keys: &Tensor,
    values: &Tensor,
    sequences: &[CachedSequence],
) -> Result<Tensor> {
    let outputs = sequences.iter().enumerate().map(|(i, sequence)| {
        let own = |cache: &Tensor| cache.narrow(0, sequence.suffix_start, sequence.suffix_len);
        let k = Tensor::cat(&[&sequence.prompt_keys, &own(keys)?], 0)?;
        let v = Tensor::cat(&[&sequence.prompt_values, &own(values)?], 0)?;
        plain::attention(&q.narrow(0, i, 1)?, &k, &v, None)
    });
    Tensor::cat(&outputs.collect::<Result<Vec<_>>>()?, 0)
}

struct Cached<'a> {
    sequences: &'a [CachedSequence],
    heads: usize,
    kv_heads: usize,
    head_dim: usize,
}

impl Cached<'_> {
    fn run<R: Real>(&self, q: &[R], keys: &[R], values: &[R]) -> Result<Vec<R>> {
        let Self { sequences, heads, kv_heads, head_dim } = *self;
        let (group, row) = (heads / kv_heads, kv_heads * head_dim);
        let mut out = vec![R::ZERO; q.len()];
        // One task is one sequence and one key-value head.
        out.par_chunks_mut(group * head_dim)
            .zip(q.par_chunks(group * head_dim))
            .enumerate()
            .try_for_each(|(task, (out, q))| {
                let (sequence, kv_head) = (&sequences[task / kv_heads], task % kv_heads);
                let own = sequence.suffix_start * row
                    ..(sequence.suffix_start + sequence.suffix_len) * row;
                with_slice(&sequence.prompt_keys, |prompt_keys: &[R]| {
                    with_slice(&sequence.prompt_values, |prompt_values: &[R]| {
                        let parts = Parts {
                            keys: [prompt_keys, &keys[own.clone()]],
                            values: [prompt_values, &values[own.clone()]],
                            row,
                            first: kv_head * head_dim,
                        };
                        vectorized(
                            #[inline(always)]
                            || {
                                let queries = q.chunks_exact(head_dim);
                                for (out, q) in out.chunks_exact_mut(head_dim).zip(queries) {
                                    attend(out, q, &parts);
                                }
                            },
                        );
                        Ok(())
                    })
                })
            })?;
        Ok(out)
    }
}

/// A sequence's cached rows: prompt, then suffix; `first` is the head's column.
struct Parts<'a, R> {
    keys: [&'a [R]; 2],
    values: [&'a [R]; 2],
    row: usize,
    first: usize,
}

#[inline(always)]
fn attend<R: Real>(out: &mut [R], q: &[R], parts: &Parts<R>) {
    let head_dim = q.len();
    let columns = parts.first..parts.first + head_dim;
    let scale = R::from_f64(1.0 / (head_dim as f64).sqrt());
    let n_rows = (parts.keys[0].len() + parts.keys[1].len()) / parts.row;
    let mut weights = vec![R::ZERO; n_rows];
    // Plain loops: a closure handed to an iterator would not be compiled for this processor.
    let mut i = 0;
    for keys in parts.keys {
        for key in keys.chunks_exact(parts.row) {
            weights[i] = dot(q, &key[columns.clone()]) * scale;
            i += 1;
        }
    }
    let maximum = largest(&weights);
    for weight in &mut weights {
        *weight = (*weight - maximum).exp();
    }
    let total = sum(&weights);
    let mut i = 0;
    for values in parts.values {
        for value in values.chunks_exact(parts.row) {
            for (y, v) in out.iter_mut().zip(&value[columns.clone()]) {
                *y = weights[i].mul_add(*v, *y);
            }
            i += 1;
        }
    }
    for y in out.iter_mut() {
        *y /= total;
    }
}

impl CustomOp3 for Cached<'_> {
    fn name(&self) -> &'static str {
        "cached_attention"
    }

    fn cpu_fwd(
        &self,
        q: &CpuStorage,
        q_layout: &Layout,
        keys: &CpuStorage,
        keys_layout: &Layout,
        values: &CpuStorage,
        values_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let out = match q {
            CpuStorage::F32(_) => CpuStorage::F32(self.run(
                slice_of(q, q_layout)?,
                slice_of(keys, keys_layout)?,
                slice_of(values, values_layout)?,
            )?),
            _ => CpuStorage::F64(self.run(
                slice_of(q, q_layout)?,
                slice_of(keys, keys_layout)?,
                slice_of(values, values_layout)?,
            )?),
        };
        Ok((out, q_layout.shape().clone()))
    }
}
