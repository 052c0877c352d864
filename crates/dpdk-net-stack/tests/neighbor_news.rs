//! What one worker's stack learns of the link, all know: neighbours, conflicts, groups and who asks for them.

mod common;
#[allow(dead_code, reason = "conformance tests use the rest")]
#[path = "conformance/icmp.rs"]
mod icmp;

use std::net::IpAddr;
use std::sync::Arc;

use common::*;
use dpdk_net_packet::arp::{self, Operation, Packet};
use dpdk_net_packet::{Network, Protocol, Transport, checksum, ethernet, ipv4, parse};
use dpdk_net_stack::{
    AddressState, Config, Duration, Instant, NeighborState, Stack, SteeringTable, UdpOptions,
};

const NOW: Instant = Instant::from_secs(1_000);

fn workers(count: u16, change: impl Fn(&mut Config)) -> Vec<Stack> {
    let steering = Arc::new(SteeringTable::new(&[9; 32], 64, 64));
    let stack = |worker| {
        let mut config = config(1);
        (config.worker, config.group_reports) = (worker, worker == 0);
        change(&mut config);
        Stack::with_steering(config, steering.clone(), NOW).unwrap()
    };
    (0..count).map(stack).collect()
}

/// Tells all others what one has learnt, and what whoever had asked for it makes of that; how much the former was.
fn share(workers: &mut [Stack], from: usize) -> usize {
    let mut count = 0;
    let next = |stack: &mut Stack| stack.poll_neighbor_news().or_else(|| stack.poll_decision());
    while let Some(news) = next(&mut workers[from]) {
        count += 1;
        for at in (0..workers.len()).filter(|at| *at != from) {
            workers[at].apply_neighbor_news(NOW, &news);
            let Some(news) = workers[at].poll_neighbor_news() else {
                continue;
            };
            assert_eq!(workers[at].poll_neighbor_news(), None, "once a question");
            for (other, stack) in workers.iter_mut().enumerate() {
                if other != at {
                    stack.apply_neighbor_news(NOW, &news);
                    assert_eq!(stack.poll_neighbor_news(), None, "news of news make none");
                }
            }
        }
    }
    count
}

fn sent(stack: &mut Stack) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    stack.poll_transmit(NOW, &mut frames);
    frames
}

fn group(family: Family) -> IpAddr {
    match family {
        Family::V4 => "239.1.2.3".parse().unwrap(),
        Family::V6 => "ff15::123".parse().unwrap(),
    }
}

fn octets(group: IpAddr) -> Vec<u8> {
    match group {
        IpAddr::V4(v4) => v4.octets().into(),
        IpAddr::V6(v6) => v6.octets().into(),
    }
}

/// What a stack sends by itself within 9 s.
fn pass(stack: &mut Stack, mut now: Instant) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let end = now + Duration::from_secs(9);
    while let Some(at) = stack.next_timeout().filter(|at| *at < end) {
        now = now.max(at);
        stack.handle_timeout(now);
        stack.poll_transmit(now, &mut frames);
    }
    frames
}

/// How many frames end with a group, as the report of one does.
fn told(frames: Vec<Vec<u8>>, group: IpAddr) -> usize {
    let octets = octets(group);
    let told = frames.iter().filter(|frame| frame.ends_with(&octets));
    told.count()
}

/// Whether a group is anywhere in them.
fn mentions(frames: &[Vec<u8>], group: IpAddr) -> bool {
    let octets = octets(group);
    let mentions = |frame: &Vec<u8>| frame.windows(octets.len()).any(|it| it == octets);
    frames.iter().any(mentions)
}

fn state(stack: &Stack, family: Family, host: u16) -> Option<NeighborState> {
    let neighbors = stack.neighbors();
    let found = neighbors.iter().find(|it| it.addr == family.host(host));
    found.map(|it| it.state)
}

