//! [`Compio`]: a worker on compio's runtime.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::Poll;
use std::time::Duration;

use compio_runtime as compio;

use super::root::{Root, Turns};
use super::{LocalTask, Runtime, RuntimeSettings, Spawn};
use crate::error::Error;
use crate::worker::Driver;

/// Turns between two looks at the proactor, each of which is a system call: while the device is busy, and while it is not.
const BUSY: u32 = 61;
const IDLE: u32 = 8;

/// Wakes of tasks from other threads between two turns. Whoever brings one more waits for the turn: two workers that woke each other's tasks
/// would wait for one another.
const WAKES: usize = 1 << 16;

/// `compio_runtime::Runtime`. Its proactor, io_uring or epoll, is looked at between turns without waiting, so compio's kernel sockets,
/// files and timers work in the worker's tasks, and `compio_runtime::spawn` too.
pub struct Compio {
    runtime: Rc<compio::Runtime>,
    turns: Turns,
    driver: Rc<Driver>,
    /// Turns until the proactor is looked at.
    left: Cell<u32>,
    /// It has failed before: that is told once.
    failed: Cell<bool>,
}

impl fmt::Debug for Compio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Compio")
            .field("proactor", &self.runtime.driver_type())
            .finish_non_exhaustive()
    }
}

struct Spawner(Weak<compio::Runtime>, Turns);

impl Spawn for Spawner {
    fn spawn(&self, task: LocalTask) {
        if let Some(runtime) = self.0.upgrade() {
            runtime.spawn(self.1.once(task)).detach();
        }
    }
}

impl Compio {
    #[inline]
    fn look_at_proactor(&self, busy: bool) {
        let left = self.left.get().saturating_sub(1);
        let left = if busy { left } else { left.min(IDLE) };
        self.left.set(left);
        if left == 0 {
            self.left.set(BUSY);
            self.poll_proactor();
        }
    }

    #[cold]
    fn poll_proactor(&self) {
        // It panics where the kernel refuses, and wakes.
        let polled = AssertUnwindSafe(|| self.runtime.poll_with(Some(Duration::ZERO)));
        if catch_unwind(polled).is_err() && !self.failed.replace(true) {
            tracing::error!(
                "compio's proactor failed: its sockets, files and timers may stand still"
            );
        }
    }
}

impl Runtime for Compio {
    const NAME: &'static str = "compio";

    fn build(_: &RuntimeSettings, driver: Rc<Driver>) -> io::Result<Self> {
        // One poll a call: it would not end at a task that comes up again.
        let runtime = compio::Runtime::builder()
            .event_interval(1)
            .sync_queue_size(WAKES)
            .build()?;
        Ok(Self {
            runtime: Rc::new(runtime),
            turns: Turns::default(),
            driver,
            left: Cell::new(0),
            failed: Cell::new(false),
        })
    }

    fn spawner(&self) -> Rc<dyn Spawn> {
        Rc::new(Spawner(Rc::downgrade(&self.runtime), self.turns.clone()))
    }

    fn block_on<F: Future>(&self, root: F) -> Result<F::Output, Error> {
        if compio::Runtime::try_current().is_some() {
            return Err(Error::NestedRuntime);
        }
        let woken = Root::new();
        let mut root = pin!(root);
        self.runtime.enter(|| {
            loop {
                let busy = self.driver.turn();
                if let Poll::Ready(output) = woken.poll(root.as_mut()) {
                    return Ok(output);
                }
                self.turns.begin();
                // What was spawned through compio does not tell that it comes up again: alone it has all of a turn's polls.
                let (mut more, mut ran) = (self.runtime.run(), 1);
                while more && self.turns.goes_on(ran) {
                    more = self.runtime.run();
                    ran += 1;
                }
                self.look_at_proactor(busy || more);
                if !more {
                    self.driver.rest();
                }
            }
        })
    }

    fn shutdown(self) {
        // Its tasks are dropped inside of it.
        drop(self.runtime);
    }
}
