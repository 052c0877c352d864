//! Names, looked up at dnsmasq in the kernel's namespace, over virtual devices. Needs root.

mod common;

use std::future::Future;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::time::Duration;

use common::kernel::{KERNEL, OURS, app_facing_kernel, eal_facing_kernel, kernel_up};
use dpdk_net::net::{TcpStream, UdpSocket, lookup_host};
use dpdk_net::{AppBuilder, Context, ResolverConfig};
use dpdk_net_testkit::addr::Family;
use dpdk_net_testkit::bed::{Netns, Process, Veth, disable_tx_offloads};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// No step may take longer.
const PATIENCE: Duration = Duration::from_secs(60);
/// Where nobody ever answers, and where nobody is.
const SILENT: u16 = 5_300;
const NOBODY: u16 = 5_301;
/// Addresses of `many.example.org`: in 512 bytes there are some 30.
const MANY: u16 = 120;

/// The kernel with a DNS server at port 53, and an application of ours that faces it.
struct Bed {
    netns: Netns,
    dnsmasq: Process,
    app: AppBuilder,
    /// Bound, so that what is asked there is not refused.
    _silent: [std::net::UdpSocket; 2],
    /// What the device hangs on.
    _wire: Option<(Veth, Netns)>,
}

impl Bed {
    fn tap() -> Self {
        let netns = Netns::new().unwrap();
        netns.enter().unwrap();
        let app = app_facing_kernel(eal_facing_kernel("net_tap0,iface=tp0"));
        Self::over(netns, app, "tp0", None)
    }

    /// A device with two queues, on which the kernel chooses where answers come to; two lcores.
    fn two_queues() -> Self {
        let (kernel, ours) = (Netns::new().unwrap(), Netns::new().unwrap());
        let cable = Veth::new(Some(&ours), Some(&kernel)).unwrap();
        disable_tx_offloads(Some(&kernel), cable.right()).unwrap();
        ours.enter().unwrap();
        let vdev = format!("net_af_packet0,iface={},qpairs=2", cable.left());
        let eal = common::eal_builder().lcores("0@0,1@1").memory_mb(512);
        let eal = eal.keep_affinity().vdev(vdev).init().unwrap();
        let interface = cable.right().to_owned();
        Self::over(
            kernel,
            app_facing_kernel(eal),
            &interface,
            Some((cable, ours)),
        )
    }

    fn over(netns: Netns, app: AppBuilder, interface: &str, wire: Option<(Veth, Netns)>) -> Self {
        kernel_up(&netns, interface);
        let host =
            |name: &str, address: IpAddr| format!("--host-record={name}.example.org,{address}");
        let [v4, v6] = Family::BOTH.map(|family| family.host(KERNEL));
        let mut command: Vec<String> = [
            "dnsmasq",
            "--keep-in-foreground",
            "--conf-file=/dev/null",
            "--pid-file=",
            "--user=root",
            "--no-resolv",
            "--no-hosts",
            "--local=/example.org/",
            "--edns-packet-max=512",
            "--log-queries",
            "--log-facility=-",
            "--local-ttl=600",
        ]
        .map(str::to_owned)
        .into();
        command.extend([
            host("both", v4),
            host("both", v6),
            host("four", v4),
            host("six", v6),
        ]);
        let crowd = Family::V4.host(9);
        command.push(format!("--address=/crowd.example.org/{crowd}"));
        command.push("--cname=alias.example.org,both.example.org".to_owned());
        command.extend((0..MANY).map(|n| host("many", Family::V4.host(1_000 + n))));
        command.extend((0..50).map(|n| host(&format!("host{n}"), Family::V4.host(2_000 + n))));
        let mut dnsmasq = netns.start(&command).unwrap();
        dnsmasq.wait_for("started, version", PATIENCE).unwrap();
        let silent = Family::BOTH.map(|family| {
            let at = family.socket(KERNEL, SILENT);
            let bound = netns.spawn(move || std::net::UdpSocket::bind(at).unwrap());
            bound.join().unwrap()
        });
        Self {
            netns,
            dnsmasq,
            app,
            _silent: silent,
            _wire: wire,
        }
    }

