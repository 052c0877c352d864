//! RFC 8985: The RACK-TLP Loss Detection Algorithm for TCP

use dpdk_net_stack::{Duration, TcpId};

use crate::both_families;
use crate::common::*;

/// A connection with SACK over a path of 100 ms, with ten segments on their way.
pub(crate) fn ten_on_their_way(family: Family) -> (Hand, TcpId) {
    let mut hand = Hand::new(family);
    hand.sack_ok = true;
    let listener = hand.listen();
    hand.half_open();
    hand.pass(Duration::from_millis(100));
    hand.give(&hand.seg(ACK, &[]));
    let (id, _) = hand.stack.tcp_accept(listener).unwrap();
    hand.stack.tcp_send(id, &pattern(14_000)).unwrap();
    assert_eq!(hand.out().len(), 10);
    (hand, id)
}

/// An ACK that tells of segments from one to another, counted from 0.
pub(crate) fn sack(hand: &Hand, blocks: &[(u32, u32)]) -> Seg {
    let at = |n: u32| hand.ack.wrapping_add(n * 1_400);
    Seg {
        sack: blocks.iter().map(|(a, b)| (at(*a), at(*b))).collect(),
        ..hand.seg(ACK, &[])
    }
}

fn starts(hand: &Hand, segs: &[Seg]) -> Vec<u32> {
    segs.iter()
        .map(|seg| seg.seq.wrapping_sub(hand.ack) / 1_400)
        .collect()
}

both_families! {
    /// 6.2 -: A segment is lost when one that was sent later has arrived and a quarter of the round trip has passed since,
    /// so that what comes late by less is not sent again.
    fn s6_2_what_is_late_by_little_is_not_lost(family) {
        let (mut hand, _) = ten_on_their_way(family);
        hand.pass(Duration::from_millis(100));
        assert_eq!(hand.give(&sack(&hand, &[(1, 3)])), []);
        assert_eq!(hand.pass(Duration::from_millis(10)), []);
        hand.ack += 3 * 1_400;
        assert_eq!(hand.give(&hand.seg(ACK, &[])).iter().filter(|seg| !seg.payload.is_empty()).count(), 0);
    }

    /// 6.2 -: Without another ACK a timer finds the loss (step 5).
    fn s6_2_a_timer_finds_the_loss(family) {
        let (mut hand, _) = ten_on_their_way(family);
        hand.pass(Duration::from_millis(100));
        assert_eq!(hand.give(&sack(&hand, &[(1, 3)])), []);
        let again = hand.pass(Duration::from_millis(35));
        assert_eq!(starts(&hand, &again), [0]);
    }

    /// 6.2 -: Three segments that have arrived out of order count as before, as long as no reordering was seen.
    fn s6_2_three_segments_ahead_tell_of_a_loss_at_once(family) {
        let (mut hand, _) = ten_on_their_way(family);
        hand.pass(Duration::from_millis(100));
        let again = hand.give(&sack(&hand, &[(1, 4)]));
        assert_eq!(starts(&hand, &again), [0]);
    }

    /// 6.2 -: A retransmission that is lost is found too, by what was sent after it.
    fn s6_2_a_lost_retransmission_is_found(family) {
        let (mut hand, id) = ten_on_their_way(family);
        hand.stack.tcp_send(id, &pattern(14_000)).unwrap();
        hand.pass(Duration::from_millis(100));
        let mut sent = hand.give(&sack(&hand, &[(1, 10)]));
        assert_eq!(starts(&hand, &sent)[0], 0);
        // New data follows, and arrives; the retransmission does not.
        sent.extend(hand.pass(Duration::from_millis(100)));
        let last = *starts(&hand, &sent).iter().max().unwrap();
        assert!(last >= 10, "{sent:?}");
        let mut again = hand.give(&sack(&hand, &[(10, last + 1), (1, 10)]));
        again.extend(hand.pass(Duration::from_millis(40)));
        assert!(starts(&hand, &again).contains(&0), "{again:?}");
    }

    /// 7.2 -: A tail that is not acknowledged is probed after two round trips, sooner than the timeout.
    ///
    /// 7.3 -: With new data if there is some, or else the last segment.
    fn s7_2_s7_3_the_tail_is_probed_after_two_round_trips(family) {
        let (mut hand, id) = ten_on_their_way(family);
        hand.pass(Duration::from_millis(100));
        hand.acknowledge(8 * 1_400);
        let probe = hand.pass(Duration::from_millis(190));
        assert_eq!(probe, []);
        let probe = hand.pass(Duration::from_millis(30));
        assert_eq!(starts(&hand, &probe), [1]);
        assert!(hand.stack.stats().tcp.tail_loss_probes == 1);
        // The first of the two is missing.
        hand.pass(Duration::from_millis(100));
        let again = hand.give(&sack(&hand, &[(1, 2)]));
        let mut again = again;
        again.extend(hand.pass(Duration::from_millis(40)));
        assert_eq!(starts(&hand, &again), [0]);
        hand.acknowledge(2_800);
        assert!(hand.stack.is_send_drained(id));
    }

    /// 7.4.2 -: A DSACK for the probe tells that nothing was lost: the window stays.
    fn s7_4_2_a_probe_in_vain_costs_nothing(family) {
        let (mut hand, id) = ten_on_their_way(family);
        hand.pass(Duration::from_millis(215));
        let before = hand.stack.tcp_info(id).unwrap();
        assert_eq!(hand.stack.stats().tcp.tail_loss_probes, 1);
        hand.acknowledge(14_000);
        let mut dsack = hand.seg(ACK, &[]);
        dsack.sack = vec![(hand.ack.wrapping_sub(1_400), hand.ack)];
        hand.give(&dsack);
        let after = hand.stack.tcp_info(id).unwrap();
        assert!(after.snd_cwnd >= before.snd_cwnd, "{before:?} {after:?}");
        assert_eq!(after.snd_ssthresh, before.snd_ssthresh);
    }
}
