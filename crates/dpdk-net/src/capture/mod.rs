//! Captures of a running application: the frames of its queues, as pcapng to any writer.
//!
//! Both directions are seen, received frames also where the stack drops them, with the reason. The packet path never waits: a
//! frame for which there is no room is counted as lost, by queue, and told. Nobody capturing costs a queue one comparison a turn and
//! one a burst that is sent.
//!
//! ```no_run
//! use dpdk_net::capture::CaptureConfig;
//! # async fn example(ctx: dpdk_net::Context) -> Result<(), Box<dyn std::error::Error>> {
//! let mut file = tokio::fs::File::create("first-thousand.pcapng").await?;
//! let config = CaptureConfig { count: Some(1_000), ..CaptureConfig::default() };
//! let captured = ctx.capture(config)?.write_to(&mut file, ctx.shutdown()).await?;
//! println!("{} frames captured, {} lost", captured.delivered, captured.lost);
//! # Ok(())
//! # }
//! ```
//!
//! What lives where: `watch.rs` is the worker's side, `tap.rs` the way between the threads, `causes.rs` why a frame was dropped,
//! `stream.rs` writes. The format is [`dpdk_net_packet::pcapng`]'s, filters are [`dpdk_net_packet::bpf`]'s; what compiles them is
//! not here: a process that serves does not parse what people write.

mod causes;
mod stream;
mod tap;
mod watch;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

pub use dpdk_net_packet::bpf::{BpfError, Instruction, Program};
use dpdk_net_stack::metrics::ENABLED;

use self::tap::{TapReader, Wanted, tap};
use self::watch::unix_nanos;
use crate::handle::Handle;
#[cfg(feature = "control")]
use crate::time;

pub(crate) use self::tap::Tap;
pub(crate) use self::watch::Watch;

/// Captures that a process has at a time, at most.
pub const MOST: usize = 4;

/// The longest frames there are, and so the largest snap length: tcpdump's `MAXIMUM_SNAPLEN`.
pub const MAX_SNAPLEN: u32 = 262_144;

const MIB: usize = 1024 * 1024;

/// The smallest and the largest buffer for a queue, in bytes.
const BUFFERS: std::ops::RangeInclusive<usize> = 64 * 1024..=256 * 1024 * 1024;

/// Bytes that the buffers of all captures of a process take at a time, at most: those of 256 queues by default.
pub const MOST_MEMORY: usize = 1024 * 1024 * 1024;

/// A filter, and what it was compiled of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The filter in tcpdump's language, to be noted in the file; may be empty.
    pub text: String,
    /// The same as a program.
    pub program: Program,
}

/// Which frames are captured, by direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Directions {
    /// All.
    #[default]
    Both,
    /// Received ones.
    In,
    /// Sent ones.
    Out,
}

/// What is captured, and how. By default everything of all queues, until it is ended.
#[derive(Clone, Debug)]
pub struct CaptureConfig {
    /// Which frames. Default: all.
    pub filter: Option<Filter>,
    /// Which directions. Default: both.
    pub directions: Directions,
    /// Received frames that the stack dropped, and no others. Default: no.
    pub dropped_only: bool,
    /// Bytes of a frame that are kept, 1 to [`MAX_SNAPLEN`]. Default: [`MAX_SNAPLEN`].
    pub snaplen: u32,
    /// The names of the ports. Default, empty: all.
    pub ports: Vec<String>,
    /// The numbers of the queues, of each port. Default, empty: all.
    pub queues: Vec<u16>,
    /// How many frames, and then it ends. Default: no limit.
    pub count: Option<u64>,
    /// Bytes between a queue and the writer: what comes faster than it is written for longer is lost. 64 KiB to 256 MiB, default
    /// 4 MiB. Taken for each queue while the capture lasts: [`MOST_MEMORY`] for all queues of all captures is the most.
    pub buffer: usize,
    /// How long the writer may take nothing before the capture ends with
    /// [`TimedOut`](std::io::ErrorKind::TimedOut). Default: a minute.
    pub patience: Duration,
}

impl Default for CaptureConfig {
    fn default() -> Self {
        Self {
            filter: None,
            directions: Directions::Both,
            dropped_only: false,
            snaplen: MAX_SNAPLEN,
            ports: Vec::new(),
            queues: Vec::new(),
            count: None,
            buffer: 4 * 1024 * 1024,
            patience: Duration::from_secs(60),
        }
    }
}

