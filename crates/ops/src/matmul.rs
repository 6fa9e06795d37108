//! Matrix products on slices: the `gemm` crate behind bounds checks, and a product by rows for decoding.
//! Not here: tensors, gradients (`linear`, `segment_attention`, `token_logprob`).
#![expect(
    unsafe_code,
    reason = "gemm takes raw pointers, every access bounds-checked first; products are not filled with zeros before they are computed"
)]

use std::mem::MaybeUninit;

use gemm::Parallelism;
use rayon::prelude::*;

use super::real::Real;

/// A matrix in a slice: element (i, j) is `data[i * row_stride + j * column_stride]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a, R> {
    data: &'a [R],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a, R: Real> Matrix<'a, R> {
    /// A row-major matrix with rows `row_stride` elements apart.
    pub(crate) fn strided(data: &'a [R], rows: usize, columns: usize, row_stride: usize) -> Self {
        Self { data, rows, columns, row_stride, column_stride: 1 }
    }

    /// A dense row-major matrix.
    pub(crate) fn new(data: &'a [R], rows: usize, columns: usize) -> Self {
        Self::strided(data, rows, columns, columns)
    }

    /// The transpose, as a view.
    pub(crate) fn t(self) -> Self {
        Self {
            data: self.data,
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
        }
    }

    /// Rows and columns.
    pub(crate) fn dims(self) -> [usize; 2] {
        [self.rows, self.columns]
    }

    fn fits(&self) -> bool {
        fits(self.data.len(), (self.rows, self.row_stride), (self.columns, self.column_stride))
    }
}

fn fits(len: usize, rows: (usize, usize), columns: (usize, usize)) -> bool {
    rows.0 == 0 || columns.0 == 0 || (rows.0 - 1) * rows.1 + (columns.0 - 1) * columns.1 < len
}

/// What happens to the destination's old contents.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Store {
    /// They are overwritten.
    Overwrite,
    /// The product is added to them.
    Add,
}

/// Which threads compute a product.
#[derive(Clone, Copy)]
pub(crate) enum Threads {
    /// The calling thread alone, inside a loop that is already parallel.
    One,
    /// All threads of the pool.
    All,
}

/// `out (+)= scale * a b`; `out` is row-major with rows `out_row_stride` apart.
///
/// # Panics
/// The inner sizes differ or a slice is too short: a bug of the caller.
pub(crate) fn matmul<R: Real>(
    out: (&mut [R], usize),
    store: Store,
    scale: R,
    a: Matrix<R>,
    b: Matrix<R>,
    threads: Threads,
) {
    let (out, out_row_stride) = out;
    assert!(
        fits(out.len(), (a.rows, out_row_stride), (b.columns, 1)) && out_row_stride >= b.columns,
        "the destination of a matrix product is too short"
    );
    // SAFETY: the assertion above keeps every element of the destination inside its slice, which is a unique borrow.
    unsafe { multiply((out.as_mut_ptr(), out_row_stride), store, scale, a, b, threads) }
}

/// `scale * a b`, dense and row-major. Its memory is not filled with zeros first, which takes a thread longer than many a product
/// takes all of them.
///
/// # Panics
/// As [`matmul`].
pub(crate) fn product<R: Real>(scale: R, a: Matrix<R>, b: Matrix<R>, threads: Threads) -> Vec<R> {
    let (rows, columns) = (a.rows, b.columns);
    if a.columns == 0 {
        return vec![R::ZERO; rows * columns];
    }
    let mut out = Vec::with_capacity(rows * columns);
    // SAFETY: there is room for a dense row-major matrix of `rows` and `columns`. The product overwrites all of it without reading it
    // before its length is set.
    unsafe {
        multiply((out.as_mut_ptr(), columns), Store::Overwrite, scale, a, b, threads);
        out.set_len(rows * columns);
    }
    out
}

