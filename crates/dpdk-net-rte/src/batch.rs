//! A list of packets of fixed capacity: what bursts are received into and sent from.
//!
//! It lives where it is declared (no heap) and keeps order. What holds: the first `len` places own a packet
//! each, under the invariants of its type ([`Mbuf`] or [`TxMbuf`]); the others hold nothing.
//!
//! What does not live here: queues of unbounded length; a batch that is full says so.

use core::fmt;
use core::marker::PhantomData;
use core::mem::{self, MaybeUninit};
use core::slice;

use dpdk_net_sys as sys;

use crate::mbuf::{Mbuf, RawMbuf};
use crate::mempool::free_packets;
use crate::tx_mbuf::TxMbuf;

/// Up to `N` packets of one type in order. Dropping it frees them in bulk.
pub struct Batch<P, const N: usize = 64> {
    mbufs: [MaybeUninit<RawMbuf>; N],
    len: usize,
    packets: PhantomData<P>,
}

/// Up to `N` packets to receive into, to change or to send.
pub type MbufBatch<const N: usize = 64> = Batch<Mbuf, N>;

/// Up to `N` packets to send, which may refer to data elsewhere.
pub type TxBatch<const N: usize = 64> = Batch<TxMbuf, N>;

/// What a [`Batch`] can hold: [`Mbuf`] and [`TxMbuf`], and nothing else.
///
/// # Safety
/// The type is transparent over `RawMbuf`, owns its packet, whose first segment is direct, and may be dropped and
/// read on any thread.
pub unsafe trait Packet: Sized + fmt::Debug + sealed::Sealed {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::mbuf::Mbuf {}
    impl Sealed for crate::tx_mbuf::TxMbuf {}
}

// SAFETY: `Mbuf`'s definition and invariants.
unsafe impl Packet for Mbuf {}
// SAFETY: `TxMbuf`'s definition and invariants.
unsafe impl Packet for TxMbuf {}

// SAFETY: a batch owns its packets, which may move to another thread as `Packet` says.
unsafe impl<P: Packet, const N: usize> Send for Batch<P, N> {}
// SAFETY: through a shared reference the packets are only read, on any thread as `Packet` says.
unsafe impl<P: Packet, const N: usize> Sync for Batch<P, N> {}

/// A packet by its address.
///
/// # Safety
/// The invariants of `P` hold of it, and nobody else owns it.
#[inline(always)]
unsafe fn from_raw<P: Packet>(raw: RawMbuf) -> P {
    // SAFETY: `P` is transparent over `RawMbuf`.
    unsafe { mem::transmute_copy(&raw) }
}

/// Gives a packet up without freeing it.
#[inline(always)]
fn into_raw<P: Packet>(packet: P) -> RawMbuf {
    let packet = mem::ManuallyDrop::new(packet);
    // SAFETY: `P` is transparent over `RawMbuf`; what was copied out is not dropped.
    unsafe { mem::transmute_copy(&packet) }
}

impl<P: Packet, const N: usize> Batch<P, N> {
    /// An empty batch.
    #[inline]
    pub const fn new() -> Self {
        Self {
            mbufs: [const { MaybeUninit::uninit() }; N],
            len: 0,
            packets: PhantomData,
        }
    }

