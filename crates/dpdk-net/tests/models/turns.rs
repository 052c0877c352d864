//! The lock of a shard: a worker that takes turns, and threads that use its sockets.

use loom::sync::Arc;
use loom::thread;

use crate::explore;
use crate::sync::{AtomicU32, Ordering, pause};
use crate::turn_lock::TurnLock;

/// What a shard does before a turn and in it.
fn turn(lock: &TurnLock<u32>) {
    if lock.is_wanted() {
        lock.give_way();
    }
    let mut state = lock.try_lock().unwrap_or_else(|| lock.wait_as_owner());
    *state += 1;
}

/// What a socket does.
fn operation(lock: &TurnLock<u32>) {
    let mut state = lock.try_lock().unwrap_or_else(|| lock.wait_as_guest());
    *state += 100;
}

/// A worker that takes turns until so many threads have done their operations.
fn worker_and_threads(threads: u32, preemptions: usize) {
    explore(preemptions, move || {
        let lock = Arc::new(TurnLock::new(0));
        let done = Arc::new(AtomicU32::new(0));
        for _ in 0..threads {
            let (lock, done) = (lock.clone(), done.clone());
            thread::spawn(move || {
                operation(&lock);
                done.fetch_add(1, Ordering::Release);
            });
        }
        let mut turns = 0;
        while done.load(Ordering::Acquire) < threads {
            turn(&lock);
            turns += 1;
            pause();
        }
        assert_eq!(*lock.try_lock().unwrap(), turns + 100 * threads);
        assert!(!lock.is_wanted(), "nobody is at the door any more");
    });
}

#[test]
fn a_thread_that_sleeps_for_the_lock_is_woken_by_a_turn() {
    worker_and_threads(1, 3);
}

#[test]
fn of_two_threads_each_gets_the_lock_while_the_worker_takes_turns() {
    worker_and_threads(2, 2);
}

#[test]
fn an_operation_of_the_workers_own_waits_for_no_turn() {
    // It comes when a thread has the lock, and there is no turn until it is done.
    explore(3, || {
        let lock = Arc::new(TurnLock::new(0));
        let other = lock.clone();
        let thread = thread::spawn(move || *other.try_lock().unwrap() += 100);
        *lock.try_lock().unwrap_or_else(|| lock.wait_as_owner()) += 1;
        thread.join().unwrap();
        assert_eq!(*lock.try_lock().unwrap(), 101);
    });
}
