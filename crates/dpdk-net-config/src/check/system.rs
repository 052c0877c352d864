//! `[dpdk]`, `[workers]`, `[tcp]` and `[udp]`.

use super::{Check, device_name};
use crate::file::File;
use crate::problem::Problem;
use crate::sections::{Idle, InterfaceDriver, Port};
use crate::value::Time;

pub(super) fn check(check: &mut Check<'_>) {
    dpdk(check);
    workers(check);
    stack(check);
}

fn dpdk(check: &mut Check<'_>) {
    let config = check.config;
    let dpdk = &config.dpdk;
    if dpdk.memory.is_some() && !dpdk.socket_memory.is_empty() {
        check.conflict(
            "dpdk.socket_memory",
            "dpdk.memory",
            "memory is asked for as a whole and by NUMA node",
            "leave one of them out",
        );
    }
    if !dpdk.allow.is_empty() && !dpdk.block.is_empty() {
        check.conflict(
            "dpdk.block",
            "dpdk.allow",
            "PCI devices are allowed one by one and blocked one by one",
            "with `allow` all others are left alone: leave `block` out",
        );
    }
    if dpdk.in_memory == Some(true) && dpdk.hugepages == Some(false) {
        check.conflict(
            "dpdk.in_memory",
            "dpdk.hugepages",
            "`in_memory` needs huge pages",
            "without huge pages, `shared_config = false` keeps DPDK from making files",
        );
    }
    if dpdk.hugepages == Some(false) && dpdk.huge_dir.is_some() {
        check.conflict(
            "dpdk.huge_dir",
            "dpdk.hugepages",
            "there is a mount of huge pages, and there are to be none",
            "leave one of them out",
        );
    }
    for (index, port) in config.port.iter().enumerate() {
        if port.pci.is_some() && dpdk.pci == Some(false) {
            check.conflict(
                &format!("port[{index}].pci"),
                "dpdk.pci",
                "the port is on the PCI bus, which DPDK is not to look at",
                "leave `dpdk.pci` out",
            );
        }
        if let Some(pci) = &port.pci
            && let Some(at) = dpdk.block.iter().position(|blocked| blocked == pci)
        {
            check.conflict(
                &format!("dpdk.block[{at}]"),
                &format!("port[{index}].pci"),
                format!("{pci} is a port's device and blocked"),
                "leave it out of `block`",
            );
        }
        let size = (dpdk.memory, dpdk.hugepages);
        if let ((_, Some(false)), Some(_)) = (size, &port.pci) {
            check.conflict(
                "dpdk.hugepages",
                &format!("port[{index}].pci"),
                "a NIC's driver needs huge pages",
                "leave `hugepages` out, and reserve some: `dpdk-net doctor` says how",
            );
        }
    }
    let own = dpdk.vdevs.iter().enumerate();
    let mut devices: Vec<(String, String)> = own
        .map(|(index, vdev)| (vdev.clone(), format!("dpdk.vdevs[{index}]")))
        .collect();
    let ports = config.port.iter().enumerate();
    devices.extend(
        ports.filter_map(|(index, port)| Some((port.vdev.clone()?, format!("port[{index}].vdev")))),
    );
    for (vdev, path) in &devices {
        if let Some(why) = malformed_vdev(vdev) {
            check.tell(path, format!("`{vdev}` is no virtual device: {why}"), "a driver's name and a number, and arguments after commas, as in \"net_tap0,iface=tp0\"");
        }
    }
    let names = devices
        .iter()
        .map(|(vdev, path)| (device_name(vdev).to_owned(), path.clone()));
    check.unique(
        names.collect(),
        |name| format!("there are two devices called {name}"),
        "give one of them another number",
    );
    for (index, argument) in dpdk.args.iter().enumerate() {
        let option = argument.split('=').next().unwrap_or_default();
        let setting = match option {
            "-l" | "--lcores" | "-c" => "workers.lcores",
            "--main-lcore" | "--master-lcore" => "workers.main",
            "--vdev" => "port.vdev or dpdk.vdevs",
            "-a" | "--allow" | "-w" => "port.pci or dpdk.allow",
            "-b" | "--block" => "dpdk.block",
            "--no-pci" => "dpdk.pci",
            "--file-prefix" => "dpdk.file_prefix",
            "--no-huge" => "dpdk.hugepages",
            "--in-memory" => "dpdk.in_memory",
            "-m" => "dpdk.memory",
            "--socket-mem" => "dpdk.socket_memory",
            "--huge-dir" => "dpdk.huge_dir",
            "--iova-mode" => "dpdk.iova",
            "--no-telemetry" => "dpdk.telemetry",
            "--no-shconf" => "dpdk.shared_config",
            "--log-level" => "log.dpdk",
            "--single-file-segments" => "dpdk.single_file_segments",
            _ => continue,
        };
        check.tell(
            &format!("dpdk.args[{index}]"),
            format!("`{option}` has a setting of its own"),
            format!("use {setting}: it is checked"),
        );
    }
}

