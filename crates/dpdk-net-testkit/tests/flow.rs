//! The model of flow rules: which packets match, which rule decides, and what it refuses.

use std::net::{IpAddr, Ipv4Addr};

use dpdk_net_packet::{MacAddr, toeplitz};
use dpdk_net_rte::Error;
use dpdk_net_rte::flow::{
    EthernetItem, Field, FlowRss, FlowRules, Icmpv4Item, Icmpv6Item, Ipv4Item, Ipv6Item, ItemPart,
    Rule, RulePart, TcpItem, UdpItem, VlanItem,
};
use dpdk_net_rte::port::{RssKey, RssTypes};
use dpdk_net_testkit::addr::{self, Family};
use dpdk_net_testkit::flow::{Fate, FlowTable, Refuses, Verdict};
use dpdk_net_testkit::frames::{Path, Segment, fix_checksums, flags, tagged};

fn syn(family: Family, dst_port: u16) -> Vec<u8> {
    Path::new(family, 1, 2).tcp(&Segment {
        src_port: 40_000,
        dst_port,
        flags: flags::SYN,
        ..Segment::default()
    })
}

fn to_port(dst_port: impl Into<Field<u16>>) -> TcpItem {
    TcpItem {
        dst_port: dst_port.into(),
        ..TcpItem::default()
    }
}

/// What becomes of a frame where this is the only rule.
fn fate(rule: &Rule, frame: &[u8]) -> Fate {
    let table = FlowTable::new(4);
    let _flow = table.create_flow(rule).unwrap();
    table.classify(frame).fate
}

#[test]
fn fields_are_matched_exactly_by_mask_and_by_range() {
    let rule = |item| {
        Rule::ingress()
            .ipv4(Ipv4Item::default())
            .tcp(item)
            .to_queue(3)
            .unwrap()
    };
    let masked = Field::Masked {
        value: 0x2000,
        mask: 0xf000,
    };
    for (item, ports, others) in [
        (to_port(443), [443, 443], [442, 8443]),
        (to_port(8000..=8999), [8000, 8999], [7999, 9000]),
        (to_port(masked), [0x2000, 0x2fff], [0x1fff, 0x3000]),
    ] {
        let rule = rule(item);
        for port in ports {
            assert_eq!(
                fate(&rule, &syn(Family::V4, port)),
                Fate::Queue(3),
                "{item:?}"
            );
        }
        for port in others {
            assert_eq!(
                fate(&rule, &syn(Family::V4, port)),
                Fate::NoRule,
                "{item:?}"
            );
        }
        assert_eq!(
            fate(&rule, &syn(Family::V6, 443)),
            Fate::NoRule,
            "another IP version"
        );
        assert_eq!(
            fate(&rule, &Path::new(Family::V4, 1, 2).udp(1, 443, b"")),
            Fate::NoRule
        );
    }
    let connecting = TcpItem {
        flags: Field::Masked {
            value: flags::SYN,
            mask: flags::SYN | flags::ACK,
        },
        ..TcpItem::default()
    };
    assert_eq!(fate(&rule(connecting), &syn(Family::V4, 1)), Fate::Queue(3));
}

#[test]
fn addresses_and_links_are_matched() {
    let network = Ipv4Item {
        src: Field::<Ipv4Addr>::prefix(addr::ipv4(0), 16),
        dst: addr::ipv4(2).into(),
        ttl: 64.into(),
        ..Ipv4Item::default()
    };
    let rule = Rule::ingress()
        .ethernet(EthernetItem {
            dst: addr::mac(2).into(),
            ..EthernetItem::default()
        })
        .ipv4(network)
        .udp(UdpItem::default())
        .drop_packets()
        .unwrap();
    let path = Path::new(Family::V4, 1, 2);
    assert_eq!(fate(&rule, &path.udp(1, 2, b"payload")), Fate::Drop);
    for other in [
        Path {
            dst_mac: MacAddr::BROADCAST,
            ..path
        },
        Path {
            src: IpAddr::from([198, 19, 0, 1]),
            ..path
        },
        Path {
            dst: Family::V4.host(3),
            ..path
        },
        Path {
            hop_limit: 1,
            ..path
        },
    ] {
        assert_eq!(
            fate(&rule, &other.udp(1, 2, b"payload")),
            Fate::NoRule,
            "{other:?}"
        );
    }
    let whole = path.udp(1, 2, b"");
    for len in 0..whole.len() {
        assert_eq!(fate(&rule, &whole[..len]), Fate::NoRule, "cut off at {len}");
    }
}

