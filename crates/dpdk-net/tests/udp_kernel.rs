//! UDP segmentation and GRO with the kernel as the peer, over a TAP device. Needs root.

use std::io::{ErrorKind, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use dpdk_net::net as ours;
use dpdk_net::rte::Eal;
use dpdk_net::{App, AppBuilder, IdlePolicy};
use dpdk_net_testkit::addr::{Family, IPV4_PREFIX_LEN, IPV6_PREFIX_LEN};
use dpdk_net_testkit::bed::Netns;
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};

const KERNEL: u16 = 1;
const OURS: u16 = 2;
const PORT: u16 = 7;
const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of a datagram, and of all: 40 datagrams and a shorter one.
const SIZE: usize = 1_200;
const ALL: usize = 40 * SIZE + 345;

/// A namespace with the kernel's end of our device.
struct Bed {
    netns: Netns,
    app: AppBuilder,
}

impl Bed {
    fn new() -> Self {
        let netns = Netns::new().unwrap();
        netns.enter().unwrap();
        let eal = Eal::builder("dpdk-net-test")
            .no_huge()
            .no_pci()
            .no_shconf()
            .no_telemetry()
            .memory_mb(256)
            .file_prefix(format_args!("dpdk-net-test-{}", std::process::id()))
            // The kernel's thread comes from this one: it needs the other cores.
            .keep_affinity()
            .vdev("net_tap0,iface=tp0")
            .init()
            .unwrap();
        for (family, len) in [(Family::V4, IPV4_PREFIX_LEN), (Family::V6, IPV6_PREFIX_LEN)] {
            let address = format!("{}/{len}", family.host(KERNEL));
            netns.add_address("tp0", &address).unwrap();
        }
        netns.up("tp0").unwrap();
        let app = App::builder()
            .with_eal(eal)
            .address(format!("{}/{IPV4_PREFIX_LEN}", Family::V4.host(OURS)))
            .address(format!("{}/{IPV6_PREFIX_LEN}", Family::V6.host(OURS)))
            .stack(|stack| stack.dad = false)
            .idle(IdlePolicy::Yield { after: 16 });
        Self { netns, app }
    }

    /// A socket of the kernel in the namespace.
    fn kernel_socket(&self, at: SocketAddr) -> UdpSocket {
        let bound = self.netns.spawn(move || UdpSocket::bind(at).unwrap());
        bound.join().unwrap()
    }
}

fn data() -> Vec<u8> {
    (0..ALL).map(|i| (i * 31 + (i >> 8) * 7) as u8).collect()
}

async fn finished<T>(thread: JoinHandle<T>) -> T {
    while !thread.is_finished() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    thread.join().unwrap()
}

/// Receives `count` datagrams one by one.
fn receive(socket: &UdpSocket, count: usize) -> Vec<Vec<u8>> {
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut buf = [0; 2_048];
    let mut one = || {
        let len = socket.recv(&mut buf).unwrap();
        buf[..len].to_vec()
    };
    (0..count).map(|_| one()).collect()
}

#[test]
fn a_kernel_socket_receives_each_datagram_that_was_sent_at_once() {
    let bed = Bed::new();
    let sockets = Family::BOTH.map(|family| bed.kernel_socket(family.socket(KERNEL, PORT)));
    bed.app
        .run(|_| async move {
            for (family, socket) in Family::BOTH.into_iter().zip(sockets) {
                let sender = ours::UdpSocket::bind(family.socket(OURS, 0)).await.unwrap();
                let data = data();
                let to = family.socket(KERNEL, PORT);
                // The first ones wait until the kernel's MAC address is known, the second ones do not.
                for _ in 0..2 {
                    let socket = socket.try_clone().unwrap();
                    let receiver = std::thread::spawn(move || receive(&socket, 41));
                    let sent = sender.send_segments_to(&data, SIZE, to).await.unwrap();
                    assert_eq!(sent, ALL);
                    let got = finished(receiver).await;
                    assert!(got == data.chunks(SIZE).collect::<Vec<_>>(), "{family:?}");
                }
            }
        })
        .unwrap();
}

#[test]
fn a_kernel_socket_with_gro_makes_the_same_of_what_was_sent_at_once() {
    let bed = Bed::new();
    let sockets = Family::BOTH.map(|family| bed.kernel_socket(family.socket(KERNEL, PORT)));
    bed.app
        .run(|_| async move {
            for (family, socket) in Family::BOTH.into_iter().zip(sockets) {
                let sender = ours::UdpSocket::bind(family.socket(OURS, 0)).await.unwrap();
                let data = data();
                let receiver = std::thread::spawn(move || {
                    let state = UdpSocketState::new((&socket).into()).unwrap();
                    assert!(state.gro_segments() > 1, "the kernel has UDP GRO");
                    let (mut got, mut buf) = (Vec::new(), vec![0; 65_536]);
                    let end = Instant::now() + PATIENCE;
                    while got.len() < ALL {
                        let mut meta = [RecvMeta::default()];
                        let mut bufs = [IoSliceMut::new(&mut buf)];
                        match state.recv((&socket).into(), &mut bufs, &mut meta) {
                            Ok(count) => assert_eq!(count, 1),
                            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                                assert!(Instant::now() < end, "{} bytes", got.len());
                                std::thread::sleep(Duration::from_millis(1));
                                continue;
                            }
                            Err(error) => panic!("{error}"),
                        }
                        let [meta] = meta;
                        assert!(meta.stride == SIZE || meta.len < SIZE, "{meta:?}");
                        got.extend_from_slice(&buf[..meta.len]);
                    }
                    got
                });
                let to = family.socket(KERNEL, PORT);
                sender.send_segments_to(&data, SIZE, to).await.unwrap();
                assert!(finished(receiver).await == data, "{family:?}");
            }
        })
        .unwrap();
}

#[test]
fn what_a_kernel_socket_sends_with_udp_segment_is_received_by_gro() {
    let bed = Bed::new();
    let sockets = Family::BOTH.map(|family| bed.kernel_socket(family.socket(KERNEL, 0)));
    bed.app
        .run(|_| async move {
            for (family, socket) in Family::BOTH.into_iter().zip(sockets) {
                let to = family.socket(OURS, PORT);
                let receiver = ours::UdpSocket::bind(to).await.unwrap();
                receiver.set_gro(true).unwrap();
                let from = socket.local_addr().unwrap();
                let sender = std::thread::spawn(move || {
                    let state = UdpSocketState::new((&socket).into()).unwrap();
                    assert!(state.max_gso_segments() >= 41, "the kernel has UDP_SEGMENT");
                    let data = data();
                    let transmit = Transmit {
                        destination: to,
                        ecn: None,
                        contents: &data,
                        segment_size: Some(SIZE),
                        src_ip: None,
                    };
                    state.try_send((&socket).into(), &transmit).unwrap();
                    socket
                });
                let (mut got, mut calls) = (Vec::new(), 0);
                let mut buf = vec![0; 65_536];
                while got.len() < ALL {
                    let receive = tokio::time::timeout(PATIENCE, receiver.recv_gro(&mut buf));
                    let meta = receive.await.expect("datagrams come").unwrap();
                    assert_eq!(meta.addr, from);
                    for datagram in meta.datagrams(&buf) {
                        let left = ALL - got.len();
                        assert_eq!(datagram.len(), left.min(SIZE));
                        got.extend_from_slice(datagram);
                    }
                    calls += 1;
                }
                assert!(got == data(), "{family:?}");
                // A burst holds more than one of them.
                assert!(calls < 41, "{calls} calls");
                finished(sender).await;
            }
        })
        .unwrap();
}
