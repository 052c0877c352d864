//! Groups that are joined, and telling routers and snooping switches about them: MLDv2 (RFC 9777) for IPv6 and IGMPv3
//! (RFC 9776) for IPv4, any source, with the older versions' reports while an older querier is about.
//!
//! A change is told twice (robustness 2), a query is answered after a random part of the time that it grants. Which
//! socket gets a group's datagrams is in [`udp`](crate::udp).

use alloc::vec::Vec;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use dpdk_net_packet::icmp::{self, v6};
use dpdk_net_packet::{IpPacket, MacAddr, checksum, ethernet, ipv4, ipv6};
use hashbrown::HashMap;

use crate::emit::Ends;
use crate::error::Error;
use crate::random::{HashKey, Random};
use crate::steer::Workers;
use crate::time::{Duration, Instant};
use crate::tx::{FrameQueue, TxMeta};

/// Groups that can be joined at a time, by one worker's sockets.
pub(crate) const MAX_GROUPS: usize = 1024;
/// Records in one report; they fit the smallest MTU.
const MAX_RECORDS: usize = 48;
/// Unsolicited Report Interval.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);
/// Older Version Querier Present Timeout with default timers: 2 * 125 s + 10 s.
const OLD_QUERIER: Duration = Duration::from_secs(260);
const RETRY: Duration = Duration::from_millis(50);

const ALL_HOSTS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);
const ALL_ROUTERS_V4: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 2);
const IGMPV3_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 22);
const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
const ALL_ROUTERS_V6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
const MLDV2_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);

const IGMP_QUERY: u8 = 0x11;
const IGMPV2_REPORT: u8 = 0x16;
const IGMPV2_LEAVE: u8 = 0x17;
const IGMPV3_REPORT: u8 = 0x22;

/// Record types that both protocols share.
const MODE_IS_EXCLUDE: u8 = 2;
const CHANGE_TO_INCLUDE: u8 = 3;
const CHANGE_TO_EXCLUDE: u8 = 4;

/// A router's question for groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Query {
    is_v6: bool,
    /// All groups, if there is none.
    group: Option<IpAddr>,
    /// By an older version of the protocol.
    old: bool,
    within: Duration,
}

/// What a message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Heard {
    /// It makes no sense.
    Invalid,
    /// Others' reports: hosts don't suppress theirs any more.
    Nothing,
    Query(Query),
}

#[derive(Debug, Default)]
struct Membership {
    users: u32,
    /// Other workers whose sockets have joined: their datagrams are not for us.
    others: Workers,
    /// Change reports still due.
    changes_left: u8,
    /// Asked about by a query.
    queried: bool,
}

/// One family's reporting.
#[derive(Debug, Default)]
struct Reporting {
    /// When changes are told next.
    change_at: Option<Instant>,
    /// When the query is answered.
    answer_at: Option<Instant>,
    /// Until when an older querier is taken to be about.
    old_until: Option<Instant>,
    /// Groups left, and how often that is still to be told.
    left: Vec<(IpAddr, u8)>,
}

/// The groups of one interface.
#[derive(Debug)]
pub(crate) struct Multicast {
    /// Those of other workers too: each of them has no more than we may have.
    groups: HashMap<IpAddr, Membership, HashKey>,
    /// Those that have users here.
    own: usize,
    reporting: [Reporting; 2],
    /// Whether groups are reported from here, and not by another worker's stack.
    reports: bool,
    /// The earliest that `reporting` has in mind.
    next_timeout: Option<Instant>,
    random: Random,
}

fn family(addr: IpAddr) -> usize {
    usize::from(addr.is_ipv6())
}

/// Groups that are never reported: all-hosts and all-nodes, and those that don't leave the host or link layer.
fn is_reported(group: IpAddr) -> bool {
    match group {
        IpAddr::V4(v4) => v4 != ALL_HOSTS,
        IpAddr::V6(v6) => v6 != ALL_NODES && v6.octets()[1] & 0x0f >= 2,
    }
}

