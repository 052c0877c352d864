//! One UDP socket: what it is bound to, what it takes, where it sends from, and how a datagram lies in its queue.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::addr;
use crate::error::{Error, NO_SUCH_SCOPE};
use crate::event::Readiness;
use crate::interfaces::{Interfaces, Way};
use crate::metrics::Count;
use crate::tx::FrameQueue;
use crate::udp::MtuDiscovery;

/// What precedes the data of a datagram in a receive queue.
pub(super) const RECORD_HEADER: usize = 38;
/// What that tells: peer, local address, VLAN, ECN field.
pub(super) type Record = (SocketAddr, IpAddr, u16, u8);

/// One socket. Which index entries stand for it is the table's business.
#[derive(Debug)]
pub(super) struct Socket {
    /// As bound; the address becomes a specific one while connected.
    pub(super) local: SocketAddr,
    pub(super) bound: SocketAddr,
    pub(super) remote: Option<SocketAddr>,
    pub(super) only_v6: bool,
    pub(super) reuse: bool,
    pub(super) broadcast: bool,
    /// The interface by whose VLAN it speaks without an address.
    pub(super) unconfigured: Option<u16>,
    pub(super) ttl: u8,
    pub(super) multicast_ttl: u8,
    /// The VLAN by whose interface it sends to groups; 0 leaves it to address and routes.
    pub(super) multicast_vlan: u16,
    /// What is sent is cut into datagrams of so many bytes.
    pub(super) segment: Option<u16>,
    pub(super) mtu_discovery: MtuDiscovery,
    /// Whether it may receive several datagrams at once.
    pub(super) gro: bool,
    pub(super) queue: FrameQueue,
    /// Datagrams that found it full.
    pub(super) drops: Count,
    pub(super) error: Option<Error>,
    /// With the VLAN of the interface on which each was joined.
    pub(super) groups: Vec<(IpAddr, u16)>,
    /// A send was refused for want of room.
    pub(super) blocked: bool,
    /// The version of our addresses for which it is known that it may send from its own.
    pub(super) source_checked: u64,
    /// What its event in the queue will say; empty if it is not in the queue.
    pub(super) pending: Readiness,
}

/// A UDP socket, as told by `Stack::udp_sockets`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct UdpSocketInfo {
    /// The local address and port.
    pub local: SocketAddr,
    /// The peer, of a connected one.
    pub peer: Option<SocketAddr>,
    /// Datagrams received and not yet read.
    pub recv_datagrams: usize,
    /// Bytes that they take in the queue, those that tell the sender included.
    pub recv_queue: usize,
    /// Bytes that the queue holds at most.
    pub recv_limit: usize,
    /// Whether a send was refused, and room has not been told of since.
    pub send_blocked: bool,
    /// Datagrams dropped because the queue was full, since it was made. 0 without the feature `metrics`.
    pub dropped: u64,
}

impl Socket {
    pub(super) fn info(&self) -> UdpSocketInfo {
        UdpSocketInfo {
            local: self.local,
            peer: self.remote,
            recv_datagrams: self.queue.len(),
            recv_queue: self.queue.bytes(),
            recv_limit: self.queue.max_bytes(),
            send_blocked: self.blocked,
            dropped: self.drops.get(),
        }
    }

    pub(super) fn takes_v4(&self) -> bool {
        match self.bound.ip() {
            IpAddr::V4(_) => true,
            IpAddr::V6(v6) => v6.is_unspecified() && !self.only_v6,
        }
    }

    /// Whether it would take a datagram to `dst` that came in by the interface of this VLAN, addresses compared only.
    pub(super) fn takes(&self, dst: IpAddr, vlan: u16) -> bool {
        if self.unconfigured.is_some_and(|own| own != vlan) {
            return false;
        }
        if self.bound.ip().is_unspecified() {
            match dst {
                IpAddr::V4(_) => self.takes_v4(),
                IpAddr::V6(_) => self.bound.is_ipv6(),
            }
        } else {
            let scope = addr::scope(self.bound);
            self.bound.ip() == dst && (scope == vlan || scope == 0 && !addr::is_link_local(dst))
        }
    }

    /// Whether both could be meant by one datagram.
    pub(super) fn overlaps(&self, to: SocketAddr, only_v6: bool) -> bool {
        let addr = to.ip();
        match (self.bound.ip().is_unspecified(), addr.is_unspecified()) {
            (false, false) => self.bound == to,
            (true, false) => self.takes(addr, 0),
            (false, true) => wildcard_takes(addr, only_v6, self.bound.ip()),
            (true, true) => {
                self.bound.is_ipv4() == addr.is_ipv4()
                    || (self.bound.is_ipv4() && !only_v6)
                    || (addr.is_ipv4() && !self.only_v6)
            }
        }
    }
}

