//! The fields of `struct rte_mbuf`, read and written at the offsets that the C compiler saw.
//!
//! A [`RawMbuf`] is an address and owns nothing. Each accessor asks the same of its caller: that the mbuf is
//! alive, and for the setters that nobody else reads or writes the field meanwhile. The length setters also
//! ask that what they say stays inside the buffer. Those promises are made once for all in
//! [`Mbuf`](super::Mbuf)'s invariants.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicU16, AtomicU64, Ordering};

use dpdk_net_sys as sys;

/// The address of an mbuf.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub(crate) struct RawMbuf(NonNull<sys::rte_mbuf>);

/// A field: its getter, and its setter where there is one.
macro_rules! field {
    ($offset:ident, $type:ty, $get:ident $(, $set:ident)?) => {
        /// # Safety
        /// The mbuf is alive.
        #[inline(always)]
        pub(crate) unsafe fn $get(self) -> $type {
            // SAFETY: the field lies at this offset of an mbuf that is alive.
            unsafe { self.0.byte_add(sys::$offset).cast::<$type>().read() }
        }
        $(
            /// # Safety
            /// The mbuf is alive, nobody else accesses it meanwhile, and the value keeps it consistent.
            #[inline(always)]
            pub(crate) unsafe fn $set(self, value: $type) {
                // SAFETY: the field lies at this offset of an mbuf that is alive and ours alone.
                unsafe { self.0.byte_add(sys::$offset).cast::<$type>().write(value) }
            }
        )?
    };
}

impl RawMbuf {
    pub(crate) const fn new(mbuf: NonNull<sys::rte_mbuf>) -> Self {
        Self(mbuf)
    }

    #[inline(always)]
    pub(crate) const fn as_ptr(self) -> *mut sys::rte_mbuf {
        self.0.as_ptr()
    }

    field!(DN_MBUF_OFF_BUF_ADDR, NonNull<u8>, buf_addr);
    field!(DN_MBUF_OFF_BUF_LEN, u16, buf_len);
    field!(DN_MBUF_OFF_DATA_OFF, u16, data_off, set_data_off);
    field!(DN_MBUF_OFF_DATA_LEN, u16, data_len, set_data_len);
    field!(DN_MBUF_OFF_PKT_LEN, u32, pkt_len, set_pkt_len);
    field!(DN_MBUF_OFF_NB_SEGS, u16, nb_segs, set_nb_segs);
    field!(DN_MBUF_OFF_PORT, u16, port);
    field!(DN_MBUF_OFF_OL_FLAGS, u64, ol_flags, set_ol_flags);
    field!(DN_MBUF_OFF_PACKET_TYPE, u32, packet_type);
    field!(DN_MBUF_OFF_VLAN_TCI, u16, vlan_tci, set_vlan_tci);
    field!(DN_MBUF_OFF_HASH_RSS, u32, rss_hash, set_rss_hash);
    field!(DN_MBUF_OFF_FLOW_MARK, u32, flow_mark);
    field!(DN_MBUF_OFF_PRIV_SIZE, u16, priv_size);
    field!(DN_MBUF_OFF_POOL, NonNull<sys::rte_mempool>, pool);
    field!(DN_MBUF_OFF_NEXT, Option<RawMbuf>, next, set_next);

    /// The reference count, which others may change while it is above 1. A count of 1 seen here happened
    /// after everything that the former owners did.
    ///
    /// # Safety
    /// The mbuf is alive.
    #[inline(always)]
    pub(crate) unsafe fn refcnt(self) -> u16 {
        // SAFETY: DPDK accesses the count atomically as well; the field is aligned for that.
        unsafe {
            AtomicU16::from_ptr(
                self.0
                    .byte_add(sys::DN_MBUF_OFF_REFCNT)
                    .cast::<u16>()
                    .as_ptr(),
            )
            .load(Ordering::Acquire)
        }
    }

