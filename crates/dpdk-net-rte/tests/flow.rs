//! Flow rules over virtual devices: which of them take any, and what the others say.
//!
//! None of them steers, so what a rule does to packets is tested with the testkit's model; here it is what a driver
//! answers.

mod common;

use common::kernel::own_network;
use common::{eal_with_vdevs, memif_server};
use dpdk_net_rte::flow::{
    EthernetItem, Field, FlowRss, FlowRules, Icmpv6Item, Ipv4Item, Ipv6Item, ItemPart, Rule,
    RulePart, TcpItem, UdpItem, VlanItem,
};
use dpdk_net_rte::port::Started;
use dpdk_net_rte::{Eal, Error, MbufBatch, Mempool, Port, PortConfig, PortId, ring};

fn started(eal: &Eal, id: PortId) -> Port<Started> {
    let pool = Mempool::builder(eal, "rx").capacity(4095).build().unwrap();
    let port = Port::open(eal, id).unwrap();
    let config = PortConfig {
        rx_descriptors: (port.info().unwrap().driver == "net_tap").then_some(128),
        ..PortConfig::queues(2)
    };
    port.configure(&config, &[pool]).unwrap().start().unwrap()
}

/// Of each kind one.
fn rules() -> Vec<(&'static str, Rule)> {
    let web = TcpItem {
        dst_port: 443.into(),
        ..TcpItem::default()
    };
    vec![
        (
            "a TCP flow to a queue",
            Rule::ingress()
                .ethernet(EthernetItem::default())
                .ipv4(Ipv4Item {
                    src: std::net::Ipv4Addr::new(198, 18, 0, 2).into(),
                    dst: std::net::Ipv4Addr::new(198, 18, 0, 1).into(),
                    ..Ipv4Item::default()
                })
                .tcp(web)
                .to_queue(1)
                .unwrap(),
        ),
        (
            "UDP in a VLAN by range and mask, counted and marked",
            Rule::ingress()
                .vlan(VlanItem {
                    id: 7.into(),
                    ..VlanItem::default()
                })
                .ipv4(Ipv4Item {
                    dst: Field::<std::net::Ipv4Addr>::prefix([198, 18, 0, 0].into(), 15),
                    ..Ipv4Item::default()
                })
                .udp(UdpItem {
                    dst_port: (8000..=8999).into(),
                    ..UdpItem::default()
                })
                .mark(9)
                .count()
                .drop_packets()
                .unwrap(),
        ),
        (
            "neighbour discovery to queue 0",
            Rule::ingress()
                .ipv6(Ipv6Item {
                    fragment: Some(false),
                    ..Ipv6Item::default()
                })
                .icmpv6(Icmpv6Item {
                    kind: (133..=137).into(),
                    ..Icmpv6Item::default()
                })
                .priority(1)
                .to_queue(0)
                .unwrap(),
        ),
        (
            "IPv6 over both queues",
            Rule::ingress()
                .ipv6(Ipv6Item::default())
                .to_queues(FlowRss {
                    queues: vec![0, 1],
                    ..FlowRss::default()
                })
                .unwrap(),
        ),
        (
            "what is sent, dropped",
            Rule::egress().drop_packets().unwrap(),
        ),
    ]
}

/// What a device answers: to each of the rules, and to a flush.
type Answers = ([Answer; 5], Answer);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// It is done.
    Takes,
    /// Validation refuses it, with this error.
    Refuses(&'static str),
    /// Validation passes it. What creation then says depends on the kernel behind the device: `EEXIST` here.
    Validates,
}
use Answer::{Refuses, Takes, Validates};

/// The devices that there are without a NIC, with DPDK 22.11. A bond asks its members, a failsafe its sub-devices.
const NOTHING: Answers = ([Refuses("ENOSYS"); 5], Refuses("ENOSYS"));
const BONDING: Answers = ([Refuses("ENOSYS"); 5], Takes);
const TAP: Answers = (
    [
        Validates,
        Refuses("ENOTSUP"),
        Refuses("ENOTSUP"),
        Refuses("ENOTSUP"),
        Validates,
    ],
    Takes,
);

/// The device answers so; whatever it refuses is refused in words.
fn answers(port: &Port<Started>, (expected, flush): Answers) {
    for ((name, rule), expected) in rules().into_iter().zip(expected) {
        let created = port.create_flow(&rule);
        match (port.validate_flow(&rule), expected) {
            (Ok(()), Validates) => match created {
                Ok(flow) => assert!(flow.is_installed()),
                Err(error) => {
                    assert_eq!(errno(&error), "EEXIST", "{name}: {error}");
                    assert!(
                        error.to_string().contains("rte_flow_create refused"),
                        "{error}"
                    );
                }
            },
            (Err(error), Refuses(with)) => {
                assert_eq!(errno(&error), with, "{name}: {error}");
                assert_eq!(created.unwrap_err(), error, "{name}");
                let Error::FlowRule(refused) = &error else {
                    panic!("{name}: {error}")
                };
                assert!(
                    refused.subject.contains(port.name()) && refused.remedy.len() > 20,
                    "{name}: {error}"
                );
            }
            (answer, expected) => panic!("{name}: {answer:?}, not {expected:?}"),
        }
    }
    match (port.flush_flows(), flush) {
        (Ok(()), Takes) => {}
        (Err(error), Refuses(with)) => assert_eq!(errno(&error), with, "{error}"),
        (answer, expected) => panic!("flush: {answer:?}, not {expected:?}"),
    }
}

