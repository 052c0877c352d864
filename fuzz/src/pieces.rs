//! Frames as NICs hand them over: in pieces of memory, with verdicts, tags and sizes that need not be true.

use arbitrary::Arbitrary;
use bytes::Bytes;
use dpdk_net_packet::{ChecksumVerdict, FrameBuf, RxMeta};

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

/// See [`Pieced`].
#[derive(Debug)]
pub struct Received {
    pieces: Vec<Bytes>,
    meta: RxMeta,
    shares: bool,
}

impl Pieced {
    /// The frame.
    pub fn received(&self) -> Received {
        let mut bytes = self.frame.bytes();
        bytes.resize(bytes.len() + usize::from(self.behind), 0x77);
        let bytes = Bytes::from(bytes);
        let mut pieces = vec![bytes.slice(..bytes.len().min(self.first.into()))];
        let mut at = pieces[0].len();
        let least = bytes.len().div_ceil(MOST_PIECES);
        while at < bytes.len() {
            if self.empty {
                pieces.push(Bytes::new());
            }
            let end = (at + usize::from(self.piece).max(least)).min(bytes.len());
            pieces.push(bytes.slice(at..end));
            at = end;
        }
        let verdict = |n: u8| match n % 4 {
            0 => ChecksumVerdict::Unknown,
            1 => ChecksumVerdict::Bad,
            2 => ChecksumVerdict::Good,
            _ => ChecksumVerdict::None,
        };
        Received {
            pieces,
            meta: RxMeta {
                ip_checksum: verdict(self.ip),
                l4_checksum: verdict(self.l4),
                vlan_tci: self.vlan_tci,
                lro_segment: self.lro_segment,
                ..RxMeta::default()
            },
            shares: self.shares,
        }
    }
}

impl FrameBuf for Received {
    fn bytes(&self) -> &[u8] {
        &self.pieces[0]
    }

    fn segments(&self) -> usize {
        self.pieces.len()
    }

    fn segment(&self, index: usize) -> &[u8] {
        self.pieces.get(index).map_or(&[], |piece| piece)
    }

    fn rx_meta(&self) -> RxMeta {
        self.meta
    }

    fn share(&self, segment: usize, range: std::ops::Range<usize>) -> Option<(Bytes, usize)> {
        let piece = self.pieces.get(segment).filter(|_| self.shares)?;
        (range.start <= range.end && range.end <= piece.len()).then(|| (piece.slice(range), 2_304))
    }
}
