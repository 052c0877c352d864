use super::*;

const MSS: u32 = 1_460;

fn ack(now: Instant, rtt: Duration) -> Ack {
    Ack {
        now,
        acked: MSS,
        may_grow: true,
        lost: 0,
        in_flight: 0,
        prior_in_flight: 0,
        rtt: None,
        srtt: rtt,
        min_rtt: rtt,
        rate: None,
        delivered: 0,
        snd_una: 0,
        snd_nxt: 1,
        cwnd_limited: true,
        in_recovery: false,
        mss: MSS,
    }
}

/// CUBIC past the recovery from a loss with a window of so many segments.
fn reduced_from(segments: u32) -> Cubic {
    let mut cubic = Cubic::new(segments * MSS);
    lose(&mut cubic);
    cubic
}

fn lose(cubic: &mut Cubic) {
    cubic.on_congestion(Instant::ZERO, cubic.cwnd(), MSS, false);
    cubic.on_recovery_exit(Instant::ZERO);
}

/// A round trip's acknowledgments, one a segment, evenly.
fn round(cubic: &mut Cubic, now: &mut Instant, rtt: Duration) {
    let count = (cubic.cwnd() / MSS).max(1);
    for _ in 0..count {
        *now += rtt / count;
        cubic.on_ack(&ack(*now, rtt));
    }
}

fn segments(cubic: &Cubic) -> f64 {
    f64::from(cubic.cwnd()) / f64::from(MSS)
}

#[test]
fn cube_roots_are_exact() {
    for root in [0u64, 1, 2, 3, 10, 1_000, 65_535, 2_000_000, MAX_TIME] {
        let cube = root * root * root;
        assert_eq!(u64::from(cbrt(cube)), root);
        assert_eq!(u64::from(cbrt(cube + 1)), root.max(1));
        if cube > 1 {
            assert_eq!(u64::from(cbrt(cube - 1)), root - 1);
        }
    }
    assert_eq!(u64::from(cbrt(u64::MAX)), 2_642_245);
}

#[test]
fn the_function_is_that_of_equation_1_and_2() {
    for w_max in [20u32, 100, 1_000, 10_000, 500_000] {
        let (w_max_bytes, cwnd) = (w_max * MSS, reduced(w_max * MSS));
        let mut curve = Curve {
            w_max: w_max_bytes,
            ..Curve::default()
        };
        curve.begin(Instant::ZERO, cwnd, MSS);
        let k = (f64::from(w_max) * 0.3 / 0.4).cbrt();
        let got = f64::from(curve.k) / 16_384.0;
        assert!((got - k).abs() < 0.001, "{got} {k}");
        for tenth in 0..=20 {
            let t = k * f64::from(tenth) / 10.0;
            let expected = 0.4 * (t - k).powi(3) + f64::from(w_max);
            let time = Duration::from_secs_f64(t);
            let got = f64::from(curve.at(ticks(time), MSS)) / f64::from(MSS);
            let error = (got - expected).abs();
            assert!(
                error < 0.01 + expected * 1e-4,
                "{w_max} {t}: {got} {expected}"
            );
        }
    }
}

#[test]
fn extremes_do_not_overflow() {
    assert!(growth(u64::MAX, u32::MAX) >= MAX_WINDOW);
    assert_eq!(time_to_grow(u32::MAX, 0), MAX_TIME as u32);
    assert!(ticks(Duration::MAX) > 8 * MAX_TIME);
    let mut cubic = reduced_from(MAX_WINDOW / MSS);
    for second in 0..600 {
        let mut ack = ack(Instant::from_secs(second), Duration::from_secs(60));
        ack.acked = u32::MAX;
        cubic.on_ack(&ack);
    }
    assert_eq!(cubic.cwnd(), MAX_WINDOW);
}

#[test]
fn after_a_loss_the_window_follows_the_function_back_and_beyond() {
    // 2,000 segments and 100 ms: far from what Reno does. K is 11.4 s.
    let rtt = Duration::from_millis(100);
    let mut cubic = reduced_from(2_000);
    assert_eq!(segments(&cubic).round(), 1_400.0);
    let mut now = Instant::from_secs(5);
    let (begin, k) = (now, (2_000.0f64 * 0.3 / 0.4).cbrt());
    while now - begin < Duration::from_secs(16) {
        round(&mut cubic, &mut now, rtt);
        let t = (now - begin).as_secs_f64();
        let expected = 0.4 * (t - k).powi(3) + 2_000.0;
        let error = (segments(&cubic) - expected).abs();
        assert!(
            error < 0.01 * expected,
            "{t} s: {} instead of {expected}",
            segments(&cubic)
        );
    }
    assert!(segments(&cubic) > 2_030.0);
}

