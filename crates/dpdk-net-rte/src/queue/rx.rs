//! Receiving.

use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{Ordering, fence};
use std::sync::Arc;

use dpdk_net_sys as sys;

use crate::batch::MbufBatch;
use crate::mbuf::RawMbuf;
use crate::mempool::{self, Mempool};
use crate::port::PortId;
use crate::port::inner::{Inner, Slot};

/// Data that is not (only) the mbuf's own.
const BORROWED: u64 = sys::DN_MBUF_F_INDIRECT | sys::DN_MBUF_F_EXTERNAL;

/// A receive queue of a started port: one owner, one thread at a time.
///
/// ```compile_fail,E0277
/// fn share<T: Sync>() {}
/// share::<dpdk_net_rte::RxQueue>(); // `Cell<()>` cannot be shared between threads safely
/// ```
///
/// ```compile_fail,E0308
/// fn twice(queue: &dpdk_net_rte::RxQueue) -> dpdk_net_rte::RxQueue {
///     queue.clone() // a copy of the reference: `RxQueue` is not `Clone`
/// }
/// ```
pub struct RxQueue {
    pool: Mempool,
    slot: Arc<Slot>,
    port: Arc<Inner>,
    id: u16,
    not_sync: PhantomData<Cell<()>>,
}

impl RxQueue {
    /// # Safety
    /// `slot` is that of receive queue `id` of `port`, which is started, and was taken for this; `pool` is
    /// what the queue was set up with.
    pub(crate) unsafe fn new(port: Arc<Inner>, id: u16, slot: Arc<Slot>, pool: Mempool) -> Self {
        Self {
            pool,
            slot,
            port,
            id,
            not_sync: PhantomData,
        }
    }

    /// The port's number.
    pub fn port(&self) -> PortId {
        self.port.id
    }

    /// The queue's number on its port.
    pub fn id(&self) -> u16 {
        self.id
    }

    /// The pool that packets are received into.
    pub fn mempool(&self) -> &Mempool {
        &self.pool
    }

    /// Appends the packets that are there, as many as the batch takes, and returns how many those were
    /// (`rte_eth_rx_burst`). Never waits.
    ///
    /// Many drivers deliver multiples of 4 or 8 only, and nothing into less room than that: leave room for
    /// 32 or more.
    #[inline]
    pub fn rx_burst<const N: usize>(&mut self, batch: &mut MbufBatch<N>) -> usize {
        self.rx_burst_up_to(batch, N).0
    }

    /// As [`rx_burst`](Self::rx_burst), at most `most` packets; returns how many those were, and how many bytes.
    #[inline]
    pub(crate) fn rx_burst_up_to<const N: usize>(
        &mut self,
        batch: &mut MbufBatch<N>,
        most: usize,
    ) -> (usize, u64) {
        let room = batch.room().min(most).min(usize::from(u16::MAX));
        if room == 0 {
            return (0, 0);
        }
        let tail = batch.tail();
        let pool = self.pool.raw();
        let mut bytes = 0;
        // SAFETY: the port is started and the queue ours; the batch has room for as many at its tail; the pool
        // is the queue's, and only its address is used.
        let n = usize::from(unsafe {
            sys::dn_eth_rx_burst(
                self.port.id.get(),
                self.id,
                tail,
                room as u16,
                pool.as_ptr(),
                &mut bytes,
            )
        });
        if n == 0 {
            return (0, 0);
        }
        let mbufs: *mut RawMbuf = tail.cast();
        // Whoever shared a packet before is done with it.
        fence(Ordering::Acquire);
        let mut kept = n;
        // SAFETY: all `n` are of one segment with one owner, direct and of our pool: they are counted here.
        // Otherwise `adopt` makes sure of that for those that it keeps.
        unsafe {
            if bytes != sys::DN_NOT_ALIKE {
                mempool::retain(pool, n);
            } else {
                (kept, bytes) = self.adopt(mbufs, n);
            }
            batch.grow(kept);
        }
        self.slot.packets.add(kept as u64);
        self.slot.bytes.add(bytes);
        (kept, bytes)
    }

    /// Takes in `n` packets of which some have several segments, are of other pools, or are shared; moves
    /// those that are kept to the front, counts them, and returns how many they are and their bytes.
    ///
    /// # Safety
    /// The driver just handed over `n` packets at `mbufs`, not counted yet.
    #[inline(never)]
    unsafe fn adopt(&mut self, mbufs: *mut RawMbuf, n: usize) -> (usize, u64) {
        let (mut kept, mut bytes) = (0, 0);
        let mut tally = Tally::default();
        for index in 0..n {
            // SAFETY: the driver wrote `n` packets; each is looked at once, before its place is reused.
            let mbuf = unsafe { mbufs.add(index).read() };
            // SAFETY: the packet is alive; its pools are, as the driver took it from them.
            let mbuf = match unsafe { examine(mbuf, &mut tally) } {
                Found::Plain => mbuf,
                Found::Malformed { chain } => {
                    self.slot.malformed.add(1);
                    if chain <= sys::DN_MBUF_MAX_NB_SEGS {
                        // SAFETY: the packet is ours, and its segments are `chain` different mbufs.
                        unsafe { sys::dn_pktmbuf_free(mbuf.as_ptr()) }
                    }
                    continue;
                }
                // SAFETY: the packet is ours.
                Found::Borrowed => match unsafe { self.copy(mbuf) } {
                    Some(copy) => copy,
                    None => continue,
                },
            };
            // SAFETY: the packet is ours; `kept` is at most `index`.
            unsafe {
                bytes += u64::from(mbuf.pkt_len());
                tally.count(mbuf);
                mbufs.add(kept).write(mbuf);
            }
            kept += 1;
        }
        tally.retain();
        (kept, bytes)
    }

