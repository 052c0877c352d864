//! What a stack tells of its interfaces and their neighbours, and groups that are joined on them.

use alloc::vec::Vec;
use core::net::IpAddr;

use dpdk_net_packet::MacAddr;

use crate::config::IfAddr;
use crate::error::Error;
use crate::event::UdpId;
use crate::iface::{AddressState, Interface};
use crate::interfaces::{Hop, IfIndex, NextHop, Way};
use crate::listing::{ListPage, ListPlace};
use crate::neighbor::NeighborInfo;
use crate::news::Decision;
use crate::source;
use crate::stack::Stack;

/// The interfaces and their surroundings.
impl Stack {
    /// The addresses of all interfaces, link-local ones included, whatever their state. Those of the port itself come first.
    pub fn addresses(&self) -> Vec<IfAddr> {
        let states = self.address_states();
        states.into_iter().map(|(addr, _)| addr).collect()
    }

    /// The addresses of all interfaces and whether they may be used.
    pub fn address_states(&self) -> Vec<(IfAddr, AddressState)> {
        let interfaces = self.link.ifaces.iter();
        interfaces.flat_map(|(_, it)| it.addresses()).collect()
    }

    /// The addresses of one interface and whether they may be used: of a VLAN, or of the port itself for 0. None if there is
    /// no such VLAN.
    pub fn vlan_address_states(&self, vlan: u16) -> Vec<(IfAddr, AddressState)> {
        let at = self.link.ifaces.by_vlan(vlan);
        let interface = at.map(|at| self.link.ifaces.get(at));
        interface
            .into_iter()
            .flat_map(|it| it.addresses())
            .collect()
    }

    /// The ids of the VLANs that there are interfaces of.
    pub fn vlans(&self) -> Vec<u16> {
        let interfaces = self.link.ifaces.iter().skip(1);
        interfaces.map(|(_, interface)| interface.vlan).collect()
    }

    /// Whether no address is being probed any more (see `Config::dad`).
    pub fn is_settled(&self) -> bool {
        self.link.ifaces.is_settled()
    }

    /// All neighbours known or asked for.
    pub fn neighbors(&self) -> Vec<NeighborInfo> {
        let mut all = Vec::new();
        let mut from = Some(ListPlace::START);
        while let Some(place) = from {
            let page = self.neighbor_infos(place);
            all.extend(page.entries);
            from = page.next;
        }
        all
    }

    /// Neighbours known or asked for, in pages of 512 at most: from [`ListPlace::START`] on, or from where the page before says that
    /// the list goes on.
    pub fn neighbor_infos(&self, from: ListPlace) -> ListPage<NeighborInfo> {
        let (neighbors, next) = self.link.neighbors(self.now, from);
        let entries = neighbors.collect();
        ListPage { entries, next }
    }

    /// Whether packets wait for a neighbour to say what its MAC address is.
    pub fn awaits_neighbors(&self) -> bool {
        self.link.neighbors.has_pending()
    }

    /// Enters a neighbour of the untagged network that is not asked for and never expires. `false` if there is no room for it.
    pub fn add_neighbor(&mut self, addr: IpAddr, mac: MacAddr) -> bool {
        self.add_vlan_neighbor(0, addr, mac)
    }

    /// Forgets a neighbour of the untagged network, entered by hand or not; `false` if it was not known.
    pub fn remove_neighbor(&mut self, addr: IpAddr) -> bool {
        self.remove_vlan_neighbor(0, addr)
    }

    /// As [`remove_neighbor`](Self::remove_neighbor), in a VLAN.
    pub fn remove_vlan_neighbor(&mut self, vlan: u16, addr: IpAddr) -> bool {
        let at = self.link.ifaces.by_vlan(vlan);
        at.is_some_and(|at| self.link.neighbors.remove(Hop { at, addr }))
    }

    /// Puts addresses of one host in the order in which they are to be tried (RFC 6724 section 6): those last to which there is no
    /// route, or from no address of ours.
    pub fn sort_destinations(&self, destinations: &mut [IpAddr]) {
        let ifaces = &self.link.ifaces;
        source::order(destinations, |dst| {
            let way = Way::to(dst, 0);
            let is_routed = ifaces.next_hop(&way) != NextHop::NoRoute;
            is_routed.then(|| ifaces.source_for(&way)).flatten()
        });
    }

