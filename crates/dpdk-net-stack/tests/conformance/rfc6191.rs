//! RFC 6191: Reducing the TIME-WAIT State Using TCP Timestamps

use crate::both_families;
use crate::common::*;
use crate::support::*;

both_families! {
    /// 2 SHOULD: A SYN may take the place of a connection in TIME-WAIT if its timestamp is newer; without timestamps,
    /// or with the same one, if its sequence number is higher.
    fn s2_should_what_is_surely_new_reopens(family) {
        // Old with timestamps, SYN with this much more or none, sequence number so much higher: whether it reopens.
        let cases = [
            (true, Some(1), -1_000, true),
            (true, Some(1), 1_000, true),
            (true, Some(0), 1_000, true),
            (true, Some(0), -1_000, false),
            (true, Some(-1), 1_000, false),
            (true, None, 1_000, true),
            (true, None, -1_000, false),
            (false, Some(1), 1_000, true),
            (false, None, 1_000, true),
            (false, None, -1_000, false),
        ];
        for (before, later, higher, reopens) in cases {
            let mut hand = Hand::new(family);
            hand.timestamps = before.then_some((10_000, 0));
            let listener = hand.listen();
            let id = hand.establish(listener);
            end(&mut hand, id);
            hand.stack.tcp_close(hand.now, id);
            assert_eq!(hand.stack.tcp_time_waits(), 1);
            hand.seq = hand.seq.wrapping_add_signed(higher);
            hand.timestamps = later.map(|later: i32| (10_000u32.wrapping_add_signed(later), 0));
            let answers = hand.give(&hand.syn());
            assert_eq!(answers.len(), 1);
            assert_eq!(answers[0].flags == SYN | ACK, reopens, "{before} {later:?} {higher}: {answers:?}");
            assert_eq!(hand.stack.tcp_time_waits(), usize::from(!reopens));
        }
    }
}
