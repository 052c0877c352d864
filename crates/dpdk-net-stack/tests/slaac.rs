//! Addresses, routes and DNS servers from what routers advertise: RFC 4861 section 6.3, RFC 4862 section 5.5, RFC 4191, RFC
//! 7217, RFC 7559 and RFC 8106.

mod common;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use common::*;
use dpdk_net_packet::{
    MacAddr, Network, Parsed, Protocol, Transport, checksum, ethernet, ipv6, parse,
};
use dpdk_net_stack::{
    AddressState, Config, Duration, Instant, Neighbor, Origin, Stack, SteeringTable, UdpOptions,
    Vlan,
};
use proptest::prelude::*;

const NOW: Instant = Instant::from_secs(1_000);
const ALL_NODES: &str = "ff02::1";
const ROUTER: &str = "fe80::1";
/// The address that host 1 makes of `fd00:7::/64`.
const MADE: &str = "fd00:7::ff:fe00:1";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn secs(secs: u64) -> Instant {
    NOW + Duration::from_secs(secs)
}

/// A router's message.
#[derive(Clone)]
struct Ra {
    from: &'static str,
    mac: MacAddr,
    hop_limit: u8,
    flags: u8,
    lifetime: u16,
    options: Vec<u8>,
}

/// From the router with this address, whose MAC address tells it.
fn ra(from: &'static str) -> Ra {
    Ra {
        from,
        mac: mac(v6(from).segments()[7] + 100),
        hop_limit: 255,
        flags: 0,
        lifetime: 1_800,
        options: Vec::new(),
    }
}

impl Ra {
    fn with(mut self, option: &[u8]) -> Self {
        self.options.extend_from_slice(option);
        self
    }

    /// On the link and for addresses, valid and preferred for so many seconds.
    fn prefix(self, prefix: &str, valid: u32, preferred: u32) -> Self {
        self.prefix_with(prefix, 0xc0, valid, preferred)
    }

    fn prefix_with(self, prefix: &str, flags: u8, valid: u32, preferred: u32) -> Self {
        let (prefix, len) = prefix.split_once('/').unwrap();
        let mut option = vec![3, 4, len.parse().unwrap(), flags];
        option.extend(valid.to_be_bytes());
        option.extend(preferred.to_be_bytes());
        option.extend([0; 4]);
        option.extend(v6(prefix).octets());
        self.with(&option)
    }

    fn mtu(self, mtu: u32) -> Self {
        let mut option = vec![5, 1, 0, 0];
        option.extend(mtu.to_be_bytes());
        self.with(&option)
    }

    fn own_mac(self) -> Self {
        let mut option = vec![1, 1];
        option.extend(self.mac.0);
        self.with(&option)
    }

    fn resolver(self, addr: &str, lifetime: u32) -> Self {
        let mut option = vec![25, 3, 0, 0];
        option.extend(lifetime.to_be_bytes());
        option.extend(v6(addr).octets());
        self.with(&option)
    }

    fn message(&self) -> Vec<u8> {
        let mut message = vec![134, 0, 0, 0, 64, self.flags];
        message.extend(self.lifetime.to_be_bytes());
        message.extend([0; 8]);
        message.extend(&self.options);
        message
    }

    fn frame(&self) -> Vec<u8> {
        frame_of(
            self.mac,
            (v6(self.from), v6(ALL_NODES)),
            self.hop_limit,
            self.message(),
        )
    }
}

fn frame_of(
    mac: MacAddr,
    (src, dst): (Ipv6Addr, Ipv6Addr),
    hop_limit: u8,
    mut message: Vec<u8>,
) -> Vec<u8> {
    checksum::fill_icmpv6(src, dst, &mut message);
    let mut frame = vec![0; ethernet::HEADER_LEN + ipv6::HEADER_LEN];
    let to = MacAddr::from_ipv6_multicast(dst);
    ethernet::write_header(&mut frame, to, mac, ethernet::TYPE_IPV6);
    let header = ipv6::Header {
        hop_limit,
        ..ipv6::Header::new(src, dst, Protocol::Icmpv6, message.len())
    };
    header.write(&mut frame[ethernet::HEADER_LEN..]);
    frame.extend(message);
    frame
}

fn bare(change: impl Fn(&mut Config)) -> Config {
    let mut config = Config::new(mac(1));
    config.slaac = true;
    config.dad = false;
    change(&mut config);
    config
}

fn stack() -> Stack {
    Stack::new(bare(|_| {}), NOW).unwrap()
}

fn sent(stack: &mut Stack, now: Instant) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    stack.poll_transmit(now, &mut frames);
    frames
}

