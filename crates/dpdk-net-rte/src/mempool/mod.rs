//! Mempools: where mbufs come from and go back to.
//!
//! What holds, and every `unsafe` block here and in [`crate::mbuf`], [`crate::batch`] and [`crate::queue`]
//! relies on:
//!
//! 1. A pool made here carries a `Tag` in its private area. Its `refs` counts the [`Mempool`] handles
//!    *and* the mbufs (each segment of a chain) that are in safe hands. Whoever brings it to zero frees the
//!    pool and lets go of the EAL. So a pool outlives its mbufs, and mbufs outlive neither.
//! 2. An mbuf is counted while a [`Mbuf`], a [`TxBuf`](crate::TxBuf), a batch or a [ring](crate::mbuf_ring) owns it,
//!    and once more for each buffer that shares its memory ([`crate::received`]) and for each segment in safe hands
//!    that refers to it ([`crate::tx_mbuf`]). It is not counted while it is in the pool or with a driver, and neither
//!    is what a driver's segments refer to: for those a port holds a handle ([`crate::port`]'s keeper).
//! 3. The count is let go of *after* the mbuf is back in its pool, with release ordering, so that nobody
//!    still works on the pool's memory when it is freed.
//! 4. Every byte of the private area and the data room of each mbuf is written once when the pool is made:
//!    what safe code reads through an mbuf may be old, but it is never uninitialised.
//!
//! What does not live here: the mbuf itself, and which port keeps which pool.

mod accounting;

use core::fmt;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering};
use std::borrow::Cow;
use std::ffi::{CStr, CString, c_char};

use dpdk_net_sys as sys;

use self::accounting::{MAGIC, Tag, tag};
pub(crate) use self::accounting::{
    free_packet, free_packets, free_segment, free_whole, is_ours, release, retain, start_sharing,
    stop_sharing,
};
use crate::batch::MbufBatch;
use crate::mbuf::{Mbuf, RawMbuf};
use crate::{Eal, Error, SocketId};

/// A pool of mbufs of one size.
///
/// A handle: clones are cheap and name the same pool. Pool and EAL stay as long as a handle, an mbuf or a
/// port needs them.
///
/// Allocation from an lcore or a registered thread goes through that lcore's cache in the pool; from any
/// other thread it goes to the shared ring, which is slower but just as safe.
#[repr(transparent)]
pub struct Mempool {
    raw: NonNull<sys::rte_mempool>,
}

// SAFETY: mempool operations are safe from any thread: rte_mempool's default operations are multi-producer
// and multi-consumer, and its caches are per lcore id, of which each thread has its own or none.
unsafe impl Send for Mempool {}
// SAFETY: as above; the tag is read-only but for its atomic count.
unsafe impl Sync for Mempool {}

/// What [`Mempool::alloc_bulk`] could not do. Nothing was allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoMbufs {
    /// The pool has fewer left.
    #[error("the mempool has no {asked} mbufs left: free some, or make the pool larger")]
    PoolEmpty {
        /// How many were asked for.
        asked: usize,
    },
    /// The batch has less room.
    #[error("the batch has room for {room} mbufs, not for {asked}")]
    BatchFull {
        /// How many were asked for.
        asked: usize,
        /// How many it could take.
        room: usize,
    },
}

/// Makes a [`Mempool`].
#[derive(Debug, Clone)]
#[must_use = "a builder makes no pool until `build` is called"]
pub struct MempoolBuilder {
    eal: Eal,
    name: String,
    capacity: u32,
    data_room: usize,
    cache_size: u32,
    private_size: usize,
    socket: SocketId,
}

impl MempoolBuilder {
    /// How many mbufs the pool has. One less than a power of two uses memory best. Default: 8191.
    pub fn capacity(mut self, mbufs: u32) -> Self {
        self.capacity = mbufs;
        self
    }

    /// Bytes of buffer of each mbuf, [headroom](Mempool::HEADROOM) included, at most 65,535; 0 for mbufs that only
    /// ever refer to the data of others ([`TxMbuf::chain`](crate::TxMbuf::chain)).
    /// Default: 2048 plus the headroom, which suits an MTU of 1500.
    pub fn data_room(mut self, bytes: usize) -> Self {
        self.data_room = bytes;
        self
    }

    /// How many mbufs each lcore may keep for itself, at most 512; 0 for none. Default: 256, or less where
    /// the pool is too small for that.
    pub fn cache_size(mut self, mbufs: u32) -> Self {
        self.cache_size = mbufs;
        self
    }

    /// Bytes of private area that each mbuf carries for the application, a multiple of 8. Default: 0.
    pub fn private_size(mut self, bytes: usize) -> Self {
        self.private_size = bytes;
        self
    }

    /// The NUMA socket whose memory to use. Default: any.
    pub fn socket(mut self, socket: SocketId) -> Self {
        self.socket = socket;
        self
    }

