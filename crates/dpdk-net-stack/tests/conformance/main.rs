//! What the RFCs require, requirement by requirement: a file for each RFC, and a test's name begins with the section.
//!
//! The first lines of each test's documentation name section and requirement and say in our words what is required;
//! `docs/conformance.md` is made of them by `cargo xtask conformance`. What does not apply, is not met, or is shown by a
//! test elsewhere stands at the head of its file.

#[path = "../common/mod.rs"]
mod common;

mod icmp;
mod rfc9293;

use std::net::IpAddr;

use common::{Family, Seg, frame};
use dpdk_net_packet::{checksum, ethernet, ipv4, ipv6};

/// A frame from host 2 to host 1 whose IP addresses are these.
fn between(src: IpAddr, dst: IpAddr, seg: &Seg) -> Vec<u8> {
    let family = if src.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    };
    let mut frame = frame(family, 2, 1, seg);
    let (header, tcp) = frame[ethernet::HEADER_LEN..].split_at_mut(match family {
        Family::V4 => ipv4::HEADER_LEN,
        Family::V6 => ipv6::HEADER_LEN,
    });
    let protocol = dpdk_net_packet::Protocol::Tcp;
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            ipv4::Header::new(src, dst, protocol, tcp.len()).write(header)
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            ipv6::Header::new(src, dst, protocol, tcp.len()).write(header)
        }
        _ => unreachable!("one family"),
    }
    tcp[16..18].fill(0);
    checksum::fill_tcp(src, dst, tcp);
    frame
}
