//! Negotiation with ports that are made up: no driver here offers all of it.

use super::*;
use crate::SocketId;
use crate::port::{DescriptorLimits, PortId, RssTypes, TxCapabilities};

/// A port of a driver, with these offloads.
pub(in crate::port) fn port(driver: &str, rx: RxOffloads, tx: TxOffloads) -> PortInfo {
    let limits = DescriptorLimits {
        min: 0,
        max: u16::MAX,
        align: 1,
        recommended: None,
    };
    PortInfo {
        id: PortId::new(3),
        name: "made_up0".into(),
        driver: driver.into(),
        mac: dpdk_net_packet::MacAddr([2, 0, 0, 0, 0, 1]),
        socket: SocketId::ANY,
        interface_index: None,
        max_rx_queues: 8,
        max_tx_queues: 8,
        rx_descriptors: limits,
        tx_descriptors: limits,
        min_mtu: 68,
        max_mtu: 9000,
        min_rx_buffer: 0,
        frame_overhead: 18,
        max_tx_segments: Some(8),
        max_tx_segments_tso: Some(40),
        rx_offloads: rx,
        tx_offloads: tx,
        reta_size: 128,
        rss_key_size: 40,
        rss_types: RssTypes::all(),
        max_mac_addresses: 1,
    }
}

/// One that offers all there is.
fn all() -> PortInfo {
    port("net_made_up", RxOffloads::all(), TxOffloads::all())
}

const PLAIN: Circumstances = Circumstances {
    frames_exceed_buffers: false,
    many_queues: true,
    nothing_hashed: false,
    pools_pair_up: true,
};

fn config(offloads: OffloadRequest) -> PortConfig {
    PortConfig {
        offloads,
        ..PortConfig::default()
    }
}

/// All that may be had by itself, and one thing as wished.
fn wished(offload: Offload, wish: Wish) -> PortConfig {
    config(OffloadRequest::default().with(offload, wish))
}

fn on(offloads: &Offloads) -> Vec<&'static str> {
    let on = offloads.iter().filter(|entry| entry.on);
    on.map(|entry| entry.offload.name()).collect()
}

fn why(offloads: &Offloads, offload: Offload) -> &str {
    &offloads.entry(offload).expect("all have an entry").why
}

fn capabilities(offloads: &Offloads) -> TxCapabilities {
    offloads.capabilities().expect("it is configured")
}

fn good(config: &PortConfig, port: &PortInfo, circumstances: Circumstances) -> Offloads {
    negotiate(config, port, circumstances).expect("it can be had")
}

fn refused(config: &PortConfig, port: &PortInfo) -> String {
    let error = negotiate(config, port, PLAIN).expect_err("it can't be had");
    assert!(matches!(error, Error::InvalidArgument { .. }), "{error}");
    error.to_string()
}

#[test]
fn left_to_itself_it_turns_on_what_is_offered_and_of_use() {
    let offloads = good(&config(OffloadRequest::default()), &all(), PLAIN);
    let expected = [
        "rx-ipv4-checksum",
        "rx-tcp-checksum",
        "rx-udp-checksum",
        "lro",
        // For what LRO makes.
        "scatter",
        "vlan-strip",
        "rss-hash",
        "tx-ipv4-checksum",
        "tx-tcp-checksum",
        "tx-udp-checksum",
        "tso",
        "tso-ipv6",
        "udp-segmentation",
        "multi-segs",
        "vlan-insert",
    ];
    assert_eq!(on(&offloads), expected);
    assert_eq!(offloads.rx().bits().count_ones(), 7);
    assert_eq!(offloads.tx().bits().count_ones(), 7, "TSO is one flag");
    let capabilities = capabilities(&offloads);
    assert_eq!(
        (capabilities.most_mbufs_plain, capabilities.most_mbufs),
        (8, 40)
    );
    assert!(capabilities.segments_ipv6 && !capabilities.counts_link_header);
    assert_eq!(capabilities.most_segments, u32::MAX);
    assert_eq!(capabilities.offloads, offloads.tx());
}

#[test]
fn a_port_that_offers_nothing_gets_nothing_and_no_wish_is_no_offload() {
    let nothing = port("net_null", RxOffloads::empty(), TxOffloads::empty());
    let offloads = good(&config(OffloadRequest::default()), &nothing, PLAIN);
    assert!(on(&offloads).is_empty());
    assert_eq!(why(&offloads, Offload::Tso), "not offered");
    assert_eq!(
        capabilities(&offloads),
        TxCapabilities {
            most_segments: u32::MAX,
            ..TxCapabilities::NONE
        }
    );
    let offloads = good(&PortConfig::default(), &all(), PLAIN);
    assert!(on(&offloads).is_empty());
    assert_eq!(why(&offloads, Offload::Tso), "not wanted");
    assert!(offloads.rx().is_empty() && offloads.tx().is_empty());
}

