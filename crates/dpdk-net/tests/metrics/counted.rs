//! Counters are what tcpdump, nstat and the kernel's interface counted in the same run, to the packet.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use dpdk_net::Context;
use dpdk_net::metrics::Family;
use dpdk_net::net as ours;
use dpdk_net::rte::port::{Offload, Wish};
use dpdk_net_testkit::addr::Family as IpFamily;
use dpdk_net_testkit::bed::{Netns, Process};
use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::common::kernel::{KERNEL, OURS, app_facing_kernel, eal_facing_kernel, kernel_up};
use crate::figure;

const PATIENCE: Duration = Duration::from_secs(20);
/// How long nothing more happens when all has.
const QUIET: Duration = Duration::from_millis(400);

const CONNECTIONS: usize = 20;
const REQUESTS: usize = 25;
const DATAGRAMS: usize = 30;
const PINGS: usize = 3;
/// A port of ours where nobody is.
const CLOSED: u16 = 4_000;

/// What was on the wire, by protocol: packets and bytes of payload, to us and from us.
#[derive(Debug, Default, PartialEq, Eq)]
struct Wire {
    tcp: [u64; 2],
    /// Each byte once.
    tcp_bytes: [u64; 2],
    /// Segments with something that had been sent before: a machine that stands still for a moment is enough.
    tcp_again: [u64; 2],
    udp: [u64; 2],
    icmp: [u64; 2],
}

/// Reads a capture of the classic format.
fn on_the_wire(capture: &[u8]) -> Wire {
    let ours = IpFamily::BOTH.map(|family| family.host(OURS));
    let mut wire = Wire::default();
    let mut rest = &capture[24..];
    // Up to where each side of each connection has sent.
    let mut sent = HashMap::<_, u32>::new();
    while !rest.is_empty() {
        let length = u32::from_ne_bytes(rest[8..12].try_into().unwrap()) as usize;
        let (frame, after) = rest[16..].split_at(length);
        rest = after;
        let packet = SlicedPacket::from_ethernet(frame).unwrap();
        let source: IpAddr = match packet.net {
            Some(NetSlice::Ipv4(ip)) => ip.header().source_addr().into(),
            Some(NetSlice::Ipv6(ip)) => ip.header().source_addr().into(),
            _ => continue,
        };
        let from_us = usize::from(ours.contains(&source));
        match packet.transport {
            Some(TransportSlice::Tcp(tcp)) => {
                wire.tcp[from_us] += 1;
                let length = tcp.payload().len() as u32;
                let begin = tcp.sequence_number();
                let taken = length + u32::from(tcp.syn()) + u32::from(tcp.fin());
                if taken == 0 {
                    continue;
                }
                let side = (source, tcp.source_port(), tcp.destination_port());
                let before = *sent.entry(side).or_insert(begin);
                let known = before
                    .wrapping_sub(begin)
                    .cast_signed()
                    .max(0)
                    .cast_unsigned();
                wire.tcp_again[from_us] += u64::from(known > 0);
                wire.tcp_bytes[from_us] += u64::from(length.saturating_sub(known));
                sent.insert(side, begin.wrapping_add(known.max(taken)));
            }
            Some(TransportSlice::Udp(_)) => wire.udp[from_us] += 1,
            Some(TransportSlice::Icmpv4(_)) => wire.icmp[from_us] += 1,
            _ => {}
        }
    }
    wire
}

/// What `nstat` tells of a namespace since it was made.
fn nstat(netns: &Netns) -> HashMap<String, u64> {
    let command = ["nstat", "-a", "-z", "-s"];
    let text = netns.run(&command, PATIENCE).unwrap().text();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines
        .map(|line| {
            let mut words = line.split_whitespace();
            let name = words.next().unwrap().to_owned();
            (name, words.next().unwrap().parse().unwrap())
        })
        .collect()
}

fn interface(netns: &Netns, interface: &str, figure: &str) -> u64 {
    // The thread that asks has its own view of /sys.
    let text = netns
        .run(&["ip", "-s", "-j", "link", "show", interface], PATIENCE)
        .unwrap()
        .text();
    let links: serde_json::Value = serde_json::from_str(&text).unwrap();
    let (side, what) = figure.split_once('.').unwrap();
    links[0]["stats64"][side][what].as_u64().unwrap()
}

