//! Frames as NICs hand them over: in pieces of memory, with verdicts, tags and sizes that need not be true.

use arbitrary::Arbitrary;
use dpdk_net_packet::{ChecksumVerdict, RxMeta};
use dpdk_net_testkit::Pieces;

use crate::frame::Frame;

/// Pieces of a frame at most: more than the stack takes one by one.
const MOST_PIECES: usize = 100;

/// A frame, how it is cut, and what is said about it.
#[derive(Arbitrary, Clone, Debug)]
pub struct Pieced {
    frame: Frame,
    /// Bytes of the first piece and of those that follow; an empty piece is put in front of each where `empty` says so.
    first: u8,
    piece: u16,
    empty: bool,
    /// Bytes behind the frame.
    behind: u16,
    ip: u8,
    l4: u8,
    vlan_tci: Option<u16>,
    lro_segment: u16,
    /// Whether the stack may keep pieces where they lie.
    shares: bool,
}

impl Pieced {
    /// The frame.
    pub fn received(&self) -> Pieces {
        let mut bytes = self.frame.bytes();
        bytes.resize(bytes.len() + usize::from(self.behind), 0x77);
        let least = bytes.len().div_ceil(MOST_PIECES).max(1);
        let piece = usize::from(self.piece).max(least);
        let sizes = if self.empty { &[0, piece][..] } else { &[piece] };
        let mut received = Pieces::cut(bytes, self.first.into(), sizes);
        let verdict = |n: u8| match n % 4 {
            0 => ChecksumVerdict::Unknown,
            1 => ChecksumVerdict::Bad,
            2 => ChecksumVerdict::Good,
            _ => ChecksumVerdict::None,
        };
        received.held = received.held.filter(|_| self.shares);
        received.with(RxMeta {
            ip_checksum: verdict(self.ip),
            l4_checksum: verdict(self.l4),
            vlan_tci: self.vlan_tci,
            lro_segment: self.lro_segment,
            ..RxMeta::default()
        })
    }
}
