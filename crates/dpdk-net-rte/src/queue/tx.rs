//! Sending.

use core::cell::Cell;
use core::fmt;
use core::marker::PhantomData;
use core::ptr::NonNull;
use std::sync::Arc;

use dpdk_net_sys as sys;

use crate::Error;
use crate::batch::{Batch, Packet, RawBatch};
use crate::mbuf::{Mbuf, RawMbuf};
use crate::mempool::{self, Mempool};
use crate::port::PortId;
use crate::port::TxCapabilities;
use crate::port::inner::{Inner, Slot};
use crate::port::tx_rules::TxRules;

/// A pool whose mbufs this queue sent, and how many counts of it are to be let go of right now.
struct Sent {
    pool: NonNull<sys::rte_mempool>,
    counts: usize,
}

/// A transmit queue of a started port: one owner, one thread at a time.
///
/// ```compile_fail,E0277
/// fn share<T: Sync>() {}
/// share::<dpdk_net_rte::TxQueue>(); // `Cell<()>` cannot be shared between threads safely
/// ```
pub struct TxQueue {
    /// The pool of the last burst, whose packets need no second look if they have one segment; the keeper holds it.
    /// `None` before the first, and where every packet needs one.
    last: Option<NonNull<sys::rte_mempool>>,
    slot: Arc<Slot>,
    port: Arc<Inner>,
    id: u16,
    rules: TxRules,
    /// All pools of which packets were sent; the keeper holds them.
    known: Vec<Sent>,
    /// The lengths of the packets of a burst: drivers write VLAN tags into packets that they do not take then.
    lengths: Vec<u32>,
    /// Where packets were in the last batch of which some were dropped.
    weeded: Vec<usize>,
    /// The pool that every packet must be of, in one mbuf, as the driver frees them unseen (`MBUF_FAST_FREE`).
    only: Option<Mempool>,
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
    /// What is wrong with it.
    #[source]
    pub error: Error,
}

impl TxQueue {
    /// # Safety
    /// `slot` is that of transmit queue `id` of `port`, which is started, and was taken for this;
    /// `rules` and `only` are of what the port was set up with; the keeper holds that pool.
    pub(crate) unsafe fn new(
        port: Arc<Inner>,
        id: u16,
        slot: Arc<Slot>,
        rules: TxRules,
        only: Option<Mempool>,
    ) -> Self {
        Self {
            last: only.as_ref().map(Mempool::raw),
            slot,
            port,
            id,
            rules,
            known: Vec::new(),
            lengths: Vec::new(),
            weeded: Vec::new(),
            only,
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

    /// What its port does with packets to send.
    pub fn capabilities(&self) -> TxCapabilities {
        self.rules.capabilities()
    }

    /// Hands packets from the front of the batch to the driver, as many as it takes, and returns how many
    /// those were (`rte_eth_tx_burst`). The others stay in the batch, in order. Never waits.
    ///
    /// Takes a [`MbufBatch`](crate::MbufBatch) or a [`TxBatch`](crate::TxBatch).
    ///
    /// A packet that can't be sent is dropped and counted
    /// ([`QueueStats::tx_dropped`](crate::port::QueueStats::tx_dropped)):
    /// - one without data, or longer than a frame of the port's MTU, unless the NIC is asked to segment it:
    ///   drivers copy into buffers of that size without looking;
    /// - one to segment whose segments would be longer than such a frame, or which this driver is known to choke on;
    /// - one of more segments than the port takes (without
    ///   [`TxOffloads::MULTI_SEGS`](crate::port::TxOffloads::MULTI_SEGS) that is 1) that does not fit into its
    ///   first segment's buffer. One that does is copied there and sent, with what it asks of the NIC
    ///   ([`QueueStats::tx_copied`](crate::port::QueueStats::tx_copied));
    /// - with [`Offload::FastFree`](crate::port::Offload::FastFree), one of several segments or of another mempool, where
    ///   the queue's mempool has no mbuf for a copy, or none that is large enough.
    #[inline]
    pub fn tx_burst<P: Packet, const N: usize>(&mut self, batch: &mut Batch<P, N>) -> usize {
        let n = batch.len();
        if n == 0 {
            return 0;
        }
        let Some(pool) = self.last else {
            return self.tx_burst_mixed(batch.as_raw());
        };
        let n = n.min(usize::from(u16::MAX)) as u16;
        let mut bytes = 0;
        // SAFETY: the port is started and the queue ours. The packets are the batch's, and if they are handed
        // over, of one segment each, which is direct, and of a pool that the keeper holds. Those that the driver took
        // are not ours any more, and let go of after they may have gone back to their pool.
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
                return self.tx_burst_mixed(batch.as_raw());
            }
            sent
        }
    }

