//! The mbuf: a packet, or an empty buffer for one, in a mempool's memory.
//!
//! What holds of every [`Mbuf`], and every `unsafe` block here relies on:
//!
//! 1. It owns its packet: each segment has a reference count of 1, is direct (data in its own buffer), is of
//!    a pool of this crate and is counted there ([`crate::mempool`]). What a driver hands over that is not
//!    so, [`RxQueue`](crate::RxQueue) copies.
//! 2. In each segment `data_off + data_len <= buf_len`; `pkt_len` is the sum of `data_len`; `nb_segs`
//!    is the length of the chain. Drivers keep that, and so do the methods here.
//! 3. All bytes of the buffer and the private area are initialised, since the pool was made.
//!
//! So `&Mbuf` may read all of it and `&mut Mbuf` write it, and dropping it frees the chain.
//!
//! What does not live here: lists of mbufs ([`crate::batch`]) and what is in a packet (`dpdk-net-packet`).

pub(crate) mod raw;

mod offload;
pub(crate) mod timestamp;

use core::fmt;
use core::slice;

use dpdk_net_packet::{ChecksumVerdict, FrameBuf, FrameSegment, RxMeta};
use dpdk_net_sys as sys;

pub(crate) use self::offload::SEGMENTATION;
pub use self::offload::{
    BadTxOffload, HeadersDoNotFit, IpVersion, L4Offload, PreparedOffload, TxOffload,
};
pub(crate) use self::raw::RawMbuf;
use crate::mempool::{free_packet, free_whole};
use crate::port::PortId;
use crate::{Error, mempool};

/// One packet, of one segment or several. Dropping it gives its mbufs back to their pools.
#[repr(transparent)]
pub struct Mbuf {
    raw: RawMbuf,
}

// SAFETY: an Mbuf owns its packet alone, and mbufs may be freed on any thread.
unsafe impl Send for Mbuf {}
// SAFETY: through a shared reference it is only read.
unsafe impl Sync for Mbuf {}

impl Mbuf {
    /// Bytes of data in the first segment.
    #[inline]
    pub fn data(&self) -> &[u8] {
        // SAFETY: invariants 2 and 3.
        unsafe { slice::from_raw_parts(self.raw.data().as_ptr(), self.data_len()) }
    }

    /// Bytes of data in the first segment, to change.
    #[inline]
    pub fn data_mut(&mut self) -> &mut [u8] {
        // SAFETY: invariants 1, 2 and 3.
        unsafe { slice::from_raw_parts_mut(self.raw.data().as_ptr(), self.data_len()) }
    }

    /// Length of the first segment's data in bytes.
    #[inline]
    pub fn data_len(&self) -> usize {
        // SAFETY: the mbuf is alive.
        usize::from(unsafe { self.raw.data_len() })
    }

    /// Length of the packet in bytes, over all its segments.
    #[inline]
    pub fn pkt_len(&self) -> usize {
        // SAFETY: the mbuf is alive.
        unsafe { self.raw.pkt_len() as usize }
    }

    /// Bytes free in front of the data, for [`prepend`](Self::prepend).
    #[inline]
    pub fn headroom(&self) -> usize {
        // SAFETY: the mbuf is alive.
        usize::from(unsafe { self.raw.data_off() })
    }

    /// Bytes free behind the data of the last segment, for [`append`](Self::append).
    #[inline]
    pub fn tailroom(&self) -> usize {
        // SAFETY: the packet's segments are alive.
        unsafe { self.raw.last().room_behind() }
    }

    /// Lengthens the packet by `n` bytes at its end (in the last segment) and returns these, whose contents
    /// are arbitrary: what an earlier packet left there.
    ///
    /// # Errors
    /// [`Error::MbufRoom`] where the [tailroom](Self::tailroom) is smaller.
    #[inline]
    pub fn append(&mut self, n: usize) -> Result<&mut [u8], Error> {
        // SAFETY: the packet's segments are alive.
        let last = unsafe { self.raw.last() };
        // SAFETY: as above.
        let room = unsafe { last.room_behind() };
        if n > room {
            return Err(Error::MbufRoom {
                operation: "append",
                asked: n,
                available: room,
            });
        }
        // SAFETY: the packet is ours alone; `n` more bytes lie within the last segment's buffer.
        unsafe {
            let old = last.data_len();
            last.set_data_len(old + n as u16);
            self.raw.set_pkt_len(self.raw.pkt_len() + n as u32);
            let start = last.data().add(usize::from(old));
            Ok(slice::from_raw_parts_mut(start.as_ptr(), n))
        }
    }

