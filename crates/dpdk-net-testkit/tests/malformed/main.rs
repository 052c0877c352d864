//! Malformed frames of every layer: each is counted by its cause and dropped, nothing is said in reply that should not be, and the
//! stack serves as before; and what is not malformed but odd, as probing tools send it, gets the answer that a host owes. What is common to all of them is here; the cases are in a file a layer.

mod icmp;
mod ipv4;
mod ipv6;
mod link;
mod probers;
mod random;
mod transport;

use dpdk_net_testkit::addr::Family;
use dpdk_net_testkit::by_hand::{ByHand, HOST, TCP_PORT};
use dpdk_net_testkit::frames::{ETHERNET_HEADER, Path, Segment, fix_checksums, flags};

const PEER: u16 = 2;
/// Where the IP header begins in a frame.
const IP: usize = ETHERNET_HEADER;
/// Where the transport header begins in an IPv4 frame without options.
const V4_L4: usize = IP + 20;
/// Where it begins in an IPv6 frame without extension headers.
const V6_L4: usize = IP + 40;

/// A stack that has heard of the peer, with a look at its drop counters.
struct Lab {
    by_hand: ByHand,
}

impl Lab {
    fn new() -> Self {
        let mut by_hand = ByHand::new();
        for family in Family::BOTH {
            by_hand.feed(Path::new(family, PEER, HOST).who_has());
        }
        Self { by_hand }
    }

    fn drops(&self) -> Vec<(&'static str, u64)> {
        self.by_hand
            .stack()
            .stats()
            .frames
            .iter()
            .filter(|(name, _)| name.starts_with("drop_"))
            .collect()
    }

    /// Feeds a frame; the drop counters that moved, with how far, and the frames sent in reply.
    fn causes(&mut self, frame: &[u8]) -> (Vec<(&'static str, u64)>, Vec<Vec<u8>>) {
        let before = self.drops();
        let replies = self.by_hand.feed(frame);
        let moved = self
            .drops()
            .into_iter()
            .zip(before)
            .map(|((name, now), (_, then))| (name, now - then));
        (moved.filter(|(_, by)| *by > 0).collect(), replies)
    }

    /// The frame is dropped for exactly this cause, and nobody is told.
    #[track_caller]
    fn silent(&mut self, cause: &'static str, what: &str, frame: &[u8]) {
        let (causes, replies) = self.causes(frame);
        assert_eq!(causes, [(cause, 1)], "{what}: {frame:02x?}");
        assert!(replies.is_empty(), "{what} was answered: {replies:02x?}");
    }

    /// The frame is dropped for exactly this cause, and the peer may be told by an ICMP error and nothing else.
    #[track_caller]
    fn reported(&mut self, cause: &'static str, what: &str, frame: &[u8]) {
        let (causes, replies) = self.causes(frame);
        assert_eq!(causes, [(cause, 1)], "{what}: {frame:02x?}");
        assert_eq!(replies.len(), 1, "{what} is to be reported");
        assert!(
            is_icmp_error(&replies[0]),
            "{what} was answered by something else: {:02x?}",
            replies[0]
        );
    }

    #[track_caller]
    fn still_serves(mut self) {
        self.by_hand.wait(std::time::Duration::from_secs(2));
        if let Err(what) = self.by_hand.check_service() {
            panic!("the stack does not serve any more: {what}");
        }
        assert_eq!(
            self.by_hand.accept(),
            None,
            "a malformed frame made a connection"
        );
    }
}

fn is_icmp_error(frame: &[u8]) -> bool {
    match frame.get(12..14) {
        Some([0x08, 0]) => frame[IP + 9] == 1 && matches!(frame[V4_L4], 3 | 11 | 12),
        Some([0x86, 0xdd]) => frame[IP + 6] == 58 && frame[V6_L4] < 128,
        _ => false,
    }
}

fn v4() -> Path {
    Path::new(Family::V4, PEER, HOST)
}

fn v6() -> Path {
    Path::new(Family::V6, PEER, HOST)
}

fn syn(port: u16) -> Segment {
    Segment {
        src_port: port,
        dst_port: TCP_PORT,
        seq: 1,
        flags: flags::SYN,
        window: 1_000,
        ..Segment::default()
    }
}

/// Sets the IP length field to what the frame has.
fn fix_length(frame: &mut [u8]) {
    let len = frame.len() - IP;
    let (at, len) = if frame[IP] >> 4 == 4 {
        (IP + 2, len)
    } else {
        (IP + 4, len - 40)
    };
    frame[at..at + 2].copy_from_slice(&(len as u16).to_be_bytes());
    fix_checksums(frame);
}

fn changed(frame: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = frame.to_vec();
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    frame
}

fn changed_and_fixed(frame: &[u8], at: usize, bytes: &[u8]) -> Vec<u8> {
    let mut frame = changed(frame, at, bytes);
    fix_checksums(&mut frame);
    frame
}
