//! Rebalancing: where some queues have more to do than others, entries of the redirection table go to other queues, and their
//! connections with them.
//!
//! Connections move first, then the table changes, then those move that have come in between. What is on its way meanwhile is
//! handed over. So no connection is ever at another queue than its packets for longer than that.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use dpdk_net_packet::{FiveTuple, Protocol};
use dpdk_net_rte::PortControl;
use dpdk_net_rte::port::Reta;
use dpdk_net_stack::TcpConnection;

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
    last: Vec<u64>,
}

impl<T> fmt::Debug for Rebalancer<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rebalancer")
            .field("queues", &self.handles.len())
            .finish_non_exhaustive()
    }
}

/// Which queue an entry's packets came to, and come to from now on.
type Moves = HashMap<usize, (u16, u16)>;

impl<T: RedirectionTable> Rebalancer<T> {
    /// For these workers ([`Peer::control`](super::Peer::control)), whose handles are given by the numbers of their queues.
    pub fn new(control: PeersControl, handles: Vec<Handle>, table: T) -> Self {
        Self {
            table,
            shared: control.0,
            handles,
            last: Vec::new(),
        }
    }

    /// Looks at what has come since the last step, and changes the table if a queue has more than 9/8 of its share
    /// ([`Reta::rebalance`]). The first step only looks. To be called once in a while, a second, say.
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
        let since = |(now, before): (&u64, &u64)| now.saturating_sub(*before);
        let lately: Vec<u64> = totals.iter().zip(&self.last).map(since).collect();
        let first = self.last.is_empty();
        self.last = totals;
        if first {
            return Ok(Rebalanced::default());
        }
        let Some(old) = self.table.reta()? else {
            return Err(Error::CannotRebalance("the port has no redirection table"));
        };
        let queues = u16::try_from(self.handles.len()).unwrap_or(u16::MAX);
        let new = old.rebalance(&lately, queues, |_| true)?;
        let pairs = old.queues().iter().zip(new.queues()).enumerate();
        let moves: Moves = pairs
            .filter(|(_, (from, to))| from != to)
            .map(|(entry, (from, to))| (entry, (*from, *to)))
            .collect();
        if moves.is_empty() {
            return Ok(Rebalanced::default());
        }
        let mut connections = self.migrate(&moves);
        self.table.set_reta(&new)?;
        self.shared.path.set_reta(&new);
        connections += self.migrate(&moves);
        tracing::debug!(entries = moves.len(), connections, "rebalanced");
        Ok(Rebalanced {
            entries: moves.len(),
            connections,
        })
    }

    /// Moves the connections of these entries; tells how many those were.
    fn migrate(&self, moves: &Moves) -> usize {
        let Some(loads) = self.shared.loads.get() else {
            return 0;
        };
        let move_of = |connection: &TcpConnection| {
            let flow = FiveTuple {
                protocol: Protocol::Tcp,
                src: connection.peer,
                dst: connection.local,
            };
            moves.get(&loads.entry_of(&flow)?).copied()
        };
        let mut ways: Vec<(u16, u16)> = moves.values().copied().collect();
        ways.sort_unstable();
        ways.dedup();
        let mut moved = 0;
        for way in ways {
            let handle = |queue: u16| self.handles.get(usize::from(queue));
            if let (Some(from), Some(to)) = (handle(way.0), handle(way.1)) {
                moved += from.migrate(to, usize::MAX, |it| move_of(it) == Some(way));
            }
        }
        moved
    }
}
