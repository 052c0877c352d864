//! The scoreboard against a model of bytes, whatever is sent, acknowledged, SACKed, lost and sent again.

use std::vec;
use std::vec::Vec;

use proptest::prelude::*;

use super::*;

/// Where the stream starts: sequence numbers wrap on the way.
const START: u32 = u32::MAX - 3_000;

/// What happens. Numbers are reduced to what is possible when it does.
#[derive(Debug, Clone)]
enum Step {
    Send(u32),
    Ack(u32),
    Sack(Vec<(u32, u32)>),
    Again(u32),
    /// The last record is sent again, lost or not: a tail loss probe.
    Probe,
    TimeOut,
    LoseFirst,
    LoseLonger(u32),
    Unlose,
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1..4_000u32).prop_map(Step::Send),
        4 => any::<u32>().prop_map(Step::Ack),
        6 => prop::collection::vec((any::<u32>(), 1..3_000u32), 1..4).prop_map(Step::Sack),
        6 => (1..1_500u32).prop_map(Step::Again),
        1 => Just(Step::Probe),
        1 => Just(Step::TimeOut),
        1 => Just(Step::LoseFirst),
        1 => (500..3_000u32).prop_map(Step::LoseLonger),
        1 => Just(Step::Unlose),
        4 => (1..40u64).prop_map(Step::Pass),
    ]
}

/// The scoreboard, and for each byte from SND.UNA on whether the peer has it.
struct Model {
    board: Scoreboard,
    una: u32,
    sacked: VecDeque<bool>,
    now: Instant,
}

impl Model {
    fn next(&self) -> u32 {
        self.una.wrapping_add(self.sacked.len() as u32)
    }

    fn stamp(&self, start: u32, end: u32) -> Sent {
        Sent {
            start,
            end,
            marks: Mark::empty(),
            sacked_to: end,
            sent_at: self.now,
            delivered: 0,
            delivered_at: self.now,
            first_sent_at: self.now,
        }
    }

    /// Looks for losses after a delivery, and compares with a look at all records.
    fn detect(&mut self, delivery: &Delivery) {
        self.board
            .update_rack(self.now, delivery, Duration::ZERO, false);
        let window = Duration::from_millis(3);
        let before: Vec<Sent> = self.board.records.iter().copied().collect();
        let (newly, again_at) = self.board.detect_losses(self.now, window);
        let Some(rack) = self.board.rack else {
            assert_eq!((newly, again_at), (0, None));
            return;
        };
        let mut expected = 0;
        for (was, is) in before.iter().zip(&self.board.records) {
            let earlier = rack.sent_at > was.sent_at
                || rack.sent_at == was.sent_at && seq::lt(was.end, rack.end);
            let due = self.now >= was.sent_at + (rack.rtt + window);
            let lost = earlier && due && !was.has(Mark::SACKED | Mark::LOST);
            expected += if lost { was.len() } else { 0 };
            assert_eq!(
                is.has(Mark::LOST),
                lost || was.has(Mark::LOST),
                "{was:?} {is:?} {rack:?}"
            );
        }
        assert_eq!(newly, expected);
        assert!(again_at.is_none_or(|at| at > self.now));
    }

    fn ack(&mut self, bytes: u32) {
        let bytes = bytes % (self.sacked.len() as u32 + 1);
        let fresh = self
            .sacked
            .drain(..bytes as usize)
            .filter(|has| !has)
            .count();
        self.una = self.una.wrapping_add(bytes);
        let mut delivery = Delivery::default();
        self.board.acknowledge(self.una, &mut delivery);
        assert_eq!(delivery.bytes as usize, fresh);
        self.detect(&delivery);
    }

    fn sack(&mut self, ranges: &[(u32, u32)]) {
        let mut blocks = Blocks::new();
        let mut fresh = 0;
        let outstanding = self.sacked.len() as u32;
        for &(from, len) in ranges {
            if outstanding == 0 {
                return;
            }
            let from = from % outstanding;
            let to = (from + len).min(outstanding);
            blocks.push((self.una.wrapping_add(from), self.una.wrapping_add(to)));
            for has in self.sacked.range_mut(from as usize..to as usize) {
                fresh += u32::from(!*has);
                *has = true;
            }
        }
        let mut delivery = Delivery::default();
        self.board.sack(&blocks, 1, &mut delivery);
        assert_eq!(delivery.bytes, fresh);
        self.detect(&delivery);
    }

