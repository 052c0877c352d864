//! Notices that something has stood still for too long, at the price of one timer however often it moves meanwhile.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep_until};

/// How long something may stand still.
#[derive(Debug)]
pub(crate) struct Stall {
    limit: Duration,
    since: Option<Instant>,
    /// Runs on while things move, and is set anew only when it goes off.
    timer: Option<Pin<Box<Sleep>>>,
}

impl Stall {
    pub(crate) fn new(limit: Duration) -> Self {
        Self {
            limit,
            since: None,
            timer: None,
        }
    }

    /// It moves.
    pub(crate) fn moves(&mut self) {
        self.since = None;
    }

    /// It stands still: ready once it has done so, at every call since it moved last, for the limit.
    pub(crate) fn poll_over(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let due = *self.since.get_or_insert_with(Instant::now) + self.limit;
        let timer = self.timer.get_or_insert_with(|| Box::pin(sleep_until(due)));
        loop {
            ready!(timer.as_mut().poll(cx));
            if Instant::now() >= due {
                return Poll::Ready(());
            }
            timer.as_mut().reset(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_over_when_nothing_has_moved_for_the_limit() {
        let mut stall = Stall::new(Duration::from_secs(30));
        let start = Instant::now();
        for _ in 0..5 {
            let over = poll_fn(|cx| stall.poll_over(cx));
            let within = tokio::time::timeout(Duration::from_secs(20), over).await;
            assert!(within.is_err());
            stall.moves();
        }
        poll_fn(|cx| stall.poll_over(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 130);
    }
}