    /// Appends a copy of `bytes`.
    ///
    /// # Errors
    /// [`Error::MbufRoom`] where the [tailroom](Self::tailroom) is smaller.
    #[inline]
    pub fn append_slice(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.append(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    /// Lengthens the packet by `n` bytes at its start and returns these, whose contents are arbitrary. Takes
    /// back transmit offloads.
    ///
    /// # Errors
    /// [`Error::MbufRoom`] where the [headroom](Self::headroom) is smaller.
    #[inline]
    pub fn prepend(&mut self, n: usize) -> Result<&mut [u8], Error> {
        let room = self.headroom();
        if n > room {
            return Err(Error::MbufRoom {
                operation: "prepend",
                asked: n,
                available: room,
            });
        }
        self.clear_tx_offload();
        // SAFETY: the packet is ours alone; `n` bytes in front of the data lie within the buffer.
        unsafe {
            self.raw.set_data_off(self.raw.data_off() - n as u16);
            self.raw.set_data_len(self.raw.data_len() + n as u16);
            self.raw.set_pkt_len(self.raw.pkt_len() + n as u32);
            Ok(slice::from_raw_parts_mut(self.raw.data().as_ptr(), n))
        }
    }

    /// Shortens the packet by `n` bytes at its end. Takes back transmit offloads.
    ///
    /// # Errors
    /// [`Error::MbufRoom`] where the last segment is shorter.
    #[inline]
    pub fn trim(&mut self, n: usize) -> Result<(), Error> {
        // SAFETY: the packet's segments are alive.
        let last = unsafe { self.raw.last() };
        // SAFETY: as above.
        let length = usize::from(unsafe { last.data_len() });
        if n > length {
            return Err(Error::MbufRoom {
                operation: "trim",
                asked: n,
                available: length,
            });
        }
        self.clear_tx_offload();
        // SAFETY: the packet is ours alone.
        unsafe {
            last.set_data_len((length - n) as u16);
            self.raw.set_pkt_len(self.raw.pkt_len() - n as u32);
        }
        Ok(())
    }

    /// Shortens the packet by `n` bytes at its start. Takes back transmit offloads.
    ///
    /// # Errors
    /// [`Error::MbufRoom`] where the first segment is shorter.
    #[inline]
    pub fn adj(&mut self, n: usize) -> Result<(), Error> {
        let length = self.data_len();
        if n > length {
            return Err(Error::MbufRoom {
                operation: "adj",
                asked: n,
                available: length,
            });
        }
        self.clear_tx_offload();
        // SAFETY: the packet is ours alone; the data still starts within the buffer.
        unsafe {
            self.raw.set_data_off(self.raw.data_off() + n as u16);
            self.raw.set_data_len((length - n) as u16);
            self.raw.set_pkt_len(self.raw.pkt_len() - n as u32);
        }
        Ok(())
    }

    /// How many segments the packet has, at least 1.
    #[inline]
    pub fn nb_segs(&self) -> usize {
        // SAFETY: the mbuf is alive.
        usize::from(unsafe { self.raw.nb_segs() })
    }

    /// Whether all data is in the first segment, so that [`data`](Self::data) is the packet.
    #[inline]
    pub fn is_contiguous(&self) -> bool {
        self.nb_segs() == 1
    }

    /// The data, segment by segment.
    pub fn segments(&self) -> Segments<'_> {
        Segments {
            next: Some(self.raw),
            packet: core::marker::PhantomData,
        }
    }

    /// Moves all data into the first segment and frees the others (`rte_pktmbuf_linearize`).
    ///
    /// # Errors
    /// [`Error::MbufRoom`] where the first segment's buffer is too small; the packet is unchanged then.
    pub fn linearize(&mut self) -> Result<(), Error> {
        // SAFETY: the packet's segments are alive.
        let Some(rest) = (unsafe { self.raw.next() }) else {
            return Ok(());
        };
        let more = self.pkt_len() - self.data_len();
        if !self.fits_first_segment() {
            return Err(Error::MbufRoom {
                operation: "linearize",
                asked: more,
                // SAFETY: as above.
                available: unsafe { self.raw.room_behind() },
            });
        }
        // SAFETY: the packet is ours alone. The copies fit behind the first segment's data; segments are
        // distinct mbufs, so source and destination do not overlap. The rest is cut off before it is freed.
        unsafe {
            let mut end = self.raw.data().add(self.data_len());
            let mut segment = Some(rest);
            while let Some(mbuf) = segment {
                let length = usize::from(mbuf.data_len());
                end.copy_from_nonoverlapping(mbuf.data(), length);
                end = end.add(length);
                segment = mbuf.next();
            }
            self.raw.set_data_len((self.data_len() + more) as u16);
            self.raw.set_next(None);
            self.raw.set_nb_segs(1);
            free_packet(rest);
        }
        Ok(())
    }

    /// Makes the first segment hold the packet's first `n` bytes, by moving data out of those behind it. Segments that
    /// are emptied are freed.
    ///
    /// # Errors
    /// [`Error::MbufRoom`] where the packet is shorter, or where the first segment's buffer has not that much room; the
    /// packet is unchanged then.
    pub fn pull_up(&mut self, n: usize) -> Result<(), Error> {
        let mut missing = n.saturating_sub(self.data_len());
        // SAFETY: the mbuf is alive.
        let room = unsafe { self.raw.room_behind() };
        let available = room.min(self.pkt_len() - self.data_len());
        if missing > available {
            return Err(Error::MbufRoom {
                operation: "pull_up",
                asked: missing,
                available,
            });
        }
        // SAFETY: the packet is ours alone. The copies fit behind the first segment's data; segments are distinct
        // mbufs, so source and destination do not overlap. An emptied segment is cut out before it is freed.
        unsafe {
            while missing > 0
                && let Some(next) = self.raw.next()
            {
                let there = next.data_len();
                let taken = missing.min(usize::from(there)) as u16;
                let length = self.raw.data_len();
                let end = self.raw.data().add(usize::from(length));
                end.copy_from_nonoverlapping(next.data(), usize::from(taken));
                self.raw.set_data_len(length + taken);
                next.set_data_off(next.data_off() + taken);
                next.set_data_len(there - taken);
                missing -= usize::from(taken);
                if taken == there {
                    self.raw.set_next(next.next());
                    self.raw.set_nb_segs(self.raw.nb_segs() - 1);
                    next.set_next(None);
                    free_packet(next);
                }
            }
        }
        Ok(())
    }

    /// Whether all data has room in the first segment's buffer.
    pub(crate) fn fits_first_segment(&self) -> bool {
        // SAFETY: the mbuf is alive.
        self.pkt_len() - self.data_len() <= unsafe { self.raw.room_behind() }
    }

    /// Frees all segments but the first.
    #[inline]
    pub(crate) fn cut_to_first_segment(&mut self) {
        // SAFETY: the packet is ours alone; the rest is cut off before it is freed.
        unsafe {
            if let Some(rest) = self.raw.next() {
                self.raw.set_next(None);
                self.raw.set_nb_segs(1);
                self.raw.set_pkt_len(u32::from(self.raw.data_len()));
                free_packet(rest);
            }
        }
    }

    /// A copy in one mbuf of `pool`, with what was asked of the NIC; none where the pool is exhausted or its mbufs are too
    /// small.
    pub(crate) fn copy_to_send(&self, pool: &mempool::Mempool) -> Option<Self> {
        let mut copy = pool.alloc()?;
        self.copy_to(copy.append(self.pkt_len()).ok()?);
        // SAFETY: the copy is ours alone, and has the same data from its start on: the headers lie in its first segment.
        unsafe {
            copy.raw.set_ol_flags(self.tx_flags());
            copy.raw.set_tx_offload(self.raw.tx_offload());
            copy.raw.set_vlan_tci(self.raw.vlan_tci());
        }
        Some(copy)
    }

    /// The address of the first segment's pool.
    #[inline]
    pub(crate) fn pool(&self) -> core::ptr::NonNull<sys::rte_mempool> {
        // SAFETY: the mbuf is alive.
        unsafe { self.raw.pool() }
    }

    /// Appends the segments of `tail` to this packet (`rte_pktmbuf_chain`).
    ///
    /// # Errors
    /// Gives `tail` back with [`Error::MbufRoom`] where there would be more than 65,535 segments or the
    /// packet would get longer than 4 GiB.
    pub fn chain(&mut self, tail: Mbuf) -> Result<(), (Mbuf, Error)> {
        let segments = self.nb_segs() + tail.nb_segs();
        let length = self.pkt_len() as u64 + tail.pkt_len() as u64;
        if segments > sys::DN_MBUF_MAX_NB_SEGS || length > u64::from(u32::MAX) {
            let error = Error::MbufRoom {
                operation: "chain",
                asked: tail.nb_segs(),
                available: sys::DN_MBUF_MAX_NB_SEGS.saturating_sub(self.nb_segs()),
            };
            return Err((tail, error));
        }
        // SAFETY: both packets are ours alone; from here on this one owns the segments of `tail`, which are
        // counted one by one already.
        unsafe {
            self.raw.last().set_next(Some(tail.into_raw()));
            self.raw.set_nb_segs(segments as u16);
            self.raw.set_pkt_len(length as u32);
        }
        Ok(())
    }

    /// Copies the packet's bytes into `to`, as many as fit, and returns how many those were.
    pub fn copy_to(&self, to: &mut [u8]) -> usize {
        let mut done = 0;
        for segment in self.segments() {
            let n = segment.len().min(to.len() - done);
            to[done..done + n].copy_from_slice(&segment[..n]);
            done += n;
        }
        done
    }

    /// The port that the packet came in by; of a packet made here, none.
    pub fn port(&self) -> Option<PortId> {
        // SAFETY: the mbuf is alive.
        match unsafe { self.raw.port() } {
            u16::MAX => None, // RTE_MBUF_PORT_INVALID
            port => Some(PortId::new(port)),
        }
    }

    /// Takes over what the NIC said about a received packet's checksums and its RSS hash, for a copy of that packet.
    pub fn copy_verdicts(&mut self, received: &Self) {
        const SAID: u64 = sys::DN_MBUF_F_RX_IP_CKSUM_MASK
            | sys::DN_MBUF_F_RX_L4_CKSUM_MASK
            | sys::DN_MBUF_F_RX_RSS_HASH;
        // SAFETY: both mbufs are alive, and this one is ours alone.
        unsafe {
            let said = received.raw.ol_flags() & SAID;
            self.raw.set_ol_flags(self.raw.ol_flags() & !SAID | said);
            self.raw.set_rss_hash(received.raw.rss_hash());
        }
    }

    /// The RSS hash, if the NIC delivered it.
    #[inline]
    pub fn rss_hash(&self) -> Option<u32> {
        // SAFETY: the mbuf is alive.
        unsafe {
            (self.raw.ol_flags() & sys::DN_MBUF_F_RX_RSS_HASH != 0).then(|| self.raw.rss_hash())
        }
    }

    /// The mark of the flow rule that the packet matched ([`RuleBuilder::mark`](crate::flow::RuleBuilder::mark)).
    #[inline]
    pub fn flow_mark(&self) -> Option<u32> {
        // SAFETY: the mbuf is alive.
        unsafe {
            (self.raw.ol_flags() & sys::DN_MBUF_F_RX_FDIR_ID != 0).then(|| self.raw.flow_mark())
        }
    }

    /// The tag control information of a VLAN tag that the NIC stripped.
    #[inline]
    pub fn vlan_tci(&self) -> Option<u16> {
        // SAFETY: the mbuf is alive.
        unsafe {
            (self.raw.ol_flags() & sys::DN_MBUF_F_RX_VLAN_STRIPPED != 0)
                .then(|| self.raw.vlan_tci())
        }
    }

    /// The NIC's verdict on the IPv4 header checksum.
    #[inline]
    pub fn ip_checksum(&self) -> ChecksumVerdict {
        // SAFETY: the mbuf is alive.
        match unsafe { self.raw.ol_flags() } & sys::DN_MBUF_F_RX_IP_CKSUM_MASK {
            sys::DN_MBUF_F_RX_IP_CKSUM_UNKNOWN => ChecksumVerdict::Unknown,
            sys::DN_MBUF_F_RX_IP_CKSUM_BAD => ChecksumVerdict::Bad,
            sys::DN_MBUF_F_RX_IP_CKSUM_GOOD => ChecksumVerdict::Good,
            _ => ChecksumVerdict::None,
        }
    }

    /// The NIC's verdict on the TCP or UDP checksum.
    #[inline]
    pub fn l4_checksum(&self) -> ChecksumVerdict {
        // SAFETY: the mbuf is alive.
        match unsafe { self.raw.ol_flags() } & sys::DN_MBUF_F_RX_L4_CKSUM_MASK {
            sys::DN_MBUF_F_RX_L4_CKSUM_UNKNOWN => ChecksumVerdict::Unknown,
            sys::DN_MBUF_F_RX_L4_CKSUM_BAD => ChecksumVerdict::Bad,
            sys::DN_MBUF_F_RX_L4_CKSUM_GOOD => ChecksumVerdict::Good,
            _ => ChecksumVerdict::None,
        }
    }

    /// Whether the NIC or the peer coalesced several TCP segments into this packet (LRO).
    #[inline]
    pub fn is_lro(&self) -> bool {
        // SAFETY: the mbuf is alive.
        unsafe { self.raw.ol_flags() & sys::DN_MBUF_F_RX_LRO != 0 }
    }

    /// Payload bytes of each of the TCP segments that were coalesced into this packet, the last one excepted; 0 where
    /// none were, or where the driver does not tell (`tso_segsz`).
    #[inline]
    pub fn lro_segment(&self) -> u16 {
        if self.is_lro() {
            self.tx_lengths().segment as u16
        } else {
            0
        }
    }

    /// When the NIC received the packet, in ticks of its own clock, if it was asked to tell
    /// ([`RxOffloads::TIMESTAMP`](crate::port::RxOffloads::TIMESTAMP)).
    #[inline]
    pub fn timestamp(&self) -> Option<u64> {
        // SAFETY: the mbuf is alive.
        unsafe { timestamp::read(self.raw) }
    }

    /// What the NIC found the packet to be, as a combination of DPDK's `RTE_PTYPE_*`; 0 if it did not look.
    #[inline]
    pub fn packet_type(&self) -> u32 {
        // SAFETY: the mbuf is alive.
        unsafe { self.raw.packet_type() }
    }

    /// The private area of the first segment, as long as the pool's
    /// [`private_size`](crate::mempool::MempoolBuilder::private_size).
    pub fn private(&self) -> &[u8] {
        // SAFETY: the private area lies behind the mbuf of a direct segment; invariant 3.
        unsafe {
            let start = self.raw.as_ptr().cast::<u8>().add(sys::DN_MBUF_SIZE);
            slice::from_raw_parts(start, usize::from(self.raw.priv_size()))
        }
    }

    /// The private area of the first segment, to change.
    pub fn private_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `private`; the mbuf is ours alone.
        unsafe {
            let start = self.raw.as_ptr().cast::<u8>().add(sys::DN_MBUF_SIZE);
            slice::from_raw_parts_mut(start, usize::from(self.raw.priv_size()))
        }
    }

