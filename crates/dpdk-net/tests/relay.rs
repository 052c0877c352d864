//! Our stack and the kernel with the relay between them: on a bad network every byte is right, both ways. Needs root.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::kernel::{KERNEL, OURS, app_facing_kernel, eal_facing_kernel};
use dpdk_net::AppBuilder;
use dpdk_net::net as ours;
use dpdk_net::stack::CongestionAlgorithm;
use dpdk_net_testkit::addr::Family;
use dpdk_net_testkit::apps::Pattern;
use dpdk_net_testkit::bed::{KernelHost, RelayedBed, Veth};
use dpdk_net_testkit::relay::{End, Relay};
use dpdk_net_testkit::sim::{LinkConfig, LinkStats};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// Seconds that the soak goes on for; 600 is the ten minutes that a release is tried with.
const SOAK_VAR: &str = "DPDK_NET_SOAK_SECONDS";
const CHUNK: usize = 32 * 1024;
/// No byte may take longer.
const PATIENCE: Duration = Duration::from_secs(60);

/// How our stack is joined to the relay.
#[derive(Clone, Copy, Debug)]
enum Device {
    AfPacket,
    Tap,
}

/// A kernel host, our application and the relay's place between them.
struct Bed {
    kernel: KernelHost,
    ours: End,
    app: AppBuilder,
    _cable: Option<Veth>,
    _bed: RelayedBed,
}

impl Bed {
    /// This thread, on which the application runs, stays in the namespace of the relay.
    fn new(device: Device) -> Self {
        let bed = RelayedBed::new().unwrap();
        let kernel = bed.kernel_host(KERNEL).unwrap();
        bed.netns().enter().unwrap();
        let (vdev, interface, cable) = match device {
            Device::AfPacket => {
                let cable = bed.cable().unwrap();
                let vdev = format!("net_af_packet0,iface={}", cable.left());
                (vdev, cable.right().to_owned(), Some(cable))
            }
            Device::Tap => ("net_tap0,iface=tp0".to_owned(), "tp0".to_owned(), None),
        };
        // The relay's threads come from this one, as the kernel's do.
        let eal = eal_facing_kernel(&vdev);
        bed.netns().up(&interface).unwrap();
        Self {
            kernel,
            ours: bed.end(&interface),
            app: app_facing_kernel(eal),
            _cable: cable,
            _bed: bed,
        }
    }

    fn relay(&self, link: LinkConfig) -> Relay {
        Relay::new(self.ours.clone(), self.kernel.end()).both(link)
    }
}

/// Everything that a network may do to a frame.
fn bad(share: f64) -> LinkConfig {
    LinkConfig::delay(Duration::from_millis(1))
        .with_jitter(Duration::from_micros(500))
        .with_loss(share)
        .with_reordering(share, Duration::from_millis(3))
        .with_duplication(share)
        .with_corruption(share / 2.0)
        .with_rate(100_000_000, 100)
}

/// Each way of being bad has hit a frame.
fn was_bad(link: &LinkStats) -> bool {
    link.lost > 0 && link.reordered > 0 && link.duplicated > 0 && link.corrupted > 0
}

/// What two ends of a connection send each other: a pattern each, both of one length.
#[derive(Clone, Copy)]
struct Deal {
    sent: Pattern,
    expected: Pattern,
    until: Until,
}

/// When an end stops sending.
#[derive(Clone, Copy)]
enum Until {
    Bytes(u64),
    Time(Instant),
}

impl Until {
    /// How many of `len` more bytes are to be sent after `sent`.
    fn more(self, sent: u64, len: usize) -> usize {
        match self {
            Self::Bytes(all) => len.min((all - sent).try_into().unwrap_or(len)),
            Self::Time(end) => {
                if Instant::now() < end {
                    len
                } else {
                    0
                }
            }
        }
    }

    fn check(self, received: u64) {
        if let Self::Bytes(all) = self {
            assert_eq!(received, all);
        }
    }
}

/// What an end has still to send, chunk by chunk.
struct Chunks {
    of: Pattern,
    until: Until,
    sent: u64,
    bytes: Vec<u8>,
}

