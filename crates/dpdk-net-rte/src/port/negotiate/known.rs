//! What drivers are known to do otherwise than they say, by trying. A driver that is repaired leaves this table.
//!
//! What does not live here: limits of single packets ([`crate::port::tx_rules`]).

use super::request::Offload;

/// What follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Consequence {
    /// It does not work whatever the driver offers, as if it offered none.
    Never,
    /// It is off unless it is asked for.
    Avoid,
    /// It is worth knowing.
    Note,
}

/// One entry.
#[derive(Debug, Clone, Copy)]
pub(super) struct Known {
    pub(super) driver: &'static str,
    pub(super) offload: Offload,
    pub(super) consequence: Consequence,
    pub(super) reason: &'static str,
}

const fn known(
    driver: &'static str,
    offload: Offload,
    consequence: Consequence,
    reason: &'static str,
) -> Known {
    Known {
        driver,
        offload,
        consequence,
        reason,
    }
}

/// Why mbufs must not be freed unseen by drivers that pass them on.
const PASSED_ON: &str =
    "this driver passes mbufs on or shares them: their count must be looked at when they are freed";

pub(super) const TABLE: &[Known] = &[
    known(
        "net_tap",
        Offload::TsoIpv6,
        Consequence::Never,
        "this driver segments IPv4 only; an IPv6 packet would block its queue",
    ),
    known(
        "net_tap",
        Offload::Tso,
        Consequence::Note,
        "in software: segments with their Ethernet header fit the MTU, 64 of them a packet at most",
    ),
    known(
        "net_virtio_user",
        Offload::Lro,
        Consequence::Note,
        "large packets of the peer may come in where it is off, too",
    ),
    known(
        "net_virtio",
        Offload::Lro,
        Consequence::Note,
        "large packets of the peer may come in where it is off, too",
    ),
    known(
        "net_vhost",
        Offload::Lro,
        Consequence::Note,
        "with tso=1 large packets of the peer come in as they are",
    ),
    known(
        "net_virtio_user",
        Offload::TxIpv4Checksum,
        Consequence::Note,
        "virtio has none",
    ),
    known(
        "net_virtio",
        Offload::TxIpv4Checksum,
        Consequence::Note,
        "virtio has none",
    ),
    known(
        "net_vhost",
        Offload::TxIpv4Checksum,
        Consequence::Note,
        "virtio has none",
    ),
    known(
        "net_af_xdp",
        Offload::MultiSegs,
        Consequence::Note,
        "an AF_XDP frame is one buffer: packets are copied into one",
    ),
    known("net_ring", Offload::FastFree, Consequence::Never, PASSED_ON),
    known(
        "net_bonding",
        Offload::FastFree,
        Consequence::Never,
        PASSED_ON,
    ),
    known(
        "net_failsafe",
        Offload::FastFree,
        Consequence::Never,
        PASSED_ON,
    ),
    known(
        "net_softnic",
        Offload::FastFree,
        Consequence::Never,
        PASSED_ON,
    ),
    known("net_pipe", Offload::FastFree, Consequence::Never, PASSED_ON),
];

/// What is known of a driver's offload.
pub(super) fn find<'a>(table: &'a [Known], driver: &str, offload: Offload) -> Option<&'a Known> {
    table
        .iter()
        .find(|known| known.driver == driver && known.offload == offload)
}
