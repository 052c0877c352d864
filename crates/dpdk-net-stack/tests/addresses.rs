//! Addresses, routes and static neighbours that change while a stack runs.

mod common;

use common::*;
use dpdk_net_packet::arp::Operation;
use dpdk_net_packet::{Network, Parsed, Transport, parse};
use dpdk_net_stack::{
    AddressState, Config, ConfigError, Duration, Error, IfAddr, Instant, Lifetimes, Neighbor,
    NeighborState, Origin, Route, Stack, TcpState, TxMeta, TxSink, UdpOptions, Vlan,
};

const NOW: Instant = Instant::from_secs(1_000);

fn addr(text: &str) -> IfAddr {
    text.parse().unwrap()
}

fn at(millis: u64) -> Instant {
    NOW + Duration::from_millis(millis)
}

fn sent(stack: &mut Stack, now: Instant) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    stack.poll_transmit(now, &mut frames);
    frames
}

/// Lets time pass until then; what was sent meanwhile.
fn run(stack: &mut Stack, until: Instant) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    while let Some(now) = stack.next_timeout().filter(|at| *at <= until) {
        stack.handle_timeout(now);
        frames.extend(sent(stack, now));
    }
    stack.handle_timeout(until);
    frames.extend(sent(stack, until));
    frames
}

fn state(stack: &Stack, addr: &str) -> Option<AddressState> {
    let addr: std::net::IpAddr = addr.parse().unwrap();
    let all = stack.interface_addresses();
    let found = all.iter().find(|it| it.address.addr == addr);
    found.map(|it| it.state)
}

/// Without addresses but the link-local one, probed or not.
fn bare(dad: bool) -> Stack {
    let mut config = Config::new(mac(1));
    config.dad = dad;
    let mut stack = Stack::new(config, NOW).unwrap();
    run(&mut stack, at(5_000));
    stack
}

fn source_of(stack: &mut Stack, now: Instant, to: std::net::SocketAddr) -> std::net::IpAddr {
    let any = if to.is_ipv4() { Family::V4 } else { Family::V6 };
    let options = UdpOptions::new(any.any(0));
    let id = stack.udp_bind(options).unwrap();
    stack.udp_send(now, id, b"x", Some(to)).unwrap();
    stack.udp_close(id);
    let frames = sent(stack, now);
    let source = |frame: &Vec<u8>| match parse(frame).unwrap().network {
        Network::Ip(ip, Transport::Udp(_)) => Some(ip.src()),
        _ => None,
    };
    frames.iter().find_map(source).expect("a datagram")
}

