//! A host of the benchmarks' network, for stacks that face each other in one process.

use std::net::IpAddr;

use anyhow::Context;
use dpdk_net_packet::MacAddr;
use dpdk_net_rte::{Eal, Mempool, Port, PortConfig, QueuePair, ring};
use dpdk_net_stack::{Config, IfAddr};

/// The address of a host.
pub fn address(host: u8) -> IpAddr {
    [198, 18, 0, host].into()
}

/// The configuration of its stack, whose address can be used at once.
pub fn config(host: u8) -> Config {
    let mut config = Config::new(MacAddr([2, 0, 0, 0, 0, host]));
    config.addresses = vec![IfAddr {
        addr: address(host),
        prefix_len: 24,
    }];
    config.seed = [host; 32];
    config.dad = false;
    config
}

/// EAL on lcore 0, in ordinary memory, without PCI devices.
///
/// # Errors
/// Those of `rte_eal_init`.
pub fn eal(bench: &str) -> anyhow::Result<Eal> {
    Ok(Eal::builder(bench)
        .no_huge()
        .memory_mb(512)
        .no_pci()
        .no_telemetry()
        .file_prefix(format!("bench-{bench}-{}", std::process::id()))
        .lcores("0")
        .init()?)
}

/// Both ends of a cable of rings: each a queue pair, and the pool that it receives into.
///
/// # Errors
/// Those of DPDK.
pub fn joined(eal: &Eal) -> anyhow::Result<[(QueuePair, Mempool); 2]> {
    let names = ["first", "second"];
    let ports = ring::joined_ports(eal, names, 1, 1024)?;
    let end = |index: usize| {
        let pool = Mempool::builder(eal, names[index]).capacity(8191).build()?;
        let port = Port::open(eal, ports.ids()[index])?;
        let port = port.configure(&PortConfig::queues(1), std::slice::from_ref(&pool))?;
        let queues = port.start()?.take_queues()?;
        let pair = queues
            .into_iter()
            .next()
            .context("a port without a queue")?;
        anyhow::Ok((pair, pool))
    };
    Ok([end(0)?, end(1)?])
}
