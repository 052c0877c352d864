//! IP addresses of both families as one kind of number: IPv4's as IPv4-mapped IPv6 ones. Real mapped addresses never get
//! here, since they must not appear on a link (RFC 4291 section 2.5.5.2).

use core::net::IpAddr;

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
