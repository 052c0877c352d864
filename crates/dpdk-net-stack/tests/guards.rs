//! What the state machine behind the seam would get wrong on its own, one story each. The peer's segments are made by
//! hand.

mod common;

use common::*;
use dpdk_net_stack::{Duration, Error, ListenOptions, Readiness, TcpState, TxMeta, TxSink};

/// A pure ACK of all that the hand-made peer has sent.
fn is_ack_of(seg: &Seg, hand: &Hand) -> bool {
    seg.flags == ACK && seg.ack == hand.seq && seg.payload.is_empty()
}

/// A second between challenge ACKs of one connection is more than enough.
fn next_second(hand: &mut Hand) {
    hand.pass(Duration::from_secs(1));
}

both_families! {
    fn a_rst_ends_a_connection_only_at_the_exact_sequence_number(family) {
        let (mut hand, id) = accepted(family);
        // RFC 5961 section 3.2: in the window but not at its edge.
        for offset in [1u32, 1_000, 30_000] {
            next_second(&mut hand);
            let mut rst = hand.seg(RST, &[]);
            rst.seq = rst.seq.wrapping_add(offset);
            let answers = hand.give(&rst);
            assert!(answers.len() == 1 && is_ack_of(&answers[0], &hand), "{answers:?}");
            assert_eq!(hand.stack.tcp_state(id), TcpState::Established);
        }
        // Outside of it.
        for offset in [-1i32, -10_000, 1_000_000] {
            next_second(&mut hand);
            let mut rst = hand.seg(RST, &[]);
            rst.seq = rst.seq.wrapping_add_signed(offset);
            assert_eq!(hand.give(&rst), []);
            assert_eq!(hand.stack.tcp_state(id), TcpState::Established);
        }
        // RCV.NXT counts what was received, read or not.
        hand.give(&hand.seg(ACK | PSH, b"some"));
        hand.seq += 4;
        hand.stack.tcp_recv(id, &mut [0; 2]).unwrap();
        assert_eq!(hand.give(&hand.seg(RST, &[])), []);
        assert_eq!(hand.stack.tcp_state(id), TcpState::Closed);
        let mut buf = [0; 8];
        assert_eq!(hand.stack.tcp_recv(id, &mut buf), Ok(2), "what came before is still read");
        assert_eq!(hand.stack.tcp_recv(id, &mut buf), Err(Error::ConnectionReset));
        assert_eq!(hand.stack.tcp_recv(id, &mut buf), Ok(0));
    }

    fn a_syn_on_a_connection_draws_a_challenge_ack(family) {
        let mut hand = Hand::new(family);
        let listener = hand.listen();
        let id = hand.establish(listener);
        for (flags, offset) in [(SYN, 0u32), (SYN, 5_000), (SYN, 0x8000_0000), (SYN | ACK, 0), (SYN | ACK, u32::MAX)] {
            next_second(&mut hand);
            let mut syn = hand.seg(flags, &[]);
            syn.seq = syn.seq.wrapping_add(offset);
            let answers = hand.give(&syn);
            assert!(answers.len() == 1 && is_ack_of(&answers[0], &hand), "{flags} {offset}: {answers:?}");
            assert_eq!(hand.stack.tcp_state(id), TcpState::Established);
        }
        // A host that has restarted answers the challenge with a RST, and its next SYN finds a listener.
        hand.give(&hand.seg(RST, &[]));
        hand.seq = hand.seq.wrapping_add(77_777);
        hand.half_open();
    }

    fn challenge_acks_are_limited_for_each_connection_and_over_all(family) {
        let mut config = config(1);
        config.tcp.challenge_acks_per_second = 3;
        let mut hand = Hand::with(family, config);
        let listener = hand.listen();
        let mut peers = Vec::new();
        for n in 0..10 {
            hand.port = 6_000 + n;
            hand.establish(listener);
            peers.push((hand.port, hand.seq, hand.ack));
        }
        next_second(&mut hand);
        let mut answers = 0;
        for (port, seq, ack) in peers {
            (hand.port, hand.seq, hand.ack) = (port, seq, ack);
            for _ in 0..5 {
                answers += hand.give(&hand.seg(SYN, &[])).len();
            }
        }
        assert_eq!(answers, 3);
        assert_eq!(hand.stack.stats().tcp.challenge_acks_limited, 47);
    }

    fn an_ack_of_what_was_never_sent_is_not_believed(family) {
        let mut hand = Hand::new(family);
        let listener = hand.listen();
        // The peer's window lets 100 bytes out; the rest is queued but not sent.
        hand.window = 100;
        let id = hand.establish(listener);
        assert_eq!(hand.stack.tcp_send(id, &pattern(5_000)), Ok(5_000));
        let sent: usize = hand.out().iter().map(|seg| seg.payload.len()).sum();
        assert_eq!(sent, 100);
        // RFC 5961 section 5.2.
        hand.ack = hand.ack.wrapping_add(3_000);
        let answers = hand.give(&hand.seg(ACK, b"inject"));
        assert!(answers.len() == 1 && is_ack_of(&answers[0], &hand), "{answers:?}");
        assert_eq!(hand.stack.tcp_recv(id, &mut [0; 8]), Err(Error::WouldBlock));
        hand.ack = hand.ack.wrapping_sub(2_900);
        hand.window = 65_535;
        let next = hand.give(&hand.seg(ACK, &[]));
        assert_eq!(next.first().map(|seg| seg.seq), Some(hand.ack), "nothing was skipped");
    }

    fn an_ack_that_is_too_old_is_not_believed_and_one_that_is_old_does_not_cost_its_data(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_send(id, &pattern(1_000)).unwrap();
        hand.out();
        let old = hand.ack;
        hand.ack = hand.ack.wrapping_add(1_000);
        hand.give(&hand.seg(ACK, &[]));
        // A data segment that was overtaken by the ACK.
        let mut late = hand.seg(ACK | PSH, b"late");
        late.ack = old;
        hand.give(&late);
        hand.seq += 4;
        let mut buf = [0; 8];
        assert_eq!(hand.stack.tcp_recv(id, &mut buf), Ok(4), "the data counts though the ACK is old");
        next_second(&mut hand);
        let mut ancient = hand.seg(ACK | PSH, b"evil");
        ancient.ack = old.wrapping_sub(100_000_000);
        let answers = hand.give(&ancient);
        assert!(answers.len() == 1 && is_ack_of(&answers[0], &hand), "{answers:?}");
        assert_eq!(hand.stack.tcp_recv(id, &mut buf), Err(Error::WouldBlock));
    }

    fn a_fin_beyond_the_window_is_not_taken_for_the_end(family) {
        let mut config = config(1);
        config.tcp.recv_buffer = 4_096;
        let (mut hand, id) = accepted_with(family, config);
        let data = pattern(5_000);
        for part in data[..3_000].chunks(1_000) {
            hand.give(&hand.seg(ACK, part));
            hand.seq += part.len() as u32;
        }
        // 1,096 bytes of window are left.
        hand.give(&hand.seg(ACK | FIN, &data[3_000..4_400]));
        assert_eq!(hand.stack.tcp_state(id), TcpState::Established);
        let mut buf = vec![0; 8_192];
        assert_eq!(hand.stack.tcp_recv(id, &mut buf), Ok(4_096));
        assert!(buf[..4_096] == data[..4_096]);
        hand.out();
        hand.seq += 1_096;
        hand.give(&hand.seg(ACK | FIN, &data[4_096..4_400]));
        assert_eq!(hand.stack.tcp_recv(id, &mut buf), Ok(304));
        assert_eq!(hand.stack.tcp_recv(id, &mut buf), Ok(0));
    }

    fn a_fast_retransmit_that_meets_a_full_ring_is_not_forgotten(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_send(id, &pattern(14_000)).unwrap();
        assert!(!hand.out().is_empty());
        // Three duplicate ACKs while the ring is full.
        let lost = hand.ack;
        for _ in 0..4 {
            hand.stack.ingest(hand.now, &[frame(family, 2, 1, &hand.seg(ACK, &[]))]);
            let mut none = Vec::new();
            assert_eq!(hand.stack.poll_transmit(hand.now, &mut Sink { room: 0, frames: &mut none }), 0);
        }
        let again = hand.out();
        assert_eq!(again.first().map(|seg| seg.seq), Some(lost), "{again:?}");
        assert!(!again[0].payload.is_empty());
        assert!(hand.stack.next_timeout().is_some(), "unacknowledged data has a deadline");
    }

    fn unacknowledged_data_has_a_deadline_whatever_the_ring_does(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_send(id, &pattern(10_000)).unwrap();
        hand.out();
        // The retransmission timer fires, again and again, into a full ring.
        let mut retransmits = 0;
        for _ in 0..20 {
            let at = hand.stack.next_timeout().expect("a deadline") + Duration::from_millis(2);
            hand.now = hand.now.max(at);
            hand.stack.handle_timeout(hand.now);
            let mut none = Vec::new();
            hand.stack.poll_transmit(hand.now, &mut Sink { room: 0, frames: &mut none });
            // A deadline may have been early; what is sent starts at the oldest that is missing.
            if let Some(seg) = hand.out().first() {
                assert_eq!(seg.seq, hand.ack);
                retransmits += 1;
            }
        }
        assert!(retransmits >= 5, "{retransmits}");
    }

    fn time_wait_answers_the_old_connection_and_lets_a_new_one_in(family) {
        for let_go in [true, false] {
            let mut hand = Hand::new(family);
            let listener = hand.listen();
            let id = hand.establish(listener);
            hand.stack.tcp_shutdown_write(id).unwrap();
            let fin = hand.out();
            assert_eq!(fin[0].flags & FIN, FIN);
            hand.ack = hand.ack.wrapping_add(1);
            let answers = hand.give(&hand.seg(ACK | FIN, &[]));
            hand.seq += 1;
            assert!(answers.len() == 1 && is_ack_of(&answers[0], &hand), "{answers:?}");
            assert_eq!(hand.stack.tcp_state(id), TcpState::TimeWait);
            if let_go {
                hand.stack.tcp_close(hand.now, id);
                assert_eq!((hand.stack.tcp_count(), hand.stack.tcp_time_waits()), (0, 1));
            }
            // The FIN again: the last ACK was lost.
            let mut again = hand.seg(ACK | FIN, &[]);
            again.seq -= 1;
            let answers = hand.give(&again);
            assert!(answers.len() == 1 && is_ack_of(&answers[0], &hand), "{answers:?}");
            // An old SYN, below what the connection has used, opens nothing.
            next_second(&mut hand);
            let mut old = hand.syn();
            old.seq = hand.seq.wrapping_sub(50_000);
            let answers = hand.give(&old);
            assert!(answers.len() == 1 && is_ack_of(&answers[0], &hand), "{answers:?}");
            // A RST that is not exact ends nothing.
            let mut rst = hand.seg(RST, &[]);
            rst.seq = rst.seq.wrapping_add(10);
            assert_eq!(hand.give(&rst), []);
            // RFC 1122 section 4.2.2.13: a new one, above.
            let used = hand.ack;
            hand.seq = hand.seq.wrapping_add(1);
            let answer = hand.half_open();
            assert!((answer.seq.wrapping_sub(used) as i32) > 0, "the new sequence numbers are above the old ones");
            assert_eq!(hand.give(&hand.seg(ACK, &[])), []);
            let (new, _) = hand.stack.tcp_accept(listener).unwrap();
            assert_eq!(hand.stack.tcp_state(new), TcpState::Established);
            if !let_go {
                assert_eq!(hand.stack.tcp_state(id), TcpState::Closed);
            }
        }
    }

    fn time_wait_does_not_keep_a_listener_from_binding(family) {
        let mut hand = Hand::new(family);
        let listener = hand.listen();
        let id = hand.establish(listener);
        hand.stack.tcp_close(hand.now, id);
        hand.out();
        hand.ack = hand.ack.wrapping_add(1);
        hand.give(&hand.seg(ACK | FIN, &[]));
        assert_eq!(hand.stack.tcp_time_waits(), 1);
        hand.stack.tcp_listener_close(listener);
        hand.listen();
    }

    fn an_orphan_in_fin_wait_2_ends_after_a_minute(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_close(hand.now, id);
        hand.out();
        hand.ack = hand.ack.wrapping_add(1);
        hand.give(&hand.seg(ACK, &[]));
        assert_eq!((hand.stack.tcp_count(), hand.stack.tcp_orphans()), (1, 1));
        hand.pass(Duration::from_secs(59));
        assert_eq!(hand.stack.tcp_count(), 1);
        hand.pass(Duration::from_secs(2));
        assert_eq!((hand.stack.tcp_count(), hand.stack.tcp_orphans()), (0, 0));
    }

    fn an_application_may_stay_in_fin_wait_2_as_long_as_it_likes(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_shutdown_write(id).unwrap();
        hand.out();
        hand.ack = hand.ack.wrapping_add(1);
        hand.give(&hand.seg(ACK, &[]));
        hand.pass(Duration::from_secs(3_600));
        assert_eq!(hand.stack.tcp_state(id), TcpState::FinWait2);
    }

    fn an_orphan_whose_peer_is_gone_ends(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_send(id, b"good bye").unwrap();
        hand.stack.tcp_close(hand.now, id);
        hand.pass(Duration::from_secs(99));
        assert_eq!(hand.stack.tcp_count(), 1);
        hand.pass(Duration::from_secs(10));
        assert_eq!(hand.stack.tcp_count(), 0);
        assert_eq!(hand.stack.next_timeout(), None);
    }

    fn data_for_an_orphan_is_answered_with_a_rst(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_close(hand.now, id);
        hand.out();
        hand.ack = hand.ack.wrapping_add(1);
        let answers = hand.give(&hand.seg(ACK | PSH, b"too late"));
        assert_eq!(answers.len(), 1);
        assert_eq!((answers[0].flags & RST, answers[0].seq), (RST, hand.ack));
        assert_eq!(hand.stack.tcp_count(), 0);
    }

    fn a_connection_reset_before_accept_is_accepted_all_the_same(family) {
        let mut hand = Hand::new(family);
        let listener = hand.listen();
        hand.half_open();
        hand.give(&hand.seg(ACK, b"data"));
        hand.seq += 4;
        hand.give(&hand.seg(RST, &[]));
        let (id, peer) = hand.stack.tcp_accept(listener).unwrap();
        assert_eq!(peer, family.at(2, hand.port));
        assert!(hand.stack.tcp_readiness(id).contains(Readiness::READABLE));
        assert_eq!(hand.stack.tcp_recv(id, &mut [0; 8]), Ok(4));
        assert_eq!(hand.stack.tcp_recv(id, &mut [0; 8]), Err(Error::ConnectionReset));
        hand.stack.tcp_close(hand.now, id);
        assert_eq!(hand.stack.tcp_count(), 0);
    }

    fn a_full_accept_queue_drops_and_never_resets(family) {
        let mut hand = Hand::new(family);
        let mut options = ListenOptions::new(family.any(PORT));
        options.backlog = 2;
        let listener = hand.stack.tcp_listen(options).unwrap();
        let mut waiting = Vec::new();
        for n in 0..4 {
            hand.port = 7_000 + n;
            hand.half_open();
            waiting.push((hand.port, hand.seq, hand.ack));
        }
        for (port, seq, ack) in &waiting {
            (hand.port, hand.seq, hand.ack) = (*port, *seq, *ack);
            assert_eq!(hand.give(&hand.seg(ACK, b"hello")), [], "no RST");
        }
        // As Linux: one more than the backlog. Further SYNs are not even answered.
        hand.port = 8_000;
        assert_eq!(hand.give(&hand.syn()), []);
        assert_eq!(hand.stack.tcp_count(), 3);
        hand.stack.tcp_accept(listener).unwrap();
        // The fourth client still believes in its connection, and sends its data again.
        (hand.port, hand.seq, hand.ack) = waiting[3];
        hand.give(&hand.seg(ACK, b"hello"));
        assert_eq!(hand.stack.tcp_count(), 4);
        let peers: Vec<u16> = (0..3).map(|_| hand.stack.tcp_accept(listener).unwrap().1.port()).collect();
        assert_eq!(peers, [7_001, 7_002, 7_003]);
    }

    fn segments_of_no_connection_are_reset_at_a_limited_rate(family) {
        let mut config = config(1);
        config.tcp.resets_per_second = 5;
        let mut hand = Hand::with(family, config);
        let answers = hand.give(&hand.syn());
        assert_eq!((answers[0].flags, answers[0].seq, answers[0].ack), (RST | ACK, 0, hand.seq + 1));
        hand.ack = 4_711;
        let answers = hand.give(&hand.seg(ACK, b"x"));
        assert_eq!((answers[0].flags, answers[0].seq), (RST, 4_711));
        assert_eq!(hand.give(&hand.seg(RST, &[])), []);
        let more: usize = (0..100).map(|_| hand.give(&hand.seg(ACK, b"x")).len()).sum();
        assert_eq!(more, 3);
    }

    fn thirty_two_gaps_are_remembered(family) {
        let (mut hand, id) = accepted(family);
        let data = pattern(64 * 100);
        let start = hand.seq;
        // Every second piece first, then the rest from the back: nothing is asked for twice.
        let odd = (0..64usize).filter(|n| n % 2 == 1).take(31);
        let even = (0..64usize).filter(|n| n % 2 == 0).rev();
        for n in odd.chain(even).chain([63]) {
            hand.seq = start + 100 * n as u32;
            hand.give(&hand.seg(ACK, &data[n * 100..][..100]));
        }
        let mut buf = vec![0; 8_192];
        assert_eq!(hand.stack.tcp_recv(id, &mut buf), Ok(6_400));
        assert!(buf[..6_400] == data);
    }

    fn frames_of_one_burst_are_handled_in_the_order_they_came(family) {
        let (mut hand, id) = accepted(family);
        // 100 segments, a FIN, and the RST that follows, in one call: all data, then the end; a send meets the error.
        let data = pattern(100 * 300);
        let mut frames = Vec::new();
        for part in data.chunks(300) {
            frames.push(frame(family, 2, 1, &hand.seg(ACK | PSH, part)));
            hand.seq += 300;
        }
        frames.push(frame(family, 2, 1, &hand.seg(ACK | FIN, &[])));
        hand.seq += 1;
        frames.push(frame(family, 2, 1, &hand.seg(RST, &[])));
        hand.stack.ingest(hand.now, &frames);
        assert!(hand.out().iter().all(|seg| seg.flags & RST == 0 && seg.payload.is_empty()));
        let mut buf = vec![0; 64 * 1024];
        assert_eq!(hand.stack.tcp_recv(id, &mut buf), Ok(30_000));
        assert!(buf[..30_000] == data);
        assert_eq!(hand.stack.tcp_recv(id, &mut buf), Ok(0));
        assert_eq!(
            hand.stack.tcp_send(id, b"x"),
            Err(Error::BrokenPipe)
        );
    }

    fn a_whole_connection_may_come_in_one_burst(family) {
        // The answer's sequence number is known beforehand only to one who has seen it: same seed, same time.
        let mut first = Hand::new(family);
        first.listen();
        let answer = first.half_open();
        let mut hand = Hand::new(family);
        let listener = hand.listen();
        let syn = hand.syn();
        hand.seq += 1;
        hand.ack = answer.seq.wrapping_add(1);
        let ack = hand.seg(ACK, &[]);
        let data = hand.seg(ACK | PSH, b"all at once");
        let frames: Vec<_> = [syn, ack, data].iter().map(|seg| frame(family, 2, 1, seg)).collect();
        hand.stack.ingest(hand.now, &frames);
        let (id, _) = hand.stack.tcp_accept(listener).unwrap();
        let mut buf = [0; 32];
        assert_eq!(hand.stack.tcp_recv(id, &mut buf), Ok(11));
    }

    fn initial_sequence_numbers_follow_the_clock_and_hide_the_rest(family) {
        let isn = |port: u16, at: Duration| {
            let mut hand = Hand::new(family);
            hand.now += at;
            hand.listen();
            hand.port = port;
            hand.half_open().seq
        };
        let first = isn(5_000, Duration::ZERO);
        // RFC 6528: one every four microseconds.
        assert_eq!(isn(5_000, Duration::from_millis(4)).wrapping_sub(first), 1_000);
        let other = isn(5_001, Duration::ZERO);
        assert!(other.wrapping_sub(first).min(first.wrapping_sub(other)) > 100_000);
        // The state machine's own numbers are those of the answer.
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_send(id, b"x").unwrap();
        assert_eq!(hand.out()[0].seq, hand.ack);
    }

    fn corrupted_segments_are_counted_and_never_answered(family) {
        let mut hand = Hand::new(family);
        hand.listen();
        let mut bad = frame(family, 2, 1, &hand.syn());
        let last = bad.len() - 1;
        bad[last] ^= 1;
        hand.stack.ingest(hand.now, &[bad]);
        assert_eq!(hand.out(), []);
        assert_eq!(hand.stack.stats().frames.drop_tcp_checksum, 1);
        assert_eq!(hand.stack.tcp_half_open(), 0);
    }

    fn replies_wait_in_bounds_and_an_ack_that_found_no_room_follows(family) {
        let mut config = config(1);
        config.limits.reply_queue = 16;
        let (mut hand, id) = accepted_with(family, config);
        // 200 segments behind a gap, each of which wants an ACK at once, into a ring that takes nothing.
        let start = hand.seq;
        let mut none = Vec::new();
        for n in 0..200u32 {
            hand.seq = start + 10 + n * 10;
            hand.stack.ingest(hand.now, &[frame(family, 2, 1, &hand.seg(ACK, &[7; 10]))]);
            hand.stack.poll_transmit(hand.now, &mut Sink { room: 0, frames: &mut none });
        }
        hand.seq = start;
        let acks = hand.out();
        assert!((16..=200).contains(&acks.len()), "{}", acks.len());
        assert!(acks.iter().all(|seg| seg.ack == start));
        let acks = hand.give(&hand.seg(ACK, &[7; 10]));
        assert_eq!(acks.last().map(|seg| seg.ack), Some(start + 2_010));
        assert_eq!(hand.stack.tcp_recv(id, &mut [0; 4_096]), Ok(2_010));
    }
}

