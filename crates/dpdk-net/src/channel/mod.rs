//! Channels between workers, and from other threads: bounded, of many senders and one receiver.
//!
//! What tokio's `mpsc` does, for those who send and receive a lot: values lie in a ring of slots, a batch is put in with one exchange
//! and taken out with one ([`Sender::send_all`], [`Receiver::recv_many`]), and a waker is touched only where the other side sleeps, which
//! each side finds out in the exchange that it makes anyway. Both ends are `Send` and know nothing of runtimes.
//!
//! ```
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! # runtime.block_on(async {
//! let (sender, mut receiver) = dpdk_net::channel::bounded(2);
//! let sending = async move {
//!     for n in 0..5 {
//!         sender.send(n).await?;
//!     }
//!     Ok::<_, dpdk_net::channel::SendError<i32>>(())
//! };
//! let receiving = async {
//!     let mut all = Vec::new();
//!     while let Some(n) = receiver.recv().await {
//!         all.push(n);
//!     }
//!     all
//! };
//! let (sent, received) = tokio::join!(sending, receiving);
//! sent.unwrap();
//! assert_eq!(received, [0, 1, 2, 3, 4]);
//! # });
//! ```
//!
//! # Order, and who is next
//! Values of one sender come in their order. Of several that wait for room, the one that waits longest is woken first; one that comes while
//! there is room does not stand in line behind them.

mod error;
pub(crate) mod ring;
mod shared;
#[cfg(test)]
mod tests;

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use crate::runtime::coop;

use self::ring::Refused;
use self::shared::Shared;

pub use self::error::{Closed, SendError, TryRecvError, TrySendError};

/// A channel for `capacity` values, from 1 to 2^30: what is beyond is taken for the nearest.
pub fn bounded<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let shared = Arc::new(Shared::new(capacity));
    (
        Sender {
            shared: shared.clone(),
        },
        Receiver { shared },
    )
}

/// The end that values are put in at. Cloned for each further sender; the channel is closed when the last one is dropped.
#[derive(Debug)]
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.one_more();
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        self.shared.one_less();
    }
}

impl<T> Sender<T> {
    /// Puts a value in, now or not at all.
    ///
    /// # Errors
    /// [`TrySendError`], with the value.
    pub fn try_send(&self, value: T) -> Result<(), TrySendError<T>> {
        match self.shared.ring.push(value) {
            Ok(wake) => {
                self.shared.wake_receiver(wake);
                Ok(())
            }
            Err((Refused::Full, value)) => Err(TrySendError::Full(value)),
            Err((Refused::Closed, value)) => Err(TrySendError::Closed(value)),
        }
    }

    /// Puts in as many of the first values as there is room for, at once; they are taken out of `values`. Returns how many.
    ///
    /// # Errors
    /// [`Closed`]: the values are still there.
    pub fn try_send_many(&self, values: &mut Vec<T>) -> Result<usize, Closed> {
        match self.shared.ring.push_many(values) {
            Ok((count, wake)) => {
                self.shared.wake_receiver(wake);
                Ok(count)
            }
            Err(Refused::Full) => Ok(0),
            Err(Refused::Closed) => Err(Closed),
        }
    }

    /// Puts a value in, as soon as there is room.
    ///
    /// Cancel safe in that nothing was sent where the future is dropped before it is ready; the value is dropped with it. To
    /// keep the value, wait for [`ready`](Self::ready) and [`try_send`](Self::try_send).
    ///
    /// # Errors
    /// [`SendError`], with the value, where the receiver is gone or has closed the channel.
    pub async fn send(&self, value: T) -> Result<(), SendError<T>> {
        let mut value = Some(value);
        self.whenever(|| match value.take().map(|it| self.try_send(it)) {
            Some(Err(TrySendError::Full(it))) => {
                value = Some(it);
                None
            }
            Some(Err(TrySendError::Closed(it))) => Some(Err(SendError(it))),
            Some(Ok(())) | None => Some(Ok(())),
        })
        .await
    }

    /// Puts all values in, as there is room, and takes them out of `values`: as many as fit with one exchange.
    ///
    /// Cancel safe: what has not been sent is still in `values`.
    ///
    /// # Errors
    /// [`Closed`], where the receiver is gone or has closed the channel. What has not been sent is still in `values`.
    pub async fn send_all(&self, values: &mut Vec<T>) -> Result<(), Closed> {
        while !values.is_empty() {
            self.whenever(|| match self.try_send_many(values) {
                Ok(0) => None,
                Ok(_) => Some(Ok(())),
                Err(closed) => Some(Err(closed)),
            })
            .await?;
        }
        Ok(())
    }

