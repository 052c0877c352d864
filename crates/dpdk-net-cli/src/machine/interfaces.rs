//! The kernel's network interfaces, as sysfs shows them: those of the network namespace that /sys was mounted in.

use super::Machine;

/// An interface of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interface {
    pub(crate) name: String,
    /// `ethernet`, `loopback`, `vlan`, `bridge`, `veth`, `tap` and so on.
    pub(crate) kind: String,
    /// The kernel's driver of the device below it, if there is one.
    pub(crate) driver: Option<String>,
    /// That device's address on the PCI bus.
    pub(crate) pci: Option<String>,
    /// `up`, `down` or what else the kernel says.
    pub(crate) state: String,
    pub(crate) mtu: Option<u64>,
    pub(crate) mac: Option<String>,
    pub(crate) rx_queues: usize,
    pub(crate) tx_queues: usize,
}

/// linux/if_arp.h: ARPHRD_ETHER and ARPHRD_LOOPBACK.
const ETHERNET: u64 = 1;
const LOOPBACK: u64 = 772;
/// linux/if_tun.h.
const IFF_TAP: u64 = 2;

impl Interface {
    /// All of them, by name.
    pub(crate) fn all(machine: &Machine) -> Vec<Self> {
        let names = machine.names("/sys/class/net");
        names
            .into_iter()
            // There are files too, such as bonding_masters.
            .filter(|name| machine.exists(format!("/sys/class/net/{name}/ifindex")))
            .map(|name| Self::read(machine, name))
            .collect()
    }

    fn read(machine: &Machine, name: String) -> Self {
        let path = |file: &str| format!("/sys/class/net/{name}/{file}");
        let queues = machine.names(path("queues"));
        let count = |kind| {
            queues
                .iter()
                .filter(|queue| queue.starts_with(kind))
                .count()
        };
        let mac = machine.text(path("address")).filter(|mac| !mac.is_empty());
        let state = machine
            .text(path("operstate"))
            .unwrap_or_else(|| "unknown".into());
        Self {
            kind: kind(machine, &name),
            driver: machine.link_name(path("device/driver")),
            pci: pci(machine, &name),
            state,
            mtu: machine.number(path("mtu")),
            mac,
            rx_queues: count("rx-"),
            tx_queues: count("tx-"),
            name,
        }
    }

    /// Whether DPDK's drivers can be put on it: it carries Ethernet frames.
    pub(crate) fn is_ethernet(&self) -> bool {
        !matches!(self.kind.as_str(), "loopback" | "tun" | "other")
    }
}

fn kind(machine: &Machine, name: &str) -> String {
    let path = |file: &str| format!("/sys/class/net/{name}/{file}");
    let uevent = machine.text(path("uevent")).unwrap_or_default();
    if let Some(kind) = uevent
        .lines()
        .find_map(|line| line.strip_prefix("DEVTYPE="))
    {
        return kind.to_owned();
    }
    // Hexadecimal: IFF_TUN or IFF_TAP and flags.
    let tun = machine.text(path("tun_flags"));
    if let Some(flags) =
        tun.and_then(|flags| u64::from_str_radix(flags.strip_prefix("0x")?, 16).ok())
    {
        return if flags & IFF_TAP != 0 { "tap" } else { "tun" }.to_owned();
    }
    let has_device = machine.exists(path("device"));
    let is_linked = machine.number(path("iflink")) != machine.number(path("ifindex"));
    match machine.number(path("type")) {
        Some(LOOPBACK) => "loopback",
        Some(ETHERNET) if has_device => "ethernet",
        // Of the kinds that lie on or beside another interface, veth alone has no type of its own.
        Some(ETHERNET) if is_linked => "veth",
        Some(ETHERNET) => "virtual",
        _ => "other",
    }
    .to_owned()
}

/// The device may lie on a bus of its own, as virtio's does, below the PCI device.
fn pci(machine: &Machine, name: &str) -> Option<String> {
    let device = machine
        .at(format!("/sys/class/net/{name}/device"))
        .canonicalize()
        .ok()?;
    let names = device.iter().rev().filter_map(|part| part.to_str());
    let is_address =
        |part: &&str| part.len() == 12 && part.matches(':').count() == 2 && part.contains('.');
    names.take(2).find(is_address).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    #[test]
    fn interfaces_are_told_apart_by_what_sysfs_has() {
        let fake = Fake::empty();
        let add = |name: &str, files: &[(&str, &str)]| {
            let all = [
                ("ifindex", "7"),
                ("iflink", "7"),
                ("type", "1"),
                ("operstate", "up"),
                ("mtu", "1500"),
            ];
            for (file, text) in all.iter().chain(files) {
                fake.file(&format!("/sys/class/net/{name}/{file}"), text);
            }
        };
        add("lo", &[("type", "772"), ("address", "00:00:00:00:00:00")]);
        add(
            "eth0.5",
            &[
                ("uevent", "INTERFACE=eth0.5\nDEVTYPE=vlan\n"),
                ("iflink", "2"),
            ],
        );
        add("veth1", &[("iflink", "8")]);
        add("tap0", &[("tun_flags", "0x1002")]);
        add("tun0", &[("tun_flags", "0x1001"), ("type", "65534")]);
        add("ifb0", &[("operstate", "down")]);
        add("sit0", &[("type", "776")]);
        add(
            "eth0",
            &[
                ("queues/rx-0/x", ""),
                ("queues/rx-1/x", ""),
                ("queues/tx-0/x", ""),
                ("address", "02:00:00:00:00:01"),
            ],
        );
        let device = "/sys/devices/pci0000:00/0000:00:03.0/virtio2";
        fake.directory(device)
            .link(
                "/sys/class/net/eth0/device",
                "../../../devices/pci0000:00/0000:00:03.0/virtio2",
            )
            .link(
                &format!("{device}/driver"),
                "../../../../bus/virtio/drivers/virtio_net",
            )
            .file("/sys/class/net/bonding_masters", "");
        let all = Interface::all(&fake.machine());
        let kinds: Vec<(&str, &str)> = all
            .iter()
            .map(|i| (i.name.as_str(), i.kind.as_str()))
            .collect();
        assert_eq!(
            kinds,
            [
                ("eth0", "ethernet"),
                ("eth0.5", "vlan"),
                ("ifb0", "virtual"),
                ("lo", "loopback"),
                ("sit0", "other"),
                ("tap0", "tap"),
                ("tun0", "tun"),
                ("veth1", "veth"),
            ]
        );
        let eth0 = &all[0];
        assert_eq!(eth0.driver.as_deref(), Some("virtio_net"));
        assert_eq!(eth0.pci.as_deref(), Some("0000:00:03.0"));
        assert_eq!(
            (eth0.rx_queues, eth0.tx_queues, eth0.mtu),
            (2, 1, Some(1500))
        );
        assert_eq!(eth0.mac.as_deref(), Some("02:00:00:00:00:01"));
        assert!(eth0.is_ethernet() && !all[3].is_ethernet());
        assert_eq!(all[2].state, "down");
    }
}
