//! Section 3.9: what applications call, IP and ICMP below.

use dpdk_net_packet::ethernet;
use dpdk_net_stack::{Duration, Error, ListenOptions, TcpState};

use super::first_packet;
use crate::both_families;
use crate::common::*;
use crate::support::*;

both_families! {
    /// 3.9.1.1 MUST-41: A listener does not disturb connections or other listeners.
    ///
    /// 3.9.1.1 MUST-42: Connections to a port exist beside the listener of that port.
    fn s3_9_1_1_must_41_must_42_listeners_and_connections_of_a_port_do_not_disturb_each_other(family) {
        let (mut hand, id) = accepted(family);
        let other = ListenOptions::new(family.any(81));
        hand.stack.tcp_listen(other).unwrap();
        hand.send(ACK | PSH, b"undisturbed");
        assert_eq!(read_all(&mut hand, id), b"undisturbed");
        let state = (hand.port, hand.seq, hand.ack);
        hand.port += 1;
        hand.half_open();
        (hand.port, hand.seq, hand.ack) = state;
        hand.send(ACK | PSH, b"still");
        assert_eq!(read_all(&mut hand, id), b"still");
    }

    /// 3.9.1.1 MUST-43: The local address can be chosen.
    ///
    /// 3.9.1.1 MUST-44: If it is not, the stack chooses one by the destination.
    ///
    /// 3.9.1.1 MUST-45: All segments of a connection come from the same address.
    fn s3_9_1_1_must_43_must_44_must_45_the_local_address_is_chosen_or_found_and_kept(family) {
        let second = family.host(9);
        let prefix = if family == Family::V4 { "15" } else { "64" };
        let config = config(1).with_address(format!("{second}/{prefix}").parse().unwrap());
        let mut hand = Hand::with(family, config);
        let remote = family.at(2, 5_000);
        let chosen = hand.stack.tcp_connect(hand.now, Some((second, 0).into()), remote).unwrap();
        assert_eq!(hand.stack.tcp_local(chosen).unwrap().ip(), second);
        let found = hand.stack.tcp_connect(hand.now, None, remote).unwrap();
        assert_eq!(hand.stack.tcp_local(found).unwrap().ip(), family.host(1));
        assert_eq!(hand.stack.tcp_connect(hand.now, Some((family.host(77), 0).into()), remote), Err(Error::AddrNotAvailable));
        let mut frames: Vec<Vec<u8>> = Vec::new();
        for _ in 0..3 {
            hand.stack.poll_transmit(hand.now, &mut frames);
            hand.now += Duration::from_secs(2);
            hand.stack.handle_timeout(hand.now);
        }
        let mut sources = std::collections::BTreeMap::new();
        for frame in &frames {
            let parsed = dpdk_net_packet::parse(frame).unwrap();
            if let dpdk_net_packet::Network::Ip(ip, dpdk_net_packet::Transport::Tcp(tcp)) = parsed.network {
                let source = sources.entry(tcp.src_port()).or_insert(ip.src());
                assert_eq!(*source, ip.src());
            }
        }
        assert_eq!(sources.len(), 2);
    }

    /// 3.9.1.1 MUST-46: Connections to groups and broadcast addresses are refused.
    fn s3_9_1_1_must_46_connections_to_groups_are_refused(family) {
        let mut hand = Hand::new(family);
        let bad: &[&str] = match family {
            Family::V4 => &["224.0.0.1:80", "255.255.255.255:80", "198.19.255.255:80", "0.0.0.0:80"],
            Family::V6 => &["[ff02::1]:80", "[ff0e::1]:80", "[::]:80"],
        };
        for remote in bad {
            let remote = remote.parse().unwrap();
            assert!(hand.stack.tcp_connect(hand.now, None, remote).is_err(), "{remote}");
        }
        assert_eq!(hand.out(), []);
        assert_eq!(hand.stack.tcp_count(), 0);
    }

    /// 3.9.1.2 MUST-60: Data without a push is not held back for ever.
    ///
    /// 3.9.1.2 MUST-61: The last segment of what is written has PSH.
    ///
    /// 3.9.1.2 SHLD-27, MAY-16: Writes are put together.
    ///
    /// 3.9.1.2 SHLD-28: Segments are as long as possible.
    fn s3_9_1_2_must_60_must_61_shld_27_shld_28_writes_are_put_together_and_pushed(family) {
        let (mut hand, id) = accepted(family);
        for part in pattern(7_100).chunks(71) {
            hand.stack.tcp_send(id, part).unwrap();
        }
        let mut sent = hand.out();
        // The short end goes with the rest, or at the latest when that is acknowledged.
        sent.extend(hand.acknowledge(7_000));
        assert_eq!(sent.iter().map(|seg| seg.payload.len()).collect::<Vec<_>>(), [1_400, 1_400, 1_400, 1_400, 1_400, 100]);
        assert_eq!(sent.iter().map(|seg| seg.flags & PSH != 0).collect::<Vec<_>>(), [false, false, false, false, false, true]);
        assert!(payload(&sent) == pattern(7_100));
    }

    /// 3.9.1.8 MUST-47, SHLD-20: Soft errors are reported: the reason why a peer could not be reached is told when the
    /// connection is given up.
    ///
    /// 3.9.2.2 SHLD-25: So are ICMP messages of an unreachable destination.
    fn s3_9_1_8_must_47_shld_25_the_reason_is_told_when_a_connection_is_given_up(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_send(id, b"anyone?").unwrap();
        let sent = hand.out();
        let about = frame(family, 1, 2, &sent[0]);
        hand.stack.ingest(hand.now, &[crate::icmp::host_unreachable(family, &about)]);
        assert_eq!(hand.stack.tcp_state(id), TcpState::Established);
        hand.pass(Duration::from_secs(1_000));
        assert_eq!(hand.stack.tcp_recv(id, &mut [0; 8]), Err(Error::HostUnreachable));
    }

    /// 3.9.1.9 MUST-48: The application can choose the differentiated services field.
    ///
    /// 3.9.1.9 SHLD-21: And another one while the connection lives.
    ///
    /// 3.9.1.9 SHLD-22: It stands in the IP header as it was given.
    fn s3_9_1_9_must_48_shld_21_shld_22_the_service_can_be_chosen(family) {
        use dpdk_net_stack::TcpOption;
        let (mut hand, id) = accepted(family);
        for dscp in [46u8, 10, 0] {
            hand.stack.tcp_set_option(id, TcpOption::Tos(dscp << 2)).unwrap();
            hand.stack.tcp_send(id, b"x").unwrap();
            let packet = first_packet(&mut hand);
            let class = match family {
                Family::V4 => packet[1],
                Family::V6 => packet[0] << 4 | packet[1] >> 4,
            };
            assert_eq!(class, dscp << 2);
            hand.acknowledge(1);
        }
    }

    /// 3.9.2 MUST-49: The time to live can be set.
    fn s3_9_2_must_49_the_time_to_live_can_be_set(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_set_ttl(id, 7).unwrap();
        hand.stack.tcp_send(id, b"near").unwrap();
        let packet = first_packet(&mut hand);
        assert_eq!(if family == Family::V4 { packet[8] } else { packet[7] }, 7);
    }

    /// 3.9.2.2 MUST-54: ICMP errors reach the connection they are about.
    fn s3_9_2_2_must_54_icmp_errors_reach_their_connection(family) {
        let mut hand = Hand::new(family);
        let (one, syn) = hand.start_connect();
        hand.port += 1;
        let (other, _) = hand.start_connect();
        let about = frame(family, 1, 2, &syn);
        hand.stack.ingest(hand.now, &[crate::icmp::port_unreachable(family, &about)]);
        assert_eq!(hand.stack.tcp_take_error(one), Some(Error::ConnectionRefused));
        assert_eq!(hand.stack.tcp_state(other), TcpState::SynSent);
    }

    /// 3.9.2.2 MUST-56: Soft ICMP errors, also of parameter problems and expired times, abort no connection.
    fn s3_9_2_2_must_56_soft_icmp_errors_abort_nothing(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_send(id, b"data").unwrap();
        let sent = hand.out();
        let about = frame(family, 1, 2, &sent[0]);
        let messages = match family {
            Family::V4 => vec![(3, 0), (3, 1), (3, 5), (3, 11), (3, 12), (11, 0), (11, 1), (12, 0)],
            Family::V6 => vec![(1, 0), (1, 3), (3, 0), (3, 1), (4, 0), (4, 1), (4, 2)],
        };
        for (kind, code) in messages {
            hand.stack.ingest(hand.now, &[crate::icmp::error(family, (kind, code), 0, &about)]);
            assert_eq!(hand.stack.tcp_state(id), TcpState::Established, "{kind} {code}");
        }
        assert_eq!(hand.acknowledge(4), []);
        hand.stack.tcp_send(id, b"more").unwrap();
        assert_eq!(payload(&hand.out()), b"more");
    }

    /// 3.9.2.3 MUST-57: Segments to groups and broadcast addresses are dropped without a word.
    ///
    /// 3.9.2.3 MUST-63: So are SYNs from addresses that cannot be anybody's.
    fn s3_9_2_3_must_57_must_63_impossible_addresses_are_dropped(family) {
        let mut hand = Hand::new(family);
        hand.listen();
        let (to, from): (&[&str], &[&str]) = match family {
            Family::V4 => (&["224.0.0.1", "255.255.255.255", "198.19.255.255"], &["224.0.0.5", "255.255.255.255", "0.0.0.0", "127.0.0.1", "198.19.255.255", "198.18.0.1"]),
            Family::V6 => (&["ff02::1", "ff02::1:ff00:1"], &["ff02::1", "::", "::1", "fd00::1"]),
        };
        let good = (family.host(2), family.host(1));
        let cases = to.iter().map(|to| (good.0, to.parse().unwrap()))
            .chain(from.iter().map(|from| (from.parse().unwrap(), good.1)));
        for (src, dst) in cases {
            for flags in [SYN, ACK, FIN] {
                let frame = between(src, dst, &Seg { flags, ..hand.syn() });
                hand.stack.ingest(hand.now, &[frame]);
                let mut out: Vec<Vec<u8>> = Vec::new();
                hand.stack.poll_transmit(hand.now, &mut out);
                assert_eq!(out.len(), 0, "{src} to {dst}");
            }
        }
        assert_eq!(hand.stack.tcp_half_open(), 0);
    }
}

