//! Who is bound to what: sockets are made, given a peer and closed here, and the tables kept that tell which socket a datagram is
//! for.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::socket::{Socket, way};
use super::{MtuDiscovery, UdpOptions, UdpTable};
use crate::addr::{self, canonical};
use crate::error::Error;
use crate::event::{Readiness, UdpId};
use crate::interfaces::{Interfaces, Way};
use crate::metrics::Count;
use crate::steer::RETURN_TRIES;
use crate::time::Instant;
use crate::tx::FrameQueue;

/// Datagrams in one receive queue are at most its bytes divided by this, so that empty ones are bounded too.
const MIN_CHARGE: usize = 64;

impl UdpTable {
    /// Makes a socket.
    ///
    /// Errors: `AddrNotAvailable` if the address is not the stack's or no ephemeral port is free, `AddrInUse`,
    /// `NoBufferSpace` if there are as many sockets as may be.
    pub(crate) fn bind(
        &mut self,
        ifaces: &Interfaces,
        options: &UdpOptions,
    ) -> Result<UdpId, Error> {
        self.bind_where(ifaces, options, |_| true)
    }

    /// As [`bind`](Self::bind); a port that is chosen is one that `suits`, where such a one is found soon.
    pub(super) fn bind_where(
        &mut self,
        ifaces: &Interfaces,
        options: &UdpOptions,
        suits: impl Fn(u16) -> bool,
    ) -> Result<UdpId, Error> {
        let only_v6 = options.only_v6;
        let mut local = canonical(options.local);
        let (addr, scope) = (local.ip(), addr::scope(local));
        if let Some(vlan) = options.unconfigured {
            if addr != IpAddr::V4(Ipv4Addr::UNSPECIFIED) {
                return Err(Error::InvalidInput(
                    "a socket without an address is bound to 0.0.0.0",
                ));
            }
            if ifaces.by_vlan(vlan).is_none() {
                return Err(Error::AddrNotAvailable);
            }
        }
        if !(addr.is_unspecified()
            || addr.is_multicast() && ifaces.by_vlan(scope).is_some()
            || ifaces.is_bindable(addr, scope)
            || ifaces.is_broadcast(addr))
        {
            return Err(Error::AddrNotAvailable);
        }
        if self.sockets.len() >= self.max_sockets {
            return Err(Error::NoBufferSpace);
        }
        if local.port() == 0 {
            let port = self.ephemeral_port(local, only_v6, suits);
            local.set_port(port.ok_or(Error::AddrNotAvailable)?);
        } else if !self.is_free(local, options) {
            return Err(Error::AddrInUse);
        }
        let id = self.sockets.insert(Socket {
            local,
            bound: local,
            remote: None,
            only_v6,
            reuse: options.reuse_address,
            broadcast: false,
            unconfigured: options.unconfigured,
            ttl: 64,
            multicast_ttl: 1,
            multicast_vlan: 0,
            segment: None,
            mtu_discovery: MtuDiscovery::default(),
            gro: false,
            queue: FrameQueue::new(self.queue_bytes / MIN_CHARGE, self.queue_bytes),
            drops: Count::default(),
            error: None,
            groups: Vec::new(),
            blocked: false,
            source_checked: 0,
            pending: Readiness::empty(),
        });
        self.by_port.entry(local.port()).or_default().push(id);
        self.reindex(local);
        self.announce(id);
        Ok(id)
    }

    fn is_free(&self, local: SocketAddr, options: &UdpOptions) -> bool {
        let (only_v6, reuse) = (options.only_v6, options.reuse_address);
        self.by_port
            .get(&local.port())
            .into_iter()
            .flatten()
            .filter_map(|id| self.sockets.get(*id))
            .filter(|socket| socket.unconfigured == options.unconfigured)
            .all(|socket| (reuse && socket.reuse) || !socket.overlaps(local, only_v6))
    }

    /// RFC 6056 section 3.3.1: a random start, then the next one that is free; first of those that suit.
    fn ephemeral_port(
        &mut self,
        mut local: SocketAddr,
        only_v6: bool,
        suits: impl Fn(u16) -> bool,
    ) -> Option<u16> {
        let (first, last) = self.ports;
        let count = u32::from(last - first) + 1;
        let start = self.random.below(u64::from(count)) as u32;
        let ports = (0..count).map(|i| first + ((start + i) % count) as u16);
        let suitable = ports.clone().take(RETURN_TRIES).filter(|port| suits(*port));
        suitable.chain(ports).find(|port| {
            local.set_port(*port);
            let alone = UdpOptions {
                only_v6,
                ..UdpOptions::new(local)
            };
            (!self.by_port.contains_key(port) || self.is_free(local, &alone))
                && !self.is_taken_elsewhere(local, only_v6)
        })
    }

