//! RFC 4015: The Eifel Response Algorithm for TCP
//!
//! Shown elsewhere:
//! - 3 -: the window and the threshold are restored, once | `a_spurious_timeout_or_recovery_is_undone_once`

use dpdk_net_stack::Duration;

use crate::both_families;
use crate::common::*;

both_families! {
    /// 3 -: An echo of a timestamp from before the retransmission tells that nothing was lost (RFC 3522), and the window
    /// is what it was.
    fn s3_an_old_echo_undoes_a_timeout(family) {
        let mut hand = Hand::new(family);
        hand.timestamps = Some((10_000, 0));
        let listener = hand.listen();
        let id = hand.establish(listener);
        hand.stack.tcp_send(id, &pattern(13_000)).unwrap();
        let sent = hand.out();
        let original = sent[0].timestamps.unwrap().0;
        let before = hand.stack.tcp_info(id).unwrap();
        let mut again = Vec::new();
        while again.is_empty() {
            again = hand.pass(Duration::from_millis(5));
        }
        assert!(hand.stack.tcp_info(id).unwrap().snd_cwnd < before.snd_cwnd);
        hand.timestamps = Some((10_050, original));
        let len = sent[0].payload.len() as u32;
        let more = hand.acknowledge(len);
        assert!(more.iter().all(|seg| seg.payload.is_empty()), "{more:?}");
        let after = hand.stack.tcp_info(id).unwrap();
        assert!(after.snd_cwnd >= before.snd_cwnd, "{before:?} {after:?}");
        assert_eq!(after.snd_ssthresh, before.snd_ssthresh);
    }
}