both_families! {
    fn an_address_that_is_added_is_probed_and_then_in_use(family) {
        let mut stack = bare(true);
        let own = family.host(1);
        let prefix_len = if family == Family::V4 { 24 } else { 64 };
        stack.add_address(at(6_000), 0, IfAddr { addr: own, prefix_len }, Lifetimes::FOREVER).unwrap();
        assert_eq!(state(&stack, &own.to_string()), Some(AddressState::Tentative));
        let probes = run(&mut stack, at(8_000)).iter().filter(|frame| match parse(frame).unwrap() {
            Parsed { network: Network::Arp(packet), .. } => {
                packet.operation == Operation::Request && packet.sender.is_unspecified()
            }
            Parsed { network: Network::Ip(ip, Transport::Icmpv6(message)), .. } => {
                message.kind() == 135 && ip.src().is_unspecified()
            }
            _ => false,
        }).count();
        assert_eq!(probes, if family == Family::V4 { 3 } else { 1 });
        assert_eq!(state(&stack, &own.to_string()), Some(AddressState::Preferred));
        assert!(stack.is_settled());
        // It can be bound, and its prefix is on the link.
        stack.udp_bind(UdpOptions::new(family.at(1, 7))).unwrap();
        let routes = stack.routes();
        assert_eq!((routes[0].origin, routes[0].route.prefix_len), (Origin::OnLink, prefix_len));
        assert_eq!(routes[0].route.gateway, None);
    }

    fn an_address_that_is_removed_is_nobodys(family) {
        let mut stack = Stack::new(config(1).with_neighbor(Neighbor::new(family.host(2), mac(2))), NOW).unwrap();
        let mut peer = Stack::new(config(2).with_neighbor(Neighbor::new(family.host(1), mac(1))), NOW).unwrap();
        let own = family.host(1);
        assert_eq!(stack.remove_address(NOW, 0, family.host(9)), Err(Error::AddrNotAvailable));
        stack.remove_address(NOW, 0, own).unwrap();
        assert!(stack.vlan_of(own).is_none());
        assert_eq!(stack.udp_bind(UdpOptions::new(family.at(1, 7))), Err(Error::AddrNotAvailable));
        let id = peer.udp_bind(UdpOptions::new(family.any(9))).unwrap();
        peer.udp_send(NOW, id, b"x", Some(family.at(1, 7))).unwrap();
        let frames = sent(&mut peer, NOW);
        let before = stack.stats().frames.drop_ip_not_for_us;
        stack.ingest(NOW, &frames);
        assert_eq!(stack.stats().frames.drop_ip_not_for_us, before + 1);
        assert!(sent(&mut stack, NOW).is_empty());
    }

    fn a_connection_outlives_its_address_and_goes_on_when_that_comes_back(family) {
        let mut pair = Pair::new();
        let (client, server) = pair.establish(family);
        pair.transfer(CLIENT, client, server, b"before", Duration::from_secs(1));
        let own = family.host(2);
        let all = pair.client().interface_addresses();
        let had = all.iter().find(|it| it.address.addr == own).unwrap().address;
        let now = pair.now;
        pair.client().remove_address(now, 0, own).unwrap();
        // The MAC address of the next hop is used for as long as it is known.
        pair.run(Duration::from_millis(200));
        let frames = |pair: &mut Pair| pair.client().stats().frames.tx_frames;
        let before = frames(&mut pair);
        pair.client().tcp_send(client, b" and after").unwrap();
        pair.run(Duration::from_secs(2));
        assert_eq!(frames(&mut pair), before, "nothing leaves");
        assert_eq!(pair.client().tcp_state(client), TcpState::Established);
        let now = pair.now;
        pair.client().add_address(now, 0, had, Lifetimes::FOREVER).unwrap();
        pair.run(Duration::from_secs(10));
        let mut buf = [0; 32];
        let len = pair.server().tcp_recv(server, &mut buf).unwrap();
        assert_eq!(&buf[..len], b" and after");
    }

    fn a_datagram_is_not_sent_from_an_address_that_was_taken_away(family) {
        let mut stack = Stack::new(config(1).with_neighbor(Neighbor::new(family.host(2), mac(2))), NOW).unwrap();
        let bound = stack.udp_bind(UdpOptions::new(family.at(1, 7))).unwrap();
        let connected = stack.udp_bind(UdpOptions::new(family.any(8))).unwrap();
        stack.udp_connect(connected, family.at(2, 9)).unwrap();
        for id in [bound, connected] {
            assert_eq!(stack.udp_send(NOW, id, b"x", Some(family.at(2, 9))), Ok(1));
        }
        stack.remove_address(NOW, 0, family.host(1)).unwrap();
        for id in [bound, connected] {
            let sent = stack.udp_send(NOW, id, b"x", Some(family.at(2, 9)));
            assert_eq!(sent, Err(Error::AddrNotAvailable));
        }
    }

    fn a_static_neighbour_is_not_changed_by_what_others_say(family) {
        let neighbor = Neighbor::new(family.host(2), mac(77));
        let mut stack = Stack::new(config(1).with_neighbor(neighbor), NOW).unwrap();
        let mut peer = Stack::new(config(2), NOW).unwrap();
        let id = peer.udp_bind(UdpOptions::new(family.any(9))).unwrap();
        // The peer asks for us, and tells its own MAC address with that.
        peer.udp_send(NOW, id, b"x", Some(family.at(1, 7))).unwrap();
        stack.ingest(NOW, &sent(&mut peer, NOW));
        let known = |stack: &Stack| {
            let all = stack.neighbors();
            let found = all.iter().find(|it| it.addr == family.host(2));
            found.map(|it| (it.state, it.mac))
        };
        assert_eq!(known(&stack), Some((NeighborState::Static, Some(mac(77)))));
        run(&mut stack, at(3_600_000));
        assert_eq!(known(&stack), Some((NeighborState::Static, Some(mac(77)))));
        stack.set_neighbor(Neighbor::new(family.host(2), mac(78))).unwrap();
        assert_eq!(known(&stack), Some((NeighborState::Static, Some(mac(78)))));
        assert!(stack.remove_neighbor(family.host(2)) && known(&stack).is_none());
    }

    fn lifetimes_deprecate_and_then_end_an_address(family) {
        let mut stack = bare(false);
        let (old, new) = match family {
            Family::V4 => (addr("198.18.0.1/15"), addr("198.18.0.9/15")),
            Family::V6 => (addr("fd00::1/64"), addr("fd00::9/64")),
        };
        stack.set_neighbor(Neighbor::new(family.host(2), mac(2))).unwrap();
        let start = at(6_000);
        let lifetimes = Lifetimes {
            preferred: Duration::from_secs(10),
            valid: Duration::from_secs(20),
        };
        stack.add_address(start, 0, old, lifetimes).unwrap();
        stack.add_address(start, 0, new, Lifetimes::FOREVER).unwrap();
        let to = family.at(2, 7);
        // The one that is preferred, whichever comes first.
        assert_eq!(source_of(&mut stack, start, to), old.addr);
        let later = start + Duration::from_secs(10);
        run(&mut stack, later);
        assert_eq!(state(&stack, &old.addr.to_string()), Some(AddressState::Deprecated));
        assert_eq!(source_of(&mut stack, later, to), new.addr);
        stack.udp_bind(UdpOptions::new((old.addr, 9).into())).expect("it is still ours");
        // Told anew it is preferred again.
        stack.add_address(later, 0, old, lifetimes).unwrap();
        assert_eq!(state(&stack, &old.addr.to_string()), Some(AddressState::Preferred));
        let end = later + Duration::from_secs(20);
        run(&mut stack, end - Duration::from_millis(1));
        assert_eq!(state(&stack, &old.addr.to_string()), Some(AddressState::Deprecated));
        let version = stack.network_version();
        run(&mut stack, end);
        assert_eq!(state(&stack, &old.addr.to_string()), None);
        assert_ne!(stack.network_version(), version);
        // A lone deprecated one serves.
        stack.remove_address(end, 0, new.addr).unwrap();
        let none = Lifetimes { preferred: Duration::ZERO, valid: Duration::MAX };
        stack.add_address(end, 0, old, none).unwrap();
        assert_eq!(state(&stack, &old.addr.to_string()), Some(AddressState::Deprecated));
        assert_eq!(source_of(&mut stack, end, to), old.addr);
    }
}

