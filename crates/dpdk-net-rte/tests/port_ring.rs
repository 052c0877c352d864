//! Ports joined by rings: order, back-pressure, and who keeps what alive.

mod common;

use common::{eal_with_vdevs, pool};
use dpdk_net_rte::port::Started;
use dpdk_net_rte::{Eal, Error, MbufBatch, Mempool, Port, PortConfig, PortId, QueuePair, ring};

fn start(eal: &Eal, id: PortId, pool: &Mempool, queues: u16) -> Port<Started> {
    start_with(eal, id, pool, &PortConfig::queues(queues))
}

fn start_with(eal: &Eal, id: PortId, pool: &Mempool, config: &PortConfig) -> Port<Started> {
    let port = Port::open(eal, id).unwrap();
    port.configure(config, std::slice::from_ref(pool))
        .unwrap()
        .start()
        .unwrap()
}

/// One queue pair that takes chains.
fn multi_segs() -> PortConfig {
    PortConfig {
        tx_offloads: dpdk_net_rte::port::TxOffloads::MULTI_SEGS,
        ..PortConfig::default()
    }
}

fn pair(port: &Port<Started>) -> QueuePair {
    port.take_queues().unwrap().remove(0)
}

fn fill<const N: usize>(pool: &Mempool, batch: &mut MbufBatch<N>, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let mut mbuf = pool.alloc().unwrap();
        mbuf.append_slice(&number.to_be_bytes()).unwrap();
        batch.push(mbuf).unwrap();
    }
}

fn numbers<const N: usize>(batch: &MbufBatch<N>) -> Vec<u32> {
    batch
        .iter()
        .map(|mbuf| u32::from_be_bytes(mbuf.data().try_into().unwrap()))
        .collect()
}

#[test]
fn what_one_port_sends_the_other_receives_in_order_both_ways() {
    let eal = eal_with_vdevs(&[]);
    let ports = ring::joined_ports(&eal, ["left", "right"], 2, 255).unwrap();
    let [left, right] = ports.ids()[..] else {
        panic!("two ports")
    };
    let (pool_left, pool_right) = (pool(&eal, "left"), pool(&eal, "right"));
    let (left, right) = (
        start(&eal, left, &pool_left, 2),
        start(&eal, right, &pool_right, 2),
    );
    let (mut left_queues, mut right_queues) =
        (left.take_queues().unwrap(), right.take_queues().unwrap());
    let mut batch: MbufBatch<32> = MbufBatch::new();
    for queue in 0..2 {
        let (l, r) = (&mut left_queues[queue], &mut right_queues[queue]);
        fill(&pool_left, &mut batch, 0..20);
        assert_eq!(l.tx.tx_burst(&mut batch), 20);
        assert_eq!(r.rx.rx_burst(&mut batch), 20);
        assert_eq!(numbers(&batch), (0..20).collect::<Vec<_>>());
        assert_eq!(
            r.tx.tx_burst(&mut batch),
            20,
            "sent back, of the other's pool"
        );
        assert_eq!(l.rx.rx_burst(&mut batch), 20);
        assert_eq!(numbers(&batch), (0..20).collect::<Vec<_>>());
        assert_eq!(l.rx.rx_burst(&mut batch), 0);
        batch.clear();
    }
    assert_eq!((pool_left.in_use(), pool_right.in_use()), (0, 0));
    assert_eq!(left.queue_stats(1).unwrap().rx_bytes, 80);
}