impl Multicast {
    /// All-hosts and all-nodes joined.
    pub(crate) fn new(seed: &[u8; 32], reports: bool) -> Self {
        let mut groups = HashMap::with_hasher(HashKey::derive(seed, "groups"));
        for group in [IpAddr::V4(ALL_HOSTS), IpAddr::V6(ALL_NODES)] {
            groups.insert(
                group,
                Membership {
                    users: 1,
                    ..Membership::default()
                },
            );
        }
        Self {
            own: groups.len(),
            groups,
            reports,
            reporting: Default::default(),
            next_timeout: None,
            random: Random::new(seed, "multicast"),
        }
    }

    /// Whether packets to `group` are for us.
    pub(crate) fn is_joined(&self, group: IpAddr) -> bool {
        let membership = self.groups.get(&group);
        membership.is_some_and(|membership| membership.users > 0)
    }

    /// Joins `group` on behalf of one more user.
    pub(crate) fn join(&mut self, now: Instant, group: IpAddr) -> Result<(), Error> {
        if !group.is_multicast() {
            return Err(Error::InvalidInput(
                "only a multicast address can be joined",
            ));
        }
        if !self.is_joined(group) {
            if self.own >= MAX_GROUPS {
                return Err(Error::NoBufferSpace);
            }
            self.own += 1;
        }
        let membership = self.enter(now, group);
        membership.users = membership.users.saturating_add(1);
        Ok(())
    }

    /// Joins `group` on behalf of another worker's stack, to report it.
    pub(crate) fn join_for_other(&mut self, now: Instant, group: IpAddr, worker: u16) {
        if self.reports {
            let membership = self.enter(now, group);
            membership.others = membership.others.union(Workers::only(worker));
        }
    }

    /// The membership of a group, which is reported if it is new.
    fn enter(&mut self, now: Instant, group: IpAddr) -> &mut Membership {
        if self.groups.contains_key(&group) {
            return self.groups.entry(group).or_default();
        }
        let is_reported = self.reports && is_reported(group);
        let changes_left = if is_reported { 2 } else { 0 };
        let reporting = &mut self.reporting[family(group)];
        reporting.left.retain(|(left, _)| *left != group);
        if changes_left > 0 {
            reporting.change_at = Some(now);
            self.schedule();
        }
        let membership = self.groups.entry(group).or_default();
        membership.changes_left = changes_left;
        membership
    }

    /// Takes one user's join of `group` back.
    pub(crate) fn leave(&mut self, now: Instant, group: IpAddr) {
        let Some(membership) = self.groups.get_mut(&group).filter(|it| it.users > 0) else {
            return;
        };
        membership.users -= 1;
        self.own -= usize::from(membership.users == 0);
        self.forget(now, group);
    }

    /// Takes back what [`join_for_other`](Self::join_for_other) did.
    pub(crate) fn leave_for_other(&mut self, now: Instant, group: IpAddr, worker: u16) {
        if let Some(membership) = self.groups.get_mut(&group) {
            membership.others = membership.others.without(worker);
            self.forget(now, group);
        }
    }

    /// Another worker has left all groups.
    pub(crate) fn forget_other(&mut self, now: Instant, worker: u16) {
        let theirs = self.groups.iter();
        let theirs = theirs.filter(|(_, membership)| membership.others.contains(worker));
        let theirs: Vec<IpAddr> = theirs.map(|(group, _)| *group).collect();
        for group in theirs {
            self.leave_for_other(now, group, worker);
        }
    }

    /// Ends a membership without users.
    fn forget(&mut self, now: Instant, group: IpAddr) {
        let membership = self.groups.get(&group);
        if membership.is_none_or(|membership| membership.users > 0 || !membership.others.is_empty())
        {
            return;
        }
        self.groups.remove(&group);
        let reporting = &mut self.reporting[family(group)];
        if self.reports && is_reported(group) && reporting.left.len() < MAX_GROUPS {
            reporting.left.push((group, 2));
            reporting.change_at = Some(now);
            self.schedule();
        }
    }

