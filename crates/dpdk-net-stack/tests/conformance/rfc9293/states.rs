//! Sections 3.5, 3.6 and 3.10: opening, resets, closing, and what a segment does in each state.

use dpdk_net_stack::{Duration, Error, Event, Readiness, TcpState};

use super::{SYNCHRONIZED, in_state};
use crate::both_families;
use crate::common::*;
use crate::support::*;

both_families! {
    /// 3.5 MUST-10: Two SYNs that cross make one connection.
    fn s3_5_must_10_syns_that_cross_make_one_connection(family) {
        let mut hand = Hand::new(family);
        let (id, syn) = hand.start_connect();
        let answers = hand.give(&hand.syn());
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_eq!((answers[0].flags, answers[0].seq), (SYN | ACK, syn.seq));
        assert_eq!(answers[0].ack, hand.seq + 1);
        assert_eq!(hand.stack.tcp_state(id), TcpState::SynReceived);
        hand.give(&hand.syn_ack());
        hand.seq += 1;
        assert_eq!(hand.stack.tcp_state(id), TcpState::Established);
        hand.send(ACK | PSH, b"hello");
        assert_eq!(read_all(&mut hand, id), b"hello");
        hand.stack.tcp_send(id, b"world").unwrap();
        assert_eq!(payload(&hand.out()), b"world");
    }

    /// 3.5 MUST-11: A connection in SYN-RECEIVED knows whether it came from LISTEN or from SYN-SENT.
    fn s3_5_must_11_syn_received_knows_where_it_came_from(family) {
        let mut hand = Hand::new(family);
        let (id, _) = hand.start_connect();
        hand.give(&hand.syn());
        hand.seq += 1;
        hand.give(&hand.seg(RST | ACK, &[]));
        assert_eq!(hand.stack.tcp_take_error(id), Some(Error::ConnectionRefused));
        // From LISTEN nobody is told, and the listener goes on.
        let mut hand = Hand::new(family);
        let listener = hand.listen();
        hand.half_open();
        assert_eq!(hand.give(&hand.seg(RST, &[])), []);
        assert_eq!(hand.stack.tcp_half_open(), 0);
        assert_eq!(hand.stack.poll_event(), None);
        hand.seq += 1_000;
        hand.establish(listener);
    }

    /// 3.5.1 -: Who has lost its state is found out: its SYN is answered with an ACK, and its RST to that ends the
    /// connection.
    fn s3_5_1_half_open_connections_are_discovered(family) {
        let (mut hand, id) = accepted(family);
        let expected = (hand.ack, hand.seq);
        hand.pass(Duration::from_secs(1));
        let mut syn = hand.syn();
        syn.seq = 77;
        let answers = hand.give(&syn);
        assert_eq!(answers.len(), 1);
        assert_eq!((answers[0].flags, answers[0].seq, answers[0].ack), (ACK, expected.0, expected.1));
        let mut rst = hand.seg(RST, &[]);
        rst.seq = answers[0].ack;
        hand.give(&rst);
        assert_eq!(hand.stack.tcp_state(id), TcpState::Closed);
        // The other way round: it is we who know of nothing.
        let mut hand = Hand::new(family);
        hand.listen();
        hand.ack = 4_711;
        let answers = hand.give(&hand.seg(ACK | PSH, b"old data"));
        assert_eq!(answers.len(), 1);
        assert_eq!((answers[0].flags, answers[0].seq), (RST, 4_711));
    }

    /// 3.5.2 -: What belongs to no connection is reset: with the acknowledged number if there is one, or else with what
    /// the segment takes of sequence space, a FIN counted; a RST never.
    fn s3_5_2_resets_have_the_form_that_the_peer_believes(family) {
        let mut hand = Hand::new(family);
        hand.ack = 99;
        for (flags, data, len) in [
            (SYN, &b""[..], 1),
            (FIN, b"", 1),
            (FIN, b"data", 5),
            (0, b"data", 4),
            (0, b"", 0),
            (SYN | FIN, b"", 2),
            (PSH | URG, b"x", 1),
        ] {
            let answers = hand.give(&hand.seg(flags, data));
            assert_eq!(answers.len(), 1, "{flags} {data:?}");
            let rst = &answers[0];
            assert_eq!((rst.flags, rst.seq, rst.ack), (RST | ACK, 0, hand.seq + len), "{flags} {data:?}");
        }
        for flags in [ACK, ACK | FIN, SYN | ACK, ACK | PSH, SYN | ACK | FIN] {
            let answers = hand.give(&hand.seg(flags, b"data"));
            assert_eq!(answers.len(), 1, "{flags}");
            assert_eq!((answers[0].flags, answers[0].seq), (RST, 99), "{flags}");
        }
        for flags in [RST, RST | ACK, RST | SYN, RST | FIN | ACK] {
            assert_eq!(hand.give(&hand.seg(flags, b"data")), [], "{flags}");
        }
    }

    /// 3.5.2 -: Before a connection is synchronized, an acknowledgment of what was not sent is answered with a RST.
    fn s3_5_2_an_impossible_acknowledgment_is_reset_before_a_connection_is_synchronized(family) {
        let mut hand = Hand::new(family);
        let (id, _) = hand.start_connect();
        for (flags, offset) in [(ACK, 1), (ACK, -1), (SYN | ACK, 7)] {
            let mut seg = hand.seg(flags, &[]);
            seg.ack = seg.ack.wrapping_add_signed(offset);
            let answers = hand.give(&seg);
            assert_eq!(answers.len(), 1);
            assert_eq!((answers[0].flags, answers[0].seq), (RST, seg.ack));
            assert_eq!(hand.stack.tcp_state(id), TcpState::SynSent);
        }
        // The same for who has answered a SYN.
        let mut hand = Hand::new(family);
        hand.listen();
        hand.half_open();
        let mut ack = hand.seg(ACK, &[]);
        ack.ack = ack.ack.wrapping_add(1_000);
        let answers = hand.give(&ack);
        assert_eq!(answers.len(), 1);
        assert_eq!((answers[0].flags, answers[0].seq), (RST, ack.ack));
        assert_eq!(hand.stack.tcp_half_open(), 1);
    }

    /// 3.10.7.4 -: In SYN-RECEIVED a segment beside the window is answered with an ACK, whatever it acknowledges, and a
    /// RST beside it not at all.
    fn s3_10_7_4_syn_received_looks_at_the_sequence_number_first(family) {
        let mut hand = Hand::new(family);
        hand.listen();
        let syn_ack = hand.half_open();
        let mut old = hand.seg(ACK, b"old");
        old.seq = old.seq.wrapping_sub(100_000);
        old.ack = old.ack.wrapping_sub(5_000);
        let answers = hand.give(&old);
        assert_eq!(answers.len(), 1, "{answers:?}");
        assert_eq!((answers[0].flags, answers[0].seq, answers[0].ack), (ACK, syn_ack.seq.wrapping_add(1), hand.seq));
        let mut rst = hand.seg(RST, &[]);
        rst.seq = rst.seq.wrapping_sub(100_000);
        assert_eq!(hand.give(&rst), []);
        assert_eq!(hand.stack.tcp_half_open(), 1);
    }

    /// 3.10.7.4 -: In every synchronized state a segment beside the window is answered with an ACK of where we stand, and
    /// changes nothing.
    fn s3_10_7_4_segments_beside_the_window_are_acknowledged_in_every_state(family) {
        for state in SYNCHRONIZED {
            for offset in [-5_000i32, 10_000_000] {
                let (mut hand, id) = in_state(family, state);
                hand.pass(Duration::from_secs(1));
                let mut seg = hand.seg(ACK, b"stray");
                seg.seq = seg.seq.wrapping_add_signed(offset);
                let answers = hand.give(&seg);
                assert!(answers.iter().any(|seg| seg.flags & ACK != 0 && seg.ack == hand.seq), "{state:?} {offset} {answers:?}");
                assert_eq!(hand.stack.tcp_state(id), state);
            }
        }
    }

    /// 3.10.7.4 -: A RST with exactly the next sequence number ends a connection in every state, with and without an ACK.
    fn s3_10_7_4_a_reset_ends_a_connection_in_every_state(family) {
        for state in SYNCHRONIZED {
            for flags in [RST, RST | ACK] {
                let (mut hand, id) = in_state(family, state);
                let mut rst = hand.seg(flags, &[]);
                // The acknowledgment of a RST is not looked at.
                rst.ack = rst.ack.wrapping_add(123_456);
                assert_eq!(hand.give(&rst), [], "{state:?}");
                assert_eq!(hand.stack.tcp_state(id), TcpState::Closed, "{state:?}");
                assert!(hand.stack.tcp_readiness(id).contains(Readiness::CLOSED));
            }
        }
    }

    /// 3.10.7.4 -: A segment without ACK is dropped in every synchronized state.
    fn s3_10_7_4_segments_without_ack_are_dropped(family) {
        for state in SYNCHRONIZED {
            let (mut hand, id) = in_state(family, state);
            for (flags, data) in [(0, &b"data"[..]), (FIN, b""), (PSH, b"data")] {
                hand.give(&hand.seg(flags, data));
                assert_eq!(hand.stack.tcp_state(id), state);
            }
            assert_eq!(hand.stack.tcp_recv_queue(id), 0);
        }
    }

    /// 3.10.7.3 -: In SYN-SENT a RST counts only if it acknowledges our SYN.
    fn s3_10_7_3_a_reset_of_a_syn_must_acknowledge_it(family) {
        let mut hand = Hand::new(family);
        let (id, _) = hand.start_connect();
        let mut rst = hand.seg(RST | ACK, &[]);
        rst.ack = rst.ack.wrapping_add(1);
        assert_eq!(hand.give(&rst), []);
        assert_eq!(hand.give(&hand.seg(RST, &[])), []);
        assert_eq!(hand.stack.tcp_state(id), TcpState::SynSent);
        hand.give(&hand.seg(RST | ACK, &[]));
        assert_eq!(hand.stack.tcp_take_error(id), Some(Error::ConnectionRefused));
    }

    /// 3.10.7.3 -: What is neither SYN nor RST is dropped in SYN-SENT, data on the SYN-ACK is taken, and so is a FIN.
    fn s3_10_7_3_data_and_fin_may_come_with_the_syn_ack(family) {
        let mut hand = Hand::new(family);
        let (id, _) = hand.start_connect();
        assert_eq!(hand.give(&hand.seg(ACK | PSH, b"early")), []);
        assert_eq!(hand.stack.tcp_state(id), TcpState::SynSent);
        let mut answer = hand.syn_ack();
        answer.payload = b"banner".to_vec();
        answer.flags |= FIN;
        let acks = hand.give(&answer);
        assert_eq!(acks.last().map(|seg| seg.ack), Some(hand.seq + 1 + 6 + 1));
        assert_eq!(hand.stack.tcp_state(id), TcpState::CloseWait);
        assert_eq!(read_all(&mut hand, id), b"banner");
        assert_eq!(hand.stack.tcp_recv(id, &mut [0; 8]), Ok(0));
    }

    /// 3.10.7.2 -: Data that comes with a SYN is never delivered before the handshake is complete.
    fn s3_10_7_2_data_on_a_syn_is_not_delivered_early(family) {
        let mut hand = Hand::new(family);
        let listener = hand.listen();
        let mut syn = hand.syn();
        syn.payload = b"early".to_vec();
        let answers = hand.give(&syn);
        assert_eq!(answers.len(), 1);
        assert_eq!(answers[0].flags, SYN | ACK);
        assert_eq!(hand.stack.tcp_accept(listener).unwrap_err(), Error::WouldBlock);
        // Not acknowledged, so the peer sends it again.
        assert_eq!(answers[0].ack, hand.seq + 1);
        hand.seq += 1;
        hand.ack = answers[0].seq.wrapping_add(1);
        hand.send(ACK | PSH, b"early");
        let (id, _) = hand.stack.tcp_accept(listener).unwrap();
        assert_eq!(read_all(&mut hand, id), b"early");
    }

    /// 3.10.7.2 -: A listener resets an ACK and drops what is neither SYN nor ACK.
    fn s3_10_7_2_a_listener_resets_acks_and_drops_the_rest(family) {
        let mut hand = Hand::new(family);
        hand.listen();
        hand.ack = 1_234;
        let answers = hand.give(&hand.seg(ACK, b"data"));
        assert_eq!((answers.len(), answers[0].flags, answers[0].seq), (1, RST, 1_234));
        for flags in [0, FIN, PSH, URG, FIN | PSH | URG, RST] {
            assert_eq!(hand.give(&hand.seg(flags, b"data")), [], "{flags}");
        }
        assert_eq!(hand.stack.tcp_half_open(), 0);
    }

    /// 3.5.3 SHLD-2: A RST may carry data.
    fn s3_5_3_shld_2_a_reset_may_carry_data(family) {
        let (mut hand, id) = accepted(family);
        hand.give(&hand.seg(RST | ACK, b"why I reset"));
        assert_eq!(hand.stack.tcp_state(id), TcpState::Closed);
        assert_eq!(hand.stack.tcp_recv(id, &mut [0; 32]), Err(Error::ConnectionReset));
    }

    /// 3.6 MUST-12: The application can tell a connection that was reset from one that was closed.
    fn s3_6_must_12_a_reset_is_not_taken_for_the_end(family) {
        let (mut hand, id) = accepted(family);
        hand.send(FIN | ACK, &[]);
        assert_eq!(hand.stack.tcp_recv(id, &mut [0; 8]), Ok(0));
        let (mut hand, id) = accepted(family);
        hand.give(&hand.seg(RST, &[]));
        assert!(hand.stack.tcp_readiness(id).contains(Readiness::READABLE | Readiness::CLOSED));
        assert_eq!(hand.stack.tcp_recv(id, &mut [0; 8]), Err(Error::ConnectionReset));
        assert_eq!(hand.stack.tcp_send(id, b"x"), Err(Error::BrokenPipe));
    }

    /// 3.6 -: Both may close at the same time, and each state of closing repeats its FIN until it is acknowledged.
    fn s3_6_a_fin_is_repeated_until_acknowledged(family) {
        for state in [TcpState::FinWait1, TcpState::Closing, TcpState::LastAck] {
            let (mut hand, id) = in_state(family, state);
            let again = hand.pass(Duration::from_secs(4));
            let fins: Vec<&Seg> = again.iter().filter(|seg| seg.flags & FIN != 0).collect();
            assert!(fins.len() >= 2, "{state:?} {again:?}");
            assert!(fins.iter().all(|seg| seg.seq == hand.ack && seg.ack == hand.seq));
            hand.acknowledge(1);
            let after = match state {
                TcpState::FinWait1 => TcpState::FinWait2,
                TcpState::Closing => TcpState::TimeWait,
                _ => TcpState::Closed,
            };
            assert_eq!(hand.stack.tcp_state(id), after);
            assert_eq!(hand.pass(Duration::from_secs(10)), []);
        }
    }

    /// 3.6 -: A FIN may come with data, in order and out of it.
    fn s3_6_a_fin_may_come_with_data(family) {
        let (mut hand, id) = accepted(family);
        let mut late = hand.seg(ACK | FIN, b"end");
        late.seq += 3;
        hand.give(&late);
        assert_eq!(hand.stack.tcp_state(id), TcpState::Established);
        let answers = hand.send(ACK, b"the");
        assert_eq!(hand.stack.tcp_state(id), TcpState::CloseWait);
        assert_eq!(answers.last().map(|seg| seg.ack), Some(hand.seq + 4));
        assert_eq!(read_all(&mut hand, id), b"theend");
    }

    /// 3.6 -: Nothing is taken from behind a FIN.
    fn s3_6_nothing_is_taken_from_behind_a_fin(family) {
        for state in [TcpState::CloseWait, TcpState::LastAck, TcpState::Closing] {
            let (mut hand, id) = in_state(family, state);
            hand.give(&hand.seg(ACK | PSH, b"too late"));
            hand.give(&hand.seg(ACK | FIN, &[]));
            assert_eq!(hand.stack.tcp_state(id), state);
            assert_eq!(hand.stack.tcp_recv_queue(id), 0);
        }
    }

    /// 3.6 MAY-1: A side may close its direction and still receive.
    fn s3_6_may_1_a_closed_direction_still_receives(family) {
        let (mut hand, id) = in_state(family, TcpState::FinWait2);
        for _ in 0..5 {
            hand.pass(Duration::from_secs(100));
            hand.send(ACK | PSH, b"still here");
            assert_eq!(read_all(&mut hand, id), b"still here");
        }
        assert_eq!(hand.stack.tcp_send(id, b"x"), Err(Error::BrokenPipe));
        hand.send(ACK | FIN, &[]);
        assert_eq!(hand.stack.tcp_state(id), TcpState::TimeWait);
        // And the other way.
        let (mut hand, id) = in_state(family, TcpState::CloseWait);
        hand.stack.tcp_send(id, b"answer").unwrap();
        assert_eq!(payload(&hand.out()), b"answer");
    }

    /// 3.6.1 SHLD-3: Who closes with data unread, or gets data after it closed, sends a RST.
    fn s3_6_1_shld_3_data_that_is_lost_is_told_with_a_reset(family) {
        let (mut hand, id) = accepted(family);
        hand.send(ACK | PSH, b"unread");
        hand.stack.tcp_close(hand.now, id);
        assert!(hand.out().iter().any(|seg| seg.flags & RST != 0 && seg.seq == hand.ack));
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_close(hand.now, id);
        hand.out();
        hand.ack += 1;
        let answers = hand.send(ACK | PSH, b"too late");
        assert_eq!(answers.len(), 1);
        assert_eq!((answers[0].flags & RST, answers[0].seq), (RST, hand.ack));
    }

    /// 3.6.1 MUST-13: Who closes first lingers in TIME-WAIT for twice the segment lifetime, taken to be 30 s as by Linux.
    fn s3_6_1_must_13_time_wait_lasts_two_segment_lifetimes(family) {
        let (mut hand, id) = in_state(family, TcpState::TimeWait);
        hand.stack.tcp_close(hand.now, id);
        assert_eq!(hand.stack.tcp_time_waits(), 1);
        hand.pass(Duration::from_secs(59));
        assert_eq!(hand.stack.tcp_time_waits(), 1);
        // The peer's FIN again starts the time anew.
        let mut fin = hand.seg(ACK | FIN, &[]);
        fin.seq = fin.seq.wrapping_sub(1);
        let answers = hand.give(&fin);
        assert_eq!((answers.len(), answers[0].ack), (1, hand.seq));
        hand.pass(Duration::from_secs(59));
        assert_eq!(hand.stack.tcp_time_waits(), 1);
        hand.pass(Duration::from_secs(2));
        assert_eq!(hand.stack.tcp_time_waits(), 0);
    }

    /// 3.6.1 MAY-2: A SYN with a higher sequence number makes a new connection of one in TIME-WAIT, numbered above the old.
    fn s3_6_1_may_2_a_higher_syn_reopens_time_wait(family) {
        for close in [true, false] {
            let (mut hand, id) = in_state(family, TcpState::TimeWait);
            if close {
                hand.stack.tcp_close(hand.now, id);
            }
            hand.seq += 1_000;
            let answers = hand.give(&hand.syn());
            assert_eq!((answers.len(), answers[0].flags), (1, SYN | ACK));
            assert!(answers[0].seq.wrapping_sub(hand.ack) < 1 << 31);
        }
    }

    /// 3.6.1 SHLD-4: With timestamps a SYN with a newer one does so whatever its sequence number.
    fn s3_6_1_shld_4_a_newer_timestamp_reopens_time_wait(family) {
        for (later, reopens) in [(1, true), (-1, false)] {
            let mut hand = Hand::new(family);
            hand.timestamps = Some((10_000, 0));
            let listener = hand.listen();
            let id = hand.establish(listener);
            end(&mut hand, id);
            hand.stack.tcp_close(hand.now, id);
            hand.seq = hand.seq.wrapping_sub(1_000_000);
            hand.timestamps = Some((10_000u32.wrapping_add_signed(later), 0));
            let answers = hand.give(&hand.syn());
            assert_eq!(answers.len(), 1);
            assert_eq!(answers[0].flags == SYN | ACK, reopens, "{answers:?}");
        }
    }

    /// 3.10.7.4 MUST-58: ACKs are put together where several segments come at once.
    ///
    /// 3.10.7.4 MUST-59: All that has come is dealt with before the ACK is sent.
    fn s3_10_7_4_must_58_must_59_a_burst_is_acknowledged_once(family) {
        let (mut hand, id) = accepted(family);
        let mut burst = Vec::new();
        for _ in 0..30 {
            burst.push(frame(family, 2, 1, &hand.seg(ACK, &[5; 1_400])));
            hand.seq += 1_400;
        }
        hand.stack.ingest(hand.now, &burst);
        let acks = hand.out();
        assert_eq!(acks.len(), 1);
        assert_eq!(acks[0].ack, hand.seq);
        assert_eq!(read_all(&mut hand, id).len(), 42_000);
    }

    /// 3.10.7.4 SHLD-31: What comes out of order is kept.
    ///
    /// 3.10.7.4 MAY-13: And acknowledged at once with what is expected.
    fn s3_10_7_4_shld_31_may_13_what_comes_early_is_kept(family) {
        let (mut hand, id) = accepted(family);
        let data = pattern(10_000);
        for at in [9_000, 3_000, 5_000, 1_000, 7_000, 8_000, 2_000, 4_000, 6_000] {
            let mut seg = hand.seg(ACK, &data[at..at + 1_000]);
            seg.seq = seg.seq.wrapping_add(at as u32);
            let acks = hand.give(&seg);
            assert_eq!(acks.len(), 1, "{at}");
            assert_eq!(acks[0].ack, hand.seq);
        }
        let acks = hand.give(&hand.seg(ACK, &data[..1_000]));
        assert_eq!(acks.last().map(|seg| seg.ack), Some(hand.seq + 10_000));
        assert!(read_all(&mut hand, id) == data);
    }

    /// 3.10.7.4 MUST-66: With the window closed, acknowledgments and RSTs still count.
    fn s3_10_7_4_must_66_a_closed_window_lets_acks_and_resets_through(family) {
        let (mut hand, id) = with_closed_window(family);
        hand.stack.tcp_send(id, b"data").unwrap();
        hand.out();
        hand.ack += 4;
        // On a segment whose data does not fit.
        hand.give(&hand.seg(ACK | URG, b"no room"));
        assert!(hand.stack.is_send_drained(id));
        hand.give(&hand.seg(RST, &[]));
        assert_eq!(hand.stack.tcp_state(id), TcpState::Closed);
    }

    /// 3.10.7.4 -: Simultaneous close goes through CLOSING to TIME-WAIT.
    fn s3_10_7_4_a_simultaneous_close_goes_through_closing(family) {
        let (mut hand, id) = in_state(family, TcpState::FinWait1);
        let acks = hand.send(FIN | ACK, &[]);
        assert_eq!(acks.last().map(|seg| (seg.flags & RST, seg.ack)), Some((0, hand.seq)));
        assert_eq!(hand.stack.tcp_state(id), TcpState::Closing);
        hand.acknowledge(1);
        assert_eq!(hand.stack.tcp_state(id), TcpState::TimeWait);
        let mut events = Vec::new();
        while let Some(event) = hand.stack.poll_event() {
            events.push(event);
        }
        assert!(events.iter().any(|event| matches!(event, Event::Tcp(of, ready) if *of == id && ready.contains(Readiness::CLOSED))));
    }

    /// 3.10.7.4 -: A FIN with the acknowledgment of ours goes from FIN-WAIT-1 to TIME-WAIT at once.
    fn s3_10_7_4_fin_and_acknowledgment_in_one_segment(family) {
        let (mut hand, id) = in_state(family, TcpState::FinWait1);
        hand.ack += 1;
        let acks = hand.send(FIN | ACK, b"bye");
        assert_eq!(acks.last().map(|seg| seg.ack), Some(hand.seq));
        assert_eq!(hand.stack.tcp_state(id), TcpState::TimeWait);
        assert_eq!(read_all(&mut hand, id), b"bye");
    }

    /// 3.10.5 -: A connection aborted from here tells the peer with a RST that it believes, in every state.
    fn s3_10_5_an_abort_sends_a_reset(family) {
        for state in SYNCHRONIZED {
            let (mut hand, id) = in_state(family, state);
            hand.stack.tcp_abort(id);
            let sent = hand.out();
            if state == TcpState::TimeWait {
                continue;
            }
            assert_eq!(sent.len(), 1, "{state:?} {sent:?}");
            assert_eq!(sent[0].flags & RST, RST);
            let end = u32::from(!matches!(state, TcpState::Established | TcpState::CloseWait | TcpState::FinWait2));
            assert_eq!(sent[0].seq, hand.ack + end, "{state:?}");
        }
    }
}
