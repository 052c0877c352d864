//! A lossy relay: forwards Ethernet frames between two network interfaces of the kernel and does to them what a bad network does
//! (feature `vdev`).
//!
//! Each direction is the very link of the simulation ([`LinkConfig`]), driven by the clock: delay, jitter, loss, reordering,
//! duplication, corruption, a rate with a queue in front of it. The chance comes from one seed; which frame it hits follows from the
//! order of the frames, so a run against real programs resembles another of the same seed and is not its copy.
//!
//! What holds
//! - a frame is sent on as it came, byte for byte, unless the settings say otherwise;
//! - what waits is bounded by [`MAX_HELD_BYTES`] a direction, what finds no room is counted;
//! - nothing is forwarded before both interfaces are open, nor after [`Running::stop`] has returned.
//!
//! The kernel must send finished frames into the relay: see [`disable_tx_offloads`](crate::bed::disable_tx_offloads). A relay notices
//! where it does not and counts it ([`DirectionStats::unfinished`], [`DirectionStats::oversize`]).

mod direction;
mod forward;
mod socket;

use std::fmt;
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::sim::{LinkConfig, LinkStats};
use direction::Direction;

/// Bytes of frames that one direction holds at most while they wait for their time.
pub const MAX_HELD_BYTES: usize = 256 << 20;

/// What sets the chance of the way back apart from that of the way there.
const BACK: u64 = 0x9e37_79b9_7f4a_7c15;

/// One side of a relay: an interface, in the namespace of the caller or in a named one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Name of the interface.
    pub interface: String,
    /// The network namespace's file, such as `/run/netns/NAME`; `None` is the caller's own.
    pub netns: Option<String>,
}

impl End {
    /// An interface in the namespace of the caller.
    pub fn here(interface: impl Into<String>) -> Self {
        Self {
            interface: interface.into(),
            netns: None,
        }
    }

    /// An interface in a namespace of a test.
    pub fn within(netns: &crate::bed::Netns, interface: impl Into<String>) -> Self {
        Self {
            interface: interface.into(),
            netns: Some(netns.path()),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.netns {
            Some(netns) => write!(f, "{} in {netns}", self.interface),
            None => f.write_str(&self.interface),
        }
    }
}

/// What became of the frames of one direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct DirectionStats {
    /// What the link did to them.
    pub link: LinkStats,
    /// Frames sent out at the other side.
    pub sent: u64,
    /// Bytes of those.
    pub sent_bytes: u64,
    /// Frames that the other interface did not take (down, or its buffer full).
    pub send_failed: u64,
    /// Frames dropped because [`MAX_HELD_BYTES`] were waiting.
    pub no_room: u64,
    /// Frames longer than the MTU: its sender segments in hardware that is not there.
    pub oversize: u64,
    /// Frames whose transport checksum was wrong on arrival, among the first that were looked at.
    pub unfinished: u64,
    /// How late a frame was sent at worst, against the time that the link gave it.
    pub latest: Duration,
}

/// What a relay did, by direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct RelayStats {
    /// From the left interface to the right one.
    pub there: DirectionStats,
    /// From the right interface to the left one.
    pub back: DirectionStats,
}

/// The settings of a relay that does not run yet.
#[derive(Clone, Debug)]
#[must_use = "a relay forwards nothing until it is started"]
pub struct Relay {
    left: End,
    right: End,
    there: LinkConfig,
    back: LinkConfig,
    seed: u64,
    mtu: u16,
}

impl Relay {
    /// A relay between two interfaces that does nothing to the frames.
    pub fn new(left: End, right: End) -> Self {
        Self {
            left,
            right,
            there: LinkConfig::perfect(),
            back: LinkConfig::perfect(),
            seed: 1,
            mtu: 1_500,
        }
    }

    /// Sets what both directions do to frames.
    pub fn both(self, link: LinkConfig) -> Self {
        self.there(link.clone()).back(link)
    }

    /// Sets what happens to frames from left to right.
    pub fn there(mut self, link: LinkConfig) -> Self {
        self.there = link;
        self
    }

    /// Sets what happens to frames from right to left.
    pub fn back(mut self, link: LinkConfig) -> Self {
        self.back = link;
        self
    }

    /// Sets the seed of all chance. Default 1.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets the IP MTU of both interfaces: longer frames pass and are counted. Default 1500.
    pub fn mtu(mut self, mtu: u16) -> Self {
        self.mtu = mtu;
        self
    }

    /// Opens both interfaces and forwards on a thread of its own until the guard is stopped or dropped.
    ///
    /// # Errors
    /// Where an interface can't be opened, with its name and what to do.
    ///
    /// # Panics
    /// If a [`LinkConfig`] is out of range.
    pub fn start(self) -> io::Result<Running> {
        let shared = Arc::new(Shared::default());
        let (wake, woken) = UnixStream::pair()?;
        wake.set_nonblocking(true)?;
        woken.set_nonblocking(true)?;
        let (opened, result) = mpsc::channel();
        let links = [
            Direction::new(self.there.clone(), self.seed, self.mtu),
            Direction::new(self.back.clone(), self.seed ^ BACK, self.mtu),
        ];
        let of_thread = Arc::clone(&shared);
        let thread = std::thread::Builder::new()
            .name("relay".into())
            .spawn(move || {
                // The thread may move between namespaces: nobody else is on it.
                let forward =
                    forward::Forward::open(&self.left, &self.right, links, woken, of_thread);
                match forward {
                    Ok(mut forward) => {
                        let _ = opened.send(Ok(()));
                        forward.run()
                    }
                    Err(error) => {
                        let _ = opened.send(Err(error));
                        Ok(())
                    }
                }
            })?;
        let opened = result
            .recv()
            .unwrap_or_else(|_| Err(io::Error::other("the relay's thread ended at its start")));
        let running = Running {
            shared,
            wake,
            thread: Some(thread),
        };
        opened.map(|()| running)
    }
}

/// What the owner of a relay and its thread tell each other.
#[derive(Debug, Default)]
struct Shared {
    order: Mutex<Order>,
    stats: Mutex<RelayStats>,
}

#[derive(Debug, Default)]
struct Order {
    stop: bool,
    links: Option<(LinkConfig, LinkConfig)>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A relay at work. Stops when dropped.
#[derive(Debug)]
pub struct Running {
    shared: Arc<Shared>,
    wake: UnixStream,
    thread: Option<JoinHandle<io::Result<()>>>,
}

impl Running {
    /// Changes what the two directions do to the frames that arrive from now on.
    ///
    /// # Panics
    /// If a [`LinkConfig`] is out of range.
    pub fn configure(&self, there: LinkConfig, back: LinkConfig) {
        there.check();
        back.check();
        lock(&self.shared.order).links = Some((there, back));
        self.wake();
    }

    /// What happened so far; at most 0.1 s old.
    pub fn stats(&self) -> RelayStats {
        *lock(&self.shared.stats)
    }

    /// Whether the relay has ended by itself: an interface is gone. [`stop`](Self::stop) then has the error.
    pub fn has_failed(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Stops forwarding; frames that still wait are dropped. An error if the relay had ended before.
    pub fn stop(mut self) -> io::Result<RelayStats> {
        self.end()?;
        Ok(self.stats())
    }

    fn wake(&self) {
        // A full pipe wakes as well as one more byte does.
        let _ = (&self.wake).write(&[0]);
    }

    fn end(&mut self) -> io::Result<()> {
        lock(&self.shared.order).stop = true;
        self.wake();
        match self.thread.take() {
            Some(thread) => thread
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the relay's thread panicked"))),
            None => Ok(()),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.end();
    }
}
