//! A hierarchical timer wheel: arming, moving and cancelling a timer takes the same time whatever the number of timers.
//!
//! Six levels of 64 slots, a tick of 2^20 ns (about 1 ms) at the lowest. A timer has at most one deadline. It never
//! fires early, and at most two ticks late when [`Wheel::pop_expired`] is called in time. Slots are doubly linked lists
//! through one vector of nodes, so that nothing is allocated after the number of timers has reached its peak.

use alloc::vec::Vec;

use crate::time::Instant;

const TICK_SHIFT: u32 = 20;
const SLOT_BITS: u32 = 6;
const SLOTS: usize = 1 << SLOT_BITS;
const LEVELS: usize = 6;
/// Deadlines further away than this are kept at this distance and looked at again when they come up.
/// Half the range of the wheel, so that a deadline never comes to lie in the slot that is the present one.
const MAX_DISTANCE: u64 = 1 << (SLOT_BITS * LEVELS as u32 - 1);
const NIL: u32 = u32::MAX;
const UNARMED: u16 = u16::MAX;

/// A timer of a wheel. Not valid any more after [`Wheel::remove`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimerId(u32);

impl TimerId {
    /// Something of it.
    #[inline(always)]
    pub fn word(self) -> u32 {
        self.0
    }
}

#[derive(Debug)]
struct Node<K> {
    key: K,
    deadline: u64,
    prev: u32,
    next: u32,
    /// Level and slot it is linked into, or `UNARMED`.
    place: u16,
}

#[derive(Debug, Clone, Copy)]
struct Level {
    /// A bit for each slot that is not empty.
    occupied: u64,
    heads: [u32; SLOTS],
}

/// The wheel; `K` says whose timer it is.
#[derive(Debug)]
pub struct Wheel<K> {
    nodes: Vec<Node<K>>,
    free: Vec<u32>,
    levels: [Level; LEVELS],
    /// The present tick: all before it have been dealt with, timers of this one may wait in its slot at level 0.
    elapsed: u64,
    armed: usize,
}

impl<K: Copy> Wheel<K> {
    /// A wheel without timers, at this time.
    pub fn new(now: Instant) -> Self {
        Wheel {
            nodes: Vec::new(),
            free: Vec::new(),
            levels: [Level {
                occupied: 0,
                heads: [NIL; SLOTS],
            }; LEVELS],
            elapsed: now.as_nanos() >> TICK_SHIFT,
            armed: 0,
        }
    }

    /// A new timer that is not armed.
    pub fn insert(&mut self, key: K) -> TimerId {
        let node = Node {
            key,
            deadline: 0,
            prev: NIL,
            next: NIL,
            place: UNARMED,
        };
        match self.free.pop() {
            Some(index) => {
                self.nodes[index as usize] = node;
                TimerId(index)
            }
            None => {
                self.nodes.push(node);
                TimerId((self.nodes.len() - 1) as u32)
            }
        }
    }

    /// Forgets a timer; each exactly once.
    pub fn remove(&mut self, id: TimerId) {
        self.disarm(id);
        self.free.push(id.0);
    }

    /// The deadline of a timer, rounded up to a tick.
    pub fn deadline(&self, id: TimerId) -> Option<Instant> {
        let node = &self.nodes[id.0 as usize];
        (node.place != UNARMED).then(|| Instant::from_nanos(node.deadline << TICK_SHIFT))
    }

    /// Sets or moves the deadline, and tells what it is in whole ticks.
    #[inline(never)]
    pub fn arm(&mut self, id: TimerId, at: Instant) -> Instant {
        let tick = at.as_nanos().div_ceil(1 << TICK_SHIFT);
        if self.nodes[id.0 as usize].place != UNARMED {
            if self.nodes[id.0 as usize].deadline == tick {
                return Instant::from_nanos(tick << TICK_SHIFT);
            }
            self.unlink(id.0);
        }
        self.nodes[id.0 as usize].deadline = tick;
        self.link(id.0);
        Instant::from_nanos(tick << TICK_SHIFT)
    }

    /// How many timers have a deadline.
    pub fn armed(&self) -> usize {
        self.armed
    }

    /// Takes the deadline away.
    pub fn disarm(&mut self, id: TimerId) {
        if self.nodes[id.0 as usize].place != UNARMED {
            self.unlink(id.0);
        }
    }

    fn link(&mut self, index: u32) {
        let deadline = self.nodes[index as usize].deadline;
        // A deadline that has passed goes to the present tick.
        let slot_tick = deadline.clamp(self.elapsed, self.elapsed + MAX_DISTANCE);
        let differing = (slot_tick ^ self.elapsed) | (SLOTS as u64 - 1);
        let level = (((63 - differing.leading_zeros()) / SLOT_BITS) as usize).min(LEVELS - 1);
        let slot = (slot_tick >> (level as u32 * SLOT_BITS)) as usize & (SLOTS - 1);
        let head = self.levels[level].heads[slot];
        if head != NIL {
            self.nodes[head as usize].prev = index;
        }
        let node = &mut self.nodes[index as usize];
        node.prev = NIL;
        node.next = head;
        node.place = (level * SLOTS + slot) as u16;
        self.levels[level].heads[slot] = index;
        self.levels[level].occupied |= 1 << slot;
        self.armed += 1;
    }

    fn unlink(&mut self, index: u32) {
        let Node {
            prev, next, place, ..
        } = self.nodes[index as usize];
        let (level, slot) = (place as usize / SLOTS, place as usize % SLOTS);
        if next != NIL {
            self.nodes[next as usize].prev = prev;
        }
        if prev != NIL {
            self.nodes[prev as usize].next = next;
        } else {
            self.levels[level].heads[slot] = next;
            if next == NIL {
                self.levels[level].occupied &= !(1 << slot);
            }
        }
        self.nodes[index as usize].place = UNARMED;
        self.armed -= 1;
    }

