//! IP addresses of both families as one kind of number: IPv4's as IPv4-mapped IPv6 ones. Real mapped addresses never get
//! here, since they must not appear on a link (RFC 4291 section 2.5.5.2).

use core::net::{IpAddr, SocketAddr, SocketAddrV6};

const MAPPED: u128 = 0xffff_0000_0000;

#[inline]
pub(crate) fn to_bits(addr: IpAddr) -> u128 {
    match addr {
        IpAddr::V4(v4) => MAPPED | u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

#[inline]
pub(crate) const fn v4_to_bits(addr: u32) -> u128 {
    MAPPED | addr as u128
}

#[inline]
pub(crate) fn from_bits(bits: u128) -> IpAddr {
    if is_v4(bits) {
        IpAddr::V4((bits as u32).into())
    } else {
        IpAddr::V6(bits.into())
    }
}

#[inline]
pub(crate) const fn is_v4(bits: u128) -> bool {
    bits >> 32 == MAPPED >> 32
}

/// Whether an address is of its link only (RFC 4291 section 2.5.6): which link that is, its scope tells.
#[inline]
pub(crate) const fn is_link_local(addr: IpAddr) -> bool {
    matches!(addr, IpAddr::V6(v6) if v6.is_unicast_link_local())
}

/// With a port, and if it is link-local with its scope: the VLAN's id, 0 being the port itself.
#[inline]
pub(crate) fn socket_addr(addr: IpAddr, port: u16, scope: u16) -> SocketAddr {
    match addr {
        IpAddr::V6(v6) if is_link_local(addr) => {
            SocketAddrV6::new(v6, port, 0, scope.into()).into()
        }
        _ => SocketAddr::new(addr, port),
    }
}

/// The address as sockets compare it: an IPv4-mapped one is the IPv4 address, and a scope is that of a link-local address
/// or a group alone.
pub(crate) fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr {
        SocketAddr::V6(v6) if is_link_local(addr.ip()) || v6.ip().is_multicast() => {
            SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id()).into()
        }
        _ => SocketAddr::new(addr.ip().to_canonical(), addr.port()),
    }
}

/// The scope of a [`canonical`] address, 0 where it has none. One that is no VLAN's id is none that there is.
pub(crate) fn scope(addr: SocketAddr) -> u16 {
    match addr {
        SocketAddr::V6(v6) => u16::try_from(v6.scope_id()).unwrap_or(u16::MAX),
        SocketAddr::V4(_) => 0,
    }
}

/// As [`is_link_local`], of bits.
#[inline]
pub(crate) const fn is_link_local_bits(bits: u128) -> bool {
    bits >> 118 == 0xfe80 >> 6
}