    /// Runs `test` in an application of one worker.
    fn run(self, config: ResolverConfig, test: impl AsyncFn(Context, &mut Process, &Netns)) {
        let (mut dnsmasq, netns) = (self.dnsmasq, self.netns);
        self.app
            .dns(config)
            .run(|ctx| async { in_time(test(ctx, &mut dnsmasq, &netns)).await })
            .unwrap();
    }
}

fn servers<const N: usize>(servers: [SocketAddr; N]) -> ResolverConfig {
    ResolverConfig::with_servers(servers)
}

fn good(family: Family) -> SocketAddr {
    family.socket(KERNEL, 53)
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it takes too long")
}

/// The addresses of `name`, as text.
async fn ips(name: &str) -> std::io::Result<Vec<IpAddr>> {
    let found = lookup_host((name, 80)).await?;
    Ok(found.map(|address| address.ip()).collect())
}

async fn kind(name: &str) -> ErrorKind {
    ips(name).await.unwrap_err().kind()
}

#[test]
fn names_are_looked_up_over_both_families() {
    let [v4, v6] = Family::BOTH.map(|family| family.host(KERNEL));
    Bed::tap().run(servers([]), async |ctx, _, _| {
        for family in Family::BOTH {
            ctx.dns()
                .change(|config| config.servers = vec![good(family)])
                .unwrap();
            // IPv4 first: the IPv6 addresses are unique local ones (RFC 6724 section 2.1).
            assert_eq!(ips("both.example.org").await.unwrap(), [v4, v6]);
            assert_eq!(ips("alias.example.org.").await.unwrap(), [v4, v6]);
            assert_eq!(ips("four.example.org").await.unwrap(), [v4]);
            assert_eq!(ips("six.example.org").await.unwrap(), [v6]);
            let found: Vec<_> = lookup_host("four.example.org:53").await.unwrap().collect();
            assert_eq!(found, [SocketAddr::new(v4, 53)]);
            assert_eq!(kind("none.example.org").await, ErrorKind::NotFound);
            let error = ips("none.example.org").await.unwrap_err().to_string();
            assert!(error.contains("none.example.org"), "{error}");
            assert_eq!(kind("a..b").await, ErrorKind::InvalidInput);
        }
    });
}

#[test]
fn what_was_cut_short_is_asked_for_again_by_tcp() {
    Bed::tap().run(servers([]), async |ctx, _, _| {
        for family in Family::BOTH {
            ctx.dns()
                .change(|config| config.servers = vec![good(family)])
                .unwrap();
            let mut found = ips("many.example.org").await.unwrap();
            found.sort();
            let all: Vec<_> = (0..MANY).map(|n| Family::V4.host(1_000 + n)).collect();
            assert_eq!(found, all);
            assert!(ctx.stats().stack.tcp.active_opens > 0);
        }
    });
}

#[test]
fn a_name_without_its_domain_is_looked_for_in_those_that_are_searched() {
    let mut config = servers([good(Family::V4)]);
    config.search = vec!["example.net".to_owned(), "example.org".to_owned()];
    let v4 = Family::V4.host(KERNEL);
    Bed::tap().run(config, async |_, dnsmasq, _| {
        assert_eq!(ips("four").await.unwrap(), [v4]);
        assert!(
            dnsmasq.stderr().contains("four.example.net"),
            "in their order"
        );
        assert_eq!(ips("four.example.org").await.unwrap(), [v4]);
        // With a dot at the end it is looked up as it is, and is not known.
        let refused = ips("four.").await.unwrap_err();
        assert!(refused.to_string().contains("four."), "{refused}");
        assert!(!dnsmasq.stderr().contains("four.example.org.example"));
    });
}

