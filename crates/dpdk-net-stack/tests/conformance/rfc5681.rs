//! RFC 5681: TCP Congestion Control
//!
//! Shown elsewhere:
//! - 3.1 -: slow start doubles the window in a round trip; an acknowledgment counts for up to eight segments (RFC 9406 section 4.3) | `slow_start_doubles_the_window_in_a_round_trip`
//! - 3.1 SHOULD: the window grows by a segment for each window in congestion avoidance | `newreno_grows_by_a_segment_per_window`
//! - 3.2 MUST: fast recovery ends with the window at the threshold | `fast_recovery_ends_with_the_window_at_the_threshold`
//! - 4.1 SHOULD: an idle sender starts from the restart window | `idleness_halves_the_window_per_timeout_down_to_the_restart_window`
//! - 3.1 -: a retransmission by timeout that is lost again cuts the threshold no further | `a_timeout_starts_over_and_reduces_the_threshold_once`

use dpdk_net_stack::{CongestionAlgorithm, Duration};

use crate::both_families;
use crate::common::*;
use crate::support::*;

fn newreno(family: Family) -> (Hand, dpdk_net_stack::TcpId) {
    let mut config = config(1);
    config.tcp.congestion = CongestionAlgorithm::NewReno;
    accepted_with(family, config)
}

both_families! {
    /// 3.1 MUST: After a timeout the window is one segment, and the threshold half of what was in flight.
    fn s3_1_must_after_a_timeout_the_window_is_one_segment(family) {
        let (mut hand, id) = newreno(family);
        hand.stack.tcp_send(id, &pattern(40_000)).unwrap();
        assert_eq!(hand.out().len(), 10);
        let mut again = Vec::new();
        while again.is_empty() {
            again = hand.pass(Duration::from_millis(10));
        }
        assert_eq!(again.iter().map(|seg| seg.seq).collect::<Vec<_>>(), [hand.ack]);
        assert_eq!(hand.pass(Duration::from_millis(1)), []);
        let info = hand.stack.tcp_info(id).unwrap();
        assert_eq!((info.snd_cwnd, info.snd_ssthresh), (1_400, Some(7_000)));
    }

    /// 3.1 MUST: If the SYN or its answer was lost more than once, data starts with one segment.
    fn s3_1_must_after_a_lost_syn_data_starts_with_one_segment(family) {
        for (lost, first) in [(0, 10), (1, 10), (2, 1), (4, 1)] {
            let mut hand = Hand::new(family);
            let listener = hand.listen();
            hand.half_open();
            let again = hand.pass(Duration::from_millis((1_000 << lost) - 500));
            assert_eq!(again.len(), lost, "{again:?}");
            hand.give(&hand.seg(ACK, &[]));
            let (id, _) = hand.stack.tcp_accept(listener).unwrap();
            hand.stack.tcp_send(id, &pattern(30_000)).unwrap();
            assert_eq!(hand.out().len(), first, "{lost} lost");
            let mut hand = Hand::new(family);
            let (id, _) = hand.start_connect();
            let again = hand.pass(Duration::from_millis((1_000 << lost) - 500));
            assert_eq!(again.len(), lost, "{again:?}");
            hand.give(&hand.syn_ack());
            hand.seq += 1;
            hand.stack.tcp_send(id, &pattern(30_000)).unwrap();
            assert_eq!(hand.out().len(), first, "{lost} lost");
        }
    }

    /// 3.2 SHOULD: Three duplicate acknowledgments bring the missing segment at once, and halve the window.
    ///
    /// 3.2 SHOULD: The first two bring new data (limited transmit, RFC 3042).
    fn s3_2_should_three_duplicates_bring_the_segment(family) {
        let (mut hand, id) = newreno(family);
        hand.stack.tcp_send(id, &pattern(60_000)).unwrap();
        let sent = hand.out();
        let next = sent.last().map(|seg| seg.seq + 1_400).unwrap();
        hand.pass(Duration::from_millis(5));
        for n in 0..2 {
            let new = hand.acknowledge(0);
            assert!(new.len() == 1 && new[0].seq == next + n * 1_400, "{n} {new:?}");
        }
        let again = hand.acknowledge(0);
        assert_eq!(again.first().map(|seg| seg.seq), Some(hand.ack));
        let info = hand.stack.tcp_info(id).unwrap();
        assert!(info.snd_ssthresh.is_some_and(|ssthresh| (7_000..=8_400).contains(&ssthresh)), "{info:?}");
    }

    /// 4.2 SHOULD: What comes out of order is acknowledged at once, and so is what closes a gap.
    fn s4_2_should_gaps_are_acknowledged_at_once(family) {
        let (mut hand, _) = accepted(family);
        for at in [100, 300, 500] {
            let mut seg = hand.seg(ACK, &[0; 100]);
            seg.seq += at;
            let acks = hand.give(&seg);
            assert_eq!(acks.iter().map(|seg| seg.ack).collect::<Vec<_>>(), [hand.seq]);
        }
        let acks = hand.send(ACK, &[0; 100]);
        assert_eq!(acks.first().map(|seg| seg.ack), Some(hand.seq + 100));
        hand.seq += 100;
        let acks = hand.send(ACK, &[0; 50]);
        assert_eq!(acks.first().map(|seg| seg.ack), Some(hand.seq), "part of the gap");
    }

    /// 4.2 SHOULD: An ACK is owed for each second full segment.
    ///
    /// 4.2 MUST: And within 500 ms.
    fn s4_2_must_acks_are_not_late(family) {
        let (mut hand, _) = accepted(family);
        hand.send(ACK, &[0; 1_400]);
        let acks = hand.pass(Duration::from_millis(499));
        assert_eq!(acks.iter().map(|seg| seg.ack).collect::<Vec<_>>(), [hand.seq]);
        hand.send(ACK, &[0; 1_400]);
        assert_eq!(hand.send(ACK, &[0; 1_400]).len(), 1);
    }

    /// 3.1 SHOULD: Growth counts bytes: acknowledgments in small pieces gain nothing (RFC 3465).
    fn s3_1_should_acknowledgments_in_pieces_gain_nothing(family) {
        let (mut hand, id) = newreno(family);
        hand.stack.tcp_send(id, &pattern(60_000)).unwrap();
        hand.out();
        hand.pass(Duration::from_millis(1));
        let mut sent = 0;
        for _ in 0..1_400 {
            sent += payload(&hand.acknowledge(10)).len();
        }
        assert!(sent <= 28_000, "{sent}");
        assert!(hand.stack.tcp_info(id).unwrap().snd_cwnd <= 28_000);
    }

    /// 5 -: Forged acknowledgments gain nothing: what was not sent yet is not rewarded (optimistic ACKs).
    fn s5_optimistic_acknowledgments_are_not_rewarded(family) {
        let (mut hand, id) = newreno(family);
        hand.stack.tcp_send(id, &pattern(60_000)).unwrap();
        hand.out();
        let before = hand.stack.tcp_info(id).unwrap().snd_cwnd;
        for ahead in 1..40 {
            let mut ack = hand.seg(ACK, &[]);
            ack.ack += 14_000 + ahead * 1_400;
            let sent = hand.give(&ack);
            assert!(payload(&sent).is_empty());
        }
        assert_eq!(hand.stack.tcp_info(id).unwrap().snd_cwnd, before);
    }
}
