//! Link-local addresses and groups: the same on each link, and told apart by their scope.

use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use dpdk_net_stack::{Error, ListenOptions, ListenerId, Stack, TcpId, UdpId, UdpOptions};
use dpdk_net_testkit::addr::{self, Family};
use dpdk_net_testkit::hosts::StackHost;
use dpdk_net_testkit::sim::{LinkConfig, Pair};

use super::{NETWORKS, address, trunk};

const PORT: u16 = 7000;

fn pair() -> Pair {
    let wire = || LinkConfig::delay(Duration::from_micros(50));
    let hosts = [trunk(1, 1), trunk(2, 2)].map(StackHost::with_config);
    let [client, server] = hosts;
    Pair::new(1, client, server, wire(), wire())
}

/// The link-local address that host `n` has on each of its links.
fn link_local(n: u16, scope: u16, port: u16) -> SocketAddr {
    SocketAddrV6::new(addr::link_local(n), port, 0, scope.into()).into()
}

fn group(scope: u16, port: u16) -> SocketAddr {
    let group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x77);
    SocketAddrV6::new(group, port, 0, scope.into()).into()
}

fn any(port: u16) -> SocketAddr {
    SocketAddr::new([0u16; 8].into(), port)
}

fn client(net: &mut Pair) -> &mut Stack {
    let id = net.client;
    net.host_mut::<StackHost>(id).stack_mut()
}

fn server(net: &mut Pair) -> &mut Stack {
    let id = net.server;
    net.host_mut::<StackHost>(id).stack_mut()
}

fn pass(net: &mut Pair) {
    net.drive_for(Duration::from_millis(50)).unwrap();
}

fn udp(stack: &mut Stack, local: SocketAddr) -> UdpId {
    stack.udp_bind(UdpOptions::new(local)).unwrap()
}

#[test]
fn a_link_local_datagram_goes_by_its_scope_and_comes_with_it() {
    let mut net = pair();
    let here = udp(client(&mut net), any(PORT));
    let there = udp(server(&mut net), any(PORT));
    // One bound to the address of one link takes that link's alone.
    let special = udp(server(&mut net), link_local(2, 100, PORT + 1));
    let mut buf = [0; 100];
    for vlan in NETWORKS {
        let now = net.now();
        for port in [PORT, PORT + 1] {
            let to = Some(link_local(2, vlan, port));
            client(&mut net).udp_send(now, here, b"hello", to).unwrap();
        }
        pass(&mut net);
        let now = net.now();
        let got = server(&mut net).udp_recv(there, &mut buf).unwrap();
        let peer = link_local(1, vlan, PORT);
        assert_eq!((got.from, got.vlan), (peer, vlan));
        let special = server(&mut net).udp_recv(special, &mut buf);
        assert_eq!(special.is_ok(), vlan == 100, "{special:?}");
        server(&mut net)
            .udp_send(now, there, b"answer", Some(got.from))
            .unwrap();
        pass(&mut net);
        if vlan != 100 {
            // Nobody has the other port there, which an unconnected socket does not hear of.
            assert!(client(&mut net).stats().icmp.errors_received > 0);
        }
        let got = client(&mut net).udp_recv(here, &mut buf).unwrap();
        assert_eq!(got.from, link_local(2, vlan, PORT));
    }
}

#[test]
fn a_connected_socket_hears_its_peer_on_its_own_link_alone() {
    let mut net = pair();
    let here = udp(client(&mut net), any(PORT));
    client(&mut net)
        .udp_connect(here, link_local(2, 200, PORT))
        .unwrap();
    assert_eq!(
        client(&mut net).udp_local(here),
        Some(link_local(1, 200, PORT))
    );
    let there = udp(server(&mut net), any(PORT));
    let mut buf = [0; 100];
    for vlan in NETWORKS {
        let now = net.now();
        let to = Some(link_local(1, vlan, PORT));
        server(&mut net).udp_send(now, there, b"hello", to).unwrap();
        pass(&mut net);
        let got = client(&mut net).udp_recv(here, &mut buf);
        assert_eq!(got.is_ok(), vlan == 200, "{vlan}: {got:?}");
    }
    // A port that nobody has: the error finds the socket by its scope.
    let now = net.now();
    let closed = link_local(2, 200, PORT + 5);
    client(&mut net).udp_connect(here, closed).unwrap();
    client(&mut net)
        .udp_send(now, here, b"hello", None)
        .unwrap();
    pass(&mut net);
    let got = client(&mut net).udp_recv(here, &mut buf);
    assert_eq!(got, Err(Error::ConnectionRefused));
}

