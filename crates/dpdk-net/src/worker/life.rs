//! A worker's life: made, run, drained, ended.

use std::fmt;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;

use super::driver::Driven;
use super::{Driver, Reactor, WorkerConfig, run_until};
use crate::affinity::Affinity;
use crate::error::Error;
use crate::handle::Handle;
use crate::runtime::{self, Here, JoinHandle, Runtime, RuntimeSettings, Tokio};

/// What is left of a worker when it ends. See [`Worker::shutdown`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// Connections that did not finish in time and were reset.
    pub reset: usize,
    /// Whether every frame, resets included, reached the TX ring.
    pub flushed: bool,
}

/// A reactor, or several, on a runtime of their own: a worker of one thread.
///
/// Build and run it on the thread, as a rule an lcore, whose queue pair it has. The runtime is [`Tokio`] if nothing else is said; see
/// [`runtime`](crate::runtime) for what works on which.
pub struct Worker<R: Runtime = Tokio> {
    // Dropped first: tasks own sockets.
    runtime: R,
    driver: Rc<Driver>,
    here: Here,
    handles: Vec<Handle>,
    /// That of the first queue.
    handle: Handle,
}

impl<R: Runtime> fmt::Debug for Worker<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker")
            .field("runtime", &R::NAME)
            .finish_non_exhaustive()
    }
}

impl Worker {
    /// Builds the stack, and a tokio runtime.
    ///
    /// # Errors
    /// As [`Reactor::new`], and [`Error::Runtime`] where the runtime can't be built (as a rule: no file
    /// descriptors left).
    pub fn new(config: WorkerConfig) -> Result<Self, Error> {
        Self::on(vec![config])
    }

    /// As [`new`](Self::new), over several queue pairs, by turns: for a port with more queues than there are lcores. Each has a
    /// stack and a [handle](Self::handles) of its own.
    ///
    /// # Errors
    /// As [`new`](Self::new), and [`Error::BadValue`] where no queue pair is given.
    pub fn serving(configs: Vec<WorkerConfig>) -> Result<Self, Error> {
        Self::on(configs)
    }
}

impl<R: Runtime> Worker<R> {
    /// Builds a worker over one queue pair, or over several by turns, on this runtime: `Worker::<Local>::on(vec![config])`.
    ///
    /// # Errors
    /// As [`Worker::new`], and [`Error::BadValue`] where no queue pair is given.
    pub fn on(configs: Vec<WorkerConfig>) -> Result<Self, Error> {
        let affinity = configs.first().and_then(|config| config.affinity);
        let affinity = affinity.unwrap_or_else(Affinity::all);
        let reactors = configs.into_iter().map(Reactor::new);
        let reactors = reactors.collect::<Result<Vec<_>, _>>()?;
        let handles: Vec<Handle> = reactors.iter().map(Reactor::handle).collect();
        let (Some(handle), Some(driver)) = (handles.first().cloned(), Driver::new(reactors)) else {
            return Err(Error::BadValue {
                what: "the number of queue pairs of a worker",
                given: 0,
                expected: "it serves one at least".into(),
            });
        };
        let settings = RuntimeSettings { affinity };
        let runtime = R::build(&settings, driver.clone()).map_err(Error::Runtime)?;
        if let Some(metrics) = runtime.tokio_metrics() {
            // The first one of its shard counts.
            let _ = handle.shard().runtime().set(metrics);
        }
        let here = Here {
            spawn: runtime.spawner(),
            timers: Some(driver.timers().clone()),
            affinity: Some(affinity),
        };
        Ok(Self {
            runtime,
            driver,
            here,
            handles,
            handle,
        })
    }

    /// Where sockets of this worker are made; usable from any thread. Of several queue pairs that of the first.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Where sockets of each of its queue pairs are made, in the order in which they were given.
    pub fn handles(&self) -> impl ExactSizeIterator<Item = &Handle> {
        self.handles.iter()
    }