impl Chunks {
    fn next(&mut self) -> Option<&[u8]> {
        let len = self.until.more(self.sent, CHUNK);
        let bytes = &mut self.bytes[..len];
        self.of.fill(self.sent, bytes);
        self.sent += len as u64;
        (len > 0).then_some(bytes)
    }
}

impl Deal {
    /// Of connection `n`, as the kernel has it.
    fn of_kernel(n: u64, until: Until) -> Self {
        let (sent, expected) = (Pattern::new(2 * n), Pattern::new(2 * n + 1));
        Self {
            sent,
            expected,
            until,
        }
    }

    /// The same, as our end has it.
    fn of_ours(n: u64, until: Until) -> Self {
        let Self { sent, expected, .. } = Self::of_kernel(n, until);
        Self {
            sent: expected,
            expected: sent,
            until,
        }
    }

    fn chunks(self) -> Chunks {
        Chunks {
            of: self.sent,
            until: self.until,
            sent: 0,
            bytes: vec![0; CHUNK],
        }
    }

    /// The kernel's end: writes, then closes its half; reads and checks to the end. Returns how many bytes it received.
    fn by_kernel(self, stream: TcpStream) -> u64 {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        let mut writing = stream.try_clone().unwrap();
        let writer = std::thread::spawn(move || {
            let mut chunks = self.chunks();
            while let Some(chunk) = chunks.next() {
                writing.write_all(chunk).unwrap();
            }
            writing.shutdown(Shutdown::Write).unwrap();
        });
        let (mut received, mut bytes) = (0, vec![0; CHUNK]);
        loop {
            let len = match (&stream).read(&mut bytes) {
                // DPDK's TAP driver sends its process signals.
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                read => read.expect("the peer goes on"),
            };
            if len == 0 {
                break;
            }
            self.expected.check(received, &bytes[..len]).unwrap();
            received += len as u64;
        }
        writer.join().unwrap();
        self.until.check(received);
        received
    }

    /// Our end, likewise.
    async fn by_ours(self, mut stream: ours::TcpStream) -> u64 {
        let (mut reading, mut writing) = stream.split();
        let write = async {
            let mut chunks = self.chunks();
            while let Some(chunk) = chunks.next() {
                let written = tokio::time::timeout(PATIENCE, writing.write_all(chunk));
                written.await.expect("the peer goes on").unwrap();
            }
            writing.shutdown().await.unwrap();
        };
        let read = async {
            let (mut received, mut bytes) = (0, vec![0; CHUNK]);
            loop {
                let read = tokio::time::timeout(PATIENCE, reading.read(&mut bytes));
                let len = read.await.expect("the peer goes on").unwrap();
                if len == 0 {
                    break received;
                }
                self.expected.check(received, &bytes[..len]).unwrap();
                received += len as u64;
            }
        };
        let ((), received) = tokio::join!(write, read);
        self.until.check(received);
        received
    }
}

/// One connection of each family from each side, all at once, `len` bytes each way over each.
fn exchange(bed: Bed, link: LinkConfig, len: u64) {
    let relay = bed.relay(link).start().unwrap();
    let until = Until::Bytes(len);
    let mut kernel_side: Vec<JoinHandle<u64>> = Vec::new();
    let mut listeners = Vec::new();
    for (n, family) in (0..).zip(Family::BOTH) {
        // From the kernel to us; we may not listen yet, and the SYN may be lost.
        let to = family.socket(OURS, 80);
        kernel_side.push(
            bed.kernel
                .netns()
                .spawn(move || Deal::of_kernel(n, until).by_kernel(kernel_connects(to))),
        );
        // From us to the kernel.
        let at = family.socket(KERNEL, 80);
        let bound = bed
            .kernel
            .netns()
            .spawn(move || TcpListener::bind(at).unwrap());
        let listener = bound.join().unwrap();
        listeners.push((n + 2, at));
        kernel_side.push(std::thread::spawn(move || {
            Deal::of_kernel(n + 2, until).by_kernel(listener.accept().unwrap().0)
        }));
    }
    bed.app
        .run(|_| async move {
            let mut tasks = tokio::task::JoinSet::new();
            for (n, family) in (0..).zip(Family::BOTH) {
                let listener = ours::TcpListener::bind(family.socket(OURS, 80))
                    .await
                    .unwrap();
                tasks.spawn(async move {
                    let (stream, _) = listener.accept().await.unwrap();
                    Deal::of_ours(n, until).by_ours(stream).await
                });
            }
            for (n, to) in listeners {
                tasks.spawn(async move {
                    let stream = ours::TcpStream::connect(to).await.unwrap();
                    Deal::of_ours(n, until).by_ours(stream).await
                });
            }
            tasks.join_all().await;
            // The kernel still wants its last acknowledgments.
            while !kernel_side.iter().all(JoinHandle::is_finished) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            kernel_side
                .into_iter()
                .for_each(|end| assert_eq!(end.join().unwrap(), len));
        })
        .unwrap();
    // A TAP device goes with its application, which the relay may have noticed already: that is no error.
    let stats = relay.stats();
    for direction in [stats.there, stats.back] {
        assert!(was_bad(&direction.link), "{stats:?}");
    }
}