    /// Makes the pool (`rte_mempool_create_empty`, `rte_mempool_populate_default`, `rte_pktmbuf_init`).
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] where a size is out of its range, [`Error::Dpdk`] where the memory does not
    /// suffice (`ENOMEM`) or a pool has this name already (`EEXIST`).
    pub fn build(self) -> Result<Mempool, Error> {
        let subject = format!("mempool {:?}", self.name);
        let invalid = |problem: String| Error::InvalidArgument {
            what: subject.clone(),
            problem,
        };
        let longest = sys::DN_MEMPOOL_NAMESIZE - 1;
        let name = CString::new(self.name.as_str())
            .ok()
            .filter(|name| (1..=longest).contains(&name.count_bytes()))
            .ok_or_else(|| {
                invalid(format!(
                    "a name has 1 to {longest} bytes and no zero byte, this one has {}",
                    self.name.len()
                ))
            })?;
        if self.capacity == 0 {
            return Err(invalid(
                "a capacity of 0 mbufs: ask for at least one".into(),
            ));
        }
        let data_room = u16::try_from(self.data_room)
            .ok()
            .filter(|room| *room == 0 || usize::from(*room) >= Mempool::HEADROOM)
            .ok_or_else(|| {
                invalid(format!(
                    "a data room of {} bytes: it must be 0, or hold the headroom and fit 16 bits, so {} to {} bytes",
                    self.data_room,
                    Mempool::HEADROOM,
                    u16::MAX
                ))
            })?;
        let private_size = u16::try_from(self.private_size)
            .ok()
            .filter(|size| usize::from(*size).is_multiple_of(sys::DN_MBUF_PRIV_ALIGN))
            .ok_or_else(|| {
                invalid(format!(
                    "a private area of {} bytes: it must be a multiple of {} and fit 16 bits",
                    self.private_size,
                    sys::DN_MBUF_PRIV_ALIGN
                ))
            })?;
        let largest_cache = sys::DN_MEMPOOL_CACHE_MAX_SIZE;
        if self.cache_size as usize > largest_cache {
            return Err(invalid(format!(
                "a cache of {} mbufs an lcore: the most is {largest_cache}",
                self.cache_size
            )));
        }
        // rte_mempool_create_empty: a cache is flushed at 1.5 times its size, which must fit the pool.
        let cache_size = self
            .cache_size
            .min((u64::from(self.capacity) * 2 / 3) as u32);

        let mut failed: *const c_char = core::ptr::null();
        // SAFETY: `name` is a C string and outlives the call; `self.eal` keeps DPDK initialised; the pool's
        // private area gets room for a Tag behind what DPDK keeps there.
        let raw = unsafe {
            sys::dn_pktmbuf_pool_create(
                name.as_ptr(),
                self.capacity,
                cache_size,
                private_size,
                data_room,
                self.socket.raw(),
                size_of::<Tag>() as u32,
                &mut failed,
            )
        };
        let Some(raw) = NonNull::new(raw) else {
            return Err(self.explain(subject, failed));
        };
        // SAFETY: the private area was made with room for a Tag at this place, aligned to a cache line, and
        // nobody else knows the pool yet.
        unsafe {
            tag(raw).write(Tag {
                magic: MAGIC,
                refs: AtomicUsize::new(1),
                shared: AtomicUsize::new(0),
                eal: core::mem::ManuallyDrop::new(self.eal),
                capacity: self.capacity,
                data_room,
            });
        }
        Ok(Mempool { raw })
    }

    /// Why `dn_pktmbuf_pool_create` returned no pool.
    #[cold]
    fn explain(&self, subject: String, failed: *const c_char) -> Error {
        let errno = crate::error::Errno::last();
        let function = if failed.is_null() {
            "rte_pktmbuf_pool_create"
        } else {
            // SAFETY: the shim stores string literals only, which live for ever.
            unsafe { CStr::from_ptr(failed) }
                .to_str()
                .unwrap_or("rte_pktmbuf_pool_create")
        };
        let bytes = u64::from(self.capacity)
            * (sys::DN_MBUF_SIZE + self.private_size + self.data_room) as u64;
        let remedy: Cow<'static, str> = match errno.0 {
            libc::ENOMEM => format!(
                "It wants about {} MB on {}: give the EAL more memory (`memory_mb`, or more hugepages), \
                 or make the pool smaller (`capacity`, `data_room`)",
                bytes.div_ceil(1_000_000) + 2,
                self.socket
            )
            .into(),
            libc::EEXIST => "A pool or ring of this name exists: choose another name".into(),
            libc::ENOSPC => "DPDK's table of memory zones is full: drop pools that are no longer used".into(),
            _ => "".into(),
        };
        Error::from_errno(function, subject, errno).with_remedy(remedy)
    }
}

impl Mempool {
    /// Bytes left free in front of the data of a fresh or received mbuf (`RTE_PKTMBUF_HEADROOM`).
    pub const HEADROOM: usize = sys::DN_MBUF_HEADROOM;

    /// Starts to make a pool. Names are unique in a process.
    pub fn builder(eal: &Eal, name: impl Into<String>) -> MempoolBuilder {
        MempoolBuilder {
            eal: eal.clone(),
            name: name.into(),
            capacity: 8191,
            data_room: 2048 + Self::HEADROOM,
            cache_size: 256,
            private_size: 0,
            socket: SocketId::ANY,
        }
    }

