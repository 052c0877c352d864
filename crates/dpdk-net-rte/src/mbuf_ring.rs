//! Rings that hand received packets from lcores to another one: what arrived at a queue whose lcore does not own the
//! flow goes to the lcore that does, in order, by an `rte_ring` of many producers and one consumer.
//!
//! A packet goes as it is: segments, what the NIC said of it, and references that others have to its memory.
//!
//! What holds, and every `unsafe` block here relies on:
//!
//! 1. A place of the ring owns a packet as an [`RxBatch`] does: each segment is counted in its pool
//!    ([`crate::mempool`]), so pools outlive the packets in a ring. They are freed when the receiver is dropped, or,
//!    where a sender was quicker, when the last handle is.
//! 2. One thread at a time takes packets out: the [`MbufReceiver`], of which there is one, by `&mut`; after it, whoever
//!    drops the last handle.
//! 3. Both kinds of handle keep the ring, and the ring keeps the EAL.
//!
//! What does not live here: rings that ports are made of ([`crate::ring`]).

use core::fmt;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::ffi::c_void;
use std::sync::Arc;

use dpdk_net_sys as sys;

use crate::mbuf::RawMbuf;
use crate::mempool::free_packets;
use crate::received::RxBatch;
use crate::ring::ring_name;
use crate::{Eal, Error, SocketId};

/// Packets that a ring can hold at most.
const LARGEST: u32 = 1 << 20;

/// Packets that are freed at once where a ring ends.
const BURST: usize = 64;

/// A ring for up to `capacity` packets, in the memory of a NUMA socket: that of the receiver is best
/// (`rte_ring_create`). Names of rings are unique in a process.
///
/// ```no_run
/// use dpdk_net_rte::{Eal, RxBatch, RxQueue, SocketId, mbuf_ring::mbuf_ring};
///
/// # fn example(eal: &Eal, queue: &mut RxQueue) -> Result<(), dpdk_net_rte::Error> {
/// let (sender, mut receiver) = mbuf_ring(eal, "to worker 1", 1023, SocketId::ANY)?;
/// let mut received: RxBatch = RxBatch::new();
/// received.receive(queue);
/// sender.enqueue_or_drop(&mut received);
/// std::thread::spawn(move || {
///     let mut handed: RxBatch = RxBatch::new();
///     receiver.dequeue(&mut handed)
/// });
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`Error::InvalidArgument`] for a name or a capacity that can't be, [`Error::Dpdk`] where memory is short (`ENOMEM`)
/// or the name is taken (`EEXIST`).
pub fn mbuf_ring(
    eal: &Eal,
    name: &str,
    capacity: u32,
    socket: SocketId,
) -> Result<(MbufSender, MbufReceiver), Error> {
    if !(1..=LARGEST).contains(&capacity) {
        return Err(Error::InvalidArgument {
            what: format!("capacity of ring {name:?}"),
            problem: format!("{capacity} packets: a ring holds 1 to {LARGEST}"),
        });
    }
    let ring_name = ring_name(name)?;
    // Producers by relaxed tail synchronisation: where lcores share a CPU, one that is preempted in the middle holds
    // nobody up but the consumer.
    let flags = sys::DN_RING_F_MP_RTS_ENQ | sys::DN_RING_F_SC_DEQ | sys::DN_RING_F_EXACT_SZ;
    // SAFETY: the EAL is initialised; the name is a C string that outlives the call.
    let raw =
        unsafe { sys::rte_ring_create(ring_name.as_ptr(), capacity, socket.raw(), flags as u32) };
    let raw = NonNull::new(raw).ok_or_else(|| {
        Error::last("rte_ring_create", format!("ring {name:?}"))
            .with_remedy("Choose a name that no other ring has, or give the EAL more memory")
    })?;
    let ring = Arc::new(Ring {
        raw,
        closed: AtomicBool::new(false),
        dropped: AtomicU64::new(0),
        _eal: eal.clone(),
    });
    let sender = MbufSender {
        ring: Arc::clone(&ring),
    };
    Ok((sender, MbufReceiver { ring }))
}

/// What both ends share.
struct Ring {
    raw: NonNull<sys::rte_ring>,
    /// The receiver is gone.
    closed: AtomicBool,
    /// Packets that [`MbufSender::enqueue_or_drop`] freed.
    dropped: AtomicU64,
    _eal: Eal,
}

// SAFETY: rte_ring synchronises its producers among each other and with the consumer, which is one (2).
unsafe impl Send for Ring {}
// SAFETY: as above.
unsafe impl Sync for Ring {}

impl Ring {
    fn len(&self) -> usize {
        // SAFETY: the ring is alive as `self` is; its counters may be read at any time.
        unsafe { sys::dn_ring_count(self.raw.as_ptr()) as usize }
    }

    fn capacity(&self) -> usize {
        // SAFETY: the ring is alive as `self` is, its capacity never changes.
        unsafe { sys::dn_ring_capacity(self.raw.as_ptr()) as usize }
    }

    fn debug(&self, what: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(what)
            .field("len", &self.len())
            .field("capacity", &self.capacity())
            .field("dropped", &self.dropped.load(Ordering::Relaxed))
            .finish_non_exhaustive()
    }

