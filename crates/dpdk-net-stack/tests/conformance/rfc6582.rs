//! RFC 6582: The NewReno Modification to TCP's Fast Recovery Algorithm

use dpdk_net_stack::{CongestionAlgorithm, Duration};

use crate::both_families;
use crate::common::*;

both_families! {
    /// 3.2 -: A partial acknowledgment brings the next missing segment at once, without a timeout, and the window is
    /// reduced only once.
    fn s3_2_a_partial_acknowledgment_brings_the_next_segment(family) {
        let mut config = config(1);
        config.tcp.congestion = CongestionAlgorithm::NewReno;
        let (mut hand, id) = accepted_with(family, config);
        hand.stack.tcp_send(id, &pattern(14_000)).unwrap();
        hand.out();
        hand.pass(Duration::from_millis(1));
        let una = hand.ack;
        // The first, the fourth and the seventh are lost.
        let mut again = Vec::new();
        for _ in 0..7 {
            again.extend(hand.acknowledge(0));
        }
        assert_eq!(again.iter().map(|seg| seg.seq - una).collect::<Vec<_>>(), [0]);
        let threshold = hand.stack.tcp_info(id).unwrap().snd_ssthresh;
        hand.pass(Duration::from_millis(1));
        let again = hand.acknowledge(3 * 1_400);
        assert_eq!(again.first().map(|seg| seg.seq - una), Some(3 * 1_400), "{again:?}");
        hand.pass(Duration::from_millis(1));
        let again = hand.acknowledge(3 * 1_400);
        assert_eq!(again.first().map(|seg| seg.seq - una), Some(6 * 1_400), "{again:?}");
        hand.acknowledge(4 * 1_400);
        assert!(hand.stack.is_send_drained(id));
        let info = hand.stack.tcp_info(id).unwrap();
        assert_eq!(info.snd_ssthresh, threshold);
        assert!(Some(info.snd_cwnd) <= threshold.map(|threshold| threshold + 1_400));
    }
}
