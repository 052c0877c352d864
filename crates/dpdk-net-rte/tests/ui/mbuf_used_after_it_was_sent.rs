//! What was put into a batch, and so given to a driver, is not read any more.
use dpdk_net_rte::{Mbuf, MbufBatch, TxQueue};

fn send(queue: &mut TxQueue, mbuf: Mbuf) -> usize {
    let mut batch: MbufBatch = MbufBatch::new();
    batch.push(mbuf).unwrap();
    queue.tx_burst(&mut batch);
    mbuf.data().len()
}

fn main() {}
