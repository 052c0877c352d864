use crate::tcp::rig::{MSS, Rig};
use crate::time::Duration;

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
    (rig.flow.mss.into(), rig.tcp.stats.black_holes)
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
