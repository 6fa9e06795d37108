//! Counter-based random numbers: a pure function of (seed, purpose, update, sample, completion, token).
//!
//! A number is computed from its name (this tuple), never from the numbers drawn before it. Results
//! therefore depend neither on the order of calls nor on batch composition, thread count, number of
//! ranks or an interruption: there is no generator state to save.
//!
//! The generator is Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2,
//! 3"). Its counter is (token, completion, sample, update); its key is one Philox block of the seed
//! and the purpose, so that purposes never share a sequence and every component keeps its full 32 bits.
//!
//! Not here: the generator's blocks (`ops`), what is drawn. `rollout` samples tokens, `data` draws pictures, `train` shuffles
//! rows, `optim` rounds weights, LoRA's dropout drops inputs.

use crate::ops::{Philox, philox};

/// What a stream of random numbers is used for.
///
/// The codes are part of every run's reproducibility: a new purpose gets a new one, none is reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Purpose {
    /// Sampling the tokens of rollouts.
    Rollout = 1,
    /// Sampling the tokens of an evaluation that is not greedy.
    Evaluation = 2,
    /// The order of the rows in an epoch.
    Shuffle = 3,
    /// Drawing the procedural tasks.
    Drawing = 4,
    /// Initial weights of a model trained from scratch; not used yet.
    ColdStart = 5,
    /// Sampling the tokens of a single answer.
    Inference = 6,
    /// Rounding weights in bf16 after an update.
    Rounding = 7,
    /// Which rows of one's own are measured on instead of trained on.
    HoldingOut = 8,
    /// What LoRA's factors begin as.
    LowRank = 9,
    /// Which inputs of LoRA's factors a pass drops.
    Dropout = 10,
}

/// A named stream of random numbers; copying it copies the name, not a position.
///
/// Read a stream either by position ([`Stream::uniform`]) or in sequence ([`Stream::draws`]): both
/// read the same blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stream(Philox);

impl Stream {
    /// The stream of this name. Components that a use does not have are 0.
    pub fn new(seed: u64, purpose: Purpose, update: u32, sample: u32, completion: u32) -> Self {
        let block = philox([purpose as u32, 0, 0, 0], halves(seed));
        Self(Philox { key: [block[0], block[1]], counter: [completion, sample, update] })
    }

    /// The number at position `token`: in `[0, 1)`, a multiple of 2^-53.
    pub fn uniform(&self, token: u32) -> f64 {
        let [first, second, _, _] = self.block(token);
        unit_interval(first, second)
    }

    /// A generator that reads the stream from its beginning.
    pub fn draws(&self) -> Draws {
        Draws { stream: *self, n_blocks: 0, block: [0; 4], n_left: 0 }
    }

    /// The four words at a position.
    pub fn block(&self, position: u32) -> [u32; 4] {
        self.0.block(position)
    }

    /// The generator's key, for a device that computes the blocks itself.
    pub fn key(&self) -> [u32; 2] {
        self.0.key
    }

    /// The words of the generator's counter behind the position, likewise.
    pub fn counter(&self) -> [u32; 3] {
        self.0.counter
    }

    /// What computes the blocks.
    pub fn generator(&self) -> Philox {
        self.0
    }
}

/// A sequential generator over a [`Stream`]; it repeats after 2^34 words.
#[derive(Clone, Debug)]
pub struct Draws {
    stream: Stream,
    n_blocks: u32,
    block: [u32; 4],
    n_left: usize,
}

impl Draws {
    /// The next 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.n_left == 0 {
            self.block = self.stream.block(self.n_blocks);
            self.n_blocks = self.n_blocks.wrapping_add(1);
            self.n_left = self.block.len();
        }
        let word = self.block[self.block.len() - self.n_left];
        self.n_left -= 1;
        word
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        let high = u64::from(self.next_u32());
        high << 32 | u64::from(self.next_u32())
    }

    /// A number in `[0, 1)`, a multiple of 2^-53.
    pub fn uniform(&mut self) -> f64 {
        let first = self.next_u32();
        unit_interval(first, self.next_u32())
    }

    /// A number in `[low, high)`; `low` where the two are equal.
    pub fn range(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.uniform()
    }

    /// An index in `0..n`, each equally likely (Lemire 2019, "Fast random integer generation in an
    /// interval"); 0 where `n` is 0.
    #[expect(clippy::cast_possible_truncation, reason = "the high half is below n")]
    pub fn below(&mut self, n: usize) -> usize {
        let n = n as u64;
        loop {
            let product = u128::from(self.next_u64()) * u128::from(n);
            // Rejects the 2^64 mod n smallest low halves, which would make some indices more likely.
            let low = product as u64;
            if low >= n || low >= n.wrapping_neg() % n {
                return (product >> 64) as usize;
            }
        }
    }

    /// One of `items`, each equally likely; `None` where there are none.
    pub fn choice<'items, T>(&mut self, items: &'items [T]) -> Option<&'items T> {
        items.get(self.below(items.len()))
    }

    /// Puts `items` into an order, each equally likely (Fisher and Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last + 1));
        }
    }

    /// A number from the normal distribution of mean 0 and variance 1 (Box and Muller).
    pub fn normal(&mut self) -> f64 {
        // 1 - uniform lies in (0, 1], where the logarithm is finite.
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }
}

