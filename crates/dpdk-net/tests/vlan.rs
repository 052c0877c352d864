//! One port in two VLANs, and a kernel in each of them, with the same addresses. Needs root.
//!
//! Between the application's port and the kernels' is a switch of a few lines: a trunk to the application, and an access
//! port in each VLAN, which is a TAP device. So it works with kernels that know nothing of VLANs.

mod common;

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use common::{eal_builder, open, pattern};
use dpdk_net::net as ours;
use dpdk_net::rte::mbuf::Mbuf;
use dpdk_net::rte::queue::QueuePair;
use dpdk_net::rte::{MbufBatch, ring};
use dpdk_net::stack::Vlan;
use dpdk_net::{App, Context, IdlePolicy};
use dpdk_net_testkit::bed::{Netns, unique_name};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const VLANS: [u16; 2] = [100, 200];
const PRIORITY: u8 = 3;
/// The kernel's addresses, in both VLANs.
const KERNEL: [&str; 2] = ["198.18.7.1", "fd00:7::1"];
/// Ours.
const OURS: [[&str; 2]; 2] = [["198.18.7.2", "fd00:7::2"], ["198.18.7.3", "fd00:7::3"]];
const PORT: u16 = 7;
/// No step may take longer.
const PATIENCE: Duration = Duration::from_secs(20);
/// Enough for full segments and several windows of them.
const BYTES: usize = 300_000;

/// A kernel of its own at the access port of a VLAN.
struct Kernel {
    netns: Netns,
    interface: String,
}

impl Kernel {
    fn new(interface: String) -> Self {
        let netns = Netns::new().unwrap();
        netns
            .sysctl("net.ipv6.conf.default.accept_dad", "0")
            .unwrap();
        netns.adopt(&interface).unwrap();
        netns.up(&interface).unwrap();
        for (address, len) in KERNEL.into_iter().zip([24, 64]) {
            netns
                .add_address(&interface, &format!("{address}/{len}"))
                .unwrap();
        }
        Self { netns, interface }
    }

    fn index(&self) -> u32 {
        let shown = self.netns.ip(&["-o", "link", "show", &self.interface]);
        let shown = shown.unwrap().text();
        shown.split(':').next().unwrap().trim().parse().unwrap()
    }
}

/// What the switch has seen.
#[derive(Default)]
struct Seen {
    /// Frames with the tag of each VLAN, and its priority.
    tagged: [AtomicU64; 2],
    /// Frames with other tags; without one there are those of the port itself.
    other: AtomicU64,
}

/// The switch: what comes by the trunk goes to the access port of its VLAN without the tag, and back with one.
struct Switch {
    end: Arc<AtomicBool>,
    seen: Arc<Seen>,
    thread: Option<JoinHandle<()>>,
}

impl Switch {
    fn start(mut trunk: QueuePair, mut access: [QueuePair; 2]) -> Self {
        let (end, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Seen::default()));
        let (stop, count) = (end.clone(), seen.clone());
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                let mut idle = true;
                let mut frames = MbufBatch::<32>::new();
                trunk.rx.rx_burst(&mut frames);
                for mut frame in frames.drain() {
                    idle = false;
                    let Some(tci) = take_tag(&mut frame) else {
                        continue;
                    };
                    let Some(at) = VLANS.iter().position(|vlan| *vlan == tci & 0xfff) else {
                        count.other.fetch_add(1, Ordering::Relaxed);
                        continue;
                    };
                    let priority = if at == 1 { PRIORITY } else { 0 };
                    let right = tci >> 13 == u16::from(priority);
                    let counter = if right {
                        &count.tagged[at]
                    } else {
                        &count.other
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                    send(&mut access[at], frame);
                }
                for (port, vlan) in access.iter_mut().zip(VLANS) {
                    let mut frames = MbufBatch::<32>::new();
                    port.rx.rx_burst(&mut frames);
                    for mut frame in frames.drain() {
                        idle = false;
                        put_tag(&mut frame, vlan);
                        send(&mut trunk, frame);
                    }
                }
                if idle {
                    std::thread::sleep(Duration::from_micros(50));
                }
            }
        });
        Self {
            end,
            seen,
            thread: Some(thread),
        }
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            assert!(ended.is_ok() || std::thread::panicking());
        }
    }
}

