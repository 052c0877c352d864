//! How long a task may go on without giving way.
//!
//! A socket that always has data never makes its task wait, and a task that never waits keeps its worker from the NIC. On tokio, tokio's
//! own budget ends that. Elsewhere there is none, so sockets have this one: after [`OPERATIONS`] of them in one poll of a task the next
//! one says `Pending` and has the task woken at once, behind the device's next turn.
//!
//! The budget is the thread's. Tasks that were spawned through us get a full one each time they are polled; whatever else runs on the
//! thread shares one that is filled with each turn of the worker.

use std::cell::Cell;
use std::task::{Context, Poll};

use tokio::task::coop::{self, RestoreOnPending};

/// Operations of sockets in one poll of a task.
pub(crate) const OPERATIONS: u32 = 128;

/// The thread's budget is tokio's, if there is one.
const TOKIO: u32 = u32::MAX;

thread_local! {
    static LEFT: Cell<u32> = const { Cell::new(TOKIO) };
}

/// One operation's share; given back unless the operation got somewhere.
#[must_use]
pub(crate) enum Share {
    Tokio(RestoreOnPending),
    Own { spent: bool },
}

impl Share {
    /// The operation got somewhere: the share is spent.
    #[inline]
    pub(crate) fn made_progress(mut self) {
        match &mut self {
            Self::Tokio(share) => share.made_progress(),
            Self::Own { spent } => *spent = true,
        }
    }
}

impl Drop for Share {
    #[inline]
    fn drop(&mut self) {
        if let Self::Own { spent: false } = self {
            LEFT.set(LEFT.get().saturating_add(1).min(OPERATIONS));
        }
    }
}

/// Takes a share of the budget, or has the task give way.
#[inline]
pub(crate) fn poll_proceed(cx: &mut Context<'_>) -> Poll<Share> {
    match LEFT.get() {
        TOKIO => coop::poll_proceed(cx).map(Share::Tokio),
        0 => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
        left => {
            LEFT.set(left - 1);
            Poll::Ready(Share::Own { spent: false })
        }
    }
}

/// Polls a task with a budget of its own.
#[inline]
pub(crate) fn budgeted<R>(poll: impl FnOnce() -> R) -> R {
    let outer = LEFT.get();
    if outer == TOKIO {
        return poll();
    }
    let _outer = Outer(outer);
    LEFT.set(OPERATIONS);
    poll()
}

/// Puts a budget back.
pub(crate) struct Outer(u32);

impl Drop for Outer {
    fn drop(&mut self) {
        LEFT.set(self.0);
    }
}

/// Has sockets on this thread use our budget until the guard is dropped.
pub(crate) fn begin() -> Outer {
    Outer(LEFT.replace(OPERATIONS))
}

/// A turn of the worker has begun: fills the budget of whatever was not spawned through us.
#[inline]
pub(crate) fn refill() {
    if LEFT.get() != TOKIO {
        LEFT.set(OPERATIONS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    fn proceed() -> Poll<Share> {
        poll_proceed(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_poll_has_so_many_operations_and_what_came_to_nothing_costs_none() {
        let _own = begin();
        budgeted(|| {
            for _ in 0..3 * OPERATIONS {
                assert!(proceed().is_ready(), "given back: nothing was done");
            }
            for _ in 0..OPERATIONS {
                match proceed() {
                    Poll::Ready(share) => share.made_progress(),
                    Poll::Pending => panic!("too early"),
                }
            }
            assert!(proceed().is_pending());
        });
        assert!(proceed().is_ready(), "that of the others was not touched");
    }

    #[test]
    fn what_is_not_ours_shares_a_budget_that_each_turn_fills() {
        let _own = begin();
        let spend = || (proceed()).map(Share::made_progress).is_ready();
        assert_eq!((0..1000).filter(|_| spend()).count(), OPERATIONS as usize);
        refill();
        assert!(spend());
    }

    #[test]
    fn without_a_worker_of_ours_there_is_no_limit() {
        refill();
        for _ in 0..10 * OPERATIONS {
            let share = proceed();
            assert!(share.map(Share::made_progress).is_ready());
        }
    }
}