fn listen(net: &mut Pair, local: SocketAddr) -> ListenerId {
    server(net).tcp_listen(ListenOptions::new(local)).unwrap()
}

fn connect(net: &mut Pair, local: Option<SocketAddr>, to: SocketAddr) -> TcpId {
    let now = net.now();
    client(net).tcp_connect(now, local, to).unwrap()
}

#[test]
fn the_same_link_local_addresses_and_ports_on_three_links_are_three_connections() {
    let mut net = pair();
    let listener = listen(&mut net, any(PORT));
    let ids = NETWORKS.map(|vlan| connect(&mut net, Some(any(5_555)), link_local(2, vlan, PORT)));
    pass(&mut net);
    let mut buf = [0; 100];
    for (vlan, id) in NETWORKS.into_iter().zip(ids) {
        assert_eq!(
            client(&mut net).tcp_local(id),
            Some(link_local(1, vlan, 5_555))
        );
        assert_eq!(
            client(&mut net).tcp_peer(id),
            Some(link_local(2, vlan, PORT))
        );
        client(&mut net).tcp_send(id, &[vlan as u8]).unwrap();
    }
    pass(&mut net);
    for _ in NETWORKS {
        let (id, peer) = server(&mut net).tcp_accept(listener).unwrap();
        let SocketAddr::V6(v6) = peer else {
            panic!("{peer}")
        };
        let vlan = v6.scope_id() as u16;
        assert_eq!(peer, link_local(1, vlan, 5_555));
        assert_eq!(
            server(&mut net).tcp_local(id),
            Some(link_local(2, vlan, PORT))
        );
        assert_eq!(server(&mut net).tcp_recv(id, &mut buf), Ok(1));
        assert_eq!(buf[0], vlan as u8);
        server(&mut net).tcp_send(id, &[vlan as u8, 1]).unwrap();
    }
    pass(&mut net);
    for (vlan, id) in NETWORKS.into_iter().zip(ids) {
        assert_eq!(client(&mut net).tcp_recv(id, &mut buf), Ok(2));
        assert_eq!(buf[..2], [vlan as u8, 1]);
    }
    // Closed from here, and TIME-WAIT of the one is not that of the others.
    let now = net.now();
    for id in ids {
        client(&mut net).tcp_close(now, id);
    }
    pass(&mut net);
    assert_eq!(client(&mut net).stats().tcp.tx_resets, 0);
}

#[test]
fn a_listener_on_a_link_local_address_is_of_one_link() {
    let mut net = pair();
    let on_100 = listen(&mut net, link_local(2, 100, PORT));
    let on_200 = listen(&mut net, link_local(2, 200, PORT));
    let again = server(&mut net).tcp_listen(ListenOptions::new(link_local(2, 200, PORT)));
    assert_eq!(again, Err(Error::AddrInUse));
    let ids = NETWORKS.map(|vlan| connect(&mut net, None, link_local(2, vlan, PORT)));
    pass(&mut net);
    assert!(server(&mut net).tcp_accept(on_100).is_ok());
    assert!(server(&mut net).tcp_accept(on_200).is_ok());
    assert!(server(&mut net).tcp_accept(on_100).is_err());
    // Nobody listens on the untagged link.
    let refused = client(&mut net).tcp_take_error(ids[0]);
    assert_eq!(refused, Some(Error::ConnectionRefused));
}

#[test]
fn scopes_that_cannot_be_are_refused_with_what_is_wrong() {
    let mut net = pair();
    let now = net.now();
    let stack = client(&mut net);
    let is_input = |result: Result<_, Error>| matches!(result, Err(Error::InvalidInput(_)));
    assert!(is_input(stack.tcp_connect(
        now,
        None,
        link_local(2, 7, PORT)
    )));
    let local = Some(link_local(1, 100, 0));
    assert!(is_input(stack.tcp_connect(
        now,
        local,
        link_local(2, 200, PORT)
    )));
    let no_port = stack.tcp_listen(ListenOptions::new(link_local(1, 7, PORT)));
    assert_eq!(no_port, Err(Error::AddrNotAvailable));
    let bound = stack.udp_bind(UdpOptions::new(link_local(1, 7, PORT)));
    assert_eq!(bound, Err(Error::AddrNotAvailable));
    let id = udp(stack, any(PORT));
    let sent = stack.udp_send(now, id, b"x", Some(link_local(2, 7, PORT)));
    assert!(matches!(sent, Err(Error::InvalidInput(_))));
    let own = udp(stack, link_local(1, 100, PORT + 1));
    for to in [link_local(2, 200, PORT), group(200, PORT)] {
        let sent = stack.udp_send(now, own, b"x", Some(to));
        assert!(
            matches!(sent, Err(Error::InvalidInput(_))),
            "{to}: {sent:?}"
        );
    }
    let group: IpAddr = "ff02::77".parse().unwrap();
    let joined = stack.udp_join_on(id, group, 7);
    assert_eq!(joined, Err(Error::AddrNotAvailable));
    let chosen = stack.udp_set_multicast_vlan(id, 7);
    assert_eq!(chosen, Err(Error::AddrNotAvailable));
}

