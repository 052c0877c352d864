use alloc::vec::Vec;

use crate::tcp::cc::CongestionControl;
use crate::tcp::rig::{Left, MSS, RTT, Rig};
use crate::tcp::sender::Phase;
use crate::time::Duration;

const MS: Duration = Duration::from_millis(1);

fn starts(left: &[Left]) -> Vec<u32> {
    left.iter().map(|left| left.start / MSS).collect()
}

/// Ten segments of which the first is thought lost and has been sent again; it starts at 4.
fn repairing() -> (Rig, Vec<Left>, Left) {
    let mut rig = Rig::new();
    let sent = rig.send(10);
    assert_eq!(starts(&sent), Vec::from_iter(4..14));
    rig.pass(RTT);
    rig.ack(4 * MSS, sent[1].at, &[(5 * MSS, 8 * MSS)]);
    let again = rig.out();
    assert_eq!((starts(&again), again[0].again), (Vec::from([4]), true));
    assert_eq!(rig.phase(), Phase::Recovery);
    (rig, sent, again[0])
}

#[test]
fn eifel_undoes_what_the_echo_of_the_first_sending_tells() {
    // RFC 3522 section 3.2: older than the retransmission, and acknowledging it.
    for (of_first, ack, undone) in [(true, 14, 1), (true, 8, 1), (false, 14, 0), (false, 8, 0)] {
        let (mut rig, sent, again) = repairing();
        let before = rig.window();
        rig.pass(5 * MS);
        let echo = if of_first { sent[0].at } else { again.at };
        rig.ack(ack * MSS, echo, &[]);
        assert_eq!(rig.undone(), [undone, 0, 0], "{of_first} {ack}");
        let repaired = undone == 1 || ack == 14;
        assert_eq!(rig.phase() == Phase::Open, repaired);
        assert_eq!(rig.window() >= 10, undone == 1, "{before} {}", rig.window());
    }
}

#[test]
fn a_dsack_for_each_retransmission_undoes_a_recovery() {
    // RFC 2883: which of the two segments sent again the peer had twice.
    for (twice, undone) in [(&[4, 5][..], 1), (&[4], 0), (&[5], 0), (&[], 0)] {
        let mut rig = Rig::new();
        let sent = rig.send(10);
        rig.pass(RTT);
        rig.ack(4 * MSS, sent[2].at, &[(6 * MSS, 9 * MSS)]);
        let again = rig.out();
        assert_eq!(starts(&again), [4, 5]);
        rig.pass(RTT);
        // The retransmissions brought nothing new; all but the last is acknowledged, so that recovery goes on.
        rig.ack(13 * MSS, again[0].at, &[]);
        for &segment in twice {
            let range = (segment * MSS, (segment + 1) * MSS);
            rig.ack(13 * MSS, again[0].at, &[range]);
        }
        assert_eq!(rig.undone(), [0, undone, 0], "{twice:?}");
        assert_eq!(rig.phase() == Phase::Open, undone == 1);
    }
}

