//! The simulated network: hosts on one Ethernet segment, in virtual time, from one seed.
//!
//! A [`Sim`] owns any number of hosts, each joined to a learning switch by a link with settings per direction, and the
//! applications on them. [`Sim::drive_until`] and its kin jump from event to event (a frame arrives, a deadline is due):
//! an hour of waiting costs nothing. Everything that happens follows from the seed, so a run can be repeated; a test that
//! fails prints how.
//!
//! What holds: time never runs backwards; frames that arrive at the same instant at the same host are handed over in one
//! batch, in the order they were sent; a host whose deadline has come is told at that instant and not later. Between any two
//! events [`Host::check`] is asked whether the host's own invariants hold. A simulation in which nothing is under way
//! while an application still waits has lost a timer or a wake-up: [`SimError::Stalled`].
//!
//! What hosts and applications do does not live here.

mod host;
mod link;
mod pair;
mod seed;
mod segment;
mod trace;

pub use host::{App, AppError, AppId, ConnId, Host, HostId, ListenId, TcpHost};
#[cfg(feature = "vdev")]
pub(crate) use link::Link;
pub use link::{Fate, LinkConfig, LinkStats};
pub use pair::Pair;
pub use seed::{BYTES_VAR, PCAP_VAR, SEED_VAR, bulk_bytes, seeds};
pub use trace::{Direction, Trace, TraceEntry};

use std::any::{Any, type_name};
use std::fmt;
use std::io;
use std::marker::PhantomData;
use std::path::Path;
use std::time::Duration;

use crate::Instant;
use segment::{Arrival, Segment};
use trace::Pcap;

/// Frames that a host may send in one instant before it is asked again a microsecond later: the size of its TX ring.
pub const DEFAULT_TX_RING: usize = 512;
/// Time that a TX ring takes to drain.
const TX_RING_DRAIN: Duration = Duration::from_micros(1);
/// Rounds at one instant after which a host is taken to spin.
const SPIN_LIMIT: u32 = 100_000;

/// Why a simulation did not come to its goal.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SimError {
    /// Nothing is in flight and no host has a deadline, but the goal is not reached: a timer or a wake-up was lost.
    Stalled {
        /// When.
        at: Instant,
    },
    /// The goal was not reached within the virtual time given.
    OutOfTime {
        /// When.
        at: Instant,
    },
    /// A host asks to be called again at the same instant, for ever.
    Spinning {
        /// When.
        at: Instant,
        /// Which host.
        host: HostId,
    },
    /// An invariant of a host does not hold.
    Broken {
        /// When.
        at: Instant,
        /// Which host.
        host: HostId,
        /// What does not hold.
        what: String,
    },
    /// An application failed.
    App {
        /// When.
        at: Instant,
        /// On which host.
        host: HostId,
        /// How.
        error: AppError,
    },
}

impl fmt::Display for SimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stalled { at } => write!(
                f,
                "at {at:?} nothing is under way any more, but the goal is not reached"
            ),
            Self::OutOfTime { at } => write!(f, "at {at:?} the goal is still not reached"),
            Self::Spinning { at, host } => write!(
                f,
                "at {at:?} host {} asks to be called again for ever",
                host.0
            ),
            Self::Broken { at, host, what } => {
                write!(f, "at {at:?} host {} is broken: {what}", host.0)
            }
            Self::App { at, host, error } => write!(
                f,
                "at {at:?} an application on host {} failed: {error}",
                host.0
            ),
        }
    }
}

impl std::error::Error for SimError {}

struct Node {
    host: Box<dyn Host>,
    apps: Vec<Box<dyn App>>,
    tx_ring: usize,
    tx_stalled_until: Instant,
    /// The next time the host must be looked at, as of when it was last settled.
    deadline: Option<Instant>,
    poll_apps: bool,
    dirty: bool,
    pcap: Option<Pcap>,
}

/// A simulated Ethernet segment with its hosts. See the [module](self).
pub struct Sim {
    seed: u64,
    now: Instant,
    nodes: Vec<Node>,
    segment: Segment,
    trace: Trace,
    /// Rounds that were run without time moving on.
    rounds_at_now: u32,
    // Buffers that are used again from one round to the next.
    frames: Vec<Vec<u8>>,
    arrivals: Vec<Arrival>,
}

