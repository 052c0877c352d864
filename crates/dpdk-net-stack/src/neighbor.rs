//! Who on the links has which IP address: one cache for ARP and NDP of all interfaces, with the states of RFC 4861
//! section 7.3.
//!
//! A packet for an address that isn't known waits here while the address is asked for, at once and then twice more, a
//! second apart; then it goes out in order or is given up. Entries in use are probed before they are trusted for too
//! long. Strangers can only bring in entries by asking for ours, the number of entries and the bytes that wait are
//! bounded, and no step here looks at more than a fixed number of entries.
//!
//! The messages themselves are in [`arp`](crate::arp) and [`ndp`](crate::ndp); sending is [`link`](crate::link)'s.

mod info;

use alloc::collections::{BTreeSet, VecDeque};
use alloc::vec::Vec;

use dpdk_net_packet::MacAddr;
use hashbrown::HashMap;

use crate::config::{Config, Limits};
use crate::interfaces::{Hop, IfIndex};
use crate::listing::ListPlace;
use crate::random::{HashKey, Random};
use crate::time::{Duration, Instant};

pub(crate) use info::NeighborCounters;
pub use info::{NeighborInfo, NeighborState, NeighborStats};

/// RetransTimer of RFC 4861 section 10: between two requests.
pub(crate) const RETRANSMIT: Duration = Duration::from_secs(1);
/// MAX_MULTICAST_SOLICIT and MAX_UNICAST_SOLICIT.
const MAX_REQUESTS: u8 = 3;

/// Places that are looked at for one page of a list.
const NEIGHBORS: usize = 512;
/// REACHABLE_TIME; each entry takes 0.5 to 1.5 times that, so that probes don't come in step.
const REACHABLE: Duration = Duration::from_secs(30);
/// DELAY_FIRST_PROBE_TIME: for so long an upper layer may confirm before a probe is sent.
const DELAY_FIRST_PROBE: Duration = Duration::from_secs(5);
/// Entries looked at to find one to evict.
const EVICTION_WINDOW: usize = 32;

/// What looking a neighbour up has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// Send to this MAC address.
    Ready(MacAddr),
    /// Being asked for; packets may wait.
    Waiting,
    /// Was not known: ask for it now; packets may wait.
    Ask,
}

/// What is due.
#[derive(Debug)]
pub(crate) enum Due {
    /// Ask all, or the one given if there is one, for `hop`.
    Ask { hop: Hop, unicast: Option<MacAddr> },
    /// The neighbour did not answer, and is forgotten.
    Silent(Hop),
    /// The neighbour did not answer: this frame, whole but for its destination, can't be sent.
    GiveUp { hop: Hop, frame: Vec<u8> },
}

/// What an answer says beyond the addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Answer {
    pub(crate) solicited: bool,
    pub(crate) override_: bool,
}

#[derive(Debug)]
struct Entry {
    hop: Hop,
    mac: MacAddr,
    state: NeighborState,
    /// When the entry stops being Reachable.
    reachable_until: Instant,
    /// Its place among the timers.
    deadline: Option<Instant>,
    requests: u8,
    /// Used since the eviction hand last passed.
    used: bool,
    pending: VecDeque<Vec<u8>>,
}

/// The cache.
#[derive(Debug)]
pub(crate) struct NeighborCache {
    index: HashMap<Hop, u32, HashKey>,
    /// `None` is free.
    entries: Vec<Option<Entry>>,
    free: Vec<u32>,
    timers: BTreeSet<(Instant, u32)>,
    hand: usize,
    /// Entries made by hand.
    statics: usize,
    pending_bytes: usize,
    max_entries: usize,
    max_pending: usize,
    max_pending_bytes: usize,
    random: Random,
    pub(crate) stats: NeighborCounters,
}