fn arp(
    operation: Operation,
    from: u16,
    to: (u16, dpdk_net_packet::MacAddr),
    broadcast: bool,
) -> Vec<u8> {
    let v4 = |host: u16| [198, 18, 0, host as u8].into();
    let packet = Packet {
        operation,
        sender_mac: mac(from),
        sender: v4(from),
        target_mac: to.1,
        target: v4(to.0),
    };
    let dst = if broadcast {
        dpdk_net_packet::MacAddr::BROADCAST
    } else {
        mac(1)
    };
    let mut frame = vec![0; ethernet::HEADER_LEN];
    ethernet::write_header(&mut frame, dst, mac(from), ethernet::TYPE_ARP);
    frame.extend(packet.to_bytes());
    assert_eq!(frame.len(), ethernet::HEADER_LEN + arp::LEN);
    frame
}

both_families! {
    fn an_answer_that_comes_to_another_worker_lets_the_packets_go_that_waited_for_it(family) {
        let mut workers = workers(3, |_| {});
        let mut peer = Stack::new(config(2), NOW).unwrap();
        let id = workers[1].udp_bind(UdpOptions::new(family.any(9))).unwrap();
        workers[1].udp_send(NOW, id, b"waits", Some(family.at(2, 7))).unwrap();
        let request = sent(&mut workers[1]);
        assert_eq!(request.len(), 1);
        peer.ingest(NOW, &request);
        // The answer, which nobody here has asked for, and the peer's own question, if it has one.
        workers[0].ingest(NOW, &sent(&mut peer));
        assert_eq!(state(&workers[0], family, 2), None);
        assert_eq!(share(&mut workers, 0), 1);
        let out = sent(&mut workers[1]);
        assert_eq!(out.len(), 1);
        assert!(out[0].ends_with(b"waits") && out[0][..6] == mac(2).0);
        assert_eq!(state(&workers[1], family, 2), Some(NeighborState::Reachable));
        // Whom one has asked for all know.
        for at in [0, 2] {
            assert!(state(&workers[at], family, 2).is_some());
            assert!(sent(&mut workers[at]).is_empty());
        }
        let id = workers[2].udp_bind(UdpOptions::new(family.any(9))).unwrap();
        workers[2].udp_send(NOW, id, b"goes at once", Some(family.at(2, 7))).unwrap();
        assert!(sent(&mut workers[2])[0].ends_with(b"goes at once"));
    }

    fn who_asks_for_us_is_known_to_all_and_answered_once(family) {
        let mut workers = workers(3, |_| {});
        let mut peer = Stack::new(config(2), NOW).unwrap();
        let id = peer.udp_bind(UdpOptions::new(family.any(9))).unwrap();
        peer.udp_send(NOW, id, b"x", Some(family.at(1, 7))).unwrap();
        workers[2].ingest(NOW, &sent(&mut peer));
        assert_eq!(share(&mut workers, 2), 1);
        let answers: Vec<_> = workers.iter_mut().map(|stack| sent(stack).len()).collect();
        assert_eq!(answers, [0, 0, 1]);
        assert!(workers.iter().all(|stack| state(stack, family, 2) == Some(NeighborState::Stale)));
    }

    fn what_a_path_takes_is_known_to_all(family) {
        let mut workers = workers(2, |_| {});
        let data = [7; 1_400];
        let send = |stack: &mut Stack| {
            if state(stack, family, 2).is_none() {
                stack.add_neighbor(family.host(2), mac(2));
            }
            let id = stack.udp_bind(UdpOptions::new(family.any(9))).unwrap();
            stack.udp_send(NOW, id, &data, Some(family.at(2, 7))).unwrap();
            sent(stack)
        };
        let whole = send(&mut workers[0]);
        assert_eq!(whole.len(), 1);
        let too_big = icmp::too_big(family, &whole[0], 1_300);
        workers[0].ingest(NOW, &[&too_big]);
        assert_eq!(share(&mut workers, 0), 1);
        assert_eq!(send(&mut workers[1]).len(), 2, "in fragments");
        // Nothing new is nothing to be told.
        workers[0].ingest(NOW, &[&too_big]);
        assert_eq!(share(&mut workers, 0), 0);
    }

    fn an_open_connection_takes_up_what_others_know_of_its_path_when_something_is_lost(family) {
        let mut workers = workers(2, |_| {});
        let mut hand = Hand::new(family);
        hand.stack = workers.pop().unwrap();
        hand.stack.add_neighbor(family.host(2), mac(2));
        let listener = hand.listen();
        let id = hand.establish(listener);
        let data = pattern(4_200);
        hand.stack.tcp_send(id, &data).unwrap();
        assert!(hand.out().iter().all(|seg| seg.payload.len() > 1_300));
        // No router tells this connection. Another worker's socket hears of it.
        let other = &mut workers[0];
        other.add_neighbor(family.host(2), mac(2));
        let socket = other.udp_bind(UdpOptions::new(family.any(9))).unwrap();
        other.udp_send(NOW, socket, &[7; 1_400], Some(family.at(2, 7))).unwrap();
        let whole = sent(other);
        other.ingest(NOW, &[&icmp::too_big(family, &whole[0], 1_300)]);
        let news = other.poll_neighbor_news().unwrap();
        hand.stack.apply_neighbor_news(NOW, &news);
        let mss = if family == Family::V4 { 1_260 } else { 1_240 };
        let una = hand.ack;
        let mut got: Vec<u8> = Vec::new();
        while got.len() < data.len() {
            assert!(hand.now < NOW + Duration::from_secs(3), "{} bytes", got.len());
            let mut again = hand.pass(Duration::from_millis(10));
            while !again.is_empty() {
                let before = got.len();
                for seg in &again {
                    assert!(seg.payload.len() <= mss, "{}", seg.payload.len());
                    if seg.seq.wrapping_sub(una) as usize == got.len() {
                        got.extend(&seg.payload);
                    }
                }
                again = hand.acknowledge((got.len() - before) as u32);
            }
        }
        assert!(got == data);
        assert_eq!(usize::from(hand.stack.tcp_info(id).unwrap().snd_mss), mss);
        let stats = hand.stack.stats().tcp;
        assert_eq!((stats.black_holes, stats.tail_loss_probes), (0, 0));
    }

    fn a_group_is_told_when_the_first_socket_joins_and_the_last_one_leaves(family) {
        let mut workers = workers(2, |_| {});
        let group = group(family);
        let stack = &mut workers[1];
        let ids = [7, 8].map(|port| stack.udp_bind(UdpOptions::new(family.any(port))).unwrap());
        for id in ids {
            stack.udp_join(id, group).unwrap();
        }
        let joined = stack.poll_decision().unwrap();
        assert!(joined.is_of_groups());
        assert_eq!(stack.poll_decision(), None);
        stack.udp_leave(ids[0], group).unwrap();
        assert_eq!(stack.poll_decision(), None);
        stack.udp_close(ids[1]);
        let left = stack.poll_decision().unwrap();
        assert!(left.is_of_groups() && left != joined);
        assert_eq!((stack.poll_decision(), stack.poll_neighbor_news()), (None, None));
    }

    fn of_groups_that_come_and_go_untold_the_difference_is_told(family) {
        let mut workers = workers(2, |_| {});
        let group = |n: u32| match family {
            Family::V4 => IpAddr::from([239, 0, (n >> 8) as u8, n as u8]),
            Family::V6 => IpAddr::from([0xff15, 0, 0, 0, 0, 0, 0, n as u16]),
        };
        let stack = &mut workers[1];
        let id = stack.udp_bind(UdpOptions::new(family.any(7))).unwrap();
        stack.udp_join(id, group(0)).unwrap();
        let joined = stack.poll_decision();
        stack.udp_leave(id, group(0)).unwrap();
        for n in 1..20_000 {
            stack.udp_join(id, group(n)).unwrap();
            if n >= 50 {
                stack.udp_leave(id, group(n - 49)).unwrap();
            }
        }
        // That the first was left, and those of the last that are still there.
        let told: Vec<_> = std::iter::from_fn(|| stack.poll_decision()).collect();
        assert_eq!(told.len(), 1 + 49);
        assert_ne!(Some(told[0].clone()), joined);
    }

    fn a_worker_that_ends_has_left_its_groups(family) {
        let mut workers = workers(3, |_| {});
        pass(&mut workers[0], NOW);
        let group = group(family);
        for at in [1, 2] {
            let id = workers[at].udp_bind(UdpOptions::new(family.any(7))).unwrap();
            workers[at].udp_join(id, group).unwrap();
            share(&mut workers, at);
        }
        assert_eq!(told(pass(&mut workers[0], NOW), group), 2);
        workers[0].forget_peer(NOW, 2);
        assert_eq!(told(pass(&mut workers[0], NOW), group), 0, "there is one left");
        workers[0].forget_peer(NOW, 1);
        assert_eq!(told(pass(&mut workers[0], NOW), group), 2);
    }

    fn one_worker_s_groups_leave_room_for_another_s(family) {
        let mut workers = workers(2, |_| {});
        pass(&mut workers[0], NOW);
        let group = |n: u16| match family {
            Family::V4 => IpAddr::from([239, 0, (n >> 8) as u8, n as u8]),
            Family::V6 => IpAddr::from([0xff15, 0, 0, 0, 0, 0, 0, n]),
        };
        let join = |stack: &mut Stack, groups: std::ops::Range<u16>| {
            for (at, n) in groups.enumerate() {
                let id = stack.udp_bind(UdpOptions::new(family.any(1_000 + at as u16))).unwrap();
                stack.udp_join(id, group(n)).unwrap();
            }
        };
        // All but what a stack has by itself.
        join(&mut workers[1], 0..1_000);
        join(&mut workers[0], 2_000..3_000);
        assert_eq!(share(&mut workers, 1), 1_000);
        let reported = pass(&mut workers[0], NOW);
        assert!([0, 999, 2_000, 2_999].iter().all(|n| mentions(&reported, group(*n))));
    }

    fn groups_are_reported_by_one_for_all(family) {
        let mut workers = workers(3, |_| {});
        let group = group(family);
        let pass = |stack: &mut Stack| pass(stack, NOW);
        let told = |frames| told(frames, group);
        // What the stacks are members of by themselves.
        let first: Vec<_> = workers.iter_mut().map(|stack| pass(stack).len()).collect();
        assert!(first[0] > 0 && first[1..] == [0, 0]);
        let id = workers[2].udp_bind(UdpOptions::new(family.any(7))).unwrap();
        workers[2].udp_join(id, group).unwrap();
        assert_eq!(share(&mut workers, 2), 1);
        let reports: Vec<_> = workers.iter_mut().map(|stack| told(pass(stack))).collect();
        assert_eq!(reports, [2, 0, 0], "each change is told twice");
        workers[2].udp_close(id);
        assert_eq!(share(&mut workers, 2), 1);
        let reports: Vec<_> = workers.iter_mut().map(|stack| told(pass(stack))).collect();
        assert_eq!(reports, [2, 0, 0]);
    }
}

