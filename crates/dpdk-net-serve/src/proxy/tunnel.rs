//! An upgraded connection (RFC 9110 section 7.8): bytes both ways until an end is reached, nothing passes for a time,
//! or the server ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::copy_bidirectional;

use crate::server::Ending;
use crate::tapped::{Tap, Tapped};

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
        let mut client = Tapped::new(TokioIo::new(client), Passed(passed.clone()));
        let mut server = Tapped::new(TokioIo::new(server), Passed(passed.clone()));
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

/// Bytes that were read.
struct Passed(Arc<AtomicU64>);

impl Tap for Passed {
    fn has_read(&mut self, bytes: usize) {
        self.0.fetch_add(bytes as u64, Ordering::Relaxed);
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
