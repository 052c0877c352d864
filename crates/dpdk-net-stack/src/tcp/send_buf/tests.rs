use alloc::vec;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::tcp::chunk::MAX_CHUNK;

fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|i| (i % 251) as u8).collect()
}

fn contents(buf: &SendBuf) -> Vec<u8> {
    let mut out = vec![0; buf.len()];
    buf.copy_to(buf.base(), &mut out);
    out
}

/// Memory of a sink: so many buffers of so many bytes.
#[derive(Debug)]
struct Buffers {
    left: usize,
    size: usize,
}

#[derive(Debug)]
struct Buffer {
    data: Vec<u8>,
    size: usize,
}

impl TxMemory for Buffers {
    fn alloc(&mut self) -> Option<Box<dyn TxBuffer>> {
        self.left = self.left.checked_sub(1)?;
        let (data, size) = (Vec::new(), self.size);
        Some(Box::new(Buffer { data, size }))
    }
}

impl TxBuffer for Buffer {
    fn as_slice(&self) -> &[u8] {
        &self.data
    }

    fn room(&self) -> usize {
        self.size - self.data.len()
    }

    fn append(&mut self, data: &[u8]) -> usize {
        let n = data.len().min(self.room());
        self.data.extend_from_slice(&data[..n]);
        n
    }

    fn held_bytes(&self) -> usize {
        self.size
    }

    fn as_any(&self) -> &dyn core::any::Any {
        self
    }
}

fn memory_of(left: usize, size: usize) -> Box<dyn TxMemory> {
    Box::new(Buffers { left, size })
}

#[test]
fn bytes_are_found_by_sequence_numbers_that_wrap() {
    let mut buf = SendBuf::new();
    buf.reset(u32::MAX - 9);
    buf.write(&pattern(0, 5), &mut None);
    buf.push(Bytes::from(pattern(5, 5_000)), &mut None);
    buf.write(&pattern(5_005, 3), &mut None);
    assert_eq!(
        (buf.base(), buf.end(), buf.len()),
        (u32::MAX - 9, 4_998, 5_008)
    );
    assert_eq!(contents(&buf), pattern(0, 5_008));
    let mut out = [0; 20];
    buf.copy_to(u32::MAX - 6, &mut out);
    assert_eq!(out, *pattern(3, 20));
    assert_eq!(buf.chunk_at(u32::MAX - 6), pattern(3, 2));
    assert_eq!(buf.chunk_at(0), pattern(10, 4_995));
    assert_eq!(buf.chunk_at(4_998), []);
    assert_eq!(buf.ack(2), 12);
    assert_eq!(contents(&buf), pattern(12, 4_996));
    assert_eq!(buf.ack(4_998), 4_996);
    assert!(buf.is_empty());
}

#[test]
fn an_acknowledgement_of_what_is_not_there_drops_nothing() {
    let mut buf = SendBuf::new();
    buf.reset(100);
    buf.write(b"abc", &mut None);
    assert_eq!((buf.ack(99), buf.ack(104), buf.ack(100)), (0, 0, 0));
    assert_eq!(contents(&buf), b"abc");
    assert_eq!(buf.ack(101), 1);
    assert_eq!(buf.ack(100), 0);
    assert_eq!(contents(&buf), b"bc");
}

#[test]
fn chunks_grow_with_the_queue_and_are_freed_as_they_are_acknowledged() {
    let mut buf = SendBuf::new();
    buf.write(&[0; 64], &mut None);
    assert_eq!(buf.heap_bytes(), 2_048);
    for _ in 0..16_384 {
        buf.write(&[0; 64], &mut None);
    }
    let full = buf.heap_bytes();
    assert!(full < buf.len() + 2 * MAX_CHUNK, "{full}");
    let mut acknowledged = 0;
    while !buf.is_empty() {
        acknowledged += buf.ack(buf.base().wrapping_add(1_000.min(buf.len() as u32)));
        assert!(buf.heap_bytes() < buf.len() + 3 * MAX_CHUNK);
    }
    assert_eq!(acknowledged, 64 * 16_385);
    assert!(buf.heap_bytes() <= KEEP + KEEP_CHUNKS * size_of::<Sealed>());
}

#[test]
fn a_conversation_stays_in_one_small_chunk_whether_or_not_it_ever_drains() {
    let mut buf = SendBuf::new();
    for i in 0..10_000 {
        buf.write(&pattern(i * 64, 64), &mut None);
        if i > 0 {
            // One message always stays behind.
            assert_eq!(contents(&buf), pattern((i - 1) * 64, 128));
            assert_eq!(buf.ack((i * 64) as u32), 64);
        }
        assert_eq!(buf.heap_bytes(), 2_048);
    }
}

#[test]
fn short_shared_bytes_are_copied_and_long_ones_are_not() {
    let mut buf = SendBuf::new();
    for _ in 0..32 {
        buf.push(Bytes::from_static(&[1; 64]), &mut None);
    }
    assert_eq!((buf.heap_bytes(), buf.sealed.len()), (2_048, 0));
    let long = Bytes::from(pattern(0, 1_024));
    buf.push(long.clone(), &mut None);
    assert_eq!(buf.chunk_at(2_048).as_ptr(), long.as_ptr());
    // The header's small chunk comes back for the next message.
    assert_eq!(buf.ack(buf.end()), 3_072);
    assert_eq!(buf.tail.capacity(), 2_048);
    assert!(long.is_unique());
}