/// What the kernel does: requests on connections of both families, datagrams, some to a port where nobody is, and pings.
fn kernel_side() {
    for family in IpFamily::BOTH {
        for connection in 0..CONNECTIONS {
            let mut stream = TcpStream::connect(family.socket(OURS, 7)).unwrap();
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let request = vec![b'x'; 1 + connection * 97];
            let mut back = vec![0; request.len()];
            for _ in 0..REQUESTS {
                stream.write_all(&request).unwrap();
                stream.read_exact(&mut back).unwrap();
            }
            assert_eq!(back, request);
        }
        let socket = UdpSocket::bind(family.socket(KERNEL, 0)).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        for _ in 0..DATAGRAMS {
            let mut back = [0; 64];
            socket.send_to(b"datagram", family.socket(OURS, 7)).unwrap();
            // The TAP driver's signals interrupt who waits with a time limit.
            let received = loop {
                match socket.recv(&mut back) {
                    Err(error) if error.kind() == ErrorKind::Interrupted => {}
                    received => break received.unwrap(),
                }
            };
            assert_eq!(received, 8);
        }
        socket
            .send_to(b"nobody", family.socket(OURS, CLOSED))
            .unwrap();
    }
}

async fn serve(ctx: Context) {
    let listener = ours::TcpListener::bind("[::]:7").await.unwrap();
    let socket = ours::UdpSocket::bind("[::]:7").await.unwrap();
    tokio::spawn(async move {
        let mut buf = [0; 2_048];
        loop {
            let (len, from) = socket.recv_from(&mut buf).await.unwrap();
            socket.send_to(&buf[..len], from).await.unwrap();
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut buf = vec![0; 8_192];
                while let Ok(len @ 1..) = stream.read(&mut buf).await {
                    stream.write_all(&buf[..len]).await.unwrap();
                }
            });
        }
    });
    drop(ctx);
}

/// All frames that were captured, once no more come.
fn finish(mut tcpdump: Process, file: &std::path::Path) -> Vec<u8> {
    let (mut length, mut since) = (0, Instant::now());
    while since.elapsed() < QUIET {
        std::thread::sleep(Duration::from_millis(10));
        let now = std::fs::metadata(file).unwrap().len();
        if now != length {
            (length, since) = (now, Instant::now());
        }
    }
    tcpdump.signal("INT").unwrap();
    tcpdump.wait_for("dropped by kernel", PATIENCE).unwrap();
    let told = tcpdump.stderr();
    tcpdump.wait(PATIENCE).unwrap().expect("it ends");
    assert!(told.contains("\n0 packets dropped by kernel"), "{told}");
    std::fs::read(file).unwrap()
}

