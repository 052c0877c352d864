//! RFC 6675: A Conservative Loss Recovery Algorithm Based on Selective Acknowledgment (SACK) for TCP
//!
//! Not applicable:
//! - 4 -: `IsLost` by three segments or bytes ahead. RACK finds losses by time (RFC 8985), and takes three segments for
//!   enough as long as no reordering was seen.
//! - 5 -: how much leaves for each ACK in recovery. Proportional rate reduction says it (RFC 6937).
//!
//! Shown elsewhere:
//! - 4 -: three segments ahead of a gap tell of a loss | `s6_2_three_segments_ahead_tell_of_a_loss_at_once`
//! - 5 -: what was lost comes before what is new, in order, and in recovery the window is reduced once | `s3_recovery_sends_in_proportion`
//! - 5.1 -: after a timeout what was SACKed is sent again only if the peer has dropped it | `sums_marks_and_losses_are_those_of_all_records`

use dpdk_net_stack::Duration;

use crate::both_families;
use crate::common::*;
use crate::rfc8985::{sack, ten_on_their_way};

both_families! {
    /// 4 -: Neither what was SACKed nor what is thought lost counts as in flight, and what was sent again does: `SetPipe`.
    fn s4_what_is_in_flight_is_what_may_still_arrive(family) {
        let (mut hand, id) = ten_on_their_way(family);
        hand.pass(Duration::from_millis(100));
        // The first two are lost, and four ahead of them have arrived.
        let again = hand.give(&sack(&hand, &[(2, 6)]));
        let info = hand.stack.tcp_info(id).unwrap();
        assert_eq!((info.unacked, info.sacked), (10, 4));
        let sent_again = again.iter().filter(|seg| seg.seq.wrapping_sub(hand.ack) < 2_800).count() as u32;
        assert!(sent_again > 0, "{again:?}");
        assert_eq!(info.retrans, sent_again);
        assert_eq!(info.lost, (2 - sent_again) * 1_400);
    }

    /// 4 -: `NextSeg`: first what is lost, lowest first, then what is new.
    fn s4_what_is_lost_leaves_first(family) {
        let (mut hand, id) = ten_on_their_way(family);
        hand.stack.tcp_send(id, &pattern(14_000)).unwrap();
        hand.pass(Duration::from_millis(100));
        let mut sent = Vec::new();
        for blocks in [[(1, 2), (3, 4)], [(1, 2), (3, 5)], [(1, 2), (3, 6)], [(1, 2), (3, 10)]] {
            let ack = sack(&hand, &blocks);
            sent.extend(hand.give(&ack));
        }
        let at: Vec<u32> = sent
            .iter()
            .filter(|seg| !seg.payload.is_empty())
            .map(|seg| seg.seq.wrapping_sub(hand.ack) / 1_400)
            .collect();
        let (lost, new): (Vec<u32>, Vec<u32>) = at.iter().partition(|at| **at < 10);
        assert_eq!(lost, [0, 2]);
        assert!(new.is_sorted());
        // Those that limited transmit let go came before the loss was known.
        let first = at.iter().position(|at| *at == 0).unwrap();
        assert_eq!(at[first + 1], 2, "{at:?}");
    }
}
