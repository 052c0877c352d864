//! `run_each`: an application on several lcores, over one port with several queues. With the kernel as the peer (needs root), and
//! over rings.

mod common;

use std::future::Future;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use common::eal_builder;
use common::kernel::{KERNEL, OURS, app_facing_kernel, kernel_up};
use dpdk_net::net::{ListenerGroup, TcpListener, TcpStream, UdpSocket};
use dpdk_net::packet::{FiveTuple, Protocol};
use dpdk_net::rte::Eal;
use dpdk_net::rte::lcore::LcoreId;
use dpdk_net::runtime::{RuntimeKind, spawn_local};
use dpdk_net::time::{sleep, timeout};
use dpdk_net::{AppBuilder, Context, Error, FlowPolicy, PinTarget, WorkerStats, pin};
use dpdk_net_testkit::addr::Family;
use dpdk_net_testkit::bed::{Netns, Veth, disable_tx_offloads};
use dpdk_net_testkit::flow::{Fate, FlowTable};
use dpdk_net_testkit::frames::{Path, Segment};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PORT: u16 = 7;
const QUEUES: u16 = 4;
/// No step may take longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// Four lcores on two CPUs.
const LCORES: &str = "0@0,1@0,2@1,3@1";

fn eal(vdev: &str) -> Eal {
    let builder = eal_builder().lcores(LCORES).memory_mb(512);
    builder.keep_affinity().vdev(vdev).init().unwrap()
}

fn app(eal: Eal) -> AppBuilder {
    app_facing_kernel(eal).drain_timeout(Duration::from_secs(5))
}

/// What all queues returned.
fn all<T>(outcome: Result<Vec<Result<T, Error>>, Error>) -> Vec<T> {
    let all = outcome.and_then(|queues| queues.into_iter().collect());
    all.unwrap()
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it takes too long")
}

fn pattern(number: usize) -> Vec<u8> {
    (0..20_000)
        .map(|at| (at * 3 + at / 256 + number) as u8)
        .collect()
}

/// Connections that each queue's listener accepted.
static SERVED: [AtomicUsize; QUEUES as usize] = [const { AtomicUsize::new(0) }; QUEUES as usize];

/// Listeners that are there: what is asked before is refused, with a reset.
static LISTENING: AtomicUsize = AtomicUsize::new(0);

/// Accepts and echoes until the peer closes, for ever.
async fn serve(listener: TcpListener, served: &'static AtomicUsize) {
    while let Ok((mut stream, _)) = listener.accept().await {
        served.fetch_add(1, Ordering::Relaxed);
        let echo = spawn_local(async move {
            let (mut rx, mut tx) = stream.split();
            let _ = tokio::io::copy(&mut rx, &mut tx).await;
        });
        echo.unwrap();
    }
}

/// The kernel's side of an echo: connects, as soon as somebody listens, sends, reads back.
fn ask(address: SocketAddr, number: usize) {
    let end = std::time::Instant::now() + PATIENCE;
    let mut stream = loop {
        match std::net::TcpStream::connect_timeout(&address, PATIENCE) {
            Err(error)
                if error.kind() == std::io::ErrorKind::ConnectionRefused
                    && std::time::Instant::now() < end =>
            {
                std::thread::sleep(Duration::from_millis(1));
            }
            other => break other.unwrap(),
        }
    };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let sent = pattern(number);
    let mut back = vec![0; sent.len()];
    stream.write_all(&sent).unwrap();
    stream.read_exact(&mut back).unwrap();
    assert!(back == sent, "connection {number} came back changed");
}

/// A kernel host at the other end of a device of ours with several queues.
struct Bed {
    kernel: Netns,
    eal: Eal,
    /// What the device hangs on.
    _wire: Option<(Veth, Netns)>,
}

impl Bed {
    /// A cable whose near end has a packet socket for each queue.
    fn af_packet(queues: u16) -> Self {
        let (kernel, ours) = (Netns::new().unwrap(), Netns::new().unwrap());
        let cable = Veth::new(Some(&ours), Some(&kernel)).unwrap();
        disable_tx_offloads(Some(&kernel), cable.right()).unwrap();
        ours.enter().unwrap();
        let eal = eal(&format!(
            "net_af_packet0,iface={},qpairs={queues}",
            cable.left()
        ));
        let interface = cable.right().to_owned();
        Self::over(kernel, eal, &interface, Some((cable, ours)))
    }

