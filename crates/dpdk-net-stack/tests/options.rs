//! Socket options: what each does on the wire or to the connection, and the values that are refused. `TCP_INFO`.

mod common;

use common::*;
use dpdk_net_packet::{Network, parse};
use dpdk_net_stack::{
    CaState, CongestionAlgorithm, Duration, Error, Keepalive, ListenOptions, TcpOption, TcpOptions,
    TcpState,
};

/// Options made of these.
fn options(chosen: &[TcpOption]) -> TcpOptions {
    let mut options = TcpOptions::default();
    for option in chosen {
        options.set(*option).unwrap();
    }
    options
}

fn listen_with(hand: &mut Hand, chosen: &[TcpOption]) -> dpdk_net_stack::ListenerId {
    let mut listen = ListenOptions::new(hand.family.any(PORT));
    listen.options = options(chosen);
    hand.stack.tcp_listen(listen).unwrap()
}

/// Time to live and traffic class of what the stack sends now.
fn headers(hand: &mut Hand) -> Vec<(u8, u8)> {
    let mut frames: Vec<Vec<u8>> = Vec::new();
    hand.stack.poll_transmit(hand.now, &mut frames);
    let of = |frame: &Vec<u8>| match parse(frame).unwrap().network {
        Network::Ip(ip, _) => Some((ip.hop_limit(), ip.traffic_class())),
        _ => None,
    };
    frames.iter().filter_map(of).collect()
}

#[test]
fn values_that_cannot_work_are_refused_before_and_after_the_connection_is_made() {
    let zero = Keepalive {
        idle: Duration::ZERO,
        ..Keepalive::default()
    };
    let long = Keepalive {
        interval: Duration::from_secs(40_000),
        ..Keepalive::default()
    };
    let bad = [
        TcpOption::Ttl(0),
        TcpOption::Keepalive(Some(zero)),
        TcpOption::Keepalive(Some(long)),
        TcpOption::UserTimeout(Some(Duration::ZERO)),
        TcpOption::RecvBuffer(0),
        TcpOption::RecvBuffer(1 << 30),
        TcpOption::SendBuffer(0),
        TcpOption::SendBuffer(u32::MAX),
        TcpOption::MaxSegment(87),
        TcpOption::MaxSegment(32_768),
        TcpOption::MaxPacingRate(Some(0)),
        TcpOption::NotsentLowat(Some(0)),
    ];
    let mut hand = Hand::new(Family::V4);
    let id = hand.connect();
    let before = hand.stack.tcp_options(id).unwrap();
    for option in bad {
        let refused = |result: Result<(), Error>| matches!(result, Err(Error::InvalidInput(_)));
        assert!(refused(TcpOptions::default().set(option)), "{option:?}");
        assert!(refused(hand.stack.tcp_set_option(id, option)), "{option:?}");
    }
    assert_eq!(hand.stack.tcp_options(id).unwrap(), before);
    // Nor do values get in that were put into the public fields.
    let mut smuggled = TcpOptions::default();
    smuggled.max_segment = Some(1);
    let mut listen = ListenOptions::new(Family::V4.any(81));
    listen.options = smuggled;
    assert!(matches!(
        hand.stack.tcp_listen(listen),
        Err(Error::InvalidInput(_))
    ));
    let remote = Family::V4.at(2, 9);
    let connect = hand
        .stack
        .tcp_connect_with(hand.now, None, remote, &smuggled);
    assert!(matches!(connect, Err(Error::InvalidInput(_))));
}

