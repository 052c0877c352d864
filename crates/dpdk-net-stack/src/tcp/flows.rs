//! All connections of a stack, by their ids.
//!
//! A connection on which nothing is amiss is [calm](super::fast): a request and its response touch the [`Flow`] alone, and
//! what congestion control should know of them is put down there. [`get_mut`](Flows::get_mut) ends that first, so that
//! whoever changes a connection sees all of its state; those few that keep it calm ask for
//! [`as_it_is`](Flows::as_it_is).

use super::flow::Flow;
use super::{Nanos, TcpState};
use crate::event::TcpId;
use crate::listing::{ListPage, ListPlace, Listed};

/// The connections.
#[derive(Debug)]
pub(crate) struct Flows {
    map: Listed<TcpId, Flow>,
    nanos: Nanos,
    /// How many there are in each state.
    states: [usize; STATES],
}

/// One more than the last state's number.
const STATES: usize = TcpState::TimeWait as usize + 1;

impl Flows {
    pub(crate) fn new(nanos: Nanos) -> Self {
        Flows {
            map: Listed::new(),
            nanos,
            states: [0; STATES],
        }
    }

    /// To be looked at only.
    #[inline(always)]
    pub(crate) fn get(&self, id: TcpId) -> Option<&Flow> {
        self.map.get(id)
    }

    /// To be changed: it is not calm any more.
    #[inline]
    pub(crate) fn get_mut(&mut self, id: TcpId) -> Option<&mut Flow> {
        let flow = self.map.get_mut(id)?;
        if flow.is_calm() {
            flow.rouse(&self.nanos);
        }
        Some(flow)
    }

    /// To be changed in a way that keeps it calm if it is.
    #[inline(always)]
    pub(crate) fn as_it_is(&mut self, id: TcpId) -> Option<&mut Flow> {
        self.map.get_mut(id)
    }

    pub(crate) fn contains_key(&self, id: TcpId) -> bool {
        self.map.contains_key(id)
    }

    pub(crate) fn len(&self) -> usize {
        self.map.len()
    }

    pub(crate) fn keys(&self) -> impl Iterator<Item = TcpId> {
        self.map.keys()
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &Flow> {
        self.map.values()
    }

    pub(crate) fn insert_with_key(&mut self, make: impl FnOnce(TcpId) -> Flow) -> TcpId {
        let states = &mut self.states;
        self.map.insert_with_key(|id| {
            let flow = make(id);
            states[flow.state as usize] += 1;
            flow
        })
    }

    pub(crate) fn remove(&mut self, id: TcpId) -> Option<Flow> {
        let flow = self.map.remove(id)?;
        self.states[flow.state as usize] -= 1;
        Some(flow)
    }

    /// Some of them from a place on, as they are told.
    pub(crate) fn page<T>(
        &self,
        from: ListPlace,
        most: usize,
        tell: impl Fn(&Flow) -> T,
    ) -> ListPage<(TcpId, T)> {
        self.map.page(from, most, |_, flow| tell(flow))
    }

    /// How many places its pages have looked at so far.
    #[cfg(test)]
    pub(crate) fn looks(&self) -> usize {
        self.map.looks()
    }

    /// A connection has gone from one state to another: whoever changes it says so, once for all steps.
    pub(crate) fn moved(&mut self, from: TcpState, to: TcpState) {
        self.states[from as usize] -= 1;
        self.states[to as usize] += 1;
    }

    /// How many there are in a state.
    pub(crate) fn in_state(&self, state: TcpState) -> usize {
        debug_assert_eq!(
            self.states[state as usize],
            self.values().filter(|flow| flow.state == state).count(),
            "{state:?}"
        );
        self.states[state as usize]
    }
}