    /// The kernel's interface of net_tap, with as many queues as are configured.
    fn tap() -> Self {
        let kernel = Netns::new().unwrap();
        kernel.enter().unwrap();
        let eal = eal("net_tap0,iface=tp0");
        Self::over(kernel, eal, "tp0", None)
    }

    fn over(kernel: Netns, eal: Eal, interface: &str, wire: Option<(Veth, Netns)>) -> Self {
        kernel_up(&kernel, interface);
        Self {
            kernel,
            eal,
            _wire: wire,
        }
    }
}

/// Connections that the kernel makes over each family; `DPDK_NET_FLEET_CONNECTIONS=10000` is what a release is tried with.
fn connections() -> usize {
    let all = std::env::var("DPDK_NET_FLEET_CONNECTIONS").ok();
    all.and_then(|all| all.parse::<usize>().ok()).unwrap_or(400) / 2
}

/// What there is to be said of a run: packets that were handed over.
struct Outcome {
    handed_over: u64,
}

/// As many lcores as queues serve the kernel's connections and make their own to it, over both families.
fn serve_and_connect(bed: &Bed, queues: u16) -> Outcome {
    const EACH: usize = 40;
    let connections = connections();
    let kernel_done = AtomicBool::new(false);
    let app = app(bed.eal.clone()).workers(queues);
    let outcome = std::thread::scope(|scope| {
        // The kernel's side: it connects to both families, and echoes what connects to it.
        let echoes = Family::BOTH.map(|family| {
            let address = family.socket(KERNEL, PORT);
            let listener = bed
                .kernel
                .spawn(move || std::net::TcpListener::bind(address).unwrap());
            listener.join().unwrap()
        });
        let expected = EACH * usize::from(queues);
        for listener in echoes {
            scope.spawn(move || {
                for _ in 0..expected {
                    let (mut stream, _) = listener.accept().unwrap();
                    std::thread::spawn(move || {
                        let mut rx = stream.try_clone().unwrap();
                        let _ = std::io::copy(&mut rx, &mut stream);
                    });
                }
            });
        }
        let netns = &bed.kernel;
        let kernel_done = &kernel_done;
        scope.spawn(move || {
            let end = std::time::Instant::now() + PATIENCE;
            while LISTENING.load(Ordering::Relaxed) < usize::from(queues) {
                assert!(std::time::Instant::now() < end, "nobody listens");
                std::thread::sleep(Duration::from_millis(1));
            }
            for family in Family::BOTH {
                let address = family.socket(OURS, PORT);
                for first in (0..connections).step_by(20) {
                    let asking: Vec<_> = (first..connections.min(first + 20))
                        .map(|number| netns.spawn(move || ask(address, number)))
                        .collect();
                    for asked in asking {
                        asked.join().unwrap();
                    }
                }
            }
            kernel_done.store(true, Ordering::Relaxed);
        });
        app.run_each(|ctx: Context| async move {
            let lcore = LcoreId::current().unwrap();
            let queue = usize::from(ctx.queue());
            assert_eq!(ctx.handles().len(), usize::from(queues));
            for family in Family::BOTH {
                let address = family.socket(OURS, PORT);
                let listener = TcpListener::bind(address).await.unwrap();
                tokio::task::spawn_local(serve(listener, &SERVED[queue]));
            }
            LISTENING.fetch_add(1, Ordering::Relaxed);
            for family in Family::BOTH {
                for number in 0..EACH {
                    let address = family.socket(KERNEL, PORT);
                    let mut stream = in_time(TcpStream::connect(address)).await.unwrap();
                    let sent = pattern(number + queue * 1_000);
                    let mut back = vec![0; sent.len()];
                    in_time(stream.write_all(&sent)).await.unwrap();
                    in_time(stream.read_exact(&mut back)).await.unwrap();
                    assert!(back == sent);
                }
            }
            while !kernel_done.load(Ordering::Relaxed) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let stats = ctx.stats();
            // A pool for each queue, one for all, and two to send from by reference for each.
            let level = |name: &str| stats.mempools.iter().find(|pool| pool.name.ends_with(name));
            let own = level(&format!("-{queue}")).unwrap();
            assert!(own.in_use > 0 && own.in_use < own.capacity, "{own:?}");
            assert_eq!(level("-all").unwrap().in_use, 0);
            (lcore, stats.worker, stats.stack.tcp.tx_resets)
        })
    });
    let outcome = all(outcome);
    let lcores: Vec<u32> = outcome.iter().map(|(lcore, ..)| lcore.index()).collect();
    let expected: Vec<u32> = (0..u32::from(queues)).collect();
    assert_eq!(lcores, expected, "a queue each, in order");
    let served = SERVED.iter().take(queues.into());
    let served: Vec<usize> = served.map(|n| n.load(Ordering::Relaxed)).collect();
    assert_eq!(served.iter().sum::<usize>(), 2 * connections);
    assert!(
        served.iter().all(|n| *n > 0),
        "the kernel spreads flows: {served:?}"
    );
    let sum = |figure: fn(&WorkerStats) -> u64| {
        outcome
            .iter()
            .map(|(_, worker, _)| figure(worker))
            .sum::<u64>()
    };
    assert_eq!(
        sum(|worker| worker.hand_over_full + worker.hand_over_no_mbufs),
        0
    );
    assert!(outcome.iter().all(|(_, _, resets)| *resets == 0));
    Outcome {
        handed_over: sum(|worker| worker.handed_over),
    }
}

