//! RFC 6937: Proportional Rate Reduction for TCP

use dpdk_net_stack::Duration;

use crate::both_families;
use crate::common::*;
use crate::rfc8985::{sack, ten_on_their_way};

both_families! {
    /// 3 -: In recovery sending goes on at the reduced rate for each ACK, without a pause of half a round trip and without
    /// a burst, and ends at the threshold.
    fn s3_recovery_sends_in_proportion(family) {
        let (mut hand, id) = ten_on_their_way(family);
        hand.stack.tcp_send(id, &pattern(40_000)).unwrap();
        hand.out();
        hand.pass(Duration::from_millis(100));
        let mut sent = 0;
        let mut most = 0;
        for n in 2..=10 {
            let out = hand.give(&sack(&hand, &[(1, n)]));
            most = most.max(out.len());
            sent += out.len();
        }
        let threshold = hand.stack.tcp_info(id).unwrap().snd_ssthresh.unwrap() / 1_400;
        // Nine segments delivered of ten in flight, seven tenths of it may be sent.
        assert!((5..=8).contains(&sent), "{sent}");
        assert!(most <= 2, "a burst of {most}");
        hand.pass(Duration::from_millis(50));
        hand.acknowledge(14_000);
        let info = hand.stack.tcp_info(id).unwrap();
        assert!(info.snd_cwnd / 1_400 <= threshold + 1, "{info:?}");
    }
}
