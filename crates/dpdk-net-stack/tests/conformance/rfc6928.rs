//! RFC 6928: Increasing TCP's Initial Window

use crate::both_families;
use crate::common::*;
use crate::support::*;

both_families! {
    /// 2 -: The initial window is ten segments, or 14,600 bytes if segments are large, or two of the largest.
    fn s2_the_initial_window_is_ten_segments(family) {
        for (mss, window) in [(536, 5_360), (1_220, 12_200), (1_400, 14_000), (2_920, 14_600 / 2_920 * 2_920), (8_900, 17_800)] {
            let mut config = config(1);
            config.mtu = 9_000;
            let mut hand = Hand::with(family, config);
            hand.mss = Some(mss);
            let listener = hand.listen();
            let id = hand.establish(listener);
            hand.stack.tcp_send(id, &pattern(60_000)).unwrap();
            let sent = payload(&hand.out()).len();
            assert_eq!(sent, window, "{mss}");
        }
    }
}
