//! Ports over net_null: bring-up in order, what is refused, statistics.

mod common;

use common::{eal_with_vdevs, pool};
use dpdk_net_packet::MacAddr;
use dpdk_net_rte::port::{PortInfo, RxOffloads, TxOffloads, Unconfigured};
use dpdk_net_rte::{Eal, Error, MbufBatch, Mempool, Port, PortConfig, PortId};

fn null() -> (Eal, Mempool, Port<Unconfigured>) {
    let eal = eal_with_vdevs(&["net_null0"]);
    let pool = pool(&eal, "rx");
    let port = Port::open(&eal, "net_null0").unwrap();
    (eal, pool, port)
}

#[test]
fn a_null_port_delivers_and_takes_packets() {
    let (_eal, pool, port) = null();
    let port = port
        .configure(&PortConfig::default(), std::slice::from_ref(&pool))
        .unwrap();
    let port = port.start().unwrap();
    let mut pair = port.take_queues().unwrap().remove(0);
    let mut batch: MbufBatch<32> = MbufBatch::new();
    assert_eq!(pair.rx.rx_burst(&mut batch), 32);
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
    assert_eq!(
        pair.tx.tx_burst(&mut batch),
        0,
        "an empty batch sends nothing"
    );
    assert_eq!((batch.len(), pool.in_use()), (0, 0));
    let stats = port.queue_stats(0).unwrap();
    assert_eq!((stats.rx_packets, stats.tx_packets), (32, 32));
    assert_eq!((stats.rx_bytes, stats.tx_bytes), (32 * 64, 32 * 64));
    assert_eq!(port.stats().unwrap().rx_packets, 32);
    assert!(
        port.xstats()
            .unwrap()
            .contains(&("rx_good_packets".to_owned(), 32))
    );
    port.reset_stats().unwrap();
    assert_eq!(port.queue_stats(0).unwrap(), Default::default());
    assert_eq!(port.stats().unwrap().rx_packets, 0);
    pair.rx.rx_burst(&mut batch);
    assert_eq!(port.queue_stats(0).unwrap().rx_packets, 32);
}

#[test]
fn a_port_is_found_by_name_and_number_and_listed() {
    let eal = eal_with_vdevs(&["net_null0", "net_null1"]);
    let ports = eal.ports();
    assert_eq!(
        ports
            .iter()
            .map(|port| port.name.as_str())
            .collect::<Vec<_>>(),
        ["net_null0", "net_null1"]
    );
    let PortInfo {
        id,
        driver,
        max_rx_queues,
        ..
    } = &ports[1];
    assert_eq!((driver.as_str(), *max_rx_queues), ("net_null", 1024));
    assert_eq!(Port::open(&eal, *id).unwrap().name(), "net_null1");
    assert_eq!(Port::open(&eal, 0).unwrap().id(), PortId::new(0));
}

#[test]
fn a_port_that_is_not_there_is_named_with_those_that_are() {
    let (eal, _pool, _port) = null();
    for error in [
        Port::open(&eal, "net_tap7").unwrap_err(),
        Port::open(&eal, 7).unwrap_err(),
        Port::open(&eal, 65_535).unwrap_err(),
        Port::open(&eal, "zero\0byte").unwrap_err(),
    ] {
        assert!(matches!(error, Error::NoSuchPort { .. }), "{error}");
        assert!(error.to_string().contains("port 0 (net_null0)"), "{error}");
    }
}

#[test]
fn a_port_is_opened_once_until_all_its_handles_are_gone() {
    let (eal, pool, port) = null();
    let again = || Port::open(&eal, "net_null0").unwrap_err();
    assert!(
        matches!(again(), Error::PortAlreadyOpen { .. }),
        "{}",
        again()
    );
    let control = port.control();
    let started = port
        .configure(&PortConfig::default(), &[pool])
        .unwrap()
        .start()
        .unwrap();
    let queue = started.take_rx(0).unwrap();
    drop(started);
    assert!(
        matches!(again(), Error::PortAlreadyOpen { .. }),
        "a control handle and a queue are left"
    );
    drop(control);
    assert!(
        matches!(again(), Error::PortAlreadyOpen { .. }),
        "a queue is left"
    );
    drop(queue);
    assert!(
        matches!(again(), Error::NoSuchPort { .. }),
        "closed, and gone from DPDK"
    );
}

