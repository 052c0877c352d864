use dpdk_net_packet::{Network, Protocol, Transport};

use super::*;
use crate::emit::IpMeta;
use crate::test_frames::{OUR_MAC, at, drain, from_peer, ip, read};

const SOURCES: (Ipv4Addr, Ipv6Addr) = (
    Ipv4Addr::new(198, 18, 0, 2),
    Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 2),
);

const ENDS: Ends = Ends {
    src: OUR_MAC,
    dst: MacAddr::ZERO,
    tci: 0,
};

struct Bed {
    groups: Multicast,
    queue: FrameQueue,
}

fn bed() -> Bed {
    Bed {
        groups: Multicast::new(&[3; 32], true),
        queue: FrameQueue::new(256, 64 * 1024),
    }
}

impl Bed {
    /// Runs timers up to `until`; the IP packets sent.
    fn run(&mut self, until: Instant) -> Vec<Vec<u8>> {
        let mut frames = Vec::new();
        while let Some(now) = self.groups.next_timeout().filter(|now| *now <= until) {
            self.groups
                .handle_timeout(now, ENDS, SOURCES, &mut self.queue);
            frames.extend(drain(&mut self.queue));
        }
        frames
    }

    fn mld_query(
        &mut self,
        now: Instant,
        group: &str,
        max_delay: u16,
        len: usize,
        hop_limit: u8,
        src: &str,
    ) -> bool {
        let mut message = alloc::vec![0; len.max(24)];
        message[0] = v6::MLD_QUERY;
        message[4..6].copy_from_slice(&max_delay.to_be_bytes());
        message[8..24].copy_from_slice(&v6_octets(ip(group)));
        message.truncate(len);
        let meta = IpMeta {
            hop_limit,
            ..IpMeta::new(ip(src), ip("ff02::1"), Protocol::Icmpv6)
        };
        let frame = from_peer(&meta, &message);
        let packet = IpPacket::parse(&frame[14..]).unwrap();
        let message = icmp::Message::parse(&message).unwrap();
        self.hear(now, Multicast::read_mld_query(&packet, message))
    }

    fn igmp_query(&mut self, now: Instant, group: &str, code: u8, len: usize, ttl: u8) -> bool {
        let mut message = alloc::vec![0; len];
        message[0] = IGMP_QUERY;
        message[1] = code;
        message[4..8].copy_from_slice(&v4_octets(ip(group)));
        checksum::fill_icmpv4(&mut message);
        let meta = IpMeta {
            hop_limit: ttl,
            ..IpMeta::new(ip("198.18.0.1"), ip("224.0.0.1"), Protocol::Igmp)
        };
        let frame = from_peer(&meta, &message);
        let packet = IpPacket::parse(&frame[14..]).unwrap();
        self.hear(now, Multicast::read_igmp(&packet))
    }

    fn hear(&mut self, now: Instant, heard: Heard) -> bool {
        if let Heard::Query(query) = heard {
            self.groups.on_query(now, query);
        }
        heard != Heard::Invalid
    }
}

/// Type and group of each record of a version 2 (MLD) or 3 (IGMP) report, its form checked.
fn records(frame: &[u8]) -> Vec<(u8, IpAddr)> {
    let Network::Ip(packet, transport) = read(frame).network else {
        panic!()
    };
    assert_eq!(packet.hop_limit(), 1);
    let (bytes, step) = match transport {
        Transport::Icmpv6(message) => {
            assert_eq!(
                (message.kind(), packet.src(), packet.dst()),
                (v6::MLD_REPORT_V2, SOURCES.1.into(), ip("ff02::16"))
            );
            assert_eq!(
                packet.header()[40..48],
                [58, 0, 5, 2, 0, 0, 1, 0],
                "router alert"
            );
            (message.bytes(), 20)
        }
        Transport::Other(Protocol::Igmp) => {
            assert_eq!(
                (packet.payload()[0], packet.dst()),
                (IGMPV3_REPORT, ip("224.0.0.22"))
            );
            assert_eq!(packet.header()[20..24], [0x94, 4, 0, 0], "router alert");
            assert!(checksum::Sum::ZERO.add_bytes(packet.payload()).is_valid());
            (packet.payload(), 8)
        }
        other => panic!("{other:?}"),
    };
    assert_eq!(
        usize::from(u16::from_be_bytes([bytes[6], bytes[7]])) * step + 8,
        bytes.len()
    );
    bytes[8..]
        .chunks(step)
        .map(|record| {
            let group = match step {
                20 => IpAddr::from(<[u8; 16]>::try_from(&record[4..]).unwrap()),
                _ => IpAddr::from(<[u8; 4]>::try_from(&record[4..]).unwrap()),
            };
            (record[0], group)
        })
        .collect()
}

#[test]
fn a_join_and_a_leave_are_told_twice_each() {
    for group in ["ff05::7", "239.1.2.3"] {
        let mut bed = bed();
        bed.groups.join(at(0), ip(group)).unwrap();
        assert!(bed.groups.is_joined(ip(group)));
        let told: Vec<_> = bed.run(at(2_000)).iter().flat_map(|f| records(f)).collect();
        assert_eq!(told, [(CHANGE_TO_EXCLUDE, ip(group)); 2]);
        bed.groups.leave(at(5_000), ip(group));
        assert!(!bed.groups.is_joined(ip(group)));
        let told: Vec<_> = bed.run(at(9_000)).iter().flat_map(|f| records(f)).collect();
        assert_eq!(told, [(CHANGE_TO_INCLUDE, ip(group)); 2]);
        assert_eq!(bed.groups.next_timeout(), None);
    }
}