#[test]
fn what_is_insisted_on_and_not_offered_is_an_error_with_port_driver_and_remedy() {
    let lacking = port("net_made_up", RxOffloads::all(), TxOffloads::MULTI_SEGS);
    let error = refused(&wished(Offload::Tso, Wish::On), &lacking);
    for part in [
        "offload tso of port 3 (made_up0)",
        "driver net_made_up does not offer TxOffloads(TCP_TSO): it has TxOffloads(MULTI_SEGS)",
        "wish `auto` or `off`",
    ] {
        assert!(error.contains(part), "{error}");
    }
    let lacking = port("net_made_up", RxOffloads::SCATTER, TxOffloads::all());
    let error = refused(&wished(Offload::Lro, Wish::On), &lacking);
    assert!(
        error.contains("does not offer RxOffloads(TCP_LRO)"),
        "{error}"
    );
}

#[test]
fn what_a_driver_is_known_to_do_wrong_is_off_unless_insisted_on() {
    let table = [Known {
        driver: "net_made_up",
        offload: Offload::TxUdpChecksum,
        consequence: Consequence::Avoid,
        reason: "it sends zeros",
    }];
    let made_up = all();
    let tried = |wish| {
        let config = wished(Offload::TxUdpChecksum, wish);
        with_table(&config, &made_up, PLAIN, &table).expect("it can be had")
    };
    let offloads = tried(Wish::Auto);
    assert_eq!(
        why(&offloads, Offload::TxUdpChecksum),
        "known to be broken: it sends zeros"
    );
    assert!(!offloads.is_on(Offload::TxUdpChecksum));
    assert!(!offloads.tx().contains(TxOffloads::UDP_CHECKSUM));
    // What needs it goes too.
    assert!(!offloads.is_on(Offload::UdpSegmentation));
    let offloads = tried(Wish::On);
    assert!(offloads.is_on(Offload::TxUdpChecksum) && offloads.is_on(Offload::UdpSegmentation));
    assert_eq!(why(&offloads, Offload::TxUdpChecksum), "it sends zeros");
    // Others' table is not ours.
    let other = port("net_other", RxOffloads::all(), TxOffloads::all());
    let config = wished(Offload::TxUdpChecksum, Wish::Auto);
    let offloads = with_table(&config, &other, PLAIN, &table).expect("it can be had");
    assert!(offloads.is_on(Offload::TxUdpChecksum));
}

#[test]
fn what_a_driver_cannot_do_at_all_is_as_if_it_were_not_offered() {
    let tap = port("net_tap", RxOffloads::CHECKSUM, TxOffloads::all());
    let offloads = good(&config(OffloadRequest::default()), &tap, PLAIN);
    let entry = offloads.entry(Offload::TsoIpv6).expect("an entry");
    assert!(!entry.on && !entry.offered && entry.why.contains("IPv4 only"));
    assert!(offloads.is_on(Offload::Tso));
    let capabilities = capabilities(&offloads);
    assert_eq!(capabilities.most_segments, 64);
    assert!(capabilities.counts_link_header && !capabilities.segments_ipv6);
    let error = refused(&wished(Offload::TsoIpv6, Wish::On), &tap);
    assert!(error.contains("IPv4 only"), "{error}");
}

#[test]
fn segmentation_needs_checksums_and_several_mbufs() {
    let without = |offload| good(&wished(offload, Wish::Off), &all(), PLAIN);
    for needed in [
        Offload::MultiSegs,
        Offload::TxTcpChecksum,
        Offload::TxIpv4Checksum,
    ] {
        let offloads = without(needed);
        assert!(!offloads.is_on(Offload::Tso) && !offloads.is_on(Offload::TsoIpv6));
        let reason = format!("needs {needed}, which is off");
        assert_eq!(why(&offloads, Offload::Tso), reason);
        assert_eq!(why(&offloads, Offload::TsoIpv6), "needs tso, which is off");
        assert!(!offloads.tx().contains(TxOffloads::TCP_TSO));
    }
    assert!(!without(Offload::TxUdpChecksum).is_on(Offload::UdpSegmentation));
    assert!(without(Offload::TxUdpChecksum).is_on(Offload::Tso));
    // Insisted on, while what it needs is not wanted: they can't both be had.
    let both = OffloadRequest::default()
        .with(Offload::Tso, Wish::On)
        .with(Offload::MultiSegs, Wish::Off);
    let error = refused(&config(both), &all());
    assert!(
        error.contains("it needs multi-segs, which is off (not wanted)"),
        "{error}"
    );
}

