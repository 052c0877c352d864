//! RFC 2525: Known TCP Implementation Problems
//!
//! Shown elsewhere:
//! - 2.6 -: no extra addition in congestion avoidance | `newreno_grows_by_a_segment_per_window`
//! - 2.7 -: no initial timeout below a second | `one_second_is_the_timeout_before_the_first_sample`

use dpdk_net_stack::{Duration, Error, TcpState};

use crate::both_families;
use crate::common::*;

both_families! {
    /// 2.4 -: What is sent again is what was sent at first.
    fn s2_4_retransmissions_are_consistent(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_set_nodelay(id, true).unwrap();
        let start = hand.ack;
        let data = pattern(9_000);
        let mut sent = Vec::new();
        for part in data.chunks(333) {
            hand.stack.tcp_send(id, part).unwrap();
            sent.extend(hand.out());
            sent.extend(hand.pass(Duration::from_millis(7)));
        }
        sent.extend(hand.pass(Duration::from_secs(20)));
        let mut seen = vec![0; 9_000];
        for seg in &sent {
            let at = seg.seq.wrapping_sub(start) as usize;
            assert!(data[at..at + seg.payload.len()] == seg.payload);
            seen[at..at + seg.payload.len()].iter_mut().for_each(|count| *count += 1);
        }
        assert!(seen[0] > 3);
    }

    /// 2.5 -: What lies above a gap is kept.
    fn s2_5_data_above_a_gap_is_kept(family) {
        let (mut hand, id) = accepted(family);
        let mut above = hand.seg(ACK, &[2; 1_000]);
        above.seq += 1_000;
        hand.give(&above);
        let acks = hand.send(ACK, &[1; 1_000]);
        assert_eq!(acks[0].ack, hand.seq + 1_000);
        assert_eq!(read_all(&mut hand, id).len(), 2_000);
    }

    /// 2.12 -: A window probe is answered although its data does not fit, so that no two wait for each other.
    fn s2_12_no_deadlock_of_window_probes(family) {
        let mut pair = Pair::new();
        let (client, server) = pair.establish(family);
        // Both write and nobody reads, until both windows are closed.
        let data = pattern(8 << 20);
        let mut sent = [0; 2];
        for _ in 0..50 {
            for (host, id) in [(SERVER, server), (CLIENT, client)] {
                while let Ok(n) = pair.stacks[host].tcp_send(id, &data[sent[host]..]) {
                    sent[host] += n;
                    if sent[host] == data.len() {
                        break;
                    }
                }
            }
            pair.run(Duration::from_millis(20));
        }
        pair.run(Duration::from_secs(600));
        let mut got = [0; 2];
        let mut buf = vec![0; 1 << 20];
        pair.run_until(Duration::from_secs(300), "both read", |pair| {
            for (host, id) in [(SERVER, server), (CLIENT, client)] {
                while let Ok(n) = pair.stacks[host].tcp_recv(id, &mut buf) {
                    got[1 - host] += n;
                }
            }
            got == sent
        });
    }

    /// 2.14 -: A timeout sends one segment again, not all.
    fn s2_14_a_timeout_sends_one_segment(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_send(id, &pattern(14_000)).unwrap();
        hand.out();
        loop {
            let at = hand.stack.next_timeout().unwrap();
            hand.now = hand.now.max(at) + Duration::from_nanos(1);
            hand.stack.handle_timeout(hand.now);
            let again = hand.out();
            if !again.is_empty() {
                assert_eq!(again.len(), 1);
                break;
            }
        }
    }

    /// 2.15 -: A FIN does not wait for a timer.
    fn s2_15_a_fin_goes_out_promptly(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_send(id, b"last words").unwrap();
        hand.stack.tcp_shutdown_write(id).unwrap();
        let sent = hand.out();
        assert_eq!(sent.len(), 1);
        assert_eq!((sent[0].flags & FIN, &sent[0].payload[..]), (FIN, &b"last words"[..]));
        // Nor does it wait for what Nagle holds back.
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_send(id, b"first").unwrap();
        hand.out();
        hand.stack.tcp_send(id, b"second").unwrap();
        hand.stack.tcp_shutdown_write(id).unwrap();
        let sent = hand.out();
        assert!(sent.len() == 1 && sent[0].flags & FIN != 0, "{sent:?}");
    }

    /// 2.16 -: Data after a close of both directions is answered with a RST.
    ///
    /// 2.17 -: A close with data unread sends a RST at once.
    fn s2_16_s2_17_lost_data_is_told(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_close(hand.now, id);
        hand.out();
        hand.ack += 1;
        let answers = hand.send(ACK | PSH, b"late");
        assert!(answers.len() == 1 && answers[0].flags & RST != 0);
        let (mut hand, id) = accepted(family);
        hand.send(ACK | PSH, b"unread");
        hand.stack.tcp_close(hand.now, id);
        let sent = hand.out();
        assert!(sent.iter().any(|seg| seg.flags & RST != 0), "{sent:?}");
        assert!(sent.iter().all(|seg| seg.flags & FIN == 0), "{sent:?}");
    }

    /// 2.18 -: The segment size is what is left by options.
    fn s2_18_options_count_in_the_segment_size(family) {
        let mut hand = Hand::new(family);
        hand.timestamps = Some((1, 0));
        let listener = hand.listen();
        let id = hand.establish(listener);
        hand.stack.tcp_send(id, &pattern(5_000)).unwrap();
        assert_eq!(hand.out()[0].payload.len(), 1_388);
    }

    /// 2.11 -: Keep-alives are no closer than asked for, and 2.9 a connection outlives several of them.
    fn s2_9_s2_11_keepalives_are_patient(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_set_keepalive(id, true).unwrap();
        hand.out();
        hand.pass(Duration::from_secs(7_200 + 8 * 75 + 30));
        assert_eq!(hand.stack.tcp_state(id), TcpState::Established);
        hand.pass(Duration::from_secs(75));
        assert_eq!(hand.stack.tcp_recv(id, &mut [0; 1]), Err(Error::TimedOut));
    }
}
