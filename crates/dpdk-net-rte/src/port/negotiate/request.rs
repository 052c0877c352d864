//! What is wished of a port's offloads, each by its name.

use core::fmt;
use core::str::FromStr;

use crate::port::{RxOffloads, TxOffloads};

/// Something that a NIC can do with packets on its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Offload {
    /// Verify IPv4 header checksums of what is received.
    RxIpv4Checksum,
    /// Verify TCP checksums of what is received.
    RxTcpChecksum,
    /// Verify UDP checksums of what is received.
    RxUdpChecksum,
    /// Coalesce received TCP segments (LRO).
    Lro,
    /// Spread a received frame over several mbufs where one is too small.
    Scatter,
    /// Strip VLAN tags of what is received.
    VlanStrip,
    /// Deliver the RSS hash of what is received.
    RssHash,
    /// Tell when a packet was received.
    Timestamp,
    /// Fill IPv4 header checksums in.
    TxIpv4Checksum,
    /// Fill TCP checksums in.
    TxTcpChecksum,
    /// Fill UDP checksums in.
    TxUdpChecksum,
    /// Cut large packets into TCP segments (TSO).
    Tso,
    /// Do so for IPv6 too. DPDK has one flag for both; some drivers segment IPv4 only.
    TsoIpv6,
    /// Cut large packets into UDP datagrams (USO).
    UdpSegmentation,
    /// Send packets of several mbufs as they are.
    MultiSegs,
    /// Insert VLAN tags.
    VlanInsert,
    /// Free sent mbufs without looking at their pool and reference count. Every packet that a queue sends is then of one
    /// mbuf of the receive queue of the same number's mempool: others are copied into such a one
    /// ([`TxQueue::tx_burst`](crate::TxQueue::tx_burst)). Not together with [`Offload::MultiSegs`].
    FastFree,
}

/// How many offloads there are.
pub(super) const COUNT: usize = Offload::ALL.len();

/// An offload's flag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flag {
    Rx(RxOffloads),
    Tx(TxOffloads),
}

impl Offload {
    /// All of them, those of receiving first.
    pub const ALL: [Self; 17] = [
        Self::RxIpv4Checksum,
        Self::RxTcpChecksum,
        Self::RxUdpChecksum,
        Self::Lro,
        Self::Scatter,
        Self::VlanStrip,
        Self::RssHash,
        Self::Timestamp,
        Self::TxIpv4Checksum,
        Self::TxTcpChecksum,
        Self::TxUdpChecksum,
        Self::Tso,
        Self::TsoIpv6,
        Self::UdpSegmentation,
        Self::MultiSegs,
        Self::VlanInsert,
        Self::FastFree,
    ];

