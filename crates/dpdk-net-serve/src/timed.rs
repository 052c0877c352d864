//! A stream whose writes may not stall: a peer that stops reading must not hold its connection for ever. It tells its
//! [`Activity`] what moves.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use crate::activity::Activity;
use crate::stall::Stall;
use crate::tapped::{Tap, Tapped};

/// A stream that fails when nothing could be written for a time.
pub(crate) type Timed<S> = Tapped<S, Writes>;

/// What of its writes is watched.
#[derive(Debug)]
pub(crate) struct Writes {
    stall: Stall,
    activity: Arc<Activity>,
}

impl<S> Timed<S> {
    pub(crate) fn limited(stream: S, limit: Duration, activity: Arc<Activity>) -> Self {
        let stall = Stall::new(limit);
        Self::new(stream, Writes { stall, activity })
    }
}

impl Tap for Writes {
    fn has_read(&mut self, _: usize) {
        self.activity.moves();
    }

    fn has_written(&mut self) {
        self.activity.moves();
    }

    fn judge<T>(
        &mut self,
        cx: &mut Context<'_>,
        polled: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.activity.blocks(polled.is_pending());
        if polled.is_ready() {
            self.stall.moves();
            return polled;
        }
        ready!(self.stall.poll_over(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::time::Instant;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_write_fails_once_it_has_stalled_and_not_while_it_crawls() {
        let (ours, mut theirs) = tokio::io::duplex(1);
        let mut ours = Timed::limited(ours, Duration::from_secs(30), Arc::default());
        let reader = tokio::spawn(async move {
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_secs(20)).await;
                theirs.read_u8().await.unwrap();
            }
            theirs
        });
        ours.write_all(b"abcde").await.unwrap();
        let start = Instant::now();
        let _theirs = reader.await.unwrap();
        let error = ours.write_all(b"f").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert_eq!(start.elapsed().as_secs(), 30);
    }
}
