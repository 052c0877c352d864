//! A queue has one owner.
use dpdk_net_rte::TxQueue;

fn copy(queue: &TxQueue) -> TxQueue {
    queue.clone()
}

fn main() {}
