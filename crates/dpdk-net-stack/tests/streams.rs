//! Two stacks talk to each other: connections come, carry bytes, and end.

mod common;

use common::*;
use dpdk_net_stack::{Duration, Error, Event, ListenOptions, Readiness, TcpState};

both_families! {
    fn bytes_flow_both_ways(family) {
        let mut pair = Pair::new();
        let (client, server) = pair.establish(family);
        pair.transfer(CLIENT, client, server, b"hello", Duration::from_secs(1));
        pair.transfer(SERVER, server, client, &pattern(1 << 20), Duration::from_secs(10));
        pair.transfer(CLIENT, client, server, &pattern(1 << 20), Duration::from_secs(10));
    }

    fn of_segments_sent_at_once_the_last_is_pushed(family) {
        let mut hand = Hand::new(family);
        hand.sack_ok = true;
        let listener = hand.listen();
        let id = hand.establish(listener);
        hand.stack.tcp_send(id, &pattern(30_000)).unwrap();
        let pushed = |sent: &[Seg]| sent.iter().map(|seg| seg.flags & PSH != 0).collect::<Vec<_>>();
        let first = hand.out();
        assert_eq!(first.len(), 10);
        assert_eq!(pushed(&first), (0..10).map(|i| i == 9).collect::<Vec<_>>());
        // A single one is not, new or sent again.
        let mut again = Vec::new();
        for sacked in 2..6 {
            let mut ack = hand.seg(ACK, &[]);
            ack.sack = vec![(first[1].seq, first[sacked].seq)];
            again.extend(hand.give(&ack));
        }
        assert!(again.iter().any(|seg| seg.seq == first[0].seq), "{again:?}");
        assert!(pushed(&again).iter().all(|pushed| !pushed));
    }

    fn a_close_on_both_sides_ends_in_order_and_frees_everything(family) {
        let mut pair = Pair::new();
        let (client, server) = pair.establish(family);
        pair.client().tcp_send(client, b"last words").unwrap();
        pair.client().tcp_shutdown_write(client).unwrap();
        assert_eq!(pair.client().tcp_send(client, b"x"), Err(Error::BrokenPipe));
        pair.run(Duration::from_millis(100));
        assert_eq!(pair.client().tcp_state(client), TcpState::FinWait2);
        assert_eq!(pair.server().tcp_state(server), TcpState::CloseWait);
        let mut buf = [0; 64];
        assert_eq!(pair.server().tcp_recv(server, &mut buf), Ok(10));
        assert_eq!(pair.server().tcp_recv(server, &mut buf), Ok(0));
        // Half-closed: the other direction still works.
        pair.transfer(SERVER, server, client, &pattern(100_000), Duration::from_secs(5));
        let now = pair.now;
        pair.server().tcp_close(now, server);
        pair.run(Duration::from_millis(100));
        assert_eq!(pair.client().tcp_recv(client, &mut buf), Ok(0));
        assert_eq!(pair.client().tcp_state(client), TcpState::TimeWait);
        assert!(pair.client().is_send_drained(client));
        assert_eq!(pair.server().tcp_count(), 0);
        let now = pair.now;
        pair.client().tcp_close(now, client);
        assert_eq!((pair.client().tcp_count(), pair.client().tcp_time_waits()), (0, 1));
        pair.run(Duration::from_secs(61));
        assert_eq!(pair.client().tcp_time_waits(), 0);
    }

    fn both_may_close_at_the_same_time(family) {
        let mut pair = Pair::new();
        let (client, server) = pair.establish(family);
        pair.client().tcp_shutdown_write(client).unwrap();
        pair.server().tcp_shutdown_write(server).unwrap();
        pair.run(Duration::from_secs(1));
        assert_eq!(pair.client().tcp_state(client), TcpState::TimeWait);
        assert_eq!(pair.server().tcp_state(server), TcpState::TimeWait);
    }

    fn unread_data_is_kept_through_time_wait(family) {
        let mut pair = Pair::new();
        let (client, server) = pair.establish(family);
        pair.client().tcp_shutdown_write(client).unwrap();
        pair.run(Duration::from_millis(10));
        pair.server().tcp_send(server, b"read me late").unwrap();
        pair.server().tcp_shutdown_write(server).unwrap();
        pair.run(Duration::from_secs(300));
        assert_eq!(pair.client().tcp_state(client), TcpState::Closed);
        let mut buf = [0; 64];
        assert_eq!(pair.client().tcp_recv(client, &mut buf), Ok(12));
        assert_eq!(&buf[..12], b"read me late");
        assert_eq!(pair.client().tcp_recv(client, &mut buf), Ok(0));
        assert_eq!(pair.client().tcp_take_error(client), None);
    }

    fn nobody_listening_refuses(family) {
        let mut pair = Pair::new();
        let client = pair.connect(family);
        pair.run(Duration::from_secs(1));
        assert_eq!(pair.client().tcp_state(client), TcpState::Closed);
        assert_eq!(pair.client().tcp_take_error(client), Some(Error::ConnectionRefused));
        let told = pair.events[CLIENT].iter().any(|event| {
            matches!(event, Event::Tcp(id, ready) if *id == client && ready.contains(Readiness::CONNECTED | Readiness::CLOSED))
        });
        assert!(told, "{:?}", pair.events[CLIENT]);
    }

    fn a_silent_host_times_out(family) {
        let mut pair = Pair::new();
        pair.listen(family);
        pair.filter = Box::new(|to, frame| to != SERVER || read(frame).is_none());
        let client = pair.connect(family);
        pair.run(Duration::from_secs(179));
        assert_eq!(pair.client().tcp_state(client), TcpState::SynSent);
        pair.run(Duration::from_secs(3));
        assert_eq!(pair.client().tcp_take_error(client), Some(Error::TimedOut));
    }

    fn an_absent_host_is_unreachable(family) {
        let mut pair = Pair::new();
        let now = pair.now;
        let client = pair.client().tcp_connect(now, None, family.at(77, PORT)).unwrap();
        pair.run(Duration::from_secs(10));
        assert_eq!(pair.client().tcp_take_error(client), Some(Error::HostUnreachable));
    }

    fn no_route_is_told_at_once(family) {
        let mut pair = Pair::new();
        let now = pair.now;
        let far = match family {
            Family::V4 => "203.0.113.1:80",
            Family::V6 => "[2001:db8::1]:80",
        };
        assert_eq!(pair.client().tcp_connect(now, None, far.parse().unwrap()), Err(Error::NetworkUnreachable));
    }

    fn closing_with_unread_data_resets(family) {
        let mut pair = Pair::new();
        let (client, server) = pair.establish(family);
        pair.client().tcp_send(client, b"never read").unwrap();
        pair.run(Duration::from_millis(10));
        let now = pair.now;
        pair.server().tcp_close(now, server);
        pair.run(Duration::from_millis(10));
        let mut buf = [0; 8];
        assert_eq!(pair.client().tcp_recv(client, &mut buf), Err(Error::ConnectionReset));
        assert_eq!(pair.client().tcp_recv(client, &mut buf), Ok(0));
        assert_eq!(pair.client().tcp_send(client, b"x"), Err(Error::BrokenPipe));
        assert_eq!(pair.server().tcp_count(), 0);
    }

    fn a_linger_of_zero_resets(family) {
        let mut pair = Pair::new();
        let (client, server) = pair.establish(family);
        pair.client().tcp_set_linger(client, Some(Duration::ZERO)).unwrap();
        let now = pair.now;
        pair.client().tcp_close(now, client);
        pair.run(Duration::from_millis(10));
        assert_eq!(pair.server().tcp_take_error(server), Some(Error::ConnectionReset));
        assert_eq!(pair.client().tcp_count() + pair.client().tcp_time_waits(), 0);
    }

    fn what_was_written_before_close_arrives(family) {
        let mut pair = Pair::new();
        let (client, server) = pair.establish(family);
        let data = pattern(60_000);
        assert_eq!(pair.client().tcp_send(client, &data), Ok(60_000));
        let now = pair.now;
        pair.client().tcp_close(now, client);
        assert_eq!(pair.client().tcp_state(client), TcpState::Closed, "the id is dead");
        let mut got = Vec::new();
        let mut buf = [0; 4_096];
        pair.run_until(Duration::from_secs(5), "end of stream", |pair| loop {
            match pair.server().tcp_recv(server, &mut buf) {
                Ok(0) => return true,
                Ok(n) => got.extend_from_slice(&buf[..n]),
                Err(Error::WouldBlock) => return false,
                Err(error) => panic!("{error}"),
            }
        });
        assert!(got == data);
        let now = pair.now;
        pair.server().tcp_close(now, server);
        pair.run(Duration::from_secs(1));
        assert_eq!((pair.server().tcp_count(), pair.client().tcp_count(), pair.client().tcp_orphans()), (0, 0, 0));
    }

    fn a_full_receiver_stops_the_sender_and_reading_lets_it_go_on(family) {
        let mut pair = Pair::new();
        let (client, server) = pair.establish(family);
        let data = pattern(400_000);
        let mut sent = 0;
        for _ in 0..50 {
            while let Ok(n) = pair.client().tcp_send(client, &data[sent..]) {
                sent += n;
            }
            pair.run(Duration::from_secs(60));
        }
        // Both buffers are full, and fifty minutes of zero window have not ended the connection.
        assert!((128 * 1024..256 * 1024).contains(&sent), "{sent}");
        pair.events[CLIENT].clear();
        let mut got = Vec::new();
        let mut buf = [0; 8_192];
        pair.run_until(Duration::from_secs(300), "all data", |pair| {
            while let Ok(n) = pair.server().tcp_recv(server, &mut buf) {
                got.extend_from_slice(&buf[..n]);
            }
            while sent < data.len() {
                match pair.client().tcp_send(client, &data[sent..]) {
                    Ok(n) => sent += n,
                    Err(error) => {
                        assert_eq!(error, Error::WouldBlock);
                        break;
                    }
                }
            }
            got.len() == data.len()
        });
        assert!(got == data);
        let woken = |e: &Event| matches!(e, Event::Tcp(id, ready) if *id == client && ready.contains(Readiness::WRITABLE));
        assert!(pair.events[CLIENT].iter().any(woken));
    }

    fn a_stack_reaches_its_own_addresses(family) {
        let mut pair = Pair::new();
        let listener = pair.listen(family);
        let now = pair.now;
        let client = pair.server().tcp_connect(now, None, family.at(1, PORT)).unwrap();
        pair.run(Duration::from_millis(50));
        let (server, peer) = pair.server().tcp_accept(listener).unwrap();
        assert_eq!(peer.ip(), family.host(1));
        let data = pattern(300_000);
        let (mut sent, mut got, mut buf) = (0, Vec::new(), [0; 8_192]);
        pair.run_until(Duration::from_secs(20), "looped data", |pair| {
            while sent < data.len() {
                let Ok(n) = pair.server().tcp_send(client, &data[sent..]) else { break };
                sent += n;
            }
            while let Ok(n) = pair.server().tcp_recv(server, &mut buf) {
                got.extend_from_slice(&buf[..n]);
            }
            got.len() == data.len()
        });
        assert!(got == data);
        assert_eq!(pair.client().stats().tcp.rx_segments, 0);
    }

    fn vectored_and_peek_see_the_same_bytes(family) {
        let mut pair = Pair::new();
        let (client, server) = pair.establish(family);
        assert_eq!(pair.client().tcp_send_vectored(client, &[b"abc", b"", b"defg"]), Ok(7));
        pair.run(Duration::from_millis(10));
        let mut buf = [0; 16];
        assert_eq!(pair.server().tcp_peek(server, &mut buf), Ok(7));
        let (mut a, mut b) = ([0; 2], [0; 16]);
        assert_eq!(pair.server().tcp_recv_vectored(server, &mut [&mut a, &mut b]), Ok(7));
        assert_eq!((&a, &b[..5]), (b"ab", &b"cdefg"[..]));
        assert_eq!(pair.server().tcp_recv(server, &mut buf), Err(Error::WouldBlock));
    }

    fn keepalive_finds_a_dead_peer_and_keeps_a_silent_one(family) {
        let mut pair = Pair::new();
        let (client, server) = pair.establish(family);
        let times = dpdk_net_stack::Keepalive {
            idle: Duration::from_secs(10),
            interval: Duration::from_secs(2),
            count: 3,
        };
        pair.client().tcp_set_keepalive_times(client, times).unwrap();
        pair.run(Duration::from_secs(600));
        assert_eq!(pair.client().tcp_state(client), TcpState::Established);
        assert_eq!(pair.server().tcp_state(server), TcpState::Established);
        pair.filter = Box::new(|_, frame| read(frame).is_none());
        pair.run(Duration::from_secs(30));
        assert_eq!(pair.client().tcp_take_error(client), Some(Error::TimedOut));
    }

    fn an_idle_connection_lives_for_ever(family) {
        let mut pair = Pair::new();
        let (client, server) = pair.establish(family);
        pair.transfer(CLIENT, client, server, b"ping", Duration::from_secs(1));
        pair.run(Duration::from_secs(3 * 86_400));
        pair.transfer(SERVER, server, client, b"pong", Duration::from_secs(1));
    }

    fn a_peer_that_vanishes_with_data_under_way_times_out(family) {
        let mut pair = Pair::new();
        let (client, _) = pair.establish(family);
        pair.client().tcp_send(client, b"anybody there?").unwrap();
        pair.filter = Box::new(|_, frame| read(frame).is_none());
        pair.run(Duration::from_secs(900));
        assert_eq!(pair.client().tcp_state(client), TcpState::Established);
        pair.run(Duration::from_secs(60));
        assert_eq!(pair.client().tcp_take_error(client), Some(Error::TimedOut));
        assert_eq!(pair.client().tcp_state(client), TcpState::Closed);
    }

    fn a_lost_segment_is_sent_again(family) {
        let mut pair = Pair::new();
        let (client, server) = pair.establish(family);
        let mut n = 0;
        pair.filter = Box::new(move |_, frame| {
            let data = read(frame).is_some_and(|seg| !seg.payload.is_empty());
            n += usize::from(data);
            !data || n % 20 != 7
        });
        pair.transfer(CLIENT, client, server, &pattern(500_000), Duration::from_secs(120));
    }

    fn a_lost_fin_is_sent_again(family) {
        let mut pair = Pair::new();
        let (client, server) = pair.establish(family);
        let mut lost = 0;
        pair.filter = Box::new(move |_, frame| {
            let fin = read(frame).is_some_and(|seg| seg.flags & FIN != 0);
            lost += usize::from(fin);
            !(fin && lost <= 2)
        });
        let now = pair.now;
        pair.client().tcp_close(now, client);
        let mut buf = [0; 8];
        pair.run_until(Duration::from_secs(30), "end of stream", |pair| pair.server().tcp_recv(server, &mut buf) == Ok(0));
    }

    fn everything_can_be_reset_at_once(family) {
        let mut pair = Pair::new();
        let (client, server) = pair.establish(family);
        let now = pair.now;
        pair.server().reset_all(now);
        pair.run(Duration::from_millis(10));
        assert_eq!(pair.client().tcp_take_error(client), Some(Error::ConnectionReset));
        assert_eq!(pair.server().tcp_take_error(server), Some(Error::ConnectionAborted));
    }

    fn refusing_new_connections_keeps_the_old_ones(family) {
        let mut pair = Pair::new();
        let (client, server) = pair.establish(family);
        pair.server().refuse_new(true);
        let late = pair.connect(family);
        pair.run(Duration::from_millis(10));
        assert_eq!(pair.client().tcp_take_error(late), Some(Error::ConnectionRefused));
        pair.transfer(CLIENT, client, server, b"still here", Duration::from_secs(1));
        pair.server().refuse_new(false);
        let again = pair.connect(family);
        pair.run(Duration::from_millis(10));
        assert_eq!(pair.client().tcp_state(again), TcpState::Established);
    }

    fn a_listener_that_closes_resets_whom_nobody_accepted(family) {
        let mut pair = Pair::new();
        let listener = pair.listen(family);
        let client = pair.connect(family);
        pair.run(Duration::from_millis(10));
        assert_eq!(pair.client().tcp_state(client), TcpState::Established);
        pair.server().tcp_listener_close(listener);
        pair.run(Duration::from_millis(10));
        assert_eq!(pair.client().tcp_take_error(client), Some(Error::ConnectionReset));
        assert_eq!(pair.server().tcp_count(), 0);
        assert_eq!(pair.server().tcp_accept(listener), Err(Error::UnknownSocket));
        // The port is free again at once.
        pair.listen(family);
    }

    fn nodelay_and_ttl_are_kept(family) {
        let mut pair = Pair::new();
        let (client, _) = pair.establish(family);
        assert_eq!(pair.client().tcp_nodelay(client), Ok(false));
        pair.client().tcp_set_nodelay(client, true).unwrap();
        assert_eq!(pair.client().tcp_nodelay(client), Ok(true));
        assert_eq!(pair.client().tcp_ttl(client), Ok(64));
        pair.client().tcp_set_ttl(client, 3).unwrap();
        assert_eq!(pair.client().tcp_ttl(client), Ok(3));
        assert!(matches!(pair.client().tcp_set_ttl(client, 0), Err(Error::InvalidInput(_))));
    }

    fn crossing_syns_make_one_connection(family) {
        let mut pair = Pair::new();
        let (a, b) = (family.at(1, 700), family.at(2, 800));
        // Neighbours must be known, or one SYN waits for the other's ARP.
        let now = pair.now;
        pair.stacks[SERVER].add_neighbor(family.host(2), mac(2));
        pair.stacks[CLIENT].add_neighbor(family.host(1), mac(1));
        let one = pair.server().tcp_connect(now, Some(a), b).unwrap();
        let two = pair.client().tcp_connect(now, Some(b), a).unwrap();
        pair.run(Duration::from_secs(5));
        assert_eq!(pair.server().tcp_state(one), TcpState::Established);
        assert_eq!(pair.client().tcp_state(two), TcpState::Established);
        pair.transfer(SERVER, one, two, &pattern(10_000), Duration::from_secs(5));
        pair.transfer(CLIENT, two, one, &pattern(10_000), Duration::from_secs(5));
    }
}

#[test]
fn a_dual_stack_listener_takes_both_families() {
    let mut pair = Pair::new();
    let listener = pair
        .server()
        .tcp_listen(ListenOptions::new(Family::V6.any(PORT)))
        .unwrap();
    for family in [Family::V4, Family::V6] {
        pair.connect(family);
        pair.run(Duration::from_millis(10));
        let (_, peer) = pair.server().tcp_accept(listener).unwrap();
        assert_eq!(peer.ip(), family.host(2));
    }
    let taken = pair
        .server()
        .tcp_listen(ListenOptions::new(Family::V4.any(PORT)));
    assert_eq!(taken, Err(Error::AddrInUse));
}
