//! What a stack is told at its start: addresses, routes, sizes and limits, each with its default.
//!
//! [`Config::validate`] finds all that can't work before a packet moves. Addresses, routes and neighbours can be
//! changed while a stack runs (`Stack::add_address` and the like), limits and TCP's settings as `Stack::reconfigure`
//! says; the rest stays as it is.

mod error;
mod neighbor;
mod ranges;
mod route;
mod vlan;

use alloc::vec::Vec;
use core::fmt;
use core::net::IpAddr;
use core::str::FromStr;

use dpdk_net_packet::MacAddr;
use dpdk_net_packet::gso::Checksums;

use crate::addr;
use crate::tcp::Keepalive;
use crate::tcp::cc::Algorithm;
use crate::time::Duration;

pub use error::ConfigError;
pub use neighbor::Neighbor;
pub use route::Route;
pub use vlan::{MAX_VLANS, Vlan};

/// The smallest IP MTU a stack takes: what IPv6 demands of every link (RFC 8200 section 5).
pub const MIN_MTU: u16 = 1280;
/// The largest IP MTU a stack takes: jumbo frames.
pub const MAX_MTU: u16 = 9000;

/// An address of an interface, with the length of the prefix that is on the link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct IfAddr {
    /// The address.
    pub addr: IpAddr,
    /// Length of the on-link prefix, in bits.
    pub prefix_len: u8,
}

impl IfAddr {
    /// An address with its prefix length; an error if the prefix is longer than the address.
    pub fn new(addr: IpAddr, prefix_len: u8) -> Result<Self, ConfigError> {
        let max = address_bits(addr);
        if prefix_len > max {
            return Err(ConfigError::PrefixTooLong {
                addr,
                prefix_len,
                max,
            });
        }
        Ok(IfAddr { addr, prefix_len })
    }

    /// Whether an interface can have it.
    pub(crate) fn validate(&self) -> Result<(), ConfigError> {
        IfAddr::new(self.addr, self.prefix_len)?;
        if !is_interface_address(self.addr) {
            return Err(ConfigError::NotUnicast(self.addr));
        }
        Ok(())
    }

    /// Whether `other` is within the prefix of this address.
    pub fn contains(&self, other: IpAddr) -> bool {
        prefix_contains(self.addr, self.prefix_len, other)
    }
}

impl FromStr for IfAddr {
    type Err = ConfigError;

    /// Reads `198.18.0.2/24` or `fd00::2/64`.
    fn from_str(text: &str) -> Result<Self, ConfigError> {
        let malformed = || ConfigError::MalformedAddress(text.into());
        let (addr, prefix_len) = text.split_once('/').ok_or_else(malformed)?;
        let addr: IpAddr = addr.parse().map_err(|_| malformed())?;
        let prefix_len: u8 = prefix_len.parse().map_err(|_| malformed())?;
        IfAddr::new(addr, prefix_len)
    }
}

impl fmt::Display for IfAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix_len)
    }
}

