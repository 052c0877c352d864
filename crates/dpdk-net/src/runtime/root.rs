//! What a foreign runtime takes turns by: the future that it runs for, polled once a turn if it was woken, and where a turn ends.

use std::cell::Cell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::{LocalTask, coop};

struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.store(true, Ordering::Release);
    }
}

/// Whether it was woken, from whatever thread. The worker's thread never sleeps: nobody is to be told.
pub(super) struct Root {
    woken: Arc<Woken>,
    waker: Waker,
}

impl Root {
    pub(super) fn new() -> Self {
        let woken = Arc::new(Woken(AtomicBool::new(true)));
        Self {
            waker: woken.clone().into(),
            woken,
        }
    }

    /// Polls `future` if it was woken since.
    #[inline]
    pub(super) fn poll<F: Future>(&self, future: Pin<&mut F>) -> Poll<F::Output> {
        let woken = &self.woken.0;
        // A load is all that most turns pay.
        if !woken.load(Ordering::Relaxed) || !woken.swap(false, Ordering::AcqRel) {
            return Poll::Pending;
        }
        coop::budgeted(|| future.poll(&mut Context::from_waker(&self.waker)))
    }
}

/// Tasks that may run between two turns, however many are ready.
const TASKS: usize = 61;

/// Where a turn ends: the runtime says neither who is ready nor how many are.
#[derive(Debug, Clone, Default)]
pub(super) struct Turns(Rc<Turn>);

#[derive(Debug, Default)]
struct Turn {
    number: Cell<u64>,
    /// A task has come up that has run in it.
    again: Cell<bool>,
}

impl Turns {
    /// A task that runs once a turn, however often it comes up.
    pub(super) fn once(&self, task: LocalTask) -> Once {
        Once {
            task,
            turns: self.clone(),
            last: 0,
        }
    }

    #[inline]
    pub(super) fn begin(&self) {
        self.0.number.set(self.0.number.get() + 1);
        self.0.again.set(false);
    }

    /// Whether there may be somebody who has not run yet. The queue is first in, first out: before a task comes up again, all have run that
    /// were ready when it ran.
    #[inline]
    pub(super) fn goes_on(&self, ran: usize) -> bool {
        ran < TASKS && !self.0.again.get()
    }
}

/// A task, and the turn in which it ran last.
pub(super) struct Once {
    task: LocalTask,
    turns: Turns,
    last: u64,
}

impl Future for Once {
    type Output = ();

    #[inline]
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let number = self.turns.0.number.get();
        if self.last == number {
            self.turns.0.again.set(true);
            // Stays ready, for the next turn.
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.last = number;
        Pin::new(&mut self.task).poll(cx)
    }
}
