use alloc::vec;

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::*;

const NO_LIMIT: usize = usize::MAX;

fn pattern(from: usize, len: usize) -> Vec<u8> {
    (from..from + len).map(|i| (i % 251) as u8).collect()
}

/// A segment whose bytes tell where in the sequence space they belong.
fn segment(asm: &mut Assembler, rcv_nxt: u32, seq: u32, len: usize) -> Inserted {
    let data: Vec<u8> = (0..len as u32).map(|i| seq.wrapping_add(i) as u8).collect();
    asm.insert(rcv_nxt, seq, &Payload::Copy(&data), NO_LIMIT)
}

fn sack(asm: &Assembler) -> Vec<(u32, u32)> {
    let mut out = ArrayVec::new();
    asm.sack_blocks(&mut out);
    out.to_vec()
}

/// Takes all that is ready; the new `rcv_nxt` and the bytes.
fn drain(asm: &mut Assembler, mut rcv_nxt: u32) -> (u32, Vec<u8>) {
    let mut bytes = Vec::new();
    while let Some(chunk) = asm.take_ready(rcv_nxt) {
        assert!(chunk.len() > 0);
        rcv_nxt = rcv_nxt.wrapping_add(chunk.len() as u32);
        bytes.extend_from_slice(chunk.as_slice());
    }
    (rcv_nxt, bytes)
}

/// What must hold whatever was inserted.
fn check(asm: &Assembler) {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    let (mut bytes, mut heap) = (0, 0);
    for (&at, chunk) in &asm.chunks {
        let end = at + chunk.len() as u64;
        assert!(end > at);
        bytes += chunk.len();
        heap += CHUNK_COST + chunk.heap_bytes();
        match ranges.last_mut() {
            Some(last) if last.1 == at => last.1 = end,
            Some(last) => {
                assert!(last.1 < at, "chunks overlap");
                ranges.push((at, end));
            }
            None => ranges.push((at, end)),
        }
    }
    let kept: Vec<(u64, u64)> = asm.ranges.iter().map(|(a, b)| (*a, *b)).collect();
    assert_eq!(kept, ranges);
    assert_eq!((asm.bytes(), asm.heap_bytes()), (bytes, heap));
}

#[test]
fn the_gap_closed_gives_everything_in_order_across_the_wrap() {
    let mut asm = Assembler::new();
    let start = u32::MAX - 1_000;
    for i in [3u32, 1, 4, 2] {
        let seq = start.wrapping_add(i * 500);
        assert_eq!(segment(&mut asm, start, seq, 500).new, 500);
        check(&asm);
    }
    assert_eq!(asm.first(), Some(start.wrapping_add(500)));
    assert_eq!(
        sack(&asm),
        [(start.wrapping_add(500), start.wrapping_add(2_500))]
    );
    assert!(asm.take_ready(start).is_none());
    let (nxt, bytes) = drain(&mut asm, start.wrapping_add(500));
    assert_eq!(nxt, start.wrapping_add(2_500));
    let expected: Vec<u8> = (500..2_500u32)
        .map(|i| start.wrapping_add(i) as u8)
        .collect();
    assert_eq!(bytes, expected);
    assert!(asm.is_empty());
    assert_eq!((asm.bytes(), asm.heap_bytes(), asm.first()), (0, 0, None));
}

#[test]
fn of_overlapping_segments_the_first_bytes_stay() {
    let mut asm = Assembler::new();
    let outcome = asm.insert(0, 10, &Payload::Copy(b"BBBB"), NO_LIMIT);
    assert_eq!(outcome.duplicate, None);
    asm.insert(0, 20, &Payload::Copy(b"DDDD"), NO_LIMIT);
    let outcome = asm.insert(
        0,
        8,
        &Payload::Keep(Bytes::from_static(&[b'x'; 20]), 64),
        NO_LIMIT,
    );
    assert_eq!(
        outcome,
        Inserted {
            new: 12,
            duplicate: Some((10, 14)),
            dropped: false
        }
    );
    check(&asm);
    asm.insert(0, 0, &Payload::Copy(b"yyyyyyyyyyyy"), NO_LIMIT);
    let (nxt, bytes) = drain(&mut asm, 0);
    assert_eq!(
        (nxt, bytes.as_slice()),
        (28, b"yyyyyyyyxxBBBBxxxxxxDDDDxxxx".as_slice())
    );
}

