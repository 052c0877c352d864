//! RFC 5927: ICMP Attacks against TCP

use dpdk_net_stack::{Duration, Error, TcpState};

use crate::both_families;
use crate::common::*;
use crate::icmp;

both_families! {
    /// 4.1 -: Only a message that quotes what is on its way counts.
    fn s4_1_only_what_is_in_flight_counts(family) {
        let mut hand = Hand::new(family);
        let (id, syn) = hand.start_connect();
        for offset in [1u32, u32::MAX, 0x8000_0000, 100_000] {
            let about = frame(family, 1, 2, &Seg { seq: syn.seq.wrapping_add(offset), ..syn.clone() });
            hand.stack.ingest(hand.now, &[icmp::port_unreachable(family, &about)]);
            assert_eq!(hand.stack.tcp_state(id), TcpState::SynSent, "{offset}");
        }
        assert_eq!(hand.stack.stats().tcp.icmp_out_of_window, 4);
        // Nor does one that quotes the ports and no sequence number.
        let headers = if family == Family::V4 { 34 } else { 54 };
        let about = frame(family, 1, 2, &syn);
        for quoted in [headers + 4, headers + 7] {
            hand.stack.ingest(hand.now, &[icmp::port_unreachable(family, &about[..quoted])]);
            assert_eq!(hand.stack.tcp_state(id), TcpState::SynSent, "{quoted}");
        }
        hand.stack.ingest(hand.now, &[icmp::port_unreachable(family, &about[..headers + 8])]);
        assert_eq!(hand.stack.tcp_take_error(id), Some(Error::ConnectionRefused));
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_send(id, &pattern(2_800)).unwrap();
        let sent = hand.out();
        for offset in [2_800i32, -1, -1_000_000, 1 << 30] {
            let seq = hand.ack.wrapping_add_signed(offset);
            let about = frame(family, 1, 2, &Seg { seq, ..sent[0].clone() });
            hand.stack.ingest(hand.now, &[icmp::too_big(family, &about, 1_280)]);
        }
        hand.acknowledge(2_800);
        hand.stack.tcp_send(id, &pattern(5_000)).unwrap();
        assert_eq!(hand.out()[0].payload.len(), 1_400, "the segment size is what it was");
    }

    /// 5.2 -: Hard errors end no established connection.
    fn s5_2_hard_errors_are_soft_once_established(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_send(id, b"data").unwrap();
        let about = frame(family, 1, 2, &hand.out()[0]);
        let messages = match family {
            Family::V4 => vec![(3, 2), (3, 3), (3, 9), (3, 10), (3, 13)],
            Family::V6 => vec![(1, 1), (1, 4), (1, 5), (4, 1)],
        };
        for message in messages {
            hand.stack.ingest(hand.now, &[icmp::error(family, message, 0, &about)]);
        }
        assert_eq!(hand.stack.tcp_state(id), TcpState::Established);
        assert_eq!(hand.stack.tcp_take_error(id), None);
        hand.acknowledge(4);
        hand.send(ACK | PSH, b"alive");
        assert_eq!(read_all(&mut hand, id), b"alive");
        // Long after, the connection dies for another reason, and the old message is not told.
        hand.stack.tcp_send(id, b"more").unwrap();
        hand.out();
        hand.pass(Duration::from_secs(1_000));
        assert_eq!(hand.stack.tcp_recv(id, &mut [0; 1]), Err(Error::TimedOut));
    }

    /// 7.2 -: A forged message makes segments no smaller than the least that the family has.
    fn s7_2_the_segment_size_has_a_floor(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_send(id, &pattern(1_400)).unwrap();
        let about = frame(family, 1, 2, &hand.out()[0]);
        for mtu in [0, 1, 68, 100, 500] {
            hand.stack.ingest(hand.now, &[icmp::too_big(family, &about, mtu)]);
        }
        hand.acknowledge(1_400);
        hand.stack.tcp_send(id, &pattern(5_000)).unwrap();
        let least = if family == Family::V4 { 536 } else { 1_400 };
        assert_eq!(hand.out().iter().map(|seg| seg.payload.len()).max(), Some(least));
    }
}
