//! Running functions on lcores: results, borrows, panics, what is refused, and that DPDK outlives what runs.

mod common;

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, mpsc};
use std::time::Duration;

use common::eal_with_workers;
use dpdk_net_rte::lcore::{LaunchBuilder, LaunchHandle, LcoreRole, LcoreState};
use dpdk_net_rte::{Eal, Error, Lcore, LcoreId, SocketId};

fn worker(eal: &Eal, index: usize) -> Lcore {
    eal.worker_lcores()
        .nth(index)
        .expect("there is such a worker")
}

#[test]
fn lcores_are_listed_with_their_roles_and_places() {
    let eal = common::builder()
        .lcores("0@0,3@0,7@0")
        .main_lcore(LcoreId::new(3))
        .init()
        .expect("the EAL starts");
    let ids = |lcores: Vec<Lcore>| -> Vec<u32> { lcores.iter().map(|l| l.id().index()).collect() };
    assert_eq!(ids(eal.lcores().collect()), [0, 3, 7]);
    assert_eq!(ids(eal.worker_lcores().collect()), [0, 7]);
    assert_eq!(eal.main_lcore().id(), LcoreId::new(3));
    assert_eq!(eal.current_lcore(), Some(eal.main_lcore()));
    assert!(eal.main_lcore().is_main() && !eal.main_lcore().is_worker());
    assert_eq!(eal.main_lcore().state(), LcoreState::Running);

    let seven = eal.lcore(LcoreId::new(7)).expect("lcore 7 is there");
    assert_eq!(seven.role(), LcoreRole::Rte);
    assert_eq!(seven.cpus(), [0]);
    assert_eq!(seven.state(), LcoreState::Waiting);
    assert!(eal.sockets().any(|socket| socket == seven.socket_id()));

    assert!(eal.lcore(LcoreId::new(1)).is_none());
    assert!(eal.lcore(LcoreId::new(LcoreId::LIMIT)).is_none());
    assert!(eal.lcore(LcoreId::new(u32::MAX)).is_none());
}

#[test]
fn the_cpus_of_an_lcore_are_those_that_the_list_gives_it() {
    let status = std::fs::read_to_string("/proc/self/status").expect("procfs");
    let open = status
        .lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
    let last = open.and_then(|list| list.trim().rsplit([',', '-']).next()?.parse().ok());
    let last: u32 = last.expect("a CPU");
    let eal = common::builder()
        .lcores(format!("1@0,2@(0,{last}),7@{last}"))
        .init()
        .expect("the EAL starts");
    let several = if last == 0 { vec![0] } else { vec![0, last] };
    let cpus: Vec<_> = eal.lcores().map(|lcore| lcore.cpus()).collect();
    assert_eq!(cpus, [vec![0], several, vec![last]]);
}

#[test]
fn a_thread_of_the_program_is_no_lcore() {
    let eal = eal_with_workers(0);
    let theirs = eal.clone();
    let current = std::thread::spawn(move || theirs.current_lcore()).join();
    assert_eq!(current.expect("no panic"), None);
}

#[test]
fn a_launched_function_runs_on_its_lcore_and_its_result_comes_back() {
    let eal = eal_with_workers(2);
    for lcore in eal.worker_lcores() {
        let handle = lcore.launch(LcoreId::current).expect("the lcore is idle");
        assert_eq!(handle.lcore(), &lcore);
        assert_eq!(handle.join(), Ok(Some(lcore.id())));
    }
}

#[test]
fn an_lcore_takes_the_next_function_as_soon_as_the_last_is_joined() {
    let eal = eal_with_workers(1);
    let lcore = worker(&eal, 0);
    for round in 0..2_000 {
        let handle = lcore.launch(move || round);
        assert_eq!(handle.and_then(|handle| handle.join()), Ok(round));
        assert_eq!(lcore.run(|| round), Ok(round));
        assert_eq!(
            eal.scope(|scope| scope.launch(&lcore, || round)?.join()),
            Ok(Ok(round))
        );
    }
}

#[test]
fn a_busy_lcore_refuses_a_second_function_and_says_so() {
    let eal = eal_with_workers(1);
    let lcore = worker(&eal, 0);
    let (release, released) = mpsc::channel::<()>();
    let handle = lcore.launch(move || released.recv()).expect("idle");
    assert!(!handle.is_finished());
    assert_eq!(lcore.state(), LcoreState::Running);
    let id = lcore.id();
    assert_eq!(
        lcore.launch(|| ()).err(),
        Some(Error::LcoreBusy { lcore: id })
    );
    assert_eq!(lcore.run(|| ()), Err(Error::LcoreBusy { lcore: id }));
    let handle = handle.try_join().expect_err("still running");
    release.send(()).expect("the function waits");
    assert_eq!(handle.join(), Ok(Ok(())));
    lcore.wait().expect("not on the lcore itself");
    assert_eq!(lcore.state(), LcoreState::Waiting);
}

