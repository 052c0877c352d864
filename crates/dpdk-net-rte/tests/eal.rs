//! Starting DPDK: what is refused and how, that it starts once, and that it stays as long as anybody holds it.

mod common;

use std::path::Path;
use std::process::{Command, Output};

use dpdk_net_rte::lcore::LcoreRole;
use dpdk_net_rte::{Eal, Errno, Error, IovaMode, Lcore, LcoreId, tsc};

/// Runs another test of this file, one that is ignored otherwise, in a process of its own.
fn child(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("it has a path"));
    command.args(["--exact", test, "--ignored", "--nocapture"]);
    command
}

fn assert_child_passed(output: std::io::Result<Output>) {
    let output = output.expect("the command can be run");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains("1 passed"),
        "{text}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// What `sched_getaffinity` says of the calling thread.
fn cpus() -> Vec<usize> {
    // SAFETY: an all-zero cpu_set_t is the empty set.
    let mut set: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: `set` is writable and of the size given.
    let rc = unsafe { libc::sched_getaffinity(0, size_of::<libc::cpu_set_t>(), &mut set) };
    assert_eq!(rc, 0);
    (0..libc::CPU_SETSIZE as usize)
        // SAFETY: the number is below CPU_SETSIZE.
        .filter(|&cpu| unsafe { libc::CPU_ISSET(cpu, &set) })
        .collect()
}

#[test]
fn an_eal_says_what_it_runs_on() {
    let eal = common::builder().lcores("0@0").init().expect("it starts");
    assert!(Eal::dpdk_version().starts_with("DPDK "));
    assert_eq!(eal.program(), "test");
    assert!(eal.arguments().contains(&"--no-huge".to_owned()));
    assert!(!eal.has_hugepages());
    assert_eq!(eal.iova_mode(), Some(IovaMode::Virtual));
    let name = format!("dn-test-{}", std::process::id());
    assert!(eal.runtime_dir().ends_with(name));
}

#[test]
fn the_eal_starts_once_even_after_cleanup() {
    let eal = common::builder().lcores("0@0").init().expect("it starts");
    let state = |expected: &str| match common::builder().lcores("0@0").init() {
        Err(Error::EalAlreadyStarted { state }) => assert_eq!(state, expected),
        other => panic!("{other:?}"),
    };
    state("it is running");
    let clone = eal.clone();
    drop(eal);
    state("it is running");
    // The one that is left still works.
    assert_eq!(clone.main_lcore().role(), LcoreRole::Rte);
    drop(clone);
    state("it was cleaned up since");
}

#[test]
fn whatever_comes_from_the_eal_keeps_it() {
    let eal = common::builder()
        .lcores("0@0,1@0")
        .init()
        .expect("it starts");
    let lcore: Lcore = eal.worker_lcores().next().expect("there is one");
    drop(eal);
    assert_eq!(lcore.run(LcoreId::current), Ok(Some(lcore.id())));
    let handle = lcore.launch(|| 5).expect("idle");
    drop(lcore);
    assert_eq!(handle.join(), Ok(5));
}

#[test]
fn a_refused_option_leaves_the_process_free_to_start() {
    let refused = common::builder().in_memory().init();
    assert!(
        matches!(refused, Err(Error::EalOption { .. })),
        "{refused:?}"
    );
    let refused = common::builder().lcores("0@x").init();
    assert!(
        matches!(refused, Err(Error::EalOption { .. })),
        "{refused:?}"
    );
    let refused = common::builder().arg("--vdev=net_null0\0").init();
    assert!(
        matches!(refused, Err(Error::EalOption { .. })),
        "{refused:?}"
    );
    let refused = common::builder()
        .vdev("net_af_packet0,iface=no-such-if")
        .init();
    assert!(
        matches!(refused, Err(Error::Environment { .. })),
        "{refused:?}"
    );
    common::builder().lcores("0@0").init().expect("it starts");
}

#[test]
fn a_virtual_device_without_driver_is_named_with_those_there_are() {
    let error = common::builder()
        .lcores("0@0")
        .vdev("net_null0")
        .vdev("net_nosuch0,iface=x")
        .init()
        .expect_err("there is no such driver");
    assert_eq!(error.errno(), Some(Errno(libc::ENODEV)));
    let text = error.to_string();
    assert!(
        text.contains("--vdev=net_nosuch0,iface=x: no driver"),
        "{text}"
    );
    assert!(text.contains("net_tap"), "{text}");
    match common::builder().lcores("0@0").init() {
        Err(Error::EalAlreadyStarted { state }) => assert_eq!(state, "that start failed"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_device_that_does_not_come_up_fails_the_start_with_dpdks_words() {
    let error = common::builder()
        .lcores("0@0")
        .vdev("net_null0")
        .vdev("net_memif0,role=nonsense")
        .init()
        .expect_err("memif knows no such role");
    let Error::DeviceFailed { device, log, .. } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(device, "net_memif0");
    assert!(log.iter().any(|line| line.contains("nonsense")), "{log:?}");
}

#[test]
fn an_option_that_dpdk_refuses_is_explained_with_its_log() {
    let error = common::builder()
        .lcores("0@0")
        .arg("--main-lcore=0")
        .arg("--base-virtaddr=nonsense")
        .init()
        .expect_err("not an address");
    let Error::EalInit { log, .. } = &error else {
        panic!("{error:?}");
    };
    assert!(!log.is_empty());
    assert!(error.to_string().contains("EINVAL"), "{error}");
}

#[test]
fn lcores_may_be_given_one_by_one_with_their_cpus() {
    let eal = common::builder()
        .lcore_map(LcoreId::new(2), [0])
        .lcore_map(LcoreId::new(9), [0])
        .init()
        .expect("it starts");
    let ids: Vec<u32> = eal.lcores().map(|lcore| lcore.id().index()).collect();
    assert_eq!(ids, [2, 9]);
}

#[test]
fn starting_pins_the_thread_to_the_main_lcores_cpu() {
    common::builder().lcores("0@0").init().expect("it starts");
    assert_eq!(cpus(), [0]);
}

#[test]
fn a_thread_that_keeps_its_affinity_is_not_pinned() {
    let before = cpus();
    let eal = common::builder().lcores("0@0").keep_affinity().init();
    let eal = eal.expect("it starts");
    assert_eq!(cpus(), before);
    let main = eal.main_lcore();
    assert_eq!(eal.current_lcore(), Some(main));
}

#[test]
fn the_clock_runs_at_the_speed_of_the_systems() {
    let eal = common::builder().lcores("0@0").init().expect("it starts");
    assert!(tsc::hz(&eal) > 1_000_000);
    // Read between two readings of the system's clock: however long this thread is not on its CPU meanwhile.
    let before = std::time::Instant::now();
    let clock = tsc::TscClock::new(&eal);
    let after = std::time::Instant::now();
    let mut last = 0;
    while after.elapsed().as_millis() < 100 {
        let now = clock.nanos();
        assert!(now >= last);
        last = now;
    }
    let least = after.elapsed().as_nanos() as f64;
    let ours = clock.nanos() as f64;
    let most = before.elapsed().as_nanos() as f64;
    assert!(
        (least * 0.98..=most * 1.02).contains(&ours),
        "{ours} ns, {least} to {most} ns by the system's clock"
    );
}

#[test]
fn a_thread_of_the_program_registers_and_leaves() {
    let eal = common::builder().lcores("0@0").init().expect("it starts");
    let registered = eal.register_thread().expect_err("the main lcore is one");
    assert_eq!(
        registered,
        Error::AlreadyLcore {
            lcore: LcoreId::new(0)
        }
    );
    let id = std::thread::scope(|threads| {
        let thread = threads.spawn(|| {
            let registration = eal.register_thread().expect("there are numbers left");
            let id = registration.lcore().id();
            assert_eq!(LcoreId::current(), Some(id));
            assert_eq!(registration.lcore().role(), LcoreRole::NonEal);
            // Neither a second time, nor as a place to launch on.
            let again = eal.register_thread().map(drop);
            assert_eq!(again, Err(Error::AlreadyLcore { lcore: id }));
            let launched = registration.lcore().launch(|| ()).map(drop);
            assert_eq!(launched, Err(Error::NotAWorker { lcore: id }));
            assert!(eal.lcores().all(|lcore| lcore.id() != id));
            drop(registration);
            assert_eq!(LcoreId::current(), None);
            id
        });
        thread.join().expect("no panic")
    });
    assert_eq!(eal.lcore(id), None);
}

#[test]
fn a_registration_keeps_the_eal() {
    let eal = common::builder().lcores("0@0").init().expect("it starts");
    std::thread::spawn(move || {
        let registration = eal.register_thread().expect("there are numbers left");
        drop(eal);
        let again = common::builder().lcores("0@0").init();
        assert!(
            matches!(again, Err(Error::EalAlreadyStarted { state }) if state == "it is running")
        );
        drop(registration);
    })
    .join()
    .expect("no panic");
}

#[test]
fn numbers_for_threads_run_out_with_an_error() {
    let eal = common::builder().lcores("0@0").init().expect("it starts");
    let all = std::sync::Barrier::new(LcoreId::LIMIT as usize + 4);
    let refused = std::thread::scope(|threads| {
        let threads: Vec<_> = (0..LcoreId::LIMIT + 4)
            .map(|_| {
                threads.spawn(|| {
                    let registration = eal.register_thread();
                    all.wait();
                    registration.map(drop)
                })
            })
            .collect();
        let results = threads
            .into_iter()
            .map(|thread| thread.join().expect("no panic"));
        results.filter_map(Result::err).collect::<Vec<_>>()
    });
    // The main lcore has one.
    assert_eq!(refused.len(), 5);
    for error in refused {
        assert!(
            error.to_string().contains("end some registrations"),
            "{error}"
        );
    }
}

#[test]
fn two_processes_with_one_file_prefix_are_told_apart() {
    let prefix = format!("dn-shared-{}", std::process::id());
    let eal = Eal::builder("first")
        .no_huge()
        .memory_mb(64)
        .no_pci()
        .no_telemetry();
    let eal = eal
        .file_prefix(&prefix)
        .lcores("0@0")
        .init()
        .expect("it starts");
    let dir = eal.runtime_dir();
    let output = child("child_with_a_prefix_in_use")
        .env("DN_PREFIX", &prefix)
        .output();
    assert_child_passed(output);
    drop(eal);
    std::fs::remove_dir_all(&dir).expect("DPDK made it");
}

#[test]
#[ignore = "run by two_processes_with_one_file_prefix_are_told_apart"]
fn child_with_a_prefix_in_use() {
    let prefix = std::env::var("DN_PREFIX").expect("the parent sets it");
    let second = Eal::builder("second")
        .no_huge()
        .memory_mb(64)
        .no_pci()
        .no_telemetry();
    let second = second.file_prefix(prefix).lcores("0@0").init();
    let error = second.expect_err("the first holds the lock").to_string();
    assert!(error.contains("Another DPDK process"), "{error}");
}

#[test]
fn nothing_of_a_process_without_shared_files_is_left() {
    let output = child("child_that_prints_its_directory").output();
    let text = String::from_utf8_lossy(&output.as_ref().expect("it runs").stdout).into_owned();
    assert_child_passed(output);
    let dir = text.lines().find_map(|line| line.strip_prefix("DIR "));
    let dir = dir.expect("the child prints it");
    assert!(!Path::new(dir).exists(), "{dir} is left");
}

#[test]
#[ignore = "run by nothing_of_a_process_without_shared_files_is_left"]
fn child_that_prints_its_directory() {
    // With telemetry, whose socket is in that directory until DPDK's exit handler.
    let eal = Eal::builder("child")
        .no_huge()
        .memory_mb(64)
        .no_pci()
        .no_shconf();
    let eal = eal.file_prefix(format!("dn-left-{}", std::process::id()));
    let eal = eal.lcores("0@0").init().expect("it starts");
    assert!(eal.runtime_dir().exists());
    // On a line of its own, after what the test harness printed.
    println!("\nDIR {}", eal.runtime_dir().display());
}

#[test]
fn a_tap_without_privilege_says_how_to_get_it() {
    let before = capabilities(None);
    capabilities(Some([0, 0]));
    let tap = common::builder()
        .lcores("0@0")
        .vdev("net_tap0,iface=dntap0")
        .init();
    let packet = common::builder()
        .lcores("0@0")
        .vdev("net_af_packet0,iface=lo")
        .init();
    capabilities(Some(before));
    let error = tap.expect_err("no CAP_NET_ADMIN").to_string();
    assert!(
        error.contains("CAP_NET_ADMIN") && error.contains("unshare -Urn"),
        "{error}"
    );
    let error = packet.expect_err("no CAP_NET_RAW").to_string();
    assert!(
        error.contains("CAP_NET_RAW") && error.contains("unshare -Urn"),
        "{error}"
    );
}

/// The effective capabilities of the calling thread; sets them first if asked.
fn capabilities(set: Option<[u32; 2]>) -> [u32; 2] {
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    struct Data {
        effective: u32,
        permitted: u32,
        inheritable: u32,
    }
    let mut header = Header {
        version: 0x2008_0522,
        pid: 0,
    };
    let mut data = [Data::default(); 2];
    // SAFETY: header and data are those of version 3 of capget(2).
    let rc = unsafe { libc::syscall(libc::SYS_capget, &mut header, data.as_mut_ptr()) };
    assert_eq!(rc, 0);
    if let Some(effective) = set {
        data[0].effective = effective[0];
        data[1].effective = effective[1];
        // SAFETY: the same structures, for capset(2).
        let rc = unsafe { libc::syscall(libc::SYS_capset, &header, data.as_ptr()) };
        assert_eq!(rc, 0);
    }
    [data[0].effective, data[1].effective]
}

#[test]
fn a_tap_without_its_kernel_device_says_how_to_make_it() {
    // A file system over /dev/net in a mount namespace of its own: the device is gone there only.
    let mut command = Command::new("unshare");
    command.args([
        "-Urm",
        "sh",
        "-c",
        "mount -t tmpfs none /dev/net && exec \"$0\" \"$@\"",
    ]);
    let test = child("child_without_dev_net_tun");
    command.arg(test.get_program()).args(test.get_args());
    assert_child_passed(command.output());
}

#[test]
#[ignore = "run by a_tap_without_its_kernel_device_says_how_to_make_it"]
fn child_without_dev_net_tun() {
    let tap = common::builder()
        .lcores("0@0")
        .vdev("net_tap0,iface=dntap0")
        .init();
    let error = tap.expect_err("there is no /dev/net/tun").to_string();
    assert!(
        error.contains("there is no /dev/net/tun") && error.contains("modprobe tun"),
        "{error}"
    );
}
