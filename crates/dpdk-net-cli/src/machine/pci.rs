//! Network devices on the PCI bus: what they are, which driver has them, and whether DPDK could take them.

use super::Machine;

/// The drivers through which DPDK reaches a NIC that the kernel has let go.
const HANDED_OVER: [&str; 3] = ["vfio-pci", "uio_pci_generic", "igb_uio"];
/// Those that DPDK shares a NIC with (bifurcated drivers).
const SHARED: [&str; 3] = ["mlx4_core", "mlx5_core", "mana"];

/// A network device on the PCI bus.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Nic {
    /// `0000:01:00.0`.
    pub(crate) address: String,
    /// The vendor's id.
    pub(crate) vendor: u16,
    /// The device's id, given by its vendor.
    pub(crate) device: u16,
    /// The kernel's driver that it is bound to.
    pub(crate) driver: Option<String>,
    /// The NUMA node it is on, where the machine has several.
    pub(crate) node: Option<u32>,
    /// The kernel's interfaces on it.
    pub(crate) interfaces: Vec<String>,
    /// Its IOMMU group.
    pub(crate) group: Option<u32>,
}

/// Who has a NIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    /// DPDK can drive it as it is.
    Dpdk,
    /// DPDK can drive it beside the kernel.
    Shared,
    /// The kernel has it: it must be bound to vfio-pci first.
    Kernel,
    /// Nobody has it: likewise.
    Nobody,
}

impl Nic {
    /// Those of the machine, by address: PCI class 02, network controllers.
    pub(crate) fn all(machine: &Machine) -> Vec<Self> {
        let addresses = machine.names("/sys/bus/pci/devices");
        addresses
            .into_iter()
            .filter_map(|address| {
                let class = machine.text(format!("/sys/bus/pci/devices/{address}/class"))?;
                class
                    .starts_with("0x02")
                    .then(|| Self::read(machine, address))
            })
            .collect()
    }

    /// The device at an address, of whatever class.
    pub(crate) fn at(machine: &Machine, address: &str) -> Option<Self> {
        machine
            .exists(format!("/sys/bus/pci/devices/{address}"))
            .then(|| Self::read(machine, address.to_owned()))
    }

    fn read(machine: &Machine, address: String) -> Self {
        let path = |file: &str| format!("/sys/bus/pci/devices/{address}/{file}");
        let id = |file| {
            let text = machine.text(path(file))?;
            u16::from_str_radix(text.strip_prefix("0x")?, 16).ok()
        };
        let mut interfaces = machine.names(path("net"));
        // A virtio device's interface is that of the device on its own bus below it.
        for child in machine.names(path("")) {
            if child.starts_with("virtio") {
                interfaces.extend(machine.names(path(&format!("{child}/net"))));
            }
        }
        Self {
            vendor: id("vendor").unwrap_or(0),
            device: id("device").unwrap_or(0),
            driver: machine.link_name(path("driver")),
            // -1 where there is one node only.
            node: machine.text(path("numa_node")).and_then(|n| n.parse().ok()),
            interfaces,
            group: machine
                .link_name(path("iommu_group"))
                .and_then(|group| group.parse().ok()),
            address,
        }
    }

    /// Who has it now.
    pub(crate) fn owner(&self) -> Owner {
        match self.driver.as_deref() {
            Some(driver) if HANDED_OVER.contains(&driver) => Owner::Dpdk,
            Some(driver) if SHARED.contains(&driver) => Owner::Shared,
            Some(_) => Owner::Kernel,
            None => Owner::Nobody,
        }
    }

    /// Whether DPDK could drive it without further ado.
    pub(crate) fn is_ready(&self) -> bool {
        matches!(self.owner(), Owner::Dpdk | Owner::Shared)
    }

    /// The commands, for root, that give it to DPDK.
    pub(crate) fn bind(&self) -> String {
        format!(
            "modprobe vfio-pci && dpdk-devbind.py --bind=vfio-pci {}",
            self.address
        )
    }

