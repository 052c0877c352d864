//! Memory that payload is sent from by reference: chunks of a mempool, as the stack sees them.

use std::any::Any;
use std::fmt;

use dpdk_net_rte::{Mempool, TxBuf};
use dpdk_net_stack::{TxBuffer, TxMemory};

/// Mempools for payload that is sent by reference, on ports that take frames of several mbufs.
///
/// An application's bytes are copied once, into an mbuf of `payload`, and each frame that carries some of them, sent for the
/// first time or again, refers to it by an mbuf of `references`. Where `payload` is exhausted bytes are copied into
/// ordinary memory and from there into each frame.
#[derive(Debug, Clone)]
pub struct SendMemory {
    /// Mbufs for payload: a data room of 16 KiB is a good size.
    pub payload: Mempool,
    /// Mbufs without a data room, at least as many as TX descriptors.
    pub references: Mempool,
}

/// The mempool as the stack sees it.
pub(super) struct Chunks(pub(super) Mempool);

impl fmt::Debug for Chunks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Chunks").field(&self.0.name()).finish()
    }
}

impl TxMemory for Chunks {
    fn alloc(&mut self) -> Option<Box<dyn TxBuffer>> {
        Some(Box::new(Chunk(TxBuf::alloc(&self.0)?)))
    }
}

/// One mbuf of it.
#[derive(Debug)]
pub(super) struct Chunk(pub(super) TxBuf);

impl TxBuffer for Chunk {
    fn as_slice(&self) -> &[u8] {
        self.0.as_slice()
    }

    fn room(&self) -> usize {
        self.0.room()
    }

    fn append(&mut self, data: &[u8]) -> usize {
        self.0.append(data)
    }

    fn held_bytes(&self) -> usize {
        self.0.held_bytes()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