fn errno(error: &Error) -> &'static str {
    error
        .errno()
        .and_then(|errno| errno.name())
        .unwrap_or("none")
}

fn named(eal: &Eal, name: &str) -> Port<Started> {
    let ports = eal.ports();
    let info = ports.iter().find(|info| info.name == name);
    started(
        eal,
        info.unwrap_or_else(|| panic!("{name} is not among {ports:?}"))
            .id,
    )
}

#[test]
fn net_null_has_no_rules() {
    let eal = eal_with_vdevs(&["net_null0"]);
    let port = named(&eal, "net_null0");
    answers(&port, NOTHING);
    let error = port.isolate_flows(true).unwrap_err();
    assert_eq!(errno(&error), "ENOSYS", "{error}");
    let error = port.create_flow(&rules()[0].1).unwrap_err().to_string();
    assert_eq!(
        error,
        "port 0 (net_null0): rte_flow_validate refused it: Function not implemented (ENOSYS). \
         The driver has no flow rules: do without, and hand packets over between queues in software"
    );
}

#[test]
fn net_ring_has_no_rules() {
    let eal = eal_with_vdevs(&[]);
    let rings = ring::looped_port(&eal, "looped", 2, 255).unwrap();
    answers(&started(&eal, rings.ids()[0]), NOTHING);
}

#[test]
fn net_memif_has_no_rules() {
    let directory = tempfile::tempdir().unwrap();
    let eal = eal_with_vdevs(&[&memif_server(directory.path())]);
    answers(&named(&eal, "net_memif0"), NOTHING);
}

#[test]
fn net_failsafe_asks_its_devices_which_have_none() {
    let eal = eal_with_vdevs(&["net_failsafe0,dev(net_null0)"]);
    answers(&named(&eal, "net_failsafe0"), NOTHING);
}

#[test]
fn net_bonding_asks_its_members_which_have_none() {
    let eal = eal_with_vdevs(&["net_null0"]);
    // DPDK renamed the argument with 23.11.
    eal.create_vdev("net_bonding0", "mode=0,slave=net_null0")
        .or_else(|_| eal.create_vdev("net_bonding0", "mode=0,member=net_null0"))
        .unwrap();
    answers(&named(&eal, "net_bonding0"), BONDING);
}

#[test]
fn net_tap_validates_more_than_it_creates_and_says_which_part_it_refuses() {
    if !own_network() {
        return;
    }
    let eal = eal_with_vdevs(&["net_tap0,iface=dnflow0"]);
    let port = named(&eal, "net_tap0");
    answers(&port, TAP);
    let Error::FlowRule(refused) = port.create_flow(&rules()[1].1).unwrap_err() else {
        panic!("another error")
    };
    // It takes no ranges, and says so of the header that has one.
    let udp = RulePart::Item {
        which: Some((3, "UDP")),
        part: ItemPart::Header,
    };
    assert_eq!(
        (refused.part, refused.message.as_str()),
        (udp, "item not supported")
    );
}

#[test]
fn rules_are_for_ports_that_are_started_and_queues_that_are_there() {
    let eal = eal_with_vdevs(&["net_null0"]);
    let port = Port::open(&eal, "net_null0").unwrap();
    let rule = Rule::ingress().to_queue(2).unwrap();
    let error = port.create_flow(&rule).unwrap_err();
    assert!(matches!(error, Error::NotStarted { .. }), "{error}");
    assert!(
        error
            .to_string()
            .contains("start it before it gets flow rules"),
        "{error}"
    );
    drop(port);
    let eal_port = eal.create_vdev("net_null1", "").unwrap();
    let port = started(&eal, eal_port);
    for error in [
        port.validate_flow(&rule).unwrap_err(),
        port.create_flow(&rule).unwrap_err(),
    ] {
        assert!(
            error
                .to_string()
                .contains("to queue 2, the port was configured with 2"),
            "{error}"
        );
    }
}

#[test]
fn a_packet_that_no_rule_marked_has_no_mark() {
    let eal = eal_with_vdevs(&["net_null0"]);
    let port = named(&eal, "net_null0");
    let mut batch: MbufBatch<8> = MbufBatch::new();
    port.take_rx(0).unwrap().rx_burst(&mut batch);
    assert!(batch.len() == 8 && batch.iter().all(|mbuf| mbuf.flow_mark().is_none()));
}