#[test]
fn a_router_s_question_that_comes_to_any_worker_is_answered_by_the_one_that_reports() {
    let mut workers = workers(2, |_| {});
    let group: std::net::Ipv4Addr = [239, 1, 2, 3].into();
    let id = workers[1]
        .udp_bind(UdpOptions::new(Family::V4.any(7)))
        .unwrap();
    workers[1].udp_join(id, group.into()).unwrap();
    share(&mut workers, 1);
    // The join's own reports.
    let mut now = NOW;
    let mut pass = |stack: &mut Stack| {
        let mut frames = Vec::new();
        for _ in 0..2_000 {
            now += Duration::from_millis(10);
            stack.handle_timeout(now);
            stack.poll_transmit(now, &mut frames);
        }
        frames
            .into_iter()
            .filter(|frame| frame.ends_with(&group.octets()))
            .count()
    };
    assert_eq!(pass(&mut workers[0]), 2);
    let mut query = vec![0x11, 10, 0, 0, 239, 1, 2, 3, 2, 125, 0, 0];
    checksum::fill_icmpv4(&mut query);
    let header = ipv4::Header {
        ttl: 1,
        ..ipv4::Header::new([198, 18, 0, 9].into(), group, Protocol::Igmp, query.len())
    };
    let mut frame = vec![0; ethernet::HEADER_LEN + ipv4::HEADER_LEN];
    let to = dpdk_net_packet::MacAddr::from_ipv4_multicast(group);
    ethernet::write_header(&mut frame, to, mac(9), ethernet::TYPE_IPV4);
    header.write(&mut frame[ethernet::HEADER_LEN..]);
    frame.extend(query);
    let parsed = parse(&frame).unwrap();
    assert!(matches!(
        parsed.network,
        Network::Ip(_, Transport::Other(Protocol::Igmp))
    ));
    workers[1].ingest(NOW, &[frame]);
    assert_eq!(share(&mut workers, 1), 1);
    assert_eq!(pass(&mut workers[0]), 1);
    assert_eq!(pass(&mut workers[1]), 0);
}