    /// How many packets are in it.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len
    }

    /// Whether it has no packet.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether it takes no further packet.
    #[inline]
    pub const fn is_full(&self) -> bool {
        self.len == N
    }

    /// How many packets it can hold: `N`.
    #[inline]
    pub const fn capacity(&self) -> usize {
        N
    }

    /// How many more packets it takes.
    #[inline]
    pub const fn room(&self) -> usize {
        N - self.len
    }

    /// Appends a packet.
    ///
    /// # Errors
    /// Gives it back where the batch is full.
    #[inline]
    pub fn push(&mut self, packet: P) -> Result<(), P> {
        let Some(place) = self.mbufs.get_mut(self.len) else {
            return Err(packet);
        };
        place.write(into_raw(packet));
        self.len += 1;
        Ok(())
    }

    /// Takes the last packet.
    #[inline]
    pub fn pop(&mut self) -> Option<P> {
        let last = self.len.checked_sub(1)?;
        self.len = last;
        // SAFETY: the first `len` places own a packet; this one was just given up.
        Some(unsafe { from_raw(self.mbufs[last].assume_init()) })
    }

    /// Takes the packet at `index`; those behind it move up, in order.
    pub fn remove(&mut self, index: usize) -> Option<P> {
        if index >= self.len {
            return None;
        }
        // SAFETY: the first `len` places own a packet; the one at `index` is given up and overwritten.
        let packet = unsafe { from_raw(self.mbufs[index].assume_init()) };
        self.mbufs.copy_within(index + 1..self.len, index);
        self.len -= 1;
        Some(packet)
    }

    /// Moves packets from the front of `other` to the end of this batch, in order and as many as fit, and
    /// returns how many those were.
    pub fn append<const M: usize>(&mut self, other: &mut Batch<P, M>) -> usize {
        let n = self.room().min(other.len);
        self.mbufs[self.len..self.len + n].copy_from_slice(&other.mbufs[..n]);
        self.len += n;
        // SAFETY: this batch owns the first `n` packets of the other from here on.
        unsafe { other.forget_front(n) };
        n
    }

    /// The packets in order.
    #[inline]
    pub fn as_slice(&self) -> &[P] {
        // SAFETY: the first `len` places own packets, and `P` is transparent over RawMbuf.
        unsafe { slice::from_raw_parts(self.mbufs.as_ptr().cast(), self.len) }
    }

    /// The packets in order, to change.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [P] {
        // SAFETY: as in `as_slice`; the batch is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.mbufs.as_mut_ptr().cast(), self.len) }
    }

    /// The packets in order.
    #[inline]
    pub fn iter(&self) -> slice::Iter<'_, P> {
        self.as_slice().iter()
    }

    /// The packets in order, to change.
    #[inline]
    pub fn iter_mut(&mut self) -> slice::IterMut<'_, P> {
        self.as_mut_slice().iter_mut()
    }

    /// Takes all packets, from the front. Those not taken when the iterator is dropped are freed.
    #[inline]
    pub fn drain(&mut self) -> Drain<'_, P, N> {
        let end = mem::take(&mut self.len);
        Drain {
            batch: self,
            next: 0,
            end,
        }
    }

    /// Frees all packets, in bulk.
    #[inline]
    pub fn clear(&mut self) {
        free(&mut self.mbufs, &mut self.len);
    }

    /// Frees the packets from the `len`th on.
    #[inline]
    pub fn truncate(&mut self, len: usize) {
        if len < self.len {
            let n = self.len - len;
            self.len = len;
            // SAFETY: the places from `len` on owned packets, and were given up.
            unsafe { free_packets(self.raw_mut().add(len), n) }
        }
    }

    /// The batch without its type.
    #[inline(always)]
    pub(crate) fn as_raw(&mut self) -> RawBatch<'_> {
        RawBatch {
            mbufs: self.mbufs.as_mut_ptr().cast(),
            len: &mut self.len,
        }
    }

    /// The places, owned packets first.
    #[inline(always)]
    pub(crate) fn raw_mut(&mut self) -> *mut RawMbuf {
        self.mbufs.as_mut_ptr().cast()
    }

    /// Where `room()` more packets may be written.
    #[inline(always)]
    pub(crate) fn tail(&mut self) -> *mut *mut sys::rte_mbuf {
        // SAFETY: `len` is at most N.
        unsafe { self.mbufs.as_mut_ptr().add(self.len).cast() }
    }

    /// Takes in `n` packets that were written to the tail.
    ///
    /// # Safety
    /// They were, under the invariants of `P`, and `n` is at most `room()`.
    #[inline(always)]
    pub(crate) unsafe fn grow(&mut self, n: usize) {
        debug_assert!(n <= self.room());
        self.len += n;
    }

    /// Gives up the first `n` packets without freeing them; the others move to the front.
    ///
    /// # Safety
    /// Somebody else owns them, and `n` is at most `len()`.
    #[inline(always)]
    pub(crate) unsafe fn forget_front(&mut self, n: usize) {
        debug_assert!(n <= self.len);
        let rest = self.len - n;
        if rest != 0 && n != 0 {
            self.mbufs.copy_within(n..self.len, 0);
        }
        self.len = rest;
    }
}

