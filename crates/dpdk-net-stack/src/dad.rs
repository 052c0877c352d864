//! Duplicate address detection: RFC 4862 section 5.4 for IPv6, RFC 5227 for IPv4.
//!
//! An address is probed, then announced. The IPv4 intervals are a tenth of RFC 5227's, which were chosen for links that
//! take seconds to forward: a service is up within 0.7 s, and its peers' own ARP retries cover that time. What is seen
//! of others' packets comes in through [`Interfaces::on_conflict`].
//!
//! Of several workers with the same addresses each probes for itself, and says the same as the others at about the same time. One
//! that probed for all would save some frames, and have the others' addresses depend on its being there: a worker may be made
//! later, or go on alone, and may not use an address before it has itself seen it probed. That somebody else has it may be seen by
//! any of them, by the queue that it comes to: who gives an address up for that tells all others
//! ([`Decision::GivenUp`](crate::news::Decision)).

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dpdk_net_packet::{MacAddr, arp, ndp};

use crate::emit::{self, Ends};
use crate::iface::{AddressState, Interface, solicited_node};
use crate::interfaces::{Hop, IfIndex, Interfaces};
use crate::random::Random;
use crate::time::{Duration, Instant};
use crate::tx::FrameQueue;

/// Longest random wait before the first probe (PROBE_WAIT; MAX_RTR_SOLICITATION_DELAY for IPv6).
const START_MAX: Duration = Duration::from_millis(100);
/// PROBE_NUM of RFC 5227.
const V4_PROBES: u8 = 3;
/// PROBE_MIN of RFC 5227, PROBE_MAX being twice that.
const V4_PROBE_MIN: Duration = Duration::from_millis(100);
/// ANNOUNCE_WAIT of RFC 5227.
const V4_WAIT: Duration = Duration::from_millis(200);
/// ANNOUNCE_NUM and ANNOUNCE_INTERVAL of RFC 5227.
const V4_ANNOUNCEMENTS: u8 = 2;
const V4_ANNOUNCE_INTERVAL: Duration = Duration::from_secs(2);
/// DupAddrDetectTransmits of RFC 4862 and RetransTimer of RFC 4861.
const V6_PROBES: u8 = 1;
const V6_WAIT: Duration = Duration::from_secs(1);
/// An IPv6 address is announced once (RFC 9131).
const V6_ANNOUNCEMENTS: u8 = 1;
/// When a frame finds the reply queue full, it is tried again after this.
const RETRY: Duration = Duration::from_millis(50);
/// DEFEND_INTERVAL of RFC 5227 section 2.4.
const DEFEND_INTERVAL: Duration = Duration::from_secs(10);

/// How far the probing of one address has come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Probing {
    pub(crate) next: Option<Instant>,
    probes_left: u8,
    announcements_left: u8,
    last_defence: Option<Instant>,
}

impl Probing {
    /// Probing that begins at `first`, which is the same for all addresses of an interface: so that they come into use
    /// together, and none is preferred only because it was faster.
    pub(crate) fn start(first: Instant, addr: IpAddr) -> Self {
        let (probes_left, announcements_left) = match addr {
            IpAddr::V4(_) => (V4_PROBES, V4_ANNOUNCEMENTS),
            IpAddr::V6(_) => (V6_PROBES, V6_ANNOUNCEMENTS),
        };
        Self {
            next: Some(first),
            probes_left,
            announcements_left,
            last_defence: None,
        }
    }

    /// Probing that is over, or was never wanted.
    pub(crate) const fn done() -> Self {
        Self {
            next: None,
            probes_left: 0,
            announcements_left: 0,
            last_defence: None,
        }
    }
}

/// When an interface that comes up now sends its first probe.
pub(crate) fn first_probe(now: Instant, random: &mut Random) -> Instant {
    now + jitter(random, START_MAX)
}

fn jitter(random: &mut Random, max: Duration) -> Duration {
    Duration::from_nanos(random.below(max.as_nanos() as u64))
}

impl Interface {
    /// Probes and announces what is due, as `dad_deadline` tells. Whether an address may be used from now on.
    fn handle_dad_timeout(&mut self, now: Instant, queue: &mut FrameQueue) -> bool {
        if self.dad_deadline.is_none_or(|at| at > now) {
            return false;
        }
        let ends = self.ends(MacAddr::BROADCAST);
        let mut settled = false;
        for address in &mut self.addresses {
            if address.probing.next.is_none_or(|at| at > now) {
                continue;
            }
            let probing = &mut address.probing;
            let addr = address.addr.addr;
            if address.state == AddressState::Tentative {
                if probing.probes_left > 0 {
                    if !send_probe(queue, ends, addr) {
                        probing.next = Some(now + RETRY);
                        continue;
                    }
                    probing.probes_left -= 1;
                    let wait = match (addr, probing.probes_left) {
                        (IpAddr::V4(_), 0) => V4_WAIT,
                        (IpAddr::V4(_), _) => V4_PROBE_MIN + jitter(&mut self.random, V4_PROBE_MIN),
                        (IpAddr::V6(_), _) => V6_WAIT,
                    };
                    probing.next = Some(now + wait);
                    continue;
                }
                address.take_into_use(now);
                settled = true;
            }
            let probing = &mut address.probing;
            if probing.announcements_left > 0 && address.state.is_usable() {
                if !send_announcement(queue, ends, addr) {
                    probing.next = Some(now + RETRY);
                    continue;
                }
                probing.announcements_left -= 1;
            }
            probing.next = (probing.announcements_left > 0).then(|| now + V4_ANNOUNCE_INTERVAL);
        }
        self.refresh();
        settled
    }

