//! When a connection that only receives sends its ACKs and tells its window. The peer's segments are made by hand.

mod common;

use common::*;
use dpdk_net_stack::{Duration, Readiness};

/// Gives `data` in sequence and tells what was answered.
fn give(hand: &mut Hand, data: &[u8]) -> Vec<Seg> {
    let answers = hand.give(&hand.seg(ACK | PSH, data));
    hand.seq = hand.seq.wrapping_add(data.len() as u32);
    answers
}

fn acks(segs: &[Seg]) -> Vec<u32> {
    segs.iter().map(|seg| seg.ack).collect()
}

both_families! {
    fn a_small_segment_is_acknowledged_late_but_within_40_ms(family) {
        let mut hand = Hand::new(family);
        let listener = hand.listen();
        hand.establish(listener);
        // The first ACK that the state machine itself sends.
        give(&mut hand, b"first");
        hand.pass(Duration::from_millis(100));
        for round in 0..5 {
            assert_eq!(give(&mut hand, b"small"), [], "round {round}");
            let late = hand.pass(Duration::from_millis(45));
            assert_eq!(acks(&late), [hand.seq], "round {round}");
            assert_eq!(hand.pass(Duration::from_secs(1)), [], "round {round}");
        }
    }

    fn an_ack_that_waits_is_not_put_off_by_what_comes_after(family) {
        let mut hand = Hand::new(family);
        let listener = hand.listen();
        hand.establish(listener);
        give(&mut hand, b"first");
        hand.pass(Duration::from_millis(100));
        let mut late = give(&mut hand, b"a");
        for _ in 0..9 {
            late.extend(hand.pass(Duration::from_millis(5)));
            late.extend(give(&mut hand, b"b"));
        }
        assert!(!late.is_empty(), "45 ms of small segments and no ACK");
    }

    fn more_than_a_full_segment_is_acknowledged_at_once(family) {
        let mut hand = Hand::new(family);
        let listener = hand.listen();
        hand.establish(listener);
        give(&mut hand, b"first");
        hand.pass(Duration::from_millis(100));
        assert_eq!(give(&mut hand, &[1; 1_000]), []);
        assert_eq!(acks(&give(&mut hand, &[2; 1_000])), [hand.seq]);
    }

    fn reading_tells_the_window_once_it_has_doubled(family) {
        let (mut hand, id) = accepted(family);
        // Until the window is closed, and acknowledged as such.
        let mut last = Vec::new();
        for _ in 0..1_000 {
            let answers = give(&mut hand, &[7; 1_000]);
            last.extend(answers);
            last.extend(hand.pass(Duration::from_millis(50)));
            if last.last().is_some_and(|seg: &Seg| seg.window == 0) {
                break;
            }
        }
        assert_eq!(last.last().map(|seg| seg.window), Some(0));
        assert!(hand.stack.tcp_readiness(id).contains(Readiness::READABLE));
        let mut buf = vec![0; 1 << 20];
        let read = hand.stack.tcp_recv(id, &mut buf).unwrap();
        let told = hand.out();
        assert!(read > 1_000 && told.len() == 1 && told[0].window > 0, "{told:?}");
    }
}