#[test]
fn counters_are_what_the_kernel_saw_to_the_packet() {
    let netns = Netns::new().unwrap();
    netns.enter().unwrap();
    let eal = eal_facing_kernel("net_tap0,iface=tp0");
    kernel_up(&netns, "tp0");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("frames");
    let path = file.to_str().unwrap();
    let mut tcpdump = netns
        .start(&[
            "tcpdump",
            "-n",
            "-U",
            "--immediate-mode",
            "-i",
            "tp0",
            "-s",
            "4096",
            "-B",
            "32768",
            "-Z",
            "root",
            "-w",
            path,
        ])
        .unwrap();
    tcpdump.wait_for("listening on", PATIENCE).unwrap();
    // What the NIC is given whole, for it to cut, is one packet to us and several to the other end.
    let app = [Offload::Tso, Offload::TsoIpv6]
        .into_iter()
        .fold(app_facing_kernel(eal), |app, offload| {
            app.offload(offload, Wish::Off)
        });
    let kernel = app.run(async |ctx| {
        serve(ctx.clone()).await;
        let asking = netns.spawn(kernel_side);
        while !asking.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        asking.join().unwrap();
        let name = netns.name().to_owned();
        let pings = std::thread::spawn(move || {
            let ours = IpFamily::V4.host(OURS).to_string();
            let command = [
                "ip", "netns", "exec", &name, "ping", "-c", "3", "-i", "0.05", &ours,
            ];
            dpdk_net_testkit::bed::run(&command, PATIENCE).unwrap();
        });
        while !pings.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        pings.join().unwrap();
        // All connections have been closed from both sides.
        while ctx.handle().connection_count() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let ending = std::thread::spawn({
            let file = file.clone();
            move || finish(tcpdump, &file)
        });
        while !ending.is_finished() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let capture = ending.join().unwrap();
        // In quiet, until two looks agree: a report of multicast groups may come in between.
        loop {
            let before = (
                interface(&netns, "tp0", "tx.packets"),
                interface(&netns, "tp0", "rx.packets"),
            );
            let families = ctx.metrics().gather();
            let kernel = nstat(&netns);
            let after = (
                interface(&netns, "tp0", "tx.packets"),
                interface(&netns, "tp0", "rx.packets"),
            );
            if before == after {
                break (families, kernel, before, on_the_wire(&capture));
            }
        }
    });
    let (families, nstat, (kernel_tx, kernel_rx), wire) = kernel.unwrap();
    let of = |name: &str| figure(&families, name, &[]);

    // The wire.
    let segments = [
        of("dpdk_net_tcp_rx_segments_total"),
        of("dpdk_net_tcp_tx_segments_total"),
    ];
    assert_eq!(segments, wire.tcp);
    let read = [
        of("dpdk_net_tcp_rx_bytes_total"),
        of("dpdk_net_tcp_tx_bytes_total"),
    ];
    assert_eq!(read, wire.tcp_bytes);
    let expected: u64 = (0..CONNECTIONS)
        .map(|it| ((1 + it * 97) * REQUESTS * 2) as u64)
        .sum();
    assert_eq!(read, [expected; 2], "what was sent, and nothing twice");
    let datagrams = [
        of("dpdk_net_udp_delivered_total"),
        of("dpdk_net_udp_sent_total"),
    ];
    // Those to nobody are counted apart.
    let nobody = of("dpdk_net_udp_no_socket_total");
    assert_eq!([datagrams[0] + nobody, datagrams[1]], wire.udp, "{nobody}");
    assert_eq!(nobody, 2);

    // The interface at the other end.
    let packets = [
        of("dpdk_net_queue_rx_packets_total"),
        of("dpdk_net_queue_tx_packets_total"),
    ];
    assert_eq!(packets, [kernel_tx, kernel_rx]);
    assert_eq!(of("dpdk_net_worker_rx_frames_total"), kernel_tx);
    assert_eq!(of("dpdk_net_frames_rx_frames_total"), kernel_tx);
    assert_eq!(of("dpdk_net_frames_tx_frames_total"), kernel_rx);

    // nstat, whose view is the mirror image.
    // The kernel leaves out of the former what it sends again.
    let sent = nstat["TcpOutSegs"] + nstat["TcpRetransSegs"];
    assert_eq!(segments, [sent, nstat["TcpInSegs"]]);
    assert_eq!(
        of("dpdk_net_tcp_passive_opens_total"),
        nstat["TcpActiveOpens"]
    );
    assert_eq!(
        of("dpdk_net_tcp_passive_opens_total"),
        2 * CONNECTIONS as u64
    );
    let again = [
        nstat["TcpRetransSegs"],
        of("dpdk_net_tcp_retransmits_total"),
    ];
    assert_eq!(again, wire.tcp_again);
    assert_eq!(
        datagrams[1],
        nstat["UdpInDatagrams"] + nstat["Udp6InDatagrams"]
    );
    assert_eq!(
        datagrams[0] + nobody,
        nstat["UdpOutDatagrams"] + nstat["Udp6OutDatagrams"]
    );
    assert_eq!(nstat["IcmpInEchoReps"], PINGS as u64);
    assert_eq!(of("dpdk_net_icmp_echo_replies_sent_total"), PINGS as u64);
    assert_eq!(wire.icmp, [nstat["IcmpOutMsgs"], nstat["IcmpInMsgs"]]);
    assert!(addr_is_ours(&families));
}

/// Every sample of a queue says of which port and queue it is.
fn addr_is_ours(families: &[Family]) -> bool {
    let by_queue = families.iter().filter(|it| it.group == "dpdk_net_tcp");
    let mut samples = by_queue.flat_map(|it| &it.samples);
    let expected = [("port", "net_tap0".to_owned()), ("queue", "0".to_owned())];
    samples.all(|sample| sample.labels.starts_with(&expected))
}
