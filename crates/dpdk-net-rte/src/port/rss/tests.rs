//! Plans for ports that are made up, and tables; what drivers say to them is in `tests/rss.rs`.

use std::collections::BTreeMap;

use dpdk_net_packet::toeplitz::Spread;
use dpdk_net_packet::{FiveTuple, Protocol};

use super::*;
use crate::port::{RxOffloads, TxOffloads, negotiate};

fn port(driver: &str, types: RssTypes, key_size: u8) -> PortInfo {
    PortInfo {
        rss_types: types,
        rss_key_size: key_size,
        ..negotiate::tests::port(driver, RxOffloads::empty(), TxOffloads::empty())
    }
}

fn nic(types: RssTypes) -> PortInfo {
    port("net_made_up", types, 40)
}

fn plan(request: &RssRequest, port: &PortInfo, queues: u16) -> RssPlan {
    request.plan(port, queues, false).unwrap()
}

fn flow(protocol: Protocol, src: &str, dst: &str) -> FiveTuple {
    FiveTuple {
        protocol,
        src: src.parse().unwrap(),
        dst: dst.parse().unwrap(),
    }
}

#[test]
fn a_port_that_hashes_everything_spreads_flows_by_ports_and_fragments_by_addresses() {
    let plan = plan(&RssRequest::default(), &nic(RssTypes::all()), 4);
    assert_eq!(
        (plan.spreader(), plan.warnings().len()),
        (Spreader::Hash, 0)
    );
    let expected = "\
4 receive queues on port 3 (made_up0), chosen by RSS (driver net_made_up)
  TCP over IPv4     by addresses and ports
  TCP over IPv6     by addresses and ports
  UDP over IPv4     by addresses and ports
  UDP over IPv6     by addresses and ports
  fragments of IPv4 by addresses
  fragments of IPv6 by addresses
  other IPv4        by addresses
  other IPv6        by addresses
  ARP, all else     all to queue 0";
    assert_eq!(plan.to_string(), expected);
}

#[test]
fn what_a_port_hashes_too_little_is_said_with_the_remedy() {
    let types = RssTypes::IPV4 | RssTypes::TCP_IPV4 | RssTypes::TCP_IPV6;
    let plan = plan(&RssRequest::default(), &nic(types), 4);
    let warnings = plan.warnings();
    let [none, addresses] = &warnings[..] else {
        panic!("{warnings:?}")
    };
    assert!(
        none.contains(
            "no UDP over IPv6, fragments of IPv6, other IPv6: all of it arrives at queue 0"
        ),
        "{none}"
    );
    assert!(
        addresses.contains("by addresses alone UDP over IPv4: "),
        "{addresses}"
    );
    // What was not asked for is not missed.
    let request = RssRequest {
        types: RssTypes::TCP_IPV4,
        ..RssRequest::default()
    };
    let less = request.plan(&nic(RssTypes::all()), 4, false).unwrap();
    assert_eq!(
        (less.types(), less.warnings().len()),
        (RssTypes::TCP_IPV4, 0)
    );
    assert_eq!(less.scope(Traffic::FragmentIpv4), RssScope::Nothing);
}

#[test]
fn a_port_without_rss_is_warned_of_once_there_are_several_queues() {
    let request = RssRequest::default();
    for (driver, spreader, remedy) in [
        ("net_made_up", Spreader::Nobody, "Configure one queue"),
        ("net_tap", Spreader::Kernel, "expect some at another queue"),
        (
            "net_memif",
            Spreader::Sender,
            "Have the peer use all 4 queues",
        ),
    ] {
        let none = port(driver, RssTypes::empty(), 0);
        let many = plan(&request, &none, 4);
        assert_eq!((many.spreader(), many.hash()), (spreader, None));
        let warnings = many.warnings();
        assert!(
            warnings.len() == 1 && warnings[0].contains(remedy),
            "{warnings:?}"
        );
        assert!(warnings[0].contains(driver), "{warnings:?}");
        let one = plan(&request, &none, 1);
        assert_eq!(
            (one.spreader(), one.warnings().len()),
            (Spreader::OneQueue, 0)
        );
    }
    // Without several queues nothing is hashed, unless the hash is wished for itself.
    let all = nic(RssTypes::all());
    assert!(plan(&request, &all, 1).types().is_empty());
    assert_eq!(
        request.plan(&all, 1, true).unwrap().types(),
        RssTypes::all()
    );
}

#[test]
fn keys_are_made_to_fit_the_port_and_short_ones_refused() {
    let key = |key, size| {
        let request = RssRequest {
            key,
            ..RssRequest::default()
        };
        plan(&request, &port("net_made_up", RssTypes::all(), size), 2)
            .key
            .unwrap_or_default()
    };
    assert!(key(RssKey::Driver, 40).is_empty());
    assert_eq!(key(RssKey::Microsoft, 40), MICROSOFT_KEY);
    assert_eq!(
        key(RssKey::Microsoft, 0),
        MICROSOFT_KEY,
        "40 where the driver does not say"
    );
    assert_eq!(key(RssKey::Symmetric, 52), symmetric_key::<52>());
    let long = key(RssKey::Bytes((0..45).collect()), 52);
    assert_eq!((long.len(), long[44], long[45]), (52, 44, 0));
    assert_eq!(key(RssKey::Bytes((0..45).collect()), 40).len(), 40);
    let short = RssRequest {
        key: RssKey::Bytes(vec![1; 39]),
        ..RssRequest::default()
    };
    let error = short
        .plan(&nic(RssTypes::all()), 2, false)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("rss.key of port 3 (made_up0)") && error.contains("39 bytes"),
        "{error}"
    );
}

