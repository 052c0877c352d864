//! What RSS does on a port: which traffic is told apart by what, and what all arrives at queue 0.

use core::fmt;
use core::net::IpAddr;

use dpdk_net_packet::toeplitz::{Spread, Toeplitz};
use dpdk_net_packet::{FiveTuple, Protocol};

use super::RssTypes;
use crate::port::PortInfo;

/// A kind of packets that a NIC tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Traffic {
    /// Whole TCP segments over IPv4.
    TcpIpv4,
    /// Whole TCP segments over IPv6.
    TcpIpv6,
    /// Whole UDP datagrams over IPv4.
    UdpIpv4,
    /// Whole UDP datagrams over IPv6.
    UdpIpv6,
    /// Fragments over IPv4, of whatever protocol.
    FragmentIpv4,
    /// Fragments over IPv6.
    FragmentIpv6,
    /// Other protocols over IPv4, as ICMP.
    OtherIpv4,
    /// Other protocols over IPv6.
    OtherIpv6,
}

impl Traffic {
    /// All of it. What is not IP is never hashed.
    pub const ALL: [Self; 8] = [
        Self::TcpIpv4,
        Self::TcpIpv6,
        Self::UdpIpv4,
        Self::UdpIpv6,
        Self::FragmentIpv4,
        Self::FragmentIpv6,
        Self::OtherIpv4,
        Self::OtherIpv6,
    ];

    /// The type of its own, and that of its IP version.
    const fn types(self) -> (RssTypes, RssTypes) {
        match self {
            Self::TcpIpv4 => (RssTypes::TCP_IPV4, RssTypes::IPV4),
            Self::TcpIpv6 => (RssTypes::TCP_IPV6, RssTypes::IPV6),
            Self::UdpIpv4 => (RssTypes::UDP_IPV4, RssTypes::IPV4),
            Self::UdpIpv6 => (RssTypes::UDP_IPV6, RssTypes::IPV6),
            Self::FragmentIpv4 => (RssTypes::FRAGMENT_IPV4, RssTypes::IPV4),
            Self::FragmentIpv6 => (RssTypes::FRAGMENT_IPV6, RssTypes::IPV6),
            Self::OtherIpv4 => (RssTypes::OTHER_IPV4, RssTypes::IPV4),
            Self::OtherIpv6 => (RssTypes::OTHER_IPV6, RssTypes::IPV6),
        }
    }

    const fn has_ports(self) -> bool {
        matches!(
            self,
            Self::TcpIpv4 | Self::TcpIpv6 | Self::UdpIpv4 | Self::UdpIpv6
        )
    }
}

impl fmt::Display for Traffic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::TcpIpv4 => "TCP over IPv4",
            Self::TcpIpv6 => "TCP over IPv6",
            Self::UdpIpv4 => "UDP over IPv4",
            Self::UdpIpv6 => "UDP over IPv6",
            Self::FragmentIpv4 => "fragments of IPv4",
            Self::FragmentIpv6 => "fragments of IPv6",
            Self::OtherIpv4 => "other IPv4",
            Self::OtherIpv6 => "other IPv6",
        })
    }
}

/// What of a packet picks its queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RssScope {
    /// Nothing: all arrive at queue 0.
    Nothing,
    /// The addresses.
    Addresses,
    /// Addresses and ports.
    Ports,
}

impl fmt::Display for RssScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Nothing => "all to queue 0",
            Self::Addresses => "by addresses",
            Self::Ports => "by addresses and ports",
        })
    }
}

/// Who decides at which queue a packet arrives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Spreader {
    /// Nobody has to: there is one queue.
    #[default]
    OneQueue,
    /// The port, by the RSS hash.
    Hash,
    /// The kernel behind the device, by a hash of its own. A flow stays at its queue, most of the time.
    Kernel,
    /// Whoever sends: what is sent on its queue i arrives at queue i.
    Sender,
    /// Nobody does: all packets arrive at queue 0.
    Nobody,
}

