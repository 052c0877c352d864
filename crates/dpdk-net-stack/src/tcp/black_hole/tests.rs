use alloc::vec::Vec;

use super::Suspicion;
use crate::tcp::rig::{Left, MSS, Rig};
use crate::tcp::scoreboard::{Delivery, Sent};
use crate::time::Duration;

fn suspicion(rig: &Rig) -> Suspicion {
    rig.flow
        .sender
        .as_ref()
        .map_or(Suspicion::None, |sender| sender.suspicion)
}

/// A connection that has long had this round-trip time.
fn with_round_trip(rtt: Duration) -> Rig {
    let mut rig = Rig::new();
    for _ in 0..60 {
        let sent = rig.send(1);
        rig.pass(rtt);
        rig.ack(sent[0].start + MSS, sent[0].at, &[]);
    }
    rig
}

/// Lets the timer run out, with nothing acknowledged, until full segments are suspected. Gives how often that was, and what
/// left last.
fn until_suspected(rig: &mut Rig) -> (u32, Vec<Left>) {
    for timeouts in 1..20 {
        let left = rig.retransmission_timeout();
        if suspicion(rig) != Suspicion::None {
            return (timeouts, left);
        }
    }
    panic!("nothing was suspected");
}

/// Sends until everything is acknowledged or the time is over. `passes` is told of each segment how many left before it and
/// its length. Gives the MSS and the black holes found.
fn transfer(
    segments: u32,
    limit: Duration,
    mut passes: impl FnMut(usize, u32) -> bool,
) -> (u32, u64) {
    let mut rig = Rig::new();
    let begin = rig.now;
    let mut left = rig.send(segments);
    let mut got = [false; 200 * MSS as usize];
    got[..4 * MSS as usize].fill(true);
    let (mut count, mut have) = (0, 4 * MSS);
    let all = (4 + segments) * MSS;
    while have < all && rig.now - begin < limit {
        let mut heard = None;
        for segment in left.drain(..) {
            if passes(count, segment.len) {
                let from = segment.start as usize;
                got[from..from + segment.len as usize].fill(true);
                heard = Some(segment);
            }
            count += 1;
        }
        if let Some(segment) = heard {
            while have < all && got[have as usize] {
                have += 1;
            }
            rig.pass(crate::tcp::rig::RTT);
            let block = (segment.start, segment.start + segment.len);
            let sack = if block.0 > have { &[block][..] } else { &[] };
            rig.ack(have, segment.at, sack);
            left = rig.out();
        }
        if left.is_empty() && have < all {
            left = rig.time_out();
        }
    }
    (rig.flow.mss.into(), rig.tcp.stats.snapshot().black_holes)
}

#[test]
fn segments_become_smaller_where_smaller_ones_get_through_and_full_ones_do_not() {
    // Options are deducted: 1,200 and 536 bytes less 12. The MSS here is 1,000, so the smaller one is left.
    let time = Duration::from_secs(60);
    for longest in [524, 600, 999] {
        let (mss, found) = transfer(20, time, |_, len| len <= longest);
        assert_eq!((mss, found), (524, 1), "{longest}");
    }
    assert_eq!(transfer(20, time, |_, _| true), (MSS, 0));
}

#[test]
fn a_path_that_is_down_for_a_while_is_no_black_hole() {
    // Everything is lost from the 5th segment on until the 20th: timeouts for seconds.
    let (mss, found) = transfer(20, Duration::from_secs(600), |nth, _| {
        !(5..20).contains(&nth)
    });
    assert_eq!((mss, found), (MSS, 0));
}

#[test]
fn losses_that_do_not_depend_on_size_are_no_black_hole() {
    // Three of ten are lost.
    for seed in 1..=20u64 {
        let mut random = seed;
        let (mss, found) = transfer(100, Duration::from_secs(3_600), |_, _| {
            random = random
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (random >> 33) % 10 >= 3
        });
        assert_eq!((mss, found), (MSS, 0), "{seed}");
    }
}

