//! The flow table: which flow a 4-tuple belongs to, one keyed hash and one probe away.
//!
//! Keys come from strangers, so the hash is SipHash-1-3 under a secret key: nobody outside can make entries collide.
//! The table holds hashes and what they stand for, not the 4-tuples themselves: these are with the flows, which whoever
//! looks one up is about to touch. So a table of 100,000 flows fits a cache that their keys would not fit.

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

use dpdk_net_packet::Protocol;
use dpdk_net_packet::checksum::{self, Sum};
use hashbrown::HashTable;

use super::listener::HalfId;
use super::time_wait::TimeWaitId;
use crate::addr;
use crate::event::TcpId;
use crate::interfaces::Way;
use crate::sip::Sip13;

/// The 4-tuple of a connection as seen from here, addresses as [`addr`](crate::addr) has them.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub(crate) struct FlowKey {
    /// Low half first, in halves as it would be aligned to 16 bytes otherwise.
    local: [u64; 2],
    remote: [u64; 2],
    /// Remote port, local port, and the VLAN of link-local addresses, from the lowest bits on; and [`V6`].
    rest: u64,
}

/// Of [`FlowKey::rest`]: the addresses are IPv6's. They tell it themselves, but not as quickly.
const V6: u64 = 1 << 63;

impl PartialEq for FlowKey {
    /// Without a branch for each part: nearly always they are equal.
    #[inline(always)]
    fn eq(&self, other: &Self) -> bool {
        let low = (self.local[0] ^ other.local[0]) | (self.remote[0] ^ other.remote[0]);
        let high = (self.local[1] ^ other.local[1]) | (self.remote[1] ^ other.remote[1]);
        low | high | (self.rest ^ other.rest) == 0
    }
}

impl Eq for FlowKey {}

#[inline(always)]
const fn halves(bits: u128) -> [u64; 2] {
    [bits as u64, (bits >> 64) as u64]
}

#[inline(always)]
const fn whole([low, high]: [u64; 2]) -> u128 {
    (high as u128) << 64 | low as u128
}

