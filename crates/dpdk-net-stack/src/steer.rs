//! Several workers, each with a queue and a stack of the same addresses: who of them owns what.
//!
//! RSS spreads packets over the queues, and not every one comes to the queue of its flow: a SYN-ACK whose port nobody could
//! choose, an ICMP error, what is on its way while the redirection table changes. [`Steering`] is what all stacks know
//! together. A stack tells it what it takes and what it lets go of, and asks it only about packets for which it has no use
//! itself. [`SteeringTable`] is the one to use; whoever has a better way home for replies wraps it.
//!
//! Packets that belong elsewhere come out of a stack as [`Stray`](crate::Stray)s, see [`strays`](crate::strays).

mod bindings;
mod buckets;
mod table;

use alloc::sync::Arc;
use core::fmt;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use dpdk_net_packet::{FiveTuple, Protocol};

use crate::addr;
use crate::tcp::table::FlowKey;
use crate::time::Instant;

pub use table::{SteeringStats, SteeringTable};

/// Workers that one service may have.
pub const MAX_WORKERS: u16 = 128;

/// Some workers.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Workers(u128);

impl Workers {
    /// None of them.
    pub const NONE: Workers = Workers(0);

    /// This one alone; none if there is no such worker.
    pub const fn only(worker: u16) -> Self {
        Workers(if worker < MAX_WORKERS { 1 << worker } else { 0 })
    }

    pub(crate) const fn from_bits(bits: u128) -> Self {
        Workers(bits)
    }

    /// Whether this one is among them.
    pub const fn contains(self, worker: u16) -> bool {
        self.0 & Self::only(worker).0 != 0
    }

    /// These and those.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Workers(self.0 | other.0)
    }

    /// Those that are among both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Workers(self.0 & other.0)
    }

    /// All but this one.
    #[must_use]
    pub const fn without(self, worker: u16) -> Self {
        Workers(self.0 & !Self::only(worker).0)
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// How many they are.
    pub const fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// Their numbers, the lowest first.
    pub fn iter(self) -> impl Iterator<Item = u16> {
        let mut left = self.0;
        core::iter::from_fn(move || {
            let worker = left.trailing_zeros() as u16;
            left &= left.checked_sub(1)?;
            Some(worker)
        })
    }

    /// One of them, the same for the same `hash`.
    pub(crate) fn pick(self, hash: u64) -> Option<u16> {
        let len = self.len() as u64;
        self.iter().nth(hash.checked_rem(len)? as usize)
    }
}

impl fmt::Debug for Workers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// What sockets take that have no peer. Several workers may have the same.
///
/// Addresses are the stack's own, or the unspecified one of a family for all of it: what takes both families is two
/// bindings. The scope id of link-local addresses and groups is the VLAN of their interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Binding {
    /// A TCP listener.
    Listener(SocketAddr),
    /// A UDP socket without a peer.
    Udp(SocketAddr),
    /// A UDP socket with a peer: its flow is announced too, and what comes from others is not for it. But nobody else is to be
    /// given its port, and groups are its own too.
    UdpConnected(SocketAddr),
    /// A group that sockets have joined on the interface of a VLAN, 0 being the port itself.
    Group(IpAddr, u16),
}

/// What the workers of a service know together.
///
/// Flows are named by the packets that arrive: the source is the peer, the destination one of our addresses. Of link-local
/// addresses the scope id is the VLAN. All methods are called by all workers at any time, from within calls of their stacks:
/// none may block or call a stack.
pub trait Steering: fmt::Debug + Send + Sync {
    /// `worker` takes a flow: a TCP connection from its SYN on until TIME-WAIT is over, or the peer of a UDP socket. Where it
    /// has it already nothing changes.
    ///
    /// Errors: the worker that has it.
    fn claim(&self, worker: u16, flow: &FiveTuple) -> Result<(), u16>;

    /// The flow is over; nothing happens unless `worker` has it.
    fn release(&self, worker: u16, flow: &FiveTuple);

    /// The flow goes over to worker `to`, whoever has it now.
    fn transfer(&self, to: u16, flow: &FiveTuple);

    /// Who has a flow.
    fn owner(&self, flow: &FiveTuple) -> Option<u16>;

    /// `worker` has a socket there now. `false` if no more bindings can be kept: what is for it and comes to others is lost.
    fn bind(&self, worker: u16, binding: &Binding) -> bool;

    /// `worker` has no socket there any more.
    fn unbind(&self, worker: u16, binding: &Binding);

    /// Who has a socket there: exactly there, the unspecified address stands for itself alone.
    fn bound(&self, binding: &Binding) -> Workers;

    /// SYN cookies were sent that can come back until then.
    fn cookies_sent(&self, until: Instant);

    /// Until when SYN cookies may come back, whichever worker sent them.
    fn cookies_until(&self) -> Instant;

    /// Whether RSS brings packets of this flow to `worker`. Source ports are chosen by it; where it can't be told every port
    /// is as good as another.
    fn returns_here(&self, worker: u16, flow: &FiveTuple) -> bool {
        let _ = (worker, flow);
        true
    }
}

/// Ports that are tried until one brings replies home: enough for 128 queues, but for one connection in 3,000.
pub(crate) const RETURN_TRIES: usize = 1_024;

/// One worker's part in it.
#[derive(Debug, Clone)]
pub(crate) struct Steered {
    pub(crate) steering: Arc<dyn Steering>,
    pub(crate) worker: u16,
}

