//! SipHash-1-3 of messages whose length is known when compiled: without the buffering that a hasher for any message
//! needs, it is a few dozen instructions. Keyed hashes of everything else are in [`random`](crate::random).

/// A key, expanded.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sip13 {
    state: [u64; 4],
}

impl Sip13 {
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        let key = u128::from_le_bytes(*key);
        let (k0, k1) = (key as u64, (key >> 64) as u64);
        Sip13 {
            state: [
                k0 ^ 0x736f_6d65_7073_6575,
                k1 ^ 0x646f_7261_6e64_6f6d,
                k0 ^ 0x6c79_6765_6e65_7261,
                k1 ^ 0x7465_6462_7974_6573,
            ],
        }
    }

    /// The hash of `words` followed by `tail`, each as its little-endian bytes.
    #[inline(always)]
    pub(crate) fn hash<const N: usize>(&self, words: [u64; N], tail: u32) -> u64 {
        let mut v = self.state;
        // The last block carries the message's length, modulo 256, in its last byte.
        let len = (N * 8 + 4) as u64;
        let last = len << 56 | u64::from(tail);
        for word in words {
            compress(&mut v, word);
        }
        compress(&mut v, last);
        v[2] ^= 0xff;
        round(&mut v);
        round(&mut v);
        round(&mut v);
        v[0] ^ v[1] ^ v[2] ^ v[3]
    }
}

#[inline(always)]
fn compress(v: &mut [u64; 4], word: u64) {
    v[3] ^= word;
    round(v);
    v[0] ^= word;
}

#[inline(always)]
fn round(v: &mut [u64; 4]) {
    v[0] = v[0].wrapping_add(v[1]);
    v[2] = v[2].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(13) ^ v[0];
    v[3] = v[3].rotate_left(16) ^ v[2];
    v[0] = v[0].rotate_left(32);
    v[2] = v[2].wrapping_add(v[1]);
    v[0] = v[0].wrapping_add(v[3]);
    v[1] = v[1].rotate_left(17) ^ v[2];
    v[3] = v[3].rotate_left(21) ^ v[0];
    v[2] = v[2].rotate_left(32);
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;
    use proptest::prelude::*;
    use siphasher::sip::SipHasher13;

    fn reference(key: &[u8; 16], words: &[u64], tail: u32) -> u64 {
        let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
        bytes.extend(tail.to_le_bytes());
        SipHasher13::new_with_key(key).hash(&bytes)
    }

    proptest! {
        #[test]
        fn hashes_are_those_of_the_siphasher_crate(key: [u8; 16], words: [u64; 4], tail: u32) {
            let sip = Sip13::new(&key);
            prop_assert_eq!(sip.hash([], tail), reference(&key, &[], tail));
            prop_assert_eq!(sip.hash([words[0]], tail), reference(&key, &words[..1], tail));
            prop_assert_eq!(sip.hash(words, tail), reference(&key, &words, tail));
        }
    }
}
