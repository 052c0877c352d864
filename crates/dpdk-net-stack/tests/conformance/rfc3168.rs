//! RFC 3168: The Addition of Explicit Congestion Notification (ECN) to IP

use dpdk_net_stack::{Duration, TcpId};

use crate::both_families;
use crate::common::*;

const NOT_ECT: u8 = 0;
const ECT_0: u8 = 2;
const CE: u8 = 3;

/// An accepted connection with ECN.
fn with_ecn(family: Family) -> (Hand, TcpId) {
    let mut hand = Hand::new(family);
    let listener = hand.listen();
    let mut syn = hand.syn();
    syn.flags |= ECE | CWR;
    let answers = hand.give(&syn);
    assert_eq!(answers[0].flags, SYN | ACK | ECE);
    hand.seq += 1;
    hand.ack = answers[0].seq.wrapping_add(1);
    hand.give(&hand.seg(ACK, &[]));
    let (id, _) = hand.stack.tcp_accept(listener).unwrap();
    (hand, id)
}

both_families! {
    /// 6.1.1 -: ECN is agreed to by ECE and CWR on the SYN and ECE alone on its answer; nothing else does.
    fn s6_1_1_ecn_is_used_only_by_agreement(family) {
        for (flags, agreed) in [(0, false), (ECE, false), (CWR, false), (ECE | CWR, true)] {
            let mut hand = Hand::new(family);
            let listener = hand.listen();
            let mut syn = hand.syn();
            syn.flags |= flags;
            let answers = hand.give(&syn);
            assert_eq!(answers[0].flags & (ECE | CWR), if agreed { ECE } else { 0 });
            hand.seq += 1;
            hand.ack = answers[0].seq.wrapping_add(1);
            hand.give(&hand.seg(ACK, &[]));
            let (id, _) = hand.stack.tcp_accept(listener).unwrap();
            hand.stack.tcp_send(id, b"data").unwrap();
            assert_eq!(hand.out()[0].ecn, if agreed { ECT_0 } else { NOT_ECT });
        }
        for (flags, agreed) in [(0, false), (ECE | CWR, false), (ECE, true)] {
            let mut config = config(1);
            config.tcp.ecn = dpdk_net_stack::Ecn::Request;
            let mut hand = Hand::with(family, config);
            let (id, syn) = hand.start_connect();
            assert_eq!(syn.flags & (ECE | CWR), ECE | CWR);
            let mut answer = hand.syn_ack();
            answer.flags |= flags;
            hand.give(&answer);
            hand.seq += 1;
            hand.stack.tcp_send(id, b"data").unwrap();
            assert_eq!(hand.out()[0].ecn, if agreed { ECT_0 } else { NOT_ECT }, "{flags}");
        }
    }

    /// 6.1.1 MUST NOT: SYNs and their answers are marked as capable.
    ///
    /// 6.1.4 MUST NOT: Pure ACKs are.
    ///
    /// 6.1.5 MUST NOT: Retransmissions are.
    ///
    /// 6.1.6 MUST NOT: Window probes are.
    fn s6_1_must_not_only_new_data_is_marked(family) {
        let (mut hand, id) = with_ecn(family);
        assert!(hand.give(&Seg { flags: SYN | ECE | CWR, ..hand.syn() }).iter().all(|seg| seg.ecn == NOT_ECT));
        let acks = hand.send(ACK | PSH, &[0; 1_400]);
        let mut acks = [acks, hand.pass(Duration::from_secs(1))].concat();
        assert!(!acks.is_empty() && acks.drain(..).all(|seg| seg.ecn == NOT_ECT));
        hand.stack.tcp_send(id, b"data").unwrap();
        assert_eq!(hand.out()[0].ecn, ECT_0);
        let again = hand.pass(Duration::from_secs(1));
        assert!(!again.is_empty() && again.iter().all(|seg| seg.ecn == NOT_ECT), "{again:?}");
        hand.window = 0;
        hand.acknowledge(4);
        hand.stack.tcp_send(id, &pattern(5_000)).unwrap();
        hand.out();
        let probes = hand.pass(Duration::from_secs(5));
        assert!(!probes.is_empty() && probes.iter().all(|seg| seg.ecn == NOT_ECT), "{probes:?}");
    }

    /// 6.1.3 MUST: CE is echoed in every ACK until the peer says that its window is reduced.
    fn s6_1_3_must_marks_are_echoed_until_answered(family) {
        let (mut hand, _) = with_ecn(family);
        let mut marked = hand.seg(ACK | PSH, b"marked");
        marked.ecn = CE;
        hand.seq += 6;
        let acks = hand.give(&marked);
        assert!(acks.len() == 1 && acks[0].flags & ECE != 0, "{acks:?}");
        for _ in 0..3 {
            hand.send(ACK | PSH, b"more");
            let acks = hand.pass(Duration::from_millis(100));
            assert!(acks.len() == 1 && acks[0].flags & ECE != 0);
        }
        hand.send(ACK | PSH | CWR, b"reduced");
        let acks = hand.pass(Duration::from_millis(100));
        assert!(acks.len() == 1 && acks[0].flags & ECE == 0);
    }

    /// 6.1.2 -: An echo reduces the window, once for each window of data, and CWR tells of it with the next new data.
    fn s6_1_2_an_echo_reduces_the_window_once(family) {
        let (mut hand, id) = with_ecn(family);
        hand.stack.tcp_send(id, &pattern(60_000)).unwrap();
        assert_eq!(hand.out().len(), 10);
        hand.pass(Duration::from_millis(1));
        let mut sent = Vec::new();
        for _ in 0..9 {
            hand.ack += 1_400;
            let ack = hand.seg(ACK | ECE, &[]);
            sent.extend(hand.give(&ack));
        }
        let cwnd = hand.stack.tcp_info(id).unwrap().snd_cwnd;
        assert!((7_000..=11_200).contains(&cwnd), "{cwnd}");
        assert_eq!(sent.iter().filter(|seg| seg.flags & CWR != 0).count(), 1, "{sent:?}");
        assert!(sent.iter().find(|seg| !seg.payload.is_empty()).unwrap().flags & CWR != 0);
    }

    /// 6.1.2 -: ECE on a connection without ECN says nothing.
    fn s6_1_2_an_echo_without_agreement_says_nothing(family) {
        let (mut hand, id) = accepted(family);
        hand.stack.tcp_send(id, &pattern(60_000)).unwrap();
        hand.out();
        hand.pass(Duration::from_millis(1));
        hand.ack += 1_400;
        hand.give(&hand.seg(ACK | ECE, &[]));
        assert!(hand.stack.tcp_info(id).unwrap().snd_cwnd >= 14_000);
    }
}