    /// The first slot that has something in it: its level, slot and first tick.
    fn next_slot(&self) -> Option<(usize, usize, u64)> {
        if self.armed == 0 {
            return None;
        }
        for (index, level) in self.levels.iter().enumerate() {
            if level.occupied == 0 {
                continue;
            }
            let shift = index as u32 * SLOT_BITS;
            let now_slot = (self.elapsed >> shift) as u32 & (SLOTS as u32 - 1);
            let ahead = level.occupied.rotate_right(now_slot).trailing_zeros();
            let slot = (now_slot + ahead) as usize & (SLOTS - 1);
            // All of a lower level's ticks come before any of a higher level's. Ahead is never 0 above level 0 but
            // for the top level, which may have wrapped.
            let base = (self.elapsed >> shift) + u64::from(ahead);
            let first = (base << shift).max(self.elapsed);
            return Some((index, slot, first));
        }
        None
    }

    /// When [`pop_expired`](Self::pop_expired) should be called next; may be early, never late.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.next_slot()
            .map(|(_, _, tick)| Instant::from_nanos(tick << TICK_SHIFT))
    }

    /// Takes one timer whose deadline has passed; it is not armed any more. Call until `None`.
    pub fn pop_expired(&mut self, now: Instant) -> Option<K> {
        let now_tick = now.as_nanos() >> TICK_SHIFT;
        loop {
            let Some((level, slot, first)) = self.next_slot() else {
                self.elapsed = self.elapsed.max(now_tick);
                return None;
            };
            if first > now_tick {
                self.elapsed = self.elapsed.max(now_tick);
                return None;
            }
            self.elapsed = self.elapsed.max(first);
            let mut next = self.levels[level].heads[slot];
            if level == 0 {
                self.unlink(next);
                return Some(self.nodes[next as usize].key);
            }
            // Spread the slot over the levels below.
            self.levels[level].heads[slot] = NIL;
            self.levels[level].occupied &= !(1 << slot);
            while next != NIL {
                let index = next;
                next = self.nodes[index as usize].next;
                self.armed -= 1;
                self.link(index);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Duration;
    use alloc::collections::BTreeMap;

    const TICK: Duration = Duration::from_nanos(1 << TICK_SHIFT);

    #[test]
    fn timers_fire_in_time_and_never_early_whatever_their_distance() {
        let start = Instant::from_secs(12_345);
        let mut wheel = Wheel::new(start);
        let mut due = BTreeMap::new();
        let mut state = 7u64;
        let mut ids = Vec::new();
        for key in 0..5_000u32 {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let range = 1u64 << (20 + (state >> 59));
            let at = start + Duration::from_nanos((state >> 5) % range);
            let id = wheel.insert(key);
            wheel.arm(id, at);
            due.insert(key, at);
            ids.push(id);
        }
        // Move some, cancel some.
        for key in (0..5_000u32).step_by(7) {
            let at = start + Duration::from_millis(u64::from(key));
            wheel.arm(ids[key as usize], at);
            due.insert(key, at);
        }
        for key in (3..5_000u32).step_by(11) {
            wheel.disarm(ids[key as usize]);
            due.remove(&key);
        }
        let mut steps = 0;
        while let Some(now) = wheel.next_deadline() {
            steps += 1;
            while let Some(key) = wheel.pop_expired(now) {
                let at = due.remove(&key).expect("fires once, and only if armed");
                assert!(at <= now, "fired {:?} early", at - now);
                assert!(now - at < TICK * 2, "fired {:?} late", now - at);
            }
        }
        assert!(due.is_empty(), "{} never fired", due.len());
        assert!(steps < 40_000);
    }

    #[test]
    fn what_arming_tells_is_when_the_timer_fires() {
        let mut wheel = Wheel::new(Instant::ZERO);
        let id = wheel.insert(1u8);
        for millis in [100, 900, 50] {
            let at = Instant::from_millis(millis);
            let told = wheel.arm(id, at);
            assert_eq!(wheel.deadline(id), Some(told));
            assert_eq!(wheel.arm(id, at), told, "armed for that already");
            assert!(at <= told && told < at + TICK, "{told:?}");
        }
        assert_eq!(wheel.pop_expired(Instant::from_millis(49)), None);
        assert_eq!(wheel.pop_expired(Instant::from_millis(60)), Some(1));
        assert_eq!(wheel.deadline(id), None);
        assert_eq!(wheel.next_deadline(), None);
    }

    #[test]
    fn a_deadline_in_the_past_fires_at_once_and_a_removed_timer_never() {
        let mut wheel = Wheel::new(Instant::from_secs(50));
        let past = wheel.insert(1u8);
        let gone = wheel.insert(2u8);
        wheel.arm(past, Instant::from_secs(1));
        wheel.arm(gone, Instant::from_secs(1));
        wheel.remove(gone);
        assert_eq!(wheel.pop_expired(Instant::from_secs(50)), Some(1));
        assert_eq!(wheel.pop_expired(Instant::from_secs(5_000)), None);
    }

    #[test]
    fn a_deadline_beyond_the_range_is_kept() {
        let mut wheel = Wheel::new(Instant::from_secs(1));
        let id = wheel.insert(9u8);
        let at = Instant::from_secs(20 * 365 * 86_400);
        wheel.arm(id, at);
        assert_eq!(wheel.pop_expired(at - Duration::from_secs(60)), None);
        assert_eq!(wheel.pop_expired(at + TICK), Some(9));
    }
}
