//! net_vhost, the server's, and net_virtio_user, the client's. With `tso=1` virtio's large packets come to vhost's stack as they
//! are: nobody cuts them. vhost itself has no TSO, so nothing large comes the other way.

use std::net::IpAddr;

use dpdk_net::rte::port::{Offload, OffloadRequest, Wish};
use dpdk_net::rte::{Eal, Port, PortConfig};
use dpdk_net::stack::{Config, Vlan};
use tempfile::TempDir;

use super::common;
use super::ends::{End, Outcome, Setup, run};
use super::{RX_CHECKSUMS, insisting, wishing, without};

const VLAN: u16 = 7;

/// The stack of one side, with a VLAN.
fn stack(side: u8) -> Config {
    common::stack(side).with_vlan(
        Vlan::new(VLAN)
            .with_priority(3)
            .with_address(format!("198.19.0.{side}/24").parse().unwrap())
            .with_address(format!("fd00:7::{side}/64").parse().unwrap()),
    )
}

fn plain() -> Vec<IpAddr> {
    [common::SERVER_V4, common::SERVER_V6]
        .map(|ip| ip.parse().unwrap())
        .to_vec()
}

fn tagged() -> Vec<IpAddr> {
    ["198.19.0.1", "fd00:7::1"]
        .map(|ip| ip.parse().unwrap())
        .to_vec()
}

/// The two ends, joined by a socket in a directory that goes with them.
struct Joined {
    vhost: End,
    virtio: End,
    directory: TempDir,
}

/// What the devices are made with, besides their socket.
#[derive(Clone, Copy)]
struct Arguments {
    vhost: &'static str,
    virtio: &'static str,
}

const SPLIT: Arguments = Arguments {
    vhost: ",tso=1",
    virtio: "",
};

impl Joined {
    fn new(eal: &Eal, arguments: Arguments, vhost: &Setup, virtio: &Setup) -> Self {
        let more = arguments;
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("vhost");
        let arguments = format!("iface={}{}", socket.display(), more.vhost);
        let id = eal.create_vdev("net_vhost0", &arguments).unwrap();
        // The socket is there once the port is configured.
        let vhost = End::new(eal, id, vhost, stack(1));
        let arguments = format!(
            "path={},mac=02:00:00:00:00:02{}",
            socket.display(),
            more.virtio
        );
        let id = eal.create_vdev("net_virtio_user0", &arguments).unwrap();
        let virtio = End::new(eal, id, virtio, stack(2));
        Self {
            vhost,
            virtio,
            directory,
        }
    }
}

/// vhost's outcome, and virtio's.
fn joined(vhost: &Setup, virtio: &Setup, addresses: &[IpAddr]) -> [Outcome; 2] {
    joined_by(SPLIT, vhost, virtio, addresses)
}

fn joined_by(
    arguments: Arguments,
    vhost: &Setup,
    virtio: &Setup,
    addresses: &[IpAddr],
) -> [Outcome; 2] {
    let eal = common::eal("0,1");
    let ends = Joined::new(&eal, arguments, vhost, virtio);
    let outcomes = run(&eal, ends.vhost, ends.virtio, addresses);
    drop(ends.directory);
    outcomes
}

fn with(vhost: OffloadRequest, virtio: OffloadRequest, addresses: &[IpAddr]) -> [Outcome; 2] {
    joined(&Setup::new(vhost), &Setup::new(virtio), addresses)
}

#[test]
fn what_virtio_sends_large_comes_large_to_vhosts_stack() {
    let all = OffloadRequest::default();
    let insisted = insisting(&[Offload::Tso, Offload::TsoIpv6, Offload::MultiSegs]);
    let [vhost, virtio] = with(all, insisted, &plain());
    assert!(virtio.sent_large() && virtio.left_checksums());
    assert!(vhost.received_large());
    // vhost has no TSO.
    assert!(!vhost.sent_large() && !virtio.received_large());
    assert!(vhost.sent_chains() && vhost.left_checksums());
}

