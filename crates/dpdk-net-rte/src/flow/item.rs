//! The headers of a pattern, and how DPDK's items are made of them.

use core::net::{Ipv4Addr, Ipv6Addr};

use dpdk_net_packet::MacAddr;
use dpdk_net_sys as sys;

use super::field::{Bits, Field, FieldValue};

/// An Ethernet header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EthernetItem {
    /// Destination.
    pub dst: Field<MacAddr>,
    /// Source.
    pub src: Field<MacAddr>,
    /// EtherType; in front of a VLAN tag, the tag's.
    pub ether_type: Field<u16>,
}

/// A VLAN tag (IEEE 802.1Q).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct VlanItem {
    /// VLAN ID, of 12 bits.
    pub id: Field<u16>,
    /// Priority (PCP), 0 to 7; none for any.
    pub priority: Option<u8>,
    /// The EtherType behind the tag.
    pub ether_type: Field<u16>,
}

/// An IPv4 header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ipv4Item {
    /// Source address.
    pub src: Field<Ipv4Addr>,
    /// Destination address.
    pub dst: Field<Ipv4Addr>,
    /// The protocol's number. Implied where a header of it follows.
    pub protocol: Field<u8>,
    /// Type of service: DSCP and ECN.
    pub tos: Field<u8>,
    /// Time to live.
    pub ttl: Field<u8>,
    /// Whether it is a fragment; none for either. That it is takes a range.
    pub fragment: Option<bool>,
}

/// An IPv6 header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Ipv6Item {
    /// Source address.
    pub src: Field<Ipv6Addr>,
    /// Destination address.
    pub dst: Field<Ipv6Addr>,
    /// The next header's number. Implied where a header follows.
    pub next_header: Field<u8>,
    /// Hop limit.
    pub hop_limit: Field<u8>,
    /// Whether it has a fragment header; none for either.
    pub fragment: Option<bool>,
}

/// A TCP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TcpItem {
    /// Source port.
    pub src_port: Field<u16>,
    /// Destination port.
    pub dst_port: Field<u16>,
    /// Flags, from CWR (0x80) to FIN (0x01).
    pub flags: Field<u8>,
}

/// A UDP header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct UdpItem {
    /// Source port.
    pub src_port: Field<u16>,
    /// Destination port.
    pub dst_port: Field<u16>,
}

/// An ICMP header, over IPv4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Icmpv4Item {
    /// The message's type.
    pub kind: Field<u8>,
    /// Its code.
    pub code: Field<u8>,
}

/// An ICMPv6 header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Icmpv6Item {
    /// The message's type.
    pub kind: Field<u8>,
    /// Its code.
    pub code: Field<u8>,
}

/// One header of a pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Item {
    /// Ethernet.
    Ethernet(EthernetItem),
    /// A VLAN tag.
    Vlan(VlanItem),
    /// IPv4.
    Ipv4(Ipv4Item),
    /// IPv6.
    Ipv6(Ipv6Item),
    /// TCP.
    Tcp(TcpItem),
    /// UDP.
    Udp(UdpItem),
    /// ICMP.
    Icmpv4(Icmpv4Item),
    /// ICMPv6.
    Icmpv6(Icmpv6Item),
}

/// Highest VLAN ID.
const VLAN_IDS: u16 = 0x0fff;
/// Of IPv4's flags and fragment offset, what is 0 in a whole packet: more fragments, and the offset.
const IPV4_FRAGMENT: u16 = 0x3fff;

impl Item {
    /// Whether packets have this header right behind that one.
    pub(super) fn goes_behind(&self, outer: &Self) -> bool {
        match self {
            Self::Ethernet(_) => false,
            Self::Vlan(_) | Self::Ipv4(_) | Self::Ipv6(_) => {
                matches!(outer, Self::Ethernet(_) | Self::Vlan(_))
            }
            Self::Tcp(_) | Self::Udp(_) => matches!(outer, Self::Ipv4(_) | Self::Ipv6(_)),
            Self::Icmpv4(_) => matches!(outer, Self::Ipv4(_)),
            Self::Icmpv6(_) => matches!(outer, Self::Ipv6(_)),
        }
    }

