use alloc::vec;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;
use crate::tcp::chunk::MAX_CHUNK;

fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|i| (i % 251) as u8).collect()
}

#[test]
fn a_conversation_stays_in_one_small_chunk_whether_or_not_it_ever_drains() {
    let mut buf = RecvBuf::new();
    let mut out = [0; 64];
    for i in 0..10_000 {
        buf.push_copy(&pattern(i * 64, 64));
        if i > 0 {
            // One message always stays behind.
            assert_eq!(buf.read(&mut out), 64);
            assert_eq!(out, *pattern((i - 1) * 64, 64));
        }
        assert_eq!((buf.len(), buf.heap_bytes()), (64, 2_048));
    }
    assert_eq!(buf.read(&mut [0; 100]), 64);
    assert_eq!(buf.read(&mut out), 0);
    assert_eq!(buf.heap_bytes(), 2_048);
}

#[test]
fn shared_bytes_are_read_as_they_came_and_count_with_what_they_hold() {
    let mut buf = RecvBuf::new();
    let data = Bytes::from(pattern(0, 3_000));
    buf.push(data.clone(), 9_000);
    assert!(buf.heap_bytes() >= 9_000);
    let first = buf.read_chunk(1_000).unwrap();
    assert_eq!((first.as_ptr(), first.len()), (data.as_ptr(), 1_000));
    assert!(buf.heap_bytes() >= 9_000);
    let mut out = [0; 10];
    assert_eq!(buf.read(&mut out), 10);
    assert_eq!(out, *pattern(1_000, 10));
    let rest = buf.read_chunk(usize::MAX).unwrap();
    assert_eq!(rest, pattern(1_010, 1_990));
    assert_eq!(rest.as_ptr(), data[1_010..].as_ptr());
    assert!(buf.is_empty() && buf.heap_bytes() < 9_000);
    assert_eq!(buf.read_chunk(usize::MAX), None);
}

#[test]
fn a_chunk_of_ours_is_given_away_without_copying_and_a_short_one_is_not_given_away() {
    let mut buf = RecvBuf::new();
    buf.push_copy(&pattern(0, 10_000));
    let at = buf.tail.as_ptr();
    let chunk = buf.read_chunk(usize::MAX).unwrap();
    assert_eq!(chunk, pattern(0, 10_000));
    assert_eq!(chunk.as_ptr(), at);
    buf.push_copy(&pattern(0, 100));
    let kept = buf.tail.as_ptr();
    assert_eq!(buf.read_chunk(40).unwrap(), pattern(0, 40));
    assert_eq!(buf.read_chunk(0), None);
    assert_eq!(buf.read_chunk(400).unwrap(), pattern(40, 60));
    assert_eq!(buf.tail.as_ptr(), kept);
    // What is left of a chunk that was given away in part can still be read.
    buf.push_copy(&pattern(0, 5_000));
    assert_eq!(buf.read_chunk(2_000).unwrap(), pattern(0, 2_000));
    buf.push_copy(&pattern(5_000, 10));
    let mut out = [0; 3_010];
    assert_eq!(buf.read(&mut out), 3_010);
    assert_eq!(out, *pattern(2_000, 3_010));
}

#[test]
fn short_segments_and_short_shared_bytes_are_packed() {
    let mut buf = RecvBuf::new();
    for _ in 0..100_000 {
        buf.push(Bytes::from_static(b"x"), 2_048);
    }
    assert!(buf.heap_bytes() < 100_000 + 2 * MAX_CHUNK);
    buf.clear();
    assert_eq!((buf.len(), buf.read(&mut [0; 9])), (0, 0));
    assert!(buf.heap_bytes() <= KEEP + KEEP_CHUNKS * size_of::<Chunk>());
}

#[derive(Debug, Clone)]
enum Op {
    Copy(usize),
    Push(usize),
    Chunk(usize),
    Read(usize),
    Peek(usize, usize),
    Take(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        (0..200usize).prop_map(Op::Copy),
        (0..90_000usize).prop_map(Op::Copy),
        (0..4_000usize).prop_map(Op::Push),
        (0..4_000usize).prop_map(Op::Chunk),
        (0..200usize).prop_map(Op::Read),
        (0..50_000usize).prop_map(Op::Read),
        (0..20_000usize, 0..9_000usize).prop_map(|(at, n)| Op::Peek(at, n)),
        (0..3_000usize).prop_map(Op::Take),
        Just(Op::Take(usize::MAX)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0x5ec5),
        ..ProptestConfig::default()
    })]

    #[test]
    fn it_holds_what_a_plain_vector_would(ops in prop::collection::vec(op(), 1..60)) {
        let mut buf = RecvBuf::new();
        let mut model = Vec::new();
        let mut received = 0;
        for op in ops {
            match op {
                Op::Copy(n) | Op::Push(n) | Op::Chunk(n) => {
                    let data = pattern(received, n);
                    received += n;
                    model.extend_from_slice(&data);
                    match op {
                        Op::Copy(_) => buf.push_copy(&data),
                        Op::Push(_) => buf.push(Bytes::from(data), n + 100),
                        _ => buf.push_chunk(Chunk::Owned(data)),
                    }
                }
                Op::Read(n) => {
                    let mut out = vec![0; n];
                    let n = buf.read(&mut out);
                    prop_assert_eq!(n, out.len().min(model.len()));
                    prop_assert_eq!(&out[..n], &model[..n]);
                    model.drain(..n);
                }
                Op::Peek(at, n) => {
                    let mut out = vec![0; n];
                    let n = buf.peek_at(at, &mut out);
                    let there = model.get(at..).unwrap_or(&[]);
                    prop_assert_eq!(n, out.len().min(there.len()));
                    prop_assert_eq!(&out[..n], &there[..n]);
                }
                Op::Take(max) => {
                    let taken = buf.read_chunk(max);
                    prop_assert_eq!(taken.is_none(), model.is_empty() || max == 0);
                    let taken = taken.unwrap_or_default();
                    prop_assert!(taken.len() <= max);
                    prop_assert_eq!(&taken[..], &model[..taken.len()]);
                    model.drain(..taken.len());
                }
            }
            prop_assert_eq!((buf.len(), buf.is_empty()), (model.len(), model.is_empty()));
            let chunks: usize = buf.sealed.iter().map(Chunk::heap_bytes).sum();
            prop_assert_eq!(buf.sealed_bytes, chunks);
        }
        let mut out = vec![0; model.len()];
        prop_assert_eq!(buf.peek(&mut out), model.len());
        prop_assert_eq!(out, model);
    }
}