#[test]
fn groups_are_joined_on_one_link_and_sent_to_on_one() {
    let mut net = pair();
    let group_v4: IpAddr = "239.1.2.3".parse().unwrap();
    let there = udp(server(&mut net), any(PORT));
    let stack = server(&mut net);
    stack.udp_join_on(there, group(0, 0).ip(), 100).unwrap();
    stack.udp_join_on(there, group_v4, 200).unwrap();
    assert_eq!(
        stack.udp_join_on(there, group_v4, 200),
        Err(Error::AddrInUse)
    );
    pass(&mut net);
    let here = udp(client(&mut net), any(PORT));
    let mut buf = [0; 100];
    for vlan in NETWORKS {
        // By scope.
        let now = net.now();
        let to = Some(group(vlan, PORT));
        client(&mut net).udp_send(now, here, b"v6", to).unwrap();
        // By choice.
        client(&mut net).udp_set_multicast_vlan(here, vlan).unwrap();
        let to = Some(SocketAddr::new(group_v4, PORT));
        client(&mut net).udp_send(now, here, b"v4", to).unwrap();
        pass(&mut net);
        let got = server(&mut net).udp_recv(there, &mut buf);
        match vlan {
            100 => {
                let got = got.unwrap();
                assert_eq!((got.from, got.vlan), (link_local(1, 100, PORT), 100));
                assert_eq!(got.to, group(0, 0).ip());
            }
            200 => {
                let got = got.unwrap();
                let from = SocketAddr::new(address(Family::V4, 200, 1), PORT);
                assert_eq!((got.from, got.to, got.vlan), (from, group_v4, 200));
            }
            _ => assert_eq!(got, Err(Error::WouldBlock)),
        }
        assert_eq!(
            server(&mut net).udp_recv(there, &mut buf),
            Err(Error::WouldBlock)
        );
    }
    // By what the socket is bound to.
    let bound = SocketAddr::new(address(Family::V4, 200, 1), PORT + 1);
    let bound = udp(client(&mut net), bound);
    let now = net.now();
    let to = Some(SocketAddr::new(group_v4, PORT));
    client(&mut net).udp_send(now, bound, b"v4", to).unwrap();
    pass(&mut net);
    assert!(server(&mut net).udp_recv(there, &mut buf).is_ok());
    // Left, and it is over.
    let stack = server(&mut net);
    assert_eq!(
        stack.udp_leave_on(there, group_v4, 100),
        Err(Error::AddrNotAvailable)
    );
    stack.udp_leave_on(there, group_v4, 200).unwrap();
    let now = net.now();
    client(&mut net).udp_send(now, bound, b"v4", to).unwrap();
    pass(&mut net);
    assert_eq!(
        server(&mut net).udp_recv(there, &mut buf),
        Err(Error::WouldBlock)
    );
}

#[test]
fn a_broadcast_goes_to_the_subnet_it_is_of() {
    let mut net = pair();
    let there = udp(server(&mut net), any(PORT));
    let here = udp(client(&mut net), any(PORT));
    client(&mut net).udp_set_broadcast(here, true).unwrap();
    let mut buf = [0; 100];
    for vlan in NETWORKS {
        let now = net.now();
        let to = SocketAddr::new(address(Family::V4, vlan, 255), PORT);
        client(&mut net)
            .udp_send(now, here, b"all", Some(to))
            .unwrap();
        pass(&mut net);
        let got = server(&mut net).udp_recv(there, &mut buf).unwrap();
        let from = SocketAddr::new(address(Family::V4, vlan, 1), PORT);
        assert_eq!((got.from, got.to, got.vlan), (from, to.ip(), vlan));
    }
    // The limited one goes where the socket's address is.
    let own = SocketAddr::new(address(Family::V4, 200, 1), PORT + 1);
    let own = udp(client(&mut net), own);
    client(&mut net).udp_set_broadcast(own, true).unwrap();
    let now = net.now();
    let to = SocketAddr::new([255, 255, 255, 255].into(), PORT);
    client(&mut net)
        .udp_send(now, own, b"all", Some(to))
        .unwrap();
    pass(&mut net);
    let got = server(&mut net).udp_recv(there, &mut buf).unwrap();
    assert_eq!((got.to, got.vlan), (to.ip(), 200));
}
