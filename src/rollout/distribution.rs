//! A row of logits as a distribution: its weights added up in blocks, and the inverse of their cumulative sum.
//! Not here: what may be drawn and what the numbers mean (`sampler`).
//!
//! Weights are never stored: a first pass adds them up block by block, a second looks at the one block that
//! holds the drawn token. Sums run in a fixed order, so that they are the same on every machine.

#![expect(
    clippy::inline_always,
    reason = "what is inlined into a dispatch is compiled for its vector width"
)]

use std::collections::BTreeSet;

use super::sampler::SampleError;

/// Elements whose weights are added up together; only the block with the sampled token is looked at one by one.
const BLOCK: usize = 1024;
/// Independent running sums, so that the additions vectorise; a fixed number, so that the order of summation is fixed.
const LANES: usize = 16;

/// Weights `exp((logit - max) / temperature)` of a row, added up block by block; never stored one by one.
pub(super) struct Distribution {
    /// The largest logit.
    pub(super) max: f32,
    block_totals: Vec<f64>,
    /// The sum of all weights, at least 1.
    pub(super) total: f64,
}

impl Distribution {
    /// Measures a row as the model gave it, every logit finite.
    pub(super) fn measure(logits: &[f32], temperature: f32) -> Result<Self, SampleError> {
        if !row_max(logits).is_finite {
            let id = logits.iter().position(|logit| !logit.is_finite()).unwrap_or(0);
            return Err(SampleError::NotFinite { id });
        }
        Self::measure_rest(logits, temperature)
    }

    /// Measures a row of which some tokens have been taken out, their logits being minus infinity.
    pub(super) fn measure_rest(logits: &[f32], temperature: f32) -> Result<Self, SampleError> {
        let max = row_max(logits).max;
        if max == f32::NEG_INFINITY {
            return Err(SampleError::NothingLeft { n_tokens: logits.len() });
        }
        let block_totals = logits
            .chunks(BLOCK)
            .map(|logits| pulp::Arch::new().dispatch(BlockTotal { logits, max, temperature }))
            .collect();
        Ok(Self::of_blocks(max, block_totals))
    }

    fn of_blocks(max: f32, block_totals: Vec<f64>) -> Self {
        let total = block_totals.iter().sum();
        Self { max, block_totals, total }
    }

    /// The distribution after some logits have changed, usually those of a few suppressed ids: only their blocks are
    /// measured again.
    pub(super) fn refresh(
        self,
        logits: &[f32],
        temperature: f32,
        changed: impl Iterator<Item = usize>,
    ) -> Result<Self, SampleError> {
        #[expect(clippy::float_cmp, reason = "the same logit is still the largest")]
        if row_max(logits).max != self.max {
            return Self::measure_rest(logits, temperature);
        }
        let blocks: BTreeSet<usize> = changed.map(|idx| idx / BLOCK).collect();
        let mut block_totals = self.block_totals;
        for block in blocks {
            if let Some(total) = block_totals.get_mut(block) {
                let end = logits.len().min((block + 1) * BLOCK);
                let logits = &logits[block * BLOCK..end];
                let block = BlockTotal { logits, max: self.max, temperature };
                *total = pulp::Arch::new().dispatch(block);
            }
        }
        Ok(Self::of_blocks(self.max, block_totals))
    }

    /// The inverse of the cumulative distribution in the order of ids.
    pub(super) fn pick(&self, logits: &[f32], temperature: f32, uniform: f64) -> usize {
        let mut left = uniform * self.total;
        let mut picked = None;
        for (block, &total) in self.block_totals.iter().enumerate() {
            if left < total {
                picked = Some(block);
                break;
            }
            left -= total;
        }
        // Where rounding leads past the end, the last token with any weight is taken.
        let block = picked.unwrap_or_else(|| {
            left = f64::INFINITY;
            self.block_totals.iter().rposition(|&total| total > 0.0).unwrap_or(0)
        });
        let start = block * BLOCK;
        let mut last = start;
        for (idx, &logit) in logits.iter().enumerate().skip(start).take(BLOCK) {
            let weight = f64::from(weight(logit, self.max, temperature));
            if left < weight {
                return idx;
            }
            left -= weight;
            if weight > 0.0 {
                last = idx;
            }
        }
        last
    }
}

/// The largest of a row, and whether all of it is finite.
pub(super) struct RowMax {
    /// Minus infinity for an empty row.
    pub(super) max: f32,
    is_finite: bool,
}

pub(super) fn row_max(row: &[f32]) -> RowMax {
    pulp::Arch::new().dispatch(RowMaxOf(row))
}

/// The loop of [`row_max`]. A type rather than a closure, which the compiler would not build for the vector width
/// that the dispatch chooses; so is [`BlockTotal`]. Four times faster, measured.
struct RowMaxOf<'a>(&'a [f32]);

impl pulp::NullaryFnOnce for RowMaxOf<'_> {
    type Output = RowMax;

    #[inline(always)]
    fn call(self) -> RowMax {
        let (groups, rest) = self.0.as_chunks::<LANES>();
        let mut maxima = [f32::NEG_INFINITY; LANES];
        let mut zeros = [0.0f32; LANES];
        for group in groups {
            for lane in 0..LANES {
                let x = group[lane];
                maxima[lane] = if x > maxima[lane] { x } else { maxima[lane] };
                zeros[lane] += x * 0.0; // NaN from the first x on that is not finite
            }
        }
        let max = maxima.into_iter().chain(rest.iter().copied()).fold(f32::NEG_INFINITY, f32::max);
        let is_finite =
            zeros.into_iter().all(|zero| zero == 0.0) && rest.iter().all(|x| x.is_finite());
        RowMax { max, is_finite }
    }
}