#[test]
fn an_address_that_one_gives_up_is_given_up_by_all() {
    let mut workers = workers(2, |config| config.dad = true);
    let own = Family::V4.host(1);
    let of = |stack: &Stack| {
        let states = stack.address_states();
        states
            .into_iter()
            .find(|(address, _)| address.addr == own)
            .unwrap()
            .1
    };
    // One is through with probing already: the address is in use elsewhere all the same.
    let mut now = NOW;
    while of(&workers[0]) == AddressState::Tentative {
        now += Duration::from_millis(10);
        workers[0].handle_timeout(now);
        workers[0].poll_transmit(now, &mut Vec::new());
    }
    let mut claim = arp(
        Operation::Request,
        7,
        (1, dpdk_net_packet::MacAddr::ZERO),
        true,
    );
    // The sender's address is ours.
    claim[ethernet::HEADER_LEN + 14..][..4].copy_from_slice(&[198, 18, 0, 1]);
    workers[1].ingest(now, &[&claim]);
    assert_eq!(share(&mut workers, 1), 1);
    assert_eq!(
        [0, 1].map(|worker| of(&workers[worker])),
        [AddressState::Duplicate; 2]
    );
    assert_eq!(workers[0].stats().neighbors.address_conflicts, 1);
    // Where it is in use it is defended by whoever has heard of it, and by nobody else.
    let mut workers = self::workers(2, |_| {});
    workers[1].ingest(NOW, &[&claim]);
    assert_eq!(share(&mut workers, 1), 1);
    assert_eq!(
        [0, 1].map(|worker| of(&workers[worker])),
        [AddressState::Preferred; 2]
    );
    assert_eq!(
        [0, 1].map(|worker| sent(&mut workers[worker]).len()),
        [0, 1]
    );
}

