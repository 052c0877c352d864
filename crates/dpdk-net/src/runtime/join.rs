//! Tasks, and the handles that wait for what they return.
//!
//! A task is the same on every runtime: its future in one box, with the place where its result goes. A panic stays inside of it.

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::mem::forget;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use super::coop;

/// A task to be run: what [`Spawn::spawn`](super::Spawn::spawn) is given. Neither polling nor dropping it panics.
#[must_use = "a task does nothing until a runtime polls it"]
pub struct LocalTask(Option<Pin<Box<dyn Future<Output = ()>>>>);

impl fmt::Debug for LocalTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalTask")
    }
}

impl Future for LocalTask {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(task) = self.0.as_mut().map(Pin::as_mut) else {
            return Poll::Ready(());
        };
        let polled = catch_unwind(AssertUnwindSafe(|| coop::budgeted(|| task.poll(cx))));
        // Only destructors get here: a panic of the future itself is caught where its result goes.
        polled.unwrap_or_else(|payload| {
            forget(payload);
            Poll::Ready(())
        })
    }
}

impl Drop for LocalTask {
    fn drop(&mut self) {
        let task = self.0.take();
        // Destructors of the program's may panic: not in the runtime's hands.
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| drop(task))) {
            forget(payload);
        }
    }
}

/// What a task and its handle share.
struct Shared<T> {
    aborted: AtomicBool,
    state: Mutex<State<T>>,
}

struct State<T> {
    outcome: Option<Result<T, JoinError>>,
    finished: bool,
    /// Who waits for the outcome.
    joiner: Option<Waker>,
    /// The task's own, by which it is told of an abort.
    task: Option<Waker>,
}

impl<T> Shared<T> {
    fn finish(&self, outcome: Result<T, JoinError>) {
        let mut state = self.state.lock();
        if state.finished {
            return;
        }
        state.finished = true;
        state.outcome = Some(outcome);
        let (joiner, task) = (state.joiner.take(), state.task.take());
        drop(state);
        drop(task);
        if let Some(joiner) = joiner {
            joiner.wake();
        }
    }
}

/// A task's end of what it shares with its handle. Dropping it tells that there is no result any more.
pub(crate) struct Promise<T>(Arc<Shared<T>>);

impl<T> Drop for Promise<T> {
    fn drop(&mut self) {
        let aborted = self.0.aborted.load(Ordering::Acquire);
        let cause = if aborted {
            Cause::Aborted
        } else {
            Cause::WorkerEnded
        };
        self.0.finish(Err(JoinError(cause)));
    }
}

/// The handle of a task that is yet to be made, and what makes it one.
pub(crate) fn promise<T>() -> (Promise<T>, JoinHandle<T>) {
    let shared = Arc::new(Shared {
        aborted: AtomicBool::new(false),
        state: Mutex::new(State {
            outcome: None,
            finished: false,
            joiner: None,
            task: None,
        }),
    });
    (Promise(shared.clone()), JoinHandle { shared })
}

/// A task of a future, and its handle.
pub(crate) fn task<F>(future: F) -> (LocalTask, JoinHandle<F::Output>)
where
    F: Future + 'static,
    F::Output: 'static,
{
    let (promise, handle) = promise();
    (promise.task(future), handle)
}

