//! Putting fragments of IPv4 (RFC 791, RFC 1122 section 3.3.2) and IPv6 (RFC 8200 section 4.5) together.
//!
//! Fragments that overlap spoil their packet: it and what still comes of it is dropped (RFC 5722). Memory and time are
//! bounded; when memory runs out the oldest packet goes. Fragments are found by a keyed hash, and nothing is scanned.
//! IPv6's atomic fragments never come here: parsing passes them as whole packets (RFC 6946). Making fragments is
//! [`fragment`](crate::fragment)'s.

use alloc::vec::Vec;
use core::net::IpAddr;

use dpdk_net_packet::{Fragment, IpPacket, checksum, ipv6};
use hashbrown::HashMap;

use crate::config::Config;
use crate::counters;
use crate::interfaces::IfIndex;
use crate::random::HashKey;
use crate::time::{Duration, Instant};

/// Fragments that one packet may come in: enough for 64 KiB over the smallest IPv4 path there is, which carries 48 bytes.
const MAX_FRAGMENTS: usize = 2_048;
/// What a packet and a fragment are charged beside their bytes.
const PACKET_OVERHEAD: usize = 256;
const FRAGMENT_OVERHEAD: usize = 64;
const NONE: u32 = u32::MAX;

counters! {
    /// What happened in reassembly.
    pub struct ReassemblyStats, ReassemblyCounters {
        /// Fragments taken in.
        fragments = "IpReasmReqds",
        /// Packets made whole.
        reassembled = "IpReasmOKs",
        /// Packets given up because their time ran out.
        timed_out = "IpReasmTimeout",
        /// Packets given up because fragments overlapped.
        overlapping = "IpExtReasmOverlaps",
        /// Packets given up because fragments disagree on the packet's length.
        inconsistent,
        /// Packets given up because they would be longer than 65,535 bytes.
        too_long,
        /// Packets given up because they came in too many pieces.
        too_many_fragments,
        /// Packets given up because fragments with congestion marks and without ECN were mixed (RFC 3168 section 5.3).
        ecn_mixed,
        /// Packets given up, the oldest first, to keep within the memory bound.
        evicted,
        /// Fragments dropped because they were there already.
        duplicates,
        /// Fragments dropped because their packet had been given up.
        too_late,
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    at: IfIndex,
    src: IpAddr,
    dst: IpAddr,
    id: u32,
    /// IPv4 only; IPv6 packets are told apart without.
    protocol: u8,
}

#[derive(Debug)]
struct Piece {
    offset: u16,
    data: Vec<u8>,
}

/// A packet in the making.
#[derive(Debug)]
struct Packet {
    key: Key,
    deadline: Instant,
    /// By offset, none overlapping.
    pieces: Vec<Piece>,
    /// Headers of the first fragment as they came; empty before it did.
    header: Vec<u8>,
    fragment: Option<Fragment>,
    received: usize,
    total: Option<usize>,
    /// Bit n: a fragment with ECN field n was seen.
    ecn: u8,
    spoilt: bool,
    charged: usize,
    /// Neighbours in the list by age.
    older: u32,
    newer: u32,
}

/// Packets in the making of both families.
#[derive(Debug)]
pub(crate) struct Reassembler {
    index: HashMap<Key, u32, HashKey>,
    packets: Vec<Option<Packet>>,
    free: Vec<u32>,
    /// All have the same time, so the oldest one's runs out first.
    oldest: u32,
    newest: u32,
    charged: usize,
    max_bytes: usize,
    timeout: Duration,
    pub(crate) stats: ReassemblyCounters,
}

impl Reassembler {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            index: HashMap::with_hasher(HashKey::derive(&config.seed, "reassembly")),
            packets: Vec::new(),
            free: Vec::new(),
            oldest: NONE,
            newest: NONE,
            charged: 0,
            max_bytes: config.limits.reassembly_bytes,
            timeout: config.limits.reassembly_timeout,
            stats: ReassemblyCounters::default(),
        }
    }

    /// Changes how many bytes may wait.
    pub(crate) fn set_max_bytes(&mut self, max_bytes: usize) {
        self.max_bytes = max_bytes;
    }

    /// Takes a fragment in that came by `at`. The whole packet, to be read like one that was received, if it was the last one missing;
    /// its fragment header or fields are gone, and an IPv4 header checksum is right.
    pub(crate) fn insert(
        &mut self,
        now: Instant,
        at: IfIndex,
        ip: &IpPacket<'_>,
    ) -> Option<Vec<u8>> {
        let fragment = ip.fragment()?;
        self.stats.fragments += 1;
        let key = Key {
            at,
            src: ip.src(),
            dst: ip.dst(),
            id: fragment.id,
            protocol: if ip.is_v6() { 0 } else { ip.protocol().into() },
        };
        let at = match self.index.get(&key) {
            Some(at) => *at,
            None => self.create(now, key),
        };
        let packet = self.packets.get_mut(at as usize)?.as_mut()?;
        if packet.spoilt {
            self.stats.too_late += 1;
            return None;
        }
        let before = packet.charged;
        let outcome = packet.add(ip, fragment);
        self.charged += packet.charged - before;
        match outcome {
            Outcome::Added => {}
            Outcome::Duplicate => {
                self.stats.duplicates += 1;
                return None;
            }
            Outcome::Spoilt(cause) => {
                let counter = match cause {
                    Cause::Overlapping => &mut self.stats.overlapping,
                    Cause::Inconsistent => &mut self.stats.inconsistent,
                    Cause::TooLong => &mut self.stats.too_long,
                    Cause::TooMany => &mut self.stats.too_many_fragments,
                    Cause::EcnMixed => &mut self.stats.ecn_mixed,
                };
                *counter += 1;
                self.spoil(at);
                return None;
            }
            Outcome::Complete => {
                let packet = self.remove(at)?;
                let whole = packet.assemble();
                match whole {
                    Some(_) => self.stats.reassembled += 1,
                    None => self.stats.too_long += 1,
                }
                return whole;
            }
        }
        while self.charged > self.max_bytes && self.oldest != NONE {
            self.stats.evicted += 1;
            self.remove(self.oldest);
        }
        None
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.packets
            .get(self.oldest as usize)?
            .as_ref()
            .map(|packet| packet.deadline)
    }

    /// Gives up packets whose time has run out. The first fragment of each, if it came, goes to `expired` with the interface
    /// it came in by: a Time Exceeded is due about it (RFC 1122 section 3.3.2, RFC 8200 section 4.5).
    pub(crate) fn handle_timeout(&mut self, now: Instant, expired: &mut dyn FnMut(IfIndex, &[u8])) {
        while self.next_timeout().is_some_and(|at| at <= now) {
            let Some(packet) = self.remove(self.oldest) else {
                return;
            };
            if packet.spoilt {
                continue;
            }
            self.stats.timed_out += 1;
            if let Some(first) = packet.pieces.first().filter(|_| !packet.header.is_empty()) {
                let mut bytes = packet.header;
                bytes.extend_from_slice(&first.data);
                expired(packet.key.at, &bytes);
            }
        }
    }

    /// Bytes that they are charged with.
    pub(crate) fn bytes(&self) -> usize {
        self.charged
    }

    /// Packets in the making, and those given up whose time is not up.
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }

    fn create(&mut self, now: Instant, key: Key) -> u32 {
        let packet = Packet {
            key,
            deadline: now + self.timeout,
            pieces: Vec::new(),
            header: Vec::new(),
            fragment: None,
            received: 0,
            total: None,
            ecn: 0,
            spoilt: false,
            charged: PACKET_OVERHEAD,
            older: self.newest,
            newer: NONE,
        };
        self.charged += PACKET_OVERHEAD;
        let at = self.free.pop().unwrap_or(self.packets.len() as u32);
        match self.packets.get_mut(at as usize) {
            Some(slot) => *slot = Some(packet),
            None => self.packets.push(Some(packet)),
        }
        match self.packets.get_mut(self.newest as usize) {
            Some(Some(newest)) => newest.newer = at,
            _ => self.oldest = at,
        }
        self.newest = at;
        self.index.insert(key, at);
        at
    }

    fn remove(&mut self, at: u32) -> Option<Packet> {
        let packet = self.packets.get_mut(at as usize)?.take()?;
        self.free.push(at);
        self.index.remove(&packet.key);
        self.charged -= packet.charged;
        match self.packets.get_mut(packet.older as usize) {
            Some(Some(older)) => older.newer = packet.newer,
            _ => self.oldest = packet.newer,
        }
        match self.packets.get_mut(packet.newer as usize) {
            Some(Some(newer)) => newer.older = packet.older,
            _ => self.newest = packet.older,
        }
        Some(packet)
    }

    /// Frees a packet's memory but keeps its name until its time is up, so that what still comes of it is dropped.
    fn spoil(&mut self, at: u32) {
        if let Some(Some(packet)) = self.packets.get_mut(at as usize) {
            packet.spoilt = true;
            packet.pieces = Vec::new();
            packet.header = Vec::new();
            self.charged -= packet.charged - PACKET_OVERHEAD;
            packet.charged = PACKET_OVERHEAD;
        }
    }
}

