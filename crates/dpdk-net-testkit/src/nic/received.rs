//! A received frame as a NIC hands it over: in pieces of memory, with what it found out about it.

use dpdk_net_packet::{FrameBuf, FrameSegment, RxMeta};

/// A frame, its pieces of memory one behind the other, and what is said about it.
#[derive(Clone, Debug, Default)]
pub struct Received {
    /// The pieces, one behind the other. The first one has all headers.
    pub pieces: Vec<Vec<u8>>,
    /// What comes with it.
    pub meta: RxMeta,
}

impl Received {
    /// A frame in one piece.
    pub fn new(frame: Vec<u8>, meta: RxMeta) -> Self {
        Self {
            pieces: vec![frame],
            meta,
        }
    }
}

impl FrameBuf for Received {
    fn bytes(&self) -> &[u8] {
        self.pieces.first().map_or(&[], Vec::as_slice)
    }

    fn segment_count(&self) -> usize {
        self.pieces.len().max(1)
    }

    fn rest(&self) -> impl Iterator<Item = impl FrameSegment<'_>> {
        self.pieces.iter().skip(1).map(Vec::as_slice)
    }

    fn rx_meta(&self) -> RxMeta {
        self.meta
    }
}
