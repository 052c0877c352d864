//! ICMP (RFC 792, RFC 1122 section 3.2.2) and ICMPv6 (RFC 4443): echo, errors sent, and what a received error is about.
//!
//! Errors are never sent about errors, groups, broadcasts or later fragments, and both they and echo replies are limited
//! in rate. A received error is only read here: whether it is about something that was really sent is for the socket
//! that an [`ErrorReport`] is told to. Neighbour discovery is in [`ndp`](crate::ndp).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use dpdk_net_packet::icmp::{self, v4, v6};
use dpdk_net_packet::{IpPacket, ParseError, Protocol, checksum, ethernet, ipv4, ipv6};

use crate::addr;
use crate::config::{Config, Limits};
use crate::counters;
use crate::emit::IpMeta;
use crate::error::Error;
use crate::interfaces::{Destination, IfIndex, Way};
use crate::limit::RateLimit;
use crate::link::{Link, Queue};
use crate::time::Instant;

counters! {
    /// What happened with ICMP and ICMPv6.
    pub struct IcmpStats, IcmpCounters {
        /// Echo requests taken in.
        echo_requests = "IcmpInEchos",
        /// Echo replies sent.
        echo_replies_sent = "IcmpOutEchoReps",
        /// Echo requests to a group or broadcast, not answered (RFC 1122 section 3.2.2.6).
        echo_ignored,
        /// Errors taken in that quote a packet well enough to tell a socket.
        errors_received,
        /// Errors taken in that quote too little, or something that can't have been sent from here.
        errors_unusable,
        /// Errors sent.
        errors_sent,
        /// Errors not sent because of what they would be about (RFC 1812 section 4.3.2.7, RFC 4443 section 2.4 (e)).
        errors_suppressed,
        /// Errors not sent because of the limit on their rate.
        errors_limited,
        /// Echo replies not sent because of the limit on their rate.
        echo_limited,
        /// Messages not sent because there was no route or no room.
        send_failed,
        /// Messages of other types, ignored.
        ignored,
    }
}

/// Why an error is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum IcmpError {
    /// No socket has the UDP port.
    PortUnreachable,
    /// The protocol is not spoken; for IPv6, where the byte lies that names it.
    ProtocolUnreachable { pointer: u32 },
    /// Not all fragments came in time.
    ReassemblyTimeExceeded,
    /// A header field is wrong.
    ParameterProblem { code: u8, pointer: u32 },
}

/// What a received error says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ErrorKind {
    PortUnreachable,
    ProtocolUnreachable,
    HostUnreachable,
    NetworkUnreachable,
    /// Forbidden by a filter.
    Prohibited,
    TimeExceeded,
    ParameterProblem,
    /// The next hop's MTU, in bytes; 0 if the router doesn't tell (RFC 1191 section 5).
    PacketTooBig {
        mtu: u32,
    },
}

impl ErrorKind {
    /// What a socket's owner is told, or `None` where that is the stack's own business. As Linux' `icmp_err_convert`.
    pub(crate) fn to_error(self) -> Option<Error> {
        match self {
            Self::PortUnreachable => Some(Error::ConnectionRefused),
            Self::ProtocolUnreachable | Self::ParameterProblem => Some(Error::ConnectionRefused),
            Self::HostUnreachable | Self::Prohibited | Self::TimeExceeded => {
                Some(Error::HostUnreachable)
            }
            Self::NetworkUnreachable => Some(Error::NetworkUnreachable),
            Self::PacketTooBig { .. } => None,
        }
    }
}

/// An error about a packet that was sent from here, to be told to its socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ErrorReport {
    pub(crate) protocol: Protocol,
    /// Source of the packet.
    pub(crate) local: SocketAddr,
    /// Destination of the packet.
    pub(crate) remote: SocketAddr,
    /// TCP: its sequence number, if quoted.
    pub(crate) seq: Option<u32>,
    pub(crate) kind: ErrorKind,
}

impl ErrorReport {
    /// The report about an Ethernet frame of ours whose neighbour does not answer. `scope` is the VLAN it was to go out by.
    pub(crate) fn host_unreachable(frame: &[u8], scope: u16) -> Option<Self> {
        Self::about(
            frame.get(ethernet::HEADER_LEN..)?,
            scope,
            ErrorKind::HostUnreachable,
        )
    }

