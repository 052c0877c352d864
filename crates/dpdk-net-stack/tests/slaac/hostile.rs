//! What strangers and broken routers send.

use proptest::prelude::*;

use super::*;

#[test]
fn what_is_not_from_a_router_of_the_link_is_not_believed() {
    let ra = ra(ROUTER).prefix("fd00:7::/64", 7_200, 3_600);
    let mut stack = stack();
    for bad in [
        Ra {
            hop_limit: 254,
            ..ra.clone()
        },
        Ra {
            from: "fd00::1",
            ..ra.clone()
        },
        Ra {
            from: "::",
            ..ra.clone()
        },
        ra.clone().with(&[5, 0, 0, 0, 0, 0, 5, 220]),
        ra.clone().with(&[5, 3, 0, 0, 0, 0, 5, 220]),
    ] {
        hear(&mut stack, NOW, &bad);
        assert_eq!(made(&stack), []);
    }
    let stats = stack.stats().neighbors;
    assert_eq!((stats.ndp_invalid, stats.ndp_malformed), (3, 2));
    // Nor is any where nobody listens.
    let mut deaf = Stack::new(bare(|config| config.slaac = false), NOW).unwrap();
    hear(&mut deaf, NOW, &ra);
    assert_eq!((made(&deaf), deaf.advertised(0)), (vec![], None));
    assert_eq!(deaf.stats().neighbors.router_messages_ignored, 1);
}

#[test]
fn what_strangers_advertise_is_bounded() {
    let mut stack = stack();
    for second in 0..100u16 {
        let mut flood = ra(ROUTER);
        for n in 0..40u16 {
            let n = second * 40 + n;
            flood = flood
                .prefix(&format!("fd00:{n:x}::/64"), u32::MAX, u32::MAX)
                .resolver(&format!("fd00::{n:x}"), u32::MAX)
                .with(&[
                    24,
                    2,
                    64,
                    0,
                    0,
                    0,
                    9,
                    9,
                    0xfd,
                    1,
                    0,
                    0,
                    (n >> 8) as u8,
                    n as u8,
                    0,
                    0,
                ]);
        }
        let router = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, second + 1);
        let frame = frame_of(
            mac(second + 100),
            (router, v6(ALL_NODES)),
            255,
            flood.message(),
        );
        stack.ingest(secs(second.into()), &[frame]);
    }
    let heard = stack.advertised(0).unwrap();
    assert!(
        heard.routers.len() <= 8 && heard.resolvers.len() <= 8,
        "{heard:?}"
    );
    assert_eq!(made(&stack).len(), 16);
    assert!(stack.routes().len() <= 8 + 16 + 16);
    // And how many are acted upon in a second.
    let before = stack.stats().neighbors.router_advertisements;
    let frames = vec![ra(ROUTER).frame(); 10_000];
    stack.ingest(secs(1_000), &frames);
    assert!(stack.stats().neighbors.router_advertisements - before <= 50);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    /// Whatever is in the message: nothing breaks, tables stay in bounds, and what was made is an address that can be.
    #[test]
    fn malformed_advertisements_do_no_harm(
        messages in proptest::collection::vec(
            (
                proptest::collection::vec(any::<u8>(), 0..64),
                proptest::collection::vec(
                    (
                        prop_oneof![Just(1u8), Just(3), Just(5), Just(24), Just(25), Just(31), any::<u8>()],
                        0u8..6,
                        proptest::collection::vec(any::<u8>(), 0..48),
                    ),
                    0..6,
                ),
            ),
            1..8,
        )
    ) {
        let mut stack = stack();
        let mut now = NOW;
        for (head, options) in messages {
            let mut message = vec![134, 0, 0, 0];
            message.extend(&head);
            message.resize(message.len().max(16), 0);
            for (kind, units, body) in options {
                message.extend([kind, units]);
                let mut body = body;
                // As long as it says, most often.
                if body.first().is_some_and(|byte| byte % 8 != 0) {
                    body.resize((usize::from(units) * 8).saturating_sub(2), 0x5a);
                }
                message.extend(body);
            }
            let frame = frame_of(mac(9), (v6(ROUTER), v6(ALL_NODES)), 255, message);
            stack.ingest(now, &[frame]);
            now += Duration::from_millis(300);
            run(&mut stack, now);
        }
        for (addr, _) in made(&stack) {
            let IpAddr::V6(addr) = addr else { panic!("{addr}") };
            prop_assert!(!addr.is_multicast() && !addr.is_unicast_link_local());
        }
        prop_assert!(made(&stack).len() <= 16 && stack.routes().len() <= 40);
        // Time ends all that has an end.
        run(&mut stack, secs(100_000));
    }
}