#[test]
fn without_tso_virtio_sends_nothing_large() {
    let [vhost, virtio] = with(
        OffloadRequest::default(),
        without(&[Offload::Tso, Offload::TsoIpv6]),
        &plain(),
    );
    assert!(!virtio.sent_large() && !vhost.received_large());
    assert!(virtio.sent_chains() && virtio.left_checksums());
}

#[test]
fn without_tso_for_ipv6_virtio_sends_nothing_large_over_it() {
    let v6 = &plain()[1..];
    let [vhost, virtio] = with(OffloadRequest::default(), without(&[Offload::TsoIpv6]), v6);
    assert!(!virtio.sent_large() && !vhost.received_large());
}

#[test]
fn without_any_offload_every_byte_goes_between_virtio_and_vhost() {
    let [vhost, virtio] = with(OffloadRequest::NONE, OffloadRequest::NONE, &plain());
    for end in [&vhost, &virtio] {
        assert!(!end.sent_large() && !end.received_large());
        assert!(!end.sent_chains() && !end.left_checksums());
    }
}

#[test]
fn without_checksums_of_what_is_sent_virtio_and_vhost_get_complete_frames() {
    let off = without(&[Offload::TxTcpChecksum, Offload::TxUdpChecksum]);
    let [vhost, virtio] = with(off, off, &plain());
    for end in [&vhost, &virtio] {
        assert!(!end.sent_large() && !end.left_checksums());
        assert!(end.sent_chains());
    }
}

#[test]
fn without_checksums_of_what_is_received_virtio_and_vhost_verify_in_software() {
    let off = without(&RX_CHECKSUMS);
    let [vhost, virtio] = with(off, off, &plain());
    assert!(virtio.left_checksums() && vhost.left_checksums());
}

#[test]
fn without_several_mbufs_a_packet_virtio_and_vhost_get_copies() {
    let off = without(&[Offload::MultiSegs]);
    let [vhost, virtio] = with(off, off, &plain());
    for end in [&vhost, &virtio] {
        assert!(!end.sent_large() && !end.sent_chains());
        assert!(end.left_checksums());
    }
}

#[test]
fn tags_are_put_in_and_taken_out_by_virtio_and_vhost() {
    let insisted = insisting(&[Offload::VlanInsert, Offload::VlanStrip]);
    let [vhost, virtio] = with(insisted, insisted, &tagged());
    for end in [&vhost, &virtio] {
        assert!(end.left_tags());
    }
    assert!(virtio.sent_large() && vhost.received_large());
}

#[test]
fn tags_are_put_in_and_taken_out_in_software_between_virtio_and_vhost() {
    let off = without(&[Offload::VlanInsert, Offload::VlanStrip]);
    let [vhost, virtio] = with(off, off, &tagged());
    for end in [&vhost, &virtio] {
        assert!(!end.left_tags());
    }
    assert!(virtio.sent_large() && vhost.received_large());
}

#[test]
fn packets_of_9000_bytes_go_both_ways_with_and_without_tags() {
    let vhost = Setup {
        mtu: 9000,
        rx_room: 10_240,
        ..Setup::new(OffloadRequest::default())
    };
    // Received over several mbufs.
    let virtio = Setup {
        mtu: 9000,
        ..Setup::new(without(&[Offload::Tso, Offload::TsoIpv6]))
    };
    let addresses = [plain(), tagged()].concat();
    let [vhost, virtio] = joined(&vhost, &virtio, &addresses);
    assert!(virtio.received_large() && !virtio.sent_large());
    // That many bytes in that few frames.
    let frames = vhost.stats.stack.frames;
    assert!(frames.rx_bytes / frames.rx_frames > 1514, "{frames:?}");
}

#[test]
fn over_packed_rings_large_packets_and_tags_come_as_over_split_ones() {
    let packed = Arguments {
        virtio: ",packed_vq=1",
        ..SPLIT
    };
    let all = Setup::new(insisting(&[Offload::VlanInsert, Offload::VlanStrip]));
    let addresses = [plain(), tagged()].concat();
    let [vhost, virtio] = joined_by(packed, &all, &all, &addresses);
    assert!(virtio.sent_large() && vhost.received_large());
    assert!(virtio.left_tags() && vhost.left_tags());
}

