//! Connections whose handshake has not ended.

mod common;

use common::*;
use dpdk_net_stack::{Duration, Error, TcpState};

both_families! {
    fn a_half_open_connection_is_answered_five_times_more_and_given_up(family) {
        let mut hand = Hand::new(family);
        hand.listen();
        hand.half_open();
        let again = hand.pass(Duration::from_secs(200));
        assert_eq!(again.len(), 5, "{again:?}");
        assert!(again.iter().all(|seg| seg.flags == SYN | ACK));
        assert_eq!((hand.stack.tcp_half_open(), hand.stack.tcp_count()), (0, 0));
        assert_eq!(hand.stack.next_timeout(), None);
    }

    fn a_half_open_connection_is_answered_as_often_as_the_timeouts_say(family) {
        // RFC 6298 sections 2.1 and 5.5, as configured.
        let mut config = config(1);
        (config.tcp.initial_rto, config.tcp.max_rto) = (Duration::from_millis(300), Duration::from_secs(1));
        let mut hand = Hand::with(family, config);
        hand.listen();
        hand.half_open();
        let (mut waits, mut last) = (Vec::new(), hand.now);
        for _ in 0..5 {
            while hand.pass(Duration::from_millis(10)).is_empty() {
                assert!(hand.now < last + Duration::from_secs(5));
            }
            waits.push((hand.now - last).as_millis() / 50 * 50);
            last = hand.now;
        }
        assert_eq!(waits, [300, 600, 1_000, 1_000, 1_000]);
    }

    fn a_half_open_connection_is_as_careful_as_an_open_one(family) {
        let mut hand = Hand::new(family);
        let listener = hand.listen();
        hand.half_open();
        // The SYN again is answered the same.
        let mut syn = hand.syn();
        syn.seq = syn.seq.wrapping_sub(1);
        let answers = hand.give(&syn);
        assert_eq!((answers[0].flags, answers[0].seq), (SYN | ACK, hand.ack.wrapping_sub(1)));
        // A RST has to be exact.
        let mut rst = hand.seg(RST, &[]);
        rst.seq = rst.seq.wrapping_add(9);
        assert_eq!(hand.give(&rst)[0].flags, ACK);
        assert_eq!(hand.stack.tcp_half_open(), 1);
        // An ACK of something else is reset (RFC 9293 section 3.10.7.4) and opens nothing.
        let mut wrong = hand.seg(ACK, &[]);
        wrong.ack = wrong.ack.wrapping_add(1);
        let answers = hand.give(&wrong);
        assert_eq!((answers[0].flags, answers[0].seq), (RST, wrong.ack));
        assert_eq!(hand.stack.tcp_accept(listener), Err(Error::WouldBlock));
        hand.give(&hand.seg(RST, &[]));
        assert_eq!(hand.stack.tcp_half_open(), 0);
    }

    fn data_and_fin_may_come_with_the_last_ack_of_the_handshake(family) {
        let mut hand = Hand::new(family);
        let listener = hand.listen();
        hand.half_open();
        hand.give(&hand.seg(ACK | PSH | FIN, b"GET /"));
        let (id, _) = hand.stack.tcp_accept(listener).unwrap();
        let mut buf = [0; 16];
        assert_eq!(hand.stack.tcp_recv(id, &mut buf), Ok(5));
        assert_eq!(hand.stack.tcp_recv(id, &mut buf), Ok(0));
        assert_eq!(hand.stack.tcp_state(id), TcpState::CloseWait);
        assert_eq!(hand.stack.tcp_send(id, b"200 OK"), Ok(6));
        assert_eq!(hand.out()[0].payload, b"200 OK");
    }
}
