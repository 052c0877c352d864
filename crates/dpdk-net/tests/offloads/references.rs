//! Payload by reference and payload copied, on devices that offer nothing else: net_ring and net_memif.

use std::net::IpAddr;

use dpdk_net::rte::Eal;
use dpdk_net::rte::port::{Offload, OffloadRequest};
use dpdk_net::rte::ring;

use super::common;
use super::ends::{End, Outcome, Setup, run};
use super::{insisting, without};

fn addresses() -> Vec<IpAddr> {
    [common::SERVER_V4, common::SERVER_V6]
        .map(|ip| ip.parse().unwrap())
        .to_vec()
}

fn over_rings(offloads: OffloadRequest) -> [Outcome; 2] {
    let eal = common::eal("0,1");
    let rings = ring::joined_ports(&eal, ["server", "client"], 1, 1024).unwrap();
    let [server, client] = [1, 2].map(|side| {
        let id = rings.ids()[usize::from(side) - 1];
        End::new(&eal, id, &Setup::new(offloads), common::stack(side))
    });
    run(&eal, server, client, &addresses())
}

fn over_memif(offloads: OffloadRequest) -> [Outcome; 2] {
    let eal = common::eal("0,1");
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("memif");
    let end = |eal: &Eal, side, role| {
        let arguments = format!(
            "role={role},id=0,socket={},socket-abstract=no,mac=02:00:00:00:00:0{side}",
            socket.display()
        );
        let name = format!("net_memif{side}");
        let id = eal.create_vdev(&name, &arguments).unwrap();
        End::new(eal, id, &Setup::new(offloads), common::stack(side))
    };
    let server = end(&eal, 1, "server");
    let client = end(&eal, 2, "client");
    run(&eal, server, client, &addresses())
}

fn is_by_reference(over: fn(OffloadRequest) -> [Outcome; 2]) {
    for end in over(insisting(&[Offload::MultiSegs])) {
        assert!(end.sent_chains() && !end.left_checksums() && !end.sent_large());
    }
}

fn is_copied(over: fn(OffloadRequest) -> [Outcome; 2]) {
    for end in over(without(&[Offload::MultiSegs])) {
        assert!(!end.sent_chains() && !end.left_checksums() && !end.sent_large());
        assert!(!end.received_large());
    }
}

#[test]
fn payload_goes_by_reference_over_rings() {
    is_by_reference(over_rings);
}

#[test]
fn payload_is_copied_over_rings_that_take_one_mbuf_a_packet() {
    is_copied(over_rings);
}

#[test]
fn payload_goes_by_reference_over_memif() {
    is_by_reference(over_memif);
}

#[test]
fn payload_is_copied_over_memif_that_takes_one_mbuf_a_packet() {
    is_copied(over_memif);
}