#[test]
fn a_retransmission_of_the_recovery_before_undoes_nothing() {
    let mut rig = Rig::new();
    let begin = rig.now;
    let at = |ms: u32| begin + ms * MS;
    rig.open_window(40);
    rig.send(10);
    rig.now = at(10);
    rig.send(10);
    // 4, and later 20, are lost: one recovery, up to 24. What is sent meanwhile arrives but for 24 and 29.
    let mut heard = |ms, ack, echo, sack: &[(u32, u32)], more| {
        rig.now = at(ms);
        let sack: Vec<_> = sack.iter().map(|&(a, b)| (a * MSS, b * MSS)).collect();
        rig.ack(ack * MSS, at(echo), &sack);
        let again = starts(&rig.out());
        rig.open_window(40);
        rig.now += MS;
        rig.send(more);
        (again, rig.phase(), rig.undone())
    };
    let in_recovery = |again: &[u32]| (again.to_vec(), Phase::Recovery, [0; 3]);
    assert_eq!(heard(40, 4, 0, &[(5, 14)], 5), in_recovery(&[4]));
    let sack = [(21, 24), (5, 20)];
    assert_eq!(heard(50, 4, 10, &sack, 5), in_recovery(&[20]));
    assert_eq!(heard(80, 20, 40, &[(21, 24)], 0), in_recovery(&[]));
    let sack = [(25, 29), (21, 24)];
    assert_eq!(heard(82, 20, 41, &sack, 0), in_recovery(&[24]));
    // That was the recovery. 24 is on its way again when the next one begins.
    let open = (Vec::new(), Phase::Open, [0; 3]);
    assert_eq!(heard(90, 24, 50, &[(25, 29)], 0), open);
    let sack = [(30, 34), (25, 29)];
    assert_eq!(heard(92, 24, 51, &sack, 0), in_recovery(&[29]));
    // No wonder that its acknowledgment echoes an older timestamp than that of 29.
    assert_eq!(heard(122, 29, 82, &[(30, 34)], 0), in_recovery(&[]));
    // And that the peer had it twice says nothing of 29.
    let sack = [(24, 25), (30, 34)];
    assert_eq!(heard(123, 29, 82, &sack, 0), in_recovery(&[]));
}

#[test]
fn losses_known_when_a_recovery_ends_begin_another_one() {
    let mut rig = Rig::new();
    let sent = rig.send(10);
    rig.pass(RTT);
    rig.ack(4 * MSS, sent[1].at, &[(5 * MSS, 14 * MSS)]);
    let again = rig.out();
    assert_eq!(starts(&again), [4]);
    let threshold = |rig: &Rig| rig.flow.sender.as_ref().unwrap().control.ssthresh();
    let before = threshold(&rig);
    rig.open_window(20);
    rig.pass(MS);
    let more = rig.send(5);
    assert_eq!(starts(&more)[0], 14);
    rig.pass(RTT);
    // One acknowledgment tells that 4 is repaired and that 14 is lost.
    rig.ack(14 * MSS, again[0].at, &[(15 * MSS, 19 * MSS)]);
    assert_eq!(starts(&rig.out()), [14]);
    assert_eq!(rig.phase(), Phase::Recovery);
    assert!(threshold(&rig) < before);
}

#[test]
fn a_timeout_is_spurious_if_what_was_sent_once_arrives_after_it() {
    // RFC 5682 sections 2.1 and 3.1: the acknowledgments after the timeout, in segments, and whether it was in vain.
    for (acks, spurious) in [
        // Both move on, the second over what was not sent again.
        (&[(5, &[][..]), (6, &[])][..], true),
        // One moves on over all of that.
        (&[(6, &[])], true),
        // What is SACKed meanwhile tells nothing yet.
        (&[(4, &[(5, 6)]), (6, &[]), (7, &[])], true),
        (&[(4, &[(5, 6)]), (6, &[]), (6, &[])], false),
        // Only what was sent again is acknowledged, and then nothing.
        (&[(5, &[]), (5, &[]), (6, &[])], false),
    ] {
        let mut rig = Rig::new();
        rig.send(4);
        rig.pass(10 * MS);
        // A probe of the tail would be in the way.
        let again = rig.retransmission_timeout();
        assert_eq!(starts(&again), [4], "{again:?}");
        assert_eq!((rig.phase(), rig.window()), (Phase::Loss, 1));
        rig.write(4 * MSS);
        for &(ack, sack) in acks {
            rig.pass(2 * MS);
            let sack: Vec<_> = sack.iter().map(|&(a, b)| (a * MSS, b * MSS)).collect();
            // Echoes tell nothing here: they are of the retransmission.
            rig.ack(ack * MSS, again[0].at, &sack);
            rig.out();
        }
        assert_eq!(rig.undone(), [0, 0, u64::from(spurious)], "{acks:?}");
        assert_eq!(rig.window() >= 10, spurious, "{}", rig.window());
    }
}

