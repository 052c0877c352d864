//! What a NIC does and what is done in software without one is the same on the wire, packet by packet and at the same times.
//!
//! Each story is told once with no offloads and once for each, and with all at once; every frame that the hosts sent has to be
//! the same, bytes and virtual time, and every byte has to arrive once and in order. Coalescing is compared where both
//! see the same segments: the model's LRO groups by the rules of the stack's own (`dpdk_net_testkit::nic`).

use std::time::Duration;

use dpdk_net_stack::{Config, Ecn, UdpOptions, Vlan};
use dpdk_net_testkit::addr::Family;
use dpdk_net_testkit::apps::{Bulk, EchoServer, Pattern, RequestClient};
use dpdk_net_testkit::hosts::StackHost;
use dpdk_net_testkit::nic::{NicStats, Offloads, frame};
use dpdk_net_testkit::sim::{Direction, LinkConfig, Pair, TraceEntry, seeds};
use proptest::prelude::*;

const PORT: u16 = 7000;
const LIMIT: Duration = Duration::from_secs(7200);

/// What is sent over which wire.
#[derive(Clone, Debug)]
struct Story {
    seed: u64,
    family: Family,
    /// The client's and the server's.
    mtu: [u16; 2],
    there: LinkConfig,
    back: LinkConfig,
    /// Bytes of bulk from the client and from the server; without any, requests and responses.
    bulk: [u64; 2],
    chunk: usize,
    /// The server's receive buffer, where it is not the default, and how it rests: after so many bytes, for so long.
    window: Option<usize>,
    rest: Option<(u64, Duration)>,
    ecn: bool,
    /// Whether both are on a VLAN of the wire.
    vlan: bool,
    tx_ring: usize,
}

impl Story {
    fn new(seed: u64, family: Family, link: LinkConfig) -> Self {
        Story {
            seed,
            family,
            mtu: [1500; 2],
            there: link.clone(),
            back: link,
            bulk: [300_000, 200_000],
            chunk: 16 * 1024,
            window: None,
            rest: None,
            ecn: false,
            vlan: false,
            tx_ring: 512,
        }
    }

    fn config(&self, host: usize) -> Config {
        let seed = if host == 0 { self.seed } else { !self.seed };
        let mut config = StackHost::config(host as u16 + 1, seed);
        config.mtu = self.mtu[host];
        if self.vlan {
            let mut vlan = Vlan::new(100).with_priority(5);
            vlan.addresses = std::mem::take(&mut config.addresses);
            config = config.with_vlan(vlan);
        }
        if self.ecn {
            config.tcp.ecn = Ecn::Request;
        }
        if let (1, Some(bytes)) = (host, self.window) {
            (config.tcp.recv_buffer, config.tcp.recv_window) = (bytes, bytes);
        }
        config
    }
}

/// All that the hosts sent, and what their NICs did.
struct Told {
    sent: Vec<TraceEntry>,
    nics: [NicStats; 2],
    marked: u64,
    merged: u64,
    /// Why it did not end well, if so.
    end: Option<String>,
}

/// Runs the story, the client and the server behind NICs with these offloads.
fn try_to_tell(story: &Story, offloads: [Offloads; 2], tune: impl Fn(&mut Config)) -> Told {
    let host = |n: usize| {
        let mut config = story.config(n);
        tune(&mut config);
        StackHost::behind_nic(config, offloads[n])
    };
    let (there, back) = (story.there.clone(), story.back.clone());
    let mut net = Pair::new(story.seed, host(0), host(1), there, back);
    net.keep_trace(usize::MAX);
    let (client, server) = (net.client, net.server);
    net.set_tx_ring(client, story.tx_ring);
    let at = story.family.socket(2, PORT);
    if story.bulk == [0; 2] {
        net.spawn(server, EchoServer::new(at));
        net.spawn(client, RequestClient::new(at, 3, 20, 2_000));
    } else {
        let (to, from) = (Pattern::new(story.seed), Pattern::new(!story.seed));
        let [up, down] = story.bulk;
        let mut listening = Bulk::listen(at)
            .sending(from, down)
            .receiving(to, up)
            .in_chunks_of(story.chunk);
        if let Some((every, long)) = story.rest {
            listening = listening.resting(every, long);
        }
        net.spawn(server, listening);
        net.spawn(
            client,
            Bulk::connect(at)
                .sending(to, up)
                .receiving(from, down)
                .in_chunks_of(story.chunk),
        );
    }
    let end = net.drive_apps(LIMIT).err().map(|error| error.to_string());
    let marked = [client, server].map(|host| net.link_stats(host).0.marked);
    let nics = [client, server].map(|host| net.host::<StackHost>(host).nic().stats());
    let merged =
        [client, server].map(|host| net.host::<StackHost>(host).stack().stats().tcp.rx_merged);
    let sent = net.trace().entries();
    let sent = sent.filter(|entry| entry.direction == Direction::Sent);
    Told {
        sent: sent.cloned().collect(),
        nics,
        marked: marked.iter().sum(),
        merged: merged.iter().sum(),
        end,
    }
}