    /// RFC 8985 section 6.3: the first is lost, and what left long enough ago.
    fn time_out(&mut self) {
        let reneged = self.sacked.front() == Some(&true);
        if reneged {
            self.sacked.iter_mut().for_each(|has| *has = false);
        }
        let recent = Duration::from_millis(20);
        let before: Vec<Sent> = self.board.records.iter().copied().collect();
        self.board.lose_on_timeout(self.now, Some(recent));
        for (index, (was, is)) in before.iter().zip(&self.board.records).enumerate() {
            let due = index == 0 || reneged || self.now >= was.sent_at + recent;
            let lost = was.has(Mark::LOST) || due && (reneged || !was.has(Mark::SACKED));
            assert_eq!(is.has(Mark::LOST), lost, "{was:?} {is:?}");
        }
    }

    fn run(&mut self, step: &Step) {
        match step {
            Step::Send(len) => {
                let start = self.next();
                self.board.push(self.stamp(start, start.wrapping_add(*len)));
                self.sacked.extend(vec![false; *len as usize]);
            }
            Step::Ack(bytes) => self.ack(*bytes),
            Step::Sack(ranges) => self.sack(ranges),
            Step::Again(max) => {
                let first = self
                    .board
                    .records
                    .iter()
                    .find(|record| record.has(Mark::LOST));
                let first = first.map(|record| (record.start, record.len().min(*max)));
                let found = self.board.next_lost(*max);
                let found = found.map(|(start, end)| (start, end.wrapping_sub(start)));
                assert_eq!(found, first);
                if let Some((start, len)) = found {
                    let end = start.wrapping_add(len);
                    self.board.sent_again(start, end, self.stamp(start, end));
                    self.now += Duration::from_micros(1);
                }
            }
            Step::Probe => {
                if let Some(last) = self.board.back().copied() {
                    self.board
                        .sent_again(last.start, last.end, self.stamp(last.start, last.end));
                    self.now += Duration::from_micros(1);
                }
            }
            Step::TimeOut => self.time_out(),
            Step::LoseFirst => {
                self.board.lose_first(1_448);
            }
            Step::LoseLonger(mss) => {
                self.board.lose_longer_than(*mss);
            }
            Step::Unlose => {
                self.board.unlose();
                assert_eq!(self.board.lost(), 0);
            }
            Step::Pass(ms) => self.now += Duration::from_millis(*ms),
        }
        self.check();
    }

    /// What always holds.
    fn check(&self) {
        let mut at = self.una;
        let (mut sacked, mut lost, mut sacked_records) = (0, 0, 0);
        for record in &self.board.records {
            assert!(
                record.start == at && seq::lt(record.start, record.end),
                "{record:?}"
            );
            assert!(
                !(record.marks.contains(Mark::SACKED | Mark::LOST)),
                "{record:?}"
            );
            let from = at.wrapping_sub(self.una) as usize;
            let has = record.has(Mark::SACKED);
            let bytes = self.sacked.range(from..from + record.len() as usize);
            assert!(bytes.copied().all(|byte| byte == has), "{record:?}");
            sacked += if has { record.len() } else { 0 };
            sacked_records += u32::from(has);
            lost += if record.has(Mark::LOST) {
                record.len()
            } else {
                0
            };
            at = record.end;
        }
        assert_eq!(at, self.next());
        assert_eq!((sacked, lost), (self.board.sacked(), self.board.lost()));
        assert_eq!(sacked_records, self.board.sacked_records());
        let times = self.board.again.iter().map(|(_, at)| *at);
        assert!(times.is_sorted(), "{:?}", self.board.again);
    }
}

proptest! {
    #[test]
    fn sums_marks_and_losses_are_those_of_all_records(steps in prop::collection::vec(step(), 1..80)) {
        let mut model = Model {
            board: Scoreboard::default(),
            una: START,
            sacked: VecDeque::new(),
            now: Instant::from_secs(1),
        };
        for step in &steps {
            model.run(step);
        }
    }
}

/// A scoreboard with so many records of so many bytes.
fn board(records: u32, len: u32) -> Scoreboard {
    let mut board = Scoreboard::default();
    let now = Instant::from_secs(1);
    for n in 0..records {
        let start = START.wrapping_add(n * len);
        board.push(Sent {
            start,
            end: start.wrapping_add(len),
            marks: Mark::empty(),
            sacked_to: start,
            sent_at: now,
            delivered: 0,
            delivered_at: now,
            first_sent_at: now,
        });
    }
    board
}

