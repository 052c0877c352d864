//! Keys and random numbers out of the stack's seed. A seed that strangers don't know makes both unpredictable to them,
//! and the same seed makes a run repeatable. No entropy is gathered here.

use core::hash::{BuildHasher, Hasher};

use siphasher::sip::{SipHasher13, SipHasher24};

/// A SipHash-1-3 key, for tables whose keys come from strangers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HashKey(u64, u64);

impl HashKey {
    /// The key that `seed` gives for `purpose`; purposes don't tell about one another.
    pub(crate) fn derive(seed: &[u8; 32], purpose: &str) -> Self {
        let half = |salt: u8| {
            let mut key = [0; 16];
            key.copy_from_slice(&seed[..16]);
            let mut hasher = SipHasher24::new_with_key(&key);
            hasher.write(&seed[16..]);
            hasher.write(purpose.as_bytes());
            hasher.write_u8(salt);
            hasher.finish()
        };
        Self(half(1), half(2))
    }

    /// The key itself, for hashes of other kinds.
    pub(crate) fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.0.to_le_bytes());
        bytes[8..].copy_from_slice(&self.1.to_le_bytes());
        bytes
    }
}

impl BuildHasher for HashKey {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.0, self.1)
    }
}

/// Random numbers: SipHash of a counter.
#[derive(Debug, Clone)]
pub(crate) struct Random {
    key: HashKey,
    counter: u64,
}

impl Random {
    pub(crate) fn new(seed: &[u8; 32], purpose: &str) -> Self {
        Self {
            key: HashKey::derive(seed, purpose),
            counter: 0,
        }
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.counter = self.counter.wrapping_add(1);
        self.key.hash_one(self.counter)
    }

    /// A number below `bound`, or 0 if that is 0.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        // Multiply-shift: the bias is below bound / 2^64.
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_and_seeds_give_unlike_numbers_and_the_same_ones_repeat() {
        let first = |seed: &[u8; 32], purpose| Random::new(seed, purpose).next_u64();
        assert_eq!(first(&[1; 32], "a"), first(&[1; 32], "a"));
        assert_ne!(first(&[1; 32], "a"), first(&[1; 32], "b"));
        let mut late = [1; 32];
        late[31] = 2;
        assert_ne!(first(&[1; 32], "a"), first(&late, "a"));
    }

    #[test]
    fn numbers_stay_below_their_bound_and_reach_all_of_it() {
        let mut random = Random::new(&[7; 32], "test");
        let mut seen = [false; 10];
        for _ in 0..1_000 {
            seen[random.below(10) as usize] = true;
        }
        assert_eq!(seen, [true; 10]);
        assert_eq!(random.below(0), 0);
    }
}