#[test]
fn a_queue_keeps_its_port_and_pool_working_on_another_thread() {
    let (eal, pool, port) = null();
    let port = port
        .configure(&PortConfig::default(), &[pool])
        .unwrap()
        .start()
        .unwrap();
    let mut pair = port.take_queues().unwrap().remove(0);
    drop((port, eal));
    let sent = std::thread::spawn(move || {
        let mut batch: MbufBatch = MbufBatch::new();
        (0..100)
            .map(|_| {
                pair.rx.rx_burst(&mut batch);
                pair.tx.tx_burst(&mut batch)
            })
            .sum::<usize>()
    });
    assert_eq!(sent.join().unwrap(), 6400);
}

#[test]
fn a_queue_has_one_owner_who_can_give_it_back() {
    let (_eal, pool, port) = null();
    let port = port
        .configure(&PortConfig::queues(2), &[pool])
        .unwrap()
        .start()
        .unwrap();
    let pairs = port.take_queues().unwrap();
    assert_eq!(pairs.len(), 2);
    for error in [
        port.take_queues().unwrap_err(),
        port.take_rx(1).unwrap_err(),
        port.take_tx(0).unwrap_err(),
    ] {
        assert!(matches!(error, Error::QueueTaken { .. }), "{error}");
    }
    let error = port.take_rx(2).unwrap_err();
    assert!(
        matches!(error, Error::NoSuchQueue { count: 2, .. }),
        "{error}"
    );
    drop(pairs);
    let one = port.take_rx(1).unwrap();
    assert!(port.take_queues().is_err(), "one of them is out");
    assert!(port.take_rx(0).is_ok(), "the failure took none");
    drop(one);
    assert!(port.take_queues().is_ok());
}

#[test]
fn a_port_stops_once_its_queues_are_back_and_starts_again() {
    let (_eal, pool, port) = null();
    let port = port
        .configure(&PortConfig::default(), std::slice::from_ref(&pool))
        .unwrap()
        .start()
        .unwrap();
    let pairs = port.take_queues().unwrap();
    let refused = port.stop().unwrap_err();
    assert!(
        matches!(refused.error, Error::QueuesInUse { rx: 1, tx: 1, .. }),
        "{refused}"
    );
    drop(pairs);
    let port = refused.port.stop().unwrap().start().unwrap();
    drop(port.take_queues().unwrap());
    let port = port.stop().unwrap().unconfigure();
    let port = port
        .configure(&PortConfig::queues(3), &[pool])
        .unwrap()
        .start()
        .unwrap();
    assert_eq!(port.take_queues().unwrap().len(), 3);
}

#[test]
fn unequal_queue_counts_are_taken_one_by_one() {
    let (_eal, pool, port) = null();
    let config = PortConfig {
        tx_queues: 2,
        ..PortConfig::default()
    };
    let port = port.configure(&config, &[pool]).unwrap().start().unwrap();
    assert_eq!(port.queue_counts(), (1, 2));
    let error = port.take_queues().unwrap_err();
    assert!(
        error.to_string().contains("1 receive and 2 transmit"),
        "{error}"
    );
    assert_eq!(port.take_tx(1).unwrap().id(), 1);
}

