//! What a received ARP packet does: RFC 826, with RFC 5227's conflict detection.
//!
//! Requests for our addresses are answered and make the asker known. Everything else only updates neighbours that are
//! known already, so gratuitous ARP creates nothing.

use core::net::IpAddr;

use dpdk_net_packet::arp::{Operation, Packet};

use crate::emit;
use crate::iface::AddressState;
use crate::link::{Link, push_frame};
use crate::neighbor::Answer;
use crate::time::Instant;

impl Link {
    /// Handles a received ARP packet.
    pub(crate) fn on_arp(&mut self, now: Instant, packet: &Packet) {
        let Packet {
            operation,
            sender_mac,
            sender,
            target_mac,
            target,
        } = *packet;
        let (sender_ip, target_ip) = (IpAddr::V4(sender), IpAddr::V4(target));
        if !sender_mac.is_unicast()
            || sender.is_multicast()
            || sender.is_loopback()
            || self.iface.is_broadcast(sender_ip)
            || matches!(operation, Operation::Other(_))
        {
            self.neighbors.stats.arp_invalid += 1;
            return;
        }
        // Our own packets come back through switches in loops and looped rings.
        if sender_mac == self.iface.mac {
            return;
        }
        if self.iface.state_of(sender_ip).is_some() {
            // RFC 5227 section 2.4: somebody else uses our address.
            self.neighbors.stats.address_conflicts += 1;
            self.iface.on_conflict(now, sender_ip, &mut self.replies);
            return;
        }
        let is_probe = sender.is_unspecified();
        if is_probe && self.iface.state_of(target_ip) == Some(AddressState::Tentative) {
            // RFC 5227 section 2.1.1: somebody else probes for it at the same time.
            self.neighbors.stats.address_conflicts += 1;
            self.iface.on_conflict(now, target_ip, &mut self.replies);
            return;
        }
        let for_us = self.iface.is_ours(target_ip);
        let mac = self.iface.mac;
        if operation == Operation::Request && for_us {
            let reply = Packet {
                operation: Operation::Reply,
                sender_mac: mac,
                sender: target,
                target_mac: sender_mac,
                target: sender,
            };
            if emit::push_arp(&mut self.replies, mac, sender_mac, &reply) {
                self.neighbors.stats.replies_sent += 1;
            }
        }
        if is_probe {
            return;
        }
        let replies = &mut self.replies;
        let send = |frame: &[u8]| push_frame(replies, frame);
        if operation == Operation::Request && for_us && self.iface.is_on_link(sender_ip) {
            self.neighbors.on_asked(now, sender_ip, sender_mac, send);
        } else {
            // ARP has no flag for it: an answer is solicited if it is to us and somebody waits for it.
            let solicited = operation == Operation::Reply
                && for_us
                && target_mac == mac
                && self.neighbors.is_asking(sender_ip);
            self.neighbors.on_answer(
                now,
                sender_ip,
                Some(sender_mac),
                Answer {
                    solicited,
                    override_: true,
                },
                send,
            );
        }
    }
}
