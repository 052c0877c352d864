//! A bulk sender over one bottleneck, for tests: a link with a rate, a delay, a queue of so many packets and random loss.
//! Loss is detected by three later deliveries (the path does not reorder), recovery is PRR's, and pacing wakes up on a
//! grid of a millisecond as the stack's timers do.

use alloc::collections::{BTreeMap, VecDeque};
use alloc::vec::Vec;

use super::*;

pub(super) const MSS: u32 = 1460;

#[derive(Debug, Clone, Copy)]
pub(super) struct Path {
    /// Bits per second.
    pub(super) rate: u64,
    pub(super) one_way: Duration,
    pub(super) queue: u64,
    /// In percent.
    pub(super) loss: u64,
}

impl Path {
    /// 200 Mbit/s, a queue of the bandwidth-delay product and of 100 packets at least.
    pub(super) fn of(one_way_ms: u64, loss: u64) -> Path {
        let rate = 200_000_000;
        Path {
            rate,
            one_way: Duration::from_millis(one_way_ms),
            queue: (rate / 8 * 2 * one_way_ms / 1_000 / u64::from(MSS)).max(100),
            loss,
        }
    }

    pub(super) fn bdp(&self) -> u64 {
        self.rate / 8 * (2 * self.one_way).as_micros() as u64 / 1_000_000
    }

    fn serialization(&self) -> Duration {
        Duration::from_nanos(u64::from(MSS) * 8 * 1_000_000_000 / self.rate)
    }
}

/// One transmission.
#[derive(Debug, Clone, Copy)]
struct Sent {
    segment: usize,
    at: Instant,
    delivered: u64,
    delivered_at: Instant,
    first_sent_at: Instant,
    again: bool,
}

#[derive(Debug)]
pub(super) struct Model {
    path: Path,
    pub(super) cc: Controller,
    pub(super) now: Instant,
    pub(super) min_cwnd: u32,
    pub(super) losses: u64,
    pub(super) timeouts: u64,
    start: Instant,
    random: u64,
    /// Transmissions in flight, by number.
    flying: BTreeMap<u64, Sent>,
    sent: u64,
    /// Acknowledgments on their way.
    acks: VecDeque<(Instant, u64)>,
    link_free: Instant,
    lost: VecDeque<usize>,
    acked: Vec<bool>,
    una: usize,
    delivered: u64,
    delivered_at: Instant,
    first_sent_at: Instant,
    srtt: Duration,
    min_rtt: Duration,
    recover: Option<usize>,
    fast: bool,
    prr: (u64, u64, u64),
    paced_until: Instant,
}

impl Model {
    pub(super) fn new(path: Path, algorithm: Algorithm, seed: u64) -> Self {
        let start = Instant::from_secs(1_000);
        Model {
            path,
            cc: Controller::new(algorithm, MSS, start),
            now: start,
            min_cwnd: u32::MAX,
            losses: 0,
            timeouts: 0,
            start,
            random: seed,
            flying: BTreeMap::new(),
            sent: 0,
            acks: VecDeque::new(),
            link_free: start,
            lost: VecDeque::new(),
            acked: Vec::new(),
            una: 0,
            delivered: 0,
            delivered_at: start,
            first_sent_at: start,
            srtt: Duration::ZERO,
            min_rtt: Duration::ZERO,
            recover: None,
            fast: false,
            prr: (0, 0, 0),
            paced_until: start,
        }
    }

    /// Runs for a time and gives its goodput in Mbit/s.
    pub(super) fn run(&mut self, time: Duration) -> u64 {
        let (from, una, end) = (self.now, self.una, self.now + time);
        while self.now < end {
            self.send();
            self.min_cwnd = self.min_cwnd.min(self.cc.cwnd());
            let ack = self.acks.front().map(|(at, _)| *at);
            let paced = (self.room() && self.paced_until > self.now).then(|| {
                let ms = self.paced_until.as_nanos().div_ceil(1_000_000);
                Instant::from_millis(ms)
            });
            match (ack, paced) {
                (Some(ack), Some(paced)) if paced < ack => self.now = paced,
                (Some(ack), _) => {
                    self.now = self.now.max(ack);
                    if let Some((_, number)) = self.acks.pop_front() {
                        self.acknowledge(number);
                    }
                }
                (None, Some(paced)) => self.now = paced,
                (None, None) => self.time_out(),
            }
        }
        let bits = (self.una - una) as u64 * u64::from(MSS) * 8;
        bits * 1_000 / (self.now - from).as_nanos() as u64
    }

    pub(super) fn elapsed(&self) -> Duration {
        self.now - self.start
    }

