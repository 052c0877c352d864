//! What the fuzzers do to the stack, as types that arbitrary bytes decode to, and what must hold whatever they do.
//!
//! The checks: nothing panics, the stack does not spin, everything it sends is a well-formed frame of its own with right
//! checksums, a connection's stream has only bytes that were sent at that place, and after all of it a well-behaved stranger is
//! still served.
#![forbid(unsafe_code)]

pub mod frame;
pub mod ingest;
pub mod pieces;
pub mod tcp;

use dpdk_net_packet::{ChecksumVerdict, Network, parse};
use dpdk_net_stack::Config;
use dpdk_net_testkit::addr;
use dpdk_net_testkit::by_hand::{ByHand, HOST};
use dpdk_net_testkit::hosts::StackHost;

/// A stack with small buffers and tables, so that short runs reach their bounds.
pub fn small_stack() -> ByHand {
    small_stack_with(|_| {})
}

/// The same, with something else about it.
pub fn small_stack_with(change: impl FnOnce(&mut Config)) -> ByHand {
    let mut config = StackHost::config(HOST, 1);
    config.tcp.recv_buffer = 8 * 1024;
    config.tcp.send_buffer = 8 * 1024;
    config.tcp.syn_queue = 8;
    config.tcp.max_time_wait = 8;
    config.tcp.max_orphans = 4;
    config.udp.recv_queue_bytes = 8 * 1024;
    config.limits.neighbors = 8;
    config.limits.pending_per_neighbor = 4;
    config.limits.reassembly_bytes = 32 * 1024;
    change(&mut config);
    ByHand::with_config(config)
}

/// Panics unless every frame is one that a proper stack may send.
pub fn check_sent(frames: &[Vec<u8>]) {
    for frame in frames {
        let parsed = parse(frame).unwrap_or_else(|error| {
            panic!("the stack sent a malformed frame, {error}: {frame:02x?}")
        });
        assert_eq!(
            parsed.src_mac,
            addr::mac(HOST),
            "the stack sent from another MAC address: {frame:02x?}"
        );
        if let Network::Ip(ip, transport) = parsed.network {
            let verified = transport.verify(&ip, ChecksumVerdict::Unknown);
            assert!(
                verified.is_ok(),
                "the stack sent a bad checksum, {verified:?}: {frame:02x?}"
            );
        }
    }
}
