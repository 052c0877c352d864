//! [`Smol`]: a worker on async-executor, smol's executor.

use std::cell::Cell;
use std::fmt;
use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::rc::{Rc, Weak};
use std::task::{Context, Poll};

use async_executor::LocalExecutor;

use super::root::Root;
use super::{LocalTask, Runtime, RuntimeSettings, Spawn};
use crate::error::Error;
use crate::worker::Driver;

/// Tasks that may run between two turns, however many are ready.
const TASKS: usize = 61;

/// `async_executor::LocalExecutor`. async-io's kernel sockets and timers work beside ours: its own thread looks after them, and wakes our
/// tasks. `smol::spawn` spawns on smol's global executor, whose threads are none of a worker's.
pub struct Smol {
    executor: Rc<Tasks>,
    driver: Rc<Driver>,
}

impl fmt::Debug for Smol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Smol")
            .field("tasks", &self.executor.alive.get())
            .finish_non_exhaustive()
    }
}

struct Tasks {
    executor: LocalExecutor<'static>,
    alive: Rc<Cell<usize>>,
}

/// A task that counts.
struct Counted {
    task: LocalTask,
    alive: Rc<Cell<usize>>,
}

impl Future for Counted {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Pin::new(&mut self.task).poll(cx)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.alive.set(self.alive.get() - 1);
    }
}

struct Spawner(Weak<Tasks>);

impl Spawn for Spawner {
    fn spawn(&self, task: LocalTask) {
        let Some(tasks) = self.0.upgrade() else {
            return;
        };
        let alive = tasks.alive.clone();
        alive.set(alive.get() + 1);
        tasks.executor.spawn(Counted { task, alive }).detach();
    }
}

impl Runtime for Smol {
    const NAME: &'static str = "smol";

    fn build(_: &RuntimeSettings, driver: Rc<Driver>) -> io::Result<Self> {
        let executor = Rc::new(Tasks {
            executor: LocalExecutor::new(),
            alive: Rc::default(),
        });
        Ok(Self { executor, driver })
    }

    fn spawner(&self) -> Rc<dyn Spawn> {
        Rc::new(Spawner(Rc::downgrade(&self.executor)))
    }

    fn block_on<F: Future>(&self, root: F) -> Result<F::Output, Error> {
        let tasks = &*self.executor;
        let woken = Root::new();
        let mut root = pin!(root);
        loop {
            self.driver.turn();
            if let Poll::Ready(output) = woken.poll(root.as_mut()) {
                return Ok(output);
            }
            // Not more than there are: one that wakes itself is not to run twice in a turn.
            let most = tasks.alive.get().clamp(1, TASKS);
            let mut ran = 0;
            while ran < most && tasks.executor.try_tick() {
                ran += 1;
            }
            if ran == 0 {
                self.driver.rest();
            }
        }
    }

    fn shutdown(self) {
        drop(self.executor);
    }
}