#[test]
fn clearing_keeps_little_memory_and_the_sequence_number() {
    let mut buf = SendBuf::new();
    buf.reset(7);
    for _ in 0..100 {
        buf.push(Bytes::from(vec![0; 2_000]), &mut None);
    }
    buf.write(&[0; 100_000], &mut None);
    buf.clear();
    assert_eq!((buf.base(), buf.len()), (300_007, 0));
    assert!(buf.heap_bytes() <= KEEP + KEEP_CHUNKS * size_of::<Sealed>());
    buf.write(b"x", &mut None);
    assert_eq!(contents(&buf), b"x");
}

#[test]
fn bulk_is_written_where_it_can_be_referenced_and_a_conversation_is_not() {
    let mut memory = Some(memory_of(2, 10_000));
    let mut buf = SendBuf::new();
    buf.write(&pattern(0, 1_000), &mut memory);
    assert!(buf.piece_at(0).buffer.is_none());
    buf.write(&pattern(1_000, 15_000), &mut memory);
    buf.write(&pattern(16_000, 1), &mut memory);
    // The small chunk is filled first.
    assert_eq!(buf.piece_at(0).bytes.len(), 2_048);
    assert!(buf.piece_at(0).buffer.is_none());
    let (buffer, at) = buf.piece_at(3_000).buffer.unwrap();
    assert_eq!(at, 3_000 - 2_048);
    assert_eq!(buffer.as_slice(), pattern(2_048, 10_000));
    let (buffer, at) = buf.piece_at(16_000).buffer.unwrap();
    assert_eq!((at, buffer.room()), (3_952, 10_000 - 3_953));
    // There is no third one.
    buf.write(&pattern(16_001, 10_000), &mut memory);
    assert!(buf.piece_at(25_000).buffer.is_none());
    assert_eq!(contents(&buf), pattern(0, 26_001));
    buf.ack(26_001);
    assert_eq!(buf.sealed_bytes, 0);
}

#[derive(Debug, Clone)]
enum Op {
    Write(usize),
    Push(usize),
    Ack(u32),
    Copy(u32, u32),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0..200usize).prop_map(Op::Write),
        (0..9_000usize).prop_map(Op::Write),
        (0..4_000usize).prop_map(Op::Push),
        (0..150_000usize).prop_map(Op::Write),
        any::<u32>().prop_map(Op::Ack),
        any::<u32>().prop_map(Op::Ack),
        any::<(u32, u32)>().prop_map(|(from, len)| Op::Copy(from, len)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x5e4d),
        ..ProptestConfig::default()
    })]

    #[test]
    fn it_holds_what_a_plain_vector_would(base in any::<u32>(), near_wrap in any::<bool>(), buffers in prop::option::of(0..12usize), ops in prop::collection::vec(op(), 1..60)) {
        let base = if near_wrap { (base % 20_000).wrapping_neg() } else { base };
        let mut buf = SendBuf::new();
        buf.reset(base);
        let mut memory = buffers.map(|left| memory_of(left, 3_000));
        let mut model = Vec::new();
        let (mut written, mut acknowledged) = (0, 0);
        for op in ops {
            match op {
                Op::Write(n) => {
                    let data = pattern(written, n);
                    buf.write(&data, &mut memory);
                    model.extend(data);
                    written += n;
                }
                Op::Push(n) => {
                    let data = pattern(written, n);
                    buf.push(Bytes::from(data.clone()), &mut memory);
                    model.extend(data);
                    written += n;
                }
                Op::Ack(n) => {
                    let n = n as usize % (model.len() + 1);
                    acknowledged += n;
                    prop_assert_eq!(buf.ack(base.wrapping_add(acknowledged as u32)), n);
                    model.drain(..n);
                }
                Op::Copy(from, len) => {
                    let from = from as usize % (model.len() + 1);
                    let len = len as usize % (model.len() - from + 1);
                    let mut out = vec![0; len];
                    let seq = buf.base().wrapping_add(from as u32);
                    buf.copy_to(seq, &mut out);
                    prop_assert_eq!(&out, &model[from..from + len]);
                    let chunk = buf.chunk_at(seq);
                    prop_assert_eq!(chunk.is_empty(), from == model.len());
                    prop_assert_eq!(chunk, &model[from..from + chunk.len()]);
                    if let Some((buffer, at)) = buf.piece_at(seq).buffer {
                        prop_assert_eq!(&buffer.as_slice()[at..at + chunk.len()], chunk);
                    }
                }
            }
            prop_assert_eq!(buf.base(), base.wrapping_add(acknowledged as u32));
            prop_assert_eq!(buf.len(), model.len());
            let chunks: usize = buf.sealed.iter().map(|chunk| chunk.data.heap_bytes()).sum();
            prop_assert_eq!(buf.sealed_bytes, chunks);
        }
        prop_assert_eq!(contents(&buf), model);
    }
}