#[test]
fn a_device_without_ipv4_checksums_segments_all_the_same() {
    let tx = TxOffloads::TCP_CHECKSUM | TxOffloads::TCP_TSO | TxOffloads::MULTI_SEGS;
    let virtio = port("net_virtio_user", RxOffloads::empty(), tx);
    let offloads = good(&wished(Offload::Tso, Wish::On), &virtio, PLAIN);
    assert!(offloads.is_on(Offload::Tso) && offloads.is_on(Offload::TsoIpv6));
    assert_eq!(offloads.tx(), tx);
    assert_eq!(why(&offloads, Offload::TxIpv4Checksum), "virtio has none");
}

#[test]
fn what_is_insisted_on_brings_what_it_needs_although_that_is_avoided() {
    let table = [Known {
        driver: "net_made_up",
        offload: Offload::MultiSegs,
        consequence: Consequence::Avoid,
        reason: "it is slow",
    }];
    let config = config(
        OffloadRequest::NONE
            .with(Offload::Tso, Wish::On)
            .with(Offload::MultiSegs, Wish::Auto)
            .with(Offload::TxTcpChecksum, Wish::Auto)
            .with(Offload::TxIpv4Checksum, Wish::Auto),
    );
    let offloads = with_table(&config, &all(), PLAIN, &table).expect("it can be had");
    assert_eq!(
        on(&offloads),
        ["tx-ipv4-checksum", "tx-tcp-checksum", "tso", "multi-segs"]
    );
    assert_eq!(why(&offloads, Offload::MultiSegs), "needed by tso");
}

#[test]
fn frames_are_scattered_where_they_may_exceed_a_buffer() {
    let no_lro = config(OffloadRequest::default().with(Offload::Lro, Wish::Off));
    let offloads = good(&no_lro, &all(), PLAIN);
    assert!(!offloads.is_on(Offload::Scatter));
    let exceed = Circumstances {
        frames_exceed_buffers: true,
        ..PLAIN
    };
    assert!(good(&no_lro, &all(), exceed).is_on(Offload::Scatter));
    let insisted = config(no_lro.offloads.with(Offload::Scatter, Wish::On));
    assert!(good(&insisted, &all(), PLAIN).is_on(Offload::Scatter));
    // LRO has no use for frames that end where a buffer does.
    let offloads = good(&wished(Offload::Scatter, Wish::Off), &all(), PLAIN);
    assert!(!offloads.is_on(Offload::Lro));
}

#[test]
fn coalesced_packets_need_a_verdict_on_their_checksum() {
    let offloads = good(&wished(Offload::RxTcpChecksum, Wish::Off), &all(), PLAIN);
    assert_eq!(
        why(&offloads, Offload::Lro),
        "needs rx-tcp-checksum, which is off"
    );
}

#[test]
fn the_rss_hash_is_there_where_packets_are_hashed() {
    let one_queue = Circumstances {
        many_queues: false,
        ..PLAIN
    };
    let auto = config(OffloadRequest::default());
    assert!(!good(&auto, &all(), one_queue).is_on(Offload::RssHash));
    let insisted = wished(Offload::RssHash, Wish::On);
    assert!(good(&insisted, &all(), one_queue).is_on(Offload::RssHash));
    let hashes_nothing = Circumstances {
        nothing_hashed: true,
        ..PLAIN
    };
    assert!(!good(&auto, &all(), hashes_nothing).is_on(Offload::RssHash));
    let error = negotiate(&insisted, &all(), hashes_nothing).unwrap_err();
    assert!(error.to_string().contains("nothing is hashed"), "{error}");
}

