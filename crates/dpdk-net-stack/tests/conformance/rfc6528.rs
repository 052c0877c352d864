//! RFC 6528: Defending against Sequence Number Attacks

use dpdk_net_stack::Duration;

use crate::both_families;
use crate::common::*;

both_families! {
    /// 3 SHOULD: An initial sequence number is a clock plus a keyed hash of the 4-tuple: the same 4-tuple sees the clock
    /// alone, another one sees nothing of it.
    fn s3_should_a_clock_and_a_secret_for_each_4_tuple(family) {
        let mut hand = Hand::new(family);
        hand.listen();
        let mut seen = Vec::new();
        for _ in 0..3 {
            let mut round = Vec::new();
            for port in [5_000, 5_001] {
                hand.port = port;
                round.push(hand.give(&hand.syn())[0].seq);
                let mut rst = hand.seg(RST, &[]);
                rst.seq += 1;
                hand.give(&rst);
            }
            seen.push(round);
            hand.pass(Duration::from_millis(8));
        }
        for two in seen.windows(2) {
            for (a, b) in two[0].iter().zip(&two[1]) {
                assert_eq!(b.wrapping_sub(*a), 2_000, "8 ms in ticks of 4 us");
            }
        }
        let apart = seen[0][0].wrapping_sub(seen[0][1]);
        assert!(apart > 1_000 && apart < u32::MAX - 1_000);
    }
}
