//! Ports as DPDK sees them: EAL is started with files of its own, asked, and ended.

use dpdk_net::rte::port::{DescriptorLimits, PortInfo};
use dpdk_net::rte::{Eal, EalBuilder};
use serde::Serialize;

use crate::failure::{Failure, Result};
use crate::machine::Machine;
use crate::machine::hugepages::{Hugepages, shortage};
use crate::machine::pci::Nic;
use crate::machine::process::Process;

/// What asking takes of memory, in MiB.
const MEMORY: u32 = 64;

/// A port.
#[derive(Debug, Serialize)]
pub(super) struct ProbedPort {
    pub(super) id: u16,
    pub(super) name: String,
    pub(super) driver: String,
    pub(super) mac: String,
    pub(super) numa_node: Option<u16>,
    pub(super) max_rx_queues: u16,
    pub(super) max_tx_queues: u16,
    pub(super) rx_descriptors: Descriptors,
    pub(super) tx_descriptors: Descriptors,
    pub(super) min_mtu: u16,
    pub(super) max_mtu: u16,
    /// Bytes, without the headroom.
    pub(super) min_rx_buffer: u32,
    pub(super) max_tx_segments: Option<u16>,
    pub(super) max_mac_addresses: u32,
    pub(super) rx_offloads: Vec<String>,
    pub(super) tx_offloads: Vec<String>,
    pub(super) rss_types: Vec<String>,
    /// Entries of the redirection table.
    pub(super) reta_size: u16,
    /// Bytes.
    pub(super) rss_key_size: u8,
}

/// How many descriptors a queue can have.
#[derive(Debug, Serialize)]
pub(super) struct Descriptors {
    pub(super) min: u16,
    pub(super) max: u16,
    pub(super) align: u16,
}

impl From<DescriptorLimits> for Descriptors {
    fn from(limits: DescriptorLimits) -> Self {
        Self {
            min: limits.min,
            max: limits.max,
            align: limits.align,
        }
    }
}

impl From<PortInfo> for ProbedPort {
    fn from(info: PortInfo) -> Self {
        let lower =
            |names: Vec<&'static str>| names.into_iter().map(str::to_ascii_lowercase).collect();
        Self {
            id: info.id.get(),
            mac: info.mac.to_string(),
            numa_node: info.socket.number(),
            max_rx_queues: info.max_rx_queues,
            max_tx_queues: info.max_tx_queues,
            rx_descriptors: info.rx_descriptors.into(),
            tx_descriptors: info.tx_descriptors.into(),
            min_mtu: info.min_mtu,
            max_mtu: info.max_mtu,
            min_rx_buffer: info.min_rx_buffer,
            max_tx_segments: info.max_tx_segments,
            max_mac_addresses: info.max_mac_addresses,
            // Names of several bits come after their own, and so not at all.
            rx_offloads: lower(
                info.rx_offloads
                    .iter_names()
                    .map(|(name, _)| name)
                    .collect(),
            ),
            tx_offloads: lower(
                info.tx_offloads
                    .iter_names()
                    .map(|(name, _)| name)
                    .collect(),
            ),
            rss_types: lower(info.rss_types.iter_names().map(|(name, _)| name).collect()),
            reta_size: info.reta_size,
            rss_key_size: info.rss_key_size,
            name: info.name,
            driver: info.driver,
        }
    }
}

/// The ports of the NICs that DPDK has, and of these virtual devices.
pub(super) fn ports(machine: &Machine, vdevs: &[String]) -> Result<Vec<ProbedPort>> {
    let eal = eal(machine, vdevs).init().map_err(|error| {
        Failure::new(
            error.to_string(),
            "`dpdk-net doctor` says what this machine lacks",
        )
    })?;
    Ok(eal.ports().into_iter().map(ProbedPort::from).collect())
}

fn eal(machine: &Machine, vdevs: &[String]) -> EalBuilder {
    let mut eal = Eal::builder("dpdk-net")
        .file_prefix(format_args!("dpdk-net-devices-{}", std::process::id()))
        .memory_mb(MEMORY)
        .no_telemetry();
    // One lcore, on a CPU that may be used: what is asked runs on this thread.
    if let Some(cpu) = Process::read(machine).and_then(|process| process.cpus.last().copied()) {
        eal = eal.lcores(format!("0@{cpu}"));
    }
    let bytes = u64::from(MEMORY) << 20;
    eal = if shortage(&Hugepages::all(machine), bytes).is_some() {
        eal.no_huge().no_shconf()
    } else {
        eal.in_memory()
    };
    let mut ready = Nic::all(machine)
        .into_iter()
        .filter(Nic::is_ready)
        .peekable();
    // What the kernel has stays out of it altogether.
    eal = match ready.peek() {
        Some(_) => ready.fold(eal, |eal, nic| eal.allow(nic.address)),
        None => eal.no_pci(),
    };
    vdevs.iter().fold(eal, |eal, vdev| eal.vdev(vdev))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::fake::Fake;

    fn arguments(fake: &Fake, vdevs: &[&str]) -> String {
        let vdevs: Vec<String> = vdevs.iter().map(|vdev| (*vdev).to_owned()).collect();
        eal(&fake.machine(), &vdevs).arguments().join(" ")
    }

    #[test]
    fn only_what_dpdk_has_is_probed() {
        let line = arguments(&Fake::good(), &[]);
        assert!(
            line.contains("0000:01:00.0") && !line.contains("0000:00:03.0"),
            "{line}"
        );
        assert!(
            line.contains("--in-memory") && line.contains("0@7"),
            "{line}"
        );
    }

    #[test]
    fn without_nics_and_hugepages_it_does_without() {
        let line = arguments(&Fake::empty(), &["net_null0"]);
        for part in ["--no-pci", "--no-huge", "net_null0", "dpdk-net-devices-"] {
            assert!(line.contains(part), "{part}: {line}");
        }
    }
}
