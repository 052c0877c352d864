//! `[[port]]`: devices, offloads and flow rules.

use super::{Check, port_name};
use crate::problem::Kind;
use crate::sections::{FlowDirection, FlowRule, OffloadWish, Port};

pub(super) fn check(check: &mut Check<'_>) {
    let ports = &check.config.port;
    if ports.is_empty() {
        check.lack("port", &[], "there is no port", "add one: [[port]] with vdev = \"net_tap0\", pci = \"0000:01:00.0\" or interface = \"eth1\"; `dpdk-net devices` lists what there is");
    }
    for (index, port) in ports.iter().enumerate() {
        let at = format!("port[{index}]");
        device(check, &at, port);
        offloads(check, &at, port);
        for (rule_index, rule) in port.flow.iter().enumerate() {
            flow(check, &format!("{at}.flow[{rule_index}]"), &at, port, rule);
        }
    }
    let names: Vec<(String, usize, &str)> = (ports.iter().enumerate())
        .map(|(index, port)| (port_name(port, index), index, named_by(port)))
        .collect();
    for (at, (name, index, key)) in names.iter().enumerate() {
        let before = names.get(..at).unwrap_or_default();
        let first = before.iter().find(|(other, ..)| other == name);
        // That two ports have the same device is told as that.
        if let Some((_, first, first_key)) =
            first.filter(|(.., first)| *key == "name" || key != first)
        {
            check.twice(
                &format!("port[{index}].{key}"),
                &format!("port[{first}].{first_key}"),
                format!("there are two ports called {name}"),
                "give each another name or device",
            );
        }
    }
    let devices = ports.iter().enumerate();
    let pci =
        devices.filter_map(|(index, port)| Some((port.pci.clone()?, format!("port[{index}].pci"))));
    check.unique(
        pci.collect(),
        |pci| format!("{pci} is the device of two ports"),
        "a device is one port",
    );
    let devices = ports.iter().enumerate();
    let interfaces = devices.filter_map(|(index, port)| {
        Some((port.interface.clone()?, format!("port[{index}].interface")))
    });
    check.unique(
        interfaces.collect(),
        |name| format!("{name} is the interface of two ports"),
        "an interface is one port",
    );
}

/// The key that a port has its name from.
fn named_by(port: &Port) -> &'static str {
    let given = [
        ("name", port.name.is_some()),
        ("vdev", port.vdev.is_some()),
        ("interface", port.interface.is_some()),
        ("pci", port.pci.is_some()),
    ];
    let first = given.iter().find(|(_, given)| *given);
    first.map_or("name", |(key, _)| key)
}

fn device(check: &mut Check<'_>, at: &str, port: &Port) {
    let given = [
        ("pci", port.pci.is_some()),
        ("vdev", port.vdev.is_some()),
        ("interface", port.interface.is_some()),
    ];
    let given: Vec<&str> = given
        .iter()
        .filter(|(_, given)| *given)
        .map(|(key, _)| *key)
        .collect();
    match given.as_slice() {
        [] => {
            check.lack(
                at,
                &["pci", "vdev", "interface"],
                "the port has no device",
                "say which: pci = \"0000:01:00.0\", vdev = \"net_tap0,iface=tp0\" or interface = \"eth1\"",
            );
        }
        [_] => {}
        [first, second, ..] => check.conflict(
            &format!("{at}.{second}"),
            &format!("{at}.{first}"),
            "the port has two devices",
            "leave one of them out",
        ),
    }
    if port.driver.is_some() && port.interface.is_none() {
        let path = format!("{at}.driver");
        let help = "it goes with `interface`";
        let problem = check.tell(&path, "`driver` is of no effect here", help);
        problem.depends = vec![format!("{at}.interface")];
    }
    if let Some(interface) = &port.interface
        && (interface.len() > 15
            || interface.contains(|c: char| c == '/' || c == ',' || c.is_whitespace()))
    {
        check.tell(
            &format!("{at}.interface"),
            format!("`{interface}` can't be the name of an interface"),
            "names have at most 15 bytes, and no slash, comma or blank; `ip -brief link` lists them",
        );
    }
    if let Some(mac) = port.mac
        && (!mac.is_unicast() || mac.octets() == [0; 6])
    {
        check.tell(
            &format!("{at}.mac"),
            format!("{mac} is no host's MAC address"),
            "the first byte of a host's address is even: 02:... is free for use",
        );
    }
}

