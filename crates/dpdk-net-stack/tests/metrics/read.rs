//! Gauges and lists tell what there is, and histograms what was measured.

use dpdk_net_stack::{
    Duration, Keepalive, ListPlace, ListenOptions, TcpState, TcpTimerKind, UdpOptions,
};

use crate::both_families;
use crate::common::*;

/// The share of a gauge of a group.
fn gauge(stack: &dpdk_net_stack::Stack, group: &str, name: &str) -> u64 {
    let gauges = stack.gauges();
    let mut found = gauges
        .metrics()
        .filter(|it| it.0 == group && it.1.name == name);
    found.next().map(|it| it.2).unwrap()
}

fn states(stack: &dpdk_net_stack::Stack) -> Vec<(&'static str, u64)> {
    let all = stack.gauges().tcp_states;
    all.metrics()
        .map(|(metric, value)| (metric.name, value))
        .filter(|(_, value)| *value > 0)
        .collect()
}

both_families! {
    fn connections_are_counted_in_the_state_that_they_are_in(family) {
        let mut pair = Pair::new();
        let second = Duration::from_secs(1);
        let listener = pair.listen(family);
        let client = pair.connect(family);
        assert_eq!(states(pair.client()), [("syn_sent", 1)]);
        // The final ACK does not come through at first.
        pair.filter = Box::new(|to, _| to == CLIENT);
        pair.run(Duration::from_millis(1));
        pair.filter = Box::new(|_, _| true);
        pair.run(Duration::from_secs(3));
        assert_eq!(states(pair.client()), [("established", 1)]);
        assert_eq!((gauge(pair.server(), "tcp", "unaccepted"), gauge(pair.server(), "tcp", "listeners")), (1, 1));
        let (server, _) = pair.server().tcp_accept(listener).unwrap();
        assert_eq!(gauge(pair.server(), "tcp", "unaccepted"), 0);
        let now = pair.now;
        pair.client().tcp_close(now, client);
        pair.run(second);
        assert_eq!((states(pair.client()), states(pair.server())), (vec![("fin_wait_2", 1)], vec![("close_wait", 1)]));
        assert_eq!(gauge(pair.client(), "tcp", "orphans"), 1);
        assert_eq!(gauge(pair.server(), "tcp", "current_established"), 1);
        let now = pair.now;
        pair.server().tcp_close(now, server);
        pair.run(second);
        assert_eq!((states(pair.client()), states(pair.server())), (vec![("time_wait", 1)], vec![]));
        pair.run(Duration::from_secs(120));
        assert_eq!(states(pair.client()), []);
        assert_eq!(gauge(pair.client(), "tcp", "timers"), 0);
    }

    fn a_listener_tells_its_queues_and_what_it_dropped(family) {
        let mut pair = Pair::new();
        let mut options = ListenOptions::new(family.any(PORT));
        options.backlog = 1;
        let listener = pair.server().tcp_listen(options).unwrap();
        for _ in 0..4 {
            pair.connect(family);
        }
        pair.run(Duration::from_millis(10));
        let [info] = pair.server().listeners()[..] else { panic!("one listener") };
        assert_eq!((info.id, info.local, info.backlog, info.accept_queue), (listener, family.any(PORT), 1, 2));
        // All four SYNs came before there was a connection, and the final ACKs of two find no room.
        assert_eq!(info.half_open, 2);
        let stats = pair.server().stats().tcp;
        if dpdk_net_stack::metrics::ENABLED {
            assert_eq!((info.dropped, stats.accept_overflows, stats.listen_drops), (2, 2, 2));
        }
        while pair.server().tcp_accept(listener).is_ok() {}
        pair.run(Duration::from_secs(10));
        let [info] = pair.server().listeners()[..] else { panic!("one listener") };
        assert_eq!((info.accept_queue, info.half_open), (2, 0));
        pair.server().tcp_listener_close(listener);
        assert_eq!(pair.server().listeners(), []);
    }

    fn connections_are_listed_page_by_page_while_they_come_and_go(family) {
        let mut pair = Pair::new();
        let listener = pair.listen(family);
        let connect = |pair: &mut Pair, count: usize| -> Vec<_> {
            let ids: Vec<_> = (0..count).map(|_| pair.connect(family)).collect();
            pair.run(Duration::from_millis(10));
            while pair.server().tcp_accept(listener).is_ok() {}
            ids
        };
        let ids = connect(&mut pair, 100);
        let page = pair.client().tcp_infos(ListPlace::START, 30);
        let (mut next, page) = (page.next, page.entries);
        assert_eq!(page.len(), 30);
        let (last, info) = page[29];
        assert_eq!(next, Some(ListPlace::behind(last)));
        assert_eq!((info.state, info.orphan, info.peer), (TcpState::Established, false, family.at(1, PORT)));
        assert_eq!(pair.client().tcp_info(last), Ok(info));
        // The one to go on from ends, and some before and behind it; others take the places of some.
        let gone: Vec<_> = page[25..].iter().map(|(id, _)| *id).chain(ids[60..70].iter().copied()).collect();
        gone.iter().for_each(|id| pair.client().tcp_abort(*id));
        pair.run(Duration::from_millis(10));
        connect(&mut pair, 5);
        let mut seen: Vec<_> = page.iter().map(|(id, _)| *id).collect();
        while let Some(from) = next {
            let page = pair.client().tcp_infos(from, 30);
            assert!(page.entries.iter().all(|(id, info)| pair.client().tcp_info(*id) == Ok(*info)));
            seen.extend(page.entries.iter().map(|(id, _)| *id));
            next = page.next;
        }
        // Each that was there all the time is there, and none twice.
        assert!(ids.iter().filter(|id| !gone.contains(id)).all(|id| seen.contains(id)));
        let count = seen.len();
        seen.sort_unstable();
        seen.dedup();
        assert_eq!(seen.len(), count);
        let none = pair.client().tcp_infos(ListPlace::START, 0);
        assert_eq!((none.entries, none.next), (vec![], Some(ListPlace::START)));
        let all = pair.client().tcp_infos(ListPlace::START, usize::MAX);
        assert_eq!((all.entries.len(), all.next), (90, None));
    }

    fn what_is_no_connection_yet_or_any_more_is_listed_with_its_timer(family) {
        let mut pair = Pair::new();
        let listener = pair.listen(family);
        let client = pair.connect(family);
        // The SYN-ACK does not come through.
        let is_tcp = |frame: &[u8]| match frame[12..14] {
            [0x08, 0x00] => frame[23] == 6,
            _ => frame[20] == 6,
        };
        pair.filter = Box::new(move |to, frame| to != CLIENT || !is_tcp(frame));
        pair.run(Duration::from_millis(100));
        let halves = pair.server().tcp_half_open_infos(ListPlace::START, 10).entries;
        let [(id, half)] = halves[..] else { panic!("{halves:?}") };
        let timer = half.timer.unwrap();
        assert_eq!((half.state, half.local, timer.kind), (TcpState::SynReceived, family.at(1, PORT), TcpTimerKind::On));
        assert!(timer.expires <= Duration::from_secs(1) && timer.expires >= Duration::from_millis(800), "{timer:?}");
        let syn = pair.client().tcp_info(client).unwrap();
        assert_eq!((syn.state, syn.timer.unwrap().kind), (TcpState::SynSent, TcpTimerKind::On));
        pair.run(Duration::from_secs(2));
        assert!(pair.server().tcp_half_open_infos(ListPlace::START, 10).entries[0].1.timer.unwrap().retransmits > 0);
        assert!(pair.client().tcp_info(client).unwrap().timer.unwrap().retransmits > 0);
        assert_eq!(pair.server().tcp_half_open_infos(ListPlace::behind(id), 10).entries, []);
        pair.filter = Box::new(|_, _| true);
        pair.run(Duration::from_secs(5));
        assert_eq!(pair.server().tcp_half_open_infos(ListPlace::START, 10).entries, []);
        let (server, _) = pair.server().tcp_accept(listener).unwrap();
        // Nothing is on its way: no timer, unless there are keep-alives.
        assert_eq!(pair.client().tcp_info(client).unwrap().timer, None);
        let (idle, keepalive) = (Duration::from_secs(60), Keepalive::default());
        pair.client().tcp_set_keepalive_times(client, Keepalive { idle, ..keepalive }).unwrap();
        let timer = pair.client().tcp_info(client).unwrap().timer.unwrap();
        assert_eq!(timer.kind, TcpTimerKind::Keepalive);
        assert!(timer.expires <= idle && timer.expires > Duration::from_secs(50), "{timer:?}");
        let now = pair.now;
        pair.client().tcp_close(now, client);
        pair.server().tcp_close(now, server);
        pair.run(Duration::from_secs(1));
        let waits = pair.client().tcp_time_wait_infos(ListPlace::START, 10).entries;
        let waiting = if waits.is_empty() { pair.server().tcp_time_wait_infos(ListPlace::START, 10).entries } else { waits };
        let [(_, wait)] = waiting[..] else { panic!("{waiting:?}") };
        let timer = wait.timer.unwrap();
        assert_eq!((wait.state, timer.kind, timer.retransmits), (TcpState::TimeWait, TcpTimerKind::TimeWait, 0));
        assert!(timer.expires > Duration::from_secs(30), "{timer:?}");
        pair.run(Duration::from_secs(120));
        assert_eq!(pair.client().tcp_time_wait_infos(ListPlace::START, 10).entries, []);
        assert_eq!(pair.server().tcp_time_wait_infos(ListPlace::START, 10).entries, []);
    }

    fn udp_sockets_tell_their_queues(family) {
        let mut pair = Pair::new();
        let server = pair.server().udp_bind(UdpOptions::new(family.any(53))).unwrap();
        let client = pair.client().udp_bind(UdpOptions::new(family.any(0))).unwrap();
        let peer = family.at(1, 53);
        pair.client().udp_connect(client, peer).unwrap();
        let now = pair.now;
        for _ in 0..3 {
            pair.client().udp_send(now, client, &[0; 100], None).unwrap();
        }
        pair.run(Duration::from_millis(10));
        let [(id, info)] = pair.server().udp_sockets(ListPlace::START, 10).entries[..] else { panic!("one socket") };
        assert_eq!((id, info.local, info.peer, info.recv_datagrams), (server, family.any(53), None, 3));
        assert!((300..600).contains(&info.recv_queue), "{info:?}");
        let [(id, info)] = pair.client().udp_sockets(ListPlace::START, 10).entries[..] else { panic!("one socket") };
        assert_eq!((id, info.peer, info.recv_queue, info.send_blocked), (client, Some(peer), 0, false));
        assert_eq!(pair.client().udp_sockets(ListPlace::behind(client), 10).entries, []);
        assert_eq!(gauge(pair.server(), "udp", "sockets"), 1);
        let mut buf = [0; 200];
        while pair.server().udp_recv(server, &mut buf).is_ok() {}
        assert_eq!(pair.server().udp_sockets(ListPlace::START, 10).entries[0].1.recv_queue, 0);
        // Until it is full, and one more is counted.
        let mut sent = 0;
        while pair.server().udp_sockets(ListPlace::START, 1).entries[0].1.dropped == 0 && sent < 500 {
            let now = pair.now;
            pair.client().udp_send(now, client, &[0; 1_400], None).unwrap();
            pair.run(Duration::from_millis(1));
            sent += u32::from(!dpdk_net_stack::metrics::ENABLED) * 500;
        }
        let stats = pair.server().stats().udp;
        let info = pair.server().udp_sockets(ListPlace::START, 1).entries[0].1;
        assert_eq!(info.dropped, stats.queue_full);
        assert!(info.recv_queue <= info.recv_limit);
    }

    fn round_trips_and_the_wait_to_be_accepted_are_measured(family) {
        if !dpdk_net_stack::metrics::ENABLED {
            return;
        }
        let mut pair = Pair::new();
        pair.latency = Duration::from_millis(5);
        pair.server().add_neighbor(family.host(2), mac(2));
        pair.client().add_neighbor(family.host(1), mac(1));
        let listener = pair.listen(family);
        let client = pair.connect(family);
        pair.run(Duration::from_millis(500));
        let (server, _) = pair.server().tcp_accept(listener).unwrap();
        let told = pair.server().tcp_histograms();
        // Accepted half a second later, less the handshake.
        assert_eq!(told.accept_delay.count(), 1);
        assert!((450_000..500_000).contains(&told.accept_delay.sum()), "{:?}", told.accept_delay);
        for host in [SERVER, CLIENT] {
            let rtt = pair.stacks[host].tcp_histograms().rtt;
            assert_eq!(rtt.count(), 1, "the handshake's");
            assert!((10_000..11_000).contains(&rtt.sum()), "{rtt:?}");
        }
        // A calm connection's are not each counted, but now and then.
        for _ in 0..200 {
            pair.transfer(CLIENT, client, server, &[1; 100], Duration::from_secs(1));
            pair.transfer(SERVER, server, client, &[2; 100], Duration::from_secs(1));
        }
        let rtt = pair.client().tcp_histograms().rtt;
        assert!((5..150).contains(&rtt.count()), "{rtt:?}");
        assert!(rtt.quantile(0.0) >= Some(10_000) && rtt.quantile(1.0) < Some(60_000), "{rtt:?}");
    }
}