fn sack(board: &mut Scoreboard, blocks: &[(u32, u32)], mss: u32) -> Delivery {
    let at = |offset: u32| START.wrapping_add(offset);
    let blocks = blocks.iter().map(|&(from, to)| (at(from), at(to)));
    let mut delivery = Delivery::default();
    board.sack(&blocks.collect(), mss, &mut delivery);
    delivery
}

#[test]
fn many_records_are_split_only_where_segments_end() {
    let mut board = board(64, 10_100);
    // Less than a segment's worth of it.
    let blocks = [(1, 1_000), (3_050, 3_950), (10_001, 10_100)];
    assert_eq!(sack(&mut board, &blocks, 1_000).bytes, 0);
    assert_eq!(board.len(), 64);
    // What lies within is counted, and the last part may be short.
    assert_eq!(sack(&mut board, &[(1_500, 4_500)], 1_000).bytes, 2_000);
    assert_eq!(sack(&mut board, &[(9_900, 10_100)], 1_000).bytes, 100);
    assert_eq!((board.sacked(), board.len()), (2_100, 67));
    for n in 0..10_000 {
        let blocks = [(n, n + 50), (10_050 - n, 10_099 - n)];
        sack(&mut board, &blocks, 1_000);
    }
    assert!(board.len() <= 64 + 10, "{} records", board.len());
}

#[test]
fn few_records_are_split_anywhere_until_there_are_many() {
    let mut board = board(1, 10_000);
    assert_eq!(sack(&mut board, &[(100, 200)], 1_000).bytes, 100);
    assert_eq!(board.len(), 3);
    for n in 100..4_000 {
        sack(&mut board, &[(2 * n, 2 * n + 1)], 1_000);
    }
    assert!(board.len() <= FEW + 1, "{} records", board.len());
}

/// The blocks of the n-th acknowledgment.
type Attack = fn(u32) -> [(u32, u32); 2];

/// A peer chooses its blocks so that as much as possible has to be looked at.
#[test]
fn the_worst_sack_blocks_cost_no_more_than_a_few_records_each() {
    const RECORDS: u32 = 4_096;
    const LEN: u32 = 100;
    let all = RECORDS * LEN;
    let attacks: [(&str, Attack); 6] = [
        ("all, and then one alone, in turn", |n| match n % 2 {
            0 => [(LEN, RECORDS * LEN), (LEN, RECORDS * LEN)],
            _ => [(LEN * (n % RECORDS), LEN * (n % RECORDS + 1)); 2],
        }),
        ("each time from one later on", |n| {
            [(LEN * (1 + n % (RECORDS - 1)), RECORDS * LEN); 2]
        }),
        ("each time to one later", |n| {
            let end = 2 + n % (RECORDS - 1);
            [(LEN, LEN * end), (LEN * (end - 1), LEN * end)]
        }),
        ("one by one from behind, then all", |n| match n {
            0..RECORDS => [(LEN * (RECORDS - 1 - n), LEN * (RECORDS - n)); 2],
            _ => [(LEN * (n % RECORDS), RECORDS * LEN); 2],
        }),
        ("every second, then all from anywhere", |n| match n {
            0..2_048 => [(LEN * (2 * n + 1), LEN * (2 * n + 2)); 2],
            _ => {
                [(
                    LEN * (n.wrapping_mul(2_654_435_761) % RECORDS),
                    RECORDS * LEN,
                ); 2]
            }
        }),
        ("from and to the middle of segments", |n| {
            let from = n.wrapping_mul(40_503) % (RECORDS * LEN - 200);
            [(from + 1, from + 51), (from + 99, RECORDS * LEN - 1)]
        }),
    ];
    for (what, blocks) in attacks {
        let mut board = board(RECORDS, LEN);
        let acks = 4 * RECORDS;
        for n in 0..acks {
            sack(&mut board, &blocks(n), LEN);
            assert!(board.sacked() <= all);
        }
        assert_eq!(board.len(), RECORDS as usize, "{what}: none was split");
        let each = board.work as f64 / f64::from(acks);
        assert!(
            each < 8.0,
            "{what}: {each} records looked at for an acknowledgment"
        );
    }
}
