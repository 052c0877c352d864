//! An application whose addresses come from foreign servers: dnsmasq (DHCPv4, DHCPv6, router advertisements), busybox'
//! udhcpd and radvd. The kernel is the peer: needs root.

mod common;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::time::{Duration, Instant};

use common::eal_builder;
use dpdk_net::dhcp::{v4, v6};
use dpdk_net::net::{TcpListener, TcpStream};
use dpdk_net::rte::Eal;
use dpdk_net::runtime::RuntimeKind;
use dpdk_net::stack::{IfAddr, Lifetimes, Route};
use dpdk_net::time::{sleep, timeout};
use dpdk_net::{App, AppBuilder, Context, Error, IdlePolicy};
use dpdk_net_testkit::bed::{Netns, Process, Veth, disable_tx_offloads};
use tempfile::TempDir;

/// No step may take longer.
const PATIENCE: Duration = Duration::from_secs(60);
const SERVER_V4: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 1);
const SERVER_V6: &str = "fd00::1";
const PORT: u16 = 7;

/// The kernel's end of a device of ours.
struct Bed {
    kernel: Netns,
    interface: String,
    eal: Eal,
    dir: TempDir,
    _wire: Option<(Veth, Netns)>,
}

impl Bed {
    /// The kernel's interface of net_tap.
    fn tap() -> Self {
        let kernel = Netns::new().unwrap();
        kernel.enter().unwrap();
        let eal = eal_builder().keep_affinity().vdev("net_tap0,iface=tp0");
        Self::over(kernel, eal.init().unwrap(), "tp0", None)
    }

    /// A cable whose near end has a packet socket for each queue. Its far end is there also when we are gone.
    fn cable(queues: u16) -> Self {
        let (kernel, ours) = (Netns::new().unwrap(), Netns::new().unwrap());
        // The kernel hears what our packet sockets hear, and would make itself the address that we make: of the same prefix
        // and MAC address.
        ours.sysctl("net.ipv6.conf.default.disable_ipv6", "1")
            .unwrap();
        let cable = Veth::new(Some(&ours), Some(&kernel)).unwrap();
        disable_tx_offloads(Some(&kernel), cable.right()).unwrap();
        ours.enter().unwrap();
        let vdev = format!("net_af_packet0,iface={},qpairs={queues}", cable.left());
        let lcores = if queues == 1 { "0" } else { "0@0,1@1" };
        let eal = eal_builder().lcores(lcores).memory_mb(512);
        let eal = eal.keep_affinity().vdev(vdev).init().unwrap();
        let interface = cable.right().to_owned();
        Self::over(kernel, eal, &interface, Some((cable, ours)))
    }

    fn over(kernel: Netns, eal: Eal, interface: &str, wire: Option<(Veth, Netns)>) -> Self {
        kernel.up(interface).unwrap();
        let v4 = format!("{SERVER_V4}/24");
        for address in [&v4, "fd00::1/64"] {
            kernel.add_address(interface, address).unwrap();
        }
        Self {
            kernel,
            interface: interface.to_owned(),
            eal,
            dir: tempfile::tempdir().unwrap(),
            _wire: wire,
        }
    }

