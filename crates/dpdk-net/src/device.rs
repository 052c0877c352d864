//! Between a queue pair and the stack: frames in as contiguous mbufs, frames out into mbufs in hand.
//!
//! What holds
//! - the sink's capacity is the number of empty mbufs in hand that also have a place behind those still
//!   waiting for the TX ring: the stack never produces a frame that would have nowhere to go;
//! - frames that the TX ring does not take stay here, in order, and are offered again on the next turn;
//! - every frame handed to the stack is one contiguous mbuf: a chain is linearised, or dropped and counted. The stack
//!   may keep payload in it; a quarter of the pool at most, so that a slow reader can't starve the NIC.
//!
//! No mbuf is allocated or freed one by one, and nothing here takes the shard's lock.

use dpdk_net_rte::{MbufBatch, Mempool, QueuePair, RxBatch, RxMbuf, RxQueue, TxQueue};
use dpdk_net_stack::{TxMeta, TxSink};

use crate::error::Error;

/// Frames a burst, received and sent.
pub(crate) const BURST: usize = 64;

/// Bytes of an Ethernet header with one VLAN tag.
pub(crate) const LINK_HEADER: usize = 18;

/// What a [`Device`] counted since it was last asked.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct DeviceCounts {
    pub(crate) no_mbufs: u64,
    pub(crate) ring_full: u64,
    pub(crate) not_contiguous: u64,
    pub(crate) oversize: u64,
}

/// A queue pair with its mempool and the mbufs in hand.
pub(crate) struct Device {
    rx: RxQueue,
    tx: TxQueue,
    /// What the last burst received.
    received: RxBatch<BURST>,
    output: Output,
}

/// The sending half, apart so that the stack can fill it while the received frames are borrowed.
pub(crate) struct Output {
    pool: Mempool,
    /// Empty mbufs for frames to come.
    spare: MbufBatch<BURST>,
    /// Filled mbufs that the TX ring has yet to take, in order.
    unsent: MbufBatch<BURST>,
    counts: DeviceCounts,
}

impl Device {
    /// Checks that one mbuf of the pool holds a frame of `mtu`.
    pub(crate) fn new(queues: QueuePair, pool: Mempool, mtu: u16) -> Result<Self, Error> {
        let needed = usize::from(mtu) + LINK_HEADER;
        let room = pool.data_room().saturating_sub(Mempool::HEADROOM);
        if room < needed {
            return Err(Error::DataRoom {
                pool: pool.name().to_owned(),
                room,
                mtu,
                needed,
            });
        }
        let QueuePair { rx, tx, .. } = queues;
        Ok(Self {
            rx,
            tx,
            received: RxBatch::new(),
            output: Output {
                pool,
                spare: MbufBatch::new(),
                unsent: MbufBatch::new(),
                counts: DeviceCounts::default(),
            },
        })
    }

    /// Takes a burst off the RX queue; [`parts`](Self::parts) has it. Returns how many are there.
    #[inline]
    pub(crate) fn receive(&mut self) -> usize {
        let received = self.received.receive_contiguous(&mut self.rx);
        self.output.counts.not_contiguous += received.dropped as u64;
        received.packets
    }

    /// The received frames, and the sink for what is to be sent.
    #[inline]
    pub(crate) fn parts(&mut self) -> (&[RxMbuf], &mut Output) {
        (self.received.as_slice(), &mut self.output)
    }

    /// Gives the received frames back to their pool, except for what the stack has kept.
    #[inline]
    pub(crate) fn release(&mut self) {
        self.received.clear();
    }

    /// Offers what is waiting to the TX ring; returns how many it took.
    #[inline]
    pub(crate) fn transmit(&mut self) -> usize {
        if self.output.unsent.is_empty() {
            return 0;
        }
        let sent = self.tx.tx_burst(&mut self.output.unsent);
        if !self.output.unsent.is_empty() {
            self.output.counts.ring_full += 1;
        }
        sent
    }

    /// Whether frames wait for the TX ring.
    pub(crate) fn has_unsent(&self) -> bool {
        !self.output.unsent.is_empty()
    }
}

impl Output {
    /// What was counted since the last call.
    #[inline]
    pub(crate) fn take_counts(&mut self) -> DeviceCounts {
        std::mem::take(&mut self.counts)
    }

    /// Gets a new stock of empty mbufs: all that fit, or what the pool still has.
    #[cold]
    fn restock(&mut self) {
        let mut want = BURST - self.spare.len();
        while want > 0 {
            if self.pool.alloc_bulk(&mut self.spare, want).is_ok() {
                return;
            }
            // Nearly exhausted: take less rather than nothing.
            want /= 2;
        }
        self.counts.no_mbufs += 1;
    }

    /// A frame that no mbuf could take: written to memory and forgotten.
    #[cold]
    fn discard<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        self.counts.oversize += 1;
        fill(&mut vec![0; len])
    }
}

impl TxSink for Output {
    #[inline]
    fn capacity(&mut self) -> usize {
        if self.spare.is_empty() {
            self.restock();
        }
        self.spare.len().min(BURST - self.unsent.len())
    }

    #[inline]
    fn send<R>(&mut self, len: usize, _meta: TxMeta, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let Some(mut mbuf) = self.spare.pop() else {
            return self.discard(len, fill);
        };
        let Ok(frame) = mbuf.append(len) else {
            return self.discard(len, fill);
        };
        let result = fill(frame);
        if self.unsent.push(mbuf).is_err() {
            self.counts.oversize += 1;
        }
        result
    }
}