    /// Reports all groups as at their joins: there may be others to hear it.
    pub(crate) fn report_anew(&mut self, now: Instant) {
        if !self.reports {
            return;
        }
        for (group, membership) in &mut self.groups {
            if is_reported(*group) {
                membership.changes_left = 2;
                self.reporting[family(*group)].change_at = Some(now);
            }
        }
        self.schedule();
    }

    /// When [`handle_timeout`](Self::handle_timeout) is due.
    #[inline]
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.next_timeout
    }

    fn schedule(&mut self) {
        let times = self
            .reporting
            .iter()
            .flat_map(|r| [r.change_at, r.answer_at]);
        self.next_timeout = times.flatten().min();
    }

    /// Reads a received IGMP message.
    pub(crate) fn read_igmp(ip: &IpPacket<'_>) -> Heard {
        let message = ip.payload();
        // RFC 9776 section 9: others' TTLs, and queries that were not sent to a group, are not to be believed.
        let valid = message.len() >= 8
            && ip.hop_limit() == 1
            && ip.dst().is_multicast()
            && checksum::Sum::ZERO.add_bytes(message).is_valid();
        if !valid {
            return Heard::Invalid;
        }
        if message[0] != IGMP_QUERY {
            return Heard::Nothing;
        }
        let group = Ipv4Addr::new(message[4], message[5], message[6], message[7]);
        let old = message.len() < 12;
        // IGMPv1 leaves the field zero and means 10 s.
        let tenths = match (old, message[1]) {
            (true, 0) => 100,
            (true, code) => u32::from(code),
            (false, code) => exponential(u32::from(code), 3, 4, 128),
        };
        Heard::Query(Query {
            is_v6: false,
            group: (!group.is_unspecified()).then_some(IpAddr::V4(group)),
            old,
            within: Duration::from_millis(u64::from(tenths) * 100),
        })
    }

    /// Reads a received MLD query, its checksum verified.
    pub(crate) fn read_mld_query(ip: &IpPacket<'_>, message: icmp::Message<'_>) -> Heard {
        let bytes = message.bytes();
        let from_link = matches!(ip.src(), IpAddr::V6(src) if src.is_unicast_link_local());
        let Some(group) = bytes
            .get(8..24)
            .and_then(|g| <[u8; 16]>::try_from(g).ok())
            .map(Ipv6Addr::from)
        else {
            return Heard::Invalid;
        };
        if !from_link || ip.hop_limit() != 1 {
            return Heard::Invalid;
        }
        let old = bytes.len() < 28;
        let code = message.word() >> 16;
        let millis = if old {
            code
        } else {
            exponential(code, 3, 12, 32_768)
        };
        Heard::Query(Query {
            is_v6: true,
            group: (!group.is_unspecified()).then_some(IpAddr::V6(group)),
            old,
            within: Duration::from_millis(u64::from(millis)),
        })
    }

    /// A router has asked for groups.
    pub(crate) fn on_query(&mut self, now: Instant, query: Query) {
        if !self.reports {
            return;
        }
        let Query {
            is_v6,
            group,
            old,
            within,
        } = query;
        let family_ = usize::from(is_v6);
        let mut asked = false;
        for (addr, membership) in &mut self.groups {
            if family(*addr) == family_ && is_reported(*addr) && group.is_none_or(|g| g == *addr) {
                membership.queried = true;
                asked = true;
            }
        }
        let reporting = &mut self.reporting[family_];
        if old {
            reporting.old_until = Some(now + OLD_QUERIER);
        }
        if asked {
            let at = now + Duration::from_nanos(self.random.below(within.as_nanos() as u64));
            reporting.answer_at = Some(reporting.answer_at.map_or(at, |before| before.min(at)));
            self.schedule();
        }
    }

    /// Sends the reports that are due, from there and from the addresses given, which are unspecified while there are
    /// none (RFC 9777 section 5.2.14).
    pub(crate) fn handle_timeout(
        &mut self,
        now: Instant,
        ends: Ends,
        sources: (Ipv4Addr, Ipv6Addr),
        queue: &mut FrameQueue,
    ) {
        for family_ in 0..2 {
            let reporting = &mut self.reporting[family_];
            let change = reporting.change_at.is_some_and(|at| at <= now);
            let answer = reporting.answer_at.is_some_and(|at| at <= now);
            if !change && !answer {
                continue;
            }
            let old = reporting.old_until.is_some_and(|until| until > now);
            let mut records: Vec<(u8, IpAddr)> = Vec::new();
            let mut more_changes = false;
            for (group, membership) in self
                .groups
                .iter_mut()
                .filter(|(group, _)| family(**group) == family_)
            {
                if change && membership.changes_left > 0 {
                    membership.changes_left -= 1;
                    more_changes |= membership.changes_left > 0;
                    records.push((CHANGE_TO_EXCLUDE, *group));
                }
                if answer && membership.queried {
                    membership.queried = false;
                    records.push((MODE_IS_EXCLUDE, *group));
                }
            }
            if change {
                reporting.left.retain_mut(|(group, times)| {
                    records.push((CHANGE_TO_INCLUDE, *group));
                    *times -= 1;
                    more_changes |= *times > 0;
                    *times > 0
                });
                let wait = RETRY
                    + Duration::from_nanos(self.random.below(REPORT_INTERVAL.as_nanos() as u64));
                reporting.change_at = more_changes.then(|| now + wait);
            }
            if answer {
                reporting.answer_at = None;
            }
            // A report that finds the queue full is lost like one on the wire: it is told twice, and queries come again.
            match (family_, old) {
                (0, false) => records
                    .chunks(MAX_RECORDS)
                    .for_each(|r| igmpv3_report(queue, ends, sources.0, r)),
                (0, true) => records
                    .iter()
                    .for_each(|r| igmpv2_report(queue, ends, sources.0, *r)),
                (_, false) => records
                    .chunks(MAX_RECORDS)
                    .for_each(|r| mldv2_report(queue, ends, sources.1, r)),
                (_, true) => records
                    .iter()
                    .for_each(|r| mldv1_report(queue, ends, sources.1, *r)),
            }
        }
        self.schedule();
    }
}

