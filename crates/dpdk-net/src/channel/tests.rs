//! Channels between real threads, and on one; what loom tries in each order is in `tests/models`.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, Waker};

use futures_util::FutureExt;
use proptest::prelude::*;

use super::*;
use crate::wakers::tests::counter;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap()
}

#[test]
fn a_million_values_of_two_threads_come_once_and_in_the_order_of_each() {
    const EACH: u32 = 500_000;
    let (sender, mut receiver) = bounded(64);
    let senders = [0, 1].map(|who| {
        let sender = sender.clone();
        std::thread::spawn(move || {
            runtime().block_on(async {
                let mut batch = Vec::new();
                for n in 0..EACH {
                    // One by one, and in batches.
                    if n % 1000 < 100 {
                        sender.send((who, n)).await.unwrap();
                        continue;
                    }
                    batch.push((who, n));
                    if batch.len() == 100 {
                        sender.send_all(&mut batch).await.unwrap();
                    }
                }
                sender.send_all(&mut batch).await.unwrap();
            });
        })
    });
    drop(sender);
    let mut next = [0; 2];
    runtime().block_on(async {
        let mut check = |(who, n): (usize, u32)| {
            assert_eq!(n, next[who]);
            next[who] += 1;
        };
        let mut batch = Vec::new();
        while let Some(value) = receiver.recv().await {
            check(value);
            receiver.recv_many(&mut batch, 48).await;
            batch.drain(..).for_each(&mut check);
        }
    });
    assert_eq!(next, [EACH; 2]);
    senders.into_iter().for_each(|it| it.join().unwrap());
}

#[test]
fn only_a_receiver_that_sleeps_is_woken_and_once() {
    let (sender, mut receiver) = bounded(8);
    let (count, waker) = counter();
    let mut cx = Context::from_waker(&waker);
    sender.try_send(1).unwrap();
    assert_eq!(receiver.poll_recv(&mut cx), Poll::Ready(Some(1)));
    assert_eq!(receiver.poll_recv(&mut cx), Poll::Pending);
    assert_eq!(count.0.load(Ordering::Relaxed), 0);
    for n in 2..5 {
        sender.try_send(n).unwrap();
        assert_eq!(count.0.load(Ordering::Relaxed), 1);
    }
    for n in 2..5 {
        assert_eq!(receiver.poll_recv(&mut cx), Poll::Ready(Some(n)));
    }
    drop(sender);
    assert_eq!(count.0.load(Ordering::Relaxed), 1, "it was not asleep");
    assert_eq!(receiver.poll_recv(&mut cx), Poll::Ready(None));
}

#[test]
fn the_end_of_the_last_sender_wakes_a_receiver_that_sleeps() {
    let (sender, mut receiver) = bounded::<u8>(1);
    let other = sender.clone();
    let (count, waker) = counter();
    let mut cx = Context::from_waker(&waker);
    assert!(receiver.poll_recv(&mut cx).is_pending());
    drop(sender);
    assert_eq!(count.0.load(Ordering::Relaxed), 0);
    drop(other);
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Closed));
}

#[test]
fn a_full_channel_takes_no_more_and_gives_the_value_back() {
    let (sender, mut receiver) = bounded(3);
    for n in 0..3 {
        sender.try_send(n).unwrap();
    }
    assert_eq!(sender.try_send(3), Err(TrySendError::Full(3)));
    let mut more = vec![3, 4, 5];
    assert_eq!(sender.try_send_many(&mut more), Ok(0));
    assert_eq!(receiver.try_recv(), Ok(0));
    assert_eq!(sender.try_send_many(&mut more), Ok(1));
    assert_eq!(more, [4, 5]);
    assert_eq!((receiver.len(), sender.capacity()), (3, 3));
    receiver.close();
    assert_eq!(sender.try_send(9), Err(TrySendError::Closed(9)));
    assert_eq!(sender.try_send_many(&mut more), Err(Closed));
    assert_eq!(more, [4, 5]);
    let mut rest = Vec::new();
    assert_eq!(receiver.recv_many(&mut rest, 9).now_or_never(), Some(3));
    assert_eq!(rest, [1, 2, 3]);
    assert_eq!(receiver.recv().now_or_never(), Some(None));
}

#[test]
fn what_is_given_up_loses_no_value() {
    let (sender, mut receiver) = bounded(1);
    // A receive that waited, and was dropped before the value came.
    {
        let mut receiving = pin!(receiver.recv());
        assert!(receiving.as_mut().now_or_never().is_none());
        sender.try_send(1).unwrap();
    }
    assert_eq!(receiver.recv().now_or_never(), Some(Some(1)));
    // A batch that was sent in part.
    let mut batch = vec![2, 3, 4];
    assert!(sender.send_all(&mut batch).now_or_never().is_none());
    assert_eq!(batch, [3, 4]);
    // A send that waited: nothing was sent.
    assert!(sender.send(9).now_or_never().is_none());
    assert_eq!(receiver.try_recv(), Ok(2));
    assert_eq!(receiver.try_recv(), Err(TryRecvError::Empty));
}

