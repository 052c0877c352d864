//! Received packets, to be read: their memory may be shared for as long as somebody needs the payload.
//!
//! What holds, and every `unsafe` block here relies on:
//!
//! 1. A [`RxMbuf`] owns one reference to each segment of its packet, and each buffer that
//!    [`share`](RxSegment::share) gave another one to its segment, in the segment's own reference count (`rte_mbuf`'s
//!    `refcnt`). Each is counted in the pool as an mbuf in safe hands, so pool and EAL outlive them all. Freeing the
//!    packet leaves a shared segment alone, with a `next` that may point to what is gone: nobody follows it.
//! 2. While there are several, nobody writes: neither type has a method that changes data, offsets or lengths. An
//!    [`Mbuf`], which has, is given back only when its reference is the only one.
//! 3. So many bytes may be shared of a pool's mbufs at once that the rest keeps its drivers going: a quarter of the
//!    mbufs. Past it [`share`](RxSegment::share) says no, and whoever wants to keep the payload copies it.
//!
//! What does not live here: packets to change or send ([`crate::mbuf`]).

use core::fmt;
use core::marker::PhantomData;
use core::ops::Range;
use core::ptr::NonNull;
use core::slice;

use bytes::Bytes;
use dpdk_net_packet::{FrameBuf, FrameSegment, RxMeta};
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

    /// Memory that stays taken while the packet is: buffers, private areas and the mbufs themselves.
    #[inline]
    pub fn held_bytes(&self) -> usize {
        let (mut held, mut segment) = (0, Some(self.mbuf.raw()));
        while let Some(mbuf) = segment {
            held += held_bytes(mbuf);
            // SAFETY: the packet's segments are alive as `self` is.
            segment = unsafe { mbuf.next() };
        }
        held
    }

    /// Bytes of the first segment that stay where they are: as [`RxSegment::share`].
    #[inline]
    pub fn share(&self, range: Range<usize>) -> Option<Bytes> {
        self.first().share(range)
    }

    /// The segments of the packet, at least one.
    #[inline]
    pub fn segments(&self) -> impl Iterator<Item = RxSegment<'_>> {
        let mut next = Some(self.mbuf.raw());
        core::iter::from_fn(move || {
            let raw = next?;
            // SAFETY: the packet's segments are alive as `self` is.
            next = unsafe { raw.next() };
            Some(RxSegment {
                raw,
                packet: PhantomData,
            })
        })
    }

    #[inline]
    fn first(&self) -> RxSegment<'_> {
        RxSegment {
            raw: self.mbuf.raw(),
            packet: PhantomData,
        }
    }

    /// Gives the packet back to be changed.
    ///
    /// # Errors
    /// The packet itself while some of its memory is shared.
    pub fn try_into_mbuf(self) -> Result<Mbuf, Self> {
        let mut segment = Some(self.mbuf.raw());
        while let Some(mbuf) = segment {
            // SAFETY: the packet's segments are alive. If ours is the only reference nobody else can add one.
            unsafe {
                if mbuf.refcnt() != 1 {
                    return Err(self);
                }
                segment = mbuf.next();
            }
        }
        Ok(self.mbuf)
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
    fn segment_count(&self) -> usize {
        self.mbuf.nb_segs()
    }

    #[inline]
    fn rest(&self) -> impl Iterator<Item = impl FrameSegment<'_>> {
        RxMbuf::segments(self).skip(1)
    }

    #[inline]
    fn frame_len(&self) -> usize {
        self.mbuf.pkt_len()
    }

    #[inline]
    fn rx_meta(&self) -> RxMeta {
        self.mbuf.rx_meta()
    }

    fn share(&self, range: Range<usize>) -> Option<(Bytes, usize)> {
        FrameSegment::share(&self.first(), range)
    }
}

/// One segment of a received packet.
#[derive(Clone, Copy)]
pub struct RxSegment<'a> {
    raw: RawMbuf,
    packet: PhantomData<&'a RxMbuf>,
}

impl<'a> RxSegment<'a> {
    /// What of the packet is in it.
    #[inline]
    pub fn data(&self) -> &'a [u8] {
        // SAFETY: the packet is borrowed for 'a, so its segments are alive and only read.
        unsafe { slice::from_raw_parts(self.raw.data().as_ptr(), usize::from(self.raw.data_len())) }
    }

    /// Bytes that stay where they are, for as long as the returned buffer or a clone of it is there. That keeps the segment's
    /// own mbuf, and none of the others of the packet.
    ///
    /// `None` if a quarter of the pool is shared already, or if there are no such bytes.
    pub fn share(&self, range: Range<usize>) -> Option<Bytes> {
        let raw = self.raw;
        // SAFETY: the segment is alive as its packet is, and counted in its pool, which is ours; with the reference and
        // the count taken here it stays so until `Shared` is dropped.
        unsafe {
            if range.start > range.end || range.end > usize::from(raw.data_len()) {
                return None;
            }
            let pool = raw.pool();
            if !mempool::start_sharing(pool) {
                return None;
            }
            if !raw.add_reference(MAX_REFERENCES) {
                mempool::stop_sharing(pool);
                return None;
            }
            mempool::retain(pool, 1);
            Some(Bytes::from_owner(Shared {
                raw,
                start: raw.data().add(range.start),
                len: range.len(),
            }))
        }
    }
}

impl<'a> FrameSegment<'a> for RxSegment<'a> {
    #[inline]
    fn bytes(&self) -> &'a [u8] {
        self.data()
    }

    fn share(&self, range: Range<usize>) -> Option<(Bytes, usize)> {
        let bytes = RxSegment::share(self, range)?;
        Some((bytes, held_bytes(self.raw)))
    }
}

