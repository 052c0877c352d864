//! What the unit tests of this crate's modules share: an EAL without hugepages, devices or files that another process could
//! meet, and pools of it.

use crate::{Eal, Mempool};

pub(crate) fn eal() -> Eal {
    Eal::builder("unit-test")
        .no_huge()
        .memory_mb(64)
        .no_pci()
        .no_shconf()
        .no_telemetry()
        .file_prefix(format!("dn-unit-{}", std::process::id()))
        .init()
        .expect("the EAL starts")
}

/// A pool of 63 mbufs without a cache.
pub(crate) fn pool(eal: &Eal, name: &str) -> Mempool {
    Mempool::builder(eal, name)
        .capacity(63)
        .cache_size(0)
        .build()
        .expect("a pool")
}