/// Why a capture does not begin.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// There are as many as there may be.
    #[error("there are {MOST} captures already: end one first")]
    TooMany,
    /// Its buffers would take more memory than is left to captures.
    #[error(
        "the buffers of {queues} queues would take {} MiB, {} of {} MiB are left to captures: choose a smaller buffer or fewer \
         queues, or end another capture",
        .wanted.div_ceil(MIB), .left / MIB, MOST_MEMORY / MIB
    )]
    TooLarge {
        /// Queues that would be captured.
        queues: usize,
        /// Bytes that it would take.
        wanted: usize,
        /// Bytes that there may still be.
        left: usize,
    },
    /// A port is named that is not there.
    #[error("there is no port {name:?}: {known}")]
    NoPort {
        /// As it was named.
        name: String,
        /// What there is.
        known: String,
    },
    /// No port that is captured has a queue of that number.
    #[error("there is no queue {queue}: the ports have {queues}")]
    NoQueue {
        /// The number.
        queue: u16,
        /// How many there are.
        queues: u16,
    },
    /// A number is out of its bounds.
    #[error("{what} is {given}: {least} to {most} can be")]
    OutOfBounds {
        /// Which.
        what: &'static str,
        /// As it was given.
        given: u64,
        /// The smallest.
        least: u64,
        /// The largest.
        most: u64,
    },
    /// Sent frames are never dropped by the stack.
    #[error("frames that are sent are not dropped by the stack: capture received ones")]
    DroppedAndSent,
    /// Without the feature `metrics` it is not known what the stack drops.
    #[error(
        "the application is built without the feature `metrics`: it does not know which frames the stack drops; capture all of them"
    )]
    NothingCounted,
    /// The workers have ended.
    #[error("the application is ending")]
    Ended,
}

/// What a capture came to, in frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Captured {
    /// Frames of the wanted directions that came or went meanwhile.
    pub seen: u64,
    /// Those that were wanted.
    pub accepted: u64,
    /// Wanted ones that there was no room for.
    pub lost: u64,
    /// Frames that were written.
    pub delivered: u64,
}

/// A queue that may be captured.
pub(crate) struct Target {
    /// What the application calls the port, and DPDK.
    pub(crate) port: String,
    pub(crate) device: String,
    pub(crate) queue: u16,
    pub(crate) handle: Handle,
}

/// A port of a capture: an interface of the file.
#[derive(Debug)]
struct Interface {
    name: String,
    device: String,
}

/// A queue of a capture.
struct Source {
    interface: u32,
    queue: u16,
    handle: Handle,
    reader: TapReader,
}

/// A capture that has begun: frames wait in its buffers until [`write_to`](Capture::write_to) takes them. It ends when it is dropped.
pub struct Capture {
    config: CaptureConfig,
    interfaces: Vec<Interface>,
    sources: Vec<Source>,
    started: u64,
    _permit: Permit,
}

impl fmt::Debug for Capture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Capture")
            .field("config", &self.config)
            .field("interfaces", &self.interfaces)
            .field("queues", &self.sources.len())
            .finish_non_exhaustive()
    }
}

/// One of the [`MOST`] captures that there may be, with the memory of its buffers.
#[derive(Debug)]
struct Permit {
    memory: usize,
}

static CAPTURES: AtomicUsize = AtomicUsize::new(0);
/// Bytes that their buffers take.
static MEMORY: AtomicUsize = AtomicUsize::new(0);

impl Permit {
    fn take(queues: usize, buffer: usize) -> Result<Self, CaptureError> {
        let more = |captures| (captures < MOST).then_some(captures + 1);
        if CAPTURES
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, more)
            .is_err()
        {
            return Err(CaptureError::TooMany);
        }
        // From here on dropping it undoes what was taken.
        let mut permit = Self { memory: 0 };
        let wanted = queues.saturating_mul(buffer);
        let more = |memory: usize| memory.checked_add(wanted).filter(|all| *all <= MOST_MEMORY);
        match MEMORY.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(_) => {
                permit.memory = wanted;
                Ok(permit)
            }
            Err(taken) => Err(CaptureError::TooLarge {
                queues,
                wanted,
                left: MOST_MEMORY.saturating_sub(taken),
            }),
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        MEMORY.fetch_sub(self.memory, Ordering::Relaxed);
        CAPTURES.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Waits until no capture is left, or for so long.
#[cfg(feature = "control")]
pub(crate) async fn all_ended(patience: Duration) {
    let ended = async {
        while CAPTURES.load(Ordering::Relaxed) > 0 {
            time::sleep(Duration::from_millis(1)).await;
        }
    };
    let _ = time::timeout(patience, ended).await;
}

impl Capture {
    /// Begins a capture of a port whose workers are not those of an [`App`](crate::App): by what the file is to call it, and by the
    /// handles of its queues in their order.
    ///
    /// # Errors
    /// [`CaptureError`].
    pub fn of_handles(
        port: &str,
        handles: &[Handle],
        config: CaptureConfig,
    ) -> Result<Self, CaptureError> {
        let queues = (0..).zip(handles);
        let targets = queues.map(|(queue, handle)| Target {
            port: port.to_owned(),
            device: port.to_owned(),
            queue,
            handle: handle.clone(),
        });
        Self::start(targets.collect(), config)
    }

