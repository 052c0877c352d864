//! Receives bursts on a port and sends them back, and prints what that cost.
//!
//! `cargo run --release --example bounce -p dpdk-net-rte -- [VDEV] [BURSTS] [PACKETS A BURST, AT MOST 64]`
//!
//! Over `net_null0` nothing but the calls themselves is measured: run it under
//! `valgrind --tool=callgrind` with two numbers of bursts to count instructions a packet.

use std::time::Instant;

use dpdk_net_rte::{Eal, Error, MbufBatch, Mempool, Port, PortConfig, QueuePair};

fn main() -> Result<(), Error> {
    let mut args = std::env::args().skip(1);
    let device = args.next().unwrap_or_else(|| "net_null0".to_owned());
    let mut number = |default: u64| {
        args.next()
            .and_then(|arg| arg.parse().ok())
            .unwrap_or(default)
    };
    let (bursts, size) = (number(1_000_000), number(32));

    let eal = Eal::builder("bounce")
        .no_huge()
        .memory_mb(128)
        .no_pci()
        .file_prefix(format!("bounce-{}", std::process::id()))
        .vdev(&device)
        .init()?;
    let pool = Mempool::builder(&eal, "packets").capacity(4095).build()?;
    let name = device.split(',').next().unwrap_or_default();
    let port = Port::open(&eal, name)?;
    let port = port.configure(&PortConfig::default(), &[pool])?.start()?;
    let mut queue = port.take_queues()?.remove(0);

    let start = Instant::now();
    let packets = match size {
        ..=8 => bounce::<8>(&mut queue, bursts),
        9..=32 => bounce::<32>(&mut queue, bursts),
        _ => bounce::<64>(&mut queue, bursts),
    };
    let elapsed = start.elapsed();
    println!(
        "{packets} packets in {elapsed:?}: {:.2} ns a packet, received and sent",
        elapsed.as_nanos() as f64 / packets as f64
    );
    Ok(())
}

/// Bounces bursts of up to `N` packets and returns how many were sent.
fn bounce<const N: usize>(queue: &mut QueuePair, bursts: u64) -> u64 {
    let mut batch: MbufBatch<N> = MbufBatch::new();
    let mut packets = 0;
    for _ in 0..bursts {
        queue.rx.rx_burst(&mut batch);
        packets += queue.tx.tx_burst(&mut batch) as u64;
        batch.clear();
    }
    packets
}
