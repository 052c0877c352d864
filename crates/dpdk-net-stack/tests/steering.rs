//! Packets that come to the wrong worker's queue: they are noted, handed over, and answered by whom they are for.

mod common;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use common::workers::Service;
use common::*;
use dpdk_net_packet::{MacAddr, checksum, ethernet, ipv4};
use dpdk_net_stack::{
    Binding, Duration, Error, ListenOptions, Stack, Steering, SteeringTable, Stray, StrayFrame,
    TcpId, TcpState, UdpId, UdpOptions, Vlan, Workers,
};
use dpdk_net_testkit::Pieces;

const SECOND: Duration = Duration::from_secs(1);

fn listen(stack: &mut Stack, family: Family) -> dpdk_net_stack::ListenerId {
    stack
        .tcp_listen(ListenOptions::new(family.any(PORT)))
        .unwrap()
}

/// The peer's connection and the worker's, which `listener` of that worker accepted.
fn establish(service: &mut Service, family: Family, worker: usize) -> (TcpId, TcpId) {
    let listener = listen(&mut service.workers[worker], family);
    let (now, to) = (service.now, family.at(1, PORT));
    let peer = service.peer.tcp_connect(now, None, to).unwrap();
    let mut accepted = None;
    service.run_until(SECOND, "accept", |service| {
        accepted = service.workers[worker].tcp_accept(listener).ok();
        accepted.is_some()
    });
    (peer, accepted.unwrap().0)
}

fn resets(service: &Service) -> u64 {
    service
        .workers
        .iter()
        .map(|stack| stack.stats().tcp.tx_resets)
        .sum()
}

fn bind(stack: &mut Stack, at: SocketAddr) -> UdpId {
    stack.udp_bind(UdpOptions::new(at)).unwrap()
}

/// What a socket has received.
fn received(stack: &mut Stack, id: UdpId) -> Vec<Vec<u8>> {
    let mut buf = vec![0; 65_536];
    let mut all = Vec::new();
    while let Ok(got) = stack.udp_recv(id, &mut buf) {
        all.push(buf[..got.len].to_vec());
    }
    all
}

