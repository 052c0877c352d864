//! What received neighbour discovery, MLD and IGMP messages do: RFC 4861 with its rules of validity, RFC 4862's conflict
//! detection, RFC 9777 and RFC 9776.
//!
//! What router advertisements do is in [`slaac`](crate::slaac); redirects are counted and otherwise ignored.

use alloc::sync::Arc;
use core::net::{IpAddr, Ipv6Addr};

use dpdk_net_packet::icmp::{self, v6};
use dpdk_net_packet::{IpPacket, MacAddr, ndp};

use crate::emit::{self, Ends};
use crate::iface::{AddressState, solicited_node};
use crate::interfaces::{Hop, IfIndex};
use crate::link::{Link, push_frame};
use crate::multicast::{Heard, Multicast};
use crate::neighbor::Answer;
use crate::news::News;
use crate::slaac::advertisement::Advertisement;
use crate::time::Instant;

const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);

impl Link {
    /// Handles an ICMPv6 message, its checksum verified, if it is one of neighbour discovery or MLD; otherwise returns
    /// `false`. `at` is the interface that it came in by, `src_mac` the frame's source. It is about the addresses of that
    /// interface alone.
    pub(crate) fn on_ndp(
        &mut self,
        now: Instant,
        (at, src_mac): (IfIndex, MacAddr),
        ip: &IpPacket<'_>,
        message: icmp::Message<'_>,
    ) -> bool {
        match message.kind() {
            v6::MLD_QUERY => {
                if !self.on_heard(now, at, Multicast::read_mld_query(ip, message)) {
                    self.neighbors.stats.ndp_invalid += 1;
                }
            }
            // Others' reports; hosts don't suppress theirs any more.
            v6::MLD_REPORT_V1 | v6::MLD_REPORT_V2 | v6::MLD_DONE_V1 => {}
            v6::ROUTER_SOLICITATION..=v6::REDIRECT => {
                self.on_discovery(now, (at, src_mac), ip, message);
            }
            _ => return false,
        }
        true
    }

    /// Handles an IGMP message.
    pub(crate) fn on_igmp(&mut self, now: Instant, at: IfIndex, ip: &IpPacket<'_>) {
        if !self.on_heard(now, at, Multicast::read_igmp(ip)) {
            self.neighbors.stats.igmp_invalid += 1;
        }
    }

    /// What was heard of groups; whether it makes sense.
    fn on_heard(&mut self, now: Instant, at: IfIndex, heard: Heard) -> bool {
        match heard {
            Heard::Invalid => return false,
            Heard::Nothing => {}
            Heard::Query(query) => {
                self.ifaces
                    .change(at, |iface| iface.groups.on_query(now, query));
                self.tell(at, News::Query(query));
            }
        }
        true
    }

    fn on_discovery(
        &mut self,
        now: Instant,
        (at, src_mac): (IfIndex, MacAddr),
        ip: &IpPacket<'_>,
        message: icmp::Message<'_>,
    ) {
        let (IpAddr::V6(src), IpAddr::V6(dst)) = (ip.src(), ip.dst()) else {
            return;
        };
        // RFC 4861 sections 6.1 and 7.1: from the link, not through a router. RFC 6980 section 5: without a fragment header,
        // even one that stands for no fragment.
        if ip.hop_limit() != 255 || message.code() != 0 || ip.has_fragment_header() {
            self.neighbors.stats.ndp_invalid += 1;
            return;
        }
        // Our own messages come back through switches in loops and looped rings (RFC 7527).
        if src_mac == self.ifaces.mac() {
            self.neighbors.stats.own_returned += 1;
            return;
        }
        let valid = match ndp::Message::parse(message) {
            Ok(ndp::Message::NeighborSolicitation {
                target,
                source_link,
            }) => self.on_solicitation(now, at, (src, dst), target, source_link),
            Ok(ndp::Message::NeighborAdvertisement {
                target,
                target_link,
                router,
                solicited,
                override_,
            }) => {
                let answer = Answer {
                    solicited,
                    override_,
                };
                let valid = self.on_advertisement(now, dst, (at, target), target_link, answer);
                // RFC 4861 section 7.2.5: it was a router, and is a host now.
                if valid
                    && !router
                    && let Some(heard) = self.ifaces.no_router(at, target)
                {
                    self.hear_router(now, at, heard);
                }
                valid
            }
            Ok(ndp::Message::RouterAdvertisement(message)) => {
                // RFC 4861 section 6.1.2.
                let is_valid = src.is_unicast_link_local();
                if is_valid {
                    self.on_router_advertisement(now, at, src, &message);
                }
                is_valid
            }
            Ok(_) => {
                self.neighbors.stats.router_messages_ignored += 1;
                true
            }
            Err(_) => {
                self.neighbors.stats.ndp_malformed += 1;
                true
            }
        };
        if !valid {
            self.neighbors.stats.ndp_invalid += 1;
        }
    }