fn kernel_connects(to: SocketAddr) -> TcpStream {
    let end = Instant::now() + PATIENCE;
    loop {
        match TcpStream::connect(to) {
            Ok(stream) => return stream,
            Err(error) => assert!(Instant::now() < end, "{to}: {error}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn bytes_are_right_both_ways_over_a_bad_network_af_packet() {
    exchange(Bed::new(Device::AfPacket), bad(0.02), 2_000_000);
}

#[test]
fn bytes_are_right_both_ways_over_a_bad_network_tap() {
    exchange(Bed::new(Device::Tap), bad(0.02), 2_000_000);
}

#[test]
fn bytes_are_right_both_ways_over_a_very_bad_network_with_bbr() {
    let mut bed = Bed::new(Device::AfPacket);
    bed.app = bed
        .app
        .stack(|stack| stack.tcp.congestion = CongestionAlgorithm::Bbr);
    exchange(bed, bad(0.08), 300_000);
}

#[test]
fn soak_24_connections_of_bulk_both_ways_at_once() {
    let seconds = match std::env::var(SOAK_VAR) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{SOAK_VAR}={text} is not a number of seconds")),
        Err(_) => 15,
    };
    let bed = Bed::new(Device::AfPacket);
    let relay = bed.relay(bad(0.01)).start().unwrap();
    let until = Until::Time(Instant::now() + Duration::from_secs(seconds));
    let to_kernel = Arc::new(AtomicU64::new(0));
    let family = |n: u64| Family::BOTH[n as usize % 2];
    let kernel_side: Vec<JoinHandle<()>> = (0..24)
        .map(|n| {
            let (to, to_kernel) = (family(n).socket(OURS, 1_000 + n as u16), to_kernel.clone());
            bed.kernel.netns().spawn(move || {
                let received = Deal::of_kernel(n, until).by_kernel(kernel_connects(to));
                to_kernel.fetch_add(received, Ordering::Relaxed);
            })
        })
        .collect();
    let to_ours = bed
        .app
        .run(|ctx| async move {
            let mut tasks = tokio::task::JoinSet::new();
            for n in 0..24 {
                let at = family(n).socket(OURS, 1_000 + n as u16);
                let listener = ours::TcpListener::bind(at).await.unwrap();
                tasks.spawn(async move {
                    let (stream, _) = listener.accept().await.unwrap();
                    Deal::of_ours(n, until).by_ours(stream).await
                });
            }
            let received = tasks.join_all().await;
            while !kernel_side.iter().all(JoinHandle::is_finished) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            kernel_side.into_iter().for_each(|end| end.join().unwrap());
            println!("{:?}", ctx.stats());
            assert!(
                received.iter().all(|&bytes| bytes > 0),
                "one starved: {received:?}"
            );
            received.iter().sum::<u64>()
        })
        .unwrap();
    let stats = relay.stats();
    let to_kernel = to_kernel.load(Ordering::Relaxed);
    println!("{to_ours} bytes to us, {to_kernel} to the kernel, all right\n{stats:#?}");
    for direction in [stats.there, stats.back] {
        assert!(was_bad(&direction.link), "{stats:?}");
    }
}