    /// What the header is called.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Ethernet(_) => "Ethernet",
            Self::Vlan(_) => "VLAN",
            Self::Ipv4(_) => "IPv4",
            Self::Ipv6(_) => "IPv6",
            Self::Tcp(_) => "TCP",
            Self::Udp(_) => "UDP",
            Self::Icmpv4(_) => "ICMP",
            Self::Icmpv6(_) => "ICMPv6",
        }
    }

    /// What is wrong with it, if anything.
    pub(super) fn problem(&self) -> Option<String> {
        fn of<T: FieldValue>(name: &str, field: &Field<T>) -> Option<String> {
            field.problem().map(|problem| format!("{name}: {problem}"))
        }
        match self {
            Self::Ethernet(item) => of("dst", &item.dst)
                .or_else(|| of("src", &item.src))
                .or_else(|| of("ether_type", &item.ether_type)),
            Self::Vlan(item) => {
                let Bits { spec, last, .. } = item.id.bits();
                let too_large = spec.max(last) > u128::from(VLAN_IDS);
                if too_large || item.priority.is_some_and(|priority| priority > 7) {
                    return Some(
                        "a VLAN ID has 12 bits, a priority 3: 0 to 4095, and 0 to 7".into(),
                    );
                }
                of("id", &item.id).or_else(|| of("ether_type", &item.ether_type))
            }
            Self::Ipv4(item) => of("src", &item.src)
                .or_else(|| of("dst", &item.dst))
                .or_else(|| of("protocol", &item.protocol))
                .or_else(|| of("tos", &item.tos))
                .or_else(|| of("ttl", &item.ttl)),
            Self::Ipv6(item) => of("src", &item.src)
                .or_else(|| of("dst", &item.dst))
                .or_else(|| of("next_header", &item.next_header))
                .or_else(|| of("hop_limit", &item.hop_limit)),
            Self::Tcp(item) => of("src_port", &item.src_port)
                .or_else(|| of("dst_port", &item.dst_port))
                .or_else(|| of("flags", &item.flags)),
            Self::Udp(item) => {
                of("src_port", &item.src_port).or_else(|| of("dst_port", &item.dst_port))
            }
            Self::Icmpv4(Icmpv4Item { kind, code }) | Self::Icmpv6(Icmpv6Item { kind, code }) => {
                of("kind", kind).or_else(|| of("code", code))
            }
        }
    }

    /// The item as the shim takes it: bytes as they are in the header.
    pub(super) fn encode(&self) -> sys::dn_flow_item {
        let mut to = Header::default();
        let header = match self {
            Self::Ethernet(item) => {
                to.field(0, &item.dst);
                to.field(6, &item.src);
                to.field(12, &item.ether_type);
                sys::DN_FLOW_ETH
            }
            Self::Vlan(item) => {
                let mut control = item.id.bits();
                control.mask &= u128::from(VLAN_IDS);
                if let Some(priority) = item.priority {
                    control.spec |= u128::from(priority) << 13;
                    control.last |= u128::from(priority) << 13;
                    control.mask |= 0b111 << 13;
                }
                to.bits(0, 2, control);
                to.field(2, &item.ether_type);
                sys::DN_FLOW_VLAN
            }
            Self::Ipv4(item) => {
                to.field(1, &item.tos);
                let mask = u128::from(IPV4_FRAGMENT);
                let (spec, last) = if item.fragment == Some(true) {
                    (1, mask)
                } else {
                    (0, 0)
                };
                if item.fragment.is_some() {
                    to.bits(6, 2, Bits { spec, last, mask });
                }
                to.field(8, &item.ttl);
                to.field(9, &item.protocol);
                to.field(12, &item.src);
                to.field(16, &item.dst);
                sys::DN_FLOW_IPV4
            }
            Self::Ipv6(item) => {
                to.field(6, &item.next_header);
                to.field(7, &item.hop_limit);
                to.field(8, &item.src);
                to.field(24, &item.dst);
                if let Some(fragment) = item.fragment {
                    to.item.frag_spec = fragment.into();
                    to.item.frag_mask = 1;
                    to.item.has_spec = 1;
                }
                sys::DN_FLOW_IPV6
            }
            Self::Tcp(item) => {
                to.field(0, &item.src_port);
                to.field(2, &item.dst_port);
                to.field(13, &item.flags);
                sys::DN_FLOW_TCP
            }
            Self::Udp(item) => {
                to.field(0, &item.src_port);
                to.field(2, &item.dst_port);
                sys::DN_FLOW_UDP
            }
            Self::Icmpv4(item) => {
                to.field(0, &item.kind);
                to.field(1, &item.code);
                sys::DN_FLOW_ICMP
            }
            Self::Icmpv6(item) => {
                to.field(0, &item.kind);
                to.field(1, &item.code);
                sys::DN_FLOW_ICMP6
            }
        };
        to.item.header = header;
        to.item
    }
}

/// An item being made.
#[derive(Default)]
struct Header {
    item: sys::dn_flow_item,
}

impl Header {
    /// A field at this offset of the header.
    fn field<T: FieldValue>(&mut self, at: usize, field: &Field<T>) {
        self.bits(at, T::BITS as usize / 8, field.bits());
    }

