//! RFC 5961: Improving TCP's Robustness to Blind In-Window Attacks

use dpdk_net_stack::{Duration, TcpState};

use crate::both_families;
use crate::common::*;

fn is_challenge(answers: &[Seg], hand: &Hand) -> bool {
    answers.len() == 1
        && answers[0].flags == ACK
        && (answers[0].seq, answers[0].ack) == (hand.ack, hand.seq)
}

both_families! {
    /// 3.2 MUST: A RST beside the window is dropped, one with the next sequence number ends the connection, one in the
    /// window is answered with an ACK.
    fn s3_2_must_a_reset_has_to_be_exact(family) {
        let (mut hand, id) = accepted(family);
        for (offset, challenged) in [(-1i32, false), (1, true), (60_000, true), (1 << 24, false), (i32::MIN, false)] {
            hand.pass(Duration::from_secs(1));
            for flags in [RST, RST | ACK, RST | SYN] {
                hand.pass(Duration::from_secs(1));
                let mut rst = hand.seg(flags, &[]);
                rst.seq = rst.seq.wrapping_add_signed(offset);
                let answers = hand.give(&rst);
                assert_eq!(is_challenge(&answers, &hand), challenged, "{offset} {answers:?}");
                assert!(challenged || answers.is_empty());
                assert_eq!(hand.stack.tcp_state(id), TcpState::Established);
            }
        }
        hand.give(&hand.seg(RST, &[]));
        assert_eq!(hand.stack.tcp_state(id), TcpState::Closed);
    }

    /// 4.2 MUST: A SYN on a connection is answered with an ACK, whatever its sequence number.
    fn s4_2_must_a_syn_is_challenged(family) {
        let (mut hand, id) = accepted(family);
        for offset in [0i32, -1, 1, 70_000, i32::MIN] {
            for flags in [SYN, SYN | ACK, SYN | FIN, SYN | PSH | ACK] {
                hand.pass(Duration::from_secs(1));
                let mut syn = hand.seg(flags, b"data");
                syn.seq = syn.seq.wrapping_add_signed(offset);
                let answers = hand.give(&syn);
                assert!(is_challenge(&answers, &hand), "{offset} {answers:?}");
                assert_eq!(hand.stack.tcp_state(id), TcpState::Established);
            }
        }
        assert_eq!(hand.stack.tcp_recv_queue(id), 0);
    }

    /// 5.2 MUST: An acknowledgment that is too old or of what was never sent is dropped with its data, and answered.
    fn s5_2_must_data_counts_only_with_a_credible_acknowledgment(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_send(id, &pattern(1_000)).unwrap();
        hand.out();
        hand.acknowledge(1_000);
        for offset in [1i32, 1_000_000, i32::MAX, -70_000, -1_000_000_000] {
            hand.pass(Duration::from_secs(1));
            let mut seg = hand.seg(ACK | PSH, b"evil");
            seg.ack = seg.ack.wrapping_add_signed(offset);
            let answers = hand.give(&seg);
            assert!(is_challenge(&answers, &hand), "{offset} {answers:?}");
        }
        assert_eq!(hand.stack.tcp_recv_queue(id), 0);
        // An old one within the largest window counts with its data.
        let mut seg = hand.seg(ACK | PSH, b"good");
        seg.ack = seg.ack.wrapping_sub(1_000);
        hand.give(&seg);
        assert_eq!(read_all(&mut hand, id), b"good");
    }

    /// 7 SHOULD: Challenge ACKs are limited, over all and by a number that can be set.
    fn s7_should_challenge_acks_are_limited(family) {
        let mut config = config(1);
        config.tcp.challenge_acks_per_second = 5;
        let mut hand = Hand::with(family, config);
        let listener = hand.listen();
        let mut peers = Vec::new();
        for n in 0..50 {
            hand.port = 6_000 + n;
            hand.establish(listener);
            peers.push((hand.port, hand.seq, hand.ack));
        }
        for _ in 0..2 {
            hand.pass(Duration::from_secs(1));
            let mut answers = 0;
            for &(port, seq, ack) in &peers {
                (hand.port, hand.seq, hand.ack) = (port, seq, ack);
                answers += hand.give(&hand.seg(SYN, &[])).len();
            }
            assert_eq!(answers, 5);
        }
    }
}