/// `out (+)= scale * a b` at a pointer, with rows `out.1` elements apart.
///
/// # Safety
/// `out` may be written, and is overlapped by neither operand, wherever the product's elements are; and read there where they are added.
///
/// # Panics
/// The inner sizes differ or an operand is too short: a bug of the caller.
unsafe fn multiply<R: Real>(
    out: (*mut R, usize),
    store: Store,
    scale: R,
    a: Matrix<R>,
    b: Matrix<R>,
    threads: Threads,
) {
    assert_eq!(a.columns, b.rows, "inner sizes of a matrix product differ");
    assert!(a.fits() && b.fits(), "an operand of a matrix product is too short");
    if a.rows == 0 || b.columns == 0 {
        return;
    }
    let threads = match threads {
        Threads::One => 1,
        Threads::All => rayon::current_num_threads(),
    };
    let stripes = Stripes::of(&a, &b, threads);
    if threads == 1 || stripes.count == 0 {
        let parallelism = match threads {
            1 => Parallelism::None,
            _ => Parallelism::Rayon(threads),
        };
        // SAFETY: as the caller's.
        return unsafe { gemm(out, store, scale, a, b, parallelism) };
    }
    let at = Destination(out.0);
    (0..stripes.count).into_par_iter().with_max_len(1).for_each(|i| {
        let (start, a, b) = stripes.cut(i, out.1, a, b);
        // SAFETY: stripes do not overlap, and each is a part of what the caller lets be written.
        unsafe { gemm((at.plus(start), out.1), store, scale, a, b, Parallelism::None) };
    });
}

/// Columns, or rows, of a stripe at least.
const STRIPE: usize = 64;
/// What a stripe begins at a multiple of: a register of f32.
const STEP: usize = 16;
/// Stripes per thread at most: a thread that something else keeps from running holds up the others less.
const STRIPES_PER_THREAD: usize = 4;

/// How a product is divided among threads. The operand that lies across its order, which takes longest to read, is read once:
/// columns of the product are divided, or rows where the left operand is a transpose. A small product is not divided here
/// (`count` is 0): `gemm` adds up small products in another order, and bits may not depend on the number of threads.
struct Stripes {
    by_columns: bool,
    length: usize,
    count: usize,
}

impl Stripes {
    fn of<R>(a: &Matrix<R>, b: &Matrix<R>, threads: usize) -> Self {
        let by_columns = a.column_stride == 1;
        let (length, across) = if by_columns { (b.columns, a.rows) } else { (a.rows, b.columns) };
        let count = if across > STRIPE {
            (length / STRIPE).min(STRIPES_PER_THREAD * threads) / threads * threads
        } else {
            0
        };
        Self { by_columns, length, count }
    }

    /// Where stripe `i` begins in a destination with rows `out_row_stride` apart, and its operands.
    fn cut<'a, R: Real>(
        &self,
        i: usize,
        out_row_stride: usize,
        a: Matrix<'a, R>,
        b: Matrix<'a, R>,
    ) -> (usize, Matrix<'a, R>, Matrix<'a, R>) {
        let begin = |i| {
            if i == self.count { self.length } else { self.length / STEP * i / self.count * STEP }
        };
        let (first, length) = (begin(i), begin(i + 1) - begin(i));
        if self.by_columns {
            let data = &b.data[first * b.column_stride..];
            (first, a, Matrix { data, columns: length, ..b })
        } else {
            let data = &a.data[first * a.row_stride..];
            (first * out_row_stride, Matrix { data, rows: length, ..a }, b)
        }
    }
}

/// A destination that threads write disjoint stripes of.
#[derive(Clone, Copy)]
struct Destination<R>(*mut R);

// SAFETY: a pointer may go to another thread; what is written through it is disjoint (`multiply`).
unsafe impl<R> Send for Destination<R> {}
// SAFETY: as above.
unsafe impl<R> Sync for Destination<R> {}

impl<R> Destination<R> {
    fn plus(self, n: usize) -> *mut R {
        self.0.wrapping_add(n)
    }
}

/// The call of `gemm`.
///
/// # Safety
/// As [`multiply`], which checks what it demands.
unsafe fn gemm<R: Real>(
    out: (*mut R, usize),
    store: Store,
    scale: R,
    a: Matrix<R>,
    b: Matrix<R>,
    parallelism: Parallelism,
) {
    // SAFETY: `multiply`'s assertions keep every element that gemm reads inside its slice, its caller those of `out`. f32 and f64, the
    // only `Real` types, are types that gemm accepts. It does not read `out` where it overwrites.
    unsafe {
        gemm::gemm(
            a.rows,
            b.columns,
            a.columns,
            out.0,
            1,
            out.1 as isize,
            store == Store::Add,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            R::ONE,
            scale,
            false,
            false,
            false,
            parallelism,
        );
    }
}

