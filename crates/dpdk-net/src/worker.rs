//! The worker: one queue pair, one stack, one async runtime, on one thread.
//!
//! [`Reactor`] is a turn of the loop as a value: receive a burst, run the stack, send what it has, wake whom
//! it concerns. [`Driver`] is what a runtime takes turns with: the reactors of a worker and its timers. [`Worker`]
//! is both on a [`Runtime`](crate::runtime::Runtime) of their own.
//!
//! What holds
//! - a turn takes the shard's lock once and reads the clock once;
//! - wakers are woken, mbufs freed and drivers called outside the lock;
//! - a turn costs the same however many connections there are: nothing is scanned.
//!
//! What does not live here: bringing up ports (`app/`), sockets (`net/`), the lock's rules (`shard.rs`).

mod config;
mod driver;
mod life;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use dpdk_net_rte::tsc::{self, TscClock};
use dpdk_net_stack::{Instant, Stack};

use crate::device::Device;
use crate::error::Error;
use crate::events;
use crate::handle::Handle;
use crate::idle::IdlePolicy;
use crate::peers::HandOver;
use crate::shard::Shard;

use self::config::Interposed;
pub use self::config::WorkerConfig;
pub use self::driver::Driver;
pub use self::life::{Drained, Worker};

/// How long a worker that ends tries to get its last frames into a TX ring that does not move.
const FLUSH: Duration = Duration::from_millis(100);

/// A queue pair and its stack, driven a turn at a time.
///
/// A [`Worker`] drives its own. To put a second one on a thread that already runs a worker, spawn it there
/// with [`spawn_local`](crate::runtime::spawn_local): as a future it runs for ever, one turn a poll.
///
/// Dropping it ends its sockets: connections are reset, and whoever waits is woken with an error.
pub struct Reactor {
    device: Device,
    /// What it has of other workers, if there are any.
    hand_over: Option<Box<HandOver>>,
    shard: Arc<Shard>,
    /// The number of its queue.
    queue: u16,
    clock: TscClock,
    /// Wakers between their removal from the shard and their wake; kept for its allocation.
    wake: Vec<Waker>,
    idle: IdlePolicy,
    /// What the counter read in the last turn, and whether there was something to do in it.
    last: (u64, bool),
    /// Frames given to the device.
    sent: u64,
    /// Packets of the last turn's burst.
    burst: usize,
    /// When the last turn was, in nanoseconds of its clock.
    turned: u64,
    /// Turns in a row in which nothing happened.
    idle_turns: u32,
}

impl fmt::Debug for Reactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reactor")
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}

impl Reactor {
    /// Makes the stack over the queue pair. Nothing runs until [`turn`](Self::turn) is called or the
    /// reactor is polled.
    ///
    /// # Errors
    /// [`Error::DataRoom`] where a frame of the MTU does not fit an mbuf, [`Error::Stack`] where the stack
    /// refuses its configuration.
    pub fn new(config: WorkerConfig) -> Result<Self, Error> {
        let clock = match &config.peer {
            Some(peer) => peer.clock(),
            None => TscClock::new(&config.eal),
        };
        let queue = config.queues.rx.id();
        let mut device = Device::new(
            config.queues,
            config.mempool,
            config.fallback,
            config.send_memory,
            config.stack.mtu,
            config.interpose.map(|Interposed(interpose)| interpose),
        )?;
        let now = Instant::from_nanos(clock.nanos());
        let mut settings = config.stack;
        settings.tx_checksum_offload = device.parts().1.checksum_offload();
        let mut stack = match &config.peer {
            Some(peer) => peer.stack(settings, now)?,
            None => Stack::new(settings, now)?,
        };
        if let Some(memory) = device.tx_memory() {
            stack.set_tx_memory(memory);
        }
        Ok(Self {
            device,
            hand_over: config.peer.map(|peer| Box::new(HandOver::new(peer))),
            shard: Shard::new(
                stack,
                clock,
                now,
                #[cfg(feature = "resolver")]
                config.dns,
            ),
            queue,
            clock,
            wake: Vec::new(),
            idle: config.idle,
            last: (tsc::now(), false),
            sent: 0,
            burst: 0,
            turned: now.as_nanos(),
            idle_turns: 0,
        })
    }

    /// Where sockets of this reactor are made.
    pub fn handle(&self) -> Handle {
        Handle::new(self.shard.clone())
    }

