//! The future that a runtime runs for, beside its tasks, where the runtime is foreign: polled once a turn, if it was woken.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use super::coop;

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