/// Partial sums of a dot product: one 512-bit register of f32.
const LANES: usize = 16;
/// Weight rows per task of [`matmul_by_rows`] at most: what a task begins with is not fetched ahead.
const TASK: usize = 512;
/// Rows of `x` per pass over the weights: more would not stay in a core's cache.
const ROWS_AT_ONCE: usize = 64;

/// `out[i, o] = x[i] . w[o]` for `x [rows, inner]`, `w [outputs, inner]` and `out [rows, outputs]`, all dense.
///
/// Every product is summed in one fixed order, whatever `rows` is and however the work is split, so
/// a row's result does not depend on which other rows are computed with it. For few rows it also
/// is faster than a blocked product, because the weights are read once and never packed.
pub(crate) fn matmul_by_rows<R: Real>(x: &[R], w: &[R], rows: usize, inner: usize) -> Vec<R> {
    let outputs = w.len().checked_div(inner).unwrap_or(0);
    let (x, w) = (&x[..rows * inner], &w[..outputs * inner]);
    if rows == 0 || outputs == 0 {
        return Vec::new();
    }
    let mut out = Vec::with_capacity(rows * outputs);
    let room = &mut out.spare_capacity_mut()[..rows * outputs];
    let task = (outputs / (4 * rayon::current_num_threads())).next_multiple_of(8).clamp(8, TASK);
    for (out, x) in room.chunks_mut(ROWS_AT_ONCE * outputs).zip(x.chunks(ROWS_AT_ONCE * inner)) {
        let mut stretches: Vec<Vec<&mut [MaybeUninit<R>]>> = Vec::new();
        stretches.resize_with(outputs.div_ceil(task), Vec::new);
        for row in out.chunks_mut(outputs) {
            for (stretches, stretch) in stretches.iter_mut().zip(row.chunks_mut(task)) {
                stretches.push(stretch);
            }
        }
        let tasks = stretches.par_iter_mut().zip(w.par_chunks(task * inner));
        tasks.for_each(|(out, w)| R::multiply_rows(out, x, w));
    }
    // SAFETY: every row was cut into stretches without gaps, and `multiply_rows` writes all of what it is given.
    unsafe { out.set_len(rows * outputs) };
    out
}

/// The sum of the lanes, by halves.
#[inline(always)]
pub(crate) fn sum_lanes<R: Real>(mut lanes: [R; LANES]) -> R {
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            let other = lanes[i + width];
            lanes[i] += other;
        }
        width /= 2;
    }
    lanes[0]
}

/// The largest of some numbers; what it is where one is NaN is left open.
#[inline(always)]
pub(crate) fn largest<R: Real>(numbers: &[R]) -> R {
    let (blocks, rest) = numbers.as_chunks::<LANES>();
    let mut maxima = [R::NEG_INFINITY; LANES];
    for block in blocks {
        for lane in 0..LANES {
            maxima[lane] = maxima[lane].larger(block[lane]);
        }
    }
    maxima.iter().chain(rest).fold(R::NEG_INFINITY, |m, &x| m.larger(x))
}

/// The sum of some numbers with [`LANES`] partial sums, in an order that depends on their number alone.
#[inline(always)]
pub(crate) fn sum<R: Real>(numbers: &[R]) -> R {
    let (blocks, rest) = numbers.as_chunks::<LANES>();
    let mut sums = [R::ZERO; LANES];
    for block in blocks {
        for lane in 0..LANES {
            sums[lane] += block[lane];
        }
    }
    rest.iter().fold(sum_lanes(sums), |total, &x| total + x)
}

