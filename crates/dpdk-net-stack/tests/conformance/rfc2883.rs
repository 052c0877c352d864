//! RFC 2883: An Extension to the Selective Acknowledgement (SACK) Option for TCP

use crate::both_families;
use crate::common::*;
use crate::rfc2018::{ahead, blocks, with_sack};

both_families! {
    /// 4 MUST: The first block tells what was received twice, once for each time.
    ///
    /// 4.1 -: Of a segment below the acknowledgment.
    fn s4_must_a_segment_received_twice_is_told_once(family) {
        let (mut hand, _) = with_sack(family);
        let first = hand.seg(ACK, &[0; 100]);
        hand.seq += 100;
        hand.give(&first);
        let acks = hand.give(&first);
        assert_eq!(acks.len(), 1);
        assert_eq!(acks[0].ack, hand.seq);
        assert_eq!(acks[0].sack, [(first.seq, first.seq + 100)]);
        let acks = hand.give(&Seg { seq: hand.seq + 500, ..hand.seg(ACK, &[0; 100]) });
        assert_eq!(blocks(&hand, &acks[0]), [(500, 600)]);
    }

    /// 4.1 -: Of a segment ahead of a gap, followed by the block it lies in.
    fn s4_1_a_segment_ahead_received_twice_is_told_with_its_block(family) {
        let (mut hand, _) = with_sack(family);
        ahead(&mut hand, 200);
        ahead(&mut hand, 300);
        assert_eq!(ahead(&mut hand, 200), [(200, 300), (200, 400)]);
        assert_eq!(ahead(&mut hand, 600), [(600, 700), (200, 400)]);
    }

    /// 4.2 -: Of a part of a segment just that part is told.
    fn s4_2_of_a_part_received_twice_the_part_is_told(family) {
        let (mut hand, _) = with_sack(family);
        ahead(&mut hand, 200);
        assert_eq!(ahead(&mut hand, 250), [(250, 300), (200, 350)]);
        let mut low = hand.seg(ACK, &[0; 100]);
        hand.seq += 100;
        hand.give(&low);
        low.payload = vec![0; 150];
        let from = low.seq;
        hand.seq += 50;
        let acks = hand.give(&low);
        assert_eq!(acks[0].sack[0], (from, from + 100));
    }
}
