//! Which workers have sockets where: a hash table that is read far more often than it is written, behind a sequence lock.
//!
//! Writers take turns; they come when a socket is bound or closed. A reader takes no lock: it reads, and reads again if a
//! writer came in between. The table has its size from the start and is at most half full, so every search ends.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::hint::spin_loop;
use core::sync::atomic::{AtomicU64, Ordering, fence};

use super::Workers;

/// A binding's hash, 0 in a slot that is empty, and who has it, in halves.
#[derive(Debug, Default)]
struct Slot {
    tag: AtomicU64,
    workers: [AtomicU64; 2],
}

impl Slot {
    fn workers(&self) -> Workers {
        let [low, high] = &self.workers;
        let half = |half: &AtomicU64| u128::from(half.load(Ordering::Relaxed));
        Workers::from_bits(half(high) << 64 | half(low))
    }

    fn tag(&self) -> u64 {
        self.tag.load(Ordering::Relaxed)
    }

    fn set(&self, tag: u64, workers: Workers) {
        let [low, high] = &self.workers;
        self.tag.store(tag, Ordering::Relaxed);
        low.store(workers.bits() as u64, Ordering::Relaxed);
        high.store((workers.bits() >> 64) as u64, Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub(super) struct Bindings {
    /// Odd while somebody writes.
    version: AtomicU64,
    /// Slots in use. Writers' alone.
    used: AtomicU64,
    /// A power of two of them.
    slots: Box<[Slot]>,
}

/// Ends a change when it goes out of scope.
struct Changing<'a>(&'a Bindings);

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.0.version.fetch_add(1, Ordering::Release);
    }
}

impl Bindings {
    pub(super) fn new(most: usize) -> Self {
        let slots = most.clamp(1, 1 << 24).next_power_of_two() * 2;
        let slots: Vec<Slot> = (0..slots).map(|_| Slot::default()).collect();
        Bindings {
            version: AtomicU64::new(0),
            used: AtomicU64::new(0),
            slots: slots.into(),
        }
    }

    fn change(&self) -> Changing<'_> {
        loop {
            let version = self.version.load(Ordering::Relaxed);
            let taken = |version| {
                let order = (Ordering::Acquire, Ordering::Relaxed);
                self.version
                    .compare_exchange_weak(version, version + 1, order.0, order.1)
            };
            if version & 1 == 0 && taken(version).is_ok() {
                // No reader sees what follows without seeing the odd version.
                fence(Ordering::Release);
                return Changing(self);
            }
            spin_loop();
        }
    }

    fn slot(&self, at: usize) -> &Slot {
        &self.slots[at & (self.slots.len() - 1)]
    }

    /// The place of a tag, or of the empty slot where it would be.
    fn place(&self, tag: u64) -> usize {
        let home = tag as usize >> 1;
        // It is half full at most. Who reads while it is changed may see anything, but no more of it than there is.
        (home..home.wrapping_add(self.slots.len()))
            .find(|at| matches!(self.slot(*at).tag(), found if found == tag || found == 0))
            .unwrap_or(home)
    }

    /// Adds workers to a binding; `false` if it is new and there is no room.
    pub(super) fn add(&self, hash: u64, workers: Workers) -> bool {
        let tag = hash | 1;
        let _changing = self.change();
        let slot = self.slot(self.place(tag));
        if slot.tag() == tag {
            slot.set(tag, slot.workers().union(workers));
            return true;
        }
        let used = self.used.load(Ordering::Relaxed) + 1;
        if used > self.slots.len() as u64 / 2 {
            return false;
        }
        self.used.store(used, Ordering::Relaxed);
        slot.set(tag, workers);
        true
    }

    /// Takes workers from a binding.
    pub(super) fn remove(&self, hash: u64, workers: Workers) {
        let tag = hash | 1;
        let _changing = self.change();
        let mut hole = self.place(tag);
        let slot = self.slot(hole);
        if slot.tag() != tag {
            return;
        }
        let left = Workers::from_bits(slot.workers().bits() & !workers.bits());
        if !left.is_empty() {
            return slot.set(tag, left);
        }
        let used = self.used.load(Ordering::Relaxed);
        self.used.store(used.saturating_sub(1), Ordering::Relaxed);
        // What lies behind the hole is moved into it where its search would end there otherwise.
        let mask = self.slots.len() - 1;
        let mut at = hole;
        loop {
            at = at.wrapping_add(1);
            let next = self.slot(at);
            if next.tag() == 0 {
                break;
            }
            let home = next.tag() as usize >> 1;
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.slot(hole).set(next.tag(), next.workers());
                hole = at;
            }
        }
        self.slot(hole).set(0, Workers::NONE);
    }

    /// Who has a binding.
    pub(super) fn get(&self, hash: u64) -> Workers {
        let tag = hash | 1;
        loop {
            let version = self.version.load(Ordering::Acquire);
            if version & 1 == 0 {
                let slot = self.slot(self.place(tag));
                let found = if slot.tag() == tag {
                    slot.workers()
                } else {
                    Workers::NONE
                };
                fence(Ordering::Acquire);
                if self.version.load(Ordering::Relaxed) == version {
                    return found;
                }
            }
            spin_loop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::sync::atomic::AtomicBool;

    proptest! {
        /// Hashes that want few places, so that they get into each other's way.
        #[test]
        fn it_says_what_a_map_would(
            steps in proptest::collection::vec((any::<bool>(), 0u64..24, 0u16..3), 1..400)
        ) {
            let bindings = Bindings::new(16);
            let mut map: HashMap<u64, Workers> = HashMap::new();
            for (add, n, worker) in steps {
                let hash = n << 32 | (n % 5) << 1 | 1;
                let workers = Workers::only(worker);
                if add {
                    let fits = map.contains_key(&hash) || map.len() < 16;
                    prop_assert_eq!(bindings.add(hash, workers), fits);
                    if fits {
                        let had = map.entry(hash).or_default();
                        *had = had.union(workers);
                    }
                } else {
                    bindings.remove(hash, workers);
                    if let Some(had) = map.get_mut(&hash) {
                        *had = had.without(worker);
                        if had.is_empty() {
                            map.remove(&hash);
                        }
                    }
                }
                for n in 0..24u64 {
                    let hash = n << 32 | (n % 5) << 1 | 1;
                    let expected = map.get(&hash).copied().unwrap_or_default();
                    prop_assert_eq!(bindings.get(hash), expected);
                }
            }
        }
    }

    #[test]
    fn a_binding_that_stays_is_seen_by_readers_however_others_come_and_go() {
        let bindings = Bindings::new(64);
        let done = AtomicBool::new(false);
        // It lies behind others, which are removed and so move it.
        (0..8).for_each(|n| assert!(bindings.add(n << 32 | 1, Workers::only(1))));
        let stays = 7 << 32 | 1;
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut reads = 0u64;
                while !done.load(Ordering::Relaxed) || reads == 0 {
                    assert_eq!(bindings.get(stays), Workers::only(1));
                    reads += 1;
                }
            });
            for round in 0..20_000u64 {
                let hash = (round % 7) << 32 | 1;
                bindings.remove(hash, Workers::only(1));
                assert!(bindings.get(hash).is_empty());
                assert!(bindings.add(hash, Workers::only(1)));
            }
            done.store(true, Ordering::Relaxed);
            reader.join().unwrap();
        });
    }
}