/// A frame that the port does not take is lost, as on a real switch.
fn send(port: &mut QueuePair, frame: Mbuf) {
    let mut batch = MbufBatch::<1>::new();
    assert!(batch.push(frame).is_ok());
    port.tx.tx_burst(&mut batch);
}

/// Takes the tag off; its control information.
fn take_tag(frame: &mut Mbuf) -> Option<u16> {
    let data = frame.data_mut();
    let [0x81, 0, hi, lo] = *data.get(12..16)? else {
        return None;
    };
    data.copy_within(..12, 4);
    frame.adj(4).unwrap();
    Some(u16::from_be_bytes([hi, lo]))
}

fn put_tag(frame: &mut Mbuf, tci: u16) {
    frame.prepend(4).unwrap();
    let data = frame.data_mut();
    data.copy_within(4..16, 0);
    let [hi, lo] = tci.to_be_bytes();
    data[12..16].copy_from_slice(&[0x81, 0, hi, lo]);
}

/// Application, switch, and a kernel in each VLAN.
fn bed(program: impl AsyncFnOnce(Context, &[Kernel; 2])) {
    let interfaces = VLANS.map(|_| unique_name("v"));
    // The kernels' and the switch's threads come from this one: they need the other cores.
    let mut builder = eal_builder().lcores("0").keep_affinity();
    for (at, interface) in interfaces.iter().enumerate() {
        builder = builder.vdev(format!("net_tap{at},iface={interface}"));
    }
    let eal = builder.init().unwrap();
    let rings = ring::joined_ports(&eal, ["app", "trunk"], 1, 1024).unwrap();
    let ports = eal.ports();
    let named = |name: &str| ports.iter().find(|port| port.name == name).unwrap().id;
    let (_trunk, trunk, _) = open(&eal, rings.ids()[1], 4095);
    let (_first, first, _) = open(&eal, named("net_tap0"), 4095);
    let (_second, second, _) = open(&eal, named("net_tap1"), 4095);
    let app_port = ports.iter().find(|port| port.id == rings.ids()[0]);
    // The driver speaks to its interface in this namespace while it starts.
    let kernels = interfaces.map(Kernel::new);
    let switch = Switch::start(trunk, [first, second]);
    let [of_100, of_200] = OURS;
    let with_len = |[v4, v6]: [&str; 2]| [format!("{v4}/24"), format!("{v6}/64")];
    let vlan_200 = with_len(of_200)
        .iter()
        .map(|address| address.parse().unwrap())
        .fold(Vlan::new(200).with_priority(PRIORITY), Vlan::with_address);
    let app = App::builder()
        .with_eal(eal)
        .port(app_port.unwrap().name.clone())
        .vlan(100, with_len(of_100))
        .vlan_with(vlan_200)
        .stack(|stack| stack.dad = false)
        .link_timeout(Duration::ZERO)
        .drain_timeout(Duration::from_secs(1))
        .idle(IdlePolicy::Yield { after: 16 });
    app.run(|ctx| async {
        let test = program(ctx, &kernels);
        tokio::time::timeout(3 * PATIENCE, test)
            .await
            .expect("the test ends in time");
    })
    .unwrap();
    let seen = switch.seen.clone();
    drop(switch);
    assert_eq!(seen.other.load(Ordering::Relaxed), 0);
    for tagged in &seen.tagged {
        assert!(tagged.load(Ordering::Relaxed) > 0);
    }
}

/// Our link-local address, on the link of this interface of a kernel.
fn link_local(ctx: &Context, scope: u32) -> SocketAddr {
    let addresses = ctx.addresses();
    let own = addresses.iter().find_map(|address| match address {
        IpAddr::V6(v6) if v6.is_unicast_link_local() => Some(*v6),
        _ => None,
    });
    SocketAddrV6::new(own.unwrap(), PORT, 0, scope).into()
}