/// Lets time pass until then; what was sent meanwhile, and when.
fn run(stack: &mut Stack, until: Instant) -> Vec<(Instant, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some(now) = stack.next_timeout().filter(|at| *at <= until) {
        stack.handle_timeout(now);
        frames.extend(sent(stack, now).into_iter().map(|frame| (now, frame)));
    }
    stack.handle_timeout(until);
    frames.extend(sent(stack, until).into_iter().map(|frame| (until, frame)));
    frames
}

fn hear(stack: &mut Stack, now: Instant, ra: &Ra) {
    stack.handle_timeout(now);
    stack.ingest(now, &[ra.frame()]);
}

/// Addresses other than link-local ones.
fn made(stack: &Stack) -> Vec<(IpAddr, AddressState)> {
    let all = stack.interface_addresses().into_iter();
    let global =
        all.filter(|it| !matches!(it.address.addr, IpAddr::V6(a) if a.is_unicast_link_local()));
    global.map(|it| (it.address.addr, it.state)).collect()
}

/// Preferred and valid lifetime of the address, in seconds.
fn left(stack: &Stack, addr: &str) -> (u64, u64) {
    let all = stack.interface_addresses();
    let found = all.iter().find(|it| it.address.addr == ip(addr)).unwrap();
    assert_eq!(found.origin, Origin::Advertised);
    (
        found.lifetimes.preferred.as_secs(),
        found.lifetimes.valid.as_secs(),
    )
}

/// The MAC address that a datagram there goes to; `None` if nothing leaves.
fn way_to(stack: &mut Stack, now: Instant, to: &str) -> Option<MacAddr> {
    let id = stack.udp_bind(UdpOptions::new(Family::V6.any(0))).unwrap();
    let to = std::net::SocketAddr::new(ip(to), 9);
    let _ = stack.udp_send(now, id, b"x", Some(to));
    stack.udp_close(id);
    let frames = sent(stack, now);
    frames.iter().find_map(|frame| match parse(frame).unwrap() {
        Parsed {
            dst_mac,
            network: Network::Ip(_, Transport::Udp(_)),
            ..
        } => Some(dst_mac),
        _ => None,
    })
}

/// When routers were asked for, and from which address.
fn solicitations(frames: &[(Instant, Vec<u8>)]) -> Vec<(Instant, IpAddr, usize)> {
    let solicitation = |(at, frame): &(Instant, Vec<u8>)| match parse(frame).unwrap().network {
        Network::Ip(ip, Transport::Icmpv6(message)) if message.kind() == 133 => {
            assert_eq!(
                (ip.hop_limit(), ip.dst()),
                (255, "ff02::2".parse().unwrap())
            );
            Some((*at, ip.src(), message.bytes().len()))
        }
        _ => None,
    };
    frames.iter().filter_map(solicitation).collect()
}

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
    let ra = self::ra(ROUTER)
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
        self::hear(&mut stack, now, &ra);
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
fn the_mtu_is_taken_within_bounds_and_for_its_family_alone() {
    let mut stack = Stack::new(
        bare(|config| config.addresses = vec!["198.18.0.1/24".parse().unwrap()]),
        NOW,
    )
    .unwrap();
    stack
        .set_neighbor(Neighbor::new(ip("198.18.0.2"), mac(2)))
        .unwrap();
    stack
        .set_neighbor(Neighbor::new(ip("fd00:7::2"), mac(2)))
        .unwrap();
    let fragments = |stack: &mut Stack, to: &str| {
        let to = std::net::SocketAddr::new(ip(to), 9);
        let family = if to.is_ipv4() { Family::V4 } else { Family::V6 };
        let id = stack.udp_bind(UdpOptions::new(family.any(0))).unwrap();
        stack.udp_send(NOW, id, &[0; 1_400], Some(to)).unwrap();
        stack.udp_close(id);
        sent(stack, NOW)
            .iter()
            .filter(|frame| frame.len() > 100)
            .count()
    };
    let prefix = |mtu| ra(ROUTER).prefix("fd00:7::/64", 7_200, 3_600).mtu(mtu);
    stack.set_ipv4_mtu(0, Some(9_000)).unwrap();
    assert_eq!(fragments(&mut stack, "198.18.0.2"), 1);
    stack.set_ipv4_mtu(0, Some(1_000)).unwrap();
    assert_eq!(fragments(&mut stack, "198.18.0.2"), 2);
    stack.set_ipv4_mtu(0, Some(100)).unwrap();
    for (mtu, expected) in [(9_000, 1), (1_279, 1), (0, 1), (1_280, 2), (u32::MAX, 1)] {
        hear(&mut stack, NOW, &prefix(mtu));
        sent(&mut stack, NOW);
        assert_eq!(fragments(&mut stack, "fd00:7::2"), expected, "{mtu}");
        assert_eq!(fragments(&mut stack, "198.18.0.2"), 1);
    }
}