#[test]
fn tags_are_matched_where_they_are_named_and_passed_over_where_not() {
    let plain = Rule::ingress()
        .ipv4(Ipv4Item::default())
        .tcp(to_port(80))
        .to_queue(1)
        .unwrap();
    let in_vlan = |id: u16, priority| {
        let item = VlanItem {
            id: id.into(),
            priority,
            ..VlanItem::default()
        };
        Rule::ingress()
            .vlan(item)
            .ipv4(Ipv4Item::default())
            .to_queue(2)
            .unwrap()
    };
    let frame = syn(Family::V4, 80);
    let in_seven = tagged(&frame, 7 | 5 << 13);
    assert_eq!(fate(&plain, &in_seven), Fate::Queue(1));
    assert_eq!(fate(&in_vlan(7, None), &in_seven), Fate::Queue(2));
    assert_eq!(fate(&in_vlan(7, Some(5)), &in_seven), Fate::Queue(2));
    assert_eq!(fate(&in_vlan(7, Some(4)), &in_seven), Fate::NoRule);
    assert_eq!(fate(&in_vlan(8, None), &in_seven), Fate::NoRule);
    assert_eq!(fate(&in_vlan(7, None), &frame), Fate::NoRule, "no tag");
    let twice = Rule::ingress()
        .vlan(VlanItem {
            id: 9.into(),
            ..VlanItem::default()
        })
        .vlan(VlanItem {
            id: 7.into(),
            ..VlanItem::default()
        })
        .to_queue(0)
        .unwrap();
    assert_eq!(fate(&twice, &tagged(&in_seven, 9)), Fate::Queue(0));
}

#[test]
fn fragments_have_no_ports() {
    let udp = |family| {
        let rule = Rule::ingress();
        match family {
            Family::V4 => rule
                .ipv4(Ipv4Item::default())
                .udp(UdpItem::default())
                .to_queue(1),
            Family::V6 => rule
                .ipv6(Ipv6Item::default())
                .udp(UdpItem::default())
                .to_queue(1),
        }
        .unwrap()
    };
    let fragment = |family, wanted| {
        let rule = Rule::ingress();
        match family {
            Family::V4 => rule
                .ipv4(Ipv4Item {
                    fragment: wanted,
                    ..Ipv4Item::default()
                })
                .to_queue(2),
            Family::V6 => rule
                .ipv6(Ipv6Item {
                    fragment: wanted,
                    ..Ipv6Item::default()
                })
                .to_queue(2),
        }
        .unwrap()
    };
    for family in Family::BOTH {
        let path = Path::new(family, 1, 2);
        let whole = path.udp(1, 2, b"payload");
        // The first of several: its ports would be there.
        let piece = match family {
            Family::V4 => {
                let mut piece = whole.clone();
                piece[20] = 0x20;
                fix_checksums(&mut piece);
                piece
            }
            Family::V6 => {
                let header = [17, 0, 0, 1, 0, 0, 0, 9];
                path.ip(
                    44,
                    &[&header[..], &path.udp_bytes(1, 2, b"payload")].concat(),
                )
            }
        };
        assert_eq!(fate(&udp(family), &whole), Fate::Queue(1));
        assert_eq!(fate(&udp(family), &piece), Fate::NoRule);
        for (frame, is_one) in [(&whole, false), (&piece, true)] {
            assert_eq!(fate(&fragment(family, None), frame), Fate::Queue(2));
            assert_eq!(fate(&fragment(family, Some(is_one)), frame), Fate::Queue(2));
            assert_eq!(fate(&fragment(family, Some(!is_one)), frame), Fate::NoRule);
        }
    }
    // Behind other extension headers, and whole: an atomic fragment.
    let path = Path::new(Family::V6, 1, 2);
    let headers = [44, 0, 1, 4, 0, 0, 0, 0, 17, 0, 0, 0, 0, 0, 0, 9];
    let atomic = path.ip(
        60,
        &[&headers[..], &path.udp_bytes(1, 2, b"payload")].concat(),
    );
    assert_eq!(fate(&udp(Family::V6), &atomic), Fate::Queue(1));
    assert_eq!(
        fate(&fragment(Family::V6, Some(true)), &atomic),
        Fate::Queue(2)
    );
}

