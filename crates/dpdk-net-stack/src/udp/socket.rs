//! One UDP socket: what it is bound to, what it takes, where it sends from, and how a datagram lies in its queue.

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv6Addr, SocketAddr};

use crate::error::Error;
use crate::event::Readiness;
use crate::iface::Interface;
use crate::tx::FrameQueue;

/// What precedes the data of a datagram in a receive queue: peer, local address.
pub(super) const RECORD_HEADER: usize = 36;

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
    pub(super) ttl: u8,
    pub(super) multicast_ttl: u8,
    /// What is sent is cut into datagrams of so many bytes.
    pub(super) segment: Option<u16>,
    /// Whether it may receive several datagrams at once.
    pub(super) gro: bool,
    pub(super) queue: FrameQueue,
    pub(super) error: Option<Error>,
    pub(super) groups: Vec<IpAddr>,
    /// A send was refused for want of room.
    pub(super) blocked: bool,
    /// What its event in the queue will say; empty if it is not in the queue.
    pub(super) pending: Readiness,
}

impl Socket {
    pub(super) fn takes_v4(&self) -> bool {
        match self.bound.ip() {
            IpAddr::V4(_) => true,
            IpAddr::V6(v6) => v6.is_unspecified() && !self.only_v6,
        }
    }

    /// Whether it would take a datagram to `dst`, addresses compared only.
    pub(super) fn takes(&self, dst: IpAddr) -> bool {
        if self.bound.ip().is_unspecified() {
            match dst {
                IpAddr::V4(_) => self.takes_v4(),
                IpAddr::V6(_) => self.bound.is_ipv6(),
            }
        } else {
            self.bound.ip() == dst
        }
    }

    /// Whether both could be meant by one datagram.
    pub(super) fn overlaps(&self, addr: IpAddr, only_v6: bool) -> bool {
        match (self.bound.ip().is_unspecified(), addr.is_unspecified()) {
            (false, false) => self.bound.ip() == addr,
            (true, false) => self.takes(addr),
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

/// The source address for `remote`, families checked. `connected` is the local address while there is a peer.
pub(super) fn source(
    socket: &Socket,
    iface: &Interface,
    remote: SocketAddr,
    connected: Option<IpAddr>,
) -> Result<IpAddr, Error> {
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
    let bound = socket.bound.ip();
    if !bound.is_unspecified() && !bound.is_multicast() && !iface.is_broadcast(bound) {
        return Ok(bound);
    }
    if let Some(connected) = connected.filter(|local| local.is_ipv4() == remote.is_ipv4()) {
        return Ok(connected);
    }
    iface
        .source_for_socket(remote.ip())
        .ok_or(Error::NetworkUnreachable)
}

/// Writes what precedes a datagram.
pub(super) fn encode(header: &mut [u8], from: SocketAddr, to: IpAddr) {
    let octets = |addr: IpAddr| match addr {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    };
    header[..16].copy_from_slice(&octets(from.ip()));
    header[16..18].copy_from_slice(&from.port().to_be_bytes());
    header[18..34].copy_from_slice(&octets(to));
    header[34..].fill(u8::from(to.is_ipv4()));
}

/// Reads what precedes a datagram.
pub(super) fn decode(header: &[u8; RECORD_HEADER]) -> (SocketAddr, IpAddr) {
    let is_v4 = header[34] != 0;
    let addr = |at: usize| {
        let mut octets = [0; 16];
        octets.copy_from_slice(&header[at..at + 16]);
        let v6 = Ipv6Addr::from(octets);
        if is_v4 {
            v6.to_canonical()
        } else {
            IpAddr::V6(v6)
        }
    };
    (
        SocketAddr::new(addr(0), u16::from_be_bytes([header[16], header[17]])),
        addr(18),
    )
}
