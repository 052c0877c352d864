//! Addresses: made, deprecated, ended, replaced.

use super::*;

#[test]
fn an_advertisement_gives_an_address_a_way_out_and_dns_servers() {
    let mut stack = stack();
    let mut search = vec![31, 3, 0, 0, 0, 0, 0, 60];
    search.extend(b"\x03Lab\x07example\x00\x00\x00\x00");
    let ra = ra(ROUTER)
        .own_mac()
        .prefix("fd00:7::/64", 7_200, 3_600)
        .resolver("fd00:7::53", 600)
        .with(&search);
    let version = stack.network_version();
    hear(&mut stack, NOW, &ra);
    assert_ne!(stack.network_version(), version);
    assert_eq!(made(&stack), [(ip(MADE), AddressState::Preferred)]);
    assert_eq!(left(&stack, MADE), (3_600, 7_200));
    assert_eq!(way_to(&mut stack, NOW, "2001:db8::1"), Some(ra.mac));
    let heard = stack.advertised(0).unwrap();
    assert_eq!(heard.routers, [v6(ROUTER)]);
    assert_eq!(heard.resolvers, [v6("fd00:7::53")]);
    assert_eq!(heard.search, [Arc::from("lab.example")]);
    assert!(!heard.managed && !heard.other);
    // What has the prefix is asked for on the link; and all ends in its time.
    assert_eq!(way_to(&mut stack, NOW, "fd00:7::9"), None);
    run(&mut stack, secs(60));
    assert!(stack.advertised(0).unwrap().search.is_empty());
    run(&mut stack, secs(600));
    assert!(stack.advertised(0).unwrap().resolvers.is_empty());
    run(&mut stack, secs(1_800));
    assert!(stack.advertised(0).unwrap().routers.is_empty());
    assert!(stack.routes().iter().all(|it| it.route.prefix_len == 64));
    run(&mut stack, secs(3_600));
    assert_eq!(made(&stack), [(ip(MADE), AddressState::Deprecated)]);
    run(&mut stack, secs(7_200));
    assert_eq!(made(&stack), []);
    assert!(stack.routes().is_empty());
}

#[test]
fn prefixes_of_which_no_address_can_be_made_make_none() {
    let mut stack = stack();
    let ra = ra(ROUTER)
        .prefix("fd00:1::/63", 7_200, 3_600)
        .prefix("fd00:2::/64", 3_600, 7_200)
        .prefix("fe80::/64", 7_200, 3_600)
        .prefix("ff02::/64", 7_200, 3_600)
        .prefix("fd00:3::/64", 0, 0)
        .prefix_with("fd00:4::/64", 0x80, 7_200, 3_600);
    hear(&mut stack, NOW, &ra);
    assert_eq!(made(&stack), []);
    // Without the other flag an address is made, but its neighbours are not on the link (RFC 5942 section 4).
    let ra = super::ra(ROUTER)
        .own_mac()
        .prefix_with("fd00:5::/64", 0x40, 7_200, 3_600);
    hear(&mut stack, NOW, &ra);
    assert_eq!(made(&stack).len(), 1);
    assert_eq!(way_to(&mut stack, NOW, "fd00:5::9"), Some(ra.mac));
}

#[test]
fn a_lifetime_is_not_shortened_below_two_hours() {
    let mut stack = stack();
    let hours = |hours: u32| hours * 3_600;
    let mut hear = |now, valid: u32, preferred: u32| {
        let ra = ra(ROUTER).prefix("fd00:7::/64", valid, preferred);
        super::hear(&mut stack, now, &ra);
        left(&stack, MADE)
    };
    let long = hours(24);
    assert_eq!(hear(NOW, long, hours(12)), (hours(12).into(), long.into()));
    // To two hours at once, and no further.
    assert_eq!(hear(secs(10), 60, 60), (60, 7_200));
    assert_eq!(hear(secs(3_610), 60, 30), (30, 3_600));
    assert_eq!(hear(secs(3_620), 0, 0), (0, 3_590));
    // Longer than what is left is believed.
    assert_eq!(hear(secs(3_620), 3_600, 3_600), (3_600, 3_600));
    assert_eq!(
        hear(secs(3_620), u32::MAX, u32::MAX).1,
        Duration::MAX.as_secs()
    );
}

#[test]
fn renumbering_leaves_what_runs_where_it_is_and_begins_anew_with_the_other_prefix() {
    let mut stack = stack();
    hear(
        &mut stack,
        NOW,
        &ra(ROUTER).own_mac().prefix("fd00:7::/64", 86_400, 3_600),
    );
    let both =
        ra(ROUTER)
            .own_mac()
            .prefix("fd00:7::/64", 7_200, 0)
            .prefix("fd00:8::/64", 86_400, 3_600);
    hear(&mut stack, secs(10), &both);
    let new = ip("fd00:8::ff:fe00:1");
    assert_eq!(
        made(&stack),
        [
            (ip(MADE), AddressState::Deprecated),
            (new, AddressState::Preferred)
        ]
    );
    let id = stack.udp_bind(UdpOptions::new(Family::V6.any(0))).unwrap();
    stack
        .udp_send(secs(10), id, b"x", Some("[2001:db8::1]:9".parse().unwrap()))
        .unwrap();
    let frames = sent(&mut stack, secs(10));
    let Network::Ip(packet, _) = parse(frames.last().unwrap()).unwrap().network else {
        panic!()
    };
    assert_eq!(packet.src(), new);
    run(&mut stack, secs(10 + 7_200));
    assert_eq!(made(&stack).len(), 1);
}

#[test]
fn an_opaque_address_that_is_somebody_elses_is_replaced() {
    let mut config = bare(|config| config.slaac_secret = Some([7; 16]));
    config.dad = true;
    let mut stack = Stack::new(config, NOW).unwrap();
    run(&mut stack, secs(5));
    hear(
        &mut stack,
        secs(5),
        &ra(ROUTER).prefix("fd00:7::/64", 86_400, 86_400),
    );
    let mut seen = Vec::new();
    for second in 0..5u64 {
        let [(addr, state)] = made(&stack)[..] else {
            panic!("{:?}", made(&stack))
        };
        assert_ne!(addr, ip(MADE));
        assert!(!seen.contains(&addr));
        seen.push(addr);
        if second == 4 {
            break;
        }
        assert_eq!(state, AddressState::Tentative, "after {second}");
        let IpAddr::V6(target) = addr else { panic!() };
        // Somebody else has it.
        let mut message = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
        message.extend(target.octets());
        message.extend([2, 1]);
        message.extend(mac(9).0);
        let frame = frame_of(mac(9), (target, v6(ALL_NODES)), 255, message);
        stack.ingest(secs(6), &[frame]);
        if second == 3 {
            assert_eq!(
                made(&stack),
                [(addr, AddressState::Duplicate)],
                "four are enough"
            );
            return;
        }
    }
}
