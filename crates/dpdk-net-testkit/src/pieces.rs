//! Received frames in pieces of memory, cut at any place, with anything said about them: as NICs hand them over, and as none
//! would.

use std::ops::Range;

use bytes::Bytes;
use dpdk_net_packet::{FrameBuf, FrameSegment, RxMeta};

/// A received frame in pieces of memory that lie one behind the other.
#[derive(Clone, Debug)]
pub struct Pieces {
    /// The pieces, at least one.
    pub pieces: Vec<Bytes>,
    /// What is said about it.
    pub meta: RxMeta,
    /// Bytes of memory that stay taken while one of the pieces is kept; `None` where none can be.
    pub held: Option<usize>,
}

/// What a packet buffer takes as a rule: 2 KiB with headroom and header.
const HELD: usize = 2_304;

impl Pieces {
    /// A frame in one piece.
    pub fn whole(frame: impl Into<Bytes>) -> Self {
        Self {
            pieces: vec![frame.into()],
            meta: RxMeta::default(),
            held: Some(HELD),
        }
    }

    /// A frame with so many bytes in its first piece, and in the others as many as `sizes` says, over and over again.
    ///
    /// # Panics
    /// If none of the sizes is above 0.
    pub fn cut(frame: impl Into<Bytes>, first: usize, sizes: &[usize]) -> Self {
        assert!(sizes.iter().any(|&size| size > 0), "pieces of nothing");
        let mut rest = frame.into();
        let mut cut = Self::whole(rest.split_to(first.min(rest.len())));
        for &size in sizes.iter().cycle() {
            if rest.is_empty() {
                break;
            }
            cut.pieces.push(rest.split_to(size.min(rest.len())));
        }
        cut
    }

    /// With this said about it.
    #[must_use]
    pub fn with(mut self, meta: RxMeta) -> Self {
        self.meta = meta;
        self
    }

    fn share(&self, piece: &Bytes, range: Range<usize>) -> Option<(Bytes, usize)> {
        let fits = range.start <= range.end && range.end <= piece.len();
        Some((fits.then(|| piece.slice(range))?, self.held?))
    }
}

impl FrameBuf for Pieces {
    fn bytes(&self) -> &[u8] {
        self.pieces.first().map_or(&[], |piece| piece)
    }

    fn segment_count(&self) -> usize {
        self.pieces.len()
    }

    fn rest(&self) -> impl Iterator<Item = impl FrameSegment<'_>> {
        self.pieces.iter().skip(1).map(|piece| Piece(self, piece))
    }

    fn rx_meta(&self) -> RxMeta {
        self.meta
    }

    fn share(&self, range: Range<usize>) -> Option<(Bytes, usize)> {
        self.share(self.pieces.first()?, range)
    }
}

struct Piece<'a>(&'a Pieces, &'a Bytes);

impl<'a> FrameSegment<'a> for Piece<'a> {
    fn bytes(&self) -> &'a [u8] {
        self.1
    }

    fn share(&self, range: Range<usize>) -> Option<(Bytes, usize)> {
        self.0.share(self.1, range)
    }
}
