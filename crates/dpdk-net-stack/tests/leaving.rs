//! A worker that ends while the others go on: what all know together tells nothing of it any more.

mod common;

use std::net::IpAddr;

use common::workers::Service;
use common::*;
use dpdk_net_stack::{
    Binding, Duration, ListenOptions, Stack, Steering, TcpState, UdpOptions, Workers,
};

const SECOND: Duration = Duration::from_secs(1);

fn group(family: Family) -> IpAddr {
    match family {
        Family::V4 => "239.1.2.3".parse().unwrap(),
        Family::V6 => "ff15::123".parse().unwrap(),
    }
}

/// A listener, sockets, one of them with this port of the peer's, and a group.
fn furnish(stack: &mut Stack, family: Family, peer: u16) -> dpdk_net_stack::ListenerId {
    let bind = |stack: &mut Stack, port| stack.udp_bind(UdpOptions::new(family.any(port))).unwrap();
    bind(stack, 7);
    let connected = bind(stack, 8);
    stack.udp_connect(connected, family.at(2, peer)).unwrap();
    stack.udp_join(connected, group(family)).unwrap();
    let mut options = ListenOptions::new(family.any(PORT));
    options.only_v6 = true;
    stack.tcp_listen(options).unwrap()
}

/// Two workers, of which the second has connections in all states that are announced: under way both ways, open, half-open and in
/// TIME-WAIT.
fn service(family: Family) -> Service {
    let mut service = Service::new(2);
    let listener = furnish(&mut service.workers[1], family, 9);
    let to = family.at(1, PORT);
    let accept = |service: &mut Service| {
        let peer = service.peer.tcp_connect(service.now, None, to).unwrap();
        let mut accepted = None;
        service.run_until(SECOND, "accept", |service| {
            accepted = service.workers[1].tcp_accept(listener).ok();
            accepted.is_some()
        });
        (peer, accepted.unwrap().0)
    };
    accept(&mut service);
    let (peer, closed) = accept(&mut service);
    service.workers[1].tcp_close(service.now, closed);
    service.run(SECOND);
    service.peer.tcp_close(service.now, peer);
    service.run(SECOND);
    assert_eq!(service.workers[1].stats().tcp.time_wait, 1);
    let now = service.now;
    let nobody = family.at(9, 1);
    service.workers[1].tcp_connect(now, None, nobody).unwrap();
    let syn = Seg {
        from: 5,
        to: PORT,
        flags: SYN,
        ..Seg::default()
    };
    service.receive(0, &[frame(family, 2, 1, &syn)]);
    assert_eq!(service.workers[1].tcp_half_open(), 1);
    service
}

both_families! {
    fn a_stack_that_is_dropped_leaves_nothing_behind(family) {
        let mut service = service(family);
        let flows = service.steering.flows();
        assert_eq!(flows, 5, "four of TCP and a socket's peer");
        assert!(service.steering.bindings() > 3);
        drop(service.workers.pop());
        assert_eq!((service.steering.flows(), service.steering.bindings()), (0, 0));
        // What comes for it is for nobody, and said so.
        let to = family.at(1, PORT);
        let late = service.peer.tcp_connect(service.now, None, to).unwrap();
        service.run(SECOND);
        assert_eq!(service.peer.tcp_state(late), TcpState::Closed);
    }

    fn what_another_worker_has_too_stays(family) {
        let mut service = service(family);
        furnish(&mut service.workers[0], family, 10);
        drop(service.workers.pop());
        assert_eq!(service.steering.flows(), 1);
        let bound = |binding| service.steering.bound(&binding);
        let first = Workers::only(0);
        assert_eq!(bound(Binding::Listener(family.any(PORT))), first);
        assert_eq!(bound(Binding::Udp(family.any(7))), first);
        assert_eq!(bound(Binding::Group(group(family), 0)), first);
    }

    fn a_stack_that_has_left_announces_nothing_new(family) {
        let mut service = service(family);
        let mut stack = service.workers.pop().unwrap();
        stack.leave_peers();
        assert_eq!((service.steering.flows(), service.steering.bindings()), (0, 0));
        // Sockets that are still held work as those of a stack on its own.
        let id = stack.udp_bind(UdpOptions::new(family.any(70))).unwrap();
        stack.udp_connect(id, family.at(2, 9)).unwrap();
        stack.udp_join(id, group(family)).unwrap();
        stack.tcp_listen(ListenOptions::new(family.any(81))).unwrap();
        assert_eq!((service.steering.flows(), service.steering.bindings()), (0, 0));
        stack.udp_close(id);
        assert_eq!(stack.worker_of_peer(&service.workers[0]), None);
    }
}
