//! `[[port.flow]]`: flow rules (`rte_flow`).

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use dpdk_net_packet::MacAddr;
use serde_json::{Value as Json, json};

use crate::decode::{Reader, Setting, section};
use crate::tree::{Node, Value};
use crate::value::choice;

/// What a header field has to be: a value, some of its bits, or within a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Bits<T> {
    /// This value: `443`.
    Exact(T),
    /// These bits of it, where the mask has ones: `0x0800/0xff00`; for addresses also a prefix, `10.0.0.0/8`.
    Masked {
        /// The bits.
        value: T,
        /// Which of them count.
        mask: T,
    },
    /// From the first to the last: `1000-1999`.
    Range {
        /// The smallest.
        first: T,
        /// The largest.
        last: T,
    },
}

/// What a field can hold.
trait Operand: Copy + PartialOrd + fmt::Display {
    const WHAT: &'static str;
    const EXAMPLES: &'static str;
    /// How the reference calls what is matched.
    const MATCH: &'static str;

    fn read(text: &str) -> Option<Self>;

    /// The mask that stands behind a slash.
    fn read_mask(text: &str) -> Option<Self> {
        Self::read(text)
    }

    fn from_integer(_: i128) -> Option<Self> {
        None
    }

    /// What it may be.
    fn range() -> String {
        format!("it should be {}", Self::WHAT)
    }
}

macro_rules! number {
    ($ty:ty, $match:literal) => {
        impl Operand for $ty {
            const WHAT: &'static str = "a number";
            const MATCH: &'static str = $match;
            const EXAMPLES: &'static str = "443, \"1000-1999\" or \"0x10/0xf0\" (bits and mask)";

            fn read(text: &str) -> Option<Self> {
                match text.strip_prefix("0x") {
                    Some(digits) => Self::from_str_radix(digits, 16).ok(),
                    None => text.parse().ok(),
                }
            }

            fn from_integer(integer: i128) -> Option<Self> {
                integer.try_into().ok()
            }

            fn range() -> String {
                format!("it may be 0 to {}", Self::MAX)
            }
        }
    };
}
number!(u8, "a number up to 255, bits or a range");
number!(u16, "a number up to 65535, bits or a range");

macro_rules! address {
    ($ty:ty, $bits:ty, $what:literal, $examples:literal) => {
        impl Operand for $ty {
            const WHAT: &'static str = $what;
            const MATCH: &'static str = concat!($what, ", a prefix, bits or a range");
            const EXAMPLES: &'static str = $examples;

            fn read(text: &str) -> Option<Self> {
                text.parse().ok()
            }

            fn read_mask(text: &str) -> Option<Self> {
                match text.parse::<u32>() {
                    Ok(len) if len <= <$bits>::BITS => Some(Self::from_bits(
                        <$bits>::MAX.checked_shl(<$bits>::BITS - len).unwrap_or(0),
                    )),
                    Ok(_) => None,
                    Err(_) => text.parse().ok(),
                }
            }
        }
    };
}
address!(
    Ipv4Addr,
    u32,
    "an IPv4 address",
    "\"198.18.0.1\", \"10.0.0.0/8\" or \"10.0.0.1-10.0.0.9\""
);
address!(
    Ipv6Addr,
    u128,
    "an IPv6 address",
    "\"fd00::1\" or \"fd00::/64\""
);

impl Operand for MacAddr {
    const WHAT: &'static str = "a MAC address";
    const MATCH: &'static str = "a MAC address, or bits of it";
    const EXAMPLES: &'static str =
        "\"02:00:5e:10:00:01\" or \"01:00:5e:00:00:00/ff:ff:ff:80:00:00\"";

    fn read(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}

#[allow(private_bounds)] // Nobody else has values of header fields.
impl<T: Operand> Setting for Bits<T> {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let read = match &node.value {
            Value::Integer(integer) => match T::from_integer(*integer) {
                Some(value) => Ok(Self::Exact(value)),
                None => Err(T::range()),
            },
            Value::Text(text) => read(text),
            _ => {
                reader.wrong_type(node, &format!("{}, as in {}", T::WHAT, T::EXAMPLES));
                return None;
            }
        };
        let help = || Some(format!("as in {}", T::EXAMPLES));
        read.map_err(|why| reader.bad_value(node, why, help())).ok()
    }

    fn schema() -> Json {
        match T::from_integer(0) {
            Some(_) => json!({ "type": ["integer", "string"], "x-type": T::MATCH }),
            None => json!({ "type": "string", "x-type": T::MATCH }),
        }
    }

    fn to_json(&self) -> Json {
        match self {
            Self::Exact(value) => value.to_string().into(),
            Self::Masked { value, mask } => format!("{value}/{mask}").into(),
            Self::Range { first, last } => format!("{first}-{last}").into(),
        }
    }
}