pub(crate) fn address_bits(addr: IpAddr) -> u8 {
    match addr {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

pub(crate) fn prefix_contains(prefix: IpAddr, prefix_len: u8, addr: IpAddr) -> bool {
    match (prefix, addr) {
        (IpAddr::V4(p), IpAddr::V4(a)) => {
            let differing = p.to_bits() ^ a.to_bits();
            prefix_len == 0 || differing >> (32 - u32::from(prefix_len.min(32))) == 0
        }
        (IpAddr::V6(p), IpAddr::V6(a)) => {
            let differing = p.to_bits() ^ a.to_bits();
            prefix_len == 0 || differing >> (128 - u32::from(prefix_len.min(128))) == 0
        }
        _ => false,
    }
}

/// Checksums that a NIC makes, of packets of one kind.
///
/// The stack makes those of ICMP, of fragments and of segments without a connection by itself all the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ChecksumOffload {
    /// The header's of IPv4 packets whose transport checksum is made by the NIC too.
    pub ipv4: bool,
    /// TCP's.
    pub tcp: bool,
    /// UDP's.
    pub udp: bool,
}

impl ChecksumOffload {
    /// None.
    pub const NONE: Self = Self {
        ipv4: false,
        tcp: false,
        udp: false,
    };
    /// All.
    pub const ALL: Self = Self {
        ipv4: true,
        tcp: true,
        udp: true,
    };

    /// What of TCP segments the stack makes.
    pub(crate) fn of_tcp(self) -> Checksums {
        Checksums {
            ip: !(self.ipv4 && self.tcp),
            transport: !self.tcp,
        }
    }

    /// What of UDP datagrams the stack makes.
    pub(crate) fn of_udp(self) -> Checksums {
        Checksums {
            ip: !(self.ipv4 && self.udp),
            transport: !self.udp,
        }
    }
}

/// What TCP is told. The comments name the sysctl or socket option of the same meaning where there is one.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpConfig {
    /// What a connection may hold unread at most, in bytes; the window offered grows up to it while the application reads
    /// fast (`tcp_rmem`). Nothing is allocated before there are bytes. Default 6 MiB.
    pub recv_buffer: usize,
    /// The window offered at first, in bytes. Default 64 KiB.
    pub recv_window: usize,
    /// What a connection may hold unacknowledged at most, in bytes; what may be written grows up to it with the
    /// congestion window (`tcp_wmem`). Default 4 MiB.
    pub send_buffer: usize,
    /// What may be written at first before it is acknowledged, in bytes. Default 64 KiB.
    pub send_room: usize,
    /// Bytes by which the buffers of all connections together may be larger than at first (`tcp_mem`): past it none grows,
    /// and those that are empty give back what they had grown. Buffer sizes that were chosen for a socket do not count.
    /// Default 1 GiB.
    pub buffer_growth: usize,
    /// Congestion control of connections that do not choose (`TCP_CONGESTION`). Default CUBIC.
    pub congestion: Algorithm,
    /// Explicit congestion notification (`tcp_ecn`). Default [`Ecn::Accept`].
    pub ecn: Ecn,
    /// Selective acknowledgments (`tcp_sack`). Default on.
    pub sack: bool,
    /// Timestamps (`tcp_timestamps`). Default on.
    pub timestamps: bool,
    /// Whether Nagle's algorithm is off for new connections (`TCP_NODELAY`). Default off, as with Linux: Nagle's
    /// algorithm is on.
    pub nodelay: bool,
    /// Retransmission timeout of a SYN, and of the answer to one (RFC 6298 section 2.1). Default 1 s.
    pub initial_rto: Duration,
    /// The least retransmission timeout of an established connection (`tcp_rto_min_us`). Default 5 ms.
    pub min_rto: Duration,
    /// The largest retransmission timeout, back-off included. Default 60 s.
    pub max_rto: Duration,
    /// How late a peer may acknowledge a segment that is alone: so much longer it is waited for. Default 40 ms, what Linux
    /// delays an ACK.
    pub peer_ack_delay: Duration,
    /// How often a SYN is repeated (`tcp_syn_retries`). Default 7, which fills `connect_timeout`.
    pub syn_retries: u8,
    /// Half-open connections over all listeners; past it SYNs are answered with cookies (RFC 4987 section 3.6).
    /// Default 1024 (`tcp_max_syn_backlog`).
    pub syn_queue: usize,
    /// How often a SYN-ACK is repeated before the half-open connection is given up. Default 5 (`tcp_synack_retries`).
    pub syn_ack_retries: u8,
    /// How long an outgoing connection may take before it fails with `TimedOut`. Default three minutes (RFC
    /// 9293 section 3.8.3); applications that want to know earlier set a timeout of their own.
    pub connect_timeout: Duration,
    /// How long what was sent may stay unacknowledged before the connection fails with `TimedOut` (`TCP_USER_TIMEOUT`, RFC
    /// 5482); while the peer's window is closed, how long nothing may be heard from it. An idle connection is never hit.
    /// Default 924 s, Linux' 15 retries.
    pub user_timeout: Duration,
    /// The same for a connection that the application has let go of. Default 100 s (`tcp_orphan_retries` = 8).
    pub orphan_timeout: Duration,
    /// How long a connection that the application has let go of stays in FIN-WAIT-2. Default 60 s (`tcp_fin_timeout`).
    pub fin_wait2_timeout: Duration,
    /// Length of TIME-WAIT. Default 60 s, as Linux.
    pub time_wait: Duration,
    /// Connections in TIME-WAIT kept at most; past it the oldest ends early. Default 65,536 (`tcp_max_tw_buckets`).
    pub max_time_wait: usize,
    /// Connections at most, those half-open and in TIME-WAIT not counted. Default 1,048,576.
    pub max_connections: usize,
    /// Connections that the application has let go of, kept at most; past it they are reset at close. Default 16,384
    /// (`tcp_max_orphans`).
    pub max_orphans: usize,
    /// Challenge ACKs a second over all connections, at most (RFC 5961 section 7). How many it is differs from second to
    /// second, so that nobody learns from it what others were answered; so it is with the other limits a second. Default
    /// 1,000 (`tcp_challenge_ack_limit`).
    pub challenge_acks_per_second: u32,
    /// RSTs a second sent in answer to segments that belong to no connection. Default 20,000: as many clients may be
    /// refused at once, and a flood is answered with no more bytes than it brings.
    pub resets_per_second: u32,
    /// Delay of an ACK that has nothing to ride on, at most (RFC 9293 section 3.8.6.3). Default 10 ms.
    pub ack_delay: Duration,
    /// Keep-alive of connections that switch it on. Default as Linux: 2 hours, 75 s, 9 probes.
    pub keepalive: Keepalive,
    /// First port for outgoing connections (`ip_local_port_range`). Default 1,024 (RFC 6056 section 3.2): with it 64,512
    /// connections from one address to one peer's port are possible.
    pub ephemeral_first: u16,
    /// Last port for outgoing connections. Default 65,535.
    pub ephemeral_last: u16,
}

