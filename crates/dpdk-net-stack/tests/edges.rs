//! What happens rarely, or only in crowds: queues that are full at the wrong moment, options nobody combines, segments
//! nobody sends but scanners.

mod common;

use core::net::IpAddr;

use common::*;
use dpdk_net_packet::{Protocol, checksum, ethernet, icmp, ipv4, ipv6, ndp, udp};
use dpdk_net_stack::{Duration, Error, Event, Keepalive, Readiness, TcpId, TcpState, UdpOptions};

both_families! {
    fn more_connections_to_ourselves_than_the_loop_holds_take_turns(family) {
        let mut config = config(1);
        config.limits.reply_queue = 16;
        let mut pair = Pair::with(config, common::config(2));
        let listener = pair.listen(family);
        let now = pair.now;
        let clients: Vec<TcpId> =
            (0..100).map(|_| pair.server().tcp_connect(now, None, family.at(1, PORT)).unwrap()).collect();
        pair.run(Duration::from_millis(50));
        for id in &clients {
            assert_eq!(pair.server().tcp_state(*id), TcpState::Established);
        }
        let accepted = std::iter::from_fn(|| pair.server().tcp_accept(listener).ok()).count();
        assert_eq!(accepted, 100);
    }

    fn keepalive_does_not_outlive_a_connection_in_time_wait(family) {
        let mut pair = Pair::new();
        let (client, server) = pair.establish(family);
        let times = Keepalive {
            idle: Duration::from_secs(2),
            interval: Duration::from_secs(1),
            count: 3,
        };
        pair.client().tcp_set_keepalive_times(client, times).unwrap();
        pair.client().tcp_shutdown_write(client).unwrap();
        pair.run(Duration::from_millis(10));
        pair.server().tcp_shutdown_write(server).unwrap();
        pair.run(Duration::from_millis(10));
        assert_eq!(pair.client().tcp_state(client), TcpState::TimeWait);
        let before = pair.client().stats().tcp.tx_segments;
        pair.run(Duration::from_secs(55));
        assert_eq!(pair.client().tcp_state(client), TcpState::TimeWait);
        assert_eq!(pair.client().stats().tcp.tx_segments, before);
        pair.run(Duration::from_secs(6));
        assert_eq!(pair.client().tcp_state(client), TcpState::Closed);
        assert_eq!(pair.client().tcp_take_error(client), None);
    }

    fn connecting_ends_by_its_own_timeout_however_short_the_patience_with_data_is(family) {
        let mut config = config(2);
        config.tcp.user_timeout = Duration::from_secs(2);
        config.tcp.connect_timeout = Duration::from_secs(10);
        let mut pair = Pair::with(common::config(1), config);
        pair.filter = Box::new(|_, frame| read(frame).is_none());
        let id = pair.connect(family);
        pair.run(Duration::from_secs(5));
        assert_eq!(pair.client().tcp_state(id), TcpState::SynSent);
        let next = pair.client().next_timeout().expect("a SYN has a deadline");
        assert!(next > pair.now, "nothing is due, again and again");
        pair.run(Duration::from_secs(6));
        assert_eq!(pair.client().tcp_take_error(id), Some(Error::TimedOut));
    }

    fn a_send_buffer_filled_to_the_last_byte_tells_when_there_is_room_again(family) {
        let mut config = config(2);
        config.tcp.send_buffer = 8_192;
        let mut pair = Pair::with(common::config(1), config);
        let (client, _) = pair.establish(family);
        pair.events[CLIENT].clear();
        assert_eq!(pair.client().tcp_send(client, &pattern(8_192)), Ok(8_192));
        // Who asks before sending is told to wait, so an event has to come.
        assert!(!pair.client().tcp_readiness(client).contains(Readiness::WRITABLE));
        pair.run(Duration::from_millis(50));
        assert!(pair.client().tcp_readiness(client).contains(Readiness::WRITABLE));
        let woken = |e: &Event| matches!(e, Event::Tcp(id, ready) if *id == client && ready.contains(Readiness::WRITABLE));
        assert!(pair.events[CLIENT].iter().any(woken));
    }

    fn the_end_of_both_directions_is_told_as_closed(family) {
        let mut pair = Pair::new();
        let (client, server) = pair.establish(family);
        pair.client().tcp_shutdown_write(client).unwrap();
        pair.run(Duration::from_millis(10));
        pair.events[CLIENT].clear();
        pair.server().tcp_shutdown_write(server).unwrap();
        pair.run(Duration::from_millis(10));
        assert_eq!(pair.client().tcp_state(client), TcpState::TimeWait);
        let closed = |e: &Event| matches!(e, Event::Tcp(id, ready) if *id == client && ready.contains(Readiness::CLOSED));
        assert!(pair.events[CLIENT].iter().any(closed));
    }

    fn clients_beyond_the_syn_queue_connect_all_the_same(family) {
        let mut config = config(1);
        config.tcp.syn_queue = 4;
        let mut hand = Hand::with(family, config);
        let listener = hand.listen();
        // All SYNs come before the first ACK, as when a load generator starts.
        let mut waiting = Vec::new();
        for n in 0..300 {
            (hand.port, hand.seq) = (9_000 + n, 1_000_000);
            hand.half_open();
            waiting.push((hand.port, hand.seq, hand.ack));
        }
        assert_eq!(hand.stack.tcp_half_open(), 4);
        assert_eq!(hand.stack.stats().tcp.syn_cookies_sent, 296);
        for (port, seq, ack) in &waiting {
            (hand.port, hand.seq, hand.ack) = (*port, *seq, *ack);
            assert_eq!(hand.give(&hand.seg(ACK, b"hello")), [], "no RST");
        }
        for (port, _, _) in waiting {
            let (id, peer) = hand.stack.tcp_accept(listener).unwrap();
            assert_eq!(peer.port(), port);
            assert_eq!(hand.stack.tcp_recv(id, &mut [0; 8]), Ok(5));
            assert_eq!(hand.stack.tcp_send(id, b"hi"), Ok(2));
        }
        assert_eq!(hand.out().iter().filter(|seg| seg.payload == b"hi").count(), 300);
        // A guess is reset.
        hand.port = 20_000;
        let answers = hand.give(&hand.seg(ACK, b"hello"));
        assert!(answers.len() == 1 && answers[0].flags & RST != 0, "{answers:?}");
    }

    fn a_cookie_whose_ack_meets_a_full_accept_queue_is_good_when_there_is_room(family) {
        let mut config = config(1);
        config.tcp.syn_queue = 1;
        let mut hand = Hand::with(family, config);
        let mut options = dpdk_net_stack::ListenOptions::new(family.any(PORT));
        options.backlog = 0;
        let listener = hand.stack.tcp_listen(options).unwrap();
        hand.half_open();
        let first = (hand.port, hand.seq, hand.ack);
        (hand.port, hand.seq) = (6_000, 77);
        hand.half_open();
        let second = (hand.port, hand.seq, hand.ack);
        (hand.port, hand.seq, hand.ack) = first;
        hand.give(&hand.seg(ACK, &[]));
        (hand.port, hand.seq, hand.ack) = second;
        assert_eq!(hand.give(&hand.seg(ACK, b"data")), []);
        assert_eq!(hand.stack.tcp_accept(listener).unwrap().1.port(), 5_000);
        hand.give(&hand.seg(ACK, b"data"));
        let (id, peer) = hand.stack.tcp_accept(listener).unwrap();
        assert_eq!(peer.port(), 6_000);
        assert_eq!(hand.stack.tcp_recv(id, &mut [0; 8]), Ok(4));
    }

    fn who_listens_drops_what_is_neither_syn_nor_ack(family) {
        let mut hand = Hand::new(family);
        hand.listen();
        for flags in [0, FIN, PSH, FIN | PSH, SYN | FIN, RST] {
            assert_eq!(hand.give(&hand.seg(flags, &[])), [], "{flags:#x}");
        }
        let answers = hand.give(&hand.seg(ACK, &[]));
        assert!(answers.len() == 1 && answers[0].flags == RST, "{answers:?}");
        // Where nobody listens, the answer is a RST (RFC 9293 section 3.10.7.1).
        for flags in [0, FIN, SYN | FIN, SYN] {
            let mut probe = hand.seg(flags, &[]);
            probe.to = PORT + 1;
            let answers = hand.give(&probe);
            assert!(answers.len() == 1 && answers[0].flags == RST | ACK, "{flags:#x}: {answers:?}");
        }
    }

    fn a_datagram_of_64_kib_reaches_a_neighbour_that_was_not_known(family) {
        let mut pair = Pair::new();
        let local = family.any(7_000);
        let to = pair.server().udp_bind(UdpOptions::new(local)).unwrap();
        let from = pair.client().udp_bind(UdpOptions::new(family.any(0))).unwrap();
        let (now, data) = (pair.now, pattern(65_507));
        pair.client().udp_send(now, from, &data, Some(family.at(1, 7_000))).unwrap();
        pair.run(Duration::from_millis(100));
        let mut buf = vec![0; 70_000];
        let received = pair.server().udp_recv(to, &mut buf).expect("no fragment was pushed out");
        assert!(buf[..received.len] == data);
    }

    fn odd_options_do_not_cost_their_segment(family) {
        let (mut hand, id) = accepted(family);
        for options in [[9, 0, 1, 1], [2, 3, 1, 1], [1, 1, 1, 8], [3, 200, 1, 1], [5, 4, 1, 1]] {
            let mut whole = frame(family, 2, 1, &hand.seg(ACK | PSH, b"....data"));
            // The first four bytes of data become options.
            let tcp = whole.len() - 28;
            whole[tcp + 12] = 6 << 4;
            whole[tcp + 20..tcp + 24].copy_from_slice(&options);
            checksum::fill_tcp(family.host(2), family.host(1), &mut whole[tcp..]);
            hand.stack.ingest(hand.now, &[whole]);
            let mut buf = [0; 8];
            assert_eq!(hand.stack.tcp_recv(id, &mut buf), Ok(4), "{options:?}");
            assert_eq!(&buf[..4], b"data");
            hand.seq = hand.seq.wrapping_add(4);
        }
    }

    fn crossing_syns_connect_as_soon_as_the_answer_is_there(family) {
        let mut hand = Hand::new(family);
        let (local, remote) = (family.at(1, PORT), family.at(2, hand.port));
        let id = hand.stack.tcp_connect(hand.now, Some(local), remote).unwrap();
        let syn = hand.out().pop().unwrap();
        hand.ack = syn.seq.wrapping_add(1);
        let answer = hand.give(&hand.syn()).pop().unwrap();
        assert_eq!((answer.flags, answer.seq), (SYN | ACK, syn.seq));
        assert_eq!(hand.stack.tcp_state(id), TcpState::SynReceived);
        hand.give(&hand.seg(SYN | ACK, &[]));
        assert_eq!(hand.stack.tcp_state(id), TcpState::Established);
        assert!(hand.stack.tcp_readiness(id).contains(Readiness::CONNECTED));
        hand.seq = hand.seq.wrapping_add(1);
        hand.give(&hand.seg(ACK | PSH, b"data"));
        assert_eq!(hand.stack.tcp_recv(id, &mut [0; 8]), Ok(4));
        assert_eq!(hand.stack.tcp_send(id, b"more"), Ok(4));
        assert_eq!(hand.out().iter().filter(|seg| seg.payload == b"more").count(), 1);
    }

    fn sixty_thousand_connections_to_one_peer_find_a_port(family) {
        let mut config = config(2);
        config.tcp.recv_buffer = 2_048;
        config.tcp.send_buffer = 2_048;
        let mut pair = Pair::with(common::config(1), config);
        let now = pair.now;
        for _ in 0..60_000 {
            pair.client().tcp_connect(now, None, family.at(1, PORT)).unwrap();
        }
        assert_eq!(pair.client().tcp_count(), 60_000);
    }
}

