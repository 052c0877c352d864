//! Queues are taken from a started port only.
use dpdk_net_rte::{Eal, Mempool, Port, PortConfig};

fn take(eal: &Eal, pool: Mempool) {
    let port = Port::open(eal, "net_null0").unwrap();
    let port = port.configure(&PortConfig::default(), &[pool]).unwrap();
    port.take_queues();
}

fn main() {}