impl Default for TcpConfig {
    fn default() -> Self {
        TcpConfig {
            recv_buffer: 6 * 1024 * 1024,
            recv_window: 64 * 1024,
            send_buffer: 4 * 1024 * 1024,
            send_room: 64 * 1024,
            buffer_growth: 1 << 30,
            congestion: Algorithm::default(),
            ecn: Ecn::default(),
            sack: true,
            timestamps: true,
            nodelay: false,
            initial_rto: Duration::from_secs(1),
            min_rto: Duration::from_millis(5),
            max_rto: Duration::from_secs(60),
            peer_ack_delay: Duration::from_millis(40),
            syn_retries: 7,
            syn_queue: 1024,
            syn_ack_retries: 5,
            connect_timeout: Duration::from_secs(180),
            user_timeout: Duration::from_secs(924),
            orphan_timeout: Duration::from_secs(100),
            fin_wait2_timeout: Duration::from_secs(60),
            time_wait: Duration::from_secs(60),
            max_time_wait: 65_536,
            max_connections: 1_048_576,
            max_orphans: 16_384,
            challenge_acks_per_second: 1_000,
            resets_per_second: 20_000,
            ack_delay: Duration::from_millis(10),
            keepalive: Keepalive::default(),
            ephemeral_first: 1_024,
            ephemeral_last: 65_535,
        }
    }
}

/// Explicit congestion notification (RFC 3168), as `tcp_ecn` has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ecn {
    /// Never.
    Off,
    /// For connections from here too.
    Request,
    /// Where the peer asks for it.
    #[default]
    Accept,
}

impl TcpConfig {
    /// The window offered at first.
    pub(crate) fn initial_recv_window(&self) -> u32 {
        self.recv_window.min(self.recv_buffer) as u32
    }

    /// What may be written at first.
    pub(crate) fn initial_send_buffer(&self) -> u32 {
        self.send_room.min(self.send_buffer) as u32
    }

    pub(crate) fn ecn_allowed(&self) -> bool {
        self.ecn != Ecn::Off
    }
}

/// What UDP is told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UdpConfig {
    /// Bytes of datagrams that may wait in one socket, overhead included; more are dropped and counted. Default
    /// 208 KiB (`rmem_default`).
    pub recv_queue_bytes: usize,
    /// UDP sockets at most. Default 65,536.
    pub max_sockets: usize,
    /// First port for sockets that ask for any (`ip_local_port_range`). Default 32,768: a socket has its port whatever the
    /// peer, so the well-known ones are left to who asks for them.
    pub ephemeral_first: u16,
    /// Last port for such sockets. Default 60,999.
    pub ephemeral_last: u16,
}

impl Default for UdpConfig {
    fn default() -> Self {
        UdpConfig {
            recv_queue_bytes: 208 * 1024,
            max_sockets: 65_536,
            ephemeral_first: 32_768,
            ephemeral_last: 60_999,
        }
    }
}

