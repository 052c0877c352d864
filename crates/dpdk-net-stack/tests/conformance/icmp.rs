//! ICMP errors made by hand.

use std::net::IpAddr;

use dpdk_net_packet::{Protocol, checksum, ethernet, ipv4, ipv6};

use crate::common::*;

/// An error of host 2 to host 1 about a frame that host 1 has sent.
pub(crate) fn error(family: Family, (kind, code): (u8, u8), word: u32, about: &[u8]) -> Vec<u8> {
    let mut message = vec![kind, code, 0, 0];
    message.extend(word.to_be_bytes());
    message.extend(&about[ethernet::HEADER_LEN..]);
    message.truncate(8 + 500);
    let mut frame = vec![0; ethernet::HEADER_LEN];
    match (family.host(2), family.host(1)) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            checksum::fill_icmpv4(&mut message);
            ethernet::write_header(&mut frame, mac(1), mac(2), ethernet::TYPE_IPV4);
            let mut header = vec![0; ipv4::HEADER_LEN];
            ipv4::Header::new(src, dst, Protocol::Icmp, message.len()).write(&mut header);
            frame.extend(header);
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            checksum::fill_icmpv6(src, dst, &mut message);
            ethernet::write_header(&mut frame, mac(1), mac(2), ethernet::TYPE_IPV6);
            let mut header = vec![0; ipv6::HEADER_LEN];
            ipv6::Header::new(src, dst, Protocol::Icmpv6, message.len()).write(&mut header);
            frame.extend(header);
        }
        _ => unreachable!("one family"),
    }
    frame.extend(message);
    frame
}

pub(crate) fn too_big(family: Family, about: &[u8], mtu: u32) -> Vec<u8> {
    match family {
        Family::V4 => error(family, (3, 4), mtu, about),
        Family::V6 => error(family, (2, 0), mtu, about),
    }
}

pub(crate) fn host_unreachable(family: Family, about: &[u8]) -> Vec<u8> {
    match family {
        Family::V4 => error(family, (3, 1), 0, about),
        Family::V6 => error(family, (1, 3), 0, about),
    }
}

pub(crate) fn port_unreachable(family: Family, about: &[u8]) -> Vec<u8> {
    match family {
        Family::V4 => error(family, (3, 3), 0, about),
        Family::V6 => error(family, (1, 4), 0, about),
    }
}