    /// Waits until there is room for a value, or the channel is closed. Others may take the room before this one sends.
    ///
    /// Cancel safe.
    pub async fn ready(&self) {
        let ring = &self.shared.ring;
        self.whenever(|| (ring.is_closed() || ring.len() < ring.capacity()).then_some(()))
            .await;
        // It was woken for room that it has not used: the next one looks too.
        self.shared.wake_senders(true, 1);
    }

    /// Whether nothing more is taken: the receiver is gone or has closed the channel.
    pub fn is_closed(&self) -> bool {
        self.shared.ring.is_closed()
    }

    /// How many values it has room for.
    pub fn capacity(&self) -> usize {
        self.shared.ring.capacity()
    }

    /// Tries until it gives something, whenever there may be room.
    fn whenever<R, F: FnMut() -> Option<R>>(&self, attempt: F) -> Whenever<'_, T, F> {
        Whenever {
            shared: &self.shared,
            attempt,
            place: None,
        }
    }
}

/// The future of what waits for room.
struct Whenever<'a, T, F> {
    shared: &'a Shared<T>,
    attempt: F,
    /// Its place among those who wait.
    place: Option<u64>,
}

// What it holds is not pinned.
impl<T, F> Unpin for Whenever<'_, T, F> {}

impl<R, T, F: FnMut() -> Option<R>> Future for Whenever<'_, T, F> {
    type Output = R;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<R> {
        let this = self.get_mut();
        let budget = ready!(coop::poll_proceed(cx));
        let done = ready!((this.shared).poll_room(cx, &mut this.place, &mut this.attempt));
        budget.made_progress();
        Poll::Ready(done)
    }
}

impl<T, F> Drop for Whenever<'_, T, F> {
    fn drop(&mut self) {
        if let Some(place) = self.place.take() {
            self.shared.leave(place, false);
        }
    }
}

/// The end that values are taken out at.
#[derive(Debug)]
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        // Senders first: destructors of values are the program's code, and may panic.
        self.shared.ring.close();
        self.shared.wake_all_senders();
        self.shared.ring.abandon();
    }
}

impl<T> Receiver<T> {
    /// Takes a value out, if there is one.
    ///
    /// # Errors
    /// [`TryRecvError::Empty`] where there is none yet, [`TryRecvError::Closed`] where none will come.
    pub fn try_recv(&mut self) -> Result<T, TryRecvError> {
        let ring = &self.shared.ring;
        // Asked before: what comes after the look would be missed otherwise.
        let closed = ring.is_closed();
        match ring.pop() {
            Some((value, waited_for)) => {
                self.shared.wake_senders(waited_for, 1);
                Ok(value)
            }
            None if closed && ring.is_empty() => Err(TryRecvError::Closed),
            None => Err(TryRecvError::Empty),
        }
    }

    /// Takes a value out, as soon as there is one; `None` where none will come any more.
    ///
    /// Cancel safe: no value is taken where the future is dropped before it is ready.
    pub async fn recv(&mut self) -> Option<T> {
        poll_fn(|cx| self.poll_recv(cx)).await
    }

    /// Takes out what there is, `most` values at most, to the end of `out`, as soon as there is something. Returns how many: 0 where none
    /// will come any more, or `most` is 0.
    ///
    /// Cancel safe: no value is taken where the future is dropped before it is ready.
    pub async fn recv_many(&mut self, out: &mut Vec<T>, most: usize) -> usize {
        if most == 0 {
            return 0;
        }
        poll_fn(|cx| {
            let shared = &self.shared;
            let taken = poll_take(shared, cx, || {
                let (count, waited_for) = shared.ring.pop_many(out, most);
                shared.wake_senders(waited_for, count);
                (count > 0).then_some(count)
            });
            taken.map(|count| count.unwrap_or(0))
        })
        .await
    }

    /// As [`recv`](Self::recv).
    pub fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        let shared = &self.shared;
        poll_take(shared, cx, || {
            let (value, waited_for) = shared.ring.pop()?;
            shared.wake_senders(waited_for, 1);
            Some(value)
        })
    }

    /// Takes nothing more: those who send are told so. What is in the channel can still be taken out.
    pub fn close(&mut self) {
        self.shared.ring.close();
        self.shared.wake_all_senders();
    }

    /// How many values are there.
    pub fn len(&self) -> usize {
        self.shared.ring.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.shared.ring.is_empty()
    }
}

/// Takes something out, or has the receiver woken when there is something. Consumes the task's cooperative budget, as the sockets do: who
/// always finds something does not keep its worker from the port.
fn poll_take<T, R>(
    shared: &Shared<T>,
    cx: &mut Context<'_>,
    take: impl FnMut() -> Option<R>,
) -> Poll<Option<R>> {
    let budget = ready!(coop::poll_proceed(cx));
    let taken = ready!(shared.poll_take(cx, take));
    budget.made_progress();
    Poll::Ready(taken)
}
