//! RFC 7661: Updating TCP to Support Rate-Limited Traffic
//!
//! Not met:
//! - 4.4.3 MUST: the window is reduced to what was used when the phase ends, after five minutes at most. An idle sender
//!   starts from the restart window after a timeout (RFC 5681 section 4.1), and one that uses less than it may keeps its
//!   window, as with Linux' CUBIC.
//!
//! Shown elsewhere:
//! - 4.4 -: a window that is not used does not grow | `a_window_that_is_not_used_does_not_grow`

use dpdk_net_stack::Duration;

use crate::both_families;
use crate::common::*;
use crate::support::*;

both_families! {
    /// 4.3 -: An application that sends less than its window keeps it as it is, and finds it there for the next burst.
    fn s4_3_a_window_that_is_not_used_is_kept(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_send(id, &pattern(60_000)).unwrap();
        let sent = hand.out();
        drain(&mut hand, sent);
        let window = hand.stack.tcp_info(id).unwrap().snd_cwnd;
        assert!(window > 30_000, "{window}");
        // A segment each round trip, without a pause as long as a timeout.
        for _ in 0..500 {
            hand.stack.tcp_send(id, &pattern(1_400)).unwrap();
            hand.out();
            hand.pass(Duration::from_millis(1));
            hand.acknowledge(1_400);
        }
        assert_eq!(hand.stack.tcp_info(id).unwrap().snd_cwnd, window);
        hand.stack.tcp_send(id, &pattern(60_000)).unwrap();
        let burst = payload(&hand.out()).len() as u32;
        assert!(burst > window - 1_400, "{burst} of {window}");
    }
}