enum Cause {
    Overlapping,
    Inconsistent,
    TooLong,
    TooMany,
    EcnMixed,
}

enum Outcome {
    Added,
    Duplicate,
    Spoilt(Cause),
    Complete,
}

impl Packet {
    fn add(&mut self, ip: &IpPacket<'_>, fragment: Fragment) -> Outcome {
        let data = ip.payload();
        let (start, end) = (
            usize::from(fragment.offset),
            usize::from(fragment.offset) + data.len(),
        );
        let at = self
            .pieces
            .partition_point(|piece| usize::from(piece.offset) < start);
        if let Some(same) = self
            .pieces
            .get(at)
            .filter(|piece| usize::from(piece.offset) == start)
            && same.data == data
        {
            return Outcome::Duplicate;
        }
        let overlaps_before = at > 0
            && self
                .pieces
                .get(at - 1)
                .is_some_and(|piece| usize::from(piece.offset) + piece.data.len() > start);
        let overlaps_after = self
            .pieces
            .get(at)
            .is_some_and(|piece| usize::from(piece.offset) < end);
        if overlaps_before || overlaps_after {
            return Outcome::Spoilt(Cause::Overlapping);
        }
        let known_end = self
            .pieces
            .last()
            .map_or(0, |piece| usize::from(piece.offset) + piece.data.len());
        match (fragment.more, self.total) {
            (false, Some(_)) => return Outcome::Spoilt(Cause::Inconsistent),
            (false, None) if known_end > end => return Outcome::Spoilt(Cause::Inconsistent),
            (false, None) => self.total = Some(end),
            (true, Some(total)) if end > total => return Outcome::Spoilt(Cause::Inconsistent),
            (true, _) => {}
        }
        if self.pieces.len() >= MAX_FRAGMENTS {
            return Outcome::Spoilt(Cause::TooMany);
        }
        self.ecn |= 1 << ip.ecn();
        // RFC 3168 section 5.3: marked (3) and not capable (0) must not be mixed.
        if self.ecn & 0b1001 == 0b1001 {
            return Outcome::Spoilt(Cause::EcnMixed);
        }
        if start == 0 {
            self.header = ip.header().to_vec();
            self.fragment = Some(fragment);
            self.charged += self.header.len();
        }
        self.pieces.insert(
            at,
            Piece {
                offset: fragment.offset,
                data: data.to_vec(),
            },
        );
        self.received += data.len();
        self.charged += data.len() + FRAGMENT_OVERHEAD;
        match self.total {
            Some(total) if total + self.header.len() > 0xffff + ipv6::HEADER_LEN => {
                Outcome::Spoilt(Cause::TooLong)
            }
            // None overlap, so all is there when their lengths add up.
            Some(total) if self.received == total => Outcome::Complete,
            _ => Outcome::Added,
        }
    }

