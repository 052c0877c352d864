//! What moves on a connection: whether it is quiet enough to be closed without losing a request. Counts only; who looks has the
//! clock.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};

/// Of one connection. Its task changes it, and in HTTP/2 those of its requests.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Reads, writes and responses' ends.
    moved: AtomicU64,
    /// Requests that have begun.
    requests: AtomicU64,
    /// Requests whose responses have not ended.
    answering: AtomicUsize,
    /// The peer does not take what is written.
    blocked: AtomicBool,
    http2: AtomicBool,
}

impl Activity {
    /// Something moved.
    pub(crate) fn moves(&self) {
        // No read-modify-write: that two at a time count as one does not matter.
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

    /// Its requests are of HTTP/2.
    pub(crate) fn set_http2(&self) {
        self.http2.store(true, Ordering::Relaxed);
    }

    /// Whether requests have shown it to be one of HTTP/2.
    pub(crate) fn is_http2(&self) -> bool {
        self.http2.load(Ordering::Relaxed)
    }

    /// Returns once there has been no request for `limit`, or up to twice that: one timer, however many there are.
    pub(crate) async fn unused(&self, limit: Duration) {
        let requests = || self.requests.load(Ordering::Relaxed);
        let mut before = requests();
        loop {
            tokio::time::sleep(limit).await;
            if requests() == before && !self.is_busy() {
                return;
            }
            before = requests();
        }
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
        activity.requests.fetch_add(1, Ordering::Relaxed);
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

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_unused_some_time_after_its_last_request() {
        let activity = Arc::new(Activity::default());
        let limit = Duration::from_secs(30);
        let start = tokio::time::Instant::now();
        let requests = async {
            tokio::time::sleep(Duration::from_secs(20)).await;
            let answering = Answering::new(activity.clone());
            tokio::time::sleep(Duration::from_secs(50)).await;
            drop(answering);
        };
        tokio::join!(activity.unused(limit), requests);
        assert_eq!(start.elapsed().as_secs(), 90);
    }

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
