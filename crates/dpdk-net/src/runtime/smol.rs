//! [`Smol`]: a worker on async-executor, smol's executor.

use std::fmt;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::task::Poll;

use async_executor::LocalExecutor;

use super::root::{Root, Turns};
use super::{LocalTask, Runtime, RuntimeSettings, Spawn};
use crate::error::Error;
use crate::worker::Driver;

/// `async_executor::LocalExecutor`. async-io's kernel sockets and timers work beside ours: its own thread looks after them, and wakes our
/// tasks. `smol::spawn` spawns on smol's global executor, whose threads are none of a worker's.
pub struct Smol {
    executor: Rc<Tasks>,
    driver: Rc<Driver>,
}

impl fmt::Debug for Smol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Smol")
            .field("executor", &self.executor.executor)
            .finish_non_exhaustive()
    }
}

struct Tasks {
    executor: LocalExecutor<'static>,
    turns: Turns,
}

struct Spawner(Weak<Tasks>);

impl Spawn for Spawner {
    fn spawn(&self, task: LocalTask) {
        let Some(tasks) = self.0.upgrade() else {
            return;
        };
        tasks.executor.spawn(tasks.turns.once(task)).detach();
    }
}

impl Runtime for Smol {
    const NAME: &'static str = "smol";

    fn build(_: &RuntimeSettings, driver: Rc<Driver>) -> io::Result<Self> {
        let executor = Rc::new(Tasks {
            executor: LocalExecutor::new(),
            turns: Turns::default(),
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
            tasks.turns.begin();
            let mut ran = 0;
            while tasks.turns.goes_on(ran) && tasks.executor.try_tick() {
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