/// Whether a socket bound to the unspecified `addr` takes what is for `dst`.
fn wildcard_takes(addr: IpAddr, only_v6: bool, dst: IpAddr) -> bool {
    match (addr, dst) {
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => true,
        (IpAddr::V6(_), IpAddr::V4(_)) => !only_v6,
        (IpAddr::V4(_), IpAddr::V6(_)) => false,
    }
}

/// The way to `remote`, families checked, and the source address on it. `preferred` is the local address where one was chosen
/// already: for this datagram, or while there is a peer.
pub(super) fn way(
    socket: &Socket,
    ifaces: &Interfaces,
    remote: SocketAddr,
    preferred: Option<IpAddr>,
) -> Result<Way, Error> {
    if remote.port() == 0 {
        return Err(Error::InvalidInput("the destination port is 0"));
    }
    if remote.ip().is_unspecified() {
        return Err(Error::InvalidInput(
            "the destination address is unspecified",
        ));
    }
    let family_fits = match remote.ip() {
        IpAddr::V4(_) => socket.takes_v4(),
        IpAddr::V6(_) => socket.bound.is_ipv6(),
    };
    if !family_fits {
        return Err(Error::InvalidInput(
            "the destination is of another address family than the socket",
        ));
    }
    if let Some(scope) = socket.unconfigured {
        let is_to_all = remote.ip() == IpAddr::V4(Ipv4Addr::BROADCAST);
        let way = Way {
            src: Ipv4Addr::UNSPECIFIED.into(),
            ..Way::to(remote.ip(), scope)
        };
        return is_to_all.then_some(way).ok_or(Error::NetworkUnreachable);
    }
    let mut scope = addr::scope(remote);
    if ifaces.by_vlan(scope).is_none() {
        return Err(NO_SUCH_SCOPE);
    }
    let bound = socket.bound.ip();
    let own_scope = addr::scope(socket.bound);
    let is_group = remote.ip().is_multicast();
    if is_group && scope == 0 {
        scope = match socket.multicast_vlan {
            0 => own_scope,
            vlan => vlan,
        };
    } else if addr::is_link_local(bound) {
        if scope != own_scope && (is_group || addr::is_link_local(remote.ip())) {
            return Err(Error::InvalidInput(
                "the destination is of another scope than the link-local address of the socket",
            ));
        }
        scope = own_scope;
    }
    let mut way = Way::to(remote.ip(), scope);
    let is_own = !bound.is_unspecified() && !bound.is_multicast() && !ifaces.is_broadcast(bound);
    if is_own {
        way.src = bound;
    }
    if is_group && scope == 0 {
        // The interface is decided on first, for the source address to be one of it.
        way.scope = ifaces.get(ifaces.next_hop(&way).at()).vlan;
    }
    if is_own {
        return Ok(way);
    }
    if let Some(local) = preferred.filter(|local| local.is_ipv4() == remote.is_ipv4()) {
        way.src = local;
    } else {
        let sourced = ifaces.with_source(&way);
        way = sourced.ok_or(Error::NetworkUnreachable)?;
    }
    Ok(way)
}

/// Writes what precedes a datagram.
pub(super) fn encode(header: &mut [u8], (from, to, vlan, ecn): Record) {
    let octets = |addr: IpAddr| match addr {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    header[..16].copy_from_slice(&octets(from.ip()));
    header[16..18].copy_from_slice(&from.port().to_be_bytes());
    header[18..34].copy_from_slice(&octets(to));
    header[34] = u8::from(to.is_ipv4());
    header[35] = ecn;
    header[36..].copy_from_slice(&vlan.to_be_bytes());
}

/// Reads what precedes a datagram.
pub(super) fn decode(header: &[u8; RECORD_HEADER]) -> Record {
    let is_v4 = header[34] != 0;
    let ip = |at: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&header[at..at + 16]);
        let v6 = Ipv6Addr::from(octets);
        if is_v4 {
            v6.to_canonical()
        } else {
            IpAddr::V6(v6)
        }
    };
    let port = u16::from_be_bytes([header[16], header[17]]);
    let vlan = u16::from_be_bytes([header[36], header[37]]);
    let from = addr::socket_addr(ip(0), port, vlan);
    (from, ip(18), vlan, header[35])
}
