use alloc::string::ToString;
use alloc::vec;
use core::net::Ipv4Addr;

use super::*;
use crate::test_frames::{PEER_MAC, at, config, hop, ip};

const SOLICITED: Answer = Answer {
    solicited: true,
    override_: true,
};
const UNSOLICITED: Answer = Answer {
    solicited: false,
    override_: true,
};
const OTHER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 0xaa]);

fn host(addr: impl Into<Ipv4Addr>) -> Hop {
    hop(&addr.into().to_string())
}

fn frame(tag: u8, len: usize) -> Vec<u8> {
    let mut frame = vec![tag; len];
    frame[..6].fill(0);
    frame
}

fn state(cache: &NeighborCache, addr: &str, now: Instant) -> Option<NeighborState> {
    cache
        .some(now, ListPlace::START, |_| 0)
        .0
        .find(|n| n.addr == ip(addr))
        .map(|n| n.state)
}

fn asked(cache: &mut NeighborCache, now: Instant) -> Vec<Due> {
    let mut due = Vec::new();
    cache.handle_timeout(now, |d| due.push(d));
    due
}

#[test]
fn packets_wait_in_order_and_leave_with_the_address_filled_in() {
    let mut cache = NeighborCache::new(&config());
    let addr = hop("198.18.0.1");
    assert_eq!(cache.lookup(at(0), addr), Found::Ask);
    assert_eq!(cache.lookup(at(0), addr), Found::Waiting);
    for tag in 1..=3 {
        cache.queue(addr, frame(tag, 60));
    }
    let mut sent = Vec::new();
    cache.on_answer(at(10), addr, Some(PEER_MAC), SOLICITED, |f| {
        sent.push(f.to_vec());
        true
    });
    assert_eq!(sent.iter().map(|f| f[20]).collect::<Vec<_>>(), [1, 2, 3]);
    assert!(sent.iter().all(|f| f[..6] == PEER_MAC.0));
    assert_eq!(cache.lookup(at(11), addr), Found::Ready(PEER_MAC));
    assert_eq!(cache.pending_bytes, 0);
    assert_eq!(cache.next_timeout(), None);
}

