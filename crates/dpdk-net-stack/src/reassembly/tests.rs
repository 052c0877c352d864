use alloc::vec;

use dpdk_net_packet::{MacAddr, Protocol, Transport, ethernet};
use proptest::prelude::*;

use super::*;
use crate::emit::IpMeta;
use crate::fragment;
use crate::test_frames::{PORT, at, config, ip};

/// A UDP datagram of `len` bytes, cut for a path of `mtu` bytes; the IP packets.
fn fragments(is_v6: bool, len: usize, mtu: usize, id: u32) -> Vec<Vec<u8>> {
    let meta = meta(is_v6);
    let payload = payload(len);
    fragment::pieces(&meta, len, mtu)
        .map(|piece| {
            let mut frame = vec![0; piece.frame_len(&meta)];
            piece.write(
                &mut frame,
                (MacAddr::ZERO, MacAddr::ZERO),
                &meta,
                id,
                &payload,
            );
            frame.split_off(ethernet::HEADER_LEN)
        })
        .collect()
}

fn meta(is_v6: bool) -> IpMeta {
    let (src, dst) = if is_v6 {
        ("fd00::1", "fd00::2")
    } else {
        ("198.18.0.1", "198.18.0.2")
    };
    IpMeta::new(ip(src), ip(dst), Protocol::Udp)
}

fn payload(len: usize) -> Vec<u8> {
    let mut payload: Vec<u8> = (0..len).map(|i| (i * 7) as u8).collect();
    dpdk_net_packet::udp::write_header(&mut payload, 1_000, 2_000, len - 8);
    payload
}

fn insert(reassembler: &mut Reassembler, now: Instant, packet: &[u8]) -> Option<Vec<u8>> {
    reassembler.insert(now, PORT, &IpPacket::parse(packet).unwrap())
}

fn check(whole: &[u8], len: usize) {
    let packet = IpPacket::parse(whole).unwrap();
    assert!(packet.fragment().is_none());
    assert_eq!(packet.payload(), payload(len));
    assert!(matches!(packet.transport(), Ok(Transport::Udp(_))));
}

/// One fragment by hand, with a body of one value.
fn piece(id: u16, offset: u16, len: usize, more: bool, fill: u8, ecn: u8) -> Vec<u8> {
    let header = dpdk_net_packet::ipv4::Header {
        id,
        dont_fragment: false,
        more_fragments: more,
        fragment_offset: offset,
        traffic_class: ecn,
        ..dpdk_net_packet::ipv4::Header::new(
            [198, 18, 0, 1].into(),
            [198, 18, 0, 2].into(),
            Protocol::Udp,
            len,
        )
    };
    let mut packet = vec![fill; 20 + len];
    header.write(&mut packet);
    packet
}

#[test]
fn fragments_in_any_order_make_the_packet_whole_in_both_families() {
    for is_v6 in [false, true] {
        let pieces = fragments(is_v6, 60_000, 1_500, 5);
        for rotate in [0, 1, 20, pieces.len() - 1] {
            let mut order = pieces.clone();
            order.rotate_left(rotate);
            let mut reassembler = Reassembler::new(&config());
            let (last, first) = order.split_last().unwrap();
            for packet in first {
                assert_eq!(insert(&mut reassembler, at(0), packet), None);
            }
            check(&insert(&mut reassembler, at(0), last).unwrap(), 60_000);
            assert_eq!(
                (
                    reassembler.len(),
                    reassembler.charged,
                    reassembler.next_timeout()
                ),
                (0, 0, None)
            );
            assert_eq!(reassembler.stats.snapshot().reassembled, 1);
        }
    }
}

#[test]
fn packets_with_different_names_do_not_mix() {
    let mut reassembler = Reassembler::new(&config());
    let (a, b) = (
        fragments(false, 2_000, 1_500, 1),
        fragments(false, 2_000, 1_500, 2),
    );
    assert_eq!(insert(&mut reassembler, at(0), &a[0]), None);
    assert_eq!(insert(&mut reassembler, at(0), &b[1]), None);
    assert_eq!(reassembler.len(), 2);
    check(&insert(&mut reassembler, at(0), &b[0]).unwrap(), 2_000);
    check(&insert(&mut reassembler, at(0), &a[1]).unwrap(), 2_000);
}