#[test]
fn what_is_known_already_is_not_asked_for() {
    Bed::tap().run(servers([good(Family::V4)]), async |ctx, dnsmasq, _| {
        for _ in 0..3 {
            ips("four.example.org").await.unwrap();
        }
        let asked = |dnsmasq: &Process| dnsmasq.stderr().matches("query[A] four.").count();
        assert_eq!(asked(dnsmasq), 1);
        // Other settings know nothing yet.
        ctx.dns().change(|config| config.attempts += 1).unwrap();
        ips("four.example.org").await.unwrap();
        assert_eq!(asked(dnsmasq), 2);
        assert!(
            ips("LOCALHOST")
                .await
                .unwrap()
                .iter()
                .all(IpAddr::is_loopback)
        );
        assert!(!dnsmasq.stderr().to_lowercase().contains("localhost"));
    });
}

#[test]
fn without_servers_it_is_said_so_and_servers_may_come_later() {
    Bed::tap().run(ResolverConfig::default(), async |ctx, _, _| {
        let error = ips("four.example.org").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::HostUnreachable);
        let text = error.to_string();
        assert!(
            text.contains("no DNS servers") && text.contains("AppBuilder::dns"),
            "{text}"
        );
        ctx.handle()
            .dns()
            .change(|config| config.servers.push(good(Family::V6)))
            .unwrap();
        assert_eq!(ctx.dns().config().servers, [good(Family::V6)]);
        assert_eq!(ips("four.example.org").await.unwrap().len(), 1);
        ctx.dns().change(|config| config.servers.clear()).unwrap();
        assert_eq!(kind("four.example.org").await, ErrorKind::HostUnreachable);
    });
}

#[test]
fn a_server_that_does_not_answer_is_not_waited_for_where_there_is_another_one() {
    let silent = |family: Family| family.socket(KERNEL, SILENT);
    let nobody = |family: Family| family.socket(KERNEL, NOBODY);
    Bed::tap().run(servers([]), async |ctx, _, _| {
        for family in Family::BOTH {
            let lists = [
                vec![silent(family), good(family)],
                vec![nobody(family), good(family)],
                // Nobody has the address at all.
                vec![family.socket(99, 53), good(family)],
                vec![nobody(family), silent(family), good(family)],
            ];
            for (number, list) in lists.into_iter().enumerate() {
                let change = |config: &mut ResolverConfig| {
                    config.servers = list.clone();
                    config.timeout = Duration::from_secs(3);
                };
                ctx.dns().change(change).unwrap();
                for host in 0..5 {
                    let found = ips(&format!("host{host}.example.org")).await;
                    let expected = Family::V4.host(2_000 + host);
                    assert_eq!(found.unwrap(), [expected], "{number} over {family:?}");
                }
            }
        }
    });
}

#[test]
fn servers_that_do_not_answer_are_given_up_in_time() {
    Bed::tap().run(servers([]), async |ctx, _, _| {
        for family in Family::BOTH {
            let ask = |server: SocketAddr, attempts: usize| {
                let change = |config: &mut ResolverConfig| {
                    config.servers = vec![server];
                    config.timeout = Duration::from_millis(300);
                    config.attempts = attempts;
                };
                ctx.dns().change(change).unwrap();
            };
            ask(family.socket(KERNEL, SILENT), 2);
            let error = ips("four.example.org").await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
            // Said at once by its host.
            ask(family.socket(KERNEL, NOBODY), 1);
            let error = ips("four.example.org").await.unwrap_err();
            assert_ne!(error.kind(), ErrorKind::NotFound, "{error}");
        }
    });
}

#[test]
fn a_lookup_that_is_dropped_leaves_nothing_behind() {
    let mut config = servers([Family::V4.socket(KERNEL, SILENT)]);
    config.timeout = PATIENCE;
    Bed::tap().run(config, async |ctx, _, _| {
        let free = free_ports().await;
        for number in 0..500 {
            let name = format!("host{number}.example.org");
            let mut lookup = pin!(ips(&name));
            // Far enough that the question is on its way.
            let sent = ctx.stats().stack.udp.sent;
            while ctx.stats().stack.udp.sent == sent {
                tokio::select! {
                    biased;
                    found = &mut lookup => panic!("{found:?}"),
                    () = tokio::task::yield_now() => {}
                }
            }
        }
        ctx.dns()
            .change(|config| config.servers = vec![good(Family::V4)])
            .unwrap();
        assert_eq!(
            ips("host7.example.org").await.unwrap(),
            [Family::V4.host(2_007)]
        );
        assert_eq!(free_ports().await, free, "their ports are free again");
    });
}

