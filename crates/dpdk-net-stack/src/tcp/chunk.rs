//! A piece of payload in memory, and how large such pieces are made.
//!
//! What is queued to be sent, to be read or to be put in order is a list of these: bytes of our own, or bytes that
//! someone else made and that are kept by reference. The lists are [`SendBuf`](super::send_buf::SendBuf),
//! [`RecvBuf`](super::recv_buf::RecvBuf) and [`Assembler`](super::assembler::Assembler).

use alloc::vec::Vec;

use bytes::{Buf, Bytes};

/// Shorter shared bytes are copied: a reference costs as much, and may hold on to far more memory than it shows.
pub(crate) const COPY_BELOW: usize = 1_024;
/// The largest chunk allocated.
pub(crate) const MAX_CHUNK: usize = 65_536;
/// An empty buffer keeps an allocation of up to this for what comes next.
pub(crate) const KEEP: usize = 4_096;
/// An empty list keeps room for this many chunks.
pub(crate) const KEEP_CHUNKS: usize = 16;

/// How large the next chunk of a queue should be that is about to hold `queued` bytes: small for conversations, large
/// for bulk, never so large that memory comes back late.
pub(crate) const fn capacity_for(queued: usize) -> usize {
    match queued {
        0..=2_048 => 2_048,
        2_049..=16_384 => 16_384,
        _ => MAX_CHUNK,
    }
}

/// A piece of payload.
#[derive(Debug)]
pub(crate) enum Chunk {
    /// Memory of our own.
    Owned(Vec<u8>),
    /// Memory of someone else's.
    Shared {
        /// The payload.
        data: Bytes,
        /// The memory that stays taken because of it.
        held: usize,
    },
}

impl Chunk {
    #[inline]
    pub(crate) fn as_slice(&self) -> &[u8] {
        match self {
            Chunk::Owned(data) => data,
            Chunk::Shared { data, .. } => data,
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        match self {
            Chunk::Owned(data) => data.len(),
            Chunk::Shared { data, .. } => data.len(),
        }
    }

    /// The memory that it takes, beside the entry in a list.
    #[inline]
    pub(crate) fn heap_bytes(&self) -> usize {
        match self {
            Chunk::Owned(data) => data.capacity(),
            Chunk::Shared { held, .. } => *held,
        }
    }

    /// The payload without its first `n` bytes. Nothing is copied.
    pub(crate) fn into_bytes(self, n: usize) -> Bytes {
        let mut data = match self {
            Chunk::Owned(data) => Bytes::from(data),
            Chunk::Shared { data, .. } => data,
        };
        data.advance(n.min(data.len()));
        data
    }

    /// Drops the first `n` bytes.
    pub(crate) fn trim_front(&mut self, n: usize) {
        match self {
            Chunk::Owned(data) => drop(data.drain(..n.min(data.len()))),
            Chunk::Shared { data, .. } => data.advance(n.min(data.len())),
        }
    }
}

/// Empties a chunk for reuse, or frees it if it is larger than what an idle connection should keep.
#[inline]
pub(crate) fn recycle(chunk: &mut Vec<u8>) {
    if chunk.capacity() > KEEP {
        *chunk = Vec::new();
    } else {
        chunk.clear();
    }
}
