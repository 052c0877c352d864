//! The timers of a worker: deadlines in a wheel, and whom each wakes.
//!
//! A turn asks one number, the next deadline. The lock is the worker's own nearly always: a `Sleep` that was sent to another thread takes it
//! too. No waker is woken or dropped behind it, for that may drop a task, whose own timers ask for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use dpdk_net_rte::tsc::TscClock;
use dpdk_net_stack as stack;
use dpdk_net_stack::wheel::{TimerId, Wheel};
use parking_lot::{Condvar, Mutex};
use slab::Slab;

/// Nothing is due, ever.
const NEVER: u64 = u64::MAX;

/// What the wheel's time is read from.
#[derive(Clone, Copy)]
enum Clock {
    /// The worker's, which it reads once a turn.
    Tsc(TscClock),
    Std(Instant),
}

impl Clock {
    fn nanos(&self) -> u64 {
        match self {
            Self::Tsc(clock) => clock.nanos(),
            Self::Std(start) => nanos(start.elapsed()),
        }
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(NEVER)
}

/// A timer of [`Timers`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct TimerKey(usize);

/// What has become of a timer.
pub(super) enum Look {
    Waits,
    /// It is over, and has been taken away.
    Fired,
    /// Nobody looks at these timers any more; it has been taken away.
    Closed,
}

struct Timer {
    id: TimerId,
    /// `None` once it has fired.
    waker: Option<Waker>,
}

struct State {
    wheel: Wheel<usize>,
    timers: Slab<Timer>,
    closed: bool,
}

/// See the module's header.
pub(crate) struct Timers {
    clock: Clock,
    /// When the wheel is to be looked at next. Written behind the lock.
    next: AtomicU64,
    state: Mutex<State>,
    /// Told of a deadline that is the next one, for the thread that sleeps until then.
    earlier: Condvar,
}

impl std::fmt::Debug for Timers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Timers").finish_non_exhaustive()
    }
}

impl Timers {
    /// Those of a worker with this clock.
    pub(crate) fn new(clock: TscClock) -> Arc<Self> {
        Self::with(Clock::Tsc(clock))
    }

    fn with(clock: Clock) -> Arc<Self> {
        let now = stack::Instant::from_nanos(clock.nanos());
        Arc::new(Self {
            clock,
            next: AtomicU64::new(NEVER),
            state: Mutex::new(State {
                wheel: Wheel::new(now),
                timers: Slab::new(),
                closed: false,
            }),
            earlier: Condvar::new(),
        })
    }

    #[cfg(test)]
    pub(super) fn new_for_tests() -> Arc<Self> {
        Self::with(Clock::Std(Instant::now()))
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.state.lock().timers.len()
    }

    /// Nanoseconds of the worker's clock.
    pub(crate) fn now(&self) -> u64 {
        self.clock.nanos()
    }

    /// Where the wheel has a deadline.
    fn place(&self, deadline: Instant) -> stack::Instant {
        let left = deadline.saturating_duration_since(Instant::now());
        stack::Instant::from_nanos(self.clock.nanos().saturating_add(nanos(left)))
    }

    fn set_next(&self, state: &State) {
        let next = state.wheel.next_deadline();
        let next = next.map_or(NEVER, stack::Instant::as_nanos);
        if next < self.next.swap(next, Ordering::Relaxed) {
            self.earlier.notify_one();
        }
    }

    /// A timer that wakes `waker` at `deadline`; `None` where nobody looks at them any more.
    pub(super) fn insert(&self, deadline: Instant, waker: &Waker) -> Option<TimerKey> {
        let at = self.place(deadline);
        let waker = waker.clone();
        let mut state = self.state.lock();
        if state.closed {
            drop(state);
            drop(waker);
            return None;
        }
        let State { wheel, timers, .. } = &mut *state;
        let entry = timers.vacant_entry();
        let key = entry.key();
        let id = wheel.insert(key);
        wheel.arm(id, at);
        entry.insert(Timer {
            id,
            waker: Some(waker),
        });
        self.set_next(&state);
        Some(TimerKey(key))
    }

    /// Takes a timer away.
    pub(super) fn remove(&self, key: TimerKey) {
        let mut state = self.state.lock();
        let State { wheel, timers, .. } = &mut *state;
        let removed = timers.try_remove(key.0);
        if let Some(timer) = &removed {
            // The next look may come too early then, which does no harm.
            wheel.remove(timer.id);
        }
        drop(state);
        drop(removed);
    }

