//! What the unit tests of this crate's modules share: a link in virtual time, and frames in and out of it.

use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;

use dpdk_net_packet::{IpPacket, MacAddr, Network, Parsed, Transport, ethernet, icmp, parse};

use crate::config::Config;
use crate::emit::{self, IpMeta};
use crate::interfaces::{Hop, IfIndex, Way};
use crate::link::Link;
use crate::time::Instant;
use crate::tx::FrameQueue;

pub(crate) const OUR_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 7]);
pub(crate) const PEER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 9]);

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The interface without VLANs.
pub(crate) const PORT: IfIndex = IfIndex::PORT;

/// A neighbour of the untagged network.
pub(crate) fn hop(text: &str) -> Hop {
    Hop {
        at: PORT,
        addr: ip(text),
    }
}

/// The way there from wherever that is best.
pub(crate) fn to(text: &str) -> Way {
    Way::to(ip(text), 0)
}

pub(crate) fn at(millis: u64) -> Instant {
    Instant::from_millis(millis)
}

/// 198.18.0.2/24 and fd00::2/64, no duplicate address detection.
pub(crate) fn config() -> Config {
    let mut config = Config::new(OUR_MAC);
    config.dad = false;
    config.addresses = vec![
        "198.18.0.2/24".parse().unwrap(),
        "fd00::2/64".parse().unwrap(),
    ];
    config
}

/// A link whose reports about its own groups are out of the way.
pub(crate) fn link(config: &Config) -> Link {
    let mut link = Link::new(config, Instant::ZERO);
    link.handle_timeout(Instant::ZERO, &mut |_| {});
    link.handle_timeout(at(1_100), &mut |_| {});
    drain(&mut link.replies);
    link
}

pub(crate) fn drain(queue: &mut FrameQueue) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    queue.drain_into(&mut frames);
    frames
}

pub(crate) fn read(frame: &[u8]) -> Parsed<'_> {
    let parsed = parse(frame).unwrap();
    if let Network::Ip(ip, transport) = &parsed.network {
        transport.verify(ip, Default::default()).unwrap();
    }
    parsed
}

/// The IP packet of a frame.
pub(crate) fn packet(frame: &[u8]) -> IpPacket<'_> {
    match read(frame).network {
        Network::Ip(ip, _) => ip,
        other => panic!("not IP: {other:?}"),
    }
}

/// The ICMP or ICMPv6 message of a frame.
pub(crate) fn message(frame: &[u8]) -> (IpPacket<'_>, icmp::Message<'_>) {
    match read(frame).network {
        Network::Ip(ip, Transport::Icmp(message) | Transport::Icmpv6(message)) => (ip, message),
        other => panic!("not ICMP: {other:?}"),
    }
}

/// A frame from the peer.
pub(crate) fn from_peer(meta: &IpMeta, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0; ethernet::HEADER_LEN + meta.ip_header_len() + payload.len()];
    let at = emit::write_headers(&mut frame, (PEER_MAC, OUR_MAC), meta, 0, payload.len());
    frame[at..].copy_from_slice(payload);
    frame
}