#[test]
fn where_vhost_takes_nothing_large_virtio_is_not_asked_to_send_it() {
    let without = Arguments { vhost: "", ..SPLIT };
    let all = Setup::new(OffloadRequest::default());
    let [vhost, virtio] = joined_by(without, &all, &all, &plain());
    assert!(!virtio.sent_large() && !vhost.received_large());
    assert!(virtio.left_checksums());
}

#[test]
fn what_virtio_and_vhost_say_nothing_about_is_verified_whatever_they_offer() {
    what_is_corrupt_is_found(Wish::On);
}

#[test]
fn what_virtio_and_vhost_say_nothing_about_is_verified_where_they_are_not_asked_to() {
    what_is_corrupt_is_found(Wish::Off);
}

/// Complete frames, in some of which a bit flips. The devices say of such ones nothing at all, so they are found in software.
fn what_is_corrupt_is_found(wish: Wish) {
    let setup = Setup {
        corrupts: true,
        ..Setup::new(wishing(
            OffloadRequest::NONE,
            &[Offload::RxTcpChecksum, Offload::RxUdpChecksum],
            wish,
        ))
    };
    let [vhost, virtio] = joined(&setup, &setup, &plain());
    for end in [vhost, virtio] {
        assert!(end.stats.stack.tcp.retransmits > 0);
    }
}

#[test]
fn what_became_of_each_offload_of_virtio_and_vhost_is_told() {
    let eal = common::eal("0,1");
    let all = Setup::new(OffloadRequest::default());
    let ends = Joined::new(&eal, SPLIT, &all, &all);
    let why = |end: &End, offload| {
        let offloads = end.port.offloads();
        let entry = offloads.entry(offload).unwrap();
        (entry.offered, entry.on, entry.why.to_string())
    };
    for end in [&ends.vhost, &ends.virtio] {
        for offload in [
            Offload::TxTcpChecksum,
            Offload::TxUdpChecksum,
            Offload::RxTcpChecksum,
            Offload::RxUdpChecksum,
            Offload::MultiSegs,
            Offload::VlanInsert,
            Offload::VlanStrip,
        ] {
            let expected = (true, true, String::new());
            assert_eq!(why(end, offload), expected, "{offload}");
        }
        let none = (false, false, "virtio has none".to_owned());
        assert_eq!(why(end, Offload::TxIpv4Checksum), none);
    }
    for offload in [Offload::Tso, Offload::TsoIpv6] {
        assert_eq!(why(&ends.virtio, offload), (true, true, String::new()));
        let none = (false, false, "not offered".to_owned());
        assert_eq!(why(&ends.vhost, offload), none);
    }
    assert!(ends.virtio.port.offloads().is_on(Offload::Lro));
    drop(ends);
}

#[test]
fn insisting_on_what_vhost_lacks_names_port_driver_and_remedy() {
    let eal = common::eal("0");
    let directory = tempfile::tempdir().unwrap();
    let arguments = format!("iface={}", directory.path().join("vhost").display());
    let id = eal.create_vdev("net_vhost0", &arguments).unwrap();
    let pool = dpdk_net::rte::Mempool::builder(&eal, "pool")
        .capacity(1_023)
        .build()
        .unwrap();
    let config = PortConfig {
        offloads: OffloadRequest::default().with(Offload::Tso, Wish::On),
        ..PortConfig::default()
    };
    let refused = Port::open(&eal, id).unwrap().configure(&config, &[pool]);
    let text = refused.unwrap_err().to_string();
    for part in [
        "offload tso of port 0 (net_vhost0)",
        "driver net_vhost does not offer",
        "wish `auto` or `off` for it",
    ] {
        assert!(text.contains(part), "{text}");
    }
}
