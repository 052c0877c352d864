//! Safe and sound DPDK for Rust.
//!
//! Everything starts with an [`Eal`]: [`Eal::builder`] collects the options, [`EalBuilder::init`] starts DPDK once in
//! the process, and each object of this crate holds a clone of the handle, so that DPDK is cleaned up when the last
//! of them is gone and not before.
//!
//! What safe code can't do here, by ownership and types rather than by documentation:
//! - use DPDK before it is started or after it is cleaned up: every object holds an [`Eal`];
//! - run a function on an lcore that outlives what it borrows: a launched closure is `'static`, or its
//!   [`Scope`](lcore::Scope) waits for it;
//! - share a queue between threads, make a queue from two integers, or use a port that is closed;
//! - free a mempool whose mbufs are still about.
//!
//! What does not live here: protocols (`dpdk-net-packet`, `dpdk-net-stack`), and any policy on cores, queues and
//! tasks (`dpdk-net`).

pub mod batch;
pub mod eal;
mod error;
pub mod flow;
pub mod lcore;
pub mod log;
pub mod mbuf;
pub mod mbuf_ring;
pub mod mempool;
pub mod port;
pub mod queue;
pub mod received;
pub mod ring;
#[cfg(doctest)]
mod rules;
mod socket;
pub mod telemetry;
#[cfg(test)]
mod test_eal;
pub mod thread;
pub mod tsc;
pub mod tx_buf;
pub mod tx_mbuf;
mod vdev;

pub use batch::{MbufBatch, TxBatch};
pub use eal::{Eal, EalBuilder, IovaMode};
pub use error::{Errno, Error};
pub use lcore::{Lcore, LcoreId};
pub use mbuf::Mbuf;
pub use mbuf_ring::{MbufReceiver, MbufSender};
pub use mempool::{Mempool, NoMbufs};
pub use port::{Port, PortConfig, PortControl, PortId};
pub use queue::{QueuePair, RxQueue, TxQueue};
pub use received::{RxBatch, RxMbuf, RxSegment};
pub use socket::SocketId;
pub use thread::ThreadRegistration;
pub use tx_buf::TxBuf;
pub use tx_mbuf::{NoReference, TxMbuf};
