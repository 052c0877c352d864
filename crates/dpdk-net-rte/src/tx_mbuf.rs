//! Packets to send whose payload lies elsewhere: headers in an mbuf of their own, and behind it references to
//! [`TxBuf`]s.
//!
//! What holds, and every `unsafe` block here relies on:
//!
//! 1. The first segment is as of an [`Mbuf`]: direct, with a reference count of 1, of a pool of this crate and counted
//!    there. It alone is written.
//! 2. A further segment is either such a one too, or *indirect*: an mbuf, counted like any, whose data lies in the
//!    buffer of a [`TxBuf`]'s mbuf. It owns a reference to that and is counted in that one's pool as well
//!    ([`crate::mempool`]): both pools outlive it.
//! 3. The data of an indirect segment was written when it was made, and is not written while it is there
//!    ([`crate::tx_buf`]).
//! 4. Lengths and number of segments are right, as for an [`Mbuf`].
//!
//! What does not live here: sending ([`crate::queue`]), and freeing ([`crate::mempool`]).

use core::fmt;
use core::ops::Range;

use dpdk_net_sys as sys;

use crate::batch::MbufBatch;
use crate::mbuf::{HeadersDoNotFit, Mbuf, PreparedOffload, Segments, TxOffload};
use crate::tx_buf::TxBuf;
use crate::{Error, Mempool};

/// A packet to send, of which some may lie in [`TxBuf`]s. Dropping it gives its mbufs back and lets go of those.
///
/// Every [`Mbuf`] can be one.
#[repr(transparent)]
pub struct TxMbuf {
    /// Its segments but the first may be indirect, which is not so of an [`Mbuf`] in anybody else's hands: no `&mut`
    /// to it and no move out of it leaves this crate while that is so.
    mbuf: Mbuf,
}

/// Why [`TxMbuf::chain`] could not refer to a range. The packet is as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoReference {
    /// The stock of mbufs to make references of is empty.
    #[error("no mbuf is left to make a reference of: allocate some (`Mempool::alloc_bulk`)")]
    StockEmpty,
    /// The range is not within what was written.
    #[error("bytes {start} to {end} were asked for, {written} are written")]
    OutOfRange {
        /// The range's start.
        start: usize,
        /// Its end.
        end: usize,
        /// How many bytes the buffer has.
        written: usize,
    },
    /// Too many packets refer to the buffer already.
    #[error("32,767 packets refer to this buffer: send some first, or copy")]
    TooManyReferences,
    /// The packet would get more than 65,535 segments, or longer than 4 GiB.
    #[error("the packet takes no further segment")]
    PacketFull,
}

impl TxMbuf {
    /// Bytes of the first segment: the headers.
    #[inline]
    pub fn data(&self) -> &[u8] {
        self.mbuf.data()
    }