    /// Begins a capture of those of the queues that the configuration names.
    pub(crate) fn start(targets: Vec<Target>, config: CaptureConfig) -> Result<Self, CaptureError> {
        check(&targets, &config, ENABLED)?;
        let targets: Vec<_> = targets
            .into_iter()
            .filter(|target| {
                (config.ports.is_empty() || config.ports.contains(&target.port))
                    && (config.queues.is_empty() || config.queues.contains(&target.queue))
            })
            .collect();
        let permit = Permit::take(targets.len(), config.buffer)?;
        let wanted = Wanted {
            program: config
                .filter
                .as_ref()
                .map(|filter| Arc::new(filter.program.clone())),
            snaplen: config.snaplen as usize,
            received: config.directions != Directions::Out,
            sent: config.directions != Directions::In && !config.dropped_only,
            dropped: config.dropped_only,
        };
        let mut capture = Self {
            interfaces: Vec::new(),
            sources: Vec::new(),
            started: unix_nanos(),
            _permit: permit,
            config,
        };
        for target in targets {
            let (tap, reader) = tap(wanted.clone(), capture.config.buffer);
            // What has begun ends again where this fails.
            if !target.handle.with(|state| state.tap(tap)) {
                return Err(CaptureError::Ended);
            }
            let known = capture
                .interfaces
                .iter()
                .position(|interface| interface.name == target.port);
            let interface = known.unwrap_or_else(|| {
                capture.interfaces.push(Interface {
                    name: target.port,
                    device: target.device,
                });
                capture.interfaces.len() - 1
            });
            capture.sources.push(Source {
                interface: interface as u32,
                queue: target.queue,
                handle: target.handle,
                reader,
            });
        }
        Ok(capture)
    }

    /// The names of the ports that it captures.
    pub fn ports(&self) -> impl Iterator<Item = &str> {
        self.interfaces
            .iter()
            .map(|interface| interface.name.as_str())
    }

    /// How many queues it captures.
    pub fn queues(&self) -> usize {
        self.sources.len()
    }

    /// Tells the workers to let go.
    fn finish(&self) {
        for source in &self.sources {
            source.reader.finish();
            source.handle.with(|state| state.look_at_taps());
        }
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.finish();
    }
}

/// `counted`: the stack counts what it drops.
fn check(targets: &[Target], config: &CaptureConfig, counted: bool) -> Result<(), CaptureError> {
    let within = |what, given: u64, least: u64, most: u64| match (least..=most).contains(&given) {
        true => Ok(()),
        false => Err(CaptureError::OutOfBounds {
            what,
            given,
            least,
            most,
        }),
    };
    within(
        "the snap length",
        config.snaplen.into(),
        1,
        MAX_SNAPLEN.into(),
    )?;
    let (least, most) = (*BUFFERS.start() as u64, *BUFFERS.end() as u64);
    within("the buffer", config.buffer as u64, least, most)?;
    if config.dropped_only && config.directions == Directions::Out {
        return Err(CaptureError::DroppedAndSent);
    }
    if config.dropped_only && !counted {
        return Err(CaptureError::NothingCounted);
    }
    if let Some(name) = config
        .ports
        .iter()
        .find(|name| !targets.iter().any(|target| target.port == **name))
    {
        let mut known: Vec<_> = targets.iter().map(|target| target.port.as_str()).collect();
        known.dedup();
        return Err(CaptureError::NoPort {
            name: name.clone(),
            known: known.join(", "),
        });
    }
    let chosen = |target: &&Target| config.ports.is_empty() || config.ports.contains(&target.port);
    let queues = || targets.iter().filter(chosen).map(|target| target.queue);
    match config
        .queues
        .iter()
        .find(|queue| !queues().any(|one| one == **queue))
    {
        Some(queue) => Err(CaptureError::NoQueue {
            queue: *queue,
            queues: queues().max().map_or(0, |last| last + 1),
        }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dropped_is_captured_only_where_it_is_counted() {
        let mut config = CaptureConfig::default();
        assert_eq!(check(&[], &config, false), Ok(()));
        config.dropped_only = true;
        assert_eq!(check(&[], &config, true), Ok(()));
        let refused = check(&[], &config, false);
        assert_eq!(refused, Err(CaptureError::NothingCounted));
    }

    // One test, as there is one number of captures in a process.
    #[test]
    fn captures_and_their_memory_are_bounded_together_and_given_back() {
        let all: Vec<_> = (0..MOST).map(|_| Permit::take(1, 1).unwrap()).collect();
        assert_eq!(Permit::take(1, 1).err(), Some(CaptureError::TooMany));
        drop(all);

        let half = Permit::take(2, MOST_MEMORY / 4).unwrap();
        let error = Permit::take(3, MOST_MEMORY / 4).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the buffers of 3 queues would take 768 MiB, 512 of 1024 MiB are left to captures: choose a smaller buffer or fewer \
             queues, or end another capture"
        );
        // What was refused has taken nothing.
        let other_half = Permit::take(2, MOST_MEMORY / 4).unwrap();
        assert!(Permit::take(1, 1).is_err());
        drop((half, other_half));
        assert!(Permit::take(usize::MAX, 2).is_err());
        drop(Permit::take(1, MOST_MEMORY).unwrap());
    }
}