    fn file(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn app(&self) -> AppBuilder {
        App::builder()
            .with_eal(self.eal.clone())
            .idle(IdlePolicy::Yield { after: 16 })
            .address_timeout(PATIENCE)
    }

    /// dnsmasq, with these options beside those that all have.
    fn dnsmasq(&self, options: &[&str]) -> Process {
        let leases = format!("--dhcp-leasefile={}", self.file("leases"));
        let pid = format!("--pid-file={}", self.file("pid"));
        let interface = format!("--interface={}", self.interface);
        let mut command = vec![
            "dnsmasq",
            "--no-daemon",
            "--conf-file=/dev/null",
            "--user=root",
            "--port=0",
            "--bind-interfaces",
            "--log-dhcp",
            "--no-ping",
            "--dhcp-authoritative",
            &leases,
            &pid,
            &interface,
        ];
        command.extend(options);
        let mut server = self.kernel.start(&command).unwrap();
        server.wait_for("DHCP", PATIENCE).unwrap();
        server
    }

    /// Connects from the kernel, and has the bytes come back.
    fn ask(&self, address: IpAddr) -> std::thread::JoinHandle<()> {
        self.kernel.spawn(move || {
            let to = SocketAddr::new(address, PORT);
            let mut stream = std::net::TcpStream::connect_timeout(&to, PATIENCE).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            stream.write_all(b"who are you").unwrap();
            let mut back = [0; 11];
            stream.read_exact(&mut back).unwrap();
            assert_eq!(&back, b"who are you");
        })
    }
}

const DHCP_V4: &[&str] = &[
    "--dhcp-range=198.18.0.100,198.18.0.150,255.255.255.0,120s",
    "--dhcp-option=option:router,198.18.0.1",
    "--dhcp-option=option:dns-server,198.18.0.53",
    "--dhcp-option=option:domain-search,lab.example",
    "--dhcp-option=option:mtu,1400",
];

const DHCP_V6: &[&str] = &[
    "--dhcp-range=fd00::100,fd00::150,slaac,64,120s",
    "--enable-ra",
    "--ra-param=*,10,600",
    "--dhcp-option=option6:dns-server,[fd00::53]",
];

/// Echoes one connection.
async fn serve(listener: &TcpListener) {
    let (mut stream, _) = listener.accept().await.unwrap();
    let (mut rx, mut tx) = stream.split();
    let _ = tokio::io::copy(&mut rx, &mut tx).await;
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.expect("it takes too long")
}

/// Its addresses but for link-local ones.
fn own(ctx: &Context) -> Vec<IpAddr> {
    let all = ctx.interface_addresses().into_iter();
    let usable = all
        .filter(|it| it.state.is_usable())
        .map(|it| it.address.addr);
    let local = |addr: &IpAddr| matches!(addr, IpAddr::V6(v6) if v6.is_unicast_link_local());
    usable.filter(|addr| !local(addr)).collect()
}

/// Those that dnsmasq's ranges have, and the one that is made of the prefix.
fn is_leased(addr: &IpAddr) -> bool {
    match addr {
        IpAddr::V4(v4) => (100..=150).contains(&v4.octets()[3]),
        IpAddr::V6(v6) => (0x100..=0x150).contains(&(v6.to_bits() & u128::from(u64::MAX))),
    }
}

#[test]
fn leases_of_dnsmasq_are_used_and_given_back() {
    used_and_given_back(RuntimeKind::Tokio);
}

#[test]
fn leases_are_had_on_our_executor() {
    used_and_given_back(RuntimeKind::Local);
}

#[cfg(feature = "smol")]
#[test]
fn leases_are_had_on_smol() {
    used_and_given_back(RuntimeKind::Smol);
}

#[cfg(feature = "compio")]
#[test]
fn leases_are_had_on_compio() {
    used_and_given_back(RuntimeKind::Compio);
}

fn used_and_given_back(runtime: RuntimeKind) {
    let bed = Bed::cable(1);
    let server = bed.dnsmasq(&[DHCP_V4, DHCP_V6].concat());
    let app = bed
        .app()
        .runtime(runtime)
        .dhcp4(0, v4::Config::new().hostname("edge-7"))
        .dhcp6(0, v6::Config::new())
        .slaac(0);
    app.run(|ctx| {
        let bed = &bed;
        async move {
            // Whichever of both brought IPv6 first: the other follows.
            in_time(async {
                while own(&ctx).len() < 3 {
                    sleep(Duration::from_millis(20)).await;
                }
            })
            .await;
            let addresses = own(&ctx);
            let leased = addresses.iter().filter(|addr| is_leased(addr)).count();
            assert_eq!(leased, 2, "{addresses:?}");
            let listener = TcpListener::bind(("::", PORT)).await.unwrap();
            for address in addresses {
                let asked = bed.ask(address);
                in_time(serve(&listener)).await;
                asked.join().unwrap();
            }
            let mut dns = ctx.dns_servers();
            let known = in_time(dns.wait_for(|dns| dns.servers.len() == 2))
                .await
                .unwrap();
            let servers = ["198.18.0.53:53", "[fd00::53]:53"];
            assert_eq!(known.servers, servers.map(|text| text.parse().unwrap()));
            assert_eq!(known.search, ["lab.example"]);
            drop(known);
            // By way of the routers that were told of: nobody is there, but the packets leave.
            for far in ["192.0.2.1:9", "[2001:db8::1]:9"] {
                let socket = dpdk_net::net::UdpSocket::connected(far).await.unwrap();
                assert_eq!(socket.send(b"x").await.unwrap(), 1);
            }
        }
    })
    .unwrap();
    // The server may take a moment for the last messages.
    let leases = || std::fs::read_to_string(bed.file("leases")).unwrap();
    let is_given_back = || {
        ["198.18.0.1", "fd00::1"]
            .iter()
            .all(|given| !leases().contains(given))
    };
    let end = Instant::now() + PATIENCE;
    while !is_given_back() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(is_given_back(), "{}\n{}", leases(), server.stderr());
    for said in ["DHCPRELEASE", "edge-7", "DHCPREPLY"] {
        let log = server.stderr();
        assert!(log.contains(said), "no {said} in:\n{log}");
    }
}

#[test]
fn a_lease_is_kept_until_the_last_connection_is_gone() {
    let bed = Bed::cable(1);
    let server = bed.dnsmasq(&[DHCP_V4, DHCP_V6].concat());
    let app = bed
        .app()
        .dhcp4(0, v4::Config::new())
        .dhcp6(0, v6::Config::new())
        .drain_timeout(PATIENCE);
    let (returned, has_returned) = std::sync::mpsc::channel();
    let (tell, address) = std::sync::mpsc::channel::<IpAddr>();
    let file = bed.file("leases");
    let leases = move || std::fs::read_to_string(&file).unwrap();
    let are_held = |leases: &str| ["198.18.0.1", "fd00::1"].map(|it| leases.contains(it));
    // A client that takes its time: our end of the connection has been closed, its own has not.
    let look = leases.clone();
    let client = bed.kernel.spawn(move || {
        let to = SocketAddr::new(address.recv().unwrap(), PORT);
        let stream = std::net::TcpStream::connect_timeout(&to, PATIENCE).unwrap();
        has_returned.recv().unwrap();
        std::thread::sleep(Duration::from_millis(500));
        let meanwhile = look();
        drop(stream);
        meanwhile
    });
    app.run(|ctx| async move {
        let listener = TcpListener::bind(("0.0.0.0", PORT)).await.unwrap();
        let leased = own(&ctx).into_iter().find(IpAddr::is_ipv4).unwrap();
        tell.send(leased).unwrap();
        let (stream, _) = in_time(listener.accept()).await.unwrap();
        drop(stream);
        returned.send(()).unwrap();
    })
    .unwrap();
    let meanwhile = client.join().unwrap();
    assert_eq!(are_held(&meanwhile), [true; 2], "{meanwhile}");
    let end = Instant::now() + PATIENCE;
    while are_held(&leases()) != [false; 2] && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(are_held(&leases()), [false; 2], "{}", server.stderr());
}

#[test]
fn two_queues_share_what_one_has_asked_for() {
    let bed = Bed::cable(2);
    let _server = bed.dnsmasq(&[DHCP_V4, DHCP_V6].concat());
    let app = bed
        .app()
        .dhcp4(0, v4::Config::new())
        .dhcp6(0, v6::Config::new())
        .slaac(0)
        .workers(2);
    let all = app
        .run_each(|ctx| async move {
            in_time(async {
                while own(&ctx).len() < 3 {
                    sleep(Duration::from_millis(20)).await;
                }
            })
            .await;
            let addresses = own(&ctx);
            // From each queue, over both families.
            for server in [IpAddr::from(SERVER_V4), SERVER_V6.parse().unwrap()] {
                let refused = TcpStream::connect(SocketAddr::new(server, 9)).await;
                let refused = refused.unwrap_err();
                assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
            }
            let mut sorted = addresses;
            sorted.sort_unstable();
            sorted
        })
        .unwrap();
    let all: Vec<Vec<IpAddr>> = all.into_iter().map(Result::unwrap).collect();
    assert_eq!(all[0], all[1]);
    assert_eq!(all[0].iter().filter(|addr| is_leased(addr)).count(), 2);
}

#[test]
fn a_lease_of_udhcpd_is_renewed_and_lost_and_had_again() {
    let bed = Bed::tap();
    let (config, leases) = (bed.file("udhcpd.conf"), bed.file("udhcpd.leases"));
    std::fs::write(&leases, b"").unwrap();
    let settings = format!(
        "start 198.18.0.100\nend 198.18.0.150\ninterface {}\nlease_file {leases}\npidfile {}\nmin_lease 10\n\
         opt subnet 255.255.255.0\nopt router 198.18.0.1\nopt lease 10\n",
        bed.interface,
        bed.file("udhcpd.pid"),
    );
    std::fs::write(&config, settings).unwrap();
    let start = || bed.kernel.start(&["udhcpd", "-f", &config]).unwrap();
    let server = start();
    let app = bed.app().dhcp4(0, v4::Config::new());
    app.run(|ctx| {
        let start = &start;
        async move {
            let leased = own(&ctx)[0];
            assert!(is_leased(&leased), "{leased}");
            // Longer than the lease.
            for _ in 0..24 {
                sleep(Duration::from_millis(500)).await;
                assert_eq!(own(&ctx), [leased], "it is ours all the time");
            }
            let is_default = |ctx: &Context| {
                let routes = ctx.handle().routes();
                routes.iter().any(|it| it.route.prefix_len == 0)
            };
            assert!(is_default(&ctx));
            drop(server);
            in_time(async {
                while !own(&ctx).is_empty() {
                    sleep(Duration::from_millis(50)).await;
                }
            })
            .await;
            assert!(!is_default(&ctx));
            let server = start();
            in_time(async {
                while own(&ctx).is_empty() {
                    sleep(Duration::from_millis(50)).await;
                }
            })
            .await;
            assert!(is_default(&ctx));
            drop(server);
        }
    })
    .unwrap();
}

#[test]
fn what_the_program_changes_is_changed_for_all_queues() {
    let bed = Bed::cable(2);
    let app = bed.app().address("198.18.0.2/24").workers(2);
    app.run_each(|ctx| {
        let bed = &bed;
        async move {
            let added: IpAddr = "198.18.0.77".parse().unwrap();
            let address = IfAddr::new(added, 24).unwrap();
            let listener = TcpListener::bind(("0.0.0.0", PORT)).await.unwrap();
            if ctx.queue() == 0 {
                ctx.add_address(0, address, Lifetimes::FOREVER).unwrap();
                let (limits, mut tcp) = ctx.limits();
                tcp.max_orphans = 7;
                ctx.reconfigure(&limits, &tcp).unwrap();
                let route = Route::default_via(SERVER_V4.into());
                ctx.add_route(route).unwrap();
                for handle in ctx.handles() {
                    let routes = handle.routes();
                    assert!(routes.iter().any(|it| it.route == route), "{routes:?}");
                }
                ctx.remove_route(&route).unwrap();
            }
            in_time(async {
                while !own(&ctx).contains(&added) {
                    sleep(Duration::from_millis(20)).await;
                }
            })
            .await;
            assert_eq!(ctx.limits().1.max_orphans, 7);
            if ctx.queue() == 0 {
                // Enough for both queues to have some.
                let asked: Vec<_> = (0..40).map(|_| bed.ask(added)).collect();
                let ended = async {
                    while asked.iter().any(|asked| !asked.is_finished()) {
                        sleep(Duration::from_millis(20)).await;
                    }
                };
                tokio::select! {
                    () = async { loop { serve(&listener).await } } => {}
                    () = in_time(ended) => {}
                }
                asked.into_iter().for_each(|asked| asked.join().unwrap());
                ctx.remove_address(0, added).unwrap();
                assert!(ctx.remove_address(0, added).is_err());
                ctx.request_shutdown();
            } else {
                tokio::select! {
                    () = async { loop { serve(&listener).await } } => {}
                    () = in_time(ctx.shutdown()) => {}
                }
            }
            assert!(!own(&ctx).contains(&added));
        }
    })
    .unwrap();
}

#[test]
fn an_address_that_the_kernel_has_is_declined() {
    let bed = Bed::tap();
    bed.kernel
        .add_address(&bed.interface, "198.18.0.100/24")
        .unwrap();
    let server = bed.dnsmasq(&["--dhcp-range=198.18.0.100,198.18.0.100,255.255.255.0,120s"]);
    let app = bed.app().dhcp4(0, v4::Config::new());
    let app = app.address_timeout(Duration::from_secs(4));
    let error = app.run(|_| async {}).unwrap_err();
    assert!(matches!(error, Error::NoLease { .. }), "{error}");
    let log = server.stderr();
    assert!(log.contains("DHCPDECLINE"), "{log}");
}

#[test]
fn routers_say_what_dhcpv6_is_for() {
    let bed = Bed::tap();
    let server = bed.dnsmasq(&[
        "--dhcp-range=fd00::,ra-stateless,64,120s",
        "--enable-ra",
        "--dhcp-option=option6:dns-server,[fd00::53]",
        "--dhcp-option=option6:domain-search,lab.example",
    ]);
    let app = bed.app().slaac(0);
    app.dhcp6(0, v6::Config::new().mode(v6::Mode::AsRouters))
        .run(|ctx| async move {
            let mut dns = ctx.dns_servers();
            let known = in_time(dns.wait_for(|dns| !dns.search.is_empty())).await;
            assert_eq!(known.unwrap().servers, ["[fd00::53]:53".parse().unwrap()]);
            assert!(own(&ctx).iter().all(|addr| !is_leased(addr)));
        })
        .unwrap();
    let log = server.stderr();
    assert!(log.contains("DHCPINFORMATION-REQUEST"), "{log}");
}

#[test]
fn an_address_of_radvds_prefix_is_made() {
    let bed = Bed::tap();
    bed.kernel
        .sysctl("net.ipv6.conf.all.forwarding", "1")
        .unwrap();
    let config = bed.file("radvd.conf");
    let settings = format!(
        "interface {} {{ AdvSendAdvert on; AdvLinkMTU 1300; MinRtrAdvInterval 3; MaxRtrAdvInterval 4;\n\
         prefix fd00::/64 {{ AdvOnLink on; AdvAutonomous on; }};\nRDNSS fd00::53 {{ }}; DNSSL lab.example {{ }}; }};\n",
        bed.interface,
    );
    std::fs::write(&config, settings).unwrap();
    let pid = bed.file("radvd.pid");
    let command = [
        "radvd",
        "--nodaemon",
        "--config",
        &config,
        "--pidfile",
        &pid,
    ];
    let _router = bed
        .kernel
        .start(&[&command[..], &["--logmethod", "stderr"]].concat());
    bed.app()
        .slaac(0)
        .slaac_secret([7; 16])
        .run(|ctx| {
            let bed = &bed;
            async move {
                let addresses = own(&ctx);
                let [IpAddr::V6(made)] = addresses[..] else {
                    panic!("{addresses:?}")
                };
                assert_eq!(made.segments()[..4], [0xfd00, 0, 0, 0]);
                // Not of the MAC address.
                assert_ne!(made.segments()[5] & 0xff, 0xff, "{made}");
                let listener = TcpListener::bind(("::", PORT)).await.unwrap();
                let asked = bed.ask(made.into());
                in_time(serve(&listener)).await;
                asked.join().unwrap();
                let mut dns = ctx.dns_servers();
                let known = in_time(dns.wait_for(|dns| !dns.servers.is_empty()))
                    .await
                    .unwrap();
                let resolver: Ipv6Addr = "fd00::53".parse().unwrap();
                assert_eq!(known.servers, [SocketAddr::from((resolver, 53))]);
                assert_eq!(known.search, ["lab.example"]);
            }
        })
        .unwrap();
}

#[test]
fn without_a_server_the_error_says_what_was_tried() {
    let bed = Bed::tap();
    let app = bed
        .app()
        .vlan(5, [""; 0])
        .dhcp4(0, v4::Config::new())
        .slaac(5)
        .address_timeout(Duration::from_secs(3));
    let error = app.run(|_| async {}).unwrap_err();
    let Error::NoLease { tried, .. } = &error else {
        panic!("{error}")
    };
    assert_eq!(
        tried,
        "IPv4 on the port itself, by DHCPv4; IPv6 in VLAN 5, by SLAAC"
    );
    // And what can't be is told before anything starts.
    for (app, why) in [
        (bed.app().dhcp4(6, v4::Config::new()), "VLAN"),
        (
            bed.app().dhcp4(0, v4::Config::new().client_id([1])),
            "identifier",
        ),
        (
            bed.app()
                .dhcp6(0, v6::Config::new())
                .dhcp6(0, v6::Config::new()),
            "one client",
        ),
    ] {
        let error = app.run(|_| async {}).unwrap_err().to_string();
        assert!(error.contains(why), "{error}");
    }
    assert!(!Path::new(&bed.file("leases")).exists());
}