/// The loop that adds up the weights of one block.
struct BlockTotal<'a> {
    logits: &'a [f32],
    max: f32,
    temperature: f32,
}

impl pulp::NullaryFnOnce for BlockTotal<'_> {
    type Output = f64;

    #[inline(always)]
    fn call(self) -> f64 {
        let Self { logits, max, temperature } = self;
        let mut lanes = [0.0f32; LANES];
        let (groups, rest) = logits.as_chunks::<LANES>();
        for group in groups {
            for lane in 0..LANES {
                lanes[lane] += weight(group[lane], max, temperature);
            }
        }
        for (lane, &logit) in lanes.iter_mut().zip(rest) {
            *lane += weight(logit, max, temperature);
        }
        lanes.into_iter().map(f64::from).sum()
    }
}

#[inline(always)]
fn weight(logit: f32, max: f32, temperature: f32) -> f32 {
    exp_of_non_positive(logit / temperature - max / temperature)
}

/// `exp(x)` for x <= 0 without a branch or a call, so that a loop over it vectorises; within 2e-7 of the true value,
/// relatively, and zero from -86 down.
///
/// `x = n ln 2 + r` with `|r| <= ln(2)/2`, a polynomial (the coefficients of Cephes' `expf`) for `exp(r)`, and n
/// added to the exponent bits. Unlike the `exp` of `ops`, it has no fused multiply-add: it is also called outside a
/// dispatch, and must give the same bits there.
#[inline(always)]
pub(super) fn exp_of_non_positive(x: f32) -> f32 {
    // 1.5 * 2^23: adding it rounds to an integer, which is then in the lowest bits.
    const ROUNDER: f32 = 12_582_912.0;
    const LN_2_HIGH: f32 = 0.693_359_4; // 355/512
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    let shifted = x * std::f32::consts::LOG2_E + ROUNDER;
    let n = shifted - ROUNDER;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let mut polynomial = 1.987_569_1e-4;
    for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
        polynomial = polynomial * r + coefficient;
    }
    let exp_r = polynomial * r * r + r + 1.0;
    let exp_x = f32::from_bits(exp_r.to_bits().wrapping_add(shifted.to_bits() << 23));
    if x > -86.0 { exp_x } else { 0.0 }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, clippy::float_cmp, reason = "exactly representable")]
mod tests {
    use super::*;

    /// A row of numbers in [0, 8) without a pattern.
    fn row(n: u32) -> Vec<f32> {
        (0..n).map(|i| (f64::from(i.wrapping_mul(2_654_435_761)) / 2f64.powi(29)) as f32).collect()
    }

    #[test]
    fn suppressing_in_a_large_row_equals_measuring_it_anew() {
        let given = row(5000);
        let max = row_max(&given).max;
        let largest = given.iter().position(|logit| *logit == max).unwrap();
        for suppressed in [vec![3, 4, 2047, 4999], vec![largest, 17]] {
            let mut rest = given.clone();
            for &idx in &suppressed {
                rest[idx] = f32::NEG_INFINITY;
            }
            let whole = Distribution::measure(&given, 0.8).unwrap();
            let refreshed = whole.refresh(&rest, 0.8, suppressed.into_iter()).unwrap();
            let anew = Distribution::measure_rest(&rest, 0.8).unwrap();
            assert_eq!(refreshed.block_totals, anew.block_totals);
            assert_eq!(refreshed.total.to_bits(), anew.total.to_bits());
        }
    }

    #[test]
    fn a_uniform_number_at_the_end_of_a_block_picks_the_next_one() {
        let logits = vec![0.0; 2 * BLOCK];
        let distribution = Distribution::measure(&logits, 1.0).unwrap();
        assert_eq!(distribution.pick(&logits, 1.0, 0.5), BLOCK);
    }

    /// Rounding of the running remainder may lead past the last weight; a uniform number of 1 always does.
    #[test]
    fn past_the_end_the_last_token_with_any_weight_is_picked() {
        let mut logits = vec![f32::NEG_INFINITY; 4 * BLOCK];
        logits[3] = 0.0;
        logits[BLOCK + 7] = 1.0;
        logits[BLOCK + 9] = 0.5;
        let distribution = Distribution::measure_rest(&logits, 1.0).unwrap();
        assert_eq!(distribution.pick(&logits, 1.0, 1.0), BLOCK + 9);
    }

    #[test]
    fn exponential_is_accurate_where_it_matters() {
        for i in 0..200_000 {
            let x = -(i as f32) * 4.3e-4;
            let (found, expected) = (f64::from(exp_of_non_positive(x)), f64::from(x).exp());
            assert!((found / expected - 1.0).abs() < 2e-7, "{x}: {found} {expected}");
        }
        assert_eq!(exp_of_non_positive(0.0).to_bits(), 1.0f32.to_bits());
        assert!(exp_of_non_positive(-85.99) > 0.0);
        assert_eq!(exp_of_non_positive(-86.0).to_bits(), 0);
        assert_eq!(exp_of_non_positive(-1e4).to_bits(), 0);
        assert_eq!(exp_of_non_positive(f32::NEG_INFINITY).to_bits(), 0);
    }
}