/// A ring that stays full for seconds: back-pressure, nothing lost, and never more frames than room.
mod a_ring_that_stays_full_loses_nothing {
    use super::*;

    fn story(family: Family) {
        let mut pair = Pair::new();
        let (client, server) = pair.establish(family);
        let data = pattern(300_000);
        let (mut sent, mut got, mut buf) = (0, Vec::new(), vec![0; 16_384]);
        for round in 0..60 {
            // A second of nothing, then a second of a trickle, for both hosts.
            pair.room = if round % 2 == 0 { [0, 0] } else { [2, 3] };
            while sent < data.len() {
                match pair.client().tcp_send(client, &data[sent..]) {
                    Ok(n) => sent += n,
                    Err(error) => {
                        assert_eq!(error, Error::WouldBlock);
                        break;
                    }
                }
            }
            pair.run(Duration::from_millis(1_000));
            while let Ok(n) = pair.server().tcp_recv(server, &mut buf) {
                got.extend_from_slice(&buf[..n]);
            }
        }
        pair.room = [usize::MAX; 2];
        while got.len() < data.len() {
            while let Ok(n) = pair.client().tcp_send(client, &data[sent..]) {
                sent += n;
                if sent == data.len() {
                    break;
                }
            }
            pair.run(Duration::from_millis(500));
            while let Ok(n) = pair.server().tcp_recv(server, &mut buf) {
                got.extend_from_slice(&buf[..n]);
            }
        }
        assert!(got == data);
    }

    #[test]
    fn ipv4() {
        story(Family::V4);
    }

    #[test]
    fn ipv6() {
        story(Family::V6);
    }
}

#[test]
fn a_sink_is_never_given_more_than_it_takes() {
    struct One(bool);
    impl TxSink for One {
        fn capacity(&mut self) -> usize {
            usize::from(!self.0)
        }
        fn send<R>(&mut self, len: usize, _meta: TxMeta, fill: impl FnOnce(&mut [u8]) -> R) -> R {
            assert!(!self.0, "sent beyond its capacity");
            self.0 = true;
            fill(&mut vec![0; len])
        }
    }
    let mut hand = Hand::new(Family::V4);
    let listener = hand.listen();
    let id = hand.establish(listener);
    hand.stack.tcp_set_nodelay(id, true).unwrap();
    hand.stack.tcp_send(id, &pattern(20_000)).unwrap();
    let mut frames = 0;
    while hand.stack.poll_transmit(hand.now, &mut One(false)) == 1 {
        frames += 1;
    }
    assert!(frames >= 2, "{frames}");
}