#[test]
fn a_group_stays_joined_until_its_last_user_leaves() {
    let mut bed = bed();
    bed.groups.join(at(0), ip("ff05::7")).unwrap();
    bed.groups.join(at(0), ip("ff05::7")).unwrap();
    bed.groups.leave(at(1), ip("ff05::7"));
    assert!(bed.groups.is_joined(ip("ff05::7")));
    bed.groups.leave(at(1), ip("ff05::7"));
    assert!(!bed.groups.is_joined(ip("ff05::7")));
}

#[test]
fn all_hosts_and_all_nodes_are_joined_and_never_reported() {
    let mut bed = bed();
    assert!(bed.groups.is_joined(ip("224.0.0.1")) && bed.groups.is_joined(ip("ff02::1")));
    assert!(bed.mld_query(at(0), "::", 1_000, 28, 1, "fe80::1"));
    assert!(bed.igmp_query(at(0), "0.0.0.0", 10, 12, 1));
    assert_eq!(bed.groups.next_timeout(), None);
}

#[test]
fn a_query_is_answered_within_the_time_it_grants() {
    let mut bed = bed();
    for group in ["ff05::7", "ff05::8", "239.1.2.3"] {
        bed.groups.join(at(0), ip(group)).unwrap();
    }
    bed.run(at(2_000));
    assert!(bed.mld_query(at(10_000), "::", 1_000, 28, 1, "fe80::1"));
    assert!(
        bed.groups
            .next_timeout()
            .is_some_and(|t| t >= at(10_000) && t < at(11_000))
    );
    let mut told: Vec<_> = bed
        .run(at(11_000))
        .iter()
        .flat_map(|f| records(f))
        .collect();
    told.sort();
    assert_eq!(
        told,
        [
            (MODE_IS_EXCLUDE, ip("ff05::7")),
            (MODE_IS_EXCLUDE, ip("ff05::8"))
        ]
    );
    assert!(bed.mld_query(at(20_000), "ff05::8", 1_000, 28, 1, "fe80::1"));
    let told: Vec<_> = bed
        .run(at(21_000))
        .iter()
        .flat_map(|f| records(f))
        .collect();
    assert_eq!(told, [(MODE_IS_EXCLUDE, ip("ff05::8"))]);
    assert!(bed.igmp_query(at(30_000), "0.0.0.0", 10, 12, 1));
    let told: Vec<_> = bed
        .run(at(31_000))
        .iter()
        .flat_map(|f| records(f))
        .collect();
    assert_eq!(told, [(MODE_IS_EXCLUDE, ip("239.1.2.3"))]);
}

#[test]
fn queries_from_afar_or_without_meaning_are_not_believed() {
    let mut bed = bed();
    bed.groups.join(at(0), ip("ff05::7")).unwrap();
    bed.run(at(2_000));
    assert!(!bed.mld_query(at(3_000), "::", 1_000, 28, 64, "fe80::1"));
    assert!(!bed.mld_query(at(3_000), "::", 1_000, 28, 1, "fd00::1"));
    assert!(!bed.mld_query(at(3_000), "::", 1_000, 20, 1, "fe80::1"));
    assert!(!bed.igmp_query(at(3_000), "0.0.0.0", 10, 12, 64));
    assert_eq!(bed.groups.next_timeout(), None);
}

#[test]
fn an_older_querier_gets_reports_it_understands() {
    let mut bed = bed();
    bed.groups.join(at(0), ip("ff05::7")).unwrap();
    bed.groups.join(at(0), ip("239.1.2.3")).unwrap();
    bed.run(at(2_000));
    assert!(bed.mld_query(at(3_000), "::", 1_000, 24, 1, "fe80::1"));
    assert!(bed.igmp_query(at(3_000), "0.0.0.0", 10, 8, 1));
    let frames = bed.run(at(4_000));
    assert_eq!(frames.len(), 2);
    for frame in &frames {
        let Network::Ip(packet, _) = read(frame).network else {
            panic!()
        };
        match packet.dst() {
            IpAddr::V4(_) => assert_eq!(
                (packet.payload()[0], packet.dst()),
                (IGMPV2_REPORT, ip("239.1.2.3"))
            ),
            IpAddr::V6(_) => assert_eq!(
                (packet.payload()[0], packet.dst()),
                (v6::MLD_REPORT_V1, ip("ff05::7"))
            ),
        }
    }
    bed.groups.leave(at(5_000), ip("239.1.2.3"));
    let frames = bed.run(at(8_000));
    let Network::Ip(packet, _) = read(&frames[0]).network else {
        panic!()
    };
    assert_eq!(
        (packet.payload()[0], packet.dst()),
        (IGMPV2_LEAVE, ip("224.0.0.2"))
    );
}

#[test]
fn only_groups_can_be_joined_and_no_more_than_the_bound() {
    let mut bed = bed();
    assert!(matches!(
        bed.groups.join(at(0), ip("fd00::1")),
        Err(Error::InvalidInput(_))
    ));
    let mut joined = 0;
    for i in 0..2 * MAX_GROUPS as u32 {
        joined += usize::from(
            bed.groups
                .join(at(0), Ipv4Addr::from(0xef00_0000 + i).into())
                .is_ok(),
        );
    }
    assert_eq!(joined, MAX_GROUPS - 2);
    let told: usize = bed.run(at(100)).iter().map(|f| records(f).len()).sum();
    assert_eq!(told, joined, "many groups take several reports");
}

#[test]
fn response_codes_are_read_as_the_rfcs_say() {
    assert_eq!(exponential(127, 3, 4, 128), 127);
    assert_eq!(exponential(0x80, 3, 4, 128), 128);
    assert_eq!(exponential(0xff, 3, 4, 128), 31_744);
    assert_eq!(exponential(0x7fff, 3, 12, 32_768), 32_767);
    assert_eq!(exponential(0x8000, 3, 12, 32_768), 32_768);
}
