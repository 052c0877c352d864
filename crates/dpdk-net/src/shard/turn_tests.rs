//! The lock of a shard between real threads; what loom tries in each order is in `tests/models`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::turn_lock::{ASLEEP, AWAKE, Gave, NOBODY, TurnLock};

/// A turn as a shard takes it.
fn turn(lock: &TurnLock<u64>, critical: impl FnOnce(&mut u64)) -> Option<Gave> {
    let gave = lock.is_wanted().then(|| lock.give_way());
    critical(&mut lock.try_lock().unwrap_or_else(|| lock.wait_as_owner()));
    gave
}

fn operation(lock: &TurnLock<u64>) {
    *lock.try_lock().unwrap_or_else(|| lock.wait_as_guest()) += 1;
}

#[test]
fn a_thread_that_wants_the_lock_and_does_not_run_is_waited_for_ever_more_rarely() {
    let lock = TurnLock::new(0);
    // It was taken off its CPU between two looks.
    lock.door.store(AWAKE, Ordering::Relaxed);
    let turns = 100_000;
    let in_vain = (0..turns)
        .filter(|_| turn(&lock, |_| ()) == Some(Gave::InVain))
        .count();
    assert!(
        (turns / 256..=8 + turns / 256).contains(&in_vain),
        "{in_vain}"
    );
    // The same, before it could say who sleeps.
    lock.door.store(ASLEEP, Ordering::Relaxed);
    assert_eq!(turn(&lock, |_| ()), Some(Gave::Nothing));
    lock.door.store(NOBODY, Ordering::Relaxed);
    assert_eq!(turn(&lock, |_| ()), None);
}

#[test]
fn a_worker_that_never_lets_go_but_between_turns_serves_four_threads() {
    let lock = Arc::new(TurnLock::new(0));
    let served = Arc::new(AtomicU64::new(0));
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let (lock, served) = (lock.clone(), served.clone());
            std::thread::spawn(move || {
                for _ in 0..500 {
                    operation(&lock);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let mut turns = 0;
    while served.load(Ordering::Relaxed) < 2_000 {
        // Nearly all of its time has the lock taken.
        turn(&lock, |_| {
            for _ in 0..500 {
                std::hint::spin_loop();
            }
        });
        turns += 1;
    }
    threads.into_iter().for_each(|it| it.join().unwrap());
    assert!(turns > 0);
    assert_eq!(*lock.try_lock().unwrap(), 2_000);
    assert!(!lock.is_wanted());
}

#[test]
fn threads_get_on_without_a_worker_that_takes_turns() {
    let lock = Arc::new(TurnLock::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..50_000).for_each(|_| operation(&lock)));
        }
    });
    assert_eq!(*lock.try_lock().unwrap(), 200_000);
}

#[test]
fn a_worker_whose_lock_a_thread_holds_while_it_sleeps_sleeps_as_well() {
    let lock = TurnLock::new(0);
    let held = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut state = lock.try_lock().unwrap();
            held.store(true, Ordering::Release);
            std::thread::sleep(std::time::Duration::from_millis(30));
            *state += 1;
        });
        while !held.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        turn(&lock, |state| assert_eq!(*state, 1));
    });
}
