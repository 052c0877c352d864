//! The flow table: which flow a 4-tuple belongs to, one keyed hash and one probe away.
//!
//! Keys come from strangers, so the hash is SipHash-1-3 under a secret key: nobody outside can make entries collide.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use dpdk_net_packet::Protocol;
use dpdk_net_packet::checksum::{self, Sum};
use hashbrown::HashTable;

use super::listener::HalfId;
use super::time_wait::TimeWaitId;
use crate::addr;
use crate::event::TcpId;
use crate::sip::Sip13;

/// The 4-tuple of a connection as seen from here, addresses as [`addr`](crate::addr) has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FlowKey {
    local: u128,
    remote: u128,
    /// Local port in the upper half, remote port in the lower.
    ports: u32,
}

impl FlowKey {
    #[inline]
    pub(crate) fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        FlowKey {
            local: addr::to_bits(local.ip()),
            remote: addr::to_bits(remote.ip()),
            ports: u32::from(local.port()) << 16 | u32::from(remote.port()),
        }
    }

    /// Of IPv4 addresses; the local port in the upper half of `ports`.
    #[inline]
    pub(crate) fn of_v4(local: u32, remote: u32, ports: u32) -> Self {
        FlowKey {
            local: addr::v4_to_bits(local),
            remote: addr::v4_to_bits(remote),
            ports,
        }
    }

    /// The local address, as [`addr`](crate::addr) has it.
    #[inline]
    pub(crate) fn local_bits(&self) -> u128 {
        self.local
    }

    /// The remote address, as [`addr`](crate::addr) has it.
    #[inline]
    pub(crate) fn remote_bits(&self) -> u128 {
        self.remote
    }

    #[inline]
    pub(crate) fn local_addr(&self) -> IpAddr {
        addr::from_bits(self.local)
    }

    #[inline]
    pub(crate) fn remote_addr(&self) -> IpAddr {
        addr::from_bits(self.remote)
    }

    pub(crate) fn local_port(&self) -> u16 {
        (self.ports >> 16) as u16
    }

    pub(crate) fn remote_port(&self) -> u16 {
        self.ports as u16
    }

    pub(crate) fn local(&self) -> SocketAddr {
        SocketAddr::new(self.local_addr(), self.local_port())
    }

    pub(crate) fn remote(&self) -> SocketAddr {
        SocketAddr::new(self.remote_addr(), self.remote_port())
    }

    /// Local and remote port, as they stand in a segment that is sent.
    #[inline]
    pub(crate) fn ports(&self) -> u32 {
        self.ports
    }

    /// Local and remote address, if they are IPv4's.
    #[inline]
    pub(crate) fn v4(&self) -> Option<(Ipv4Addr, Ipv4Addr)> {
        (!self.is_v6()).then(|| ((self.local as u32).into(), (self.remote as u32).into()))
    }

    /// Local and remote address, if they are IPv6's.
    #[inline]
    pub(crate) fn v6(&self) -> Option<(Ipv6Addr, Ipv6Addr)> {
        self.is_v6()
            .then(|| (self.local.into(), self.remote.into()))
    }

    #[inline]
    pub(crate) fn is_v6(&self) -> bool {
        !addr::is_v4(self.local)
    }

    /// The pseudo-header of a TCP segment of `len` bytes that goes either way (RFC 9293 section 3.1): its parts may be
    /// added in any order.
    #[inline]
    pub(crate) fn pseudo_header(&self, len: usize) -> Sum {
        checksum::pseudo_header(self.local_addr(), self.remote_addr(), Protocol::Tcp, len)
    }

    /// What is hashed is short for IPv4.
    #[inline(always)]
    fn hash(&self, sip: &Sip13) -> u64 {
        if self.is_v6() {
            self.hash_v6(sip)
        } else {
            let addrs = u64::from(self.local as u32) << 32 | u64::from(self.remote as u32);
            sip.hash([addrs], self.ports)
        }
    }
}

impl FlowKey {
    #[inline(never)]
    fn hash_v6(&self, sip: &Sip13) -> u64 {
        let [local, remote] = [self.local, self.remote];
        let words = [
            local as u64,
            (local >> 64) as u64,
            remote as u64,
            (remote >> 64) as u64,
        ];
        sip.hash(words, self.ports)
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
    /// The version of the interface's addresses by which the local address is one of them and the remote one is not.
    pub(crate) vetted: u64,
}

/// How many are kept.
pub(crate) const RECENT: usize = 4_096;

impl FlowKey {
    /// Where it is kept among the recent ones: anyone can tell, but what collides is only looked up the long way.
    #[inline]
    pub(crate) fn recent_at(&self) -> usize {
        (self.ports ^ self.ports >> 16 ^ self.remote as u32) as usize % RECENT
    }
}

/// 4-tuple -> flow.
#[derive(Debug)]
pub(crate) struct FlowTable {
    sip: Sip13,
    table: HashTable<(FlowKey, FlowRef)>,
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
    pub(crate) fn find(&self, hash: u64, key: &FlowKey) -> Option<FlowRef> {
        self.table
            .find(hash, |(k, _)| k == key)
            .map(|(_, flow)| *flow)
    }

    pub(crate) fn get(&self, key: &FlowKey) -> Option<FlowRef> {
        self.find(self.hash(key), key)
    }

    /// Adds an entry or replaces what was there.
    pub(crate) fn insert(&mut self, key: FlowKey, flow: FlowRef) {
        let hash = self.hash(&key);
        self.version += 1;
        if let Some(entry) = self.table.find_mut(hash, |(k, _)| *k == key) {
            entry.1 = flow;
            return;
        }
        let sip = self.sip;
        self.table
            .insert_unique(hash, (key, flow), |(k, _)| k.hash(&sip));
    }

    /// Removes the entry if it still stands for `flow`.
    pub(crate) fn remove(&mut self, key: &FlowKey, flow: FlowRef) {
        let hash = self.hash(key);
        if let Ok(entry) = self.table.find_entry(hash, |(k, f)| k == key && *f == flow) {
            entry.remove();
            self.version += 1;
        }
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
    fn entries_are_found_until_removed_and_only_by_their_own_key() {
        let mut ids = SlotMap::<TcpId, ()>::with_key();
        let mut table = FlowTable::new(&[7; 16]);
        let key = |port| {
            FlowKey::new(
                "198.18.0.1:80".parse().unwrap(),
                SocketAddr::new([198, 18, 0, 2].into(), port),
            )
        };
        let flows: alloc::vec::Vec<_> = (1..1_000)
            .map(|port| (port, FlowRef::Conn(ids.insert(()))))
            .collect();
        for (port, flow) in &flows {
            table.insert(key(*port), *flow);
        }
        assert!(
            flows
                .iter()
                .all(|(port, flow)| table.get(&key(*port)) == Some(*flow))
        );
        table.remove(&key(5), flows[8].1);
        assert!(
            table.get(&key(5)).is_some(),
            "another flow's entry must stay"
        );
        table.remove(&key(5), flows[4].1);
        assert_eq!(table.get(&key(5)), None);
        assert_eq!(table.get(&key(2_000)), None);
    }
}