both_families! {
    fn a_connection_whose_every_segment_strays_works_as_any_other(family) {
        let mut service = Service::new(3);
        let (peer, id) = establish(&mut service, family, 2);
        let data = pattern(300_000);
        service.transfer((2, id), peer, &data, false);
        service.transfer((2, id), peer, &data, true);
        let now = service.now;
        service.peer.tcp_close(now, peer);
        service.run(SECOND);
        service.workers[2].tcp_close(now, id);
        service.run(SECOND);
        assert_eq!((resets(&service), service.peer.stats().tcp.rx_resets), (0, 0));
        let stats = [0, 2].map(|worker| service.workers[worker].stats());
        assert!(stats[0].frames.strays > 100);
        assert_eq!(stats[0].frames.strays, stats[1].frames.strays_taken);
        assert_eq!(stats[0].tcp.no_connection + stats[1].tcp.no_connection, 0);
        assert_eq!((service.steering.flows(), stats[0].tcp.tx_segments), (0, 0));
        // Each segment is counted once, whichever queue it came to.
        let taken: u64 = service.workers.iter().map(|stack| stack.stats().tcp.rx_segments).sum();
        assert_eq!(taken, service.peer.stats().tcp.tx_segments);
    }

    fn frames_and_their_bytes_are_counted_once_whoever_handles_them(family) {
        let mut service = Service::new(2);
        let (peer, id) = establish(&mut service, family, 1);
        service.transfer((1, id), peer, &pattern(10_000), false);
        let [first, second] = [0, 1].map(|worker| service.workers[worker].stats().frames);
        let sent = service.peer.stats().frames;
        assert_eq!((first.rx_frames, first.rx_bytes), (sent.tx_frames, sent.tx_bytes));
        assert_eq!((second.rx_frames, second.rx_bytes), (0, 0));
        assert_eq!(second.strays_taken, first.strays);
    }

    fn the_syn_of_a_new_connection_in_time_wait_is_counted_by_whose_it_is(family) {
        let mut service = Service::new(2);
        let (peer, id) = establish(&mut service, family, 0);
        let from = service.peer.tcp_local(peer).unwrap();
        // The worker closes first, and its application holds on to the connection.
        service.workers[0].tcp_shutdown_write(id).unwrap();
        service.run(SECOND);
        service.peer.tcp_close(service.now, peer);
        service.run(SECOND * 2);
        assert_eq!(service.workers[0].tcp_state(id), TcpState::TimeWait);
        // Whoever listens now is another worker.
        let gone = service.workers[0].listeners()[0].id;
        service.workers[0].tcp_listener_close(gone);
        let listener = listen(&mut service.workers[1], family);
        let peer = service.peer.tcp_connect(service.now, Some(from), family.at(1, PORT)).unwrap();
        service.run(SECOND);
        assert_eq!(service.workers[1].tcp_accept(listener).map(|(_, peer)| peer), Ok(from));
        assert_eq!(service.peer.tcp_state(peer), TcpState::Established);
        assert_eq!(service.workers[0].stats().tcp.time_wait_reused, 1);
        let taken: u64 = service.workers.iter().map(|stack| stack.stats().tcp.rx_segments).sum();
        assert_eq!(taken, service.peer.stats().tcp.tx_segments);
    }

    fn a_syn_is_taken_where_it_comes_if_somebody_listens_there_and_the_rest_is_handed_to_it(family) {
        let mut service = Service::new(3);
        let listeners: Vec<_> = service.workers.iter_mut().map(|stack| listen(stack, family)).collect();
        // The SYN comes to the second, all that follows to others.
        let mut frames = 0;
        service.rss = Box::new(move |_| {
            frames += 1;
            [1, 0, 2][frames % 3]
        });
        let (now, to) = (service.now, family.at(1, PORT));
        let peer = service.peer.tcp_connect(now, None, to).unwrap();
        service.run(SECOND);
        let accepted: Vec<_> = (0..3)
            .filter_map(|worker| service.workers[worker].tcp_accept(listeners[worker]).ok())
            .collect();
        assert_eq!(accepted.len(), 1);
        let worker = (0..3).find(|worker| service.workers[*worker].tcp_count() == 1).unwrap();
        service.transfer((worker, accepted[0].0), peer, &pattern(100_000), false);
        assert_eq!(resets(&service), 0);
        assert_eq!(service.steering.flows(), 1);
    }

    fn the_answer_to_a_connect_finds_the_worker_that_has_sent_it(family) {
        let mut service = Service::new(2);
        let listener = listen(&mut service.peer, family);
        let (now, to) = (service.now, family.at(2, PORT));
        let id = service.workers[1].tcp_connect(now, None, to).unwrap();
        service.run(SECOND);
        let (peer, _) = service.peer.tcp_accept(listener).unwrap();
        service.transfer((1, id), peer, &pattern(50_000), false);
        assert!(service.handed > 10);
        assert_eq!(resets(&service), 0);
    }

    fn what_is_for_nobody_is_answered_where_it_comes(family) {
        let mut service = Service::new(2);
        let (now, to) = (service.now, family.at(1, PORT));
        let peer = service.peer.tcp_connect(now, None, to).unwrap();
        let socket = bind(&mut service.peer, family.any(9));
        service.peer.udp_connect(socket, family.at(1, 7)).unwrap();
        service.peer.udp_send(now, socket, b"x", None).unwrap();
        service.run(SECOND);
        assert_eq!(service.peer.tcp_take_error(peer), Some(Error::ConnectionRefused));
        assert_eq!(service.peer.udp_take_error(socket), Some(Error::ConnectionRefused));
        let stats = service.workers[0].stats();
        assert_eq!((stats.udp.no_socket, stats.tcp.no_connection, service.handed), (1, 1, 0));
        // And where a listener was and is no more.
        let listener = listen(&mut service.workers[1], family);
        service.workers[1].tcp_listener_close(listener);
        let peer = service.peer.tcp_connect(service.now, None, to).unwrap();
        service.run(SECOND);
        assert_eq!(service.peer.tcp_take_error(peer), Some(Error::ConnectionRefused));
        assert_eq!((service.handed, service.steering.flows()), (0, 0));
    }

    fn what_was_handed_over_is_dealt_with_for_good(family) {
        let mut service = Service::new(2);
        let (_, id) = establish(&mut service, family, 1);
        let port = service.workers[1].tcp_peer(id).unwrap().port();
        let seg = Seg { from: port, to: PORT, seq: 1, ack: 1, flags: ACK, ..Seg::default() };
        let unknown = Seg { from: port + 1, ..seg.clone() };
        let frames = [&seg, &unknown].map(|seg| frame(family, 2, 1, seg));
        // Worker 0 is handed what is not its own: of a connection elsewhere it says nothing, of none it says so.
        let (now, worker) = (service.now, &mut service.workers[0]);
        let before = worker.stats();
        worker.ingest_handed(now, &frames);
        assert_eq!(worker.strays().count(), 0);
        let stats = worker.stats();
        assert_eq!(stats.tcp.strays_dropped - before.tcp.strays_dropped, 1);
        assert_eq!(stats.tcp.tx_resets - before.tcp.tx_resets, 1);
        // From the link the first is noted, the second answered.
        worker.ingest(now, &frames);
        let strays: Vec<_> = worker.strays().collect();
        assert_eq!(strays, [Stray { frame: StrayFrame::Given(0), workers: Workers::only(1) }]);
        // What is not taken is lost with the next frames.
        worker.ingest(now, &frames);
        worker.ingest::<Vec<u8>>(now, &[]);
        assert_eq!(worker.strays().count(), 0);
    }

    fn of_many_frames_those_that_stray_are_told_by_their_places(family) {
        let mut service = Service::new(2);
        let (_, theirs) = establish(&mut service, family, 1);
        let (_, ours) = {
            let listener = service.workers[0].tcp_listen(ListenOptions::new(family.any(81))).unwrap();
            let to = family.at(1, 81);
            let peer = service.peer.tcp_connect(service.now, None, to).unwrap();
            service.run(SECOND);
            (peer, service.workers[0].tcp_accept(listener).unwrap().0)
        };
        let port = |worker: usize, id| service.workers[worker].tcp_peer(id).unwrap().port();
        let (theirs, ours) = (port(1, theirs), port(0, ours));
        let is_theirs = |n: usize| n.is_multiple_of(3);
        let frames: Vec<_> = (0..200)
            .map(|n| {
                let (from, to) = if is_theirs(n) { (theirs, PORT) } else { (ours, 81) };
                frame(family, 2, 1, &Seg { from, to, flags: ACK, ..Seg::default() })
            })
            .collect();
        service.workers[0].ingest(service.now, &frames);
        let strays = service.workers[0].strays().map(|stray| stray.frame);
        let expected = (0..200).filter(|n| is_theirs(*n)).map(StrayFrame::Given);
        assert!(strays.eq(expected));
    }

    fn a_frame_in_several_segments_of_memory_strays_as_it_is(family) {
        let mut service = Service::new(2);
        let (_, id) = establish(&mut service, family, 1);
        let from = service.workers[1].tcp_peer(id).unwrap().port();
        let seg = Seg { from, to: PORT, flags: ACK, payload: pattern(4_000), ..Seg::default() };
        let chain = Pieces::cut(frame(family, 2, 1, &seg), 1_000, &[10_000]);
        service.workers[0].ingest(service.now, &[chain]);
        let strays: Vec<_> = service.workers[0].strays().collect();
        assert_eq!(strays, [Stray { frame: StrayFrame::Given(0), workers: Workers::only(1) }]);
        assert_eq!(resets(&service), 0);
    }

    fn datagrams_go_to_the_one_connected_to_their_sender_or_else_to_one_that_is_bound(family) {
        let mut service = Service::new(4);
        let connected = bind(&mut service.workers[1], family.at(1, 7));
        service.workers[1].udp_connect(connected, family.at(2, 9)).unwrap();
        let [a, b] = [2, 3].map(|worker| bind(&mut service.workers[worker], family.any(7)));
        let senders = [9, 10, 11, 12, 13, 14].map(|port| bind(&mut service.peer, family.at(2, port)));
        let now = service.now;
        for (n, sender) in senders.into_iter().enumerate() {
            for m in 0..3 {
                let data = [n as u8, m];
                service.peer.udp_send(now, sender, &data, Some(family.at(1, 7))).unwrap();
            }
        }
        service.run(SECOND);
        assert_eq!(received(&mut service.workers[1], connected), [[0, 0], [0, 1], [0, 2]]);
        let mut of_others = received(&mut service.workers[2], a);
        let others = received(&mut service.workers[3], b);
        assert!(of_others.is_empty() || others.is_empty() || of_others[0][0] != others[0][0]);
        of_others.extend(others);
        of_others.sort();
        let expected: Vec<_> = (1..6).flat_map(|n| (0..3).map(move |m| vec![n, m])).collect();
        assert!(of_others.iter().filter(|data| data[0] != 0).eq(expected.iter()));
        assert_eq!(service.workers.iter().map(|stack| stack.stats().udp.no_socket).sum::<u64>(), 0);
        // The same peer of the same address is nobody else's.
        let again = service.workers[0].udp_bind(UdpOptions::new(family.at(1, 7))).unwrap();
        let refused = service.workers[0].udp_connect(again, family.at(2, 9));
        assert_eq!(refused, Err(Error::AddrInUse));
        service.workers[1].udp_disconnect(connected).unwrap();
        service.workers[0].udp_connect(again, family.at(2, 9)).unwrap();
        service.workers[0].udp_close(again);
        for (worker, id) in [(1, connected), (2, a), (3, b)] {
            service.workers[worker].udp_close(id);
        }
        assert_eq!(service.steering.flows(), 0);
        for at in [family.at(1, 7), family.any(7)] {
            for binding in [Binding::Udp(at), Binding::UdpConnected(at)] {
                assert_eq!(service.steering.bound(&binding), Workers::NONE);
            }
        }
    }

    fn a_datagram_in_fragments_is_put_together_and_then_handed_over(family) {
        let mut service = Service::new(2);
        let socket = bind(&mut service.workers[1], family.any(7));
        let sender = bind(&mut service.peer, family.any(9));
        let data = pattern(20_000);
        service.peer.udp_send(service.now, sender, &data, Some(family.at(1, 7))).unwrap();
        service.run(SECOND);
        assert_eq!(received(&mut service.workers[1], socket), [data]);
        assert_eq!((service.handed, service.made), (1, 1));
    }

    fn an_icmp_error_finds_whose_packet_it_is_about(family) {
        let mut service = Service::new(3);
        let socket = bind(&mut service.workers[2], family.any(0));
        service.workers[2].udp_connect(socket, family.at(2, 7)).unwrap();
        service.workers[2].udp_send(service.now, socket, b"x", None).unwrap();
        service.run(SECOND);
        assert_eq!(service.workers[2].udp_take_error(socket), Some(Error::ConnectionRefused));
        assert_eq!(service.handed, 1);
    }

    fn a_group_s_datagrams_come_to_all_who_have_joined_it_and_to_nobody_else(family) {
        let mut service = Service::new(4);
        let group: IpAddr = match family {
            Family::V4 => "239.1.2.3".parse().unwrap(),
            Family::V6 => "ff15::123".parse().unwrap(),
        };
        let sockets: Vec<_> = service.workers.iter_mut().map(|stack| bind(stack, family.any(7))).collect();
        for worker in [0, 2, 3] {
            service.workers[worker].udp_join(sockets[worker], group).unwrap();
        }
        let sender = bind(&mut service.peer, family.any(9));
        // To worker 0, who has joined, and to 1, who has not; the second time large and in fragments.
        for (n, len) in [(0, 3), (1, 3), (0, 5_000), (1, 5_000)] {
            service.rss = Box::new(move |_| n);
            let data = pattern(len);
            service.peer.udp_send(service.now, sender, &data, Some((group, 7).into())).unwrap();
            service.run(SECOND / 10);
            for (worker, expected) in [vec![data.clone()], vec![], vec![data.clone()], vec![data]].into_iter().enumerate() {
                assert_eq!(received(&mut service.workers[worker], sockets[worker]), expected, "{worker}");
            }
        }
        service.workers[3].udp_leave(sockets[3], group).unwrap();
        service.workers[2].udp_close(sockets[2]);
        let handed = service.handed;
        service.peer.udp_send(service.now, sender, b"x", Some((group, 7).into())).unwrap();
        service.rss = Box::new(|_| 0);
        service.run(SECOND / 10);
        assert_eq!(received(&mut service.workers[0], sockets[0]), [b"x"]);
        assert_eq!(service.handed, handed);
    }

    fn ports_that_are_chosen_are_no_other_worker_s(family) {
        let mut service = Service::with(2, SteeringTable::new(&[9; 32], 256, 256), |config| {
            (config.udp.ephemeral_first, config.udp.ephemeral_last) = (40_000, 40_063);
            (config.tcp.ephemeral_first, config.tcp.ephemeral_last) = (40_000, 40_063);
        });
        let mut ports: Vec<_> = (0..64)
            .map(|n| {
                let stack = &mut service.workers[n % 2];
                let id = bind(stack, family.any(0));
                stack.udp_local(id).unwrap().port()
            })
            .collect();
        ports.sort_unstable();
        assert!(ports.into_iter().eq(40_000..40_064));
        let options = UdpOptions::new(family.any(0));
        assert_eq!(service.workers[0].udp_bind(options), Err(Error::AddrNotAvailable));
        // A connection's too, and a listener's is left out.
        service.workers[1].tcp_listen(ListenOptions::new(family.any(40_007))).unwrap();
        let (now, to) = (service.now, family.at(2, PORT));
        let mut ports: Vec<_> = (0..63)
            .map(|n| {
                let stack = &mut service.workers[n % 2];
                let id = stack.tcp_connect(now, None, to).unwrap();
                stack.tcp_local(id).unwrap().port()
            })
            .collect();
        ports.sort_unstable();
        assert!(ports.iter().copied().eq((40_000..40_064).filter(|port| *port != 40_007)));
        assert_eq!(service.workers[0].tcp_connect(now, None, to), Err(Error::AddrNotAvailable));
        let taken = Some(family.at(1, 40_000));
        for worker in [0, 1] {
            assert_eq!(service.workers[worker].tcp_connect(now, taken, to), Err(Error::AddrInUse));
        }
    }

    fn a_full_table_makes_strays_unknown_and_nothing_worse(family) {
        let mut service = Service::with(2, SteeringTable::new(&[9; 32], 1, 8), |_| {});
        service.rss = Box::new(|_| 1);
        let listener = listen(&mut service.workers[1], family);
        let to = family.at(1, PORT);
        let now = service.now;
        for _ in 0..100 {
            service.peer.tcp_connect(now, None, to).unwrap();
        }
        service.run(SECOND);
        assert_eq!(std::iter::from_fn(|| service.workers[1].tcp_accept(listener).ok()).count(), 100);
        let entered = service.steering.flows();
        assert_eq!(service.steering.stats().flows_refused as usize, 100 - entered);
        service.workers[1].reset_all(service.now);
        assert_eq!(service.steering.flows(), 0);
    }
}

