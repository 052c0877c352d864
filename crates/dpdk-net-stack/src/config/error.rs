//! Why a configuration can't be used: what is wrong, and what would be right.

use alloc::string::String;
use core::net::IpAddr;

use dpdk_net_packet::MacAddr;

/// Why a configuration or a part of it can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The text is not `address/prefix length`.
    #[error("'{0}' is not an address with a prefix length such as 198.18.0.2/24 or fd00::2/64")]
    MalformedAddress(String),
    /// More bits than the address has.
    #[error("the prefix length {prefix_len} of {addr} is longer than the address (at most {max})")]
    PrefixTooLong {
        /// The address it came with.
        addr: IpAddr,
        /// The length given, in bits.
        prefix_len: u8,
        /// The longest one possible, in bits.
        max: u8,
    },
    /// Multicast, broadcast, unspecified or loopback addresses can't be an interface's own.
    #[error("{0} can't be an interface address: it must be a unicast address other than loopback")]
    NotUnicast(IpAddr),
    /// The same address twice: of one interface, or of two unless it is a link-local one.
    #[error("the address {0} is given twice")]
    DuplicateAddress(IpAddr),
    /// No VLAN has this id.
    #[error("the VLAN id {0} is out of range: 1 to 4094 is possible")]
    BadVlanId(u16),
    /// The same VLAN twice.
    #[error("the VLAN {0} is given twice: it is one interface, which may have several addresses")]
    DuplicateVlan(u16),
    /// More than three bits.
    #[error("the priority {priority} of VLAN {vlan} is out of range: 0 to 7 is possible")]
    BadVlanPriority {
        /// The VLAN's id.
        vlan: u16,
        /// The priority given.
        priority: u8,
    },
    /// Less than IPv6 demands, or more than the port takes.
    #[error(
        "the MTU {mtu} of VLAN {vlan} is out of range: 1280 to the port's, {most}, is possible"
    )]
    BadVlanMtu {
        /// The VLAN's id.
        vlan: u16,
        /// The MTU given, in bytes.
        mtu: u16,
        /// The port's MTU, in bytes.
        most: u16,
    },
    /// More than [`MAX_VLANS`](super::MAX_VLANS).
    #[error("{given} VLANs are too many for one port: {most} at most are possible")]
    TooManyVlans {
        /// How many were given.
        given: usize,
        /// How many are possible.
        most: usize,
    },
    /// A route, or a neighbour, names a VLAN that there is no interface for.
    #[error("the route to {dest} names VLAN {vlan}, which is not configured")]
    UnknownVlan {
        /// The destination of the route, or the neighbour.
        dest: IpAddr,
        /// The VLAN's id.
        vlan: u16,
    },
    /// A gateway that is of the other family than its route, or that is no unicast address.
    #[error(
        "the gateway {gateway} can't be used for a route to {dest}: it must be a unicast address of the same family"
    )]
    BadGateway {
        /// The destination of the route.
        dest: IpAddr,
        /// The gateway given.
        gateway: IpAddr,
    },
    /// Outside of 1280 to 9000.
    #[error("the MTU {0} is out of range: an IP MTU of 1280 to 9000 bytes is needed")]
    BadMtu(u16),
    /// Not a unicast address.
    #[error(
        "the MAC address {0} can't be an interface's own: it must be a unicast address other than zero"
    )]
    BadMac(MacAddr),
    /// A name that no congestion control algorithm has.
    #[error("there is no congestion control algorithm '{0}': cubic, reno and bbr are possible")]
    UnknownCongestionAlgorithm(String),
    /// A setting that can't be changed while a stack runs.
    #[error("{0} can't be changed while the stack runs")]
    NotWhileRunning(&'static str),
    /// A figure outside of what is possible.
    #[error("{name} = {value} is out of range: {min} to {max} is possible")]
    OutOfRange {
        /// The field of the configuration.
        name: &'static str,
        /// The value given.
        value: u64,
        /// The least that is possible.
        min: u64,
        /// The most that is possible.
        max: u64,
    },
}
