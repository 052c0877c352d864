//! net_tap and net_af_packet with the kernel as the peer, over both families: connections both ways and datagrams.
//! The kernel counts no wrong checksum, and each frame that comes to it is right by itself.

use std::net::SocketAddr;
use std::thread::JoinHandle;
use std::time::Duration;

use dpdk_net::Snapshot;
use dpdk_net::net as ours;
use dpdk_net::rte::port::{Offload, OffloadRequest, Offloads, Wish};
use dpdk_net_testkit::addr::Family;
use dpdk_net_testkit::bed::Netns;

use super::bed::Bed;
use super::bytes::{BYTES, as_client, as_server, datagrams, in_time};
use super::capture::{Capture, check};
use super::{RX_CHECKSUMS, TX_CHECKSUMS, insisting, without};
use crate::common::kernel::{KERNEL, OURS};

const PORT: u16 = 7;
/// Connections to each of our addresses, and to each of the kernel's.
const CONNECTIONS: u8 = 2;

/// What there is to be said of a run.
struct Outcome {
    snapshot: Snapshot,
    offloads: Offloads,
}

impl Outcome {
    fn sent_large(&self) -> bool {
        self.snapshot.worker.tx_cut_by_nic > 0
    }

    /// The names of what is on.
    fn on(&self) -> Vec<&'static str> {
        let on = self.offloads.iter().filter(|entry| entry.on);
        on.map(|entry| entry.offload.name()).collect()
    }

    fn why(&self, offload: Offload) -> &str {
        &self.offloads.entry(offload).unwrap().why
    }
}

fn sockets(host: u16) -> Vec<SocketAddr> {
    Family::BOTH
        .map(|family| family.socket(host, PORT))
        .to_vec()
}

/// The kernel's side: it connects, it is connected to, and its datagrams are answered.
fn kernel(netns: &Netns) -> JoinHandle<()> {
    netns.spawn(|| {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(in_time(async {
            let mut tasks = tokio::task::JoinSet::new();
            for address in sockets(KERNEL) {
                let listener = tokio::net::TcpListener::bind(address).await.unwrap();
                tasks.spawn(async move {
                    for _ in 0..CONNECTIONS {
                        as_server(listener.accept().await.unwrap().0).await;
                    }
                });
            }
            for address in sockets(OURS) {
                send_datagrams(address).await;
                for number in 0..CONNECTIONS {
                    tasks.spawn(async move {
                        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
                        as_client(stream, number).await;
                    });
                }
            }
            tasks.join_all().await;
        }));
    })
}

async fn send_datagrams(to: SocketAddr) {
    let from = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = tokio::net::UdpSocket::bind(from).await.unwrap();
    socket.connect(to).await.unwrap();
    let mut buf = vec![0; 2_048];
    for datagram in datagrams() {
        socket.send(&datagram).await.unwrap();
        let len = in_time(socket.recv(&mut buf)).await.unwrap();
        assert!(buf[..len] == datagram, "{to}: {len} bytes");
    }
}

/// Our side.
async fn ours(kernel: JoinHandle<()>) {
    let mut listeners = Vec::new();
    for address in sockets(OURS) {
        listeners.push(ours::TcpListener::bind(address).await.unwrap());
        let socket = ours::UdpSocket::bind(address).await.unwrap();
        tokio::spawn(async move {
            let mut buf = vec![0; 2_048];
            while let Ok((len, from)) = socket.recv_from(&mut buf).await {
                socket.send_to(&buf[..len], from).await.unwrap();
            }
        });
    }
    let mut tasks = tokio::task::JoinSet::new();
    for listener in listeners {
        for _ in 0..CONNECTIONS {
            tasks.spawn(as_server(listener.accept().await.unwrap().0));
        }
    }
    for address in sockets(KERNEL) {
        for number in 0..CONNECTIONS {
            let stream = ours::TcpStream::connect(address).await.unwrap();
            tasks.spawn(as_client(stream, number));
        }
    }
    tasks.join_all().await;
    while !kernel.is_finished() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    kernel.join().unwrap();
}

/// Each frame that came to the kernel is right, and none is missing.
fn are_right(frames: &[Vec<u8>]) {
    let mut payload = 0;
    for frame in frames {
        let seen = check(frame).unwrap_or_else(|wrong| panic!("{wrong}"));
        assert!(seen.packet <= 1500, "an IP packet of {} bytes", seen.packet);
        payload += seen.segment.map_or(0, |(_, payload)| payload.len());
    }
    let connections = sockets(OURS).len() + sockets(KERNEL).len();
    assert!(payload >= connections * usize::from(CONNECTIONS) * BYTES);
}

fn run(bed: Bed, offloads: OffloadRequest) -> Outcome {
    let capture = Capture::start(&bed.netns, &bed.interface);
    let outcome = bed
        .app()
        .offloads(offloads)
        .run(|context| {
            // The listeners are there when the kernel's side runs: this thread makes them before it receives anything.
            let kernel = kernel(&bed.netns);
            async move {
                in_time(ours(kernel)).await;
                Outcome {
                    snapshot: context.stats(),
                    offloads: context.offloads(),
                }
            }
        })
        .unwrap();
    assert_eq!(bed.kernel_errors(), [], "counted by the kernel");
    if let Some(frames) = capture.finish() {
        are_right(&frames);
    }
    let frames = outcome.snapshot.stack.frames;
    for (name, count) in frames.iter().filter(|(name, _)| {
        name.contains("checksum") || name.contains("malformed") || name.contains("vlan")
    }) {
        assert_eq!(count, 0, "{name}");
    }
    assert_eq!(outcome.snapshot.tx_offloads_given_up, 0);
    outcome
}