#[test]
fn what_a_port_cannot_give_is_refused_in_words_and_leaves_it_usable() {
    let (eal, rx, mut port) = null();
    let tight = Mempool::builder(&eal, "tight")
        .capacity(63)
        .data_room(128 + 1517)
        .build()
        .unwrap();
    let one = || vec![rx.clone()];
    let config = PortConfig::default;
    let cases = [
        (
            PortConfig {
                rx_queues: 0,
                ..config()
            },
            one(),
            "rx_queues of port 0 (net_null0): 0 asked for",
        ),
        (
            PortConfig::queues(1025),
            one(),
            "1025 asked for, driver net_null has at most 1024",
        ),
        (
            PortConfig {
                tx_queues: 1025,
                ..config()
            },
            one(),
            "tx_queues of port 0",
        ),
        (
            PortConfig {
                rx_descriptors: Some(0),
                ..config()
            },
            one(),
            "rx_descriptors of port 0 (net_null0): 0 desc",
        ),
        (
            PortConfig {
                mtu: Some(45),
                ..config()
            },
            one(),
            "45 bytes: driver net_null takes 46 to",
        ),
        (
            PortConfig {
                mtu: Some(2031),
                ..config()
            },
            one(),
            "data_room(2177) or more",
        ),
        (config(), vec![tight], "data_room(1646) or more"),
        (config(), vec![], "0 given for 1 receive queues"),
        (
            PortConfig::queues(3),
            vec![rx.clone(), rx.clone()],
            "2 given for 3 receive queues",
        ),
        (
            PortConfig {
                rx_offloads: RxOffloads::TCP_LRO,
                ..config()
            },
            one(),
            "does not offer RxOffloads(TCP_LRO)",
        ),
        (
            PortConfig {
                tx_offloads: TxOffloads::TCP_TSO,
                ..config()
            },
            one(),
            "does not offer TxOffloads(TCP_TSO)",
        ),
    ];
    for (config, pools, expected) in cases {
        let refused = port.configure(&config, &pools).unwrap_err();
        assert!(
            matches!(refused.error, Error::InvalidArgument { .. }),
            "{refused}"
        );
        assert!(
            refused.to_string().contains(expected),
            "{refused}\nlacks {expected}"
        );
        port = refused.port;
    }
    let config = PortConfig {
        rx_descriptors: Some(256),
        tx_descriptors: Some(512),
        mtu: Some(2030),
        rx_offloads_if_offered: RxOffloads::all(),
        tx_offloads_if_offered: TxOffloads::all(),
        ..config()
    };
    let port = port.configure(&config, &one()).unwrap().start().unwrap();
    assert_eq!(port.descriptor_counts(), (256, 512));
    assert_eq!(port.mtu().unwrap(), 2030);
}

#[test]
fn a_port_is_controlled_from_any_thread_while_it_runs() {
    let (_eal, pool, port) = null();
    let error = port.set_mtu(1400).unwrap_err();
    assert!(matches!(error, Error::NotConfigured { .. }), "{error}");
    let port = port
        .configure(&PortConfig::default(), &[pool])
        .unwrap()
        .start()
        .unwrap();
    let control = port.control();
    let mac: MacAddr = "02:00:00:00:00:07".parse().unwrap();
    std::thread::spawn(move || {
        control.set_mac(mac).unwrap();
        assert_eq!(control.mac().unwrap(), mac);
        for wrong in [MacAddr::BROADCAST, MacAddr::ZERO] {
            let error = control.set_mac(wrong).unwrap_err().to_string();
            assert!(error.contains("no station's address"), "{error}");
        }
        control.set_mtu(1280).unwrap();
        assert_eq!(control.mtu().unwrap(), 1280);
        let error = control.set_mtu(45).unwrap_err().to_string();
        assert!(error.contains("46 to 65535"), "{error}");
        let error = control.set_mtu(9000).unwrap_err().to_string();
        assert!(error.contains("data_room(9146)"), "{error}");
        let error = control.set_allmulticast(false).unwrap_err().to_string();
        assert!(
            error.contains("ENOTSUP") && error.contains("promiscuous mode"),
            "{error}"
        );
    })
    .join()
    .unwrap();
    assert_eq!(port.info().unwrap().mac, mac);
    let link = port.link().unwrap();
    assert!(
        link.up && link.full_duplex && link.speed_mbps.is_some(),
        "{link:?}"
    );
}

