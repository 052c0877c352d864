//! Rings that hand received packets to another thread: order, bounds, ends, and pools that come out empty.

mod common;

use common::{eal_with_vdevs, pool};
use dpdk_net_rte::mbuf_ring::mbuf_ring;
use dpdk_net_rte::{
    Eal, Error, Mbuf, MbufReceiver, MbufSender, Mempool, RxBatch, RxMbuf, SocketId,
};

fn ring(eal: &Eal, capacity: u32) -> (MbufSender, MbufReceiver) {
    mbuf_ring(eal, "handover", capacity, SocketId::ANY).unwrap()
}

fn packet(pool: &Mempool, number: u32) -> RxMbuf {
    let mut mbuf = pool.alloc().unwrap();
    mbuf.append_slice(&number.to_be_bytes()).unwrap();
    RxMbuf::from(mbuf)
}

fn batch(pool: &Mempool, numbers: std::ops::Range<u32>) -> RxBatch {
    let mut batch = RxBatch::new();
    for number in numbers {
        batch.push(packet(pool, number)).unwrap();
    }
    batch
}

fn numbers<const N: usize>(batch: &RxBatch<N>) -> Vec<u32> {
    let number = |packet: &RxMbuf| u32::from_be_bytes(packet.data().try_into().unwrap());
    batch.as_slice().iter().map(number).collect()
}

