//! Each offload on and off, on the virtual devices that have it, with a peer that verifies what comes.
//!
//! - `kernel_peer`: net_tap and net_af_packet; the kernel counts what is wrong, and each frame that reaches it is captured and
//!   checked by another parser. Needs root.
//! - `verdicts`, `tags`: frames that the kernel's side puts on the link by hand, wrong or tagged.
//! - `joined`: net_virtio_user and net_vhost at the two ends of one socket: what is large on one side is large on the other.
//! - `references`: payload sent by reference and copied, on devices without any other offload.

#[path = "../common/mod.rs"]
mod common;

mod bed;
mod bytes;
mod capture;
mod ends;
mod joined;
mod kernel_peer;
mod references;
mod tags;
mod verdicts;

use dpdk_net::rte::port::{Offload, OffloadRequest, Wish};

/// All that is of use, but for these.
fn without(offloads: &[Offload]) -> OffloadRequest {
    wishing(OffloadRequest::default(), offloads, Wish::Off)
}

/// All that is of use; an error if the port lacks one of these.
fn insisting(offloads: &[Offload]) -> OffloadRequest {
    wishing(OffloadRequest::default(), offloads, Wish::On)
}

fn wishing(request: OffloadRequest, offloads: &[Offload], wish: Wish) -> OffloadRequest {
    let with = |request: OffloadRequest, offload: &Offload| request.with(*offload, wish);
    offloads.iter().fold(request, with)
}

const TX_CHECKSUMS: [Offload; 3] = [
    Offload::TxIpv4Checksum,
    Offload::TxTcpChecksum,
    Offload::TxUdpChecksum,
];

const RX_CHECKSUMS: [Offload; 3] = [
    Offload::RxIpv4Checksum,
    Offload::RxTcpChecksum,
    Offload::RxUdpChecksum,
];
