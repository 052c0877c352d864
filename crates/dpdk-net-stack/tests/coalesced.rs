//! Segments dealt with as one: merged within a batch (GRO), or come as one large frame in several pieces (LRO).

mod common;

use bytes::Bytes;
use common::*;
use dpdk_net_packet::{ChecksumVerdict, RxMeta};
use dpdk_net_stack::Duration;
use dpdk_net_testkit::Pieces;

/// A frame that was coalesced of segments of 1,400 bytes, in pieces of memory.
fn chain(frame: Vec<u8>, first: usize, piece: usize) -> Pieces {
    Pieces::cut(frame, first, &[piece]).with(RxMeta {
        lro_segment: 1_400,
        ..RxMeta::default()
    })
}

/// Frames of the peer with so many bytes each, in order.
fn frames(hand: &Hand, sizes: &[usize]) -> Vec<Vec<u8>> {
    let mut at = 0;
    sizes
        .iter()
        .map(|&size| {
            let data = &pattern(at + size)[at..];
            let mut seg = hand.seg(ACK, data);
            seg.seq = hand.seq.wrapping_add(at as u32);
            at += size;
            frame_of(hand, &seg)
        })
        .collect()
}

/// The frame of a segment of the peer.
fn frame_of(hand: &Hand, seg: &Seg) -> Vec<u8> {
    frame(hand.family, 2, 1, seg)
}

