//! RFC 6980: Security Implications of IPv6 Fragmentation with IPv6 Neighbor Discovery

use dpdk_net_testkit::frames::Path;

use crate::common::*;
use crate::support::*;

/// 5 MUST: Neighbour discovery behind a fragment header is passed over, whether it stands for a fragment or not.
#[test]
fn s5_must_neighbour_discovery_in_fragments_is_passed_over() {
    let family = Family::V6;
    let mut hand = Hand::new(family);
    let asker = Path {
        src_mac: mac(7),
        dst_mac: mac(1),
        src: family.host(7),
        dst: family.host(1),
        hop_limit: 255,
    };
    let plain = asker.who_has();
    let len = plain.len() - 54;
    let mut ask = |frames: &[Vec<u8>]| {
        hand.stack.ingest(hand.now, frames);
        let mut sent: Vec<Vec<u8>> = Vec::new();
        hand.stack.poll_transmit(hand.now, &mut sent);
        sent.len()
    };
    assert_eq!(ask(&fragments(&plain, 1, &[(0, len)])), 0, "atomic");
    assert_eq!(ask(&fragments(&plain, 2, &[(0, 24), (24, len)])), 0);
    assert_eq!(ask(&[plain]), 1, "an answer");
}
