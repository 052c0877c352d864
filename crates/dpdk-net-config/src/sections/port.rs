//! `[[port]]`: a device, and how it is set up.

use crate::decode::section;
use crate::value::{PciAddress, Size, Time, Written, choice};
use dpdk_net_packet::MacAddr;

use super::flow::FlowRule;
use super::network::Network;

choice! {
    /// The driver over a kernel's interface.
    pub enum InterfaceDriver {
        /// Packet sockets. For any interface, those of pairs and bridges among them.
        AfPacket = "af_packet",
        /// AF_XDP sockets: faster, where kernel and interface have them.
        AfXdp = "af_xdp",
        /// The PCI device behind the interface, taken from the kernel unless its driver shares it.
        Pci = "pci",
    }
}

choice! {
    /// What is wished of an offload.
    pub enum OffloadWish {
        /// On where the port offers it and it is not known to be broken.
        Auto = "auto",
        /// On, or the port is not started.
        On = "on",
        /// Off.
        Off = "off",
    }
}

section! {
    /// What the NIC does, each `auto`, `on` or `off`. What it does not do is done in software.
    pub struct Offloads: Default {
        /// Verify IPv4 header checksums of what is received.
        opt rx_ipv4_checksum: OffloadWish { default: "auto" };
        /// Verify TCP checksums of what is received.
        opt rx_tcp_checksum: OffloadWish { default: "auto" };
        /// Verify UDP checksums of what is received.
        opt rx_udp_checksum: OffloadWish { default: "auto" };
        /// Coalesce received TCP segments.
        opt lro: OffloadWish { default: "auto" };
        /// Spread a received frame over several mbufs.
        opt scatter: OffloadWish { default: "auto" };
        /// Strip VLAN tags of what is received.
        opt vlan_strip: OffloadWish { default: "auto" };
        /// Deliver the RSS hash of what is received.
        opt rss_hash: OffloadWish { default: "auto" };
        /// Tell when a packet was received.
        opt timestamp: OffloadWish { default: "off" };
        /// Fill IPv4 header checksums in.
        opt tx_ipv4_checksum: OffloadWish { default: "auto" };
        /// Fill TCP checksums in.
        opt tx_tcp_checksum: OffloadWish { default: "auto" };
        /// Fill UDP checksums in.
        opt tx_udp_checksum: OffloadWish { default: "auto" };
        /// Cut large packets into TCP segments.
        opt tso: OffloadWish { default: "auto" };
        /// Do so for IPv6 too.
        opt tso_ipv6: OffloadWish { default: "auto" };
        /// Cut large packets into UDP datagrams.
        opt udp_segmentation: OffloadWish { default: "auto" };
        /// Send packets of several mbufs as they are.
        opt multi_segs: OffloadWish { default: "auto" };
        /// Insert VLAN tags.
        opt vlan_insert: OffloadWish { default: "auto" };
        /// Free sent mbufs without looking at their pool; not together with `multi_segs`.
        opt fast_free: OffloadWish { default: "off" };
    }
}

choice! {
    /// What is hashed to choose a queue.
    pub enum RssHash {
        /// IPv4, by addresses.
        Ipv4 = "ipv4",
        /// Fragments of IPv4, by addresses.
        Ipv4Fragment = "ipv4-fragment",
        /// TCP over IPv4, by addresses and ports.
        Ipv4Tcp = "ipv4-tcp",
        /// UDP over IPv4, by addresses and ports.
        Ipv4Udp = "ipv4-udp",
        /// Other protocols over IPv4, by addresses.
        Ipv4Other = "ipv4-other",
        /// IPv6, by addresses.
        Ipv6 = "ipv6",
        /// Fragments of IPv6, by addresses.
        Ipv6Fragment = "ipv6-fragment",
        /// TCP over IPv6, by addresses and ports.
        Ipv6Tcp = "ipv6-tcp",
        /// UDP over IPv6, by addresses and ports.
        Ipv6Udp = "ipv6-udp",
        /// Other protocols over IPv6, by addresses.
        Ipv6Other = "ipv6-other",
    }
}

