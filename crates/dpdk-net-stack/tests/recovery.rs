//! Loss recovery, segment by segment, with a peer made by hand: what the simulations can't show one by one.

mod common;

use common::*;
use dpdk_net_stack::{Duration, TcpId};

const MSS: u32 = 1_388;
const RTT: Duration = Duration::from_millis(20);

/// A connection with SACK and timestamps that has been sending over a path of 20 ms.
fn running(family: Family) -> (Hand, TcpId) {
    let mut hand = Hand::new(family);
    hand.sack_ok = true;
    hand.timestamps = Some((1, 0));
    let (id, _) = hand.start_connect();
    hand.pass(RTT);
    hand.give(&hand.syn_ack());
    hand.seq = hand.seq.wrapping_add(1);
    for _ in 0..4 {
        hand.stack.tcp_send(id, &pattern(4 * MSS as usize)).unwrap();
        let sent = hand.out();
        assert_eq!(
            sent.len(),
            4,
            "{:?}",
            sent.iter().map(|seg| seg.payload.len()).collect::<Vec<_>>()
        );
        echo(&mut hand, &sent[3]);
        hand.pass(RTT);
        hand.acknowledge(4 * MSS);
    }
    (hand, id)
}

/// Sends so many full segments, of which nothing is heard for a round trip; then the peer echoes the first.
fn flight(hand: &mut Hand, id: TcpId, segments: u32) {
    let data = pattern((segments * MSS) as usize);
    hand.stack.tcp_send(id, &data).unwrap();
    let sent = hand.out();
    assert_eq!(sent.len() as u32, segments);
    echo(hand, &sent[0]);
    hand.pass(RTT);
}

/// The peer's segments echo the timestamp of `seg` from now on.
fn echo(hand: &mut Hand, seg: &Seg) {
    hand.timestamps = Some((1, seg.timestamps.unwrap().0));
}

/// An acknowledgment with SACK blocks, in segments behind what is acknowledged.
fn sack(hand: &mut Hand, blocks: &[(u32, u32)]) -> Vec<Seg> {
    let at = |n: u32| hand.ack.wrapping_add(n * MSS);
    let sack = blocks
        .iter()
        .map(|&(from, to)| (at(from), at(to)))
        .collect();
    let seg = Seg {
        sack,
        ..hand.seg(ACK, &[])
    };
    hand.give(&seg)
}

fn starts(hand: &Hand, sent: &[Seg]) -> Vec<u32> {
    sent.iter()
        .map(|seg| seg.seq.wrapping_sub(hand.ack) / MSS)
        .collect()
}

