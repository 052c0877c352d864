//! Streams longer than the sequence space: numbers come around, and nothing may compare with one of long ago.

mod common;

use bytes::Bytes;
use common::*;
use dpdk_net_packet::{ChecksumVerdict, RxMeta};
use dpdk_net_stack::{Duration, Error, LargeFrame, TxMeta, TxSink};
use dpdk_net_testkit::Pieces;

/// Past the first half of the sequence space, its end, and half of it again.
const LENGTH: u64 = 7 << 30;

/// Takes whatever is sent and counts the payload.
#[derive(Default)]
struct Count {
    bytes: u64,
    frames: usize,
}

impl TxSink for Count {
    fn capacity(&mut self) -> usize {
        64 - self.frames.min(64)
    }

    fn send<R>(&mut self, len: usize, _meta: TxMeta, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut frame = vec![0; len];
        let result = fill(&mut frame);
        self.bytes += read(&frame).map_or(0, |seg| seg.payload.len() as u64);
        self.frames += 1;
        result
    }

    fn send_large(&mut self, large: &LargeFrame<'_>) {
        self.bytes += large.gso().payload_len() as u64;
        self.frames += large.gso().count();
    }
}

both_families! {
    fn a_sender_counts_right_all_the_way_round(family) {
        let mut hand = Hand::new(family);
        hand.wscale = Some(10);
        hand.sack_ok = true;
        let listener = hand.listen();
        let id = hand.establish(listener);
        let most = config(1).tcp.send_buffer as u64;
        let chunk = Bytes::from(pattern(1 << 20));
        let (mut written, mut acknowledged) = (0, 0);
        while acknowledged < LENGTH {
            loop {
                let mut data = chunk.clone();
                match hand.stack.tcp_send_bytes(id, &mut data) {
                    Ok(n) => written += n as u64,
                    Err(Error::WouldBlock) => break,
                    Err(error) => panic!("{error:?} after {written} bytes"),
                }
            }
            let info = hand.stack.tcp_info(id).unwrap();
            assert_eq!(info.send_queue as u64, written - acknowledged, "after {acknowledged} bytes");
            assert!(written - acknowledged <= most, "{written} written, {acknowledged} acknowledged");
            let mut sink = Count::default();
            hand.stack.poll_transmit(hand.now, &mut sink);
            assert!(sink.bytes > 0, "it stands still after {acknowledged} bytes");
            acknowledged += sink.bytes;
            hand.now += Duration::from_micros(10);
            hand.ack = hand.ack.wrapping_add(sink.bytes as u32);
            let ack = frame(family, 2, 1, &hand.seg(ACK, &[]));
            hand.stack.ingest(hand.now, &[ack]);
        }
        assert_eq!(hand.stack.stats().tcp.retransmits, 0);
    }

    fn a_receiver_counts_right_all_the_way_round(family) {
        let mut hand = Hand::new(family);
        hand.wscale = Some(10);
        let listener = hand.listen();
        let id = hand.establish(listener);
        let payload = Bytes::from(pattern(60_000));
        let mut headers = frame(family, 2, 1, &hand.seg(ACK, &payload));
        headers.truncate(headers.len() - payload.len());
        let seq = headers.len() - 20 + 4;
        let meta = RxMeta {
            ip_checksum: ChecksumVerdict::Good,
            l4_checksum: ChecksumVerdict::Good,
            lro_segment: 1_400,
            ..RxMeta::default()
        };
        let mut received = 0;
        while received < LENGTH {
            headers[seq..seq + 4].copy_from_slice(&hand.seq.to_be_bytes());
            let mut large = Pieces::whole(headers.clone()).with(meta);
            large.pieces.push(payload.clone());
            hand.stack.ingest(hand.now, &[large]);
            hand.seq = hand.seq.wrapping_add(payload.len() as u32);
            hand.now += Duration::from_micros(10);
            let data = hand.stack.tcp_recv_bytes(id, usize::MAX).unwrap();
            assert_eq!(data, payload, "after {received} bytes");
            received += data.len() as u64;
            let answers = hand.out();
            let ack = answers.last().unwrap_or_else(|| panic!("no ACK after {received} bytes"));
            assert_eq!(ack.ack, hand.seq);
            assert!(ack.window > 0);
        }
        assert_eq!(hand.stack.tcp_info(id).unwrap().bytes_received, received);
    }
}
