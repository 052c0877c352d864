//! RFC 8201: Path MTU Discovery for IP version 6

use dpdk_net_stack::Duration;

use crate::common::*;
use crate::icmp;

/// 4 MUST: The size of packets is lowered when a router says so.
///
/// 4 MUST: A message of less than 1,280 bytes is dropped.
#[test]
fn s4_must_packets_become_smaller_but_not_below_1280() {
    let family = Family::V6;
    for (mtu, full) in [
        (1_279, 1_400),
        (68, 1_400),
        (0, 1_400),
        (1_280, 1_220),
        (1_400, 1_340),
    ] {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_send(id, &pattern(1_400)).unwrap();
        let about = frame(family, 1, 2, &hand.out()[0]);
        hand.stack
            .ingest(hand.now, &[icmp::too_big(family, &about, mtu)]);
        hand.out();
        let info = hand.stack.tcp_info(id).unwrap();
        assert_eq!(usize::from(info.snd_mss), full, "{mtu}");
    }
}

/// 5.4 -: What was too large is sent again at once, cut smaller.
#[test]
fn s5_4_what_was_too_large_is_sent_again_at_once() {
    let family = Family::V6;
    let (mut hand, id) = accepted(family);
    hand.stack.tcp_send(id, &pattern(4_200)).unwrap();
    let sent = hand.out();
    hand.pass(Duration::from_millis(1));
    let about = frame(family, 1, 2, &sent[0]);
    hand.stack
        .ingest(hand.now, &[icmp::too_big(family, &about, 1_300)]);
    let again = hand.out();
    assert_eq!(again.first().map(|seg| seg.seq), Some(hand.ack));
    assert!(
        again.iter().all(|seg| seg.payload.len() <= 1_240),
        "{again:?}"
    );
}