    /// An empty mbuf with full headroom, or `None` where the pool is exhausted.
    ///
    /// The contents of its buffer are arbitrary (what an earlier packet left there). [`alloc_bulk`] costs
    /// less for more than one.
    ///
    /// [`alloc_bulk`]: Self::alloc_bulk
    #[inline]
    pub fn alloc(&self) -> Option<Mbuf> {
        // SAFETY: the pool is alive as `self` is.
        let raw = NonNull::new(unsafe { sys::dn_pktmbuf_alloc(self.raw.as_ptr()) })?;
        self.tag().refs.fetch_add(1, Ordering::Relaxed);
        // SAFETY: a fresh mbuf of one of our pools is direct, has a reference count of 1, and was counted.
        Some(unsafe { Mbuf::from_raw(RawMbuf::new(raw)) })
    }

    /// Appends `n` empty mbufs to `batch`: all or none.
    ///
    /// # Errors
    /// [`NoMbufs`] where the pool has fewer left or the batch less room.
    #[inline]
    pub fn alloc_bulk<const N: usize>(
        &self,
        batch: &mut MbufBatch<N>,
        n: usize,
    ) -> Result<(), NoMbufs> {
        let room = batch.room();
        if n > room {
            return Err(NoMbufs::BatchFull { asked: n, room });
        }
        // SAFETY: the pool is alive as `self` is; the batch has room for `n` more pointers at its tail. The
        // mbufs are fresh, hence direct with a reference count of 1, and counted before anybody has them.
        unsafe {
            if sys::dn_pktmbuf_alloc_bulk(self.raw.as_ptr(), batch.tail(), n as u32) != 0 {
                return Err(NoMbufs::PoolEmpty { asked: n });
            }
            self.tag().refs.fetch_add(n, Ordering::Relaxed);
            batch.grow(n);
        }
        Ok(())
    }

    /// How many mbufs are in the pool, those in the lcores' caches included (`rte_mempool_avail_count`).
    /// Walks all lcores; a snapshot while others allocate.
    pub fn available(&self) -> usize {
        // SAFETY: the pool is alive as `self` is.
        unsafe { sys::rte_mempool_avail_count(self.raw.as_ptr()) as usize }
    }

    /// How many buffers there are over the memory of its mbufs ([`RxMbuf::share`](crate::RxMbuf::share)): at most a
    /// quarter of its capacity.
    pub fn shared(&self) -> usize {
        self.tag().shared.load(Ordering::Relaxed)
    }

    /// How many mbufs are out: with the application and with drivers (`rte_mempool_in_use_count`).
    pub fn in_use(&self) -> usize {
        // SAFETY: the pool is alive as `self` is.
        unsafe { sys::rte_mempool_in_use_count(self.raw.as_ptr()) as usize }
    }

    /// How many mbufs the pool has in all.
    pub fn capacity(&self) -> usize {
        self.tag().capacity as usize
    }

    /// Bytes of buffer of each mbuf, headroom included.
    pub fn data_room(&self) -> usize {
        usize::from(self.tag().data_room)
    }

    /// The pool's name.
    pub fn name(&self) -> &str {
        // SAFETY: rte_mempool.name is a zero-terminated array that is not written after creation; ours came
        // from a Rust string.
        let name = unsafe {
            CStr::from_ptr(
                self.raw
                    .cast::<c_char>()
                    .byte_add(sys::DN_MEMPOOL_OFF_NAME)
                    .as_ptr(),
            )
        };
        name.to_str().unwrap_or("")
    }

    /// The pool as DPDK knows it.
    pub(crate) fn raw(&self) -> NonNull<sys::rte_mempool> {
        self.raw
    }

    /// A further handle for a pool known by its address.
    ///
    /// # Safety
    /// `raw` is a pool of ours that is alive.
    pub(crate) unsafe fn from_alive(raw: NonNull<sys::rte_mempool>) -> Self {
        // SAFETY: the caller's promise.
        unsafe { retain(raw, 1) };
        Self { raw }
    }

    #[inline]
    fn tag(&self) -> &Tag {
        // SAFETY: a Tag was written when the pool was made; it lives as long as the pool, so as `self`.
        unsafe { tag(self.raw).as_ref() }
    }
}

impl Clone for Mempool {
    fn clone(&self) -> Self {
        // SAFETY: the pool is alive as `self` is.
        unsafe { Self::from_alive(self.raw) }
    }
}

impl Drop for Mempool {
    fn drop(&mut self) {
        // SAFETY: this handle was counted, and is not used again.
        unsafe { release(self.raw, 1) }
    }
}

impl PartialEq for Mempool {
    /// Whether both are handles of one pool.
    fn eq(&self, other: &Self) -> bool {
        self.raw == other.raw
    }
}

impl Eq for Mempool {}

impl fmt::Debug for Mempool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mempool")
            .field("name", &self.name())
            .field("capacity", &self.capacity())
            .field("data_room", &self.data_room())
            .finish_non_exhaustive()
    }
}
