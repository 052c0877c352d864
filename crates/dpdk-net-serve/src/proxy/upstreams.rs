//! Whose turn it is, and who is left out for a time: passive health.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use hyper::http::uri::Authority;
use tokio::time::Instant;

/// The upstreams of a route.
#[derive(Debug)]
pub(super) struct Upstreams {
    all: Vec<Upstream>,
    next: AtomicUsize,
    fail_for: Duration,
}

#[derive(Debug)]
struct Upstream {
    authority: Authority,
    /// When it may be asked again.
    down_until: Mutex<Option<Instant>>,
}

impl Upstreams {
    pub(super) fn new(addrs: &[SocketAddr], fail_for: Duration) -> Self {
        let upstream = |addr: &SocketAddr| {
            // Every socket address can be written as an authority.
            let authority = Authority::try_from(addr.to_string()).ok()?;
            Some(Upstream {
                authority,
                down_until: Mutex::new(None),
            })
        };
        Self {
            all: addrs.iter().filter_map(upstream).collect(),
            next: AtomicUsize::new(0),
            fail_for,
        }
    }

    /// The next in turn that is up and has not been `tried` for this request. Where all are down, a request that has
    /// tried none yet goes to the one that has been down longest: that may show that it is up again.
    pub(super) fn pick(&self, tried: &[usize], now: Instant) -> Option<usize> {
        let count = self.all.len();
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let turn = (0..count).map(|step| first.wrapping_add(step) % count);
        let up = turn
            .filter(|at| !tried.contains(at))
            .find(|at| self.down_until(*at, now).is_none());
        if up.is_some() || !tried.is_empty() {
            return up;
        }
        (0..count).min_by_key(|at| self.down_until(*at, now))
    }

    /// How the one that was picked is addressed.
    pub(super) fn authority(&self, at: usize) -> Option<&Authority> {
        self.all.get(at).map(|upstream| &upstream.authority)
    }

    /// Leaves it out for a time; `true` if it was up before.
    pub(super) fn failed(&self, at: usize, now: Instant) -> bool {
        self.set(at, Some(now + self.fail_for))
            .is_none_or(|until| until <= now)
    }

    pub(super) fn succeeded(&self, at: usize) {
        self.set(at, None);
    }

    /// Gives what was set before.
    fn set(&self, at: usize, until: Option<Instant>) -> Option<Instant> {
        let upstream = self.all.get(at)?;
        // Nothing panics while it is held; if it did, the time in it is as good as any.
        let mut down_until = upstream
            .down_until
            .lock()
            .unwrap_or_else(|e| e.into_inner());
        std::mem::replace(&mut *down_until, until)
    }

    fn down_until(&self, at: usize, now: Instant) -> Option<Instant> {
        let down_until = self
            .all
            .get(at)?
            .down_until
            .lock()
            .unwrap_or_else(|e| e.into_inner());
        down_until.filter(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn three() -> Upstreams {
        let addrs = ["127.0.0.1:1", "127.0.0.1:2", "[::1]:3"].map(|addr| addr.parse().unwrap());
        Upstreams::new(&addrs, Duration::from_secs(10))
    }

    #[test]
    fn each_has_its_turn() {
        let upstreams = three();
        let now = Instant::now();
        let picked: Vec<_> = (0..6).map(|_| upstreams.pick(&[], now).unwrap()).collect();
        assert_eq!(picked, [0, 1, 2, 0, 1, 2]);
        assert_eq!(upstreams.authority(2).unwrap(), "[::1]:3");
    }

    #[test]
    fn one_that_failed_is_left_out_for_a_time() {
        let upstreams = three();
        let now = Instant::now();
        assert!(upstreams.failed(1, now));
        assert!(!upstreams.failed(1, now), "it was down already");
        let picked =
            |now| -> Vec<_> { (0..6).map(|_| upstreams.pick(&[], now).unwrap()).collect() };
        assert!(!picked(now).contains(&1));
        assert!(picked(now + Duration::from_secs(11)).contains(&1));
        upstreams.succeeded(1);
        assert!(picked(now).contains(&1));
    }

    #[test]
    fn a_second_try_goes_to_another_that_is_up_or_to_none() {
        let upstreams = three();
        let now = Instant::now();
        upstreams.failed(2, now);
        assert_eq!(upstreams.pick(&[0], now), Some(1));
        assert_eq!(upstreams.pick(&[0, 1], now), None);
    }

    #[test]
    fn where_all_are_down_the_one_that_is_so_longest_is_tried() {
        let upstreams = three();
        let now = Instant::now();
        for (at, later) in [(0, 2), (1, 0), (2, 1)] {
            upstreams.failed(at, now + Duration::from_secs(later));
        }
        assert_eq!(upstreams.pick(&[], now), Some(1));
        assert_eq!(upstreams.pick(&[1], now), None);
        assert_eq!(Upstreams::new(&[], Duration::ZERO).pick(&[], now), None);
    }
}