#[test]
fn a_packet_in_pieces_of_eight_bytes_becomes_whole() {
    let mut hand = Hand::new(Family::V4);
    let socket = hand
        .stack
        .udp_bind(UdpOptions::new(Family::V4.any(7_000)))
        .unwrap();
    let data = pattern(8_000);
    let mut datagram = vec![0; udp::HEADER_LEN];
    datagram.extend(&data);
    udp::write_header(&mut datagram, 9_000, 7_000, data.len());
    let (IpAddr::V4(src), IpAddr::V4(dst)) = (Family::V4.host(2), Family::V4.host(1)) else {
        unreachable!()
    };
    checksum::fill_udp(src.into(), dst.into(), &mut datagram);
    let pieces = datagram.chunks(8).enumerate().map(|(n, piece)| {
        let header = ipv4::Header {
            id: 77,
            dont_fragment: false,
            more_fragments: (n + 1) * 8 < datagram.len(),
            fragment_offset: n as u16 * 8,
            ..ipv4::Header::new(src, dst, Protocol::Udp, piece.len())
        };
        let mut packet = vec![0; ipv4::HEADER_LEN];
        header.write(&mut packet);
        packet.extend(piece);
        in_frame(ethernet::TYPE_IPV4, &packet)
    });
    let pieces: Vec<_> = pieces.collect();
    hand.stack.ingest(hand.now, &pieces);
    let mut buf = vec![0; 10_000];
    let received = hand.stack.udp_recv(socket, &mut buf).unwrap();
    assert!(buf[..received.len] == data);
}