#[test]
fn four_lcores_serve_the_kernel_and_connect_to_it_over_af_packet() {
    let outcome = serve_and_connect(&Bed::af_packet(QUEUES), QUEUES);
    // Whatever queue the kernel chose for the answers to our own connections, they came home.
    assert!(outcome.handed_over > 0);
}

#[test]
fn two_lcores_serve_the_kernel_and_connect_to_it_over_af_packet() {
    let outcome = serve_and_connect(&Bed::af_packet(2), 2);
    assert!(outcome.handed_over > 0);
}

#[test]
fn four_lcores_serve_the_kernel_and_connect_to_it_over_tap() {
    // The kernel sends a flow to the queue that last sent for it.
    serve_and_connect(&Bed::tap(), QUEUES);
}

#[test]
fn one_listener_on_all_queues_and_one_socket_on_one_serve_the_kernel() {
    let bed = Bed::af_packet(QUEUES);
    let kernel = bed.kernel.spawn(|| {
        let address = Family::V4.socket(OURS, PORT);
        (0..60).for_each(|number| ask(address, number));
        let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        for number in 0..60u8 {
            // Each from another port, so that they come to all queues.
            let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.send_to(&[number], address).unwrap();
            let mut back = [0; 8];
            let (len, _) = socket.recv_from(&mut back).unwrap();
            assert_eq!(back[..len], [number]);
        }
    });
    let outcome = app(bed.eal.clone()).run_each(|ctx: Context| {
        let kernel = &kernel;
        async move {
            if ctx.queue() == 2 {
                let all = ListenerGroup::bind(ctx.handles(), ("0.0.0.0", PORT))
                    .await
                    .unwrap();
                assert_eq!(all.listeners().len(), usize::from(QUEUES));
                let socket = UdpSocket::bind(("0.0.0.0", PORT)).await.unwrap();
                tokio::task::spawn_local(async move {
                    let mut buf = [0; 2_048];
                    while let Ok((len, from)) = socket.recv_from(&mut buf).await {
                        socket.send_to(&buf[..len], from).await.unwrap();
                    }
                });
                tokio::task::spawn_local(async move {
                    while let Ok((mut stream, _)) = all.accept().await {
                        tokio::spawn(async move {
                            let (mut rx, mut tx) = stream.split();
                            let _ = tokio::io::copy(&mut rx, &mut tx).await;
                        });
                    }
                });
            }
            in_time(async {
                while !kernel.is_finished() {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
            .await;
            ctx.stats().stack.tcp.passive_opens
        }
    });
    kernel.join().unwrap();
    let accepted = all(outcome);
    assert_eq!(accepted.iter().sum::<u64>(), 60);
    assert!(
        accepted.iter().filter(|n| **n > 0).count() > 1,
        "{accepted:?}"
    );
}

/// Serves 100 connections of the kernel; on which lcores, by queue.
fn serve_a_hundred(bed: &Bed, change: impl FnOnce(AppBuilder) -> AppBuilder) -> Vec<u32> {
    let kernel = bed.kernel.spawn(|| {
        (0..100).for_each(|number| ask(Family::V6.socket(OURS, PORT), number));
    });
    let outcome = change(app(bed.eal.clone())).run_each(|ctx: Context| {
        let kernel = &kernel;
        async move {
            let listener = TcpListener::bind(("::", PORT)).await.unwrap();
            spawn_local(serve(listener, &SERVED[0])).unwrap();
            in_time(async {
                while !kernel.is_finished() {
                    sleep(Duration::from_millis(5)).await;
                }
            })
            .await;
            let accepted = ctx.stats().stack.tcp.passive_opens;
            (LcoreId::current().unwrap().index(), accepted)
        }
    });
    kernel.join().unwrap();
    let outcome = all(outcome);
    let accepted = outcome.iter().map(|(_, accepted)| accepted);
    assert_eq!(accepted.sum::<u64>(), 100);
    outcome.into_iter().map(|(lcore, _)| lcore).collect()
}

#[test]
fn two_lcores_serve_four_queues() {
    let bed = Bed::af_packet(QUEUES);
    let lcores = serve_a_hundred(&bed, |app| app.workers(2).queues(QUEUES));
    assert_eq!(lcores, [0, 1, 0, 1]);
}

#[test]
fn four_lcores_serve_six_queues() {
    let bed = Bed::af_packet(6);
    let lcores = serve_a_hundred(&bed, |app| app.queues(6));
    assert_eq!(lcores, [0, 1, 2, 3, 0, 1]);
}

fn two_lcores_serve_two_queues_on(runtime: RuntimeKind) {
    let bed = Bed::af_packet(2);
    let lcores = serve_a_hundred(&bed, |app| app.workers(2).runtime(runtime));
    assert_eq!(lcores, [0, 1]);
}

#[test]
fn two_lcores_serve_two_queues_on_our_executor() {
    two_lcores_serve_two_queues_on(RuntimeKind::Local);
}

#[cfg(feature = "smol")]
#[test]
fn two_lcores_serve_two_queues_on_smol() {
    two_lcores_serve_two_queues_on(RuntimeKind::Smol);
}

#[cfg(feature = "compio")]
#[test]
fn two_lcores_serve_two_queues_on_compio() {
    two_lcores_serve_two_queues_on(RuntimeKind::Compio);
}

#[test]
fn a_port_with_fewer_queues_than_lcores_is_served_by_as_many_as_it_has() {
    let bed = Bed::af_packet(2);
    let lcores = serve_a_hundred(&bed, |app| app);
    assert_eq!(lcores, [0, 1], "two are idle");
    // What was idle is free.
    let idle: Vec<_> = bed.eal.worker_lcores().skip(1).collect();
    let ran = bed.eal.scope(|scope| {
        let launch = |lcore| scope.launch(lcore, || LcoreId::current().unwrap().index());
        let launched: Vec<_> = idle.iter().map(|lcore| launch(lcore).unwrap()).collect();
        let joined = launched.into_iter().map(|task| task.join().unwrap());
        joined.collect::<Vec<u32>>()
    });
    assert_eq!(ran.unwrap(), [2, 3]);
}

#[test]
fn what_one_queue_has_returned_comes_back_though_another_one_is_stopped() {
    let eal = eal("net_null0");
    let outcome = app(eal)
        .link_timeout(Duration::ZERO)
        .drain_timeout(Duration::ZERO)
        .workers(3)
        .run_each(|ctx: Context| async move {
            match ctx.queue() {
                0 => return "early",
                1 => ctx.request_shutdown(),
                _ => {}
            }
            // It never returns, and has not asked to be told.
            std::future::pending().await
        });
    let outcome = outcome.unwrap();
    assert!(
        matches!(
            outcome[..],
            [
                Ok("early"),
                Err(Error::Stopped {
                    signal: "request_shutdown"
                }),
                Err(Error::Stopped { .. })
            ]
        ),
        "{outcome:?}"
    );
}

#[test]
fn more_workers_than_lcores_and_more_queues_than_the_port_has_are_refused_with_words() {
    let eal = eal("net_null0");
    for name in ["net_null1", "net_null2"] {
        eal.create_vdev(name, "").unwrap();
    }
    let refused = |number: u8, change: fn(AppBuilder) -> AppBuilder| {
        // A port that was refused is closed.
        let app = app(eal.clone()).port(format!("net_null{number}"));
        match change(app).run_each(|_| async {}) {
            Err(error @ (Error::BadValue { .. } | Error::BadQueues { .. })) => error.to_string(),
            other => panic!("{other:?}"),
        }
    };
    let workers = refused(0, |app| app.workers(5));
    assert!(workers.contains("EAL has 4 lcores"), "{workers}");
    let queues = refused(1, |app| app.queues(5_000));
    assert!(queues.contains("has 1 to"), "{queues}");
    let none = refused(2, |app| app.workers(0));
    assert!(none.contains("number of workers is 0"), "{none}");
}

#[test]
fn a_request_on_one_queue_ends_all_and_what_each_returned_comes_back() {
    let eal = eal("net_null0");
    let outcome =
        app(eal)
            .link_timeout(Duration::ZERO)
            .workers(3)
            .run_each(|ctx: Context| async move {
                if ctx.queue() == 1 {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    ctx.request_shutdown();
                }
                ctx.shutdown().await;
                ctx.queue() * 10
            });
    assert_eq!(all(outcome), [0, 10, 20]);
}

#[test]
fn a_port_without_flow_rules_hands_over_or_says_why_not() {
    let eal = eal("net_null0");
    for name in ["net_null1", "net_null2"] {
        eal.create_vdev(name, "").unwrap();
    }
    let run = |number: u8, policy| {
        let target = PinTarget::Port(Protocol::Tcp, "198.18.0.2:80".parse().unwrap());
        let outcome = app(eal.clone())
            .port(format!("net_null{number}"))
            .link_timeout(Duration::ZERO)
            .workers(2)
            .flow_rules(policy)
            .run_each(|ctx: Context| async move {
                let pinned = ctx.pin(&target);
                match pinned {
                    Ok(pin) => Ok((pin.rule().is_some(), pin.refused().map(str::to_owned))),
                    Err(error) => Err(error.to_string()),
                }
            });
        all(outcome).remove(1)
    };
    assert_eq!(run(0, FlowPolicy::Off), Ok((false, None)));
    let (ruled, refused) = run(1, FlowPolicy::Prefer).unwrap();
    assert!(!ruled && refused.unwrap().contains("ENOSYS"));
    let error = run(2, FlowPolicy::Pin).unwrap_err();
    assert!(error.contains("ENOSYS"), "{error}");
}

#[test]
fn a_pinned_flow_comes_to_its_queue_for_as_long_as_it_is_pinned() {
    for family in Family::BOTH {
        let nic = FlowTable::new(4);
        let flow = FiveTuple {
            protocol: Protocol::Tcp,
            src: family.socket(KERNEL, 5_000),
            dst: family.socket(OURS, 80),
        };
        let pinned = pin(&nic, FlowPolicy::Pin, &PinTarget::Flow(flow), 3).unwrap();
        let any = match family {
            Family::V4 => "0.0.0.0:53",
            Family::V6 => "[::]:53",
        };
        let dns = PinTarget::Port(Protocol::Udp, any.parse().unwrap());
        let all = pin(&nic, FlowPolicy::Prefer, &dns, 1).unwrap();
        let ends = Path::new(family, KERNEL, OURS);
        let tcp = |src_port| {
            ends.tcp(&Segment {
                src_port,
                dst_port: 80,
                ..Segment::default()
            })
        };
        assert_eq!(nic.classify(&tcp(5_000)).fate, Fate::Queue(3));
        assert_eq!(nic.classify(&tcp(5_001)).fate, Fate::NoRule);
        assert_eq!(
            nic.classify(&ends.udp(5_001, 53, b"?")).fate,
            Fate::Queue(1)
        );
        drop((pinned, all));
        assert!(nic.rules().is_empty());
        assert_eq!(nic.classify(&tcp(5_000)).fate, Fate::NoRule);
        let icmp = PinTarget::Port(Protocol::Icmp, flow.dst);
        let error = pin(&nic, FlowPolicy::Prefer, &icmp, 0).unwrap_err();
        assert!(error.to_string().contains("only TCP and UDP"), "{error}");
        // A table that is full: the flow is handed over, or it is an error.
        let full = FlowTable::new(4).with_capacity(0);
        let left = pin(&full, FlowPolicy::Prefer, &PinTarget::Flow(flow), 3).unwrap();
        assert!(left.rule().is_none() && left.refused().is_some());
        assert!(pin(&full, FlowPolicy::Pin, &PinTarget::Flow(flow), 3).is_err());
    }
}
