//! What the tests of this crate share: an EAL without hugepages, one a process, and a pool.
#![allow(dead_code)] // Each test file uses its part.

use dpdk_net_rte::{Eal, Mempool};

/// An EAL with these virtual devices, in memory of its own.
pub(crate) fn eal(vdevs: &[&str]) -> Eal {
    let mut builder = Eal::builder("rte-test")
        .no_huge()
        .no_pci()
        .memory_mb(128)
        .file_prefix(format!("rte-test-{}", std::process::id()));
    for vdev in vdevs {
        builder = builder.vdev(*vdev);
    }
    builder.init().expect("the EAL starts without hugepages")
}

/// A pool of 1023 mbufs of the default size.
pub(crate) fn pool(eal: &Eal, name: &str) -> Mempool {
    Mempool::builder(eal, name)
        .capacity(1023)
        .cache_size(64)
        .build()
        .expect("a pool of 1023 mbufs")
}