    /// Reads the start of an IP packet, which routers cut short, up to its ports. `scope` is the VLAN of its link-local
    /// addresses.
    fn about(quoted: &[u8], scope: u16, kind: ErrorKind) -> Option<Self> {
        let (src, dst, protocol, transport) = match quoted.first()? >> 4 {
            4 => quoted_v4(quoted)?,
            6 => quoted_v6(quoted)?,
            _ => return None,
        };
        if !matches!(protocol, Protocol::Tcp | Protocol::Udp) {
            return None;
        }
        let [a, b, c, d] = *transport.first_chunk::<4>()?;
        let seq = (protocol == Protocol::Tcp)
            .then(|| {
                transport
                    .get(4..8)
                    .and_then(|s| s.try_into().ok())
                    .map(u32::from_be_bytes)
            })
            .flatten();
        Some(Self {
            protocol,
            local: addr::socket_addr(src, u16::from_be_bytes([a, b]), scope),
            remote: addr::socket_addr(dst, u16::from_be_bytes([c, d]), scope),
            seq,
            kind,
        })
    }
}

type Quoted<'a> = (IpAddr, IpAddr, Protocol, &'a [u8]);

fn quoted_v4(quoted: &[u8]) -> Option<Quoted<'_>> {
    let header = quoted.first_chunk::<{ ipv4::HEADER_LEN }>()?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    let offset = u16::from_be_bytes([header[6], header[7]]) & 0x1fff;
    if header_len < ipv4::HEADER_LEN || offset != 0 {
        return None;
    }
    let src = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
    let dst = Ipv4Addr::new(header[16], header[17], header[18], header[19]);
    Some((
        src.into(),
        dst.into(),
        header[9].into(),
        quoted.get(header_len..)?,
    ))
}

fn quoted_v6(quoted: &[u8]) -> Option<Quoted<'_>> {
    let header = quoted.first_chunk::<{ ipv6::HEADER_LEN }>()?;
    let src = Ipv6Addr::from(<[u8; 16]>::try_from(&header[8..24]).ok()?);
    let dst = Ipv6Addr::from(<[u8; 16]>::try_from(&header[24..40]).ok()?);
    let (mut next, mut at) = (header[6], ipv6::HEADER_LEN);
    for _ in 0..ipv6::MAX_EXTENSIONS {
        let len = match next {
            ipv6::NEXT_HOP_BY_HOP | ipv6::NEXT_ROUTING | ipv6::NEXT_DESTINATION => {
                (usize::from(*quoted.get(at + 1)?) + 1) * 8
            }
            ipv6::NEXT_FRAGMENT => {
                if u16::from_be_bytes([*quoted.get(at + 2)?, *quoted.get(at + 3)?]) & !7 != 0 {
                    return None;
                }
                ipv6::FRAGMENT_HEADER_LEN
            }
            protocol => return Some((src.into(), dst.into(), protocol.into(), quoted.get(at..)?)),
        };
        next = *quoted.get(at)?;
        at += len;
    }
    None
}

/// ICMP and ICMPv6 of one stack.
#[derive(Debug)]
pub(crate) struct Icmp {
    errors: RateLimit,
    echoes: RateLimit,
    pub(crate) stats: IcmpCounters,
}

impl Icmp {
    pub(crate) fn new(config: &Config) -> Self {
        let (limits, seed) = (&config.limits, &config.worker_seed());
        Self {
            errors: RateLimit::new(limits.icmp_errors_per_second, seed, "ICMP errors"),
            echoes: RateLimit::new(limits.echo_replies_per_second, seed, "echo replies"),
            stats: IcmpCounters::default(),
        }
    }

    /// Changes the limits on rates.
    pub(crate) fn set_limits(&mut self, limits: &Limits) {
        self.errors.set(limits.icmp_errors_per_second);
        self.echoes.set(limits.echo_replies_per_second);
    }

    /// Handles a message that came in by `at`, its checksum verified, other than neighbour discovery's and MLD's. Echo is
    /// answered; an error about a packet of ours is returned.
    pub(crate) fn ingress(
        &mut self,
        now: Instant,
        link: &mut Link,
        at: IfIndex,
        ip: &IpPacket<'_>,
        message: icmp::Message<'_>,
    ) -> Option<ErrorReport> {
        let kind = message.kind();
        let is_error = if ip.is_v6() {
            v6::is_error(kind)
        } else {
            is_error_v4(kind)
        };
        if is_error {
            return self.on_error(link, at, ip, message);
        }
        let request = if ip.is_v6() {
            v6::ECHO_REQUEST
        } else {
            v4::ECHO_REQUEST
        };
        if kind == request && message.code() == 0 {
            self.on_echo(now, link, at, ip, message);
        } else {
            self.stats.ignored += 1;
        }
        None
    }

