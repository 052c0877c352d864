//! Happy Eyeballs (RFC 8305): several addresses of a name are tried, one a little after the other, and the first that answers wins.

use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::Poll;

use crate::net::no_addresses;

/// The order in which to try them: that of RFC 6724, in which they come, with the families taking turns (RFC 8305 section 4,
/// with a First Address Family Count of one).
pub(super) fn interleaved(addresses: Vec<SocketAddr>) -> Vec<SocketAddr> {
    let begins_with_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, other): (Vec<_>, Vec<_>) = addresses
        .into_iter()
        .partition(|address| address.is_ipv6() == begins_with_v6);
    let mut order = Vec::with_capacity(preferred.len() + other.len());
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    loop {
        let turn = [preferred.next(), other.next()];
        if turn == [None, None] {
            return order;
        }
        order.extend(turn.into_iter().flatten());
    }
}

/// Attempts `addresses` in turn: the next one when `delay` is over, or at once when an attempt has failed (RFC 8305 section 5).
/// Those that have not won are dropped.
///
/// # Errors
/// That of the attempt that failed last.
pub(super) async fn race<T, A, D>(
    addresses: impl IntoIterator<Item = SocketAddr>,
    mut attempt: impl FnMut(SocketAddr) -> A,
    mut delay: impl FnMut() -> D,
) -> io::Result<T>
where
    A: Future<Output = io::Result<T>>,
    D: Future<Output = ()>,
{
    let mut waiting = addresses.into_iter();
    let mut attempts: Vec<Pin<Box<A>>> = Vec::new();
    let mut pause: Option<Pin<Box<D>>> = None;
    let mut last = None;
    poll_fn(|cx| {
        loop {
            let mut at = 0;
            while let Some(attempt) = attempts.get_mut(at) {
                match attempt.as_mut().poll(cx) {
                    Poll::Ready(Ok(won)) => return Poll::Ready(Ok(won)),
                    Poll::Ready(Err(error)) => {
                        last = Some(error);
                        pause = None;
                        drop(attempts.swap_remove(at));
                    }
                    Poll::Pending => at += 1,
                }
            }
            if let Some(pause) = &mut pause
                && pause.as_mut().poll(cx).is_pending()
            {
                return Poll::Pending;
            }
            pause = None;
            match waiting.next() {
                Some(address) => {
                    attempts.push(Box::pin(attempt(address)));
                    pause = Some(Box::pin(delay()));
                }
                None if attempts.is_empty() => {
                    return Poll::Ready(Err(last.take().unwrap_or_else(no_addresses)));
                }
                None => return Poll::Pending,
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;
    use std::collections::HashMap;
    use std::task::{Context, Waker};
    use tokio::sync::oneshot;

    fn all(addresses: &[&str]) -> Vec<SocketAddr> {
        addresses
            .iter()
            .map(|address| address.parse().unwrap())
            .collect()
    }

    #[test]
    fn the_families_take_turns_beginning_with_the_preferred_one() {
        let given = all(&["[::1]:1", "[::2]:1", "[::3]:1", "1.0.0.1:1", "1.0.0.2:1"]);
        let order = all(&["[::1]:1", "1.0.0.1:1", "[::2]:1", "1.0.0.2:1", "[::3]:1"]);
        assert_eq!(interleaved(given), order);
        let v4_first = all(&["1.0.0.1:1", "1.0.0.2:1", "[::1]:1"]);
        assert_eq!(
            interleaved(v4_first),
            all(&["1.0.0.1:1", "[::1]:1", "1.0.0.2:1"])
        );
        assert_eq!(interleaved(Vec::new()), []);
    }

    /// Attempts that end as the test says, and delays that are over when it says.
    #[derive(Default)]
    struct Bench {
        attempts: RefCell<HashMap<SocketAddr, oneshot::Sender<io::Result<SocketAddr>>>>,
        begun: RefCell<Vec<SocketAddr>>,
        delays: RefCell<Vec<oneshot::Sender<()>>>,
    }

    impl Bench {
        async fn attempt(&self, address: SocketAddr) -> io::Result<SocketAddr> {
            let (end, ended) = oneshot::channel();
            self.begun.borrow_mut().push(address);
            self.attempts.borrow_mut().insert(address, end);
            ended.await.unwrap()
        }

        async fn delay(&self) {
            let (end, ended) = oneshot::channel();
            self.delays.borrow_mut().push(end);
            let _ = ended.await;
        }

        fn delay_is_over(&self) {
            let _ = self.delays.borrow_mut().pop().unwrap().send(());
        }

        fn ends(&self, address: SocketAddr, with: io::Result<SocketAddr>) {
            let attempt = self.attempts.borrow_mut().remove(&address).unwrap();
            let _ = attempt.send(with);
        }
    }

    type Raced = Poll<io::Result<SocketAddr>>;

    /// Gives the test a race of `addresses`, and a function that polls it.
    fn raced(addresses: &[SocketAddr], test: impl FnOnce(&Bench, &mut dyn FnMut() -> Raced)) {
        let bench = Bench::default();
        let race = race(
            addresses.iter().copied(),
            |address| bench.attempt(address),
            || bench.delay(),
        );
        let mut race = Box::pin(race);
        let mut poll = || race.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        test(&bench, &mut poll);
    }

    #[test]
    fn the_next_is_tried_when_the_delay_is_over_and_the_first_may_still_win() {
        let two = all(&["[::1]:1", "1.0.0.1:1"]);
        raced(&two, |bench, poll| {
            assert!(poll().is_pending());
            assert!(poll().is_pending());
            assert_eq!(*bench.begun.borrow(), two[..1]);
            bench.delay_is_over();
            assert!(poll().is_pending());
            assert_eq!(*bench.begun.borrow(), two);
            bench.delay_is_over();
            assert!(poll().is_pending(), "nothing is left to be tried");
            bench.ends(two[0], Ok(two[0]));
            assert!(matches!(poll(), Poll::Ready(Ok(won)) if won == two[0]));
        });
    }

    #[test]
    fn the_next_is_tried_at_once_when_an_attempt_fails() {
        let two = all(&["[::1]:1", "1.0.0.1:1"]);
        raced(&two, |bench, poll| {
            assert!(poll().is_pending());
            bench.ends(two[0], Err(io::ErrorKind::NetworkUnreachable.into()));
            assert!(poll().is_pending());
            assert_eq!(*bench.begun.borrow(), two);
            bench.ends(two[1], Ok(two[1]));
            assert!(matches!(poll(), Poll::Ready(Ok(won)) if won == two[1]));
        });
    }

    #[test]
    fn where_all_fail_the_last_error_is_told() {
        let two = all(&["[::1]:1", "1.0.0.1:1"]);
        raced(&two, |bench, poll| {
            assert!(poll().is_pending());
            bench.delay_is_over();
            assert!(poll().is_pending());
            bench.ends(two[1], Err(io::ErrorKind::ConnectionRefused.into()));
            assert!(poll().is_pending(), "the first has not failed yet");
            bench.ends(two[0], Err(io::ErrorKind::TimedOut.into()));
            assert!(
                matches!(poll(), Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::TimedOut)
            );
        });
        raced(&[], |_, poll| {
            assert!(matches!(poll(), Poll::Ready(Err(_))))
        });
    }
}
