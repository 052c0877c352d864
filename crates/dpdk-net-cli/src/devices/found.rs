//! What is found, in the shape in which `--json` has it.

use serde::Serialize;

use super::probe::ProbedPort;
use super::virtuals::{self, Virtual};
use crate::machine::Machine;
use crate::machine::interfaces::Interface;
use crate::machine::names::Names;
use crate::machine::pci::{self, Nic, Owner};

/// Everything.
#[derive(Debug, Serialize)]
pub(super) struct Found {
    pub(super) pci: Vec<PciDevice>,
    pub(super) interfaces: Vec<KernelInterface>,
    #[serde(rename = "virtual")]
    pub(super) virtuals: Vec<Virtual>,
    /// What DPDK says, if it was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) ports: Option<Vec<ProbedPort>>,
}

/// A network device on the PCI bus.
#[derive(Debug, Serialize)]
pub(super) struct PciDevice {
    pub(super) address: String,
    /// `8086:1592`.
    pub(super) id: String,
    pub(super) name: Option<String>,
    pub(super) driver: Option<String>,
    pub(super) numa_node: Option<u32>,
    pub(super) iommu_group: Option<u32>,
    pub(super) interfaces: Vec<String>,
    /// The interface on it that the default route goes by.
    pub(super) default_route: Option<String>,
    /// Whether DPDK could drive it as it is.
    pub(super) ready: bool,
    /// What is to be said about that.
    pub(super) state: &'static str,
    /// The command, for root, that hands it to DPDK.
    pub(super) bind: Option<String>,
    /// The lines for a configuration.
    pub(super) config: String,
}

/// An interface of the kernel.
#[derive(Debug, Serialize)]
pub(super) struct KernelInterface {
    pub(super) name: String,
    pub(super) kind: String,
    pub(super) driver: Option<String>,
    pub(super) pci: Option<String>,
    pub(super) state: String,
    pub(super) mtu: Option<u64>,
    pub(super) mac: Option<String>,
    pub(super) rx_queues: usize,
    pub(super) tx_queues: usize,
    pub(super) default_route: bool,
    /// The lines for a configuration; none of one that carries no Ethernet frames.
    pub(super) config: Option<String>,
}

impl Found {
    /// What the machine has, without DPDK.
    pub(super) fn read(machine: &Machine) -> Self {
        let names = Names::read(machine);
        let routes = pci::default_routes(machine);
        let pci = Nic::all(machine)
            .into_iter()
            .map(|nic| PciDevice::new(nic, &names, &routes))
            .collect();
        let interfaces = Interface::all(machine)
            .into_iter()
            .map(|interface| KernelInterface {
                default_route: routes.contains(&interface.name),
                config: interface
                    .is_ethernet()
                    .then(|| format!("[[port]]\ninterface = {:?}", interface.name)),
                name: interface.name,
                kind: interface.kind,
                driver: interface.driver,
                pci: interface.pci,
                state: interface.state,
                mtu: interface.mtu,
                mac: interface.mac,
                rx_queues: interface.rx_queues,
                tx_queues: interface.tx_queues,
            })
            .collect();
        Self {
            pci,
            interfaces,
            virtuals: virtuals::all(machine),
            ports: None,
        }
    }
}

impl PciDevice {
    fn new(nic: Nic, names: &Names, routes: &[String]) -> Self {
        let default_route = nic
            .interfaces
            .iter()
            .find(|name| routes.contains(name))
            .cloned();
        let state = match nic.owner() {
            Owner::Dpdk => "DPDK can drive it",
            Owner::Shared => "DPDK can drive it beside the kernel",
            Owner::Kernel => "the kernel has it",
            Owner::Nobody => "no driver has it",
        };
        Self {
            id: format!("{:04x}:{:04x}", nic.vendor, nic.device),
            name: names.of(nic.vendor, nic.device),
            ready: nic.is_ready(),
            state,
            bind: (!nic.is_ready()).then(|| nic.bind()),
            config: format!("[[port]]\npci = {:?}", nic.address),
            driver: nic.driver,
            numa_node: nic.node,
            iommu_group: nic.group,
            interfaces: nic.interfaces,
            default_route,
            address: nic.address,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::fake::Fake;

    #[test]
    fn devices_come_with_what_can_be_done_with_them() {
        let fake = Fake::good();
        fake.file("/usr/share/misc/pci.ids", "8086  Intel\n\t1592  E810\n");
        for (file, text) in [
            ("ifindex", "2"),
            ("iflink", "2"),
            ("type", "1"),
            ("mtu", "1400"),
        ] {
            fake.file(&format!("/sys/class/net/eth0/{file}"), text);
        }
        let found = Found::read(&fake.machine());
        let [kernels, dpdks] = found.pci.as_slice() else {
            panic!("{found:?}");
        };
        assert_eq!(kernels.default_route.as_deref(), Some("eth0"));
        assert!(!kernels.ready && kernels.bind.as_ref().unwrap().ends_with("0000:00:03.0"));
        assert!(dpdks.ready && dpdks.bind.is_none());
        assert_eq!(dpdks.name.as_deref(), Some("Intel E810"));
        assert_eq!(dpdks.config, "[[port]]\npci = \"0000:01:00.0\"");
        let [eth0] = found.interfaces.as_slice() else {
            panic!("{found:?}");
        };
        assert!(eth0.default_route);
        assert_eq!(
            eth0.config.as_deref(),
            Some("[[port]]\ninterface = \"eth0\"")
        );
        let json = serde_json::to_value(&found).unwrap();
        assert_eq!(json["pci"][1]["id"], "8086:1592");
        assert_eq!(json["virtual"][0]["vdev"], "net_tap0,iface=dpdk0");
        assert!(json.get("ports").is_none());
    }
}
