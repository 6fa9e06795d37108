//! CRC-32 as zlib, gzip and PNG compute it, so that any tool can check a checkpoint's files.
//! Not here: which files are checked (`manifest`).
//!
//! Eight bytes at a time through eight tables ("slicing by 8"): a checkpoint of a large model has
//! tens of gigabytes, which one table would read at a few hundred megabytes a second.

/// The polynomial with its bits in reverse order.
const POLYNOMIAL: u32 = 0xEDB8_8320;

/// `TABLES[k][b]`: the remainder of byte `b` followed by `k` zero bytes.
static TABLES: [[u32; 256]; 8] = tables();

/// The checksum of bytes that come in pieces.
#[derive(Debug, Clone)]
pub(super) struct Crc32 {
    /// The remainder so far, inverted.
    state: u32,
}

impl Crc32 {
    /// The checksum of nothing.
    pub(super) fn new() -> Self {
        Self { state: u32::MAX }
    }

    /// Adds the next piece.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        let (blocks, rest) = bytes.as_chunks::<8>();
        for block in blocks {
            let [a, b, c, d, e, f, g, h] = *block;
            let [a, b, c, d] = (self.state ^ u32::from_le_bytes([a, b, c, d])).to_le_bytes();
            self.state = [a, b, c, d, e, f, g, h]
                .iter()
                .zip(TABLES.iter().rev())
                .fold(0, |state, (byte, table)| state ^ table[usize::from(*byte)]);
        }
        for byte in rest {
            let [low, ..] = self.state.to_le_bytes();
            self.state = (self.state >> 8) ^ TABLES[0][usize::from(low ^ byte)];
        }
    }

    /// The checksum of all pieces.
    pub(super) fn finish(self) -> u32 {
        !self.state
    }
}

const fn tables() -> [[u32; 256]; 8] {
    let mut tables = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let mut remainder = byte as u32;
        let mut bit = 0;
        while bit < 8 {
            let carry = if remainder & 1 == 1 { POLYNOMIAL } else { 0 };
            remainder = (remainder >> 1) ^ carry;
            bit += 1;
        }
        tables[0][byte] = remainder;
        byte += 1;
    }
    let mut zeros = 1;
    while zeros < 8 {
        let mut byte = 0;
        while byte < 256 {
            let before = tables[zeros - 1][byte];
            tables[zeros][byte] = (before >> 8) ^ tables[0][(before & 0xFF) as usize];
            byte += 1;
        }
        zeros += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn crc32(bytes: &[u8]) -> u32 {
        let mut checksum = Crc32::new();
        checksum.update(bytes);
        checksum.finish()
    }

    #[test]
    fn checksums_are_those_of_zlib() {
        // The check value of the CRC catalogue, then `zlib.crc32` of Python 3.
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b""), 0);
        assert_eq!(crc32(b"checkpoints/step-000100"), 0xFBEE_589A);
        let bytes: Vec<u8> = (0..1000u32).map(|i| (i * i % 251) as u8).collect();
        assert_eq!(crc32(&bytes), 0x5E35_712B);
    }

    proptest! {
        #[test]
        fn pieces_make_the_checksum_of_the_whole(bytes: Vec<u8>, at: prop::sample::Index) {
            let at = at.index(bytes.len() + 1);
            let mut in_pieces = Crc32::new();
            in_pieces.update(&bytes[..at]);
            in_pieces.update(&bytes[at..]);
            prop_assert_eq!(in_pieces.finish(), crc32(&bytes));
        }
    }
}
