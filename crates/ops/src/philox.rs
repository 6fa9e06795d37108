//! The random generator Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").
//! Not here: what streams are named by (the program's `rng`), what is drawn.

/// A stream of random numbers: block i is a function of the stream and of i alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Philox {
    /// The key.
    pub key: [u32; 2],
    /// The counter's words behind the position.
    pub counter: [u32; 3],
}

impl Philox {
    /// The four words at a position.
    pub fn block(&self, position: u32) -> [u32; 4] {
        let [b, c, d] = self.counter;
        philox([position, b, c, d], self.key)
    }
}

/// Philox4x32 with 10 rounds, constants from the paper's table 2 and section 3.3.
pub fn philox(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
    const KEY_STEPS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
    let mut words = counter;
    let mut key = key;
    for _ in 0..10 {
        let [high0, low0] = multiply(MULTIPLIERS[0], words[0]);
        let [high1, low1] = multiply(MULTIPLIERS[1], words[2]);
        words = [high1 ^ words[1] ^ key[0], low1, high0 ^ words[3] ^ key[1], low0];
        key = [key[0].wrapping_add(KEY_STEPS[0]), key[1].wrapping_add(KEY_STEPS[1])];
    }
    words
}

/// The high and the low half of a product.
#[expect(clippy::cast_possible_truncation, reason = "taking halves is the purpose")]
fn multiply(left: u32, right: u32) -> [u32; 2] {
    let product = u64::from(left) * u64::from(right);
    [(product >> 32) as u32, product as u32]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `kat_vectors` of the Random123 distribution, lines `philox4x32 10`.
    #[test]
    fn philox_gives_the_published_answers() {
        assert_eq!(philox([0; 4], [0; 2]), [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]);
        assert_eq!(
            philox([u32::MAX; 4], [u32::MAX; 2]),
            [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]
        );
        let stream = Philox {
            key: [0xa409_3822, 0x299f_31d0],
            counter: [0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
        };
        let answer = [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1];
        assert_eq!(stream.block(0x243f_6a88), answer);
    }
}
