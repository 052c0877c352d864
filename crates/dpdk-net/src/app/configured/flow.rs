//! Flow rules of a file.

use dpdk_net_config::{Bits, FlowDirection, FlowIcmp, FlowRule};
use dpdk_net_rte::flow::{
    Action, Direction, EthernetItem, Field, FlowRss, Icmpv4Item, Icmpv6Item, Ipv4Item, Ipv6Item,
    Item, Rule, TcpItem, UdpItem, VlanItem,
};

fn field<T: Copy>(bits: Option<Bits<T>>) -> Field<T> {
    match bits {
        None => Field::Any,
        Some(Bits::Exact(value)) => Field::Exact(value),
        Some(Bits::Masked { value, mask }) => Field::Masked { value, mask },
        Some(Bits::Range { first, last }) => Field::Range { first, last },
    }
}

fn icmp(icmp: &FlowIcmp) -> (Field<u8>, Field<u8>) {
    (field(icmp.kind), field(icmp.code))
}

/// The rule that a file asks for.
pub(super) fn rule(rule: &FlowRule) -> Result<Rule, dpdk_net_rte::Error> {
    let mut items = Vec::new();
    items.extend(rule.ethernet.as_ref().map(|it| {
        Item::Ethernet(EthernetItem {
            dst: field(it.dst),
            src: field(it.src),
            ether_type: field(it.ether_type),
        })
    }));
    items.extend(rule.vlan.iter().map(|it| {
        Item::Vlan(VlanItem {
            id: field(it.id),
            priority: it.priority,
            ether_type: field(it.ether_type),
        })
    }));
    items.extend(rule.ipv4.as_ref().map(|it| {
        Item::Ipv4(Ipv4Item {
            src: field(it.src),
            dst: field(it.dst),
            protocol: field(it.protocol),
            tos: field(it.tos),
            ttl: field(it.ttl),
            fragment: it.fragment,
        })
    }));
    items.extend(rule.ipv6.as_ref().map(|it| {
        Item::Ipv6(Ipv6Item {
            src: field(it.src),
            dst: field(it.dst),
            next_header: field(it.next_header),
            hop_limit: field(it.hop_limit),
            fragment: it.fragment,
        })
    }));
    // ICMP is over IP, whatever address it has.
    if rule.icmp.is_some() && rule.ipv4.is_none() {
        items.push(Item::Ipv4(Ipv4Item::default()));
    }
    if rule.icmpv6.is_some() && rule.ipv6.is_none() {
        items.push(Item::Ipv6(Ipv6Item::default()));
    }
    items.extend(rule.tcp.as_ref().map(|it| {
        Item::Tcp(TcpItem {
            src_port: field(it.src_port),
            dst_port: field(it.dst_port),
            flags: field(it.flags),
        })
    }));
    items.extend(rule.udp.as_ref().map(|it| {
        Item::Udp(UdpItem {
            src_port: field(it.src_port),
            dst_port: field(it.dst_port),
        })
    }));
    items.extend(rule.icmp.as_ref().map(|it| {
        let (kind, code) = icmp(it);
        Item::Icmpv4(Icmpv4Item { kind, code })
    }));
    items.extend(rule.icmpv6.as_ref().map(|it| {
        let (kind, code) = icmp(it);
        Item::Icmpv6(Icmpv6Item { kind, code })
    }));
    let mut actions = Vec::new();
    actions.extend(rule.mark.map(Action::Mark));
    actions.extend((rule.count == Some(true)).then_some(Action::Count));
    actions.extend(rule.queue.map(Action::Queue));
    if !rule.queues.is_empty() {
        actions.push(Action::Rss(FlowRss {
            queues: rule.queues.clone(),
            ..FlowRss::default()
        }));
    }
    actions.extend((rule.discard == Some(true)).then_some(Action::Drop));
    actions.extend(rule.jump.map(Action::Jump));
    actions.extend((rule.pass == Some(true)).then_some(Action::PassThrough));
    let direction = match rule.direction {
        None | Some(FlowDirection::Ingress) => Direction::Ingress,
        Some(FlowDirection::Egress) => Direction::Egress,
        Some(FlowDirection::Transfer) => Direction::Transfer,
    };
    let (group, priority) = (rule.group.unwrap_or(0), rule.priority.unwrap_or(0));
    Rule::from_parts(direction, group, priority, items, actions)
}
