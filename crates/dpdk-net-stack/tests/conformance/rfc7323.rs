//! RFC 7323: TCP Extensions for High Performance
//!
//! Not applicable:
//! - 5.6 MAY: the header prediction of this section. Ours checks the same things.

use dpdk_net_stack::{Duration, TcpState};

use crate::both_families;
use crate::common::*;
use crate::support::*;

/// An accepted connection with timestamps, the peer's clock at 10,000.
fn with_timestamps(family: Family) -> (Hand, dpdk_net_stack::TcpId) {
    let mut hand = Hand::new(family);
    hand.timestamps = Some((10_000, 0));
    let listener = hand.listen();
    let id = hand.establish(listener);
    (hand, id)
}

both_families! {
    /// 2.2 MUST: Windows are scaled only if both SYNs say so.
    ///
    /// 2.2 MUST NOT: The window of a SYN is scaled.
    fn s2_2_must_windows_are_scaled_only_by_agreement(family) {
        let mut hand = Hand::new(family);
        hand.listen();
        // Not offered back to who did not offer.
        assert_eq!(hand.half_open().wscale, None);
        // Offered and answered: the window of the SYN-ACK counts as it stands.
        let mut hand = Hand::new(family);
        hand.wscale = Some(7);
        hand.window = 1_000;
        let id = hand.connect();
        hand.stack.tcp_send(id, &pattern(60_000)).unwrap();
        assert_eq!(payload(&hand.out()).len(), 1_000);
        // The next one is scaled.
        let sent = hand.acknowledge(1_000);
        assert!(payload(&sent).len() > 5_000);
        // Refused by the peer: nothing is scaled.
        let mut hand = Hand::new(family);
        hand.window = 1_000;
        let id = hand.connect();
        hand.stack.tcp_send(id, &pattern(60_000)).unwrap();
        hand.out();
        assert_eq!(payload(&hand.acknowledge(1_000)).len(), 1_000);
    }

    /// 2.3 MUST: A shift above 14 counts as 14.
    fn s2_3_must_a_shift_above_14_is_14(family) {
        for (shift, window) in [(14, 16_384), (15, 16_384), (255, 16_384)] {
            let mut hand = Hand::new(family);
            hand.wscale = Some(shift);
            hand.window = 1;
            let listener = hand.listen();
            let id = hand.establish(listener);
            hand.stack.tcp_send(id, &pattern(60_000)).unwrap();
            let mut sent = payload(&hand.out()).len();
            // Before anything is sent again.
            for _ in 0..4 {
                let more = payload(&hand.pass(Duration::from_millis(1))).len();
                sent += more;
            }
            assert!(sent <= window, "{shift}: {sent}");
            assert!(sent >= 11 * 1_400 || sent == 14_000, "{shift}: {sent}");
        }
    }

    /// 3.2 MUST: Once agreed, timestamps are in every segment.
    ///
    /// 3.2 SHOULD: In RSTs too.
    fn s3_2_must_every_segment_has_timestamps_once_agreed(family) {
        let (mut hand, id) = with_timestamps(family);
        let mut sent = hand.send(ACK | PSH, b"one");
        hand.stack.tcp_send(id, &pattern(20_000)).unwrap();
        sent.extend(hand.out());
        sent.extend(hand.pass(Duration::from_secs(3)));
        sent.extend(hand.give(&hand.seg(SYN, &[])));
        hand.stack.tcp_abort(id);
        let rst = hand.out();
        assert_eq!(rst.len(), 1);
        assert_eq!(rst[0].flags & RST, RST);
        sent.extend(rst);
        assert!(sent.len() > 10);
        for seg in sent {
            assert!(seg.timestamps.is_some_and(|(value, _)| value != 0), "{seg:?}");
        }
    }

    /// 3.2 MUST NOT: Timestamps that were not agreed are sent.
    fn s3_2_must_not_timestamps_are_not_sent_unasked(family) {
        let (mut hand, id) = accepted(family);
        let mut odd = hand.seg(ACK | PSH, b"unasked");
        odd.timestamps = Some((1, 1));
        hand.seq += 7;
        let mut sent = hand.give(&odd);
        hand.stack.tcp_send(id, b"data").unwrap();
        sent.extend(hand.out());
        assert_eq!(read_all(&mut hand, id), b"unasked");
        assert!(sent.iter().all(|seg| seg.timestamps.is_none()));
    }

    /// 3.2 SHOULD: A segment without timestamps is dropped once they are agreed, and the connection lives on.
    fn s3_2_should_segments_without_timestamps_are_dropped(family) {
        let (mut hand, id) = with_timestamps(family);
        let mut bare = hand.seg(ACK | PSH, b"bare");
        bare.timestamps = None;
        assert_eq!(hand.give(&bare), []);
        assert_eq!(hand.stack.tcp_recv_queue(id), 0);
        hand.send(ACK | PSH, b"stamped");
        assert_eq!(read_all(&mut hand, id), b"stamped");
        // A RST needs none.
        let mut rst = hand.seg(RST, &[]);
        rst.timestamps = None;
        hand.give(&rst);
        assert_eq!(hand.stack.tcp_state(id), TcpState::Closed);
    }

    /// 4.1 -: A round trip is measured by the echo even where segments were sent twice.
    fn s4_1_the_echo_measures_the_round_trip(family) {
        let (mut hand, id) = with_timestamps(family);
        hand.stack.tcp_send(id, b"lost").unwrap();
        hand.out();
        let mut again = Vec::new();
        while again.is_empty() {
            again = hand.pass(Duration::from_millis(1));
        }
        hand.pass(Duration::from_millis(300));
        hand.timestamps = Some((10_001, again[0].timestamps.unwrap().0));
        hand.acknowledge(4);
        let rtt = hand.stack.tcp_info(id).unwrap().rtt_latest;
        assert!(rtt >= Duration::from_millis(298) && rtt < Duration::from_millis(305), "{rtt:?}");
    }

    /// 4.3 -: The ACK of several segments echoes the first of them, that of a gap the last in order, that of what closes
    /// the gap its own.
    fn s4_3_the_echo_is_that_of_what_the_ack_answers(family) {
        let (mut hand, _) = with_timestamps(family);
        hand.timestamps = Some((10_010, 0));
        assert_eq!(hand.send(ACK | PSH, b"first"), []);
        hand.timestamps = Some((10_020, 0));
        assert_eq!(hand.send(ACK | PSH, b"second"), []);
        let late = hand.pass(Duration::from_millis(50));
        assert_eq!(late[0].timestamps.unwrap().1, 10_010);
        hand.timestamps = Some((10_040, 0));
        let mut ahead = hand.seg(ACK | PSH, b"ahead");
        ahead.seq += 5;
        let acks = hand.give(&ahead);
        assert_eq!(acks[0].timestamps.unwrap().1, 10_010);
        hand.timestamps = Some((10_030, 0));
        let acks = hand.give(&hand.seg(ACK | PSH, b"close"));
        assert_eq!(acks[0].timestamps.unwrap().1, 10_030);
    }

    /// 5.3 -: A segment with an older timestamp is answered with an ACK and dropped (PAWS).
    ///
    /// 5.2 MUST NOT: A RST is checked so.
    fn s5_3_old_duplicates_are_refused(family) {
        let (mut hand, id) = with_timestamps(family);
        hand.timestamps = Some((20_000, 0));
        hand.send(ACK | PSH, b"new");
        hand.pass(Duration::from_secs(1));
        hand.timestamps = Some((19_999, 0));
        let answers = hand.give(&hand.seg(ACK | PSH, b"old"));
        assert_eq!((answers.len(), answers[0].ack), (1, hand.seq));
        assert_eq!(read_all(&mut hand, id), b"new");
        // It wraps around.
        hand.timestamps = Some((20_000u32.wrapping_add(0x7fff_ffff), 0));
        hand.send(ACK | PSH, b"later");
        assert_eq!(read_all(&mut hand, id), b"later");
        hand.timestamps = Some((1, 0));
        hand.give(&hand.seg(RST, &[]));
        assert_eq!(hand.stack.tcp_state(id), TcpState::Closed);
    }

    /// 5.3 -: TS.Recent follows no segment beside the window.
    fn s5_3_segments_beside_the_window_move_no_clock(family) {
        let (mut hand, id) = with_timestamps(family);
        let mut far = hand.seg(ACK | PSH, b"far");
        far.seq = far.seq.wrapping_add(10_000_000);
        far.timestamps = Some((2_000_000_000, 0));
        hand.give(&far);
        hand.send(ACK | PSH, b"near");
        assert_eq!(read_all(&mut hand, id), b"near");
    }

    /// 5.5 -: After 24 days of silence a timestamp says nothing any more.
    fn s5_5_timestamps_are_outdated_after_24_days(family) {
        for (days, taken) in [(23, false), (25, true)] {
            let (mut hand, id) = with_timestamps(family);
            hand.pass(Duration::from_secs(days * 24 * 3_600));
            hand.timestamps = Some((9_000, 0));
            hand.send(ACK | PSH, b"after all");
            assert_eq!(!read_all(&mut hand, id).is_empty(), taken, "{days} days");
        }
    }

    /// 5.4 -: The clock ticks between once a millisecond and once a second, and never goes back.
    fn s5_4_the_clock_ticks_in_milliseconds(family) {
        let (mut hand, id) = with_timestamps(family);
        hand.stack.tcp_set_nodelay(id, true).unwrap();
        let mut last = None;
        for _ in 0..5 {
            hand.stack.tcp_send(id, b"x").unwrap();
            let value = hand.out()[0].timestamps.unwrap().0;
            if let Some(last) = last {
                assert_eq!(value.wrapping_sub(last), 1_000);
            }
            last = Some(value);
            hand.acknowledge(1);
            hand.pass(Duration::from_secs(1));
        }
    }

    /// 7.1 SHOULD: The clock is shifted by a secret for each connection, so that it does not tell how long we run.
    fn s7_1_should_each_connection_has_its_own_offset(family) {
        let mut hand = Hand::new(family);
        hand.timestamps = Some((10_000, 0));
        hand.listen();
        let mut seen = Vec::new();
        for port in 5_000..5_010 {
            hand.port = port;
            seen.push(hand.give(&hand.syn())[0].timestamps.unwrap().0);
        }
        seen.sort_unstable();
        assert!(seen.windows(2).all(|two| two[1] - two[0] > 1_000), "{seen:?}");
    }

    /// 2.4 MUST: The sender bears a window that moves back by the rounding of the shift.
    fn s2_4_must_a_window_may_seem_to_move_back_by_rounding(family) {
        let mut hand = Hand::new(family);
        hand.wscale = Some(10);
        hand.window = 10;
        let listener = hand.listen();
        let id = hand.establish(listener);
        hand.stack.tcp_send(id, &pattern(30_000)).unwrap();
        let sent = payload(&hand.out()).len() as u32;
        assert_eq!(sent, 9_800);
        // All fills the window but for a bit; one segment is acknowledged, and the rest rounds down.
        hand.window = 8;
        assert_eq!(payload(&hand.acknowledge(1_400)).len(), 0);
        hand.window = 20;
        assert!(!hand.acknowledge(sent - 1_400).is_empty());
    }
}