/// Who spreads on devices that don't by RSS. Some of these say that they hash.
const DEVICES: &[(&str, Spreader)] = &[
    // Behind a tap the kernel sends a flow to the queue that last sent for it.
    ("net_tap", Spreader::Kernel),
    ("net_af_packet", Spreader::Kernel),
    ("net_af_xdp", Spreader::Kernel),
    ("net_memif", Spreader::Sender),
    ("net_null", Spreader::Sender),
    ("net_pcap", Spreader::Sender),
    ("net_ring", Spreader::Sender),
    ("net_vhost", Spreader::Sender),
    ("net_virtio_user", Spreader::Sender),
];

/// What RSS does on a port. It prints as a table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RssPlan {
    port: String,
    driver: String,
    queues: u16,
    wanted: RssTypes,
    pub(super) types: RssTypes,
    pub(super) key: Option<Vec<u8>>,
    pub(super) toeplitz: bool,
    spreader: Spreader,
}

impl RssPlan {
    pub(super) fn new(
        port: &PortInfo,
        queues: u16,
        wanted: RssTypes,
        types: RssTypes,
        key: Option<Vec<u8>>,
    ) -> Self {
        let device = DEVICES
            .iter()
            .find(|(driver, _)| *driver == port.driver)
            .map(|(_, spreader)| *spreader);
        Self {
            port: format!("{} ({})", port.id, port.name),
            driver: port.driver.clone(),
            queues,
            wanted,
            types,
            key,
            toeplitz: true,
            spreader: match device {
                _ if queues <= 1 => Spreader::OneQueue,
                Some(device) => device,
                None if types.is_empty() => Spreader::Nobody,
                None => Spreader::Hash,
            },
        }
    }

    /// The same with the driver's key, or if it was that already, without RSS: the driver refused to be configured so.
    pub(in crate::port) fn less(&self) -> Self {
        if self.key.is_some() {
            return Self {
                key: None,
                ..self.clone()
            };
        }
        Self {
            types: RssTypes::empty(),
            key: None,
            spreader: match self.spreader {
                Spreader::Hash => Spreader::Nobody,
                other => other,
            },
            ..self.clone()
        }
    }

    /// What is hashed; nothing where RSS is off.
    pub fn types(&self) -> RssTypes {
        self.types
    }

    /// The key that packets are hashed with; none where there is no RSS, or where the driver does not say which it
    /// took.
    pub fn key(&self) -> Option<&[u8]> {
        self.key.as_deref()
    }

    /// Who decides at which queue a packet arrives.
    pub fn spreader(&self) -> Spreader {
        self.spreader
    }

    /// What of such packets is hashed.
    ///
    /// Of a port that hashes IP by addresses, and a protocol not by ports, this says that the protocol goes by addresses.
    /// Some NICs don't hash it at all then: it may arrive at queue 0.
    pub fn scope(&self, traffic: Traffic) -> RssScope {
        let (own, by_version) = traffic.types();
        if self.types.contains(own) && traffic.has_ports() {
            RssScope::Ports
        } else if self.types.intersects(own | by_version) {
            RssScope::Addresses
        } else {
            RssScope::Nothing
        }
    }

    /// The port's hash, to tell beforehand where a flow's packets arrive; none where that can't be told: the queue does
    /// not depend on the hash, or the key or the function is not known.
    pub fn hash(&self) -> Option<Toeplitz> {
        if self.spreader != Spreader::Hash || !self.toeplitz {
            return None;
        }
        Toeplitz::new(self.key()?).ok()
    }

    /// The queue at which whole packets of this flow arrive, by this port's hash and table. None for addresses of two
    /// families.
    pub fn queue_of(&self, spread: &Spread<'_>, flow: FiveTuple) -> Option<u16> {
        let traffic = match (flow.protocol, flow.src.ip()) {
            (Protocol::Tcp, IpAddr::V4(_)) => Traffic::TcpIpv4,
            (Protocol::Tcp, IpAddr::V6(_)) => Traffic::TcpIpv6,
            (Protocol::Udp, IpAddr::V4(_)) => Traffic::UdpIpv4,
            (Protocol::Udp, IpAddr::V6(_)) => Traffic::UdpIpv6,
            (_, IpAddr::V4(_)) => Traffic::OtherIpv4,
            (_, IpAddr::V6(_)) => Traffic::OtherIpv6,
        };
        match self.scope(traffic) {
            RssScope::Ports => spread.queue_of_ports(flow.src, flow.dst),
            RssScope::Addresses => spread.queue_of_addresses(flow.src.ip(), flow.dst.ip()),
            RssScope::Nothing => Some(0),
        }
    }