both_families! {
    fn three_segments_behind_a_gap_bring_what_is_missing_and_nothing_else(family) {
        let (mut hand, id) = running(family);
        flight(&mut hand, id, 5);
        assert_eq!(sack(&mut hand, &[(1, 2)]), []);
        assert_eq!(sack(&mut hand, &[(1, 3)]), []);
        let again = sack(&mut hand, &[(1, 4)]);
        assert_eq!(starts(&hand, &again), [0]);
    }

    fn a_gap_that_closes_within_a_quarter_of_the_round_trip_was_reordering(family) {
        let (mut hand, id) = running(family);
        flight(&mut hand, id, 4);
        assert_eq!(sack(&mut hand, &[(1, 2)]), []);
        assert_eq!(hand.pass(Duration::from_millis(3)), []);
        hand.ack = hand.ack.wrapping_add(4 * MSS);
        assert_eq!(sack(&mut hand, &[]), []);
        assert_eq!(hand.pass(Duration::from_secs(1)), []);
        assert_eq!(hand.stack.tcp_info(id).unwrap().total_retrans, 0);
    }

    fn a_gap_that_does_not_close_in_that_time_is_a_loss(family) {
        let (mut hand, id) = running(family);
        flight(&mut hand, id, 4);
        assert_eq!(sack(&mut hand, &[(1, 2)]), []);
        let again = hand.pass(Duration::from_millis(9));
        assert_eq!(starts(&hand, &again), [0]);
    }

    fn a_lost_tail_is_probed_for_within_two_round_trips_and_repaired_without_a_timeout(family) {
        let (mut hand, id) = running(family);
        flight(&mut hand, id, 4);
        // The last two are lost, and nothing behind them tells.
        hand.acknowledge(2 * MSS);
        let probe = hand.pass(2 * RTT);
        assert_eq!(starts(&hand, &probe)[..1], [1], "{probe:?}");
        echo(&mut hand, &probe[0]);
        hand.pass(Duration::from_millis(15));
        let mut again = sack(&mut hand, &[(1, 2)]);
        again.extend(hand.pass(Duration::from_millis(8)));
        assert_eq!(starts(&hand, &again), [0], "{again:?}");
        assert_eq!(hand.stack.stats().tcp.retransmission_timeouts, 0);
    }

    fn a_recovery_that_timestamps_tell_was_in_vain_is_undone(family) {
        let (mut hand, id) = running(family);
        let before = hand.stack.tcp_info(id).unwrap();
        flight(&mut hand, id, 5);
        let again = sack(&mut hand, &[(1, 4)]);
        assert_eq!(starts(&hand, &again), [0]);
        // What was late, not lost, is acknowledged with the timestamp of its first sending.
        hand.pass(Duration::from_millis(1));
        hand.acknowledge(5 * MSS);
        let after = hand.stack.tcp_info(id).unwrap();
        assert!(after.snd_cwnd >= before.snd_cwnd, "{before:?} {after:?}");
        assert_eq!(after.snd_ssthresh, before.snd_ssthresh);
    }

    fn what_closes_a_gap_may_repeat_what_lies_behind_it(family) {
        // RFC 2883 section 4.2.2: one range a segment, the first one; the cumulative acknowledgment covers it already.
        let mut hand = Hand::new(family);
        hand.sack_ok = true;
        let listener = hand.listen();
        hand.establish(listener);
        let base = hand.seq;
        let mut give = |start: u32, len: usize| {
            let mut seg = hand.seg(ACK | PSH, &vec![7; len]);
            seg.seq = base + start;
            let mut answers = hand.give(&seg);
            assert_eq!(answers.len(), 1, "{answers:?}");
            let answer = answers.remove(0);
            let sack: Vec<_> = answer.sack.iter().map(|(a, b)| (a - base, b - base)).collect();
            (answer.ack - base, sack)
        };
        give(1_000, 1_000);
        give(3_000, 1_000);
        assert_eq!(give(6_000, 1_000).1, [(6_000, 7_000), (3_000, 4_000), (1_000, 2_000)]);
        assert_eq!(give(0, 3_500), (4_000, vec![(1_000, 2_000), (6_000, 7_000)]));
        // Told once.
        assert_eq!(give(4_000, 1_000), (5_000, vec![(6_000, 7_000)]));
        // Up to the very byte that lies behind it nothing is repeated, and one more is.
        assert_eq!(give(8_000, 10).1, [(8_000, 8_010), (6_000, 7_000)]);
        assert_eq!(give(5_000, 1_000), (7_000, vec![(8_000, 8_010)]));
        assert_eq!(give(7_000, 1_001), (8_010, vec![(8_000, 8_001)]));
    }

    fn a_recovery_that_a_dsack_tells_was_in_vain_is_undone(family) {
        let (mut hand, id) = running(family);
        let before = hand.stack.tcp_info(id).unwrap();
        flight(&mut hand, id, 5);
        let again = sack(&mut hand, &[(1, 4)]);
        echo(&mut hand, &again[0]);
        hand.acknowledge(4 * MSS);
        let first = hand.ack.wrapping_sub(4 * MSS);
        let duplicate = Seg { sack: vec![(first, first.wrapping_add(MSS))], ..hand.seg(ACK, &[]) };
        hand.give(&duplicate);
        let after = hand.stack.tcp_info(id).unwrap();
        assert!(after.snd_cwnd >= before.snd_cwnd, "{before:?} {after:?}");
        assert_eq!(after.snd_ssthresh, before.snd_ssthresh);
    }

    fn a_burst_of_timeouts_on_a_short_path_does_not_make_segments_smaller(family) {
        let (mut hand, id) = running(family);
        hand.stack.tcp_send(id, &pattern(4 * MSS as usize)).unwrap();
        hand.out();
        let sent = hand.pass(Duration::from_millis(300));
        assert!(sent.len() >= 3 && sent.iter().all(|seg| seg.payload.len() as u32 == MSS), "{sent:?}");
        // One that lasts is suspected to be a black hole.
        let sent = hand.pass(Duration::from_secs(20));
        assert!(sent.last().is_some_and(|seg| (seg.payload.len() as u32) < MSS), "{sent:?}");
    }
}
