//! Between a queue pair and the stack: frames in as mbufs, frames out into mbufs in hand.
//!
//! What holds
//! - the stack may keep payload in the mbufs that frames came in; a quarter of the pool at most, so that a slow reader can't
//!   starve the NIC;
//! - frames go out as [`output`] and [`transmit`] say: no frame is made that has nowhere to go, what the TX ring does not take
//!   stays, in order, and what the NIC turns out not to do is done in software.
//!
//! No mbuf is allocated or freed one by one, and nothing here takes the shard's lock.

mod abilities;
mod memory;
mod output;
mod transmit;
mod watched;

use dpdk_net_rte::tsc::TscClock;
use dpdk_net_rte::{Mempool, QueuePair, RxBatch, RxMbuf, RxQueue};
use dpdk_net_stack::TxMemory;

use self::abilities::Abilities;
pub use self::memory::SendMemory;
pub(crate) use self::output::Output;
use self::transmit::Sender;
pub use self::transmit::Transmit;
use crate::capture::{Tap, Watch};
use crate::error::Error;

/// Frames a burst, received and sent.
pub const BURST: usize = 64;

/// Bytes of an Ethernet header with one VLAN tag.
pub(crate) const LINK_HEADER: usize = 18;

/// Bytes received at once, about: what a core's cache holds until they are read, and what is to be acknowledged before the
/// sender has nothing left to send. A burst of packets of 64 KiB is 4 MiB.
const BURST_BYTES: u64 = 256 * 1024;

/// Packets that every driver delivers at once if they are there.
const LEAST_BURST: usize = 8;

/// How many packets the next burst may have after one of so many, with so many bytes.
#[inline]
fn next_burst(packets: usize, bytes: u64) -> usize {
    if bytes <= packets as u64 * (BURST_BYTES / BURST as u64) {
        return BURST;
    }
    let most = BURST_BYTES * packets as u64 / bytes;
    // Many drivers deliver multiples of 4.
    (most as usize & !3).clamp(LEAST_BURST, BURST)
}

/// What a [`Device`] counted since it was last asked.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct DeviceCounts {
    pub(crate) no_mbufs: u64,
    /// Stocks of mbufs that came from the pool for all, as the own one had none.
    pub(crate) fallbacks: u64,
    pub(crate) ring_full: u64,
    pub(crate) not_contiguous: u64,
    pub(crate) oversize: u64,
    /// Packets handed to the NIC to be cut into segments.
    pub(crate) cut_by_nic: u64,
    /// Packets made in software that the driver did not take.
    pub(crate) redone: u64,
    /// Offloads (`RTE_ETH_TX_OFFLOAD_*`) that are done in software since.
    pub(crate) given_up: u64,
}

/// A queue pair with its mempool and the mbufs in hand.
pub(crate) struct Device {
    rx: RxQueue,
    sender: Sender,
    /// What the last burst received.
    received: RxBatch<BURST>,
    /// How many packets the next one may.
    burst: usize,
    output: Output,
}

/// What puts something in front of a TX queue.
pub(crate) type Interpose = Box<dyn FnOnce(Box<dyn Transmit>) -> Box<dyn Transmit> + Send>;

impl Device {
    /// Checks that one mbuf of each pool holds a frame of `mtu`.
    pub(crate) fn new(
        queues: QueuePair,
        pool: Mempool,
        fallback: Option<Mempool>,
        memory: Option<SendMemory>,
        mtu: u16,
        interpose: Option<Interpose>,
    ) -> Result<Self, Error> {
        let needed = usize::from(mtu) + LINK_HEADER;
        for pool in [Some(&pool), fallback.as_ref()].into_iter().flatten() {
            let room = pool.data_room().saturating_sub(Mempool::HEADROOM);
            if room < needed {
                return Err(Error::DataRoom {
                    pool: pool.name().to_owned(),
                    room,
                    mtu,
                    needed,
                });
            }
        }
        let QueuePair { rx, tx, .. } = queues;
        let tx: Box<dyn Transmit> = Box::new(tx);
        let tx = match interpose {
            Some(interpose) => interpose(tx),
            None => tx,
        };
        let abilities = Abilities::new(tx.capabilities(), mtu);
        Ok(Self {
            rx,
            sender: Sender::new(tx),
            received: RxBatch::new(),
            burst: BURST,
            output: Output::new((pool, fallback), memory, abilities),
        })
    }

    /// Where the stack writes bulk that is to be sent by reference, if the port takes it so.
    pub(crate) fn tx_memory(&self) -> Option<Box<dyn TxMemory>> {
        self.output.tx_memory()
    }

    /// Takes a burst off the RX queue; [`parts`](Self::parts) has it. Returns how many are there.
    #[inline]
    pub(crate) fn receive(&mut self) -> usize {
        let received = self.received.receive_up_to(&mut self.rx, self.burst);
        self.output.counts.not_contiguous += received.dropped as u64;
        if received.packets > 0 {
            self.burst = next_burst(received.packets, received.bytes);
        }
        received.packets
    }

    /// The received frames, the sink for what is to be sent, and who watches both.
    #[inline]
    pub(crate) fn parts(&mut self) -> (&[RxMbuf], &mut Output, Option<&mut Watch>) {
        let watch = self.sender.tx.watch.as_deref_mut();
        (self.received.as_slice(), &mut self.output, watch)
    }

    /// Has these watch from now on, and lets those go that have enough.
    #[cold]
    pub(crate) fn watch(&mut self, taps: Vec<Tap>, clock: TscClock) {
        let watch = &mut self.sender.tx.watch;
        let mut all = watch.take().unwrap_or_else(|| Box::new(Watch::new(clock)));
        *watch = all.change(taps).then_some(all);
    }

    /// The received frames, to be taken, and the pool for copies of some.
    pub(crate) fn strays(&mut self) -> (&mut RxBatch<BURST>, &Mempool) {
        (&mut self.received, self.output.pool())
    }

    /// Gives the received frames back to their pool, except for what the stack has kept.
    #[inline]
    pub(crate) fn release(&mut self) {
        self.received.clear();
    }

    /// Offers what is waiting to the TX ring, at this time; returns how many it took.
    #[inline]
    pub(crate) fn transmit(&mut self, nanos: u64) -> usize {
        self.sender.transmit(&mut self.output, nanos)
    }

    /// Whether frames wait for the TX ring.
    pub(crate) fn has_unsent(&self) -> bool {
        !self.output.unsent.is_empty() || !self.sender.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bursts_of_large_packets_are_short_and_others_full() {
        let next = |packets, size| next_burst(packets, packets as u64 * size);
        for size in [60, 1_514, 4_096] {
            assert_eq!((next(1, size), next(64, size)), (BURST, BURST));
        }
        assert_eq!(next(64, 9_014), 28);
        assert_eq!(next(28, 9_014), 28);
        assert_eq!(
            (next(64, 65_549), next(8, 65_549)),
            (LEAST_BURST, LEAST_BURST)
        );
        assert_eq!(next(64, 700_000), LEAST_BURST);
    }
}
