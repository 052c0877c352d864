//! The two ends of a task that was spawned from another thread: who waits for it, and the task itself.

use std::any::Any;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::handle::Handle;

/// Waits for a task that was spawned on another worker, and gives what it returned.
///
/// Dropping it lets the task go on alone. Waiting for it may be given up and taken up again: what the task returned stays until it is
/// taken.
#[must_use = "a task goes on without its handle; drop it with `let _ =` or wait for it"]
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

struct Shared<T> {
    state: Mutex<State<T>>,
    aborted: AtomicBool,
}

struct State<T> {
    stage: Stage<T>,
    /// Who waits for the task.
    joiner: Option<Waker>,
    /// Wakes the task.
    task: Option<Waker>,
}

enum Stage<T> {
    Runs,
    Over(Result<T, JoinError>),
    Taken,
}

impl<T> JoinHandle<T> {
    /// Ends the task at its next `.await`, or before it starts. Without effect where it is over.
    ///
    /// Its future is dropped by its own worker; [`JoinError::is_cancelled`] tells that it was.
    pub fn abort(&self) {
        self.shared.aborted.store(true, Ordering::Release);
        let task = self.shared.state.lock().task.take();
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Whether the task is over.
    pub fn is_finished(&self) -> bool {
        !matches!(self.shared.state.lock().stage, Stage::Runs)
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        // Declared first, dropped last: a waker's destructor is not run with the lock held.
        let _replaced;
        let mut state = self.shared.state.lock();
        match std::mem::replace(&mut state.stage, Stage::Taken) {
            Stage::Over(result) => Poll::Ready(result),
            Stage::Taken => Poll::Ready(Err(JoinError(Cause::Taken))),
            Stage::Runs => {
                state.stage = Stage::Runs;
                let known = state.joiner.as_ref();
                _replaced = match known.is_some_and(|joiner| joiner.will_wake(cx.waker())) {
                    true => None,
                    false => state.joiner.replace(cx.waker().clone()),
                };
                drop(state);
                Poll::Pending
            }
        }
    }
}

/// The task's end. Dropping it tells that the task was given up.
pub(super) struct Completion<T> {
    shared: Arc<Shared<T>>,
}

/// Both ends of a task that is to be spawned.
pub(super) fn pair<T>() -> (Completion<T>, JoinHandle<T>) {
    let shared = Arc::new(Shared {
        state: Mutex::new(State {
            stage: Stage::Runs,
            joiner: None,
            task: None,
        }),
        aborted: AtomicBool::new(false),
    });
    let handle = JoinHandle {
        shared: shared.clone(),
    };
    (Completion { shared }, handle)
}

impl<T> Completion<T> {
    /// Runs what `make` makes to its end on `worker`, and tells how that was.
    pub(super) async fn run<M, F>(self, make: M, worker: Handle)
    where
        M: FnOnce() -> F,
        F: Future<Output = T>,
    {
        // The future ends before its end is told.
        let result = self.result_of(make, &worker).await;
        self.tell(result);
    }

    async fn result_of<M, F>(&self, make: M, worker: &Handle) -> Result<T, JoinError>
    where
        M: FnOnce() -> F,
        F: Future<Output = T>,
    {
        if self.shared.aborted.load(Ordering::Acquire) {
            return Err(JoinError(Cause::Aborted));
        }
        let mut future = pin!(Some(caught(worker, make)?));
        // The waker that is noted for `abort`: of all polls, as a rule.
        let mut noted = None;
        let result = poll_fn(|cx| {
            self.note(cx, &mut noted);
            if self.shared.aborted.load(Ordering::Acquire) {
                return Poll::Ready(Err(JoinError(Cause::Aborted)));
            }
            let poll = || match future.as_mut().as_pin_mut() {
                Some(future) => future.poll(cx),
                None => Poll::Pending,
            };
            match caught(worker, poll) {
                Ok(polled) => polled.map(Ok),
                Err(panic) => Poll::Ready(Err(panic)),
            }
        })
        .await;
        // Its destructors may panic as well.
        caught(worker, || future.set(None)).and(result)
    }

    /// Notes the task's waker where [`JoinHandle::abort`] finds it.
    #[inline]
    fn note(&self, cx: &Context<'_>, noted: &mut Option<Waker>) {
        if (noted.as_ref()).is_some_and(|noted| noted.will_wake(cx.waker())) {
            return;
        }
        *noted = Some(cx.waker().clone());
        let before = {
            let mut state = self.shared.state.lock();
            state.task.replace(cx.waker().clone())
        };
        drop(before);
    }

    /// The first one counts.
    fn tell(&self, result: Result<T, JoinError>) {
        let wakers = {
            let mut state = self.shared.state.lock();
            if !matches!(state.stage, Stage::Runs) {
                return;
            }
            state.stage = Stage::Over(result);
            (state.joiner.take(), state.task.take())
        };
        if let Some(joiner) = wakers.0 {
            joiner.wake();
        }
    }
}

impl<T> Drop for Completion<T> {
    fn drop(&mut self) {
        let aborted = self.shared.aborted.load(Ordering::Acquire);
        let cause = if aborted {
            Cause::Aborted
        } else {
            Cause::WorkerEnded
        };
        self.tell(Err(JoinError(cause)));
    }
}

/// Calls the program's code with its worker current.
fn caught<R>(worker: &Handle, call: impl FnOnce() -> R) -> Result<R, JoinError> {
    let call = || {
        let _entered = (!worker.is_current()).then(|| worker.enter());
        call()
    };
    catch_unwind(AssertUnwindSafe(call)).map_err(JoinError::from)
}

/// Why a task gave no result.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct JoinError(Cause);

enum Cause {
    Panicked(Mutex<Box<dyn Any + Send>>),
    Aborted,
    WorkerEnded,
    Taken,
}

impl From<Box<dyn Any + Send>> for JoinError {
    fn from(panic: Box<dyn Any + Send>) -> Self {
        Self(Cause::Panicked(Mutex::new(panic)))
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Panicked(payload) => {
                let payload = payload.lock();
                let text = payload.downcast_ref::<&str>().copied();
                let text = text.or_else(|| payload.downcast_ref::<String>().map(String::as_str));
                write!(
                    f,
                    "the task panicked: {}",
                    text.unwrap_or("with no message")
                )
            }
            Self::Aborted => f.write_str("the task was aborted"),
            Self::WorkerEnded => f.write_str("the task's worker ended before the task did"),
            Self::Taken => f.write_str("the task's result has been taken already"),
        }
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl JoinError {
    /// Whether the task panicked.
    pub fn is_panic(&self) -> bool {
        matches!(self.0, Cause::Panicked(_))
    }

    /// Whether the task was aborted, or its worker ended before it did.
    pub fn is_cancelled(&self) -> bool {
        matches!(self.0, Cause::Aborted | Cause::WorkerEnded)
    }

    /// Whether its worker ended before the task did.
    pub fn is_worker_ended(&self) -> bool {
        matches!(self.0, Cause::WorkerEnded)
    }

    /// What the task panicked with, for [`std::panic::resume_unwind`]; the error again where it did not panic.
    pub fn try_into_panic(self) -> Result<Box<dyn Any + Send>, Self> {
        match self.0 {
            Cause::Panicked(payload) => Ok(payload.into_inner()),
            cause => Err(Self(cause)),
        }
    }
}

impl From<JoinError> for io::Error {
    fn from(error: JoinError) -> Self {
        Self::other(error)
    }
}