/// As [`try_to_tell`], and every byte arrives once and in order, or it panics.
fn tell(story: &Story, offloads: [Offloads; 2], tune: impl Fn(&mut Config)) -> Told {
    let told = try_to_tell(story, offloads, tune);
    if let Some(error) = &told.end {
        panic!("{error}\n{story:?}\n{offloads:?}");
    }
    told
}

/// The first frame that is not the same, with some before it.
fn difference(expected: &[TraceEntry], found: &[TraceEntry]) -> Option<String> {
    let same =
        |a: &TraceEntry, b: &TraceEntry| (a.at, a.host, &a.frame) == (b.at, b.host, &b.frame);
    let at = (0..expected.len().max(found.len()))
        .find(|&i| !matches!((expected.get(i), found.get(i)), (Some(a), Some(b)) if same(a, b)))?;
    let show = |entries: &[TraceEntry]| {
        let from = at.saturating_sub(3).min(entries.len());
        let to = (at + 3).min(entries.len());
        let lines = entries[from..to].iter().map(|entry| format!("{entry}\n"));
        lines.collect::<String>()
    };
    let bytes = match (expected.get(at), found.get(at)) {
        (Some(a), Some(b)) => format!("{:02x?}\n{:02x?}", a.frame, b.frame),
        _ => String::new(),
    };
    Some(format!(
        "frame {at} of {} and {}:\n{}---\n{}{bytes}",
        expected.len(),
        found.len(),
        show(expected),
        show(found)
    ))
}

/// Each offload that is anything to TCP, each together with the checksums that it needs of real NICs, and all.
fn combinations() -> Vec<(&'static str, Offloads)> {
    let mut all: Vec<_> = Offloads::EACH.to_vec();
    let mut checksums = Offloads::NONE;
    checksums.tx_ipv4_checksum = true;
    checksums.tx_tcp_checksum = true;
    all.push(("tx_checksums", checksums));
    let mut tso = checksums;
    (tso.tso_v4, tso.tso_v6) = (true, true);
    all.push(("tso", tso));
    all.push(("all", Offloads::ALL));
    all
}

/// Tells a story with each offload and without; what they did is added up.
fn is_the_same_with_each(story: &Story) -> NicStats {
    let plain = tell(story, [Offloads::NONE; 2], |_| ());
    let mut done = NicStats::default();
    for (name, offloads) in combinations() {
        let told = tell(story, [offloads; 2], |_| ());
        if let Some(difference) = difference(&plain.sent, &told.sent) {
            panic!("{name} of {story:?}: {difference}");
        }
        for nic in told.nics {
            done.cut += nic.cut;
            done.summed += nic.summed;
            done.verified += nic.verified;
            done.coalesced += nic.coalesced;
            done.tagged += nic.tagged;
            done.stripped += nic.stripped;
        }
    }
    done
}

/// A wire on which what is sent together arrives together: there is something to coalesce.
fn wide() -> LinkConfig {
    LinkConfig::delay(Duration::from_millis(1))
}

/// One on which frames arrive one by one.
fn narrow() -> LinkConfig {
    wide().with_rate(200_000_000, 200)
}

fn bad(link: LinkConfig) -> LinkConfig {
    link.with_loss(0.01)
        .with_reordering(0.02, Duration::from_micros(700))
        .with_duplication(0.01)
        .with_corruption(0.005)
}

#[track_caller]
fn was_used(done: NicStats) {
    assert!(
        done.cut > 0 && done.summed > 0 && done.verified > 0 && done.coalesced > 0,
        "{done:?}"
    );
}

#[test]
fn bulk_both_ways_is_the_same_on_the_wire() {
    for family in Family::BOTH {
        for mtu in [[1500; 2], [9000; 2], [1500, 1280], [9000, 1500]] {
            let mut story = Story::new(1, family, wide());
            story.mtu = mtu;
            was_used(is_the_same_with_each(&story));
            (story.there, story.back) = (narrow(), narrow());
            is_the_same_with_each(&story);
        }
    }
}

#[test]
fn losses_reordering_copies_and_flipped_bits_are_the_same_on_the_wire() {
    for family in Family::BOTH {
        for seed in seeds(&[1, 2, 3, 4]) {
            was_used(is_the_same_with_each(&Story::new(
                seed,
                family,
                bad(wide()),
            )));
            is_the_same_with_each(&Story::new(seed, family, bad(narrow())));
        }
    }
}

