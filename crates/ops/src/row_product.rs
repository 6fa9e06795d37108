//! The inner loop of a product by rows: blocks of dot products, each summed in a fixed order of its own.
//! Not here: which rows it is called on (`matmul`).
#![expect(
    unsafe_code,
    reason = "a prefetch is an intrinsic that takes a pointer, which it does not follow"
)]

use std::mem::MaybeUninit;
use std::ops::Range;

use pulp::{Simd, WithSimd};

/// Rows of `x` per block.
const ROWS: usize = 4;
/// Rows of `w` per block: with [`ROWS`], as many running sums as the vector registers can hold.
const OUTPUTS: usize = 4;
/// How far ahead of a block rows of `w` are fetched. A processor does that by itself along one stream, but a block reads several, and
/// where rows are short all of them in one page.
const AHEAD: usize = 2 * OUTPUTS;

/// `out[i][o] = x[i] . w[o]` for dense `x [rows, inner]` and `w [outputs, inner]`, all of it written.
pub(super) struct RowProduct<'a, 'o> {
    pub(super) out: &'a mut [&'o mut [MaybeUninit<f32>]],
    pub(super) x: &'a [f32],
    pub(super) w: &'a [f32],
    pub(super) inner: usize,
}

impl WithSimd for RowProduct<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { out, x, w, inner } = self;
        let (rows, outputs) = (out.len(), w.len() / inner);
        for first_output in (0..outputs).step_by(OUTPUTS) {
            let ahead = first_output + AHEAD;
            fetch(w, ahead * inner..(ahead + OUTPUTS) * inner);
            let n_outputs = OUTPUTS.min(outputs - first_output);
            // A short block repeats its last row; the surplus results are not stored.
            let w_rows = std::array::from_fn(|b| {
                let row = first_output + b.min(n_outputs - 1);
                &w[row * inner..(row + 1) * inner]
            });
            for first_row in (0..rows).step_by(ROWS) {
                let n_rows = ROWS.min(rows - first_row);
                let x_rows = std::array::from_fn(|a| {
                    let row = first_row + a.min(n_rows - 1);
                    &x[row * inner..(row + 1) * inner]
                });
                let products = dot_block(simd, x_rows, w_rows);
                for (out, products) in out[first_row..first_row + n_rows].iter_mut().zip(products) {
                    for (out, product) in out[first_output..][..n_outputs].iter_mut().zip(products)
                    {
                        out.write(product);
                    }
                }
            }
        }
    }
}

/// Has the lines of `w` in `range` brought into the cache, as far as there are any.
#[inline(always)]
fn fetch(w: &[f32], range: Range<usize>) {
    #[cfg(target_arch = "x86_64")]
    for line in w.get(range).unwrap_or_default().chunks(16) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: every x86-64 processor has the instruction, and no address makes it fail.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(line.as_ptr().cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _unused = (w, range);
}

#[inline(always)]
fn dot_block<S: Simd>(simd: S, x: [&[f32]; ROWS], w: [&[f32]; OUTPUTS]) -> [[f32; OUTPUTS]; ROWS] {
    let [x_vectors, w_vectors] = [x.map(S::as_simd_f32s), w.map(S::as_simd_f32s)];
    let n = w_vectors[0].0.len();
    // Named one by one: indexed arrays of slices would keep the sums in memory.
    let [x0, x1, x2, x3] = x_vectors.map(|(vectors, _)| &vectors[..n]);
    let [w0, w1, w2, w3] = w_vectors.map(|(vectors, _)| &vectors[..n]);
    let mut sums = [[simd.splat_f32s(0.0); OUTPUTS]; ROWS];
    for k in 0..n {
        let (x, w) = ([x0[k], x1[k], x2[k], x3[k]], [w0[k], w1[k], w2[k], w3[k]]);
        for a in 0..ROWS {
            for b in 0..OUTPUTS {
                sums[a][b] = simd.mul_add_f32s(x[a], w[b], sums[a][b]);
            }
        }
    }
    let mut out = [[0.0; OUTPUTS]; ROWS];
    for a in 0..ROWS {
        for b in 0..OUTPUTS {
            let rest = x_vectors[a].1.iter().zip(w_vectors[b].1);
            let total = simd.reduce_sum_f32s(sums[a][b]);
            out[a][b] = rest.fold(total, |total, (x, w)| x.mul_add(*w, total));
        }
    }
    out
}
