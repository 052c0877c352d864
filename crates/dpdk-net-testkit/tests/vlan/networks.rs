//! TCP and UDP over several networks of one port at once, and duplicate addresses, in the simulated network.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use dpdk_net_packet::{Network, Protocol, parse};
use dpdk_net_stack::{AddressState, Error, IfAddr, ListenOptions, UdpId, UdpOptions, Vlan};
use dpdk_net_testkit::addr::{self, Family};
use dpdk_net_testkit::apps::{Bulk, EchoServer, Pattern};
use dpdk_net_testkit::frames;
use dpdk_net_testkit::hosts::{Foreign, OnVlan, StackHost};
use dpdk_net_testkit::sim::{Direction, LinkConfig, Pair, Sim};

use super::{NETWORKS, SMALL_MTU, address, trunk};

const PORT: u16 = 7000;
const BYTES: u64 = 300_000;

fn wire() -> LinkConfig {
    LinkConfig::delay(Duration::from_micros(50))
}

/// Of the IP packets that a host sent: VLAN, source and length.
fn packets_of(sim: &Sim, host: dpdk_net_testkit::sim::HostId) -> Vec<(u16, IpAddr, usize)> {
    let sent = sim.trace().entries();
    let sent = sent.filter(|entry| entry.host == host && entry.direction == Direction::Sent);
    sent.filter_map(|entry| {
        let vlan = frames::tci(&entry.frame).unwrap_or(0) & 0xfff;
        match parse(&entry.frame).unwrap().network {
            Network::Ip(ip, _) => Some((vlan, ip.src(), ip.bytes().len())),
            _ => None,
        }
    })
    .collect()
}

#[test]
fn tcp_over_three_networks_at_once_in_both_families() {
    let mut net = Pair::new(
        1,
        StackHost::with_config(trunk(1, 1)),
        StackHost::with_config(trunk(2, 2)),
        wire().with_loss(0.002),
        wire().with_loss(0.002),
    );
    net.keep_trace(1_000_000);
    let (client, server) = (net.client, net.server);
    let mut seed = 0;
    for vlan in NETWORKS {
        for family in Family::BOTH {
            seed += 2;
            let (there, back) = (Pattern::new(seed), Pattern::new(seed + 1));
            let at = SocketAddr::new(address(family, vlan, 2), PORT);
            let listen = Bulk::listen(at);
            net.spawn(server, listen.sending(back, BYTES).receiving(there, BYTES));
            let connect = Bulk::connect(at);
            net.spawn(client, connect.sending(there, BYTES).receiving(back, BYTES));
        }
    }
    net.drive_apps(Duration::from_secs(60)).unwrap();
    for (host, n) in [(client, 1), (server, 2)] {
        let mut largest = BTreeMap::<_, usize>::new();
        for (vlan, src, len) in packets_of(&net, host) {
            let own = Family::BOTH.map(|family| address(family, vlan, n));
            let on_link = matches!(src, IpAddr::V6(v6) if v6.is_unicast_link_local());
            assert!(on_link || own.contains(&src), "{src} in VLAN {vlan}");
            let most = largest.entry((vlan, src.is_ipv4())).or_default();
            *most = len.max(*most);
        }
        for ((vlan, is_v4), most) in largest {
            let mtu = if vlan == 200 { SMALL_MTU } else { 1500 };
            assert_eq!(most, usize::from(mtu), "VLAN {vlan}, IPv4: {is_v4}");
        }
    }
}

/// Our host in VLANs 100 and 200, which have the same addresses: 1 in the one, 3 in the other. In each there is a host 2 with the
/// same IP and MAC addresses.
struct Twins {
    sim: Sim,
    ours: dpdk_net_testkit::sim::HostId,
    peers: [dpdk_net_testkit::sim::HostId; 2],
}

const OWN: [(u16, u16); 2] = [(100, 1), (200, 3)];

fn twins() -> Twins {
    let mut config = StackHost::config(1, 1);
    config.addresses.clear();
    for (vlan, n) in OWN {
        let v4 = IfAddr::new(addr::ipv4(n).into(), addr::IPV4_PREFIX_LEN).unwrap();
        let v6 = IfAddr::new(addr::ipv6(n).into(), addr::IPV6_PREFIX_LEN).unwrap();
        let vlan = Vlan::new(vlan).with_address(v4).with_address(v6);
        config.vlans.push(vlan);
    }
    let mut sim = Sim::new(3);
    let ours = sim.add(StackHost::with_config(config), wire());
    let peers = [100, 200].map(|vlan| {
        let peer = OnVlan::new(vlan, Foreign::new(2, vlan.into()));
        sim.add(peer, wire())
    });
    sim.keep_trace(100_000);
    Twins { sim, ours, peers }
}

