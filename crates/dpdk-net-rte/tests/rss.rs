//! RSS over virtual devices: net_null takes key, types and table (and spreads nothing by them); the others have none of
//! it and come up with many queues all the same.

mod common;

use common::kernel::{ip, own_network};
use common::{builder, eal_with_vdevs, memif_server, pool};
use dpdk_net_rte::port::{
    PortInfo, Reta, RssKey, RssRequest, RssTypes, Spreader, Started, Unconfigured,
};
use dpdk_net_rte::{Eal, Error, Mempool, Port, PortConfig, ring};

fn null() -> (Eal, Mempool, Port<Unconfigured>) {
    let eal = eal_with_vdevs(&["net_null0"]);
    let pool = pool(&eal, "rx");
    let port = Port::open(&eal, "net_null0").unwrap();
    (eal, pool, port)
}

fn start(port: Port<Unconfigured>, pool: &Mempool, rss: RssRequest, queues: u16) -> Port<Started> {
    let config = PortConfig {
        rss,
        ..PortConfig::queues(queues)
    };
    let port = port.configure(&config, std::slice::from_ref(pool)).unwrap();
    port.start().unwrap()
}

#[test]
fn the_driver_says_which_types_and_key_it_took() {
    let (_eal, pool, port) = null();
    let key: Vec<u8> = (100..140).collect();
    let request = RssRequest {
        types: RssTypes::TCP_IPV4 | RssTypes::IPV6,
        key: RssKey::Bytes(key.clone()),
    };
    let port = start(port, &pool, request, 4);
    let rss = port.rss();
    assert_eq!(rss.types(), RssTypes::TCP_IPV4 | RssTypes::IPV6);
    assert_eq!(port.rss_key(), Some(key));
    assert_eq!(
        rss.spreader(),
        Spreader::Sender,
        "the driver classifies nothing"
    );
    // Configured anew, with another key.
    let port = port.stop().unwrap().unconfigure();
    let request = RssRequest {
        key: RssKey::Symmetric,
        ..RssRequest::default()
    };
    let port = start(port, &pool, request, 2);
    assert_eq!(port.rss().types(), RssTypes::all());
    assert_eq!(port.rss_key().unwrap()[..4], [0x6d, 0x5a, 0x6d, 0x5a]);
}

#[test]
fn nothing_is_hashed_with_one_queue_or_where_nothing_is_to_be() {
    let (_eal, pool, port) = null();
    assert!(port.rss().to_string().contains("not configured"));
    let port = start(port, &pool, RssRequest::default(), 1);
    assert_eq!(
        (port.rss().types(), port.rss_key()),
        (RssTypes::empty(), None)
    );
    let port = port.stop().unwrap().unconfigure();
    let request = RssRequest {
        types: RssTypes::empty(),
        key: RssKey::Driver,
    };
    let port = start(port, &pool, request, 4);
    assert_eq!(
        (port.rss().types(), port.rss_key()),
        (RssTypes::empty(), None)
    );
}

#[test]
fn the_table_names_each_queue_and_is_changed_entry_by_entry() {
    let (_eal, pool, port) = null();
    let error = port.reta().unwrap_err();
    assert!(matches!(error, Error::NotConfigured { .. }), "{error}");
    let port = start(port, &pool, RssRequest::default(), 3);
    let size = port.info().unwrap().reta_size;
    assert!(size > 64, "more than one group of entries: {size}");
    let reta = port.reta().unwrap().unwrap();
    assert_eq!(reta, Reta::uniform(size, 3).unwrap());
    // All load on queue 1, in both groups.
    let loads: Vec<u64> = reta
        .queues()
        .iter()
        .map(|queue| u64::from(*queue == 1))
        .collect();
    let balanced = reta.rebalance(&loads, 3, |_| true).unwrap();
    assert_ne!(balanced, reta);
    port.set_reta(&balanced).unwrap();
    assert_eq!(port.reta().unwrap().unwrap(), balanced);
    port.set_reta(&balanced).unwrap();
    for (wrong, expected) in [
        (
            Reta::uniform(size - 1, 3).unwrap(),
            format!("{} entries given", size - 1),
        ),
        (
            Reta::uniform(size, 4).unwrap(),
            "entry 3 is queue 3: the port was configured with 3".to_owned(),
        ),
    ] {
        let error = port.set_reta(&wrong).unwrap_err();
        assert!(error.to_string().contains(&expected), "{error}");
    }
    assert_eq!(port.reta().unwrap().unwrap(), balanced, "refused whole");
}