#[test]
fn icmp_is_matched_by_type_and_code() {
    let pings = Rule::ingress()
        .ipv4(Ipv4Item::default())
        .icmp(Icmpv4Item {
            kind: 8.into(),
            code: 0.into(),
        })
        .drop_packets()
        .unwrap();
    let discovery = Rule::ingress()
        .ipv6(Ipv6Item::default())
        .icmpv6(Icmpv6Item {
            kind: (133..=137).into(),
            ..Icmpv6Item::default()
        })
        .to_queue(0)
        .unwrap();
    let ping = |family| Path::new(family, 1, 2).echo_request(1, 1, b"");
    assert_eq!(fate(&pings, &ping(Family::V4)), Fate::Drop);
    assert_eq!(fate(&pings, &ping(Family::V6)), Fate::NoRule);
    assert_eq!(
        fate(&discovery, &Path::new(Family::V6, 1, 2).who_has()),
        Fate::Queue(0)
    );
    assert_eq!(fate(&discovery, &ping(Family::V6)), Fate::NoRule);
    assert_eq!(
        fate(&discovery, &Path::new(Family::V4, 1, 2).who_has()),
        Fate::NoRule,
        "ARP"
    );
}

#[test]
fn the_highest_priority_decides_and_others_may_let_packets_pass() {
    let table = FlowTable::new(4);
    let web = || Rule::ingress().ipv4(Ipv4Item::default()).tcp(to_port(80));
    let all = table
        .create_flow(&Rule::ingress().priority(9).to_queue(0).unwrap())
        .unwrap();
    let one = table
        .create_flow(&web().priority(5).count().to_queue(1).unwrap())
        .unwrap();
    let marked = web().priority(1).mark(77).count().pass_through().unwrap();
    let marked = table.create_flow(&marked).unwrap();
    let frame = syn(Family::V4, 80);
    let verdict = |fate, mark| Verdict { fate, mark };
    assert_eq!(table.classify(&frame), verdict(Fate::Queue(1), Some(77)));
    assert_eq!(
        table.classify(&syn(Family::V4, 81)),
        verdict(Fate::Queue(0), None)
    );
    for flow in [&one, &marked] {
        let count = table.query_flow(flow, true).unwrap();
        assert_eq!(
            (count.packets, count.bytes),
            (Some(1), Some(frame.len() as u64))
        );
        assert_eq!(
            table.query_flow(flow, false).unwrap().packets,
            Some(0),
            "taken"
        );
    }
    let error = table.query_flow(&all, false).unwrap_err().to_string();
    assert!(error.contains("does not count"), "{error}");
    drop(one);
    assert_eq!(table.classify(&frame), verdict(Fate::Queue(0), Some(77)));
    table.destroy_flow(all).unwrap();
    assert_eq!(table.classify(&frame), verdict(Fate::NoRule, Some(77)));
    table.flush_flows().unwrap();
    assert_eq!(table.classify(&frame), verdict(Fate::NoRule, None));
    assert!(table.query_flow(&marked, false).is_err(), "gone");
    assert!(table.rules().is_empty());
}