impl NeighborCache {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            index: HashMap::with_hasher(HashKey::derive(&config.seed, "neighbors")),
            entries: Vec::new(),
            free: Vec::new(),
            timers: BTreeSet::new(),
            hand: 0,
            statics: 0,
            pending_bytes: 0,
            max_entries: config.limits.neighbors,
            max_pending: config.limits.pending_per_neighbor,
            max_pending_bytes: config.limits.pending_bytes,
            random: Random::new(&config.worker_seed(), "neighbors"),
            stats: NeighborCounters::default(),
        }
    }

    /// Changes the bounds. Entries over them stay until others need their place.
    pub(crate) fn set_limits(&mut self, limits: &Limits) {
        self.max_entries = limits.neighbors;
        self.max_pending = limits.pending_per_neighbor;
        self.max_pending_bytes = limits.pending_bytes;
    }

    /// The MAC address of `hop`, to send something there now.
    #[inline]
    pub(crate) fn lookup(&mut self, now: Instant, hop: Hop) -> Found {
        let Some(&at) = self.index.get(&hop) else {
            // Without room for an entry nothing is asked: the packet that wants it is dropped and counted.
            return if self.create(now, hop).is_some() {
                Found::Ask
            } else {
                Found::Waiting
            };
        };
        let Some(Some(entry)) = self.entries.get_mut(at as usize) else {
            return Found::Waiting;
        };
        entry.used = true;
        match entry.state {
            NeighborState::Incomplete => return Found::Waiting,
            NeighborState::Reachable if now < entry.reachable_until => {}
            // RFC 4861 section 7.3.3: the first packet to a stale neighbour starts the wait for a confirmation.
            NeighborState::Reachable | NeighborState::Stale => {
                entry.state = NeighborState::Delay;
                entry.requests = 0;
                set_deadline(&mut self.timers, entry, at, Some(now + DELAY_FIRST_PROBE));
            }
            NeighborState::Delay | NeighborState::Probe | NeighborState::Static => {}
        }
        Found::Ready(entry.mac)
    }

    /// Whether [`queue`](Self::queue) would keep a frame for `hop` at nobody's cost.
    pub(crate) fn has_room(&self, hop: Hop) -> bool {
        let entry = self
            .index
            .get(&hop)
            .and_then(|at| self.entries.get(*at as usize))
            .and_then(Option::as_ref);
        entry.is_some_and(|entry| entry.pending.len() < self.max_pending)
            && self.pending_bytes < self.max_pending_bytes
    }

    /// Keeps a whole frame, but for its destination MAC address, until `hop` is known. The oldest one goes if too
    /// many wait for this neighbour, this one if too many bytes wait for all.
    pub(crate) fn queue(&mut self, hop: Hop, frame: Vec<u8>) {
        let Some(entry) = self
            .index
            .get(&hop)
            .and_then(|at| self.entries.get_mut(*at as usize))
            .and_then(Option::as_mut)
        else {
            self.stats.packets_overflowed += 1;
            return;
        };
        if entry.pending.len() >= self.max_pending
            && let Some(oldest) = entry.pending.pop_front()
        {
            self.pending_bytes -= oldest.len();
            self.stats.packets_overflowed += 1;
        }
        if self.pending_bytes + frame.len() > self.max_pending_bytes {
            self.stats.packets_overflowed += 1;
            return;
        }
        self.stats.packets_queued += 1;
        self.pending_bytes += frame.len();
        entry.pending.push_back(frame);
    }

    /// An answer: `hop` says that it has `mac` (RFC 4861 section 7.2.5). Only entries that exist are touched. Frames
    /// that waited go to `send`, in order, with their destination filled in.
    pub(crate) fn on_answer(
        &mut self,
        now: Instant,
        hop: Hop,
        mac: Option<MacAddr>,
        answer: Answer,
        send: impl FnMut(&[u8]) -> bool,
    ) {
        let Some(&at) = self.index.get(&hop) else {
            return;
        };
        let reachable_until = now + self.reachable_time();
        let Some(Some(entry)) = self.entries.get_mut(at as usize) else {
            return;
        };
        match entry.state {
            NeighborState::Static => {}
            NeighborState::Incomplete => {
                let Some(mac) = mac else {
                    return;
                };
                entry.mac = mac;
                self.stats.resolved += 1;
                self.settle(at, answer.solicited.then_some(reachable_until));
                self.flush(at, send);
            }
            state => {
                let changed = mac.is_some_and(|mac| mac != entry.mac);
                if changed && !answer.override_ {
                    if state == NeighborState::Reachable {
                        entry.state = NeighborState::Stale;
                    }
                    return;
                }
                if let Some(mac) = mac {
                    entry.mac = mac;
                }
                if answer.solicited {
                    self.settle(at, Some(reachable_until));
                } else if changed {
                    self.settle(at, None);
                }
            }
        }
    }

    /// `hop` has asked for us and so told its MAC address (RFC 826, RFC 4861 section 7.2.3): the only way in which
    /// others make an entry.
    pub(crate) fn on_asked(
        &mut self,
        now: Instant,
        hop: Hop,
        mac: MacAddr,
        send: impl FnMut(&[u8]) -> bool,
    ) {
        let at = match self.index.get(&hop) {
            Some(at) => *at,
            None => match self.create(now, hop) {
                Some(at) => at,
                None => return,
            },
        };
        let Some(Some(entry)) = self.entries.get_mut(at as usize) else {
            return;
        };
        match entry.state {
            NeighborState::Static => {}
            NeighborState::Incomplete => {
                entry.mac = mac;
                self.stats.resolved += 1;
                self.settle(at, None);
                self.flush(at, send);
            }
            _ if entry.mac != mac => {
                entry.mac = mac;
                self.settle(at, None);
            }
            _ => {}
        }
    }

    /// What was sent to `hop` has arrived, as an upper layer knows (RFC 4861 section 7.3.1).
    pub(crate) fn confirm(&mut self, now: Instant, hop: Hop) {
        let Some(&at) = self.index.get(&hop) else {
            return;
        };
        let reachable_until = now + self.reachable_time();
        if let Some(Some(entry)) = self.entries.get(at as usize)
            && !matches!(
                entry.state,
                NeighborState::Incomplete | NeighborState::Static
            )
        {
            self.settle(at, Some(reachable_until));
        }
    }

    /// Enters a neighbour by hand; it stays until [`remove`](Self::remove). Frames that waited go to `send`. `false` if
    /// no room could be made for it.
    pub(crate) fn add_static(
        &mut self,
        now: Instant,
        hop: Hop,
        mac: MacAddr,
        send: impl FnMut(&[u8]) -> bool,
    ) -> bool {
        // The others need some room too.
        let is_new = self.state_of(hop) != Some(NeighborState::Static);
        if is_new && self.statics >= self.max_entries / 2 {
            return false;
        }
        let at = match self.index.get(&hop) {
            Some(at) => *at,
            None => match self.create(now, hop) {
                Some(at) => at,
                None => return false,
            },
        };
        let Some(Some(entry)) = self.entries.get_mut(at as usize) else {
            return false;
        };
        entry.mac = mac;
        entry.state = NeighborState::Static;
        self.statics += usize::from(is_new);
        set_deadline(&mut self.timers, entry, at, None);
        self.flush(at, send);
        true
    }

    fn state_of(&self, hop: Hop) -> Option<NeighborState> {
        let at = *self.index.get(&hop)? as usize;
        Some(self.entries.get(at)?.as_ref()?.state)
    }

    /// Whether `hop` has been asked for lately and has not answered yet.
    pub(crate) fn is_asking(&self, hop: Hop) -> bool {
        matches!(
            self.state_of(hop),
            Some(NeighborState::Incomplete | NeighborState::Probe)
        )
    }

    /// The MAC address of `hop`, if it is known.
    pub(crate) fn mac_of(&self, hop: Hop) -> Option<MacAddr> {
        let at = *self.index.get(&hop)? as usize;
        let entry = self.entries.get(at)?.as_ref()?;
        (entry.state != NeighborState::Incomplete).then_some(entry.mac)
    }

    /// Forgets a neighbour. Whether there was one.
    pub(crate) fn remove(&mut self, hop: Hop) -> bool {
        let Some(&at) = self.index.get(&hop) else {
            return false;
        };
        self.discard(at);
        true
    }

    /// Forgets all that were found out: those that have not answered yet are asked for again, at once.
    pub(crate) fn link_changed(&mut self, now: Instant) {
        let known = |entry: &Entry| {
            !matches!(
                entry.state,
                NeighborState::Incomplete | NeighborState::Static
            )
        };
        let entries = self.entries.iter().flatten();
        let known = entries.filter(|entry| known(entry));
        for hop in known.map(|entry| entry.hop).collect::<Vec<Hop>>() {
            self.remove(hop);
        }
        self.ask_anew(now);
    }

    /// Begins anew, at once, with all neighbours that have not answered yet: there was no address to ask them from.
    pub(crate) fn ask_anew(&mut self, now: Instant) {
        for (at, entry) in self.entries.iter_mut().enumerate() {
            if let Some(entry) = entry
                && entry.state == NeighborState::Incomplete
            {
                entry.requests = 0;
                set_deadline(&mut self.timers, entry, at as u32, Some(now));
            }
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// Asks again, starts probing, and gives up.
    pub(crate) fn handle_timeout(&mut self, now: Instant, mut due: impl FnMut(Due)) {
        while let Some(&(deadline, at)) = self.timers.first() {
            if deadline > now {
                break;
            }
            self.timers.pop_first();
            let Some(Some(entry)) = self.entries.get_mut(at as usize) else {
                continue;
            };
            entry.deadline = None;
            if entry.requests >= MAX_REQUESTS {
                self.stats.unreachable += 1;
                let hop = entry.hop;
                due(Due::Silent(hop));
                for frame in self.discard(at) {
                    self.stats.packets_unreachable += 1;
                    due(Due::GiveUp { hop, frame });
                }
                continue;
            }
            let unicast = match entry.state {
                NeighborState::Incomplete => None,
                NeighborState::Delay | NeighborState::Probe => {
                    entry.state = NeighborState::Probe;
                    Some(entry.mac)
                }
                NeighborState::Reachable | NeighborState::Stale | NeighborState::Static => continue,
            };
            entry.requests += 1;
            let hop = entry.hop;
            set_deadline(&mut self.timers, entry, at, Some(now + RETRANSMIT));
            due(Due::Ask { hop, unicast });
        }
    }

    /// Bytes of packets that wait for neighbours.
    pub(crate) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Those at some places from one on, and where it goes on. `vlan` tells the VLAN's id of an interface.
    pub(crate) fn some(
        &self,
        now: Instant,
        from: ListPlace,
        vlan: impl Fn(IfIndex) -> u16,
    ) -> (impl Iterator<Item = NeighborInfo>, Option<ListPlace>) {
        let behind = from.index().saturating_add(NEIGHBORS);
        let entries = self.entries.iter().skip(from.index()).take(NEIGHBORS);
        let infos = entries.flatten().map(move |entry| NeighborInfo {
            addr: entry.hop.addr,
            vlan: vlan(entry.hop.at),
            mac: (entry.state != NeighborState::Incomplete).then_some(entry.mac),
            state: match entry.state {
                NeighborState::Reachable if now >= entry.reachable_until => NeighborState::Stale,
                state => state,
            },
        });
        (infos, ListPlace::before_end(behind, self.entries.len()))
    }

    /// Whether packets wait for a neighbour's answer.
    pub(crate) fn has_pending(&self) -> bool {
        self.pending_bytes > 0
    }

    /// Neighbours known or asked for.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    fn reachable_time(&mut self) -> Duration {
        REACHABLE / 2 + Duration::from_nanos(self.random.below(REACHABLE.as_nanos() as u64))
    }

    /// Makes the entry Reachable until then, or Stale.
    fn settle(&mut self, at: u32, reachable_until: Option<Instant>) {
        let Some(Some(entry)) = self.entries.get_mut(at as usize) else {
            return;
        };
        match reachable_until {
            Some(until) => {
                entry.state = NeighborState::Reachable;
                entry.reachable_until = until;
            }
            None => entry.state = NeighborState::Stale,
        }
        set_deadline(&mut self.timers, entry, at, None);
    }

    /// An incomplete entry whose first request is sent by the caller; a place is made for it if need be.
    fn create(&mut self, now: Instant, hop: Hop) -> Option<u32> {
        // Two at most: after the limit was lowered there are too many for a while.
        for _ in 0..2 {
            if self.index.len() >= self.max_entries {
                self.evict();
            }
        }
        if self.index.len() >= self.max_entries {
            return None;
        }
        let mut entry = Entry {
            hop,
            mac: MacAddr::ZERO,
            state: NeighborState::Incomplete,
            reachable_until: Instant::ZERO,
            deadline: None,
            requests: 1,
            used: true,
            pending: VecDeque::new(),
        };
        let at = self.free.pop().unwrap_or(self.entries.len() as u32);
        set_deadline(&mut self.timers, &mut entry, at, Some(now + RETRANSMIT));
        match self.entries.get_mut(at as usize) {
            Some(slot) => *slot = Some(entry),
            None => self.entries.push(Some(entry)),
        }
        self.index.insert(hop, at);
        Some(at)
    }

    /// Second chance over a window of entries: those that never answered go first, then those not used since the hand
    /// last came by, then any that isn't static.
    fn evict(&mut self) {
        let mut victim: Option<(u8, usize)> = None;
        let len = self.entries.len();
        for _ in 0..len.min(EVICTION_WINDOW) {
            let at = self.hand;
            self.hand = (at + 1) % len;
            let Some(Some(entry)) = self.entries.get_mut(at) else {
                continue;
            };
            let rank = match entry.state {
                NeighborState::Static => continue,
                NeighborState::Incomplete => 0,
                _ if !entry.used => 1,
                NeighborState::Stale => 2,
                _ => 3,
            };
            entry.used = false;
            if victim.is_none_or(|(best, _)| rank < best) {
                victim = Some((rank, at));
            }
        }
        if let Some((_, at)) = victim {
            self.stats.evicted += 1;
            let dropped = self.discard(at as u32).len();
            self.stats.packets_overflowed += dropped as u64;
        }
    }

    /// Takes an entry out and returns what waited for it.
    fn discard(&mut self, at: u32) -> VecDeque<Vec<u8>> {
        let Some(mut entry) = self.entries.get_mut(at as usize).and_then(Option::take) else {
            return VecDeque::new();
        };
        self.statics -= usize::from(entry.state == NeighborState::Static);
        set_deadline(&mut self.timers, &mut entry, at, None);
        self.index.remove(&entry.hop);
        self.free.push(at);
        self.pending_bytes -= entry.pending.iter().map(Vec::len).sum::<usize>();
        entry.pending
    }

    fn flush(&mut self, at: u32, mut send: impl FnMut(&[u8]) -> bool) {
        let Some(Some(entry)) = self.entries.get_mut(at as usize) else {
            return;
        };
        for mut frame in core::mem::take(&mut entry.pending) {
            self.pending_bytes -= frame.len();
            if let Some(dst) = frame.first_chunk_mut::<6>() {
                *dst = entry.mac.0;
            }
            if !send(&frame) {
                self.stats.packets_no_room += 1;
            }
        }
    }
}

fn set_deadline(
    timers: &mut BTreeSet<(Instant, u32)>,
    entry: &mut Entry,
    at: u32,
    deadline: Option<Instant>,
) {
    if let Some(before) = entry.deadline {
        timers.remove(&(before, at));
    }
    if let Some(deadline) = deadline {
        timers.insert((deadline, at));
    }
    entry.deadline = deadline;
}

#[cfg(test)]
mod tests;