#[test]
fn a_repeated_fragment_is_dropped_and_harmless() {
    let mut reassembler = Reassembler::new(&config());
    let pieces = fragments(true, 2_000, 1_500, 1);
    insert(&mut reassembler, at(0), &pieces[0]);
    insert(&mut reassembler, at(0), &pieces[0]);
    assert_eq!(reassembler.stats.snapshot().duplicates, 1);
    check(&insert(&mut reassembler, at(0), &pieces[1]).unwrap(), 2_000);
}

#[test]
fn overlapping_fragments_spoil_the_packet_and_what_still_comes_of_it() {
    for (offset, len) in [(8, 16), (0, 8), (0, 32), (16, 16), (8, 8)] {
        let mut reassembler = Reassembler::new(&config());
        insert(&mut reassembler, at(0), &piece(1, 8, 16, true, 1, 0));
        insert(&mut reassembler, at(0), &piece(1, offset, len, true, 2, 0));
        let overlaps = !(offset + len as u16 <= 8 || offset >= 24);
        assert_eq!(
            reassembler.stats.snapshot().overlapping,
            u64::from(overlaps),
            "{offset} {len}"
        );
        if overlaps {
            assert_eq!(
                insert(&mut reassembler, at(0), &piece(1, 24, 16, false, 1, 0)),
                None
            );
            assert_eq!(
                insert(&mut reassembler, at(0), &piece(1, 0, 8, true, 1, 0)),
                None
            );
            assert_eq!(reassembler.stats.snapshot().too_late, 2);
            // Nobody is told: the packet was not late, it was wrong.
            reassembler.handle_timeout(at(30_000), &mut |_, _| panic!("told"));
            assert_eq!((reassembler.len(), reassembler.charged), (0, 0));
        }
    }
}

#[test]
fn fragments_that_disagree_on_the_length_spoil_the_packet() {
    for second in [
        piece(1, 8, 16, false, 1, 0),
        piece(1, 40, 16, true, 1, 0),
        piece(1, 40, 8, false, 1, 0),
    ] {
        let mut reassembler = Reassembler::new(&config());
        insert(&mut reassembler, at(0), &piece(1, 24, 16, false, 1, 0));
        assert_eq!(insert(&mut reassembler, at(0), &second), None);
        assert_eq!(reassembler.stats.snapshot().inconsistent, 1);
    }
    let mut reassembler = Reassembler::new(&config());
    insert(&mut reassembler, at(0), &piece(1, 24, 16, true, 1, 0));
    insert(&mut reassembler, at(0), &piece(1, 8, 8, false, 1, 0));
    assert_eq!(reassembler.stats.snapshot().inconsistent, 1);
}

#[test]
fn time_runs_out_and_the_first_fragment_is_told() {
    let mut reassembler = Reassembler::new(&config());
    let pieces = fragments(true, 4_000, 1_500, 1);
    insert(&mut reassembler, at(0), &pieces[0]);
    insert(
        &mut reassembler,
        at(100),
        &fragments(true, 4_000, 1_500, 2)[1],
    );
    assert_eq!(reassembler.next_timeout(), Some(at(30_000)));
    let mut told = Vec::new();
    reassembler.handle_timeout(at(29_999), &mut |_, _| panic!("too early"));
    reassembler.handle_timeout(at(30_000), &mut |_, packet| told.push(packet.to_vec()));
    assert_eq!(told, [pieces[0].clone()]);
    assert_eq!(reassembler.next_timeout(), Some(at(30_100)));
    // Without the first fragment nobody can be told.
    reassembler.handle_timeout(at(30_100), &mut |_, _| {
        panic!("told without the first fragment")
    });
    assert_eq!(
        (
            reassembler.len(),
            reassembler.charged,
            reassembler.stats.snapshot().timed_out
        ),
        (0, 0, 2)
    );
}

