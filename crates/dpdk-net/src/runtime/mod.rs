//! What a worker's tasks run on.
//!
//! A [`Worker`](crate::Worker) is a device, a stack and a runtime on one thread. tokio is the default; a worker of another one is made by
//! [`Worker::on`](crate::Worker::on), an application by [`AppBuilder::runtime`](crate::AppBuilder::runtime), `workers.runtime` of the file
//! or `#[dpdk_net::main(runtime = "local")]`.
//!
//! | runtime | what it is |
//! |---|---|
//! | [`Tokio`] | tokio's current-thread runtime, with its timers, kernel sockets and `spawn_blocking` |
//! | [`Local`] | our [`LocalExecutor`] and nothing else |
//! | `Smol` (feature `smol`) | `async_executor::LocalExecutor`; async-io's sockets and timers work beside ours |
//! | `Compio` (feature `compio`) | `compio_runtime::Runtime`, whose proactor is looked at between turns |
//!
//! What is the same on all: our sockets, [`spawn_local`], [`time`](crate::time), and that a panic stays inside its task. tokio's `spawn` and
//! `time`, and libraries that call them, work on [`Tokio`] alone; tokio's traits and channels need no runtime. Which library works where,
//! and how a runtime of your own is brought in, is told in `docs/runtimes.md`.
//!
//! What does not live here: the worker's loop (`worker.rs`), timers (`time/`).

#[cfg(feature = "compio")]
mod compio;
mod context;
pub(crate) mod coop;
mod executor;
mod join;
mod kind;
mod local;
#[cfg(any(feature = "smol", feature = "compio"))]
mod root;
#[cfg(feature = "smol")]
mod smol;
mod tokio;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::rc::Rc;
use std::task::Poll;

use crate::affinity::Affinity;
use crate::error::Error;
use crate::worker::Driver;

#[cfg(feature = "compio")]
pub use self::compio::Compio;
#[cfg(any(feature = "resolver", feature = "tls"))]
pub(crate) use self::context::is_here;
pub use self::context::spawn_local;
#[cfg(feature = "resolver")]
pub(crate) use self::context::unblock;
pub(crate) use self::context::{Here, spawn_task, timers};
pub use self::executor::LocalExecutor;
pub(crate) use self::join::promise;
pub use self::join::{JoinError, JoinHandle, LocalTask};
pub use self::kind::RuntimeKind;
pub use self::local::Local;
#[cfg(feature = "smol")]
pub use self::smol::Smol;
pub use self::tokio::Tokio;

/// Where tasks of a thread are spawned.
///
/// What [`Runtime::spawner`] gives out must not keep the runtime alive: tasks hold it, and a runtime holds its tasks.
pub trait Spawn {
    /// Has a task polled whenever it is woken, from its spawning on. Where that can't be any more it drops the task.
    fn spawn(&self, task: LocalTask);
}

/// What a runtime is built with.
#[derive(Debug, Clone)]
pub struct RuntimeSettings {
    pub(crate) affinity: Affinity,
}

impl RuntimeSettings {
    /// Has the calling thread run where threads may that are not the worker's: to be called first by each thread that a runtime starts. They
    /// would otherwise share the core that polls.
    pub fn place_thread(&self) {
        self.affinity.apply();
    }
}

/// What a worker's tasks run on: one thread's, made and used there alone.
///
/// An implementation polls, in this order and again and again: the [`Driver`] once, then each task that is ready by then once, then,
/// where none was, [`Driver::rest`]. A task that wakes itself waits for the next round. What it must not do is sleep: the device is
/// found ready by looking.
pub trait Runtime: Sized + 'static {
    /// Its name, for messages.
    const NAME: &'static str;

    /// Whether tasks have tokio's cooperative budget. Where they have not, sockets have one of ours: 128 operations in a poll of a
    /// task.
    const HAS_TOKIO_BUDGET: bool = false;

    /// Makes a runtime that takes turns with `driver`, whenever it runs.
    ///
    /// # Errors
    /// What the system refuses: as a rule, file descriptors.
    fn build(settings: &RuntimeSettings, driver: Rc<Driver>) -> io::Result<Self>;

    /// Where its tasks are spawned, whether it runs or not.
    fn spawner(&self) -> Rc<dyn Spawn>;

    /// Runs until `root` is done. Tasks that are not done stay, and go on with the next call. It is not called inside itself: the worker
    /// refuses that.
    ///
    /// # Errors
    /// [`Error::NestedRuntime`] where the thread runs something else that would not go on meanwhile.
    ///
    /// # Panics
    /// With `root`'s own panic.
    fn block_on<F: Future>(&self, root: F) -> Result<F::Output, Error>;

    /// Drops all tasks, and waits for nobody.
    fn shutdown(self);

    /// tokio's figures of it, if it is tokio.
    fn tokio_metrics(&self) -> Option<::tokio::runtime::RuntimeMetrics> {
        None
    }
}

/// Lets all tasks run that are ready, and the device have its turn.
///
/// Cancel safe.
pub async fn yield_now() {
    let mut yielded = false;
    poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

thread_local! {
    /// Whether the thread runs a worker.
    static RUNS: Cell<bool> = const { Cell::new(false) };
}

/// Has the thread count as running a worker until it is dropped.
pub(crate) struct Runs(());

impl Runs {
    /// `None` where it does already.
    pub(crate) fn begin() -> Option<Self> {
        // Made only where it is to be undone.
        (!RUNS.replace(true)).then(|| Self(()))
    }
}

impl Drop for Runs {
    fn drop(&mut self) {
        RUNS.set(false);
    }
}
