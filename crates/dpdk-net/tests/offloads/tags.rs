//! VLAN tags over net_af_packet and net_tap, put in and taken out by the driver or in software. At the other end the frames are made by hand
//! and captured: not every kernel has VLANs.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use dpdk_net::net::{TcpListener, UdpSocket};
use dpdk_net::rte::port::{Offload, OffloadRequest};
use dpdk_net::stack::Vlan;
use dpdk_net_testkit::addr::mac;
use dpdk_net_testkit::frames::{Path, Segment, flags, tagged, tci};
use etherparse::{SlicedPacket, TransportSlice};
use tokio::io::AsyncWriteExt;

use super::bed::{Bed, VLAN, packet_socket};
use super::bytes::in_time;
use super::capture::{Capture, check};
use super::{insisting, without};
use crate::common::kernel::{KERNEL, OURS};

const PORT: u16 = 9;
const PRIORITY: u8 = 5;
const TCI: u16 = (PRIORITY as u16) << 13 | VLAN;

/// Addresses on the VLAN: the other end's, and ours.
const PAIRS: [[&str; 2]; 2] = [["198.19.0.1", "198.19.0.2"], ["fd00:7::1", "fd00:7::2"]];

fn paths() -> [Path; 2] {
    PAIRS.map(|pair| {
        let [src, dst] = pair.map(|ip| ip.parse::<IpAddr>().unwrap());
        Path {
            src_mac: mac(KERNEL),
            dst_mac: mac(OURS),
            src,
            dst,
            hop_limit: 64,
        }
    })
}

/// Our VLAN, with an address in each family.
fn vlan() -> Vlan {
    PAIRS
        .iter()
        .zip(["24", "64"])
        .fold(Vlan::new(VLAN), |vlan, ([_, own], len)| {
            vlan.with_address(format!("{own}/{len}").parse().unwrap())
        })
        .with_priority(PRIORITY)
}

fn go_both_ways(bed: Bed, offloads: OffloadRequest) {
    let capture = Capture::start(&bed.netns, &bed.interface);
    bed.app()
        .offloads(offloads)
        .stack(|stack| stack.vlans.push(vlan()))
        .run(|context| {
            let bed = &bed;
            async move {
                for path in paths() {
                    let own = SocketAddr::new(path.dst, PORT);
                    let socket = UdpSocket::bind(own).await.unwrap();
                    // Who asks for our address is known to us.
                    let frames = [path.who_has(), path.udp(40_000, PORT, b"question")];
                    bed.inject(frames.iter().map(|frame| tagged(frame, TCI)).collect());
                    let mut buf = [0; 64];
                    let (len, from) = in_time(socket.recv_from(&mut buf)).await.unwrap();
                    assert_eq!(&buf[..len], b"question");
                    assert_eq!(from, SocketAddr::new(path.src, 40_000));
                    socket.send_to(b"answer", from).await.unwrap();
                }
                assert_eq!(context.stats().stack.frames.drop_vlan, 0);
            }
        })
        .unwrap();
    let Some(frames) = capture.finish() else {
        return;
    };
    let mut answers = 0;
    for frame in frames {
        let seen = check(&frame).unwrap_or_else(|wrong| panic!("{wrong}"));
        if seen.datagram.as_deref() == Some(b"answer") {
            assert_eq!(tci(&frame), Some(TCI));
            answers += 1;
        }
    }
    assert_eq!(answers, PAIRS.len());
}

#[test]
fn tags_are_put_in_and_taken_out_by_net_af_packet() {
    let insisted = insisting(&[Offload::VlanInsert, Offload::VlanStrip]);
    go_both_ways(Bed::af_packet(), insisted);
}

#[test]
fn tags_are_put_in_and_taken_out_in_software_over_net_af_packet() {
    let off = without(&[Offload::VlanInsert, Offload::VlanStrip]);
    go_both_ways(Bed::af_packet(), off);
}

#[test]
fn tags_are_put_in_and_taken_out_in_software_over_net_tap_which_makes_the_checksums_behind_them() {
    let insisted = insisting(&[Offload::TxUdpChecksum, Offload::RxUdpChecksum]);
    go_both_ways(Bed::tap(), insisted);
}

/// Opens a connection by hand, from the kernel's side; nothing that comes over it is acknowledged.
fn open(interface: &str, path: Path) {
    let (mut tx, mut rx) = packet_socket(interface);
    let mut send = |frame: Vec<u8>| tx.send_to(&tagged(&frame, TCI), None).unwrap().unwrap();
    let syn = Segment {
        src_port: 40_000,
        dst_port: PORT,
        seq: 1_000,
        flags: flags::SYN,
        window: u16::MAX,
        // The longest segment: 1460 bytes.
        options: vec![2, 4, 0x05, 0xb4],
        ..Segment::default()
    };
    send(path.who_has());
    send(path.tcp(&syn));
    let theirs = loop {
        let frame = rx.next().unwrap();
        if let Ok(packet) = SlicedPacket::from_ethernet(frame)
            && let Some(TransportSlice::Tcp(tcp)) = packet.transport
            && tcp.syn()
            && tcp.ack()
        {
            break tcp.sequence_number();
        }
    };
    send(path.tcp(&Segment {
        seq: 1_001,
        ack: theirs.wrapping_add(1),
        flags: flags::ACK,
        options: Vec::new(),
        ..syn
    }));
}

#[test]
fn what_net_tap_cuts_behind_a_tag_comes_as_tagged_segments_that_fit() {
    let bed = Bed::tap();
    let capture = Capture::start(&bed.netns, &bed.interface);
    // Less than an initial window.
    let data: Vec<u8> = (0..14_000).map(|n| (n % 251) as u8).collect();
    let [path, _] = paths();
    bed.app()
        .offloads(insisting(&[Offload::Tso]))
        .stack(|stack| stack.vlans.push(vlan()))
        .run(|context| {
            let (bed, data) = (&bed, &data);
            async move {
                let own = SocketAddr::new(path.dst, PORT);
                let listener = TcpListener::bind(own).await.unwrap();
                let interface = bed.interface.clone();
                let peer = bed.netns.spawn(move || open(&interface, path));
                let (mut stream, _) = in_time(listener.accept()).await.unwrap();
                stream.set_nodelay(true).unwrap();
                stream.set_zero_linger().unwrap();
                stream.write_all(data).await.unwrap();
                // All of it is sent before some of it is sent again.
                in_time(async {
                    while context.stats().stack.tcp.retransmits == 0 {
                        tokio::time::sleep(Duration::from_millis(5)).await;
                    }
                })
                .await;
                peer.join().unwrap();
                assert!(context.stats().worker.tx_cut_by_nic > 0);
            }
        })
        .unwrap();
    let Some(frames) = capture.finish() else {
        return;
    };
    let (mut first, mut cut, mut got) = (None, 0, vec![0; data.len()]);
    for frame in frames {
        let seen = check(&frame).unwrap_or_else(|wrong| panic!("{wrong}"));
        let Some((sequence, payload)) = seen.segment.filter(|(_, payload)| !payload.is_empty())
        else {
            continue;
        };
        assert_eq!(tci(&frame), Some(TCI));
        assert!(seen.packet <= 1500, "a packet of {} bytes", seen.packet);
        // The driver counts the link header in; what is sent again by itself is as long as may be.
        cut += usize::from(frame.len() == 1500);
        let at = sequence.wrapping_sub(*first.get_or_insert(sequence)) as usize;
        got[at..at + payload.len()].copy_from_slice(&payload);
    }
    assert!(got == data && cut >= 5, "{cut} full segments");
}