#[test]
fn what_is_before_the_gap_is_a_duplicate_and_is_not_kept() {
    let mut asm = Assembler::new();
    let outcome = segment(&mut asm, 100, 80, 20);
    assert_eq!(
        outcome,
        Inserted {
            new: 0,
            duplicate: Some((80, 100)),
            dropped: false
        }
    );
    let outcome = segment(&mut asm, 100, 80, 30);
    assert_eq!(
        outcome,
        Inserted {
            new: 10,
            duplicate: Some((80, 100)),
            dropped: false
        }
    );
    assert_eq!(segment(&mut asm, 100, 120, 0), Inserted::default());
    // Data that came on another way is not given again.
    segment(&mut asm, 100, 120, 10);
    assert_eq!(drain(&mut asm, 125), (130, (125..130).collect()));
    assert!(asm.is_empty());
    check(&asm);
}

/// The examples of RFC 2018 section 7: a left edge of 5000, segments of 500 bytes.
#[test]
fn sack_blocks_are_in_the_order_of_rfc_2018() {
    let mut asm = Assembler::new();
    // Case 2: the first segment is lost, the next seven come.
    for i in 1..8 {
        segment(&mut asm, 5_000, 5_000 + 500 * i, 500);
        assert_eq!(sack(&asm), [(5_500, 5_500 + 500 * i)]);
    }
    // Case 3: the second, fourth, sixth and eighth are lost.
    let mut asm = Assembler::new();
    segment(&mut asm, 5_500, 6_000, 500);
    assert_eq!(sack(&asm), [(6_000, 6_500)]);
    segment(&mut asm, 5_500, 7_000, 500);
    assert_eq!(sack(&asm), [(7_000, 7_500), (6_000, 6_500)]);
    segment(&mut asm, 5_500, 8_000, 500);
    assert_eq!(sack(&asm), [(8_000, 8_500), (7_000, 7_500), (6_000, 6_500)]);
    // The fourth comes: one block of three segments, which is the latest one.
    segment(&mut asm, 5_500, 6_500, 500);
    assert_eq!(sack(&asm), [(6_000, 7_500), (8_000, 8_500)]);
    // The second comes: what is left is the block of the seventh.
    segment(&mut asm, 5_500, 5_500, 500);
    assert_eq!(drain(&mut asm, 5_500).0, 7_500);
    assert_eq!(sack(&asm), [(8_000, 8_500)]);
}

/// The examples of RFC 2883 section 4: the DSACK block is told apart, the block that holds it comes first.
#[test]
fn duplicates_are_told_as_in_rfc_2883() {
    // Section 4.1.1: the segment 3000-3499 comes twice, everything in order.
    let mut asm = Assembler::new();
    assert_eq!(
        segment(&mut asm, 4_000, 3_000, 500).duplicate,
        Some((3_000, 3_500))
    );
    assert_eq!(sack(&asm), []);
    // Section 4.1.3: 4000-4499 is missing, 5000-5499 comes twice.
    let mut asm = Assembler::new();
    segment(&mut asm, 4_000, 4_500, 500);
    segment(&mut asm, 4_000, 5_000, 500);
    assert_eq!(
        segment(&mut asm, 4_000, 5_000, 500).duplicate,
        Some((5_000, 5_500))
    );
    assert_eq!(sack(&asm), [(4_500, 5_500)]);
    // As in section 4.2: 500-999 is missing; 1500-1999 comes, then 1000-2499 with all of it.
    let mut asm = Assembler::new();
    segment(&mut asm, 500, 1_500, 500);
    let outcome = segment(&mut asm, 500, 1_000, 1_500);
    assert_eq!(
        outcome,
        Inserted {
            new: 1_000,
            duplicate: Some((1_500, 2_000)),
            dropped: false
        }
    );
    // The caller puts the DSACK block first.
    let mut out = ArrayVec::new();
    out.extend(outcome.duplicate);
    asm.sack_blocks(&mut out);
    assert_eq!(out.as_slice(), [(1_500, 2_000), (1_000, 2_500)]);
    // As in section 4.2: of two duplicate ranges only the first is told.
    let mut asm = Assembler::new();
    segment(&mut asm, 500, 1_000, 500);
    segment(&mut asm, 500, 2_000, 500);
    assert_eq!(
        segment(&mut asm, 500, 1_000, 1_500).duplicate,
        Some((1_000, 1_500))
    );
    // A duplicate within a block brings that block to the front.
    let mut asm = Assembler::new();
    for seq in [1_000, 2_000, 3_000] {
        segment(&mut asm, 500, seq, 500);
    }
    segment(&mut asm, 500, 1_100, 10);
    assert_eq!(sack(&asm), [(1_000, 1_500), (3_000, 3_500), (2_000, 2_500)]);
}

