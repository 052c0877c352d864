use alloc::string::ToString;

use super::*;

const MSS: u32 = 1_000;

/// An acknowledgment of one segment in a flow that the window limits.
fn ack(now: Instant) -> Ack {
    Ack {
        now,
        acked: MSS,
        may_grow: true,
        lost: 0,
        in_flight: 0,
        prior_in_flight: 1 << 30,
        rtt: None,
        srtt: Duration::from_millis(100),
        min_rtt: Duration::from_millis(100),
        rate: None,
        delivered: 0,
        snd_una: 0,
        snd_nxt: 1,
        cwnd_limited: true,
        in_recovery: false,
        mss: MSS,
    }
}

fn loss_based() -> [Controller; 2] {
    [Algorithm::Cubic, Algorithm::NewReno].map(|a| Controller::new(a, MSS, Instant::ZERO))
}

#[test]
fn names_are_read_and_written() {
    for algorithm in [Algorithm::Cubic, Algorithm::NewReno, Algorithm::Bbr] {
        assert_eq!(algorithm.to_string().parse(), Ok(algorithm));
        assert_eq!(
            Controller::new(algorithm, MSS, Instant::ZERO).name(),
            algorithm.name()
        );
    }
    let error = "vegas".parse::<Algorithm>().unwrap_err();
    assert!(error.to_string().contains("'vegas'"));
}

#[test]
fn state_is_compact() {
    assert!(size_of::<Cubic>() <= 160, "{}", size_of::<Cubic>());
    assert!(size_of::<NewReno>() <= 64, "{}", size_of::<NewReno>());
    assert!(size_of::<Bbr>() <= 320, "{}", size_of::<Bbr>());
    assert!(
        size_of::<Controller>() <= 160,
        "{}",
        size_of::<Controller>()
    );
}

#[test]
fn the_initial_window_is_that_of_rfc_6928() {
    for (mss, window) in [
        (536, 5_360),
        (1_220, 12_200),
        (1_460, 14_600),
        (4_000, 14_600),
        (8_960, 17_920),
    ] {
        assert_eq!(initial_window(mss), window);
    }
}

#[test]
fn a_quantum_is_a_millisecond_and_two_segments_at_least() {
    assert_eq!(pacing_quantum(25_000_000, 1_460), 25_000);
    assert_eq!(pacing_quantum(1, 1_460), 2_920);
    assert_eq!(pacing_quantum(u64::MAX, 1_460), MAX_WINDOW);
}

#[test]
fn slow_start_doubles_the_window_in_a_round_trip() {
    for mut cc in loss_based() {
        for _ in 0..10 {
            cc.on_ack(&ack(Instant::ZERO));
        }
        assert_eq!(cc.cwnd(), 20 * MSS);
        assert_eq!((cc.phase(), cc.ssthresh()), ("slow start", u32::MAX));
        // RFC 9406 section 4.2: L is 8.
        let mut stretched = ack(Instant::ZERO);
        stretched.acked = 30 * MSS;
        cc.on_ack(&stretched);
        assert_eq!(cc.cwnd(), 28 * MSS);
    }
}

#[test]
fn a_window_that_is_not_used_does_not_grow() {
    for mut cc in loss_based() {
        let mut limited = ack(Instant::ZERO);
        (limited.cwnd_limited, limited.prior_in_flight) = (false, 4 * MSS);
        for _ in 0..100 {
            cc.on_ack(&limited);
        }
        assert_eq!(cc.cwnd(), 10 * MSS);
        cc.on_congestion(Instant::ZERO, 10 * MSS, MSS, true);
        let before = cc.cwnd();
        for second in 0..100 {
            limited.now = Instant::from_secs(second);
            cc.on_ack(&limited);
        }
        assert_eq!(cc.cwnd(), before);
    }
}

#[test]
fn what_only_sack_acknowledges_makes_no_window_grow() {
    for mut cc in loss_based() {
        let mut by_sack = ack(Instant::ZERO);
        by_sack.may_grow = false;
        cc.on_ack(&by_sack);
        assert_eq!(cc.cwnd(), 10 * MSS);
        cc.on_congestion(Instant::ZERO, 10 * MSS, MSS, true);
        let before = cc.cwnd();
        for second in 0..100 {
            by_sack.now = Instant::from_secs(second);
            cc.on_ack(&by_sack);
        }
        assert_eq!(cc.cwnd(), before);
    }
}