#[test]
fn broadcasts_come_to_all_who_have_a_socket_for_them() {
    let family = Family::V4;
    let mut service = Service::new(3);
    let sockets = [0, 2].map(|worker| (worker, bind(&mut service.workers[worker], family.any(7))));
    let sender = bind(&mut service.peer, family.any(9));
    service.peer.udp_set_broadcast(sender, true).unwrap();
    for worker in 0..3 {
        service.rss = Box::new(move |_| worker);
        let to = SocketAddr::from((Ipv4Addr::BROADCAST, 7));
        service
            .peer
            .udp_send(service.now, sender, &[worker as u8], Some(to))
            .unwrap();
        service.run(SECOND / 10);
    }
    for (worker, id) in sockets {
        assert_eq!(
            received(&mut service.workers[worker], id),
            [[0], [1], [2]],
            "{worker}"
        );
    }
    assert_eq!(
        service
            .workers
            .iter()
            .map(|stack| stack.stats().udp.no_socket)
            .sum::<u64>(),
        0
    );
}

/// An IPv6 segment from fe80::2 to our link-local address, in a frame of this VLAN.
fn link_local_segment(vlan: Option<u16>) -> Vec<u8> {
    let seg = Seg {
        from: 5_000,
        to: PORT,
        flags: ACK,
        ..Seg::default()
    };
    let mut frame = frame(Family::V6, 2, 1, &seg);
    let addr = |n: u8| {
        let mut addr = [0; 16];
        (addr[0], addr[1], addr[15]) = (0xfe, 0x80, n);
        addr
    };
    frame[22..38].copy_from_slice(&addr(2));
    frame[38..54].copy_from_slice(&addr(1));
    let ends = [addr(2), addr(1)].map(IpAddr::from);
    checksum::fill_tcp(ends[0], ends[1], &mut frame[54..]);
    if let Some(vlan) = vlan {
        let tag = [ethernet::TYPE_VLAN.to_be_bytes(), vlan.to_be_bytes()].concat();
        frame.splice(12..12, tag);
    }
    frame
}

