use std::vec;
use std::vec::Vec;

use super::*;
use crate::tcp::Segment;
use crate::{FrameBuf, Network, Transport, parse_checked};

/// Headers of a TCP packet with 12 bytes of options.
fn tcp_headers(v6: bool, flags: Flags, payload: usize) -> (Vec<u8>, L4) {
    let l4 = if v6 { L4::TcpV6 } else { L4::TcpV4 };
    let mut headers = vec![0; l4.offset() + 32];
    write_ip(&mut headers, l4, 32 + payload);
    let tcp = &mut headers[l4.offset()..];
    tcp[..4].copy_from_slice(&[0x1f, 0x90, 0x30, 0x39]);
    tcp[4..8].copy_from_slice(&(u32::MAX - 1_000).to_be_bytes());
    tcp[8..12].copy_from_slice(&77u32.to_be_bytes());
    tcp[12] = 8 << 4;
    tcp[13] = flags.0;
    tcp[20..24].copy_from_slice(&[1, 1, 8, 10]);
    (headers, l4)
}

fn write_ip(headers: &mut [u8], l4: L4, transport: usize) {
    let kind = if l4.is_v6() {
        ethernet::TYPE_IPV6
    } else {
        ethernet::TYPE_IPV4
    };
    ethernet::write_header(
        headers,
        crate::MacAddr([2, 0, 0, 0, 0, 2]),
        crate::MacAddr([2, 0, 0, 0, 0, 1]),
        kind,
    );
    let ip = &mut headers[ethernet::HEADER_LEN..];
    if l4.is_v6() {
        let from = "fd00::1".parse().unwrap();
        let to = "fd00::2".parse().unwrap();
        ipv6::Header::new(from, to, l4.protocol(), transport).write(ip);
    } else {
        let from = "198.18.0.1".parse().unwrap();
        let to = "198.18.0.2".parse().unwrap();
        let header = ipv4::Header {
            id: 0xfffe,
            dont_fragment: true,
            ..ipv4::Header::new(from, to, l4.protocol(), transport)
        };
        header.write(ip);
    }
}

fn segments(large: &Large<'_>, payload: &[u8], checksums: Checksums) -> Vec<Vec<u8>> {
    (0..large.count())
        .map(|index| {
            let mut frame = vec![0xee; large.frame_len(index)];
            large.write(index, &mut frame, checksums, |out| {
                out.copy_from_slice(&payload[large.payload_range(index)]);
            });
            frame
        })
        .collect()
}

fn tcp_of(frame: &[u8]) -> Segment<'_> {
    // Verifies every checksum.
    let parsed = parse_checked(frame, &frame.rx_meta()).unwrap();
    let Network::Ip(ip, transport) = parsed.network else {
        panic!("no IP packet");
    };
    transport
        .verify(&ip, crate::ChecksumVerdict::Unknown)
        .unwrap();
    match transport {
        Transport::Tcp(segment) => segment,
        other => panic!("{other:?}"),
    }
}

fn data(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 256) as u8).collect()
}

#[test]
fn tcp_segments_carry_the_stream_in_order_with_valid_checksums_over_both_families() {
    for v6 in [false, true] {
        for len in [1, 1_400, 1_401, 4_199, 4_200, 20_001] {
            let payload = data(len);
            let (headers, l4) = tcp_headers(v6, Flags::ACK | Flags::PSH, len);
            let large = Large::new(&headers, l4, 1_400, len).unwrap();
            assert_eq!(large.count(), len.div_ceil(1_400));
            let mut stream = Vec::new();
            for frame in segments(&large, &payload, Checksums::ALL) {
                let segment = tcp_of(&frame);
                let at = (u32::MAX - 1_000).wrapping_add(stream.len() as u32);
                assert_eq!((segment.seq(), segment.ack()), (at, 77));
                stream.extend_from_slice(segment.payload());
                assert_eq!(segment.flags().contains(Flags::PSH), stream.len() == len);
            }
            assert_eq!(stream, payload);
        }
    }
}

#[test]
fn fin_and_psh_are_of_the_last_segment_and_cwr_is_of_the_first() {
    let flags = Flags::ACK | Flags::PSH | Flags::FIN | Flags::CWR | Flags::ECE;
    let (headers, l4) = tcp_headers(false, flags, 300);
    let large = Large::new(&headers, l4, 100, 300).unwrap();
    let got: Vec<Flags> = segments(&large, &data(300), Checksums::ALL)
        .iter()
        .map(|frame| tcp_of(frame).flags())
        .collect();
    assert_eq!(
        got,
        [
            Flags::ACK | Flags::CWR | Flags::ECE,
            Flags::ACK | Flags::ECE,
            Flags::ACK | Flags::PSH | Flags::FIN | Flags::ECE,
        ]
    );
}