    /// One turn of the loop. Returns whether a frame came or went, or a timer ran.
    ///
    /// Never blocks. Bounded: at most one burst of frames in each direction, and the wakers they concern.
    pub fn turn(&mut self) -> bool {
        let unsent = self.device.has_unsent();
        let received = self.device.receive();
        let taken = self.hand_over.as_mut().map_or(0, |others| others.take());
        let cycles = tsc::now();
        let now = Instant::from_nanos(self.clock.at(cycles));
        self.turned = now.as_nanos();
        let heard = events::are_wanted();
        let mut reports = None;
        let (due, tapped);
        {
            let mut guard = self.shard.lock_turn();
            let state = &mut *guard;
            let before = std::mem::replace(&mut state.now, now);
            let (frames, output, mut watch) = self.device.parts();
            // What tasks wrote since the last turn goes first, what came in after it: an answer is written
            // before the next turn, so it leaves together with the ACK and its connection is asked once.
            let produced = state.stack.poll_transmit(now, output);
            // What others have handed over is older, as a rule.
            if let Some(others) = &mut self.hand_over
                && taken > 0
            {
                others.ingest(&mut state.stack, now);
            }
            match &mut watch {
                None if received > 0 => state.stack.ingest(now, frames),
                None => {}
                Some(watch) => watch.ingest(&mut state.stack, now, frames, |stack, first| {
                    if let Some(others) = &mut self.hand_over {
                        others.note(stack, first);
                    }
                }),
            }
            if let Some(others) = &mut self.hand_over {
                if received > 0 {
                    others.count_loads(frames);
                    others.note(&mut state.stack, 0);
                }
                others.exchange_news(&mut state.stack, now);
                let counts = others.take_counts();
                state.worker.handed_over += counts.given;
                state.worker.hand_over_full += counts.ring_full;
                state.worker.hand_over_no_mbufs += counts.no_mbufs;
                state.worker.news_dropped += counts.news_dropped;
            }
            due = state.stack.next_timeout().is_some_and(|at| at <= now);
            if due {
                state.stack.handle_timeout(now);
            }
            state.collect_wakers(&mut self.wake);
            tapped = state.taps.is_some();
            state.stack.want_reports(heard);
            if state.stack.has_reports() {
                reports = Some(state.stack.take_reports());
            }

            let worker = &mut state.worker;
            if let Some(watch) = watch {
                watch.count(worker);
            }
            let counts = output.take_counts();
            // What waits for the TX ring is work too, though the stack has nothing more.
            let busy = received + taken > 0 || produced > 0 || due || unsent;
            worker.turns += 1;
            worker.busy_turns += u64::from(busy);
            if received > 0 {
                worker.rx_frames += received as u64;
                worker.rx_bursts += 1;
                state.turns.rx_batch.record(received as u64);
            } else {
                worker.empty_polls += 1;
            }
            if self.burst > 0 {
                worker.tx_bursts += 1;
                state.turns.tx_batch.record(self.burst as u64);
            }
            // Only now is it known how long the turn before took, with the tasks that it woke.
            let (began, was_busy) = std::mem::replace(&mut self.last, (cycles, busy));
            let lasted = now.as_nanos().saturating_sub(before.as_nanos());
            if was_busy {
                worker.busy += cycles.saturating_sub(began);
                state.turns.busy_turn.record(lasted);
            } else {
                worker.idle += cycles.saturating_sub(began);
                state.turns.idle_turn.record(lasted);
            }
            self.sent += produced as u64;
            worker.tx_frames += produced as u64;
            worker.timer_runs += u64::from(due);
            worker.wakes += self.wake.len() as u64;
            worker.no_mbufs += counts.no_mbufs;
            worker.fallback_mbufs += counts.fallbacks;
            worker.tx_ring_full += counts.ring_full;
            worker.rx_not_contiguous += counts.not_contiguous;
            worker.tx_oversize += counts.oversize;
            worker.tx_cut_by_nic += counts.cut_by_nic;
            worker.tx_redone += counts.redone;
            if counts.given_up != 0 {
                state.given_up |= counts.given_up;
                let offload = output.checksum_offload();
                state.stack.set_tx_checksum_offload(offload);
            }
        }
        if tapped {
            self.change_taps();
        }
        let sent = self.device.transmit(now.as_nanos());
        self.burst = sent;
        if let Some(reports) = reports {
            events::tell(reports, self.queue);
        }
        if let Some(others) = &mut self.hand_over {
            if others.has_strays() {
                let (received, pool) = self.device.strays();
                others.hand_over(received, pool);
            }
            if taken > 0 {
                others.release();
            }
        }
        if received > 0 {
            self.device.release();
        }
        self.wake_all();
        received + taken > 0 || sent > 0 || due
    }

    /// Has captures begin and end.
    #[cold]
    fn change_taps(&mut self) {
        let taps = self.shard.lock().taps.take();
        self.device.watch(taps.unwrap_or_default(), self.clock);
    }

    /// Sends what the stack has, until a turn sent nothing more or the TX ring stands still.
    fn flush(&mut self) -> bool {
        let clock = self.clock;
        run_until(&clock, FLUSH, || {
            self.turn();
            let sent = self.sent;
            self.turn();
            !self.device.has_unsent() && self.sent == sent
        })
    }

    /// Wakes those who were collected. One by one: if a waker panics, the others are still there for
    /// [`end`](Self::end).
    #[inline]
    fn wake_all(&mut self) {
        self.wake.reverse();
        while let Some(waker) = self.wake.pop() {
            waker.wake();
        }
    }

    /// Ends the shard's sockets: whoever waits is woken and finds that out. To other workers none of them is here any more, however
    /// long they are held.
    fn end(&mut self) {
        {
            let mut state = self.shard.lock();
            state.end(&mut self.wake);
            state.stack.leave_peers();
        }
        #[cfg(feature = "resolver")]
        self.shard.names().end();
        self.wake_all();
    }
}

/// Calls `turn` until it says that all is done or `limit` has passed; returns whether it did.
fn run_until(clock: &TscClock, limit: Duration, mut turn: impl FnMut() -> bool) -> bool {
    let end = clock.nanos().saturating_add(nanos(limit));
    loop {
        if turn() {
            return true;
        }
        if clock.nanos() >= end {
            return false;
        }
        std::thread::yield_now();
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl Future for Reactor {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let reactor = self.get_mut();
        if reactor.turn() {
            reactor.idle_turns = 0;
        } else {
            reactor.idle_turns = reactor.idle_turns.saturating_add(1);
            reactor.idle.pause(reactor.idle_turns);
        }
        // Runs again after the tasks that it made ready.
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl Drop for Reactor {
    fn drop(&mut self) {
        {
            let mut state = self.shard.lock();
            let now = state.now;
            state.closing = true;
            state.stack.reset_all(now);
        }
        self.flush();
        self.end();
    }
}

/// Compile-time proof that a worker's parts can be made on one thread and run on another.
const _: () = {
    const fn send<T: Send>() {}
    send::<WorkerConfig>();
    send::<Reactor>();
};