#[test]
fn networks_with_the_same_addresses_stay_apart() {
    for family in Family::BOTH {
        let Twins {
            mut sim,
            ours,
            peers,
        } = twins();
        for (i, (vlan, n)) in OWN.into_iter().enumerate() {
            let (there, back) = (Pattern::new(vlan.into()), Pattern::new(u64::from(vlan) + 1));
            let at = family.socket(n, PORT);
            let listen = Bulk::listen(at);
            sim.spawn(ours, listen.sending(back, BYTES).receiving(there, BYTES));
            let connect = Bulk::connect(at);
            sim.spawn(
                peers[i],
                connect.sending(there, BYTES).receiving(back, BYTES),
            );
        }
        sim.drive_apps(Duration::from_secs(60)).unwrap();
        for (vlan, src, _) in packets_of(&sim, ours) {
            let n = OWN.iter().find(|(of, _)| *of == vlan).map(|(_, n)| *n);
            let on_link = matches!(src, IpAddr::V6(v6) if v6.is_unicast_link_local());
            assert!(on_link || Some(src) == n.map(|n| family.host(n)) || !same(src, family));
        }
        let stack = sim.host::<StackHost>(ours).stack();
        let mut vlans: Vec<u16> = stack
            .neighbors()
            .iter()
            .filter(|neighbor| neighbor.addr == family.host(2))
            .map(|neighbor| neighbor.vlan)
            .collect();
        vlans.sort_unstable();
        assert_eq!(vlans, [100, 200]);
    }
}

fn same(addr: IpAddr, family: Family) -> bool {
    addr.is_ipv4() == (family == Family::V4)
}

#[test]
fn a_connection_from_here_goes_to_the_network_of_its_local_address() {
    for family in Family::BOTH {
        let Twins {
            mut sim,
            ours,
            peers,
        } = twins();
        let servers = peers.map(|peer| sim.spawn(peer, EchoServer::new(family.socket(2, PORT))));
        sim.drive_for(Duration::from_millis(1)).unwrap();
        let now = sim.now();
        let stack = sim.host_mut::<StackHost>(ours).stack_mut();
        let local = Some(family.socket(3, 0));
        let id = stack
            .tcp_connect(now, local, family.socket(2, PORT))
            .unwrap();
        sim.drive_for(Duration::from_secs(1)).unwrap();
        let accepted = servers.map(|server| sim.app(server).accepted());
        assert_eq!(accepted, [0, 1]);
        let stack = sim.host_mut::<StackHost>(ours).stack_mut();
        assert_eq!(stack.tcp_local(id).unwrap().ip(), family.host(3));
    }
}

fn bind(sim: &mut Sim, host: dpdk_net_testkit::sim::HostId) -> UdpId {
    let any = SocketAddr::new([0u16; 8].into(), PORT);
    let stack = sim.host_mut::<StackHost>(host).stack_mut();
    stack.udp_bind(UdpOptions::new(any)).unwrap()
}

#[test]
fn one_socket_serves_datagrams_of_all_networks_and_answers_each_in_its_own() {
    let mut net = Pair::new(
        4,
        StackHost::with_config(trunk(1, 1)),
        StackHost::with_config(trunk(2, 2)),
        wire(),
        wire(),
    );
    net.keep_trace(10_000);
    let (client, server) = (net.client, net.server);
    let (there, here) = (bind(&mut net, client), bind(&mut net, server));
    let mut buf = vec![0; 4_000];
    for (vlan, family) in NETWORKS
        .into_iter()
        .flat_map(|v| Family::BOTH.map(|f| (v, f)))
    {
        // In fragments, of a size that depends on the VLAN.
        let data = vec![vlan as u8; 3_000];
        let to = SocketAddr::new(address(family, vlan, 2), PORT);
        let now = net.now();
        let stack = net.host_mut::<StackHost>(client).stack_mut();
        stack.udp_send(now, there, &data, Some(to)).unwrap();
        net.drive_for(Duration::from_millis(10)).unwrap();
        let now = net.now();
        let stack = net.host_mut::<StackHost>(server).stack_mut();
        let got = stack.udp_recv(here, &mut buf).unwrap();
        let from = SocketAddr::new(address(family, vlan, 1), PORT);
        assert_eq!((got.from, got.to, got.vlan), (from, to.ip(), vlan));
        assert_eq!(buf[..got.len], data);
        stack
            .udp_send(now, here, b"answer", Some(got.from))
            .unwrap();
        assert_eq!(stack.udp_recv(here, &mut buf), Err(Error::WouldBlock));
        net.drive_for(Duration::from_millis(10)).unwrap();
        let stack = net.host_mut::<StackHost>(client).stack_mut();
        let got = stack.udp_recv(there, &mut buf).unwrap();
        assert_eq!((got.from, got.to, got.vlan), (to, from.ip(), vlan));
    }
    let sent = packets_of(&net, client);
    for vlan in NETWORKS {
        for is_v4 in [true, false] {
            let of = |(v, src, _): &&(u16, IpAddr, usize)| *v == vlan && src.is_ipv4() == is_v4;
            let most = sent.iter().filter(of).map(|(_, _, len)| *len).max();
            let mtu = if vlan == 200 { SMALL_MTU } else { 1500 };
            // Fragments carry multiples of eight bytes.
            assert!(
                (mtu - 8..=mtu).contains(&(most.unwrap() as u16)),
                "{most:?}"
            );
        }
    }
    for host in [client, server] {
        let stats = net.host::<StackHost>(host).stack().stats();
        assert_eq!((stats.frames.drop_vlan, stats.icmp.errors_sent), (0, 0));
    }
}