both_families! {
    fn segments_of_a_batch_that_follow_one_another_are_taken_as_one(family) {
        let (mut hand, id) = accepted(family);
        let batch = frames(&hand, &[1_400; 10]);
        hand.stack.ingest(hand.now, &batch);
        let stats = hand.stack.stats().tcp;
        assert_eq!(stats.rx_merged, 9);
        let info = hand.stack.tcp_info(id).unwrap();
        assert_eq!(info.bytes_received, 14_000);
        // One acknowledgment for all, as of one large segment.
        let acks = hand.out();
        assert_eq!(acks.len(), 1);
        assert_eq!(acks[0].ack, hand.seq.wrapping_add(14_000));
        assert_eq!(read_all(&mut hand, id), pattern(14_000));
    }

    fn without_gro_the_same_bytes_and_acknowledgments_come_out(family) {
        let run = |gro: bool| {
            let mut config = config(1);
            config.gro = gro;
            let (mut hand, id) = accepted_with(family, config);
            let mut acks = Vec::new();
            for _ in 0..5 {
                let batch = frames(&hand, &[1_400, 1_400, 1_400, 700]);
                hand.stack.ingest(hand.now, &batch);
                hand.seq = hand.seq.wrapping_add(4_900);
                for seg in hand.out() {
                    acks.push((seg.ack.wrapping_sub(hand.seq), seg.window));
                }
                assert_eq!(read_all(&mut hand, id), pattern(4_900));
                hand.pass(Duration::from_millis(1));
            }
            (acks, hand.stack.stats().tcp.rx_merged)
        };
        let ((with, merged), (without, none)) = (run(true), run(false));
        assert_eq!(with, without);
        assert_eq!((merged, none), (15, 0));
    }

    fn segments_are_taken_as_one_after_our_own_end_of_the_stream_too(family) {
        for acknowledged in [false, true] {
            let (mut hand, id) = accepted(family);
            hand.stack.tcp_shutdown_write(id).unwrap();
            let fin = hand.out().remove(0);
            assert_ne!(fin.flags & FIN, 0);
            if acknowledged {
                hand.ack = hand.ack.wrapping_add(1);
            }
            let batch = frames(&hand, &[1_400; 10]);
            hand.stack.ingest(hand.now, &batch);
            assert_eq!(hand.stack.stats().tcp.rx_merged, 9);
            hand.seq = hand.seq.wrapping_add(14_000);
            let chain = chain(frames(&hand, &[20_000]).remove(0), 1_500, 2_048);
            hand.stack.ingest(hand.now, &[chain]);
            let stats = hand.stack.stats();
            assert_eq!((stats.tcp.rx_large, stats.frames.linearized), (1, 0));
            assert_eq!(hand.out().last().unwrap().ack, hand.seq.wrapping_add(20_000));
            let mut expected = pattern(14_000);
            expected.extend(pattern(20_000));
            assert_eq!(read_all(&mut hand, id), expected);
        }
    }

    fn what_differs_in_more_than_its_payload_is_not_merged(family) {
        for odd in 0..6 {
            let (mut hand, id) = accepted(family);
            let segs: Vec<Vec<u8>> = (0..3u32)
                .map(|i| {
                    let data = &pattern(4_200)[i as usize * 1_400..][..1_400];
                    let mut seg = hand.seg(ACK, data);
                    seg.seq = hand.seq.wrapping_add(i * 1_400);
                    if i == 1 {
                        match odd {
                            0 => seg.window -= 1,
                            1 => seg.flags |= FIN,
                            2 => seg.ack = seg.ack.wrapping_sub(1),
                            3 => seg.seq = seg.seq.wrapping_add(1),
                            4 => seg.flags |= URG,
                            _ => seg.ecn = 2,
                        }
                    }
                    frame_of(&hand, &seg)
                })
                .collect();
            hand.stack.ingest(hand.now, &segs);
            // The third is the second's like in the cases where only the second differs from the first.
            let merged = hand.stack.stats().tcp.rx_merged;
            assert_eq!(merged, 0, "{odd}");
            let _ = id;
        }
    }

    fn a_push_ends_what_is_merged_and_is_part_of_it(family) {
        let (mut hand, id) = accepted(family);
        let segs: Vec<Vec<u8>> = (0..4u32)
            .map(|i| {
                let data = &pattern(5_600)[i as usize * 1_400..][..1_400];
                let flags = if i == 1 { ACK | PSH } else { ACK };
                let mut seg = hand.seg(flags, data);
                seg.seq = hand.seq.wrapping_add(i * 1_400);
                frame_of(&hand, &seg)
            })
            .collect();
        hand.stack.ingest(hand.now, &segs);
        // First and second, third and fourth.
        assert_eq!(hand.stack.stats().tcp.rx_merged, 2);
        assert_eq!(read_all(&mut hand, id), pattern(5_600));
    }

    fn a_gap_in_the_batch_is_kept_apart_and_told_of(family) {
        let (mut hand, id) = accepted(family);
        let mut batch = frames(&hand, &[1_400; 6]);
        let missing = batch.remove(2);
        hand.stack.ingest(hand.now, &batch);
        let acks = hand.out();
        let last = acks.last().unwrap();
        assert_eq!(last.ack, hand.seq.wrapping_add(2_800));
        hand.stack.ingest(hand.now, &[missing]);
        assert_eq!(hand.out().last().unwrap().ack, hand.seq.wrapping_add(8_400));
        assert_eq!(read_all(&mut hand, id), pattern(8_400));
    }

    fn a_large_frame_is_taken_piece_by_piece_where_it_lies(family) {
        for (first, piece) in [(1_500, 2_048), (1_501, 2_047), (128, 1_111), (1_400, 20_000)] {
            let (mut hand, id) = accepted(family);
            let chain = chain(frames(&hand, &[30_000]).remove(0), first, piece);
            hand.stack.ingest(hand.now, &[chain]);
            let stats = hand.stack.stats();
            assert_eq!((stats.tcp.rx_large, stats.frames.linearized), (1, 0));
            let acks = hand.out();
            assert_eq!(acks.len(), 1);
            assert_eq!(acks[0].ack, hand.seq.wrapping_add(30_000));
            assert_eq!(read_all(&mut hand, id), pattern(30_000));
        }
    }

    fn a_corrupt_large_frame_is_dropped_unless_the_nic_knows_better(family) {
        for (verdict, taken) in [
            (ChecksumVerdict::Unknown, 0),
            (ChecksumVerdict::Bad, 0),
            (ChecksumVerdict::None, 20_000),
            (ChecksumVerdict::Good, 20_000),
        ] {
            let (mut hand, id) = accepted(family);
            let mut frame = frames(&hand, &[20_000]).remove(0);
            *frame.last_mut().unwrap() ^= 1;
            let mut chain = chain(frame, 1_514, 2_048);
            chain.meta.l4_checksum = verdict;
            hand.stack.ingest(hand.now, &[chain]);
            let stats = hand.stack.stats().frames;
            assert_eq!(stats.drop_tcp_checksum, u64::from(taken == 0), "{verdict:?}");
            assert_eq!(hand.stack.tcp_recv_queue(id), taken, "{verdict:?}");
        }
    }

    fn a_large_frame_out_of_order_or_repeated_is_put_together_and_taken_all_the_same(family) {
        let (mut hand, id) = accepted(family);
        let mut all = frames(&hand, &[1_400, 20_000, 20_000]);
        let third = all.remove(2);
        let second = all.remove(1);
        hand.stack.ingest(hand.now, &[chain(third, 1_500, 2_048)]);
        hand.stack.ingest(hand.now, &[chain(second, 1_500, 2_048)]);
        assert_eq!(hand.stack.stats().frames.linearized, 2);
        // One that starts with what is there already.
        let overlap = frames(&hand, &[11_400]).remove(0);
        hand.stack.ingest(hand.now, &[chain(overlap, 1_500, 2_048)]);
        assert_eq!(hand.out().last().unwrap().ack, hand.seq.wrapping_add(41_400));
        assert_eq!(read_all(&mut hand, id), pattern(41_400));
    }

    fn lengths_that_lie_in_a_chained_frame_are_counted_and_dropped(family) {
        let (mut hand, id) = accepted(family);
        let whole = frames(&hand, &[20_000]).remove(0);
        // Less than the IP header says; and pieces without end.
        let short = chain(whole[..15_000].to_vec(), 1_500, 2_048);
        let mut long = chain(whole.clone(), 1_500, 2_048);
        for _ in 0..40 {
            long.pieces.push(Bytes::from(vec![0; 60_000]));
        }
        hand.stack.ingest(hand.now, &[short]);
        let stats = hand.stack.stats().frames;
        assert_eq!(stats.drop_ipv4_malformed + stats.drop_ipv6_malformed, 1);
        assert_eq!(hand.stack.tcp_recv_queue(id), 0);
        // What is behind the packet is padding, however long.
        hand.stack.ingest(hand.now, &[long]);
        assert_eq!(hand.stack.tcp_recv_queue(id), 20_000);
        // Out of order it would have to be put together.
        let mut far = chain(frames(&hand, &[1_400, 20_000]).remove(1), 1_500, 2_048);
        far.pieces.extend((0..40).map(|_| Bytes::from(vec![0; 60_000])));
        hand.seq = hand.seq.wrapping_add(20_000);
        hand.stack.ingest(hand.now, &[far]);
        assert_eq!(hand.stack.stats().frames.drop_ethernet_malformed, 1);
        // Headers that are not in the first piece.
        let cut = chain(frames(&hand, &[1_400]).remove(0), 30, 500);
        hand.stack.ingest(hand.now, &[cut]);
        assert_eq!(hand.stack.tcp_recv_queue(id), 21_400, "put together");
        let mut empty = Pieces::whole(Bytes::new()).with(RxMeta {
            l4_checksum: ChecksumVerdict::Good,
            lro_segment: u16::MAX,
            ..RxMeta::default()
        });
        empty.pieces.extend([Bytes::new(), Bytes::new()]);
        hand.stack.ingest(hand.now, &[empty]);
        assert_eq!(hand.stack.stats().frames.drop_ethernet_malformed, 2);
    }
}