#[test]
fn memory_is_bounded_and_the_oldest_goes_first() {
    let mut config = config();
    config.limits.reassembly_bytes = 64 * 1024;
    let mut reassembler = Reassembler::new(&config);
    for id in 0..1_000 {
        let packet = piece(id, 0, 1_480, true, 1, 0);
        insert(&mut reassembler, at(u64::from(id)), &packet);
        assert!(reassembler.charged <= 64 * 1024);
    }
    assert!(reassembler.packets.len() < 50);
    assert_eq!(
        reassembler.stats.snapshot().evicted + reassembler.len() as u64,
        1_000
    );
    // The newest is still there and can be finished.
    assert!(
        insert(
            &mut reassembler,
            at(1_000),
            &piece(999, 1_480, 8, false, 1, 0)
        )
        .is_some()
    );
}

#[test]
fn too_many_pieces_spoil_the_packet() {
    let mut reassembler = Reassembler::new(&config());
    for i in 0..=MAX_FRAGMENTS as u16 {
        insert(&mut reassembler, at(0), &piece(1, i * 8, 8, true, 1, 0));
    }
    assert_eq!(reassembler.stats.snapshot().too_many_fragments, 1);
}

#[test]
fn a_congestion_mark_on_one_fragment_marks_the_packet() {
    let mut reassembler = Reassembler::new(&config());
    insert(&mut reassembler, at(0), &piece(1, 0, 8, true, 0, 2));
    let whole = insert(&mut reassembler, at(0), &piece(1, 8, 8, false, 0, 3)).unwrap();
    assert_eq!(IpPacket::parse(&whole).unwrap().ecn(), 3);
    insert(&mut reassembler, at(0), &piece(2, 0, 8, true, 0, 0));
    assert_eq!(
        insert(&mut reassembler, at(0), &piece(2, 8, 8, false, 0, 3)),
        None
    );
    assert_eq!(reassembler.stats.snapshot().ecn_mixed, 1);
}

#[test]
fn extension_headers_before_the_fragment_header_stay() {
    let mut reassembler = Reassembler::new(&config());
    let with_options = |packet: &[u8]| {
        let mut packet = packet.to_vec();
        // Destination options with padding between the fixed and the fragment header.
        packet.splice(40..40, [ipv6::NEXT_FRAGMENT, 0, 1, 4, 0, 0, 0, 0]);
        packet[6] = ipv6::NEXT_DESTINATION;
        let len = (packet.len() - 40) as u16;
        packet[4..6].copy_from_slice(&len.to_be_bytes());
        packet
    };
    let pieces: Vec<_> = fragments(true, 2_000, 1_400, 1)
        .iter()
        .map(|p| with_options(p))
        .collect();
    insert(&mut reassembler, at(0), &pieces[0]);
    let whole = insert(&mut reassembler, at(0), &pieces[1]).unwrap();
    check(&whole, 2_000);
    assert_eq!(IpPacket::parse(&whole).unwrap().header().len(), 48);
    let oracle = etherparse::SlicedPacket::from_ip(&whole).unwrap();
    assert!(matches!(
        oracle.transport,
        Some(etherparse::TransportSlice::Udp(_))
    ));
}

proptest! {
    #[test]
    fn any_fragments_stay_within_bounds_and_what_comes_out_is_whole(
        pieces in proptest::collection::vec((0u16..3, 0u16..40, 1usize..6, any::<bool>(), 0u8..4), 1..200),
    ) {
        let mut config = config();
        config.limits.reassembly_bytes = 4_096;
        let mut reassembler = Reassembler::new(&config);
        for (i, (id, offset, units, more, ecn)) in pieces.into_iter().enumerate() {
            let now = at(i as u64 * 500);
            let packet = piece(id, offset * 8, units * 8, more, 7, ecn);
            if let Some(whole) = insert(&mut reassembler, now, &packet) {
                let whole = IpPacket::parse(&whole).unwrap();
                prop_assert!(whole.payload().iter().all(|b| *b == 7));
            }
            reassembler.handle_timeout(now, &mut |_, _| {});
            prop_assert!(reassembler.charged <= 4_096);
            let charged: usize = reassembler.packets.iter().flatten().map(|p| p.charged).sum();
            prop_assert_eq!(reassembler.charged, charged);
        }
        reassembler.handle_timeout(Instant::MAX, &mut |_, _| {});
        prop_assert_eq!((reassembler.charged, reassembler.len()), (0, 0));
    }
}