#[test]
fn requests_and_responses_are_the_same_on_the_wire() {
    for family in Family::BOTH {
        for link in [wide(), narrow(), bad(wide())] {
            let mut story = Story::new(5, family, link);
            story.bulk = [0; 2];
            let done = is_the_same_with_each(&story);
            assert!(done.summed > 0 && done.verified > 0, "{done:?}");
        }
    }
}

#[test]
fn marks_of_congestion_are_the_same_on_the_wire() {
    for family in Family::BOTH {
        let mut story = Story::new(6, family, wide().with_marks(0.02));
        story.ecn = true;
        assert!(tell(&story, [Offloads::NONE; 2], |_| ()).marked > 0);
        was_used(is_the_same_with_each(&story));
        story.there = bad(narrow()).with_marks(0.02);
        was_used(is_the_same_with_each(&story));
    }
}

#[test]
fn tags_are_the_same_on_the_wire() {
    for family in Family::BOTH {
        for link in [wide(), bad(wide())] {
            let mut story = Story::new(13, family, link);
            story.vlan = true;
            let done = is_the_same_with_each(&story);
            assert!(done.tagged > 0 && done.stripped > 0, "{done:?}");
            was_used(done);
        }
    }
}

#[test]
fn a_stream_that_ends_with_its_last_bytes_is_the_same_on_the_wire() {
    for family in Family::BOTH {
        // The end of the stream is known before anything is sent: it goes with the last segment of a large packet.
        for bytes in [1, 1_000, 2_896, 14_000, 30_001] {
            let mut story = Story::new(7, family, LinkConfig::delay(Duration::from_millis(5)));
            story.bulk = [bytes, bytes / 2];
            is_the_same_with_each(&story);
        }
    }
}

#[test]
fn small_windows_small_writes_and_small_rings_are_the_same_on_the_wire() {
    for family in Family::BOTH {
        for (window, chunk, ring) in [(8_000, 16_384, 512), (30_000, 700, 7), (5_000, 3_000, 1)] {
            let mut story = Story::new(8, family, wide());
            story.bulk = [100_000, 50_000];
            story.window = Some(window);
            (story.chunk, story.tx_ring) = (chunk, ring);
            is_the_same_with_each(&story);
            story.rest = Some((20_000, Duration::from_millis(700)));
            is_the_same_with_each(&story);
        }
    }
}

#[test]
fn coalescing_in_software_by_the_nic_and_not_at_all_bring_the_same_acknowledgments() {
    for family in Family::BOTH {
        for (seed, link) in [(9, wide()), (10, bad(wide())), (11, bad(wide()))] {
            let story = Story::new(seed, family, link);
            let none = tell(&story, [Offloads::NONE; 2], |config| config.gro = false);
            let software = tell(&story, [Offloads::NONE; 2], |_| ());
            let mut lro = Offloads::NONE;
            (lro.lro, lro.rx_checksum) = (true, true);
            let nic = tell(&story, [lro; 2], |config| config.gro = false);
            assert_eq!(none.merged, 0);
            assert!(software.merged > 0 && nic.nics[0].coalesced + nic.nics[1].coalesced > 0);
            for (name, other) in [("software", &software), ("NIC", &nic)] {
                if let Some(difference) = difference(&none.sent, &other.sent) {
                    panic!("{name} of {story:?}: {difference}");
                }
            }
        }
    }
}

/// Datagrams that go out with one call, over each family and a bad wire; what comes of it.
fn datagrams(family: Family, offloads: Offloads, gso: bool) -> (Vec<TraceEntry>, Vec<Vec<u8>>) {
    let host = |n: u16| {
        let mut config = StackHost::config(n, 3);
        config.gso = gso;
        StackHost::behind_nic(config, offloads)
    };
    let mut net = Pair::new(12, host(1), host(2), wide(), wide());
    net.keep_trace(usize::MAX);
    let (client, server) = (net.client, net.server);
    let to = family.socket(2, 53);
    let there = net.host_mut::<StackHost>(server).stack_mut();
    let receiver = there.udp_bind(UdpOptions::new(to)).unwrap();
    let here = net.host_mut::<StackHost>(client).stack_mut();
    let sender = here
        .udp_bind(UdpOptions::new(family.socket(1, 54)))
        .unwrap();
    for (bytes, segment) in [
        (1, 1),
        (5_000, 1_200),
        (60_000, 1_472),
        (30, 1),
        (1_452, 1_452),
    ] {
        let data: Vec<u8> = (0..bytes).map(|i| (i * 13 + i / 256) as u8).collect();
        let segment = segment.min(if family == Family::V4 { 1_472 } else { 1_452 });
        let now = net.now();
        let stack = net.host_mut::<StackHost>(client).stack_mut();
        stack
            .udp_send_segments(now, sender, &data, segment, Some(to))
            .unwrap();
        net.drive_for(Duration::from_millis(50)).unwrap();
    }
    let mut got = Vec::new();
    let mut buffer = [0; 2_000];
    let stack = net.host_mut::<StackHost>(server).stack_mut();
    while let Ok(received) = stack.udp_recv(receiver, &mut buffer) {
        got.push(buffer[..received.len].to_vec());
    }
    let sent = net.trace().entries();
    let sent = sent.filter(|entry| entry.direction == Direction::Sent);
    (sent.cloned().collect(), got)
}

