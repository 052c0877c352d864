//! RFC 9293: Transmission Control Protocol
//!
//! Not applicable:
//! - 3.8.5 MUST-62: the urgent pointer of segments sent points behind the urgent data. None are sent: new applications
//!   should not use the mechanism (SHLD-13, RFC 6093 section 5).
//! - 3.9.1.7 MAY-14: a call that flushes what is queued. There is none.
//! - 3.9.2 MAY-10, MAY-11: IPv4 timestamp and record route options. They are passed over.
//! - 3.9.2.1 MUST-51, MUST-52, MUST-53, SHLD-24: source routes. Packets that carry one are dropped for the sake of
//!   security, as RFC 7126 section 4.3 and 4.4 advise and all systems in use do.
//! - 3.8.4 MAY-6: a keep-alive with one byte of garbage. No peer in use needs it.
//! - 3.9.1.2 MAY-15: a flag of the send call that pushes. Every send pushes.
//! - 3.9.1.3 MAY-17: the receiver tells the application of PSH. Data is there as soon as it has come.
//! - A.1 -: security compartment and precedence. They are ignored, as RFC 2873 and this appendix say.
//!
//! Not met:
//! - 3.8.5 MUST-32, MUST-33: the application is told of urgent data, and how much. Urgent data is taken in line with the
//!   rest, which RFC 6093 section 6 recommends; that some of it is urgent is not told.
//! - 3.9.2.2 SHLD-26: hard ICMP errors abort. Only while connecting: on an established connection RFC 5927 section 5.2
//!   is followed, as by all systems in use, for a forged message would be enough to end it.
//! - 3.8.3 SHLD-9: the application is told between R1 and R2. There is no event for it; the counters tell of
//!   retransmissions.

use dpdk_net_packet::{checksum, ethernet, ipv4, ipv6};
use dpdk_net_stack::{
    Duration, Error, Event, Keepalive, ListenOptions, Readiness, TcpId, TcpState,
};

use crate::both_families;
use crate::common::*;
use crate::support::*;

/// An accepted connection in this state.
fn in_state(family: Family, state: TcpState) -> (Hand, TcpId) {
    let (mut hand, id) = accepted(family);
    match state {
        TcpState::Established => {}
        TcpState::CloseWait => {
            hand.send(FIN | ACK, &[]);
        }
        TcpState::LastAck => {
            hand.send(FIN | ACK, &[]);
            hand.stack.tcp_shutdown_write(id).unwrap();
            hand.out();
        }
        TcpState::FinWait1 => {
            hand.stack.tcp_shutdown_write(id).unwrap();
            hand.out();
        }
        TcpState::FinWait2 => {
            hand.stack.tcp_shutdown_write(id).unwrap();
            hand.out();
            hand.acknowledge(1);
        }
        TcpState::Closing => {
            hand.stack.tcp_shutdown_write(id).unwrap();
            hand.out();
            hand.send(FIN | ACK, &[]);
        }
        TcpState::TimeWait => {
            hand.stack.tcp_shutdown_write(id).unwrap();
            hand.out();
            hand.acknowledge(1);
            hand.send(FIN | ACK, &[]);
        }
        other => panic!("{other:?} is not a state of an accepted connection"),
    }
    assert_eq!(hand.stack.tcp_state(id), state);
    (hand, id)
}

const SYNCHRONIZED: [TcpState; 7] = [
    TcpState::Established,
    TcpState::CloseWait,
    TcpState::LastAck,
    TcpState::FinWait1,
    TcpState::FinWait2,
    TcpState::Closing,
    TcpState::TimeWait,
];

/// Changes the TCP header of a frame and makes its checksum right again.
fn patch(family: Family, frame: &mut [u8], change: impl FnOnce(&mut [u8])) {
    let at = ethernet::HEADER_LEN
        + match family {
            Family::V4 => ipv4::HEADER_LEN,
            Family::V6 => ipv6::HEADER_LEN,
        };
    change(&mut frame[at..]);
    frame[at + 16..at + 18].fill(0);
    checksum::fill_tcp(family.host(2), family.host(1), &mut frame[at..]);
}

/// The first TCP segment that goes out, from the IP header on.
fn first_packet(hand: &mut Hand) -> Vec<u8> {
    let mut frames: Vec<Vec<u8>> = Vec::new();
    hand.stack.poll_transmit(hand.now, &mut frames);
    frames.retain(|frame| read(frame).is_some());
    frames[0][ethernet::HEADER_LEN..].to_vec()
}

