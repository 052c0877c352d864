//! Counters that Linux has too count what they count there.

use dpdk_net_stack::{
    Config, Duration, Error, Keepalive, Stack, TcpOption, TcpState, TcpStats, UdpOptions,
};

use crate::both_families;
use crate::common::*;

/// The counters that have changed since `before`.
pub(crate) fn since(stack: &Stack, before: &TcpStats) -> Vec<(&'static str, u64)> {
    let (now, before) = (stack.stats().tcp, before.metrics());
    let both = now.metrics().zip(before);
    both.map(|((metric, now), (_, before))| (metric.name, now - before))
        .filter(|(_, more)| *more > 0)
        .collect()
}

fn count(stack: &Stack, name: &str) -> u64 {
    let stats = stack.stats().tcp;
    let found = stats.metrics().find(|(metric, _)| metric.name == name);
    found.map(|(_, count)| count).unwrap()
}

both_families! {
    fn a_plain_conversation_moves_these_and_no_others(family) {
        let (mut hand, id) = accepted(family);
        hand.send(ACK | PSH, b"request");
        assert_eq!(read_all(&mut hand, id), b"request");
        hand.stack.tcp_send(id, b"answer").unwrap();
        assert_eq!(hand.out().len(), 1);
        hand.acknowledge(6);
        assert_eq!(since(&hand.stack, &TcpStats::default()), [
            ("rx_segments", 4),
            ("tx_segments", 2),
            ("passive_opens", 1),
            ("syn_received", 1),
            ("rx_bytes", 7),
            ("tx_bytes", 6),
        ]);
        // What nothing takes along is acknowledged by itself, later.
        let before = hand.stack.stats().tcp;
        hand.send(ACK | PSH, b"more");
        assert_eq!(hand.pass(Duration::from_millis(300)).len(), 1);
        assert_eq!(since(&hand.stack, &before), [("rx_segments", 1), ("tx_segments", 1), ("delayed_acks", 1)]);
    }

    fn segments_in_error_are_counted_if_they_are_for_us(family) {
        let (mut hand, _) = accepted(family);
        let before = hand.stack.stats().tcp;
        let good = frame(family, 2, 1, &hand.seg(ACK, &[]));
        let mut damaged = good.clone();
        *damaged.last_mut().unwrap() ^= 1;
        hand.stack.ingest(hand.now, &[&damaged[..]]);
        // One that is cut short: the header says that it is longer.
        let ip = if family == Family::V4 { 20 } else { 40 };
        let mut malformed = good.clone();
        malformed[14 + ip + 12] = 0xf0;
        hand.stack.ingest(hand.now, &[&malformed[..]]);
        // For somebody else, by the address of the frame or that of the packet.
        let mut other_mac = damaged.clone();
        other_mac[..6].copy_from_slice(&mac(9).0);
        let mut other_ip = frame(family, 2, 9, &hand.seg(ACK, &[]));
        other_ip[..6].copy_from_slice(&mac(1).0);
        *other_ip.last_mut().unwrap() ^= 1;
        hand.stack.ingest(hand.now, &[&other_mac[..], &other_ip[..]]);
        assert_eq!(since(&hand.stack, &before), [("rx_segments", 2), ("rx_errors", 2)]);
        assert_eq!(hand.stack.stats().frames.drop_tcp_checksum, 2);
    }

    fn a_syn_that_nobody_answers_is_sent_again_and_fails(family) {
        let mut hand = Hand::new(family);
        hand.start_connect();
        let again = hand.pass(Duration::from_secs(300)).len() as u64;
        assert!(again > 3, "{again}");
        let stats = hand.stack.stats().tcp;
        assert_eq!((stats.retransmits, stats.syn_retransmits, stats.syn_ack_retransmits), (again, again, 0));
        // The last timeout sends nothing any more.
        assert!((again..=again + 1).contains(&stats.retransmission_timeouts), "{stats:?}");
        assert_eq!((stats.active_opens, stats.attempt_fails, stats.timeouts, stats.established_resets), (1, 1, 1, 0));
        assert_eq!(stats.tx_segments, 1 + again);
        // A RST ends it at once.
        hand.start_connect();
        hand.give(&hand.seg(RST | ACK, &[]));
        let stats = hand.stack.stats().tcp;
        assert_eq!((stats.attempt_fails, stats.connect_failed, stats.rx_resets), (2, 2, 1));
    }

    fn syn_acks_sent_again_are_retransmissions_and_their_timeouts_are_timeouts(family) {
        let mut hand = Hand::new(family);
        hand.listen();
        hand.half_open();
        let again = hand.pass(Duration::from_secs(200)).len() as u64;
        let stats = hand.stack.stats().tcp;
        assert_eq!((stats.retransmits, stats.syn_retransmits, stats.syn_ack_retransmits), (again, again, again));
        assert_eq!((stats.retransmission_timeouts, stats.syn_expired), (again + 1, 1));
        // As Linux: that the peer is silent is no failed attempt; that it resets is.
        assert_eq!((stats.attempt_fails, stats.half_open_resets), (0, 0));
        // The SYN that comes again is answered again.
        hand.half_open();
        let mut syn = hand.syn();
        syn.seq = syn.seq.wrapping_sub(1);
        assert_eq!(hand.give(&syn).len(), 1);
        assert_eq!(count(&hand.stack, "syn_ack_retransmits"), again + 1);
        hand.give(&hand.seg(RST, &[]));
        let stats = hand.stack.stats().tcp;
        assert_eq!((stats.attempt_fails, stats.half_open_resets, stats.rx_resets), (1, 1, 0));
    }

    fn an_established_connection_that_is_cut_short_is_counted_by_cause(family) {
        // Reset by the peer.
        let (mut hand, id) = accepted(family);
        hand.give(&hand.seg(RST, &[]));
        assert_eq!(hand.stack.tcp_take_error(id), Some(Error::ConnectionReset));
        let stats = hand.stack.stats().tcp;
        assert_eq!((stats.established_resets, stats.rx_resets, stats.tx_resets), (1, 1, 0));
        // Closed with something unread.
        let (mut hand, id) = accepted(family);
        hand.send(ACK | PSH, b"unread");
        let before = hand.stack.stats().tcp;
        hand.stack.tcp_close(hand.now, id);
        assert_eq!(hand.out()[0].flags & RST, RST);
        assert_eq!(since(&hand.stack, &before), [
            ("tx_segments", 1), ("tx_resets", 1), ("established_resets", 1), ("closed_unread", 1),
        ]);
        // Closed with a linger of zero.
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_set_linger(id, Some(Duration::ZERO)).unwrap();
        let before = hand.stack.stats().tcp;
        hand.stack.tcp_close(hand.now, id);
        assert_eq!(since(&hand.stack, &before), [
            ("tx_segments", 1), ("tx_resets", 1), ("established_resets", 1), ("data_after_close", 1),
        ]);
        // Data comes when there is nobody to read it: the connection was not established any more.
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_close(hand.now, id);
        assert_eq!(hand.out()[0].flags, FIN | ACK);
        let before = hand.stack.stats().tcp;
        hand.send(ACK | PSH, b"late");
        assert_eq!(since(&hand.stack, &before), [
            ("rx_segments", 1), ("tx_segments", 1), ("tx_resets", 1), ("data_after_close", 1), ("orphans_reset", 1),
        ]);
        // One that ends in order is none of these.
        let (mut hand, id) = accepted(family);
        hand.send(ACK | FIN, &[]);
        hand.stack.tcp_close(hand.now, id);
        hand.out();
        hand.acknowledge(1);
        let stats = hand.stack.stats().tcp;
        assert_eq!((hand.stack.tcp_count(), stats.established_resets, stats.tx_resets), (0, 0, 0));
    }

    fn too_many_orphans_are_reset_for_want_of_memory(family) {
        let mut config: Config = config(1);
        config.tcp.max_orphans = 0;
        let (mut hand, id) = accepted_with(family, config);
        let before = hand.stack.stats().tcp;
        hand.stack.tcp_close(hand.now, id);
        assert_eq!(since(&hand.stack, &before), [
            ("tx_segments", 1), ("tx_resets", 1), ("established_resets", 1), ("too_many_orphans", 1), ("orphans_reset", 1),
        ]);
    }

    fn keep_alive_probes_are_counted(family) {
        let (mut hand, id) = accepted(family);
        let times = Keepalive {
            idle: Duration::from_secs(10),
            interval: Duration::from_secs(1),
            count: 3,
        };
        hand.stack.tcp_set_option(id, TcpOption::Keepalive(Some(times))).unwrap();
        let before = hand.stack.stats().tcp;
        let probes = hand.pass(Duration::from_secs(60));
        assert_eq!(probes.iter().filter(|seg| seg.flags == ACK).count(), 3, "{probes:?}");
        assert_eq!(hand.stack.tcp_state(id), TcpState::Closed);
        assert_eq!(since(&hand.stack, &before), [
            ("tx_segments", 4), ("tx_resets", 1), ("keepalive_probes", 3), ("established_resets", 1), ("timeouts", 1),
        ]);
    }

    fn a_loss_that_a_probe_repairs_is_counted(family) {
        let mut hand = Hand::new(family);
        hand.sack_ok = true;
        let listener = hand.listen();
        let id = hand.establish(listener);
        hand.stack.tcp_send(id, &pattern(1_400)).unwrap();
        assert_eq!(hand.out().len(), 1);
        let mut probe = Vec::new();
        while probe.is_empty() && count(&hand.stack, "retransmission_timeouts") == 0 {
            probe = hand.pass(Duration::from_millis(5));
        }
        assert_eq!(probe.len(), 1);
        hand.acknowledge(1_400);
        // More is acknowledged, and no DSACK has told that the probe was in vain.
        hand.stack.tcp_send(id, b"more").unwrap();
        hand.out();
        hand.acknowledge(4);
        let stats = hand.stack.stats().tcp;
        assert_eq!((stats.tail_loss_probes, stats.tail_loss_repairs, stats.retransmits), (1, 1, 1));
    }

    fn datagrams_are_counted_when_they_are_received(family) {
        let mut pair = Pair::new();
        let server = pair.server().udp_bind(UdpOptions::new(family.any(53))).unwrap();
        let client = pair.client().udp_bind(UdpOptions::new(family.any(0))).unwrap();
        let now = pair.now;
        for _ in 0..3 {
            pair.client().udp_send(now, client, b"query", Some(family.at(1, 53))).unwrap();
        }
        pair.run(Duration::from_millis(10));
        let mut buf = [0; 16];
        pair.server().udp_peek(server, &mut buf).unwrap();
        assert_eq!((pair.server().stats().udp.delivered, pair.server().stats().udp.received), (3, 0));
        while pair.server().udp_recv(server, &mut buf).is_ok() {}
        assert_eq!((pair.server().stats().udp.received, pair.client().stats().udp.sent), (3, 3));
    }
}