/// The order in which epoch `epoch` visits `n` rows.
pub fn permutation(seed: u64, epoch: u32, n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..n).collect();
    Stream::new(seed, Purpose::Shuffle, epoch, 0, 0).draws().shuffle(&mut order);
    order
}

/// The low and the high half of a word.
#[expect(clippy::cast_possible_truncation, reason = "taking halves is the purpose")]
fn halves(word: u64) -> [u32; 2] {
    [word as u32, (word >> 32) as u32]
}

/// 53 of 64 random bits as a number in `[0, 1)`.
fn unit_interval(high: u32, low: u32) -> f64 {
    let bits = (u64::from(high) << 32 | u64::from(low)) >> 11;
    bits as f64 * (1.0 / (1_u64 << 53) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_name_changes_the_stream() {
        let first = |stream: Stream| stream.draws().next_u64();
        let streams = [
            Stream::new(0, Purpose::Rollout, 0, 0, 0),
            Stream::new(1, Purpose::Rollout, 0, 0, 0),
            Stream::new(1 << 32, Purpose::Rollout, 0, 0, 0),
            Stream::new(0, Purpose::Evaluation, 0, 0, 0),
            Stream::new(0, Purpose::Rollout, 1, 0, 0),
            Stream::new(0, Purpose::Rollout, 0, 1, 0),
            Stream::new(0, Purpose::Rollout, 0, 0, 1),
        ];
        let mut numbers: Vec<u64> = streams.into_iter().map(first).collect();
        numbers.push(Stream::new(0, Purpose::Rollout, 0, 0, 0).block(1)[0].into());
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), 8);
    }

    #[test]
    fn a_position_reads_the_same_whatever_was_read_before() {
        let stream = Stream::new(7, Purpose::Rollout, 3, 2, 1);
        let backwards: Vec<f64> = (0..10).rev().map(|token| stream.uniform(token)).collect();
        let forwards: Vec<f64> = (0..10).map(|token| stream.uniform(token)).collect();
        assert!(forwards.iter().eq(backwards.iter().rev()));
        assert!(stream.uniform(0).to_bits() == stream.draws().uniform().to_bits());
    }

    /// Mean 1/2 with standard error sqrt(1/12/n), here 0.0014; normal moments within 5 errors.
    #[test]
    fn distributions_have_their_moments() {
        let n = 40_000;
        let mut draws = Stream::new(1, Purpose::ColdStart, 0, 0, 0).draws();
        let mean = (0..n).map(|_| draws.uniform()).sum::<f64>() / f64::from(n);
        assert!((mean - 0.5).abs() < 0.007, "{mean}");
        let normals: Vec<f64> = (0..n).map(|_| draws.normal()).collect();
        let mean = normals.iter().sum::<f64>() / f64::from(n);
        let variance = normals.iter().map(|x| x * x).sum::<f64>() / f64::from(n);
        assert!(mean.abs() < 0.025, "{mean}");
        assert!((variance - 1.0).abs() < 0.036, "{variance}");
    }

    /// 30,000 draws of 3 values: standard error of a count is sqrt(30000 * 2/9), about 82.
    #[test]
    fn below_is_even_and_covers_its_range() {
        let mut draws = Stream::new(2, Purpose::Drawing, 0, 0, 0).draws();
        let mut counts = [0_i32; 3];
        for _ in 0..30_000 {
            counts[draws.below(3)] += 1;
        }
        assert!(counts.iter().all(|count| (count - 10_000).abs() < 400), "{counts:?}");
        assert_eq!(draws.below(1), 0);
        assert_eq!(draws.below(0), 0);
    }

    /// Pins the numbers themselves: runs recorded with one version must repeat with the next.
    #[test]
    fn recorded_numbers_do_not_change() {
        assert_eq!(permutation(42, 0, 10), PERMUTATION_42);
        assert_ne!(permutation(42, 1, 10), PERMUTATION_42);
        assert_eq!(permutation(42, 0, 0), Vec::<usize>::new());
    }

    const PERMUTATION_42: [usize; 10] = [4, 9, 5, 3, 2, 8, 6, 1, 0, 7];

    proptest! {
        #[test]
        fn permutations_visit_every_row_once(seed: u64, epoch: u32, n in 0_usize..200) {
            let mut order = permutation(seed, epoch, n);
            order.sort_unstable();
            prop_assert_eq!(order, (0..n).collect::<Vec<_>>());
        }

        #[test]
        fn uniform_stays_below_one(seed: u64, update: u32, sample: u32, token: u32) {
            let number = Stream::new(seed, Purpose::Rollout, update, sample, 0).uniform(token);
            prop_assert!((0.0..1.0).contains(&number));
        }

        #[test]
        fn below_stays_below(seed: u64, n in 1_usize..) {
            prop_assert!(Stream::new(seed, Purpose::Drawing, 0, 0, 0).draws().below(n) < n);
        }
    }
}