#[test]
fn what_concerns_nobody_is_no_news_and_a_flood_is_bounded() {
    let mut workers = workers(2, |_| {});
    let broadcast = dpdk_net_packet::MacAddr::ZERO;
    // Others among themselves.
    workers[0].ingest(NOW, &[arp(Operation::Request, 2, (3, broadcast), true)]);
    workers[0].ingest(NOW, &[arp(Operation::Reply, 2, (3, mac(3)), true)]);
    assert_eq!(share(&mut workers, 0), 0);
    // An announcement may be of a neighbour that another worker knows.
    workers[1].add_neighbor(Family::V4.host(5), mac(5));
    workers[1].ingest(NOW, &[arp(Operation::Request, 2, (1, broadcast), true)]);
    share(&mut workers, 1);
    let mut moved = arp(Operation::Request, 2, (2, broadcast), true);
    moved[ethernet::HEADER_LEN + 8 + 5] = 77;
    workers[0].remove_neighbor(Family::V4.host(2));
    workers[0].ingest(NOW, &[&moved]);
    assert_eq!(share(&mut workers, 0), 1);
    let known = workers[1].neighbors();
    let known = known
        .iter()
        .find(|it| it.addr == Family::V4.host(2))
        .unwrap();
    assert_eq!(known.mac.unwrap().0[5], 77);
    let flood: Vec<_> = (0..10_000)
        .map(|_| arp(Operation::Reply, 2, (1, mac(1)), false))
        .collect();
    workers[0].ingest(NOW, &flood);
    assert_eq!(workers[0].stats().neighbors.news_dropped, 10_000 - 256);
    assert_eq!(share(&mut workers, 0), 256);
    assert_eq!(workers[1].stats().neighbors.news_applied, 257);
    // Without others there is nobody to be told.
    let mut alone = Stack::new(config(1), NOW).unwrap();
    alone.ingest(NOW, &flood);
    assert_eq!(
        (
            alone.poll_neighbor_news(),
            alone.stats().neighbors.news_dropped
        ),
        (None, 0)
    );
}
