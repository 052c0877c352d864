//! What a TX queue's port does by itself, and how a frame asks for it.
//!
//! What does not live here: which offloads are turned on (`dpdk_net_rte::port`).

use dpdk_net_packet::ethernet;
use dpdk_net_packet::gso::L4;
use dpdk_net_rte::mbuf::{IpVersion, L4Offload, PreparedOffload, TxOffload};
use dpdk_net_rte::port::{TxCapabilities, TxOffloads};
use dpdk_net_stack::ChecksumOffload;

/// Bytes of a VLAN tag.
pub(super) const VLAN_TAG: usize = 4;

/// The kinds of packets, as indices.
const KINDS: [L4; 4] = [L4::TcpV4, L4::TcpV6, L4::UdpV4, L4::UdpV6];

const fn index(l4: L4) -> usize {
    match l4 {
        L4::TcpV4 => 0,
        L4::TcpV6 => 1,
        L4::UdpV4 => 2,
        L4::UdpV6 => 3,
    }
}

/// See the module's documentation.
pub(super) struct Abilities {
    capabilities: TxCapabilities,
    /// Bytes of IP packet that a frame holds.
    mtu: usize,
    /// How checksums are asked for, without and with a tag in the frame; `None` where they are made in software.
    checksums: [[Option<PreparedOffload>; 2]; 4],
    /// Whether IPv4 header checksums were given up: frames that the stack made before it was told may lack them.
    ipv4_given_up: bool,
    /// The request that a packet to be cut made last: the next one makes the same, as a rule.
    last_cut: Option<(CutKey, PreparedOffload)>,
}

/// What requests to cut differ in.
#[derive(Clone, Copy, PartialEq, Eq)]
struct CutKey {
    l4: L4,
    segment: u16,
    transport: u8,
    tagged: bool,
}

impl Abilities {
    pub(super) fn new(capabilities: TxCapabilities, mtu: u16) -> Self {
        let mut abilities = Abilities {
            capabilities,
            mtu: mtu.into(),
            checksums: [[None; 2]; 4],
            ipv4_given_up: false,
            last_cut: None,
        };
        abilities.prepare();
        abilities
    }

    fn prepare(&mut self) {
        for l4 in KINDS {
            for tagged in [false, true] {
                let on = if l4.is_udp() {
                    self.has(TxOffloads::UDP_CHECKSUM)
                } else {
                    self.has(TxOffloads::TCP_CHECKSUM)
                };
                let what = if l4.is_udp() {
                    L4Offload::UdpChecksum
                } else {
                    L4Offload::TcpChecksum
                };
                let request = on.then(|| self.request(l4, tagged, what).prepare().ok());
                self.checksums[index(l4)][usize::from(tagged)] = request.flatten();
            }
        }
    }

    /// Whether the port does all of these.
    pub(super) fn has(&self, offloads: TxOffloads) -> bool {
        self.capabilities.offloads.contains(offloads)
    }

    fn request(&self, l4: L4, tagged: bool, what: L4Offload) -> TxOffload {
        TxOffload {
            l2_len: (ethernet::HEADER_LEN + if tagged { VLAN_TAG } else { 0 }) as u8,
            l3_len: l4.ip_len() as u16,
            ip: if l4.is_v6() {
                IpVersion::V6
            } else {
                IpVersion::V4 {
                    header_checksum: self.has(TxOffloads::IPV4_CHECKSUM),
                }
            },
            l4: what,
        }
    }

    /// The checksums that the stack may leave out.
    pub(super) fn checksum_offload(&self) -> ChecksumOffload {
        ChecksumOffload {
            ipv4: self.has(TxOffloads::IPV4_CHECKSUM),
            tcp: self.has(TxOffloads::TCP_CHECKSUM),
            udp: self.has(TxOffloads::UDP_CHECKSUM),
        }
    }

    /// Whether a frame that leaves its checksums to the port may lack one of an IPv4 header that the port does not make.
    #[inline]
    pub(super) fn may_lack_ipv4_checksum(&self) -> bool {
        self.ipv4_given_up
    }

    /// Whether the port puts VLAN tags into frames.
    pub(super) fn inserts_vlan(&self) -> bool {
        self.has(TxOffloads::VLAN_INSERT)
    }

    /// Whether a frame of several mbufs gets a wrong checksum where one of them has an odd length and is not the last.
    pub(super) fn sums_mbufs_apart(&self) -> bool {
        self.capabilities.sums_mbufs_apart
    }

    /// Whether frames may be chains of several mbufs.
    pub(super) fn chains(&self) -> bool {
        self.has(TxOffloads::MULTI_SEGS) && self.capabilities.most_mbufs_plain > 1
    }

    /// Mbufs that a frame may have at most.
    pub(super) fn most_mbufs(&self, cut: bool) -> usize {
        if cut {
            self.capabilities.most_mbufs
        } else {
            self.capabilities.most_mbufs_plain
        }
    }

    /// How to ask for the checksums of a frame of this kind.
    #[inline]
    pub(super) fn checksums_of(&self, l4: L4, tagged: bool) -> Option<&PreparedOffload> {
        self.checksums[index(l4)][usize::from(tagged)].as_ref()
    }