#[test]
fn a_finished_function_is_seen_without_blocking() {
    let eal = eal_with_workers(1);
    let lcore = worker(&eal, 0);
    let handle = lcore.launch(|| 7).expect("idle");
    lcore.wait().expect("not on the lcore itself");
    assert!(handle.is_finished());
    assert_eq!(handle.try_join().ok(), Some(Ok(7)));
}

#[test]
fn a_panic_in_a_launched_function_is_an_error_and_the_lcore_goes_on() {
    let eal = eal_with_workers(1);
    let lcore = worker(&eal, 0);
    let id = lcore.id();
    let handle = lcore.launch(|| -> u8 { panic!("queue {} is gone", 3) });
    let message = "queue 3 is gone".to_owned();
    assert_eq!(
        handle.and_then(|handle| handle.join()),
        Err(Error::Panicked { lcore: id, message })
    );
    lcore.wait().expect("not on the lcore itself");
    assert_eq!(lcore.run(|| 1), Ok(1));
}

#[test]
fn a_result_that_panics_when_dropped_leaves_the_lcore_usable() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    let eal = eal_with_workers(1);
    let lcore = worker(&eal, 0);
    let (release, released) = mpsc::channel::<()>();
    let handle = lcore.launch(move || {
        let _ = released.recv();
        Bomb
    });
    // Without its handle the result is dropped on the lcore.
    drop(handle);
    drop(release);
    lcore.wait().expect("not on the lcore itself");
    assert_eq!(lcore.run(|| 1), Ok(1));
}

#[test]
fn functions_are_launched_on_workers_only() {
    let eal = eal_with_workers(1);
    let main = eal.main_lcore();
    let expected = Error::NotAWorker { lcore: main.id() };
    assert_eq!(main.launch(|| ()).err(), Some(expected.clone()));
    assert_eq!(main.wait(), Err(expected.clone()));
    let scoped = eal.scope(|scope| scope.launch(&main, || ()).err());
    assert_eq!(scoped, Ok(Some(expected)));
    // On itself `run` is a call.
    assert_eq!(main.run(LcoreId::current), Ok(Some(main.id())));
}

#[test]
fn an_lcore_that_would_wait_for_itself_is_told() {
    let eal = eal_with_workers(1);
    let lcore = worker(&eal, 0);
    let id = lcore.id();
    let itself = lcore.clone();
    let all = eal.clone();
    let waits = lcore.run(move || (itself.wait(), all.wait_all_workers()));
    let expected = Err(Error::WaitForSelf { lcore: id });
    assert_eq!(waits, Ok((expected.clone(), expected)));
}

#[test]
fn run_may_borrow_and_returns_what_the_function_returns() {
    let eal = eal_with_workers(1);
    let mut counted = vec![1, 2, 3];
    let sum = worker(&eal, 0).run(|| {
        counted.push(4);
        counted.iter().sum::<i32>()
    });
    assert_eq!(sum, Ok(10));
    assert_eq!(counted, [1, 2, 3, 4]);
}

#[test]
fn scoped_functions_borrow_and_run_at_the_same_time() {
    let eal = eal_with_workers(3);
    let meet = Barrier::new(3);
    let mut parts = [0_u32; 3];
    let ids = eal.scope(|scope| {
        let handles: Vec<_> = eal
            .worker_lcores()
            .zip(parts.iter_mut())
            .map(|(lcore, part)| {
                let meet = &meet;
                scope.launch(&lcore, move || {
                    // None gets past here before all three run.
                    meet.wait();
                    *part = 100;
                    LcoreId::current().map(LcoreId::index)
                })
            })
            .collect::<Result<_, _>>()?;
        handles
            .into_iter()
            .map(|handle| handle.join())
            .collect::<Result<Vec<_>, Error>>()
    });
    assert_eq!(ids, Ok(Ok(vec![Some(1), Some(2), Some(3)])));
    assert_eq!(parts, [100; 3]);
}