    fn on_echo(
        &mut self,
        now: Instant,
        link: &mut Link,
        at: IfIndex,
        ip: &IpPacket<'_>,
        request: icmp::Message<'_>,
    ) {
        self.stats.echo_requests += 1;
        let scope = link.ifaces.get(at).vlan;
        let src = match link.ifaces.classify(at, ip.dst()) {
            Destination::Ours => ip.dst(),
            // RFC 4443 section 4.2: a request to a group is answered from a unicast address; RFC 1122 section 3.2.2.6
            // leaves it open for IPv4, where it served amplification.
            Destination::Group if ip.is_v6() => {
                match link.ifaces.source_for(&Way::to(ip.src(), scope)) {
                    Some(src) => src,
                    None => return,
                }
            }
            _ => {
                self.stats.echo_ignored += 1;
                return;
            }
        };
        if ip.src().is_unspecified() || link.ifaces.is_broadcast(ip.src()) {
            self.stats.echo_ignored += 1;
            return;
        }
        if !self.echoes.take(now) {
            self.stats.echo_limited += 1;
            return;
        }
        let bytes = request.bytes();
        let (protocol, kind) = if ip.is_v6() {
            (Protocol::Icmpv6, v6::ECHO_REPLY)
        } else {
            (Protocol::Icmp, v4::ECHO_REPLY)
        };
        let meta = IpMeta {
            scope,
            traffic_class: ip.traffic_class() & !3,
            ..IpMeta::new(src, ip.src(), protocol)
        };
        let sent = link.output(now, Queue::Replies, &meta, bytes.len(), |buf| {
            buf.copy_from_slice(bytes);
            buf[0] = kind;
            fill_checksum(&meta, buf);
        });
        match sent {
            Ok(()) => self.stats.echo_replies_sent += 1,
            Err(_) => self.stats.send_failed += 1,
        }
    }

    fn on_error(
        &mut self,
        link: &Link,
        at: IfIndex,
        ip: &IpPacket<'_>,
        message: icmp::Message<'_>,
    ) -> Option<ErrorReport> {
        let kind = if ip.is_v6() {
            kind_v6(message)
        } else {
            kind_v4(message)
        };
        let Some(kind) = kind else {
            self.stats.ignored += 1;
            return None;
        };
        let report = ErrorReport::about(message.body(), link.ifaces.get(at).vlan, kind)
            // What was not sent from here can't be about us.
            .filter(|report| {
                link.ifaces.is_ours(at, report.local.ip()) && report.local.is_ipv4() != ip.is_v6()
            });
        match report {
            Some(_) => self.stats.errors_received += 1,
            None => self.stats.errors_unusable += 1,
        }
        report
    }

