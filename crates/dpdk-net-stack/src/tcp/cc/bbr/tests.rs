use alloc::vec::Vec;

use super::*;

const MSS: u32 = 1_460;
const RTT: Duration = Duration::from_millis(40);

#[derive(Debug)]
struct Flow {
    bbr: Bbr,
    now: Instant,
    delivered: u64,
}

impl Flow {
    fn new() -> Self {
        let now = Instant::from_secs(1);
        Flow {
            bbr: Bbr::new(MSS, 10 * MSS, now),
            now,
            delivered: 0,
        }
    }

    /// Past startup, with a bandwidth of 8 MB/s: a product of 320,000 bytes.
    fn steady() -> Self {
        let mut flow = Flow::new();
        for _ in 0..8 {
            flow.round(8_000_000, false);
        }
        assert_eq!(flow.bbr.phase(), "probe bw");
        flow
    }

    fn ack(&self, acked: u32) -> Ack {
        Ack {
            now: self.now,
            acked,
            may_grow: true,
            lost: 0,
            in_flight: 0,
            prior_in_flight: 0,
            rtt: Some(RTT),
            srtt: RTT,
            min_rtt: RTT,
            rate: None,
            delivered: self.delivered,
            snd_una: 0,
            snd_nxt: 0,
            cwnd_limited: true,
            in_recovery: false,
            mss: MSS,
        }
    }

    /// As [`steady`](Self::steady), with an acknowledgment for each segment since long.
    fn smooth() -> Self {
        let mut flow = Flow::steady();
        flow.now += Duration::from_millis(100);
        for _ in 0..12 {
            flow.segments();
        }
        flow
    }

    /// The acknowledgments of a round trip, one by one.
    fn segments(&mut self) {
        for _ in 0..220 {
            self.segment();
        }
    }

    /// The acknowledgment of a segment, as they come at 8 MB/s.
    fn segment(&mut self) {
        self.now += Duration::from_nanos(u64::from(MSS) * 125);
        self.delivered += u64::from(MSS);
        let mut ack = self.ack(MSS);
        ack.rate = Some(RateSample {
            delivered: 320_000,
            interval: RTT,
            prior_delivered: self.delivered - 320_000,
            app_limited: false,
        });
        self.bbr.on_ack(&ack);
    }

    /// A round trip at a rate, in one acknowledgment.
    fn round(&mut self, rate: u32, app_limited: bool) {
        let bytes = rate / 25;
        let prior_delivered = self.delivered;
        self.now += RTT;
        self.delivered += u64::from(bytes);
        let mut ack = self.ack(bytes);
        ack.rate = Some(RateSample {
            delivered: bytes,
            interval: RTT,
            prior_delivered,
            app_limited,
        });
        self.bbr.on_ack(&ack);
    }
}

#[test]
fn startup_ends_when_three_rounds_brought_no_quarter_more() {
    let mut flow = Flow::new();
    for rate in [
        1_000_000, 2_000_000, 4_000_000, 8_000_000, 9_000_000, 9_900_000,
    ] {
        flow.round(rate, false);
        assert_eq!(flow.bbr.phase(), "startup");
    }
    // Rounds that the application limits don't count.
    flow.round(9_000_000, true);
    assert_eq!(flow.bbr.phase(), "startup");
    flow.round(9_900_000, false);
    assert_eq!(flow.bbr.phase(), "probe bw");
    assert_eq!(flow.bbr.bandwidth.get(), 9_900_000);
}

#[test]
fn the_window_is_two_products_and_three_quanta() {
    let flow = Flow::smooth();
    // Nothing is acknowledged in one go but a segment.
    let least = 640_000 + MSS;
    let cwnd = flow.bbr.cwnd();
    assert!((least..=least + 3 * 10_000).contains(&cwnd), "{cwnd}");
}

#[test]
fn acknowledgments_that_come_together_have_room_in_the_window_for_ten_rounds() {
    let mut flow = Flow::smooth();
    let before = flow.bbr.cwnd();
    // For 10 ms nothing comes, then 80,000 bytes at once, then nothing for a while, and the rest one by one again.
    flow.now += Duration::from_millis(10);
    flow.delivered += 80_000;
    let together = flow.ack(80_000);
    flow.bbr.on_ack(&together);
    flow.now += Duration::from_millis(20);
    let mut cwnd = Vec::new();
    for _ in 0..12 {
        flow.segments();
        cwnd.push(flow.bbr.cwnd());
    }
    // But for what microseconds round off.
    assert!(cwnd[0].abs_diff(before - MSS + 80_000) < 10, "{cwnd:?}");
    assert_eq!(cwnd[3], cwnd[0], "{cwnd:?}");
    assert_eq!(cwnd[11], before, "{cwnd:?}");
}