/// The key that packets are hashed with.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum RssKey {
    /// The driver's own.
    Driver,
    /// That of Microsoft's specification.
    Microsoft,
    /// One by which both directions of a flow have the same queue.
    Symmetric,
    /// These bytes, at least 40.
    Bytes(Vec<u8>),
}

impl std::str::FromStr for RssKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "driver" => return Ok(Self::Driver),
            "microsoft" => return Ok(Self::Microsoft),
            "symmetric" => return Ok(Self::Symmetric),
            _ => {}
        }
        let digits: String = text.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
        if !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(
                "it is \"driver\", \"microsoft\", \"symmetric\" or bytes in hexadecimal".to_owned(),
            );
        }
        if !digits.len().is_multiple_of(2) {
            return Err("it has half a byte".to_owned());
        }
        let pairs = digits.as_bytes().chunks(2);
        let bytes: Vec<u8> = pairs
            .filter_map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
            .collect();
        match bytes.len() {
            40..=256 => Ok(Self::Bytes(bytes)),
            n => Err(format!("a key has 40 to 256 bytes, this one {n}")),
        }
    }
}

impl std::fmt::Display for RssKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Driver => f.write_str("driver"),
            Self::Microsoft => f.write_str("microsoft"),
            Self::Symmetric => f.write_str("symmetric"),
            Self::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
        }
    }
}

impl Written for RssKey {
    const WHAT: &'static str = "an RSS key";
    const EXAMPLES: &'static [&'static str] = &["symmetric"];
    const PATTERN: &'static str = r"^(driver|microsoft|symmetric|[0-9A-Fa-f: ]+)$";

    fn read(text: &str) -> Result<Self, String> {
        text.parse()
    }
}

section! {
    /// How received packets are spread over several queues.
    pub struct Rss: Default {
        /// What is hashed, as far as the port can. All by default.
        list hash: RssHash;
        /// The key: `driver`, `microsoft`, `symmetric`, or at least 40 bytes in hexadecimal.
        opt key: RssKey { default: "driver" };
        /// How often the load of queues is looked at, and entries of the redirection table, with their connections, are moved
        /// from queues that have more than their share. Not done by default.
        opt rebalance: Time { range: Some((10_000, 86_400_000_000)) };
    }
}

section! {
    /// A port: a device by its PCI address, a virtual one, or one over a kernel's interface; one of `pci`, `vdev` and
    /// `interface`.
    pub struct Port: Default {
        /// What the application and the log call it.
        opt name: String { default: "what DPDK calls it" };
        /// The device's PCI address.
        opt pci: PciAddress;
        /// A virtual device: a driver's name, a number and arguments, as in `net_tap0,iface=tp0`.
        opt vdev: String;
        /// An interface of the kernel, as in `eth1`.
        opt interface: String;
        /// The driver over `interface`.
        opt driver: InterfaceDriver { default: "af_packet" };
        /// The IP MTU in bytes.
        opt mtu: u16 { range: Some((1280, 9000)), default: "1500" };
        /// The MAC address.
        opt mac: MacAddr { default: "the device's own" };
        /// RX and TX queues.
        opt queues: u16 { range: Some((1, 1024)), default: "one for each worker" };
        /// Descriptors of each RX and TX ring.
        opt descriptors: u16 { range: Some((16, 32768)), default: "what the driver recommends" };
        /// Mbufs of each queue's pool.
        opt mbufs: u32 { range: Some((256, 1 << 26)), default: "enough for both rings, bursts and caches" };
        /// Memory that bulk is written into once and sent from by reference; past it bulk is copied into each frame.
        opt send_memory: Size { range: Some((0, 1 << 36)), default: "8 MiB" };
        /// How long the link is waited for at start.
        opt link_timeout: Time { range: Some((0, 3_600_000_000)), default: "5 s" };
        /// What the NIC does.
        sub offloads: Offloads;
        /// How received packets are spread over several queues.
        sub rss: Rss;
        /// Flow rules, made when the port is started.
        list flow: FlowRule;
        /// Addresses, routes and names of this port. That of the only port may stand outside.
        sub network: Network;
    }
}
