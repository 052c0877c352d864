//! Who waits for a socket: two slots for the `poll_*` methods and a list for the async ones.
//!
//! As in tokio, `poll_read`-like methods keep the waker of the last caller only, while any number of
//! tasks may wait in `readable().await`, `accept().await` and the like, and all of them are woken.
//! A waker is never dropped here while the shard is locked: what is replaced or removed is handed back,
//! because dropping the last reference to a task runs that task's destructors, which may close sockets.
//! The reactions to events and the lock itself live in `shard.rs`.

use std::task::{Context, Waker};

use dpdk_net_stack::Readiness;
use slab::Slab;

/// The direction that a `poll_*` method waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// Data, a connection to accept, end of stream or an error.
    Read,
    /// Room to send, the end of a handshake, or an error.
    Write,
}

impl Side {
    /// The states of a socket that end this wait.
    pub(crate) fn mask(self) -> Readiness {
        match self {
            Self::Read => Readiness::READABLE | Readiness::CLOSED,
            Self::Write => Readiness::WRITABLE | Readiness::CONNECTED | Readiness::CLOSED,
        }
    }
}

/// One async method in progress.
#[derive(Debug)]
struct Waiter {
    mask: Readiness,
    /// None once woken, until the future is polled again.
    waker: Option<Waker>,
}

/// Everybody who waits for one socket.
#[derive(Debug, Default)]
pub(crate) struct SocketWakers {
    read: Option<Waker>,
    write: Option<Waker>,
    // Boxed: most sockets are only ever polled through the two slots.
    waiters: Option<Box<Slab<Waiter>>>,
}

impl SocketWakers {
    /// Notes the caller of a `poll_*` method; returns the waker it replaces.
    #[must_use = "the replaced waker must be dropped outside the lock"]
    #[inline]
    pub(crate) fn set(&mut self, side: Side, cx: &Context<'_>) -> Option<Waker> {
        let slot = match side {
            Side::Read => &mut self.read,
            Side::Write => &mut self.write,
        };
        update(slot, cx)
    }

    /// Notes an async method; `token` is what an earlier call for the same future returned.
    ///
    /// Returns the token and the waker that was replaced.
    #[must_use = "the replaced waker must be dropped outside the lock"]
    pub(crate) fn wait(
        &mut self,
        token: Option<usize>,
        mask: Readiness,
        cx: &Context<'_>,
    ) -> (usize, Option<Waker>) {
        let waiters = self.waiters.get_or_insert_default();
        if let Some(token) = token
            && let Some(waiter) = waiters.get_mut(token)
        {
            waiter.mask = mask;
            return (token, update(&mut waiter.waker, cx));
        }
        let token = waiters.insert(Waiter {
            mask,
            waker: Some(cx.waker().clone()),
        });
        (token, None)
    }

    /// Forgets an async method that finished or was dropped.
    #[must_use = "the waker must be dropped outside the lock"]
    pub(crate) fn forget(&mut self, token: usize) -> Option<Waker> {
        let waiters = self.waiters.as_mut()?;
        let waker = waiters.try_remove(token)?.waker;
        // Every event walks the list: one that was long once must not stay long.
        if waiters.is_empty() && waiters.capacity() > 16 {
            self.waiters = None;
        }
        waker
    }

    /// Moves the wakers of all that `readiness` concerns to `out`.
    #[inline]
    pub(crate) fn take(&mut self, readiness: Readiness, out: &mut Vec<Waker>) {
        if readiness.intersects(Side::Read.mask()) {
            out.extend(self.read.take());
        }
        if readiness.intersects(Side::Write.mask()) {
            out.extend(self.write.take());
        }
        if let Some(waiters) = &mut self.waiters {
            for (_, waiter) in waiters.iter_mut() {
                if readiness.intersects(waiter.mask) {
                    out.extend(waiter.waker.take());
                }
            }
        }
    }
}

/// Puts the waker of `cx` into `slot` unless it is there already.
#[inline]
fn update(slot: &mut Option<Waker>, cx: &Context<'_>) -> Option<Waker> {
    match slot {
        Some(waker) if waker.will_wake(cx.waker()) => None,
        _ => slot.replace(cx.waker().clone()),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    /// Counts how often it is woken.
    #[derive(Default)]
    pub(crate) struct Count(pub(crate) AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(crate) fn counter() -> (Arc<Count>, Waker) {
        let count = Arc::new(Count::default());
        (count.clone(), Waker::from(count))
    }

    fn wake_all(wakers: &mut SocketWakers, readiness: Readiness) -> usize {
        let mut out = Vec::new();
        wakers.take(readiness, &mut out);
        let n = out.len();
        out.into_iter().for_each(Waker::wake);
        n
    }

    #[test]
    fn a_poll_slot_keeps_only_the_last_caller() {
        let (first, first_waker) = counter();
        let (second, second_waker) = counter();
        let mut wakers = SocketWakers::default();
        assert!(
            wakers
                .set(Side::Read, &Context::from_waker(&first_waker))
                .is_none()
        );
        assert!(
            wakers
                .set(Side::Read, &Context::from_waker(&second_waker))
                .is_some()
        );
        assert_eq!(wake_all(&mut wakers, Readiness::READABLE), 1);
        assert_eq!(first.0.load(Ordering::Relaxed), 0);
        assert_eq!(second.0.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn every_waiter_of_the_direction_is_woken_and_others_are_not() {
        let (count, waker) = counter();
        let mut wakers = SocketWakers::default();
        let cx = Context::from_waker(&waker);
        let (a, _) = wakers.wait(None, Side::Read.mask(), &cx);
        let (b, _) = wakers.wait(None, Side::Read.mask(), &cx);
        let (c, _) = wakers.wait(None, Side::Write.mask(), &cx);
        assert!(a != b && b != c);
        assert_eq!(wake_all(&mut wakers, Readiness::READABLE), 2);
        assert_eq!(
            wake_all(&mut wakers, Readiness::READABLE),
            0,
            "a wake is spent"
        );
        assert_eq!(wake_all(&mut wakers, Readiness::CLOSED), 1);
        assert_eq!(count.0.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn a_forgotten_waiter_leaves_nothing_behind() {
        let (_, waker) = counter();
        let mut wakers = SocketWakers::default();
        for _ in 0..1000 {
            let (token, _) = wakers.wait(None, Side::Read.mask(), &Context::from_waker(&waker));
            assert!(wakers.forget(token).is_some());
        }
        assert!(
            wakers
                .waiters
                .as_ref()
                .is_some_and(|w| w.is_empty() && w.capacity() <= 16)
        );
    }

    #[test]
    fn waiting_again_with_the_same_token_takes_no_second_place() {
        let (_, waker) = counter();
        let mut wakers = SocketWakers::default();
        let cx = Context::from_waker(&waker);
        let (token, _) = wakers.wait(None, Side::Read.mask(), &cx);
        let (again, replaced) = wakers.wait(Some(token), Side::Read.mask(), &cx);
        assert_eq!(token, again);
        assert!(replaced.is_none(), "the same waker is not cloned again");
        assert_eq!(wake_all(&mut wakers, Readiness::READABLE), 1);
    }
}