fn offloads(check: &mut Check<'_>, at: &str, port: &Port) {
    let wishes = &port.offloads;
    if wishes.fast_free == Some(OffloadWish::On) && wishes.multi_segs == Some(OffloadWish::On) {
        check.conflict(
            &format!("{at}.offloads.fast_free"),
            &format!("{at}.offloads.multi_segs"),
            "`fast_free` takes packets of one mbuf only",
            "leave one of them out",
        );
    }
    if wishes.tso_ipv6 == Some(OffloadWish::On) && wishes.tso == Some(OffloadWish::Off) {
        check.conflict(
            &format!("{at}.offloads.tso_ipv6"),
            &format!("{at}.offloads.tso"),
            "segmentation of IPv6 goes with that of IPv4",
            "leave `tso` out",
        );
    }
}

fn flow(check: &mut Check<'_>, at: &str, port_at: &str, port: &Port, rule: &FlowRule) {
    let fates = [
        ("queue", rule.queue.is_some()),
        ("queues", !rule.queues.is_empty()),
        ("discard", rule.discard == Some(true)),
        ("jump", rule.jump.is_some()),
        ("pass", rule.pass == Some(true)),
    ];
    let fates: Vec<&str> = fates
        .iter()
        .filter(|(_, given)| *given)
        .map(|(key, _)| *key)
        .collect();
    match fates.as_slice() {
        [] => {
            check.lack(
                at,
                &["queue", "queues", "discard", "jump", "pass"],
                "the rule does not say what becomes of packets",
                "one of queue = 0, queues = [0, 1], discard = true, jump = 1 and pass = true",
            );
        }
        [_] => {}
        [first, second, ..] => check.conflict(
            &format!("{at}.{second}"),
            &format!("{at}.{first}"),
            "two things can't become of a packet",
            "leave one of them out",
        ),
    }
    let layers = |keys: &[(&'static str, bool)]| -> Vec<&'static str> {
        keys.iter()
            .filter(|(_, given)| *given)
            .map(|(key, _)| *key)
            .collect()
    };
    let networks = layers(&[("ipv4", rule.ipv4.is_some()), ("ipv6", rule.ipv6.is_some())]);
    let transports = layers(&[
        ("tcp", rule.tcp.is_some()),
        ("udp", rule.udp.is_some()),
        ("icmp", rule.icmp.is_some()),
        ("icmpv6", rule.icmpv6.is_some()),
    ]);
    for two in [&networks, &transports] {
        if let [first, second, ..] = two.as_slice() {
            check.conflict(
                &format!("{at}.{second}"),
                &format!("{at}.{first}"),
                format!("no packet has a header of both {first} and {second}"),
                "write a rule for each",
            );
        }
    }
    match (networks.first(), transports.first()) {
        (Some(&"ipv6"), Some(&"icmp")) | (Some(&"ipv4"), Some(&"icmpv6")) => check.conflict(
            &format!("{at}.{}", transports.first().copied().unwrap_or_default()),
            &format!("{at}.{}", networks.first().copied().unwrap_or_default()),
            "ICMP is of IPv4, and ICMPv6 of IPv6",
            "take the one that fits",
        ),
        (None, Some(transport)) if !matches!(*transport, "icmp" | "icmpv6") => {
            let message = format!("the rule does not say which IP {transport} is over");
            let path = format!("{at}.{transport}");
            let problem = check.tell(&path, message, "add ipv4 = {} or ipv6 = {}");
            problem.kind = Kind::MissingKey;
            problem.depends = vec![format!("{at}.ipv4"), format!("{at}.ipv6")];
        }
        _ => {}
    }
    if rule.vlan.len() > 2 {
        check.tell(
            &format!("{at}.vlan"),
            "a packet has at most two VLAN tags",
            "leave the others out",
        );
    }
    let ingress = matches!(rule.direction, None | Some(FlowDirection::Ingress));
    if !ingress && (rule.queue.is_some() || !rule.queues.is_empty()) {
        check.conflict(
            &format!("{at}.direction"),
            &format!("{at}.{}", fates.first().copied().unwrap_or("queue")),
            "only what is received goes to a queue",
            "leave `direction` out",
        );
    }
    if let Some(queues) = port.queues {
        let all = rule
            .queue
            .iter()
            .map(|queue| (*queue, format!("{at}.queue")));
        let several = rule.queues.iter().enumerate();
        let several = several.map(|(index, queue)| (*queue, format!("{at}.queues[{index}]")));
        for (queue, path) in all.chain(several).collect::<Vec<_>>() {
            if queue >= queues {
                let message = format!("queue {queue} is not there: the port has {queues}");
                check.conflict(
                    &path,
                    &format!("{port_at}.queues"),
                    message,
                    format!("queues are 0 to {}", queues - 1),
                );
            }
        }
    }
}
