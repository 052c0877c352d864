//! Tasks: spawned, joined, aborted, busy, woken.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use dpdk_net::runtime::{LocalExecutor, Runtime, spawn_local, yield_now};
use dpdk_net::time::sleep;
use dpdk_net::{Error, Worker};
use tokio::sync::{mpsc, oneshot};

use crate::bed::{run, run_then};
use crate::common::*;

pub(crate) fn tasks_give_their_results_their_aborts_and_their_panics<R: Runtime>() {
    run::<R, _, _>(|_| async move {
        let not_send = Rc::new(7);
        let own = not_send.clone();
        let seven = spawn_local(async move {
            yield_now().await;
            *own
        })
        .unwrap();
        assert_eq!(seven.await.unwrap(), 7);
        assert_eq!(
            Rc::strong_count(&not_send),
            1,
            "nothing of the task is left"
        );

        let ended = Rc::new(Cell::new(false));
        let guard = Guard(ended.clone());
        let waits = spawn_local(async move {
            let _guard = guard;
            std::future::pending::<()>().await;
        })
        .unwrap();
        sleep(Duration::from_millis(1)).await;
        assert!(!waits.is_finished() && !ended.get());
        waits.abort();
        assert!(waits.await.unwrap_err().is_cancelled());
        assert!(ended.get());

        let never_ran = spawn_local(async { unreachable!("aborted before its first poll") });
        let never_ran = never_ran.unwrap();
        never_ran.abort();
        let error = never_ran.await.map(|never: ()| never).unwrap_err();
        assert!(error.is_cancelled());

        let panics = spawn_local(async {
            yield_now().await;
            if true {
                panic!("on purpose");
            }
        })
        .unwrap();
        let error = panics.await.unwrap_err();
        assert!(
            error.is_panic() && error.to_string().contains("on purpose"),
            "{error}"
        );

        // Handles may be dropped, and awaited by other tasks.
        let (sender, receiver) = oneshot::channel();
        drop(spawn_local(async move { sender.send(1) }).unwrap());
        assert_eq!(receiver.await, Ok(1));
        let first = spawn_local(async { 1 }).unwrap();
        let second = spawn_local(async move { first.await.unwrap() + 1 }).unwrap();
        assert_eq!(second.await.unwrap(), 2);
    });
}

struct Guard(Rc<Cell<bool>>);

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

pub(crate) fn a_task_that_never_waits_starves_neither_others_nor_the_device<R: Runtime>() {
    run::<R, _, _>(|net| async move {
        let polls = Rc::new(Cell::new(0u64));
        let counted = polls.clone();
        let busy = spawn_local(async move {
            loop {
                counted.set(counted.get() + 1);
                yield_now().await;
            }
        })
        .unwrap();
        let (server, mut client) = connected(&net, SERVER_V4).await;
        let before = (polls.get(), net.server.stats().worker.turns);
        let mut server = server;
        for _ in 0..20 {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            client.write_all(b"ping").await.unwrap();
            server.read_exact(&mut [0; 4]).await.unwrap();
            sleep(Duration::from_micros(100)).await;
        }
        let (polls, turns) = (
            polls.get() - before.0,
            net.server.stats().worker.turns - before.1,
        );
        busy.abort();
        assert!(polls > 0, "it runs too");
        // Once a turn; the first and the last one may both count, of which the figures tell one.
        assert!(polls <= turns + 1, "{polls} polls in {turns} turns");
    });
}

pub(crate) fn a_thread_that_wakes_many_tasks_does_not_wait_for_their_worker<R: Runtime>() {
    run::<R, _, _>(|_| async move {
        let (tell, tasks): (Vec<_>, Vec<_>) = (0..1000)
            .map(|_| {
                let (tell, told) = oneshot::channel();
                let task = spawn_local(async move { told.await.unwrap() }).unwrap();
                (tell, task)
            })
            .unzip();
        // All of them wait.
        sleep(Duration::from_millis(1)).await;
        let waking = std::thread::spawn(move || {
            for (number, tell) in tell.into_iter().enumerate() {
                tell.send(number).unwrap();
            }
        });
        // The worker has no turn meanwhile.
        waking.join().unwrap();
        for (number, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.await.unwrap(), number);
        }
    });
}

pub(crate) fn other_threads_wake_tasks_and_the_program<R: Runtime>() {
    run_then::<R, _, _, _>(
        |_| async move {
            for _ in 0..100 {
                let (there, mut asked) = mpsc::channel(1);
                let (answer, back) = oneshot::channel();
                let thread = std::thread::spawn(move || {
                    answer.send(asked.blocking_recv()).unwrap();
                });
                let task = spawn_local(async move { back.await.unwrap() }).unwrap();
                there.send(5).await.unwrap();
                assert_eq!(task.await.unwrap(), Some(5));
                thread.join().unwrap();
            }
            // A sleep that was begun elsewhere ends here, and one from here ends elsewhere.
            let moved = std::thread::spawn(|| sleep(Duration::from_millis(2)));
            moved.join().unwrap().await;
        },
        |worker: Worker<R>, ()| {
            let (sender, receiver) = oneshot::channel();
            let thread = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(5));
                sender.send(6).unwrap();
            });
            assert_eq!(worker.block_on(receiver), Ok(6));
            thread.join().unwrap();
        },
    );
}

pub(crate) fn a_worker_inside_a_worker_is_refused_and_the_outer_one_goes_on<R: Runtime>() {
    let eal = eal("0");
    let rings = dpdk_net::rte::ring::joined_ports(&eal, ["one", "two"], 1, 256).unwrap();
    let ids = rings.ids();
    let (_one_port, one) = side(&eal, ids[0], stack(1));
    let (_two_port, two) = side(&eal, ids[1], stack(2));
    let outer = Worker::<R>::on(vec![one]).unwrap();
    let inner = Worker::<R>::on(vec![two]).unwrap();
    outer.block_on(async {
        let task = spawn_local(async {
            yield_now().await;
            5
        })
        .unwrap();
        // Twice: being refused changes nothing.
        for _ in 0..2 {
            let refused = inner.try_block_on(async {}).unwrap_err();
            assert!(matches!(refused, Error::NestedRuntime), "{refused}");
            assert!(refused.to_string().contains("spawn"), "{refused}");
            let refused = LocalExecutor::new().run(async {}).unwrap_err();
            assert!(matches!(refused, Error::NestedRuntime), "{refused}");
        }
        assert_eq!(task.await.unwrap(), 5);
    });
    inner.block_on(async { yield_now().await });
}

pub(crate) fn the_program_is_polled_in_the_turn_in_which_it_is_woken<R: Runtime>() {
    run_then::<R, _, _, _>(
        |net| async move { net },
        |worker: Worker<R>, net| {
            worker.block_on(async {
                let before = net.server.stats().worker.turns;
                for _ in 0..100 {
                    yield_now().await;
                }
                let turns = net.server.stats().worker.turns - before;
                assert!((50..=400).contains(&turns), "{turns} turns");
            });
        },
    );
}
