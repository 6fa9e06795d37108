//! Rounding f32 numbers to bf16 by chance (Gupta et al. 2015, "Deep learning with limited numerical precision"): updates that
//! are each too small to move a bf16 weight move it in the mean as far as they would in f32.
//! Not here: the update (`adamw`); the same rounding on a GPU, to the bit (`crates/cuda`).
//!
//! Number i takes 16 bits of its parameter's stream: of the block at position i / 8 the half word i % 8, low ones first. So
//! nothing depends on how numbers are shared out over threads.

use half::bf16;

use crate::rng::Stream;

/// Numbers that take their bits from one block.
pub(super) const OF_BLOCK: usize = 8;

/// Rounds `x` to one of its two neighbours in bf16: away from zero with the probability of what is cut off, so that the mean is
/// `x`. A number that bf16 holds stays what it is.
///
/// - `random`: each of its values equally likely
pub(super) fn rounded_by_chance(x: f32, random: u16) -> bf16 {
    if !x.is_finite() {
        return bf16::from_f32(x);
    }
    bf16::from_bits(((x.to_bits() + u32::from(random)) >> 16) as u16)
}

/// The random bits of a parameter's numbers from `OF_BLOCK * position` on.
pub(super) fn random_bits(stream: &Stream, position: usize) -> [u16; OF_BLOCK] {
    let block = stream.block(position as u32);
    std::array::from_fn(|i| (block[i / 2] >> (16 * (i % 2))) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Purpose;

    #[test]
    fn the_mean_of_all_roundings_is_the_number() {
        for x in [1.0f32, 1.001, -1.001, 3.3, -2.718_281_7e-20, 1e-40, 0.0, 1e38] {
            let rounded = (0..=u16::MAX).map(|random| rounded_by_chance(x, random));
            let mean = rounded.map(|y| f64::from(y.to_f32())).sum::<f64>() / 65_536.0;
            assert!((mean - f64::from(x)).abs() <= 1e-12 * f64::from(x).abs(), "{mean} != {x}");
        }
    }

    #[test]
    fn both_results_are_neighbours_and_what_bf16_holds_stays() {
        let x = 1.0 + 2f32.powi(-9); // a quarter of the way from 1 to the next number in bf16
        let next = bf16::from_f32(1.0 + 2f32.powi(-7));
        assert_eq!(rounded_by_chance(x, 0xBFFF), bf16::ONE);
        assert_eq!(rounded_by_chance(x, 0xC000), next);
        for exact in [bf16::ONE, -next, bf16::ZERO, bf16::NEG_ZERO, bf16::MAX, bf16::INFINITY] {
            let rounded = rounded_by_chance(exact.to_f32(), u16::MAX);
            assert_eq!(rounded.to_bits(), exact.to_bits());
        }
        assert!(rounded_by_chance(f32::NAN, u16::MAX).is_nan());
        assert!(rounded_by_chance(f32::from_bits(0x7F80_0001), 0).is_nan());
    }

    #[test]
    fn bits_are_a_blocks_halves_in_order() {
        let stream = Stream::new(3, Purpose::Rounding, 5, 7, 0);
        for position in [0, 1, 1000] {
            let bits = random_bits(&stream, position).map(u32::from);
            let words: Vec<u32> = bits.chunks(2).map(|pair| pair[0] | pair[1] << 16).collect();
            assert_eq!(words, stream.block(position as u32));
        }
    }
}