#[test]
fn a_scope_waits_for_functions_that_nobody_joins() {
    let eal = eal_with_workers(1);
    let done = AtomicBool::new(false);
    eal.scope(|scope| {
        let handle = scope.launch(&worker(&eal, 0), || {
            std::thread::sleep(Duration::from_millis(50));
            done.store(true, Ordering::Release);
        });
        assert_eq!(
            handle.as_ref().map(|handle| handle.lcore_id()),
            Ok(LcoreId::new(1))
        );
        // Not even a leaked handle lets the scope end early.
        std::mem::forget(handle);
    })
    .expect("nothing panics");
    assert!(done.load(Ordering::Acquire));
}

#[test]
fn a_scope_that_panics_waits_first() {
    let eal = eal_with_workers(1);
    let done = AtomicBool::new(false);
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eal.scope(|scope| {
            let _handle = scope.launch(&worker(&eal, 0), || {
                std::thread::sleep(Duration::from_millis(50));
                done.store(true, Ordering::Release);
            });
            panic!("in the scope");
        })
    }));
    assert!(outcome.is_err());
    assert!(done.load(Ordering::Acquire));
}

#[test]
fn a_panic_that_nobody_joins_is_the_scopes_error() {
    let eal = eal_with_workers(1);
    let lcore = worker(&eal, 0);
    let outcome = eal.scope(|scope| drop(scope.launch(&lcore, || panic!("unseen"))));
    let message = "unseen".to_owned();
    assert_eq!(
        outcome,
        Err(Error::Panicked {
            lcore: lcore.id(),
            message
        })
    );

    // One that is joined is not.
    lcore.wait().expect("not on the lcore itself");
    let outcome = eal.scope(|scope| {
        let handle = scope.launch(&lcore, || panic!("seen"));
        handle.and_then(|handle| handle.join())
    });
    assert!(matches!(outcome, Ok(Err(Error::Panicked { .. }))));
}

#[test]
fn one_function_runs_on_every_worker() {
    let eal = eal_with_workers(3);
    let count = Arc::new(AtomicUsize::new(0));
    let theirs = Arc::clone(&count);
    let group = eal.launch_on_workers(move |lcore| {
        theirs.fetch_add(1, Ordering::Relaxed);
        lcore.id().index()
    });
    let group = group.expect("all are idle");
    assert_eq!(group.len(), 3);
    assert_eq!(group.join(), Ok(vec![1, 2, 3]));
    eal.wait_all_workers().expect("not on a worker");
    assert_eq!(count.load(Ordering::Relaxed), 3);
}

#[test]
fn a_group_is_chosen_by_socket_number_and_idleness() {
    let eal = eal_with_workers(3);
    let socket = worker(&eal, 0).socket_id();
    let ids = |builder: LaunchBuilder| -> Vec<u32> {
        let lcores = builder.lcores().expect("all named are workers");
        lcores.iter().map(|lcore| lcore.id().index()).collect()
    };
    let all = LaunchBuilder::new(&eal);
    assert_eq!(ids(all.clone().on_socket(socket)), [1, 2, 3]);
    assert_eq!(ids(all.clone().limit(2)), [1, 2]);
    assert_eq!(ids(all.clone().among([2, 3].map(LcoreId::new))), [2, 3]);
    let elsewhere = all.clone().on_socket(SocketId::new(31));
    let error = elsewhere.launch(|_| ()).expect_err("no such socket");
    assert!(error.to_string().contains("on NUMA socket 31"), "{error}");
    let main = all.clone().among([eal.main_lcore().id()]);
    assert!(matches!(main.launch(|_| ()), Err(Error::NotAWorker { .. })));

    let (release, released) = mpsc::channel::<()>();
    let busy = worker(&eal, 1)
        .launch(move || released.recv())
        .expect("idle");
    // With one of them busy, nothing at all is launched.
    assert!(matches!(all.launch(|_| ()), Err(Error::LcoreBusy { .. })));
    assert_eq!(worker(&eal, 0).state(), LcoreState::Waiting);
    assert_eq!(ids(all.clone().idle_only()), [1, 3]);
    let group = all.idle_only().launch(|lcore| lcore.id().index());
    let group = group.expect("two are idle");
    assert_eq!((group.len(), group.is_empty()), (2, false));
    let joined = |handle: LaunchHandle<u32>| handle.join();
    let results: Vec<_> = group.into_handles().into_iter().map(joined).collect();
    assert_eq!(results, [Ok(1), Ok(3)]);
    drop(release);
    assert!(busy.join().is_ok());
}