#[test]
fn what_is_added_is_checked_as_the_configuration_is() {
    let config = config(1).with_vlan(Vlan::new(5).with_address(addr("198.51.100.2/24")));
    let mut stack = Stack::new(config, NOW).unwrap();
    let mut add = |vlan, text: &str| {
        let address = addr(text);
        stack.add_address(NOW, vlan, address, Lifetimes::FOREVER)
    };
    let bad = |error: ConfigError| Err(Error::BadConfig(error));
    let ip = |text: &str| text.parse::<std::net::IpAddr>().unwrap();
    assert_eq!(
        add(0, "224.0.0.1/24"),
        bad(ConfigError::NotUnicast(ip("224.0.0.1")))
    );
    assert_eq!(
        add(0, "198.51.100.2/24"),
        bad(ConfigError::DuplicateAddress(ip("198.51.100.2")))
    );
    assert_eq!(add(6, "203.0.113.2/24"), Err(Error::AddrNotAvailable));
    assert_eq!(add(5, "203.0.113.2/24"), Ok(()));
    // A link-local address may be the same on each link.
    assert_eq!(add(0, "fe80::5/64"), Ok(()));
    assert_eq!(add(5, "fe80::5/64"), Ok(()));
    let gateway = Route::default_via(ip("203.0.113.1"));
    let forever = Duration::MAX;
    assert_eq!(stack.add_route(NOW, gateway, forever), Ok(()));
    assert_eq!(
        stack.add_route(NOW, gateway.on_vlan(6), forever),
        bad(ConfigError::UnknownVlan {
            dest: ip("0.0.0.0"),
            vlan: 6
        })
    );
    let group = Route {
        gateway: Some(ip("224.0.0.1")),
        ..gateway
    };
    assert!(matches!(
        stack.set_routes(&[gateway, group]),
        Err(Error::BadConfig(ConfigError::BadGateway { .. }))
    ));
    // The gateway is on the VLAN's prefix.
    assert_eq!(stack.routes().last().unwrap().route, gateway.on_vlan(5));
    let mac_of_all = dpdk_net_packet::MacAddr::BROADCAST;
    assert_eq!(
        stack.set_neighbor(Neighbor::new(ip("198.18.0.9"), mac_of_all)),
        bad(ConfigError::BadMac(mac_of_all))
    );
}

