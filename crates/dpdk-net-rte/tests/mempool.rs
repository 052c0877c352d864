//! Mempools: allocation, what is refused, and who keeps a pool alive.

mod common;

use common::{eal_with_vdevs, pool};
use dpdk_net_rte::{Eal, Error, MbufBatch, Mempool, NoMbufs};

fn small(eal: &Eal, name: &str, capacity: u32) -> Result<Mempool, Error> {
    Mempool::builder(eal, name)
        .capacity(capacity)
        .cache_size(0)
        .build()
}

/// Names of pools are unique, so one can be made again only when the former is freed.
fn is_freed(eal: &Eal, name: &str) -> bool {
    match small(eal, name, 7) {
        Ok(_) => true,
        Err(error) => {
            assert_eq!(error.errno().map(|errno| errno.0), Some(17), "{error}"); // EEXIST
            false
        }
    }
}

#[test]
fn a_pool_gives_what_it_has_and_then_none() {
    let eal = eal_with_vdevs(&[]);
    let pool = small(&eal, "seven", 7).unwrap();
    assert_eq!((pool.capacity(), pool.name()), (7, "seven"));
    let held: Vec<_> = std::iter::from_fn(|| pool.alloc()).collect();
    assert_eq!(held.len(), 7);
    assert_eq!((pool.in_use(), pool.available()), (7, 0));
    drop(held);
    assert_eq!((pool.in_use(), pool.available()), (0, 7));
    assert!(pool.alloc().is_some());
}