/// The floating-point code of RFC 9776 section 4.1.1 (4 bits of mantissa) and RFC 9777 section 5.1.3 (12 bits): from
/// `linear_below` on, the exponent of `exp_bits` bits stands above the mantissa.
fn exponential(code: u32, exp_bits: u32, mantissa_bits: u32, linear_below: u32) -> u32 {
    if code < linear_below {
        return code;
    }
    let mantissa = code & ((1 << mantissa_bits) - 1);
    let exponent = code >> mantissa_bits & ((1 << exp_bits) - 1);
    (mantissa | 1 << mantissa_bits) << (exponent + 3)
}

/// IPv4 with the router alert option (RFC 2113) and a TTL of 1, as IGMP is sent.
fn push_igmp(queue: &mut FrameQueue, ends: Ends, src: Ipv4Addr, dst: Ipv4Addr, message: &[u8]) {
    const HEADER: usize = ipv4::HEADER_LEN + 4;
    let len = ethernet::HEADER_LEN + HEADER + message.len();
    queue.push_with(len, TxMeta::tagged(ends.tci), |frame| {
        let dst_mac = MacAddr::from_ipv4_multicast(dst);
        ethernet::write_header(frame, dst_mac, ends.src, ethernet::TYPE_IPV4);
        let packet = &mut frame[ethernet::HEADER_LEN..];
        let header = ipv4::Header {
            ttl: 1,
            traffic_class: 0xc0,
            ..ipv4::Header::new(src, dst, dpdk_net_packet::Protocol::Igmp, message.len() + 4)
        };
        header.write_without_checksum(packet);
        packet[0] = 0x46;
        packet[ipv4::HEADER_LEN..HEADER].copy_from_slice(&[0x94, 4, 0, 0]);
        let sum = checksum::data(&packet[..HEADER]);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet[HEADER..].copy_from_slice(message);
        checksum::fill_icmpv4(&mut packet[HEADER..]);
    });
}

fn v4_octets(group: IpAddr) -> [u8; 4] {
    match group {
        IpAddr::V4(v4) => v4.octets(),
        IpAddr::V6(_) => [0; 4],
    }
}

