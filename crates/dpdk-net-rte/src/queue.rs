//! Queues: receiving and sending packets in bursts.
//!
//! What holds, and the `unsafe` blocks here rely on:
//!
//! 1. A queue holds its port's `Inner`, on which its `Slot` is taken: the port is open and started, and
//!    nobody else has this queue. It can be sent to another thread but not shared.
//! 2. What `rx_burst` delivers satisfies the invariants of [`Mbuf`]: packets that do not are
//!    copied, or counted and dropped.
//! 3. Packets that `tx_burst` hands to the driver are of pools that the port's keeper holds.
//!
//! What does not live here: bringing a port up ([`crate::port`]), and who polls which queue.

use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;
use core::sync::atomic::{Ordering, fence};
use std::sync::Arc;

use dpdk_net_sys as sys;

use crate::Error;
use crate::batch::MbufBatch;
use crate::mbuf::{Mbuf, RawMbuf};
use crate::mempool::{self, Mempool};
use crate::port::PortId;
use crate::port::inner::{Inner, MostSegments, Slot};

/// Data that is not (only) the mbuf's own.
const BORROWED: u64 = sys::DN_MBUF_F_INDIRECT | sys::DN_MBUF_F_EXTERNAL;

/// A receive queue and the transmit queue of the same number.
#[derive(Debug)]
pub struct QueuePair {
    /// The receive queue.
    pub rx: RxQueue,
    /// The transmit queue.
    pub tx: TxQueue,
}

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
        let room = batch.room().min(usize::from(u16::MAX));
        if room == 0 {
            return 0;
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
            return 0;
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
        kept
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
            let mbuf = if unsafe { is_plain(mbuf, &mut tally) } {
                mbuf
            } else {
                // SAFETY: rte_pktmbuf_copy() reads the packet only and makes a direct one of our pool with
                // one owner; the original is given back to whoever shares it.
                let copy = unsafe {
                    let copy =
                        sys::rte_pktmbuf_copy(mbuf.as_ptr(), self.pool.raw().as_ptr(), 0, u32::MAX);
                    sys::dn_pktmbuf_free(mbuf.as_ptr());
                    NonNull::new(copy).map(RawMbuf::new)
                };
                let Some(copy) = copy else {
                    self.slot.dropped.add(1);
                    continue;
                };
                self.slot.copied.add(1);
                copy
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

/// Whether each segment has one owner, its own buffer and a pool of ours.
///
/// # Safety
/// The packet and its pools are alive.
unsafe fn is_plain(packet: RawMbuf, tally: &mut Tally) -> bool {
    let mut segment = Some(packet);
    while let Some(mbuf) = segment {
        // SAFETY: the packet's segments are alive, and so are their pools.
        unsafe {
            if mbuf.refcnt() != 1 || mbuf.ol_flags() & BORROWED != 0 {
                return false;
            }
            let pool = mbuf.pool();
            if tally.ours != Some(pool) {
                if !mempool::is_ours(pool) {
                    return false;
                }
                tally.ours = Some(pool);
            }
            segment = mbuf.next();
        }
    }
    true
}

/// A pool whose mbufs this queue sent, and how many segments of it are being sent right now.
struct Sent {
    pool: NonNull<sys::rte_mempool>,
    segments: usize,
}

/// A transmit queue of a started port: one owner, one thread at a time.
///
/// ```compile_fail,E0277
/// fn share<T: Sync>() {}
/// share::<dpdk_net_rte::TxQueue>(); // `Cell<()>` cannot be shared between threads safely
/// ```
pub struct TxQueue {
    /// The pool of the last burst; the keeper holds it. `None` before the first.
    last: Option<NonNull<sys::rte_mempool>>,
    slot: Arc<Slot>,
    port: Arc<Inner>,
    id: u16,
    most_segments: MostSegments,
    /// All pools of which packets were sent; the keeper holds them.
    known: Vec<Sent>,
    not_sync: PhantomData<Cell<()>>,
}

// SAFETY: the pools' addresses are of pools that the keeper holds, valid on any thread; DPDK wants a queue
// to be used by one thread at a time, not by the same one always.
unsafe impl Send for TxQueue {}

/// What [`TxQueue::tx_prepare`] found wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("packet {index} of the batch can't be sent: {error}")]
pub struct TxPrepareError {
    /// Which packet: those in front of it are ready.
    pub index: usize,
    /// What the driver says.
    #[source]
    pub error: Error,
}

impl TxQueue {
    /// # Safety
    /// `slot` is that of transmit queue `id` of `port`, which is started, and was taken for this;
    /// `most_segments` is what the port was set up with.
    pub(crate) unsafe fn new(
        port: Arc<Inner>,
        id: u16,
        slot: Arc<Slot>,
        most_segments: MostSegments,
    ) -> Self {
        Self {
            last: None,
            slot,
            port,
            id,
            most_segments,
            known: Vec::new(),
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

    /// Hands packets from the front of the batch to the driver, as many as it takes, and returns how many
    /// those were (`rte_eth_tx_burst`). The others stay in the batch, in order. Never waits.
    ///
    /// A packet that can't be sent is dropped and counted
    /// ([`QueueStats::tx_dropped`](crate::port::QueueStats::tx_dropped)):
    /// - one without data, or longer than a frame of the port's MTU, unless the NIC is asked to segment it:
    ///   drivers copy into buffers of that size without looking;
    /// - one of more segments than the port takes (without
    ///   [`TxOffloads::MULTI_SEGS`](crate::port::TxOffloads::MULTI_SEGS) that is 1) that does not fit into its
    ///   first segment's buffer.
    #[inline]
    pub fn tx_burst<const N: usize>(&mut self, batch: &mut MbufBatch<N>) -> usize {
        let n = batch.len();
        if n == 0 {
            return 0;
        }
        let Some(pool) = self.last else {
            return self.tx_burst_mixed(batch);
        };
        let n = n.min(usize::from(u16::MAX)) as u16;
        let mut bytes = 0;
        // SAFETY: the port is started and the queue ours. The packets are the batch's, and if they are handed
        // over, of one segment each and of a pool that the keeper holds. Those that the driver took are not ours
        // any more, and let go of after they may have gone back to their pool.
        unsafe {
            let sent = usize::from(sys::dn_eth_tx_burst_alike(
                self.port.id.get(),
                self.id,
                batch.raw_mut().cast(),
                n,
                pool.as_ptr(),
                self.port.longest_frame(),
                &mut bytes,
            ));
            if sent > 0 {
                mempool::release(pool, sent);
                batch.forget_front(sent);
                self.slot.packets.add(sent as u64);
                self.slot.bytes.add(bytes);
            } else if bytes == sys::DN_NOT_ALIKE {
                return self.tx_burst_mixed(batch);
            }
            sent
        }
    }

    /// [`Self::tx_burst`] for packets of several pools, of a new pool, of several segments or of none.
    #[inline(never)]
    fn tx_burst_mixed<const N: usize>(&mut self, batch: &mut MbufBatch<N>) -> usize {
        let n = self.weed_out(batch);
        if n == 0 {
            return 0;
        }
        let mbufs = batch.raw_mut();
        let mut bytes = 0_u64;
        for index in 0..n {
            // SAFETY: the batch owns `n` packets.
            unsafe {
                let mbuf = mbufs.add(index).read();
                bytes += u64::from(mbuf.pkt_len());
                self.count(mbuf, |segments| *segments += 1);
                self.last = Some(mbuf.pool());
            }
        }
        // SAFETY: the keeper holds all the pools since they were counted; as in `tx_burst` otherwise.
        unsafe {
            let sent = self.hand_over(mbufs, n);
            for index in sent..n {
                let mbuf = mbufs.add(index).read();
                bytes -= u64::from(mbuf.pkt_len());
                self.count(mbuf, |segments| *segments -= 1);
            }
            for entry in &mut self.known {
                let segments = core::mem::take(&mut entry.segments);
                if segments > 0 {
                    mempool::release(entry.pool, segments);
                }
            }
            batch.forget_front(sent);
            self.slot.packets.add(sent as u64);
            self.slot.bytes.add(bytes);
            sent
        }
    }

    /// Drops packets that can't be sent, copies into one segment where the driver wants that, and returns
    /// how many packets are left.
    fn weed_out<const N: usize>(&self, batch: &mut MbufBatch<N>) -> usize {
        let n = batch.len();
        let mbufs = batch.raw_mut();
        // SAFETY: packets are on their way from here on: a panic loses them instead of freeing one twice.
        unsafe { batch.set_len(0) };
        let mut kept = 0;
        for index in 0..n {
            // SAFETY: the batch owned `n` packets; each is taken out of its place once, before the place is
            // reused, and `kept` is at most `index`.
            let mut mbuf = unsafe { Mbuf::from_raw(mbufs.add(index).read()) };
            if mbuf.pkt_len() == 0 || !self.port.takes_length(&mbuf) {
                self.slot.dropped.add(1);
                continue;
            }
            if mbuf.nb_segs() > self.most_segments.of(&mbuf) {
                if mbuf.linearize().is_err() {
                    self.slot.dropped.add(1);
                    continue;
                }
                self.slot.copied.add(1);
            }
            // SAFETY: as above.
            unsafe { mbufs.add(kept).write(mbuf.into_raw()) };
            kept += 1;
        }
        // SAFETY: the first `kept` places own the packets that are left, the others were dropped.
        unsafe { batch.set_len(kept) };
        kept
    }

    /// Applies `change` to the count of each segment's pool, which the keeper holds from then on.
    ///
    /// # Safety
    /// The packet is ours.
    unsafe fn count(&mut self, packet: RawMbuf, change: impl Fn(&mut usize)) {
        let mut segment = Some(packet);
        while let Some(mbuf) = segment {
            // SAFETY: the packet's segments are alive, and their pools as they are counted there.
            let pool = unsafe {
                segment = mbuf.next();
                mbuf.pool()
            };
            let at = match self.known.iter().position(|entry| entry.pool == pool) {
                Some(at) => at,
                None => {
                    // SAFETY: the pool is ours and alive.
                    unsafe { self.port.keeper.keep(pool) };
                    self.known.push(Sent { pool, segments: 0 });
                    self.known.len() - 1
                }
            };
            change(&mut self.known[at].segments);
        }
    }

    /// `rte_eth_tx_burst`.
    ///
    /// # Safety
    /// `mbufs` are `n` packets of ours, of pools that the keeper holds. The first so many as are returned
    /// are the driver's afterwards.
    #[inline(always)]
    unsafe fn hand_over(&mut self, mbufs: *mut RawMbuf, n: usize) -> usize {
        let n = n.min(usize::from(u16::MAX)) as u16;
        // SAFETY: the port is started and the queue ours; the caller's promise.
        usize::from(unsafe { sys::dn_eth_tx_burst(self.port.id.get(), self.id, mbufs.cast(), n) })
    }

    /// Lets the driver look at packets that ask for [offloads](crate::Mbuf::set_tx_offload), before they are
    /// sent: it fills in what its hardware wants to find, as the sum of the pseudo-header, and says which it
    /// can't send (`rte_eth_tx_prepare`).
    ///
    /// # Errors
    /// [`TxPrepareError`] names the first packet that the driver can't send:
    /// [`remove`](MbufBatch::remove) it and try again.
    pub fn tx_prepare<const N: usize>(
        &mut self,
        batch: &mut MbufBatch<N>,
    ) -> Result<(), TxPrepareError> {
        let n = batch.len().min(usize::from(u16::MAX)) as u16;
        // SAFETY: the port is started and the queue ours; the packets are the batch's, and stay so.
        let ready = unsafe {
            sys::dn_eth_tx_prepare(self.port.id.get(), self.id, batch.raw_mut().cast(), n)
        };
        if ready == n {
            return Ok(());
        }
        let subject = format!("transmit queue {} of {}", self.id, self.port.subject());
        let error = Error::last("rte_eth_tx_prepare", subject).with_remedy(
            "Ask only for offloads that the port was configured with, and segments that fit its MTU",
        );
        Err(TxPrepareError {
            index: usize::from(ready),
            error,
        })
    }
}

impl Drop for TxQueue {
    fn drop(&mut self) {
        self.slot.put();
    }
}

impl fmt::Debug for TxQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TxQueue")
            .field("port", &self.port.subject())
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