#[test]
fn bulk_allocation_is_all_or_none() {
    let eal = eal_with_vdevs(&[]);
    let pool = small(&eal, "seven", 7).unwrap();
    let mut batch: MbufBatch<8> = MbufBatch::new();
    assert_eq!(
        pool.alloc_bulk(&mut batch, 8),
        Err(NoMbufs::PoolEmpty { asked: 8 })
    );
    assert_eq!((batch.len(), pool.in_use()), (0, 0));
    pool.alloc_bulk(&mut batch, 5).unwrap();
    assert_eq!(
        pool.alloc_bulk(&mut batch, 4),
        Err(NoMbufs::BatchFull { asked: 4, room: 3 })
    );
    assert_eq!((batch.len(), pool.in_use()), (5, 5));
    drop(batch);
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn a_pool_lives_until_its_last_mbuf_is_dropped() {
    let eal = eal_with_vdevs(&[]);
    let pool = small(&eal, "kept", 7).unwrap();
    let mut mbuf = pool.alloc().unwrap();
    drop(pool);
    mbuf.append_slice(b"still here").unwrap();
    assert!(!is_freed(&eal, "kept"));
    assert_eq!(mbuf.data(), b"still here");
    drop(mbuf);
    assert!(is_freed(&eal, "kept"));
}

#[test]
fn a_chain_keeps_the_pools_of_all_its_segments() {
    let eal = eal_with_vdevs(&[]);
    let (first, second) = (
        small(&eal, "first", 7).unwrap(),
        small(&eal, "second", 7).unwrap(),
    );
    let mut head = first.alloc().unwrap();
    head.append_slice(b"head").unwrap();
    let mut tail = second.alloc().unwrap();
    tail.append_slice(b"tail").unwrap();
    head.chain(tail).unwrap();
    drop((first, second));
    assert!(!is_freed(&eal, "first") && !is_freed(&eal, "second"));
    assert_eq!(head.segments().collect::<Vec<_>>(), [b"head", b"tail"]);
    head.linearize().unwrap();
    assert!(is_freed(&eal, "second"), "no segment of it is left");
    assert_eq!(head.data(), b"headtail");
    drop(head);
    assert!(is_freed(&eal, "first"));
}

#[test]
fn a_batch_of_several_pools_gives_each_its_own_back() {
    let eal = eal_with_vdevs(&[]);
    let (first, second) = (
        small(&eal, "first", 7).unwrap(),
        small(&eal, "second", 7).unwrap(),
    );
    let mut batch: MbufBatch<8> = MbufBatch::new();
    for _ in 0..3 {
        batch.push(first.alloc().unwrap()).unwrap();
        batch.push(second.alloc().unwrap()).unwrap();
    }
    assert_eq!((first.in_use(), second.in_use()), (3, 3));
    batch.clear();
    assert_eq!((first.in_use(), second.in_use()), (0, 0));
    drop((first, second));
    assert!(is_freed(&eal, "first") && is_freed(&eal, "second"));
}

#[test]
fn mbufs_can_be_used_and_freed_on_other_threads() {
    let eal = eal_with_vdevs(&[]);
    let pool = pool(&eal, "shared");
    let threads: Vec<_> = (0..4)
        .map(|_| {
            let pool = pool.clone();
            std::thread::spawn(move || {
                let mut kept = None;
                for round in 0..2000_u32 {
                    let mut mbuf = pool.alloc().expect("1023 mbufs for 4 threads of two each");
                    mbuf.append_slice(&round.to_be_bytes()).unwrap();
                    kept = Some(mbuf);
                }
                kept.expect("the last one")
            })
        })
        .collect();
    let last: Vec<_> = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .collect();
    assert!(
        last.iter()
            .all(|mbuf| mbuf.data() == 1999_u32.to_be_bytes())
    );
    assert_eq!(pool.in_use(), 4);
    drop(pool);
    assert!(!is_freed(&eal, "shared"));
    drop(last);
    assert!(is_freed(&eal, "shared"));
}

#[test]
fn an_mbuf_keeps_dpdk_from_being_cleaned_up() {
    let mut mbuf = {
        let eal = eal_with_vdevs(&[]);
        small(&eal, "last", 7).unwrap().alloc().unwrap()
    };
    // Neither handle of the EAL nor of the pool is left; both still work.
    mbuf.append_slice(b"alive").unwrap();
    let pool = mbuf.mempool();
    assert_eq!((pool.in_use(), mbuf.data()), (1, b"alive".as_slice()));
    let before = common::builder().init().unwrap_err();
    drop(mbuf);
    drop(pool);
    let after = common::builder().init().unwrap_err();
    assert_ne!(
        before.to_string(),
        after.to_string(),
        "cleaned up in between"
    );
}

#[test]
fn a_fresh_mbuf_shows_no_memory_that_was_never_written() {
    let eal = eal_with_vdevs(&[]);
    let pool = Mempool::builder(&eal, "fresh")
        .capacity(7)
        .cache_size(0)
        .private_size(24)
        .build()
        .unwrap();
    let mut mbuf = pool.alloc().unwrap();
    assert_eq!(mbuf.private(), [0; 24]);
    mbuf.private_mut().copy_from_slice(&[7; 24]);
    assert_eq!(mbuf.private(), [7; 24]);
    assert_eq!(mbuf.headroom(), Mempool::HEADROOM);
    assert!(
        mbuf.prepend(Mempool::HEADROOM)
            .unwrap()
            .iter()
            .all(|byte| *byte == 0)
    );
    let room = mbuf.tailroom();
    assert_eq!(room + Mempool::HEADROOM, pool.data_room());
    assert!(mbuf.append(room).unwrap().iter().all(|byte| *byte == 0));
}

#[test]
fn sizes_out_of_range_are_refused_in_words() {
    let eal = eal_with_vdevs(&[]);
    let builder = |name: &str| Mempool::builder(&eal, name).capacity(7).cache_size(0);
    let cases = [
        (builder("").build(), "1 to "),
        (
            builder("a name that is longer than DPDK allows").build(),
            "1 to ",
        ),
        (builder("zero\0byte").build(), "no zero byte"),
        (builder("none").capacity(0).build(), "at least one"),
        (
            builder("low").data_room(Mempool::HEADROOM - 1).build(),
            "128 to 65535 bytes",
        ),
        (
            builder("high").data_room(65_536).build(),
            "128 to 65535 bytes",
        ),
        (builder("odd").private_size(9).build(), "multiple of 8"),
        (builder("wide").private_size(65_536).build(), "fit 16 bits"),
        (builder("cache").cache_size(513).build(), "the most is 512"),
    ];
    for (result, expected) in cases {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn a_pool_too_large_for_the_memory_says_how_much_it_wants() {
    let eal = eal_with_vdevs(&[]);
    let error = small(&eal, "huge", 1_000_000).unwrap_err().to_string();
    assert!(
        error.contains("ENOMEM") && error.contains("2306 MB"),
        "{error}"
    );
    assert!(error.contains("memory_mb"), "{error}");
    assert!(
        small(&eal, "huge", 7).is_ok(),
        "the failure left nothing behind"
    );
}

#[test]
fn a_name_in_use_is_refused() {
    let eal = eal_with_vdevs(&[]);
    let _held = small(&eal, "taken", 7).unwrap();
    let error = small(&eal, "taken", 7).unwrap_err().to_string();
    assert!(
        error.contains("EEXIST") && error.contains("choose another name"),
        "{error}"
    );
}

#[test]
fn a_cache_larger_than_a_small_pool_is_cut_down() {
    let eal = eal_with_vdevs(&[]);
    let pool = Mempool::builder(&eal, "small").capacity(7).build().unwrap();
    assert_eq!(
        std::iter::from_fn(|| pool.alloc())
            .collect::<Vec<_>>()
            .len(),
        7
    );
}

#[test]
fn pools_can_be_used_from_several_threads_whatever_operations_are_asked_for() {
    let eal = common::builder()
        .arg("--mbuf-pool-ops-name=ring_sp_sc")
        .init()
        .unwrap();
    let pool = Mempool::builder(&eal, "shared")
        .capacity(1023)
        .cache_size(0)
        .build()
        .unwrap();
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                for _ in 0..4_000 {
                    let mut batch: MbufBatch<8> = MbufBatch::new();
                    pool.alloc_bulk(&mut batch, 8).unwrap();
                    batch.iter_mut().for_each(|mbuf| {
                        // Two owners of one mbuf would run out of room, or find the other's byte.
                        let bytes = mbuf.append(1900).unwrap();
                        bytes[0] = 1;
                    });
                }
            });
        }
    });
    assert_eq!((pool.in_use(), pool.available()), (0, 1023));
}
