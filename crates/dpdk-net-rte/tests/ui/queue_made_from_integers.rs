//! A queue comes from its port, never from a pair of numbers.
use dpdk_net_rte::{RxQueue, TxQueue};

fn main() {
    let rx = RxQueue { port: 0, id: 0 };
    let tx = TxQueue::new(0, 0);
}