    /// Frees what is in it.
    ///
    /// # Safety
    /// The caller is the one that takes packets out (2).
    unsafe fn drain(&self) {
        let mut packets = [ptr::null_mut::<c_void>(); BURST];
        loop {
            // SAFETY: there is room for BURST packets; each that comes out is ours from then on (1).
            unsafe {
                let n = sys::dn_ring_dequeue_burst(
                    self.raw.as_ptr(),
                    packets.as_mut_ptr(),
                    BURST as u32,
                );
                if n == 0 {
                    return;
                }
                free_packets(packets.as_mut_ptr().cast(), n as usize);
            }
        }
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: no handle is left, so nobody else has the ring.
        unsafe {
            self.drain();
            sys::rte_ring_free(self.raw.as_ptr());
        }
    }
}

/// The end that packets are put in. Clones are further producers; each may be on a thread of its own.
#[derive(Clone)]
pub struct MbufSender {
    ring: Arc<Ring>,
}

impl MbufSender {
    /// Moves packets from the front of `batch` into the ring, in order and as many as fit, and returns how many those
    /// were (`rte_ring_enqueue_burst`). The others stay in the batch. Once the receiver is gone all do.
    ///
    /// A burst costs little more than a single packet: gather what goes to one receiver.
    #[inline]
    pub fn enqueue<const N: usize>(&self, batch: &mut RxBatch<N>) -> usize {
        if batch.is_empty() || self.is_closed() {
            return 0;
        }
        // SAFETY: the ring is alive as `self` is, takes the first packets in order, and owns those that it says (1).
        unsafe {
            batch.give(|packets, n| {
                sys::dn_ring_enqueue_burst(self.ring.raw.as_ptr(), packets.cast(), n as u32)
                    as usize
            })
        }
    }

    /// As [`enqueue`](Self::enqueue), but what does not fit is freed, and counted ([`dropped`](Self::dropped)). Returns
    /// how many packets that were.
    pub fn enqueue_or_drop<const N: usize>(&self, batch: &mut RxBatch<N>) -> usize {
        self.enqueue(batch);
        let dropped = batch.len();
        if dropped > 0 {
            self.ring
                .dropped
                .fetch_add(dropped as u64, Ordering::Relaxed);
            batch.clear();
        }
        dropped
    }

    /// Packets that were freed as they did not fit, by all senders of the ring.
    pub fn dropped(&self) -> u64 {
        self.ring.dropped.load(Ordering::Relaxed)
    }

    /// Whether the receiver is gone.
    #[inline]
    pub fn is_closed(&self) -> bool {
        self.ring.closed.load(Ordering::Relaxed)
    }

    /// How many packets are in the ring; a snapshot.
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many packets the ring holds.
    pub fn capacity(&self) -> usize {
        self.ring.capacity()
    }
}

impl fmt::Debug for MbufSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ring.debug("MbufSender", f)
    }
}

/// The end that packets are taken out of: one, on one thread at a time. Dropping it frees what is in the ring.
///
/// ```compile_fail,E0308
/// fn twice(receiver: &dpdk_net_rte::mbuf_ring::MbufReceiver) -> dpdk_net_rte::mbuf_ring::MbufReceiver {
///     receiver.clone() // a copy of the reference: `MbufReceiver` is not `Clone`
/// }
/// ```
pub struct MbufReceiver {
    ring: Arc<Ring>,
}

impl MbufReceiver {
    /// Appends packets to `batch`, in the order in which they were put in and as many as it takes, and returns how many
    /// those were (`rte_ring_dequeue_burst`). Never waits. They are as they were received, chains with all headers in
    /// their first segment.
    #[inline]
    pub fn dequeue<const N: usize>(&mut self, batch: &mut RxBatch<N>) -> usize {
        // SAFETY: the ring is alive as `self` is and nobody else takes packets out (2); those that come out are whole
        // and owned by nobody else (1), and no more than there is room for.
        unsafe {
            batch.fill(|places, room| {
                sys::dn_ring_dequeue_burst(self.ring.raw.as_ptr(), places.cast(), room as u32)
                    as usize
            })
        }
    }

    /// How many packets are in the ring; a snapshot.
    #[inline]
    pub fn len(&self) -> usize {
        self.ring.len()
    }

    /// Whether there is none: two loads, to be asked at each turn.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many packets the ring holds.
    pub fn capacity(&self) -> usize {
        self.ring.capacity()
    }

    /// Packets that senders freed as they did not fit.
    pub fn dropped(&self) -> u64 {
        self.ring.dropped.load(Ordering::Relaxed)
    }
}

impl Drop for MbufReceiver {
    fn drop(&mut self) {
        self.ring.closed.store(true, Ordering::Relaxed);
        // SAFETY: this is the receiver.
        unsafe { self.ring.drain() }
    }
}

impl fmt::Debug for MbufReceiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.ring.debug("MbufReceiver", f)
    }
}

// A place of the ring holds the address of a packet, as a place of a batch does.
const _: () = assert!(size_of::<RawMbuf>() == size_of::<*mut c_void>());
