//! A started port can't be configured: it has to be stopped first.
use dpdk_net_rte::port::Started;
use dpdk_net_rte::{Mempool, Port, PortConfig};

fn configure(port: Port<Started>, pool: Mempool) {
    port.configure(&PortConfig::queues(2), &[pool]);
}

fn main() {}
