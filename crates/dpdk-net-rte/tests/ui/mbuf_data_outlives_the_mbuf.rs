//! Data is borrowed from its mbuf, and an mbuf in a batch from the batch.
use dpdk_net_rte::{Mbuf, MbufBatch, TxQueue};

fn freed(mbuf: Mbuf) -> usize {
    let data = mbuf.data();
    drop(mbuf);
    data.len()
}

fn sent(queue: &mut TxQueue, batch: &mut MbufBatch) -> usize {
    let first = &batch.as_slice()[0];
    queue.tx_burst(batch);
    first.data().len()
}

fn main() {}
