//! A host of the benchmarks' network, for stacks that face each other in one process.

use std::net::IpAddr;

use anyhow::Context;
use dpdk_net_packet::MacAddr;
use dpdk_net_rte::{Eal, Mempool, Port, PortConfig, PortId, QueuePair};
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

/// Starts a port with one queue pair, and takes it.
///
/// # Errors
/// Those of DPDK.
pub fn queues(eal: &Eal, id: PortId, pool: &Mempool) -> anyhow::Result<QueuePair> {
    let port =
        Port::open(eal, id)?.configure(&PortConfig::queues(1), std::slice::from_ref(pool))?;
    port.start()?
        .take_queues()?
        .pop()
        .context("a port without a queue")
}