#[test]
fn a_timeout_loses_the_first_and_what_left_longer_ago_than_a_round_trip() {
    // RFC 8985 section 6.3: the age of the second segment when the timer runs out, and whether it is lost. The reordering
    // window is a quarter of the round trip.
    for (age, lost) in [(MS, false), (RTT + 9 * MS, false), (RTT + 11 * MS, true)] {
        let mut rig = Rig::new();
        rig.send(1);
        // Past the probe of the tail, which is the segment again.
        while rig.flow.wait != crate::tcp::flow::Wait::Retransmit {
            rig.time_out();
        }
        rig.now = rig.now.max(rig.flow.wait_until - age);
        let second = rig.send(1);
        assert_eq!(starts(&second), [5]);
        let again = rig.retransmission_timeout();
        assert_eq!(starts(&again), [4], "{age:?}");
        let busy = rig.flow.busy.as_ref().unwrap();
        assert_eq!(busy.sent.lost(), if lost { MSS } else { 0 }, "{age:?}");
        assert_eq!(rig.window(), if lost { 1 } else { 2 });
        // What is still on its way and arrives does not make the timeout spurious.
        rig.pass(MS);
        rig.ack(6 * MSS, second[0].at, &[]);
        assert_eq!(rig.undone()[2], u64::from(lost), "{age:?}");
    }
}

#[test]
fn a_late_acknowledgment_tells_what_it_says_of_single_segments() {
    let (mut rig, sent, again) = repairing();
    rig.pass(RTT);
    rig.ack(8 * MSS, again.at, &[]);
    let info = |rig: &Rig| rig.flow.busy.as_ref().map(|busy| busy.sent.sacked() / MSS);
    let (window, rtt) = (rig.flow.snd_wnd, rig.flow.rtt.latest());
    // RFC 6675 section 4: overtaken by what acknowledges up to 8. Of 7 to 9 only 8 is news, and 11 all of it.
    rig.pass(RTT);
    rig.ack(
        5 * MSS,
        sent[0].at,
        &[(7 * MSS, 9 * MSS), (11 * MSS, 12 * MSS)],
    );
    assert_eq!(info(&rig), Some(2));
    assert_eq!((rig.flow.snd_wnd, rig.flow.rtt.latest()), (window, rtt));
    // What it says to have come twice is what is below its own number.
    let duplicates = rig.tcp.stats.snapshot().rx_dsack;
    rig.ack(5 * MSS, sent[0].at, &[(6 * MSS, 7 * MSS)]);
    assert_eq!(rig.tcp.stats.snapshot().rx_dsack, duplicates);
    rig.ack(5 * MSS, sent[0].at, &[(4 * MSS, 5 * MSS)]);
    assert_eq!(rig.tcp.stats.snapshot().rx_dsack, duplicates + 1);
    assert_eq!(info(&rig), Some(2));
    // Without SACK there is nothing in it.
    rig.ack(5 * MSS, sent[0].at, &[]);
    assert_eq!(info(&rig), Some(2));
}

#[test]
fn a_window_may_grow_if_more_than_half_of_it_was_used_in_the_last_round_trip() {
    // RFC 7661 section 4.3. What is in flight shrinks while it is acknowledged, and the window grows meanwhile.
    for (segments, grown) in [(10, 20), (9, 18), (6, 12), (5, 10), (2, 10)] {
        let mut rig = Rig::new();
        rig.open_window(10);
        for _ in 0..2 {
            // The second round trip, with less, does not profit by the first.
            let sent = rig.send(segments);
            rig.pass(RTT);
            for left in &sent {
                rig.ack(left.start + MSS, left.at, &[]);
            }
            assert_eq!(rig.window(), grown, "{segments}");
        }
    }
}
