//! Dropout of what LoRA's factors are given (Srivastava et al. 2014, "Dropout"), as PEFT's `lora_dropout`.
//! Not here: the factors (`low_rank`), which pass has which stream (the program's `model`).

use candle_core::{Result, Tensor};
#[cfg(feature = "cuda")]
use othink_cuda::PhiloxStream;
use rayon::prelude::*;

use super::philox::Philox;
use super::real::Real;

/// Of so many numbers a whole number is dropped on average.
const OUT_OF: u32 = 1 << 16;
/// Numbers that take their bits from one block.
const BLOCK: usize = 8;
/// Elements per parallel task: whole blocks.
const CHUNK: usize = 1 << 14;

/// Which numbers of an array are dropped: a function of a stream and of each number's place, so that what is computed again
/// drops the same. The others are scaled, so that the mean stays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dropout {
    stream: Philox,
    /// A number is dropped where its 16 bits are below this.
    dropped: u32,
}

impl Dropout {
    /// - `rate`: the probability that a number is dropped, in `[0, 1)`; taken to a multiple of 2^-16
    /// - `stream`: number i takes the half word i % 8 of the block at position i / 8, low ones first
    pub fn new(rate: f64, stream: Philox) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast ends at the bounds"
        )]
        let dropped = (rate * f64::from(OUT_OF)).round() as u32;
        Self { stream, dropped: dropped.min(OUT_OF - 1) }
    }

    /// What the numbers that are left are multiplied by.
    fn scale(&self) -> f64 {
        f64::from(OUT_OF) / f64::from(OUT_OF - self.dropped)
    }

    /// What the eight numbers of a block are multiplied by.
    #[expect(clippy::cast_possible_truncation, reason = "a stream has 2^32 blocks")]
    fn factors<R: Real>(&self, block: usize, scale: R) -> [R; BLOCK] {
        let words = self.stream.block(block as u32);
        std::array::from_fn(|i| {
            let bits = words[i / 2] >> (16 * (i % 2)) & 0xFFFF;
            if bits < self.dropped { R::ZERO } else { scale }
        })
    }

    /// What is left of `x`.
    pub(super) fn of<R: Real>(&self, x: &[R]) -> Vec<R> {
        let mut left = vec![R::ZERO; x.len()];
        self.add_to(&mut left, x);
        left
    }

    /// Adds what is left of `x` to `sum`, of the same length.
    pub(super) fn add_to<R: Real>(&self, sum: &mut [R], x: &[R]) {
        let scale = R::from_f64(self.scale());
        let chunks = sum.par_chunks_mut(CHUNK).zip(x.par_chunks(CHUNK)).enumerate();
        chunks.for_each(|(i, (sum, x))| {
            let blocks = sum.chunks_mut(BLOCK).zip(x.chunks(BLOCK));
            for (block, (sum, x)) in (i * CHUNK / BLOCK..).zip(blocks) {
                let factors = self.factors(block, scale);
                for ((sum, &x), factor) in sum.iter_mut().zip(x).zip(factors) {
                    *sum += x * factor;
                }
            }
        });
    }

    /// What is left of `x`, composed of candle's primitives.
    pub(super) fn plain(&self, x: &Tensor) -> Result<Tensor> {
        let n = x.elem_count();
        let scale = self.scale();
        let factors = (0..n.div_ceil(BLOCK)).flat_map(|block| self.factors(block, scale));
        let factors: Vec<f64> = factors.take(n).collect();
        let factors = Tensor::from_vec(factors, x.shape(), x.device())?;
        x * factors.to_dtype(x.dtype())?
    }

    /// As kernels are told of it.
    #[cfg(feature = "cuda")]
    pub(super) fn on_device(&self) -> othink_cuda::Dropout {
        let Philox { key, counter } = self.stream;
        let stream = PhiloxStream { key, counter };
        othink_cuda::Dropout { stream, dropped: self.dropped, scale: self.scale() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dropout(rate: f64) -> Dropout {
        Dropout::new(rate, Philox { key: [5, 6], counter: [1, 2, 3] })
    }

    /// 100,003 numbers, of which the standard error of the fraction that is dropped is 0.0015.
    #[test]
    fn so_many_are_dropped_and_the_mean_stays() {
        let ones = vec![1.0_f64; 100_003];
        let left = dropout(0.3).of(&ones);
        let scale = 1.0 / 0.7;
        let n_dropped = left.iter().filter(|&&x| x == 0.0).count() as f64;
        assert!((n_dropped / 100_003.0 - 0.3).abs() < 0.006, "{n_dropped}");
        assert!(left.iter().all(|&x| x == 0.0 || (x - scale).abs() < 1e-5));
        // The mean over what is drawn is exact in the number of 65536 that are left.
        let exact = dropout(0.3);
        assert!((exact.scale() * f64::from(OUT_OF - exact.dropped) - 65536.0).abs() < 1e-9);
    }

    #[test]
    fn the_rates_ends_drop_nothing_and_nearly_everything() {
        let x: Vec<f32> = (0..1000).map(|i| i as f32 - 500.0).collect();
        assert_eq!(dropout(0.0).of(&x), x);
        assert_eq!(dropout(0.999_999).dropped, OUT_OF - 1);
    }

    #[test]
    fn each_number_takes_the_half_word_of_its_place() {
        let n = CHUNK + 11;
        let (left, stream) = (dropout(0.5).of(&vec![1.0_f32; n]), dropout(0.5).stream);
        for (i, x) in left.iter().enumerate() {
            let word = stream.block((i / 8) as u32)[i % 8 / 2];
            let bits = if i % 2 == 0 { word & 0xFFFF } else { word >> 16 };
            assert_eq!(*x == 0.0, bits < 32768, "{i}");
        }
    }
}