impl<T: 'static> Promise<T> {
    /// The task of a future, whose result the handle gets.
    pub(crate) fn task(self, future: impl Future<Output = T> + 'static) -> LocalTask {
        let run = async move {
            let outcome = self.outcome(future).await;
            self.0.finish(outcome);
        };
        LocalTask(Some(Box::pin(run)))
    }

    /// The future's result, once the future is gone.
    async fn outcome(&self, future: impl Future<Output = T>) -> Result<T, JoinError> {
        let shared = &self.0;
        let mut future = pin!(Some(future));
        let mut known: Option<Waker> = None;
        let outcome = poll_fn(|cx| {
            if !known.as_ref().is_some_and(|it| it.will_wake(cx.waker())) {
                known = Some(cx.waker().clone());
                let old = shared.state.lock().task.replace(cx.waker().clone());
                drop(old);
            }
            // Looked at last: it may have been aborted before there was anybody to wake.
            if shared.aborted.load(Ordering::Acquire) {
                return Poll::Ready(Err(JoinError(Cause::Aborted)));
            }
            let poll = || match future.as_mut().as_pin_mut() {
                Some(future) => future.poll(cx),
                None => Poll::Pending,
            };
            match caught(poll) {
                Ok(polled) => polled.map(Ok),
                Err(panic) => Poll::Ready(Err(panic)),
            }
        })
        .await;
        // Its destructors may panic as well.
        caught(|| future.set(None)).and(outcome)
    }
}

/// Calls the program's code.
fn caught<R>(call: impl FnOnce() -> R) -> Result<R, JoinError> {
    catch_unwind(AssertUnwindSafe(call))
        .map_err(|payload| JoinError(Cause::Panic(Mutex::new(payload))))
}

/// Waits for a task's result. Dropping it leaves the task running.
///
/// Cancel safe: a result that was not taken stays.
pub struct JoinHandle<T> {
    shared: Arc<Shared<T>>,
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle")
            .field("finished", &self.is_finished())
            .finish_non_exhaustive()
    }
}

impl<T> JoinHandle<T> {
    /// Ends the task where it waits next; its future is dropped on its worker. A task that has finished stays so.
    pub fn abort(&self) {
        self.shared.aborted.store(true, Ordering::Release);
        let task = self.shared.state.lock().task.clone();
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Whether the task has ended, one way or the other.
    pub fn is_finished(&self) -> bool {
        self.shared.state.lock().finished
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.shared.state.lock();
        if let Some(outcome) = state.outcome.take() {
            return Poll::Ready(outcome);
        }
        if state.finished {
            drop(state);
            // Polled again after it was done.
            return Poll::Ready(Err(JoinError(Cause::Taken)));
        }
        let old = match &state.joiner {
            Some(joiner) if joiner.will_wake(cx.waker()) => None,
            _ => state.joiner.replace(cx.waker().clone()),
        };
        drop(state);
        drop(old);
        Poll::Pending
    }
}

/// Why there is no result of a task.
pub struct JoinError(Cause);

enum Cause {
    Aborted,
    WorkerEnded,
    /// In a lock, so that the error can be shared: nobody else ever waits for it.
    Panic(Mutex<Box<dyn Any + Send>>),
    Taken,
}

impl JoinError {
    /// Whether it was aborted, or its worker ended before it.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0, Cause::Aborted | Cause::WorkerEnded)
    }

    /// Whether its worker ended before it.
    pub fn is_worker_ended(&self) -> bool {
        matches!(self.0, Cause::WorkerEnded)
    }

    /// Whether it panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.0, Cause::Panic(_))
    }

    /// What it panicked with, for [`resume_unwind`](std::panic::resume_unwind).
    ///
    /// # Errors
    /// This error itself, if it is no panic.
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send>, Self> {
        match self.0 {
            Cause::Panic(payload) => Ok(payload.into_inner()),
            cause => Err(Self(cause)),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Cause::Aborted => f.write_str("the task was aborted"),
            Cause::WorkerEnded => f.write_str("the task's worker ended before the task did"),
            Cause::Taken => f.write_str("the task's result was taken before"),
            Cause::Panic(payload) => {
                let payload = payload.lock();
                let text = payload.downcast_ref::<&str>().copied();
                let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
                write!(f, "the task panicked: {}", text.unwrap_or("no message"))
            }
        }
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JoinError({self})")
    }
}

impl std::error::Error for JoinError {}

impl From<JoinError> for std::io::Error {
    fn from(error: JoinError) -> Self {
        Self::other(error)
    }
}