#[test]
fn datagrams_sent_with_one_call_are_the_same_on_the_wire() {
    for family in Family::BOTH {
        let (plain, got) = datagrams(family, Offloads::NONE, true);
        assert_eq!(
            got.len(),
            1 + 5 + 60_000_usize.div_ceil(got[7].len()) + 30 + 1
        );
        for gso in [true, false] {
            for (name, offloads) in combinations() {
                let (sent, received) = datagrams(family, offloads, gso);
                if let Some(difference) = difference(&plain, &sent) {
                    panic!("{name}, gso {gso}: {difference}");
                }
                assert!(received == got, "{name}, gso {gso}");
            }
        }
    }
}

fn any_story() -> impl Strategy<Value = Story> {
    let chance = |most: f64| prop_oneof![2 => Just(0.0), 1 => 0.0..most];
    let link = || {
        (
            0u64..30_000,
            chance(0.05),
            chance(0.05),
            1u64..3_000,
            chance(0.03),
            chance(0.03),
            prop_oneof![2 => Just(None), 1 => (5_000_000u64..500_000_000).prop_map(Some)],
        )
            .prop_map(|(latency, loss, reorder, hold, duplicate, corrupt, rate)| {
                let link = LinkConfig::delay(Duration::from_micros(latency))
                    .with_loss(loss)
                    .with_reordering(reorder, Duration::from_micros(hold))
                    .with_duplication(duplicate)
                    .with_corruption(corrupt);
                match rate {
                    Some(rate) => link.with_rate(rate, 100),
                    None => link,
                }
            })
    };
    let mtu = || prop_oneof![3 => Just(1500u16), 1 => Just(9000u16), 1 => 1280u16..9000];
    let size = || prop_oneof![1 => 1u64..5_000, 3 => 5_000u64..150_000];
    (
        any::<u64>(),
        any::<bool>(),
        [mtu(), mtu()],
        [link(), link()],
        [size(), size()],
        1usize..20_000,
        prop_oneof![2 => Just(None), 1 => (3_000usize..60_000).prop_map(Some)],
        prop_oneof![3 => Just(None), 1 => (5_000u64..50_000, 1u64..800).prop_map(Some)],
        (any::<bool>(), chance(0.05), any::<bool>()),
        1usize..128,
    )
        .prop_map(
            |(
                seed,
                v6,
                mtu,
                [there, back],
                bulk,
                chunk,
                window,
                rest,
                (ecn, marks, vlan),
                tx_ring,
            )| {
                Story {
                    seed,
                    family: if v6 { Family::V6 } else { Family::V4 },
                    mtu,
                    there: there.with_marks(marks),
                    back,
                    bulk,
                    chunk,
                    window,
                    rest: rest.map(|(every, long)| (every, Duration::from_millis(long))),
                    ecn,
                    vlan,
                    tx_ring,
                }
            },
        )
}

fn is_tcp(frame: &[u8]) -> bool {
    frame::Layout::of(frame).is_some_and(|at| !at.udp)
}

fn any_offloads() -> impl Strategy<Value = [Offloads; 2]> {
    let one = || {
        any::<[bool; 10]>().prop_map(|on| {
            let mut offloads = Offloads::NONE;
            for (on, (_, one)) in on.into_iter().zip(Offloads::EACH) {
                if on {
                    offloads = offloads.with(one);
                }
            }
            offloads
        })
    };
    [one(), one()]
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_story_is_the_same_on_the_wire_with_any_offloads(story in any_story(), offloads in any_offloads()) {
        let plain = try_to_tell(&story, [Offloads::NONE; 2], |_| ());
        let told = try_to_tell(&story, offloads, |_| ());
        // Questions for a MAC address, or their answers, may all get lost: then there never is a connection.
        if plain.sent.iter().any(|entry| is_tcp(&entry.frame)) {
            prop_assert_eq!(plain.end, None);
        }
        prop_assert_eq!(&told.end.is_some(), &told.sent.iter().all(|entry| !is_tcp(&entry.frame)));
        if let Some(difference) = difference(&plain.sent, &told.sent) {
            return Err(TestCaseError::fail(format!("{offloads:?}: {difference}")));
        }
    }
}
