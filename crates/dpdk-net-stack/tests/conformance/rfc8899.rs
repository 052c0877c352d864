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
        for limit in [1_300, 1_280, 1_100, 600] {
            if family == Family::V6 && limit < 1_280 {
                continue;
            }
            let mut pair = Pair::new();
            let (client, server) = pair.establish(family);
            pair.filter = Box::new(move |_, frame| frame.len() <= 14 + limit);
            pair.transfer(CLIENT, client, server, &pattern(100_000), Duration::from_secs(60));
            assert!(pair.client().stats().tcp.black_holes >= 1);
        }
    }
}