    /// Sends an error about the IP packet `about`, which came in by `at` whole or is the first fragment of one. `to_group`
    /// says that the frame came by a link-layer group or broadcast address.
    pub(crate) fn send_error(
        &mut self,
        now: Instant,
        link: &mut Link,
        at: IfIndex,
        about: &[u8],
        to_group: bool,
        error: IcmpError,
    ) {
        let addressed = match addresses(about) {
            Some(addressed) => addressed,
            None => {
                self.stats.errors_suppressed += 1;
                return;
            }
        };
        let (src, dst) = addressed;
        // RFC 4443 section 2.4 (e.3): a group is told only of unrecognised options that ask for it.
        let group_allowed = matches!(
            (dst, error),
            (
                IpAddr::V6(_),
                IcmpError::ParameterProblem {
                    code: v6::CODE_OPTION,
                    ..
                }
            )
        );
        let destination = link.ifaces.classify(at, dst);
        let suppressed = is_about_error(about)
            || src.is_unspecified()
            || src.is_multicast()
            || link.ifaces.is_broadcast(src)
            || link.ifaces.is_ours(at, src)
            || match destination {
                Destination::Ours => to_group && !group_allowed,
                Destination::Group => !group_allowed,
                Destination::Broadcast | Destination::Foreign => true,
            };
        if suppressed {
            self.stats.errors_suppressed += 1;
            return;
        }
        if !self.errors.take(now) {
            self.stats.errors_limited += 1;
            return;
        }
        let scope = link.ifaces.get(at).vlan;
        let from = match destination {
            Destination::Ours => Some(dst),
            _ => link.ifaces.source_for(&Way::to(src, scope)),
        };
        let Some(from) = from else {
            self.stats.send_failed += 1;
            return;
        };
        let (kind, code, word) = if dst.is_ipv4() {
            numbers_v4(error)
        } else {
            numbers_v6(error)
        };
        // RFC 4443 section 2.4 (c): as much as fits the smallest MTU; RFC 1812 section 4.3.2.3: 576 bytes.
        let (protocol, max) = if dst.is_ipv4() {
            (Protocol::Icmp, 576 - ipv4::HEADER_LEN - icmp::HEADER_LEN)
        } else {
            (Protocol::Icmpv6, 1280 - ipv6::HEADER_LEN - icmp::HEADER_LEN)
        };
        let quoted = &about[..about.len().min(max)];
        // RFC 1812 section 4.3.2.5: precedence 6; Linux sends its own with 0xc0 as well.
        let meta = IpMeta {
            scope,
            traffic_class: if dst.is_ipv4() { 0xc0 } else { 0 },
            ..IpMeta::new(from, src, protocol)
        };
        let sent = link.output(
            now,
            Queue::Replies,
            &meta,
            icmp::HEADER_LEN + quoted.len(),
            |buf| {
                icmp::write_header(buf, kind, code, word);
                buf[icmp::HEADER_LEN..].copy_from_slice(quoted);
                fill_checksum(&meta, buf);
            },
        );
        match sent {
            Ok(()) => self.stats.errors_sent += 1,
            Err(_) => self.stats.send_failed += 1,
        }
    }

    /// Answers a packet that came in by `at` and could not be read, where its RFC wants that. `packet` starts with the IP
    /// header.
    pub(crate) fn on_parse_error(
        &mut self,
        now: Instant,
        link: &mut Link,
        at: IfIndex,
        packet: &[u8],
        to_group: bool,
        error: ParseError,
    ) {
        let error = match error {
            ParseError::Ipv6ParameterProblem {
                code,
                pointer,
                even_multicast,
            } => {
                let is_group =
                    matches!(addresses(packet), Some((_, dst)) if dst.is_multicast()) || to_group;
                if is_group && !even_multicast {
                    self.stats.errors_suppressed += 1;
                    return;
                }
                IcmpError::ParameterProblem {
                    code,
                    pointer: u32::from(pointer),
                }
            }
            ParseError::Ipv4BadOption { pointer } => IcmpError::ParameterProblem {
                code: 0,
                pointer: u32::from(pointer),
            },
            _ => return,
        };
        self.send_error(now, link, at, packet, to_group, error);
    }
}

fn fill_checksum(meta: &IpMeta, message: &mut [u8]) {
    match (meta.src, meta.dst) {
        (IpAddr::V6(src), IpAddr::V6(dst)) => checksum::fill_icmpv6(src, dst, message),
        _ => checksum::fill_icmpv4(message),
    }
}

/// Source and destination of a packet that may be malformed behind its fixed header.
fn addresses(packet: &[u8]) -> Option<(IpAddr, IpAddr)> {
    match packet.first()? >> 4 {
        4 => {
            let header = packet.first_chunk::<{ ipv4::HEADER_LEN }>()?;
            let src = Ipv4Addr::new(header[12], header[13], header[14], header[15]);
            let dst = Ipv4Addr::new(header[16], header[17], header[18], header[19]);
            Some((src.into(), dst.into()))
        }
        6 => {
            let src = Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(8..24)?).ok()?);
            let dst = Ipv6Addr::from(<[u8; 16]>::try_from(packet.get(24..40)?).ok()?);
            Some((src.into(), dst.into()))
        }
        _ => None,
    }
}

/// Whether a packet is an ICMP error itself or something like it, or a fragment other than the first: neither is ever
/// answered with an error (RFC 1122 section 3.2.2, RFC 4443 section 2.4 (e)).
fn is_about_error(packet: &[u8]) -> bool {
    match packet.first().map(|b| b >> 4) {
        Some(4) => match quoted_v4(packet) {
            Some((_, _, Protocol::Icmp, message)) => {
                message.first().is_none_or(|kind| is_error_v4(*kind))
            }
            Some(_) => false,
            None => true,
        },
        // What can't be walked is answered: it may be the very header that is wrong.
        Some(6) => match quoted_v6(packet) {
            Some((_, _, Protocol::Icmpv6, message)) => message
                .first()
                .is_none_or(|kind| v6::is_error(*kind) || *kind == v6::REDIRECT),
            Some(_) => false,
            None => is_later_fragment(packet),
        },
        _ => true,
    }
}

