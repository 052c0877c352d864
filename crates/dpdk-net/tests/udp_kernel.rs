//! UDP segmentation and GRO with the kernel as the peer, over a TAP device. Needs root.

mod common;

use std::io::{ErrorKind, IoSliceMut};
use std::net::UdpSocket;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use common::kernel::{KERNEL, OURS, app_facing_kernel, eal_facing_kernel, kernel_up};
use common::pattern;
use dpdk_net::AppBuilder;
use dpdk_net::net::{self as ours, EcnCodepoint, MtuDiscovery};
use dpdk_net_testkit::addr::Family;
use dpdk_net_testkit::bed::Netns;
use quinn_udp::{RecvMeta, Transmit, UdpSocketState};

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
        let app = app_facing_kernel(eal_facing_kernel("net_tap0,iface=tp0"));
        kernel_up(&netns, "tp0");
        Self { netns, app }
    }

    /// Runs `test` for each family, with a socket of the kernel's in the namespace at this port.
    fn run(self, port: u16, test: impl AsyncFn(Family, UdpSocket)) {
        let sockets = Family::BOTH.map(|family| {
            let at = family.socket(KERNEL, port);
            let bound = self.netns.spawn(move || UdpSocket::bind(at).unwrap());
            bound.join().unwrap()
        });
        self.app
            .run(|_| async {
                for (family, socket) in Family::BOTH.into_iter().zip(sockets) {
                    test(family, socket).await;
                }
            })
            .unwrap();
    }
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
    Bed::new().run(PORT, async |family, socket| {
        let sender = ours::UdpSocket::bind(family.socket(OURS, 0)).await.unwrap();
        let data = pattern(ALL);
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
    });
}

#[test]
fn a_kernel_socket_with_gro_makes_the_same_of_what_was_sent_at_once() {
    Bed::new().run(PORT, async |family, socket| {
        let sender = ours::UdpSocket::bind(family.socket(OURS, 0)).await.unwrap();
        let data = pattern(ALL);
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
    });
}

#[test]
fn what_a_kernel_socket_sends_with_udp_segment_is_received_by_gro() {
    Bed::new().run(0, async |family, socket| {
        let to = family.socket(OURS, PORT);
        let receiver = ours::UdpSocket::bind(to).await.unwrap();
        receiver.set_gro(true).unwrap();
        let from = socket.local_addr().unwrap();
        let sender = std::thread::spawn(move || {
            let state = UdpSocketState::new((&socket).into()).unwrap();
            assert!(state.max_gso_segments() >= 41, "the kernel has UDP_SEGMENT");
            let data = pattern(ALL);
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
        assert!(got == pattern(ALL), "{family:?}");
        // A burst holds more than one of them.
        assert!(calls < 41, "{calls} calls");
        finished(sender).await;
    });
}

/// Receives one datagram with all that the kernel tells of it, and sends it back with the same ECN field.
fn echo_marked(socket: &UdpSocket, state: &UdpSocketState) {
    let mut buf = vec![0; 2_048];
    let mut meta = [RecvMeta::default()];
    let end = Instant::now() + PATIENCE;
    while let Err(error) = state.recv(socket.into(), &mut [IoSliceMut::new(&mut buf)], &mut meta) {
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        assert!(Instant::now() < end, "nothing came");
        std::thread::sleep(Duration::from_millis(1));
    }
    let [meta] = meta;
    let transmit = Transmit {
        destination: meta.addr,
        ecn: meta.ecn,
        contents: &buf[..meta.len],
        segment_size: None,
        src_ip: None,
    };
    state.try_send(socket.into(), &transmit).unwrap();
}

#[test]
fn the_ecn_field_goes_to_the_kernel_and_comes_back_with_the_address_that_was_asked() {
    const ALL: [Option<EcnCodepoint>; 4] = [
        None,
        Some(EcnCodepoint::Ect0),
        Some(EcnCodepoint::Ect1),
        Some(EcnCodepoint::Ce),
    ];
    Bed::new().run(PORT, async |family, socket| {
        let ours = ours::UdpSocket::bind("[::]:0").await.unwrap();
        ours.set_mtu_discovery(MtuDiscovery::Probe).unwrap();
        let echo = std::thread::spawn(move || {
            let state = UdpSocketState::new((&socket).into()).unwrap();
            ALL.iter().for_each(|_| echo_marked(&socket, &state));
        });
        let mut buf = vec![0; 2_048];
        for ecn in ALL {
            let mut transmit = ours::Transmit::new(b"marked");
            transmit.destination = Some(family.socket(KERNEL, PORT));
            transmit.src_ip = Some(family.host(OURS));
            transmit.ecn = ecn;
            ours.transmit(&transmit).await.unwrap();
            let receive = tokio::time::timeout(PATIENCE, ours.recv_gro(&mut buf));
            let meta = receive.await.expect("it comes back").unwrap();
            assert_eq!(
                (meta.ecn, &buf[..meta.len]),
                (ecn, &b"marked"[..]),
                "{family:?}"
            );
            assert_eq!(meta.dst_ip.to_canonical(), family.host(OURS));
            assert_eq!(meta.addr.ip().to_canonical(), family.host(KERNEL));
        }
        finished(echo).await;
    });
}
