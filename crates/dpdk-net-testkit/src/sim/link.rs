//! One direction of a cable: what it does to the frames put on it.
//!
//! Holds the settings of a direction ([`LinkConfig`]), its state (the queue in front of the wire, the order that frames
//! without a reordering keep) and its counters ([`LinkStats`]). All chance comes from the generator given at creation, so
//! a link that sees the same frames at the same times does the same things to them. Who is at the other end, and when the
//! frames that come out are handed over, is the simulation's business.

use std::collections::VecDeque;
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use crate::Instant;
use crate::frames::fix_checksums;

const ETHERNET_HEADER: usize = 14;

/// What one direction of a link does to frames. The default is a perfect wire: no delay, no loss, no limit.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct LinkConfig {
    /// Propagation delay of every frame.
    pub latency: Duration,
    /// Extra delay, uniform in `0..=jitter`. Frames keep their order: a frame never overtakes the one before it.
    pub jitter: Duration,
    /// Probability that a frame is lost.
    pub loss: f64,
    /// Probability that a frame is held back by up to [`reorder_delay`](Self::reorder_delay) while others overtake it.
    pub reorder: f64,
    /// Longest time a reordered frame is held back (uniform, at least 1 ns).
    pub reorder_delay: Duration,
    /// Probability that a frame arrives twice; the copy may be up to [`reorder_delay`](Self::reorder_delay) late.
    pub duplicate: f64,
    /// Probability that one bit of the IP packet in a frame is flipped. One flipped bit is always caught by the Internet
    /// checksum, so a receiver that delivers such a payload is at fault. Frames that are not IP carry no checksum of their
    /// own (a real NIC would drop them by the frame check sequence): they are lost instead.
    pub corrupt: f64,
    /// Probability that an IP packet whose sender is capable of explicit congestion notification is marked (RFC 3168).
    pub mark: f64,
    /// Bits per second that the wire takes, counted over the bytes of the frame; `None` is no limit.
    pub rate_bps: Option<u64>,
    /// Frames that wait for the wire at most, where there is a rate; a frame that finds the queue full is dropped.
    pub queue_frames: usize,
    /// Longest frame that passes, Ethernet header included; longer ones vanish, as in a path-MTU black hole.
    pub max_frame: Option<usize>,
    /// A link that is not up loses every frame.
    pub up: bool,
}

impl Default for LinkConfig {
    fn default() -> Self {
        Self {
            latency: Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            reorder: 0.0,
            reorder_delay: Duration::from_millis(3),
            duplicate: 0.0,
            corrupt: 0.0,
            mark: 0.0,
            rate_bps: None,
            queue_frames: 256,
            max_frame: None,
            up: true,
        }
    }
}

impl LinkConfig {
    /// A perfect wire.
    pub fn perfect() -> Self {
        Self::default()
    }

    /// A wire with `latency` one way and nothing else.
    pub fn delay(latency: Duration) -> Self {
        Self {
            latency,
            ..Self::default()
        }
    }

    /// Sets the largest extra delay that keeps the order of frames.
    pub fn with_jitter(mut self, jitter: Duration) -> Self {
        self.jitter = jitter;
        self
    }

    /// Sets the probability of loss.
    pub fn with_loss(mut self, probability: f64) -> Self {
        self.loss = probability;
        self
    }

    /// Sets the probability of reordering and the longest time that a frame is held back.
    pub fn with_reordering(mut self, probability: f64, hold: Duration) -> Self {
        self.reorder = probability;
        self.reorder_delay = hold;
        self
    }

    /// Sets the probability of duplication.
    pub fn with_duplication(mut self, probability: f64) -> Self {
        self.duplicate = probability;
        self
    }

    /// Sets the probability of a flipped bit.
    pub fn with_corruption(mut self, probability: f64) -> Self {
        self.corrupt = probability;
        self
    }

    /// Sets the probability that a packet which may be is marked with congestion.
    pub fn with_marks(mut self, probability: f64) -> Self {
        self.mark = probability;
        self
    }

    /// Sets the rate in bits per second and the number of frames that wait for the wire.
    pub fn with_rate(mut self, bits_per_second: u64, queue_frames: usize) -> Self {
        self.rate_bps = Some(bits_per_second);
        self.queue_frames = queue_frames;
        self
    }

    /// Sets the longest frame that passes.
    pub fn with_max_frame(mut self, bytes: usize) -> Self {
        self.max_frame = Some(bytes);
        self
    }

