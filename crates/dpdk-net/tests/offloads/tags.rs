//! VLAN tags over net_af_packet and net_tap, put in and taken out by the driver or in software. At the other end the frames are made by hand
//! and captured: not every kernel has VLANs.

use std::net::{IpAddr, SocketAddr};

use dpdk_net::net::UdpSocket;
use dpdk_net::rte::port::{Offload, OffloadRequest};
use dpdk_net::stack::Vlan;
use dpdk_net_testkit::addr::mac;
use dpdk_net_testkit::frames::{Path, tagged, tci};

use super::bed::{Bed, KERNEL, OURS, VLAN};
use super::bytes::in_time;
use super::capture::{Capture, check};
use super::{insisting, without};

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

fn go_both_ways(bed: Bed, offloads: OffloadRequest) {
    let capture = Capture::start(&bed.netns, &bed.interface);
    let vlan = PAIRS
        .iter()
        .zip(["24", "64"])
        .fold(Vlan::new(VLAN), |vlan, ([_, own], len)| {
            vlan.with_address(format!("{own}/{len}").parse().unwrap())
        })
        .with_priority(PRIORITY);
    bed.app()
        .offloads(offloads)
        .stack(move |stack| stack.vlans.push(vlan))
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
    let mut answers = 0;
    for frame in capture.finish() {
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
