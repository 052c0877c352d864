//! Which connections are traced.

use alloc::sync::Arc;
use core::net::{IpAddr, SocketAddr};
use core::sync::atomic::{AtomicUsize, Ordering};

/// Connections by their addresses and ports. What is not given is any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceFilter {
    /// The local address.
    pub local_ip: Option<IpAddr>,
    /// The local port.
    pub local_port: Option<u16>,
    /// The peer's address.
    pub peer_ip: Option<IpAddr>,
    /// The peer's port.
    pub peer_port: Option<u16>,
    /// The port of either side.
    pub port: Option<u16>,
}

impl TraceFilter {
    /// Every connection.
    pub fn any() -> Self {
        Self::default()
    }

    /// Whether a connection between these is meant.
    pub fn matches(&self, local: SocketAddr, peer: SocketAddr) -> bool {
        let is = |wanted: Option<IpAddr>, ip: IpAddr| {
            wanted.is_none_or(|wanted| wanted.to_canonical() == ip.to_canonical())
        };
        let has = |wanted: Option<u16>, port: u16| wanted.is_none_or(|wanted| wanted == port);
        is(self.local_ip, local.ip())
            && is(self.peer_ip, peer.ip())
            && has(self.local_port, local.port())
            && has(self.peer_port, peer.port())
            && self
                .port
                .is_none_or(|port| port == local.port() || port == peer.port())
    }
}

/// How many connections are still to be traced, by all workers together.
#[derive(Debug, Clone)]
pub struct TraceBudget(Arc<AtomicUsize>);

impl TraceBudget {
    /// So many.
    pub fn new(connections: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(connections)))
    }

    /// How many are left.
    pub fn left(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// Takes one, if any is left.
    pub(super) fn take(&self) -> bool {
        let one_less = |left: usize| left.checked_sub(1);
        self.0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less)
            .is_ok()
    }

    /// Gives one back.
    pub(super) fn give_back(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_given_is_any_and_mapped_addresses_are_ipv4() {
        let (local, peer) = (
            "198.18.0.1:80".parse().unwrap(),
            "198.18.0.2:4000".parse().unwrap(),
        );
        let with = |change: fn(&mut TraceFilter)| {
            let mut filter = TraceFilter::any();
            change(&mut filter);
            filter.matches(local, peer)
        };
        assert!(with(|_| ()));
        assert!(with(|it| it.port = Some(80)) && with(|it| it.port = Some(4000)));
        assert!(!with(|it| it.port = Some(81)));
        assert!(with(|it| it.local_port = Some(80)) && !with(|it| it.local_port = Some(4000)));
        assert!(with(|it| it.peer_port = Some(4000)) && !with(|it| it.peer_port = Some(80)));
        assert!(with(|it| it.local_ip = "::ffff:198.18.0.1".parse().ok()));
        assert!(!with(|it| it.peer_ip = "198.18.0.1".parse().ok()));
    }

    #[test]
    fn a_budget_is_shared_and_never_below_nothing() {
        let budget = TraceBudget::new(1);
        let other = budget.clone();
        assert!(budget.take() && !other.take() && !budget.take());
        other.give_back();
        assert!(budget.left() == 1 && budget.take());
    }
}
