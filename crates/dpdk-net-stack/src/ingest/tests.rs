//! How often a frame is looked at.

use alloc::vec;
use alloc::vec::Vec;
use core::cell::Cell;

use dpdk_net_packet::{checksum, ipv4, ipv6, tcp, tcp::Flags};

use super::*;
use crate::ListenOptions;
use crate::config::Vlan;
use crate::test_frames::{OUR_MAC, PEER_MAC, at, config, ip};

/// A frame that counts how often it is read.
struct Watched {
    bytes: Vec<u8>,
    readings: Cell<u32>,
}

impl FrameBuf for Watched {
    fn bytes(&self) -> &[u8] {
        self.readings.set(self.readings.get() + 1);
        &self.bytes
    }
}

/// A SYN to port 80, and the readings of it so far.
fn syn(family: &str, from: u16) -> Watched {
    let mut tcp = [0; tcp::HEADER_LEN];
    tcp[..2].copy_from_slice(&from.to_be_bytes());
    tcp[3] = 80;
    tcp[12] = 0x50;
    tcp[13] = Flags::SYN.0;
    let (ether_type, at, mut bytes) = match family {
        "IPv4" => (ethernet::TYPE_IPV4, ipv4::HEADER_LEN, vec![0; 54]),
        _ => (ethernet::TYPE_IPV6, ipv6::HEADER_LEN, vec![0; 74]),
    };
    let at = ethernet::HEADER_LEN + at;
    ethernet::write_header(&mut bytes, OUR_MAC, PEER_MAC, ether_type);
    let (src, dst) = match family {
        "IPv4" => (ip("198.18.0.9"), ip("198.18.0.2")),
        _ => (ip("fd00::9"), ip("fd00::2")),
    };
    let header = &mut bytes[ethernet::HEADER_LEN..at];
    match (src, dst) {
        (IpAddr::V4(src), IpAddr::V4(dst)) => {
            ipv4::Header::new(src, dst, Protocol::Tcp, tcp.len()).write(header);
        }
        (IpAddr::V6(src), IpAddr::V6(dst)) => {
            ipv6::Header::new(src, dst, Protocol::Tcp, tcp.len()).write(header);
        }
        _ => unreachable!("one family"),
    }
    checksum::fill_tcp(src, dst, &mut tcp);
    bytes[at..].copy_from_slice(&tcp);
    Watched {
        bytes,
        readings: Cell::new(0),
    }
}

#[test]
fn a_segment_of_no_connection_is_read_once() {
    for family in ["IPv4", "IPv6"] {
        let mut stack = Stack::new(config(), at(0)).unwrap();
        let any = if family == "IPv4" { "0.0.0.0" } else { "::" };
        let any = core::net::SocketAddr::new(ip(any), 80);
        stack.tcp_listen(ListenOptions::new(any)).unwrap();
        // All but the first find that the flow table has changed since they were looked up, the last one (the first
        // again) that it is known now.
        let mut syns: Vec<Watched> = (0..20).map(|n| syn(family, 1_000 + n)).collect();
        syns.push(syn(family, 1_000));
        stack.ingest(at(1), &syns);
        let readings: Vec<u32> = syns.iter().map(|syn| syn.readings.get()).collect();
        assert_eq!(readings, vec![1; 21], "{family}");
        assert_eq!(stack.tcp_half_open(), 20, "{family}");
        assert_eq!(stack.stats().tcp.rx_segments, 21, "{family}");
    }
}

#[test]
fn a_header_is_verified_by_the_first_look_alone() {
    let stack = Stack::new(config(), at(0)).unwrap();
    let meta = RxMeta::default();
    let mut frame = syn("IPv4", 1_000).bytes;
    let (packet, tcp_at, _) = stack.plain_segment(&frame, &meta).expect("it is plain");
    assert_eq!((packet.len(), tcp_at), (40, 20));
    assert!(read_plain(packet).is_ok());
    // The header's checksum, and the segment's.
    for at in [ethernet::HEADER_LEN + 10, frame.len() - 3] {
        frame[at] ^= 1;
        assert!(stack.plain_segment(&frame, &meta).is_none());
        assert!(read_plain(&frame[ethernet::HEADER_LEN..]).is_ok());
        frame[at] ^= 1;
    }
}

/// The frame with a tag in it.
fn tagged(frame: &[u8], kind: u16, tci: u16) -> Vec<u8> {
    let (macs, rest) = frame.split_at(2 * 6);
    [macs, &kind.to_be_bytes(), &tci.to_be_bytes(), rest].concat()
}

#[test]
fn a_segment_with_one_tag_of_ours_is_as_plain_as_one_without() {
    let stack = Stack::new(config().with_vlan(Vlan::new(100)), at(0)).unwrap();
    let none = RxMeta::default();
    let stripped = |tci| RxMeta {
        vlan_tci: Some(tci),
        ..RxMeta::default()
    };
    for family in ["IPv4", "IPv6"] {
        let frame = syn(family, 1_000).bytes;
        let is_plain = |bytes: &[u8], meta: &RxMeta| {
            // The one look leaves to the other what is its business.
            assert!(stack.plain_segment(bytes, meta).is_none());
            is_tagged(bytes, meta) && stack.plain_tagged(bytes, meta).is_some()
        };
        for tci in [100, 7 << 13 | 100, 0, 5 << 13] {
            assert!(is_plain(&tagged(&frame, ethernet::TYPE_VLAN, tci), &none));
            assert!(is_plain(&frame, &stripped(tci)));
        }
        for tci in [101, 4_095, 5 << 13 | 1] {
            assert!(!is_plain(&tagged(&frame, ethernet::TYPE_VLAN, tci), &none));
            assert!(!is_plain(&frame, &stripped(tci)));
        }
        let twice = tagged(&frame, ethernet::TYPE_VLAN, 100);
        assert!(!is_plain(&tagged(&twice, ethernet::TYPE_VLAN, 100), &none));
        assert!(!is_plain(&twice, &stripped(100)));
        assert!(!is_plain(&tagged(&frame, ethernet::TYPE_QINQ, 100), &none));
        let mut wrong = tagged(&frame, ethernet::TYPE_VLAN, 100);
        let last = wrong.len() - 3;
        wrong[last] ^= 1;
        assert!(!is_plain(&wrong, &none), "a checksum counts as ever");
    }
}