impl FlowKey {
    /// The scope id of a link-local address is its VLAN, see [`in_scope`](Self::in_scope).
    #[inline]
    pub(crate) fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        let scope = |addr: SocketAddr| match addr {
            SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => v6.scope_id() as u16,
            _ => 0,
        };
        let bits = addr::to_bits(local.ip());
        let family = if addr::is_v4(bits) { 0 } else { V6 };
        FlowKey {
            local: halves(bits),
            remote: halves(addr::to_bits(remote.ip())),
            rest: family
                | u64::from(scope(local) | scope(remote)) << 32
                | u64::from(local.port()) << 16
                | u64::from(remote.port()),
        }
    }

    /// The key of a segment that came in by the interface of this VLAN, 0 for the port itself. That counts for link-local
    /// addresses only: what has others is the same connection by whichever interface it comes.
    #[inline]
    pub(crate) fn in_scope(self, vlan: u16) -> Self {
        let is_of_link = addr::is_link_local_bits(self.local_bits())
            || addr::is_link_local_bits(self.remote_bits());
        if vlan == 0 || !is_of_link {
            return self;
        }
        FlowKey {
            rest: u64::from(vlan) << 32 | self.rest,
            ..self
        }
    }

    /// Of IPv4 addresses; the local port in the upper half of `ports`.
    #[inline]
    pub(crate) fn of_v4(local: u32, remote: u32, ports: u32) -> Self {
        FlowKey {
            local: halves(addr::v4_to_bits(local)),
            remote: halves(addr::v4_to_bits(remote)),
            rest: ports.into(),
        }
    }

    /// Of the addresses of an IPv6 packet; the local port in the upper half of `ports`. It is no connection's over IPv4,
    /// whatever the addresses are.
    #[inline]
    pub(crate) fn of_v6(local: u128, remote: u128, ports: u32) -> Self {
        FlowKey {
            local: halves(local),
            remote: halves(remote),
            rest: V6 | u64::from(ports),
        }
    }

    /// Whether the local address stands for an IPv4 address in an IPv6 packet: such are on no wire.
    #[inline]
    pub(crate) fn is_mapped(&self) -> bool {
        self.is_v6() && addr::is_v4(self.local_bits())
    }

    /// The local address, as [`addr`](crate::addr) has it.
    #[inline]
    pub(crate) fn local_bits(&self) -> u128 {
        whole(self.local)
    }

    /// The remote address, as [`addr`](crate::addr) has it.
    #[inline]
    pub(crate) fn remote_bits(&self) -> u128 {
        whole(self.remote)
    }

    #[inline]
    pub(crate) fn local_addr(&self) -> IpAddr {
        addr::from_bits(self.local_bits())
    }

    #[inline]
    pub(crate) fn remote_addr(&self) -> IpAddr {
        addr::from_bits(self.remote_bits())
    }

    pub(crate) fn local_port(&self) -> u16 {
        (self.rest >> 16) as u16
    }

    pub(crate) fn remote_port(&self) -> u16 {
        self.rest as u16
    }

    /// The VLAN of link-local addresses; 0 for the port itself, and where no address is link-local.
    #[inline]
    pub(crate) fn scope(&self) -> u16 {
        (self.rest >> 32) as u16
    }

    pub(crate) fn local(&self) -> SocketAddr {
        addr::socket_addr(self.local_addr(), self.local_port(), self.scope())
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        addr::socket_addr(self.remote_addr(), self.remote_port(), self.scope())
    }

    /// The way of what is sent.
    #[inline]
    pub(crate) fn way(&self) -> Way {
        Way {
            src: self.local_addr(),
            dst: self.remote_addr(),
            scope: self.scope(),
        }
    }

    /// Local and remote port, as they stand in a segment that is sent.
    #[inline]
    pub(crate) fn ports(&self) -> u32 {
        self.rest as u32
    }

    /// Local and remote address, if they are IPv4's.
    #[inline]
    pub(crate) fn v4(&self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        (!self.is_v6()).then(|| {
            (
                (self.local[0] as u32).into(),
                (self.remote[0] as u32).into(),
            )
        })
    }

    #[inline]
    pub(crate) fn is_v6(&self) -> bool {
        self.rest & V6 != 0
    }

    /// The pseudo-header of a TCP segment of `len` bytes that goes either way (RFC 9293 section 3.1): its parts may be
    /// added in any order.
    #[inline(always)]
    pub(crate) fn pseudo_header(&self, len: usize) -> Sum {
        if let Some((local, remote)) = self.v4() {
            // No IP packet is longer than 65,535 bytes.
            return checksum::pseudo_header_v4(local, remote, Protocol::Tcp, len as u16);
        }
        let (local, remote) = (self.local_bits().into(), self.remote_bits().into());
        checksum::pseudo_header_v6(local, remote, Protocol::Tcp, len as u32)
    }

    /// What is hashed is short for IPv4.
    #[inline(always)]
    fn hash(&self, sip: &Sip13) -> u64 {
        if self.is_v6() {
            self.hash_v6(sip)
        } else {
            let addrs = self.local[0] << 32 | self.remote[0] & u64::from(u32::MAX);
            sip.hash([addrs], self.ports())
        }
    }
}

impl FlowKey {
    #[inline(never)]
    fn hash_v6(&self, sip: &Sip13) -> u64 {
        let ([a, b], [c, d]) = (self.local, self.remote);
        // The lower half of what stands first in a link-local address is free.
        sip.hash([a, b, c, d ^ u64::from(self.scope())], self.ports())
    }
}

/// What a 4-tuple stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FlowRef {
    /// A connection.
    Conn(TcpId),
    /// An entry of the SYN queue.
    Half(HalfId),
    /// A connection in TIME-WAIT that the application has let go of.
    TimeWait(TimeWaitId),
}

/// A connection that a segment was looked up to be of.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Recent {
    pub(crate) id: TcpId,
    /// Parts of its key, so that only the right connection's memory is touched.
    pub(crate) ports: u32,
    pub(crate) remote: u32,
}

/// How many are kept.
pub(crate) const RECENT: usize = 4_096;

impl FlowKey {
    /// Where it is kept among the recent ones: anyone can tell, but what collides is only looked up the long way.
    #[inline]
    pub(crate) fn recent_at(&self) -> usize {
        let ports = self.ports();
        (ports ^ ports >> 16 ^ self.remote[0] as u32) as usize % RECENT
    }
}

/// An entry: the whole hash, so that hardly ever another flow's key is looked at.
#[derive(Debug, Clone, Copy)]
struct Entry {
    /// In halves as it would be aligned to 8 bytes otherwise.
    hash: [u32; 2],
    flow: FlowRef,
}

impl Entry {
    #[inline(always)]
    fn hash(&self) -> u64 {
        u64::from(self.hash[1]) << 32 | u64::from(self.hash[0])
    }
}

/// Where the keys of flows are.
pub(crate) trait Keys {
    /// The 4-tuple that this stands for, as long as it does.
    fn key_of(&self, flow: FlowRef) -> Option<&FlowKey>;
}

