//! Tasks that other threads have a worker spawn.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::mpsc;
use std::thread::ThreadId;
use std::time::Duration;

use dpdk_net::net::{TcpListener, TcpStream};
use dpdk_net::rte::{Lcore, ring};
use dpdk_net::{Handle, Reactor, Worker};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::common::*;
use super::elsewhere;

#[test]
fn a_future_that_is_not_send_runs_on_the_worker_and_its_result_comes_back() {
    run(|net| async move {
        let workers_own = std::thread::current().id();
        let server = net.server.clone();
        let result = elsewhere(async move {
            let task = server.spawn_on(move || async move {
                let count = Rc::new(Cell::new(0));
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                    assert_eq!(std::thread::current().id(), workers_own);
                    count.set(count.get() + 1);
                }
                // The worker is the current one, and tokio's.
                let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
                tokio::task::spawn_local(async move { drop(listener) })
                    .await
                    .unwrap();
                count.get()
            });
            task.unwrap().await
        });
        assert_eq!(result.await.unwrap(), 3);
        assert_eq!(net.server.stats().worker.spawned, 1);
    });
}

#[test]
fn a_task_on_each_of_two_workers_is_spawned_by_the_other_one() {
    let eal = eal("0@0,1@0");
    let rings = ring::joined_ports(&eal, ["server", "client"], 1, 1024).unwrap();
    let (_a, a) = side(&eal, rings.ids()[0], stack(1));
    let (_b, b) = side(&eal, rings.ids()[1], stack(2));
    let (tell, told) = mpsc::channel::<Handle>();
    let other = Lcore::workers(&eal).next().unwrap();
    let launched = other.launch(move || {
        let worker = Worker::new(b).unwrap();
        tell.send(worker.handle().clone()).unwrap();
        // Until it is told that all is done, by a task that was spawned here.
        let (done, wait) = tokio::sync::oneshot::channel::<()>();
        DONE.lock().unwrap().replace(done);
        worker.block_on(wait).unwrap();
    });
    let client = told.recv().unwrap();
    let worker = Worker::new(a).unwrap();
    let server = worker.handle().clone();
    let answer = worker.block_on(async {
        let listener = TcpListener::bind(at(SERVER_V4, 7)).await.unwrap();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut rx, mut tx) = stream.split();
            tokio::io::copy(&mut rx, &mut tx).await.unwrap();
        });
        let asked = client.spawn_on(move || async move {
            let mut stream = TcpStream::connect(at(SERVER_V4, 7)).await.unwrap();
            stream.write_all(b"across").await.unwrap();
            let mut answer = [0; 6];
            stream.read_exact(&mut answer).await.unwrap();
            // And back, from the other worker.
            let back = server.spawn_on(move || async move { answer.to_ascii_uppercase() });
            back.unwrap().await.unwrap()
        });
        let answer = asked.unwrap().await.unwrap();
        let end = client.spawn_on(|| async {
            let done = DONE.lock().unwrap().take();
            done.unwrap().send(()).unwrap();
        });
        end.unwrap().await.unwrap();
        answer
    });
    launched.unwrap().join().unwrap();
    assert_eq!(answer, b"ACROSS");
}

static DONE: std::sync::Mutex<Option<tokio::sync::oneshot::Sender<()>>> =
    std::sync::Mutex::new(None);

#[test]
fn a_panic_is_an_error_of_the_one_task_and_the_worker_goes_on() {
    run(|net| async move {
        elsewhere(async move {
            let in_future = net.server.spawn_on(|| async { panic!("in the future") });
            let error = in_future.unwrap().await.unwrap_err();
            assert!(error.is_panic() && !error.is_cancelled());
            assert_eq!(error.to_string(), "the task panicked: in the future");
            let payload = error.try_into_panic().unwrap();
            assert_eq!(payload.downcast_ref(), Some(&"in the future"));

            let in_closure = net.server.spawn_on(|| {
                let text = format!("in the {}", "closure");
                std::panic::panic_any::<String>(text);
                #[allow(unreachable_code)]
                async {}
            });
            let error = in_closure.unwrap().await.unwrap_err();
            assert_eq!(error.to_string(), "the task panicked: in the closure");

            struct Bomb;
            impl Drop for Bomb {
                fn drop(&mut self) {
                    panic!("in a destructor");
                }
            }
            let bomb = net.server.spawn_on(|| {
                let bomb = Bomb;
                let mut bomb = Some(bomb);
                std::future::poll_fn(move |_| {
                    // Not dropped by the poll itself.
                    let _ = &mut bomb;
                    std::task::Poll::Ready(())
                })
            });
            let error = bomb.unwrap().await.unwrap_err();
            assert_eq!(error.to_string(), "the task panicked: in a destructor");

            let after = net.server.spawn_on(|| async { 7 });
            assert_eq!(after.unwrap().await.unwrap(), 7);
        })
        .await;
    });
}