#[test]
fn a_table_is_not_changed_where_rss_is_off() {
    let (_eal, pool, port) = null();
    let off = RssRequest {
        types: RssTypes::empty(),
        key: RssKey::Driver,
    };
    let port = start(port, &pool, off, 4);
    let reta = Reta::uniform(port.info().unwrap().reta_size, 4).unwrap();
    let error = port.set_reta(&reta).unwrap_err();
    assert!(error.to_string().contains("where RSS is on"), "{error}");
}

#[test]
fn a_short_key_is_refused_before_the_driver_sees_it() {
    let (_eal, pool, port) = null();
    let config = PortConfig {
        rss: RssRequest {
            key: RssKey::Bytes(vec![7; 16]),
            ..RssRequest::default()
        },
        ..PortConfig::queues(2)
    };
    let refused = port.configure(&config, &[pool]).unwrap_err();
    assert!(
        refused.to_string().contains("16 bytes is too short"),
        "{refused}"
    );
}

/// The device comes up with four queues, and says who spreads and what to do.
fn comes_up_without_rss(eal: &Eal, info: &PortInfo, spreader: Spreader) {
    let pool = Mempool::builder(eal, "rx").capacity(4095).build().unwrap();
    let port = Port::open(eal, info.id).unwrap();
    let config = PortConfig {
        rx_descriptors: (info.driver == "net_tap").then_some(128),
        ..PortConfig::queues(4)
    };
    let port = port.configure(&config, &[pool]).unwrap().start().unwrap();
    let rss = port.rss();
    assert_eq!(port.take_queues().unwrap().len(), 4);
    assert_eq!((rss.spreader(), rss.hash()), (spreader, None), "{info:?}");
    let warnings = rss.warnings();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains(&info.driver) && warnings[0].contains("4 queues"),
        "{warnings:?}"
    );
    if info.reta_size == 0 {
        assert_eq!(port.reta().unwrap(), None);
        let error = port
            .set_reta(&Reta::uniform(64, 4).unwrap())
            .unwrap_err()
            .to_string();
        assert!(error.contains("has none"), "{error}");
    }
}

fn only_port(eal: &Eal) -> PortInfo {
    eal.ports().remove(0)
}

#[test]
fn a_ring_port_comes_up_with_many_queues_and_no_rss() {
    let eal = eal_with_vdevs(&[]);
    let _rings = ring::looped_port(&eal, "looped", 4, 255).unwrap();
    comes_up_without_rss(&eal, &only_port(&eal), Spreader::Sender);
}

#[test]
fn a_memif_port_comes_up_with_many_queues_and_no_rss() {
    let directory = tempfile::tempdir().unwrap();
    let eal = eal_with_vdevs(&[&memif_server(directory.path())]);
    comes_up_without_rss(&eal, &only_port(&eal), Spreader::Sender);
}

#[test]
fn a_vhost_port_comes_up_with_many_queues_and_no_rss() {
    let directory = tempfile::tempdir().unwrap();
    let vdev = format!(
        "net_vhost0,iface={},queues=4",
        directory.path().join("vhost").display()
    );
    let eal = eal_with_vdevs(&[&vdev]);
    comes_up_without_rss(&eal, &only_port(&eal), Spreader::Sender);
}

#[test]
fn a_tap_port_comes_up_with_many_queues_and_no_rss() {
    if own_network() {
        let eal = eal_with_vdevs(&["net_tap0,iface=dnrss0"]);
        comes_up_without_rss(&eal, &only_port(&eal), Spreader::Kernel);
    }
}

#[test]
fn an_af_packet_port_comes_up_with_many_queues_and_no_rss() {
    if own_network() {
        ip("link add dnrss0 type veth peer name dnrss1");
        ip("link set dnrss0 up");
        let eal = builder()
            .memory_mb(128)
            .vdev("net_af_packet0,iface=dnrss0,qpairs=4")
            .init()
            .unwrap();
        comes_up_without_rss(&eal, &only_port(&eal), Spreader::Kernel);
    }
}