    /// The socket that stands in the index for `at` is the one bound last that is not connected.
    fn reindex(&mut self, at: SocketAddr) {
        let port = at.port();
        let any_v4 = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), port);
        let mut keys = [Some(at), None];
        if at.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED) {
            keys[1] = Some(any_v4);
        }
        for key in keys.into_iter().flatten() {
            let found = self
                .by_port
                .get(&port)
                .into_iter()
                .flatten()
                .rev()
                .copied()
                .find(|id| {
                    self.sockets.get(*id).is_some_and(|socket| {
                        socket.remote.is_none()
                            && socket.unconfigured.is_none()
                            && (socket.bound == key
                                || (key == any_v4
                                    && socket.bound.ip().is_unspecified()
                                    && socket.takes_v4()))
                    })
                });
            match found {
                Some(id) => self.bound.insert(key, id),
                None => self.bound.remove(&key),
            };
        }
    }

    /// Gives the socket a peer: it takes datagrams from there only, and hears of errors.
    ///
    /// Errors: `NetworkUnreachable` if there is no way there or no address to send from, `InvalidInput` for port 0 or
    /// the other family, `AddrInUse` if another socket has the same pair.
    pub(crate) fn connect(
        &mut self,
        ifaces: &Interfaces,
        id: UdpId,
        remote: SocketAddr,
    ) -> Result<(), Error> {
        let remote = canonical(remote);
        let socket = self.sockets.get(id).ok_or(Error::UnknownSocket)?;
        let way = way(socket, ifaces, remote, None)?;
        if ifaces.is_broadcast(remote.ip()) && !socket.broadcast {
            return Err(Error::PermissionDenied);
        }
        let local = local_on(&way, socket);
        if self
            .connected
            .get(&(local, remote))
            .is_some_and(|other| *other != id)
        {
            return Err(Error::AddrInUse);
        }
        if socket.remote == Some(remote) && socket.local == local {
            return Ok(());
        }
        self.claim(local, remote)?;
        self.unlink_connection(id);
        if let Some(socket) = self.sockets.get_mut(id) {
            socket.local = local;
            socket.remote = Some(remote);
            let bound = socket.bound;
            self.connected.insert((local, remote), id);
            self.reindex(bound);
        }
        self.announce_peer(id, None);
        Ok(())
    }

    /// Takes the peer away again.
    pub(crate) fn disconnect(&mut self, id: UdpId) -> Result<(), Error> {
        if !self.sockets.contains_key(id) {
            return Err(Error::UnknownSocket);
        }
        self.unlink_connection(id);
        if let Some(bound) = self.sockets.get(id).map(|socket| socket.bound) {
            self.reindex(bound);
        }
        Ok(())
    }

    fn unlink_connection(&mut self, id: UdpId) {
        if let Some(socket) = self.sockets.get_mut(id)
            && let Some(remote) = socket.remote.take()
        {
            let local = core::mem::replace(&mut socket.local, socket.bound);
            self.connected.remove(&(local, remote));
            if let Some(steered) = &self.steered {
                steered.release(local, remote);
            }
            self.announce_peer(id, Some(remote));
        }
    }

    /// Ends a socket; what it has not received is gone, and its groups are left.
    pub(crate) fn close(
        &mut self,
        now: Instant,
        ifaces: &mut Interfaces,
        id: UdpId,
    ) -> Result<(), Error> {
        let socket = self.discard(id).ok_or(Error::UnknownSocket)?;
        for membership in socket.groups {
            self.end_membership(now, ifaces, membership);
        }
        Ok(())
    }

    /// Takes a socket out of all tables.
    pub(super) fn discard(&mut self, id: UdpId) -> Option<Socket> {
        self.unlink_connection(id);
        let socket = self.sockets.remove(id)?;
        let port = socket.bound.port();
        if let Some(ids) = self.by_port.get_mut(&port) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.by_port.remove(&port);
            }
        }
        self.reindex(socket.bound);
        self.retract(socket.bound, socket.only_v6, false);
        Some(socket)
    }
}

/// The local address of a socket that sends this way.
fn local_on(way: &Way, socket: &Socket) -> SocketAddr {
    addr::socket_addr(way.src, socket.bound.port(), way.scope)
}
