//! Frames with a wrong checksum, which the kernel's side puts on the link: net_tap says BAD, or says nothing and the software
//! finds them. They are dropped and counted either way.

use std::time::Duration;

use dpdk_net::net::UdpSocket;
use dpdk_net::packet::{ChecksumVerdict, FrameBuf};
use dpdk_net::rte::port::OffloadRequest;
use dpdk_net::rte::{Mempool, Port, PortConfig, RxBatch};
use dpdk_net_testkit::addr::Family;
use dpdk_net_testkit::frames::{Path, Segment, flags};

use super::bed::Bed;
use super::bytes::in_time;
use super::{RX_CHECKSUMS, insisting, without};
use crate::common::kernel::{KERNEL, OURS};

const PORT: u16 = 9;

/// Frames from the kernel's side, each with something wrong, and which counter of the stack says so.
fn wrong() -> Vec<(&'static str, Vec<u8>)> {
    let mut frames = Vec::new();
    for family in Family::BOTH {
        let path = Path::new(family, KERNEL, OURS);
        let mut tcp = path.tcp(&Segment {
            src_port: 40_000,
            dst_port: PORT,
            flags: flags::SYN,
            window: 1_000,
            payload: b"odd".to_vec(),
            ..Segment::default()
        });
        flip_last(&mut tcp);
        frames.push(("drop_tcp_checksum", tcp));
        let mut udp = path.udp(40_000, PORT, b"odd");
        flip_last(&mut udp);
        frames.push(("drop_udp_checksum", udp));
    }
    let mut header = Path::new(Family::V4, KERNEL, OURS).udp(40_000, PORT, b"header");
    // The time to live.
    header[22] ^= 1;
    frames.push(("drop_ipv4_checksum", header));
    frames
}

fn flip_last(frame: &mut [u8]) {
    if let Some(last) = frame.last_mut() {
        *last ^= 1;
    }
}

/// A datagram that is right; over IPv4 also one without a checksum, which is right too.
fn right(family: Family) -> Vec<Vec<u8>> {
    let frame = Path::new(family, KERNEL, OURS).udp(40_000, PORT, b"right");
    let mut frames = vec![frame.clone()];
    if family == Family::V4 {
        let mut without = frame;
        without[40..42].fill(0);
        frames.push(without);
    }
    frames
}

fn are_dropped(offloads: OffloadRequest) {
    let bed = Bed::tap();
    bed.app()
        .offloads(offloads)
        .run(|context| {
            let bed = &bed;
            async move {
                let mut sockets = Vec::new();
                for family in Family::BOTH {
                    let socket = UdpSocket::bind(family.socket(OURS, PORT)).await.unwrap();
                    sockets.push((family, socket));
                }
                let before = context.stats().stack;
                let (names, mut frames): (Vec<_>, Vec<_>) = wrong().into_iter().unzip();
                frames.extend(Family::BOTH.into_iter().flat_map(right));
                bed.inject(frames);
                for (family, socket) in &sockets {
                    for _ in right(*family) {
                        let mut buf = [0; 64];
                        let (len, from) = in_time(socket.recv_from(&mut buf)).await.unwrap();
                        assert_eq!(&buf[..len], b"right");
                        assert_eq!(from, family.socket(KERNEL, 40_000));
                    }
                    let mut buf = [0; 64];
                    let more = socket.recv_from(&mut buf);
                    let more = tokio::time::timeout(Duration::from_millis(20), more).await;
                    assert!(more.is_err(), "what is wrong is not delivered");
                }
                let after = context.stats().stack;
                // Damaged segments are counted as such, and not taken for anything else.
                let errors = after.tcp.rx_errors - before.tcp.rx_errors;
                assert_eq!(after.tcp.rx_segments - before.tcp.rx_segments, errors);
                assert_eq!(
                    errors,
                    after.frames.drop_tcp_checksum - before.frames.drop_tcp_checksum
                );
                for ((name, after), (_, before)) in after.frames.iter().zip(before.frames.iter()) {
                    if name.contains("checksum") {
                        let sent = names.iter().filter(|sent| **sent == name).count();
                        assert_eq!(after - before, sent as u64, "{name}");
                    }
                }
            }
        })
        .unwrap();
}

#[test]
fn what_net_tap_calls_bad_is_counted_and_dropped() {
    are_dropped(insisting(&RX_CHECKSUMS));
}

#[test]
fn what_net_tap_says_nothing_about_is_found_in_software_and_dropped() {
    are_dropped(without(&RX_CHECKSUMS));
}

/// What the device says of frames: of the IPv4 header, of what is in the packet.
fn verdicts(offloads: OffloadRequest) -> Vec<(ChecksumVerdict, ChecksumVerdict)> {
    let bed = Bed::tap();
    let pool = Mempool::builder(&bed.eal, "pool")
        .capacity(4_095)
        .build()
        .unwrap();
    let config = PortConfig {
        offloads,
        ..PortConfig::default()
    };
    let port = Port::open(&bed.eal, "net_tap0")
        .unwrap()
        .configure(&config, &[pool])
        .unwrap()
        .start()
        .unwrap();
    let mut queues = port.take_queues().unwrap().remove(0);
    let mut frames: Vec<_> = wrong().into_iter().map(|(_, frame)| frame).collect();
    frames.extend(Family::BOTH.into_iter().flat_map(right));
    bed.inject(frames.clone());
    let mut verdicts = vec![None; frames.len()];
    let end = std::time::Instant::now() + Duration::from_secs(20);
    let mut batch: RxBatch<32> = RxBatch::new();
    while verdicts.iter().any(Option::is_none) {
        assert!(std::time::Instant::now() < end, "{verdicts:?}");
        batch.receive(&mut queues.rx);
        for frame in batch.as_slice() {
            // The kernel sends some of its own.
            let at = frames
                .iter()
                .position(|sent| sent == frame.as_mbuf().data());
            if let Some(at) = at {
                let meta = frame.rx_meta();
                verdicts[at] = Some((meta.ip_checksum, meta.l4_checksum));
            }
        }
        batch.clear();
    }
    verdicts.into_iter().flatten().collect()
}

#[test]
fn net_tap_says_of_each_frame_whether_its_checksums_are_right() {
    let verdicts = verdicts(insisting(&RX_CHECKSUMS));
    for ((name, frame), (ip, l4)) in wrong().into_iter().zip(&verdicts) {
        let of_header = name == "drop_ipv4_checksum";
        assert_eq!(*ip == ChecksumVerdict::Bad, of_header, "{name} {frame:?}");
        assert_eq!(*l4 == ChecksumVerdict::Bad, !of_header, "{name} {frame:?}");
    }
    for (ip, l4) in &verdicts[wrong().len()..] {
        assert!(*ip != ChecksumVerdict::Bad && *l4 != ChecksumVerdict::Bad);
    }
}

#[test]
fn net_tap_says_nothing_of_checksums_that_it_is_not_to_verify() {
    for verdict in verdicts(without(&RX_CHECKSUMS)) {
        let unknown = ChecksumVerdict::Unknown;
        assert_eq!(verdict, (unknown, unknown));
    }
}