/// Who has a flow that is not in this stack.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    Nobody,
    /// It is announced as ours all the same: it is on its way here.
    Here,
    Worker(u16),
}

impl FlowKey {
    /// As the segments that arrive have it.
    pub(crate) fn arriving(&self) -> FiveTuple {
        arriving(Protocol::Tcp, self.local(), self.remote())
    }
}

pub(crate) fn arriving(protocol: Protocol, local: SocketAddr, remote: SocketAddr) -> FiveTuple {
    FiveTuple {
        protocol,
        src: remote,
        dst: local,
    }
}

/// The unspecified address of the same family, with the same port.
pub(crate) fn unspecified(like: SocketAddr) -> SocketAddr {
    let addr = match like {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    SocketAddr::new(addr, like.port())
}

/// The addresses that a socket bound so takes: two, if it takes both families.
pub(crate) fn taken_by(local: SocketAddr, only_v6: bool) -> impl Iterator<Item = SocketAddr> {
    let dual = local.is_ipv6() && local.ip().is_unspecified() && !only_v6;
    let v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), local.port());
    core::iter::once(local).chain(dual.then_some(v4))
}

impl Steered {
    pub(crate) fn owner(&self, flow: &FiveTuple) -> Owner {
        match self.steering.owner(flow) {
            None => Owner::Nobody,
            Some(worker) if worker == self.worker => Owner::Here,
            Some(worker) => Owner::Worker(worker),
        }
    }

    /// Whether what comes back to this address and port comes to our queue.
    pub(crate) fn returns_here(&self, flow: &FiveTuple) -> bool {
        self.steering.returns_here(self.worker, flow)
    }

    /// Other workers that have a binding for what is to this address, the closest kind of it.
    pub(crate) fn bound(&self, kind: fn(SocketAddr) -> Binding, to: SocketAddr) -> Workers {
        let closest = self.steering.bound(&kind(to)).without(self.worker);
        if closest.is_empty() {
            let any = self.steering.bound(&kind(unspecified(to)));
            any.without(self.worker)
        } else {
            closest
        }
    }

    /// Whether another worker has a socket that would take some of what one bound so takes.
    pub(crate) fn is_taken(
        &self,
        kind: fn(SocketAddr) -> Binding,
        local: SocketAddr,
        only_v6: bool,
    ) -> bool {
        taken_by(local, only_v6).any(|to| !self.bound(kind, to).is_empty())
    }

    /// The workers that have sockets for a datagram to a group or broadcast address, this one left out.
    pub(crate) fn receivers(&self, to: SocketAddr, vlan: u16) -> Workers {
        let bound = |to| {
            let connected = self.steering.bound(&Binding::UdpConnected(to));
            self.steering.bound(&Binding::Udp(to)).union(connected)
        };
        // A socket bound to a group may or may not say on which interface.
        let unscoped = SocketAddr::new(to.ip(), to.port());
        let mut workers = bound(to)
            .union(bound(unscoped))
            .union(bound(unspecified(to)));
        if let SocketAddr::V6(v6) = to
            && v6.ip().is_multicast()
            && vlan != 0
        {
            let scoped = core::net::SocketAddrV6::new(*v6.ip(), v6.port(), 0, vlan.into());
            workers = workers.union(bound(scoped.into()));
        }
        if to.ip().is_multicast() && !is_everybodys(to.ip()) {
            let members = self.steering.bound(&Binding::Group(to.ip(), vlan));
            workers = workers.intersection(members);
        }
        workers.without(self.worker)
    }

    /// Whether sockets of other workers have joined the group on the interface of this VLAN.
    pub(crate) fn is_joined_elsewhere(&self, group: IpAddr, vlan: u16) -> bool {
        let members = self.steering.bound(&Binding::Group(group, vlan));
        !members.without(self.worker).is_empty()
    }
}

/// Groups that every stack is a member of: all hosts, all nodes, and the solicited-node groups of its addresses.
fn is_everybodys(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(v4) => v4 == Ipv4Addr::new(224, 0, 0, 1),
        IpAddr::V6(v6) => {
            let segments = v6.segments();
            v6 == Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1)
                || segments[..6] == [0xff02, 0, 0, 0, 0, 1] && segments[6] >> 8 == 0xff
        }
    }
}

/// An address and port as words to be hashed, and the port.
fn words(addr: SocketAddr) -> ([u64; 2], u16) {
    let bits = addr::to_bits(addr.ip());
    let scope = u64::from(addr::scope(addr));
    // What stands in the upper half of a link-local address or a group leaves bits free.
    (
        [bits as u64, (bits >> 64) as u64 ^ scope << 16],
        addr.port(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn workers_are_a_set_of_numbers_below_the_most_there_may_be() {
        let some = Workers::only(0)
            .union(Workers::only(7))
            .union(Workers::only(127));
        assert_eq!(some.iter().collect::<Vec<_>>(), [0, 7, 127]);
        assert!(some.contains(7) && !some.contains(8) && !some.contains(128));
        assert_eq!(some.without(7).len(), 2);
        assert!(Workers::only(MAX_WORKERS).is_empty());
        let picked: Vec<_> = (0..4).map(|hash| some.pick(hash)).collect();
        assert_eq!(picked, [Some(0), Some(7), Some(127), Some(0)]);
        assert_eq!(Workers::NONE.pick(3), None);
    }
}
