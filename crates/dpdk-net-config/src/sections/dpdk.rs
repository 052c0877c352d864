//! `[dpdk]`: what EAL is started with.

use std::path::PathBuf;

use crate::decode::section;
use crate::value::{PciAddress, Size, choice};

choice! {
    /// How devices address memory.
    pub enum Iova {
        /// Physical addresses.
        Physical = "pa",
        /// Virtual addresses.
        Virtual = "va",
    }
}

section! {
    /// DPDK's environment abstraction layer (EAL).
    pub struct Dpdk: Default {
        /// Prefix of the files by which DPDK processes find each other; processes that run at a time need different ones.
        opt file_prefix: String { default: "the file's name" };
        /// Memory to reserve at start. DPDK takes more as it needs it, from huge pages only.
        opt memory: Size { range: Some((1 << 20, 1 << 40)) };
        /// Memory to reserve at start on each NUMA node, from node 0 on. Not together with `memory`.
        list socket_memory: Size { range: Some((0, 1 << 40)) };
        /// Whether memory is huge pages. By default it is where there are any or a PCI port needs them.
        opt hugepages: bool;
        /// The hugetlbfs mount to take them from.
        opt huge_dir: PathBuf;
        /// No files at all: neither shared configuration nor hugetlbfs. Needs huge pages.
        opt in_memory: bool { default: "false" };
        /// Whether other DPDK processes (dpdk-proc-info, for one) can attach.
        opt shared_config: bool { default: "true" };
        /// A few large files instead of one for each huge page: virtio-user and memif without copies need it.
        opt single_file_segments: bool { default: "false" };
        /// How devices address memory. DPDK chooses by default.
        opt iova: Iova;
        /// DPDK's own telemetry socket.
        opt telemetry: bool { default: "true" };
        /// Whether the PCI bus is looked at. By default it is if a port is on it.
        opt pci: bool;
        /// PCI devices that DPDK may use beside those of the ports.
        list allow: PciAddress;
        /// PCI devices that DPDK leaves alone. Not together with `allow`.
        list block: PciAddress;
        /// Virtual devices beside those of the ports: a driver's name, a number and arguments, as in `net_ring0`.
        list vdevs: String;
        /// Arguments handed to EAL as they are. DPDK trusts them: `-d` runs the library that it names.
        list args: String;
    }
}
