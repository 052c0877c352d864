//! Ports: bringing one up in the order that DPDK wants, and controlling it.
//!
//! The type of a [`Port`] says what it is in: [`Unconfigured`], [`Configured`], [`Started`]. A step that is
//! out of order does not compile; one that the driver refuses gives the port back with the error
//! ([`Refused`]). Queues are taken from a started port; they, the port and its [`PortControl`] handles all
//! keep it open, and the last one to go stops and closes it.
//!
//! ```no_run
//! use dpdk_net_rte::{Eal, Error, Mempool, MbufBatch, Port, PortConfig};
//!
//! # fn main() -> Result<(), Error> {
//! let eal = Eal::builder("example").no_huge().no_pci().vdev("net_null0").init()?;
//! let pool = Mempool::builder(&eal, "packets").build()?;
//! let port = Port::open(&eal, "net_null0")?;
//! let port = port.configure(&PortConfig::default(), &[pool])?;
//! let port = port.start()?;
//! let mut queue = port.take_queues()?.remove(0);
//! let mut batch: MbufBatch = MbufBatch::new();
//! while queue.rx.rx_burst(&mut batch) > 0 {
//!     queue.tx.tx_burst(&mut batch);
//!     batch.clear(); // What was not sent is dropped.
//! }
//! # Ok(())
//! # }
//! ```
//!
//! A started port can't be configured, and one that was not started has no queues:
//!
//! ```compile_fail,E0599
//! # use dpdk_net_rte::{Eal, Port};
//! # fn f(eal: Eal) -> Result<(), dpdk_net_rte::Error> {
//! let port = Port::open(&eal, "net_null0")?;
//! port.start()?; // no method named `start` found for `Port<Unconfigured>`
//! # Ok(()) }
//! ```
//!
//! What does not live here: bursts ([`crate::queue`]).

mod config;
mod control;
pub(crate) mod info;
pub(crate) mod inner;
mod negotiate;
mod offloads;
mod rss;
mod stats;
pub(crate) mod tx_rules;

use core::fmt;
use core::marker::PhantomData;
use core::ops::Deref;
use std::sync::Arc;

pub use self::config::PortConfig;
pub use self::control::{LinkStatus, PortControl};
pub use self::info::{DescriptorLimits, PortId, PortInfo, PortSelector};
use self::inner::{Inner, Slot};
pub use self::negotiate::{Offload, OffloadEntry, OffloadRequest, Offloads, UnknownOffload, Wish};
pub use self::offloads::{RxOffloads, TxOffloads};
pub use self::rss::{Reta, RssKey, RssPlan, RssRequest, RssScope, RssTypes, Spreader, Traffic};
pub use self::stats::{PortStats, QueueStats};
pub use self::tx_rules::TxCapabilities;
use crate::queue::{QueuePair, RxQueue, TxQueue};
use crate::{Eal, Error, Mempool};

/// State of a [`Port`]: opened.
#[derive(Debug, Clone, Copy)]
pub enum Unconfigured {}

/// State of a [`Port`]: its queues are set up, it neither receives nor sends.
#[derive(Debug, Clone, Copy)]
pub enum Configured {}

/// State of a [`Port`]: it receives and sends.
#[derive(Debug, Clone, Copy)]
pub enum Started {}

/// An open port. All that [`PortControl`] offers is there as well.
///
/// A port can be opened once at a time. When it, its queues and its control handles are gone, it is stopped
/// and closed; DPDK then forgets the device, and only a virtual one can be had again
/// ([`Eal::create_vdev`]).
pub struct Port<S> {
    control: PortControl,
    state: PhantomData<fn() -> S>,
}

/// A step that was refused: the port as it was before, and why.
///
/// Turns into the [`Error`] alone by `?`, which drops the port and so closes it.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Refused<S: fmt::Debug> {
    /// The port, in the state it was in.
    pub port: Port<S>,
    /// Why.
    #[source]
    pub error: Error,
}

impl<S: fmt::Debug> From<Refused<S>> for Error {
    fn from(refused: Refused<S>) -> Self {
        refused.error
    }
}

impl<S> Port<S> {
    fn from_inner(inner: Arc<Inner>) -> Self {
        Self {
            control: PortControl::new(inner),
            state: PhantomData,
        }
    }

    /// The same port in another state.
    fn into_state<T>(self) -> Port<T> {
        Port {
            control: self.control,
            state: PhantomData,
        }
    }

    /// A handle to control the port by, from any thread.
    pub fn control(&self) -> PortControl {
        self.control.clone()
    }

    fn inner(&self) -> &Arc<Inner> {
        self.control.inner()
    }

    /// What a queue of it holds.
    #[cfg(test)]
    pub(crate) fn inner_for_tests(&self) -> Arc<Inner> {
        Arc::clone(self.inner())
    }
}

impl<S> Deref for Port<S> {
    type Target = PortControl;

    fn deref(&self) -> &PortControl {
        &self.control
    }
}

impl<S> fmt::Debug for Port<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Port")
            .field("id", &self.id())
            .field("name", &self.name())
            .field("state", &core::any::type_name::<S>().rsplit("::").next())
            .finish()
    }
}

