//! Many at once: connections, half-open ones, neighbours.

mod common;

use common::*;
use dpdk_net_packet::MacAddr;
use dpdk_net_stack::{Duration, Error, Instant, ListenOptions, Stack, TcpId, TcpState};

/// Everything that the two have for each other is delivered, until neither has anything.
fn exchange(now: Instant, stacks: &mut [Stack; 2]) {
    loop {
        let mut quiet = true;
        for from in [0, 1] {
            let mut frames: Vec<Vec<u8>> = Vec::new();
            stacks[from].poll_transmit(now, &mut frames);
            quiet &= frames.is_empty();
            stacks[1 - from].ingest(now, &frames);
        }
        if quiet {
            return;
        }
    }
}

both_families! {
    /// 60,000 connections from one address to one port, all at the same time; each is used, and all are closed.
    fn sixty_thousand_connections_at_once_are_opened_used_and_closed(family) {
        const CONNECTIONS: usize = 60_000;
        const WAVE: usize = 1_000;
        let mut now = Instant::from_secs(1_000);
        let mut stacks = [config(1), config(2)].map(|config| Stack::new(config, now).unwrap());
        // No more than 128 packets wait for a neighbour that is unknown yet.
        stacks[CLIENT].add_neighbor(family.host(1), mac(1));
        stacks[SERVER].add_neighbor(family.host(2), mac(2));
        let listener = {
            let mut options = ListenOptions::new(family.any(PORT));
            options.backlog = WAVE as u32;
            stacks[SERVER].tcp_listen(options).unwrap()
        };
        let mut connections: Vec<(TcpId, TcpId)> = Vec::new();
        for _ in 0..CONNECTIONS / WAVE {
            let mut clients = std::collections::BTreeMap::new();
            for _ in 0..WAVE {
                let id = stacks[CLIENT].tcp_connect(now, None, family.at(1, PORT)).unwrap();
                clients.insert(stacks[CLIENT].tcp_local(id).unwrap().port(), id);
            }
            exchange(now, &mut stacks);
            while let Ok((server, peer)) = stacks[SERVER].tcp_accept(listener) {
                connections.push((clients[&peer.port()], server));
            }
            now += Duration::from_millis(1);
        }
        assert_eq!(connections.len(), CONNECTIONS);
        assert_eq!(stacks.each_ref().map(Stack::tcp_count), [CONNECTIONS; 2]);
        let mut buf = [0; 64];
        for wave in connections.chunks(WAVE) {
            for (n, (client, _)) in wave.iter().enumerate() {
                assert_eq!(stacks[CLIENT].tcp_send(*client, &(n as u32).to_be_bytes()), Ok(4));
            }
            exchange(now, &mut stacks);
            for (n, (_, server)) in wave.iter().enumerate() {
                assert_eq!(stacks[SERVER].tcp_recv(*server, &mut buf), Ok(4));
                assert_eq!(buf[..4], (n as u32).to_be_bytes());
                assert_eq!(stacks[SERVER].tcp_send(*server, &[n as u8; 60]), Ok(60));
            }
            exchange(now, &mut stacks);
            for (n, (client, _)) in wave.iter().enumerate() {
                assert_eq!(stacks[CLIENT].tcp_recv(*client, &mut buf), Ok(60));
                assert_eq!(buf[..60], [n as u8; 60]);
            }
            now += Duration::from_millis(1);
            stacks.iter_mut().for_each(|stack| stack.handle_timeout(now));
        }
        // All are there still, and once they are silent none holds a buffer any more.
        for _ in 0..2_000 {
            now += Duration::from_millis(1);
            stacks.iter_mut().for_each(|stack| stack.handle_timeout(now));
            exchange(now, &mut stacks);
        }
        let held: usize = connections
            .iter()
            .map(|(client, server)| {
                stacks[CLIENT].tcp_info(*client).unwrap().memory + stacks[SERVER].tcp_info(*server).unwrap().memory
            })
            .sum();
        assert!(held < CONNECTIONS * 64, "{held} bytes");
        for wave in connections.chunks(WAVE) {
            for (client, _) in wave {
                stacks[CLIENT].tcp_close(now, *client);
            }
            exchange(now, &mut stacks);
            for (_, server) in wave {
                assert_eq!(stacks[SERVER].tcp_recv(*server, &mut buf), Ok(0));
                stacks[SERVER].tcp_close(now, *server);
            }
            exchange(now, &mut stacks);
        }
        assert_eq!(stacks.each_ref().map(Stack::tcp_count), [0; 2]);
        assert_eq!(stacks[CLIENT].tcp_time_waits(), CONNECTIONS);
        now += Duration::from_secs(61);
        stacks.iter_mut().for_each(|stack| stack.handle_timeout(now));
        assert_eq!(stacks[CLIENT].tcp_time_waits(), 0);
        for stack in &stacks {
            let stats = stack.stats().tcp;
            assert_eq!((stats.tx_resets, stats.retransmits), (0, 0));
        }
    }

    fn five_hundred_connections_two_hundred_at_once_none_refused(family) {
        let mut pair = Pair::new();
        let listener = pair.listen(family);
        let mut accepted = Vec::new();
        let mut clients: Vec<TcpId> = Vec::new();
        for burst in [200, 200, 100] {
            let fresh: Vec<TcpId> = (0..burst).map(|_| pair.connect(family)).collect();
            clients.extend(&fresh);
            pair.run(Duration::from_millis(100));
            while let Ok((id, _)) = pair.server().tcp_accept(listener) {
                accepted.push(id);
            }
            for id in fresh {
                assert_eq!(pair.client().tcp_state(id), TcpState::Established);
            }
        }
        assert_eq!(accepted.len(), 500);
        // All of them work.
        for (n, id) in clients.iter().enumerate() {
            pair.client().tcp_send(*id, &(n as u32).to_be_bytes()).unwrap();
        }
        pair.run(Duration::from_millis(50));
        let mut seen: Vec<u32> = Vec::new();
        for id in accepted {
            let mut buf = [0; 8];
            assert_eq!(pair.server().tcp_recv(id, &mut buf), Ok(4));
            seen.push(u32::from_be_bytes([buf[0], buf[1], buf[2], buf[3]]));
        }
        seen.sort_unstable();
        assert!(seen.iter().copied().eq(0..500));
    }

    fn after_ten_thousand_connections_closed_at_once_the_listener_still_accepts(family) {
        let mut pair = Pair::new();
        let listener = pair.listen(family);
        for round in 0..10_000 {
            let client = pair.connect(family);
            if round % 2 == 0 {
                // Before the handshake is complete, or right after it.
                pair.run(Duration::from_micros(60));
            } else {
                pair.run(Duration::from_millis(1));
            }
            let now = pair.now;
            pair.client().tcp_close(now, client);
            pair.run(Duration::from_millis(1));
            while let Ok((id, _)) = pair.server().tcp_accept(listener) {
                let now = pair.now;
                pair.server().tcp_close(now, id);
            }
        }
        let (client, _) = (pair.connect(family), ());
        pair.run(Duration::from_millis(10));
        assert_eq!(pair.client().tcp_state(client), TcpState::Established);
        let (server, _) = pair.server().tcp_accept(listener).unwrap();
        pair.transfer(CLIENT, client, server, b"still here", Duration::from_secs(1));
        // Whatever is left ends by itself.
        pair.run(Duration::from_secs(200));
        assert_eq!((pair.server().tcp_count(), pair.server().tcp_half_open()), (1, 0));
        assert_eq!(pair.client().tcp_count(), 1);
        assert_eq!(pair.client().tcp_time_waits() + pair.server().tcp_time_waits(), 0);
    }

    fn under_ten_thousand_half_open_syns_a_real_client_still_connects(family) {
        let mut hand = Hand::new(family);
        let listener = hand.listen();
        let mut established = 0;
        for n in 0..10_000u32 {
            // A SYN from nowhere: the hosts behind these addresses answer nothing.
            let mut syn = hand.syn();
            syn.from = 1_024 + n as u16;
            syn.seq = n;
            let spoofed = frame(family, 300 + (n % 200) as u16, 1, &syn);
            hand.stack.ingest(hand.now, &[spoofed]);
            hand.out();
            if n % 1_000 == 999 {
                // The real client's handshake takes a while, in which the flood goes on.
                hand.port = 5_000 + (n / 1_000) as u16;
                hand.half_open();
                for m in 0..500u16 {
                    let mut syn = hand.syn();
                    syn.from = 1_024 + m;
                    syn.seq = n + u32::from(m);
                    hand.stack.ingest(hand.now, &[frame(family, 600 + m % 200, 1, &syn)]);
                    hand.out();
                }
                hand.give(&hand.seg(ACK, b"hello"));
                let (id, peer) = hand.stack.tcp_accept(listener).expect("the flood keeps a real client out");
                assert_eq!(peer.port(), hand.port);
                assert_eq!(hand.stack.tcp_recv(id, &mut [0; 8]), Ok(5));
                established += 1;
                hand.seq += 10_000;
            }
        }
        assert_eq!(established, 10);
        assert!(hand.stack.tcp_half_open() <= 1_024);
        assert_eq!(hand.stack.tcp_count(), 10);
        hand.pass(Duration::from_secs(200));
        assert_eq!(hand.stack.tcp_half_open(), 0);
    }

    fn two_hundred_neighbours_at_once_are_all_resolved_within_a_second(family) {
        // One stack talks to 200 hosts, each with a stack of its own, on one switch.
        let now = Pair::new().now;
        let mut stack = Stack::new(config(1), now).unwrap();
        let mut hosts: Vec<Stack> = (100..300).map(|n| Stack::new(config(n), now).unwrap()).collect();
        for host in &mut hosts {
            host.tcp_listen(ListenOptions::new(family.any(PORT))).unwrap();
        }
        let ids: Vec<TcpId> =
            (100..300).map(|n| stack.tcp_connect(now, None, family.at(n, PORT)).unwrap()).collect();
        let mut t = now;
        for _ in 0..20 {
            t += Duration::from_millis(50);
            let mut frames = Vec::new();
            if stack.next_timeout().is_some_and(|at| at <= t) {
                stack.handle_timeout(t);
            }
            stack.poll_transmit(t, &mut frames);
            let mut back = Vec::new();
            for (n, host) in (100u16..).zip(&mut hosts) {
                let own = mac(n);
                let mine: Vec<_> =
                    frames.iter().filter(|f| f[..6] == own.0 || MacAddr::from_slice(f).unwrap().is_multicast()).collect();
                host.ingest(t, &mine);
                host.poll_transmit(t, &mut back);
            }
            back.retain(|f| f[..6] == mac(1).0 || MacAddr::from_slice(f).unwrap().is_multicast());
            stack.ingest(t, &back);
        }
        let established = ids.iter().filter(|id| stack.tcp_state(**id) == TcpState::Established).count();
        assert_eq!(established, 200);
    }

    fn every_port_of_the_range_can_be_used_to_one_destination(family) {
        let mut config = config(2);
        config.tcp.ephemeral_first = 40_000;
        config.tcp.ephemeral_last = 40_499;
        config.tcp.recv_buffer = 4_096;
        config.tcp.send_buffer = 4_096;
        let mut pair = Pair::with(common::config(1), config);
        let listener = pair.listen(family);
        let mut ports = std::collections::BTreeSet::new();
        for _ in 0..500 {
            let id = pair.connect(family);
            assert!(ports.insert(pair.client().tcp_local(id).unwrap().port()));
            pair.run(Duration::from_micros(500));
            pair.server().tcp_accept(listener).unwrap();
        }
        let now = pair.now;
        assert_eq!(pair.client().tcp_connect(now, None, family.at(1, PORT)), Err(Error::AddrNotAvailable));
        // Another destination has all of them again.
        assert!(pair.client().tcp_connect(now, None, family.at(1, PORT + 1)).is_ok());
    }

    /// Beyond a few thousand connections with buffers each gives its own back as soon as they are empty.
    fn in_a_crowd_buffers_go_back_at_once(family) {
        const CONNECTIONS: usize = 4_000;
        let mut pair = Pair::new();
        let listener = pair.listen(family);
        let mut clients = Vec::new();
        let mut servers = Vec::new();
        for _ in 0..CONNECTIONS / 100 {
            clients.extend((0..100).map(|_| pair.connect(family)));
            pair.run(Duration::from_millis(5));
            while let Ok((id, _)) = pair.server().tcp_accept(listener) {
                servers.push(id);
            }
        }
        assert_eq!(servers.len(), CONNECTIONS);
        let mut buf = [0; 64];
        for wave in clients.chunks(100) {
            for id in wave {
                pair.client().tcp_send(*id, b"request").unwrap();
            }
            pair.run(Duration::from_micros(200));
            for id in &servers {
                if let Ok(len) = pair.server().tcp_recv(*id, &mut buf) {
                    pair.server().tcp_send(*id, &buf[..len]).unwrap();
                }
            }
            pair.run(Duration::from_micros(200));
            for id in wave {
                assert_eq!(pair.client().tcp_recv(*id, &mut buf), Ok(7));
            }
        }
        let with_buffers = |pair: &mut Pair| {
            let all = clients.iter().filter(|id| pair.client().tcp_info(**id).unwrap().memory > 0);
            all.count()
        };
        let left = with_buffers(&mut pair);
        assert!((1..=2_200).contains(&left), "{left} clients still have buffers");
        pair.run(Duration::from_secs(5));
        assert_eq!(with_buffers(&mut pair), 0);
    }

    fn buffers_of_all_connections_together_grow_by_so_much_and_no_more(family) {
        const GROWTH: usize = 512 * 1024;
        let mut server = config(1);
        server.tcp.buffer_growth = GROWTH;
        let first = server.tcp.recv_window as u32;
        let mut pair = Pair::with(server, config(2));
        pair.latency = Duration::from_millis(10);
        let listener = pair.listen(family);
        let mut ids = Vec::new();
        for _ in 0..4 {
            let client = pair.connect(family);
            pair.run(Duration::from_millis(50));
            ids.push((client, pair.server().tcp_accept(listener).unwrap().0));
        }
        let data = pattern(3_000_000);
        let grown = |pair: &mut Pair| -> u32 {
            let of = |(_, server): &(TcpId, TcpId)| pair.server().tcp_info(*server).unwrap().rcv_space - first;
            ids.iter().map(of).sum()
        };
        for (client, server) in ids.clone() {
            pair.transfer(CLIENT, client, server, &data, Duration::from_secs(30));
            assert!(grown(&mut pair) as usize <= GROWTH);
        }
        assert!(grown(&mut pair) as usize > GROWTH / 2, "little of it was used");
        assert!(pair.server().stats().tcp.growth_refused > 0);
        // Empty and silent, they give it back.
        pair.run(Duration::from_secs(5));
        assert_eq!(grown(&mut pair), 0);
        let (client, server) = ids[3];
        pair.transfer(CLIENT, client, server, &data, Duration::from_secs(30));
        let space = pair.server().tcp_info(server).unwrap().rcv_space;
        assert!(space > 2 * first, "the last one could grow no more: {space}");
    }

    fn limits_on_connections_hold(family) {
        let mut config = config(1);
        config.tcp.max_connections = 5;
        let mut pair = Pair::with(config, common::config(2));
        let listener = pair.listen(family);
        for _ in 0..8 {
            pair.connect(family);
        }
        pair.run(Duration::from_millis(500));
        let mut held = Vec::new();
        while let Ok((id, _)) = pair.server().tcp_accept(listener) {
            held.push(id);
        }
        assert_eq!(held.len(), 5);
        let now = pair.now;
        assert_eq!(pair.server().tcp_connect(now, None, family.at(2, PORT)), Err(Error::NoBufferSpace));
        pair.server().tcp_abort(held[0]);
        // One of the three that wait gets the place when the SYN-ACK is repeated.
        pair.run(Duration::from_secs(40));
        assert!(pair.server().tcp_accept(listener).is_ok());
    }
}
