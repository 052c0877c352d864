//! Sections 3.7 to 3.8.3: segment sizes, retransmission, and when a peer is given up.

use dpdk_net_stack::{Duration, Error, TcpState};

use super::{SYNCHRONIZED, in_state};
use crate::both_families;
use crate::common::*;
use crate::support::*;

/// The TCP segment in a frame, if it is one.
fn read_any(frame: &[u8]) -> Option<Seg> {
    dpdk_net_packet::parse(frame).ok()?;
    read(frame)
}

both_families! {
    /// 3.7.1 MUST-14: The MSS option is sent and obeyed.
    ///
    /// 3.7.1 SHLD-5, MAY-3: It is sent with each SYN.
    ///
    /// 3.7.1 MUST-67: It tells the largest IP packet less the fixed headers.
    fn s3_7_1_must_14_must_67_shld_5_the_segment_size_is_told_and_obeyed(family) {
        let headers = if family == Family::V4 { 40 } else { 60 };
        for mtu in [1_280, 1_500, 9_000] {
            let mut config = config(1);
            config.mtu = mtu;
            let mut hand = Hand::with(family, config);
            let listener = hand.listen();
            assert_eq!(hand.give(&hand.syn())[0].mss, Some(mtu - headers));
            hand.port += 1;
            let (_, syn) = { let (id, syn) = hand.start_connect(); (id, syn) };
            assert_eq!(syn.mss, Some(mtu - headers));
            hand.local_port = PORT;
            hand.port += 1;
            hand.mss = Some(777);
            let id = hand.establish(listener);
            hand.stack.tcp_send(id, &pattern(5_000)).unwrap();
            assert_eq!(hand.out().iter().map(|seg| seg.payload.len()).max(), Some(777));
        }
    }

    /// 3.7.1 MUST-15: A peer that tells no MSS gets segments of 536 bytes (IPv4) or 1,220 (IPv6).
    fn s3_7_1_must_15_the_default_segment_size(family) {
        let mut hand = Hand::new(family);
        hand.mss = None;
        let listener = hand.listen();
        let id = hand.establish(listener);
        hand.stack.tcp_send(id, &pattern(5_000)).unwrap();
        let default = if family == Family::V4 { 536 } else { 1_220 };
        assert_eq!(hand.out().iter().map(|seg| seg.payload.len()).max(), Some(default));
    }

    /// 3.7.1 MUST-16: A segment with its options is no longer than the peer's MSS and the interface's MTU allow.
    fn s3_7_1_must_16_options_are_deducted_from_the_segment_size(family) {
        let headers = if family == Family::V4 { 40 } else { 60 };
        for (mss, full) in [(1_000, 1_000 - 12), (9_000, 1_500 - headers - 12)] {
            let mut hand = Hand::new(family);
            hand.mss = Some(mss);
            hand.timestamps = Some((1, 0));
            hand.sack_ok = true;
            let listener = hand.listen();
            let id = hand.establish(listener);
            hand.stack.tcp_send(id, &pattern(5_000)).unwrap();
            assert_eq!(hand.out()[0].payload.len(), full);
            // With SACK blocks to tell there is even less room.
            let mut ahead = hand.seg(ACK, b"ahead");
            ahead.seq += 100;
            hand.give(&ahead);
            hand.stack.tcp_send(id, &pattern(5_000)).unwrap();
            let sent = hand.out();
            assert!(!sent.is_empty());
            for seg in sent {
                let options = 12 + if seg.sack.is_empty() { 0 } else { 4 + 8 * seg.sack.len() };
                assert!(seg.payload.len() + options <= full + 12, "{seg:?}");
            }
        }
    }

    /// 3.7.1 MUST-65: Only SYNs carry the MSS option.
    fn s3_7_1_must_65_only_syns_carry_the_mss(family) {
        for state in SYNCHRONIZED {
            let (mut hand, id) = in_state(family, state);
            // Not a new connection's.
            hand.seq = hand.seq.wrapping_sub(1);
            let _ = hand.stack.tcp_send(id, b"data");
            let mut sent = hand.out();
            sent.extend(hand.give(&hand.seg(SYN, &[])));
            sent.extend(hand.pass(Duration::from_secs(2)));
            assert!(sent.iter().all(|seg| seg.mss.is_none()), "{sent:?}");
        }
    }

    /// 3.7.1 SHLD-6: The segment size follows the MTU of the path.
    fn s3_7_1_shld_6_the_segment_size_follows_the_path(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_send(id, &pattern(1_400)).unwrap();
        let sent = hand.out();
        let about = frame(family, 1, 2, &sent[0]);
        let too_big = crate::icmp::too_big(family, &about, 1_300);
        hand.stack.ingest(hand.now, &[too_big]);
        hand.stack.tcp_send(id, &pattern(5_000)).unwrap();
        let headers = if family == Family::V4 { 40 } else { 60 };
        assert_eq!(hand.out().iter().map(|seg| seg.payload.len()).max(), Some(1_300 - headers));
    }

    /// 3.7.4 SHLD-7: By Nagle's algorithm a short segment waits while something is unacknowledged.
    ///
    /// 3.7.4 MUST-17: It can be switched off for each connection.
    fn s3_7_4_shld_7_must_17_nagle_holds_short_segments_unless_switched_off(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_send(id, b"first").unwrap();
        assert_eq!(payload(&hand.out()), b"first");
        hand.stack.tcp_send(id, b"second").unwrap();
        hand.stack.tcp_send(id, b"third").unwrap();
        assert_eq!(hand.out(), []);
        let released = hand.acknowledge(5);
        assert_eq!(payload(&released), b"secondthird");
        assert_eq!(released.len(), 1);
        hand.stack.tcp_set_nodelay(id, true).unwrap();
        hand.stack.tcp_send(id, b"at once").unwrap();
        assert_eq!(payload(&hand.out()), b"at once");
    }

    /// 3.8.1 MUST-18: The acknowledgment of what was sent twice is no measure of the round trip (Karn).
    fn s3_8_1_must_18_what_was_sent_twice_is_not_measured(family) {
        let mut hand = Hand::new(family);
        let listener = hand.listen();
        // The handshake measures 400 ms.
        hand.half_open();
        hand.pass(Duration::from_millis(400));
        hand.give(&hand.seg(ACK, &[]));
        let (id, _) = hand.stack.tcp_accept(listener).unwrap();
        hand.stack.tcp_send(id, b"lost").unwrap();
        hand.out();
        for _ in 0..5 {
            while hand.pass(Duration::from_millis(100)).is_empty() {}
            hand.pass(Duration::from_millis(1));
            hand.acknowledge(4);
            hand.stack.tcp_send(id, b"more").unwrap();
            hand.out();
        }
        assert_eq!(hand.pass(Duration::from_millis(350)), [], "the timeout has not come down");
    }

    /// 3.8.2 MUST-19: Each timeout doubles the time to the next one.
    fn s3_8_2_must_19_timeouts_back_off(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_send(id, b"lost").unwrap();
        hand.out();
        let mut times = Vec::new();
        let start = hand.now;
        while times.len() < 9 {
            let at = hand.stack.next_timeout().unwrap();
            hand.now = hand.now.max(at) + Duration::from_nanos(1);
            hand.stack.handle_timeout(hand.now);
            let sent = hand.out();
            if sent.iter().any(|seg| !seg.payload.is_empty()) {
                assert_eq!(payload(&sent), b"lost");
                times.push(hand.now - start);
            }
        }
        let gaps: Vec<f64> = times.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64()).collect();
        for pair in gaps.windows(2).skip(1) {
            assert!(pair[1] > 1.8 * pair[0] && pair[1] < 2.2 * pair[0] || pair[1] > 55.0, "{gaps:?}");
        }
    }

    /// 3.8.2 MUST-19: In slow start the window doubles with each round trip, from ten segments on.
    fn s3_8_2_must_19_slow_start_doubles_the_window(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_send(id, &pattern(60_000)).unwrap();
        let first = hand.out();
        assert_eq!(first.len(), 10);
        hand.pass(Duration::from_millis(1));
        let mut second = 0;
        for _ in 0..10 {
            second += hand.acknowledge(1_400).len();
        }
        assert_eq!(second, 20);
    }

    /// 3.8.3 MUST-20: Dead peers are given up after R2, and the next hop is doubted before.
    ///
    /// 3.8.3 SHLD-11: By default R2 is at least 100 s.
    fn s3_8_3_must_20_shld_11_silent_peers_are_given_up(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_send(id, b"anyone?").unwrap();
        hand.pass(Duration::from_secs(100));
        assert_eq!(hand.stack.tcp_state(id), TcpState::Established);
        hand.pass(Duration::from_secs(900));
        assert_eq!(hand.stack.tcp_state(id), TcpState::Closed);
        assert_eq!(hand.stack.tcp_recv(id, &mut [0; 8]), Err(Error::TimedOut));
    }

    /// 3.8.3 SHLD-10: From some retransmissions on the way to the next hop is looked at again.
    fn s3_8_3_shld_10_the_next_hop_is_asked_again_while_retransmitting(family) {
        let mut pair = Pair::new();
        let (client, server) = pair.establish(family);
        pair.transfer(CLIENT, client, server, b"hello", Duration::from_secs(5));
        let lost = std::rc::Rc::new(std::cell::Cell::new(0));
        let asked = lost.clone();
        pair.filter = Box::new(move |_, frame| {
            let is_tcp = read_any(frame).is_some();
            if !is_tcp {
                asked.set(asked.get() + 1);
            }
            false
        });
        pair.client().tcp_send(client, b"anyone?").unwrap();
        pair.run(Duration::from_secs(60));
        assert!(lost.get() >= 3, "{} requests", lost.get());
    }

    /// 3.8.3 MUST-21: R2 can be set.
    fn s3_8_3_must_21_the_user_timeout_can_be_set(family) {
        let mut config = config(1);
        config.tcp.user_timeout = Duration::from_secs(20);
        let (mut hand, id) = accepted_with(family, config);
        hand.stack.tcp_send(id, b"anyone?").unwrap();
        hand.pass(Duration::from_secs(19));
        assert_eq!(hand.stack.tcp_state(id), TcpState::Established);
        hand.pass(Duration::from_secs(5));
        assert_eq!(hand.stack.tcp_recv(id, &mut [0; 8]), Err(Error::TimedOut));
    }

    /// 3.8.3 MUST-22: SYNs are retransmitted and given up in the same way.
    ///
    /// 3.8.3 MUST-23: By default not before three minutes.
    fn s3_8_3_must_22_must_23_syns_are_repeated_for_three_minutes(family) {
        let mut hand = Hand::new(family);
        let (id, _) = hand.start_connect();
        let again = hand.pass(Duration::from_secs(179));
        assert!(again.len() >= 5 && again.iter().all(|seg| seg.flags & SYN != 0), "{again:?}");
        assert_eq!(hand.stack.tcp_state(id), TcpState::SynSent);
        hand.pass(Duration::from_secs(60));
        assert_eq!(hand.stack.tcp_take_error(id), Some(Error::TimedOut));
    }

    /// 3.8.2 MAY-18: The congestion control can be exchanged.
    fn s3_8_2_may_18_congestion_control_can_be_exchanged(family) {
        use dpdk_net_stack::CongestionAlgorithm as Algorithm;
        for algorithm in [Algorithm::Cubic, Algorithm::NewReno, Algorithm::Bbr] {
            let mut config = config(1);
            config.tcp.congestion = algorithm;
            let mut pair = Pair::with(config.clone(), crate::common::config(2));
            let (client, server) = pair.establish(family);
            pair.transfer(SERVER, server, client, &pattern(300_000), Duration::from_secs(60));
        }
    }
}