#[test]
fn a_link_local_flow_is_looked_for_on_its_own_link() {
    let table = SteeringTable::new(&[9; 32], 64, 8);
    let mut service = Service::with(3, table, |config| {
        config.addresses.push("fe80::1/64".parse().unwrap());
        let mut vlan = Vlan::new(100);
        vlan.addresses.push("fe80::1/64".parse().unwrap());
        config.vlans.push(vlan);
    });
    let flow = |scope: u32| dpdk_net_packet::FiveTuple {
        protocol: dpdk_net_packet::Protocol::Tcp,
        src: std::net::SocketAddrV6::new("fe80::2".parse().unwrap(), 5_000, 0, scope).into(),
        dst: std::net::SocketAddrV6::new("fe80::1".parse().unwrap(), PORT, 0, scope).into(),
    };
    service.steering.claim(1, &flow(0)).unwrap();
    service.steering.claim(2, &flow(100)).unwrap();
    let frames = [None, Some(100), Some(0)].map(link_local_segment);
    service.workers[0].ingest(service.now, &frames);
    let workers: Vec<_> = service.workers[0]
        .strays()
        .map(|stray| stray.workers)
        .collect();
    assert_eq!(workers, [1, 2, 1].map(Workers::only));
}

#[test]
fn a_packet_put_together_keeps_its_vlan_and_its_addresses() {
    let mut service = Service::with(2, SteeringTable::new(&[9; 32], 64, 8), |config| {
        config.vlans.push(Vlan::new(100));
    });
    bind(&mut service.workers[1], Family::V4.any(7));
    let data = pattern(2_000);
    let mut datagram = vec![0; 8];
    dpdk_net_packet::udp::write_header(&mut datagram, 9, 7, data.len());
    datagram.extend(&data);
    let (src, dst) = (Ipv4Addr::new(198, 18, 0, 2), Ipv4Addr::new(198, 18, 0, 1));
    checksum::fill_udp(src.into(), dst.into(), &mut datagram);
    let frames: Vec<_> = [(0, 1_000), (1_000, 2_008)]
        .map(|(from, to)| {
            let mut frame = vec![0; 18];
            frame[..6].copy_from_slice(&mac(1).0);
            frame[6..12].copy_from_slice(&[2, 7, 7, 7, 7, 7]);
            frame[12..].copy_from_slice(&[0x81, 0, 0, 100, 8, 0]);
            let header = ipv4::Header {
                more_fragments: to < datagram.len(),
                fragment_offset: from as u16,
                dont_fragment: false,
                id: 5,
                ..ipv4::Header::new(src, dst, dpdk_net_packet::Protocol::Udp, to - from)
            };
            let mut packet = vec![0; ipv4::HEADER_LEN];
            header.write(&mut packet);
            frame.extend(packet);
            frame.extend(&datagram[from..to]);
            frame
        })
        .into();
    service.workers[0].ingest(service.now, &frames);
    let strays: Vec<_> = service.workers[0].strays().collect();
    let [
        Stray {
            frame: StrayFrame::Made(frame),
            workers,
        },
    ] = &strays[..]
    else {
        panic!("{strays:?}")
    };
    assert_eq!(*workers, Workers::only(1));
    let link = ethernet::Frame::parse(frame).unwrap();
    assert_eq!((link.src, link.dst), (MacAddr([2, 7, 7, 7, 7, 7]), mac(1)));
    assert_eq!(frame[12..18], [0x81, 0, 0, 100, 8, 0]);
    service.workers[1].ingest_handed(service.now, &[frame]);
    assert_eq!(service.workers[1].stats().udp.delivered, 1);
}
