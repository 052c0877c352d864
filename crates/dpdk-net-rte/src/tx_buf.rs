//! Payload to send that is written once and transmitted by reference, as often as it takes.
//!
//! What holds, and every `unsafe` block here and in [`crate::tx_mbuf`] relies on:
//!
//! 1. A [`TxBuf`] owns one reference to a direct mbuf of a pool of this crate, in the mbuf's own reference count, and
//!    each segment that refers to it owns another one ([`TxMbuf::chain`](crate::TxMbuf::chain)). So its buffer goes
//!    back to the pool with the last of them, whoever that is: the application or a driver.
//! 2. The first `len` bytes of the buffer are never written again while there is a reference: what is in flight, by
//!    DMA or by copy, does not change. Only bytes behind them are, which no reference covers.
//! 3. Of the mbuf itself nobody writes anything but the reference count, and that atomically. DPDK changes a count of
//!    1 without an atomic operation: whoever sees that has the only reference, so nobody can add one meanwhile.
//!
//! What does not live here: the packets that refer to it ([`crate::tx_mbuf`]).

use core::fmt;
use core::ptr::NonNull;
use core::slice;

use dpdk_net_sys as sys;

use crate::mbuf::{Mbuf, RawMbuf};
use crate::mempool::{self, Mempool};

/// References to one buffer at most. The count has 16 bits; drivers that segment in software add references of
/// their own for as long as a burst lasts, and must find room.
const MAX_REFERENCES: u16 = 1 << 15;

/// A buffer for payload to send, one mbuf large, which is written from its start to its end and never changed.
///
/// Packets refer to ranges of it ([`TxMbuf::chain`](crate::TxMbuf::chain)) instead of carrying a copy. Appending while
/// earlier bytes are in flight is fine: those stay as they are. Dropping it gives the memory back to its pool as soon
/// as no packet refers to it any more.
///
/// All of the mempool's [data room](Mempool::data_room) is buffer, the headroom too.
pub struct TxBuf {
    raw: RawMbuf,
    start: NonNull<u8>,
    capacity: u16,
    len: u16,
}

// SAFETY: it owns its reference, and mbufs may be freed on any thread.
unsafe impl Send for TxBuf {}
// SAFETY: through a shared reference bytes that do not change are read, and the reference count is changed, atomically.
unsafe impl Sync for TxBuf {}

impl TxBuf {
    /// An empty buffer, or `None` where the pool is exhausted.
    #[inline]
    pub fn alloc(pool: &Mempool) -> Option<Self> {
        pool.alloc().map(Self::from)
    }

    /// What was written.
    #[inline]
    pub fn as_slice(&self) -> &[u8] {
        // SAFETY: the first `len` bytes of the buffer are initialised and not written while `self` is there (2).
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len()) }
    }

    /// How many bytes were written.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether nothing was written yet.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many bytes it can hold.
    #[inline]
    pub const fn capacity(&self) -> usize {
        self.capacity as usize
    }

    /// How many more bytes it takes.
    #[inline]
    pub const fn room(&self) -> usize {
        (self.capacity - self.len) as usize
    }

    /// Appends bytes, from the start of `bytes` and as many as fit, and returns how many those were.
    #[inline]
    pub fn append(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.room());
        // SAFETY: `n` bytes behind the first `len` lie within the buffer; no reference covers them, and `self` is
        // borrowed mutably (2). `bytes` can't overlap with them: nobody else can name them.
        unsafe {
            let end = self.start.add(self.len());
            end.copy_from_nonoverlapping(NonNull::from(bytes).cast(), n);
        }
        self.len += n as u16;
        n
    }

    /// Memory that stays taken while it or a reference to it is there: buffer, private area and the mbuf itself.
    #[inline]
    pub fn held_bytes(&self) -> usize {
        // SAFETY: the mbuf is alive as `self` is.
        let private = usize::from(unsafe { self.raw.priv_size() });
        sys::DN_MBUF_SIZE + private + self.capacity()
    }

    /// How many packets refer to it, those with a driver included. A snapshot: drivers let go when they like.
    #[inline]
    pub fn references(&self) -> usize {
        // SAFETY: the mbuf is alive as `self` is.
        usize::from(unsafe { self.raw.refcnt() }) - 1
    }

    /// Its mbuf.
    #[inline(always)]
    pub(crate) fn raw(&self) -> RawMbuf {
        self.raw
    }

    /// Adds a reference, and the count that goes with it in safe hands; false where there are too many.
    #[inline]
    pub(crate) fn add_reference(&self) -> bool {
        // SAFETY: the mbuf is alive as `self` is, and of a pool of ours; with what is taken here both stay so until
        // the segment that refers to it is freed or handed over.
        unsafe {
            let added = self.raw.add_reference(MAX_REFERENCES);
            if added {
                mempool::retain(self.raw.pool(), 1);
            }
            added
        }
    }
}

/// An mbuf as an empty buffer: what is in it is forgotten, and further segments are freed.
impl From<Mbuf> for TxBuf {
    #[inline]
    fn from(mut mbuf: Mbuf) -> Self {
        mbuf.cut_to_first_segment();
        let raw = mbuf.into_raw();
        // SAFETY: the mbuf is direct with one reference and counted, all of which is taken over.
        let (start, capacity) = unsafe { (raw.buf_addr(), raw.buf_len()) };
        Self {
            raw,
            start,
            capacity,
            len: 0,
        }
    }
}

impl Drop for TxBuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the reference and its count are ours, and given up here.
        unsafe { mempool::free_segment(self.raw) }
    }
}

impl AsRef<[u8]> for TxBuf {
    fn as_ref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl fmt::Debug for TxBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TxBuf")
            .field("len", &self.len)
            .field("capacity", &self.capacity)
            .field("references", &self.references())
            .finish()
    }
}