    /// The whole packet; `None` if its headers make it too long.
    fn assemble(self) -> Option<Vec<u8>> {
        let fragment = self.fragment?;
        let mut whole = self.header;
        let congestion = self.ecn & 1 << 3 != 0;
        match self.key.src {
            IpAddr::V4(_) => {
                let total = u16::try_from(whole.len() + self.received).ok()?;
                whole.get_mut(2..4)?.copy_from_slice(&total.to_be_bytes());
                // No flags, no offset.
                whole.get_mut(6..8)?.fill(0);
                if congestion {
                    *whole.get_mut(1)? |= 3;
                }
                whole.get_mut(10..12)?.fill(0);
                let sum = checksum::data(&whole);
                whole.get_mut(10..12)?.copy_from_slice(&sum.to_be_bytes());
            }
            IpAddr::V6(_) => {
                let next = *whole.get(usize::from(fragment.header_at))?;
                whole.truncate(usize::from(fragment.header_at));
                *whole.get_mut(usize::from(fragment.link_at))? = next;
                let len = u16::try_from(whole.len() - ipv6::HEADER_LEN + self.received).ok()?;
                whole.get_mut(4..6)?.copy_from_slice(&len.to_be_bytes());
                if congestion {
                    *whole.get_mut(1)? |= 3 << 4;
                }
            }
        }
        whole.reserve_exact(self.received);
        for piece in &self.pieces {
            whole.extend_from_slice(&piece.data);
        }
        Some(whole)
    }
}

#[cfg(test)]
mod tests;
