//! Sections 3.8.4 to 3.8.6: keep-alive, urgent data, windows and delayed acknowledgments.

use dpdk_net_stack::{Duration, Error, Keepalive, TcpState};

use crate::both_families;
use crate::common::*;
use crate::support::*;

both_families! {
    /// 3.8.4 MUST-24, MAY-5: The application can ask for keep-alives.
    ///
    /// 3.8.4 MUST-25: They are off by default.
    ///
    /// 3.8.4 MUST-26: They are sent only when nothing has come for the interval.
    ///
    /// 3.8.4 MUST-27: The interval can be set.
    fn s3_8_4_must_24_must_25_must_26_must_27_keepalives_are_off_and_can_be_asked_for(family) {
        let (mut hand, id) = accepted(family);
        assert_eq!(hand.stack.tcp_keepalive(id), Ok(None));
        assert_eq!(hand.pass(Duration::from_secs(100_000)), []);
        let times = Keepalive { idle: Duration::from_secs(30), interval: Duration::from_secs(5), count: 3 };
        hand.stack.tcp_set_keepalive_times(id, times).unwrap();
        hand.send(ACK | PSH, b"alive");
        hand.out();
        let acks = hand.pass(Duration::from_secs(29));
        assert!(acks.iter().all(|seg| seg.seq == hand.ack), "{acks:?}");
        let probes = hand.pass(Duration::from_secs(2));
        assert_eq!(probes.len(), 1);
        assert_eq!(probes[0].seq, hand.ack.wrapping_sub(1));
    }

    /// 3.8.4 MUST-28: The default interval is two hours.
    fn s3_8_4_must_28_keepalives_come_after_two_hours(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_set_keepalive(id, true).unwrap();
        hand.out();
        assert_eq!(hand.pass(Duration::from_secs(7_199)), []);
        assert_eq!(hand.pass(Duration::from_secs(2)).len(), 1);
    }

    /// 3.8.4 MUST-29: One unanswered keep-alive does not end a connection.
    ///
    /// 3.8.4 SHLD-12: Keep-alives have no data.
    fn s3_8_4_must_29_shld_12_keepalives_are_patient_and_empty(family) {
        let (mut hand, id) = accepted(family);
        let times = Keepalive { idle: Duration::from_secs(30), interval: Duration::from_secs(5), count: 3 };
        hand.stack.tcp_set_keepalive_times(id, times).unwrap();
        hand.out();
        for _ in 0..4 {
            let probes = hand.pass(Duration::from_secs(41));
            assert_eq!(probes.len(), 3, "{probes:?}");
            assert!(probes.iter().all(|seg| seg.payload.is_empty() && seg.flags == ACK));
            hand.give(&hand.seg(ACK, &[]));
        }
        hand.pass(Duration::from_secs(46));
        assert_eq!(hand.stack.tcp_recv(id, &mut [0; 8]), Err(Error::TimedOut));
    }

    /// 3.8.4 -: A peer's keep-alives are answered, with garbage and without.
    fn s3_8_4_keepalives_of_the_peer_are_answered(family) {
        let (mut hand, id) = accepted(family);
        for garbage in [&b""[..], b"x"] {
            for _ in 0..3 {
                hand.pass(Duration::from_secs(75));
                let mut probe = hand.seg(ACK, garbage);
                probe.seq = probe.seq.wrapping_sub(1);
                let answers = hand.give(&probe);
                assert_eq!(answers.len(), 1);
                assert_eq!((answers[0].flags, answers[0].ack, answers[0].seq), (ACK, hand.seq, hand.ack));
            }
        }
        assert_eq!(hand.stack.tcp_recv_queue(id), 0);
    }

    /// 3.8.5 MUST-30, MUST-31: Urgent data of any length is taken, in line with the rest.
    fn s3_8_5_must_30_must_31_urgent_data_is_taken_in_line(family) {
        let (mut hand, id) = accepted(family);
        for urgent in [0, 1, 6, 60_000] {
            let mut seg = hand.seg(ACK | PSH | URG, b"urgent");
            seg.urgent = urgent;
            hand.seq += 6;
            hand.give(&seg);
            assert_eq!(read_all(&mut hand, id), b"urgent");
        }
        // A pointer without the flag says nothing.
        let mut seg = hand.seg(ACK | PSH, b"plain");
        seg.urgent = 2;
        hand.give(&seg);
        assert_eq!(read_all(&mut hand, id), b"plain");
    }

    /// 3.8.6 SHLD-14: The right edge of the window that is offered never moves back.
    fn s3_8_6_shld_14_the_window_never_shrinks(family) {
        for wscale in [None, Some(3)] {
            let mut config = config(1);
            config.tcp.recv_buffer = 100_000;
            config.tcp.recv_window = 30_000;
            let mut hand = Hand::with(family, config);
            hand.wscale = wscale;
            let listener = hand.listen();
            let syn_ack = hand.half_open();
            let shift = syn_ack.wscale.unwrap_or(0);
            let mut edge = syn_ack.ack.wrapping_add(syn_ack.window.into());
            hand.give(&hand.seg(ACK, &[]));
            let (id, _) = hand.stack.tcp_accept(listener).unwrap();
            let mut random = 1u32;
            let mut filled = false;
            for round in 0..2_000 {
                random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let len = (random >> 16) as usize % 1_400;
                let room = edge.wrapping_sub(hand.seq) as usize;
                filled |= room == 0;
                let mut sent = hand.send(ACK | PSH, &vec![7; len.min(room)]);
                if random >> 28 == 0 || room == 0 && round % 3 == 0 {
                    let mut buf = vec![0; (random >> 8) as usize % 8_000 + 1];
                    let _ = hand.stack.tcp_recv(id, &mut buf);
                    sent.extend(hand.out());
                }
                sent.extend(hand.pass(Duration::from_millis(15)));
                for seg in sent {
                    let right = seg.ack.wrapping_add(u32::from(seg.window) << shift);
                    assert!(right.wrapping_sub(edge) < 1 << 31, "round {round}: back by {}", edge.wrapping_sub(right));
                    edge = right;
                }
            }
            assert!(filled, "the window was never closed");
        }
    }

    /// 3.8.6 MUST-34: A window that shrinks does no harm, even to less than nothing.
    ///
    /// 3.8.6 SHLD-15: No new data is sent then.
    ///
    /// 3.8.6 SHLD-16: What lies in the window that is left is sent again as ever.
    fn s3_8_6_must_34_shld_15_shld_16_a_window_that_shrinks_does_no_harm(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_send(id, &pattern(40_000)).unwrap();
        let sent = hand.out();
        assert_eq!(payload(&sent).len(), 14_000);
        // 1,400 are acknowledged, and the window ends within what was sent.
        hand.window = 2_000;
        let new = hand.acknowledge(1_400);
        assert_eq!(payload(&new), b"");
        let again = hand.pass(Duration::from_secs(3));
        assert!(!again.is_empty());
        assert!(again.iter().all(|seg| seg.seq.wrapping_sub(hand.ack) < 12_600));
        assert_eq!(again.iter().find(|seg| !seg.payload.is_empty()).map(|seg| seg.seq), Some(hand.ack));
        hand.window = 65_535;
        let mut at = 12_600;
        let mut got = pattern(14_000);
        let mut sent = hand.acknowledge(at);
        while !sent.is_empty() {
            at = 0;
            for seg in sent.iter().filter(|seg| !seg.payload.is_empty()) {
                assert_eq!(seg.seq, hand.ack.wrapping_add(at));
                at += seg.payload.len() as u32;
                got.extend(&seg.payload);
            }
            sent = if at == 0 { Vec::new() } else { hand.acknowledge(at) };
        }
        assert!(got == pattern(40_000));
    }

    /// 3.8.6 SHLD-17: A connection does not end because data beyond a shrunken window is not acknowledged.
    ///
    /// 3.8.6 MUST-35: A window that shrinks to nothing is asked about.
    fn s3_8_6_shld_17_must_35_a_window_that_shrinks_to_nothing_is_asked_about(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_send(id, &pattern(5_000)).unwrap();
        hand.out();
        hand.window = 0;
        hand.acknowledge(0);
        let mut asked = 0;
        for _ in 0..240 {
            let probes = hand.pass(Duration::from_secs(30));
            if !probes.is_empty() {
                asked += 1;
                hand.give(&hand.seg(ACK, &[]));
            }
        }
        assert!(asked > 60, "asked {asked} times in two hours");
        assert_eq!(hand.stack.tcp_state(id), TcpState::Established);
        hand.window = 65_535;
        hand.give(&hand.seg(ACK, &[]));
        let mut got: Vec<u8> = Vec::new();
        for _ in 0..10 {
            let sent = hand.pass(Duration::from_secs(61));
            for seg in sent {
                if seg.seq == hand.ack {
                    got.extend(&seg.payload);
                    hand.ack = hand.ack.wrapping_add(seg.payload.len() as u32);
                }
            }
            let more = hand.acknowledge(0);
            for seg in more {
                if seg.seq == hand.ack {
                    got.extend(&seg.payload);
                    hand.ack = hand.ack.wrapping_add(seg.payload.len() as u32);
                }
            }
            hand.acknowledge(0);
        }
        assert!(got == pattern(5_000), "{}", got.len());
    }

    /// 3.8.6.1 MUST-36: A closed window is asked about.
    ///
    /// 3.8.6.1 MUST-37: As long as the peer answers, the connection lives, however long the window stays closed.
    ///
    /// 3.8.6.1 SHLD-29: The first question comes after a retransmission timeout.
    ///
    /// 3.8.6.1 SHLD-30: The time between questions doubles.
    fn s3_8_6_1_must_36_must_37_shld_29_shld_30_a_closed_window_is_asked_about(family) {
        let (mut hand, id) = accepted(family);
        hand.window = 0;
        hand.acknowledge(0);
        hand.stack.tcp_send(id, &pattern(5_000)).unwrap();
        assert_eq!(hand.out(), []);
        let start = hand.now;
        let mut times = Vec::new();
        while hand.now - start < Duration::from_secs(4 * 3_600) {
            let at = hand.stack.next_timeout().expect("a deadline");
            hand.now = hand.now.max(at) + Duration::from_nanos(1);
            hand.stack.handle_timeout(hand.now);
            for probe in hand.out() {
                assert!(probe.payload.len() <= 1, "{probe:?}");
                times.push((hand.now - start).as_secs_f64());
                assert_eq!(hand.give(&hand.seg(ACK, &[])), []);
            }
        }
        assert_eq!(hand.stack.tcp_state(id), TcpState::Established);
        assert!(times[0] >= 0.005 && times[0] <= 1.1, "{}", times[0]);
        for three in times.windows(3).take(6) {
            let (a, b) = (three[1] - three[0], three[2] - three[1]);
            assert!(b > 1.7 * a && b < 2.3 * a || b > 55.0, "{times:?}");
        }
        assert!(times.len() > 200);
        hand.window = 65_535;
        let mut sent = hand.give(&hand.seg(ACK, &[]));
        sent.extend(hand.acknowledge(4_200));
        assert!(payload(&sent) == pattern(5_000));
    }

    /// 3.8.6.1 MAY-8: The receiver may keep its window closed as long as it likes, and answers each question.
    fn s3_8_6_1_may_8_questions_about_a_closed_window_are_answered(family) {
        let (mut hand, id) = with_closed_window(family);
        for back in [0, 1] {
            for _ in 0..10 {
                hand.pass(Duration::from_secs(60));
                let mut probe = hand.seg(ACK, if back == 0 { b"p" } else { b"" });
                probe.seq = probe.seq.wrapping_sub(back);
                let answers = hand.give(&probe);
                assert_eq!(answers.len(), 1);
                assert_eq!((answers[0].window, answers[0].ack), (0, hand.seq));
            }
        }
        assert_eq!(read_all(&mut hand, id).len(), 4_096);
        let told = hand.out();
        assert!(told.len() == 1 && told[0].window >= 4_096, "{told:?}");
    }

    /// 3.8.6.2.1 MUST-38: The sender avoids small segments: where the window lets little out it waits for more.
    fn s3_8_6_2_1_must_38_the_sender_avoids_small_segments(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_set_nodelay(id, true).unwrap();
        hand.stack.tcp_send(id, &pattern(30_000)).unwrap();
        let sent = hand.out();
        assert!(sent.iter().all(|seg| seg.payload.len() == 1_400));
        // All is acknowledged, and the window opens by 100 bytes.
        hand.window = 100;
        let sent = hand.acknowledge(14_000);
        assert_eq!(sent, [], "no silly segment");
        // But it does not wait for ever.
        let sent = hand.pass(Duration::from_secs(5));
        assert_eq!(sent.first().map(|seg| seg.payload.len()), Some(100), "{sent:?}");
        hand.window = 1_400;
        hand.ack = hand.ack.wrapping_add(100);
        let sent = hand.give(&hand.seg(ACK, &[]));
        assert_eq!(sent.first().map(|seg| seg.payload.len()), Some(1_400), "{sent:?}");
    }

    /// 3.8.6.2.1 MUST-38: Half of the largest window there ever was is worth a segment.
    fn s3_8_6_2_1_must_38_half_the_window_is_worth_a_segment(family) {
        let mut hand = Hand::new(family);
        hand.window = 1_000;
        let listener = hand.listen();
        let id = hand.establish(listener);
        hand.stack.tcp_send(id, &pattern(3_000)).unwrap();
        assert_eq!(payload(&hand.out()).len(), 1_000);
        hand.window = 500;
        assert_eq!(payload(&hand.acknowledge(1_000)).len(), 500);
    }

    /// 3.8.6.2.2 MUST-39: The receiver avoids offering small windows.
    fn s3_8_6_2_2_must_39_the_receiver_offers_no_small_windows(family) {
        let mut config = config(1);
        config.tcp.recv_buffer = 20_000;
        config.tcp.recv_window = 20_000;
        let (mut hand, id) = accepted_with(family, config);
        for _ in 0..20 {
            hand.send(ACK | PSH, &[1; 1_000]);
        }
        let acks = hand.pass(Duration::from_secs(1));
        drop(acks);
        let mut read = 0;
        while read < 999 {
            read += hand.stack.tcp_recv(id, &mut [0; 37]).unwrap();
            if read < 1_000 {
                assert_eq!(hand.out(), [], "a window of {read} is not told");
                let mut probe = hand.seg(ACK, b"x");
                probe.seq = hand.seq;
                let answers = hand.give(&probe);
                assert_eq!(answers.first().map(|seg| seg.window), Some(0), "{read}");
            }
        }
        let mut buf = [0; 10_000];
        hand.stack.tcp_recv(id, &mut buf).unwrap();
        assert!(hand.out()[0].window >= 10_000);
    }

    /// 3.8.6.3 SHLD-18: ACKs are delayed in the hope of something to ride on.
    ///
    /// 3.8.6.3 MUST-40: Less than half a second.
    fn s3_8_6_3_shld_18_must_40_acks_wait_but_not_long(family) {
        let (mut hand, id) = accepted(family);
        for _ in 0..10 {
            assert_eq!(hand.send(ACK | PSH, b"request"), []);
            let late = hand.pass(Duration::from_millis(499));
            assert_eq!(late.iter().map(|seg| seg.ack).collect::<Vec<_>>(), [hand.seq]);
            assert_eq!(hand.send(ACK | PSH, b"request"), []);
            hand.stack.tcp_send(id, b"response").unwrap();
            let answer = hand.out();
            assert_eq!(answer.len(), 1);
            assert_eq!(answer[0].ack, hand.seq);
            assert_eq!(hand.acknowledge(8), []);
            assert_eq!(hand.pass(Duration::from_secs(1)), []);
        }
    }

    /// 3.8.6.3 SHLD-19: Every second full segment is acknowledged at once.
    fn s3_8_6_3_shld_19_every_second_full_segment_is_acknowledged(family) {
        let (mut hand, id) = accepted(family);
        hand.send(ACK | PSH, &[0; 1_400]);
        hand.pass(Duration::from_secs(1));
        for _ in 0..50 {
            assert_eq!(hand.send(ACK, &[1; 1_400]), []);
            let acks = hand.send(ACK, &[2; 1_400]);
            assert_eq!(acks.iter().map(|seg| seg.ack).collect::<Vec<_>>(), [hand.seq]);
            read_all(&mut hand, id);
            hand.out();
        }
    }
}