    pub(crate) fn check(&self) {
        for (name, p) in [
            ("loss", self.loss),
            ("reorder", self.reorder),
            ("duplicate", self.duplicate),
            ("corrupt", self.corrupt),
            ("mark", self.mark),
        ] {
            assert!(
                (0.0..=1.0).contains(&p),
                "LinkConfig.{name} is {p}: a probability lies in 0..=1"
            );
        }
        assert!(
            self.rate_bps != Some(0),
            "LinkConfig.rate_bps is 0: use `up = false` for a dead link"
        );
    }
}

/// What became of the frames put on a link, in frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LinkStats {
    /// Frames put on the link.
    pub offered: u64,
    /// Frames that came or will come out, copies included.
    pub passed: u64,
    /// Frames lost by chance.
    pub lost: u64,
    /// Frames lost because the link was down.
    pub down: u64,
    /// Frames that found the queue full.
    pub queue_full: u64,
    /// Frames longer than the link lets pass.
    pub too_long: u64,
    /// Frames that came out with a flipped bit.
    pub corrupted: u64,
    /// Frames that came out with a mark of congestion.
    pub marked: u64,
    /// Extra copies that came out.
    pub duplicated: u64,
    /// Frames held back while others overtook them.
    pub reordered: u64,
}

/// What a link did to a frame, for the trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fate {
    /// It passes as it is.
    Passed,
    /// It passes, with copies.
    Duplicated,
    /// It is held back while others overtake it.
    Reordered,
    /// It passes with a flipped bit.
    Corrupted,
    /// It was lost by chance.
    Lost,
    /// It was lost because the link is down.
    Down,
    /// It found the queue full.
    QueueFull,
    /// It is longer than the link lets pass.
    TooLong,
}

/// One direction of a link.
#[derive(Debug)]
pub(crate) struct Link {
    config: LinkConfig,
    rng: Xoshiro256PlusPlus,
    stats: LinkStats,
    /// When each frame that still waits for the wire will have left.
    departures: VecDeque<Instant>,
    /// Arrival of the last frame that kept its order.
    last_arrival: Instant,
}

impl Link {
    pub(crate) fn new(config: LinkConfig, seed: u64) -> Self {
        config.check();
        Self {
            config,
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            stats: LinkStats::default(),
            departures: VecDeque::new(),
            last_arrival: Instant::ZERO,
        }
    }

    pub(crate) fn config(&self) -> &LinkConfig {
        &self.config
    }

    pub(crate) fn set_config(&mut self, config: LinkConfig) {
        config.check();
        self.config = config;
    }

    pub(crate) fn stats(&self) -> LinkStats {
        self.stats
    }

    /// Puts `frame` on the wire; `out` receives what comes out at the other end, and when.
    pub(crate) fn offer(
        &mut self,
        now: Instant,
        mut frame: Vec<u8>,
        out: &mut Vec<(Instant, Vec<u8>)>,
    ) -> Fate {
        self.stats.offered += 1;
        if !self.config.up {
            self.stats.down += 1;
            return Fate::Down;
        }
        if self.config.max_frame.is_some_and(|max| frame.len() > max) {
            self.stats.too_long += 1;
            return Fate::TooLong;
        }
        let Some(departure) = self.departure(now, frame.len()) else {
            self.stats.queue_full += 1;
            return Fate::QueueFull;
        };
        if self.chance(self.config.loss) {
            self.stats.lost += 1;
            return Fate::Lost;
        }
        let mut fate = Fate::Passed;
        // Before a bit is flipped: a mark has its checksum made anew.
        if self.chance(self.config.mark) && mark(&mut frame) {
            self.stats.marked += 1;
        }
        if self.chance(self.config.corrupt) {
            if !carries_ip(&frame) {
                self.stats.lost += 1;
                return Fate::Lost;
            }
            self.flip_a_bit(&mut frame);
            self.stats.corrupted += 1;
            fate = Fate::Corrupted;
        }
        if self.chance(self.config.mark) && mark(&mut frame) {
            self.stats.marked += 1;
        }
        let arrival = departure + self.config.latency;
        if self.chance(self.config.duplicate) {
            let late = self.up_to(self.config.reorder_delay);
            out.push((arrival + late, frame.clone()));
            self.stats.duplicated += 1;
            self.stats.passed += 1;
            fate = Fate::Duplicated;
        }
        let arrival = if self.chance(self.config.reorder) {
            self.stats.reordered += 1;
            fate = Fate::Reordered;
            arrival + Duration::from_nanos(1) + self.up_to(self.config.reorder_delay)
        } else {
            let jitter = self.up_to(self.config.jitter);
            self.last_arrival = self.last_arrival.max(arrival + jitter);
            self.last_arrival
        };
        self.stats.passed += 1;
        out.push((arrival, frame));
        fate
    }

