//! What TCP drops is counted, also where nothing is answered.

use crate::both_families;
use crate::common::*;
use crate::counted::since;

/// Gives a segment and tells the counters that it moves, beside the one of all segments.
fn moved(hand: &mut Hand, seg: &Seg) -> Vec<(&'static str, u64)> {
    let before = hand.stack.stats().tcp;
    let answers = hand.give(seg).len() as u64;
    let mut moved = since(&hand.stack, &before);
    let sent = moved.iter().position(|it| *it == ("tx_segments", answers));
    assert_eq!(sent.is_some(), answers > 0, "{moved:?}");
    sent.map(|at| moved.remove(at));
    assert_eq!(moved.remove(0), ("rx_segments", 1));
    moved
}

/// A segment of the peer that begins so far from what is next.
fn beside(hand: &Hand, flags: u8, payload: &[u8], offset: i32) -> Seg {
    let seg = hand.seg(flags, payload);
    let seq = seg.seq.wrapping_add_signed(offset);
    Seg { seq, ..seg }
}

both_families! {
    fn a_reset_outside_the_window(family) {
        let (mut hand, _) = accepted(family);
        for (flags, offset) in [(RST, -1), (RST | ACK, 1 << 24)] {
            let rst = beside(&hand, flags, &[], offset);
            assert_eq!(moved(&mut hand, &rst), [("rx_rst_out_of_window", 1)]);
        }
    }

    fn a_segment_without_an_ack(family) {
        let (mut hand, _) = accepted(family);
        let seg = hand.seg(PSH, b"data");
        assert_eq!(moved(&mut hand, &seg), [("unexpected", 1)]);
    }

    fn a_segment_without_the_timestamp_that_was_agreed_on(family) {
        let mut hand = Hand::new(family);
        hand.timestamps = Some((10_000, 0));
        let listener = hand.listen();
        hand.establish(listener);
        hand.timestamps = None;
        for seg in [hand.seg(ACK, &[]), hand.seg(ACK | PSH, b"data")] {
            assert_eq!(moved(&mut hand, &seg), [("unexpected", 1)]);
        }
    }

    fn what_answers_no_syn(family) {
        let mut hand = Hand::new(family);
        hand.start_connect();
        let unacceptable = |seg: Seg| Seg { ack: seg.ack.wrapping_add(1), ..seg };
        for (seg, counted) in [
            (unacceptable(hand.syn_ack()), &[("tx_resets", 1), ("rx_ack_out_of_place", 1)][..]),
            (unacceptable(hand.seg(RST | ACK, &[])), &[("rx_rst_out_of_window", 1)]),
            (hand.seg(RST, &[]), &[("rx_rst_out_of_window", 1)]),
            (hand.seg(ACK, &[]), &[("unexpected", 1)]),
        ] {
            assert_eq!(moved(&mut hand, &seg), counted, "{seg:?}");
        }
    }

    fn what_a_half_open_connection_has_no_use_for(family) {
        let mut hand = Hand::new(family);
        hand.listen();
        hand.half_open();
        let challenged = |cause| vec![("challenge_acks", 1), (cause, 1)];
        for (seg, counted) in [
            (beside(&hand, RST, &[], -1), vec![("rx_rst_out_of_window", 1)]),
            (beside(&hand, ACK, &[], -1), challenged("rx_ack_out_of_place")),
            (beside(&hand, ACK, b"data", 1 << 24), challenged("rx_out_of_window")),
            (hand.seg(PSH, b"data"), vec![("unexpected", 1)]),
        ] {
            assert_eq!(moved(&mut hand, &seg), counted, "{seg:?}");
        }
        assert_eq!(hand.stack.tcp_half_open(), 1);
    }

    fn what_time_wait_has_no_use_for(family) {
        for let_go in [false, true] {
            let (mut hand, id) = accepted(family);
            hand.stack.tcp_shutdown_write(id).unwrap();
            hand.out();
            hand.acknowledge(1);
            hand.send(FIN | ACK, &[]);
            if let_go {
                hand.stack.tcp_close(hand.now, id);
                assert_eq!(hand.stack.tcp_time_waits(), 1);
            }
            for (seg, cause) in [
                (beside(&hand, RST, &[], 1), "rx_rst_out_of_window"),
                (hand.seg(ACK, &[]), "unexpected"),
            ] {
                assert_eq!(moved(&mut hand, &seg), [(cause, 1)], "{let_go}");
            }
        }
    }
}