#[test]
fn tables_are_bounded() {
    let mut config = config(1);
    config.limits.neighbors = 8;
    let mut stack = Stack::new(config.clone(), NOW).unwrap();
    let v4 = |n: u32| std::net::IpAddr::from((0xc612_0000 + n).to_be_bytes());
    let added = (10..100)
        .map(|n| stack.set_neighbor(Neighbor::new(v4(n), mac(9))))
        .take_while(Result::is_ok);
    assert_eq!(added.count(), 4);
    // One that is there can be changed all the same.
    stack.set_neighbor(Neighbor::new(v4(10), mac(3))).unwrap();
    let added = (10..1_000)
        .map(|n| {
            let address = IfAddr::new(v4(n), 32).unwrap();
            stack.add_address(NOW, 0, address, Lifetimes::FOREVER)
        })
        .take_while(Result::is_ok);
    assert!(added.count() < 256);
    let added = (0..5_000)
        .map(|n| {
            let route = Route {
                dest: v4(n),
                prefix_len: 32,
                gateway: None,
                vlan: None,
            };
            stack.add_route(NOW, route, Duration::MAX)
        })
        .take_while(Result::is_ok);
    assert_eq!(added.count(), 1_024);
    config.neighbors = (10..20).map(|n| Neighbor::new(v4(n), mac(9))).collect();
    assert!(matches!(
        config.validate(),
        Err(ConfigError::OutOfRange {
            name: "neighbors",
            ..
        })
    ));
}

#[test]
fn routes_come_go_and_expire() {
    let mut stack = Stack::new(config(1), NOW).unwrap();
    stack
        .set_neighbor(Neighbor::new(Family::V4.host(9), mac(9)))
        .unwrap();
    let far: std::net::SocketAddr = "192.0.2.1:7".parse().unwrap();
    let id = stack.udp_bind(UdpOptions::new(Family::V4.any(0))).unwrap();
    let reaches = |stack: &mut Stack, now| stack.udp_send(now, id, b"x", Some(far)).is_ok();
    assert!(!reaches(&mut stack, NOW));
    let route = Route::default_via(Family::V4.host(9));
    stack.add_route(NOW, route, Duration::from_secs(5)).unwrap();
    assert!(reaches(&mut stack, NOW));
    run(&mut stack, at(4_999));
    assert!(reaches(&mut stack, at(4_999)));
    assert_eq!(
        stack.routes().last().unwrap().lifetime,
        Duration::from_millis(1)
    );
    run(&mut stack, at(5_000));
    assert!(!reaches(&mut stack, at(5_000)));
    stack.add_route(at(5_000), route, Duration::MAX).unwrap();
    assert!(reaches(&mut stack, at(5_000)));
    stack.remove_route(&route).unwrap();
    assert_eq!(stack.remove_route(&route), Err(Error::NetworkUnreachable));
    assert!(!reaches(&mut stack, at(5_000)));
    stack.set_routes(&[route]).unwrap();
    assert!(reaches(&mut stack, at(5_000)));
    stack.set_routes(&[]).unwrap();
    assert!(!reaches(&mut stack, at(5_000)));
}

#[test]
fn what_can_be_changed_is_and_what_cannot_is_refused() {
    let mut stack = Stack::new(config(1), NOW).unwrap();
    let (mut limits, mut tcp) = (stack.limits().clone(), stack.tcp_config().clone());
    limits.neighbors = 2;
    tcp.max_connections = 1;
    stack.reconfigure(&limits, &tcp).unwrap();
    assert_eq!((stack.limits(), stack.tcp_config()), (&limits, &tcp));
    let open = |stack: &mut Stack, host| stack.tcp_connect(NOW, None, Family::V4.at(host, 80));
    open(&mut stack, 2).unwrap();
    assert_eq!(open(&mut stack, 3), Err(Error::NoBufferSpace));
    tcp.max_connections = 100;
    stack.reconfigure(&limits, &tcp).unwrap();
    for host in 3..9 {
        open(&mut stack, host).unwrap();
        sent(&mut stack, NOW);
    }
    assert!(stack.neighbors().len() <= 2);
    let refused = |name| Err(Error::BadConfig(ConfigError::NotWhileRunning(name)));
    let mut other = limits.clone();
    other.reply_queue += 1;
    let result = stack.reconfigure(&other, &tcp);
    assert_eq!(result, refused("limits.reply_queue"));
    let mut other = tcp.clone();
    (other.sack, other.max_orphans) = (false, 7);
    assert_eq!(stack.reconfigure(&limits, &other), refused("tcp.sack"));
    assert_eq!(stack.tcp_config(), &tcp, "all or nothing");
    limits.neighbors = 0;
    assert!(matches!(
        stack.reconfigure(&limits, &tcp),
        Err(Error::BadConfig(ConfigError::OutOfRange { .. }))
    ));
}