fn is_later_fragment(packet: &[u8]) -> bool {
    let header = packet.get(ipv6::HEADER_LEN..ipv6::HEADER_LEN + ipv6::FRAGMENT_HEADER_LEN);
    packet.get(6) == Some(&ipv6::NEXT_FRAGMENT)
        && header.is_some_and(|h| u16::from_be_bytes([h[2], h[3]]) & !7 != 0)
}

const fn is_error_v4(kind: u8) -> bool {
    // Source quench (4) and redirect too: neither is acted upon, neither is answered.
    matches!(
        kind,
        v4::UNREACHABLE | 4 | v4::REDIRECT | v4::TIME_EXCEEDED | v4::PARAMETER_PROBLEM
    )
}

fn kind_v4(message: icmp::Message<'_>) -> Option<ErrorKind> {
    Some(match (message.kind(), message.code()) {
        (v4::UNREACHABLE, v4::CODE_NET | 6 | 11) => ErrorKind::NetworkUnreachable,
        (v4::UNREACHABLE, v4::CODE_PROTOCOL) => ErrorKind::ProtocolUnreachable,
        (v4::UNREACHABLE, v4::CODE_PORT) => ErrorKind::PortUnreachable,
        (v4::UNREACHABLE, v4::CODE_FRAGMENTATION_NEEDED) => ErrorKind::PacketTooBig {
            mtu: message.word() & 0xffff,
        },
        (v4::UNREACHABLE, 9 | 10 | v4::CODE_PROHIBITED) => ErrorKind::Prohibited,
        (v4::UNREACHABLE, _) => ErrorKind::HostUnreachable,
        (v4::TIME_EXCEEDED, _) => ErrorKind::TimeExceeded,
        (v4::PARAMETER_PROBLEM, _) => ErrorKind::ParameterProblem,
        _ => return None,
    })
}

fn kind_v6(message: icmp::Message<'_>) -> Option<ErrorKind> {
    Some(match (message.kind(), message.code()) {
        (v6::UNREACHABLE, v6::CODE_NO_ROUTE | 6) => ErrorKind::NetworkUnreachable,
        (v6::UNREACHABLE, v6::CODE_PROHIBITED | 5) => ErrorKind::Prohibited,
        (v6::UNREACHABLE, v6::CODE_PORT) => ErrorKind::PortUnreachable,
        (v6::UNREACHABLE, _) => ErrorKind::HostUnreachable,
        (v6::PACKET_TOO_BIG, _) => ErrorKind::PacketTooBig {
            mtu: message.word(),
        },
        (v6::TIME_EXCEEDED, _) => ErrorKind::TimeExceeded,
        (v6::PARAMETER_PROBLEM, v6::CODE_NEXT_HEADER) => ErrorKind::ProtocolUnreachable,
        (v6::PARAMETER_PROBLEM, _) => ErrorKind::ParameterProblem,
        _ => return None,
    })
}

fn numbers_v4(error: IcmpError) -> (u8, u8, u32) {
    match error {
        IcmpError::PortUnreachable => (v4::UNREACHABLE, v4::CODE_PORT, 0),
        IcmpError::ProtocolUnreachable { .. } => (v4::UNREACHABLE, v4::CODE_PROTOCOL, 0),
        IcmpError::ReassemblyTimeExceeded => (v4::TIME_EXCEEDED, v4::CODE_REASSEMBLY, 0),
        IcmpError::ParameterProblem { code, pointer } => {
            (v4::PARAMETER_PROBLEM, code, pointer << 24)
        }
    }
}

fn numbers_v6(error: IcmpError) -> (u8, u8, u32) {
    match error {
        IcmpError::PortUnreachable => (v6::UNREACHABLE, v6::CODE_PORT, 0),
        IcmpError::ProtocolUnreachable { pointer } => {
            (v6::PARAMETER_PROBLEM, v6::CODE_NEXT_HEADER, pointer)
        }
        IcmpError::ReassemblyTimeExceeded => (v6::TIME_EXCEEDED, v6::CODE_REASSEMBLY, 0),
        IcmpError::ParameterProblem { code, pointer } => (v6::PARAMETER_PROBLEM, code, pointer),
    }
}

#[cfg(test)]
mod tests;
