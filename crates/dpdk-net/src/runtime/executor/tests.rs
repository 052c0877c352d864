use super::*;
use crate::runtime::yield_now;
use crate::time::sleep;
use std::future::{pending, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

#[test]
fn tasks_run_in_the_order_in_which_they_were_woken() {
    let executor = LocalExecutor::new();
    let seen = Rc::new(RefCell::new(Vec::new()));
    let tasks: Vec<_> = (0..3)
        .map(|number| {
            let seen = seen.clone();
            executor.spawn(async move {
                for turn in 0..3 {
                    seen.borrow_mut().push((turn, number));
                    yield_now().await;
                }
            })
        })
        .collect();
    let all = async {
        for task in tasks {
            task.await.unwrap();
        }
    };
    executor.run(all).unwrap();
    let expected: Vec<_> = (0..3)
        .flat_map(|turn| (0..3).map(move |n| (turn, n)))
        .collect();
    assert_eq!(*seen.borrow(), expected);
}

#[test]
fn one_inside_another_is_refused_and_the_outer_one_goes_on() {
    let (outer, inner) = (LocalExecutor::new(), LocalExecutor::new());
    let done = outer.run(async {
        let task = runtime_task();
        let refused = inner.run(async {}).unwrap_err();
        assert!(matches!(refused, Error::NestedRuntime), "{refused}");
        task.await.unwrap()
    });
    assert_eq!(done.unwrap(), 5);
    assert_eq!(inner.run(async { 6 }).unwrap(), 6, "alone it runs");
}

fn runtime_task() -> JoinHandle<i32> {
    crate::runtime::spawn_local(async {
        yield_now().await;
        5
    })
    .unwrap()
}

#[test]
fn a_wake_from_another_thread_reaches_an_executor_that_sleeps() {
    let executor = LocalExecutor::new();
    for round in 0..200 {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let task = executor.spawn(receiver);
        let thread = std::thread::spawn(move || {
            if round % 2 == 0 {
                std::thread::yield_now();
            }
            sender.send(round).unwrap();
        });
        assert_eq!(executor.run(task).unwrap().unwrap(), Ok(round));
        thread.join().unwrap();
    }
}

#[test]
fn more_wakes_than_the_queue_holds_are_not_lost() {
    let executor = LocalExecutor::new();
    let count = REMOTE * 3;
    let wakers = Arc::new(Mutex::new(Vec::new()));
    let tasks: Vec<_> = (0..count)
        .map(|_| {
            let (wakers, mut first) = (wakers.clone(), true);
            executor.spawn(poll_fn(move |cx| {
                if std::mem::take(&mut first) {
                    wakers.lock().push(cx.waker().clone());
                    return Poll::Pending;
                }
                Poll::Ready(())
            }))
        })
        .collect();
    executor.run(yield_now()).unwrap();
    let taken = std::mem::take(&mut *wakers.lock());
    assert_eq!(taken.len(), count);
    std::thread::spawn(move || taken.into_iter().for_each(Waker::wake))
        .join()
        .unwrap();
    let all = async {
        for task in tasks {
            task.await.unwrap();
        }
    };
    executor.run(all).unwrap();
}

#[test]
fn a_panic_stays_in_its_task_and_is_given_to_its_handle() {
    let executor = LocalExecutor::new();
    let bad = executor.spawn(async {
        yield_now().await;
        panic!("on purpose");
    });
    let good = executor.spawn(async {
        for _ in 0..10 {
            yield_now().await;
        }
        1
    });
    let (error, good) = executor
        .run(async {
            (
                bad.await.map(|never: ()| never).unwrap_err(),
                good.await.unwrap(),
            )
        })
        .unwrap();
    assert!(error.is_panic() && !error.is_cancelled());
    assert_eq!(error.to_string(), "the task panicked: on purpose");
    assert_eq!(
        error.try_into_panic().unwrap().downcast_ref::<&str>(),
        Some(&"on purpose")
    );
    assert_eq!(good, 1);
}

#[test]
fn a_panic_of_the_future_it_runs_for_leaves_it_usable() {
    let executor = LocalExecutor::new();
    let task = executor.spawn(async {
        yield_now().await;
        7
    });
    let ran = catch_unwind(AssertUnwindSafe(|| executor.run(async { panic!("root") })));
    assert!(ran.is_err());
    assert_eq!(executor.run(task).unwrap().unwrap(), 7);
}

struct OnDrop<F: FnMut()>(F);
impl<F: FnMut()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

#[test]
fn an_aborted_task_is_dropped_and_its_handle_says_so() {
    let executor = LocalExecutor::new();
    let dropped = Rc::new(Cell::new(false));
    let told = dropped.clone();
    let task = executor.spawn(async move {
        let _guard = OnDrop(move || told.set(true));
        pending::<()>().await;
    });
    executor.run(yield_now()).unwrap();
    task.abort();
    assert!(!dropped.get());
    let error = executor.run(task).unwrap().unwrap_err();
    assert!(error.is_cancelled() && dropped.get());
}

#[test]
fn tasks_end_with_their_executor_even_if_their_destructors_spawn_or_panic() {
    let executor = LocalExecutor::new();
    let mut handles = Vec::new();
    for number in 0..10 {
        handles.push(executor.spawn(async move {
            let _guard = OnDrop(move || {
                let _ = crate::runtime::spawn_local(async {});
                assert!(number % 3 != 0, "a destructor that panics");
            });
            pending::<()>().await;
        }));
    }
    executor.run(yield_now()).unwrap();
    drop(executor);
    assert!(handles.iter().all(JoinHandle::is_finished));
    let other = LocalExecutor::new();
    for handle in handles {
        assert!(other.run(handle).unwrap().unwrap_err().is_cancelled());
    }
}

#[test]
fn wakers_of_a_task_that_has_ended_wake_nobody_else() {
    let executor = LocalExecutor::new();
    let (old, keep) = (
        Rc::new(RefCell::new(None)),
        Rc::new(RefCell::new(None::<Waker>)),
    );
    let told = keep.clone();
    let first = executor.spawn(poll_fn(move |cx| {
        *told.borrow_mut() = Some(cx.waker().clone());
        cx.waker().wake_by_ref();
        Poll::Ready(())
    }));
    executor.run(first).unwrap().unwrap();
    let polls = Rc::new(Cell::new(0));
    let counted = polls.clone();
    let _second = executor.spawn(poll_fn(move |_| {
        counted.set(counted.get() + 1);
        Poll::<()>::Pending
    }));
    *old.borrow_mut() = keep.borrow_mut().take();
    executor
        .run(async {
            for _ in 0..5 {
                old.borrow().as_ref().unwrap().wake_by_ref();
                yield_now().await;
            }
        })
        .unwrap();
    assert_eq!(polls.get(), 1, "it has the place of the first one");
}

#[test]
fn a_task_spawned_after_one_that_was_woken_as_it_ended_runs_once_a_turn() {
    let executor = LocalExecutor::new();
    executor.spawn(poll_fn(|cx| {
        cx.waker().wake_by_ref();
        Poll::Ready(())
    }));
    let polls = Rc::new(Cell::new(0));
    let counted = polls.clone();
    // It runs while the first one's number is queued.
    executor.spawn(async move {
        let busy = poll_fn(move |cx| {
            counted.set(counted.get() + 1);
            cx.waker().wake_by_ref();
            Poll::<()>::Pending
        });
        crate::runtime::spawn_local(busy).unwrap();
    });
    executor
        .run(async {
            for _ in 0..10 {
                yield_now().await;
            }
        })
        .unwrap();
    assert_eq!(polls.get(), 10);
    let places = executor.inner.tasks.borrow().len();
    assert_eq!(places, 1, "those of the two that have ended are free");
}

#[test]
fn a_task_that_never_waits_lets_the_others_run() {
    let executor = LocalExecutor::new();
    executor.spawn(async {
        loop {
            sleep(Duration::ZERO).await;
        }
    });
    let start = Instant::now();
    executor.run(sleep(Duration::from_millis(20))).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(20));
}

