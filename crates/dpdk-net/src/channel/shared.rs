//! What both ends of a channel hold: the ring, and the wakers of those who sleep at it.

use std::collections::VecDeque;
use std::fmt;
use std::task::{Context, Poll, Waker};

use super::ring::{Asleep, Ring};
use crate::sync::{AtomicU64, Mutex, Ordering};

pub(crate) struct Shared<T> {
    pub(crate) ring: Ring<T>,
    /// The receiver's. It is here before the ring is told that the receiver sleeps.
    receiver: Mutex<Option<Waker>>,
    waiting: Mutex<Waiting>,
    senders: AtomicU64,
}

/// Senders that wait for room, the one that waits longest first.
#[derive(Default)]
struct Waiting {
    line: VecDeque<(u64, Waker)>,
    last: u64,
}

impl<T> fmt::Debug for Shared<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel")
            .field("capacity", &self.ring.capacity())
            .field("len", &self.ring.len())
            .field("closed", &self.ring.is_closed())
            .finish()
    }
}

impl<T> Shared<T> {
    /// With one sender.
    pub(crate) fn new(capacity: usize) -> Self {
        Self {
            ring: Ring::new(capacity),
            receiver: Mutex::new(None),
            waiting: Mutex::new(Waiting::default()),
            senders: AtomicU64::new(1),
        }
    }

    pub(crate) fn one_more(&self) {
        self.senders.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn one_less(&self) {
        if self.senders.fetch_sub(1, Ordering::AcqRel) == 1 {
            let wake = self.ring.close();
            self.wake_receiver(wake);
        }
    }

    /// The sender's, of what the ring told it.
    #[inline]
    pub(crate) fn wake_receiver(&self, wake: bool) {
        if wake {
            self.wake_sleeper();
        }
    }

    fn wake_sleeper(&self) {
        let waker = self.receiver.lock().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// The receiver's: takes something out, or has it woken when there is something. `None` where nothing will come.
    pub(crate) fn poll_take<R>(
        &self,
        cx: &mut Context<'_>,
        mut take: impl FnMut() -> Option<R>,
    ) -> Poll<Option<R>> {
        if let Some(taken) = take() {
            return Poll::Ready(Some(taken));
        }
        if self.note_receiver(cx) {
            match self.ring.sleep() {
                Asleep::Yes => return Poll::Pending,
                Asleep::Over => return Poll::Ready(None),
                Asleep::NotEmpty => {
                    if let Some(taken) = take() {
                        return Poll::Ready(Some(taken));
                    }
                }
            }
        }
        // A sender has drawn a ticket and not filled it yet, or is just waking this receiver.
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// A sender's: tries until there is room, or has it woken when there is. `place` is its place among those who wait.
    pub(crate) fn poll_room<R>(
        &self,
        cx: &mut Context<'_>,
        place: &mut Option<u64>,
        mut attempt: impl FnMut() -> Option<R>,
    ) -> Poll<R> {
        loop {
            if let Some(done) = attempt() {
                if let Some(place) = place.take() {
                    self.leave(place, true);
                }
                return Poll::Ready(done);
            }
            if self.wait_for_room(place, cx) {
                return Poll::Pending;
            }
        }
    }

    /// The receiver's, before it sleeps. `false` where a sender is just waking it.
    fn note_receiver(&self, cx: &Context<'_>) -> bool {
        let Some(mut slot) = self.receiver.try_lock() else {
            return false;
        };
        let before = match &*slot {
            Some(waker) if waker.will_wake(cx.waker()) => None,
            _ => slot.replace(cx.waker().clone()),
        };
        drop(slot);
        // Outside the lock: it is the program's code.
        drop(before);
        true
    }

    /// A sender's, who found no room. `false` where it need not wait: it is to look again.
    fn wait_for_room(&self, place: &mut Option<u64>, cx: &Context<'_>) -> bool {
        let before = {
            let mut waiting = self.waiting.lock();
            let known = place.and_then(|place| {
                let mut line = waiting.line.iter_mut();
                line.find(|(it, _)| *it == place)
            });
            match known {
                Some((_, waker)) if waker.will_wake(cx.waker()) => None,
                Some((_, waker)) => Some(std::mem::replace(waker, cx.waker().clone())),
                None => {
                    let waker = cx.waker().clone();
                    match *place {
                        // It was woken, and another one took the room: it is still the first.
                        Some(place) => waiting.line.push_front((place, waker)),
                        None => {
                            waiting.last += 1;
                            *place = Some(waiting.last);
                            let last = waiting.last;
                            waiting.line.push_back((last, waker));
                        }
                    }
                    None
                }
            }
        };
        drop(before);
        !self.ring.wait()
    }

    /// A sender waits no more. One that was woken and has not used the room lets the next one have it.
    pub(crate) fn leave(&self, place: u64, sent: bool) {
        let (own, next) = {
            let mut waiting = self.waiting.lock();
            let at = waiting.line.iter().position(|(it, _)| *it == place);
            match at {
                Some(at) => (waiting.line.remove(at), None),
                None if sent => (None, None),
                None => (None, waiting.line.pop_front()),
            }
        };
        drop(own);
        if let Some((_, waker)) = next {
            waker.wake();
        }
    }

    /// The receiver's, who took so many values.
    #[inline]
    pub(crate) fn wake_senders(&self, waited_for: bool, taken: usize) {
        if waited_for {
            self.wake_waiting(taken);
        }
    }

    #[cold]
    fn wake_waiting(&self, taken: usize) {
        for _ in 0..taken {
            let (next, more) = {
                let mut waiting = self.waiting.lock();
                (waiting.line.pop_front(), !waiting.line.is_empty())
            };
            let Some((_, waker)) = next else { return };
            if more {
                self.ring.still_waited_for();
            }
            waker.wake();
        }
    }

    pub(crate) fn wake_all_senders(&self) {
        let all = std::mem::take(&mut self.waiting.lock().line);
        for (_, waker) in all {
            waker.wake();
        }
    }
}