both_families! {
    /// 3.1 MUST-1, REC-1: The window is a number without sign, and beyond 16 bits with window scale.
    fn s3_1_must_1_the_window_is_unsigned(family) {
        for (wscale, window, least) in [(None, 60_000, 33_000), (Some(4), 60_000, 120_000)] {
            let mut hand = Hand::new(family);
            hand.wscale = wscale;
            hand.window = window;
            let listener = hand.listen();
            let id = hand.establish(listener);
            let mut most = 0;
            for _ in 0..200 {
                let _ = hand.stack.tcp_send(id, &pattern(200_000));
                let sent = hand.out();
                most = most.max(drain(&mut hand, sent));
            }
            assert!(most > least, "{wscale:?}: {most}");
            assert!(most <= u32::from(window) << wscale.unwrap_or(0), "{most}");
        }
    }

    /// 3.1 MUST-2: The sender computes the checksum.
    ///
    /// 3.1 MUST-3: The receiver checks it.
    fn s3_1_must_2_must_3_checksums_are_computed_and_checked(family) {
        let (mut hand, id) = accepted(family);
        // Every segment read by the test has its checksum verified.
        hand.stack.tcp_send(id, b"checked").unwrap();
        assert_eq!(payload(&hand.out()), b"checked");
        let mut bad = frame(family, 2, 1, &hand.seg(ACK | PSH, b"flipped"));
        *bad.last_mut().unwrap() ^= 0x10;
        hand.stack.ingest(hand.now, &[bad]);
        assert_eq!(hand.out(), []);
        assert_eq!(read_all(&mut hand, id), b"");
    }

    /// 3.1 -: Reserved bits are ignored when received and zero when sent.
    fn s3_1_reserved_bits_are_ignored(family) {
        let (mut hand, id) = accepted(family);
        let mut odd = frame(family, 2, 1, &hand.seg(ACK | PSH, b"odd"));
        patch(family, &mut odd, |tcp| tcp[12] |= 0x0f);
        hand.stack.ingest(hand.now, &[odd]);
        assert_eq!(read_all(&mut hand, id), b"odd");
        hand.stack.tcp_shutdown_write(id).unwrap();
        let packet = first_packet(&mut hand);
        let at = packet.len() - 20;
        assert_eq!(packet[at + 12], 0x50);
    }

    /// 3.1 MUST-69: Padding of the header is zero.
    ///
    /// 3.1 MUST-68: All options but end of list and no-operation have a length.
    fn s3_1_must_69_must_68_options_are_well_formed(family) {
        let mut hand = Hand::new(family);
        hand.stack.tcp_connect(hand.now, None, family.at(2, 5_000)).unwrap();
        let packet = first_packet(&mut hand);
        let tcp = &packet[if family == Family::V4 { 20 } else { 40 }..];
        let mut options = &tcp[20..usize::from(tcp[12] >> 4) * 4];
        let mut kinds = Vec::new();
        while let Some(&kind) = options.first() {
            match kind {
                0 => {
                    assert!(options.iter().all(|byte| *byte == 0));
                    break;
                }
                1 => options = &options[1..],
                _ => {
                    kinds.push(kind);
                    let len = usize::from(options[1]);
                    assert!(len >= 2 && len <= options.len());
                    options = &options[len..];
                }
            }
        }
        kinds.sort_unstable();
        assert_eq!(kinds, [2, 3, 4, 8]);
    }

    /// 3.2 MUST-4: End of list, no-operation and maximum segment size are understood.
    fn s3_2_must_4_the_mandatory_options_are_understood(family) {
        let mut hand = Hand::new(family);
        let listener = hand.listen();
        hand.mss = None;
        let mut syn = hand.syn();
        // What stands behind the end of the list does not count.
        syn.options = vec![1, 2, 4, 2, 88, 0, 3, 3];
        let answers = hand.give(&syn);
        hand.seq += 1;
        hand.ack = answers[0].seq.wrapping_add(1);
        assert_eq!(answers[0].wscale, None);
        hand.give(&hand.seg(ACK, &[]));
        let (id, _) = hand.stack.tcp_accept(listener).unwrap();
        hand.stack.tcp_send(id, &pattern(3_000)).unwrap();
        assert_eq!(hand.out()[0].payload.len(), 600);
    }

    /// 3.2 MUST-5: Options may come with any segment.
    ///
    /// 3.2 MUST-6: What is not understood is passed over.
    fn s3_2_must_5_must_6_unknown_options_in_any_segment_are_passed_over(family) {
        let mut hand = Hand::new(family);
        let listener = hand.listen();
        let mut syn = hand.syn();
        syn.options = vec![253, 6, 1, 2, 3, 4, 77, 2];
        let answers = hand.give(&syn);
        assert_eq!(answers[0].flags, SYN | ACK);
        hand.seq += 1;
        hand.ack = answers[0].seq.wrapping_add(1);
        let mut ack = hand.seg(ACK, &[]);
        ack.options = vec![19, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        hand.give(&ack);
        let (id, _) = hand.stack.tcp_accept(listener).unwrap();
        let mut data = hand.seg(ACK | PSH, b"with options");
        data.options = vec![200, 3, 9, 2, 4, 0, 10];
        hand.give(&data);
        hand.seq += 12;
        let mut fin = hand.seg(ACK | FIN, &[]);
        fin.options = vec![254, 4, 1, 1];
        hand.give(&fin);
        assert_eq!(read_all(&mut hand, id), b"with options");
        assert_eq!(hand.stack.tcp_state(id), TcpState::CloseWait);
    }

    /// 3.2 MUST-7: Options of an impossible length do no harm.
    fn s3_2_must_7_impossible_option_lengths_do_no_harm(family) {
        let bad: [&[u8]; 7] = [
            &[2, 0, 1, 1],
            &[2, 1, 1, 1],
            &[2, 3, 1, 1],
            &[8, 40, 1, 1],
            &[1, 1, 1, 5],
            &[5, 7, 0, 0, 0, 0, 0, 0],
            &[3, 255, 0, 0],
        ];
        for options in bad {
            let mut hand = Hand::new(family);
            let listener = hand.listen();
            let mut syn = hand.syn();
            syn.options = options.to_vec();
            let answers = hand.give(&syn);
            assert_eq!(answers.len(), 1, "{options:?}");
            hand.seq += 1;
            hand.ack = answers[0].seq.wrapping_add(1);
            let mut data = hand.seg(ACK | PSH, b"data");
            data.options = options.to_vec();
            hand.give(&data);
            let (id, _) = hand.stack.tcp_accept(listener).unwrap();
            assert_eq!(read_all(&mut hand, id), b"data", "{options:?}");
        }
    }

    /// 3.2 MUST-64: Options are read at any alignment.
    fn s3_2_must_64_options_are_read_at_any_alignment(family) {
        let mut hand = Hand::new(family);
        hand.listen();
        let mut syn = hand.syn();
        syn.options = vec![1, 8, 10, 0, 0, 0, 77, 0, 0, 0, 0, 4, 2, 3, 3, 5];
        let answers = hand.give(&syn);
        assert_eq!(answers[0].timestamps.map(|(_, echo)| echo), Some(77));
        assert!(answers[0].sack_ok && answers[0].wscale.is_some());
    }

    /// 3.4.1 MUST-8: Initial sequence numbers follow a clock.
    fn s3_4_1_must_8_initial_sequence_numbers_follow_a_clock(family) {
        let mut hand = Hand::new(family);
        hand.listen();
        let first = hand.give(&hand.syn())[0].seq;
        let mut rst = hand.seg(RST, &[]);
        rst.seq += 1;
        hand.give(&rst);
        hand.pass(Duration::from_secs(1));
        let second = hand.give(&hand.syn())[0].seq;
        // A tick of 4 microseconds.
        assert_eq!(second.wrapping_sub(first), 250_000);
    }

    /// 3.4.1 SHLD-1: Initial sequence numbers have a keyed hash of the 4-tuple in them.
    ///
    /// 3.4.1 MUST-9: The hash cannot be computed by others.
    fn s3_4_1_shld_1_must_9_initial_sequence_numbers_hide_behind_a_secret(family) {
        let mut seen = Vec::new();
        for seed in [1u8, 2] {
            let mut config = config(1);
            config.seed = [seed; 32];
            let mut hand = Hand::with(family, config);
            hand.listen();
            for port in 5_000..5_010 {
                hand.port = port;
                seen.push(hand.give(&hand.syn())[0].seq);
            }
        }
        for (i, a) in seen.iter().enumerate() {
            for b in &seen[..i] {
                let distance = a.wrapping_sub(*b).min(b.wrapping_sub(*a));
                assert!(distance > 1_000, "{a} and {b}");
            }
        }
    }

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
            hand.stack.tcp_shutdown_write(id).unwrap();
            hand.out();
            hand.acknowledge(1);
            hand.send(FIN | ACK, &[]);
            hand.stack.tcp_close(hand.now, id);
            hand.seq = hand.seq.wrapping_sub(1_000_000);
            hand.timestamps = Some((10_000u32.wrapping_add_signed(later), 0));
            let answers = hand.give(&hand.syn());
            assert_eq!(answers.len(), 1);
            assert_eq!(answers[0].flags == SYN | ACK, reopens, "{answers:?}");
        }
    }

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
        let mut config = config(1);
        config.tcp.recv_buffer = 4_096;
        config.tcp.recv_window = 4_096;
        let (mut hand, id) = accepted_with(family, config);
        for _ in 0..4 {
            hand.send(ACK | PSH, &[1; 1_024]);
        }
        hand.pass(Duration::from_secs(1));
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

    /// 3.9.1.1 MUST-41: A listener does not disturb connections or other listeners.
    ///
    /// 3.9.1.1 MUST-42: Connections to a port exist beside the listener of that port.
    fn s3_9_1_1_must_41_must_42_listeners_and_connections_of_a_port_do_not_disturb_each_other(family) {
        let (mut hand, id) = accepted(family);
        let other = ListenOptions::new(family.any(81));
        hand.stack.tcp_listen(other).unwrap();
        hand.send(ACK | PSH, b"undisturbed");
        assert_eq!(read_all(&mut hand, id), b"undisturbed");
        let state = (hand.port, hand.seq, hand.ack);
        hand.port += 1;
        hand.half_open();
        (hand.port, hand.seq, hand.ack) = state;
        hand.send(ACK | PSH, b"still");
        assert_eq!(read_all(&mut hand, id), b"still");
    }

    /// 3.9.1.1 MUST-43: The local address can be chosen.
    ///
    /// 3.9.1.1 MUST-44: If it is not, the stack chooses one by the destination.
    ///
    /// 3.9.1.1 MUST-45: All segments of a connection come from the same address.
    fn s3_9_1_1_must_43_must_44_must_45_the_local_address_is_chosen_or_found_and_kept(family) {
        let second = family.host(9);
        let prefix = if family == Family::V4 { "15" } else { "64" };
        let config = config(1).with_address(format!("{second}/{prefix}").parse().unwrap());
        let mut hand = Hand::with(family, config);
        let remote = family.at(2, 5_000);
        let chosen = hand.stack.tcp_connect(hand.now, Some((second, 0).into()), remote).unwrap();
        assert_eq!(hand.stack.tcp_local(chosen).unwrap().ip(), second);
        let found = hand.stack.tcp_connect(hand.now, None, remote).unwrap();
        assert_eq!(hand.stack.tcp_local(found).unwrap().ip(), family.host(1));
        assert_eq!(hand.stack.tcp_connect(hand.now, Some((family.host(77), 0).into()), remote), Err(Error::AddrNotAvailable));
        let mut frames: Vec<Vec<u8>> = Vec::new();
        for _ in 0..3 {
            hand.stack.poll_transmit(hand.now, &mut frames);
            hand.now += Duration::from_secs(2);
            hand.stack.handle_timeout(hand.now);
        }
        let mut sources = std::collections::BTreeMap::new();
        for frame in &frames {
            let parsed = dpdk_net_packet::parse(frame).unwrap();
            if let dpdk_net_packet::Network::Ip(ip, dpdk_net_packet::Transport::Tcp(tcp)) = parsed.network {
                let source = sources.entry(tcp.src_port()).or_insert(ip.src());
                assert_eq!(*source, ip.src());
            }
        }
        assert_eq!(sources.len(), 2);
    }

    /// 3.9.1.1 MUST-46: Connections to groups and broadcast addresses are refused.
    fn s3_9_1_1_must_46_connections_to_groups_are_refused(family) {
        let mut hand = Hand::new(family);
        let bad: &[&str] = match family {
            Family::V4 => &["224.0.0.1:80", "255.255.255.255:80", "198.19.255.255:80", "0.0.0.0:80"],
            Family::V6 => &["[ff02::1]:80", "[ff0e::1]:80", "[::]:80"],
        };
        for remote in bad {
            let remote = remote.parse().unwrap();
            assert!(hand.stack.tcp_connect(hand.now, None, remote).is_err(), "{remote}");
        }
        assert_eq!(hand.out(), []);
        assert_eq!(hand.stack.tcp_count(), 0);
    }

    /// 3.9.1.2 MUST-60: Data without a push is not held back for ever.
    ///
    /// 3.9.1.2 MUST-61: The last segment of what is written has PSH.
    ///
    /// 3.9.1.2 SHLD-27, MAY-16: Writes are put together, with PSH only on the last segment.
    ///
    /// 3.9.1.2 SHLD-28: Segments are as long as possible.
    fn s3_9_1_2_must_60_must_61_shld_27_shld_28_writes_are_put_together_and_pushed(family) {
        let (mut hand, id) = accepted(family);
        for part in pattern(7_100).chunks(71) {
            hand.stack.tcp_send(id, part).unwrap();
        }
        let mut sent = hand.out();
        // Nagle holds the short end back, but only until the rest is acknowledged.
        sent.extend(hand.acknowledge(7_000));
        assert_eq!(sent.iter().map(|seg| seg.payload.len()).collect::<Vec<_>>(), [1_400, 1_400, 1_400, 1_400, 1_400, 100]);
        assert_eq!(sent.iter().map(|seg| seg.flags & PSH != 0).collect::<Vec<_>>(), [false, false, false, false, false, true]);
        assert!(payload(&sent) == pattern(7_100));
    }

    /// 3.9.1.8 MUST-47, SHLD-20: Soft errors are reported: the reason why a peer could not be reached is told when the
    /// connection is given up.
    ///
    /// 3.9.2.2 SHLD-25: So are ICMP messages of an unreachable destination.
    fn s3_9_1_8_must_47_shld_25_the_reason_is_told_when_a_connection_is_given_up(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_send(id, b"anyone?").unwrap();
        let sent = hand.out();
        let about = frame(family, 1, 2, &sent[0]);
        hand.stack.ingest(hand.now, &[crate::icmp::host_unreachable(family, &about)]);
        assert_eq!(hand.stack.tcp_state(id), TcpState::Established);
        hand.pass(Duration::from_secs(1_000));
        assert_eq!(hand.stack.tcp_recv(id, &mut [0; 8]), Err(Error::HostUnreachable));
    }

    /// 3.9.1.9 MUST-48: The application can choose the differentiated services field.
    ///
    /// 3.9.1.9 SHLD-21: And another one while the connection lives.
    ///
    /// 3.9.1.9 SHLD-22: It stands in the IP header as it was given.
    fn s3_9_1_9_must_48_shld_21_shld_22_the_service_can_be_chosen(family) {
        use dpdk_net_stack::TcpOption;
        let (mut hand, id) = accepted(family);
        for dscp in [46u8, 10, 0] {
            hand.stack.tcp_set_option(id, TcpOption::Tos(dscp << 2)).unwrap();
            hand.stack.tcp_send(id, b"x").unwrap();
            let packet = first_packet(&mut hand);
            let class = match family {
                Family::V4 => packet[1],
                Family::V6 => packet[0] << 4 | packet[1] >> 4,
            };
            assert_eq!(class, dscp << 2);
            hand.acknowledge(1);
        }
    }

    /// 3.9.2 MUST-49: The time to live can be set.
    fn s3_9_2_must_49_the_time_to_live_can_be_set(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_set_ttl(id, 7).unwrap();
        hand.stack.tcp_send(id, b"near").unwrap();
        let packet = first_packet(&mut hand);
        assert_eq!(if family == Family::V4 { packet[8] } else { packet[7] }, 7);
    }

    /// 3.9.2.2 MUST-54: ICMP errors reach the connection they are about.
    fn s3_9_2_2_must_54_icmp_errors_reach_their_connection(family) {
        let mut hand = Hand::new(family);
        let (one, syn) = hand.start_connect();
        hand.port += 1;
        let (other, _) = hand.start_connect();
        let about = frame(family, 1, 2, &syn);
        hand.stack.ingest(hand.now, &[crate::icmp::port_unreachable(family, &about)]);
        assert_eq!(hand.stack.tcp_take_error(one), Some(Error::ConnectionRefused));
        assert_eq!(hand.stack.tcp_state(other), TcpState::SynSent);
    }

    /// 3.9.2.2 MUST-56: Soft ICMP errors, also of parameter problems and expired times, abort no connection.
    fn s3_9_2_2_must_56_soft_icmp_errors_abort_nothing(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_send(id, b"data").unwrap();
        let sent = hand.out();
        let about = frame(family, 1, 2, &sent[0]);
        let messages = match family {
            Family::V4 => vec![(3, 0), (3, 1), (3, 5), (3, 11), (3, 12), (11, 0), (11, 1), (12, 0)],
            Family::V6 => vec![(1, 0), (1, 3), (3, 0), (3, 1), (4, 0), (4, 1), (4, 2)],
        };
        for (kind, code) in messages {
            hand.stack.ingest(hand.now, &[crate::icmp::error(family, (kind, code), 0, &about)]);
            assert_eq!(hand.stack.tcp_state(id), TcpState::Established, "{kind} {code}");
        }
        assert_eq!(hand.acknowledge(4), []);
        hand.stack.tcp_send(id, b"more").unwrap();
        assert_eq!(payload(&hand.out()), b"more");
    }

    /// 3.9.2.3 MUST-57: Segments to groups and broadcast addresses are dropped without a word.
    ///
    /// 3.9.2.3 MUST-63: So are SYNs from addresses that cannot be anybody's.
    fn s3_9_2_3_must_57_must_63_impossible_addresses_are_dropped(family) {
        let mut hand = Hand::new(family);
        hand.listen();
        let (to, from): (&[&str], &[&str]) = match family {
            Family::V4 => (&["224.0.0.1", "255.255.255.255", "198.19.255.255"], &["224.0.0.5", "255.255.255.255", "0.0.0.0", "127.0.0.1", "198.19.255.255", "198.18.0.1"]),
            Family::V6 => (&["ff02::1", "ff02::1:ff00:1"], &["ff02::1", "::", "::1", "fd00::1"]),
        };
        let good = (family.host(2), family.host(1));
        let cases = to.iter().map(|to| (good.0, to.parse().unwrap()))
            .chain(from.iter().map(|from| (from.parse().unwrap(), good.1)));
        for (src, dst) in cases {
            for flags in [SYN, ACK, FIN] {
                let frame = between(src, dst, &Seg { flags, ..hand.syn() });
                hand.stack.ingest(hand.now, &[frame]);
                let mut out: Vec<Vec<u8>> = Vec::new();
                hand.stack.poll_transmit(hand.now, &mut out);
                assert_eq!(out.len(), 0, "{src} to {dst}");
            }
        }
        assert_eq!(hand.stack.tcp_half_open(), 0);
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
        let mut config = config(1);
        config.tcp.recv_buffer = 4_096;
        config.tcp.recv_window = 4_096;
        let (mut hand, id) = accepted_with(family, config);
        for _ in 0..4 {
            hand.send(ACK | PSH, &[1; 1_024]);
        }
        hand.pass(Duration::from_secs(1));
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

/// The TCP segment in a frame, if it is one.
fn read_any(frame: &[u8]) -> Option<Seg> {
    dpdk_net_packet::parse(frame).ok()?;
    read(frame)
}

/// 3.9.2 MUST-50: IPv4 options that TCP does not understand are passed over.
#[test]
fn s3_9_2_must_50_ip_options_are_passed_over() {
    let family = Family::V4;
    let (mut hand, id) = accepted(family);
    let plain = frame(family, 2, 1, &hand.seg(ACK | PSH, b"with options"));
    let mut odd = plain[..ethernet::HEADER_LEN + 20].to_vec();
    // No-operation, an experimental option, end of list.
    odd.extend([1, 158, 6, 1, 2, 3, 4, 0]);
    odd.extend(&plain[ethernet::HEADER_LEN + 20..]);
    let ip = &mut odd[ethernet::HEADER_LEN..];
    ip[0] = 0x47;
    let total = ip.len() as u16;
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    ip[10..12].fill(0);
    let sum: u32 = ip[..28]
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    hand.stack.ingest(hand.now, &[odd]);
    assert_eq!(read_all(&mut hand, id), b"with options");
}

/// 3.9.2.2 MUST-55: Source quench is dropped without a word.
#[test]
fn s3_9_2_2_must_55_source_quench_is_dropped() {
    let family = Family::V4;
    let (mut hand, id) = accepted(family);
    hand.stack.tcp_send(id, &pattern(60_000)).unwrap();
    let sent = hand.out();
    let about = frame(family, 1, 2, &sent[0]);
    let quench = crate::icmp::error(family, (4, 0), 0, &about);
    hand.stack.ingest(hand.now, &[quench]);
    assert_eq!(hand.out(), []);
    hand.pass(Duration::from_millis(1));
    let sent: usize = (0..10).map(|_| hand.acknowledge(1_400).len()).sum();
    assert_eq!(sent, 20, "slow start goes on");
}
