//! Source ports that bring replies to the queue of the worker that chose them.

mod common;

use std::collections::BTreeSet;

use common::workers::Service;
use common::*;
use dpdk_net_packet::{FiveTuple, Network, Protocol, Transport, parse};
use dpdk_net_stack::{Duration, Error, ListenOptions, SteeringTable, TcpOptions, UdpOptions};

const QUEUES: usize = 4;

/// Which queue a flow comes to: a model of RSS, without structure as it is.
fn queue(flow: &FiveTuple) -> usize {
    let mix = |hash: u32, value: u32| (hash ^ value).wrapping_mul(0x9e37_79b1).rotate_left(13);
    let ports = u32::from(flow.src.port()) << 16 | u32::from(flow.dst.port());
    let protocol = u32::from(u8::from(flow.protocol));
    let octets = format!("{}{}", flow.src.ip(), flow.dst.ip());
    let hash = octets
        .bytes()
        .fold(protocol, |hash, byte| mix(hash, byte.into()));
    (mix(hash, ports) >> 16) as usize % QUEUES
}

fn flow_of(frame: &[u8]) -> Option<FiveTuple> {
    let Network::Ip(ip, transport) = parse(frame).ok()?.network else {
        return None;
    };
    let (protocol, from, to) = match transport {
        Transport::Tcp(segment) => (Protocol::Tcp, segment.src_port(), segment.dst_port()),
        Transport::Udp(datagram) => (Protocol::Udp, datagram.src_port(), datagram.dst_port()),
        _ => return None,
    };
    let (src, dst) = ((ip.src(), from).into(), (ip.dst(), to).into());
    Some(FiveTuple { protocol, src, dst })
}

fn service(ports: Option<(u16, u16)>) -> Service {
    let table = SteeringTable::new(&[9; 32], 4_096, 4_096)
        .with_return_path(|worker, flow| queue(flow) == usize::from(worker));
    let mut service = Service::with(QUEUES, table, |config| {
        if let Some((first, last)) = ports {
            (config.tcp.ephemeral_first, config.tcp.ephemeral_last) = (first, last);
            (config.udp.ephemeral_first, config.udp.ephemeral_last) = (first, last);
        }
    });
    service.rss = Box::new(|frame| flow_of(frame).map_or(0, |flow| queue(&flow)));
    service
}

both_families! {
    fn a_thousand_connections_of_four_workers_have_their_answers_come_home(family) {
        let mut service = service(None);
        let mut options = ListenOptions::new(family.any(PORT));
        options.backlog = 2_000;
        service.peer.tcp_listen(options).unwrap();
        let (now, to) = (service.now, family.at(2, PORT));
        let ids: Vec<_> = (0..1_000)
            .map(|n| {
                let stack = &mut service.workers[n % QUEUES];
                (n % QUEUES, stack.tcp_connect(now, None, to).unwrap())
            })
            .collect();
        service.run(Duration::from_secs(1));
        let stacks = &service.workers;
        let open = |(worker, id): &&(usize, _)| {
            stacks[*worker].tcp_state(*id) == dpdk_net_stack::TcpState::Established
        };
        assert_eq!(ids.iter().filter(open).count(), 1_000);
        assert_eq!(service.handed, 0);
        let ports = ids.iter().map(|(worker, id)| stacks[*worker].tcp_local(*id).unwrap().port());
        let ports: Vec<_> = ports.collect();
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 1_000);
        // Workers with the same seed choose each for itself (RFC 6056): not one after the other.
        let near = ports.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) < 8).count();
        assert!(near < 50, "{near}");
    }

    fn a_datagram_s_answer_comes_home_where_the_peer_is_known_when_the_port_is_chosen(family) {
        let mut service = service(None);
        let echo = service.peer.udp_bind(UdpOptions::new(family.any(7))).unwrap();
        let mut ids = Vec::new();
        for n in 0..200 {
            let (worker, local) = (n % QUEUES, [family.any(0), family.at(1, 0)][n / QUEUES % 2]);
            let stack = &mut service.workers[worker];
            let id = stack.udp_bind_toward(UdpOptions::new(local), family.at(2, 7)).unwrap();
            assert_eq!(stack.udp_peer(id), Some(family.at(2, 7)));
            stack.udp_send(service.now, id, b"x", None).unwrap();
            ids.push((worker, id));
        }
        service.run(Duration::from_secs(1));
        let mut buf = [0; 16];
        while let Ok(got) = service.peer.udp_recv(echo, &mut buf) {
            service.peer.udp_send(service.now, echo, &buf[..got.len], Some(got.from)).unwrap();
        }
        service.run(Duration::from_secs(1));
        for (worker, id) in ids {
            assert_eq!(service.workers[worker].udp_recv(id, &mut buf).unwrap().len, 1);
        }
        assert_eq!(service.handed, 0);
        // What can't be reached leaves no socket behind.
        let count = service.workers[0].udp_count();
        let unspecified = family.any(7);
        let refused = service.workers[0].udp_bind_toward(UdpOptions::new(family.any(0)), unspecified);
        assert!(matches!(refused, Err(Error::InvalidInput(_))));
        assert_eq!(service.workers[0].udp_count(), count);
    }

    fn ports_that_bring_nothing_home_are_used_where_there_are_no_others(family) {
        let mut service = service(Some((40_000, 40_063)));
        let listener = service.peer.tcp_listen(ListenOptions::new(family.any(PORT))).unwrap();
        let (now, to) = (service.now, family.at(2, PORT));
        let home = (40_000..40_064).filter(|port| {
            let local = family.at(1, *port);
            queue(&FiveTuple { protocol: Protocol::Tcp, src: to, dst: local }) == 2
        });
        let home: Vec<u16> = home.collect();
        let stack = &mut service.workers[2];
        let ids: Vec<_> = (0..64)
            .map(|_| stack.tcp_connect_with(now, None, to, &TcpOptions::default()).unwrap())
            .collect();
        let ports: Vec<_> = ids.iter().map(|id| stack.tcp_local(*id).unwrap().port()).collect();
        let (first, rest) = ports.split_at(home.len());
        assert!(first.iter().all(|port| home.contains(port)), "{first:?} of {home:?}");
        assert_eq!(rest.len(), 64 - home.len());
        assert_eq!(ports.iter().collect::<BTreeSet<_>>().len(), 64);
        assert_eq!(stack.tcp_connect(now, None, to), Err(Error::AddrNotAvailable));
        // They work all the same, and are nobody else's.
        assert_eq!(service.workers[1].tcp_connect(now, None, to), Err(Error::AddrNotAvailable));
        service.run(Duration::from_secs(1));
        assert_eq!(std::iter::from_fn(|| service.peer.tcp_accept(listener).ok()).count(), 64);
        assert!(service.handed > 0);
    }
}