both_families! {
    fn a_listener_s_options_are_in_its_syn_ack_and_its_connections(family) {
        let mut hand = Hand::new(family);
        hand.wscale = Some(7);
        let listener = listen_with(&mut hand, &[
            TcpOption::RecvBuffer(8_192),
            TcpOption::MaxSegment(900),
            TcpOption::SendBuffer(3_000),
            TcpOption::Congestion(CongestionAlgorithm::Bbr),
            TcpOption::NoDelay(true),
            TcpOption::UserTimeout(Some(Duration::from_secs(7))),
        ]);
        let answer = hand.half_open();
        assert_eq!((answer.window, answer.wscale, answer.mss), (8_192, Some(0), Some(900)));
        hand.give(&hand.seg(ACK, &[]));
        let (id, _) = hand.stack.tcp_accept(listener).unwrap();
        let options = hand.stack.tcp_options(id).unwrap();
        assert_eq!(options.congestion, Some(CongestionAlgorithm::Bbr));
        assert_eq!((options.recv_buffer, options.send_buffer), (Some(8_192), Some(3_000)));
        assert_eq!((options.nodelay, options.user_timeout), (Some(true), Some(Duration::from_secs(7))));
        assert_eq!(hand.stack.tcp_send(id, &[1; 10_000]), Ok(3_000), "the send buffer bounds a write");
        let sent = hand.out();
        assert_eq!(sent[0].payload.len(), 900, "the largest segment bounds what is sent");
        assert_eq!(hand.stack.tcp_info(id).unwrap().congestion, CongestionAlgorithm::Bbr);
    }

    fn an_option_that_a_listener_is_given_later_is_of_connections_from_then_on(family) {
        let mut hand = Hand::new(family);
        let listener = hand.listen();
        let before = hand.establish(listener);
        hand.stack.tcp_listener_set_option(listener, TcpOption::MaxSegment(900)).unwrap();
        hand.stack.tcp_listener_set_option(listener, TcpOption::NoDelay(true)).unwrap();
        hand.port += 1;
        assert_eq!(hand.half_open().mss, Some(900));
        hand.give(&hand.seg(ACK, &[]));
        let (after, _) = hand.stack.tcp_accept(listener).unwrap();
        let options = |id| hand.stack.tcp_options(id).unwrap();
        assert_eq!((options(before).nodelay, options(before).max_segment), (Some(false), Some(1_400)));
        assert_eq!((options(after).nodelay, options(after).max_segment), (Some(true), Some(900)));
        let bad = hand.stack.tcp_listener_set_option(listener, TcpOption::MaxSegment(1));
        assert!(matches!(bad, Err(Error::InvalidInput(_))));
        hand.stack.tcp_listener_close(listener);
        let gone = hand.stack.tcp_listener_set_option(listener, TcpOption::NoDelay(true));
        assert_eq!(gone, Err(Error::UnknownSocket));
    }

    fn options_given_to_connect_are_in_the_syn(family) {
        let mut hand = Hand::new(family);
        let chosen = options(&[
            TcpOption::RecvBuffer(1 << 20),
            TcpOption::MaxSegment(700),
            TcpOption::Ttl(9),
            TcpOption::Tos(0xb8 | 3),
        ]);
        let remote = hand.family.at(2, 9_999);
        hand.stack.tcp_connect_with(hand.now, None, remote, &chosen).unwrap();
        let mut frames: Vec<Vec<u8>> = Vec::new();
        hand.stack.poll_transmit(hand.now, &mut frames);
        let syn = read(&frames[0]).unwrap();
        assert_eq!((syn.window, syn.wscale, syn.mss), (65_535, Some(5), Some(700)));
        let Network::Ip(ip, _) = parse(&frames[0]).unwrap().network else { panic!("no IP") };
        assert_eq!((ip.hop_limit(), ip.traffic_class()), (9, 0xb8), "DSCP without ECN's bits");
    }

    fn ttl_and_traffic_class_are_in_every_segment_from_when_they_are_set(family) {
        let mut hand = Hand::new(family);
        let id = hand.connect();
        hand.stack.tcp_set_option(id, TcpOption::Ttl(33)).unwrap();
        hand.stack.tcp_set_option(id, TcpOption::Tos(0xff)).unwrap();
        assert_eq!(hand.stack.tcp_options(id).unwrap().tos, 0xfc);
        hand.stack.tcp_send(id, b"data").unwrap();
        assert_eq!(headers(&mut hand), [(33, 0xfc)]);
        // An ACK without data too.
        hand.stack.ingest(hand.now, &[frame(family, 2, 1, &hand.seg(ACK | FIN, &[]))]);
        assert_eq!(headers(&mut hand), [(33, 0xfc)]);
    }

    fn the_traffic_class_and_congestion_notification_share_a_byte_and_not_their_bits(family) {
        let mut hand = Hand::new(family);
        let listener = hand.listen();
        // The peer asks for ECN, and is told that it may.
        let answers = hand.give(&Seg { flags: SYN | ECE | CWR, ..hand.syn() });
        assert_eq!(answers[0].flags, SYN | ACK | ECE);
        hand.seq += 1;
        hand.ack = answers[0].seq.wrapping_add(1);
        hand.give(&hand.seg(ACK, &[]));
        let (id, _) = hand.stack.tcp_accept(listener).unwrap();
        assert!(hand.stack.tcp_info(id).unwrap().ecn);
        for (tos, class) in [(0xff, 0xfc), (0x03, 0), (0xb8, 0xb8)] {
            hand.stack.tcp_set_option(id, TcpOption::Tos(tos)).unwrap();
            assert_eq!(hand.stack.tcp_options(id).unwrap().tos, class);
            hand.stack.tcp_send(id, b"data").unwrap();
            // ECT(0) beside the service that was chosen; an ACK alone is never marked (RFC 3168 section 6.1.4).
            assert_eq!(headers(&mut hand), [(64, class | 2)]);
            hand.acknowledge(4);
            hand.seq += 1;
            let mut ahead = hand.seg(ACK, b"x");
            ahead.seq += 10;
            hand.stack.ingest(hand.now, &[frame(family, 2, 1, &ahead)]);
            assert_eq!(headers(&mut hand), [(64, class)]);
            hand.seq -= 1;
        }
    }

    fn ecn_is_refused_where_it_is_switched_off(family) {
        let mut config = config(1);
        config.tcp.ecn = dpdk_net_stack::Ecn::Off;
        let mut hand = Hand::with(family, config);
        hand.listen();
        let answers = hand.give(&Seg { flags: SYN | ECE | CWR, ..hand.syn() });
        assert_eq!(answers[0].flags, SYN | ACK);
        let (_, syn) = { hand.port += 1; hand.start_connect() };
        assert_eq!(syn.flags, SYN);
    }

    fn quickack_acknowledges_each_segment_at_once_and_what_waits(family) {
        let mut hand = Hand::new(family);
        let id = hand.connect();
        hand.send(ACK | PSH, b"first");
        hand.pass(Duration::from_secs(1));
        assert_eq!(hand.send(ACK | PSH, b"waits"), []);
        hand.stack.tcp_set_option(id, TcpOption::QuickAck(true)).unwrap();
        assert_eq!(hand.out().len(), 1, "what waited");
        assert_eq!(hand.send(ACK | PSH, b"at once").len(), 1);
        hand.stack.tcp_set_option(id, TcpOption::QuickAck(false)).unwrap();
        hand.out();
        assert_eq!(hand.send(ACK | PSH, b"waits again"), []);
    }

    fn a_user_timeout_ends_a_connection_whose_peer_is_silent(family) {
        let mut hand = Hand::new(family);
        let id = hand.connect();
        hand.stack.tcp_set_option(id, TcpOption::UserTimeout(Some(Duration::from_secs(3)))).unwrap();
        hand.stack.tcp_send(id, b"unanswered").unwrap();
        hand.pass(Duration::from_millis(2_900));
        assert_eq!(hand.stack.tcp_state(id), TcpState::Established);
        hand.pass(Duration::from_millis(300));
        assert_eq!(hand.stack.tcp_state(id), TcpState::Closed);
        assert_eq!(hand.stack.tcp_take_error(id), Some(Error::TimedOut));
    }

    fn a_user_timeout_counts_from_when_the_oldest_byte_was_sent_whatever_else_is_heard(family) {
        let mut config = config(1);
        // Nothing is sent again meanwhile.
        config.tcp.min_rto = Duration::from_secs(10);
        let mut hand = Hand::with(family, config);
        let id = hand.connect();
        hand.stack.tcp_set_option(id, TcpOption::UserTimeout(Some(Duration::from_secs(3)))).unwrap();
        hand.pass(Duration::from_secs(100));
        let (begin, half) = (hand.now, Duration::from_millis(500));
        hand.stack.tcp_send(id, &[1; 1_000]).unwrap();
        hand.pass(2 * half);
        hand.stack.tcp_send(id, &[2; 1_400]).unwrap();
        hand.pass(2 * half);
        // Two seconds after it was sent, so the rest counts, which was sent a second later.
        hand.acknowledge(1_000);
        while hand.stack.tcp_state(id) == TcpState::Established {
            assert!(hand.now < begin + Duration::from_secs(60), "it lives for ever");
            // Data, and an ACK that acknowledges nothing.
            hand.send(ACK | PSH, b"still here");
            hand.give(&hand.seg(ACK, &[]));
            hand.pass(half);
        }
        assert_eq!(hand.now - begin, 9 * half, "from 1 s on, and found out at the next half second");
        assert_eq!(hand.stack.tcp_take_error(id), Some(Error::TimedOut));
    }

    fn a_closed_window_is_waited_for_as_long_as_the_peer_answers(family) {
        let mut hand = Hand::new(family);
        let id = hand.connect();
        hand.stack.tcp_set_option(id, TcpOption::UserTimeout(Some(Duration::from_secs(3)))).unwrap();
        hand.window = 0;
        hand.give(&hand.seg(ACK, &[]));
        hand.stack.tcp_send(id, b"not yet").unwrap();
        let mut probes = 0;
        for _ in 0..200 {
            let asked = hand.pass(Duration::from_millis(500));
            probes += asked.len();
            for _ in asked {
                hand.give(&hand.seg(ACK, &[]));
            }
        }
        assert_eq!(hand.stack.tcp_state(id), TcpState::Established, "{probes} probes");
        hand.pass(Duration::from_secs(70));
        assert_eq!(hand.stack.tcp_take_error(id), Some(Error::TimedOut), "the peer is silent");
    }

    fn a_user_timeout_decides_over_keep_alive_probes(family) {
        let mut hand = Hand::new(family);
        let id = hand.connect();
        let times = Keepalive { idle: Duration::from_secs(1), interval: Duration::from_secs(1), count: 2 };
        hand.stack.tcp_set_option(id, TcpOption::Keepalive(Some(times))).unwrap();
        hand.stack.tcp_set_option(id, TcpOption::UserTimeout(Some(Duration::from_secs(10)))).unwrap();
        let probes = hand.pass(Duration::from_secs(9)).len();
        assert!(probes > 2, "{probes} probes");
        assert_eq!(hand.stack.tcp_info(id).unwrap().probes as usize, probes);
        assert_eq!(hand.stack.tcp_state(id), TcpState::Established);
        hand.pass(Duration::from_secs(3));
        assert_eq!(hand.stack.tcp_take_error(id), Some(Error::TimedOut));
    }

    fn keep_alive_probes_as_it_is_told(family) {
        let mut hand = Hand::new(family);
        let id = hand.connect();
        let times = Keepalive { idle: Duration::from_secs(5), interval: Duration::from_secs(2), count: 3 };
        hand.stack.tcp_set_option(id, TcpOption::Keepalive(Some(times))).unwrap();
        assert_eq!(hand.stack.tcp_options(id).unwrap().keepalive, Some(times));
        assert_eq!(hand.pass(Duration::from_millis(4_900)), []);
        let probes = hand.pass(Duration::from_millis(200));
        assert_eq!(probes.len(), 1);
        assert_eq!(probes[0].seq, hand.ack.wrapping_sub(1), "RFC 1122 section 4.2.3.6");
        let rest = hand.pass(Duration::from_secs(7));
        assert_eq!(rest.iter().filter(|seg| seg.flags & RST == 0).count(), 2);
        assert_eq!(hand.stack.tcp_take_error(id), Some(Error::TimedOut));
    }

    fn a_smaller_largest_segment_holds_from_when_it_is_set(family) {
        let mut hand = Hand::new(family);
        let id = hand.connect();
        hand.stack.tcp_set_option(id, TcpOption::MaxSegment(500)).unwrap();
        hand.stack.tcp_send(id, &[0; 2_000]).unwrap();
        let sizes: Vec<usize> = hand.out().iter().map(|seg| seg.payload.len()).collect();
        assert_eq!(sizes, [500; 4]);
        assert_eq!(hand.stack.tcp_options(id).unwrap().max_segment, Some(500));
    }

    fn another_congestion_control_takes_over_with_the_window_there_is(family) {
        let mut pair = Pair::new();
        let (client, server) = pair.establish(family);
        pair.transfer(CLIENT, client, server, &pattern(200_000), Duration::from_secs(10));
        let before = pair.client().tcp_info(client).unwrap();
        assert_eq!(before.congestion, CongestionAlgorithm::Cubic);
        pair.client().tcp_set_option(client, TcpOption::Congestion(CongestionAlgorithm::NewReno)).unwrap();
        let after = pair.client().tcp_info(client).unwrap();
        assert_eq!((after.congestion, after.snd_cwnd), (CongestionAlgorithm::NewReno, before.snd_cwnd));
        pair.client().tcp_set_option(client, TcpOption::Congestion(CongestionAlgorithm::Bbr)).unwrap();
        pair.transfer(CLIENT, client, server, &pattern(200_000), Duration::from_secs(10));
        let bbr = pair.client().tcp_info(client).unwrap();
        assert_eq!(bbr.congestion, CongestionAlgorithm::Bbr);
        assert!(bbr.pacing_rate.is_some(), "BBR paces");
    }

    fn a_pacing_rate_bounds_what_leaves_for_every_congestion_control(family) {
        for algorithm in [CongestionAlgorithm::Cubic, CongestionAlgorithm::NewReno, CongestionAlgorithm::Bbr] {
            let mut pair = Pair::new();
            let (client, server) = pair.establish(family);
            let stack = pair.client();
            stack.tcp_set_option(client, TcpOption::Congestion(algorithm)).unwrap();
            stack.tcp_set_option(client, TcpOption::MaxPacingRate(Some(1_000_000))).unwrap();
            let start = pair.now;
            pair.transfer(CLIENT, client, server, &pattern(500_000), Duration::from_secs(10));
            let took = pair.now - start;
            assert!(took >= Duration::from_millis(480), "{algorithm}: {took:?}");
            assert!(took <= Duration::from_millis(800), "{algorithm}: {took:?}");
            let info = pair.client().tcp_info(client).unwrap();
            assert!(info.pacing_rate.is_some_and(|rate| rate <= 1_000_000));
            assert_eq!(info.max_pacing_rate, Some(1_000_000));
            // Lifted, nothing holds it back.
            pair.client().tcp_set_option(client, TcpOption::MaxPacingRate(None)).unwrap();
            let start = pair.now;
            pair.transfer(CLIENT, client, server, &pattern(500_000), Duration::from_secs(10));
            assert!(pair.now - start < Duration::from_millis(100), "{algorithm}: {:?}", pair.now - start);
        }
    }

    fn unsent_bytes_are_bounded_by_the_low_water_mark(family) {
        let mut hand = Hand::new(family);
        hand.window = 2_000;
        let id = hand.connect();
        hand.stack.tcp_set_option(id, TcpOption::NotsentLowat(Some(4_000))).unwrap();
        assert_eq!(hand.stack.tcp_send(id, &[0; 10_000]), Ok(4_000));
        hand.out();
        let unsent = hand.stack.tcp_info(id).unwrap().notsent_bytes;
        assert!(unsent < 4_000 && unsent > 0, "{unsent}");
        assert_eq!(hand.stack.tcp_send(id, &[0; 10_000]), Ok(4_000 - unsent as usize));
        assert_eq!(hand.stack.tcp_send(id, &[0; 10_000]), Err(Error::WouldBlock));
        while hand.stack.poll_event().is_some() {}
        hand.window = 60_000;
        hand.acknowledge(4_000 - unsent);
        hand.acknowledge(4_000);
        let mut writable = false;
        while let Some(event) = hand.stack.poll_event() {
            writable |= matches!(event, dpdk_net_stack::Event::Tcp(_, ready)
                if ready.contains(dpdk_net_stack::Readiness::WRITABLE));
        }
        assert!(writable, "a writer is woken");
    }

    fn a_larger_receive_buffer_opens_the_window(family) {
        let mut hand = Hand::new(family);
        hand.wscale = Some(0);
        let id = hand.connect();
        hand.stack.tcp_set_option(id, TcpOption::RecvBuffer(500_000)).unwrap();
        hand.send(ACK, &[0; 1_000]);
        hand.send(ACK, &[0; 1_000]);
        hand.pass(Duration::from_millis(100));
        let info = hand.stack.tcp_info(id).unwrap();
        assert!(info.rcv_wnd > 400_000, "{}", info.rcv_wnd);
        // A smaller one takes back nothing that was offered.
        hand.stack.tcp_set_option(id, TcpOption::RecvBuffer(2_048)).unwrap();
        hand.pass(Duration::from_millis(100));
        assert!(hand.stack.tcp_info(id).unwrap().rcv_wnd >= info.rcv_wnd);
    }

    fn a_port_in_time_wait_is_taken_again_with_reuseaddr_and_newer_timestamps(family) {
        let mut pair = Pair::new();
        let listener = pair.listen(family);
        let local = family.at(2, 4_444);
        let reuse = options(&[TcpOption::ReuseAddr(true)]);
        let connect = |pair: &mut Pair, options: &TcpOptions| {
            let now = pair.now;
            pair.client().tcp_connect_with(now, Some(local), family.at(1, PORT), options)
        };
        let client = connect(&mut pair, &reuse).unwrap();
        pair.run(Duration::from_millis(10));
        let (server, _) = pair.server().tcp_accept(listener).unwrap();
        let now = pair.now;
        pair.client().tcp_close(now, client);
        pair.run(Duration::from_millis(10));
        pair.server().tcp_close(now, server);
        pair.run(Duration::from_millis(100));
        assert_eq!(pair.client().tcp_time_waits(), 1);
        assert_eq!(connect(&mut pair, &reuse), Err(Error::AddrInUse), "too soon to be told apart");
        pair.run(Duration::from_millis(1_000));
        assert_eq!(connect(&mut pair, &TcpOptions::default()), Err(Error::AddrInUse));
        let client = connect(&mut pair, &reuse).unwrap();
        assert_eq!(pair.client().tcp_time_waits(), 0);
        pair.run(Duration::from_millis(10));
        let (server, peer) = pair.server().tcp_accept(listener).unwrap();
        assert_eq!(peer, local);
        pair.transfer(CLIENT, client, server, &pattern(100_000), Duration::from_secs(5));
    }

    fn tcp_info_tells_what_was_sent_received_and_repeated(family) {
        let mut pair = Pair::new();
        let (client, server) = pair.establish(family);
        let mut n = 0;
        pair.filter = Box::new(move |to, frame| {
            // The 10th full segment to the server is lost.
            n += u32::from(to == SERVER && frame.len() > 1_000);
            !(to == SERVER && frame.len() > 1_000 && n == 10)
        });
        pair.transfer(CLIENT, client, server, &pattern(300_000), Duration::from_secs(10));
        pair.run(Duration::from_millis(100));
        let sent = pair.client().tcp_info(client).unwrap();
        let got = pair.server().tcp_info(server).unwrap();
        assert_eq!((sent.bytes_acked, got.bytes_received), (300_000, 300_000));
        assert_eq!(sent.bytes_sent, 300_000 + sent.bytes_retrans);
        assert!(sent.total_retrans >= 1 && sent.bytes_retrans >= 1_000, "{sent:?}");
        assert_eq!((sent.unacked, sent.notsent_bytes, sent.send_queue, sent.retrans), (0, 0, 0, 0));
        assert!(sent.rtt >= Duration::from_micros(90) && sent.rtt < Duration::from_millis(60), "{:?}", sent.rtt);
        assert!(sent.min_rtt <= sent.rtt && sent.min_rtt >= Duration::from_micros(90));
        assert!(sent.rto >= sent.rtt);
        assert!(sent.timestamps && sent.sack && !sent.ecn);
        assert_eq!((sent.ca_state, sent.state), (CaState::Open, TcpState::Established));
        assert!(sent.snd_ssthresh.is_some(), "the loss has set it");
        assert!(sent.delivery_rate.is_some() && sent.busy_time > Duration::ZERO);
        assert!(sent.segs_out >= sent.data_segs_out && sent.data_segs_out > 200);
        assert!(got.segs_in + 1 >= sent.segs_out - sent.total_retrans, "{} {}", got.segs_in, sent.segs_out);
        let stats = pair.client().stats().tcp;
        assert_eq!(stats.retransmits, u64::from(sent.total_retrans));
    }

    fn tcp_info_tells_of_what_is_under_way(family) {
        let mut hand = Hand::new(family);
        hand.sack_ok = true;
        let id = hand.connect();
        hand.stack.tcp_send(id, &[0; 7_000]).unwrap();
        assert_eq!(hand.out().len(), 5);
        let info = hand.stack.tcp_info(id).unwrap();
        assert_eq!((info.unacked, info.send_queue, info.snd_mss), (5, 7_000, 1_400));
        // The second segment arrives before the first.
        let mut ack = hand.seg(ACK, &[]);
        ack.sack = vec![(hand.ack.wrapping_add(1_400), hand.ack.wrapping_add(2_800))];
        hand.give(&ack);
        let info = hand.stack.tcp_info(id).unwrap();
        assert_eq!((info.sacked, info.ca_state), (1, CaState::Disorder));
        hand.seq = hand.seq.wrapping_add(100);
        hand.send(ACK, &[0; 50]);
        let info = hand.stack.tcp_info(id).unwrap();
        assert_eq!((info.out_of_order, info.recv_queue), (50, 0));
        assert!(info.memory >= 7_000);
        hand.stack.tcp_abort(id);
        assert!(hand.stack.tcp_info(id).is_err(), "the id is dead");
    }
}

#[test]
fn ephemeral_ports_in_time_wait_are_used_again_before_none_is_left() {
    let family = Family::V4;
    let mut client = config(2);
    client.tcp.ephemeral_first = 40_000;
    client.tcp.ephemeral_last = 40_003;
    let mut pair = Pair::with(config(1), client);
    let listener = pair.listen(family);
    for round in 0..12 {
        let id = pair.connect(family);
        pair.run(Duration::from_millis(10));
        let (server, _) = pair.server().tcp_accept(listener).unwrap();
        let now = pair.now;
        pair.client().tcp_close(now, id);
        pair.run(Duration::from_millis(10));
        pair.server().tcp_close(now, server);
        pair.run(Duration::from_millis(500));
        assert!(pair.client().tcp_time_waits() <= 4, "round {round}");
    }
}
