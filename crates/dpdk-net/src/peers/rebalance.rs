//! Rebalancing: where some queues have more to do than others, entries of the redirection table go to other queues, and their
//! connections with them.
//!
//! The table changes first, then connections move; what comes in between is handed over. Some at a time: the rest follows with
//! the next step, and so does a connection that has moved before and whose task has not used it since.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use dpdk_net_packet::{FiveTuple, Protocol};
use dpdk_net_rte::PortControl;
use dpdk_net_rte::port::Reta;
use dpdk_net_stack::TcpConnection;

use super::path::Loads;
use super::{PeersControl, Shared};
use crate::error::Error;
use crate::handle::Handle;

/// The redirection table of a port, or a model of one.
pub trait RedirectionTable {
    /// The table as it is; `None` where there is none.
    ///
    /// # Errors
    /// The driver's refusal to tell.
    fn reta(&self) -> Result<Option<Reta>, Error>;

    /// Changes it.
    ///
    /// # Errors
    /// The driver's refusal; the table is as it was.
    fn set_reta(&self, reta: &Reta) -> Result<(), Error>;
}

impl RedirectionTable for PortControl {
    fn reta(&self) -> Result<Option<Reta>, Error> {
        Ok(Self::reta(self)?)
    }

    fn set_reta(&self, reta: &Reta) -> Result<(), Error> {
        Ok(Self::set_reta(self, reta)?)
    }
}

/// What a [`Rebalancer::step`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rebalanced {
    /// Entries of the table that went to other queues.
    pub entries: usize,
    /// Connections that moved.
    pub connections: usize,
}

/// Moves entries of a port's redirection table, and the connections that they bring, from busy queues to others.
///
/// It needs counts of what comes to each entry ([`PeersConfig::count_loads`](super::PeersConfig::count_loads)) and a port whose hash
/// is known ([`RssPlan::hash`](dpdk_net_rte::port::RssPlan::hash)).
pub struct Rebalancer<T> {
    table: T,
    shared: Arc<Shared>,
    handles: Vec<Handle>,
    /// What was counted, when last looked at.
    loads: Option<Arc<Loads>>,
    last: Vec<u64>,
    /// Entries that were moved, whose connections may not all have followed.
    moved: HashSet<usize>,
    /// Whether some have not.
    behind: bool,
}

impl<T> fmt::Debug for Rebalancer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rebalancer")
            .field("queues", &self.handles.len())
            .finish_non_exhaustive()
    }
}

/// Connections that move to another worker in one step, of each worker.
const AT_ONCE: usize = 512;

impl<T: RedirectionTable> Rebalancer<T> {
    /// For these workers ([`Peer::control`](super::Peer::control)), whose handles are given by the numbers of their queues.
    pub fn new(control: PeersControl, handles: Vec<Handle>, table: T) -> Self {
        Self {
            table,
            shared: control.0,
            handles,
            loads: None,
            last: Vec::new(),
            moved: HashSet::new(),
            behind: false,
        }
    }

    /// Looks at what has come since the last step, and changes the table if a queue has more than 9/8 of its share
    /// ([`Reta::rebalance`]). The first step only looks, and so does the first after RSS hashes otherwise. To be called once in a while,
    /// a second, say.
    ///
    /// # Errors
    /// [`Error::CannotRebalance`] where nothing is counted; the driver's refusals.
    pub fn step(&mut self) -> Result<Rebalanced, Error> {
        let Some(loads) = self.shared.loads.get() else {
            return Err(Error::CannotRebalance(
                "what comes to each entry of the redirection table is not counted: set PeersConfig::count_loads, on a port whose RSS hash is known",
            ));
        };
        let totals = loads.totals();
        let known = self.loads.as_ref();
        if !known.is_some_and(|known| Arc::ptr_eq(known, &loads)) {
            // Entries of another hash bring other connections.
            self.moved.clear();
            self.behind = false;
            (self.loads, self.last) = (Some(loads), totals);
            return Ok(Rebalanced::default());
        }
        let since = |(now, before): (&u64, &u64)| now.saturating_sub(*before);
        let lately: Vec<u64> = totals.iter().zip(&self.last).map(since).collect();
        self.last = totals;
        let Some(old) = self.table.reta()? else {
            return Err(Error::CannotRebalance("the port has no redirection table"));
        };
        if self.handles.iter().any(Handle::is_closing) {
            return Err(Error::CannotRebalance("a worker is ending"));
        }
        let queues = u16::try_from(self.handles.len()).unwrap_or(u16::MAX);
        let new = old.rebalance(&lately, queues, |_| true)?;
        let pairs = old.queues().iter().zip(new.queues()).enumerate();
        let moves = pairs.filter(|(_, (from, to))| from != to);
        let moves: Vec<usize> = moves.map(|(entry, _)| entry).collect();
        if !moves.is_empty() {
            self.table.set_reta(&new)?;
            self.shared.path.set_reta(&new);
        }
        if moves.is_empty() && !self.behind {
            return Ok(Rebalanced::default());
        }
        self.moved.extend(&moves);
        let connections = self.follow(&loads, new.queues());
        tracing::debug!(entries = moves.len(), connections, "rebalanced");
        Ok(Rebalanced {
            entries: moves.len(),
            connections,
        })
    }

    /// Moves connections of entries that were moved to where their packets come now; tells how many those were.
    fn follow(&mut self, loads: &Loads, table: &[u16]) -> usize {
        let mut connections = 0;
        self.behind = false;
        for (queue, handle) in self.handles.iter().enumerate() {
            let target = |connection: &TcpConnection| {
                let entry = loads.entry_of(&FiveTuple {
                    protocol: Protocol::Tcp,
                    src: connection.peer,
                    dst: connection.local,
                })?;
                let queue_now = usize::from(*table.get(entry)?);
                let follows = self.moved.contains(&entry) && queue_now != queue;
                follows.then(|| self.handles.get(queue_now)).flatten()
            };
            let (moved, left) = handle.disperse(AT_ONCE, target);
            connections += moved;
            self.behind |= left > 0;
        }
        connections
    }
}