    /// The interface on it that the machine's default route goes by.
    pub(crate) fn default_route<'a>(&'a self, machine: &Machine) -> Option<&'a str> {
        let routes = default_routes(machine);
        self.interfaces
            .iter()
            .find(|interface| routes.contains(interface))
            .map(String::as_str)
    }
}

/// The interfaces that default routes of either family go by.
pub(crate) fn default_routes(machine: &Machine) -> Vec<String> {
    let v4 = machine.text("/proc/net/route").unwrap_or_default();
    let v6 = machine.text("/proc/net/ipv6_route").unwrap_or_default();
    let v4 = v4.lines().filter_map(|line| {
        let mut fields = line.split_whitespace();
        let (interface, destination) = (fields.next()?, fields.next()?);
        (destination == "00000000").then(|| interface.to_owned())
    });
    let v6 = v6.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (destination, length) = (fields.first()?, fields.get(1)?);
        let interface = *fields.last()?;
        // The kernel's own entry for what has no route is on lo.
        let is_default = *length == "00" && destination.bytes().all(|byte| byte == b'0');
        (is_default && interface != "lo").then(|| interface.to_owned())
    });
    v4.chain(v6).collect()
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::*;

    #[test]
    fn a_nic_is_read_with_its_driver_node_and_interfaces() {
        let fake = Fake::good();
        fake.file("/sys/bus/pci/devices/0000:00:1f.0/class", "0x060100");
        let nics = Nic::all(&fake.machine());
        let addresses: Vec<&str> = nics.iter().map(|nic| nic.address.as_str()).collect();
        assert_eq!(addresses, ["0000:00:03.0", "0000:01:00.0"], "no bridge");
        assert_eq!(nics[0].interfaces, ["eth0"]);
        assert_eq!(nics[0].owner(), Owner::Kernel);
        assert_eq!(nics[0].default_route(&fake.machine()), Some("eth0"));
        assert_eq!((nics[1].vendor, nics[1].device), (0x8086, 0x1592));
        assert_eq!((nics[1].node, nics[1].group), (Some(0), Some(7)));
        assert!(nics[1].is_ready() && nics[1].interfaces.is_empty());
    }

    #[test]
    fn a_virtio_interface_is_found_below_its_own_bus() {
        let fake = Fake::empty();
        fake.nic("0000:00:03.0", "virtio-pci", None)
            .directory("/sys/bus/pci/devices/0000:00:03.0/virtio2/net/eth5");
        let nics = Nic::all(&fake.machine());
        assert_eq!(nics[0].interfaces, ["eth5"]);
    }

    #[test]
    fn owners_are_told_by_the_driver() {
        for (driver, owner) in [
            ("vfio-pci", Owner::Dpdk),
            ("igb_uio", Owner::Dpdk),
            ("mlx5_core", Owner::Shared),
            ("ice", Owner::Kernel),
            ("", Owner::Nobody),
        ] {
            let fake = Fake::empty();
            fake.nic("0000:01:00.0", driver, None);
            assert_eq!(Nic::all(&fake.machine())[0].owner(), owner, "{driver}");
        }
        assert_eq!(Nic::at(&Fake::empty().machine(), "0000:01:00.0"), None);
    }

    #[test]
    fn default_routes_of_both_families_are_known() {
        let fake = Fake::empty();
        fake.file(
            "/proc/net/route",
            "Iface\tDestination\neth1\t0000A8C0\neth0\t00000000\n",
        );
        let zeros = "0".repeat(32);
        let line = |length, interface| {
            format!("{zeros} {length} {zeros} 00 {zeros} 00000400 1 0 00000003 {interface}\n")
        };
        let routes = [line("00", "eth6"), line("00", "lo"), line("40", "eth7")].concat();
        fake.file("/proc/net/ipv6_route", &routes);
        assert_eq!(default_routes(&fake.machine()), ["eth0", "eth6"]);
    }
}