#[test]
fn fast_recovery_ends_with_the_window_at_the_threshold() {
    for (mut cc, ssthresh) in loss_based().into_iter().zip([70, 50]) {
        for _ in 0..90 {
            cc.on_ack(&ack(Instant::ZERO));
        }
        assert_eq!(cc.cwnd(), 100 * MSS);
        cc.on_congestion(Instant::ZERO, 100 * MSS, MSS, false);
        assert_eq!((cc.cwnd(), cc.ssthresh()), (100 * MSS, ssthresh * MSS));
        assert_eq!(cc.phase(), "recovery");
        cc.set_cwnd(80 * MSS);
        let mut recovering = ack(Instant::ZERO);
        recovering.in_recovery = true;
        cc.on_ack(&recovering);
        assert_eq!(cc.cwnd(), 80 * MSS);
        cc.on_recovery_exit(Instant::ZERO);
        assert_eq!(cc.cwnd(), ssthresh * MSS);
        assert_eq!(cc.phase(), "congestion avoidance");
    }
}

#[test]
fn a_mark_reduces_the_window_at_once_and_for_good() {
    for (mut cc, ssthresh) in loss_based().into_iter().zip([7, 5]) {
        cc.on_congestion(Instant::ZERO, 10 * MSS, MSS, true);
        assert_eq!((cc.cwnd(), cc.ssthresh()), (ssthresh * MSS, ssthresh * MSS));
        assert!(!cc.can_undo());
        cc.on_recovery_exit(Instant::ZERO);
        assert_eq!(cc.cwnd(), ssthresh * MSS);
    }
}

#[test]
fn a_reduction_of_a_window_hardly_used_starts_from_what_was_in_flight() {
    for (mut cc, ssthresh) in loss_based().into_iter().zip([2_800, 2_000]) {
        cc.on_congestion(Instant::ZERO, 4 * MSS, MSS, false);
        assert_eq!(cc.ssthresh(), ssthresh);
        cc.on_congestion(Instant::ZERO, 0, MSS, false);
        assert_eq!(cc.ssthresh(), 2 * MSS);
    }
}

#[test]
fn a_timeout_starts_over_and_reduces_the_threshold_once() {
    for (mut cc, ssthresh) in loss_based().into_iter().zip([7, 5]) {
        cc.on_rto(Instant::ZERO, 10 * MSS, 0, MSS, true);
        assert_eq!((cc.cwnd(), cc.ssthresh()), (MSS, ssthresh * MSS));
        cc.on_rto(Instant::ZERO, 10 * MSS, 0, MSS, false);
        assert_eq!((cc.cwnd(), cc.ssthresh()), (MSS, ssthresh * MSS));
        // Slow start up to the threshold, and not a jump to it when all is repaired.
        cc.on_ack(&ack(Instant::ZERO));
        assert_eq!(cc.cwnd(), 2 * MSS);
        cc.on_recovery_exit(Instant::ZERO);
        assert_eq!(cc.cwnd(), 2 * MSS);
        for _ in 2..ssthresh {
            assert_eq!(cc.phase(), "slow start");
            cc.on_ack(&ack(Instant::ZERO));
        }
        assert_eq!(cc.phase(), "congestion avoidance");
    }
}

#[test]
fn a_spurious_timeout_or_recovery_is_undone_once() {
    for mut cc in loss_based() {
        cc.on_rto(Instant::ZERO, 10 * MSS, 0, MSS, true);
        assert!(cc.can_undo());
        cc.undo(Instant::ZERO);
        assert_eq!((cc.cwnd(), cc.ssthresh()), (10 * MSS, u32::MAX));
        cc.on_congestion(Instant::ZERO, 10 * MSS, MSS, false);
        cc.set_cwnd(3 * MSS);
        cc.undo(Instant::ZERO);
        assert_eq!((cc.cwnd(), cc.ssthresh()), (10 * MSS, u32::MAX));
        assert_eq!((cc.phase(), cc.can_undo()), ("slow start", false));
        cc.set_cwnd(3 * MSS);
        cc.undo(Instant::ZERO);
        assert_eq!(cc.cwnd(), 3 * MSS);
    }
}

#[test]
fn idleness_halves_the_window_per_timeout_down_to_the_restart_window() {
    let rto = Duration::from_millis(200);
    for mut cc in loss_based() {
        cc.on_rto(Instant::ZERO, 10 * MSS, 0, MSS, true);
        cc.set_cwnd(100 * MSS);
        cc.on_idle_restart(Instant::ZERO, rto / 2, rto, MSS);
        assert_eq!(cc.cwnd(), 100 * MSS);
        cc.on_idle_restart(Instant::ZERO, rto, rto, MSS);
        assert_eq!((cc.cwnd(), cc.ssthresh()), (50 * MSS, 75 * MSS));
        cc.on_idle_restart(Instant::ZERO, rto * 1_000, rto, MSS);
        assert_eq!((cc.cwnd(), cc.ssthresh()), (10 * MSS, 75 * MSS));
        cc.set_cwnd(3 * MSS);
        cc.on_idle_restart(Instant::ZERO, rto * 1_000, Duration::ZERO, MSS);
        assert_eq!(cc.cwnd(), 3 * MSS);
    }
}

