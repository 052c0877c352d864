//! Rules as builders and parts make them.

use super::*;

#[test]
fn parts_make_what_a_builder_makes_and_nothing_that_it_would_not() {
    let (ip, tcp) = (
        Item::Ipv4(Ipv4Item::default()),
        Item::Tcp(TcpItem::default()),
    );
    let made = |direction, items: &[Item], actions: &[Action]| {
        Rule::from_parts(direction, 0, 0, items.to_vec(), actions.to_vec())
    };
    let built = Rule::ingress()
        .ipv4(Ipv4Item::default())
        .tcp(TcpItem::default())
        .count()
        .to_queue(1);
    let (ingress, to_queue) = (Direction::Ingress, [Action::Count, Action::Queue(1)]);
    assert_eq!(
        made(ingress, &[ip, tcp], &to_queue).unwrap(),
        built.unwrap()
    );
    let tag = Item::Vlan(VlanItem::default());
    let icmpv6 = Item::Icmpv6(Icmpv6Item::default());
    assert!(made(ingress, &[tag, tag, ip], &to_queue).is_ok());
    for items in [
        &[tcp][..],
        &[tcp, ip],
        &[ip, ip],
        &[ip, tag],
        &[ip, icmpv6],
        &[tag, tag, tag],
        &[ip, tcp, tcp],
    ] {
        let error = made(ingress, items, &to_queue).unwrap_err().to_string();
        assert!(error.contains("no packet has"), "{items:?}: {error}");
    }
    for actions in [
        &[][..],
        &[Action::Count],
        &[Action::Queue(0), Action::Count],
        &[Action::Drop, Action::Drop],
    ] {
        let error = made(ingress, &[ip], actions).unwrap_err().to_string();
        assert!(error.contains("once, at the end"), "{actions:?}: {error}");
    }
    let error = made(
        ingress,
        &[ip],
        &[Action::Mark(1), Action::Mark(2), Action::Drop],
    )
    .unwrap_err();
    assert!(error.to_string().contains("marked once"), "{error}");
    let error = made(Direction::Egress, &[ip], &to_queue)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("queue is for packets that are received"),
        "{error}"
    );
    assert!(made(Direction::Transfer, &[ip], &[Action::Count, Action::Drop]).is_ok());
}

#[test]
fn layers_are_in_order_and_ethernet_is_always_there() {
    let rule = Rule::ingress()
        .vlan(VlanItem::default())
        .vlan(VlanItem::default())
        .ipv6(Ipv6Item::default())
        .udp(UdpItem::default())
        .priority(3)
        .count()
        .mark(7)
        .count()
        .to_queue(2)
        .unwrap();
    let expected = "ingress group 0 priority 3 pattern Ethernet / VLAN / VLAN / IPv6 / UDP actions mark 7 / count / queue 2";
    assert_eq!(rule.to_string(), expected);
    let all = Rule::egress().group(1).jump_to(2).unwrap();
    assert_eq!(
        all.to_string(),
        "egress group 1 priority 0 pattern Ethernet actions jump 2"
    );
    let ping = Rule::transfer()
        .ipv4(Ipv4Item::default())
        .icmp(Icmpv4Item::default());
    assert_eq!(ping.drop_packets().unwrap().items().len(), 3);
}

#[test]
fn rules_that_mean_nothing_are_refused_in_words() {
    #[allow(clippy::reversed_empty_ranges)]
    let backwards = TcpItem {
        dst_port: (9..=1).into(),
        ..TcpItem::default()
    };
    for (rule, expected) in [
        (
            Rule::ingress().group(4).jump_to(4),
            "jumps to group 4, which it is in",
        ),
        (
            Rule::ingress().to_queues(FlowRss::default()),
            "over no queue",
        ),
        (
            Rule::ingress()
                .ipv4(Ipv4Item::default())
                .tcp(backwards)
                .to_queue(0),
            "flow rule: TCP item: dst_port: a range that ends before it starts",
        ),
    ] {
        let error = rule.unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn queues_that_are_not_there_are_named() {
    let one = Rule::ingress().to_queue(4).unwrap();
    assert!(one.check_queues(5).is_ok());
    let error = one.check_queues(4).unwrap_err().to_string();
    assert!(
        error.contains("queue 4, the port was configured with 4"),
        "{error}"
    );
    let some = FlowRss {
        queues: vec![0, 3, 1],
        ..FlowRss::default()
    };
    let some = Rule::ingress().to_queues(some).unwrap();
    assert!(some.check_queues(4).is_ok() && some.check_queues(3).is_err());
    assert!(
        Rule::egress()
            .drop_packets()
            .unwrap()
            .check_queues(0)
            .is_ok()
    );
}