#[test]
fn ranges_without_number_are_kept_and_four_reported() {
    let mut asm = Assembler::new();
    for i in 1..=5_000 {
        assert_eq!(segment(&mut asm, 0, i * 100, 50).new, 50);
    }
    assert_eq!(
        sack(&asm),
        [
            (500_000, 500_050),
            (499_900, 499_950),
            (499_800, 499_850),
            (499_700, 499_750)
        ]
    );
    // All the recent ones become one: of the old ones some are told too.
    segment(&mut asm, 0, 499_000, 1_000);
    assert_eq!(
        sack(&asm),
        [(499_000, 500_050), (100, 150), (200, 250), (300, 350)]
    );
    check(&asm);
}

#[test]
fn segments_of_one_byte_meet_the_bound_and_contiguous_ones_are_packed() {
    let limit = 65_536;
    let mut asm = Assembler::new();
    let mut outcome = Inserted::default();
    let mut seq = 2;
    while !outcome.dropped {
        outcome = asm.insert(0, seq, &Payload::Copy(b"x"), limit);
        assert!(asm.heap_bytes() <= limit);
        seq += 2;
    }
    assert_eq!(outcome.new, 0);
    assert!(asm.bytes() <= limit / CHUNK_COST);
    check(&asm);
    // The bytes between make long chunks of them.
    let last = seq;
    for seq in (3..last).step_by(2) {
        asm.insert(0, seq, &Payload::Copy(b"x"), limit);
        assert!(asm.heap_bytes() <= limit);
    }
    check(&asm);
    assert!(asm.chunks.len() < 10, "{}", asm.chunks.len());
    // Downwards and upwards alike.
    let mut down = Assembler::new();
    let mut up = Assembler::new();
    for i in 0..40_000 {
        assert!(
            !down
                .insert(0, 60_000 - i, &Payload::Copy(b"x"), limit)
                .dropped
        );
        assert!(
            !up.insert(0, 10_000 + i, &Payload::Copy(b"x"), limit)
                .dropped
        );
    }
    assert_eq!((down.bytes(), up.bytes()), (40_000, 40_000));
}