/// `sum_i a[i] * b[i]` with [`LANES`] partial sums, in an order that depends on the length alone.
#[inline(always)]
pub(crate) fn dot<R: Real>(a: &[R], b: &[R]) -> R {
    let mut sums = [R::ZERO; LANES];
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            sums[lane] = a[lane].mul_add(b[lane], sums[lane]);
        }
    }
    let mut total = sum_lanes(sums);
    for (a, b) in a_rest.iter().zip(b_rest) {
        total = a.mul_add(*b, total);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    /// About -1 to 1, with all bits of a mantissa: sums of their products depend on the order.
    fn numbers(n: usize, seed: u32) -> Vec<f64> {
        (0..n)
            .map(|i| {
                f64::from((i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed) >> 8)
                    / 8_388_607.0
                    - 1.0
            })
            .collect()
    }

    fn naive(a: &[f64], b: &[f64], m: usize, k: usize, n: usize) -> Vec<f64> {
        let mut out = vec![0.0; m * n];
        for i in 0..m {
            for j in 0..n {
                out[i * n + j] = (0..k).map(|l| a[i * k + l] * b[l * n + j]).sum();
            }
        }
        out
    }

    fn assert_close(a: &[f64], b: &[f64]) {
        assert_eq!(a.len(), b.len());
        for (x, y) in a.iter().zip(b) {
            assert!((x - y).abs() < 1e-12, "{x} {y}");
        }
    }

    #[test]
    fn matmul_equals_the_triple_loop_also_transposed_and_added() {
        let (m, k, n) = (5, 7, 3);
        let (a, b) = (numbers(m * k, 1), numbers(k * n, 2));
        let expected = naive(&a, &b, m, k, n);
        let mut out = vec![f64::NAN; m * n];
        let (am, bm) = (Matrix::new(&a, m, k), Matrix::new(&b, k, n));
        matmul((&mut out, n), Store::Overwrite, 1.0, am, bm, Threads::One);
        assert_close(&out, &expected);
        matmul((&mut out, n), Store::Add, 2.0, am, bm, Threads::All);
        assert_close(&out, &expected.iter().map(|x| 3.0 * x).collect::<Vec<_>>());

        let b_t: Vec<f64> = (0..n * k).map(|i| b[(i % k) * n + i / k]).collect();
        let mut out = vec![0.0; m * n];
        let b_t = Matrix::new(&b_t, n, k).t();
        matmul((&mut out, n), Store::Overwrite, 1.0, am, b_t, Threads::One);
        assert_close(&out, &expected);
    }

    /// Divided by columns, by rows and not at all, dense, transposed and added, with lengths that stripes do not divide; two rows or
    /// columns that `gemm` adds up in another order where stripes leave the product no more than 256 elements.
    #[test]
    fn a_product_has_the_same_bits_with_any_number_of_threads() {
        for (m, k, n) in [
            (70, 40, 389),
            (389, 600, 70),
            (64, 40, 389),
            (70, 3, 64),
            (1, 40, 389),
            (2, 40, 389),
            (389, 40, 2),
        ] {
            let [a, b] = [numbers(m * k, 1), numbers(k * n, 2)];
            let expected = naive(&a, &b, m, k, n);
            let a_t: Vec<f64> = (0..k * m).map(|i| a[(i % m) * k + i / m]).collect();
            let b_t: Vec<f64> = (0..n * k).map(|i| b[(i % k) * n + i / k]).collect();
            let of = |threads: usize, a, b| {
                let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
                pool.install(|| {
                    let mut out = product(1.0, a, b, Threads::All);
                    matmul((&mut out, n), Store::Add, 2.0, a, b, Threads::All);
                    out
                })
            };
            for a in [Matrix::new(&a, m, k), Matrix::new(&a_t, k, m).t()] {
                for b in [Matrix::new(&b, k, n), Matrix::new(&b_t, n, k).t()] {
                    let one = of(1, a, b);
                    assert_close(&one, &expected.iter().map(|x| 3.0 * x).collect::<Vec<_>>());
                    for threads in [2, 3, 7] {
                        assert_eq!(of(threads, a, b), one, "{m} x {k} x {n}, {threads} threads");
                    }
                }
            }
        }
    }

    #[test]
    fn product_by_rows_is_right_and_ignores_its_neighbours() {
        // More rows than one pass over the weights takes.
        let (rows, inner, outputs) = (ROWS_AT_ONCE + 9, 37, 70);
        let (x, w) = (numbers(rows * inner, 4), numbers(outputs * inner, 3));
        let w_t: Vec<f64> =
            (0..inner * outputs).map(|i| w[(i % outputs) * inner + i / outputs]).collect();
        let all = matmul_by_rows(&x, &w, rows, inner);
        assert_close(&all, &naive(&x, &w_t, rows, inner, outputs));

        let [x, w] = [x, w].map(|x| x.into_iter().map(|x| x as f32).collect::<Vec<f32>>());
        let all = matmul_by_rows(&x, &w, rows, inner);
        for i in [0, 1, 5, rows - 1] {
            let alone = matmul_by_rows(&x[i * inner..(i + 1) * inner], &w, 1, inner);
            assert_eq!(alone, all[i * outputs..(i + 1) * outputs], "row {i}");
        }
    }
}