#[test]
fn a_driver_that_refuses_is_asked_with_its_own_key_and_then_without_rss() {
    let request = RssRequest {
        key: RssKey::Symmetric,
        ..RssRequest::default()
    };
    let own_key = plan(&request, &nic(RssTypes::all()), 4).less();
    assert_eq!((own_key.key(), own_key.spreader()), (None, Spreader::Hash));
    let none = own_key.less();
    assert_eq!(
        (none.types(), none.spreader()),
        (RssTypes::empty(), Spreader::Nobody)
    );
    assert!(none.warnings()[0].contains("all arrive at queue 0"));
}

#[test]
fn a_flow_s_queue_is_told_by_what_the_port_hashes_of_it() {
    let request = RssRequest {
        key: RssKey::Microsoft,
        ..RssRequest::default()
    };
    let plan = plan(&request, &nic(RssTypes::IPV4 | RssTypes::TCP_IPV4), 128);
    let hash = plan.hash().unwrap();
    // The table's entry is the queue, so that the queue shows the hash.
    let reta = Reta::uniform(128, 128).unwrap();
    let spread = Spread::new(&hash, reta.queues()).unwrap();
    let queue = |protocol| {
        plan.queue_of(
            &spread,
            flow(protocol, "66.9.149.187:2794", "161.142.100.80:1766"),
        )
    };
    assert_eq!(queue(Protocol::Tcp), Some(0x78));
    assert_eq!(queue(Protocol::Udp), Some(0x42));
    assert_eq!(
        plan.queue_of(&spread, flow(Protocol::Tcp, "[::1]:1", "[::2]:2")),
        Some(0)
    );
    let unknown = RssRequest::default()
        .plan(&nic(RssTypes::all()), 4, false)
        .unwrap();
    assert_eq!(unknown.hash(), None, "the driver's key is not known yet");
}

#[test]
fn tables_need_entries_and_queues() {
    assert!(Reta::new(Vec::new()).is_err());
    assert!(Reta::uniform(64, 0).is_err());
    let reta = Reta::uniform(6, 4).unwrap();
    assert_eq!(reta.queues(), [0, 1, 2, 3, 0, 1]);
    assert!(reta.is_spread_over(4) && !reta.is_spread_over(5) && !reta.is_spread_over(3));
    assert!(
        Reta::uniform(2, 4).unwrap().is_spread_over(4),
        "no more fit"
    );
    assert!(reta.rebalance(&[1; 5], 4, |_| true).is_err());
    assert!(reta.rebalance(&[1; 6], 0, |_| true).is_err());
}

fn moved(before: &Reta, after: &Reta) -> usize {
    let pairs = before.queues().iter().zip(after.queues());
    pairs.filter(|(before, after)| before != after).count()
}

fn totals(reta: &Reta, loads: &[u64]) -> BTreeMap<u16, u64> {
    let mut totals = BTreeMap::new();
    for (queue, load) in reta.queues().iter().zip(loads) {
        *totals.entry(*queue).or_default() += load;
    }
    totals
}

#[test]
fn a_table_in_balance_stays_as_it_is() {
    let reta = Reta::uniform(128, 4).unwrap();
    for load in [0, 1, u64::MAX] {
        assert_eq!(
            reta.rebalance(&[load; 128], 4, |_| true).unwrap(),
            reta,
            "{load}"
        );
    }
}

#[test]
fn one_busy_entry_is_left_and_its_neighbours_move_away() {
    let reta = Reta::uniform(8, 2).unwrap();
    // Queue 0 has 100 + 3 * 30, queue 1 has 4 * 20.
    let loads = [100, 20, 30, 20, 30, 20, 30, 20];
    let after = reta.rebalance(&loads, 2, |_| true).unwrap();
    assert_eq!(totals(&after, &loads), BTreeMap::from([(0, 130), (1, 140)]));
    assert_eq!((moved(&reta, &after), after.queues()[0]), (2, 0));
}

#[test]
fn entries_that_may_not_move_stay() {
    let reta = Reta::uniform(8, 2).unwrap();
    let loads = [100, 0, 100, 0, 100, 0, 100, 0];
    assert_eq!(reta.rebalance(&loads, 2, |_| false).unwrap(), reta);
    let after = reta.rebalance(&loads, 2, |entry| entry == 4).unwrap();
    assert_eq!(after.queues(), [0, 1, 0, 1, 1, 1, 0, 1]);
}

#[test]
fn entries_of_queues_that_are_gone_are_spread_over_the_others() {
    let reta = Reta::uniform(16, 4).unwrap();
    let after = reta.rebalance(&[5; 16], 2, |_| true).unwrap();
    assert!(after.is_spread_over(2));
    assert_eq!(
        moved(&reta, &after),
        8,
        "what was on the two that are left stays"
    );
    assert_eq!(totals(&after, &[1; 16]), BTreeMap::from([(0, 8), (1, 8)]));
}

#[test]
fn any_loads_get_no_worse_and_mostly_much_better() {
    let mut state = 1_u64;
    let mut next = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    for round in 0..200 {
        let queues = 2 + (round % 7) as u16;
        let reta = Reta::new(
            (0..128)
                .map(|_| (next() % u64::from(queues)) as u16)
                .collect(),
        )
        .unwrap();
        let loads: Vec<u64> = (0..128).map(|_| next() % 1000).collect();
        let after = reta.rebalance(&loads, queues, |_| true).unwrap();
        let most = |reta: &Reta| totals(reta, &loads).into_values().max().unwrap_or(0);
        let mean = loads.iter().sum::<u64>() / u64::from(queues);
        assert!(most(&after) <= most(&reta));
        assert!(
            most(&after) <= mean + mean / 8,
            "128 entries of like size balance out"
        );
        assert!(most(&reta) > mean + mean / 8 || after == reta);
    }
}
