//! What moves on a connection: whether it is quiet enough to be closed without losing a request. Counts only; who looks has the
//! clock.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};

/// Of one connection, whose task alone changes it.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Reads, writes and responses' ends.
    moved: AtomicU64,
    /// Requests whose responses have not ended.
    answering: AtomicUsize,
    /// The peer does not take what is written.
    blocked: AtomicBool,
}

impl Activity {
    /// Something moved.
    pub(crate) fn moves(&self) {
        // No read-modify-write: there is one writer.
        let moved = self.moved.load(Ordering::Relaxed);
        self.moved.store(moved.wrapping_add(1), Ordering::Relaxed);
    }

    /// Whether what is written must wait for the peer.
    pub(crate) fn blocks(&self, blocked: bool) {
        self.blocked.store(blocked, Ordering::Relaxed);
    }

    /// Changes whenever something moves.
    pub(crate) fn moved(&self) -> u64 {
        self.moved.load(Ordering::Relaxed)
    }

    /// Whether a response has not ended or not left yet.
    pub(crate) fn is_busy(&self) -> bool {
        self.answering.load(Ordering::Relaxed) > 0 || self.blocked.load(Ordering::Relaxed)
    }
}

/// A request that is being answered, until this is dropped with the body of its response.
#[derive(Debug)]
pub(crate) struct Answering(Arc<Activity>);

impl Answering {
    pub(crate) fn new(activity: Arc<Activity>) -> Self {
        activity.answering.fetch_add(1, Ordering::Relaxed);
        Self(activity)
    }

    /// The response's body, which ends it.
    pub(crate) fn with<B>(self, body: B) -> Answer<B> {
        Answer {
            body,
            _answering: self,
        }
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Ordering::Relaxed);
        self.0.moves();
    }
}

/// The body of a response.
#[derive(Debug)]
pub(crate) struct Answer<B> {
    body: B,
    _answering: Answering,
}

impl<B: Body + Unpin> Body for Answer<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_busy_until_the_body_is_gone_and_the_peer_has_taken_it() {
        let activity = Arc::new(Activity::default());
        assert!(!activity.is_busy());
        let answering = Answering::new(activity.clone());
        let body = answering.with(axum::body::Body::from("hello"));
        assert!(activity.is_busy());
        let before = activity.moved();
        activity.blocks(true);
        drop(body);
        assert!(activity.is_busy(), "it has not left yet");
        assert_ne!(activity.moved(), before);
        activity.blocks(false);
        assert!(!activity.is_busy());
    }
}