#[test]
fn the_future_it_runs_for_may_be_woken_from_everywhere() {
    let executor = LocalExecutor::new();
    let (sender, mut receiver) = tokio::sync::mpsc::channel(1);
    let own = sender.clone();
    executor.spawn(async move { own.send(1).await });
    let thread = std::thread::spawn(move || sender.blocking_send(2));
    let sum = executor.run(async {
        let mut sum = 0;
        while let Some(number) = receiver.recv().await {
            sum += number;
        }
        sum
    });
    assert_eq!(sum.unwrap(), 3);
    thread.join().unwrap().unwrap();
}

#[test]
fn wakes_that_come_after_its_end_keep_nothing_of_it() {
    let executor = LocalExecutor::new();
    let wakers = Rc::new(RefCell::new(Vec::new()));
    let keeps = |then: Poll<()>| {
        let wakers = wakers.clone();
        poll_fn(move |cx| {
            wakers.borrow_mut().push(cx.waker().clone());
            then
        })
    };
    let (waits, ends) = (keeps(Poll::Pending), keeps(Poll::Ready(())));
    executor.spawn(waits);
    let ended = executor.spawn(ends);
    executor.run(ended).unwrap().unwrap();
    executor.run(keeps(Poll::Ready(()))).unwrap();
    let remote = Arc::downgrade(&executor.inner.remote);
    drop(executor);
    assert_eq!(wakers.borrow().len(), 3);
    wakers.take().into_iter().for_each(Waker::wake);
    assert!(remote.upgrade().is_none());
}