#[test]
fn queue_statistics_of_a_queue_that_is_not_there_are_refused() {
    let (_eal, pool, port) = null();
    let port = port.configure(&PortConfig::default(), &[pool]).unwrap();
    assert!(port.queue_stats(0).is_ok());
    let error = port.queue_stats(1).unwrap_err();
    assert!(
        matches!(
            error,
            Error::NoSuchQueue {
                queue: 1,
                count: 1,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn packets_without_data_are_dropped_and_counted() {
    let (_eal, pool, port) = null();
    let port = port
        .configure(&PortConfig::default(), std::slice::from_ref(&pool))
        .unwrap()
        .start()
        .unwrap();
    let mut tx = port.take_tx(0).unwrap();
    let mut batch: MbufBatch<4> = MbufBatch::new();
    pool.alloc_bulk(&mut batch, 3).unwrap();
    batch.as_mut_slice()[1].append_slice(&[1; 60]).unwrap();
    // This driver has nothing to prepare, and refuses nothing: what is wrong is found before it.
    let error = tx.tx_prepare(&mut batch).unwrap_err();
    assert!(error.index == 0 && error.to_string().contains("no data"));
    assert_eq!(batch.len(), 3);
    assert_eq!(tx.tx_burst(&mut batch), 1);
    let stats = port.queue_stats(0).unwrap();
    assert_eq!(
        (stats.tx_packets, stats.tx_bytes, stats.tx_dropped),
        (1, 60, 2)
    );
    assert_eq!((batch.len(), pool.in_use()), (0, 0));
}

#[test]
fn packets_longer_than_a_frame_of_the_mtu_are_dropped_and_counted() {
    let (eal, _, port) = null();
    let pool = Mempool::builder(&eal, "large")
        .capacity(127)
        .cache_size(0)
        .data_room(4096)
        .build()
        .unwrap();
    let port = port
        .configure(&PortConfig::default(), std::slice::from_ref(&pool))
        .unwrap()
        .start()
        .unwrap();
    let longest = 1500 + port.info().unwrap().frame_overhead as usize;
    let mut tx = port.take_tx(0).unwrap();
    let mut batch: MbufBatch<32> = MbufBatch::new();
    let mut sent = |lengths: &[usize]| {
        for &length in lengths {
            let mut mbuf = pool.alloc().unwrap();
            mbuf.append(length).unwrap();
            batch.push(mbuf).unwrap();
        }
        let sent = tx.tx_burst(&mut batch);
        assert!(batch.is_empty());
        let stats = port.queue_stats(0).unwrap();
        (sent, stats.tx_packets, stats.tx_bytes, stats.tx_dropped)
    };
    // The first burst teaches the queue its pool; the others are looked at as a whole, of any number.
    assert_eq!(sent(&[60]), (1, 1, 60, 0));
    let mut bytes = 60 + longest as u64;
    assert_eq!(sent(&[longest]), (1, 2, bytes, 0));
    assert_eq!(sent(&[longest + 1]), (0, 2, bytes, 1));
    bytes += 60 * 2;
    assert_eq!(sent(&[60, longest + 1, 60]), (2, 4, bytes, 2));
    bytes += 60 * 6;
    assert_eq!(
        sent(&[60, 60, 60, 60, 60, 60, longest + 1]),
        (6, 10, bytes, 3)
    );
    bytes += 60 * 4;
    assert_eq!(sent(&[longest + 1, 60, 0, 60, 60, 60]), (4, 14, bytes, 5));
    assert_eq!(pool.in_use(), 0);
    // Asking for segmentation helps only where the port does it.
    use dpdk_net_rte::mbuf::{IpVersion, L4Offload, TxOffload};
    let mut mbuf = pool.alloc().unwrap();
    mbuf.append(longest + 1).unwrap();
    mbuf.set_tx_offload(TxOffload {
        l2_len: 14,
        l3_len: 40,
        ip: IpVersion::V6,
        l4: L4Offload::TcpSegmentation {
            segment_size: 1000,
            header_len: 20,
        },
    })
    .unwrap();
    let mut batch: MbufBatch<4> = MbufBatch::new();
    batch.push(mbuf).unwrap();
    assert_eq!(tx.tx_burst(&mut batch), 0);
    assert_eq!(port.queue_stats(0).unwrap().tx_dropped, 6);
    assert_eq!((batch.len(), pool.in_use()), (0, 0));
}

#[test]
fn a_chain_is_sent_as_one_segment_where_the_driver_takes_no_other() {
    let (_eal, pool, port) = null();
    let port = port
        .configure(&PortConfig::default(), std::slice::from_ref(&pool))
        .unwrap()
        .start()
        .unwrap();
    let mut tx = port.take_tx(0).unwrap();
    let mut batch: MbufBatch<4> = MbufBatch::new();
    let mut chain = |lengths: [usize; 2]| {
        let [mut head, mut tail] = [pool.alloc().unwrap(), pool.alloc().unwrap()];
        head.append(lengths[0]).unwrap();
        tail.append(lengths[1]).unwrap();
        head.chain(tail).unwrap();
        batch.push(head).unwrap();
    };
    chain([1000, 500]);
    chain([2000, 500]); // Too long for one mbuf.
    assert_eq!(tx.tx_burst(&mut batch), 1);
    let stats = port.queue_stats(0).unwrap();
    assert_eq!((stats.tx_packets, stats.tx_bytes), (1, 1500));
    assert_eq!((stats.tx_copied, stats.tx_dropped), (1, 1));
    assert_eq!(pool.in_use(), 0);
}

#[test]
fn ports_are_listed_and_found_while_others_come_and_go() {
    let eal = eal_with_vdevs(&["net_null0"]);
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|threads| {
        threads.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let ports = eal.ports();
                assert_eq!(ports[0].driver, "net_null");
                assert!(ports.iter().all(|port| port.name.starts_with("net_null")));
                drop(Port::open(&eal, "net_nonsense0").unwrap_err());
            }
        });
        for _ in 0..200 {
            let id = eal.create_vdev("net_null1", "").unwrap();
            drop(Port::open(&eal, id).unwrap());
            eal.remove_vdev("net_null1").unwrap();
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn a_device_made_of_an_address_is_refused() {
    let eal = eal_with_vdevs(&[]);
    for args in ["internal=0x1000", "nodeaction=a:0:CREATE,internal=0x1000"] {
        let error = eal.create_vdev("net_ring7", args).unwrap_err().to_string();
        assert!(error.contains("`ring::joined_ports`"), "{error}");
    }
}

#[test]
fn virtual_devices_come_and_go_but_not_while_they_are_open() {
    let eal = eal_with_vdevs(&[]);
    assert!(eal.ports().is_empty());
    let error = Port::open(&eal, 0).unwrap_err().to_string();
    assert!(
        error.contains("none: give the EAL a virtual device"),
        "{error}"
    );
    for _ in 0..3 {
        let id = eal.create_vdev("net_null5", "size=128").unwrap();
        let error = eal.create_vdev("net_null5", "").unwrap_err();
        assert!(error.to_string().contains("EEXIST"), "{error}");
        let port = Port::open(&eal, id).unwrap();
        let error = eal.remove_vdev("net_null5").unwrap_err();
        assert!(matches!(error, Error::PortAlreadyOpen { .. }), "{error}");
        drop(port);
        eal.remove_vdev("net_null5").unwrap();
        assert!(eal.ports().is_empty());
    }
    let error = eal.remove_vdev("net_null5").unwrap_err().to_string();
    assert!(error.contains("made by `create_vdev`"), "{error}");
    let error = eal
        .create_vdev("net_nonsense0", "")
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("\"net_nonsense0\"") && error.contains("name, which begins with"),
        "{error}"
    );
    assert!(eal.create_vdev("net\0null", "").is_err());
}

#[test]
fn a_port_tells_the_mempools_it_receives_into_each_once() {
    let (eal, rx, port) = null();
    assert!(port.mempools().is_empty());
    let other = pool(&eal, "other");
    let pools = [rx.clone(), other.clone(), rx.clone()];
    let port = port.configure(&PortConfig::queues(3), &pools).unwrap();
    assert_eq!(port.mempools(), [rx, other]);
}