#[test]
fn the_gains_of_a_cycle_probe_drain_and_cruise() {
    let mut flow = Flow::steady();
    let mut seen = [0u32; 3];
    for _ in 0..32 {
        flow.now += Duration::from_millis(5);
        let mut ack = flow.ack(40_000);
        // As much in flight as the probe aims at, so that it ends.
        ack.prior_in_flight = 1 << 20;
        ack.now = flow.now + RTT;
        flow.now = ack.now;
        flow.bbr.on_ack(&ack);
        let rate = flow.bbr.pacing_rate().unwrap_or(0);
        match rate {
            9_900_000 => seen[0] += 1,
            5_940_000 => seen[1] += 1,
            7_920_000 => seen[2] += 1,
            _ => panic!("{rate}"),
        }
    }
    assert_eq!(seen, [4, 4, 24]);
}

#[test]
fn losses_conserve_packets_for_a_round_and_leave_the_model_alone() {
    let mut flow = Flow::steady();
    let before = flow.bbr.cwnd();
    flow.bbr.on_congestion(flow.now, 320_000, MSS, false);
    assert!(flow.bbr.can_undo());
    let mut ack = flow.ack(MSS);
    (ack.lost, ack.in_flight) = (3 * MSS, 200_000);
    flow.bbr.on_ack(&ack);
    // What the path is known to hold without a queue remains.
    assert_eq!(flow.bbr.cwnd(), flow.bbr.inflight(UNIT));
    assert!(flow.bbr.cwnd() < before);
    // A round later it grows again, by what is delivered.
    flow.round(8_000_000, false);
    assert_eq!(flow.bbr.bandwidth.get(), 8_000_000);
    assert!(flow.bbr.cwnd() > 500_000);
    flow.bbr.on_recovery_exit(flow.now);
    assert!(flow.bbr.cwnd() >= before);
    assert!(!flow.bbr.can_undo());
}

#[test]
fn the_window_before_a_timeout_comes_back_with_repair_or_undo() {
    for undo in [false, true] {
        let mut flow = Flow::steady();
        let before = flow.bbr.cwnd();
        flow.bbr.on_rto(flow.now, before, 0, MSS, true);
        flow.bbr.on_rto(flow.now, before, 0, MSS, false);
        assert_eq!(flow.bbr.cwnd(), MSS);
        flow.bbr.on_ack(&flow.ack(MSS));
        assert_eq!(flow.bbr.cwnd(), 4 * MSS);
        if undo {
            flow.bbr.undo(flow.now);
        } else {
            flow.bbr.on_recovery_exit(flow.now);
        }
        assert_eq!(flow.bbr.cwnd(), before);
        assert_eq!(flow.bbr.phase(), "probe bw");
    }
}

#[test]
fn marks_are_not_reacted_to() {
    let mut flow = Flow::steady();
    let before = flow.bbr.cwnd();
    flow.bbr.on_congestion(flow.now, before, MSS, true);
    assert_eq!((flow.bbr.cwnd(), flow.bbr.can_undo()), (before, false));
}

#[test]
fn samples_that_the_application_limits_can_raise_the_bandwidth_only() {
    let mut flow = Flow::steady();
    for _ in 0..50 {
        flow.round(1_000_000, true);
    }
    assert_eq!(flow.bbr.bandwidth.get(), 8_000_000);
    flow.round(9_000_000, true);
    assert_eq!(flow.bbr.bandwidth.get(), 9_000_000);
    // Others lower it when the filter's ten rounds are over.
    for _ in 0..12 {
        flow.round(2_000_000, false);
    }
    assert_eq!(flow.bbr.bandwidth.get(), 2_000_000);
}

#[test]
fn idleness_ends_at_the_bandwidth_and_probes_no_round_trip_time() {
    let mut flow = Flow::steady();
    flow.now += Duration::from_secs(60);
    flow.bbr.on_sent(flow.now, MSS, 0);
    assert_eq!(flow.bbr.pacing_rate(), Some(7_920_000));
    flow.round(1_000_000, true);
    assert_eq!(flow.bbr.phase(), "probe bw");
}

#[test]
fn the_round_trip_time_is_probed_for_200_ms_when_the_least_is_ten_seconds_old() {
    let mut flow = Flow::steady();
    // A sample that is as low as the least is as good as a probe; so these are higher.
    let slow = Duration::from_millis(60);
    let mut probing = 0;
    for _ in 0..400 {
        flow.now += slow;
        let prior_delivered = flow.delivered;
        flow.delivered += 300_000;
        let mut ack = flow.ack(300_000);
        ack.rtt = Some(slow);
        ack.rate = Some(RateSample {
            delivered: 300_000,
            interval: slow,
            prior_delivered,
            app_limited: false,
        });
        flow.bbr.on_ack(&ack);
        if flow.bbr.phase() == "probe rtt" {
            assert_eq!(flow.bbr.cwnd(), 4 * MSS);
            probing += 1;
        } else {
            assert!(flow.bbr.cwnd() > 400_000 || probing > 0);
        }
    }
    // One probe in 24 s, of 200 ms rounded up to whole round trips: then 60 ms are the least, and seen all the time.
    assert_eq!(probing, 4);
}