#[test]
fn many_threads_may_fight_over_one_lcore() {
    let eal = eal_with_workers(1);
    let lcore = worker(&eal, 0);
    let ran = AtomicUsize::new(0);
    let launched = AtomicUsize::new(0);
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                for _ in 0..500 {
                    match lcore.run(|| ran.fetch_add(1, Ordering::Relaxed)) {
                        Ok(_) => launched.fetch_add(1, Ordering::Relaxed),
                        Err(Error::LcoreBusy { .. }) => continue,
                        Err(other) => panic!("{other}"),
                    };
                }
            });
        }
    });
    assert!(ran.load(Ordering::Relaxed) > 0);
    assert_eq!(
        ran.load(Ordering::Relaxed),
        launched.load(Ordering::Relaxed)
    );
}

#[test]
fn dpdk_is_not_cleaned_up_under_a_running_function() {
    let eal = eal_with_workers(1);
    let lcore = worker(&eal, 0);
    let (release, released) = mpsc::channel::<()>();
    let (tell, told) = mpsc::channel();
    let handle = lcore.launch(move || {
        let _ = released.recv();
        // No handle but the launch's own is left by now, and DPDK still answers.
        let _ = tell.send(LcoreId::current());
    });
    // The function's own hold on the EAL goes last: cleanup is not on this thread.
    drop((handle, lcore, eal));
    drop(release);
    assert_eq!(told.recv(), Ok(Some(LcoreId::new(1))));
    // Cleaned up once it has ended, on a thread outside of DPDK.
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    let state = loop {
        match common::builder().lcores("0@0").init() {
            Err(Error::EalAlreadyStarted { state }) if state.contains("running") => {}
            Err(Error::EalAlreadyStarted { state }) => break state,
            other => panic!("{other:?}"),
        }
        assert!(std::time::Instant::now() < deadline, "never cleaned up");
        std::thread::sleep(Duration::from_millis(5));
    };
    assert_eq!(state, "it was cleaned up since");
}

#[test]
fn a_refused_function_is_dropped_and_a_launched_one_runs_once() {
    struct CountsDrops(Arc<AtomicUsize>);
    impl Drop for CountsDrops {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let eal = eal_with_workers(1);
    let drops = Arc::new(AtomicUsize::new(0));
    let refused = CountsDrops(Arc::clone(&drops));
    let launched = eal.main_lcore().launch(move || drop(refused));
    assert!(matches!(launched, Err(Error::NotAWorker { .. })));
    assert_eq!(drops.load(Ordering::Relaxed), 1);

    let taken = CountsDrops(Arc::clone(&drops));
    let lcore = worker(&eal, 0);
    // The result carries it back; nobody takes the result.
    drop(lcore.launch(move || taken));
    lcore.wait().expect("not on the lcore itself");
    assert_eq!(drops.load(Ordering::Relaxed), 2);
}

#[test]
fn handles_may_go_to_other_threads() {
    fn is_send_and_sync<T: Send + Sync>() {}
    is_send_and_sync::<Eal>();
    is_send_and_sync::<Lcore>();
    is_send_and_sync::<Error>();
    is_send_and_sync::<dpdk_net_rte::lcore::LaunchHandle<std::cell::Cell<u8>>>();
    is_send_and_sync::<dpdk_net_rte::lcore::Scope<'_, '_>>();
}

#[test]
fn a_result_that_launches_when_dropped_finds_its_lcore_busy() {
    struct Launches(Lcore, mpsc::Sender<Option<Error>>);
    impl Drop for Launches {
        fn drop(&mut self) {
            // Long enough for the waiting thread to be there.
            std::thread::sleep(Duration::from_millis(20));
            assert_eq!(self.0.state(), LcoreState::Running);
            let _ = self.1.send(self.0.launch(|| ()).err());
        }
    }
    let eal = eal_with_workers(1);
    let lcore = worker(&eal, 0);
    let (tell, told) = mpsc::channel();
    let (release, released) = mpsc::channel::<()>();
    let result = Launches(lcore.clone(), tell);
    // Without its handle the result is dropped on the lcore.
    drop(lcore.launch(move || {
        let _ = released.recv();
        result
    }));
    drop(release);
    lcore.wait().expect("not on the lcore itself");
    // The wait was for the result's drop, too.
    let busy = Some(Error::LcoreBusy { lcore: lcore.id() });
    assert_eq!(told.try_recv(), Ok(busy));
    assert_eq!(lcore.run(|| 1), Ok(1));
}