/// Bounds on what strangers can make the stack keep or send.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// Neighbours known at most; past it the one used longest ago is forgotten. Default 4,096 (`gc_thresh3` is 1,024).
    pub neighbors: usize,
    /// Packets that wait for one unresolved neighbour; past it the oldest is dropped. Default 128, what a datagram of
    /// 64 KiB comes to on the narrowest path.
    pub pending_per_neighbor: usize,
    /// Bytes of packets that wait for all unresolved neighbours. Default 2 MiB.
    pub pending_bytes: usize,
    /// Bytes of fragments that wait for reassembly, over all datagrams. Default 4 MiB (`ipfrag_high_thresh`).
    pub reassembly_bytes: usize,
    /// How long a datagram may take to become whole. Default 30 s (`ipfrag_time`).
    pub reassembly_timeout: Duration,
    /// ICMP and ICMPv6 errors a second (RFC 1812 section 4.3.2.8, RFC 4443 section 2.4). Default 1,000.
    pub icmp_errors_per_second: u32,
    /// Echo replies a second. Default 1,000,000: what a flood ping of one host can send is answered.
    pub echo_replies_per_second: u32,
    /// Replies (ACKs, RSTs, ARP, NDP, ICMP) that wait for room in the TX ring, in frames. Default 2,048.
    pub reply_queue: usize,
    /// Bytes that the same queue may hold. Default 4 MiB.
    pub reply_queue_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            neighbors: 4_096,
            pending_per_neighbor: 128,
            pending_bytes: 2 * 1024 * 1024,
            reassembly_bytes: 4 * 1024 * 1024,
            reassembly_timeout: Duration::from_secs(30),
            icmp_errors_per_second: 1_000,
            echo_replies_per_second: 1_000_000,
            reply_queue: 2_048,
            reply_queue_bytes: 4 * 1024 * 1024,
        }
    }
}

/// All that a stack is told at its start.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// The MAC address that frames are sent from and received for.
    pub mac: MacAddr,
    /// The IP MTU: the largest IP packet in a frame, in bytes, 1280 to 9000. Default 1500.
    pub mtu: u16,
    /// The addresses of the port itself, in the untagged network. An IPv6 link-local address is made from `mac` and added if
    /// there is none.
    pub addresses: Vec<IfAddr>,
    /// VLANs that the port is a member of, each an interface of its own.
    pub vlans: Vec<Vlan>,
    /// Routes beside those to the prefixes of all addresses.
    pub routes: Vec<Route>,
    /// Neighbours that are not asked for, half of `limits.neighbors` at most.
    pub neighbors: Vec<Neighbor>,
    /// Whether the port itself listens to routers and makes addresses of what they advertise (SLAAC: RFC 4862); for
    /// VLANs, [`Vlan::slaac`]. Default off.
    pub slaac: bool,
    /// Keys the identifiers of the addresses that are made so: with a secret they are stable for a network and tell
    /// nothing of the machine (RFC 7217); keep it, and have another for each port. Default `None`: they are made of
    /// `mac` (RFC 4291).
    pub slaac_secret: Option<[u8; 16]>,
    /// Keys the flow table, initial sequence numbers and port choice. **Must** come from the system's random source
    /// where strangers can send packets; a fixed seed makes a run repeatable. Default all zero.
    pub seed: [u8; 32],
    /// Which worker's stack it is, where there are several with the same addresses
    /// ([`Stack::with_steering`](crate::Stack::with_steering)): below [`MAX_WORKERS`](crate::MAX_WORKERS), each another. They
    /// may have the same seed. Default 0.
    pub worker: u16,
    /// Whether addresses are probed before they are used (RFC 4862 section 5.4, RFC 5227). Default on.
    pub dad: bool,
    /// Whether memberships of multicast groups are reported to routers (IGMP, MLD): of several stacks with the same addresses
    /// it is one that does, for all. Default on.
    pub group_reports: bool,
    /// Whether checksums are verified in software where the NIC gave no verdict. Off only where nothing can corrupt
    /// a packet. Default on.
    pub rx_checksum: bool,
    /// Whether TCP segments of a connection that come together are dealt with as one (generic receive offload, in software).
    /// Default on.
    pub gro: bool,
    /// Whether a connection hands several segments at once to the sink, which cuts them or has the NIC do it (generic
    /// segmentation offload, TSO). Default on.
    pub gso: bool,
    /// Checksums of sent packets that are left to the sink ([`TxMeta::checksum`](crate::TxMeta::checksum)). Default none.
    pub tx_checksum_offload: ChecksumOffload,
    /// TCP.
    pub tcp: TcpConfig,
    /// UDP.
    pub udp: UdpConfig,
    /// Bounds on memory and rates.
    pub limits: Limits,
}