    /// Which packets the last [burst](Self::tx_burst) that dropped some has dropped: their indices in the batch as it was, in order.
    ///
    /// It stays as it is until a burst drops packets again. One that did has a batch that became shorter by more packets than it
    /// returned.
    pub fn weeded(&self) -> &[usize] {
        &self.weeded
    }

    /// [`Self::tx_burst`] for packets of several pools, of a new pool, of several segments or of none.
    #[inline(never)]
    fn tx_burst_mixed(&mut self, mut batch: RawBatch<'_>) -> usize {
        let n = self.weed_out(&mut batch);
        if n == 0 {
            return 0;
        }
        let mbufs = batch.mbufs();
        self.lengths.clear();
        for index in 0..n {
            // SAFETY: the batch owns `n` packets.
            unsafe {
                let mbuf = mbufs.add(index).read();
                self.lengths.push(mbuf.pkt_len());
                self.count(mbuf, |counts| *counts += 1);
                if self.only.is_none() && !self.rules.every_packet {
                    self.last = Some(mbuf.pool());
                }
            }
        }
        // SAFETY: the keeper holds all the pools since they were counted; as in `tx_burst` otherwise.
        unsafe {
            let sent = self.hand_over(mbufs, n);
            for index in sent..n {
                let mbuf = mbufs.add(index).read();
                self.count(mbuf, |counts| *counts -= 1);
            }
            for entry in &mut self.known {
                let counts = core::mem::take(&mut entry.counts);
                if counts > 0 {
                    mempool::release(entry.pool, counts);
                }
            }
            batch.forget_front(sent);
            let bytes = self.lengths.iter().take(sent).map(|n| u64::from(*n)).sum();
            self.slot.packets.add(sent as u64);
            self.slot.bytes.add(bytes);
            sent
        }
    }

