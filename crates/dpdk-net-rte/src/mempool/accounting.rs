//! Who still needs a pool: the counts in its private area, and freeing mbufs so that they stay right.
//!
//! Invariants 1 to 3 of [`crate::mempool`] are kept here.
//!
//! What does not live here: making pools and allocating.

use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering, fence};

use dpdk_net_sys as sys;

use crate::Eal;
use crate::mbuf::RawMbuf;
use crate::mbuf::raw::{REARM_NB_SEGS, rearm_ones};

/// Says that a mempool's private area holds a [`Tag`]: "dpdk-net" in ASCII.
pub(super) const MAGIC: u64 = u64::from_be_bytes(*b"dpdk-net");

/// One in so many of a pool's mbufs may be kept by those who read what was received.
const SHARED_PART: usize = 4;

/// What this crate keeps in a pool's private area, on a cache line of its own.
#[repr(C, align(64))]
pub(super) struct Tag {
    pub(super) magic: u64,
    /// Handles, plus mbufs in safe hands.
    pub(super) refs: AtomicUsize,
    /// Buffers over its mbufs' memory that [`RxMbuf::share`](crate::RxMbuf::share) gave out.
    pub(super) shared: AtomicUsize,
    /// Dropped last, by whoever frees the pool.
    pub(super) eal: core::mem::ManuallyDrop<Eal>,
    pub(super) capacity: u32,
    pub(super) data_room: u16,
}

/// Where a pool's tag is: RTE_MEMPOOL_HEADER_SIZE, then what rte_pktmbuf_pool_init keeps.
///
/// # Safety
/// `raw` is a mempool. Only the address is made here; whether a Tag is there is the caller's to know.
#[inline]
pub(super) unsafe fn tag(raw: NonNull<sys::rte_mempool>) -> NonNull<Tag> {
    // SAFETY: `cache_size` is a u32 of the pool's header, written once at creation; the private area lies
    // in the same allocation.
    unsafe {
        let cache_size = raw
            .byte_add(sys::DN_MEMPOOL_OFF_CACHE_SIZE)
            .cast::<u32>()
            .read();
        let header = if cache_size == 0 {
            sys::DN_MEMPOOL_HEADER_PLAIN
        } else {
            sys::DN_MEMPOOL_HEADER_CACHED
        };
        raw.byte_add(header + sys::DN_POOL_TAG_OFFSET).cast()
    }
}

/// Whether a pool was made here.
///
/// # Safety
/// `raw` is a mempool that is alive.
pub(crate) unsafe fn is_ours(raw: NonNull<sys::rte_mempool>) -> bool {
    // SAFETY: the private area's size is a u32 of the pool's header; the tag is read only where that area
    // is large enough to hold one, and its magic is plain bytes.
    unsafe {
        let size = raw
            .byte_add(sys::DN_MEMPOOL_OFF_PRIVATE_DATA_SIZE)
            .cast::<u32>()
            .read();
        size as usize >= sys::DN_POOL_TAG_OFFSET + size_of::<Tag>()
            && (&raw const (*tag(raw).as_ptr()).magic).read() == MAGIC
    }
}

/// Counts `n` mbufs of a pool as in safe hands.
///
/// # Safety
/// `raw` is a pool of ours that is alive.
#[inline]
pub(crate) unsafe fn retain(raw: NonNull<sys::rte_mempool>, n: usize) {
    // SAFETY: a pool of ours has a tag.
    unsafe { tag(raw).as_ref() }
        .refs
        .fetch_add(n, Ordering::Relaxed);
}

/// Counts one more buffer over the memory of a pool's mbufs; `false` if there are as many as there may be.
///
/// # Safety
/// `raw` is a pool of ours that is alive.
#[inline]
pub(crate) unsafe fn start_sharing(raw: NonNull<sys::rte_mempool>) -> bool {
    // SAFETY: a pool of ours has a tag.
    let tag = unsafe { tag(raw).as_ref() };
    let most = tag.capacity as usize / SHARED_PART;
    let may = tag.shared.fetch_add(1, Ordering::Relaxed) < most;
    if !may {
        tag.shared.fetch_sub(1, Ordering::Relaxed);
    }
    may
}

/// Takes back what [`start_sharing`] counted.
///
/// # Safety
/// `raw` is a pool of ours that is alive.
#[inline]
pub(crate) unsafe fn stop_sharing(raw: NonNull<sys::rte_mempool>) {
    // SAFETY: a pool of ours has a tag.
    unsafe { tag(raw).as_ref() }
        .shared
        .fetch_sub(1, Ordering::Relaxed);
}