#[test]
fn routers_are_asked_for_ever_more_rarely_until_one_answers() {
    let mut config = bare(|_| {});
    config.dad = true;
    let mut stack = Stack::new(config, NOW).unwrap();
    let asked = solicitations(&run(&mut stack, secs(4 * 3_600)));
    // The first before the link-local address may be used.
    assert_eq!((asked[0].1, asked[0].2), (ip("::"), 8));
    assert!(asked[0].0 < NOW + Duration::from_millis(100));
    assert_eq!((asked[1].1, asked[1].2), (ip("fe80::ff:fe00:1"), 16));
    let mut expected = 4.0;
    for pair in asked.windows(2) {
        let wait = pair[1].0.saturating_duration_since(pair[0].0).as_secs_f64();
        assert!(
            (expected * 0.9..=expected * 1.1).contains(&wait),
            "{wait} for {expected}"
        );
        expected = (expected * 2.0).min(3_600.0);
    }
    assert!(asked.len() >= 12);
    let now = secs(4 * 3_600);
    // One that is no default router answers nothing.
    hear(
        &mut stack,
        now,
        &Ra {
            lifetime: 0,
            ..ra(ROUTER)
        },
    );
    let more = solicitations(&run(&mut stack, now + Duration::from_secs(4_000)));
    assert_eq!(more.len(), 1);
    let now = now + Duration::from_secs(4_000);
    hear(&mut stack, now, &ra(ROUTER));
    assert_eq!(
        solicitations(&run(&mut stack, now + Duration::from_secs(1_799))),
        []
    );
    // Its time is over: all begins anew.
    let again = solicitations(&run(&mut stack, now + Duration::from_secs(1_810)));
    assert_eq!(again.len(), 2);
}

#[test]
fn of_several_routers_the_preferred_one_that_answers_is_taken() {
    let mut stack = stack();
    let low = Ra {
        flags: 0x18,
        ..ra("fe80::1").own_mac()
    };
    let medium = ra("fe80::2").own_mac();
    let high = Ra {
        flags: 0x08,
        ..ra("fe80::3").own_mac()
    };
    hear(
        &mut stack,
        NOW,
        &low.clone().prefix("fd00:7::/64", 86_400, 86_400),
    );
    for (ra, best) in [(&low, &low), (&high, &high), (&medium, &high)] {
        hear(&mut stack, NOW, ra);
        assert_eq!(way_to(&mut stack, NOW, "2001:db8::1"), Some(best.mac));
    }
    // The one in use does not answer any more: it is asked whether it is there, in vain.
    let mut now = NOW;
    for _ in 0..20 {
        now += Duration::from_secs(1);
        run(&mut stack, now);
        way_to(&mut stack, now, "2001:db8::1");
    }
    let third = way_to(&mut stack, now, "2001:db8::1");
    assert!(third != Some(high.mac));
    // Until it speaks again.
    hear(&mut stack, now, &high);
    assert_eq!(way_to(&mut stack, now, "2001:db8::1"), Some(high.mac));
    // One that says that it is none is none.
    hear(
        &mut stack,
        now,
        &Ra {
            lifetime: 0,
            ..high.clone()
        },
    );
    assert!(
        !stack
            .advertised(0)
            .unwrap()
            .routers
            .contains(&v6("fe80::3"))
    );
}

#[test]
fn a_router_that_says_it_is_a_host_is_none() {
    let mut stack = stack();
    let ra = ra(ROUTER).own_mac().prefix("fd00:7::/64", 86_400, 86_400);
    hear(&mut stack, NOW, &ra);
    let says = |router: bool| {
        let mut message = vec![136, 0, 0, 0, if router { 0xa0 } else { 0x20 }, 0, 0, 0];
        message.extend(v6(ROUTER).octets());
        message.extend([2, 1]);
        message.extend(ra.mac.0);
        frame_of(ra.mac, (v6(ROUTER), v6(ALL_NODES)), 255, message)
    };
    stack.ingest(NOW, &[says(true)]);
    assert_eq!(stack.advertised(0).unwrap().routers, [v6(ROUTER)]);
    stack.ingest(NOW, &[says(false)]);
    assert!(stack.advertised(0).unwrap().routers.is_empty());
    assert_eq!(made(&stack).len(), 1, "its prefix is what it was");
}