#[test]
fn an_accepted_connection_knows_the_path_that_an_earlier_one_has_found() {
    let mut hand = Hand::new(Family::V4);
    let listener = hand.listen();
    let first = hand.establish(listener);
    hand.stack.tcp_send(first, &pattern(1_400)).unwrap();
    let mut frames: Vec<Vec<u8>> = Vec::new();
    hand.stack.poll_transmit(hand.now, &mut frames);
    let quoted = &frames[0][ethernet::HEADER_LEN..ethernet::HEADER_LEN + 28];
    let (IpAddr::V4(src), IpAddr::V4(dst)) = (Family::V4.host(2), Family::V4.host(1)) else {
        unreachable!()
    };
    let mut message = vec![0; icmp::HEADER_LEN];
    icmp::write_header(
        &mut message,
        icmp::v4::UNREACHABLE,
        icmp::v4::CODE_FRAGMENTATION_NEEDED,
        1_000,
    );
    message.extend(quoted);
    let sum = checksum::data(&message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut packet = vec![0; ipv4::HEADER_LEN];
    ipv4::Header::new(src, dst, Protocol::Icmp, message.len()).write(&mut packet);
    packet.extend(message);
    hand.stack
        .ingest(hand.now, &[in_frame(ethernet::TYPE_IPV4, &packet)]);
    hand.out();
    (hand.port, hand.seq) = (6_000, 50_000);
    let second = hand.establish(listener);
    hand.stack.tcp_send(second, &pattern(5_000)).unwrap();
    let sent = hand.out();
    assert!(!sent.is_empty());
    assert!(sent.iter().all(|seg| seg.payload.len() <= 960), "{sent:?}");
}

#[test]
fn neighbour_discovery_in_fragments_is_not_heard() {
    let mut hand = Hand::new(Family::V6);
    let (IpAddr::V6(src), IpAddr::V6(dst)) = (Family::V6.host(2), Family::V6.host(1)) else {
        unreachable!()
    };
    let mut message = [0; 64];
    let len = ndp::write_solicitation(&mut message, dst, Some(mac(2)));
    let message = &mut message[..len];
    checksum::fill_icmpv6(src, dst, message);
    let packet = |header: &[u8], next: u8, payload: &[u8]| {
        let mut packet = vec![0; ipv6::HEADER_LEN];
        let len = header.len() + payload.len();
        ipv6::Header {
            hop_limit: 255,
            next_header: next,
            ..ipv6::Header::new(src, dst, Protocol::Icmpv6, len)
        }
        .write(&mut packet);
        packet.extend(header);
        packet.extend(payload);
        in_frame(ethernet::TYPE_IPV6, &packet)
    };
    let replies = |hand: &mut Hand, frames: &[Vec<u8>]| {
        let mut out: Vec<Vec<u8>> = Vec::new();
        hand.stack.ingest(hand.now, frames);
        hand.stack.poll_transmit(hand.now, &mut out);
        out.len()
    };
    let pieces: Vec<_> = [(0, 24, true), (24, len, false)]
        .into_iter()
        .map(|(start, end, more)| {
            let mut header = [0; ipv6::FRAGMENT_HEADER_LEN];
            ipv6::write_fragment_header(&mut header, 58, start as u16, more, 5);
            packet(&header, ipv6::NEXT_FRAGMENT, &message[start..end])
        })
        .collect();
    assert_eq!(replies(&mut hand, &pieces), 0);
    assert_eq!(
        replies(&mut hand, &[packet(&[], 58, message)]),
        1,
        "whole it is answered"
    );
}

fn in_frame(ether_type: u16, packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; ethernet::HEADER_LEN];
    ethernet::write_header(&mut frame, mac(1), mac(2), ether_type);
    frame.extend(packet);
    frame
}
