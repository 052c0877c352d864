//! An EAL for a test: no hugepages, no PCI, no files that another process could meet.
//!
//! DPDK starts once in a process: tests run under cargo-nextest, one process each.
#![allow(dead_code)] // Each test file takes what it needs.

use std::path::Path;

use dpdk_net_rte::{Eal, EalBuilder, Mempool};

pub(crate) mod kernel;

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

/// An EAL with these virtual devices.
pub(crate) fn eal_with_vdevs(vdevs: &[&str]) -> Eal {
    vdevs
        .iter()
        .fold(builder().memory_mb(128), |builder, vdev| builder.vdev(vdev))
        .init()
        .expect("the EAL starts")
}

/// A memif device, net_memif0, whose socket is in this directory.
pub(crate) fn memif_server(directory: &Path) -> String {
    let socket = directory.join("memif");
    format!(
        "net_memif0,role=server,socket={},socket-abstract=no",
        socket.display()
    )
}

/// A pool of 1023 mbufs of the default size.
pub(crate) fn pool(eal: &Eal, name: &str) -> Mempool {
    Mempool::builder(eal, name)
        .capacity(1023)
        .cache_size(64)
        .build()
        .expect("a pool of 1023 mbufs")
}