#[test]
fn ipv4_identifications_count_up_and_wrap() {
    let (headers, l4) = tcp_headers(false, Flags::ACK, 400);
    let large = Large::new(&headers, l4, 100, 400).unwrap();
    let ids: Vec<u16> = segments(&large, &data(400), Checksums::ALL)
        .iter()
        .map(|frame| u16::from_be_bytes([frame[18], frame[19]]))
        .collect();
    assert_eq!(ids, [0xfffe, 0xffff, 0, 1]);
}

#[test]
fn udp_datagrams_have_their_own_lengths_and_checksums() {
    for l4 in [L4::UdpV4, L4::UdpV6] {
        let mut headers = vec![0; l4.offset() + 8];
        write_ip(&mut headers, l4, 8 + 250);
        headers[l4.offset()..].copy_from_slice(&[0, 53, 0, 54, 0, 0, 0, 0]);
        let payload = data(250);
        let large = Large::new(&headers, l4, 100, 250).unwrap();
        let mut lens = Vec::new();
        for (index, frame) in segments(&large, &payload, Checksums::ALL)
            .iter()
            .enumerate()
        {
            let parsed = parse_checked(frame, &frame.rx_meta()).unwrap();
            let Network::Ip(ip, transport) = parsed.network else {
                panic!("no IP packet");
            };
            transport
                .verify(&ip, crate::ChecksumVerdict::Unknown)
                .unwrap();
            let Transport::Udp(datagram) = transport else {
                panic!("no datagram");
            };
            assert_eq!(datagram.payload(), &payload[large.payload_range(index)]);
            lens.push(datagram.payload().len());
        }
        assert_eq!(lens, [100, 100, 50]);
    }
}

#[test]
fn a_checksum_left_to_the_nic_is_the_pseudo_header_and_completes_to_the_same_frame() {
    for v6 in [false, true] {
        let (headers, l4) = tcp_headers(v6, Flags::ACK, 250);
        let large = Large::new(&headers, l4, 100, 250).unwrap();
        let none = Checksums {
            ip: false,
            transport: false,
        };
        let whole = segments(&large, &data(250), Checksums::ALL);
        for (mut partial, whole) in segments(&large, &data(250), none).into_iter().zip(whole) {
            let at = l4.offset() + 16;
            let pseudo = l4
                .pseudo_header(&partial, partial.len() - l4.offset())
                .unwrap();
            assert_eq!(partial[at..at + 2], pseudo.fold().to_be_bytes());
            assert_ne!(partial, whole);
            l4.fill_checksum(&mut partial);
            l4.fill_ip_checksum(&mut partial);
            assert_eq!(partial, whole);
        }
    }
}

#[test]
fn parts_of_a_packet_have_the_segments_of_the_whole() {
    let flags = Flags::ACK | Flags::PSH | Flags::CWR;
    let udp = [L4::UdpV4, L4::UdpV6].map(|l4| {
        let mut headers = vec![0; l4.offset() + 8];
        write_ip(&mut headers, l4, 8 + 950);
        headers[l4.offset()..].copy_from_slice(&[0, 53, 0, 54, 0, 0, 0, 0]);
        (headers, l4)
    });
    let tcp = [false, true].map(|v6| tcp_headers(v6, flags, 950));
    let payload = data(950);
    for (headers, l4) in udp.into_iter().chain(tcp) {
        let large = Large::new(&headers, l4, 100, 950).unwrap();
        let whole = segments(&large, &payload, Checksums::ALL);
        for at_once in 1..=10 {
            let mut parts = Vec::new();
            for index in (0..10).step_by(at_once) {
                let mut out = vec![0xee; headers.len()];
                let part = large.part(index, at_once, &mut out).unwrap();
                let from = large.payload_range(index).start;
                parts.extend(segments(&part, &payload[from..], Checksums::ALL));
            }
            assert_eq!(parts, whole, "{l4:?}, {at_once} at once");
        }
        let mut out = vec![0; headers.len()];
        assert!(large.part(10, 1, &mut out).is_none());
        assert!(large.part(0, 0, &mut out).is_none());
        assert!(large.part(0, 1, &mut out[1..]).is_none());
    }
}

#[test]
fn what_cannot_be_cut_is_refused() {
    let (headers, l4) = tcp_headers(false, Flags::ACK, 100);
    assert!(
        Large::new(&headers, l4, 0, 100).is_none(),
        "no segment size"
    );
    assert!(Large::new(&headers, l4, 100, 65_483).is_some());
    assert!(Large::new(&headers, l4, 100, 65_484).is_none(), "too long");
    assert!(
        Large::new(&headers[..60], l4, 100, 100).is_none(),
        "cut off"
    );
    assert!(Large::new(&headers, L4::UdpV4, 100, 100).is_none());
    assert!(Large::new(&headers, L4::TcpV6, 100, 100).is_none());
    assert!(Large::new(&[], l4, 100, 100).is_none());
    let large = Large::new(&headers, l4, 100, 0).unwrap();
    assert_eq!((large.count(), large.payload_range(3)), (0, 0..0));
}
