//! The Ethernet segment: a learning switch with a link to each host, and the frames that are under way.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use super::host::HostId;
use super::link::{Fate, Link, LinkConfig};
use super::trace::{Direction, Trace, TraceEntry};
use crate::Instant;
use crate::frames;

/// The port of a host on the switch.
#[derive(Debug)]
pub(crate) struct Port {
    /// From the host to the switch.
    pub(crate) up: Link,
    /// From the switch to the host.
    pub(crate) down: Link,
}

/// A frame that reaches a host.
#[derive(Debug)]
pub(crate) struct Arrival {
    pub(crate) host: usize,
    pub(crate) frame: Vec<u8>,
}

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stop {
    /// At the switch; from the port, or from a station that is no host.
    Switch { from: Option<usize> },
    /// At the host.
    Host { to: usize },
}

/// A frame under way. Ordered by time, then by when it was sent.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct InFlight {
    at: Instant,
    number: u64,
    stop: Stop,
    frame: Vec<u8>,
}

#[derive(Debug)]
pub(crate) struct Segment {
    seed: u64,
    ports: Vec<Port>,
    /// Which port a station was last heard on, by its VLAN. Never iterated, so its order can't leak into a run.
    stations: HashMap<(Option<u16>, [u8; 6]), usize>,
    in_flight: BinaryHeap<Reverse<InFlight>>,
    sent: u64,
    passed: Vec<(Instant, Vec<u8>)>,
}

impl Segment {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            seed,
            ports: Vec::new(),
            stations: HashMap::new(),
            in_flight: BinaryHeap::new(),
            sent: 0,
            passed: Vec::new(),
        }
    }

    pub(crate) fn join(&mut self, up: LinkConfig, down: LinkConfig) {
        // Each direction has a generator of its own: changing one link leaves what happens on the others as it was.
        let seed =
            |direction: u64| mix(self.seed ^ mix(self.ports.len() as u64 * 2 + direction + 1));
        let (up, down) = (Link::new(up, seed(0)), Link::new(down, seed(1)));
        self.ports.push(Port { up, down });
    }

    pub(crate) fn port(&mut self, host: usize) -> &mut Port {
        &mut self.ports[host]
    }

    pub(crate) fn send(&mut self, now: Instant, from: usize, frame: Vec<u8>, trace: &mut Trace) {
        let copy = trace.is_on().then(|| frame.clone());
        let fate = self.ports[from].up.offer(now, frame, &mut self.passed);
        record(trace, now, from, Direction::Sent, fate, copy);
        self.dispatch(|| Stop::Switch { from: Some(from) });
    }

    pub(crate) fn inject(&mut self, now: Instant, frame: Vec<u8>) {
        self.passed.push((now, frame));
        self.dispatch(|| Stop::Switch { from: None });
    }

    pub(crate) fn next_arrival(&self) -> Option<Instant> {
        self.in_flight.peek().map(|Reverse(next)| next.at)
    }

    /// Takes what reaches a host at `now`, in the order it was sent, and passes on what reaches the switch.
    pub(crate) fn take_arrivals(
        &mut self,
        now: Instant,
        arrivals: &mut Vec<Arrival>,
        trace: &mut Trace,
    ) {
        while self.next_arrival().is_some_and(|at| at <= now) {
            let Some(Reverse(InFlight { stop, frame, .. })) = self.in_flight.pop() else {
                return;
            };
            match stop {
                Stop::Host { to } => arrivals.push(Arrival { host: to, frame }),
                Stop::Switch { from } => self.forward(now, from, frame, trace),
            }
        }
    }

    fn forward(&mut self, now: Instant, from: Option<usize>, frame: Vec<u8>, trace: &mut Trace) {
        let (Some(&dst), Some(&src)) = (
            frame.first_chunk::<6>(),
            frame.get(6..).and_then(|s| s.first_chunk::<6>()),
        ) else {
            // A real switch drops such a runt. Hosts must bear it all the same, so it goes everywhere.
            return self.flood(now, from, frame, trace);
        };
        let group = |mac: [u8; 6]| mac[0] & 1 != 0;
        // Each VLAN is a network of its own (IEEE 802.1Q's independent VLAN learning).
        let vlan = frames::tci(&frame).map(|tci| tci & 0xfff);
        if let Some(from) = from
            && !group(src)
        {
            self.stations.insert((vlan, src), from);
        }
        match self.stations.get(&(vlan, dst)) {
            Some(&to) if !group(dst) => {
                if Some(to) != from {
                    self.deliver(now, to, frame, trace);
                }
            }
            _ => self.flood(now, from, frame, trace),
        }
    }

    fn flood(&mut self, now: Instant, from: Option<usize>, frame: Vec<u8>, trace: &mut Trace) {
        for to in (0..self.ports.len()).filter(|&to| Some(to) != from) {
            self.deliver(now, to, frame.clone(), trace);
        }
    }

    fn deliver(&mut self, now: Instant, to: usize, frame: Vec<u8>, trace: &mut Trace) {
        let copy = trace.is_on().then(|| frame.clone());
        let fate = self.ports[to].down.offer(now, frame, &mut self.passed);
        record(trace, now, to, Direction::Received, fate, copy);
        self.dispatch(|| Stop::Host { to });
    }

    fn dispatch(&mut self, stop: impl Fn() -> Stop) {
        for (at, frame) in self.passed.drain(..) {
            self.sent += 1;
            self.in_flight.push(Reverse(InFlight {
                at,
                number: self.sent,
                stop: stop(),
                frame,
            }));
        }
    }
}

fn record(
    trace: &mut Trace,
    at: Instant,
    host: usize,
    direction: Direction,
    fate: Fate,
    copy: Option<Vec<u8>>,
) {
    if let Some(frame) = copy {
        trace.record(TraceEntry {
            at,
            host: HostId(host),
            direction,
            fate,
            frame,
        });
    }
}

/// The finaliser of splitmix64: neighbouring inputs give unrelated outputs.
pub(crate) fn mix(mut z: u64) -> u64 {
    z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