impl fmt::Debug for Sim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sim")
            .field("seed", &self.seed)
            .field("now", &self.now)
            .field("hosts", &self.nodes.len())
            .finish_non_exhaustive()
    }
}

impl Sim {
    /// An empty segment. All chance in it comes from `seed`. Time starts at one second, so that nothing can hide behind zero.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            now: Instant::from_millis(1_000),
            nodes: Vec::new(),
            segment: Segment::new(seed),
            trace: Trace::default(),
            rounds_at_now: 0,
            frames: Vec::new(),
            arrivals: Vec::new(),
        }
    }

    /// The seed given at creation.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// The virtual time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// Joins a host to the segment by a link with the same settings for both directions.
    pub fn add<H: Host>(&mut self, host: H, link: LinkConfig) -> HostId {
        self.add_asymmetric(host, link.clone(), link)
    }

    /// Joins a host to the segment: `up` is what the link does to frames that the host sends, `down` to those it gets.
    pub fn add_asymmetric<H: Host>(&mut self, host: H, up: LinkConfig, down: LinkConfig) -> HostId {
        let id = HostId(self.nodes.len());
        self.segment.join(up, down);
        let pcap = seed::pcap_directory().and_then(|dir| {
            let path = dir.join(format!("seed{}-host{}.pcap", self.seed, id.0));
            Pcap::create(&path)
                .inspect_err(|error| eprintln!("no capture in {}: {error}", path.display()))
                .ok()
        });
        self.nodes.push(Node {
            host: Box::new(host),
            apps: Vec::new(),
            tx_ring: DEFAULT_TX_RING,
            tx_stalled_until: Instant::ZERO,
            deadline: None,
            poll_apps: true,
            dirty: true,
            pcap,
        });
        id
    }

    /// The host as what it is.
    ///
    /// # Panics
    /// If the host is not an `H`.
    pub fn host<H: Host>(&self, id: HostId) -> &H {
        let host: &dyn Any = &*self.nodes[id.0].host;
        host.downcast_ref()
            .unwrap_or_else(|| panic!("host {} is not a {}", id.0, type_name::<H>()))
    }

    /// The host as what it is, to be changed from outside; what it then has to send is sent when time moves on.
    ///
    /// # Panics
    /// If the host is not an `H`.
    pub fn host_mut<H: Host>(&mut self, id: HostId) -> &mut H {
        let node = &mut self.nodes[id.0];
        node.dirty = true;
        node.poll_apps = true;
        let host: &mut dyn Any = &mut *node.host;
        host.downcast_mut()
            .unwrap_or_else(|| panic!("host {} is not a {}", id.0, type_name::<H>()))
    }

    /// The TCP of a host and the time to call it with.
    ///
    /// # Panics
    /// If the host has none.
    pub fn tcp(&mut self, id: HostId) -> (Instant, &mut dyn TcpHost) {
        let node = &mut self.nodes[id.0];
        node.dirty = true;
        node.poll_apps = true;
        (
            self.now,
            node.host
                .tcp()
                .unwrap_or_else(|| panic!("host {} has no TCP", id.0)),
        )
    }

    /// Starts an application on a host.
    ///
    /// # Panics
    /// If the host has no TCP.
    pub fn spawn<A: App>(&mut self, id: HostId, app: A) -> AppId<A> {
        let node = &mut self.nodes[id.0];
        assert!(
            node.host.tcp().is_some(),
            "host {} has no TCP for an application",
            id.0
        );
        node.apps.push(Box::new(app));
        node.dirty = true;
        node.poll_apps = true;
        AppId {
            host: id.0,
            index: node.apps.len() - 1,
            of: PhantomData,
        }
    }

    /// An application.
    ///
    /// # Panics
    /// If the id is of another simulation.
    pub fn app<A: App>(&self, id: AppId<A>) -> &A {
        let app: &dyn Any = &*self.nodes[id.host].apps[id.index];
        app.downcast_ref().expect("the id is of this simulation")
    }

    /// Changes what the link does to frames that the host sends. Frames under way are not touched.
    pub fn set_uplink(&mut self, id: HostId, config: LinkConfig) {
        self.segment.port(id.0).up.set_config(config);
    }

    /// Changes what the link does to frames that the host gets. Frames under way are not touched.
    pub fn set_downlink(&mut self, id: HostId, config: LinkConfig) {
        self.segment.port(id.0).down.set_config(config);
    }

    /// Cuts or mends the link of a host, both directions.
    pub fn set_link_up(&mut self, id: HostId, up: bool) {
        let port = self.segment.port(id.0);
        for link in [&mut port.up, &mut port.down] {
            let config = LinkConfig {
                up,
                ..link.config().clone()
            };
            link.set_config(config);
        }
    }

    /// What became of the frames that the host sent and of those sent to it.
    pub fn link_stats(&mut self, id: HostId) -> (LinkStats, LinkStats) {
        let port = self.segment.port(id.0);
        (port.up.stats(), port.down.stats())
    }

    /// The host's TX ring takes nothing until `until`.
    pub fn stall_tx(&mut self, id: HostId, until: Instant) {
        self.nodes[id.0].tx_stalled_until = until;
        self.nodes[id.0].dirty = true;
    }

    /// Sets the number of frames that the host may send in one instant ([`DEFAULT_TX_RING`] without).
    pub fn set_tx_ring(&mut self, id: HostId, frames: usize) {
        assert!(
            frames > 0,
            "a TX ring has at least one slot; stall_tx() stops it for a time"
        );
        self.nodes[id.0].tx_ring = frames;
    }

    /// Puts a frame on the segment at its switch, as if a station that is no host of this simulation had sent it.
    pub fn inject(&mut self, frame: Vec<u8>) {
        self.segment.inject(self.now, frame);
    }

    /// Keeps the last `frames` frames in memory; they are printed if the test fails.
    pub fn keep_trace(&mut self, frames: usize) {
        self.trace.keep(frames);
    }

    /// The last frames on the wire.
    pub fn trace(&self) -> &Trace {
        &self.trace
    }

    /// Writes all that the host sends and gets from now on to a pcap file.
    pub fn capture(&mut self, id: HostId, path: &Path) -> io::Result<()> {
        self.nodes[id.0].pcap = Some(Pcap::create(path)?);
        Ok(())
    }

    /// Runs until `goal` is reached, at most for `limit` of virtual time.
    pub fn drive_until(
        &mut self,
        limit: Duration,
        mut goal: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), SimError> {
        let end = self.now + limit;
        loop {
            self.settle()?;
            if goal(self) {
                return Ok(());
            }
            match self.next_event() {
                None => return Err(SimError::Stalled { at: self.now }),
                Some(at) if at > end => {
                    self.now = end;
                    return Err(SimError::OutOfTime { at: end });
                }
                Some(at) => self.advance(at)?,
            }
        }
    }

    /// Runs until every application has ended, at most for `limit` of virtual time; an error if one of them failed.
    pub fn drive_apps(&mut self, limit: Duration) -> Result<(), SimError> {
        self.drive_until(limit, |sim| {
            sim.nodes
                .iter()
                .flat_map(|node| &node.apps)
                .all(|app| app.finished())
        })?;
        for (i, node) in self.nodes.iter().enumerate() {
            for app in &node.apps {
                app.outcome().map_err(|error| SimError::App {
                    at: self.now,
                    host: HostId(i),
                    error,
                })?;
            }
        }
        Ok(())
    }

    /// Runs for `time` of virtual time, whatever happens or doesn't.
    pub fn drive_for(&mut self, time: Duration) -> Result<(), SimError> {
        let end = self.now + time;
        loop {
            self.settle()?;
            match self.next_event() {
                Some(at) if at <= end => self.advance(at)?,
                _ => {
                    self.now = end;
                    self.rounds_at_now = 0;
                    return Ok(());
                }
            }
        }
    }

    /// When something happens next, once everything at the present instant is done: `None` is never.
    pub fn next_event(&self) -> Option<Instant> {
        let hosts = self.nodes.iter().filter_map(|node| node.deadline).min();
        let next = match (hosts, self.segment.next_arrival()) {
            (Some(a), Some(b)) => a.min(b),
            (a, b) => a.or(b)?,
        };
        Some(next.max(self.now))
    }

    /// Moves to `at` and does what is due there.
    fn advance(&mut self, at: Instant) -> Result<(), SimError> {
        if at > self.now {
            self.now = at;
            self.rounds_at_now = 0;
        }
        self.rounds_at_now += 1;
        let mut arrivals = std::mem::take(&mut self.arrivals);
        self.segment
            .take_arrivals(at, &mut arrivals, &mut self.trace);
        for (i, node) in self.nodes.iter_mut().enumerate() {
            if node.deadline.is_some_and(|deadline| deadline <= at) {
                if self.rounds_at_now > SPIN_LIMIT {
                    return Err(SimError::Spinning {
                        at,
                        host: HostId(i),
                    });
                }
                node.host.handle_timeout(at);
                node.dirty = true;
                node.poll_apps |= node
                    .apps
                    .iter()
                    .any(|app| app.next_timeout().is_some_and(|due| due <= at));
            }
        }
        // One batch a host, in the order of arrival.
        arrivals.sort_by_key(|arrival| arrival.host);
        let mut rest = arrivals.drain(..).peekable();
        while let Some(first) = rest.next() {
            let host = first.host;
            self.frames.push(first.frame);
            while let Some(next) = rest.next_if(|next| next.host == host) {
                self.frames.push(next.frame);
            }
            let node = &mut self.nodes[host];
            if let Some(pcap) = &mut node.pcap {
                self.frames.iter().for_each(|frame| pcap.write(at, frame));
            }
            node.host.ingest(at, &self.frames);
            node.dirty = true;
            self.frames.clear();
        }
        drop(rest);
        self.arrivals = arrivals;
        Ok(())
    }

    /// Lets every host that something happened to do all it can do at this instant.
    fn settle(&mut self) -> Result<(), SimError> {
        for i in 0..self.nodes.len() {
            if self.nodes[i].dirty {
                self.settle_node(i)?;
            }
        }
        Ok(())
    }

    fn settle_node(&mut self, i: usize) -> Result<(), SimError> {
        let now = self.now;
        let node = &mut self.nodes[i];
        node.dirty = false;
        let mut room = if node.tx_stalled_until > now {
            0
        } else {
            node.tx_ring
        };
        for round in 0.. {
            let broken = |what| SimError::Broken {
                at: now,
                host: HostId(i),
                what,
            };
            let mut busy = false;
            if node.host.take_wake() || node.poll_apps {
                node.poll_apps = false;
                for app in &mut node.apps {
                    if let Some(tcp) = node.host.tcp() {
                        busy |= app.poll(now, tcp);
                    }
                }
            }
            // Asked also when there is no room, as a worker does: back-pressure is the host's to bear.
            node.host.transmit(now, room, &mut self.frames);
            if self.frames.len() > room {
                return Err(broken(format!(
                    "sent {} frames with room for {room}",
                    self.frames.len()
                )));
            }
            room -= self.frames.len();
            busy |= !self.frames.is_empty();
            for frame in self.frames.drain(..) {
                if let Some(pcap) = &mut node.pcap {
                    pcap.write(now, &frame);
                }
                self.segment.send(now, i, frame, &mut self.trace);
            }
            node.host.check(now).map_err(broken)?;
            if !busy {
                break;
            }
            if round > SPIN_LIMIT {
                return Err(SimError::Spinning {
                    at: now,
                    host: HostId(i),
                });
            }
        }
        node.deadline = [node.host.next_timeout(now)]
            .into_iter()
            .chain(
                node.apps
                    .iter()
                    .filter(|app| !app.finished())
                    .map(|app| app.next_timeout()),
            )
            .flatten()
            .min();
        if room == 0 {
            // A host that has frames left may want to be called at once; that must wait for the ring.
            let again = node.tx_stalled_until.max(now + TX_RING_DRAIN);
            node.deadline = Some(
                node.deadline
                    .filter(|&deadline| deadline > now)
                    .map_or(again, |d| d.min(again)),
            );
        }
        Ok(())
    }
}

impl Drop for Sim {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        if self.trace.is_on() {
            eprintln!("the last frames on the wire:");
            self.trace
                .entries()
                .for_each(|entry| eprintln!("  {entry}"));
        }
        eprintln!(
            "the simulation failed at {:?} with seed {seed}; to repeat it: {SEED_VAR}={seed} cargo nextest run {test} \
             ({PCAP_VAR}=DIR adds a packet capture per host)",
            self.now,
            seed = self.seed,
            test = test_name(),
        );
    }
}

/// The test that runs: the name of its thread, or the filter that the test binary was started with.
fn test_name() -> String {
    match std::thread::current().name() {
        Some(name) if name != "main" => name.to_owned(),
        _ => std::env::args()
            .skip(1)
            .find(|arg| !arg.starts_with('-'))
            .unwrap_or_else(|| "TEST".to_owned()),
    }
}
