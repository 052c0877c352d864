//! What the tables of flows and of bindings are made of: words in buckets of a cache line, changed and read without locks.
//!
//! A word is the tag of what it is about, the upper bits of a keyed hash, and a value in the lowest eight that is never 0. It may be in
//! either of two buckets. Nobody waits for anybody: a change that fails has failed because another one was made, and readers read on
//! whatever writers do, also where a writer's thread is not running. The memory is what was asked for at the start.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicU64, Ordering};

/// Slots of a bucket: a cache line.
pub(super) const SLOTS: usize = 8;
pub(super) const EMPTY: u64 = 0;
/// The bits of a word that are its value.
const VALUE: u64 = 0xff;

#[derive(Debug, Default)]
#[repr(align(64))]
struct Bucket([AtomicU64; SLOTS]);

impl Bucket {
    fn len(&self) -> usize {
        let slots = self.0.iter();
        slots
            .filter(|slot| slot.load(Ordering::Relaxed) != EMPTY)
            .count()
    }
}

/// A power of two of them.
#[derive(Debug)]
pub(super) struct Buckets(Box<[Bucket]>);

/// The word of what has this hash, with a value that is not 0.
pub(super) fn word(hash: u64, value: u8) -> u64 {
    hash & !VALUE | u64::from(value)
}

/// The value of a word, 0 if it is not of what has this hash.
pub(super) fn value(word: u64, hash: u64) -> u8 {
    if (word ^ hash) & !VALUE == 0 {
        (word & VALUE) as u8
    } else {
        0
    }
}

impl Buckets {
    /// Room for so many words.
    pub(super) fn new(words: usize) -> Self {
        // Twice as many slots: with two buckets to choose from none is full then.
        let buckets = words.clamp(SLOTS, 1 << 32).div_ceil(SLOTS / 2);
        let buckets = (0..buckets.next_power_of_two()).map(|_| Bucket::default());
        Buckets(buckets.collect::<Vec<_>>().into())
    }

    /// Both buckets that a word may be in.
    fn places(&self, hash: u64) -> [&Bucket; 2] {
        // The number of buckets is a power of two, so neither is ever out of range.
        let mask = self.0.len() - 1;
        let first = (hash >> 32) as usize & mask;
        let second = first ^ ((hash >> 8) as usize | 1) & mask;
        [&self.0[first], &self.0[second]]
    }

    /// The slots that the word of what has this hash may be in.
    pub(super) fn slots(&self, hash: u64) -> impl Iterator<Item = &AtomicU64> {
        self.places(hash).into_iter().flat_map(|bucket| &bucket.0)
    }

    /// Puts a word into the emptier bucket of what has this hash; `None` if both are full.
    pub(super) fn insert(&self, hash: u64, word: u64) -> Option<&AtomicU64> {
        let [mut first, mut second] = self.places(hash);
        if second.len() < first.len() {
            core::mem::swap(&mut first, &mut second);
        }
        first.0.iter().chain(&second.0).find(|slot| {
            slot.load(Ordering::Relaxed) == EMPTY
                && slot
                    .compare_exchange(EMPTY, word, Ordering::SeqCst, Ordering::Relaxed)
                    .is_ok()
        })
    }

    /// Words in all of them. Looks at each: for people and tests.
    pub(super) fn len(&self) -> usize {
        self.0.iter().map(Bucket::len).sum()
    }

    /// How many slots there are.
    pub(super) fn slot_count(&self) -> usize {
        self.0.len() * SLOTS
    }
}