#[test]
fn where_reno_is_faster_the_window_is_renos() {
    // 1 ms: the function hardly moves in 100 round trips. Section 4.3: 9/17 of a segment a round trip.
    let rtt = Duration::from_millis(1);
    let mut cubic = reduced_from(100);
    let mut now = Instant::from_secs(5);
    for _ in 0..50 {
        round(&mut cubic, &mut now, rtt);
    }
    let expected = 70.0 + 50.0 * 9.0 / 17.0;
    assert!(
        (segments(&cubic) - expected).abs() < 1.5,
        "{}",
        segments(&cubic)
    );
    // Back where it was it grows as Reno: a segment a round trip.
    while segments(&cubic) < 101.0 {
        round(&mut cubic, &mut now, rtt);
    }
    let before = segments(&cubic);
    for _ in 0..20 {
        round(&mut cubic, &mut now, rtt);
    }
    let grown = segments(&cubic) - before;
    assert!((grown - 20.0).abs() < 2.0, "{grown}");
}

#[test]
fn a_lower_plateau_makes_room_for_others() {
    let mut cubic = reduced_from(1_000);
    assert_eq!(cubic.curve.w_max, 1_000 * MSS);
    // Section 4.7: lost again at 700, the plateau is 700 * (1 + 0.7) / 2.
    lose(&mut cubic);
    assert_eq!(cubic.curve.w_max, 595 * MSS);
    assert_eq!(cubic.cwnd(), 490 * MSS);
}

#[test]
fn the_window_grows_by_half_in_a_round_trip_at_most() {
    let rtt = Duration::from_secs(10);
    let mut cubic = reduced_from(20);
    let mut now = Instant::from_secs(5);
    cubic.on_ack(&ack(now, rtt));
    now += Duration::from_secs(100);
    let before = cubic.cwnd();
    for _ in 0..before / MSS {
        cubic.on_ack(&ack(now, rtt));
    }
    let growth = f64::from(cubic.cwnd()) / f64::from(before);
    // Compound: each acknowledgment grows the window it finds.
    assert!((1.3..=1.65).contains(&growth), "{growth}");
}

#[test]
fn time_without_data_to_send_does_not_count() {
    let rtt = Duration::from_millis(100);
    let mut cubic = reduced_from(2_000);
    let mut other = reduced_from(2_000);
    let mut now = Instant::from_secs(5);
    round(&mut cubic, &mut now, rtt);
    let mut other_now = Instant::from_secs(5);
    round(&mut other, &mut other_now, rtt);
    // A minute in which the application does not fill the window.
    for _ in 0..600 {
        now += rtt;
        let mut limited = ack(now, rtt);
        limited.cwnd_limited = false;
        cubic.on_ack(&limited);
    }
    for _ in 0..20 {
        round(&mut cubic, &mut now, rtt);
        round(&mut other, &mut other_now, rtt);
    }
    let ratio = segments(&cubic) / segments(&other);
    assert!((0.995..1.01).contains(&ratio), "{ratio}");
}

#[test]
fn a_timeout_has_its_plateau_where_congestion_avoidance_begins() {
    let mut cubic = reduced_from(1_000);
    cubic.on_rto(Instant::ZERO, cubic.cwnd(), 0, MSS, true);
    let ssthresh = cubic.ssthresh();
    assert_eq!((cubic.cwnd(), ssthresh), (MSS, 490 * MSS));
    cubic.set_cwnd(ssthresh);
    cubic.on_ack(&ack(Instant::from_secs(1), Duration::from_millis(100)));
    assert_eq!((cubic.curve.k, cubic.curve.origin), (0, ssthresh));
    // And a spurious one gives all of the function back.
    let mut cubic = reduced_from(1_000);
    let mut now = Instant::from_secs(1);
    round(&mut cubic, &mut now, Duration::from_millis(100));
    let (cwnd, curve) = (cubic.cwnd(), cubic.curve);
    cubic.on_rto(now, cwnd, 0, MSS, true);
    cubic.undo(now);
    assert_eq!(cubic.cwnd(), cwnd);
    assert_eq!(
        (cubic.curve.k, cubic.curve.origin, cubic.curve.epoch),
        (curve.k, curve.origin, curve.epoch)
    );
}
