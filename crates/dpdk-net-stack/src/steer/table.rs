//! The table that all workers share: which worker has which flow, and which have sockets where.
//!
//! Flows are announced and forgotten at the rate of connections and looked up for strays only, by all workers at once. So
//! they are kept as single words ([`buckets`](super::buckets)), each the tag of a flow and its owner. Where both buckets are full a
//! flow is not entered, and its strays are answered as those of no flow.
//!
//! Two flows with the same tag in the same buckets would be taken for one: with a million flows that is one in a hundred
//! million, and strangers, who don't know the key, can't bring it about.

use alloc::boxed::Box;
use core::fmt;
use core::sync::atomic::{AtomicU64, Ordering};

use dpdk_net_packet::FiveTuple;

use super::bindings::Bindings;
use super::buckets::{Buckets, EMPTY, value, word};
use super::{Binding, MAX_WORKERS, Steering, Workers, words};
use crate::random::HashKey;
use crate::sip::Sip13;
use crate::time::Instant;

/// An owner's number and one more fit the value of a word.
const _: () = assert!(MAX_WORKERS <= u8::MAX as u16);

/// What a [`SteeringTable`] could not keep.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SteeringStats {
    /// Flows not entered as their buckets were full.
    pub flows_refused: u64,
    /// Bindings not entered as there were as many as may be.
    pub bindings_refused: u64,
}

type ReturnPath = Box<dyn Fn(u16, &FiveTuple) -> bool + Send + Sync>;

/// Which worker has which flow, and which have sockets where: a table of fixed size for all workers, read without locks.
pub struct SteeringTable {
    sip: Sip13,
    buckets: Buckets,
    bindings: Bindings,
    cookies_until: AtomicU64,
    flows_refused: AtomicU64,
    bindings_refused: AtomicU64,
    return_path: Option<ReturnPath>,
}

impl fmt::Debug for SteeringTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SteeringTable")
            .field("slots", &self.buckets.slot_count())
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl SteeringTable {
    /// A table for so many flows and bindings, 16 to 32 bytes each. A listener, bound UDP socket or group is one binding for each eight
    /// workers that have it. `seed` **must** come from the system's random source where strangers can send packets.
    pub fn new(seed: &[u8; 32], flows: usize, bindings: usize) -> Self {
        SteeringTable {
            sip: Sip13::new(&HashKey::derive(seed, "steering").to_bytes()),
            buckets: Buckets::new(flows),
            bindings: Bindings::new(bindings),
            cookies_until: AtomicU64::new(0),
            flows_refused: AtomicU64::new(0),
            bindings_refused: AtomicU64::new(0),
            return_path: None,
        }
    }

    /// With what tells whether packets of a flow, as they arrive, come to a worker's queue: for RSS the Toeplitz hash and the
    /// redirection table.
    #[must_use]
    pub fn with_return_path(
        mut self,
        returns: impl Fn(u16, &FiveTuple) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.return_path = Some(Box::new(returns));
        self
    }

    /// What could not be kept.
    pub fn stats(&self) -> SteeringStats {
        SteeringStats {
            flows_refused: self.flows_refused.load(Ordering::Relaxed),
            bindings_refused: self.bindings_refused.load(Ordering::Relaxed),
        }
    }

    /// Flows in the table. Looks at all of it: for people and tests.
    pub fn flows(&self) -> usize {
        self.buckets.len()
    }

    /// Bindings in the table. Looks at all of it: for people and tests.
    pub fn bindings(&self) -> usize {
        self.bindings.len()
    }

    fn hash(&self, flow: &FiveTuple) -> u64 {
        let ([a, b], from) = words(flow.src);
        let ([c, d], to) = words(flow.dst);
        let protocol = u64::from(u8::from(flow.protocol));
        let ports = u32::from(from) << 16 | u32::from(to);
        self.sip.hash([a, b, c, d, protocol], ports)
    }

    /// The owner that a word tells of a flow with this hash.
    fn owner_in(entry: u64, hash: u64) -> Option<u16> {
        u16::from(value(entry, hash)).checked_sub(1)
    }

    fn find(&self, hash: u64) -> Option<u16> {
        self.buckets
            .slots(hash)
            .find_map(|slot| Self::owner_in(slot.load(Ordering::SeqCst), hash))
    }

    fn entry(hash: u64, worker: u16) -> u64 {
        // There are fewer workers than values: no other number ever comes here.
        word(hash, (worker as u8).saturating_add(1))
    }

    fn insert(&self, hash: u64, worker: u16) -> Result<(), u16> {
        let mine = Self::entry(hash, worker);
        let Some(slot) = self.buckets.insert(hash, mine) else {
            self.flows_refused.fetch_add(1, Ordering::Relaxed);
            return Ok(());
        };
        // Another worker may have been at it at the same time. Of two that enter a flow, in whichever slots, one at least
        // sees the other's entry here, and takes its own back; if both do, neither has the flow, and both try again.
        let others = self.buckets.slots(hash);
        let other = others
            .filter_map(|slot| Self::owner_in(slot.load(Ordering::SeqCst), hash))
            .find(|owner| *owner != worker);
        let Some(other) = other else {
            return Ok(());
        };
        let _ = slot.compare_exchange(mine, EMPTY, Ordering::SeqCst, Ordering::Relaxed);
        Err(other)
    }
}