/// Tells on which thread it is dropped.
struct Dropped(mpsc::Sender<ThreadId>);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.send(std::thread::current().id());
    }
}

#[test]
fn a_task_that_is_aborted_ends_on_its_own_worker() {
    run(|net| async move {
        let workers_own = std::thread::current().id();
        elsewhere(async move {
            let (tell, told) = mpsc::channel();
            let (started, has_started) = tokio::sync::oneshot::channel();
            let task = net.server.spawn_on(move || async move {
                let _dropped = Dropped(tell);
                started.send(()).unwrap();
                std::future::pending::<()>().await;
            });
            let task = task.unwrap();
            has_started.await.unwrap();
            assert!(!task.is_finished());
            task.abort();
            let error = task.await.unwrap_err();
            assert!(error.is_cancelled() && !error.is_worker_ended());
            assert_eq!(told.recv().unwrap(), workers_own);
        })
        .await;
    });
}

#[test]
fn a_task_that_is_aborted_before_it_starts_never_runs() {
    let eal = eal("0");
    let rings = ring::joined_ports(&eal, ["server", "client"], 1, 1024).unwrap();
    let (_a, server) = side(&eal, rings.ids()[0], stack(1));
    let worker = Worker::new(server).unwrap();
    let task = worker
        .handle()
        .spawn_on(|| async { unreachable!("it was aborted") })
        .unwrap();
    task.abort();
    let error = worker.block_on(task).unwrap_err();
    assert!(error.is_cancelled(), "{error}");
}

#[test]
fn a_task_goes_on_without_its_handle() {
    run(|net| async move {
        let (tell, told) = tokio::sync::oneshot::channel();
        let task = net.server.spawn_on(move || async move {
            tokio::time::sleep(Duration::from_millis(5)).await;
            tell.send("alone").unwrap();
        });
        drop(task.unwrap());
        assert_eq!(told.await.unwrap(), "alone");
    });
}

#[test]
fn a_mailbox_that_is_full_gives_the_closure_back_and_is_emptied_by_turns() {
    let eal = eal("0");
    let rings = ring::joined_ports(&eal, ["server", "client"], 1, 1024).unwrap();
    let (_a, server) = side(&eal, rings.ids()[0], stack(1));
    let worker = Worker::new(server).unwrap();
    let handle = worker.handle();
    let spawn = |n: usize| handle.spawn_on(move || async move { n });
    // It has no turn meanwhile.
    let tasks: Vec<_> = (0..1024).map(|n| spawn(n).unwrap()).collect();
    let refused = spawn(1024).unwrap_err();
    assert!(refused.is_full(), "{refused}");
    let closure = refused.into_closure();
    worker.block_on(async {
        for (n, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.await.unwrap(), n);
        }
        assert_eq!(handle.spawn_on(closure).unwrap().await.unwrap(), 1024);
    });
    let stats = handle.stats().worker;
    assert_eq!((stats.spawned, stats.mailbox_full), (1025, 1));
}

#[test]
fn a_reactor_alone_has_nothing_to_spawn_on_and_says_so() {
    let eal = eal("0");
    let rings = ring::joined_ports(&eal, ["server", "client"], 1, 1024).unwrap();
    let (_a, server) = side(&eal, rings.ids()[0], stack(1));
    let reactor = Reactor::new(server).unwrap();
    let refused = reactor.handle().spawn_on(|| async {}).unwrap_err();
    assert!(!refused.is_full() && !refused.is_worker_ended());
    assert!(refused.to_string().contains("not run by a Worker"));
}

#[test]
fn an_application_spawns_on_the_worker_of_a_queue_by_its_number() {
    let eal = eal("0");
    let rings = ring::joined_ports(&eal, ["server", "client"], 1, 1024).unwrap();
    let ports = eal.ports();
    let port = ports.into_iter().find(|port| port.id == rings.ids()[0]);
    let app = dpdk_net::App::builder()
        .with_eal(eal)
        .port(port.unwrap().name)
        .address(format!("{SERVER_V4}/24"))
        .stack(|stack| stack.dad = false)
        .link_timeout(Duration::ZERO);
    let answer = app.run(|ctx: dpdk_net::Context| async move {
        let refused = ctx.spawn_on(1, || async { "kept" }).unwrap_err();
        assert!(refused.is_no_such_worker());
        assert_eq!(
            refused.to_string(),
            "there is no worker 1: the port has 1, counted from 0"
        );
        let closure = refused.into_closure();
        let there = ctx.clone();
        let asked = std::thread::spawn(move || there.spawn_on(0, closure).unwrap());
        asked.join().unwrap().await.unwrap()
    });
    assert_eq!(answer.unwrap(), "kept");
}