/// Hash of a 4-tuple -> flow.
#[derive(Debug)]
pub(crate) struct FlowTable {
    sip: Sip13,
    table: HashTable<Entry>,
    /// Changes whenever an entry is added or removed, so that an earlier lookup is known to be stale.
    version: u64,
}

impl FlowTable {
    pub(crate) fn new(key: &[u8; 16]) -> Self {
        FlowTable {
            sip: Sip13::new(key),
            table: HashTable::new(),
            version: 0,
        }
    }

    #[inline]
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    #[inline]
    pub(crate) fn hash(&self, key: &FlowKey) -> u64 {
        key.hash(&self.sip)
    }

    #[inline]
    pub(crate) fn find(&self, hash: u64, key: &FlowKey, keys: &impl Keys) -> Option<FlowRef> {
        self.table
            .find(hash, |entry| {
                entry.hash() == hash && keys.key_of(entry.flow) == Some(key)
            })
            .map(|entry| entry.flow)
    }

    pub(crate) fn get(&self, key: &FlowKey, keys: &impl Keys) -> Option<FlowRef> {
        self.find(self.hash(key), key, keys)
    }

    /// Adds an entry or replaces what was there. Whatever `flow` stands for must have the key already.
    pub(crate) fn insert(&mut self, key: &FlowKey, flow: FlowRef, keys: &impl Keys) {
        let hash = self.hash(key);
        self.version += 1;
        let same = |entry: &Entry| entry.hash() == hash && keys.key_of(entry.flow) == Some(key);
        if let Some(entry) = self.table.find_mut(hash, same) {
            entry.flow = flow;
            return;
        }
        let hash_halves = [hash as u32, (hash >> 32) as u32];
        let entry = Entry {
            hash: hash_halves,
            flow,
        };
        self.table.insert_unique(hash, entry, Entry::hash);
    }

    /// Removes the entry if it still stands for `flow`; tells whether it did.
    pub(crate) fn remove(&mut self, key: &FlowKey, flow: FlowRef) -> bool {
        let hash = self.hash(key);
        let entry = self.table.find_entry(hash, |entry| entry.flow == flow);
        let Ok(entry) = entry else {
            return false;
        };
        entry.remove();
        self.version += 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slotmap::SlotMap;

    #[test]
    fn a_key_gives_back_the_addresses_of_both_families() {
        for (local, remote) in [
            ("198.18.0.1:80", "198.18.0.2:50000"),
            ("[fd00::1]:80", "[fd00::2]:50000"),
        ] {
            let (local, remote) = (local.parse().unwrap(), remote.parse().unwrap());
            let key = FlowKey::new(local, remote);
            assert_eq!((key.local(), key.remote()), (local, remote));
            assert_eq!(key.is_v6(), local.is_ipv6());
        }
    }

    #[test]
    fn an_ipv6_packet_is_never_of_a_connection_over_ipv4() {
        let mapped = addr::v4_to_bits(0xc612_0001);
        let key = FlowKey::of_v6(mapped, 1, 5);
        assert!(key.is_mapped() && key.is_v6());
        assert!(!FlowKey::of_v4(0xc612_0001, 1, 5).is_mapped());
        let real = "fd00::1".parse::<core::net::Ipv6Addr>().unwrap();
        let key = FlowKey::of_v6(real.to_bits(), mapped, 5);
        assert!(!key.is_mapped() && key.is_v6());
    }

    #[test]
    fn entries_are_found_until_removed_and_only_by_their_own_key() {
        struct All(SlotMap<TcpId, FlowKey>);
        impl Keys for All {
            fn key_of(&self, flow: FlowRef) -> Option<&FlowKey> {
                match flow {
                    FlowRef::Conn(id) => self.0.get(id),
                    _ => None,
                }
            }
        }
        let mut all = All(SlotMap::with_key());
        let mut table = FlowTable::new(&[7; 16]);
        let key = |port| {
            FlowKey::new(
                "198.18.0.1:80".parse().unwrap(),
                SocketAddr::new([198, 18, 0, 2].into(), port),
            )
        };
        let flows: alloc::vec::Vec<_> = (1..1_000)
            .map(|port| (port, FlowRef::Conn(all.0.insert(key(port)))))
            .collect();
        for (port, flow) in &flows {
            table.insert(&key(*port), *flow, &all);
        }
        assert!(
            flows
                .iter()
                .all(|(port, flow)| table.get(&key(*port), &all) == Some(*flow))
        );
        table.remove(&key(5), flows[8].1);
        assert!(
            table.get(&key(5), &all).is_some(),
            "another flow's entry must stay"
        );
        table.remove(&key(5), flows[4].1);
        assert_eq!(table.get(&key(5), &all), None);
        assert_eq!(table.get(&key(2_000), &all), None);
    }
}