#[test]
fn mbufs_are_freed_unseen_only_on_request_and_only_if_they_are_alike() {
    let auto = good(&wished(Offload::FastFree, Wish::Auto), &all(), PLAIN);
    assert!(!auto.is_on(Offload::FastFree));
    assert!(why(&auto, Offload::FastFree).starts_with("only where it is asked for"));
    let insisted = wished(Offload::FastFree, Wish::On);
    let offloads = good(&insisted, &all(), PLAIN);
    assert!(offloads.is_on(Offload::FastFree));
    assert_eq!(why(&offloads, Offload::MultiSegs), "excluded by fast-free");
    assert!(!offloads.is_on(Offload::Tso) && !offloads.is_on(Offload::UdpSegmentation));
    assert_eq!(capabilities(&offloads).most_mbufs_plain, 1);
    for (other, expected) in [
        (Offload::MultiSegs, "it excludes multi-segs"),
        (
            Offload::Tso,
            "it needs multi-segs, which is off (excluded by fast-free)",
        ),
    ] {
        let both = config(insisted.offloads.with(other, Wish::On));
        let error = refused(&both, &all());
        assert!(error.contains(expected), "{error}");
    }
    let unpaired = Circumstances {
        pools_pair_up: false,
        ..PLAIN
    };
    assert!(negotiate(&insisted, &all(), unpaired).is_err());
    for driver in crate::port::inner::BY_REFERENCE {
        let by_reference = port(driver, RxOffloads::all(), TxOffloads::all());
        let error = refused(&insisted, &by_reference);
        assert!(error.contains("passes mbufs on"), "{driver}: {error}");
    }
}

#[test]
fn flags_count_as_wishes_and_those_without_a_name_are_kept() {
    let by_flag = PortConfig {
        rx_offloads: RxOffloads::TCP_CHECKSUM | RxOffloads::KEEP_CRC,
        rx_offloads_if_offered: RxOffloads::all(),
        tx_offloads: TxOffloads::MULTI_SEGS,
        tx_offloads_if_offered: TxOffloads::all(),
        ..PortConfig::default()
    };
    let offloads = good(&by_flag, &all(), PLAIN);
    assert!(offloads.is_on(Offload::Lro) && offloads.is_on(Offload::TsoIpv6));
    assert!(
        offloads
            .rx()
            .contains(RxOffloads::KEEP_CRC | RxOffloads::VLAN_FILTER)
    );
    assert!(!offloads.rx().intersects(RxOffloads::FORBIDDEN));
    let never = TxOffloads::FORBIDDEN | TxOffloads::FAST_FREE;
    assert!(!offloads.tx().intersects(never));
    let wish = |offload| offloads.entry(offload).expect("an entry").wish;
    assert_eq!(wish(Offload::RxTcpChecksum), Wish::On);
    assert_eq!(wish(Offload::RxUdpChecksum), Wish::Auto);
    let lacking = port("net_made_up", RxOffloads::TCP_CHECKSUM, TxOffloads::all());
    let error = refused(&by_flag, &lacking);
    assert!(
        error.contains("does not offer RxOffloads(KEEP_CRC)"),
        "{error}"
    );
    let forbidden = PortConfig {
        tx_offloads: TxOffloads::FORBIDDEN,
        ..PortConfig::default()
    };
    assert!(refused(&forbidden, &all()).contains("does not offer"));
}

#[test]
fn for_a_driver_that_refuses_what_nobody_insists_on_is_left_out() {
    let exceed = Circumstances {
        frames_exceed_buffers: true,
        ..PLAIN
    };
    let config = PortConfig {
        rx_offloads_if_offered: RxOffloads::KEEP_CRC,
        ..wished(Offload::Tso, Wish::On)
    };
    let all_of_it = good(&config, &all(), exceed);
    let less = without_optional(&config, &all_of_it, exceed).expect("there is much to leave out");
    let error = Error::from_errno(
        "rte_eth_dev_configure",
        "port 3",
        crate::Errno(libc::EINVAL),
    );
    let offloads = good(&less, &all(), exceed).after_refusal_of(&all_of_it, &error);
    assert_eq!(
        on(&offloads),
        // What is insisted on, what that needs, and what the MTU needs.
        [
            "scatter",
            "tx-ipv4-checksum",
            "tx-tcp-checksum",
            "tso",
            "multi-segs"
        ]
    );
    assert!(!offloads.rx().contains(RxOffloads::KEEP_CRC));
    let lro = offloads.entry(Offload::Lro).expect("an entry");
    assert!(lro.wish == Wish::Auto && lro.offered && lro.why.contains("the driver refused"));
    assert_eq!(why(&offloads, Offload::Timestamp), "not wanted");
    assert!(
        offloads
            .refused()
            .is_some_and(|said| said.contains("EINVAL"))
    );
    assert!(
        offloads
            .to_string()
            .contains("the driver refused all that was wanted")
    );
    // Then there is nothing left to leave out.
    assert!(without_optional(&less, &offloads_of(&less, exceed), exceed).is_none());
    let nothing = PortConfig::default();
    assert!(without_optional(&nothing, &offloads_of(&nothing, PLAIN), PLAIN).is_none());
}