#[test]
fn an_address_that_somebody_has_is_lost_in_that_network_and_kept_in_another() {
    let mut sim = Sim::new(5);
    let taken = |vlan| IfAddr::new(address(Family::V4, vlan, 9), 24).unwrap();
    let taken6 = |vlan| IfAddr::new(address(Family::V6, vlan, 9), 64).unwrap();
    let mut config = StackHost::config(1, 1);
    let vlan = Vlan::new(100)
        .with_address(taken(0))
        .with_address(taken6(0));
    config.vlans.push(vlan);
    sim.add(StackHost::with_config(config), wire());
    let newcomers = [100, 200].map(|vlan| {
        let mut config = StackHost::config(vlan, vlan.into());
        config.dad = true;
        let vlan = Vlan::new(vlan)
            .with_address(taken(0))
            .with_address(taken6(0));
        config.vlans.push(vlan);
        sim.add(StackHost::with_config(config), wire())
    });
    sim.drive_for(Duration::from_secs(5)).unwrap();
    for (newcomer, state) in newcomers
        .into_iter()
        .zip([AddressState::Duplicate, AddressState::Preferred])
    {
        let stack = sim.host::<StackHost>(newcomer).stack();
        assert!(stack.is_settled());
        let [vlan] = stack.vlans()[..] else {
            panic!("{:?}", stack.vlans());
        };
        let states = stack.vlan_address_states(vlan);
        for addr in [taken(0), taken6(0)] {
            assert!(states.contains(&(addr, state)), "{vlan}: {states:?}");
        }
        // Its own address of the untagged network is nobody else's.
        let own = stack.vlan_address_states(0);
        assert!(
            own.iter()
                .all(|(_, state)| *state == AddressState::Preferred)
        );
    }
}

#[test]
fn what_is_sent_to_an_own_address_stays_here_whichever_interface_has_it() {
    let mut sim = Sim::new(6);
    let host = sim.add(StackHost::with_config(trunk(1, 1)), wire());
    sim.keep_trace(10_000);
    let link_local = |vlan| SocketAddr::from(SocketAddrV6::new(addr::link_local(1), PORT, 0, vlan));
    let mut buf = [0; 100];
    for vlan in NETWORKS {
        for to in [
            SocketAddr::new(address(Family::V4, vlan, 1), PORT),
            SocketAddr::new(address(Family::V6, vlan, 1), PORT),
            link_local(vlan.into()),
        ] {
            let now = sim.now();
            let stack = sim.host_mut::<StackHost>(host).stack_mut();
            let own = stack.udp_bind(UdpOptions::new(to)).unwrap();
            stack.udp_send(now, own, b"to myself", Some(to)).unwrap();
            sim.drive_for(Duration::from_millis(1)).unwrap();
            let stack = sim.host_mut::<StackHost>(host).stack_mut();
            let got = stack.udp_recv(own, &mut buf).unwrap();
            assert_eq!((got.from, got.to, got.vlan), (to, to.ip(), vlan));
            stack.udp_close(own);
            let listener = stack.tcp_listen(ListenOptions::new(to)).unwrap();
            let now = sim.now();
            let stack = sim.host_mut::<StackHost>(host).stack_mut();
            let id = stack.tcp_connect(now, None, to).unwrap();
            sim.drive_for(Duration::from_millis(1)).unwrap();
            let stack = sim.host_mut::<StackHost>(host).stack_mut();
            let (_, peer) = stack.tcp_accept(listener).unwrap();
            assert_eq!(stack.tcp_local(id), Some(peer));
            stack.tcp_listener_close(listener);
        }
    }
    let looped = sim.host::<StackHost>(host).stack().stats().frames.looped;
    assert!(looped >= 9 * 4, "{looped}");
    let on_wire = sim.trace().entries().any(|entry| {
        let parsed = parse(&entry.frame).unwrap();
        let transports = [Protocol::Udp, Protocol::Tcp];
        matches!(parsed.network, Network::Ip(ip, _) if transports.contains(&ip.protocol()))
    });
    assert!(!on_wire);
}
