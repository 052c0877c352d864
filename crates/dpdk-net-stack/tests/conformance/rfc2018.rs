//! RFC 2018: TCP Selective Acknowledgment Options

use dpdk_net_stack::{Duration, TcpId};

use crate::both_families;
use crate::common::*;

/// An accepted connection with SACK.
pub(crate) fn with_sack(family: Family) -> (Hand, TcpId) {
    let mut hand = Hand::new(family);
    hand.sack_ok = true;
    let listener = hand.listen();
    let id = hand.establish(listener);
    (hand, id)
}

/// Gives 100 bytes that lie so many ahead, and tells the blocks of the answer relative to what is expected.
pub(crate) fn ahead(hand: &mut Hand, at: u32) -> Vec<(u32, u32)> {
    let mut seg = hand.seg(ACK, &[1; 100]);
    seg.seq = seg.seq.wrapping_add(at);
    let answers = hand.give(&seg);
    assert_eq!(answers.len(), 1, "{answers:?}");
    blocks(hand, &answers[0])
}

pub(crate) fn blocks(hand: &Hand, seg: &Seg) -> Vec<(u32, u32)> {
    let of = |at: u32| at.wrapping_sub(hand.seq);
    seg.sack.iter().map(|(a, b)| (of(*a), of(*b))).collect()
}

both_families! {
    /// 2 MUST NOT: SACK-permitted is sent on anything but a SYN.
    ///
    /// 4 MUST NOT: Blocks are sent to who has not permitted them.
    fn s2_must_not_blocks_are_sent_unasked(family) {
        let (mut hand, _) = accepted(family);
        for at in [200, 400, 600] {
            assert_eq!(ahead(&mut hand, at), []);
        }
        let (mut hand, id) = with_sack(family);
        hand.stack.tcp_send(id, b"data").unwrap();
        let mut sent = hand.out();
        sent.extend(hand.send(ACK, b"data"));
        sent.extend(hand.pass(Duration::from_secs(1)));
        assert!(sent.iter().all(|seg| !seg.sack_ok));
    }

    /// 4 SHOULD: Every ACK tells of what lies ahead of it.
    ///
    /// 4 MUST: The first block is the one that has just grown.
    ///
    /// 4 SHOULD: The others repeat those told last, as many as fit.
    fn s4_must_the_newest_block_comes_first(family) {
        let (mut hand, _) = with_sack(family);
        assert_eq!(ahead(&mut hand, 200), [(200, 300)]);
        assert_eq!(ahead(&mut hand, 600), [(600, 700), (200, 300)]);
        assert_eq!(ahead(&mut hand, 400), [(400, 500), (600, 700), (200, 300)]);
        assert_eq!(ahead(&mut hand, 1_000), [(1_000, 1_100), (400, 500), (600, 700), (200, 300)]);
        assert_eq!(ahead(&mut hand, 1_400)[0], (1_400, 1_500));
        // It grows at either end, and melts with its neighbour.
        assert_eq!(ahead(&mut hand, 300)[0], (200, 500));
        // A late ACK tells of it too.
        let late = hand.pass(Duration::from_secs(1));
        assert!(late.iter().all(|seg| !seg.sack.is_empty()));
    }

    /// 4 -: Blocks are told until they are acknowledged, and no longer.
    fn s4_blocks_end_with_the_gap(family) {
        let (mut hand, id) = with_sack(family);
        ahead(&mut hand, 100);
        ahead(&mut hand, 300);
        let acks = hand.send(ACK, &[0; 100]);
        hand.seq += 100;
        assert_eq!(acks[0].ack, hand.seq);
        assert_eq!(blocks(&hand, &acks[0]), [(100, 200)]);
        let acks = hand.send(ACK, &[0; 100]);
        assert_eq!(acks[0].ack, hand.seq + 100);
        assert_eq!(acks[0].sack, []);
        assert_eq!(read_all(&mut hand, id).len(), 400);
    }

    /// 5 SHOULD: What was selectively acknowledged is not sent again.
    fn s5_should_only_what_is_missing_is_sent_again(family) {
        let (mut hand, id) = with_sack(family);
        hand.stack.tcp_send(id, &pattern(14_000)).unwrap();
        assert_eq!(hand.out().len(), 10);
        hand.pass(Duration::from_millis(1));
        // The first and the fifth are missing.
        let una = hand.ack;
        let mut again = Vec::new();
        for (a, b) in [(1_400, 2_800), (1_400, 4_200), (1_400, 5_600), (7_000, 8_400), (7_000, 9_800), (7_000, 11_200), (7_000, 12_600), (7_000, 14_000)] {
            let mut ack = hand.seg(ACK, &[]);
            if a == 7_000 {
                ack.sack = vec![(una + a, una + b), (una + 1_400, una + 5_600)];
            } else {
                ack.sack = vec![(una + a, una + b)];
            }
            again.extend(hand.give(&ack));
        }
        again.extend(hand.pass(Duration::from_millis(2)));
        let mut starts: Vec<u32> = again.iter().map(|seg| seg.seq.wrapping_sub(una)).collect();
        starts.dedup();
        assert_eq!(starts, [0, 5_600], "{starts:?}");
    }

    /// 8 MUST NOT: Data is let go before it is cumulatively acknowledged: the receiver may renege.
    ///
    /// 5 -: After a timeout SACKed data may have to be sent again.
    fn s8_must_not_sacked_data_is_not_let_go(family) {
        let (mut hand, id) = with_sack(family);
        let data = pattern(7_000);
        hand.stack.tcp_send(id, &data).unwrap();
        assert_eq!(hand.out().len(), 5);
        let una = hand.ack;
        let mut ack = hand.seg(ACK, &[]);
        ack.sack = vec![(una + 1_400, una + 7_000)];
        hand.give(&ack);
        // And now it knows of nothing any more.
        let mut got = vec![None; 7_000];
        for _ in 0..30 {
            for seg in hand.pass(Duration::from_secs(2)) {
                let at = seg.seq.wrapping_sub(una) as usize;
                for (i, byte) in seg.payload.iter().enumerate() {
                    got[at + i] = Some(*byte);
                }
            }
            let known = got.iter().take_while(|byte| byte.is_some()).count() as u32;
            hand.ack = una + known;
            let more = hand.give(&hand.seg(ACK, &[]));
            for seg in more {
                let at = seg.seq.wrapping_sub(una) as usize;
                for (i, byte) in seg.payload.iter().enumerate() {
                    got[at + i] = Some(*byte);
                }
            }
        }
        let got: Vec<u8> = got.into_iter().map(|byte| byte.expect("sent again")).collect();
        assert!(got == data);
    }

    /// 3 -: Blocks that contradict themselves or what was sent do no harm.
    fn s3_impossible_blocks_do_no_harm(family) {
        let (mut hand, id) = with_sack(family);
        hand.stack.tcp_send(id, &pattern(7_000)).unwrap();
        hand.out();
        let una = hand.ack;
        for (a, b) in [(5_000i32, 100), (-5_000, -4_000), (100, 100), (1_000_000, 2_000_000), (6_000, 7_001), (i32::MIN, i32::MAX), (-10, 8_000)] {
            let mut ack = hand.seg(ACK, &[]);
            ack.sack = vec![(una.wrapping_add_signed(a), una.wrapping_add_signed(b)); 3];
            hand.give(&ack);
        }
        let info = hand.stack.tcp_info(id).unwrap();
        assert_eq!(info.sacked, 0, "{info:?}");
        hand.acknowledge(7_000);
        assert!(hand.stack.is_send_drained(id));
    }
}