    /// When a frame of `len` bytes that is offered now has left, or `None` when the queue is full.
    fn departure(&mut self, now: Instant, len: usize) -> Option<Instant> {
        let Some(rate) = self.config.rate_bps else {
            return Some(now);
        };
        while self.departures.front().is_some_and(|&left| left <= now) {
            self.departures.pop_front();
        }
        // The frame at the front is on the wire, not in the queue.
        if self.departures.len() > self.config.queue_frames {
            return None;
        }
        let nanos = (len as u128 * 8 * 1_000_000_000).div_ceil(u128::from(rate));
        let nanos = u64::try_from(nanos).unwrap_or(u64::MAX);
        let left =
            self.departures.back().copied().unwrap_or(now).max(now) + Duration::from_nanos(nanos);
        self.departures.push_back(left);
        Some(left)
    }

    fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.rng.random_bool(probability)
    }

    fn up_to(&mut self, longest: Duration) -> Duration {
        let nanos = u64::try_from(longest.as_nanos()).unwrap_or(u64::MAX);
        if nanos == 0 {
            Duration::ZERO
        } else {
            Duration::from_nanos(self.rng.random_range(0..=nanos))
        }
    }

    fn flip_a_bit(&mut self, frame: &mut [u8]) {
        let at = self.rng.random_range(ETHERNET_HEADER..frame.len());
        frame[at] ^= 1 << self.rng.random_range(0..8u32);
    }
}

/// Marks a packet with "congestion experienced", if its sender is capable of it and it is not marked yet.
fn mark(frame: &mut [u8]) -> bool {
    // The ECN field is the low end of the traffic class.
    let (at, shift) = match frame.get(12..14) {
        Some([0x08, 0x00]) => (ETHERNET_HEADER + 1, 0),
        Some([0x86, 0xdd]) => (ETHERNET_HEADER + 1, 4),
        _ => return false,
    };
    match frame.get(at).map(|class| class >> shift & 3) {
        Some(1 | 2) => frame[at] |= 3 << shift,
        _ => return false,
    }
    fix_checksums(frame);
    true
}