#[test]
fn the_one_that_waits_longest_is_woken_first_and_hands_on_what_it_does_not_use() {
    let (sender, mut receiver) = bounded(1);
    sender.try_send(0).unwrap();
    let (first, first_waker) = counter();
    let (second, second_waker) = counter();
    let mut first_send = Box::pin(sender.send(1));
    let mut second_send = Box::pin(sender.send(2));
    let mut second_cx = Context::from_waker(&second_waker);
    assert!(
        (first_send
            .as_mut()
            .poll(&mut Context::from_waker(&first_waker)))
        .is_pending()
    );
    assert!(second_send.as_mut().poll(&mut second_cx).is_pending());
    let woken = || {
        let both = [&first, &second];
        both.map(|it| it.0.load(Ordering::Relaxed))
    };
    assert_eq!(receiver.try_recv(), Ok(0));
    assert_eq!(woken(), [1, 0]);
    drop(first_send);
    assert_eq!(woken(), [1, 1]);
    assert_eq!(
        second_send.as_mut().poll(&mut second_cx),
        Poll::Ready(Ok(()))
    );
    assert_eq!(receiver.try_recv(), Ok(2));
}

#[test]
fn senders_that_wait_are_told_that_the_receiver_is_gone() {
    let (sender, receiver) = bounded(1);
    let kept = Arc::new(());
    sender.try_send(kept.clone()).unwrap();
    let (count, waker) = counter();
    let mut cx = Context::from_waker(&waker);
    let mut sending = Box::pin(sender.send(kept.clone()));
    let mut ready = Box::pin(sender.ready());
    assert!(sending.as_mut().poll(&mut cx).is_pending());
    assert!(ready.as_mut().poll(&mut cx).is_pending());
    drop(receiver);
    assert_eq!(count.0.load(Ordering::Relaxed), 2);
    assert!(matches!(
        sending.as_mut().poll(&mut cx),
        Poll::Ready(Err(SendError(_)))
    ));
    assert!(ready.as_mut().poll(&mut cx).is_ready());
    drop(sending);
    assert!(sender.is_closed());
    assert_eq!(Arc::strong_count(&kept), 1, "what was in it is dropped");
}

#[test]
fn who_only_asked_for_room_leaves_it_to_the_next_one() {
    let (sender, mut receiver) = bounded(1);
    sender.try_send(1).unwrap();
    let (count, waker) = counter();
    let mut asking = Box::pin(sender.ready());
    let mut sending = Box::pin(sender.send(2));
    assert!(
        asking
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    assert!(
        sending
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_pending()
    );
    assert_eq!(receiver.try_recv().unwrap(), 1);
    assert_eq!(count.0.load(Ordering::Relaxed), 0, "the other one is first");
    assert!(
        asking
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    );
    assert_eq!(count.0.load(Ordering::Relaxed), 1);
    assert!(
        sending
            .as_mut()
            .poll(&mut Context::from_waker(&waker))
            .is_ready()
    );
    assert_eq!(receiver.try_recv().unwrap(), 2);
}

#[test]
fn a_receiver_that_always_finds_something_lets_other_tasks_run() {
    let (sender, mut receiver) = bounded(1 << 12);
    runtime().block_on(async {
        let other = tokio::spawn(async {});
        tokio::spawn(async move {
            for n in 0..1 << 12 {
                sender.send(n).await.unwrap();
            }
            for _ in 0..1 << 11 {
                receiver.recv().await.unwrap();
            }
            assert!(other.is_finished());
        })
        .await
        .unwrap();
    });
}

/// What can be done to a channel on one thread.
#[derive(Debug, Clone, Copy)]
enum Step {
    Send,
    SendMany(usize),
    Receive,
    ReceiveMany(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Send),
        (0..9_usize).prop_map(Step::SendMany),
        Just(Step::Receive),
        (0..9_usize).prop_map(Step::ReceiveMany),
    ]
}

proptest! {
    #[test]
    fn it_is_a_queue_of_so_many(capacity in 1..9_usize, steps in prop::collection::vec(step(), 0..200)) {
        let (sender, mut receiver) = bounded(capacity);
        let mut model = std::collections::VecDeque::new();
        let mut next = 0..;
        for step in steps {
            match step {
                Step::Send => {
                    let value = next.next().unwrap();
                    let sent = sender.try_send(value).is_ok();
                    prop_assert_eq!(sent, model.len() < capacity);
                    if sent {
                        model.push_back(value);
                    }
                }
                Step::SendMany(count) => {
                    let mut values: Vec<i32> = next.by_ref().take(count).collect();
                    let fit = count.min(capacity - model.len());
                    model.extend(values.iter().take(fit));
                    prop_assert_eq!(sender.try_send_many(&mut values), Ok(fit));
                    prop_assert_eq!(values.len(), count - fit);
                }
                Step::Receive => {
                    prop_assert_eq!(receiver.try_recv().ok(), model.pop_front());
                }
                Step::ReceiveMany(most) => {
                    let mut out = Vec::new();
                    let count = receiver.recv_many(&mut out, most).now_or_never();
                    let expected: Vec<i32> = model.drain(..most.min(model.len())).collect();
                    prop_assert_eq!(count.unwrap_or(0), expected.len());
                    prop_assert_eq!(out, expected);
                }
            }
            prop_assert_eq!(receiver.len(), model.len());
        }
    }
}