    /// So many bytes at this offset. Where a field has no range its `last` is its `spec`, which is how DPDK is told so.
    fn bits(&mut self, at: usize, len: usize, bits: Bits) {
        if bits.mask == 0 {
            return;
        }
        let write = |header: &mut [u8; sys::DN_FLOW_HEADER_LEN], value: u128| {
            let bytes = value.to_be_bytes();
            header[at..at + len].copy_from_slice(&bytes[bytes.len() - len..]);
        };
        write(&mut self.item.spec, bits.spec);
        write(&mut self.item.last, bits.last);
        write(&mut self.item.mask, bits.mask);
        self.item.has_spec = 1;
        self.item.has_last |= u8::from(bits.last != bits.spec);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Spec, last and mask of a header's first bytes.
    fn bytes(item: Item, len: usize) -> [Vec<u8>; 3] {
        let item = item.encode();
        [item.spec, item.last, item.mask].map(|bytes| bytes[..len].to_vec())
    }

    #[test]
    fn nothing_is_asked_of_a_header_of_which_anything_will_do() {
        for item in [
            Item::Ethernet(EthernetItem::default()),
            Item::Vlan(VlanItem::default()),
            Item::Ipv4(Ipv4Item::default()),
            Item::Ipv6(Ipv6Item::default()),
            Item::Tcp(TcpItem::default()),
            Item::Udp(UdpItem::default()),
            Item::Icmpv4(Icmpv4Item::default()),
            Item::Icmpv6(Icmpv6Item::default()),
        ] {
            let encoded = item.encode();
            assert_eq!((encoded.has_spec, encoded.has_last), (0, 0), "{item:?}");
            assert_eq!(item.problem(), None);
        }
    }

    #[test]
    fn fields_are_where_they_are_in_the_header_in_network_byte_order() {
        let item = Item::Ipv4(Ipv4Item {
            src: Field::<Ipv4Addr>::prefix(Ipv4Addr::new(198, 18, 7, 9), 16),
            dst: Ipv4Addr::new(198, 18, 0, 1).into(),
            protocol: 6.into(),
            tos: 0xb8.into(),
            ttl: 64.into(),
            fragment: Some(false),
        });
        let [spec, last, mask] = bytes(item, 20);
        let expected = [
            0, 0xb8, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0, 198, 18, 0, 0, 198, 18, 0, 1,
        ];
        assert_eq!(
            (&spec[..], &last[..]),
            (&expected[..], &expected[..]),
            "no range"
        );
        let expected = [
            0, 255, 0, 0, 0, 0, 0x3f, 255, 255, 255, 0, 0, 255, 255, 0, 0, 255, 255, 255, 255,
        ];
        assert_eq!(mask, expected);
        assert_eq!(item.encode().has_last, 0);

        let item = Item::Ethernet(EthernetItem {
            dst: MacAddr([2, 0, 0, 0, 0, 1]).into(),
            src: Field::Any,
            ether_type: 0x0800.into(),
        });
        let [spec, _, mask] = bytes(item, 14);
        assert_eq!(spec, [2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 8, 0]);
        assert_eq!(
            mask,
            [255, 255, 255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 255, 255]
        );

        let item = Item::Ipv6(Ipv6Item {
            dst: "fd00::1".parse::<Ipv6Addr>().unwrap().into(),
            hop_limit: 255.into(),
            fragment: Some(true),
            ..Ipv6Item::default()
        });
        let encoded = item.encode();
        assert_eq!(
            (encoded.spec[7], encoded.spec[24], encoded.spec[39]),
            (255, 0xfd, 1)
        );
        assert_eq!((encoded.frag_spec, encoded.frag_mask), (1, 1));
    }

    #[test]
    fn where_one_field_has_a_range_the_others_have_none() {
        let item = Item::Tcp(TcpItem {
            src_port: 443.into(),
            dst_port: (0x0100..=0x01ff).into(),
            flags: Field::Masked {
                value: 0x02,
                mask: 0x12,
            },
        });
        let [spec, last, mask] = bytes(item, 14);
        assert_eq!(spec, [1, 0xbb, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(last, [1, 0xbb, 1, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        assert_eq!(mask, [255, 255, 255, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x12]);
        assert_eq!(item.encode().has_last, 1);
        let fragment = Item::Ipv4(Ipv4Item {
            fragment: Some(true),
            ..Ipv4Item::default()
        });
        let [spec, last, mask] = bytes(fragment, 8);
        assert_eq!(
            (&spec[6..], &last[6..], &mask[6..]),
            (&[0, 1][..], &[0x3f, 255][..], &[0x3f, 255][..])
        );
    }

    #[test]
    fn a_tag_is_its_control_information_and_the_type_behind_it() {
        let tag = VlanItem {
            id: 100.into(),
            priority: Some(5),
            ether_type: 0x86dd.into(),
        };
        let [spec, _, mask] = bytes(Item::Vlan(tag), 4);
        assert_eq!(
            (&spec[..], &mask[..]),
            (&[0xa0, 100, 0x86, 0xdd][..], &[0xef, 255, 255, 255][..])
        );
        for wrong in [
            VlanItem {
                id: 4096.into(),
                ..tag
            },
            VlanItem {
                id: (1..=5000).into(),
                ..tag
            },
            VlanItem {
                priority: Some(8),
                ..tag
            },
        ] {
            assert!(
                Item::Vlan(wrong).problem().unwrap().contains("12 bits"),
                "{wrong:?}"
            );
        }
    }

    #[test]
    fn a_bad_range_is_named_with_its_field() {
        #[allow(clippy::reversed_empty_ranges)]
        let ports = Field::<u16>::from(9..=8);
        let item = Item::Udp(UdpItem {
            dst_port: ports,
            ..UdpItem::default()
        });
        assert!(item.problem().unwrap().starts_with("dst_port: "));
    }
}