/// A DHCP server's frame, to an address and a MAC address.
fn from_server(to: [u8; 4], to_mac: dpdk_net_packet::MacAddr) -> Vec<u8> {
    let mut server = Stack::new(config(2), NOW).unwrap();
    server
        .set_neighbor(Neighbor::new(Family::V4.host(9), mac(1)))
        .unwrap();
    let id = server
        .udp_bind(UdpOptions::new(Family::V4.at(2, 67)))
        .unwrap();
    server
        .udp_send(NOW, id, b"offer", Some(Family::V4.at(9, 68)))
        .unwrap();
    let mut frame = sent(&mut server, NOW).pop().unwrap();
    frame[..6].copy_from_slice(&to_mac.0);
    frame[30..34].copy_from_slice(&to);
    // Neither checksum is right any more.
    frame[24..26].fill(0);
    let sum = dpdk_net_packet::checksum::data(&frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());
    frame[40..42].fill(0);
    frame
}

fn with_tag(mut frame: Vec<u8>, vlan: u8) -> Vec<u8> {
    frame.splice(12..12, [0x81, 0, 0, vlan]);
    frame
}

#[test]
fn a_socket_speaks_before_there_is_an_address() {
    let mut config = Config::new(mac(1))
        .with_vlan(Vlan::new(5))
        .with_vlan(Vlan::new(6).with_address(addr("198.51.100.2/24")))
        .with_route(Route::default_via("198.51.100.1".parse().unwrap()));
    config.dad = false;
    let mut stack = Stack::new(config, NOW).unwrap();
    let all: std::net::SocketAddr = "255.255.255.255:67".parse().unwrap();
    let ids = [0, 5].map(|vlan| stack.udp_bind(UdpOptions::unconfigured(vlan, 68)).unwrap());
    assert_eq!(
        stack.udp_bind(UdpOptions::unconfigured(5, 68)),
        Err(Error::AddrInUse)
    );
    assert_eq!(
        stack.udp_bind(UdpOptions::unconfigured(7, 68)),
        Err(Error::AddrNotAvailable)
    );
    // One with an address has the same port.
    let other = stack.udp_bind(UdpOptions::new("198.51.100.2:68".parse().unwrap()));
    assert!(other.is_ok());
    sent(&mut stack, NOW);
    for (id, tag) in ids.into_iter().zip([None, Some(5)]) {
        let mut frames: Vec<(TxMeta, Vec<u8>)> = Vec::new();
        stack.udp_send(NOW, id, b"discover", Some(all)).unwrap();
        stack.poll_transmit(NOW, &mut Tagged(&mut frames));
        let [(meta, frame)] = &frames[..] else {
            panic!("{frames:?}")
        };
        assert_eq!(meta.vlan_tci, tag);
        assert_eq!(frame[..6], [0xff; 6]);
        assert_eq!(
            (&frame[26..30], &frame[30..34]),
            (&[0; 4][..], &[0xff; 4][..])
        );
        let far = "198.51.100.1:67".parse().unwrap();
        let refused = stack.udp_send(NOW, id, b"x", Some(far));
        assert_eq!(refused, Err(Error::NetworkUnreachable));
    }
    let got = |stack: &mut Stack, frame: Vec<u8>| {
        stack.ingest(NOW, &[frame]);
        ids.map(|id| stack.udp_recv(id, &mut [0; 64]).is_ok())
    };
    let broadcast = dpdk_net_packet::MacAddr::BROADCAST;
    let to_all = from_server([255; 4], broadcast);
    assert_eq!(got(&mut stack, to_all.clone()), [true, false]);
    assert_eq!(got(&mut stack, with_tag(to_all, 5)), [false, true]);
    // To the address that is offered, and to somebody else's.
    let offered = from_server([198, 18, 0, 77], mac(1));
    assert_eq!(got(&mut stack, offered.clone()), [true, false]);
    assert_eq!(got(&mut stack, with_tag(offered, 5)), [false, true]);
    let overheard = from_server([198, 18, 0, 77], broadcast);
    assert_eq!(got(&mut stack, overheard), [false, false]);
}