/// How many more sockets there may be.
async fn free_ports() -> usize {
    let mut sockets = Vec::new();
    let server = Family::V4.socket(KERNEL, SILENT);
    while let Ok(socket) = UdpSocket::connected(server).await {
        sockets.push(socket);
    }
    sockets.len()
}

#[test]
fn a_crowd_of_lookups_is_answered() {
    Bed::tap().run(servers([good(Family::V4)]), async |_, _, _| {
        let lookups = (0..1_000)
            .map(|n| tokio::spawn(async move { ips(&format!("{n}.crowd.example.org")).await }));
        let lookups: Vec<_> = lookups.collect();
        for (number, lookup) in lookups.into_iter().enumerate() {
            let found = lookup.await.unwrap();
            assert_eq!(found.unwrap(), [Family::V4.host(9)], "{number}");
        }
    });
}

#[test]
fn sockets_connect_to_names() {
    Bed::tap().run(servers([good(Family::V4)]), async |_, _, netns| {
        for (name, family) in [("four", Family::V4), ("six", Family::V6)] {
            let at = family.socket(KERNEL, 7);
            let echo = netns.spawn(move || {
                let listener = std::net::TcpListener::bind(at).unwrap();
                std::thread::spawn(move || {
                    let (mut stream, _) = listener.accept().unwrap();
                    let mut rx = stream.try_clone().unwrap();
                    std::io::copy(&mut rx, &mut stream).unwrap();
                })
            });
            let echo = echo.join().unwrap();
            let address = format!("{name}.example.org:7");
            let mut stream = TcpStream::connect(&address).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), at);
            stream.write_all(b"by name").await.unwrap();
            stream.shutdown().await.unwrap();
            let mut back = String::new();
            stream.read_to_string(&mut back).await.unwrap();
            assert_eq!(back, "by name");
            let socket = UdpSocket::bind(family.socket(OURS, 0)).await.unwrap();
            socket.connect(&address).await.unwrap();
            assert_eq!(socket.peer_addr().unwrap(), at);
            while !echo.is_finished() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            echo.join().unwrap();
        }
    });
}

#[test]
fn lookups_may_be_made_on_other_threads() {
    Bed::tap().run(servers([good(Family::V4)]), async |ctx, _, _| {
        let handle = ctx.handle().clone();
        let other = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread();
            let runtime = { runtime }.enable_all().build().unwrap();
            let found = runtime.block_on(handle.scope(ips("many.example.org")));
            found.unwrap().len()
        });
        while !other.is_finished() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(other.join().unwrap(), usize::from(MANY));
        // What that thread has left behind does not matter here.
        assert_eq!(ips("host1.example.org").await.unwrap().len(), 1);
    });
}

#[test]
fn workers_have_the_settings_in_common_and_each_gets_its_answers() {
    let bed = Bed::two_queues();
    let dnsmasq = bed.dnsmasq;
    let outcome = bed.app.workers(2).run_each(|ctx: Context| async move {
        if ctx.queue() == 0 {
            let change = |config: &mut ResolverConfig| config.servers = vec![good(Family::V4)];
            ctx.dns().change(change).unwrap();
        }
        in_time(async {
            while ctx.dns().config().servers.is_empty() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            for n in 0..50 {
                let found = ips(&format!("host{n}.example.org")).await.unwrap();
                assert_eq!(found, [Family::V4.host(2_000 + n)]);
            }
            assert_eq!(
                ips("many.example.org").await.unwrap().len(),
                usize::from(MANY)
            );
        })
        .await;
    });
    assert!(outcome.unwrap().iter().all(Result::is_ok));
    drop(dnsmasq);
}
