//! A channel: senders and a receiver that sleep and are woken.

use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use loom::sync::Notify;
use loom::thread;

use crate::explore;
use crate::ring::Refused;
use crate::shared::Shared;
use crate::sync::pause;

/// Wakes a thread of the model. Not by `unpark`: loom forgets that of a thread which yields or waits for a mutex.
struct Alarm(Notify);

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        self.0.notify();
    }
}

/// Sleeps until `poll` gives something. A wake that is lost is a deadlock, which loom tells.
fn block_on<R>(mut poll: impl FnMut(&mut Context<'_>) -> Poll<R>) -> R {
    let alarm = Arc::new(Alarm(Notify::new()));
    let waker = Waker::from(alarm.clone());
    loop {
        match poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => {
                pause();
                alarm.0.wait();
            }
        }
    }
}

type Channel = loom::sync::Arc<Shared<u32>>;

fn channel(capacity: usize) -> Channel {
    loom::sync::Arc::new(Shared::new(capacity))
}

fn try_send(channel: &Shared<u32>, value: u32) -> Option<bool> {
    match channel.ring.push(value) {
        Ok(wake) => {
            channel.wake_receiver(wake);
            Some(true)
        }
        Err((Refused::Full, _)) => None,
        Err((Refused::Closed, _)) => Some(false),
    }
}

/// Whether it was sent.
fn send(channel: &Shared<u32>, value: u32) -> bool {
    let mut place = None;
    block_on(|cx| channel.poll_room(cx, &mut place, || try_send(channel, value)))
}

fn receive(channel: &Shared<u32>) -> Option<u32> {
    block_on(|cx| {
        channel.poll_take(cx, || {
            let (value, waited_for) = channel.ring.pop()?;
            channel.wake_senders(waited_for, 1);
            Some(value)
        })
    })
}

#[test]
fn what_one_sends_comes_in_order_through_a_channel_for_one() {
    explore(3, || {
        let channel = channel(1);
        let sender = channel.clone();
        let sending = thread::spawn(move || {
            assert!(send(&sender, 1) && send(&sender, 2));
            sender.one_less();
        });
        assert_eq!(receive(&channel), Some(1));
        assert_eq!(receive(&channel), Some(2));
        assert_eq!(receive(&channel), None);
        sending.join().unwrap();
    });
}

#[test]
fn what_two_send_comes_once() {
    explore(1, || {
        let channel = channel(1);
        channel.one_more();
        let senders = [1, 2].map(|value| {
            let sender = channel.clone();
            thread::spawn(move || {
                assert!(send(&sender, value));
                sender.one_less();
            })
        });
        let mut all = [receive(&channel).unwrap(), receive(&channel).unwrap()];
        all.sort_unstable();
        assert_eq!(all, [1, 2]);
        assert_eq!(receive(&channel), None);
        senders.into_iter().for_each(|it| it.join().unwrap());
    });
}

#[test]
fn a_sender_that_gives_up_lets_the_next_one_have_the_room() {
    explore(1, || {
        let channel = channel(1);
        assert!(send(&channel, 0));
        channel.one_more();
        let (patient, hasty) = (channel.clone(), channel.clone());
        let patient = thread::spawn(move || assert!(send(&patient, 1)));
        let hasty = thread::spawn(move || {
            // Waits, and is dropped before it is polled again.
            let mut place = None;
            let waker = Waker::noop();
            let poll = hasty.poll_room(&mut Context::from_waker(waker), &mut place, || {
                try_send(&hasty, 2)
            });
            if let Some(place) = place {
                hasty.leave(place, false);
            }
            poll.is_ready()
        });
        assert_eq!(receive(&channel), Some(0));
        let other = receive(&channel);
        patient.join().unwrap();
        if hasty.join().unwrap() {
            let both = [other, receive(&channel)];
            assert!(both.contains(&Some(1)) && both.contains(&Some(2)));
        } else {
            assert_eq!(other, Some(1));
        }
    });
}

#[test]
fn nothing_stays_in_a_channel_whose_receiver_is_gone() {
    explore(3, || {
        let channel = channel(1);
        let sender = channel.clone();
        let sending = thread::spawn(move || while send(&sender, 1) {});
        assert_eq!(receive(&channel), Some(1));
        channel.ring.abandon();
        channel.wake_all_senders();
        sending.join().unwrap();
        assert_eq!(channel.ring.pop().map(|(value, _)| value), None);
        assert_eq!(channel.ring.len(), 0);
    });
}