#[test]
fn smaller_segments_are_as_many_as_before() {
    for mut cc in loss_based() {
        cc.on_rto(Instant::ZERO, 10 * MSS, 0, MSS, true);
        cc.set_cwnd(100 * MSS);
        let ssthresh = cc.ssthresh();
        cc.on_mss(MSS, 500);
        assert_eq!((cc.cwnd(), cc.ssthresh()), (50 * MSS, ssthresh / 2));
        cc.on_mss(500, 2_000);
        assert_eq!(cc.cwnd(), 50 * MSS);
        cc.set_cwnd(1);
        cc.on_mss(2_000, 9_000);
        assert_eq!((cc.cwnd(), cc.ssthresh()), (9_000, 18_000));
    }
    let mut bbr = Controller::new(Algorithm::Bbr, MSS, Instant::ZERO);
    bbr.on_mss(MSS, 20_000);
    assert_eq!(bbr.cwnd(), 20_000);
}

#[test]
fn newreno_grows_by_a_segment_per_window() {
    let mut cc = Controller::new(Algorithm::NewReno, MSS, Instant::ZERO);
    cc.on_congestion(Instant::ZERO, 10 * MSS, MSS, true);
    for window in 5..50 {
        for _ in 0..window {
            assert_eq!(cc.cwnd(), window * MSS);
            cc.on_ack(&ack(Instant::ZERO));
        }
    }
}

#[test]
fn another_algorithm_takes_over_the_window() {
    let now = Instant::ZERO;
    let mut cc = Controller::new(Algorithm::Cubic, MSS, now);
    cc.on_rto(now, 10 * MSS, 0, MSS, true);
    cc.set_cwnd(33 * MSS);
    cc.switch(Algorithm::NewReno, MSS, now);
    assert_eq!(
        (cc.name(), cc.cwnd(), cc.ssthresh()),
        ("reno", 33 * MSS, 7 * MSS)
    );
    cc.switch(Algorithm::NewReno, MSS, now);
    cc.switch(Algorithm::Bbr, MSS, now);
    assert_eq!(
        (cc.name(), cc.cwnd(), cc.uses_prr()),
        ("bbr", 33 * MSS, false)
    );
    assert!(cc.pacing_rate().is_some());
    cc.switch(Algorithm::Cubic, MSS, now);
    assert_eq!((cc.cwnd(), cc.ssthresh()), (33 * MSS, u32::MAX));
}

/// One round trip of ten samples; gives the growth in segments.
fn round(cc: &mut Controller, number: u32, rtt: Duration) -> f64 {
    let before = cc.cwnd();
    for step in 1..=10 {
        let mut ack = ack(Instant::ZERO);
        ack.snd_una = (number * 10 + step) * MSS;
        ack.snd_nxt = (number * 10 + 11) * MSS;
        ack.rtt = Some(rtt);
        cc.on_ack(&ack);
    }
    f64::from(cc.cwnd() - before) / f64::from(MSS)
}

#[test]
fn hystart_turns_conservative_on_delay_and_ends_slow_start_five_rounds_later() {
    let ms = Duration::from_millis;
    for mut cc in loss_based() {
        for number in 0..3 {
            assert_eq!(round(&mut cc, number, ms(40)), 10.0);
        }
        // The threshold is an eighth, 5 ms.
        assert_eq!(round(&mut cc, 3, ms(44)), 10.0);
        assert_eq!(cc.phase(), "slow start");
        assert!(round(&mut cc, 4, ms(51)) < 10.0);
        assert_eq!(cc.phase(), "conservative slow start");
        for number in 5..9 {
            assert_eq!(cc.ssthresh(), u32::MAX);
            assert_eq!(round(&mut cc, number, ms(60)), 2.5);
        }
        let end = cc.cwnd();
        round(&mut cc, 9, ms(60));
        assert_eq!(cc.phase(), "congestion avoidance");
        assert_eq!(cc.ssthresh(), end);
    }
}

#[test]
fn hystart_goes_back_to_slow_start_after_jitter() {
    let ms = Duration::from_millis;
    for mut cc in loss_based() {
        for (number, rtt) in [40, 40, 60].into_iter().enumerate() {
            round(&mut cc, number as u32, ms(rtt));
        }
        assert_eq!(cc.phase(), "conservative slow start");
        round(&mut cc, 3, ms(41));
        assert_eq!(cc.phase(), "slow start");
        assert_eq!(round(&mut cc, 4, ms(41)), 10.0);
    }
}

#[test]
fn hystart_is_not_misled_by_short_round_trips() {
    // Less than 4 ms more is no sign of a queue, whatever the ratio.
    for mut cc in loss_based() {
        for number in 0..10 {
            round(
                &mut cc,
                number,
                Duration::from_micros(50 + u64::from(number) * 300),
            );
        }
        assert_eq!(cc.phase(), "slow start");
    }
}
