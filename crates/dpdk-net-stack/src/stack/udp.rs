//! What sockets call of a stack's UDP, one datagram at a time.

use core::net::SocketAddr;

use dpdk_net_packet::{IpPacket, MacAddr, Transport};

use super::Stack;
use crate::error::Error;
use crate::event::{Readiness, UdpId};
use crate::interfaces::IfIndex;
use crate::listing::{ListPage, ListPlace};
use crate::time::Instant;
use crate::udp::{MtuDiscovery, UdpOptions, UdpRecv, UdpSend, UdpSocketInfo};

/// UDP.
impl Stack {
    /// Binds a socket.
    ///
    /// Errors: `AddrInUse`, `AddrNotAvailable`, `NoBufferSpace`.
    pub fn udp_bind(&mut self, options: UdpOptions) -> Result<UdpId, Error> {
        self.udp.bind(&self.link.ifaces, &options)
    }

    /// Binds a socket and sets its peer at once. Where there are several workers a port that is chosen is one that brings what
    /// the peer sends to this one's queue, if such a one is found soon.
    ///
    /// Errors: as [`udp_bind`](Self::udp_bind) and [`udp_connect`](Self::udp_connect).
    pub fn udp_bind_toward(
        &mut self,
        options: UdpOptions,
        remote: SocketAddr,
    ) -> Result<UdpId, Error> {
        self.udp.bind_toward(&self.link.ifaces, &options, remote)
    }

    /// Sets the peer: sends go there, and only its datagrams are received.
    pub fn udp_connect(&mut self, id: UdpId, remote: SocketAddr) -> Result<(), Error> {
        self.udp.connect(&self.link.ifaces, id, remote)
    }

    /// Takes the peer away.
    pub fn udp_disconnect(&mut self, id: UdpId) -> Result<(), Error> {
        self.udp.disconnect(id)
    }

    /// Sends one datagram, to the peer if `to` is `None`.
    ///
    /// Errors: `WouldBlock`, `NotConnected`, `MessageTooLong`, `NetworkUnreachable`, `PermissionDenied` (broadcast),
    /// `AddrNotAvailable` if the local address was taken away, or once what ICMP told of an earlier one.
    pub fn udp_send(
        &mut self,
        now: Instant,
        id: UdpId,
        data: &[u8],
        to: Option<SocketAddr>,
    ) -> Result<usize, Error> {
        self.advance(now);
        self.udp.send(now, &mut self.link, id, data, to)
    }

    /// Sends a datagram, or several, with more said of how: see [`UdpSend`].
    ///
    /// Errors: as [`udp_send`](Self::udp_send) and [`udp_send_segments`](Self::udp_send_segments); `AddrNotAvailable` also where
    /// the address to send from is not one of ours, or not the socket's.
    pub fn udp_send_with(
        &mut self,
        now: Instant,
        id: UdpId,
        data: &[u8],
        send: &UdpSend,
    ) -> Result<usize, Error> {
        self.advance(now);
        self.udp.send_with(now, &mut self.link, id, data, send)
    }

    /// What the socket does where a datagram could be larger than the path's MTU (`IP_MTU_DISCOVER`, `IPV6_MTU_DISCOVER`).
    pub fn udp_set_mtu_discovery(&mut self, id: UdpId, to: MtuDiscovery) -> Result<(), Error> {
        self.udp.set_mtu_discovery(id, to)
    }

    /// See [`udp_set_mtu_discovery`](Self::udp_set_mtu_discovery).
    pub fn udp_mtu_discovery(&self, id: UdpId) -> Result<MtuDiscovery, Error> {
        self.udp.mtu_discovery(id)
    }

    /// Receives one datagram; what does not fit into `buf` is lost.
    ///
    /// Errors: `WouldBlock`, or once what ICMP told.
    pub fn udp_recv(&mut self, id: UdpId, buf: &mut [u8]) -> Result<UdpRecv, Error> {
        self.udp.recv(id, buf)
    }

    /// As [`udp_recv`](Self::udp_recv), but the datagram stays.
    pub fn udp_peek(&mut self, id: UdpId, buf: &mut [u8]) -> Result<UdpRecv, Error> {
        self.udp.peek(id, buf)
    }

    /// Closes a socket; the id is dead.
    pub fn udp_close(&mut self, id: UdpId) {
        let groups = self.udp.groups(id).to_vec();
        // What can go wrong is that it was closed already.
        let _ = self.udp.close(self.now, &mut self.link.ifaces, id);
        for (group, vlan) in groups {
            self.tell_group_left(group, vlan);
        }
    }

    /// The address and port it is bound to.
    pub fn udp_local(&self, id: UdpId) -> Option<SocketAddr> {
        self.udp.local(id)
    }

    /// The peer, if one was set.
    pub fn udp_peer(&self, id: UdpId) -> Option<SocketAddr> {
        self.udp.peer(id)
    }

    /// What would not block now.
    pub fn udp_readiness(&self, id: UdpId) -> Readiness {
        self.udp.readiness(id)
    }

    /// What ICMP told, once.
    pub fn udp_take_error(&mut self, id: UdpId) -> Option<Error> {
        self.udp.take_error(id)
    }

    /// Sets the time to live or hop limit of unicast datagrams.
    pub fn udp_set_ttl(&mut self, id: UdpId, ttl: u8) -> Result<(), Error> {
        self.udp.set_ttl(id, ttl)
    }

    /// The time to live or hop limit of unicast datagrams.
    pub fn udp_ttl(&self, id: UdpId) -> Result<u8, Error> {
        self.udp.ttl(id).ok_or(Error::UnknownSocket)
    }

    /// Sets the time to live or hop limit of multicast datagrams.
    pub fn udp_set_multicast_ttl(&mut self, id: UdpId, ttl: u8) -> Result<(), Error> {
        self.udp.set_multicast_ttl(id, ttl)
    }

    /// The time to live or hop limit of multicast datagrams.
    pub fn udp_multicast_ttl(&self, id: UdpId) -> Result<u8, Error> {
        self.udp.multicast_ttl(id).ok_or(Error::UnknownSocket)
    }

    /// Allows sending to broadcast addresses, or not.
    pub fn udp_set_broadcast(&mut self, id: UdpId, on: bool) -> Result<(), Error> {
        self.udp.set_broadcast(id, on)
    }

    /// Whether sending to broadcast addresses is allowed.
    pub fn udp_broadcast(&self, id: UdpId) -> Result<bool, Error> {
        self.udp.broadcast(id).ok_or(Error::UnknownSocket)
    }

    /// UDP sockets in detail, a page at a time, as [`tcp_infos`](Self::tcp_infos) gives connections.
    pub fn udp_sockets(&self, from: ListPlace, most: usize) -> ListPage<(UdpId, UdpSocketInfo)> {
        self.udp.infos(from, most)
    }

    /// UDP sockets.
    pub fn udp_count(&self) -> usize {
        self.udp.len()
    }

    /// Whether a packet in a frame for us, to an address that is not ours, is for a socket that has none yet: what a
    /// DHCP server sends to the address that it offers. It has it then.
    pub(crate) fn is_for_unconfigured(
        &mut self,
        at: IfIndex,
        dst_mac: MacAddr,
        ip: &IpPacket<'_>,
        transport: &Transport<'_>,
    ) -> bool {
        let vlan = self.link.ifaces.get(at).vlan;
        match transport {
            Transport::Udp(datagram) if !dst_mac.is_multicast() => {
                self.udp.ingress_unconfigured(vlan, ip, datagram)
            }
            _ => false,
        }
    }
}
