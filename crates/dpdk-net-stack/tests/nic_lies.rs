//! Received frames about which the NIC says what can't be, and frames in pieces of every shape: what is wrong is dropped and
//! counted, what is right is taken, byte for byte.

mod common;

use bytes::Bytes;
use common::*;
use dpdk_net_packet::ChecksumVerdict::{self, Bad, Good, None as Intact, Unknown};
use dpdk_net_packet::RxMeta;
use dpdk_net_stack::Duration;
use dpdk_net_testkit::Pieces;

const VERDICTS: [ChecksumVerdict; 4] = [Unknown, Bad, Good, Intact];

fn verdicts(ip: ChecksumVerdict, l4: ChecksumVerdict) -> RxMeta {
    RxMeta {
        ip_checksum: ip,
        l4_checksum: l4,
        ..RxMeta::default()
    }
}

fn lro(segment: u16) -> RxMeta {
    RxMeta {
        lro_segment: segment,
        ..verdicts(Good, Good)
    }
}

/// The peer's next frame, with these bytes of the pattern.
fn next_frame(hand: &Hand, from: usize, len: usize) -> Vec<u8> {
    let mut seg = hand.seg(ACK, &pattern(from + len)[from..]);
    seg.seq = hand.seq.wrapping_add(from as u32);
    frame(hand.family, 2, 1, &seg)
}

both_families! {
    fn each_verdict_counts_by_itself_and_bad_weighs_more_than_good(family) {
        let v4 = matches!(family, Family::V4);
        for chained in [false, true] {
            for (ip, l4) in VERDICTS.iter().flat_map(|ip| VERDICTS.iter().map(|l4| (*ip, *l4))) {
                for broken in 0..3 {
                    let (mut hand, id) = accepted(family);
                    let mut bytes = next_frame(&hand, 0, 3_000);
                    match broken {
                        // The header's checksum itself; there is none over IPv6.
                        1 if v4 => bytes[24] ^= 1,
                        2 => *bytes.last_mut().unwrap() ^= 1,
                        _ => {}
                    }
                    let right = |verdict, right| match verdict {
                        Unknown => right,
                        other => other != Bad,
                    };
                    let header = !v4 || right(ip, broken != 1);
                    let segment = right(l4, broken != 2);
                    let received = if chained {
                        Pieces::cut(bytes, 500, &[700]).with(verdicts(ip, l4))
                    } else {
                        Pieces::whole(bytes).with(verdicts(ip, l4))
                    };
                    hand.stack.ingest(hand.now, &[received]);
                    let case = format!("chained {chained}, ip {ip:?}, l4 {l4:?}, broken {broken}");
                    let taken = if header && segment { 3_000 } else { 0 };
                    assert_eq!(hand.stack.tcp_recv_queue(id), taken, "{case}");
                    let stats = hand.stack.stats().frames;
                    let dropped = (stats.drop_ipv4_checksum, stats.drop_tcp_checksum);
                    let expected = (u64::from(!header), u64::from(header && !segment));
                    assert_eq!(dropped, expected, "{case}");
                }
            }
        }
    }

    fn sizes_of_coalesced_segments_that_can_not_be_change_nothing(family) {
        let run = |segment: Option<u16>, chained: bool| {
            let (mut hand, id) = accepted(family);
            let (mut acks, mut at) = (Vec::new(), 0);
            for len in [4_200, 200, 1, 2_800, 14_000, 1_400] {
                let bytes = next_frame(&hand, at, len);
                at += len;
                let meta = segment.map_or(verdicts(Good, Good), lro);
                let received = if chained {
                    Pieces::cut(bytes, 100, &[1_400]).with(meta)
                } else {
                    Pieces::whole(bytes).with(meta)
                };
                hand.stack.ingest(hand.now, &[received]);
                let mut sent = hand.out();
                sent.extend(hand.pass(Duration::from_millis(100)));
                acks.extend(sent.iter().map(|seg| seg.ack.wrapping_sub(hand.seq)));
            }
            assert_eq!(read_all(&mut hand, id), pattern(at));
            acks
        };
        for chained in [false, true] {
            let plain = run(None, chained);
            for segment in [0, 1_400, 30_000, u16::MAX] {
                assert_eq!(run(Some(segment), chained), plain, "{segment}, {chained}");
            }
            // One that says that segments are tiny brings acknowledgments early, never late.
            let tiny = run(Some(1), chained);
            assert_eq!(tiny.last(), plain.last());
            assert!(tiny.len() >= plain.len());
        }
    }

    fn pieces_of_any_size_and_number_are_taken_byte_for_byte(family) {
        let headers = next_frame(&Hand::new(family), 0, 0).len();
        for shares in [false, true] {
            for first in [headers, headers + 1, 1_000] {
                for sizes in [
                    &[20_000][..],
                    &[0, 20_000],
                    &[0, 0, 500, 0],
                    &[300],
                    &[64],
                    &[1, 2, 3, 1_000],
                    &[0, 7],
                ] {
                    let (mut hand, id) = accepted(family);
                    let frame = next_frame(&hand, 0, 9_001);
                    let mut received = Pieces::cut(frame, first, sizes);
                    received.held = received.held.filter(|_| shares);
                    received.pieces.push(Bytes::new());
                    let full = received.pieces[1..].iter().filter(|piece| !piece.is_empty());
                    // More than are taken one by one are put together, and what begins with headers alone.
                    let together = full.count() > 63 || first == headers;
                    hand.stack.ingest(hand.now, std::slice::from_ref(&received));
                    let case = format!("first {first}, {sizes:?}, shares {shares}");
                    let stats = hand.stack.stats();
                    if !together {
                        assert_eq!((stats.tcp.rx_large, stats.frames.linearized), (1, 0), "{case}");
                    }
                    assert_eq!(hand.out().last().unwrap().ack, hand.seq.wrapping_add(9_001), "{case}");
                    assert_eq!(read_all(&mut hand, id), pattern(9_001), "{case}");
                    // The same once more is a duplicate, however it comes.
                    hand.stack.ingest(hand.now, &[received]);
                    assert_eq!(hand.stack.tcp_recv_queue(id), 0, "{case}");
                }
            }
        }
    }

    fn a_frame_whose_first_piece_has_not_all_headers_is_put_together_first(family) {
        for first in 0..60 {
            let (mut hand, id) = accepted(family);
            let frame = next_frame(&hand, 0, 2_000);
            let received = Pieces::cut(frame, first, &[33]).with(lro(1_000));
            hand.stack.ingest(hand.now, &[received]);
            assert_eq!(read_all(&mut hand, id), pattern(2_000), "{first}");
        }
    }

    fn a_tag_that_was_taken_out_of_a_frame_of_no_vlan_of_ours_is_dropped_however_many_pieces_it_has(family) {
        for chained in [false, true] {
            let (mut hand, id) = accepted(family);
            let bytes = next_frame(&hand, 0, 2_000);
            let mut meta = lro(1_000);
            meta.vlan_tci = Some(77);
            let mut received = Pieces::whole(bytes.clone()).with(meta);
            if chained {
                received = Pieces::cut(bytes, 100, &[500]).with(meta);
            }
            hand.stack.ingest(hand.now, std::slice::from_ref(&received));
            assert_eq!(hand.stack.tcp_recv_queue(id), 0);
            assert_eq!(hand.stack.stats().frames.drop_vlan, 1);
            // A priority alone says nothing of whose it is.
            received.meta.vlan_tci = Some(0xe000);
            hand.stack.ingest(hand.now, &[received]);
            assert_eq!(read_all(&mut hand, id), pattern(2_000));
        }
    }
}