/// Keeps what comes with the frames too.
struct Tagged<'a>(&'a mut Vec<(TxMeta, Vec<u8>)>);

impl TxSink for Tagged<'_> {
    fn capacity(&mut self) -> usize {
        64
    }

    fn send<R>(&mut self, len: usize, meta: TxMeta, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut frame = vec![0; len];
        let result = fill(&mut frame);
        self.0.push((meta, frame));
        result
    }
}

#[test]
fn what_is_leased_and_what_was_configured_end_each_by_itself() {
    let own = addr("198.18.0.1/24");
    let route = Route::default_via("198.18.0.254".parse().unwrap());
    let mut config = Config::new(mac(1));
    config.dad = false;
    config.addresses.push(own);
    config.routes.push(route);
    let mut stack = Stack::new(config, NOW).unwrap();
    let origins = |stack: &Stack| -> Vec<Origin> {
        let routes = stack.routes().into_iter();
        let defaults = routes.filter(|it| it.route.prefix_len == 0);
        defaults.map(|it| it.origin).collect()
    };
    let hour = Lifetimes::of(Duration::from_secs(3_600));
    let info = |stack: &Stack| {
        let all = stack.interface_addresses();
        let own = all.iter().find(|it| it.address.addr == own.addr);
        own.map(|it| (it.origin, it.lifetimes.valid, it.address.prefix_len))
    };
    let for_good = Some((Origin::Configured, Duration::MAX, 24));

    // The lease of an address that was configured.
    stack
        .lease_address(NOW, 0, addr("198.18.0.1/16"), hour)
        .unwrap();
    stack.lease_route(NOW, route, Duration::MAX).unwrap();
    assert_eq!(info(&stack), for_good);
    assert_eq!(origins(&stack), [Origin::Configured, Origin::Leased]);
    assert_eq!(
        stack.end_lease(NOW, 0, own.addr),
        Err(Error::AddrNotAvailable)
    );
    stack.end_leased_route(&route).unwrap();
    assert_eq!(
        (info(&stack), origins(&stack)),
        (for_good, vec![Origin::Configured])
    );
    assert_eq!(
        stack.end_leased_route(&route),
        Err(Error::NetworkUnreachable)
    );

    // A route that was configured goes, and the lease's stays; so it does if all are replaced.
    stack.lease_route(NOW, route, Duration::MAX).unwrap();
    stack.remove_route(&route).unwrap();
    assert_eq!(origins(&stack), [Origin::Leased]);
    stack.set_routes(&[route]).unwrap();
    assert_eq!(origins(&stack), [Origin::Configured, Origin::Leased]);
    stack.set_routes(&[]).unwrap();
    assert_eq!(origins(&stack), [Origin::Leased]);

    // A leased address that is configured later is there for good, whatever becomes of the lease.
    stack.remove_address(NOW, 0, own.addr).unwrap();
    stack.lease_address(NOW, 0, own, hour).unwrap();
    assert_eq!(
        info(&stack),
        Some((Origin::Leased, Duration::from_secs(3_600), 24))
    );
    stack.add_address(NOW, 0, own, Lifetimes::FOREVER).unwrap();
    stack.lease_address(NOW, 0, own, hour).unwrap();
    run(&mut stack, NOW + Duration::from_secs(4_000));
    assert_eq!(info(&stack), for_good);

    // A lease alone ends with its time, or when it is given up.
    stack
        .remove_address(NOW + Duration::from_secs(4_000), 0, own.addr)
        .unwrap();
    let now = NOW + Duration::from_secs(4_000);
    stack.lease_address(now, 0, own, hour).unwrap();
    stack.end_lease(now, 0, own.addr).unwrap();
    assert_eq!(info(&stack), None);
}