fn v6_octets(group: IpAddr) -> [u8; 16] {
    match group {
        IpAddr::V6(v6) => v6.octets(),
        IpAddr::V4(_) => [0; 16],
    }
}

fn igmpv3_report(queue: &mut FrameQueue, ends: Ends, src: Ipv4Addr, records: &[(u8, IpAddr)]) {
    let mut message = Vec::with_capacity(8 + records.len() * 8);
    message.extend_from_slice(&[IGMPV3_REPORT, 0, 0, 0, 0, 0]);
    message.extend_from_slice(&(records.len() as u16).to_be_bytes());
    for (kind, group) in records {
        message.extend_from_slice(&[*kind, 0, 0, 0]);
        message.extend_from_slice(&v4_octets(*group));
    }
    push_igmp(queue, ends, src, IGMPV3_ROUTERS, &message);
}

fn igmpv2_report(queue: &mut FrameQueue, ends: Ends, src: Ipv4Addr, (kind, group): (u8, IpAddr)) {
    let octets = v4_octets(group);
    let (kind, dst) = match kind {
        CHANGE_TO_INCLUDE => (IGMPV2_LEAVE, ALL_ROUTERS_V4),
        _ => (IGMPV2_REPORT, Ipv4Addr::from(octets)),
    };
    let mut message = [0; 8];
    message[0] = kind;
    message[4..].copy_from_slice(&octets);
    push_igmp(queue, ends, src, dst, &message);
}

/// IPv6 with a hop-by-hop router alert (RFC 2711) and a hop limit of 1, as MLD is sent.
fn push_mld(queue: &mut FrameQueue, ends: Ends, src: Ipv6Addr, dst: Ipv6Addr, message: &mut [u8]) {
    checksum::fill_icmpv6(src, dst, message);
    let len = ethernet::HEADER_LEN + ipv6::HEADER_LEN + 8 + message.len();
    queue.push_with(len, TxMeta::tagged(ends.tci), |frame| {
        let dst_mac = MacAddr::from_ipv6_multicast(dst);
        ethernet::write_header(frame, dst_mac, ends.src, ethernet::TYPE_IPV6);
        let packet = &mut frame[ethernet::HEADER_LEN..];
        let header = ipv6::Header {
            src,
            dst,
            next_header: ipv6::NEXT_HOP_BY_HOP,
            hop_limit: 1,
            traffic_class: 0,
            flow_label: 0,
            payload_len: 8 + message.len(),
        };
        header.write(packet);
        let rest = &mut packet[ipv6::HEADER_LEN..];
        rest[..8].copy_from_slice(&[
            dpdk_net_packet::Protocol::Icmpv6.into(),
            0,
            5,
            2,
            0,
            0,
            1,
            0,
        ]);
        rest[8..].copy_from_slice(message);
    });
}

fn mldv2_report(queue: &mut FrameQueue, ends: Ends, src: Ipv6Addr, records: &[(u8, IpAddr)]) {
    let mut message = Vec::with_capacity(8 + records.len() * 20);
    message.extend_from_slice(&[v6::MLD_REPORT_V2, 0, 0, 0, 0, 0]);
    message.extend_from_slice(&(records.len() as u16).to_be_bytes());
    for (kind, group) in records {
        message.extend_from_slice(&[*kind, 0, 0, 0]);
        message.extend_from_slice(&v6_octets(*group));
    }
    push_mld(queue, ends, src, MLDV2_ROUTERS, &mut message);
}

fn mldv1_report(queue: &mut FrameQueue, ends: Ends, src: Ipv6Addr, (kind, group): (u8, IpAddr)) {
    let octets = v6_octets(group);
    let (kind, dst) = match kind {
        CHANGE_TO_INCLUDE => (v6::MLD_DONE_V1, ALL_ROUTERS_V6),
        _ => (v6::MLD_REPORT_V1, Ipv6Addr::from(octets)),
    };
    let mut message = [0; 24];
    message[0] = kind;
    message[8..].copy_from_slice(&octets);
    push_mld(queue, ends, src, dst, &mut message);
}

#[cfg(test)]
mod tests;