    fn in_flight(&self) -> u32 {
        self.flying.len() as u32 * MSS
    }

    fn room(&self) -> bool {
        self.in_flight() + MSS <= self.cc.cwnd()
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % 100 < percent
    }

    fn send(&mut self) {
        let rate = self.cc.pacing_rate();
        let mut quantum = rate.map_or(u32::MAX, |rate| pacing_quantum(rate, MSS));
        while self.room() && quantum >= MSS && (rate.is_none() || self.paced_until <= self.now) {
            self.cc.on_sent(self.now, MSS, self.in_flight());
            self.transmit();
            quantum -= MSS;
            if quantum < MSS || !self.room() {
                break;
            }
            if let Some(rate) = rate {
                self.pace(rate, MSS);
            }
        }
        if let Some(rate) = rate
            && self.paced_until <= self.now
        {
            self.pace(rate, MSS);
        }
    }

    /// A burst of a quantum may be behind by the grid's width, no more.
    fn pace(&mut self, rate: u64, bytes: u32) {
        let from = self.paced_until.max(self.now - Duration::from_millis(1));
        self.paced_until =
            from + Duration::from_nanos(u64::from(bytes) * 1_000_000_000 / rate.max(1));
    }

    fn transmit(&mut self) {
        let (segment, again) = match self.lost.pop_front() {
            Some(segment) => (segment, true),
            None => {
                self.acked.push(false);
                (self.acked.len() - 1, false)
            }
        };
        if self.flying.is_empty() {
            (self.delivered_at, self.first_sent_at) = (self.now, self.now);
        }
        let number = self.sent;
        self.sent += 1;
        self.flying.insert(
            number,
            Sent {
                segment,
                at: self.now,
                delivered: self.delivered,
                delivered_at: self.delivered_at,
                first_sent_at: self.first_sent_at,
                again,
            },
        );
        if self.fast {
            self.prr.1 += u64::from(MSS);
        }
        let queued = (self.link_free - self.now).as_nanos();
        let full = queued / self.path.serialization().as_nanos() > u128::from(self.path.queue);
        if self.chance(self.path.loss) || full {
            return;
        }
        self.link_free = self.link_free.max(self.now) + self.path.serialization();
        self.acks
            .push_back((self.link_free + self.path.one_way * 2, number));
    }

    fn acknowledge(&mut self, number: u64) {
        let prior_in_flight = self.in_flight();
        let cwnd_limited = !self.room() || self.cc.pacing_rate().is_some();
        let Some(sent) = self.flying.remove(&number) else {
            return;
        };
        self.acked[sent.segment] = true;
        while self.acked.get(self.una) == Some(&true) {
            self.una += 1;
        }
        self.delivered += u64::from(MSS);
        self.delivered_at = self.now;
        self.first_sent_at = sent.at;
        let interval = (sent.at - sent.first_sent_at).max(self.now - sent.delivered_at);
        let rtt = (!sent.again).then(|| self.now - sent.at);
        if let Some(rtt) = rtt {
            if self.srtt.is_zero() {
                (self.srtt, self.min_rtt) = (rtt, rtt);
            }
            self.srtt = (self.srtt * 7 + rtt) / 8;
            self.min_rtt = self.min_rtt.min(rtt);
        }
        let mut lost = 0;
        while let Some(entry) = self.flying.first_entry()
            && *entry.key() + 3 <= number
        {
            lost += MSS;
            self.losses += 1;
            self.lost.push_back(entry.remove().segment);
        }
        let flight_size = (self.acked.len() - self.una) as u32 * MSS;
        if lost > 0 && self.recover.is_none() {
            self.recover = Some(self.acked.len());
            self.fast = true;
            self.prr = (0, 0, u64::from(flight_size));
            self.cc.on_congestion(self.now, flight_size, MSS, false);
        }
        if self.recover.is_some_and(|recover| self.una >= recover) {
            self.recover = None;
            self.fast = false;
            self.cc.on_recovery_exit(self.now);
        }
        self.cc.on_ack(&Ack {
            now: self.now,
            acked: MSS,
            may_grow: true,
            lost,
            in_flight: self.in_flight(),
            prior_in_flight,
            rtt,
            srtt: self.srtt,
            min_rtt: self.min_rtt,
            rate: Some(RateSample {
                delivered: (self.delivered - sent.delivered) as u32,
                interval,
                prior_delivered: sent.delivered,
                app_limited: false,
            }),
            delivered: self.delivered,
            snd_una: (self.una as u32).wrapping_mul(MSS),
            snd_nxt: (self.acked.len() as u32).wrapping_mul(MSS),
            cwnd_limited,
            in_recovery: self.fast,
            mss: MSS,
        });
        if self.fast && self.cc.uses_prr() {
            self.reduce();
        }
    }