pub(super) fn warnings(file: &File) -> Vec<Problem> {
    let config = file.config();
    let dpdk = &config.dpdk;
    let is_on_pci = |port: &Port| port.pci.is_some() || port.driver == Some(InterfaceDriver::Pci);
    let looks = dpdk.pci == Some(true) || dpdk.pci.is_none() && config.port.iter().any(is_on_pci);
    if dpdk.block.is_empty() || looks {
        return Vec::new();
    }
    vec![file.warn(
        "dpdk.block",
        "nothing is blocked: no port is on the PCI bus, and DPDK does not look at it",
        "leave `block` out; `dpdk.pci = true` has DPDK look at all other devices there",
    )]
}

/// What is wrong with a virtual device's text.
fn malformed_vdev(vdev: &str) -> Option<&'static str> {
    let name = device_name(vdev);
    if vdev.contains(char::is_whitespace) {
        return Some("it has a blank");
    }
    if !name
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b))
    {
        return Some("its name may have letters, digits, `_`, `-` and `.`");
    }
    let known = [
        "net_",
        "eth_",
        "crypto_",
        "event_",
        "baseband_",
        "bus_",
        "raw_",
        "mempool_",
        "virtio_user",
        "dma_",
    ];
    if !known.iter().any(|start| name.starts_with(start)) {
        return Some(
            "drivers of networks begin with `net_`, as in net_tap, net_af_packet, net_virtio_user",
        );
    }
    None
}

fn workers(check: &mut Check<'_>) {
    let workers = &check.config.workers;
    if let Some(lcores) = &workers.lcores {
        let there = |wanted: u32| lcores.0.iter().any(|map| map.lcore == wanted);
        if let Some(main) = workers.main
            && !there(main)
        {
            check.conflict(
                "workers.main",
                "workers.lcores",
                format!("lcore {main} is to be the main one, and is none of {lcores}"),
                "take one of them",
            );
        }
        if let Some(count) = workers.count
            && usize::from(count) > lcores.0.len()
        {
            check.conflict(
                "workers.count",
                "workers.lcores",
                format!(
                    "there are to be {count} workers on {} lcores",
                    lcores.0.len()
                ),
                "each has an lcore of its own; several lcores may share a CPU: \"0@0,1@0\"",
            );
        }
    }
    if workers.idle_turns.is_some() && workers.idle != Some(Idle::Yield) {
        let help = "it goes with idle = \"yield\"";
        let problem = check.tell(
            "workers.idle_turns",
            "`idle_turns` is of no effect here",
            help,
        );
        problem.depends = vec!["workers.idle".to_owned()];
    }
}

fn stack(check: &mut Check<'_>) {
    let config = check.config;
    let tcp = &config.tcp;
    let time = |setting: Option<Time>, default: u64| {
        setting.map_or(default, |time| time.0.as_micros() as u64)
    };
    let (min, max) = (time(tcp.min_rto, 5_000), time(tcp.max_rto, 60_000_000));
    if min > max {
        let (one, other) = order("tcp.min_rto", "tcp.max_rto", tcp.min_rto.is_some());
        check.conflict(
            one,
            other,
            "the least retransmission timeout is larger than the largest",
            "min_rto is 5 ms and max_rto 1 min by default",
        );
    }
    if time(tcp.initial_rto, 1_000_000) > max {
        let (one, other) = order("tcp.initial_rto", "tcp.max_rto", tcp.initial_rto.is_some());
        check.conflict(
            one,
            other,
            "the retransmission timeout of a SYN is larger than the largest",
            "initial_rto is 1 s and max_rto 1 min by default",
        );
    }
    let udp = &config.udp;
    for (section, first, last, defaults) in [
        (
            "tcp",
            tcp.ephemeral_first,
            tcp.ephemeral_last,
            (1024, 65_535),
        ),
        (
            "udp",
            udp.ephemeral_first,
            udp.ephemeral_last,
            (32_768, 60_999),
        ),
    ] {
        if first.unwrap_or(defaults.0) > last.unwrap_or(defaults.1) {
            let (first_path, last_path) = (
                format!("{section}.ephemeral_first"),
                format!("{section}.ephemeral_last"),
            );
            let (one, other) = order(&first_path, &last_path, first.is_some());
            check.conflict(
                one,
                other,
                "the first port is behind the last",
                format!("they are {} and {} by default", defaults.0, defaults.1),
            );
        }
    }
}

/// The setting that was given before the one that may not have been.
fn order<'a>(one: &'a str, other: &'a str, first: bool) -> (&'a str, &'a str) {
    if first { (one, other) } else { (other, one) }
}
