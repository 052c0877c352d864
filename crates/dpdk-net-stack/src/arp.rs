//! What a received ARP packet does: RFC 826, with RFC 5227's conflict detection.
//!
//! Requests for our addresses are answered and make the asker known. Everything else only updates neighbours that are
//! known already, so gratuitous ARP creates nothing.

use core::net::IpAddr;

use dpdk_net_packet::arp::{Operation, Packet};

use crate::emit;
use crate::iface::AddressState;
use crate::interfaces::{Hop, IfIndex};
use crate::link::{Link, push_frame};
use crate::neighbor::Answer;
use crate::news::News;
use crate::time::Instant;

impl Link {
    /// Handles an ARP packet that came in by `at`. It is about the addresses of that interface alone (the strong end system
    /// of RFC 1122 section 3.3.4.2).
    pub(crate) fn on_arp(&mut self, now: Instant, at: IfIndex, packet: &Packet) {
        let Packet {
            operation,
            sender_mac,
            sender,
            target_mac,
            target,
        } = *packet;
        let (sender_ip, target_ip) = (IpAddr::V4(sender), IpAddr::V4(target));
        let hop = |addr| Hop { at, addr };
        let iface = self.ifaces.get(at);
        if !sender_mac.is_unicast()
            || sender.is_multicast()
            || sender.is_loopback()
            || iface.is_broadcast(sender_ip)
            || matches!(operation, Operation::Other(_))
        {
            self.neighbors.stats.arp_invalid += 1;
            return;
        }
        // Our own packets come back through switches in loops and looped rings.
        if sender_mac == iface.mac {
            self.neighbors.stats.own_returned += 1;
            return;
        }
        if iface.state_of(sender_ip).is_some() {
            // RFC 5227 section 2.4: somebody else uses our address.
            self.on_conflict(now, hop(sender_ip));
            return;
        }
        let is_probe = sender.is_unspecified();
        if is_probe && iface.state_of(target_ip) == Some(AddressState::Tentative) {
            // RFC 5227 section 2.1.1: somebody else probes for it at the same time.
            self.on_conflict(now, hop(target_ip));
            return;
        }
        let for_us = iface.has(target_ip);
        let (mac, ends) = (iface.mac, iface.ends(sender_mac));
        if operation == Operation::Request && for_us {
            let reply = Packet {
                operation: Operation::Reply,
                sender_mac: mac,
                sender: target,
                target_mac: sender_mac,
                target: sender,
            };
            if emit::push_arp(&mut self.replies, ends, &reply) {
                self.neighbors.stats.replies_sent += 1;
            }
        }
        if is_probe {
            return;
        }
        let replies = &mut self.replies;
        let send = |frame: &[u8]| push_frame(replies, ends.tci, frame);
        let sender = hop(sender_ip);
        if operation == Operation::Request && for_us && self.ifaces.is_on_link(sender) {
            self.neighbors.on_asked(now, sender, sender_mac, send);
            let (addr, mac) = (sender_ip, sender_mac);
            return self.tell(at, News::Asked { addr, mac });
        }
        // ARP has no flag for it: an answer is solicited if it is to us and somebody waits for it.
        let to_us = operation == Operation::Reply && for_us && target_mac == mac;
        let mut answer = Answer {
            solicited: to_us && self.neighbors.is_asking(sender),
            override_: true,
        };
        // Announcements, and what contradicts what is known, concern others too.
        let is_told = sender_ip == target_ip || self.neighbors.mac_of(sender).is_some();
        let mac = Some(sender_mac);
        let is_news = to_us || is_told && self.is_news(sender, mac);
        let replies = &mut self.replies;
        let send = |frame: &[u8]| push_frame(replies, ends.tci, frame);
        let resolves = self.neighbors.is_asking(sender);
        self.neighbors.on_answer(now, sender, mac, answer, send);
        if resolves {
            self.tell_resolved(sender, mac);
        }
        if is_news {
            // Somebody may wait for it elsewhere.
            answer.solicited = to_us;
            let addr = sender_ip;
            self.tell(at, News::Answer { addr, mac, answer });
        }
    }
}
