//! A port over net_null: bring-up, bursts, and what is refused.

mod bed;

use bed::{eal, pool};
use dpdk_net_rte::{MbufBatch, Port, PortConfig};

#[test]
fn a_null_port_delivers_and_takes_packets() {
    let eal = eal(&["net_null0"]);
    let pool = pool(&eal, "rx");
    let port = Port::open(&eal, "net_null0").unwrap();
    let port = port
        .configure(&PortConfig::default(), std::slice::from_ref(&pool))
        .unwrap();
    let port = port.start().unwrap();
    let mut pair = port.take_queues().unwrap().remove(0);
    let mut batch: MbufBatch<32> = MbufBatch::new();
    assert_eq!(pair.rx.rx_burst(&mut batch), 32);
    assert!(batch.is_full());
    assert_eq!(
        pair.rx.rx_burst(&mut batch),
        0,
        "a full batch takes nothing"
    );
    assert!(
        batch
            .iter()
            .all(|mbuf| mbuf.data_len() == 64 && mbuf.is_contiguous())
    );
    assert_eq!(pool.in_use(), 32);
    assert_eq!(pair.tx.tx_burst(&mut batch), 32);
    assert!(batch.is_empty());
    assert_eq!(pool.in_use(), 0);
    let stats = port.queue_stats(0).unwrap();
    assert_eq!((stats.rx_packets, stats.tx_packets), (32, 32));
    assert_eq!((stats.rx_bytes, stats.tx_bytes), (32 * 64, 32 * 64));
}