impl Steering for SteeringTable {
    fn claim(&self, worker: u16, flow: &FiveTuple) -> Result<(), u16> {
        let hash = self.hash(flow);
        match self.find(hash) {
            Some(owner) if owner == worker => Ok(()),
            Some(owner) => Err(owner),
            None => self.insert(hash, worker),
        }
    }

    fn release(&self, worker: u16, flow: &FiveTuple) {
        let hash = self.hash(flow);
        let mine = Self::entry(hash, worker);
        for slot in self.buckets.slots(hash) {
            if slot.load(Ordering::Relaxed) == mine {
                let _ = slot.compare_exchange(mine, EMPTY, Ordering::SeqCst, Ordering::Relaxed);
            }
        }
    }

    fn transfer(&self, to: u16, flow: &FiveTuple) {
        let hash = self.hash(flow);
        for slot in self.buckets.slots(hash) {
            let entry = slot.load(Ordering::SeqCst);
            let order = (Ordering::SeqCst, Ordering::Relaxed);
            if Self::owner_in(entry, hash).is_some()
                && slot
                    .compare_exchange(entry, Self::entry(hash, to), order.0, order.1)
                    .is_ok()
            {
                return;
            }
        }
        // It had found no room before.
        let _ = self.insert(hash, to);
    }

    fn owner(&self, flow: &FiveTuple) -> Option<u16> {
        self.find(self.hash(flow))
    }

    fn bind(&self, worker: u16, binding: &Binding) -> bool {
        let bound = self.bindings.add(self.hash_binding(binding), worker);
        if !bound {
            self.bindings_refused.fetch_add(1, Ordering::Relaxed);
        }
        bound
    }

    fn unbind(&self, worker: u16, binding: &Binding) {
        let hash = self.hash_binding(binding);
        self.bindings.remove(hash, worker);
    }

    fn bound(&self, binding: &Binding) -> Workers {
        self.bindings.get(self.hash_binding(binding))
    }

    fn cookies_sent(&self, until: Instant) {
        self.cookies_until
            .fetch_max(until.as_nanos(), Ordering::Relaxed);
    }

    fn cookies_until(&self) -> Instant {
        Instant::from_nanos(self.cookies_until.load(Ordering::Relaxed))
    }

    fn returns_here(&self, worker: u16, flow: &FiveTuple) -> bool {
        let path = self.return_path.as_ref();
        path.is_none_or(|returns| returns(worker, flow))
    }
}