    /// Its name, as in `rx-tcp-checksum`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::RxIpv4Checksum => "rx-ipv4-checksum",
            Self::RxTcpChecksum => "rx-tcp-checksum",
            Self::RxUdpChecksum => "rx-udp-checksum",
            Self::Lro => "lro",
            Self::Scatter => "scatter",
            Self::VlanStrip => "vlan-strip",
            Self::RssHash => "rss-hash",
            Self::Timestamp => "timestamp",
            Self::TxIpv4Checksum => "tx-ipv4-checksum",
            Self::TxTcpChecksum => "tx-tcp-checksum",
            Self::TxUdpChecksum => "tx-udp-checksum",
            Self::Tso => "tso",
            Self::TsoIpv6 => "tso-ipv6",
            Self::UdpSegmentation => "udp-segmentation",
            Self::MultiSegs => "multi-segs",
            Self::VlanInsert => "vlan-insert",
            Self::FastFree => "fast-free",
        }
    }

    pub(super) const fn index(self) -> usize {
        self as usize
    }

    pub(super) const fn flag(self) -> Flag {
        match self {
            Self::RxIpv4Checksum => Flag::Rx(RxOffloads::IPV4_CHECKSUM),
            Self::RxTcpChecksum => Flag::Rx(RxOffloads::TCP_CHECKSUM),
            Self::RxUdpChecksum => Flag::Rx(RxOffloads::UDP_CHECKSUM),
            Self::Lro => Flag::Rx(RxOffloads::TCP_LRO),
            Self::Scatter => Flag::Rx(RxOffloads::SCATTER),
            Self::VlanStrip => Flag::Rx(RxOffloads::VLAN_STRIP),
            Self::RssHash => Flag::Rx(RxOffloads::RSS_HASH),
            Self::Timestamp => Flag::Rx(RxOffloads::TIMESTAMP),
            Self::TxIpv4Checksum => Flag::Tx(TxOffloads::IPV4_CHECKSUM),
            Self::TxTcpChecksum => Flag::Tx(TxOffloads::TCP_CHECKSUM),
            Self::TxUdpChecksum => Flag::Tx(TxOffloads::UDP_CHECKSUM),
            Self::Tso | Self::TsoIpv6 => Flag::Tx(TxOffloads::TCP_TSO),
            Self::UdpSegmentation => Flag::Tx(TxOffloads::UDP_TSO),
            Self::MultiSegs => Flag::Tx(TxOffloads::MULTI_SEGS),
            Self::VlanInsert => Flag::Tx(TxOffloads::VLAN_INSERT),
            Self::FastFree => Flag::Tx(TxOffloads::FAST_FREE),
        }
    }

    /// Whether its flag is among these.
    pub(super) fn is_in(self, rx: RxOffloads, tx: TxOffloads) -> bool {
        match self.flag() {
            Flag::Rx(flag) => rx.contains(flag),
            Flag::Tx(flag) => tx.contains(flag),
        }
    }
}

impl fmt::Display for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// No offload has this name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no offload {given:?}; there are {}", names())]
pub struct UnknownOffload {
    /// The name that was given.
    pub given: String,
}

fn names() -> String {
    Offload::ALL.map(Offload::name).join(", ")
}

impl FromStr for Offload {
    type Err = UnknownOffload;

    fn from_str(name: &str) -> Result<Self, UnknownOffload> {
        Self::ALL
            .into_iter()
            .find(|offload| offload.name() == name)
            .ok_or_else(|| UnknownOffload { given: name.into() })
    }
}

/// What is wished of one offload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Wish {
    /// On where the port offers it, it is of use, and the driver is not known to do it wrong.
    #[default]
    Auto,
    /// On; an error where the port does not offer it. A driver known to do it wrong is warned about.
    On,
    /// Off.
    Off,
}

impl fmt::Display for Wish {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        })
    }
}

/// What is wished of each offload.
///
/// By default [`Wish::Auto`] for all but [`Offload::Timestamp`], which costs something where nobody reads it, and
/// [`Offload::FastFree`], which is a promise: these two are off.
///
/// ```
/// use dpdk_net_rte::port::{Offload, OffloadRequest, Wish};
///
/// let request = OffloadRequest::default()
///     .with(Offload::Lro, Wish::Off)
///     .with(Offload::Tso, Wish::On);
/// assert_eq!(request.wish(Offload::TxTcpChecksum), Wish::Auto);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OffloadRequest {
    wishes: [Wish; COUNT],
}

impl OffloadRequest {
    /// Nothing is wished.
    pub const NONE: Self = Self {
        wishes: [Wish::Off; COUNT],
    };

    /// The same but for one offload.
    pub const fn with(mut self, offload: Offload, wish: Wish) -> Self {
        self.wishes[offload.index()] = wish;
        self
    }

    /// What is wished of one.
    pub const fn wish(&self, offload: Offload) -> Wish {
        self.wishes[offload.index()]
    }
}

impl Default for OffloadRequest {
    fn default() -> Self {
        Self {
            wishes: [Wish::Auto; COUNT],
        }
        .with(Offload::Timestamp, Wish::Off)
        .with(Offload::FastFree, Wish::Off)
    }
}