fn carries_ip(frame: &[u8]) -> bool {
    frame.len() > ETHERNET_HEADER && matches!(frame[12..14], [0x08, 0x00] | [0x86, 0xdd])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::addr::Family;
    use crate::frames::Path;

    fn frame(n: usize) -> Vec<u8> {
        let mut frame = vec![0u8; n];
        frame[12] = 0x08;
        frame
    }

    fn run(config: LinkConfig, frames: usize) -> (Vec<(Instant, Vec<u8>)>, LinkStats) {
        let mut link = Link::new(config, 7);
        let mut out = Vec::new();
        for i in 0..frames {
            let mut f = frame(100);
            f[20..28].copy_from_slice(&(i as u64).to_be_bytes());
            link.offer(Instant::from_nanos(i as u64 * 1_000), f, &mut out);
        }
        (out, link.stats())
    }

    fn number(frame: &[u8]) -> u64 {
        u64::from_be_bytes(frame[20..28].try_into().unwrap())
    }

    #[test]
    fn a_perfect_wire_delivers_at_once_and_in_order() {
        let (out, stats) = run(LinkConfig::perfect(), 100);
        assert_eq!(stats.passed, 100);
        for (i, (at, f)) in out.iter().enumerate() {
            assert_eq!((at.as_nanos(), number(f)), (i as u64 * 1_000, i as u64));
        }
    }

    #[test]
    fn loss_takes_about_its_share_and_the_same_seed_takes_the_same_frames() {
        let config = LinkConfig::perfect().with_loss(0.1);
        let (one, stats) = run(config.clone(), 10_000);
        let (two, _) = run(config, 10_000);
        assert!(
            (800..1_200).contains(&stats.lost),
            "lost {} of 10,000",
            stats.lost
        );
        assert_eq!(one, two);
    }

    #[test]
    fn only_capable_packets_are_marked_and_their_checksums_stay_right() {
        for family in Family::BOTH {
            for (ecn, marked) in [(0, 0), (1, 3), (2, 3), (3, 3)] {
                let mut frame = Path::new(family, 1, 2).udp(1, 2, &[7; 30]);
                match family {
                    Family::V4 => frame[15] |= ecn,
                    Family::V6 => frame[15] |= ecn << 4,
                }
                fix_checksums(&mut frame);
                let mut link = Link::new(LinkConfig::perfect().with_marks(1.0), 7);
                let mut out = Vec::new();
                link.offer(Instant::ZERO, frame.clone(), &mut out);
                let (_, got) = out.remove(0);
                assert_eq!(link.stats().marked, u64::from(ecn == 1 || ecn == 2));
                match family {
                    Family::V4 => frame[15] |= marked,
                    Family::V6 => frame[15] |= marked << 4,
                }
                fix_checksums(&mut frame);
                assert_eq!(got, frame);
            }
        }
    }

    #[test]
    fn jitter_keeps_the_order_and_reordering_breaks_it() {
        let ordered = |out: &mut Vec<(Instant, Vec<u8>)>| {
            out.sort_by_key(|(at, _)| *at);
            out.windows(2).all(|w| number(&w[0].1) < number(&w[1].1))
        };
        let (mut out, _) = run(
            LinkConfig::perfect().with_jitter(Duration::from_micros(50)),
            1_000,
        );
        assert!(ordered(&mut out));
        let (mut out, stats) = run(
            LinkConfig::perfect().with_reordering(0.1, Duration::from_micros(50)),
            1_000,
        );
        assert!(stats.reordered > 0 && !ordered(&mut out));
    }

    #[test]
    fn corruption_flips_exactly_one_bit_behind_the_ethernet_header() {
        let mut link = Link::new(LinkConfig::perfect().with_corruption(1.0), 1);
        for _ in 0..200 {
            let mut out = Vec::new();
            assert_eq!(
                link.offer(Instant::ZERO, frame(60), &mut out),
                Fate::Corrupted
            );
            let clean = frame(60);
            let flipped: u32 = out[0]
                .1
                .iter()
                .zip(&clean)
                .map(|(a, b)| (a ^ b).count_ones())
                .sum();
            assert_eq!((flipped, &out[0].1[..14]), (1, &clean[..14]));
        }
        let mut arp = frame(60);
        arp[13] = 0x06;
        assert_eq!(link.offer(Instant::ZERO, arp, &mut Vec::new()), Fate::Lost);
    }

    #[test]
    fn a_rate_spaces_frames_and_a_full_queue_drops() {
        let mut link = Link::new(LinkConfig::perfect().with_rate(8_000_000, 2), 1);
        let mut out = Vec::new();
        let fates: Vec<_> = (0..4)
            .map(|_| link.offer(Instant::ZERO, frame(100), &mut out))
            .collect();
        // One on the wire, two in the queue.
        assert_eq!(
            fates,
            [Fate::Passed, Fate::Passed, Fate::Passed, Fate::QueueFull]
        );
        let at: Vec<_> = out.iter().map(|(at, _)| at.as_nanos()).collect();
        assert_eq!(at, [100_000, 200_000, 300_000]);
        assert_eq!(
            link.offer(Instant::from_nanos(100_000), frame(100), &mut out),
            Fate::Passed
        );
    }

    #[test]
    fn a_dead_link_and_a_short_one_lose_frames_and_count_them() {
        let mut link = Link::new(
            LinkConfig {
                up: false,
                ..LinkConfig::perfect()
            },
            1,
        );
        assert_eq!(
            link.offer(Instant::ZERO, frame(60), &mut Vec::new()),
            Fate::Down
        );
        link.set_config(LinkConfig::perfect().with_max_frame(1_000));
        assert_eq!(
            link.offer(Instant::ZERO, frame(1_001), &mut Vec::new()),
            Fate::TooLong
        );
        assert_eq!(
            (
                link.stats().down,
                link.stats().too_long,
                link.stats().passed
            ),
            (1, 1, 0)
        );
    }

    #[test]
    fn duplication_delivers_a_frame_twice() {
        let (out, stats) = run(LinkConfig::perfect().with_duplication(1.0), 10);
        assert_eq!((out.len(), stats.duplicated), (20, 10));
    }
}