fn offloads_of(config: &PortConfig, circumstances: Circumstances) -> Offloads {
    good(config, &all(), circumstances)
}

#[test]
fn the_outcome_prints_as_a_table() {
    let tap = port(
        "net_tap",
        RxOffloads::CHECKSUM | RxOffloads::SCATTER,
        TxOffloads::CHECKSUM | TxOffloads::TCP_TSO | TxOffloads::MULTI_SEGS,
    );
    let request = OffloadRequest::default()
        .with(Offload::RxIpv4Checksum, Wish::On)
        .with(Offload::RxUdpChecksum, Wish::Off);
    let table = good(&config(request), &tap, PLAIN).to_string();
    let expected = "\
offloads of port 3 (made_up0) (driver net_tap)
                    wanted offered state
  rx-ipv4-checksum  on     yes     on
  rx-tcp-checksum   auto   yes     on
  rx-udp-checksum   off    yes     off   not wanted
  lro               auto   no      off   not offered
  scatter           auto   yes     off   of no use: a frame fits its buffer
  vlan-strip        auto   no      off   not offered
  rss-hash          auto   no      off   not offered
  timestamp         off    no      off   not wanted
  tx-ipv4-checksum  auto   yes     on
  tx-tcp-checksum   auto   yes     on
  tx-udp-checksum   auto   yes     on
  tso               auto   yes     on    in software: segments with their Ethernet header fit the MTU, 64 of them a packet at most
  tso-ipv6          auto   no      off   this driver segments IPv4 only; an IPv6 packet would block its queue
  udp-segmentation  auto   no      off   not offered
  multi-segs        auto   yes     on
  vlan-insert       auto   no      off   not offered
  fast-free         off    no      off   not wanted";
    assert_eq!(table, expected, "{table}");
}

#[test]
fn offloads_are_named_and_found_by_name() {
    for offload in Offload::ALL {
        assert_eq!(offload.name().parse(), Ok(offload));
        assert_eq!(Offload::ALL[offload.index()], offload);
    }
    let error = "tsx".parse::<Offload>().expect_err("no such offload");
    let text = error.to_string();
    assert!(
        text.contains("\"tsx\"") && text.contains("tso-ipv6"),
        "{text}"
    );
}

#[test]
fn a_driver_that_takes_less_than_it_offers_is_configured_with_less() {
    use core::sync::atomic::Ordering;

    use crate::port::inner::REFUSED;
    use crate::test_eal::{eal, pool};
    use crate::{Port, ring};

    let eal = eal();
    let pool = pool(&eal, "pool");
    let pools = core::slice::from_ref(&pool);
    let ports = ring::looped_port(&eal, "loop", 1, 63).expect("a ring");
    let port = Port::open(&eal, ports.ids()[0]).expect("it opens");
    REFUSED.store(TxOffloads::MULTI_SEGS.bits(), Ordering::Relaxed);
    // Insisted on, there is nothing to try.
    let refused = port
        .configure(&wished(Offload::MultiSegs, Wish::On), pools)
        .expect_err("the driver refuses");
    assert!(refused.error.to_string().contains("EINVAL"), "{refused}");
    let port = refused
        .port
        .configure(&config(OffloadRequest::default()), pools)
        .expect("with less it takes it");
    let offloads = port.offloads();
    assert!(!offloads.is_on(Offload::MultiSegs) && offloads.tx().is_empty());
    assert!(
        offloads
            .refused()
            .is_some_and(|said| said.contains("EINVAL"))
    );
    assert_eq!(capabilities(&offloads).most_mbufs_plain, 1);
    let port = port.start().expect("it starts");
    assert_eq!(port.take_queues().expect("a pair").len(), 1);
    drop(port);
    // One that refuses nothing gets all of it.
    REFUSED.store(0, Ordering::Relaxed);
    let ports = ring::looped_port(&eal, "again", 1, 63).expect("a ring");
    let port = Port::open(&eal, ports.ids()[0]).expect("it opens");
    let port = port
        .configure(&config(OffloadRequest::default()), pools)
        .expect("it takes what it offers");
    assert!(port.offloads().is_on(Offload::MultiSegs));
    assert_eq!(port.offloads().refused(), None);
}