    fn on_router_advertisement(
        &mut self,
        now: Instant,
        at: IfIndex,
        router: Ipv6Addr,
        message: &ndp::RouterAdvertisement<'_>,
    ) {
        if !self.ifaces.may_hear(now, at) {
            self.neighbors.stats.router_messages_ignored += 1;
            return;
        }
        self.hear_router(now, at, Advertisement::read(router, message));
    }

    fn hear_router(&mut self, now: Instant, at: IfIndex, heard: Advertisement) {
        self.on_router(now, at, &heard);
        self.tell(at, News::Router(Arc::new(heard)));
    }

    /// RFC 4861 sections 7.1.1 and 7.2.3, RFC 4862 section 5.4.3. Whether the message was valid.
    fn on_solicitation(
        &mut self,
        now: Instant,
        at: IfIndex,
        (src, dst): (Ipv6Addr, Ipv6Addr),
        target: Ipv6Addr,
        link: Option<MacAddr>,
    ) -> bool {
        let hop = |addr: Ipv6Addr| {
            let addr = addr.into();
            Hop { at, addr }
        };
        let is_probe = src.is_unspecified();
        if target.is_multicast()
            || (is_probe && (link.is_some() || dst != solicited_node(target)))
            || link.is_some_and(|mac| !mac.is_unicast())
        {
            return false;
        }
        let iface = self.ifaces.get(at);
        let Some(state) = iface.state_of(target.into()) else {
            return true;
        };
        match state {
            AddressState::Tentative => {
                if is_probe {
                    self.on_conflict(now, hop(target));
                }
                return true;
            }
            AddressState::Duplicate => return true,
            AddressState::Preferred | AddressState::Deprecated => {}
        }
        let (mac, ends, vlan) = (iface.mac, iface.ends(MacAddr::ZERO), iface.vlan);
        if is_probe {
            // Somebody probes for what is ours: all hear that it is (RFC 4861 section 7.2.4).
            let ends = ends.to(MacAddr::from_ipv6_multicast(ALL_NODES));
            self.advertise(ends, ALL_NODES, target, false);
            return true;
        }
        if iface.has(src.into()) {
            self.neighbors.stats.address_conflicts += 1;
            return true;
        }
        if let Some(link) = link
            && self.ifaces.is_on_link(hop(src))
        {
            let replies = &mut self.replies;
            self.neighbors.on_asked(now, hop(src), link, |frame| {
                push_frame(replies, ends.tci, frame)
            });
            let (addr, mac) = (src.into(), link);
            self.tell(at, News::Asked { addr, mac });
        }
        match link {
            Some(link) => self.advertise(ends.to(link), src, target, true),
            // A probe of reachability by one that we know, or are going to ask for.
            None => {
                let mut message = [0; 32];
                let len = ndp::write_advertisement(&mut message, target, mac, true, true);
                dpdk_net_packet::checksum::fill_icmpv6(target, src, &mut message[..len]);
                let meta = emit::IpMeta {
                    scope: vlan,
                    hop_limit: 255,
                    ..emit::IpMeta::new(
                        target.into(),
                        src.into(),
                        dpdk_net_packet::Protocol::Icmpv6,
                    )
                };
                let sent = self.output(now, crate::link::Queue::Replies, &meta, len, |buf| {
                    buf.copy_from_slice(&message[..len])
                });
                self.neighbors.stats.replies_sent += u64::from(sent.is_ok());
            }
        }
        true
    }

    /// RFC 4861 sections 7.1.2 and 7.2.5, RFC 4862 section 5.4.4. Whether the message was valid.
    fn on_advertisement(
        &mut self,
        now: Instant,
        dst: Ipv6Addr,
        (at, target): (IfIndex, Ipv6Addr),
        link: Option<MacAddr>,
        answer: Answer,
    ) -> bool {
        if target.is_multicast()
            || (dst.is_multicast() && answer.solicited)
            || link.is_some_and(|mac| !mac.is_unicast())
        {
            return false;
        }
        let iface = self.ifaces.get(at);
        let addr = target.into();
        let (hop, tci) = (Hop { at, addr }, iface.tci);
        if iface.state_of(addr).is_some() {
            self.on_conflict(now, hop);
            return true;
        }
        // To us it is an answer, which another worker may wait for; to all an announcement.
        let is_news = !dst.is_multicast() || self.is_news(hop, link);
        let resolves = self.neighbors.is_asking(hop);
        let replies = &mut self.replies;
        self.neighbors.on_answer(now, hop, link, answer, |frame| {
            push_frame(replies, tci, frame)
        });
        if resolves {
            self.tell_resolved(hop, link);
        }
        if is_news {
            let mac = link;
            self.tell(at, News::Answer { addr, mac, answer });
        }
        true
    }

    fn advertise(&mut self, ends: Ends, dst: Ipv6Addr, target: Ipv6Addr, solicited: bool) {
        let sent = emit::push_ndp(&mut self.replies, ends, (target, dst), |buf| {
            ndp::write_advertisement(buf, target, ends.src, solicited, true)
        });
        self.neighbors.stats.replies_sent += u64::from(sent);
    }
}