    /// Drops packets that can't be sent, copies into one segment where the driver wants that, and returns
    /// how many packets are left.
    fn weed_out(&mut self, batch: &mut RawBatch<'_>) -> usize {
        let n = batch.len();
        let mbufs = batch.mbufs();
        let frame = self.port.frame();
        let mut first = true;
        let weeded = &mut self.weeded;
        let mut weed = |index| {
            if core::mem::take(&mut first) {
                weeded.clear();
            }
            weeded.push(index);
            self.slot.dropped.add(1);
        };
        // SAFETY: packets are on their way from here on: a panic loses them instead of freeing one twice.
        unsafe { batch.set_len(0) };
        let mut kept = 0;
        for index in 0..n {
            // SAFETY: the batch owned `n` packets; each is taken out of its place once, before the place is
            // reused, and `kept` is at most `index`. It may be one with references (`TxMbuf`): it is linearised,
            // dropped or put back, which is right for those too, and nothing else.
            let mut mbuf = unsafe { Mbuf::from_raw(mbufs.add(index).read()) };
            if self.rules.unsendable(&mbuf, frame).is_some() {
                weed(index);
                continue;
            }
            if let Some(only) = &self.only {
                // Of one mbuf and of that pool: with one reference and data of its own every `Mbuf` is.
                if mbuf.nb_segs() > 1 || mbuf.pool() != only.raw() {
                    let Some(copy) = mbuf.copy_to_send(only) else {
                        weed(index);
                        continue;
                    };
                    mbuf = copy;
                    self.slot.copied.add(1);
                }
            } else if mbuf.nb_segs() > self.rules.most_segments(&mbuf) {
                if mbuf.linearize().is_err() {
                    weed(index);
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

    /// Applies `change` to the count of each segment's pool, and of the pool of the buffer that a segment refers to;
    /// the keeper holds both from then on.
    ///
    /// # Safety
    /// The packet is ours.
    unsafe fn count(&mut self, packet: RawMbuf, change: impl Fn(&mut usize)) {
        let mut segment = Some(packet);
        while let Some(mbuf) = segment {
            // SAFETY: the packet's segments are alive, what they refer to is, and their pools as they are counted
            // there.
            unsafe {
                segment = mbuf.next();
                self.count_one(mbuf.pool(), &change);
                if let Some(target) = mbuf.target() {
                    self.count_one(target.pool(), &change);
                }
            }
        }
    }

    /// # Safety
    /// The pool is ours and alive.
    unsafe fn count_one(&mut self, pool: NonNull<sys::rte_mempool>, change: &impl Fn(&mut usize)) {
        let at = match self.known.iter().position(|entry| entry.pool == pool) {
            Some(at) => at,
            None => {
                // SAFETY: the caller's promise.
                unsafe { self.port.keeper.keep(pool) };
                self.known.push(Sent { pool, counts: 0 });
                self.known.len() - 1
            }
        };
        change(&mut self.known[at].counts);
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

    /// Looks at packets that ask for [offloads](crate::Mbuf::set_tx_offload) before they are sent, and lets the driver do
    /// so: it fills in what its hardware wants to find, as the sum of the pseudo-header, and says which it can't send
    /// (`rte_eth_tx_prepare`).
    ///
    /// # Errors
    /// [`TxPrepareError`] names the first packet that can't be sent, and says why: it asks for an offload that is not
    /// on, it is one that [`tx_burst`](Self::tx_burst) would drop, or the driver refuses it.
    /// [`remove`](Batch::remove) it and try again.
    pub fn tx_prepare<P: Packet, const N: usize>(
        &mut self,
        batch: &mut Batch<P, N>,
    ) -> Result<(), TxPrepareError> {
        self.prepare(batch.as_raw())
    }

    fn prepare(&mut self, batch: RawBatch<'_>) -> Result<(), TxPrepareError> {
        let n = batch.len().min(usize::from(u16::MAX));
        let frame = self.port.frame();
        let wrong = (0..n).find_map(|index| {
            // SAFETY: the batch owns `n` packets; `Mbuf` is transparent over RawMbuf and this one is only read, which is
            // right for one with references too.
            let mbuf = unsafe { &*batch.mbufs().add(index).cast::<Mbuf>() };
            let problem = self.rules.problem(mbuf, frame)?;
            Some((index, problem))
        });
        let good = wrong.as_ref().map_or(n, |(index, _)| *index) as u16;
        // SAFETY: the port is started and the queue ours; the packets are the batch's, and stay so.
        let ready = unsafe {
            sys::dn_eth_tx_prepare(self.port.id.get(), self.id, batch.mbufs().cast(), good)
        };
        let subject = || format!("transmit queue {} of {}", self.id, self.port.subject());
        if ready < good {
            let error = Error::last("rte_eth_tx_prepare", subject()).with_remedy(
                "Ask only for offloads that the port was configured with, and segments that fit its MTU",
            );
            return Err(TxPrepareError {
                index: usize::from(ready),
                error,
            });
        }
        match wrong {
            None => Ok(()),
            Some((index, problem)) => Err(TxPrepareError {
                index,
                error: Error::InvalidArgument {
                    what: format!("a packet for {}", subject()),
                    problem: problem.to_string(),
                },
            }),
        }
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