impl Config {
    /// The defaults, with this MAC address and no IP addresses.
    pub fn new(mac: MacAddr) -> Self {
        Config {
            mac,
            mtu: 1500,
            addresses: Vec::new(),
            vlans: Vec::new(),
            routes: Vec::new(),
            neighbors: Vec::new(),
            slaac: false,
            slaac_secret: None,
            seed: [0; 32],
            worker: 0,
            dad: true,
            group_reports: true,
            rx_checksum: true,
            gro: true,
            gso: true,
            tx_checksum_offload: ChecksumOffload::NONE,
            tcp: TcpConfig::default(),
            udp: UdpConfig::default(),
            limits: Limits::default(),
        }
    }

    /// Adds an address.
    #[must_use]
    pub fn with_address(mut self, address: IfAddr) -> Self {
        self.addresses.push(address);
        self
    }

    /// Adds a VLAN.
    #[must_use]
    pub fn with_vlan(mut self, vlan: Vlan) -> Self {
        self.vlans.push(vlan);
        self
    }

    /// Adds a route.
    #[must_use]
    pub fn with_route(mut self, route: Route) -> Self {
        self.routes.push(route);
        self
    }

    /// Adds a neighbour that is not asked for.
    #[must_use]
    pub fn with_neighbor(mut self, neighbor: Neighbor) -> Self {
        self.neighbors.push(neighbor);
        self
    }

    /// The seed of what must not be the same on two workers: choices that each makes for itself, such as ports and
    /// identifications. What all have to agree on, such as SYN cookies and initial sequence numbers, comes from `seed` itself.
    pub(crate) fn worker_seed(&self) -> [u8; 32] {
        let mut seed = self.seed;
        seed[28] ^= (self.worker >> 8) as u8;
        seed[29] ^= self.worker as u8;
        seed
    }

    /// Checks all of it, and tells the first thing that can't work.
    pub fn validate(&self) -> Result<(), ConfigError> {
        if !self.mac.is_unicast() || self.mac == MacAddr::ZERO {
            return Err(ConfigError::BadMac(self.mac));
        }
        if !(MIN_MTU..=MAX_MTU).contains(&self.mtu) {
            return Err(ConfigError::BadMtu(self.mtu));
        }
        vlan::validate(&self.vlans, self.mtu)?;
        self.validate_addresses()?;
        let has_vlan = |id: u16| id == 0 || self.vlans.iter().any(|known| known.id == id);
        for route in &self.routes {
            route.validate(has_vlan)?;
        }
        for neighbor in &self.neighbors {
            neighbor.validate(has_vlan)?;
        }
        self.validate_ranges()
    }

    /// Each address is of one interface only; link-local ones are of their link (RFC 4007 section 4).
    fn validate_addresses(&self) -> Result<(), ConfigError> {
        let own = self.addresses.iter().map(|address| (0, address));
        let of_vlans = self.vlans.iter();
        let of_vlans = of_vlans.flat_map(|v| v.addresses.iter().map(move |a| (v.id, a)));
        let mut seen: Vec<(u16, IpAddr)> = Vec::new();
        for (vlan, &IfAddr { addr, prefix_len }) in own.chain(of_vlans) {
            IfAddr { addr, prefix_len }.validate()?;
            seen.push((if addr::is_link_local(addr) { vlan } else { 0 }, addr));
        }
        seen.sort_unstable();
        match seen.windows(2).find(|pair| pair[0] == pair[1]) {
            Some(pair) => Err(ConfigError::DuplicateAddress(pair[0].1)),
            None => Ok(()),
        }
    }
}

pub(crate) fn is_interface_address(addr: IpAddr) -> bool {
    let broadcast = matches!(addr, IpAddr::V4(v4) if v4.is_broadcast());
    !(addr.is_multicast() || addr.is_unspecified() || addr.is_loopback() || broadcast)
}

#[cfg(test)]
mod tests;