    /// Adds a reference unless there are `most`; tells whether it did.
    ///
    /// # Safety
    /// The mbuf is alive, and stays so until the reference is given up (`rte_pktmbuf_free_seg`).
    #[inline]
    pub(crate) unsafe fn add_reference(self, most: u16) -> bool {
        // SAFETY: as in `refcnt`.
        let count = unsafe {
            AtomicU16::from_ptr(
                self.0
                    .byte_add(sys::DN_MBUF_OFF_REFCNT)
                    .cast::<u16>()
                    .as_ptr(),
            )
        };
        // The reference that the caller has keeps the mbuf alive meanwhile.
        let added = count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
            (count < most).then(|| count + 1)
        });
        added.is_ok()
    }

    /// The mbuf in whose buffer the data of an indirect one lies; of a direct one, none (`rte_mbuf_from_indirect`).
    ///
    /// # Safety
    /// The mbuf is alive, and its data is in no buffer but that of an mbuf.
    #[inline(always)]
    pub(crate) unsafe fn target(self) -> Option<Self> {
        // SAFETY: an indirect mbuf has the address and the size of private area of the one that it is attached to,
        // whose buffer lies behind both.
        unsafe {
            (self.ol_flags() & sys::DN_MBUF_F_INDIRECT != 0).then(|| {
                let before = sys::DN_MBUF_SIZE + usize::from(self.priv_size());
                Self(self.buf_addr().byte_sub(before).cast())
            })
        }
    }

    /// # Safety
    /// As for the setters of fields.
    #[inline(always)]
    pub(crate) unsafe fn set_tx_offload(self, value: u64) {
        // SAFETY: the field lies at this offset of an mbuf that is alive and ours alone.
        unsafe {
            self.0
                .byte_add(sys::DN_MBUF_OFF_TX_OFFLOAD)
                .cast::<u64>()
                .write(value)
        }
    }

    /// # Safety
    /// The mbuf is alive.
    #[inline(always)]
    pub(crate) unsafe fn tx_offload(self) -> u64 {
        // SAFETY: the field lies at this offset of an mbuf that is alive.
        unsafe {
            self.0
                .byte_add(sys::DN_MBUF_OFF_TX_OFFLOAD)
                .cast::<u64>()
                .read()
        }
    }

    /// The word that holds `data_off`, `refcnt`, `nb_segs` and `port` (`rearm_data`), read as one.
    ///
    /// # Safety
    /// The mbuf is alive.
    #[inline(always)]
    pub(crate) unsafe fn rearm_word(self) -> u64 {
        // SAFETY: the word is aligned (below); atomic as others may change the reference count meanwhile.
        unsafe {
            AtomicU64::from_ptr(
                self.0
                    .byte_add(sys::DN_MBUF_OFF_DATA_OFF)
                    .cast::<u64>()
                    .as_ptr(),
            )
            .load(Ordering::Relaxed)
        }
    }

    /// Where the data of this segment starts.
    ///
    /// # Safety
    /// The mbuf is alive.
    #[inline(always)]
    pub(crate) unsafe fn data(self) -> NonNull<u8> {
        // SAFETY: `data_off` lies within the buffer.
        unsafe { self.buf_addr().add(usize::from(self.data_off())) }
    }

    /// Bytes free behind the data of this segment.
    ///
    /// # Safety
    /// The mbuf is alive.
    #[inline(always)]
    pub(crate) unsafe fn room_behind(self) -> usize {
        // SAFETY: as the caller promised.
        let (buffer, start, length) = unsafe { (self.buf_len(), self.data_off(), self.data_len()) };
        usize::from(buffer).saturating_sub(usize::from(start) + usize::from(length))
    }

    /// The last segment of the packet that this mbuf heads.
    ///
    /// # Safety
    /// The mbufs of the packet are alive.
    pub(crate) unsafe fn last(self) -> Self {
        let mut last = self;
        // SAFETY: `next` is the following segment, alive as the packet is.
        while let Some(next) = unsafe { last.next() } {
            last = next;
        }
        last
    }
}

/// The bits of [`RawMbuf::rearm_word`] that are the number of segments.
pub(crate) const REARM_NB_SEGS: u64 = rearm_field(sys::DN_MBUF_OFF_NB_SEGS);

/// The word in which each of these fields is 1.
pub(crate) const fn rearm_ones(fields: u64) -> u64 {
    fields & 0x0001_0001_0001_0001
}

/// A 16-bit field of the word, on a little-endian machine.
const fn rearm_field(offset: usize) -> u64 {
    assert!(sys::DN_MBUF_OFF_DATA_OFF.is_multiple_of(8));
    assert!(offset > sys::DN_MBUF_OFF_DATA_OFF && offset < sys::DN_MBUF_OFF_DATA_OFF + 8);
    0xffff << (8 * (offset - sys::DN_MBUF_OFF_DATA_OFF))
}