impl fmt::Debug for RxSegment<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RxSegment")
            .field("len", &self.data().len())
            .finish()
    }
}

impl fmt::Debug for RxMbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mbuf.fmt(f)
    }
}

/// Memory that one segment of a packet in hand takes.
fn held_bytes(mbuf: RawMbuf) -> usize {
    // SAFETY: the mbuf is alive as the packet is.
    let (buffer, private) = unsafe { (mbuf.buf_len(), mbuf.priv_size()) };
    sys::DN_MBUF_SIZE + usize::from(buffer) + usize::from(private)
}

/// A reference to one segment, for some of its bytes. Which packet it was in is not looked at: the other segments may
/// be gone.
struct Shared {
    raw: RawMbuf,
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: it only reads its packet, and mbufs may be freed on any thread.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl AsRef<[u8]> for Shared {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: these bytes were within the data when the segment was shared; nobody changes them since (2).
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the reference and the count are ours, taken when the packet was shared, and given up here.
        unsafe {
            mempool::stop_sharing(self.raw.pool());
            mempool::free_segment(self.raw);
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
    /// Bytes of the packets that came, from the Ethernet header on.
    pub bytes: u64,
    /// Packets dropped because what must be in their first segment did not fit into its buffer.
    pub dropped: usize,
}

impl<const N: usize> RxBatch<N> {
    /// Bytes of a packet of several segments that are in the first one: Ethernet with two VLAN tags, and IPv4 and TCP
    /// with all options are 142, IPv6 with some extension headers more.
    pub const HEADERS: usize = 256;

    /// An empty batch.
    pub const fn new() -> Self {
        Self {
            batch: MbufBatch::new(),
        }
    }

    /// Frees what it holds and takes a burst off `queue` ([`RxQueue::rx_burst`]). A packet of several segments stays
    /// one, with all headers in the first: that has [`HEADERS`](Self::HEADERS) bytes or all of the packet.
    #[inline]
    pub fn receive(&mut self, queue: &mut RxQueue) -> Received {
        self.receive_up_to(queue, N)
    }

    /// As [`receive`](Self::receive), at most `most` packets. Many drivers deliver nothing into room for less than 4 or 8.
    #[inline]
    pub fn receive_up_to(&mut self, queue: &mut RxQueue, most: usize) -> Received {
        self.receive_with(queue, most, |mbuf| {
            let headers = Self::HEADERS.min(mbuf.pkt_len());
            mbuf.pull_up(headers).is_ok()
        })
    }

    /// As [`receive`](Self::receive), but every packet is of one segment afterwards.
    #[inline]
    pub fn receive_contiguous(&mut self, queue: &mut RxQueue) -> Received {
        self.receive_with(queue, N, |mbuf| mbuf.linearize().is_ok())
    }

    #[inline]
    fn receive_with(
        &mut self,
        queue: &mut RxQueue,
        most: usize,
        arrange: impl Fn(&mut Mbuf) -> bool,
    ) -> Received {
        self.batch.clear();
        let (packets, bytes) = queue.rx_burst_up_to(&mut self.batch, most);
        let mut dropped = 0;
        if self.batch.iter().any(|mbuf| !mbuf.is_contiguous()) {
            dropped = self.arrange(arrange);
        }
        Received {
            packets: packets - dropped,
            bytes,
            dropped,
        }
    }

    /// Puts packets of several segments in order, or drops them, and tells how many. Nothing is shared yet: they have just been received.
    #[inline(never)]
    fn arrange(&mut self, arrange: impl Fn(&mut Mbuf) -> bool) -> usize {
        let good = |mbuf: &mut Mbuf| mbuf.is_contiguous() || arrange(mbuf);
        let mut dropped = 0;
        if !self.batch.iter_mut().all(good) {
            let mut kept = MbufBatch::new();
            for mut mbuf in self.batch.drain() {
                // Both batches hold N. What was good before is so again.
                if !good(&mut mbuf) || kept.push(mbuf).is_err() {
                    dropped += 1;
                }
            }
            self.batch = kept;
        }
        dropped
    }

    /// Appends a packet.
    ///
    /// # Errors
    /// Gives it back where the batch is full.
    #[inline]
    pub fn push(&mut self, packet: RxMbuf) -> Result<(), RxMbuf> {
        self.batch.push(packet.mbuf).map_err(RxMbuf::from)
    }

    /// Takes all packets, from the front. Those not taken when the iterator is dropped are freed.
    #[inline]
    pub fn drain(&mut self) -> impl ExactSizeIterator<Item = RxMbuf> + '_ {
        self.batch.drain().map(RxMbuf::from)
    }

    /// Hands the packets to `take`, which returns how many of the first ones it took; the others move to the front.
    ///
    /// # Safety
    /// It returns no more than it is told there are, owns so many from then on, and only reads the places.
    #[inline(always)]
    pub(crate) unsafe fn give(&mut self, take: impl FnOnce(*mut RawMbuf, usize) -> usize) -> usize {
        let taken = take(self.batch.raw_mut(), self.batch.len());
        // SAFETY: the caller's promise.
        unsafe { self.batch.forget_front(taken) };
        taken
    }

    /// Has `write` append packets: it gets the first free place and how many there are, and returns how many it wrote.
    ///
    /// # Safety
    /// It writes no more than there is room for, and of what it wrote the invariants of the module hold.
    #[inline(always)]
    pub(crate) unsafe fn fill(
        &mut self,
        write: impl FnOnce(*mut *mut sys::rte_mbuf, usize) -> usize,
    ) -> usize {
        let written = write(self.batch.tail(), self.batch.room());
        // SAFETY: the caller's promise.
        unsafe { self.batch.grow(written) };
        written
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