    /// Somebody else was seen to use, or to probe for, our address `addr`. A tentative address is given up; one in use
    /// is defended, IPv4's at most every 10 s (RFC 5227 section 2.4 (c), for hosts that others depend on). Whether it is
    /// given up.
    fn on_conflict(&mut self, now: Instant, addr: IpAddr, queue: &mut FrameQueue) -> bool {
        let ends = self.ends(MacAddr::BROADCAST);
        let Some(address) = self.address_mut(addr) else {
            return false;
        };
        match address.state {
            AddressState::Tentative => {
                address.state = AddressState::Duplicate;
                address.probing = Probing::done();
                self.replace_duplicate(now, addr);
                self.refresh();
                return true;
            }
            AddressState::Preferred | AddressState::Deprecated => {
                let last = address.probing.last_defence;
                if addr.is_ipv4() && last.is_none_or(|at| now - at >= DEFEND_INTERVAL) {
                    address.probing.last_defence = Some(now);
                    send_announcement(queue, ends, addr);
                }
            }
            AddressState::Duplicate => {}
        }
        false
    }
}

impl Interfaces {
    /// Probes and announces what is due on all of them. Whether an address may be used from now on.
    pub(crate) fn handle_dad_timeout(&mut self, now: Instant, queue: &mut FrameQueue) -> bool {
        let is_due = |interface: &Interface| interface.dad_deadline.is_some_and(|at| at <= now);
        let due = self.iter().filter(|(_, interface)| is_due(interface));
        let due: Vec<IfIndex> = due.map(|(at, _)| at).collect();
        if due.is_empty() {
            return false;
        }
        let mut settled = false;
        for at in due {
            settled |= self.change(at, |interface| interface.handle_dad_timeout(now, queue));
        }
        self.refresh();
        settled
    }

    /// Somebody else was seen to use, or to probe for, our address `own`. Whether it is given up.
    pub(crate) fn on_conflict(&mut self, now: Instant, own: Hop, queue: &mut FrameQueue) -> bool {
        let conflict = |interface: &mut Interface| interface.on_conflict(now, own.addr, queue);
        let given_up = self.change(own.at, conflict);
        if given_up {
            self.refresh();
        }
        given_up
    }

    /// Another worker's stack has given our address `own` up: so it is here, however far its probing has come.
    pub(crate) fn give_up(&mut self, now: Instant, own: Hop) {
        self.change(own.at, |interface| {
            if let Some(address) = interface.address_mut(own.addr) {
                address.state = AddressState::Duplicate;
                address.probing = Probing::done();
            }
            interface.replace_duplicate(now, own.addr);
            interface.refresh();
        });
        self.refresh();
    }
}

fn send_probe(queue: &mut FrameQueue, ends: Ends, addr: IpAddr) -> bool {
    match addr {
        // RFC 5227 section 2.1.1: the sender's address is zero, so that no cache is polluted.
        IpAddr::V4(v4) => send_arp(queue, ends, Ipv4Addr::UNSPECIFIED, v4),
        // RFC 4862 section 5.4.2: from the unspecified address, without a link-layer address.
        IpAddr::V6(v6) => {
            let group = solicited_node(v6);
            let ends = ends.to(MacAddr::from_ipv6_multicast(group));
            emit::push_ndp(queue, ends, (Ipv6Addr::UNSPECIFIED, group), |buf| {
                ndp::write_solicitation(buf, v6, None)
            })
        }
    }
}

fn send_announcement(queue: &mut FrameQueue, ends: Ends, addr: IpAddr) -> bool {
    match addr {
        IpAddr::V4(v4) => send_arp(queue, ends, v4, v4),
        IpAddr::V6(v6) => {
            let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
            let ends = ends.to(MacAddr::from_ipv6_multicast(all_nodes));
            emit::push_ndp(queue, ends, (v6, all_nodes), |buf| {
                ndp::write_advertisement(buf, v6, ends.src, false, false)
            })
        }
    }
}

fn send_arp(queue: &mut FrameQueue, ends: Ends, sender: Ipv4Addr, target: Ipv4Addr) -> bool {
    let packet = arp::Packet {
        operation: arp::Operation::Request,
        sender_mac: ends.src,
        sender,
        target_mac: MacAddr::ZERO,
        target,
    };
    emit::push_arp(queue, ends.to(MacAddr::BROADCAST), &packet)
}