#[test]
fn segments_are_offered_to_be_as_large_as_the_link_is_said_to_take() {
    let mut stack = Stack::new(
        bare(|config| config.addresses = vec!["198.18.0.1/24".parse().unwrap()]),
        NOW,
    )
    .unwrap();
    let offered = |stack: &mut Stack, to: &str| {
        stack.tcp_connect(NOW, None, to.parse().unwrap()).unwrap();
        let frames = sent(stack, NOW);
        let mss = frames
            .iter()
            .find_map(|frame| match parse(frame).unwrap().network {
                // The first option of a SYN.
                Network::Ip(ip, Transport::Tcp(_)) => {
                    let option = ip.payload().get(20..24)?;
                    assert_eq!(option[..2], [2, 4]);
                    Some(u16::from_be_bytes([option[2], option[3]]))
                }
                _ => None,
            });
        mss.expect("a SYN")
    };
    for neighbor in ["198.18.0.2", "fd00:7::2"] {
        stack
            .set_neighbor(Neighbor::new(ip(neighbor), mac(2)))
            .unwrap();
    }
    let ra = ra(ROUTER).prefix("fd00:7::/64", 86_400, 86_400);
    hear(&mut stack, NOW, &ra);
    assert_eq!(offered(&mut stack, "[fd00:7::2]:80"), 1_440);
    hear(&mut stack, NOW, &ra.mtu(1_300));
    assert_eq!(offered(&mut stack, "[fd00:7::2]:81"), 1_240);
    assert_eq!(offered(&mut stack, "198.18.0.2:80"), 1_460);
    stack.set_ipv4_mtu(0, Some(1_000)).unwrap();
    assert_eq!(offered(&mut stack, "198.18.0.2:81"), 960);
    stack.set_ipv4_mtu(0, None).unwrap();
    assert_eq!(offered(&mut stack, "198.18.0.2:82"), 1_460);
}

#[test]
fn routes_of_routers_are_taken() {
    let mut stack = stack();
    let mut route = vec![24, 2, 32, 0, 0, 0, 0, 60, 0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0];
    let default = ra("fe80::1")
        .own_mac()
        .prefix("fd00:7::/64", 86_400, 86_400);
    hear(&mut stack, NOW, &default);
    let other = Ra {
        lifetime: 0,
        ..ra("fe80::2").own_mac().with(&route)
    };
    hear(&mut stack, NOW, &other);
    assert_eq!(way_to(&mut stack, NOW, "2001:db8::1"), Some(other.mac));
    assert_eq!(way_to(&mut stack, NOW, "2001:db9::1"), Some(default.mac));
    // Taken back.
    route[7] = 0;
    hear(
        &mut stack,
        NOW,
        &Ra {
            lifetime: 0,
            ..ra("fe80::2").with(&route)
        },
    );
    assert_eq!(way_to(&mut stack, NOW, "2001:db8::1"), Some(default.mac));
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

#[test]
fn interfaces_listen_each_for_themselves() {
    let config = bare(|config| {
        config.slaac = false;
        config.vlans = vec![Vlan::new(5).with_slaac(), Vlan::new(6)];
    });
    let mut stack = Stack::new(config, NOW).unwrap();
    let ra = ra(ROUTER).own_mac().prefix("fd00:7::/64", 7_200, 3_600);
    hear(&mut stack, NOW, &ra);
    assert_eq!(made(&stack), []);
    let tagged = |vlan: u8| {
        let mut frame = ra.frame();
        frame.splice(12..12, [0x81, 0, 0, vlan]);
        frame
    };
    stack.ingest(NOW, &[tagged(6)]);
    assert_eq!(made(&stack), []);
    stack.ingest(NOW, &[tagged(5)]);
    assert_eq!(made(&stack).len(), 1);
    assert_eq!(stack.vlan_of(ip(MADE)), Some(5));
    assert_eq!(stack.routes().last().unwrap().route.vlan, Some(5));
}

#[test]
fn all_workers_follow_what_comes_to_one() {
    let steering = Arc::new(SteeringTable::new(&[9; 32], 64, 64));
    let stack = |worker: u16| {
        let config = bare(|config| (config.worker, config.group_reports) = (worker, worker == 0));
        Stack::with_steering(config, steering.clone(), NOW).unwrap()
    };
    let mut workers: Vec<Stack> = (0..3).map(stack).collect();
    let asked: Vec<usize> = workers
        .iter_mut()
        .map(|stack| solicitations(&run(stack, secs(10))).len())
        .collect();
    assert!(
        asked[0] > 0 && asked[1..] == [0, 0],
        "one asks for all: {asked:?}"
    );
    hear(
        &mut workers[2],
        secs(10),
        &ra(ROUTER)
            .own_mac()
            .prefix("fd00:7::/64", 7_200, 3_600)
            .resolver("fd00:7::53", 60),
    );
    while let Some(news) = workers[2].poll_neighbor_news() {
        for worker in &mut workers[..2] {
            worker.apply_neighbor_news(secs(10), &news);
            assert_eq!(worker.poll_neighbor_news(), None, "news of news make none");
        }
    }
    for worker in &mut workers {
        assert_eq!(made(worker), [(ip(MADE), AddressState::Preferred)]);
        assert_eq!(worker.advertised(0).unwrap().resolvers, [v6("fd00:7::53")]);
        assert_eq!(way_to(worker, secs(10), "2001:db8::1"), Some(mac(101)));
        assert_eq!(solicitations(&run(worker, secs(100))), []);
    }
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
