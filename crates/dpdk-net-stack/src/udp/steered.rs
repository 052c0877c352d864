//! What UDP tells the other workers: what its sockets are bound to, whose peer is whose, and which groups they have joined.

use core::net::{IpAddr, SocketAddr};

use dpdk_net_packet::Protocol;

use super::socket::Socket;
use super::{UdpOptions, UdpTable};
use crate::addr::{self, canonical};
use crate::error::Error;
use crate::event::UdpId;
use crate::interfaces::{Interfaces, Way};
use crate::steer::{Binding, Steered, arriving, taken_by};

impl Steered {
    pub(super) fn release(&self, local: SocketAddr, remote: SocketAddr) {
        let flow = arriving(Protocol::Udp, local, remote);
        self.steering.release(self.worker, &flow);
    }
}

fn kind(connected: bool) -> fn(SocketAddr) -> Binding {
    if connected {
        Binding::UdpConnected
    } else {
        Binding::Udp
    }
}

impl UdpTable {
    pub(crate) fn set_steered(&mut self, steered: Steered) {
        self.steered = Some(steered);
    }

    /// Takes back all that was announced.
    pub(crate) fn leave_peers(&mut self) {
        let Some(steered) = self.steered.take() else {
            return;
        };
        let Steered { steering, worker } = &steered;
        for socket in self.sockets.values() {
            for at in taken_by(socket.bound, socket.only_v6) {
                steering.unbind(*worker, &kind(socket.remote.is_some())(at));
            }
            for (group, vlan) in &socket.groups {
                steering.unbind(*worker, &Binding::Group(*group, *vlan));
            }
            if let Some(remote) = socket.remote {
                steered.release(socket.local, remote);
            }
        }
    }

    /// Whether a socket has this address and this peer.
    pub(crate) fn is_connected(&self, local: SocketAddr, remote: SocketAddr) -> bool {
        self.connected.contains_key(&(local, remote))
    }

    /// Makes a socket with a peer. Where the port is to be chosen it is one that brings what the peer sends to our queue, if
    /// such a one is found soon.
    ///
    /// Errors: as [`bind`](Self::bind) and [`connect`](Self::connect).
    pub(crate) fn bind_toward(
        &mut self,
        ifaces: &Interfaces,
        options: &UdpOptions,
        remote: SocketAddr,
    ) -> Result<UdpId, Error> {
        let remote = canonical(remote);
        let steered = self.steered.clone();
        let mut way = Way::to(remote.ip(), addr::scope(remote));
        let bound = canonical(options.local);
        if bound.ip().is_unspecified() {
            way = ifaces.with_source(&way).unwrap_or(way);
        } else {
            (way.src, way.scope) = (bound.ip(), addr::scope(bound));
        }
        let returns = |port| {
            let local = addr::socket_addr(way.src, port, way.scope);
            let flow = arriving(Protocol::Udp, local, remote);
            let returns = |steered: &Steered| steered.returns_here(&flow);
            steered.as_ref().is_none_or(returns)
        };
        let id = self.bind_where(ifaces, options, returns)?;
        if let Err(error) = self.connect(ifaces, id, remote) {
            self.discard(id);
            return Err(error);
        }
        Ok(id)
    }

    /// Announces a socket's peer.
    ///
    /// Errors: `AddrInUse` if another worker's socket has the same address and peer.
    pub(super) fn claim(&self, local: SocketAddr, remote: SocketAddr) -> Result<(), Error> {
        let Some(Steered { steering, worker }) = &self.steered else {
            return Ok(());
        };
        let flow = arriving(Protocol::Udp, local, remote);
        steering.claim(*worker, &flow).map_err(|_| Error::AddrInUse)
    }

    /// Announces a socket that has been bound.
    pub(super) fn announce(&self, id: UdpId) {
        if let Some(Steered { steering, worker }) = &self.steered
            && let Some(socket) = self.sockets.get(id)
        {
            for at in taken_by(socket.bound, socket.only_v6) {
                steering.bind(*worker, &kind(socket.remote.is_some())(at));
            }
        }
    }

    /// A socket has a peer now, or none any more: it had `before`.
    pub(super) fn announce_peer(&self, id: UdpId, before: Option<SocketAddr>) {
        self.announce(id);
        if let Some(socket) = self.sockets.get(id) {
            self.retract(socket.bound, socket.only_v6, before.is_some());
        }
    }

    /// A socket that was bound so is gone, or is not any more what it was: nothing of that is announced any longer, unless
    /// another one is the same.
    pub(super) fn retract(&self, local: SocketAddr, only_v6: bool, connected: bool) {
        let Some(Steered { steering, worker }) = &self.steered else {
            return;
        };
        let ids = self.by_port.get(&local.port()).into_iter().flatten();
        let sockets = ids.filter_map(|id| self.sockets.get(*id));
        let like = sockets.filter(|socket| socket.remote.is_some() == connected);
        for at in taken_by(local, only_v6) {
            let takes = |socket: &Socket| taken_by(socket.bound, socket.only_v6).any(|it| it == at);
            if !like.clone().any(takes) {
                steering.unbind(*worker, &kind(connected)(at));
            }
        }
    }

    /// Whether another worker has a socket on the same port.
    pub(super) fn is_taken_elsewhere(&self, local: SocketAddr, only_v6: bool) -> bool {
        let steered = self.steered.as_ref();
        steered.is_some_and(|steered| {
            let taken = |connected| steered.is_taken(kind(connected), local, only_v6);
            taken(false) || taken(true)
        })
    }

    /// Announces that a socket has joined a group.
    pub(super) fn announce_group(&self, group: IpAddr, vlan: u16) {
        if let Some(Steered { steering, worker }) = &self.steered {
            steering.bind(*worker, &Binding::Group(group, vlan));
        }
    }

    /// A socket has left a group; it may have been the last one. Looks at all sockets: leaving is rare.
    pub(super) fn retract_group(&self, group: IpAddr, vlan: u16) {
        let Some(Steered { steering, worker }) = &self.steered else {
            return;
        };
        let mut sockets = self.sockets.values();
        if !sockets.any(|socket| socket.groups.contains(&(group, vlan))) {
            steering.unbind(*worker, &Binding::Group(group, vlan));
        }
    }
}
