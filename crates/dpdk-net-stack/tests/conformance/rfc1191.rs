//! RFC 1191: Path MTU Discovery
//!
//! Shown elsewhere:
//! - 6.3 SHOULD: what was learnt is forgotten after ten minutes | `a_path_with_a_smaller_mtu_is_remembered_for_ten_minutes`
//! - 6.2 SHOULD: what one connection has learnt others know | `an_accepted_connection_knows_the_path_that_an_earlier_one_has_found`

use dpdk_net_packet::ethernet;
use dpdk_net_stack::Duration;

use crate::common::*;
use crate::icmp;

/// 2 -: Every segment says that it must not be fragmented.
#[test]
fn s2_segments_are_not_to_be_fragmented() {
    let (mut hand, id) = accepted(Family::V4);
    hand.stack.tcp_send(id, &pattern(5_000)).unwrap();
    let mut frames: Vec<Vec<u8>> = Vec::new();
    hand.stack.poll_transmit(hand.now, &mut frames);
    assert!(frames.len() >= 3);
    for frame in frames {
        assert_eq!(frame[ethernet::HEADER_LEN + 6] & 0x40, 0x40);
    }
}

/// 3 MUST: A host that is told lowers the size of what it sends.
///
/// 6.4 -: What was too large is sent again at once in smaller pieces, and the window is not reduced for it.
#[test]
fn s3_must_s6_4_too_large_segments_are_cut_and_sent_again_at_once() {
    let (mut hand, id) = accepted(Family::V4);
    let data = pattern(14_000);
    hand.stack.tcp_send(id, &data).unwrap();
    let sent = hand.out();
    let before = hand.stack.tcp_info(id).unwrap();
    let una = hand.ack;
    hand.pass(Duration::from_millis(1));
    let about = frame(Family::V4, 1, 2, &sent[0]);
    hand.stack
        .ingest(hand.now, &[icmp::too_big(Family::V4, &about, 1_000)]);
    let mut got = vec![None; data.len()];
    let mut again = hand.out();
    let mut rounds = 0;
    while got.iter().any(Option::is_none) {
        rounds += 1;
        assert!(rounds < 50);
        for seg in &again {
            assert!(seg.payload.len() <= 960, "{}", seg.payload.len());
            let at = seg.seq.wrapping_sub(una) as usize;
            for (i, byte) in seg.payload.iter().enumerate() {
                got[at + i] = Some(*byte);
            }
        }
        let known = got.iter().take_while(|byte| byte.is_some()).count() as u32;
        hand.pass(Duration::from_millis(1));
        again = hand.acknowledge((una + known).wrapping_sub(hand.ack));
    }
    let got: Vec<u8> = got.into_iter().flatten().collect();
    assert!(got == data);
    assert_eq!(hand.stack.stats().tcp.retransmission_timeouts, 0);
    let after = hand.stack.tcp_info(id).unwrap();
    assert_eq!(after.snd_ssthresh, before.snd_ssthresh);
}

/// 3 MUST NOT: A message raises the size.
#[test]
fn s3_must_not_a_message_raises_nothing() {
    let (mut hand, id) = accepted(Family::V4);
    hand.stack.tcp_send(id, &pattern(1_400)).unwrap();
    let about = frame(Family::V4, 1, 2, &hand.out()[0]);
    for (mtu, mss) in [(1_000, 960), (1_400, 960), (60_000, 960), (900, 860)] {
        hand.stack
            .ingest(hand.now, &[icmp::too_big(Family::V4, &about, mtu)]);
        assert_eq!(hand.stack.tcp_info(id).unwrap().snd_mss, mss);
    }
}
