//! Timers.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use dpdk_net::runtime::{Runtime, spawn_local, yield_now};
use dpdk_net::time::{interval, interval_at, sleep, sleep_until, timeout};

use crate::bed::run;

const MS: Duration = Duration::from_millis(1);

pub(crate) fn timers_are_in_order_and_never_early<R: Runtime>() {
    run::<R, _, _>(|_| async move {
        for micros in [1, 500, 1_000, 1_700, 3_000, 20_000] {
            let (start, duration) = (Instant::now(), Duration::from_micros(micros));
            sleep(duration).await;
            assert!(start.elapsed() >= duration, "{duration:?}");
        }
        let seen = Rc::new(RefCell::new(Vec::new()));
        let start = Instant::now();
        let tasks: Vec<_> = (0..5_000u32)
            .map(|number| {
                // All over 50 ms, in no order.
                let millis = number * 7919 % 50;
                let seen = seen.clone();
                spawn_local(async move {
                    let deadline = start + (100 + millis) * MS;
                    sleep_until(deadline).await;
                    assert!(Instant::now() >= deadline);
                    seen.borrow_mut().push(millis);
                })
                .unwrap()
            })
            .collect();
        for task in tasks {
            task.await.unwrap();
        }
        let seen = seen.take();
        assert_eq!(seen.len(), 5_000);
        // Those of one turn are woken together.
        let turned = seen.windows(2).filter(|pair| pair[0] > pair[1] + 3).count();
        let late = start.elapsed() > 2_000 * MS;
        assert!(turned == 0 || late, "{turned} out of order");

        let mut ticks = interval(2 * MS);
        let first = ticks.tick().await;
        for number in 1..5 {
            assert_eq!(ticks.tick().await, first + number * 2 * MS);
            assert!(Instant::now() >= first + number * 2 * MS);
        }
    });
}

pub(crate) fn what_is_due_gives_way_and_what_is_dropped_is_gone<R: Runtime>() {
    run::<R, _, _>(|net| async move {
        let turns = || net.server.stats().worker.turns;
        let past = Instant::now();
        let before = turns();
        let mut ticks = interval_at(past, Duration::from_nanos(1));
        for _ in 0..100 {
            sleep(Duration::ZERO).await;
            sleep_until(past).await;
            ticks.tick().await;
        }
        assert!(turns() - before >= 300, "a turn each: {}", turns() - before);

        let late = timeout(5 * MS, std::future::pending::<()>()).await;
        assert!(late.is_err());
        assert_eq!(timeout(Duration::ZERO, async { 1 }).await, Ok(1));

        // Sleeps that are dropped, before and after they are polled, wake nobody.
        let polls = Rc::new(std::cell::Cell::new(0));
        let counted = polls.clone();
        let task = spawn_local(async move {
            let _never_polled = sleep(MS);
            let _ = timeout(Duration::ZERO, sleep(2 * MS)).await;
            std::future::poll_fn(move |_| {
                counted.set(counted.get() + 1);
                std::task::Poll::<()>::Pending
            })
            .await;
        })
        .unwrap();
        sleep(10 * MS).await;
        yield_now().await;
        assert_eq!(polls.get(), 1);
        task.abort();
    });
}