#[test]
fn the_kernel_gets_right_frames_of_net_tap_with_all_its_offloads() {
    let request = insisting(&[
        Offload::RxIpv4Checksum,
        Offload::RxTcpChecksum,
        Offload::RxUdpChecksum,
        Offload::TxIpv4Checksum,
        Offload::TxTcpChecksum,
        Offload::TxUdpChecksum,
        Offload::Tso,
        Offload::MultiSegs,
    ]);
    let outcome = run(Bed::tap(), request);
    assert!(outcome.sent_large());
    assert_eq!(
        outcome.on(),
        [
            "rx-ipv4-checksum",
            "rx-tcp-checksum",
            "rx-udp-checksum",
            "tx-ipv4-checksum",
            "tx-tcp-checksum",
            "tx-udp-checksum",
            "tso",
            "multi-segs"
        ]
    );
    for (offload, part) in [
        (Offload::Scatter, "of no use"),
        (Offload::Tso, "64 of them a packet at most"),
        (Offload::TsoIpv6, "segments IPv4 only"),
        (Offload::VlanInsert, "not offered"),
        (Offload::Lro, "not offered"),
    ] {
        assert!(outcome.why(offload).contains(part), "{}", outcome.offloads);
    }
}

#[test]
fn the_kernel_gets_right_frames_of_net_tap_without_any_offload() {
    let outcome = run(Bed::tap(), OffloadRequest::NONE);
    assert!(!outcome.sent_large());
    assert_eq!(outcome.on(), [""; 0]);
    assert_eq!(outcome.why(Offload::Tso), "not wanted");
}

#[test]
fn the_kernel_gets_right_frames_of_net_tap_without_tso() {
    let outcome = run(Bed::tap(), without(&[Offload::Tso]));
    assert!(!outcome.sent_large());
    assert!(outcome.offloads.is_on(Offload::MultiSegs));
}

#[test]
fn the_kernel_gets_right_frames_of_net_tap_without_checksums_of_what_is_sent() {
    let outcome = run(Bed::tap(), without(&TX_CHECKSUMS));
    assert!(!outcome.sent_large());
    let why = outcome.why(Offload::Tso);
    assert_eq!(why, "needs tx-tcp-checksum, which is off");
}

#[test]
fn the_kernel_gets_right_frames_of_net_tap_without_checksums_of_ipv4_headers_alone() {
    let outcome = run(Bed::tap(), without(&[Offload::TxIpv4Checksum]));
    assert!(!outcome.sent_large() && outcome.offloads.is_on(Offload::TxTcpChecksum));
    let why = outcome.why(Offload::Tso);
    assert_eq!(why, "needs tx-ipv4-checksum, which is off");
}

#[test]
fn what_the_kernel_sends_to_net_tap_is_verified_in_software_where_that_does_not() {
    let outcome = run(Bed::tap(), without(&RX_CHECKSUMS));
    assert!(outcome.sent_large());
}

#[test]
fn the_kernel_gets_right_frames_of_net_tap_with_one_mbuf_a_packet() {
    let outcome = run(Bed::tap(), without(&[Offload::MultiSegs]));
    assert!(!outcome.sent_large());
    let why = outcome.why(Offload::Tso);
    assert_eq!(why, "needs multi-segs, which is off");
}

#[test]
fn the_kernel_gets_right_frames_of_net_af_packet_with_all_its_offloads() {
    let all = [Offload::VlanStrip, Offload::MultiSegs, Offload::VlanInsert];
    let outcome = run(Bed::af_packet(), insisting(&all));
    assert!(!outcome.sent_large());
    assert_eq!(outcome.on(), all.map(Offload::name).as_slice());
}

#[test]
fn the_kernel_gets_right_frames_of_net_af_packet_without_any_offload() {
    let outcome = run(Bed::af_packet(), OffloadRequest::NONE);
    assert_eq!(outcome.on(), [""; 0]);
}

/// What an application is told that insists on an offload of net_tap.
fn is_refused(offload: Offload, why: &str) {
    let bed = Bed::tap();
    let app = bed.app().offload(offload, Wish::On);
    let text = app.run(|_| async {}).unwrap_err().to_string();
    let name = format!("offload {offload} of port 0 (net_tap0)");
    for part in [&*name, why, "wish `auto` or `off` for it"] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn insisting_on_what_net_tap_does_not_offer_names_port_driver_and_remedy() {
    is_refused(Offload::Lro, "driver net_tap does not offer");
}

#[test]
fn insisting_on_what_net_tap_offers_and_does_not_do_names_port_driver_and_remedy() {
    let why = "driver net_tap can't: this driver segments IPv4 only";
    is_refused(Offload::TsoIpv6, why);
}
