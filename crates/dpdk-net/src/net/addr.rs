//! Addresses as an IPv6 socket shows them, and the loops over what a name resolves to.
//!
//! The stack speaks of IPv4 peers in IPv4 addresses, whatever the socket was bound to. A socket of the IPv6
//! family shows them as IPv4-mapped ones (RFC 4291 section 2.5.5.2), as the kernel does.

use std::io;
use std::net::{IpAddr, SocketAddr};

use dpdk_net_stack::Readiness;
use tokio::io::{Interest, Ready};

/// The family of a socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) fn of(addr: SocketAddr) -> Self {
        match addr {
            SocketAddr::V4(_) => Self::V4,
            SocketAddr::V6(_) => Self::V6,
        }
    }

    /// The same of an address without a port.
    pub(crate) fn show_ip(self, ip: IpAddr) -> IpAddr {
        match (self, ip) {
            (Self::V6, IpAddr::V4(v4)) => IpAddr::V6(v4.to_ipv6_mapped()),
            _ => ip,
        }
    }

    /// How a socket of this family shows an address of the stack.
    pub(crate) fn show(self, addr: SocketAddr) -> SocketAddr {
        match (self, addr) {
            (Self::V6, SocketAddr::V4(v4)) => {
                SocketAddr::new(IpAddr::V6(v4.ip().to_ipv6_mapped()), v4.port())
            }
            _ => addr,
        }
    }
}

/// The address that the stack knows: IPv4-mapped ones become IPv4.
pub(crate) fn to_stack(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V6(v6) => match v6.ip().to_ipv4_mapped() {
            Some(v4) => SocketAddr::new(IpAddr::V4(v4), v6.port()),
            None => addr,
        },
        SocketAddr::V4(_) => addr,
    }
}

/// The error of a name that resolves to nothing.
pub(crate) fn no_addresses() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "could not resolve to any address",
    )
}

/// What of a socket's readiness an [`Interest`] asks for.
pub(crate) fn mask(interest: Interest) -> Readiness {
    let mut mask = Readiness::CLOSED;
    if interest.is_readable() {
        mask |= Readiness::READABLE;
    }
    if interest.is_writable() {
        mask |= Readiness::WRITABLE;
    }
    mask
}

/// The stack's readiness in tokio's terms, within what was asked for.
pub(crate) fn to_ready(readiness: Readiness, interest: Interest) -> Ready {
    let mut ready = Ready::EMPTY;
    let closed = readiness.contains(Readiness::CLOSED);
    if interest.is_error() && closed {
        ready |= Ready::ERROR;
    }
    if interest.is_readable() {
        if closed || readiness.contains(Readiness::READABLE) {
            ready |= Ready::READABLE;
        }
        if closed {
            ready |= Ready::READ_CLOSED;
        }
    }
    if interest.is_writable() {
        if closed || readiness.contains(Readiness::WRITABLE) {
            ready |= Ready::WRITABLE;
        }
        if closed {
            ready |= Ready::WRITE_CLOSED;
        }
    }
    ready
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_socket_shows_ipv4_peers_as_mapped_and_takes_them_back() {
        let v4: SocketAddr = "198.18.0.1:80".parse().unwrap();
        let mapped: SocketAddr = "[::ffff:198.18.0.1]:80".parse().unwrap();
        assert_eq!(Family::V6.show(v4), mapped);
        assert_eq!(Family::V4.show(v4), v4);
        assert_eq!(to_stack(mapped), v4);
        let v6: SocketAddr = "[fd00::1]:80".parse().unwrap();
        assert_eq!(Family::V6.show(v6), v6);
        assert_eq!(to_stack(v6), v6);
    }

    #[test]
    fn a_closed_socket_is_ready_for_all_that_is_asked() {
        let ready = to_ready(Readiness::CLOSED, Interest::READABLE);
        assert!(ready.is_readable() && ready.is_read_closed());
        assert!(!ready.is_writable());
        let both = to_ready(Readiness::WRITABLE, Interest::READABLE | Interest::WRITABLE);
        assert!(both.is_writable() && !both.is_readable() && !both.is_write_closed());
        let error = to_ready(Readiness::CLOSED, Interest::ERROR);
        assert!(error.is_error() && !error.is_readable() && !error.is_writable());
    }
}
