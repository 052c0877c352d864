//! RFC 5682: Forward RTO-Recovery (F-RTO)

use dpdk_net_stack::{Duration, TcpId};

use crate::both_families;
use crate::common::*;

/// A timeout has happened with five segments on their way and more to send; tells what was sent again.
fn after_a_timeout(family: Family) -> (Hand, TcpId) {
    let (mut hand, id) = accepted(family);
    hand.stack.tcp_send(id, &pattern(14_000)).unwrap();
    assert_eq!(hand.out().len(), 10);
    hand.stack.tcp_send(id, &pattern(14_000)).unwrap();
    hand.out();
    let mut again = Vec::new();
    while again.is_empty() {
        again = hand.pass(Duration::from_millis(1));
    }
    assert_eq!(again[0].seq, hand.ack);
    (hand, id)
}

both_families! {
    /// 2.1 -: Where the first acknowledgment after a timeout moves on, new data is sent; if that is acknowledged as well,
    /// nothing was lost: nothing more is sent again, and the window is what it was.
    fn s2_1_a_timeout_in_vain_is_found_out(family) {
        let (mut hand, id) = after_a_timeout(family);
        let end = hand.ack + 14_000;
        // The ACKs of the originals were only late.
        let sent = hand.acknowledge(1_400);
        assert!(!sent.is_empty() && sent.iter().all(|seg| seg.seq >= end), "{sent:?}");
        let sent = hand.acknowledge(1_400);
        assert!(sent.iter().all(|seg| seg.seq >= end), "{sent:?}");
        let mut rest = Vec::new();
        for _ in 0..8 {
            rest.extend(hand.acknowledge(1_400));
        }
        assert!(rest.iter().all(|seg| seg.seq >= end), "{rest:?}");
        assert!(hand.stack.tcp_info(id).unwrap().snd_cwnd >= 14_000);
    }

    /// 2.1 -: Where the acknowledgments stand still, it was a loss, and all is sent again in slow start.
    fn s2_1_a_timeout_with_reason_repairs(family) {
        let (mut hand, id) = after_a_timeout(family);
        let first = hand.ack;
        let sent = hand.acknowledge(1_400);
        assert!(!sent.is_empty());
        let mut again = Vec::new();
        for _ in 0..3 {
            again.extend(hand.acknowledge(0));
        }
        for _ in 0..200 {
            again.extend(hand.pass(Duration::from_millis(5)));
            let seen: Vec<u32> = again.iter().map(|seg| seg.seq.wrapping_sub(first)).collect();
            let mut next = hand.ack;
            while seen.contains(&next.wrapping_sub(first)) {
                next = next.wrapping_add(1_400);
            }
            if next != hand.ack {
                again.extend(hand.acknowledge(next.wrapping_sub(hand.ack)));
            }
        }
        assert!(again.iter().any(|seg| seg.seq == first + 1_400));
        assert!(hand.stack.tcp_info(id).unwrap().total_retrans >= 2);
    }
}