/// 3.9.2 MUST-50: IPv4 options that TCP does not understand are passed over.
#[test]
fn s3_9_2_must_50_ip_options_are_passed_over() {
    let family = Family::V4;
    let (mut hand, id) = accepted(family);
    let plain = frame(family, 2, 1, &hand.seg(ACK | PSH, b"with options"));
    let mut odd = plain[..ethernet::HEADER_LEN + 20].to_vec();
    // No-operation, an experimental option, end of list.
    odd.extend([1, 158, 6, 1, 2, 3, 4, 0]);
    odd.extend(&plain[ethernet::HEADER_LEN + 20..]);
    let ip = &mut odd[ethernet::HEADER_LEN..];
    ip[0] = 0x47;
    let total = ip.len() as u16;
    ip[2..4].copy_from_slice(&total.to_be_bytes());
    ip[10..12].fill(0);
    let sum: u32 = ip[..28]
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
    ip[10..12].copy_from_slice(&sum.to_be_bytes());
    hand.stack.ingest(hand.now, &[odd]);
    assert_eq!(read_all(&mut hand, id), b"with options");
}

/// 3.9.2.2 MUST-55: Source quench is dropped without a word.
#[test]
fn s3_9_2_2_must_55_source_quench_is_dropped() {
    let family = Family::V4;
    let (mut hand, id) = accepted(family);
    hand.stack.tcp_send(id, &pattern(60_000)).unwrap();
    let sent = hand.out();
    let about = frame(family, 1, 2, &sent[0]);
    let quench = crate::icmp::error(family, (4, 0), 0, &about);
    hand.stack.ingest(hand.now, &[quench]);
    assert_eq!(hand.out(), []);
    hand.pass(Duration::from_millis(1));
    let sent: usize = (0..10).map(|_| hand.acknowledge(1_400).len()).sum();
    assert_eq!(sent, 20, "slow start goes on");
}