    /// The pool of the first segment.
    pub fn mempool(&self) -> mempool::Mempool {
        // SAFETY: invariant 1: the pool is ours, and alive as this mbuf is counted there.
        unsafe { mempool::Mempool::from_alive(self.raw.pool()) }
    }

    #[inline(always)]
    pub(crate) fn raw(&self) -> RawMbuf {
        self.raw
    }

    /// # Safety
    /// The invariants of the module hold of `raw`, and nobody else owns it.
    #[inline(always)]
    pub(crate) unsafe fn from_raw(raw: RawMbuf) -> Self {
        Self { raw }
    }

    /// Gives the packet up without freeing it.
    #[inline(always)]
    pub(crate) fn into_raw(self) -> RawMbuf {
        core::mem::ManuallyDrop::new(self).raw
    }
}

impl Drop for Mbuf {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: invariant 1; the packet is not used again.
        unsafe { free_whole(self.raw) }
    }
}

impl FrameBuf for Mbuf {
    /// The first segment's data.
    #[inline]
    fn bytes(&self) -> &[u8] {
        self.data()
    }

    #[inline]
    fn segment_count(&self) -> usize {
        self.nb_segs()
    }

    #[inline]
    fn rest(&self) -> impl Iterator<Item = impl FrameSegment<'_>> {
        Mbuf::segments(self).skip(1)
    }

    #[inline]
    fn frame_len(&self) -> usize {
        self.pkt_len()
    }

    #[inline]
    fn rx_meta(&self) -> RxMeta {
        RxMeta {
            ip_checksum: self.ip_checksum(),
            l4_checksum: self.l4_checksum(),
            rss_hash: self.rss_hash(),
            vlan_tci: self.vlan_tci(),
            lro_segment: self.lro_segment(),
            timestamp: self.timestamp(),
        }
    }
}

impl fmt::Debug for Mbuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mbuf")
            .field("pkt_len", &self.pkt_len())
            .field("nb_segs", &self.nb_segs())
            .field("port", &self.port())
            .finish_non_exhaustive()
    }
}

/// The segments of a packet: see [`Mbuf::segments`].
#[derive(Clone)]
pub struct Segments<'a> {
    next: Option<RawMbuf>,
    packet: core::marker::PhantomData<&'a Mbuf>,
}

impl<'a> Iterator for Segments<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let segment = self.next?;
        // SAFETY: the packet is borrowed for 'a, so its segments are alive and only read.
        unsafe {
            self.next = segment.next();
            Some(slice::from_raw_parts(
                segment.data().as_ptr(),
                usize::from(segment.data_len()),
            ))
        }
    }
}

impl fmt::Debug for Segments<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.clone().map(<[u8]>::len))
            .finish()
    }
}