impl SteeringTable {
    fn hash_binding(&self, binding: &Binding) -> u64 {
        let (kind, ([a, b], port)) = match *binding {
            Binding::Listener(at) => (1, words(at)),
            Binding::Udp(at) => (2, words(at)),
            Binding::UdpConnected(at) => (3, words(at)),
            Binding::Group(group, vlan) => (4, words((group, vlan).into())),
        };
        self.sip.hash([a, b, kind], port.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::SocketAddr;
    use dpdk_net_packet::Protocol;
    use proptest::prelude::*;
    use std::collections::HashMap;
    use std::thread;

    fn flow(n: u32) -> FiveTuple {
        FiveTuple {
            protocol: Protocol::Tcp,
            src: SocketAddr::from(([10, 0, (n >> 24) as u8, (n >> 16) as u8], n as u16)),
            dst: "198.18.0.1:80".parse().unwrap(),
        }
    }

    fn table(flows: usize) -> SteeringTable {
        SteeringTable::new(&[7; 32], flows, 64)
    }

    #[test]
    fn a_flow_has_one_owner_until_that_one_lets_go_of_it() {
        let table = table(64);
        assert_eq!(table.owner(&flow(1)), None);
        assert_eq!(table.claim(3, &flow(1)), Ok(()));
        assert_eq!(
            (table.claim(3, &flow(1)), table.claim(4, &flow(1))),
            (Ok(()), Err(3))
        );
        table.release(4, &flow(1));
        assert_eq!(table.owner(&flow(1)), Some(3));
        let mut others = [flow(1); 4];
        others[0].protocol = Protocol::Udp;
        others[1].dst.set_port(81);
        others[2].src.set_port(81);
        others[3] = others[3].reversed();
        assert!(others.iter().all(|other| table.owner(other).is_none()));
        table.transfer(127, &flow(1));
        table.release(3, &flow(1));
        assert_eq!(table.owner(&flow(1)), Some(127));
        table.release(127, &flow(1));
        assert_eq!((table.owner(&flow(1)), table.flows()), (None, 0));
    }

    #[test]
    fn link_local_flows_of_different_links_are_different() {
        let table = table(64);
        let on = |scope: u32| FiveTuple {
            protocol: Protocol::Tcp,
            src: format_scoped("fe80::2", scope),
            dst: format_scoped("fe80::1", scope),
        };
        table.claim(1, &on(0)).unwrap();
        table.claim(2, &on(100)).unwrap();
        assert_eq!(
            (table.owner(&on(0)), table.owner(&on(100))),
            (Some(1), Some(2))
        );
        assert_eq!(table.owner(&on(101)), None);
    }

    fn format_scoped(addr: &str, scope: u32) -> SocketAddr {
        core::net::SocketAddrV6::new(addr.parse().unwrap(), 5, 0, scope).into()
    }

    #[test]
    fn as_many_flows_as_were_asked_for_find_room_and_more_are_counted() {
        let table = table(100_000);
        for n in 0..100_000 {
            table.claim((n % 128) as u16, &flow(n)).unwrap();
        }
        assert_eq!((table.stats().flows_refused, table.flows()), (0, 100_000));
        assert!((0..100_000).all(|n| table.owner(&flow(n)) == Some((n % 128) as u16)));
        let small = SteeringTable::new(&[7; 32], 1, 1);
        for n in 0..1_000 {
            assert_eq!(small.claim(1, &flow(n)), Ok(()));
        }
        let entered = small.flows() as u64;
        assert_eq!(small.stats().flows_refused, 1_000 - entered);
        assert!(entered >= 8);
        (0..1_000).for_each(|n| small.release(1, &flow(n)));
        assert_eq!(small.flows(), 0);
        // What found no room is entered when it goes over to another.
        small.transfer(2, &flow(999));
        assert_eq!(small.owner(&flow(999)), Some(2));
    }

    #[test]
    fn of_workers_that_claim_a_flow_at_the_same_time_one_has_it_at_most() {
        const FLOWS: u32 = 20_000;
        let table = table(FLOWS as usize);
        let start = std::sync::Barrier::new(4);
        let won: std::vec::Vec<std::vec::Vec<u32>> = thread::scope(|scope| {
            let claim = |worker: u16| {
                start.wait();
                (0..FLOWS)
                    .filter(|n| table.claim(worker, &flow(*n)).is_ok())
                    .collect()
            };
            let workers: std::vec::Vec<_> = (0..4).map(|w| scope.spawn(move || claim(w))).collect();
            workers
                .into_iter()
                .map(|worker| worker.join().unwrap())
                .collect()
        });
        let mut owners = HashMap::new();
        for (worker, flows) in won.iter().enumerate() {
            for n in flows {
                assert_eq!(
                    owners.insert(*n, worker as u16),
                    None,
                    "flow {n} has two owners"
                );
            }
        }
        assert!(
            owners
                .iter()
                .all(|(n, worker)| table.owner(&flow(*n)) == Some(*worker))
        );
        assert_eq!(table.flows(), owners.len());
    }

    proptest! {
        #[test]
        fn the_table_says_what_a_map_would(
            steps in proptest::collection::vec((0u8..4, 0u16..3, 0u32..40), 1..300)
        ) {
            let table = table(200);
            let mut map: HashMap<u32, u16> = HashMap::new();
            for (step, worker, n) in steps {
                match step {
                    0 => {
                        let owner = *map.entry(n).or_insert(worker);
                        let expected = if owner == worker { Ok(()) } else { Err(owner) };
                        prop_assert_eq!(table.claim(worker, &flow(n)), expected);
                    }
                    1 => {
                        table.release(worker, &flow(n));
                        if map.get(&n) == Some(&worker) {
                            map.remove(&n);
                        }
                    }
                    2 => {
                        table.transfer(worker, &flow(n));
                        map.insert(n, worker);
                    }
                    _ => prop_assert_eq!(table.owner(&flow(n)), map.get(&n).copied()),
                }
                prop_assert_eq!(table.flows(), map.len());
            }
        }
    }
}
