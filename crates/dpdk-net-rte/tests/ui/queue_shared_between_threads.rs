//! A queue may move to another thread, but two threads can't have it.
use dpdk_net_rte::{MbufBatch, RxQueue};

fn poll(queue: &RxQueue) {
    std::thread::scope(|scope| {
        scope.spawn(|| queue.id());
    });
}

fn twice(queue: &mut RxQueue) {
    std::thread::scope(|scope| {
        scope.spawn(|| queue.rx_burst(&mut MbufBatch::<32>::new()));
        queue.rx_burst(&mut MbufBatch::<32>::new());
    });
}

fn main() {}
