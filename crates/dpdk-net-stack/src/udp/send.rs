//! Sending: what can differ from datagram to datagram, and what a socket does about the path's MTU.

use core::net::{IpAddr, SocketAddr};

use dpdk_net_packet::{Protocol, udp};

use super::{UdpTable, segments, way};
use crate::addr::canonical;
use crate::emit::IpMeta;
use crate::error::Error;
use crate::event::UdpId;
use crate::link::{Link, Queue};
use crate::time::Instant;

/// Where and how one send of a socket goes. By default to the socket's peer, from its own address, as one datagram.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct UdpSend {
    /// To whom; the peer if `None`.
    pub to: Option<SocketAddr>,
    /// From which address of ours, of a socket that is bound to all (`IP_PKTINFO`, `IPV6_PKTINFO`): an answer comes from the
    /// address that was asked. Of a socket that is bound to one it can be that one only.
    pub from: Option<IpAddr>,
    /// The ECN field of the IP header (RFC 3168): 0 to 3.
    pub ecn: u8,
    /// Cut into datagrams of so many bytes, as [`Stack::udp_send_segments`](crate::Stack::udp_send_segments) does; as the socket is
    /// set if `None`.
    pub segment_size: Option<u16>,
}

/// What a UDP socket does where a datagram could be larger than the path lets through (`IP_MTU_DISCOVER`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum MtuDiscovery {
    /// Larger ones are fragmented: by us as far as the path is known, and over IPv4 by routers.
    #[default]
    Fragment,
    /// Nothing is fragmented, by routers neither; what is larger than the path's MTU, as far as that is known, is refused
    /// (`IP_PMTUDISC_DO`).
    Refuse,
    /// Nothing is fragmented, and what routers say of the path is not believed: datagrams as large as the interface lets through are
    /// sent. For protocols that find out by themselves, as QUIC does (RFC 8899; `IP_PMTUDISC_PROBE`).
    Probe,
}

impl UdpTable {
    /// Sends a datagram, or several. Returns how many bytes that was.
    ///
    /// Errors: an error that an ICMP message brought, once; `WouldBlock` if the link's queue is full, with an event
    /// when it has room again; `NotConnected` without a destination, `MessageTooLong`, `PermissionDenied` for a
    /// broadcast without [`set_broadcast`](Self::set_broadcast), `NetworkUnreachable`, `AddrNotAvailable` if the local
    /// address is not ours or was taken away, `InvalidInput` for port 0 or the other family.
    pub(crate) fn send_with(
        &mut self,
        now: Instant,
        link: &mut Link,
        id: UdpId,
        data: &[u8],
        send: &UdpSend,
    ) -> Result<usize, Error> {
        let socket = self.sockets.get_mut(id).ok_or(Error::UnknownSocket)?;
        if let Some(error) = socket.error.take() {
            return Err(error);
        }
        let remote = canonical(send.to.or(socket.remote).ok_or(Error::NotConnected)?);
        let from = send.from.map(|from| from.to_canonical());
        let from = from.filter(|from| !from.is_unspecified());
        let preferred = from.or(socket.remote.map(|_| socket.local.ip()));
        let way = way(socket, &link.ifaces, remote, preferred)?;
        let src = way.src;
        if from.is_some_and(|from| from != src) {
            return Err(Error::AddrNotAvailable);
        }
        let version = link.ifaces.version();
        if from.is_some() || socket.source_checked != version {
            // The address that it is bound to may have been taken away, and what is asked for may never have been ours.
            if socket.unconfigured.is_none() && !link.ifaces.is_bindable(src, way.scope) {
                return Err(Error::AddrNotAvailable);
            }
            if from.is_none() {
                socket.source_checked = version;
            }
        }
        if !(socket.broadcast || socket.unconfigured.is_some())
            && link.ifaces.is_broadcast(remote.ip())
        {
            return Err(Error::PermissionDenied);
        }
        let max = if remote.is_ipv4() { 65_507 } else { 65_527 };
        if data.len() > max {
            return Err(Error::MessageTooLong);
        }
        let hop_limit = if remote.ip().is_multicast() {
            socket.multicast_ttl
        } else {
            socket.ttl
        };
        let meta = IpMeta {
            udp: Some(self.checksums),
            hop_limit,
            traffic_class: send.ecn & 3,
            dont_fragment: socket.mtu_discovery != MtuDiscovery::Fragment,
            probes_path: socket.mtu_discovery == MtuDiscovery::Probe,
            scope: way.scope,
            ..IpMeta::new(src, remote.ip(), Protocol::Udp)
        };
        let port = socket.bound.port();
        let cut = match send.segment_size.or(socket.segment) {
            Some(size) => Some(segments::of((port, remote.port()), data, size)?),
            None => None,
        };
        let sent = match &cut {
            Some(segments) => link.output_segments(now, &meta, segments),
            None => link.output(
                now,
                Queue::Datagrams,
                &meta,
                udp::HEADER_LEN + data.len(),
                |buf| {
                    udp::write_header(buf, port, remote.port(), data.len());
                    buf[udp::HEADER_LEN..].copy_from_slice(data);
                },
            ),
        };
        match sent {
            Ok(()) => {
                let count = cut.map_or(1, |segments| segments.count() as u64);
                self.stats.sent += count;
                self.stats.sent_segmented += if count > 1 { count } else { 0 };
                Ok(data.len())
            }
            // Some room is there but not for a large one: nobody would ever say that it is back.
            Err(Error::NoBufferSpace) if !link.datagrams.is_empty() => {
                self.stats.send_blocked += 1;
                if !socket.blocked {
                    socket.blocked = true;
                    self.blocked.push(id);
                }
                Err(Error::WouldBlock)
            }
            Err(error) => Err(error),
        }
    }

    /// What is done about the path's MTU; [`MtuDiscovery::Fragment`] at first.
    pub(crate) fn set_mtu_discovery(&mut self, id: UdpId, to: MtuDiscovery) -> Result<(), Error> {
        self.socket_mut(id)?.mtu_discovery = to;
        Ok(())
    }

    /// See [`set_mtu_discovery`](Self::set_mtu_discovery).
    pub(crate) fn mtu_discovery(&self, id: UdpId) -> Result<MtuDiscovery, Error> {
        let socket = self.sockets.get(id).ok_or(Error::UnknownSocket)?;
        Ok(socket.mtu_discovery)
    }
}
