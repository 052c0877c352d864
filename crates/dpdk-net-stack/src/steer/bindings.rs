//! Which workers have sockets where.
//!
//! A word is a binding and which of eight workers have it, a bit each: so workers come and go with one change of one word, and the
//! last to go leaves nothing behind. Eight more workers have a word of their own, elsewhere. Two that enter the same binding at the
//! same time may make two words of it, which count as one.

use core::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use super::buckets::{Buckets, EMPTY, value, word};
use super::{MAX_WORKERS, Workers};

/// Workers that share a word.
const GROUP: u16 = 8;

#[derive(Debug)]
pub(super) struct Bindings {
    buckets: Buckets,
    /// Groups of workers that have had bindings, at most.
    groups: AtomicU16,
}

/// The hash that a group's word of a binding goes by.
fn of_group(hash: u64, group: u16) -> u64 {
    // Far from each other in all bits (the golden ratio, as in Fibonacci hashing).
    hash ^ u64::from(group).wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

impl Bindings {
    /// Room for so many words.
    pub(super) fn new(words: usize) -> Self {
        Bindings {
            buckets: Buckets::new(words),
            groups: AtomicU16::new(0),
        }
    }

    /// Adds a worker to a binding; `false` if there is no room.
    pub(super) fn add(&self, hash: u64, worker: u16) -> bool {
        if worker >= MAX_WORKERS {
            return false;
        }
        let group = worker / GROUP;
        let (hash, bit) = (of_group(hash, group), 1 << (worker % GROUP));
        self.groups.fetch_max(group + 1, Ordering::SeqCst);
        let join = |entry| (value(entry, hash) != 0).then_some(entry | u64::from(bit));
        let joined = |slot: &AtomicU64| {
            slot.fetch_update(Ordering::SeqCst, Ordering::SeqCst, join)
                .is_ok()
        };
        self.buckets.slots(hash).any(joined) || self.buckets.insert(hash, word(hash, bit)).is_some()
    }

    /// Takes a worker from a binding.
    pub(super) fn remove(&self, hash: u64, worker: u16) {
        let group = worker / GROUP;
        let (hash, bit) = (of_group(hash, group), 1 << (worker % GROUP));
        let leave = |entry| {
            let left = value(entry, hash);
            let is_last = left == bit;
            (left & bit != 0).then_some(if is_last {
                EMPTY
            } else {
                entry & !u64::from(bit)
            })
        };
        for slot in self.buckets.slots(hash) {
            // Nothing to be changed is no error.
            let _ = slot.fetch_update(Ordering::SeqCst, Ordering::SeqCst, leave);
        }
    }

    /// Who has a binding.
    pub(super) fn get(&self, hash: u64) -> Workers {
        let groups = self.groups.load(Ordering::SeqCst);
        let bits = (0..groups).fold(0, |bits, group| {
            let hash = of_group(hash, group);
            let slots = self.buckets.slots(hash);
            let own = slots.fold(0, |own, slot| {
                own | value(slot.load(Ordering::SeqCst), hash)
            });
            bits | u128::from(own) << (group * GROUP)
        });
        Workers::from_bits(bits)
    }

    /// Words in it. Looks at all of it: for people and tests.
    pub(super) fn len(&self) -> usize {
        self.buckets.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::sync::atomic::AtomicBool;

    /// As the keyed hash of binding `n` might be.
    fn hash(n: u64) -> u64 {
        let mixed = (n + 1).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ mixed >> 29).wrapping_mul(0x94d0_49bb_1331_11eb)
    }

    proptest! {
        #[test]
        fn it_says_what_a_map_would(
            steps in proptest::collection::vec(
                (any::<bool>(), 0u64..24, prop_oneof![0u16..3, 7u16..10, 120u16..128]), 1..400)
        ) {
            let bindings = Bindings::new(24 * 4);
            let mut map: HashMap<u64, Workers> = HashMap::new();
            for (add, n, worker) in steps {
                let had = map.entry(n).or_default();
                if add {
                    prop_assert!(bindings.add(hash(n), worker));
                    *had = had.union(Workers::only(worker));
                } else {
                    bindings.remove(hash(n), worker);
                    *had = had.without(worker);
                }
                for n in 0..24u64 {
                    let expected = map.get(&n).copied().unwrap_or_default();
                    prop_assert_eq!(bindings.get(hash(n)), expected);
                }
            }
            for (n, workers) in map {
                workers.iter().for_each(|worker| bindings.remove(hash(n), worker));
            }
            prop_assert_eq!(bindings.len(), 0);
        }
    }

    #[test]
    fn as_many_as_were_asked_for_find_room_and_more_are_refused() {
        let bindings = Bindings::new(4_096);
        for n in 0..4_096 {
            assert!((0..8).all(|worker| bindings.add(hash(n), worker)));
        }
        assert_eq!(bindings.len(), 4_096, "eight workers share a word");
        let small = Bindings::new(1);
        let entered = (0..1_000).filter(|n| small.add(hash(*n), 5)).count();
        assert!((8..1_000).contains(&entered) && small.len() == entered);
        let found = (0..1_000).filter(|n| small.get(hash(*n)).contains(5));
        assert_eq!(found.count(), entered);
        assert!(!small.add(hash(0), MAX_WORKERS), "there is no such worker");
    }

    #[test]
    fn a_binding_that_stays_is_seen_by_readers_however_others_come_and_go() {
        let bindings = Bindings::new(64);
        let done = AtomicBool::new(false);
        assert!(bindings.add(hash(0), 1));
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut reads = 0u64;
                while !done.load(Ordering::Relaxed) || reads == 0 {
                    assert!(bindings.get(hash(0)).contains(1));
                    reads += 1;
                }
            });
            // The same binding of others, and others of the same worker.
            let writers: std::vec::Vec<_> = [0u16, 7, 9]
                .map(|worker| {
                    let bindings = &bindings;
                    scope.spawn(move || {
                        for round in 0..20_000u64 {
                            let other = hash(1 + round % 7);
                            for (at, worker) in [(hash(0), worker), (other, worker)] {
                                assert!(bindings.add(at, worker));
                                assert!(bindings.get(at).contains(worker));
                                bindings.remove(at, worker);
                                assert!(!bindings.get(at).contains(worker));
                            }
                        }
                    })
                })
                .into();
            writers
                .into_iter()
                .for_each(|writer| writer.join().unwrap());
            done.store(true, Ordering::Relaxed);
            reader.join().unwrap();
        });
        assert_eq!(bindings.get(hash(0)), Workers::only(1));
        assert_eq!(bindings.len(), 1);
    }
}
