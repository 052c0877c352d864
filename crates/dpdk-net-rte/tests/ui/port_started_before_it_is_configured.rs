//! A port is configured before it is started.
use dpdk_net_rte::{Eal, Port};

fn start(eal: &Eal) {
    let port = Port::open(eal, "net_null0").unwrap();
    port.start();
}

fn main() {}
