//! Groups: which ones a socket has joined, and how it sends to them.

use core::net::IpAddr;

use super::UdpTable;
use crate::error::Error;
use crate::event::UdpId;
use crate::interfaces::Interfaces;
use crate::time::Instant;

/// Groups that one socket may join (`igmp_max_memberships` is 20).
const MAX_GROUPS: usize = 64;

impl UdpTable {
    /// Time to live or hop limit of what is sent to groups; 1 at first, 0 goes nowhere.
    pub(crate) fn set_multicast_ttl(&mut self, id: UdpId, ttl: u8) -> Result<(), Error> {
        self.socket_mut(id)?.multicast_ttl = ttl;
        Ok(())
    }

    /// See [`set_multicast_ttl`](Self::set_multicast_ttl).
    pub(crate) fn multicast_ttl(&self, id: UdpId) -> Option<u8> {
        self.sockets.get(id).map(|socket| socket.multicast_ttl)
    }

    /// The VLAN by whose interface the socket sends to groups where neither their scope nor what it is bound to tells; 0, as
    /// at first, leaves it to the routes (`IP_MULTICAST_IF`).
    ///
    /// Errors: `AddrNotAvailable` if there is no such VLAN.
    pub(crate) fn set_multicast_vlan(
        &mut self,
        ifaces: &Interfaces,
        id: UdpId,
        vlan: u16,
    ) -> Result<(), Error> {
        ifaces.by_vlan(vlan).ok_or(Error::AddrNotAvailable)?;
        self.socket_mut(id)?.multicast_vlan = vlan;
        Ok(())
    }

    /// See [`set_multicast_vlan`](Self::set_multicast_vlan).
    pub(crate) fn multicast_vlan(&self, id: UdpId) -> Option<u16> {
        self.sockets.get(id).map(|socket| socket.multicast_vlan)
    }

    /// The groups that the socket has joined, each with the VLAN of the interface.
    pub(crate) fn groups(&self, id: UdpId) -> &[(IpAddr, u16)] {
        self.sockets.get(id).map_or(&[], |socket| &socket.groups)
    }

    /// Joins a group on the interface of this VLAN until it is left or the socket is closed.
    ///
    /// Errors: `AddrNotAvailable` if there is no such VLAN, `AddrInUse` if the socket has joined it there already.
    pub(crate) fn join_group(
        &mut self,
        now: Instant,
        ifaces: &mut Interfaces,
        id: UdpId,
        group: IpAddr,
        vlan: u16,
    ) -> Result<(), Error> {
        let at = ifaces.by_vlan(vlan).ok_or(Error::AddrNotAvailable)?;
        let socket = self.socket_mut(id)?;
        if socket.groups.contains(&(group, vlan)) {
            return Err(Error::AddrInUse);
        }
        if socket.groups.len() >= MAX_GROUPS {
            return Err(Error::NoBufferSpace);
        }
        ifaces.change(at, |iface| iface.groups.join(now, group))?;
        socket.groups.push((group, vlan));
        self.announce_group(group, vlan);
        Ok(())
    }

    /// Leaves a group. Error: `AddrNotAvailable` if it was not joined there by this socket.
    pub(crate) fn leave_group(
        &mut self,
        now: Instant,
        ifaces: &mut Interfaces,
        id: UdpId,
        group: IpAddr,
        vlan: u16,
    ) -> Result<(), Error> {
        let socket = self.socket_mut(id)?;
        let at = socket
            .groups
            .iter()
            .position(|joined| *joined == (group, vlan))
            .ok_or(Error::AddrNotAvailable)?;
        socket.groups.swap_remove(at);
        self.end_membership(now, ifaces, (group, vlan));
        Ok(())
    }

    /// Ends a membership that is gone from its socket's list: takes the join back, and what was announced.
    pub(super) fn end_membership(
        &self,
        now: Instant,
        ifaces: &mut Interfaces,
        (group, vlan): (IpAddr, u16),
    ) {
        if let Some(at) = ifaces.by_vlan(vlan) {
            ifaces.change(at, |iface| iface.groups.leave(now, group));
        }
        self.retract_group(group, vlan);
    }
}