#[test]
fn what_a_full_ring_does_not_take_stays_in_order_and_is_sent_later() {
    let eal = eal_with_vdevs(&[]);
    let ports = ring::looped_port(&eal, "loop", 1, 15).unwrap();
    let pool = pool(&eal, "loop");
    let port = start(&eal, ports.ids()[0], &pool, 1);
    let mut queue = pair(&port);
    let mut unsent: MbufBatch<32> = MbufBatch::new();
    fill(&pool, &mut unsent, 0..20);
    assert_eq!(queue.tx.tx_burst(&mut unsent), 15);
    assert_eq!(numbers(&unsent), [15, 16, 17, 18, 19]);
    for _ in 0..1000 {
        assert_eq!(
            queue.tx.tx_burst(&mut unsent),
            0,
            "full: nothing is lost, nothing moves"
        );
    }
    fill(&pool, &mut unsent, 20..24);
    assert_eq!(numbers(&unsent), (15..24).collect::<Vec<_>>());
    let mut received: MbufBatch<32> = MbufBatch::new();
    assert_eq!(queue.rx.rx_burst(&mut received), 15);
    assert_eq!(queue.tx.tx_burst(&mut unsent), 9);
    assert_eq!(queue.rx.rx_burst(&mut received), 9);
    assert_eq!(numbers(&received), (0..24).collect::<Vec<_>>());
    let stats = port.queue_stats(0).unwrap();
    assert_eq!((stats.tx_packets, stats.tx_bytes), (24, 96));
    assert_eq!((stats.rx_packets, stats.rx_bytes), (24, 96));
    drop(received);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_mixed_burst_that_is_cut_short_counts_each_pool_right() {
    let eal = eal_with_vdevs(&[]);
    let ports = ring::looped_port(&eal, "loop", 1, 7).unwrap();
    let (one, two) = (pool(&eal, "one"), pool(&eal, "two"));
    let port = start(&eal, ports.ids()[0], &one, 1);
    let mut queue = pair(&port);
    let mut unsent: MbufBatch<32> = MbufBatch::new();
    for number in (0..20).step_by(2) {
        fill(&one, &mut unsent, number..number + 1);
        fill(&two, &mut unsent, number + 1..number + 2);
    }
    let (mut received, mut all): (MbufBatch<32>, Vec<u32>) = (MbufBatch::new(), Vec::new());
    while !unsent.is_empty() {
        queue.tx.tx_burst(&mut unsent);
        queue.rx.rx_burst(&mut received);
        all.extend(numbers(&received));
        received.clear();
    }
    assert_eq!(all, (0..20).collect::<Vec<_>>());
    assert_eq!((one.in_use(), two.in_use()), (0, 0));
    drop((queue, port, ports, one, two));
    // Names are free again only if each pool's count came down to zero.
    assert!(Mempool::builder(&eal, "one").capacity(7).build().is_ok());
    assert!(Mempool::builder(&eal, "two").capacity(7).build().is_ok());
}

#[test]
fn packets_under_way_keep_their_pool_though_sender_and_handle_are_gone() {
    let eal = eal_with_vdevs(&[]);
    let ports = ring::joined_ports(&eal, ["from", "to"], 1, 255).unwrap();
    let [from, to] = ports.ids()[..] else {
        panic!("two ports")
    };
    let receiver_pool = pool(&eal, "receiver");
    let to = start(&eal, to, &receiver_pool, 1);
    let mut receiver = pair(&to);
    {
        let sender_pool = pool(&eal, "sender");
        let from = start(&eal, from, &sender_pool, 1);
        let mut batch: MbufBatch<32> = MbufBatch::new();
        fill(&sender_pool, &mut batch, 0..32);
        assert_eq!(pair(&from).tx.tx_burst(&mut batch), 32);
    }
    let taken = || {
        Mempool::builder(&eal, "sender")
            .capacity(7)
            .build()
            .is_err()
    };
    assert!(
        taken(),
        "the sender's port is closed, its pool is not freed"
    );
    let mut batch: MbufBatch<16> = MbufBatch::new();
    assert_eq!(receiver.rx.rx_burst(&mut batch), 16);
    assert_eq!(numbers(&batch), (0..16).collect::<Vec<_>>());
    // 16 packets are still in the ring when it is freed.
    drop((receiver, to, ports));
    assert!(taken(), "packets of it are in hand");
    drop(batch);
    assert!(!taken(), "freed with the last packet");
}

#[test]
fn rings_are_freed_and_their_names_free_again() {
    let eal = eal_with_vdevs(&[]);
    let pool = pool(&eal, "packets");
    for round in 0..3 {
        let ports = ring::joined_ports(&eal, ["a", "b"], 1, 63).unwrap();
        let error = ring::joined_ports(&eal, ["a", "c"], 1, 63).unwrap_err();
        assert!(error.to_string().contains("EEXIST"), "{error}");
        let error = eal.remove_vdev("net_ring_a").unwrap_err();
        assert!(error.to_string().contains("RingPorts"), "{error}");
        // One of the two is opened, the other never.
        let port = start(&eal, ports.ids()[round % 2], &pool, 1);
        drop(ports);
        assert_eq!(
            eal.ports().len(),
            2,
            "the open port keeps its rings and the other end"
        );
        drop(port);
        assert!(eal.ports().is_empty());
    }
}

#[test]
fn a_depth_or_a_number_of_queues_out_of_range_is_refused() {
    let eal = eal_with_vdevs(&[]);
    for (queues, depth) in [(0, 63), (17, 63), (1, 0), (1, u32::MAX)] {
        let error = ring::looped_port(&eal, "odd", queues, depth).unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
    }
    assert!(ring::looped_port(&eal, "a name that is far too long for a ring", 1, 63).is_err());
    assert!(ring::looped_port(&eal, "fine", 16, 63).is_ok());
}

#[test]
fn a_chain_goes_through_a_ring_as_it_is() {
    let eal = eal_with_vdevs(&[]);
    let ports = ring::looped_port(&eal, "loop", 1, 63).unwrap();
    let (pool, other) = (common::pool(&eal, "loop"), common::pool(&eal, "other"));
    let port = start_with(&eal, ports.ids()[0], &pool, &multi_segs());
    let mut queue = pair(&port);
    let mut batch: MbufBatch<4> = MbufBatch::new();
    let [mut head, mut tail] = [pool.alloc().unwrap(), other.alloc().unwrap()];
    head.append_slice(b"head").unwrap();
    tail.append_slice(b"tail").unwrap();
    head.chain(tail).unwrap();
    batch.push(head).unwrap();
    assert_eq!(queue.tx.tx_burst(&mut batch), 1);
    assert_eq!(queue.rx.rx_burst(&mut batch), 1);
    assert_eq!(
        batch.as_slice()[0].segments().collect::<Vec<_>>(),
        [b"head", b"tail"]
    );
    assert_eq!((pool.in_use(), other.in_use()), (1, 1));
    batch.clear();
    assert_eq!((pool.in_use(), other.in_use()), (0, 0));
}

#[test]
fn a_chain_of_more_segments_than_a_driver_may_be_given_is_made_one() {
    let eal = eal_with_vdevs(&[]);
    let ports = ring::looped_port(&eal, "loop", 1, 63).unwrap();
    let pool = common::pool(&eal, "loop");
    let port = start_with(&eal, ports.ids()[0], &pool, &multi_segs());
    let mut queue = pair(&port);
    let mut batch: MbufBatch<4> = MbufBatch::new();
    for (segments, delivered) in [(256, 256), (257, 1)] {
        let mut head = pool.alloc().unwrap();
        head.append(1).unwrap()[0] = 1;
        for number in 1..segments {
            let mut tail = pool.alloc().unwrap();
            tail.append(1).unwrap()[0] = number as u8;
            head.chain(tail).unwrap();
        }
        batch.push(head).unwrap();
        assert_eq!(queue.tx.tx_burst(&mut batch), 1);
        assert_eq!(queue.rx.rx_burst(&mut batch), 1);
        let packet = batch.pop().unwrap();
        assert_eq!((packet.nb_segs(), packet.pkt_len()), (delivered, segments));
    }
    assert_eq!(port.queue_stats(0).unwrap().tx_copied, 1);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn promiscuous_and_allmulticast_are_switched_and_read_back() {
    let eal = eal_with_vdevs(&[]);
    let ports = ring::looped_port(&eal, "loop", 1, 63).unwrap();
    let pool = pool(&eal, "packets");
    let port = start(&eal, ports.ids()[0], &pool, 1);
    for on in [true, false, false, true] {
        port.set_promiscuous(on).unwrap();
        assert_eq!(port.promiscuous().unwrap(), on);
        port.set_allmulticast(on).unwrap();
        assert_eq!(port.allmulticast().unwrap(), on);
    }
    port.set_link_down().unwrap();
    assert!(!port.link().unwrap().up);
    port.set_link_up().unwrap();
    assert!(port.link().unwrap().up);
}
