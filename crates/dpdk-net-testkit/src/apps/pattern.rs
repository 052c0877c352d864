//! A stream of pseudo-random bytes in which every byte follows from its offset, so that each can be checked on arrival.

use crate::sim::AppError;

const WORD: u64 = 8;

/// An endless stream of bytes that follows from its seed. Two offsets have the same byte only by chance, so a byte that is
/// lost, repeated or out of place shows within a few bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    seed: u64,
}

impl Pattern {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// Fills `bytes` with the stream from `offset` on.
    pub fn fill(&self, offset: u64, bytes: &mut [u8]) {
        self.words(offset, bytes.len(), |at, word| {
            bytes[at..at + word.len()].copy_from_slice(word)
        });
    }

    /// Whether `bytes` are the stream from `offset` on; an error names the first byte that is not.
    pub fn check(&self, offset: u64, bytes: &[u8]) -> Result<(), AppError> {
        let mut wrong = None;
        self.words(offset, bytes.len(), |at, word| {
            if wrong.is_none() && bytes[at..at + word.len()] != *word {
                wrong = word
                    .iter()
                    .zip(&bytes[at..])
                    .position(|(a, b)| a != b)
                    .map(|i| (at + i, word[i]));
            }
        });
        match wrong {
            None => Ok(()),
            Some((at, expected)) => Err(AppError::WrongByte {
                offset: offset + at as u64,
                expected,
                got: bytes[at],
            }),
        }
    }

    /// Gives the stream from `offset` on in pieces, each with its place in a buffer of `len` bytes.
    fn words(&self, offset: u64, len: usize, mut piece: impl FnMut(usize, &[u8])) {
        let mut at = 0;
        while at < len {
            let here = offset + at as u64;
            let word = mix(self.seed ^ (here / WORD)).to_le_bytes();
            let skip = (here % WORD) as usize;
            let take = (word.len() - skip).min(len - at);
            piece(at, &word[skip..skip + take]);
            at += take;
        }
    }
}

/// The finaliser of splitmix64.
fn mix(z: u64) -> u64 {
    let z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_of_any_size_make_the_same_stream() {
        let pattern = Pattern::new(3);
        let mut whole = [0; 100];
        pattern.fill(0, &mut whole);
        for at in 0..60 {
            let mut piece = [0; 37];
            pattern.fill(at, &mut piece);
            assert_eq!(piece, whole[at as usize..at as usize + 37]);
            assert_eq!(pattern.check(at, &piece), Ok(()));
        }
    }

    #[test]
    fn a_wrong_byte_is_found_with_its_offset() {
        let pattern = Pattern::new(4);
        let mut bytes = [0; 64];
        pattern.fill(1_005, &mut bytes);
        let right = bytes[21];
        bytes[21] ^= 0x10;
        let error = AppError::WrongByte {
            offset: 1_026,
            expected: right,
            got: right ^ 0x10,
        };
        assert_eq!(pattern.check(1_005, &bytes), Err(error));
        // A byte left out.
        let mut bytes = [0; 64];
        pattern.fill(0, &mut bytes[..32]);
        pattern.fill(33, &mut bytes[32..]);
        assert!(pattern.check(0, &bytes).is_err());
    }
}
