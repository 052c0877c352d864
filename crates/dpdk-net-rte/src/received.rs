//! Received packets, to be read: their memory may be shared for as long as somebody needs the payload.
//!
//! What holds, and every `unsafe` block here relies on:
//!
//! 1. A [`RxMbuf`] owns one reference to its packet, and each buffer that [`share`](RxMbuf::share) gave another one, in
//!    the packet's own reference count (`rte_mbuf`'s `refcnt`). Each is counted in the pool as an mbuf in safe hands,
//!    so pool and EAL outlive them all.
//! 2. While there are several, nobody writes: neither type has a method that changes data, offsets or lengths. An
//!    [`Mbuf`], which has, is given back only when its reference is the only one.
//! 3. So many bytes may be shared of a pool's mbufs at once that the rest keeps its drivers going: a quarter of the
//!    mbufs. Past it [`share`](RxMbuf::share) says no, and whoever wants to keep the payload copies it.
//!
//! What does not live here: packets to change or send ([`crate::mbuf`]).

use core::fmt;
use core::ops::Range;
use core::slice;

use bytes::Bytes;
use dpdk_net_packet::{FrameBuf, RxMeta};
use dpdk_net_sys as sys;

use crate::batch::MbufBatch;
use crate::mbuf::{Mbuf, RawMbuf};
use crate::mempool;
use crate::queue::RxQueue;

/// References to one packet at most: far below what its 16-bit count holds.
const MAX_REFERENCES: u16 = 1 << 12;

/// A received packet, which is only read from here on. Dropping it gives its mbufs back, unless their memory is shared.
#[repr(transparent)]
pub struct RxMbuf {
    /// Its reference count may be above 1, which is not so of an [`Mbuf`] in anybody else's hands: no `&mut` to it and
    /// no move out of it leaves this module while that is so.
    mbuf: Mbuf,
}

impl RxMbuf {
    /// The bytes of the first segment, which is all of a packet that is contiguous.
    #[inline]
    pub fn data(&self) -> &[u8] {
        self.mbuf.data()
    }

    /// The packet, to read.
    #[inline]
    pub fn as_mbuf(&self) -> &Mbuf {
        &self.mbuf
    }

    /// Memory that stays taken while the packet is: buffer, private area and the mbuf itself.
    #[inline]
    pub fn held_bytes(&self) -> usize {
        let raw = self.mbuf.raw();
        // SAFETY: the mbuf is alive as `self` is.
        let (buffer, private) = unsafe { (raw.buf_len(), raw.priv_size()) };
        sys::DN_MBUF_SIZE + usize::from(buffer) + usize::from(private)
    }

    /// Bytes of the packet that stay where they are, for as long as the returned buffer or a clone of it is there.
    /// `None` if a quarter of the pool is shared already, if the range is not within [`data`](Self::data), or if the
    /// packet is not contiguous.
    pub fn share(&self, range: Range<usize>) -> Option<Bytes> {
        if range.start > range.end || range.end > self.mbuf.data_len() || !self.mbuf.is_contiguous()
        {
            return None;
        }
        let raw = self.mbuf.raw();
        // SAFETY: the mbuf is alive and counted in its pool, which is ours; with the reference and the count taken
        // here it stays so until `Shared` is dropped.
        unsafe {
            let pool = raw.pool();
            if !mempool::start_sharing(pool) {
                return None;
            }
            if !raw.add_reference(MAX_REFERENCES) {
                mempool::stop_sharing(pool);
                return None;
            }
            mempool::retain(pool, 1);
        }
        Some(Bytes::from_owner(Shared { raw, range }))
    }

    /// Gives the packet back to be changed.
    ///
    /// # Errors
    /// The packet itself while some of its memory is shared.
    pub fn try_into_mbuf(self) -> Result<Mbuf, Self> {
        // SAFETY: the mbuf is alive. If ours is the only reference nobody else can add one.
        if unsafe { self.mbuf.raw().refcnt() } == 1 {
            Ok(self.mbuf)
        } else {
            Err(self)
        }
    }
}

impl From<Mbuf> for RxMbuf {
    #[inline]
    fn from(mbuf: Mbuf) -> Self {
        Self { mbuf }
    }
}

impl FrameBuf for RxMbuf {
    #[inline]
    fn bytes(&self) -> &[u8] {
        self.data()
    }

    #[inline]
    fn rx_meta(&self) -> RxMeta {
        self.mbuf.rx_meta()
    }

    fn share(&self, segment: usize, range: Range<usize>) -> Option<(Bytes, usize)> {
        if segment != 0 {
            return None;
        }
        Some((RxMbuf::share(self, range)?, self.held_bytes()))
    }
}

impl fmt::Debug for RxMbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mbuf.fmt(f)
    }
}

/// A reference to a packet of one segment, for some of its bytes.
struct Shared {
    raw: RawMbuf,
    range: Range<usize>,
}

// SAFETY: it only reads its packet, and mbufs may be freed on any thread.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the range was within the data when the packet was shared; nobody changes it since (2).
        unsafe {
            let start = self.raw.data().add(self.range.start);
            slice::from_raw_parts(start.as_ptr(), self.range.len())
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the reference and the count are ours, taken when the packet was shared, and given up here.
        unsafe {
            mempool::stop_sharing(self.raw.pool());
            mempool::free_packet(self.raw);
        }
    }
}

/// What a burst received, to be read. At most `N` packets, in order; no heap.
#[derive(Default)]
pub struct RxBatch<const N: usize = 64> {
    batch: MbufBatch<N>,
}

/// What [`RxBatch::receive`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Received {
    /// Packets that are in the batch.
    pub packets: usize,
    /// Packets dropped because their segments did not fit into the first one's buffer.
    pub dropped: usize,
}

impl<const N: usize> RxBatch<N> {
    /// An empty batch.
    pub const fn new() -> Self {
        Self {
            batch: MbufBatch::new(),
        }
    }

    /// Frees what it holds and takes a burst off `queue` ([`RxQueue::rx_burst`]). Every packet is contiguous
    /// afterwards.
    #[inline]
    pub fn receive(&mut self, queue: &mut RxQueue) -> Received {
        self.batch.clear();
        let packets = queue.rx_burst(&mut self.batch);
        if self.batch.iter().any(|mbuf| !mbuf.is_contiguous()) {
            return self.linearize();
        }
        Received {
            packets,
            dropped: 0,
        }
    }

    /// Nothing is shared yet: the packets have just been received.
    #[cold]
    fn linearize(&mut self) -> Received {
        let mut kept = MbufBatch::new();
        let mut dropped = 0;
        for mut mbuf in self.batch.drain() {
            // Both batches hold N.
            if mbuf.linearize().is_err() || kept.push(mbuf).is_err() {
                dropped += 1;
            }
        }
        self.batch = kept;
        Received {
            packets: self.batch.len(),
            dropped,
        }
    }

    /// How many packets are in it.
    #[inline]
    pub fn len(&self) -> usize {
        self.batch.len()
    }

    /// Whether it has no packet.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.batch.is_empty()
    }

    /// The packets in order.
    #[inline]
    pub fn as_slice(&self) -> &[RxMbuf] {
        let mbufs = self.batch.as_slice();
        // SAFETY: RxMbuf is transparent over Mbuf, and the batch gives nobody its mbufs to change or take.
        unsafe { slice::from_raw_parts(mbufs.as_ptr().cast(), mbufs.len()) }
    }

    /// Frees all packets, in bulk.
    #[inline]
    pub fn clear(&mut self) {
        self.batch.clear();
    }
}

impl<const N: usize> fmt::Debug for RxBatch<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.batch.fmt(f)
    }
}