    /// Whether the port cuts packets of this kind. It has to make their checksums too.
    #[inline]
    pub(super) fn cuts(&self, l4: L4) -> bool {
        let wanted = if l4.is_udp() {
            TxOffloads::UDP_TSO | TxOffloads::UDP_CHECKSUM
        } else {
            TxOffloads::TCP_TSO | TxOffloads::TCP_CHECKSUM
        };
        self.has(wanted | TxOffloads::MULTI_SEGS)
            && (l4.is_v6() || !self.ipv4_given_up)
            && (self.capabilities.segments_ipv6 || !l4.is_v6())
    }

    /// How to ask for a packet to be cut into segments of so many bytes behind headers of so many; `None` where the port
    /// does not do that. TCP segments may be smaller than asked for, where the port takes no larger ones; datagrams are what
    /// the application said.
    pub(super) fn cut_of(
        &mut self,
        l4: L4,
        segment: u16,
        transport: usize,
        tagged: bool,
        payload: usize,
    ) -> Option<PreparedOffload> {
        if !self.cuts(l4) {
            return None;
        }
        let mut headers = l4.ip_len() + transport;
        if self.capabilities.counts_link_header {
            headers += ethernet::HEADER_LEN + if tagged { VLAN_TAG } else { 0 };
        }
        let room = u16::try_from(self.mtu.checked_sub(headers)?).unwrap_or(u16::MAX);
        if l4.is_udp() && segment > room {
            return None;
        }
        let mut segment = segment.min(room);
        if self.capabilities.sums_mbufs_apart && !l4.is_udp() {
            // Each segment begins at an even offset, and so do the mbufs that it is cut from.
            segment &= !1;
        }
        if segment == 0
            || payload.div_ceil(segment.into()) > self.capabilities.most_segments as usize
        {
            return None;
        }
        let key = CutKey {
            l4,
            segment,
            transport: u8::try_from(transport).ok()?,
            tagged,
        };
        if let Some((last, prepared)) = &self.last_cut
            && *last == key
        {
            return Some(*prepared);
        }
        let what = if l4.is_udp() {
            L4Offload::UdpSegmentation {
                segment_size: segment,
            }
        } else {
            L4Offload::TcpSegmentation {
                segment_size: segment,
                header_len: key.transport,
            }
        };
        let prepared = self.request(l4, tagged, what).prepare().ok()?;
        self.last_cut = Some((key, prepared));
        Some(prepared)
    }

    /// Does without what the port turned out not to do. Tells the names of what that was.
    pub(super) fn give_up(&mut self, offloads: TxOffloads) -> TxOffloads {
        let given_up = self.capabilities.offloads.intersection(offloads);
        self.capabilities.offloads.remove(given_up);
        self.ipv4_given_up |= given_up.contains(TxOffloads::IPV4_CHECKSUM);
        self.last_cut = None;
        self.prepare();
        given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn abilities(counts_link_header: bool) -> Abilities {
        let capabilities = TxCapabilities {
            offloads: TxOffloads::UDP_TSO
                | TxOffloads::TCP_TSO
                | TxOffloads::CHECKSUM
                | TxOffloads::MULTI_SEGS,
            segments_ipv6: true,
            most_segments: 64,
            most_mbufs: 64,
            most_mbufs_plain: 64,
            counts_link_header,
            sums_mbufs_apart: counts_link_header,
        };
        Abilities::new(capabilities, 1500)
    }

    #[test]
    fn datagrams_are_cut_as_long_as_asked_for_or_not_by_the_port() {
        for (l4, longest) in [(L4::UdpV4, 1472), (L4::UdpV6, 1452)] {
            let cuts =
                |link: bool, size| abilities(link).cut_of(l4, size, 8, false, 10_000).is_some();
            assert!(cuts(false, longest) && !cuts(false, longest + 1));
            // The longest segments that such a port makes are shorter.
            assert!(!cuts(true, longest) && cuts(true, longest - 14));
        }
        let tcp = abilities(true).cut_of(L4::TcpV4, 1460, 20, false, 10_000);
        assert!(tcp.is_some(), "a stream may be cut anywhere");
    }

    #[test]
    fn what_makes_no_checksums_cuts_nothing_that_needs_them() {
        const ALL: [L4; 4] = [L4::TcpV4, L4::TcpV6, L4::UdpV4, L4::UdpV6];
        let cuts = |given_up| {
            let mut abilities = abilities(false);
            abilities.give_up(given_up);
            ALL.map(|l4| abilities.cuts(l4))
        };
        assert_eq!(cuts(TxOffloads::empty()), [true; 4]);
        assert_eq!(cuts(TxOffloads::TCP_CHECKSUM), [false, false, true, true]);
        assert_eq!(cuts(TxOffloads::UDP_CHECKSUM), [true, true, false, false]);
        assert_eq!(cuts(TxOffloads::IPV4_CHECKSUM), [false, true, false, true]);
    }
}
