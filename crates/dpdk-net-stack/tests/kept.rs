//! Received payload that is kept in the buffer it came in: which is, and how much memory that may hold.

mod common;

use bytes::Bytes;
use common::*;
use dpdk_net_stack::{Error, TcpOption};
use dpdk_net_testkit::Pieces;

/// Gives data at an offset from what is next, in a packet buffer, and tells where the data lies.
fn give(hand: &mut Hand, offset: u32, data: &[u8], held: usize) -> std::ops::Range<usize> {
    let mut seg = hand.seg(ACK, data);
    seg.seq = hand.seq.wrapping_add(offset);
    let frame = Bytes::from(frame(hand.family, 2, 1, &seg));
    let end = frame.as_ptr().addr() + frame.len();
    let mut packet = Pieces::whole(frame);
    packet.held = Some(held);
    hand.stack.ingest(hand.now, &[packet]);
    hand.out();
    end - data.len()..end
}

/// Whether bytes lie where they came in.
fn is_kept(bytes: &Bytes, place: &std::ops::Range<usize>) -> bool {
    place.contains(&bytes.as_ptr().addr())
}

both_families! {
    fn large_segments_stay_where_they_came_in_and_small_ones_are_copied(family) {
        let mut hand = Hand::new(family);
        let id = hand.connect();
        let (small, large) = (pattern(1_000), pattern(1_400));
        let first = give(&mut hand, 0, &small, 2_304);
        let second = give(&mut hand, 1_000, &large, 2_304);
        let got = hand.stack.tcp_recv_bytes(id, 10_000).unwrap();
        assert!(got == small && !is_kept(&got, &first));
        let got = hand.stack.tcp_recv_bytes(id, 600).unwrap();
        assert!(got == large[..600] && is_kept(&got, &second));
        let got = hand.stack.tcp_recv_bytes(id, 10_000).unwrap();
        assert!(got == large[600..] && is_kept(&got, &second), "the rest too");
        assert_eq!(hand.stack.stats().tcp.rx_kept, 1);
    }

    fn segments_out_of_order_are_kept_too(family) {
        let mut hand = Hand::new(family);
        let id = hand.connect();
        let data = pattern(4_200);
        let third = give(&mut hand, 2_800, &data[2_800..], 2_304);
        let second = give(&mut hand, 1_400, &data[1_400..2_800], 2_304);
        assert_eq!(hand.stack.tcp_recv_bytes(id, 1), Err(Error::WouldBlock));
        let first = give(&mut hand, 0, &data[..1_400], 2_304);
        for (n, place) in [first, second, third].iter().enumerate() {
            let got = hand.stack.tcp_recv_bytes(id, 1_400).unwrap();
            assert!(got == data[n * 1_400..][..1_400] && is_kept(&got, place), "{n}");
        }
    }

    fn what_was_partly_received_before_is_right_and_copied(family) {
        let mut hand = Hand::new(family);
        let id = hand.connect();
        let data = pattern(2_600);
        give(&mut hand, 0, &data[..1_300], 2_304);
        let place = give(&mut hand, 1_200, &data[1_200..], 2_304);
        let mut got = Vec::new();
        while got.len() < 2_600 {
            let bytes = hand.stack.tcp_recv_bytes(id, 10_000).unwrap();
            assert!(!is_kept(&bytes, &place));
            got.extend_from_slice(&bytes);
        }
        assert!(got == data);
    }

    fn a_buffer_far_larger_than_its_payload_is_not_kept(family) {
        let mut hand = Hand::new(family);
        let id = hand.connect();
        let data = pattern(1_400);
        let place = give(&mut hand, 0, &data, 9_500);
        let got = hand.stack.tcp_recv_bytes(id, 10_000).unwrap();
        assert!(got == data && !is_kept(&got, &place));
    }

    fn a_reader_that_does_not_read_holds_twice_its_window_at_most(family) {
        let mut hand = Hand::new(family);
        let id = hand.connect();
        hand.stack.tcp_set_option(id, TcpOption::RecvBuffer(20_000)).unwrap();
        let data = pattern(1_400);
        let mut given = 0;
        for n in 0..60 {
            give(&mut hand, n * 1_400, &data, 2_304);
            given = n as usize + 1;
        }
        let info = hand.stack.tcp_info(id).unwrap();
        // What the peer was offered at first it may send, and no more; of that, two windows' worth is kept as it came.
        assert!(info.recv_queue <= 65_536, "{}", info.recv_queue);
        let kept = hand.stack.stats().tcp.rx_kept;
        assert!(kept > 0 && kept as usize * 2_304 <= 40_000, "{kept}");
        assert!(info.memory <= 2 * 65_536 + 40_000, "{} for {given}", info.memory);
    }
}
