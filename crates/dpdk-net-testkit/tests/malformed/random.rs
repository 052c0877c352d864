//! Any bytes at all.

use dpdk_net_packet::{ChecksumVerdict, Network, parse};
use dpdk_net_stack::Vlan;
use dpdk_net_testkit::addr::mac;
use dpdk_net_testkit::by_hand::UDP_PORT;
use dpdk_net_testkit::frames::{self, ethernet};
use dpdk_net_testkit::hosts::StackHost;
use proptest::prelude::*;

use super::*;

/// Everything the stack sends is a well-formed frame of its own.
fn check_sent(frames: &[Vec<u8>]) {
    for frame in frames {
        let parsed = parse(frame).unwrap_or_else(|error| panic!("sent {frame:02x?}: {error}"));
        assert_eq!(parsed.src_mac, mac(HOST));
        if let Network::Ip(ip, transport) = parsed.network {
            transport
                .verify(&ip, ChecksumVerdict::Unknown)
                .unwrap_or_else(|error| panic!("sent {frame:02x?}: {error}"));
        }
    }
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let random = proptest::collection::vec(any::<u8>(), 0..200);
    let to_us = (
        any::<bool>(),
        proptest::collection::vec(any::<u8>(), 0..200),
    )
        .prop_map(|(v6, payload)| {
            let mut frame = ethernet(mac(HOST), mac(PEER), if v6 { 0x86dd } else { 0x0800 });
            frame.extend(payload);
            frame
        });
    let damaged = (
        0..8usize,
        any::<bool>(),
        proptest::collection::vec((0..120usize, any::<u8>()), 0..4),
        0..20usize,
    )
        .prop_map(|(kind, fix, changes, cut)| {
            let path = if kind % 2 == 0 { v4() } else { v6() };
            let mut frame = match kind / 2 {
                0 => path.tcp(&syn(1_000)),
                1 => path.udp(1, UDP_PORT, b"some bytes of payload"),
                2 => path.echo_request(1, 2, b"some bytes of payload"),
                _ => path.who_has(),
            };
            for (at, byte) in changes {
                if let Some(place) = frame.get_mut(at) {
                    *place = byte;
                }
            }
            frame.truncate(frame.len() - cut);
            if fix {
                fix_checksums(&mut frame);
            }
            frame
        });
    prop_oneof![1 => random, 2 => to_us, 5 => damaged]
}

/// The stack's addresses in this VLAN, and another VLAN without any.
const VLAN: u16 = 100;
const OTHER: u16 = 200;

/// Up to three tags, of VLANs that are the stack's or are not.
fn any_tags() -> impl Strategy<Value = Vec<u16>> {
    let tci = prop_oneof![4 => Just(VLAN), 1 => Just(OTHER), 1 => Just(0), 1 => any::<u16>()];
    proptest::collection::vec(tci, 0..3)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_at_all_leave_the_stack_serving(frames in proptest::collection::vec(any_frame(), 1..60)) {
        let mut by_hand = ByHand::with_config(StackHost::config(HOST, 9));
        for batch in frames.chunks(7) {
            check_sent(&by_hand.feed_batch(batch));
            check_sent(&by_hand.wait(std::time::Duration::from_millis(10)));
        }
        // Rate limits are per second.
        check_sent(&by_hand.wait(std::time::Duration::from_secs(2)));
        let service = by_hand.check_service();
        prop_assert!(service.is_ok(), "{:?}", service);
    }

    #[test]
    fn any_bytes_with_any_tags_leave_a_vlan_served(
        frames in proptest::collection::vec((any_frame(), any_tags()), 1..60),
    ) {
        let mut config = StackHost::config(HOST, 9);
        let own = core::mem::take(&mut config.addresses).into_iter();
        let vlan = own.fold(Vlan::new(VLAN), Vlan::with_address);
        config.vlans = vec![vlan, Vlan::new(OTHER)];
        let mut by_hand = ByHand::with_config(config);
        let check = |sent: &[Vec<u8>]| {
            check_sent(sent);
            for frame in sent {
                let vlan = frames::tci(frame).unwrap_or(0);
                assert!([0, VLAN, OTHER].contains(&vlan), "{vlan}");
            }
        };
        for batch in frames.chunks(7) {
            let tagged = batch.iter().filter(|(frame, _)| frame.len() >= 12).map(|(frame, tags)| {
                tags.iter().fold(frame.clone(), |frame, tci| frames::tagged(&frame, *tci))
            });
            check(&by_hand.feed_batch(&tagged.collect::<Vec<_>>()));
            check(&by_hand.wait(std::time::Duration::from_millis(10)));
        }
        check(&by_hand.wait(std::time::Duration::from_secs(2)));
        by_hand.set_tag(Some(VLAN));
        let service = by_hand.check_service();
        prop_assert!(service.is_ok(), "{:?}", service);
    }
}