/// Lets go of `n` counts of a pool, and frees it with the last.
///
/// # Safety
/// `raw` is a pool of ours; the caller owned `n` of its counts, gives them up, and does not touch the pool
/// or those mbufs again.
#[inline]
pub(crate) unsafe fn release(raw: NonNull<sys::rte_mempool>, n: usize) {
    // SAFETY: the pool is alive up to here as the caller's counts were in it.
    if unsafe { tag(raw).as_ref() }
        .refs
        .fetch_sub(n, Ordering::Release)
        == n
    {
        // What other threads did with the pool happened before this: invariant 3.
        fence(Ordering::Acquire);
        // SAFETY: no count is left, so nobody else has the pool.
        unsafe { destroy(raw) }
    }
}

/// # Safety
/// The last count of a pool of ours is gone.
#[cold]
unsafe fn destroy(raw: NonNull<sys::rte_mempool>) {
    // SAFETY: nobody else has the pool; its EAL handle is taken out once, and dropped after the pool.
    unsafe {
        let eal = core::mem::ManuallyDrop::take(&mut (*tag(raw).as_ptr()).eal);
        let in_use = sys::rte_mempool_in_use_count(raw.as_ptr());
        if in_use == 0 {
            sys::rte_mempool_free(raw.as_ptr());
        } else {
            // A driver that was closed did not give its mbufs back. Memory it might still write to is not
            // freed: the pool stays until the process ends.
            tracing::warn!(
                in_use,
                "a closed driver kept mbufs: their mempool is not freed"
            );
        }
        drop(eal);
    }
}

/// Frees one segment and lets go of its count.
///
/// # Safety
/// The caller owns a reference to the mbuf, direct and of a pool of ours, with its count, and gives both up.
#[inline]
pub(crate) unsafe fn free_segment(mbuf: RawMbuf) {
    // SAFETY: the mbuf is alive until the reference is given up, and its pool until the count is. What follows in
    // `next` is not looked at: with other references about it may be gone already.
    unsafe {
        let pool = mbuf.pool();
        sys::dn_pktmbuf_free_seg(mbuf.as_ptr());
        release(pool, 1);
    }
}

/// Frees the segments of a packet and lets go of their counts.
///
/// # Safety
/// `first` heads a packet that the caller owns and does not use again; all its segments are of pools of ours
/// and counted, and so are the mbufs that indirect ones among them point to.
pub(crate) unsafe fn free_packet(first: RawMbuf) {
    // SAFETY: each segment is ours until it is freed: what is needed of it is read before that. A pool is alive
    // until the counts of all that was freed into it are let go of.
    unsafe {
        let (mut pool, mut freed) = (first.pool(), 0);
        let mut segment = Some(first);
        while let Some(mbuf) = segment {
            segment = mbuf.next();
            let own = mbuf.pool();
            if own != pool {
                release(pool, freed);
                (pool, freed) = (own, 0);
            }
            let target = mbuf.target().map(|target| target.pool());
            sys::dn_pktmbuf_free_seg(mbuf.as_ptr());
            freed += 1;
            if let Some(target) = target {
                release(target, 1);
            }
        }
        release(pool, freed);
    }
}

/// [`free_packet`] for one whose first segment is direct, as of all that are whole.
///
/// # Safety
/// As there.
#[inline]
pub(crate) unsafe fn free_whole(first: RawMbuf) {
    // SAFETY: the caller's promise.
    unsafe {
        if first.next().is_none() {
            free_segment(first);
        } else {
            free_packet(first);
        }
    }
}

/// Whether `n` packets are all of one segment and of `pool`; says so without a branch a packet.
///
/// # Safety
/// The packets are alive.
#[inline(always)]
pub(crate) unsafe fn uniform(
    mbufs: *const RawMbuf,
    n: usize,
    pool: NonNull<sys::rte_mempool>,
) -> bool {
    let (mut any, mut all, mut rearm) = (0, usize::MAX, 0);
    for index in 0..n {
        // SAFETY: the packets are alive.
        unsafe {
            let mbuf = mbufs.add(index).read();
            let pool = mbuf.pool().addr().get();
            any |= pool;
            all &= pool;
            rearm |= mbuf.rearm_word();
        }
    }
    any == all && all == pool.addr().get() && rearm & REARM_NB_SEGS == rearm_ones(REARM_NB_SEGS)
}

/// [`free_packet`] for `n` packets, in bulk where they are of one pool.
///
/// # Safety
/// As for [`free_packet`], for each of them; the first segment of each is direct.
pub(crate) unsafe fn free_packets(mbufs: *mut RawMbuf, n: usize) {
    if n == 0 {
        return;
    }
    // SAFETY: the packets are ours, so alive until they are freed, and their pool until it is released.
    unsafe {
        let pool = mbufs.read().pool();
        if uniform(mbufs, n, pool) {
            sys::dn_pktmbuf_free_bulk(mbufs.cast(), n as u32);
            release(pool, n);
        } else {
            for index in 0..n {
                free_whole(mbufs.add(index).read());
            }
        }
    }
}