    /// RFC 6937 section 3.1, with the slow start bound.
    fn reduce(&mut self) {
        let (mss, pipe, ssthresh) = (
            u64::from(MSS),
            u64::from(self.in_flight()),
            u64::from(self.cc.ssthresh()),
        );
        self.prr.0 += mss;
        let (delivered, out, flight) = self.prr;
        let count = if pipe > ssthresh {
            (delivered * ssthresh).div_ceil(flight).saturating_sub(out)
        } else {
            (ssthresh - pipe).min(delivered.saturating_sub(out).max(mss) + mss)
        };
        self.cc.set_cwnd((pipe + count) as u32);
    }

    /// All that is in flight was lost.
    fn time_out(&mut self) {
        self.now += Duration::from_millis(200);
        self.timeouts += 1;
        let flight_size = (self.acked.len() - self.una) as u32 * MSS;
        self.cc
            .on_rto(self.now, flight_size, 0, MSS, self.recover.is_none());
        self.recover = Some(self.acked.len());
        self.fast = false;
        while let Some((_, sent)) = self.flying.pop_first() {
            self.lost.push_back(sent.segment);
        }
        self.paced_until = self.now;
    }
}

#[test]
fn bbr_keeps_its_rate_at_random_loss() {
    for (one_way, loss, least) in [
        (0, 0, 180),
        (0, 1, 170),
        (0, 3, 160),
        (0, 10, 130),
        (1, 0, 180),
        (1, 1, 170),
        (1, 3, 160),
        (1, 10, 130),
        (20, 0, 170),
        (20, 1, 160),
        (20, 3, 155),
        (20, 10, 130),
    ] {
        for seed in [1, 99, 12_345] {
            let mut model = Model::new(Path::of(one_way, loss), Algorithm::Bbr, seed);
            let goodput = model.run(Duration::from_secs(12));
            assert!(
                goodput >= least,
                "{one_way} ms, {loss} %, seed {seed}: {goodput} Mbit/s, {} timeouts, {}",
                model.timeouts,
                model.cc.phase()
            );
        }
    }
}

#[test]
fn cubic_and_newreno_fill_a_path_without_loss() {
    for algorithm in [Algorithm::Cubic, Algorithm::NewReno] {
        for one_way in [0, 1, 20] {
            let mut model = Model::new(Path::of(one_way, 0), algorithm, 1);
            model.run(Duration::from_secs(4));
            let goodput = model.run(Duration::from_secs(20));
            assert!(
                goodput >= 190,
                "{algorithm}, {one_way} ms: {goodput} Mbit/s, {} lost",
                model.losses
            );
            assert_eq!(model.timeouts, 0);
            assert_eq!(model.elapsed().as_secs(), 24);
        }
    }
}

#[test]
fn hystart_leaves_the_first_slow_start_before_the_queue_overflows() {
    for algorithm in [Algorithm::Cubic, Algorithm::NewReno] {
        // The first round trip that begins with a queue tells of it, and conservative slow start triples the window.
        let mut path = Path::of(20, 0);
        path.queue *= 12;
        let mut model = Model::new(path, algorithm, 1);
        model.run(Duration::from_secs(4));
        assert_eq!(model.losses, 0, "{algorithm}");
        assert_eq!(model.cc.phase(), "congestion avoidance");
        let windows = u64::from(model.cc.cwnd()) / path.bdp();
        assert!((1..12).contains(&windows), "{windows}");
        assert!(model.cc.ssthresh() < u32::MAX);
    }
}

#[test]
fn bbr_leaves_no_standing_queue_and_probes_the_round_trip_time() {
    let path = Path::of(20, 0);
    let mut model = Model::new(path, Algorithm::Bbr, 5);
    model.run(Duration::from_secs(3));
    assert_eq!(model.cc.phase(), "probe bw");
    let mut most = Duration::ZERO;
    for _ in 0..500 {
        model.run(Duration::from_millis(10));
        most = most.max(model.srtt);
    }
    // Two windows' worth would be 80 ms; a quarter more for a round trip is what probing adds.
    assert!(most < Duration::from_millis(54), "{most:?}");
    let mut seen = false;
    for _ in 0..400 {
        model.run(Duration::from_millis(10));
        seen |= model.cc.phase() == "probe rtt";
        assert!(!seen || model.cc.cwnd() >= 4 * MSS);
    }
    assert!(seen, "{}", model.cc.phase());
    assert_eq!(model.cc.phase(), "probe bw");
    assert!(model.run(Duration::from_secs(1)) >= 180);
}
