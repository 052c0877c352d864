//! The link was down and is up again: the same one, another one, or one where nobody answers.

use super::*;

const OTHER: &str = "fe80::2";
const MADE_THERE: &str = "fd00:8::ff:fe00:1";

/// What a router says before.
fn here() -> Ra {
    ra(ROUTER)
        .own_mac()
        .prefix("fd00:7::/64", 7_200, 3_600)
        .resolver("fd00:7::53", 3_600)
        .mtu(1_300)
}

/// One that has heard of a router, and whose link has come up again 100 s later.
fn moved() -> Stack {
    let mut stack = stack();
    hear(&mut stack, NOW, &here());
    run(&mut stack, secs(100));
    stack.link_changed(secs(100));
    stack
}

fn networks(stack: &Stack) -> Vec<IpAddr> {
    stack.routes().iter().map(|it| it.route.dest).collect()
}

#[test]
fn on_the_same_link_all_stays_for_its_time() {
    let mut stack = stack();
    hear(&mut stack, NOW, &here());
    // Another router, which will not answer in time.
    let other = ra(OTHER).own_mac().prefix("fd00:9::/64", 7_200, 3_600);
    hear(&mut stack, NOW, &other);
    let before = (made(&stack), networks(&stack), stack.advertised(0));
    stack.link_changed(secs(100));
    run(&mut stack, secs(101));
    hear(&mut stack, secs(101), &here());
    run(&mut stack, secs(1_000));
    assert_eq!(
        (made(&stack), networks(&stack), stack.advertised(0)),
        before
    );
}

#[test]
fn on_another_link_what_nobody_repeats_goes() {
    let mut stack = moved();
    // Its router has the same link-local address, as many have.
    let there = ra(ROUTER).own_mac().prefix("fd00:8::/64", 7_200, 3_600);
    hear(&mut stack, secs(101), &there);
    let both = [MADE, MADE_THERE].map(|addr| (ip(addr), AddressState::Preferred));
    run(&mut stack, secs(104));
    assert_eq!(made(&stack), both, "others may answer yet");
    let second = ra(OTHER).own_mac().resolver("fd00:8::53", 3_600);
    hear(&mut stack, secs(104), &second);
    run(&mut stack, secs(105));
    assert_eq!(made(&stack), both[1..]);
    let heard = stack.advertised(0).unwrap();
    assert_eq!(heard.routers, [v6(ROUTER), v6(OTHER)]);
    assert_eq!(heard.resolvers, [v6("fd00:8::53")]);
    assert!(!networks(&stack).contains(&ip("fd00:7::")));
    let id = stack.udp_bind(UdpOptions::new(Family::V6.any(0))).unwrap();
    let to = std::net::SocketAddr::new(ip("2001:db8::1"), 9);
    assert!(stack.udp_send(secs(105), id, &[0; 1_400], Some(to)).is_ok());
    let frames = sent(&mut stack, secs(105));
    assert!(
        frames.iter().any(|frame| frame.len() > 1_400),
        "the MTU is the link's"
    );
    // What was said there ends in its time, and nothing else.
    run(&mut stack, secs(3_000));
    assert_eq!(made(&stack), both[1..]);
}

#[test]
fn where_nobody_answers_addresses_are_deprecated_until_somebody_does() {
    let mut stack = moved();
    let asked = run(&mut stack, secs(111));
    assert!(solicitations(&asked).len() >= 2);
    assert_eq!(made(&stack), [(ip(MADE), AddressState::Preferred)]);
    run(&mut stack, secs(112));
    assert_eq!(made(&stack), [(ip(MADE), AddressState::Deprecated)]);
    run(&mut stack, secs(500));
    assert_eq!(stack.advertised(0).unwrap().routers, [v6(ROUTER)]);
    hear(&mut stack, secs(500), &here());
    run(&mut stack, secs(600));
    assert_eq!(made(&stack), [(ip(MADE), AddressState::Preferred)]);

    // A router of another link that answers late has the same say.
    let mut stack = moved();
    run(&mut stack, secs(500));
    let there = ra(OTHER).own_mac().prefix("fd00:8::/64", 7_200, 3_600);
    hear(&mut stack, secs(500), &there);
    run(&mut stack, secs(504));
    assert_eq!(made(&stack), [(ip(MADE_THERE), AddressState::Preferred)]);
    assert_eq!(stack.advertised(0).unwrap().routers, [v6(OTHER)]);
}

#[test]
fn one_that_is_no_router_any_more_says_nothing_of_the_link() {
    let mut stack = moved();
    let mut gone = ra(OTHER);
    gone.lifetime = 0;
    hear(&mut stack, secs(101), &gone);
    run(&mut stack, secs(110));
    assert_eq!(made(&stack), [(ip(MADE), AddressState::Preferred)]);
    assert_eq!(stack.advertised(0).unwrap().routers, [v6(ROUTER)]);
}

#[test]
fn neighbours_are_asked_for_anew_but_those_configured_and_groups_are_reported() {
    let by_hand = Neighbor {
        vlan: 0,
        addr: ip("fd00:7::5"),
        mac: mac(5),
    };
    let mut stack = Stack::new(bare(|config| config.neighbors = vec![by_hand]), NOW).unwrap();
    hear(&mut stack, NOW, &here());
    run(&mut stack, secs(100));
    assert_eq!(
        way_to(&mut stack, secs(100), "2001:db8::1"),
        Some(here().mac)
    );
    stack.link_changed(secs(100));
    let reports = |frames: Vec<(Instant, Vec<u8>)>| {
        let is_report = |frame: &[u8]| {
            let network = parse(frame).unwrap().network;
            matches!(network, Network::Ip(_, Transport::Icmpv6(message)) if message.kind() == 143)
        };
        frames.iter().filter(|(_, frame)| is_report(frame)).count()
    };
    assert!(reports(run(&mut stack, secs(100))) > 0);
    assert_eq!(way_to(&mut stack, secs(100), "2001:db8::1"), None);
    assert_eq!(way_to(&mut stack, secs(100), "fd00:7::5"), Some(mac(5)));
    // The packet that waits leaves when the router has said where it is.
    stack.ingest(secs(101), &[here().frame()]);
    assert!(!sent(&mut stack, secs(101)).is_empty());
}
