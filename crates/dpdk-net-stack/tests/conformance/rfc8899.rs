//! RFC 8899: Packetization Layer Path MTU Discovery for Datagram Transports
//!
//! Not applicable:
//! - 5.3 -: search for larger packets. TCP begins with the interface's MTU and looks for a smaller one only where full
//!   segments are lost again and again (RFC 2923 section 2.1).

use dpdk_net_stack::Duration;

use crate::both_families;
use crate::common::*;

both_families! {
    /// 4.3 -: A path that swallows full segments and says nothing is found out, and smaller ones get through.
    fn s4_3_black_holes_are_found(family) {
        // Paths that become narrower one after the other, and the segments that are left, less their options.
        let paths: &[&[(usize, u16)]] = match family {
            Family::V4 => &[&[(1_280, 1_188)], &[(1_100, 524)], &[(600, 524)], &[(1_300, 1_188), (600, 524)]],
            Family::V6 => &[&[(1_300, 1_208)], &[(1_280, 1_208)]],
        };
        for &path in paths {
            let mut pair = Pair::new();
            let (client, server) = pair.establish(family);
            for (found, &(limit, mss)) in (1..).zip(path) {
                pair.filter = Box::new(move |_, frame| frame.len() <= 14 + limit);
                pair.transfer(CLIENT, client, server, &pattern(100_000), Duration::from_secs(60));
                assert_eq!(pair.client().stats().tcp.black_holes, found, "{limit}");
                assert_eq!(pair.client().tcp_info(client).unwrap().snd_mss, mss, "{limit}");
            }
        }
    }
}