    /// Runs the worker until `future` is done. Tasks that it spawned stay, and run again with the next call.
    ///
    /// The future and the tasks find this worker as [`Handle::current`].
    ///
    /// # Panics
    /// Inside a worker or another runtime that this thread runs, and with the future's own panic.
    #[track_caller]
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        match self.try_block_on(future) {
            Ok(output) => output,
            Err(error) => panic!("{error}"),
        }
    }

    /// As [`block_on`](Self::block_on).
    ///
    /// # Errors
    /// [`Error::NestedRuntime`] on a thread that runs a worker already.
    ///
    /// # Panics
    /// With the future's own panic, and where tokio's does: inside another runtime of tokio.
    pub fn try_block_on<F: Future>(&self, future: F) -> Result<F::Output, Error> {
        let _runs = runtime::Runs::begin().ok_or(Error::NestedRuntime)?;
        let _budget = (!R::HAS_TOKIO_BUDGET).then(runtime::coop::begin);
        let _current = self.handle.enter();
        let _here = self.here.enter();
        let output = self.runtime.block_on(future);
        // What the future did last leaves, and so does the answer to what woke it.
        self.driver.turn();
        output
    }

    /// Spawns a task that need not be `Send`. It runs whenever the worker does. In the worker's own tasks there is
    /// [`runtime::spawn_local`](crate::runtime::spawn_local).
    pub fn spawn_local<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future + 'static,
        F::Output: 'static,
    {
        let _current = self.handle.enter();
        self.here.spawn(future)
    }

    /// Ends the worker in good order: new connections are refused, tasks are dropped and with them their
    /// sockets; connections then have `grace` to finish by themselves, are reset after it, and the last
    /// frames are flushed. TIME-WAIT is not waited for.
    pub fn shutdown(self, grace: Duration) -> Drained {
        self.drain_until(grace, |finished| finished).end()
    }

    /// As [`shutdown`](Self::shutdown), but the grace ends when `ends` says so, which is told whether the connections have
    /// finished, and the stacks are still there after it.
    pub(crate) fn drain_until(
        self,
        grace: Duration,
        mut ends: impl FnMut(bool) -> bool,
    ) -> Remains {
        let Self {
            runtime,
            driver,
            here,
            handles,
            handle,
        } = self;
        for handle in &handles {
            handle.refuse_new(true);
            handle.with(|state| state.closing = true);
        }
        driver.close_mailboxes();
        {
            // Sockets may be made or closed by the destructors of tasks.
            let _current = handle.enter();
            let _here = here.enter();
            runtime.shutdown();
        }
        driver.close_timers();
        let mut remains = Remains {
            driver,
            reset: 0,
            flushed: true,
        };
        remains.turn_until(grace, |all| ends(all.connections() == 0));
        remains.reset = remains.connections();
        for handle in &handles {
            handle.with(|state| {
                let now = state.now;
                state.stack.reset_all(now);
            });
        }
        remains.flush();
        remains
    }
}

/// A worker without its runtime, all of whose connections have ended. Sockets can still be made.
pub(crate) struct Remains {
    driver: Rc<Driver>,
    reset: usize,
    flushed: bool,
}

impl Remains {
    fn any(&self, what: impl Fn(&Handle) -> bool) -> bool {
        let reactors = self.driver.reactors().borrow();
        reactors.iter().any(|driven| what(&driven.handle))
    }

    fn connections(&self) -> usize {
        let reactors = self.driver.reactors().borrow();
        let all = reactors.iter();
        all.map(Driven::connections).sum()
    }

    /// Serves the queues until `done`, for no longer than this.
    fn turn_until(&self, limit: Duration, mut done: impl FnMut(&Self) -> bool) {
        let clock = {
            let reactors = self.driver.reactors().borrow();
            match reactors.first() {
                Some(first) => first.reactor.clock,
                None => return,
            }
        };
        run_until(&clock, limit, || {
            self.driver.turn();
            done(self)
        });
    }

    fn flush(&mut self) {
        for driven in &mut *self.driver.reactors().borrow_mut() {
            self.flushed &= driven.flush();
        }
    }

    /// Waits until no packet waits for a neighbour's MAC address, for no longer than this.
    pub(crate) fn wait_for_neighbors(&self, limit: Duration) {
        self.turn_until(limit, |all| {
            !all.any(|handle| handle.with(|state| state.stack.awaits_neighbors()))
        });
    }

    /// Sends what is left to be sent, and ends the queues.
    pub(crate) fn end(mut self) -> Drained {
        self.flush();
        Drained {
            reset: self.reset,
            flushed: self.flushed,
        }
    }
}