    /// The VLAN whose interface has this address, 0 for the port itself; `None` if none has. Of link-local addresses it is
    /// the first that does.
    pub fn vlan_of(&self, addr: IpAddr) -> Option<u16> {
        let mut interfaces = self.link.ifaces.iter();
        let has = |(_, interface): &(_, &Interface)| interface.state_of(addr).is_some();
        interfaces.find(has).map(|(_, interface)| interface.vlan)
    }
}

/// Groups of UDP sockets.
impl Stack {
    /// The VLAN by whose interface datagrams to groups leave where neither the scope id of the group nor what the socket is
    /// bound to tells (`IP_MULTICAST_IF`). 0, as at first, leaves it to the routes; without one it is the port itself.
    ///
    /// Errors: `AddrNotAvailable` if there is no such VLAN.
    pub fn udp_set_multicast_vlan(&mut self, id: UdpId, vlan: u16) -> Result<(), Error> {
        self.udp.set_multicast_vlan(&self.link.ifaces, id, vlan)
    }

    /// The VLAN that [`udp_set_multicast_vlan`](Self::udp_set_multicast_vlan) set.
    pub fn udp_multicast_vlan(&self, id: UdpId) -> Result<u16, Error> {
        self.udp.multicast_vlan(id).ok_or(Error::UnknownSocket)
    }

    /// Joins a group on the interface that the routes lead to, or else on the port itself: its datagrams are received by
    /// this socket.
    ///
    /// Errors: as [`udp_join_on`](Self::udp_join_on).
    pub fn udp_join(&mut self, id: UdpId, group: IpAddr) -> Result<(), Error> {
        self.udp_join_on(id, group, self.vlan_toward(group))
    }

    /// Joins a group on the interface of a VLAN, 0 being the port itself.
    ///
    /// Errors: `AddrNotAvailable` if there is no such VLAN, `AddrInUse` if the socket has joined the group there already,
    /// `InvalidInput` if it is none, `NoBufferSpace`.
    pub fn udp_join_on(&mut self, id: UdpId, group: IpAddr, vlan: u16) -> Result<(), Error> {
        let at = self.link.ifaces.by_vlan(vlan);
        let is_new = !at.is_some_and(|at| self.is_member(at, group));
        self.udp
            .join_group(self.now, &mut self.link.ifaces, id, group, vlan)?;
        if let Some(at) = at.filter(|_| is_new) {
            self.link.tell_decision(at, Decision::Joined(group));
        }
        Ok(())
    }

    /// Leaves a group that [`udp_join`](Self::udp_join) has joined.
    ///
    /// Errors: `AddrNotAvailable` if the socket has not.
    pub fn udp_leave(&mut self, id: UdpId, group: IpAddr) -> Result<(), Error> {
        self.udp_leave_on(id, group, self.vlan_toward(group))
    }

    /// Leaves a group on the interface of a VLAN, 0 being the port itself.
    ///
    /// Errors: `AddrNotAvailable` if the socket has not joined it there.
    pub fn udp_leave_on(&mut self, id: UdpId, group: IpAddr, vlan: u16) -> Result<(), Error> {
        self.udp
            .leave_group(self.now, &mut self.link.ifaces, id, group, vlan)?;
        self.tell_group_left(group, vlan);
        Ok(())
    }

    fn is_member(&self, at: IfIndex, group: IpAddr) -> bool {
        self.link.ifaces.get(at).groups.is_joined(group)
    }

    /// Tells the other workers that a group was left, if it was the last socket that has left it.
    pub(super) fn tell_group_left(&mut self, group: IpAddr, vlan: u16) {
        if let Some(at) = self.link.ifaces.by_vlan(vlan)
            && !self.is_member(at, group)
        {
            self.link.tell_decision(at, Decision::Left(group));
        }
    }

    fn vlan_toward(&self, group: IpAddr) -> u16 {
        let ifaces = &self.link.ifaces;
        ifaces.get(ifaces.next_hop(&Way::to(group, 0)).at()).vlan
    }
}
