//! What a foreign runtime takes turns by: the future that it runs for, polled once a turn if it was woken, and how many tasks there are.

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

/// How many tasks there are.
#[derive(Debug, Clone, Default)]
pub(super) struct Alive(Rc<Cell<usize>>);

impl Alive {
    pub(super) fn count(&self, task: LocalTask) -> Counted {
        self.0.set(self.0.get() + 1);
        let alive = self.clone();
        Counted { task, alive }
    }

    /// How many polls are a turn's: not more than there are tasks, as one that wakes itself is not to run twice.
    #[inline]
    pub(super) fn in_a_turn(&self) -> usize {
        self.0.get().clamp(1, TASKS)
    }
}

/// A task that counts.
pub(super) struct Counted {
    task: LocalTask,
    alive: Alive,
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
        let alive = &self.alive.0;
        alive.set(alive.get().saturating_sub(1));
    }
}
