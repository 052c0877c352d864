//! An EAL for a test: no hugepages, no PCI, no files that another process could meet.
//!
//! DPDK starts once in a process: tests run under cargo-nextest, one process each.
#![allow(dead_code)] // Each test file takes what it needs.

use dpdk_net_rte::{Eal, EalBuilder};

/// The options that every test wants; add lcores and devices.
pub(crate) fn builder() -> EalBuilder {
    Eal::builder("test")
        .no_huge()
        .memory_mb(64)
        .no_pci()
        .no_shconf()
        .no_telemetry()
        .file_prefix(format!("dn-test-{}", std::process::id()))
}

/// A main lcore and `workers` workers, all on the first CPU.
pub(crate) fn eal_with_workers(workers: usize) -> Eal {
    let lcores: Vec<String> = (0..=workers).map(|lcore| format!("{lcore}@0")).collect();
    builder()
        .lcores(lcores.join(","))
        .init()
        .expect("the EAL starts")
}