#[test]
fn three_tries_a_second_apart_then_every_packet_is_given_up() {
    let mut cache = NeighborCache::new(&config());
    let addr = hop("fd00::1");
    assert_eq!(cache.lookup(at(0), addr), Found::Ask);
    cache.queue(addr, frame(1, 60));
    cache.queue(addr, frame(2, 60));
    for second in [1, 2] {
        assert_eq!(cache.next_timeout(), Some(at(second * 1_000)));
        assert!(asked(&mut cache, at(second * 1_000 - 1)).is_empty());
        let due = asked(&mut cache, at(second * 1_000));
        assert!(
            matches!(due[..], [Due::Ask { hop: a, unicast: None }] if a == addr),
            "{due:?}"
        );
    }
    let due = asked(&mut cache, at(3_000));
    assert!(matches!(due[0], Due::Silent(a) if a == addr), "{due:?}");
    let given_up: Vec<u8> = due[1..]
        .iter()
        .map(|d| match d {
            Due::GiveUp { frame, .. } => frame[20],
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(given_up, [1, 2]);
    assert_eq!(
        (cache.len(), cache.next_timeout(), cache.pending_bytes),
        (0, None, 0)
    );
    assert_eq!(
        (
            cache.stats.snapshot().unreachable,
            cache.stats.snapshot().packets_unreachable
        ),
        (1, 2)
    );
    // The next packet begins anew.
    assert_eq!(cache.lookup(at(3_001), addr), Found::Ask);
}

#[test]
fn too_many_packets_push_out_the_oldest_and_too_many_bytes_are_refused() {
    let mut config = config();
    config.limits.pending_per_neighbor = 2;
    config.limits.pending_bytes = 250;
    let mut cache = NeighborCache::new(&config);
    let (a, b) = (hop("198.18.0.1"), hop("198.18.0.3"));
    cache.lookup(at(0), a);
    cache.lookup(at(0), b);
    for tag in 1..=3 {
        cache.queue(a, frame(tag, 100));
    }
    assert_eq!(cache.stats.snapshot().packets_overflowed, 1);
    cache.queue(b, frame(9, 100));
    assert_eq!(
        (
            cache.stats.snapshot().packets_overflowed,
            cache.pending_bytes
        ),
        (2, 200)
    );
    let mut sent = Vec::new();
    cache.on_answer(at(1), a, Some(PEER_MAC), SOLICITED, |f| {
        sent.push(f[20]);
        true
    });
    assert_eq!(sent, [2, 3]);
}

#[test]
fn an_entry_in_use_is_probed_before_it_is_trusted_for_too_long() {
    let mut cache = NeighborCache::new(&config());
    let addr = hop("198.18.0.1");
    cache.lookup(at(0), addr);
    cache.on_answer(at(0), addr, Some(PEER_MAC), SOLICITED, |_| true);
    assert_eq!(
        state(&cache, "198.18.0.1", at(14_000)),
        Some(NeighborState::Reachable)
    );
    // Past the longest reachable time it is stale; using it still works and starts the wait for a confirmation.
    assert_eq!(
        state(&cache, "198.18.0.1", at(46_000)),
        Some(NeighborState::Stale)
    );
    assert_eq!(cache.lookup(at(46_000), addr), Found::Ready(PEER_MAC));
    assert_eq!(
        state(&cache, "198.18.0.1", at(46_000)),
        Some(NeighborState::Delay)
    );
    assert_eq!(cache.next_timeout(), Some(at(51_000)));
    let due = asked(&mut cache, at(51_000));
    assert!(
        matches!(
            due[..],
            [Due::Ask {
                unicast: Some(PEER_MAC),
                ..
            }]
        ),
        "{due:?}"
    );
    assert_eq!(cache.lookup(at(51_001), addr), Found::Ready(PEER_MAC));
    cache.on_answer(at(51_010), addr, Some(PEER_MAC), SOLICITED, |_| true);
    assert_eq!(
        state(&cache, "198.18.0.1", at(51_010)),
        Some(NeighborState::Reachable)
    );
    assert_eq!(cache.next_timeout(), None);
}

#[test]
fn traffic_confirms_and_spares_the_probe() {
    let mut cache = NeighborCache::new(&config());
    let addr = hop("198.18.0.1");
    cache.lookup(at(0), addr);
    cache.on_answer(at(0), addr, Some(PEER_MAC), SOLICITED, |_| true);
    cache.lookup(at(46_000), addr);
    cache.confirm(at(46_500), addr);
    assert_eq!(
        state(&cache, "198.18.0.1", at(46_500)),
        Some(NeighborState::Reachable)
    );
    assert!(asked(&mut cache, at(60_000)).is_empty());
    // A confirmation can't resolve what was never answered.
    cache.lookup(at(0), hop("198.18.0.5"));
    cache.confirm(at(1), hop("198.18.0.5"));
    assert_eq!(cache.lookup(at(2), hop("198.18.0.5")), Found::Waiting);
}

#[test]
fn a_neighbour_that_does_not_answer_its_probes_is_forgotten() {
    let mut cache = NeighborCache::new(&config());
    let addr = hop("198.18.0.1");
    cache.lookup(at(0), addr);
    cache.on_answer(at(0), addr, Some(PEER_MAC), SOLICITED, |_| true);
    cache.lookup(at(46_000), addr);
    for millis in [51_000, 52_000, 53_000] {
        assert_eq!(asked(&mut cache, at(millis)).len(), 1);
    }
    let due = asked(&mut cache, at(54_000));
    assert!(matches!(due[..], [Due::Silent(a)] if a == addr), "{due:?}");
    assert_eq!(cache.lookup(at(54_000), addr), Found::Ask);
}

#[test]
fn answers_nobody_asked_for_update_but_never_create() {
    let mut cache = NeighborCache::new(&config());
    let addr = hop("198.18.0.1");
    cache.on_answer(at(0), addr, Some(PEER_MAC), UNSOLICITED, |_| true);
    assert_eq!(cache.len(), 0);
    cache.lookup(at(0), addr);
    cache.on_answer(at(0), addr, Some(PEER_MAC), SOLICITED, |_| true);
    // The new address is used at once, and not trusted.
    cache.on_answer(at(1), addr, Some(OTHER_MAC), UNSOLICITED, |_| true);
    assert_eq!(
        state(&cache, "198.18.0.1", at(1)),
        Some(NeighborState::Stale)
    );
    assert_eq!(cache.lookup(at(1), addr), Found::Ready(OTHER_MAC));
}

#[test]
fn without_the_override_flag_another_address_only_casts_doubt() {
    let mut cache = NeighborCache::new(&config());
    let addr = hop("fd00::1");
    cache.lookup(at(0), addr);
    cache.on_answer(at(0), addr, Some(PEER_MAC), SOLICITED, |_| true);
    let weak = Answer {
        solicited: true,
        override_: false,
    };
    cache.on_answer(at(1), addr, Some(OTHER_MAC), weak, |_| true);
    assert_eq!(state(&cache, "fd00::1", at(1)), Some(NeighborState::Stale));
    assert_eq!(cache.lookup(at(1), addr), Found::Ready(PEER_MAC));
}

#[test]
fn who_asks_for_us_becomes_known_but_not_trusted() {
    let mut cache = NeighborCache::new(&config());
    cache.on_asked(at(0), hop("198.18.0.1"), PEER_MAC, |_| true);
    assert_eq!(
        state(&cache, "198.18.0.1", at(0)),
        Some(NeighborState::Stale)
    );
    assert_eq!(cache.next_timeout(), None);
    assert_eq!(
        cache.lookup(at(0), hop("198.18.0.1")),
        Found::Ready(PEER_MAC)
    );
}

#[test]
fn static_entries_are_never_changed_probed_or_evicted() {
    let mut config = config();
    config.limits.neighbors = 4;
    let mut cache = NeighborCache::new(&config);
    let addr = hop("198.18.0.1");
    cache.lookup(at(0), addr);
    cache.queue(addr, frame(1, 60));
    let mut sent = 0;
    assert!(cache.add_static(at(0), addr, PEER_MAC, |_| {
        sent += 1;
        true
    }));
    assert_eq!(sent, 1);
    cache.on_answer(at(1), addr, Some(OTHER_MAC), SOLICITED, |_| true);
    cache.on_asked(at(1), addr, OTHER_MAC, |_| true);
    for i in 0..100 {
        cache.lookup(at(2), host([198, 18, 1, i]));
    }
    assert_eq!(cache.lookup(at(1_000_000), addr), Found::Ready(PEER_MAC));
    assert!(asked(&mut cache, at(900)).is_empty());
    assert!(cache.remove(addr) && !cache.remove(addr));
}

#[test]
fn entries_are_bounded_and_those_that_answered_outlive_a_scan() {
    let mut config = config();
    config.limits.neighbors = 64;
    let mut cache = NeighborCache::new(&config);
    let good: Vec<Hop> = (0..20).map(|i| host([198, 18, 0, i])).collect();
    for addr in &good {
        cache.lookup(at(0), *addr);
        cache.on_answer(at(0), *addr, Some(PEER_MAC), SOLICITED, |_| true);
    }
    for i in 0..10_000u32 {
        let addr = host(0xc613_0000 + i);
        cache.lookup(at(1), addr);
        cache.queue(addr, frame(1, 60));
        assert!(cache.len() <= 64 && cache.entries.len() <= 64 && cache.timers.len() <= 64);
        if i % 16 == 0 {
            for addr in &good {
                cache.lookup(at(1), *addr);
            }
        }
    }
    let kept = good
        .iter()
        .filter(|addr| cache.index.contains_key(*addr))
        .count();
    assert_eq!(kept, good.len());
    assert!(cache.stats.snapshot().evicted >= 9_900);
}

#[test]
fn two_hundred_new_neighbours_are_asked_for_at_once_and_resolve_together() {
    let mut cache = NeighborCache::new(&config());
    let addrs: Vec<Hop> = (1..=200).map(|i| host([198, 18, 0, i])).collect();
    for addr in &addrs {
        assert_eq!(cache.lookup(at(0), *addr), Found::Ask);
        cache.queue(*addr, frame(1, 60));
    }
    let mut sent = 0;
    for addr in &addrs {
        cache.on_answer(at(5), *addr, Some(PEER_MAC), SOLICITED, |_| {
            sent += 1;
            true
        });
    }
    assert_eq!((sent, cache.stats.snapshot().resolved), (200, 200));
}