/// The TAP driver's signals interrupt whoever waits in this process.
fn again<T>(mut call: impl FnMut() -> io::Result<T>) -> T {
    loop {
        match call() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result.unwrap(),
        }
    }
}

/// The kernel as client: sends by TCP and by UDP, and wants back what it sent.
fn ask(to: SocketAddr) {
    let sent = pattern(BYTES);
    let mut stream = again(|| TcpStream::connect_timeout(&to, PATIENCE));
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut writer = stream.try_clone().unwrap();
    let writing = {
        let sent = sent.clone();
        std::thread::spawn(move || {
            writer.write_all(&sent).unwrap();
            writer.shutdown(std::net::Shutdown::Write).unwrap();
        })
    };
    let mut received = Vec::new();
    stream.read_to_end(&mut received).unwrap();
    writing.join().unwrap();
    assert!(received == sent, "{to}: {} bytes came back", received.len());

    let any = match to {
        SocketAddr::V4(_) => SocketAddr::from(([0; 4], 0)),
        SocketAddr::V6(_) => SocketAddr::from(([0u16; 8], 0)),
    };
    let socket = UdpSocket::bind(any).unwrap();
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buf = [0; 4_000];
    // One that fits a frame, and one in fragments.
    for len in [10, 3_000] {
        again(|| socket.send(&sent[..len]));
        let got = again(|| socket.recv(&mut buf));
        assert_eq!(buf[..got], sent[..len], "{to}");
    }
}

/// Echoes TCP on one socket for all. Of UDP there is one for each address: what a socket without one sends to an address that
/// is in both networks goes to the first of them. Which peers came to which address goes to `peers`.
async fn serve(own: Vec<SocketAddr>, peers: Arc<Mutex<BTreeSet<(String, u32)>>>) {
    let listener = ours::TcpListener::bind(("::", PORT)).await.unwrap();
    for own in own {
        let socket = ours::UdpSocket::bind(own).await.unwrap();
        tokio::spawn(async move {
            let mut buf = [0; 4_000];
            loop {
                let (len, peer) = socket.recv_from(&mut buf).await.unwrap();
                socket.send_to(&buf[..len], peer).await.unwrap();
            }
        });
    }
    loop {
        let (mut stream, peer) = listener.accept().await.unwrap();
        if let SocketAddr::V6(v6) = peer {
            let local = stream.local_addr().unwrap().ip().to_string();
            peers.lock().unwrap().insert((local, v6.scope_id()));
        }
        tokio::spawn(async move {
            let (mut rx, mut tx) = stream.split();
            tokio::io::copy(&mut rx, &mut tx).await.unwrap();
            tx.shutdown().await.unwrap();
        });
    }
}

async fn joined<T: Send + 'static>(threads: Vec<JoinHandle<T>>) -> Vec<T> {
    let mut results = Vec::new();
    for thread in threads {
        let ended = tokio::task::spawn_blocking(move || thread.join());
        results.push(ended.await.unwrap().unwrap());
    }
    results
}

#[test]
fn two_kernels_with_the_same_addresses_are_served_at_once_each_in_its_vlan() {
    bed(async |ctx, kernels| {
        let peers = Arc::new(Mutex::new(BTreeSet::new()));
        let at = |own: [&str; 2]| own.map(|own| SocketAddr::new(own.parse().unwrap(), PORT));
        let mut own = OURS.map(at).concat();
        own.extend(VLANS.map(|vlan| link_local(&ctx, vlan.into())));
        let server = tokio::spawn(serve(own, peers.clone()));
        let mut threads = Vec::new();
        for (kernel, own) in kernels.iter().zip(OURS) {
            let mut to = at(own).to_vec();
            to.push(link_local(&ctx, kernel.index()));
            threads.extend(to.into_iter().map(|to| kernel.netns.spawn(move || ask(to))));
        }
        joined(threads).await;
        server.abort();
        let peers = peers.lock().unwrap();
        let scopes: BTreeSet<u32> = peers
            .iter()
            .filter(|(local, _)| local.starts_with("fe80"))
            .map(|(_, scope)| *scope)
            .collect();
        assert_eq!(scopes, VLANS.map(u32::from).into(), "{peers:?}");
        let locals: BTreeSet<&str> = peers.iter().map(|(local, _)| local.as_str()).collect();
        assert_eq!(locals.len(), 5, "{locals:?}");
    });
}