    /// Whether a timer with this deadline has fired. Where it still waits it wakes `waker` from now on.
    pub(super) fn look(&self, key: TimerKey, deadline: Instant, waker: &Waker) -> Look {
        let mut state = self.state.lock();
        let closed = state.closed;
        let State { wheel, timers, .. } = &mut *state;
        let Some(timer) = timers.get_mut(key.0) else {
            return Look::Closed;
        };
        let old = match &mut timer.waker {
            Some(old) if old.will_wake(waker) => None,
            Some(old) => Some(std::mem::replace(old, waker.clone())),
            slot => {
                let due = Instant::now() >= deadline;
                if due || closed {
                    wheel.remove(timer.id);
                    timers.remove(key.0);
                    return if due { Look::Fired } else { Look::Closed };
                }
                // The worker's clock and the system's do not run quite alike.
                *slot = Some(waker.clone());
                wheel.arm(timer.id, self.place(deadline));
                self.set_next(&state);
                None
            }
        };
        drop(state);
        drop(old);
        Look::Waits
    }

    /// Moves the wakers of all that is due by `now`, nanoseconds of the worker's clock, to `out`.
    #[inline]
    pub(crate) fn take_due(&self, now: u64, out: &mut Vec<Waker>) {
        if now >= self.next.load(Ordering::Relaxed) {
            self.take(now, out);
        }
    }

    #[cold]
    fn take(&self, now: u64, out: &mut Vec<Waker>) {
        let mut state = self.state.lock();
        let State { wheel, timers, .. } = &mut *state;
        while let Some(key) = wheel.pop_expired(stack::Instant::from_nanos(now)) {
            out.extend(timers.get_mut(key).and_then(|timer| timer.waker.take()));
        }
        self.set_next(&state);
    }

    /// Nobody looks at them any more: moves the wakers of all to `out`.
    pub(crate) fn close(&self, out: &mut Vec<Waker>) {
        let mut state = self.state.lock();
        state.closed = true;
        let timers = state.timers.iter_mut();
        out.extend(timers.filter_map(|(_, timer)| timer.waker.take()));
        self.next.store(NEVER, Ordering::Relaxed);
    }

    /// Sleeps until something is due, and wakes it; for ever.
    fn serve(&self) {
        let mut out = Vec::new();
        loop {
            {
                let mut state = self.state.lock();
                let next = self.next.load(Ordering::Relaxed);
                let left = Duration::from_nanos(next.saturating_sub(self.clock.nanos()));
                if next == NEVER {
                    self.earlier.wait(&mut state);
                } else if !left.is_zero() {
                    self.earlier.wait_for(&mut state, left);
                }
            }
            self.take_due(self.clock.nanos(), &mut out);
            for waker in out.drain(..) {
                // It may be anybody's.
                let woken = std::panic::AssertUnwindSafe(|| waker.wake());
                if std::panic::catch_unwind(woken).is_err() {
                    tracing::error!("a waker that was woken by a timer panicked");
                }
            }
        }
    }
}

/// How long it is not tried again to start a thread, where the system gave none.
const RETRY: Duration = Duration::from_secs(1);

/// [`of_no_worker`]'s.
struct Elsewhere {
    timers: Option<Arc<Timers>>,
    /// When the system gave no thread last.
    refused: Option<Instant>,
}

/// Timers for threads that run no worker, and for what outlives its worker. `None` where the system gives no thread.
pub(super) fn of_no_worker() -> Option<Arc<Timers>> {
    static ELSEWHERE: Mutex<Elsewhere> = Mutex::new(Elsewhere {
        timers: None,
        refused: None,
    });
    let mut made = ELSEWHERE.lock();
    if let Some(timers) = &made.timers {
        return Some(timers.clone());
    }
    if made.refused.is_some_and(|at| at.elapsed() < RETRY) {
        return None;
    }
    let timers = Timers::with(Clock::Std(Instant::now()));
    let own = timers.clone();
    let thread = std::thread::Builder::new().name("dpdk-net-timer".to_owned());
    if let Err(error) = thread.spawn(move || {
        // It may have been started from a thread that is pinned to the core that polls.
        crate::affinity::Affinity::all().apply();
        own.serve();
    }) {
        if made.refused.replace(Instant::now()).is_none() {
            tracing::warn!(%error, "no thread for timers: a task that sleeps is asked again and again");
        }
        return None;
    }
    made.timers = Some(timers.clone());
    Some(timers)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As `docs/runtimes.md` has it.
    const LATEST: Duration = Duration::from_millis(2);

    #[test]
    fn a_timer_fires_at_most_two_milliseconds_late_and_never_early() {
        for millis in [1, 2, 5, 17, 63, 64, 100, 999, 4_097, 60_000, 36_000_000] {
            let start = Instant::now();
            let timers = Timers::with(Clock::Std(start));
            let after = Duration::from_millis(millis);
            let before = timers.now();
            timers.insert(start + after, Waker::noop()).unwrap();
            // Both clocks were read between these two moments.
            let read = Duration::from_nanos(timers.now() - before);
            let mut out = Vec::new();
            timers.take_due(nanos(after) - 1, &mut out);
            assert!(out.is_empty(), "{after:?}: early");
            timers.take_due(nanos(after + read + LATEST), &mut out);
            assert_eq!(out.len(), 1, "{after:?}: late");
        }
    }
}
