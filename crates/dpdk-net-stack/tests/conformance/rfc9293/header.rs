//! Sections 3.1, 3.2 and 3.4: the header, its options, sequence numbers.

use dpdk_net_packet::{checksum, ethernet, ipv4, ipv6};
use dpdk_net_stack::{Duration, TcpState};

use super::first_packet;
use crate::both_families;
use crate::common::*;
use crate::support::*;

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
}