#[test]
fn a_connection_from_here_goes_to_the_kernel_in_the_vlan_of_its_local_address() {
    bed(async |_ctx, kernels| {
        for (address, family) in KERNEL.into_iter().zip(0..) {
            let to = SocketAddr::new(address.parse().unwrap(), 7_000);
            let servers = kernels.iter().zip(VLANS).map(|(kernel, vlan)| {
                kernel.netns.spawn(move || {
                    let listener = TcpListener::bind(to).unwrap();
                    std::thread::spawn(move || {
                        let (mut stream, peer) = listener.accept().unwrap();
                        stream.write_all(&vlan.to_be_bytes()).unwrap();
                        peer.ip()
                    })
                })
            });
            let accepting = joined(servers.collect()).await;
            for (own, vlan) in OURS.into_iter().zip(VLANS) {
                let local = SocketAddr::new(own[family].parse().unwrap(), 0);
                let socket = match local {
                    SocketAddr::V4(_) => ours::TcpSocket::new_v4(),
                    SocketAddr::V6(_) => ours::TcpSocket::new_v6(),
                };
                let socket = socket.unwrap();
                socket.bind(local).unwrap();
                let mut stream = socket.connect(to).await.unwrap();
                assert_eq!(stream.read_u16().await.unwrap(), vlan);
            }
            let peers = joined(accepting).await;
            let own = OURS.map(|own| own[family].parse::<IpAddr>().unwrap());
            assert_eq!(peers, own);
        }
    });
}

#[test]
fn groups_of_a_vlan_reach_the_kernel_there_and_come_from_there() {
    bed(async |_ctx, kernels| {
        let group: Ipv6Addr = "ff02::77:7".parse().unwrap();
        let scoped = move |scope: u32| SocketAddr::from(SocketAddrV6::new(group, PORT, 0, scope));
        let socket = ours::UdpSocket::bind(("::", PORT)).await.unwrap();
        let wrong = socket.join_multicast_v6(&group, 7).unwrap_err();
        assert_eq!(wrong.raw_os_error(), Some(19), "ENODEV: {wrong}");
        socket.join_multicast_v6(&group, 200).unwrap();
        let members = kernels.iter().map(|kernel| {
            let index = kernel.index();
            kernel.netns.spawn(move || {
                let member = UdpSocket::bind(("::", PORT)).unwrap();
                member.join_multicast_v6(&group, index).unwrap();
                member.set_read_timeout(Some(PATIENCE)).unwrap();
                again(|| member.send_to(b"from the kernel", scoped(index)));
                member
            })
        });
        let members = joined(members.collect()).await;
        // Only what came in VLAN 200 is for us.
        let mut buf = [0; 100];
        let (_, from) = socket.recv_from(&mut buf).await.unwrap();
        let SocketAddr::V6(from) = from else {
            panic!("{from}")
        };
        assert_eq!(from.scope_id(), 200);
        let more = tokio::time::timeout(Duration::from_millis(200), socket.recv_from(&mut buf));
        assert!(more.await.is_err());
        for vlan in VLANS {
            let data = vlan.to_be_bytes();
            socket.send_to(&data, scoped(vlan.into())).await.unwrap();
        }
        let hearing = members.into_iter().map(|member| {
            std::thread::spawn(move || {
                let mut buf = [0; 2];
                // Its own datagram may come back to it.
                loop {
                    let (len, _) = again(|| member.recv_from(&mut buf));
                    let heard = u16::from_be_bytes(buf);
                    if len == 2 && VLANS.contains(&heard) {
                        return heard;
                    }
                }
            })
        });
        assert_eq!(joined(hearing.collect()).await, VLANS);
    });
}