/// A [`Batch`] of any type and capacity, borrowed.
pub(crate) struct RawBatch<'a> {
    mbufs: *mut RawMbuf,
    len: &'a mut usize,
}

impl RawBatch<'_> {
    /// How many packets are in it.
    pub(crate) fn len(&self) -> usize {
        *self.len
    }

    /// The places, owned packets first.
    pub(crate) fn mbufs(&self) -> *mut RawMbuf {
        self.mbufs
    }

    /// Says that only the first `len` places own packets.
    ///
    /// # Safety
    /// They do, and the packets that were in other places have found an owner.
    pub(crate) unsafe fn set_len(&mut self, len: usize) {
        *self.len = len;
    }

    /// As [`Batch::forget_front`].
    ///
    /// # Safety
    /// As there.
    pub(crate) unsafe fn forget_front(&mut self, n: usize) {
        let rest = *self.len - n;
        // SAFETY: the first `len` places exist, and `n` is at most `len`.
        unsafe { self.mbufs.copy_from(self.mbufs.add(n), rest) };
        *self.len = rest;
    }
}

/// Frees the packets in the first `len` places, in bulk.
#[inline]
fn free<const N: usize>(mbufs: &mut [MaybeUninit<RawMbuf>; N], len: &mut usize) {
    let n = mem::take(len);
    if n != 0 {
        // SAFETY: the first `n` places of a batch owned packets, and were given up.
        unsafe { free_packets(mbufs.as_mut_ptr().cast(), n) }
    }
}

impl<P: Packet, const N: usize> Default for Batch<P, N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<P, const N: usize> Drop for Batch<P, N> {
    #[inline]
    fn drop(&mut self) {
        free(&mut self.mbufs, &mut self.len);
    }
}

impl<const N: usize> From<MbufBatch<N>> for TxBatch<N> {
    #[inline]
    fn from(mut batch: MbufBatch<N>) -> Self {
        let len = mem::take(&mut batch.len);
        // Every Mbuf is a TxMbuf.
        Self {
            mbufs: batch.mbufs,
            len,
            packets: PhantomData,
        }
    }
}

impl<P: Packet, const N: usize> fmt::Debug for Batch<P, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl<'a, P: Packet, const N: usize> IntoIterator for &'a Batch<P, N> {
    type Item = &'a P;
    type IntoIter = slice::Iter<'a, P>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, P: Packet, const N: usize> IntoIterator for &'a mut Batch<P, N> {
    type Item = &'a mut P;
    type IntoIter = slice::IterMut<'a, P>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

/// Takes packets out of a batch: see [`Batch::drain`].
pub struct Drain<'a, P, const N: usize> {
    batch: &'a mut Batch<P, N>,
    next: usize,
    end: usize,
}

impl<P: Packet, const N: usize> Iterator for Drain<'_, P, N> {
    type Item = P;

    #[inline]
    fn next(&mut self) -> Option<P> {
        if self.next == self.end {
            return None;
        }
        // SAFETY: the places from `next` to `end` own packets that the batch gave up; this one is now ours.
        let packet = unsafe { from_raw(self.batch.mbufs[self.next].assume_init()) };
        self.next += 1;
        Some(packet)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.end - self.next;
        (left, Some(left))
    }
}

impl<P: Packet, const N: usize> ExactSizeIterator for Drain<'_, P, N> {}

impl<P, const N: usize> Drop for Drain<'_, P, N> {
    fn drop(&mut self) {
        let mbufs: *mut RawMbuf = self.batch.mbufs.as_mut_ptr().cast();
        // SAFETY: the places from `next` to `end` own packets that nobody took.
        unsafe { free_packets(mbufs.add(self.next), self.end - self.next) }
    }
}

impl<P, const N: usize> fmt::Debug for Drain<'_, P, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain")
            .field("left", &(self.end - self.next))
            .finish()
    }
}