    /// Bytes of the first segment, to change.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        self.mbuf.data_mut()
    }

    /// Lengthens the packet by `n` bytes at its start: see [`Mbuf::prepend`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn prepend(&mut self, n: usize) -> Result<&mut [u8], Error> {
        self.mbuf.prepend(n)
    }

    /// Length of the packet in bytes, over all its segments.
    #[inline]
    pub fn pkt_len(&self) -> usize {
        self.mbuf.pkt_len()
    }

    /// How many segments the packet has, at least 1.
    #[inline]
    pub fn nb_segs(&self) -> usize {
        self.mbuf.nb_segs()
    }

    /// The data, segment by segment.
    pub fn segments(&self) -> Segments<'_> {
        self.mbuf.segments()
    }

    /// Copies the packet's bytes into `to`, as many as fit, and returns how many those were.
    pub fn copy_to(&self, to: &mut [u8]) -> usize {
        self.mbuf.copy_to(to)
    }

    /// The pool of the first segment.
    pub fn mempool(&self) -> Mempool {
        self.mbuf.mempool()
    }

    /// Appends bytes `range` of `buf` without copying them: one of `references` becomes a segment that refers to them
    /// (as by `rte_pktmbuf_attach`). An empty range adds nothing.
    ///
    /// `references` is a stock of mbufs whose own buffers are not used: of any pool, best of one with a
    /// [`data_room`](crate::mempool::MempoolBuilder::data_room) of 0. The last one is taken.
    ///
    /// Whether a port sends packets of several segments as they are is its
    /// [`TxOffloads::MULTI_SEGS`](crate::port::TxOffloads::MULTI_SEGS); for others
    /// [`tx_burst`](crate::TxQueue::tx_burst) copies the packet into its first segment, which must have the room.
    ///
    /// # Errors
    /// [`NoReference`] says what is in the way.
    #[inline]
    pub fn chain<const N: usize>(
        &mut self,
        buf: &TxBuf,
        range: Range<usize>,
        references: &mut MbufBatch<N>,
    ) -> Result<(), NoReference> {
        if range.start > range.end || range.end > buf.len() {
            return Err(NoReference::OutOfRange {
                start: range.start,
                end: range.end,
                written: buf.len(),
            });
        }
        if range.is_empty() {
            return Ok(());
        }
        let head = self.mbuf.raw();
        let length = self.pkt_len() as u64 + range.len() as u64;
        if self.nb_segs() == sys::DN_MBUF_MAX_NB_SEGS || length > u64::from(u32::MAX) {
            return Err(NoReference::PacketFull);
        }
        let Some(mut reference) = references.pop() else {
            return Err(NoReference::StockEmpty);
        };
        reference.cut_to_first_segment();
        if !buf.add_reference() {
            // It was taken from there: there is room.
            let _ = references.push(reference);
            return Err(NoReference::TooManyReferences);
        }
        let reference = reference.into_raw();
        // SAFETY: the new segment is direct, of one owner and of one segment, so it may be attached; a reference to
        // the buffer and its count are taken. The range lies within the buffer, whose length has 16 bits. Nobody else
        // has the packet, so its last segment and its head may be written.
        unsafe {
            sys::dn_pktmbuf_refer(
                reference.as_ptr(),
                buf.raw().as_ptr(),
                range.start as u16,
                range.len() as u16,
            );
            head.last().set_next(Some(reference));
            head.set_nb_segs(head.nb_segs() + 1);
            head.set_pkt_len(length as u32);
        }
        Ok(())
    }

    /// Asks the NIC to fill checksums in or to segment: see [`Mbuf::set_tx_offload`].
    ///
    /// # Errors
    /// As there.
    pub fn set_tx_offload(&mut self, offload: TxOffload) -> Result<(), Error> {
        self.mbuf.set_tx_offload(offload)
    }

    /// Asks the NIC for what was checked before: see [`Mbuf::apply_offload`].
    ///
    /// # Errors
    /// As there.
    #[inline]
    pub fn apply_offload(&mut self, offload: &PreparedOffload) -> Result<(), HeadersDoNotFit> {
        self.mbuf.apply_offload(offload)
    }

    /// Asks the NIC to insert a VLAN tag: see [`Mbuf::set_tx_vlan`].
    #[inline]
    pub fn set_tx_vlan(&mut self, tci: u16) {
        self.mbuf.set_tx_vlan(tci);
    }

    /// Takes back all that was asked of the NIC.
    #[inline]
    pub fn clear_tx_offload(&mut self) {
        self.mbuf.clear_tx_offload();
    }

    /// The packet, to read.
    #[inline]
    pub fn as_mbuf(&self) -> &Mbuf {
        &self.mbuf
    }

    /// Gives the packet back as one whose data can be changed.
    ///
    /// # Errors
    /// The packet itself where it refers to data elsewhere.
    pub fn try_into_mbuf(self) -> Result<Mbuf, Self> {
        let mut segment = Some(self.mbuf.raw());
        while let Some(mbuf) = segment {
            // SAFETY: the packet's segments are alive.
            unsafe {
                if mbuf.target().is_some() {
                    return Err(self);
                }
                segment = mbuf.next();
            }
        }
        Ok(self.mbuf)
    }
}

impl From<Mbuf> for TxMbuf {
    #[inline]
    fn from(mbuf: Mbuf) -> Self {
        Self { mbuf }
    }
}

impl fmt::Debug for TxMbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.mbuf.fmt(f)
    }
}
