//! RFC 6298: Computing TCP's Retransmission Timer
//!
//! Shown elsewhere:
//! - 2.2 MUST: the first sample sets both averages | `samples_are_averaged_as_section_2_says`
//! - 2.3 MUST: later ones move them by 1/8 and 1/4 | `samples_are_averaged_as_section_2_says`
//! - 2.5 MAY: the timeout has a ceiling of at least 60 s | `the_timeout_has_the_floor_above_the_round_trip_and_a_ceiling`
//!
//! Not met:
//! - 2.4 SHOULD: the timeout is a second at least. It is 5 ms above the round trip by default (`min_rto`), as data centres
//!   need; RACK-TLP, F-RTO and timestamps undo what is spurious. A second can be set.

use dpdk_net_stack::Duration;

use crate::both_families;
use crate::common::*;
use crate::support::*;

/// How long until something is sent again.
fn until_retransmission(hand: &mut Hand) -> Duration {
    let start = hand.now;
    loop {
        let at = hand.stack.next_timeout().expect("a deadline");
        hand.now = hand.now.max(at) + Duration::from_nanos(1);
        hand.stack.handle_timeout(hand.now);
        if hand
            .out()
            .iter()
            .any(|seg| !seg.payload.is_empty() || seg.flags & (SYN | FIN) != 0)
        {
            return hand.now - start;
        }
    }
}

both_families! {
    /// 2.1 SHOULD: The timeout is a second before anything was measured.
    fn s2_1_should_a_syn_is_repeated_after_a_second(family) {
        let mut hand = Hand::new(family);
        hand.start_connect();
        let after = until_retransmission(&mut hand);
        assert!(after >= Duration::from_secs(1) && after < Duration::from_millis(1_050), "{after:?}");
        let mut hand = Hand::new(family);
        hand.listen();
        hand.half_open();
        let after = until_retransmission(&mut hand);
        assert!(after >= Duration::from_secs(1) && after < Duration::from_millis(1_050), "{after:?}");
    }

    /// 5.2 -: When all is acknowledged no timer runs.
    ///
    /// 5.1 -: When something is sent one does.
    fn s5_1_s5_2_a_timer_runs_while_something_is_outstanding(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_send(id, b"data").unwrap();
        assert!(!hand.out().is_empty());
        assert!(hand.stack.next_timeout().is_some());
        hand.acknowledge(4);
        assert_eq!(hand.pass(Duration::from_secs(100)), []);
    }

    /// 5.3 -: An acknowledgment of something new starts the timer anew.
    fn s5_3_progress_starts_the_timer_anew(family) {
        let mut hand = Hand::new(family);
        let listener = hand.listen();
        hand.half_open();
        hand.pass(Duration::from_millis(200));
        hand.give(&hand.seg(ACK, &[]));
        let (id, _) = hand.stack.tcp_accept(listener).unwrap();
        hand.stack.tcp_send(id, &pattern(14_000)).unwrap();
        hand.out();
        for _ in 0..9 {
            assert_eq!(hand.pass(Duration::from_millis(190)), []);
            assert_eq!(hand.acknowledge(1_400), []);
        }
    }

    /// 5.4 -: The earliest segment that is not acknowledged is sent again, and only it.
    ///
    /// 5.5 MUST: The timeout is doubled.
    fn s5_4_s5_5_the_earliest_segment_is_sent_again(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_send(id, &pattern(14_000)).unwrap();
        hand.out();
        let first = hand.pass(Duration::from_millis(120));
        assert!(!first.is_empty());
        assert!(first.iter().all(|seg| seg.seq == hand.ack && seg.payload.len() == 1_400), "{first:?}");
        // From one to the next.
        until_retransmission(&mut hand);
        let a = until_retransmission(&mut hand);
        let b = until_retransmission(&mut hand);
        assert!(b > a.mul_f64(1.8) && b < a.mul_f64(2.2), "{a:?} {b:?}");
    }

    /// 5.7 MUST: After a SYN was sent again the timeout of data starts with three seconds.
    fn s5_7_must_after_a_lost_syn_the_timeout_is_three_seconds(family) {
        let mut hand = Hand::new(family);
        let (id, _) = hand.start_connect();
        until_retransmission(&mut hand);
        hand.give(&hand.syn_ack());
        hand.seq += 1;
        hand.stack.tcp_send(id, &pattern(2_800)).unwrap();
        hand.out();
        let after = until_retransmission(&mut hand);
        assert!(after >= Duration::from_secs(3) && after < Duration::from_millis(3_200), "{after:?}");
        // A sample puts an end to it.
        hand.pass(Duration::from_millis(10));
        let sent = payload(&hand.acknowledge(1_400)).len() as u32;
        hand.acknowledge(sent);
        hand.stack.tcp_send(id, &pattern(1_400)).unwrap();
        hand.out();
        hand.pass(Duration::from_millis(10));
        hand.acknowledge(1_400);
        assert!(hand.stack.tcp_info(id).unwrap().rto < Duration::from_millis(200));
        // The same for who was connected to.
        let mut hand = Hand::new(family);
        let listener = hand.listen();
        hand.half_open();
        until_retransmission(&mut hand);
        hand.give(&hand.seg(ACK, &[]));
        let (id, _) = hand.stack.tcp_accept(listener).unwrap();
        hand.stack.tcp_send(id, &pattern(2_800)).unwrap();
        hand.out();
        let after = until_retransmission(&mut hand);
        assert!(after >= Duration::from_secs(3) && after < Duration::from_millis(3_200), "{after:?}");
    }
}