    /// What does not go as one would wish, and what to do about it: a sentence each.
    pub fn warnings(&self) -> Vec<String> {
        let Self { driver, queues, .. } = self;
        match self.spreader {
            Spreader::OneQueue => Vec::new(),
            Spreader::Kernel => vec![format!(
                "driver {driver} does not spread packets by RSS: the kernel chooses among its {queues} queues by a hash \
                 of its own. Flows can't be told beforehand: expect some at another queue than their owner's"
            )],
            Spreader::Sender => vec![format!(
                "driver {driver} does not spread packets by RSS: what the peer sends on its queue i arrives at queue i. \
                 Have the peer use all {queues} queues, or configure one"
            )],
            Spreader::Nobody => vec![format!(
                "driver {driver} does not spread packets by RSS: all arrive at queue 0, and the other {} stay idle. \
                 Configure one queue, use a NIC that has RSS, or steer by flow rules",
                queues.saturating_sub(1)
            )],
            Spreader::Hash => self.lacking(),
        }
    }

    /// Traffic that was to be spread further than it is.
    fn lacking(&self) -> Vec<String> {
        let wanted = Self {
            types: self.wanted,
            ..self.clone()
        };
        [RssScope::Nothing, RssScope::Addresses]
            .into_iter()
            .filter_map(|scope| {
                let less: Vec<String> = Traffic::ALL
                    .into_iter()
                    .filter(|traffic| {
                        self.scope(*traffic) == scope && wanted.scope(*traffic) > scope
                    })
                    .map(|traffic| traffic.to_string())
                    .collect();
                if less.is_empty() {
                    return None;
                }
                let (what, remedy) = match scope {
                    RssScope::Nothing => (
                        "hashes no",
                        "all of it arrives at queue 0: give that queue the core with the least to do, or steer it by flow rules",
                    ),
                    _ => (
                        "hashes by addresses alone",
                        "all flows between two hosts arrive at one queue: give each service several addresses if few \
                         hosts talk to it, or steer by flow rules",
                    ),
                };
                Some(format!("driver {} {what} {}: {remedy}", self.driver, less.join(", ")))
            })
            .collect()
    }

    pub(in crate::port) fn warn(&self) {
        for warning in self.warnings() {
            tracing::warn!(port = self.port, "{warning}");
        }
    }
}

impl fmt::Display for RssPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { port, driver, .. } = self;
        match self.spreader {
            Spreader::OneQueue if port.is_empty() => {
                return f.write_str("no RSS: the port is not configured yet");
            }
            Spreader::OneQueue => return write!(f, "one receive queue on {port}"),
            Spreader::Hash => {}
            Spreader::Kernel => {
                return write!(
                    f,
                    "{} receive queues on {port}, chosen by the kernel (driver {driver})",
                    self.queues
                );
            }
            Spreader::Sender => {
                return write!(
                    f,
                    "{} receive queues on {port}, chosen by the peer (driver {driver})",
                    self.queues
                );
            }
            Spreader::Nobody => {
                return write!(
                    f,
                    "{} receive queues on {port}, of which queue 0 gets all (driver {driver})",
                    self.queues
                );
            }
        }
        write!(
            f,
            "{} receive queues on {port}, chosen by RSS (driver {driver})",
            self.queues
        )?;
        for traffic in Traffic::ALL {
            write!(f, "\n  {traffic:17} {}", self.scope(traffic))?;
        }
        write!(f, "\n  {:17} {}", "ARP, all else", RssScope::Nothing)
    }
}
