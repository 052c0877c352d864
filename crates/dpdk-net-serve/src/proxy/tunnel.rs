//! An upgraded connection (RFC 9110 section 7.8): bytes both ways until an end is reached, nothing passes for a time,
//! or the server ends.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf, copy_bidirectional};

use crate::server::Ending;

/// Runs it to its end.
pub(super) async fn run(
    client: OnUpgrade,
    server: OnUpgrade,
    idle: Duration,
    ending: Option<Ending>,
) {
    let both = async {
        let (client, server) = tokio::try_join!(client, server).ok()?;
        let passed = Arc::new(AtomicU64::new(0));
        let mut client = Counted::new(TokioIo::new(client), &passed);
        let mut server = Counted::new(TokioIo::new(server), &passed);
        tokio::select! {
            ended = copy_bidirectional(&mut client, &mut server) => ended.ok(),
            () = silence(&passed, idle) => None,
        }
    };
    let ended = async {
        match ending {
            Some(mut ending) => ending.wait().await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = both => {}
        () = ended => {}
    }
}

/// Returns when nothing has passed for `idle`, or up to twice that: one timer, however much passes.
async fn silence(passed: &AtomicU64, idle: Duration) {
    let mut before = passed.load(Ordering::Relaxed);
    loop {
        tokio::time::sleep(idle).await;
        let now = passed.load(Ordering::Relaxed);
        if now == before {
            return;
        }
        before = now;
    }
}

/// A stream whose reads are counted, in bytes.
struct Counted<S> {
    stream: S,
    passed: Arc<AtomicU64>,
}

impl<S> Counted<S> {
    fn new(stream: S, passed: &Arc<AtomicU64>) -> Self {
        Self {
            stream,
            passed: passed.clone(),
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Counted<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buffer);
        let read = buffer.filled().len() - before;
        self.passed.fetch_add(read as u64, Ordering::Relaxed);
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Counted<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn silence_is_when_nothing_passes() {
        let idle = Duration::from_secs(60);
        let passed = Arc::new(AtomicU64::new(0));
        let busy = passed.clone();
        tokio::spawn(async move {
            for _ in 0..5 {
                tokio::time::sleep(Duration::from_secs(50)).await;
                busy.fetch_add(1, Ordering::Relaxed);
            }
        });
        let start = tokio::time::Instant::now();
        silence(&passed, idle).await;
        let lasted = start.elapsed();
        assert!(
            lasted >= Duration::from_secs(310) && lasted <= Duration::from_secs(370),
            "{lasted:?}"
        );
    }
}
