//! A list of packets of fixed capacity: what bursts are received into and sent from.
//!
//! It lives where it is declared (no heap) and keeps order. What holds: the first `len` places own a packet
//! each, under the invariants of [`Mbuf`]; the others hold nothing.
//!
//! What does not live here: queues of unbounded length; a batch that is full says so.

use core::fmt;
use core::mem::MaybeUninit;
use core::slice;

use dpdk_net_sys as sys;

use crate::mbuf::{Mbuf, RawMbuf};
use crate::mempool::free_packets;

/// Up to `N` packets in order. Dropping it frees them in bulk.
pub struct MbufBatch<const N: usize = 64> {
    mbufs: [MaybeUninit<RawMbuf>; N],
    len: usize,
}

// SAFETY: a batch owns its packets, and an Mbuf may move to another thread.
unsafe impl<const N: usize> Send for MbufBatch<N> {}
// SAFETY: through a shared reference the packets are only read, which Mbuf allows.
unsafe impl<const N: usize> Sync for MbufBatch<N> {}

impl<const N: usize> MbufBatch<N> {
    /// An empty batch.
    #[inline]
    pub const fn new() -> Self {
        Self {
            mbufs: [const { MaybeUninit::uninit() }; N],
            len: 0,
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
    pub fn push(&mut self, mbuf: Mbuf) -> Result<(), Mbuf> {
        let Some(place) = self.mbufs.get_mut(self.len) else {
            return Err(mbuf);
        };
        place.write(mbuf.into_raw());
        self.len += 1;
        Ok(())
    }

    /// Takes the last packet.
    #[inline]
    pub fn pop(&mut self) -> Option<Mbuf> {
        let last = self.len.checked_sub(1)?;
        self.len = last;
        // SAFETY: the first `len` places own a packet; this one was just given up.
        Some(unsafe { Mbuf::from_raw(self.mbufs[last].assume_init()) })
    }

    /// Takes the packet at `index`; those behind it move up, in order.
    pub fn remove(&mut self, index: usize) -> Option<Mbuf> {
        if index >= self.len {
            return None;
        }
        // SAFETY: the first `len` places own a packet; the one at `index` is given up and overwritten.
        let mbuf = unsafe { Mbuf::from_raw(self.mbufs[index].assume_init()) };
        self.mbufs.copy_within(index + 1..self.len, index);
        self.len -= 1;
        Some(mbuf)
    }

    /// Moves packets from the front of `other` to the end of this batch, in order and as many as fit, and
    /// returns how many those were.
    pub fn append<const M: usize>(&mut self, other: &mut MbufBatch<M>) -> usize {
        let n = self.room().min(other.len);
        self.mbufs[self.len..self.len + n].copy_from_slice(&other.mbufs[..n]);
        self.len += n;
        // SAFETY: this batch owns the first `n` packets of the other from here on.
        unsafe { other.forget_front(n) };
        n
    }

    /// The packets in order.
    #[inline]
    pub fn as_slice(&self) -> &[Mbuf] {
        // SAFETY: the first `len` places own packets, and Mbuf is transparent over RawMbuf.
        unsafe { slice::from_raw_parts(self.mbufs.as_ptr().cast(), self.len) }
    }

    /// The packets in order, to change.
    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [Mbuf] {
        // SAFETY: as in `as_slice`; the batch is borrowed mutably.
        unsafe { slice::from_raw_parts_mut(self.mbufs.as_mut_ptr().cast(), self.len) }
    }

    /// The packets in order.
    #[inline]
    pub fn iter(&self) -> slice::Iter<'_, Mbuf> {
        self.as_slice().iter()
    }

    /// The packets in order, to change.
    #[inline]
    pub fn iter_mut(&mut self) -> slice::IterMut<'_, Mbuf> {
        self.as_mut_slice().iter_mut()
    }

    /// Takes all packets, from the front. Those not taken when the iterator is dropped are freed.
    #[inline]
    pub fn drain(&mut self) -> Drain<'_, N> {
        let end = core::mem::take(&mut self.len);
        Drain {
            batch: self,
            next: 0,
            end,
        }
    }

    /// Frees all packets, in bulk.
    #[inline]
    pub fn clear(&mut self) {
        let n = core::mem::take(&mut self.len);
        if n != 0 {
            // SAFETY: the first `n` places owned packets, and were given up.
            unsafe { free_packets(self.raw_mut(), n) }
        }
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
    /// They were, under the invariants of [`Mbuf`], and `n` is at most `room()`.
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

    /// Says that only the first `len` places own packets.
    ///
    /// # Safety
    /// They do, and the packets that were in other places have found an owner.
    pub(crate) unsafe fn set_len(&mut self, len: usize) {
        debug_assert!(len <= N);
        self.len = len;
    }
}

impl<const N: usize> Default for MbufBatch<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Drop for MbufBatch<N> {
    #[inline]
    fn drop(&mut self) {
        self.clear();
    }
}

impl<const N: usize> fmt::Debug for MbufBatch<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self).finish()
    }
}

impl<'a, const N: usize> IntoIterator for &'a MbufBatch<N> {
    type Item = &'a Mbuf;
    type IntoIter = slice::Iter<'a, Mbuf>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<'a, const N: usize> IntoIterator for &'a mut MbufBatch<N> {
    type Item = &'a mut Mbuf;
    type IntoIter = slice::IterMut<'a, Mbuf>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}

/// Takes packets out of a batch: see [`MbufBatch::drain`].
pub struct Drain<'a, const N: usize> {
    batch: &'a mut MbufBatch<N>,
    next: usize,
    end: usize,
}

impl<const N: usize> Iterator for Drain<'_, N> {
    type Item = Mbuf;

    #[inline]
    fn next(&mut self) -> Option<Mbuf> {
        if self.next == self.end {
            return None;
        }
        // SAFETY: the places from `next` to `end` own packets that the batch gave up; this one is now ours.
        let mbuf = unsafe { Mbuf::from_raw(self.batch.mbufs[self.next].assume_init()) };
        self.next += 1;
        Some(mbuf)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.end - self.next;
        (left, Some(left))
    }
}

impl<const N: usize> ExactSizeIterator for Drain<'_, N> {}

impl<const N: usize> Drop for Drain<'_, N> {
    fn drop(&mut self) {
        // SAFETY: the places from `next` to `end` own packets that nobody took.
        unsafe { free_packets(self.batch.raw_mut().add(self.next), self.end - self.next) }
    }
}

impl<const N: usize> fmt::Debug for Drain<'_, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Drain")
            .field("left", &(self.end - self.next))
            .finish()
    }
}
