//! Queues: receiving and sending packets in bursts.
//!
//! What holds, and the `unsafe` blocks here rely on:
//!
//! 1. A queue holds its port's `Inner`, on which its `Slot` is taken: the port is open and started, and
//!    nobody else has this queue. It can be sent to another thread but not shared.
//! 2. What `rx_burst` delivers satisfies the invariants of [`Mbuf`](crate::Mbuf): packets that do not are
//!    copied, or counted and dropped.
//! 3. Packets that `tx_burst` hands to the driver are of pools that the port's keeper holds, and refer to
//!    buffers of such pools only.
//!
//! What does not live here: bringing a port up ([`crate::port`]), and who polls which queue.

mod rx;
mod tx;

pub use self::rx::RxQueue;
pub use self::tx::{TxPrepareError, TxQueue};

/// A receive queue and the transmit queue of the same number.
#[derive(Debug)]
pub struct QueuePair {
    /// The receive queue.
    pub rx: RxQueue,
    /// The transmit queue.
    pub tx: TxQueue,
}

#[cfg(test)]
mod tests;