#[test]
fn packets_come_out_in_the_order_they_were_put_in() {
    let eal = eal_with_vdevs(&[]);
    let pool = pool(&eal, "order");
    let (sender, mut receiver) = ring(&eal, 100);
    assert_eq!(
        (sender.capacity(), receiver.capacity()),
        (100, 100),
        "exactly"
    );
    let mut in_ = batch(&pool, 0..40);
    assert_eq!((sender.enqueue(&mut in_), in_.len()), (40, 0));
    let mut in_ = batch(&pool, 40..50);
    assert_eq!(sender.enqueue(&mut in_), 10);
    assert_eq!((sender.len(), receiver.len()), (50, 50));
    // A batch that has packets keeps them in front.
    let mut out = RxBatch::<32>::new();
    out.push(packet(&pool, 1000)).unwrap();
    assert_eq!(receiver.dequeue(&mut out), 31);
    assert_eq!(receiver.dequeue(&mut out), 0, "a full batch takes nothing");
    assert_eq!(
        numbers(&out),
        [1000].into_iter().chain(0..31).collect::<Vec<_>>()
    );
    out.clear();
    assert_eq!(receiver.dequeue(&mut out), 19);
    assert_eq!(numbers(&out), (31..50).collect::<Vec<_>>());
    assert!(receiver.is_empty() && receiver.dequeue(&mut out) == 0);
    drop(out);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn what_does_not_fit_comes_back_or_is_freed_and_counted() {
    let eal = eal_with_vdevs(&[]);
    let pool = pool(&eal, "full");
    let (sender, mut receiver) = ring(&eal, 10);
    let mut in_ = batch(&pool, 0..16);
    assert_eq!(sender.enqueue(&mut in_), 10);
    assert_eq!(
        numbers(&in_),
        (10..16).collect::<Vec<_>>(),
        "in order, to be tried again"
    );
    assert_eq!((sender.enqueue(&mut in_), in_.len()), (0, 6));
    assert_eq!((sender.enqueue_or_drop(&mut in_), in_.len()), (6, 0));
    assert_eq!(
        (sender.dropped(), receiver.dropped(), pool.in_use()),
        (6, 6, 10)
    );
    let mut out = RxBatch::<4>::new();
    receiver.dequeue(&mut out);
    let mut more = batch(&pool, 20..25);
    assert_eq!(sender.clone().enqueue_or_drop(&mut more), 1);
    out.clear();
    let mut all = RxBatch::<64>::new();
    receiver.dequeue(&mut all);
    assert_eq!(numbers(&all), [4, 5, 6, 7, 8, 9, 20, 21, 22, 23]);
    assert_eq!(sender.dropped(), 7);
    drop(all);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_chain_stays_whole_and_memory_that_is_shared_stays_shared() {
    let eal = eal_with_vdevs(&[]);
    let pool = pool(&eal, "chain");
    let (sender, mut receiver) = ring(&eal, 8);
    let mut mbuf: Mbuf = pool.alloc().unwrap();
    mbuf.append_slice(b"head").unwrap();
    let mut tail = pool.alloc().unwrap();
    tail.append_slice(b"tail").unwrap();
    mbuf.chain(tail).unwrap();
    let chain = RxMbuf::from(mbuf);
    let address = chain.data().as_ptr();
    let shared = chain.segments().nth(1).unwrap().share(0..4).unwrap();
    let mut in_ = RxBatch::<8>::new();
    in_.push(chain).unwrap();
    sender.enqueue(&mut in_);
    let mut out = RxBatch::<8>::new();
    receiver.dequeue(&mut out);
    let packet = out.drain().next().unwrap();
    assert_eq!(
        packet.data().as_ptr(),
        address,
        "the same mbuf, with all that the NIC wrote into it"
    );
    assert_eq!(
        packet.as_mbuf().segments().collect::<Vec<_>>(),
        [b"head", b"tail"]
    );
    let packet = packet.try_into_mbuf().unwrap_err();
    drop(packet);
    assert_eq!((&shared[..], pool.in_use()), (&b"tail"[..], 1));
    drop(shared);
    assert_eq!((pool.in_use(), pool.shared()), (0, 0));
}

#[test]
fn producers_on_other_threads_keep_their_order_each() {
    const EACH: u32 = 20_000;
    let eal = eal_with_vdevs(&[]);
    let pool = pool(&eal, "threads");
    let (sender, receiver) = ring(&eal, 127);
    std::thread::scope(|scope| {
        // Dropped where this fails, which ends the producers.
        let mut receiver = receiver;
        for producer in 0..2_u32 {
            let (sender, pool) = (sender.clone(), &pool);
            scope.spawn(move || {
                let mut batch = RxBatch::<16>::new();
                let mut next = 0;
                while (next < EACH || !batch.is_empty()) && !sender.is_closed() {
                    while next < EACH {
                        let Some(mut mbuf) = pool.alloc() else { break };
                        mbuf.append_slice(&(producer << 24 | next).to_be_bytes())
                            .unwrap();
                        if batch.push(RxMbuf::from(mbuf)).is_err() {
                            break;
                        }
                        next += 1;
                    }
                    if sender.enqueue(&mut batch) == 0 {
                        std::thread::yield_now();
                    }
                }
            });
        }
        let mut expected = [0, 0];
        let mut out = RxBatch::<64>::new();
        while expected != [EACH, EACH] {
            if receiver.dequeue(&mut out) == 0 {
                std::thread::yield_now();
            }
            for number in numbers(&out) {
                let producer = (number >> 24) as usize;
                assert_eq!(number & 0xff_ffff, expected[producer]);
                expected[producer] += 1;
            }
            out.clear();
        }
        assert!(receiver.is_empty());
    });
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_receiver_that_goes_frees_what_is_in_the_ring_and_closes_it() {
    let eal = eal_with_vdevs(&[]);
    let pool = pool(&eal, "closed");
    let (sender, receiver) = ring(&eal, 200);
    for start in [0, 50, 100] {
        sender.enqueue(&mut batch(&pool, start..start + 50));
    }
    assert_eq!(pool.in_use(), 150);
    drop(receiver);
    assert_eq!((pool.in_use(), sender.is_closed()), (0, true));
    let mut late = batch(&pool, 0..3);
    assert_eq!((sender.enqueue(&mut late), late.len()), (0, 3));
    assert_eq!((sender.enqueue_or_drop(&mut late), pool.in_use()), (3, 0));
}

#[test]
fn packets_in_a_ring_keep_their_pool_and_the_eal_alive() {
    let eal = eal_with_vdevs(&[]);
    let pool = pool(&eal, "alive");
    let (sender, mut receiver) = ring(&eal, 16);
    sender.enqueue(&mut batch(&pool, 0..10));
    drop((pool, sender, eal));
    let out = std::thread::spawn(move || {
        let mut out = RxBatch::<4>::new();
        receiver.dequeue(&mut out);
        // The other six are freed here, the ring with them.
        drop(receiver);
        out
    });
    let out = out.join().unwrap();
    assert_eq!(numbers(&out), [0, 1, 2, 3]);
    let pool = out.as_slice()[0].as_mbuf().mempool();
    drop(out);
    assert_eq!((pool.in_use(), pool.available()), (0, pool.capacity()));
}

#[test]
fn rings_that_cannot_be_are_refused_in_words_and_names_are_free_again() {
    let eal = eal_with_vdevs(&[]);
    let error = |name: &str, capacity| mbuf_ring(&eal, name, capacity, SocketId::ANY).unwrap_err();
    for capacity in [0, (1 << 20) + 1] {
        let error = error("handover", capacity).to_string();
        assert!(error.contains("a ring holds 1 to 1048576"), "{error}");
    }
    assert!(matches!(error("", 8), Error::InvalidArgument { .. }));
    assert!(matches!(
        error(&"x".repeat(64), 8),
        Error::InvalidArgument { .. }
    ));
    let both = ring(&eal, 8);
    let taken = error("handover", 8).to_string();
    assert!(
        taken.contains("EEXIST") && taken.contains("Choose a name"),
        "{taken}"
    );
    drop(both);
    drop(ring(&eal, 8));
}
