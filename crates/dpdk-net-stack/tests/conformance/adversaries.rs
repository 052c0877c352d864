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
        (hand.port, hand.seq, hand.ack) = good;
        hand.local_port = PORT;
        hand.send(ACK | PSH, b"still served");
        assert_eq!(read_all(&mut hand, id), b"still served");
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
