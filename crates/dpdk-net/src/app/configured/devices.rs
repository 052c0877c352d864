//! The device behind a port of a file, as DPDK is told of it.

use dpdk_net_config::{Config, InterfaceDriver, Machine, Port};

/// A device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Device {
    /// On the PCI bus, by its address.
    Pci(String),
    /// A virtual one: what stands behind `--vdev`.
    Virtual(String),
}

impl Device {
    /// The device of a port.
    pub(super) fn of(port: &Port, config: &Config, machine: &Machine) -> Self {
        if let Some(pci) = &port.pci {
            return Self::Pci(pci.to_string());
        }
        if let Some(interface) = &port.interface {
            // A driver over an interface has as many queues as it is told.
            let workers = config
                .workers
                .lcores
                .as_ref()
                .map_or(machine.cpus.len(), |lcores| lcores.0.len());
            let workers = config
                .workers
                .count
                .map_or(workers, |count| workers.min(count.into()));
            let queues = |default: usize| port.queues.map_or(default, usize::from).max(1);
            return match port.driver {
                None | Some(InterfaceDriver::AfPacket) => {
                    let queues = queues(workers);
                    Self::Virtual(format!(
                        "net_af_packet_{interface},iface={interface},qpairs={queues}"
                    ))
                }
                Some(InterfaceDriver::AfXdp) => {
                    // An interface has as many as its driver made, one if nobody said.
                    let queues = queues(1);
                    Self::Virtual(format!(
                        "net_af_xdp_{interface},iface={interface},start_queue=0,queue_count={queues}"
                    ))
                }
                Some(InterfaceDriver::Pci) => {
                    // `Machine::check` has refused those that have none.
                    Self::Pci(machine.pci_of.get(interface).cloned().unwrap_or_default())
                }
            };
        }
        Self::Virtual(port.vdev.clone().unwrap_or_default())
    }

    /// DPDK's name for it.
    pub(super) fn name(&self) -> &str {
        match self {
            Self::Pci(address) => address,
            Self::Virtual(device) => device.split(',').next().unwrap_or(device),
        }
    }

    pub(super) fn pci(&self) -> Option<&str> {
        match self {
            Self::Pci(address) => Some(address),
            Self::Virtual(_) => None,
        }
    }

    pub(super) fn vdev(&self) -> Option<&str> {
        match self {
            Self::Pci(_) => None,
            Self::Virtual(device) => Some(device),
        }
    }
}