    /// A copy of a packet that others share, in mbufs of the queue's pool that nobody counts yet; the original is given
    /// back to whoever shares it.
    ///
    /// # Safety
    /// The packet is alive and ours to give up.
    unsafe fn copy(&self, mbuf: RawMbuf) -> Option<RawMbuf> {
        // SAFETY: rte_pktmbuf_copy() reads the packet only and makes a direct one of our pool with one owner.
        let copy = unsafe {
            let copy = sys::rte_pktmbuf_copy(mbuf.as_ptr(), self.pool.raw().as_ptr(), 0, u32::MAX);
            sys::dn_pktmbuf_free(mbuf.as_ptr());
            NonNull::new(copy).map(RawMbuf::new)
        };
        match copy {
            Some(copy) => {
                self.slot.copied.add(1);
                // What its sender asked of a port was checked against another first segment.
                // SAFETY: the copy is ours alone.
                unsafe { copy.set_ol_flags(copy.ol_flags() & !sys::DN_MBUF_F_TX_OFFLOAD_MASK) };
            }
            None => self.slot.dropped.add(1),
        }
        copy
    }
}

impl Drop for RxQueue {
    fn drop(&mut self) {
        self.slot.put();
    }
}

impl fmt::Debug for RxQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RxQueue")
            .field("port", &self.port.subject())
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// Segments of one pool, counted before the pool is told.
#[derive(Default)]
struct Tally {
    pool: Option<NonNull<sys::rte_mempool>>,
    segments: usize,
    /// The last pool found to be ours: most packets are of the same.
    ours: Option<NonNull<sys::rte_mempool>>,
}

impl Tally {
    /// Counts the segments of a packet that is ours.
    ///
    /// # Safety
    /// The packet is alive and of pools of ours.
    unsafe fn count(&mut self, packet: RawMbuf) {
        let mut segment = Some(packet);
        while let Some(mbuf) = segment {
            // SAFETY: the packet's segments are alive.
            let pool = unsafe {
                segment = mbuf.next();
                mbuf.pool()
            };
            if self.pool != Some(pool) {
                self.retain();
                self.pool = Some(pool);
            }
            self.segments += 1;
        }
    }

    /// Tells the pool.
    fn retain(&mut self) {
        if let (Some(pool), n @ 1..) = (self.pool, core::mem::take(&mut self.segments)) {
            // SAFETY: the pool is ours and alive: its mbufs are in hand.
            unsafe { mempool::retain(pool, n) };
        }
    }
}

/// What a received packet is.
enum Found {
    /// Each segment has one owner, its own buffer and a pool of ours.
    Plain,
    /// It is not so.
    Borrowed,
    /// Its lengths contradict each other. `chain` is how many segments are linked, or more than there can be.
    Malformed { chain: usize },
}

/// Looks at all segments of a packet. That what a packet of one says of its length is true is the driver's to keep;
/// one of several has more to get wrong.
///
/// # Safety
/// The packet and its pools are alive.
unsafe fn examine(packet: RawMbuf, tally: &mut Tally) -> Found {
    let (mut segments, mut length, mut plain, mut within) = (0, 0, true, true);
    let mut segment = Some(packet);
    while let Some(mbuf) = segment {
        segments += 1;
        if segments > sys::DN_MBUF_MAX_NB_SEGS {
            // No packet has so many: they are linked in a circle.
            return Found::Malformed { chain: segments };
        }
        // SAFETY: the packet's segments are alive, and so are their pools.
        unsafe {
            plain = plain && mbuf.refcnt() == 1 && mbuf.ol_flags() & BORROWED == 0;
            if plain {
                let pool = mbuf.pool();
                if tally.ours != Some(pool) {
                    plain = mempool::is_ours(pool);
                    if plain {
                        tally.ours = Some(pool);
                    }
                }
            }
            let data = mbuf.data_len();
            length += u64::from(data);
            within &= u32::from(mbuf.data_off()) + u32::from(data) <= u32::from(mbuf.buf_len());
            segment = mbuf.next();
        }
    }
    // SAFETY: the packet is alive.
    let (told, told_length) =
        unsafe { (usize::from(packet.nb_segs()), u64::from(packet.pkt_len())) };
    if (segments, length, within) != (told, told_length, true) && (segments > 1 || told > 1) {
        Found::Malformed { chain: segments }
    } else if plain {
        Found::Plain
    } else {
        Found::Borrowed
    }
}