impl Port<Unconfigured> {
    /// Opens a port, by number ([`PortId`]) or by the name of its device.
    ///
    /// # Errors
    /// [`Error::NoSuchPort`] where there is none (any more), [`Error::PortAlreadyOpen`] where it is in use.
    pub fn open<'a>(eal: &Eal, port: impl Into<PortSelector<'a>>) -> Result<Self, Error> {
        let selector = port.into();
        match info::find(eal, selector) {
            Some(id) => Inner::open(eal, id).map(Self::from_inner),
            None => Err(Error::NoSuchPort {
                port: match selector {
                    PortSelector::Id(id) => id.to_string(),
                    PortSelector::Name(name) => format!("port {name:?}"),
                },
                known: eal
                    .ports()
                    .iter()
                    .map(|port| format!("{} ({})", port.id, port.name))
                    .collect::<Vec<_>>()
                    .join(", "),
            }),
        }
    }

    /// Sets the port and its queues up. `mempools` has a pool for each receive queue, or one for all.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] where the port can't give what is asked or the pools' mbufs are too small
    /// for the MTU; [`Error::Dpdk`] where the driver refuses. The port comes back with it.
    pub fn configure(
        self,
        config: &PortConfig,
        mempools: &[Mempool],
    ) -> Result<Port<Configured>, Refused<Unconfigured>> {
        match self.inner().configure(config, mempools) {
            Ok(()) => Ok(self.into_state()),
            Err(error) => Err(Refused { port: self, error }),
        }
    }
}

impl Port<Configured> {
    /// Goes back, to configure the port differently.
    pub fn unconfigure(self) -> Port<Unconfigured> {
        self.into_state()
    }

    /// Starts to receive and send.
    ///
    /// # Errors
    /// [`Error::Dpdk`] where the driver refuses. The port comes back with it.
    pub fn start(self) -> Result<Port<Started>, Refused<Configured>> {
        match self.inner().start() {
            Ok(()) => Ok(self.into_state()),
            Err(error) => Err(Refused { port: self, error }),
        }
    }
}

impl Port<Started> {
    /// Takes all queues, as pairs of the same number.
    ///
    /// # Errors
    /// [`Error::QueueTaken`] where one is out already, [`Error::InvalidArgument`] where the port has more
    /// queues one way than the other; no queue is taken then.
    pub fn take_queues(&self) -> Result<Vec<QueuePair>, Error> {
        let (rx, tx) = self.queue_counts();
        if rx != tx {
            return Err(Error::InvalidArgument {
                what: format!("queue pairs of {}", self.inner().subject()),
                problem: format!(
                    "{rx} receive and {tx} transmit queues don't pair up: take them by `take_rx` and `take_tx`"
                ),
            });
        }
        (0..rx)
            .map(|queue| {
                Ok(QueuePair {
                    rx: self.take_rx(queue)?,
                    tx: self.take_tx(queue)?,
                })
            })
            .collect()
    }

    /// Takes a receive queue. Dropping it gives it back.
    ///
    /// # Errors
    /// [`Error::NoSuchQueue`], or [`Error::QueueTaken`] where somebody has it.
    pub fn take_rx(&self, queue: u16) -> Result<RxQueue, Error> {
        let inner = self.inner();
        let control = inner.lock();
        let slot = self.take(&control.setup.rx, queue, "receive")?;
        let pool = control.setup.pools[usize::from(queue)].clone();
        // SAFETY: the slot of this queue was just taken, on a started port, and `pool` is the queue's.
        Ok(unsafe { RxQueue::new(Arc::clone(inner), queue, slot, pool) })
    }

    /// Takes a transmit queue. Dropping it gives it back.
    ///
    /// # Errors
    /// [`Error::NoSuchQueue`], or [`Error::QueueTaken`] where somebody has it.
    pub fn take_tx(&self, queue: u16) -> Result<TxQueue, Error> {
        let inner = self.inner();
        let control = inner.lock();
        let slot = self.take(&control.setup.tx, queue, "transmit")?;
        let rules = control.setup.tx_rules;
        let only = control.setup.only_pool(queue);
        // SAFETY: the slot of this queue was just taken, on a started port, whose rules and pool these are.
        Ok(unsafe { TxQueue::new(Arc::clone(inner), queue, slot, rules, only) })
    }

    fn take(
        &self,
        slots: &[Arc<Slot>],
        queue: u16,
        direction: &'static str,
    ) -> Result<Arc<Slot>, Error> {
        let port = || self.inner().subject();
        let slot = slots
            .get(usize::from(queue))
            .ok_or_else(|| Error::NoSuchQueue {
                port: port(),
                queue,
                direction,
                count: slots.len(),
            })?;
        if slot.take() {
            Ok(Arc::clone(slot))
        } else {
            Err(Error::QueueTaken {
                port: port(),
                queue,
                direction,
            })
        }
    }

    /// Stops receiving and sending. The queues must be back: drop them first. Flow rules are destroyed.
    ///
    /// # Errors
    /// [`Error::QueuesInUse`] where they are not, [`Error::Dpdk`] where the driver refuses. The port comes
    /// back with it, still started.
    pub fn stop(self) -> Result<Port<Configured>, Refused<Started>> {
        match self.inner().stop() {
            Ok(()) => Ok(self.into_state()),
            Err(error) => Err(Refused { port: self, error }),
        }
    }
}