#[test]
fn rules_jump_to_other_groups_and_never_for_ever() {
    let table = FlowTable::new(4);
    let mut flows = Vec::new();
    for rule in [
        Rule::ingress().jump_to(1),
        Rule::ingress()
            .group(1)
            .ipv4(Ipv4Item::default())
            .to_queue(3),
        Rule::ingress().group(1).priority(1).jump_to(2),
        Rule::ingress().group(2).jump_to(1),
    ] {
        flows.push(table.create_flow(&rule.unwrap()).unwrap());
    }
    assert_eq!(table.classify(&syn(Family::V4, 1)).fate, Fate::Queue(3));
    assert_eq!(
        table.classify(&syn(Family::V6, 1)).fate,
        Fate::NoRule,
        "round in a circle"
    );
}

#[test]
fn packets_are_spread_over_the_queues_of_a_rule_by_their_hash() {
    let rss = FlowRss {
        queues: vec![1, 3],
        types: RssTypes::TCP_IPV4 | RssTypes::IPV4,
        key: RssKey::Microsoft,
    };
    let rule = Rule::ingress().to_queues(rss).unwrap();
    let hash = toeplitz::Toeplitz::new(&toeplitz::MICROSOFT_KEY).unwrap();
    let mut seen = [0; 4];
    for port in 0..64 {
        let Fate::Queue(queue) = fate(&rule, &syn(Family::V4, port)) else {
            panic!("spread")
        };
        let flow = hash.ports(Family::V4.socket(1, 40_000), Family::V4.socket(2, port));
        assert_eq!(queue, [1, 3][flow.unwrap() as usize % 2], "{port}");
        seen[usize::from(queue)] += 1;
    }
    assert!(seen[1] > 16 && seen[3] > 16, "{seen:?}");
    // UDP by addresses alone: all flows of two hosts to one queue.
    let udp = |port| fate(&rule, &Path::new(Family::V4, 1, 2).udp(port, 7, b""));
    assert!((0..64).all(|port| udp(port) == udp(0)));
    assert_eq!(
        fate(&rule, &Path::new(Family::V4, 1, 2).who_has()),
        Fate::Queue(1),
        "not IP: the first"
    );
}

#[test]
fn the_model_refuses_as_devices_do() {
    let web = || Rule::ingress().ipv4(Ipv4Item::default()).tcp(to_port(80));
    let table = FlowTable::new(2).with_capacity(1);
    let error = table.create_flow(&web().to_queue(2).unwrap()).unwrap_err();
    assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
    let flow = table.create_flow(&web().to_queue(1).unwrap()).unwrap();
    let errno = |rule: &Rule| {
        table
            .create_flow(rule)
            .unwrap_err()
            .errno()
            .and_then(|errno| errno.name())
    };
    assert_eq!(errno(&web().drop_packets().unwrap()), Some("EEXIST"));
    assert_eq!(
        errno(&web().priority(1).drop_packets().unwrap()),
        Some("ENOSPC")
    );
    drop(flow);
    assert!(table.create_flow(&web().drop_packets().unwrap()).is_ok());

    let ranges = |rule: &Rule| {
        let ranged = rule.items().iter().any(|item| matches!(item, dpdk_net_rte::flow::Item::Tcp(tcp) if matches!(tcp.dst_port, Field::Range { .. })));
        ranged.then_some(RulePart::Item {
            which: Some((2, "TCP")),
            part: ItemPart::Range,
        })
    };
    let rule = Rule::ingress()
        .ipv4(Ipv4Item::default())
        .tcp(to_port(1..=9))
        .to_queue(0)
        .unwrap();
    for (when, validates) in [(Refuses::AtValidation, false), (Refuses::AtCreation, true)] {
        let table = FlowTable::new(1).refusing(when, ranges);
        assert_eq!(table.validate_flow(&rule).is_ok(), validates);
        let error = table.create_flow(&rule).unwrap_err().to_string();
        assert!(error.contains("the range of item 2 (TCP)"), "{error}");
        assert!(table.create_flow(&web().to_queue(0).unwrap()).is_ok());
    }
}