fn read<T: Operand>(text: &str) -> Result<Bits<T>, String> {
    let one =
        |text: &str| T::read(text.trim()).ok_or_else(|| format!("`{text}` is not {}", T::WHAT));
    if let Some((value, mask)) = text.split_once('/') {
        let value = one(value)?;
        let mask = T::read_mask(mask.trim()).ok_or_else(|| format!("`{mask}` is no mask"))?;
        return Ok(Bits::Masked { value, mask });
    }
    // MAC addresses may have dashes too: those are no ranges.
    if let Some(value) = T::read(text.trim()) {
        return Ok(Bits::Exact(value));
    }
    if let Some((first, last)) = text.split_once('-') {
        let (first, last) = (one(first)?, one(last)?);
        if first > last {
            return Err("the range ends before it begins".to_owned());
        }
        return Ok(Bits::Range { first, last });
    }
    Err(T::range())
}

choice! {
    /// Which packets a rule is for.
    pub enum FlowDirection {
        /// Those that are received.
        Ingress = "ingress",
        /// Those that are sent.
        Egress = "egress",
        /// Those of the whole embedded switch that the port is part of.
        Transfer = "transfer",
    }
}

section! {
    /// An Ethernet header.
    pub struct FlowEthernet: Default {
        /// Destination.
        opt dst: Bits<MacAddr>;
        /// Source.
        opt src: Bits<MacAddr>;
        /// EtherType.
        opt ether_type: Bits<u16>;
    }
}

section! {
    /// A VLAN tag.
    pub struct FlowVlan: Default {
        /// VLAN id.
        opt id: Bits<u16>;
        /// Priority (PCP).
        opt priority: u8 { range: Some((0, 7)) };
        /// The EtherType behind the tag.
        opt ether_type: Bits<u16>;
    }
}

section! {
    /// An IPv4 header.
    pub struct FlowIpv4: Default {
        /// Source address.
        opt src: Bits<Ipv4Addr>;
        /// Destination address.
        opt dst: Bits<Ipv4Addr>;
        /// The protocol's number.
        opt protocol: Bits<u8>;
        /// Type of service: DSCP and ECN.
        opt tos: Bits<u8>;
        /// Time to live.
        opt ttl: Bits<u8>;
        /// Whether it is a fragment.
        opt fragment: bool;
    }
}

section! {
    /// An IPv6 header.
    pub struct FlowIpv6: Default {
        /// Source address.
        opt src: Bits<Ipv6Addr>;
        /// Destination address.
        opt dst: Bits<Ipv6Addr>;
        /// The next header's number.
        opt next_header: Bits<u8>;
        /// Hop limit.
        opt hop_limit: Bits<u8>;
        /// Whether it has a fragment header.
        opt fragment: bool;
    }
}

section! {
    /// A TCP header.
    pub struct FlowTcp: Default {
        /// Source port.
        opt src_port: Bits<u16>;
        /// Destination port.
        opt dst_port: Bits<u16>;
        /// Flags, from CWR (0x80) to FIN (0x01).
        opt flags: Bits<u8>;
    }
}

section! {
    /// A UDP header.
    pub struct FlowUdp: Default {
        /// Source port.
        opt src_port: Bits<u16>;
        /// Destination port.
        opt dst_port: Bits<u16>;
    }
}

section! {
    /// An ICMP header.
    pub struct FlowIcmp: Default {
        /// The message's type.
        opt kind: Bits<u8>;
        /// Its code.
        opt code: Bits<u8>;
    }
}

section! {
    /// A flow rule: headers to match, from the outside in, and what is done with packets that have them. One of `queue`,
    /// `queues`, `discard`, `jump` and `pass` is its fate.
    pub struct FlowRule: Default {
        /// Which packets it is for.
        opt direction: FlowDirection { default: "ingress" };
        /// Its group.
        opt group: u32 { default: "0" };
        /// Its priority in the group: 0 is the highest.
        opt priority: u32 { default: "0" };
        /// The Ethernet header.
        opt ethernet: FlowEthernet;
        /// VLAN tags, the outer one first.
        list vlan: FlowVlan;
        /// The IPv4 header.
        opt ipv4: FlowIpv4;
        /// The IPv6 header.
        opt ipv6: FlowIpv6;
        /// The TCP header.
        opt tcp: FlowTcp;
        /// The UDP header.
        opt udp: FlowUdp;
        /// The ICMP header, over IPv4.
        opt icmp: FlowIcmp;
        /// The ICMPv6 header.
        opt icmpv6: FlowIcmp;
        /// Whether packets are counted.
        opt count: bool { default: "false" };
        /// What packets are marked with.
        opt mark: u32;
        /// The queue that packets go to.
        opt queue: u16;
        /// The queues that they are spread over.
        list queues: u16;
        /// Whether they are dropped.
        opt discard: bool;
        /// The group whose rules come next.
        opt jump: u32;
        /// Whether rules of lower priority come next.
        opt pass: bool;
        /// Whether a port that refuses the rule is started all the same, with a warning.
        opt optional: bool { default: "false" };
    }
}
