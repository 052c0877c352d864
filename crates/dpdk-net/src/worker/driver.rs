//! What a runtime takes turns with.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, Waker};

use super::Reactor;
use crate::handle::Handle;
use crate::idle::IdlePolicy;
use crate::runtime::coop;
use crate::time::Timers;

/// The device side of a worker: its queue pairs with their stacks, and its timers.
///
/// A [`Runtime`](crate::runtime::Runtime) calls [`turn`](Self::turn) again and again, and runs those whom it woke in between.
pub struct Driver {
    reactors: RefCell<Vec<Driven>>,
    timers: Arc<Timers>,
    idle: IdlePolicy,
    /// Turns in a row in which nothing happened.
    idle_turns: Cell<u32>,
    /// Wakers of timers on their way; kept for its allocation.
    wake: RefCell<Vec<Waker>>,
}

pub(super) struct Driven {
    pub(super) reactor: Reactor,
    pub(super) handle: Handle,
    /// A waker panicked in a turn of it: its sockets have ended.
    dead: bool,
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver")
            .field("idle", &self.idle)
            .finish_non_exhaustive()
    }
}

impl Driver {
    /// `None` without reactors.
    pub(super) fn new(reactors: Vec<Reactor>) -> Option<Rc<Self>> {
        let first = reactors.first()?;
        let (clock, idle) = (first.clock, first.idle);
        let driven = |reactor: Reactor| {
            let handle = reactor.handle();
            handle.shard().mailbox().open();
            Driven {
                reactor,
                handle,
                dead: false,
            }
        };
        Some(Rc::new(Self {
            reactors: RefCell::new(reactors.into_iter().map(driven).collect()),
            timers: Timers::new(clock),
            idle,
            idle_turns: Cell::new(0),
            wake: RefCell::default(),
        }))
    }

    /// One turn of each queue pair: takes a burst of frames, runs the stack, sends, and wakes whom it concerns; then wakes those whose
    /// timers are due. Returns whether there was something to do.
    ///
    /// Never blocks and never panics: a waker that does ends the sockets of its queue, and whoever waits for them is told. Called from
    /// inside itself it does nothing.
    #[inline]
    pub fn turn(&self) -> bool {
        let Ok(mut wake) = self.wake.try_borrow_mut() else {
            return false;
        };
        let Ok(mut reactors) = self.reactors.try_borrow_mut() else {
            return false;
        };
        coop::refill();
        let mut busy = false;
        let mut now = None;
        for (index, driven) in reactors.iter_mut().enumerate() {
            if driven.dead {
                continue;
            }
            let turned = catch_unwind(AssertUnwindSafe(|| {
                driven.reactor.turn() | driven.handle.shard().deliver()
            }));
            match turned {
                Ok(did) => busy |= did,
                Err(_) => driven.die(),
            }
            if index == 0 {
                // Timers go by the first one's clock.
                now = Some(driven.reactor.turned);
            }
        }
        drop(reactors);
        let now = now.unwrap_or_else(|| self.timers.now());
        self.timers.take_due(now, &mut wake);
        if !wake.is_empty() {
            busy = true;
            wake_each(&mut wake);
        }
        let idle = if busy {
            0
        } else {
            self.idle_turns.get().saturating_add(1)
        };
        self.idle_turns.set(idle);
        busy
    }

    /// No task is ready: does what the [`IdlePolicy`] says after so many turns without anything to do.
    #[inline]
    pub fn rest(&self) {
        self.idle.pause(self.idle_turns.get());
    }

    /// Turns for ever, one a poll, as a task that wakes itself: for a runtime that runs its ready tasks in the order in which they were
    /// woken.
    pub fn run(self: Rc<Self>) -> impl Future<Output = ()> + 'static {
        poll_fn(move |cx| {
            self.turn();
            self.rest();
            // Runs again after the tasks that it made ready.
            cx.waker().wake_by_ref();
            Poll::Pending
        })
    }

    pub(super) fn timers(&self) -> &Arc<Timers> {
        &self.timers
    }

    pub(super) fn reactors(&self) -> &RefCell<Vec<Driven>> {
        &self.reactors
    }

    /// Nothing is spawned from elsewhere any more.
    pub(super) fn close_mailboxes(&self) {
        // Borrowed only where a turn drops the last of the driver: its queues end with it.
        if let Ok(reactors) = self.reactors.try_borrow() {
            for driven in &*reactors {
                driven.handle.shard().mailbox().close();
            }
        }
    }

    /// Timers are nobody's any more: who sleeps is asked again.
    pub(super) fn close_timers(&self) {
        let mut wake = Vec::new();
        self.timers.close(&mut wake);
        wake_each(&mut wake);
    }
}

impl Driven {
    /// Connections that have not ended; of a queue that is dead they have.
    pub(super) fn connections(&self) -> usize {
        if self.dead {
            return 0;
        }
        self.handle.connection_count()
    }

    /// Sends what is left. Returns whether all of it has gone.
    pub(super) fn flush(&mut self) -> bool {
        if self.dead {
            return false;
        }
        let flushed = catch_unwind(AssertUnwindSafe(|| self.reactor.flush()));
        flushed.unwrap_or_else(|_| {
            self.die();
            false
        })
    }

    /// A turn runs wakers, which are the program's code and may panic. Frames, timers and events of that turn are lost with it: better
    /// everybody is told.
    #[cold]
    fn die(&mut self) {
        self.dead = true;
        self.handle.shard().mailbox().close();
        tracing::error!("a waker panicked in a turn of the worker: the sockets of this queue end");
        // More of them may panic; each is gone then.
        while catch_unwind(AssertUnwindSafe(|| self.reactor.end())).is_err() {}
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.close_mailboxes();
        self.close_timers();
    }
}

/// Wakes all, whichever of them panic.
fn wake_each(wakers: &mut Vec<Waker>) {
    // Those that were due first are woken first.
    wakers.reverse();
    while let Some(waker) = wakers.pop() {
        if catch_unwind(AssertUnwindSafe(|| waker.wake())).is_err() {
            tracing::error!("a waker that was woken by a timer panicked");
        }
    }
}
