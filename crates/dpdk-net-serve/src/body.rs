//! Bodies on their way: how far a request's has come, a limit to it, and a response's that stands still.

use std::error::Error;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::Instant;

use crate::stall::Stall;

type BoxError = Box<dyn Error + Send + Sync>;

/// How far a request's body has come on its way to an upstream. Shared by the body and by who waits for the response.
#[derive(Debug)]
pub(crate) struct Upload {
    idle: Duration,
    state: Mutex<State>,
}

#[derive(Clone, Copy, Debug)]
struct State {
    /// When something of it passed last.
    moved: Instant,
    /// Whether more of it is awaited from the client.
    awaited: bool,
    fault: Option<Fault>,
}

/// What of a body was the client's fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// It is larger than allowed.
    TooLarge,
    /// It broke off, or was malformed.
    Client,
}

impl Upload {
    /// Of a body of which nothing may come for `idle`.
    pub(crate) fn new(idle: Duration) -> Arc<Self> {
        Arc::new(Self {
            idle,
            state: Mutex::new(State {
                moved: Instant::now(),
                awaited: false,
                fault: None,
            }),
        })
    }

    /// A request begins now: to the first upstream, or to another one.
    pub(crate) fn begin(&self) {
        self.update(|state| state.moved = Instant::now());
    }

    /// When to give up: `idle` after the client's last bytes while more is awaited of it, else `response` after what
    /// was passed on last.
    pub(crate) fn deadline(&self, response: Duration) -> Instant {
        let state = self.state();
        state.moved + if state.awaited { self.idle } else { response }
    }

    /// Whether the client has the body that is waited for.
    pub(crate) fn waits_for_client(&self) -> bool {
        self.state().awaited
    }

    /// Why the body ended before its end.
    pub(crate) fn fault(&self) -> Option<Fault> {
        self.state().fault
    }

    fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(|e| e.into_inner())
    }

    fn update(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(|e| e.into_inner()));
    }
}

/// A request's body that tells its [`Upload`] and keeps to a limit.
#[derive(Debug)]
pub(crate) struct Watched<B> {
    body: B,
    upload: Arc<Upload>,
    /// How much more may come.
    left: Option<u64>,
}

impl<B> Watched<B> {
    pub(crate) fn new(body: B, upload: Arc<Upload>, limit: Option<u64>) -> Self {
        Self {
            body,
            upload,
            left: limit,
        }
    }

    fn fail(&self, fault: Fault, error: impl Into<BoxError>) -> BoxError {
        self.upload.update(|state| state.fault = Some(fault));
        error.into()
    }
}

impl<B> Body for Watched<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        self.upload.update(|state| {
            state.awaited = polled.is_pending();
            if polled.is_ready() {
                state.moved = Instant::now();
            }
        });
        let frame = match ready!(polled) {
            Some(Ok(frame)) => frame,
            Some(Err(error)) => return Poll::Ready(Some(Err(self.fail(Fault::Client, error)))),
            None => return Poll::Ready(None),
        };
        if let (Some(left), Some(data)) = (self.left, frame.data_ref()) {
            match left.checked_sub(data.len() as u64) {
                Some(left) => self.left = Some(left),
                None => {
                    let error =
                        self.fail(Fault::TooLarge, Reason("the request's body is too large"));
                    return Poll::Ready(Some(Err(error)));
                }
            }
        }
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A body that fails when nothing comes of it for a time while it is wanted.
#[derive(Debug)]
pub(crate) struct Idle<B> {
    body: B,
    stall: Stall,
}

impl<B> Idle<B> {
    pub(crate) fn new(body: B, idle: Duration) -> Self {
        Self {
            body,
            stall: Stall::new(idle),
        }
    }
}

impl<B> Body for Idle<B>
where
    B: Body<Data = Bytes> + Unpin,
    B::Error: Into<BoxError>,
{
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(cx) {
            self.stall.moves();
            return Poll::Ready(frame.map(|frame| frame.map_err(Into::into)));
        }
        ready!(self.stall.poll_over(cx));
        let error = Reason("nothing came of the response's body for too long").into();
        Poll::Ready(Some(Err(error)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Why a body ended early.
#[derive(Debug)]
struct Reason(&'static str);

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl Error for Reason {}
