//! What several of the files use.

use std::net::IpAddr;

use dpdk_net_packet::{checksum, ethernet, ipv4, ipv6};
use dpdk_net_stack::{Duration, TcpId};

use crate::common::*;

/// An accepted connection that has closed its window: 4,096 bytes wait to be read.
pub(crate) fn with_closed_window(family: Family) -> (Hand, TcpId) {
    let mut config = config(1);
    config.tcp.recv_buffer = 4_096;
    config.tcp.recv_window = 4_096;
    let (mut hand, id) = accepted_with(family, config);
    for _ in 0..4 {
        hand.send(ACK | PSH, &[1; 1_024]);
    }
    hand.pass(Duration::from_secs(1));
    (hand, id)
}

/// Ends an established connection, from here first: it is in TIME-WAIT then.
pub(crate) fn end(hand: &mut Hand, id: TcpId) {
    hand.stack.tcp_shutdown_write(id).unwrap();
    hand.out();
    hand.acknowledge(1);
    hand.send(FIN | ACK, &[]);
}

pub(crate) fn payload(segs: &[Seg]) -> Vec<u8> {
    segs.iter().flat_map(|seg| seg.payload.clone()).collect()
}

/// Acknowledges whatever comes until nothing does; tells the most that was ever outstanding.
pub(crate) fn drain(hand: &mut Hand, mut sent: Vec<Seg>) -> u32 {
    let mut most = 0;
    while !sent.is_empty() {
        let end = sent
            .iter()
            .map(|seg| seg.seq.wrapping_add(seg.payload.len() as u32))
            .max_by_key(|end| end.wrapping_sub(hand.ack) as i32)
            .unwrap();
        most = most.max(end.wrapping_sub(hand.ack));
        hand.pass(Duration::from_millis(1));
        sent = hand.acknowledge(end.wrapping_sub(hand.ack));
        sent.retain(|seg| !seg.payload.is_empty());
    }
    most
}

/// A frame from host 2 to host 1 whose IP addresses are these.
pub(crate) fn between(src: IpAddr, dst: IpAddr, seg: &Seg) -> Vec<u8> {
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

/// The IPv6 packet in a frame in fragments: from where to where each goes.
pub(crate) fn fragments(whole: &[u8], id: u32, pieces: &[(usize, usize)]) -> Vec<Vec<u8>> {
    let at = ethernet::HEADER_LEN + ipv6::HEADER_LEN;
    let (header, payload) = whole.split_at(at);
    let fragment = |&(from, to): &(usize, usize)| {
        let mut frame = header.to_vec();
        let more = u16::from(to < payload.len());
        frame.extend([header[ethernet::HEADER_LEN + 6], 0]);
        frame.extend((from as u16 | more).to_be_bytes());
        frame.extend(id.to_be_bytes());
        frame.extend(&payload[from..to]);
        let len = (frame.len() - at) as u16;
        frame[ethernet::HEADER_LEN + 4..][..2].copy_from_slice(&len.to_be_bytes());
        frame[ethernet::HEADER_LEN + 6] = ipv6::NEXT_FRAGMENT;
        frame
    };
    pieces.iter().map(fragment).collect()
}
