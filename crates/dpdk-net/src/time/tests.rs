use super::*;
use crate::runtime::{LocalExecutor, yield_now};
use std::cell::RefCell;
use std::rc::Rc;

const MS: Duration = Duration::from_millis(1);

fn run<F: Future>(future: F) -> F::Output {
    LocalExecutor::new().run(future).unwrap()
}

#[test]
fn a_sleep_is_over_at_its_deadline_and_never_before() {
    run(async {
        for micros in [1, 10, 999, 1_000, 1_001, 5_500, 20_000] {
            let start = Instant::now();
            let duration = Duration::from_micros(micros);
            sleep(duration).await;
            assert!(start.elapsed() >= duration, "{duration:?}");
        }
    });
}

#[test]
fn sleeps_end_in_the_order_of_their_deadlines() {
    let executor = LocalExecutor::new();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let tasks: Vec<_> = [40, 10, 30, 20]
        .map(|millis| {
            let seen = seen.clone();
            executor.spawn(async move {
                sleep(millis * MS).await;
                seen.borrow_mut().push(millis);
            })
        })
        .into();
    executor
        .run(async {
            for task in tasks {
                task.await.unwrap();
            }
        })
        .unwrap();
    assert_eq!(*seen.borrow(), [10, 20, 30, 40]);
}

#[test]
fn what_is_due_gives_way_once() {
    let executor = LocalExecutor::new();
    let turns = Rc::new(std::cell::Cell::new(0));
    let counted = turns.clone();
    executor.spawn(async move {
        loop {
            counted.set(counted.get() + 1);
            yield_now().await;
        }
    });
    executor
        .run(async {
            let past = Instant::now();
            for _ in 0..50 {
                sleep(Duration::ZERO).await;
                sleep_until(past).await;
            }
            let mut ticks = interval_at(past, Duration::from_nanos(1));
            for _ in 0..50 {
                ticks.tick().await;
            }
        })
        .unwrap();
    assert!(turns.get() >= 150, "{}", turns.get());
}

#[test]
fn a_timeout_gives_what_is_ready_and_ends_what_is_not() {
    run(async {
        assert_eq!(timeout(Duration::ZERO, async { 1 }).await, Ok(1));
        let start = Instant::now();
        let late = timeout(10 * MS, std::future::pending::<()>()).await;
        assert_eq!(late, Err(Elapsed(())));
        assert!(start.elapsed() >= 10 * MS);
        let error = std::io::Error::from(late.unwrap_err());
        assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
        let for_ever = timeout(Duration::MAX, sleep(MS)).await;
        assert_eq!(for_ever, Ok(()));
    });
}

#[test]
fn a_dropped_sleep_leaves_no_timer_and_many_are_no_trouble() {
    let timers = Timers::new_for_tests();
    let waker = std::task::Waker::noop();
    let at = |millis: u64| Instant::now() + Duration::from_secs(3600) + millis as u32 * MS;
    let keys: Vec<_> = (0..100_000u64)
        .map(|number| timers.insert(at(number * 7919 % 100_000), waker).unwrap())
        .collect();
    assert_eq!(timers.len(), 100_000);
    keys.into_iter().for_each(|key| timers.remove(key));
    assert_eq!(timers.len(), 0);
    let mut out = Vec::new();
    timers.take_due(u64::MAX - 1, &mut out);
    assert!(out.is_empty());
}

#[test]
fn a_timer_whose_worker_has_ended_goes_on_elsewhere() {
    let timers = Timers::new_for_tests();
    let key = timers
        .insert(Instant::now() + 20 * MS, std::task::Waker::noop())
        .unwrap();
    let deadline = Instant::now() + 20 * MS;
    let sleep = Sleep {
        deadline,
        state: State::Waits(timers.clone(), key),
    };
    let mut woken = Vec::new();
    timers.close(&mut woken);
    assert_eq!(woken.len(), 1, "it is told");
    run(sleep);
    assert!(Instant::now() >= deadline);
    assert_eq!(timers.len(), 0);
    assert!(timers.insert(deadline, std::task::Waker::noop()).is_none());
}

#[test]
fn a_sleep_can_be_sent_to_another_thread_and_be_set_anew() {
    let mut moved = sleep(Duration::from_secs(3600));
    run(async {
        let first = timeout(MS, &mut moved).await;
        assert!(first.is_err());
    });
    std::thread::spawn(move || {
        moved.reset(Instant::now() + 5 * MS);
        run(&mut moved);
        assert!(Instant::now() >= moved.deadline());
    })
    .join()
    .unwrap();
}

#[test]
fn missed_ticks_come_as_they_are_asked_for() {
    run(async {
        let start = Instant::now() - 35 * MS;
        let mut burst = interval_at(start, 10 * MS);
        for number in 0..4 {
            assert_eq!(burst.tick().await, start + number * 10 * MS);
        }
        let mut skip = interval_at(start, 10 * MS).missed_ticks(MissedTicks::Skip);
        skip.tick().await;
        let next = skip.tick().await;
        assert!(next > start + 35 * MS);
        assert_eq!((next - start).as_nanos() % (10 * MS).as_nanos(), 0);
        let mut delay = interval_at(start, 10 * MS).missed_ticks(MissedTicks::Delay);
        let before = Instant::now();
        delay.tick().await;
        assert!(delay.tick().await >= before + 10 * MS);
    });
}
