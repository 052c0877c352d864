//! The stacks of all queues of a port, as one: what is changed is changed in each.

use std::net::IpAddr;

use dpdk_net_stack::{
    AddressState, Duration, IfAddr, Instant, Lifetimes, Limits, Neighbor, Route, Stack, TcpConfig,
};

use crate::error::Error;
use crate::handle::Handle;

/// A lease for ever is one for 136 years to a stack: what has no end at all was configured.
const LONG: Duration = Duration::from_secs(u32::MAX as u64);

/// The stacks of these queues.
#[derive(Clone, Copy)]
pub(crate) struct Stacks<'a>(pub(crate) &'a [Handle]);

impl Stacks<'_> {
    /// Does the same to each. They are alike, so what one refuses all do; the first refusal is told.
    fn each(
        &self,
        mut change: impl FnMut(&mut Stack, Instant) -> Result<(), dpdk_net_stack::Error>,
    ) -> Result<(), Error> {
        let mut result = Ok(());
        for handle in self.0 {
            let changed = handle.with(|state| change(&mut state.stack, state.now));
            result = result.and(changed.map_err(Error::Stack));
        }
        result
    }

    /// The link has come up again: it may be another one.
    pub(crate) fn link_changed(&self) {
        for handle in self.0 {
            handle.with(|state| state.stack.link_changed(state.now));
        }
    }

    pub(crate) fn add_address(
        &self,
        vlan: u16,
        address: IfAddr,
        lifetimes: Lifetimes,
    ) -> Result<(), Error> {
        self.each(|stack, now| stack.add_address(now, vlan, address, lifetimes))
    }

    /// A leased address, with lifetimes that are counted from `since`.
    pub(crate) fn lease_address(
        &self,
        vlan: u16,
        address: IfAddr,
        since: Instant,
        lifetimes: Lifetimes,
    ) -> Result<(), Error> {
        self.each(|stack, now| {
            let left = |time: Duration| {
                let until = since + time.min(LONG);
                until.saturating_duration_since(now)
            };
            let lifetimes = Lifetimes {
                preferred: left(lifetimes.preferred),
                valid: left(lifetimes.valid),
            };
            stack.lease_address(now, vlan, address, lifetimes)
        })
    }

    pub(crate) fn remove_address(&self, vlan: u16, addr: IpAddr) -> Result<(), Error> {
        self.each(|stack, now| stack.remove_address(now, vlan, addr))
    }

    /// One that was configured as well stays.
    pub(crate) fn end_lease(&self, vlan: u16, addr: IpAddr) -> Result<(), Error> {
        self.each(|stack, now| stack.end_lease(now, vlan, addr))
    }

    /// A leased route: it ends with [`end_leased_route`](Self::end_leased_route).
    pub(crate) fn lease_route(&self, route: Route) -> Result<(), Error> {
        self.each(|stack, now| stack.lease_route(now, route, Duration::MAX))
    }

    pub(crate) fn end_leased_route(&self, route: &Route) -> Result<(), Error> {
        self.each(|stack, _| stack.end_leased_route(route))
    }

    pub(crate) fn add_route(&self, route: Route, lifetime: Duration) -> Result<(), Error> {
        self.each(|stack, now| stack.add_route(now, route, lifetime))
    }

    pub(crate) fn remove_route(&self, route: &Route) -> Result<(), Error> {
        self.each(|stack, _| stack.remove_route(route))
    }

    pub(crate) fn set_neighbor(&self, neighbor: Neighbor) -> Result<(), Error> {
        self.each(|stack, _| stack.set_neighbor(neighbor))
    }

    /// Whether there was such a neighbour.
    pub(crate) fn remove_neighbor(&self, vlan: u16, addr: IpAddr) -> bool {
        let forget =
            |handle: &Handle| handle.with(|state| state.stack.remove_vlan_neighbor(vlan, addr));
        self.0
            .iter()
            .fold(false, |known, handle| known | forget(handle))
    }

    pub(crate) fn reconfigure(&self, limits: &Limits, tcp: &TcpConfig) -> Result<(), Error> {
        self.each(|stack, _| stack.reconfigure(limits, tcp))
    }

    pub(crate) fn set_ipv4_mtu(&self, vlan: u16, mtu: Option<u16>) -> Result<(), Error> {
        self.each(|stack, _| stack.set_ipv4_mtu(vlan, mtu))
    }

    /// What has become of an address: in use once it is in all stacks, somebody else's if one says so. `None` if one
    /// does not have it.
    pub(crate) fn state_of(&self, vlan: u16, addr: IpAddr) -> Option<AddressState> {
        let state = |handle: &Handle| {
            let all = handle.with(|state| state.stack.interface_addresses());
            let own = all
                .iter()
                .find(|it| it.vlan == vlan && it.address.addr == addr);
            own.map(|own| own.state)
        };
        let states: Option<Vec<AddressState>> = self.0.iter().map(state).collect();
        let states = states?;
        if states.contains(&AddressState::Duplicate) {
            return Some(AddressState::Duplicate);
        }
        if states.contains(&AddressState::Tentative) {
            return Some(AddressState::Tentative);
        }
        states.first().copied()
    }
}