/// Whatever order segments come in, each has but a few ranges looked at, and no more than a short chunk or two moved.
#[test]
fn a_flood_of_gaps_is_cheap() {
    const SEGMENTS: u32 = 20_000;
    const ALL: u32 = 10 * SEGMENTS;
    /// What is sent, and how: start and end of the n-th segment.
    type Attack = (&'static str, fn(u32) -> (u32, u32));
    let attacks: [Attack; 9] = [
        ("upwards", |n| (10 * n, 10 * n + 1)),
        ("downwards", |n| (ALL - 10 * n, ALL - 10 * n + 1)),
        ("anywhere", |n| {
            let at = n.wrapping_mul(2_654_435_761) % ALL;
            (at, at + 1)
        }),
        ("every second byte, then those between, upwards", |n| {
            let at = 2 * (n % (SEGMENTS / 2)) + 2 * n / SEGMENTS;
            (at, at + 1)
        }),
        ("every second byte, then those between, downwards", |n| {
            let at = SEGMENTS - 2 * (n % (SEGMENTS / 2)) - 2 * n / SEGMENTS;
            (at, at + 1)
        }),
        ("gaps, then all of it again and again", |n| match n {
            0..10_000 => (10 * n, 10 * n + 1),
            _ => (0, ALL),
        }),
        (
            "gaps, then all of it from later and later on",
            |n| match n {
                0..10_000 => (10 * n, 10 * n + 1),
                _ => (ALL - 10 * (n - 10_000), ALL),
            },
        ),
        ("gaps, then each time one gap more", |n| match n {
            0..10_000 => (10 * n, 10 * n + 1),
            _ => (0, 10 * (n - 9_999)),
        }),
        ("byte by byte downwards", |n| (ALL - n, ALL - n + 1)),
    ];
    for (what, attack) in attacks {
        for limit in [NO_LIMIT, 1 << 20] {
            let mut asm = Assembler::new();
            for n in 0..SEGMENTS {
                let (start, end) = attack(n);
                let data = vec![0; (end - start) as usize];
                // The first byte never comes.
                asm.insert(0, 1 + start, &Payload::Copy(&data), limit);
            }
            let (ranges, moved) = asm.work;
            let each = |sum: usize| sum as f64 / f64::from(SEGMENTS);
            assert!(
                each(ranges) < 2.0,
                "{what}: {} ranges looked at for a segment",
                each(ranges)
            );
            assert!(
                each(moved) <= JOIN as f64,
                "{what}: {} bytes moved for a segment",
                each(moved)
            );
        }
    }
}

#[test]
fn bytes_that_close_the_gap_are_taken_beyond_the_bound() {
    let mut asm = Assembler::new();
    asm.insert(0, 1_000, &Payload::Copy(&pattern(1_000, 1_000)), 2_000);
    assert!(
        asm.insert(0, 4_000, &Payload::Copy(&pattern(4_000, 1_000)), 2_000)
            .dropped
    );
    let outcome = asm.insert(0, 0, &Payload::Copy(&pattern(0, 3_000)), 2_000);
    assert_eq!((outcome.new, outcome.dropped), (1_000, true));
    assert_eq!(drain(&mut asm, 0), (2_000, pattern(0, 2_000)));
}

#[test]
fn shared_bytes_are_charged_with_what_they_hold() {
    let mut asm = Assembler::new();
    let data = Bytes::from(pattern(0, 1_400));
    let keep = Payload::Keep(data.clone(), 9_000);
    assert!(!asm.insert(0, 10, &keep, 9_000 + CHUNK_COST).dropped);
    assert_eq!(asm.heap_bytes(), 9_000 + CHUNK_COST);
    let chunk = asm.take_ready(110).unwrap();
    assert_eq!(chunk.as_slice().as_ptr(), data[100..].as_ptr());
    // Where there is no room for what they hold, they are copied.
    let mut asm = Assembler::new();
    assert!(!asm.insert(0, 10, &keep, 9_000).dropped);
    assert!(asm.heap_bytes() < 3_000);
    let chunk = asm.take_ready(110).unwrap();
    assert_eq!(chunk.as_slice(), &data[100..]);
}

#[derive(Debug, Clone)]
struct Seg {
    at: usize,
    len: usize,
    keep: bool,
    /// Data differs from what other segments say of the same place.
    fill: u8,
    take: bool,
}

fn seg(space: usize, longest: usize) -> impl Strategy<Value = Seg> {
    (
        0..space,
        0..longest,
        any::<bool>(),
        any::<u8>(),
        prop::bool::weighted(0.3),
    )
        .prop_map(|(at, len, keep, fill, take)| Seg {
            at,
            len,
            keep,
            fill,
            take,
        })
}

/// Runs segments against a map of what every byte is; `space` bytes from `isn` on.
fn run(isn: u32, space: usize, limit: usize, segs: &[Seg]) -> Result<(), TestCaseError> {
    let mut asm = Assembler::new();
    let mut model: BTreeMap<usize, u8> = BTreeMap::new();
    let mut nxt = 0;
    let seq_of = |at: usize| isn.wrapping_add(at as u32);
    for seg in segs {
        let len = seg.len.min(space - seg.at);
        let data = vec![seg.fill; len];
        let payload = match seg.keep {
            true => Payload::Keep(Bytes::from(data), len + 500),
            false => Payload::Copy(&data),
        };
        let before = asm.heap_bytes();
        let outcome = asm.insert(seq_of(nxt), seq_of(seg.at), &payload, limit);
        // Which bytes were new, and the first range that was not.
        let had = |at: &usize| *at < nxt || model.contains_key(at);
        let span = seg.at..seg.at + len;
        let duplicate = span.clone().find(had).map(|from| {
            let to = (from..span.end).find(|at| !had(at)).unwrap_or(span.end);
            (seq_of(from), seq_of(to))
        });
        let new: Vec<usize> = span.filter(|at| !had(at)).collect();
        if outcome.dropped {
            prop_assert!(limit < NO_LIMIT && outcome.new < new.len());
        } else {
            prop_assert_eq!(outcome.new, new.len());
            prop_assert_eq!(outcome.duplicate, duplicate);
        }
        // Pieces are taken from the left.
        for at in &new[..outcome.new] {
            model.insert(*at, seg.fill);
        }
        check(&asm);
        let closes_gap = model.contains_key(&nxt);
        prop_assert!(asm.heap_bytes() <= limit.max(before) || closes_gap);
        prop_assert_eq!(asm.bytes(), model.len());
        prop_assert_eq!(asm.first(), model.keys().next().map(|at| seq_of(*at)));

        let blocks = sack(&asm);
        for (i, &(from, to)) in blocks.iter().enumerate() {
            let (from, to) = (
                from.wrapping_sub(isn) as usize,
                to.wrapping_sub(isn) as usize,
            );
            prop_assert!(from < to && (from..to).all(|at| model.contains_key(&at)));
            prop_assert!(
                !model.contains_key(&to) && (from == 0 || !model.contains_key(&(from - 1)))
            );
            prop_assert!(!blocks[..i].contains(&blocks[i]));
            if i == 0 && outcome.new > 0 && !outcome.dropped && !closes_gap {
                let last = new[outcome.new - 1];
                prop_assert!((from..to).contains(&last));
            }
        }
        let ranges = model
            .keys()
            .filter(|at| **at > nxt && !model.contains_key(&(**at - 1)))
            .count();
        prop_assert_eq!(blocks.len(), ranges.min(4));

        // Closing the gap is followed by taking what is ready, as the contract has it.
        if seg.take || closes_gap {
            let (to, bytes) = drain(&mut asm, seq_of(nxt));
            let mut expected = Vec::new();
            while let Some(fill) = model.remove(&nxt) {
                expected.push(fill);
                nxt += 1;
            }
            prop_assert_eq!(to, seq_of(nxt));
            prop_assert_eq!(bytes, expected);
            check(&asm);
        }
    }
    Ok(())
}

fn isn() -> impl Strategy<Value = u32> {
    prop_oneof![any::<u32>(), (0..3_000u32).prop_map(u32::wrapping_neg)]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 256,
        failure_persistence: None,
        rng_seed: RngSeed::Fixed(0xa55e),
        ..ProptestConfig::default()
    })]

    #[test]
    fn short_segments_are_put_in_order_as_a_map_of_bytes_would(isn in isn(), segs in prop::collection::vec(seg(300, 40), 1..80)) {
        run(isn, 300, NO_LIMIT, &segs)?;
    }

    #[test]
    fn long_segments_are_put_in_order_as_a_map_of_bytes_would(isn in isn(), segs in prop::collection::vec(seg(12_000, 3_000), 1..30)) {
        run(isn, 12_000, NO_LIMIT, &segs)?;
    }

    #[test]
    fn the_bound_holds_and_what_was_taken_is_right(isn in isn(), limit in 0..20_000usize, segs in prop::collection::vec(seg(6_000, 1_500), 1..40)) {
        run(isn, 6_000, limit, &segs)?;
    }
}
