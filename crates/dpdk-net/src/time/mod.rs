//! Time in tasks, the same on every runtime: [`sleep`], [`timeout`], [`interval`].
//!
//! Deadlines are those of `std::time::Instant`. Timers are the worker's own and are looked at once a turn; none fires before its deadline,
//! and in time at most two milliseconds after it. On a thread without a worker they are a thread's, which is started at the first use.
//!
//! What has come due still waits for one turn: a task that sleeps for no time at all gives way to the others and to the device.

mod interval;
mod timers;

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use crate::runtime;

pub use self::interval::{Interval, MissedTicks, interval, interval_at};
pub(crate) use self::timers::Timers;
use self::timers::{Look, TimerKey};

/// What is further away stands for "for ever": there is an end to what the clock can tell.
const FOR_EVER: Duration = Duration::from_secs(30 * 365 * 24 * 3600);

/// When so much time will have passed.
pub(crate) fn after(duration: Duration) -> Instant {
    let now = Instant::now();
    now.checked_add(duration.min(FOR_EVER)).unwrap_or(now)
}

/// Waits for so long, and for a turn of the worker at least. See [`sleep_until`].
pub fn sleep(duration: Duration) -> Sleep {
    sleep_until(after(duration))
}

/// Waits until `deadline`, and for a turn of the worker at least.
///
/// Cancel safe: dropping it takes its timer away.
pub fn sleep_until(deadline: Instant) -> Sleep {
    Sleep {
        deadline,
        state: State::New,
    }
}

/// The future of [`sleep`] and [`sleep_until`]. `Send`: its timer stays where it was polled first.
#[must_use = "futures do nothing unless awaited"]
pub struct Sleep {
    deadline: Instant,
    state: State,
}

enum State {
    New,
    /// It was due when it was polled first.
    Due,
    Waits(Arc<Timers>, TimerKey),
    Done,
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}

impl Sleep {
    /// When it ends.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Changes when it ends. It can be awaited again where it has ended before; who awaits it already has to poll it once more.
    pub fn reset(&mut self, deadline: Instant) {
        self.stop();
        self.deadline = deadline;
    }

    fn stop(&mut self) {
        if let State::Waits(timers, key) = std::mem::replace(&mut self.state, State::New) {
            timers.remove(key);
        }
    }

    /// Has it wait at the timers of the thread's worker, or else at those that are always there.
    fn start(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let own = runtime::timers();
        let own = own.and_then(|timers| Some((timers.insert(self.deadline, cx.waker())?, timers)));
        let placed = own.or_else(|| {
            let timers = timers::of_no_worker()?;
            Some((timers.insert(self.deadline, cx.waker())?, timers))
        });
        match placed {
            Some((key, timers)) => self.state = State::Waits(timers, key),
            // No thread for timers: dear, and right.
            None => cx.waker().wake_by_ref(),
        }
        Poll::Pending
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        match &this.state {
            State::Done => Poll::Ready(()),
            State::Due => {
                this.state = State::Done;
                Poll::Ready(())
            }
            State::New if Instant::now() >= this.deadline => {
                this.state = State::Due;
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            State::New => this.start(cx),
            State::Waits(timers, key) => match timers.look(*key, this.deadline, cx.waker()) {
                Look::Waits => Poll::Pending,
                Look::Fired => {
                    this.state = State::Done;
                    Poll::Ready(())
                }
                Look::Closed => {
                    this.state = State::New;
                    this.start(cx)
                }
            },
        }
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A future was not ready in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the deadline has passed")]
pub struct Elapsed(());

impl From<Elapsed> for std::io::Error {
    fn from(error: Elapsed) -> Self {
        Self::new(std::io::ErrorKind::TimedOut, error)
    }
}

/// Awaits `future`, for so long at most, from this call on. It is polled before the time is looked at: what is ready at once never comes late.
///
/// Cancel safe where `future` is.
///
/// # Errors
/// [`Elapsed`], with `future` dropped.
pub fn timeout<F: Future>(
    duration: Duration,
    future: F,
) -> impl Future<Output = Result<F::Output, Elapsed>> {
    timeout_at(after(duration), future)
}

/// As [`timeout`], until `deadline`.
///
/// # Errors
/// As [`timeout`].
pub async fn timeout_at<F: Future>(deadline: Instant, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let mut sleep = sleep_until(deadline);
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Ok(output));
        }
        Pin::new(&mut sleep).poll(cx).map(|()| Err(Elapsed(())))
    })
    .await
}

#[cfg(test)]
mod tests;
