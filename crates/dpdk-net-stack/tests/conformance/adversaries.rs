//! Peers that mean harm: they get no more memory than they are due, and nobody else suffers.

use dpdk_net_stack::{Duration, Error, TcpState};

use crate::both_families;
use crate::common::*;
use crate::support::*;

both_families! {
    fn one_byte_in_every_gap_does_not_harm_the_others(family) {
        let (mut hand, id) = accepted(family);
        let good = (hand.port, hand.seq, hand.ack);
        hand.port += 1;
        hand.sack_ok = true;
        let listener = hand.stack.tcp_listen(dpdk_net_stack::ListenOptions::new(family.any(81))).unwrap();
        hand.local_port = 81;
        let evil = hand.establish(listener);
        for n in 0..30_000u32 {
            let mut seg = hand.seg(ACK, b"x");
            seg.seq = seg.seq.wrapping_add(1 + (n * 2) % 65_000);
            hand.stack.ingest(hand.now, &[frame(family, 2, 1, &seg)]);
        }
        assert!(hand.out().len() <= 2, "ACKs are put together");
        assert_eq!(hand.stack.tcp_recv_queue(evil), 0);
        // What is kept for it is at most twice its buffer, with all that belongs to each byte.
        let info = hand.stack.tcp_info(evil).unwrap();
        assert!(info.out_of_order > 100, "{info:?}");
        assert!(info.memory <= 2 * info.rcv_space as usize + 4_096, "{info:?}");
        (hand.port, hand.seq, hand.ack) = good;
        hand.local_port = PORT;
        hand.send(ACK | PSH, b"still served");
        assert_eq!(read_all(&mut hand, id), b"still served");
    }

    /// A peer that widens the window as far as it goes, with a byte in each second place of it.
    fn gaps_all_over_the_largest_window_take_no_more_than_twice_the_buffer(family) {
        let mut config = config(1);
        config.tcp.recv_buffer = 1 << 20;
        let mut hand = Hand::with(family, config);
        (hand.sack_ok, hand.wscale) = (true, Some(7));
        let listener = hand.listen();
        let id = hand.establish(listener);
        let mut burst = Vec::new();
        for round in 0..4 {
            for n in 0..100_000u32 {
                let mut seg = hand.seg(ACK, b"x");
                seg.seq = seg.seq.wrapping_add(1 + round + n * 10);
                burst.push(frame(family, 2, 1, &seg));
            }
            hand.stack.ingest(hand.now, &burst);
            burst.clear();
            hand.out();
        }
        let info = hand.stack.tcp_info(id).unwrap();
        assert!(info.rcv_space > 500_000, "the window was widened: {}", info.rcv_space);
        assert!(info.memory <= 2 * (1 << 20) + 4_096, "{info:?}");
        assert!(hand.stack.stats().tcp.out_of_order_dropped > 0);
        // All that is missing comes: it is put in order, and the memory is free again.
        let mut read = 0;
        while read < 300_000 {
            hand.send(ACK, &[b'x'; 1_400]);
            read += read_all(&mut hand, id).len();
            hand.out();
        }
        hand.give(&hand.seg(RST, &[]));
        assert_eq!(hand.stack.tcp_state(id), TcpState::Closed);
    }

    /// A peer that acknowledges selectively in pieces of one byte: what is remembered of what was sent stays in proportion
    /// to it, and all of it arrives.
    fn sack_blocks_of_one_byte_make_no_records(family) {
        let mut hand = Hand::new(family);
        (hand.sack_ok, hand.wscale) = (true, Some(7));
        let listener = hand.listen();
        let id = hand.establish(listener);
        // The window is opened by acknowledging well for a while.
        for _ in 0..10 {
            let _ = hand.stack.tcp_send(id, &pattern(300_000));
            let sent = hand.out();
            drain(&mut hand, sent);
        }
        let _ = hand.stack.tcp_send(id, &pattern(300_000));
        let outstanding = payload(&hand.out()).len() as u32;
        let before = hand.stack.tcp_info(id).unwrap();
        assert!(outstanding > 50_000, "{outstanding}");
        let mut random = 1u32;
        for _ in 0..20_000 {
            let mut block = |width: u32| {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = hand.ack.wrapping_add(1 + (random >> 8) % (outstanding - width - 1));
                (at, at.wrapping_add(width))
            };
            let sack = vec![block(1), block(3), block(1_399), block(1)];
            let seg = Seg { sack, ..hand.seg(ACK, &[]) };
            hand.stack.ingest(hand.now, &[frame(family, 2, 1, &seg)]);
            hand.out();
        }
        let after = hand.stack.tcp_info(id).unwrap();
        assert!(after.unacked <= 2 * before.unacked + 10, "{} of {}", after.unacked, before.unacked);
        assert!(after.memory <= before.memory + 64 * 1_024, "{before:?} {after:?}");
        hand.acknowledge(outstanding);
        assert_eq!(hand.stack.tcp_state(id), TcpState::Established);
        assert!(hand.stack.tcp_info(id).unwrap().unacked <= 100);
    }

    fn after_the_read_side_is_shut_data_is_acknowledged_and_dropped(family) {
        let (mut hand, id) = accepted(family);
        hand.send(ACK | PSH, b"before");
        hand.stack.tcp_shutdown_read(id).unwrap();
        assert_eq!(read_all(&mut hand, id), b"before");
        for _ in 0..200 {
            hand.send(ACK | PSH, &[0; 1_400]);
            hand.pass(Duration::from_millis(50));
        }
        assert_eq!(hand.stack.tcp_recv_queue(id), 0);
        assert_eq!(hand.stack.tcp_recv(id, &mut [0; 8]), Ok(0));
        hand.stack.tcp_send(id, b"answer").unwrap();
        let sent = hand.out();
        assert_eq!((payload(&sent), sent[0].ack), (b"answer".to_vec(), hand.seq));
        // Its window stays open, and a close is in order.
        assert!(sent[0].window > 0);
        hand.acknowledge(6);
        hand.stack.tcp_close(hand.now, id);
        assert!(hand.out().iter().any(|seg| seg.flags & FIN != 0 && seg.flags & RST == 0));
    }

    fn a_peer_that_never_opens_its_window_does_not_keep_an_orphan_for_ever(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_send(id, &pattern(10_000)).unwrap();
        hand.out();
        hand.stack.tcp_close(hand.now, id);
        // It is gone.
        hand.pass(Duration::from_secs(200));
        assert_eq!(hand.stack.tcp_count(), 0);
    }

    fn arbitrary_flags_in_every_order_never_confuse_a_listener(family) {
        let mut hand = Hand::new(family);
        let listener = hand.listen();
        let mut random = 7u32;
        for _ in 0..20_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            hand.port = 6_000 + (random >> 28) as u16;
            let mut seg = hand.seg((random >> 16) as u8, &pattern((random >> 8) as usize % 50));
            seg.seq = hand.seq.wrapping_add(random >> 20 & 0xff);
            seg.ack = random;
            hand.give(&seg);
        }
        assert!(hand.stack.tcp_half_open() <= 16);
        while hand.stack.tcp_accept(listener) != Err(Error::WouldBlock) {}
        hand.port = 5_000;
        let id = hand.establish(listener);
        assert_eq!(hand.stack.tcp_state(id), TcpState::Established);
    }
}
