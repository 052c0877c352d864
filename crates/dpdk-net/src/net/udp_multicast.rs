//! Groups of a [`UdpSocket`]: joined on one interface each, and sent to by one.
//!
//! Interfaces are the port itself and its VLANs ([`AppBuilder::vlan`](crate::AppBuilder::vlan)). Where the kernel has an
//! interface's index there is the id of its VLAN.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dpdk_net_stack::{Error, Stack, UdpId};
use rustix::io::Errno;

use super::UdpSocket;

impl UdpSocket {
    /// Joins an IPv4 multicast group on the interface that has the address `interface`; unspecified, it is the one that the
    /// routes lead to, or else the port itself.
    ///
    /// # Errors
    /// `ENODEV` where no interface has that address, `AddrInUse` where the group has been joined there already.
    pub fn join_multicast_v4(&self, multiaddr: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        let on = self.with_address(interface)?;
        self.group(multiaddr.into(), on, Stack::udp_join, Stack::udp_join_on)
    }

    /// Leaves an IPv4 multicast group.
    ///
    /// # Errors
    /// `ENODEV` as [`join_multicast_v4`](Self::join_multicast_v4), `AddrNotAvailable` where the group has not been joined there.
    pub fn leave_multicast_v4(&self, multiaddr: Ipv4Addr, interface: Ipv4Addr) -> io::Result<()> {
        let on = self.with_address(interface)?;
        self.group(multiaddr.into(), on, Stack::udp_leave, Stack::udp_leave_on)
    }

    /// Joins an IPv6 multicast group on the VLAN with the id `interface`; 0 is the interface that the routes lead to, or else
    /// the port itself.
    ///
    /// # Errors
    /// `ENODEV` where there is no such VLAN, `AddrInUse` where the group has been joined there already.
    pub fn join_multicast_v6(&self, multiaddr: &Ipv6Addr, interface: u32) -> io::Result<()> {
        let on = self.with_id(interface)?;
        self.group((*multiaddr).into(), on, Stack::udp_join, Stack::udp_join_on)
    }

    /// Leaves an IPv6 multicast group.
    ///
    /// # Errors
    /// `ENODEV` as [`join_multicast_v6`](Self::join_multicast_v6), `AddrNotAvailable` where the group has not been joined there.
    pub fn leave_multicast_v6(&self, multiaddr: &Ipv6Addr, interface: u32) -> io::Result<()> {
        let on = self.with_id(interface)?;
        let group = (*multiaddr).into();
        self.group(group, on, Stack::udp_leave, Stack::udp_leave_on)
    }

    /// The VLAN by whose interface datagrams to groups leave, where neither the group's scope id nor the address that the
    /// socket is bound to tells (`IP_MULTICAST_IF`). 0, as at first, leaves it to the routes, without which it is the port
    /// itself.
    ///
    /// # Errors
    /// `ENODEV` where there is no such VLAN.
    pub fn set_multicast_vlan(&self, vlan: u16) -> io::Result<()> {
        self.with_id(vlan.into())?;
        self.socket
            .call(|state, id| state.stack.udp_set_multicast_vlan(id, vlan))
    }

    /// The VLAN that [`set_multicast_vlan`](Self::set_multicast_vlan) has set.
    pub fn multicast_vlan(&self) -> io::Result<u16> {
        self.socket
            .call(|state, id| state.stack.udp_multicast_vlan(id))
    }

    fn group(
        &self,
        group: IpAddr,
        on: Option<u16>,
        anywhere: fn(&mut Stack, UdpId, IpAddr) -> Result<(), Error>,
        there: fn(&mut Stack, UdpId, IpAddr, u16) -> Result<(), Error>,
    ) -> io::Result<()> {
        self.socket.call(|state, id| match on {
            Some(vlan) => there(&mut state.stack, id, group, vlan),
            None => anywhere(&mut state.stack, id, group),
        })
    }

    /// The VLAN with this address, `None` for the unspecified one; the kernel's error for an address that is none of ours.
    fn with_address(&self, interface: Ipv4Addr) -> io::Result<Option<u16>> {
        if interface.is_unspecified() {
            return Ok(None);
        }
        let vlan = self
            .socket
            .with(|state, _| state.stack.vlan_of(interface.into()));
        vlan.map(Some).ok_or(Errno::NODEV.into())
    }

    /// The VLAN with this id, `None` for 0; the kernel's error for one that there is not.
    fn with_id(&self, interface: u32) -> io::Result<Option<u16>> {
        if interface == 0 {
            return Ok(None);
        }
        let vlans = self.socket.with(|state, _| state.stack.vlans());
        let vlan = vlans.into_iter().find(|vlan| u32::from(*vlan) == interface);
        vlan.map(Some).ok_or(Errno::NODEV.into())
    }
}