#[test]
fn three_timeouts_and_half_a_second_raise_suspicion() {
    // On a long path the third timeout, although the first one took longer than that.
    let mut rig = with_round_trip(Duration::from_millis(600));
    rig.send(4);
    assert_eq!(until_suspected(&mut rig).0, 3);
    // On a short one three are over in a moment: as many as make the next one half a second.
    let mut rig = with_round_trip(Duration::from_millis(1));
    rig.send(4);
    let first = rig.flow.retransmission_timeout(&rig.tcp.settings);
    let (timeouts, _) = until_suspected(&mut rig);
    let next = rig.flow.retransmission_timeout(&rig.tcp.settings);
    let half = Duration::from_millis(500);
    assert!(first * 8 < half && timeouts > 3, "{first:?}");
    assert!(next >= half && next < half * 2, "{next:?}");
}

#[test]
fn a_smaller_segment_is_asked_and_full_ones_have_to_fail_again() {
    let mut rig = with_round_trip(Duration::from_millis(600));
    let sent = rig.send(4);
    let first = sent[0].start;
    let (_, left) = until_suspected(&mut rig);
    assert_eq!((left[0].start, left[0].len), (first, 524));
    let (size, failed) = (524, MSS as u16);
    assert_eq!(suspicion(&rig), Suspicion::Asked { size, failed });
    // It is asked again as long as nothing is heard: the path may just be down.
    for _ in 0..3 {
        let left = rig.retransmission_timeout();
        assert_eq!((left[0].start, left[0].len), (first, 524));
        assert_eq!(rig.flow.mss, MSS as u16);
    }
    rig.ack(first + 524, rig.now, &[]);
    assert_eq!(suspicion(&rig), Suspicion::Passed { size, failed });
    // What is left of the first segment is no longer than what got through: that it is lost says nothing of full ones.
    for _ in 0..4 {
        let left = rig.retransmission_timeout();
        assert_eq!((left[0].start, left[0].len), (first + 524, MSS - 524));
    }
    assert_eq!(
        (rig.flow.mss, rig.tcp.stats.snapshot().black_holes),
        (MSS as u16, 0)
    );
    rig.ack(first + MSS, rig.now, &[]);
    assert_eq!(suspicion(&rig), Suspicion::Passed { size, failed });
    // A full one is lost three times more: it is their size.
    for timeout in 1..=3 {
        assert_eq!(rig.flow.mss, MSS as u16);
        let left = rig.retransmission_timeout();
        assert_eq!(left[0].start, first + MSS);
        assert_eq!(left[0].len, if timeout < 3 { MSS } else { 524 });
    }
    assert_eq!(
        (rig.flow.mss, rig.tcp.stats.snapshot().black_holes),
        (524, 1)
    );
    assert_eq!(suspicion(&rig), Suspicion::None);
}

#[test]
fn only_what_is_short_and_in_order_confirms_a_suspicion() {
    let mut rig = Rig::new();
    rig.send(1);
    let record = *rig.flow.busy.as_ref().unwrap().sent.front().unwrap();
    let (size, failed) = (524, 1_000);
    let asked = Suspicion::Asked { size, failed };
    let passed = Suspicion::Passed { size, failed };
    let after = |before: Suspicion, bytes: u32, longest: u32, advanced: bool| {
        let newest = (longest > 0).then_some(Sent {
            start: 0,
            end: longest,
            ..record
        });
        let delivery = Delivery {
            bytes,
            newest,
            ..Delivery::default()
        };
        before.after(&delivery, advanced, 1_000)
    };
    for before in [asked, passed] {
        assert_eq!(after(before, 524, 524, true), passed);
        assert_eq!(after(before, 999, 999, true), passed);
        assert_eq!(after(before, 2_000, 524, true), passed);
        // As long as what failed, or too much to be of pieces: with or without the first segment.
        for advanced in [true, false] {
            assert_eq!(after(before, 1_000, 1_000, advanced), Suspicion::None);
            assert_eq!(after(before, 2_001, 524, advanced), Suspicion::None);
        }
        // Something else than what was asked about.
        assert_eq!(after(before, 524, 524, false), before);
        assert_eq!(after(before, 0, 0, false), before);
    }
    assert_eq!(after(Suspicion::None, 524, 524, true), Suspicion::None);
}
