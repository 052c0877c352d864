//! What holds whatever the network does: every byte arrives once and in order, or the connection ends with an error on both sides;
//! no timer is lost; nothing grows.
//!
//! The simulation itself checks after every event that a connection with bytes under way has a deadline, and that applications are
//! woken (it stalls otherwise).

use std::time::Duration;

use dpdk_net_stack::{Error, Keepalive};
use dpdk_net_testkit::addr::Family;
use dpdk_net_testkit::apps::{Bulk, Pattern};
use dpdk_net_testkit::hosts::{Foreign, ForeignConfig, StackHost};
use dpdk_net_testkit::sim::{App, AppError, LinkConfig, Pair, bulk_bytes, seeds};
use proptest::prelude::*;

const PORT: u16 = 7000;
/// Virtual time after which a connection that has not ended is taken to hang.
const LIMIT: Duration = Duration::from_secs(24 * 3600);
/// Patience with a silent peer. The retransmission timer may have backed off to a minute: on a bad network it takes many rounds to be
/// sure that nobody is there.
const TIMEOUT: Duration = Duration::from_secs(1_800);

#[derive(Clone, Copy, Debug)]
enum Ends {
    Ours,
    ForeignServer,
    ForeignClient,
}

/// A whole story: the wire, what is sent over it, and whether it breaks.
#[derive(Clone, Debug)]
struct Story {
    seed: u64,
    ends: Ends,
    family: Family,
    there: LinkConfig,
    back: LinkConfig,
    client_sends: u64,
    server_sends: u64,
    chunk: usize,
    /// Each time that they have received so many bytes, the client and the server take a rest so long.
    rests: [Option<(u64, Duration)>; 2],
    tx_ring: usize,
    /// When the wire breaks, after the start, and for how long; `None` is for ever.
    cut: Option<(Duration, Option<Duration>)>,
}

fn link() -> impl Strategy<Value = LinkConfig> {
    let chance = |most: f64| prop_oneof![2 => Just(0.0), 3 => 0.0..most];
    let rate = prop_oneof![Just(None), (200_000u64..50_000_000).prop_map(Some)];
    (
        0u64..150_000,
        0u64..20_000,
        chance(0.15),
        chance(0.2),
        1u64..50_000,
        chance(0.2),
        chance(0.1),
        rate,
        8usize..200,
    )
        .prop_map(
            |(latency, jitter, loss, reorder, hold, duplicate, corrupt, rate, queue)| {
                let link = LinkConfig::delay(Duration::from_micros(latency))
                    .with_jitter(Duration::from_micros(jitter))
                    .with_loss(loss)
                    .with_reordering(reorder, Duration::from_micros(hold))
                    .with_duplication(duplicate)
                    .with_corruption(corrupt);
                match rate {
                    Some(rate) => link.with_rate(rate, queue),
                    None => link,
                }
            },
        )
}

fn story() -> impl Strategy<Value = Story> {
    let ends = prop_oneof![2 => Just(Ends::Ours), 1 => Just(Ends::ForeignServer), 1 => Just(Ends::ForeignClient)];
    let family = prop_oneof![Just(Family::V4), Just(Family::V6)];
    let size = || prop_oneof![1 => Just(0u64), 1 => 1u64..3_000, 3 => 3_000u64..200_000];
    let cut = prop_oneof![
        4 => Just(None),
        2 => (0u64..3_000, 1u64..20_000).prop_map(|(at, long)| {
            Some((Duration::from_millis(at), Some(Duration::from_millis(long))))
        }),
        2 => (0u64..3_000).prop_map(|at| Some((Duration::from_millis(at), None))),
    ];
    let chunk = prop_oneof![1 => 1usize..100, 3 => 100usize..20_000];
    let rest = || {
        prop_oneof![
            3 => Just(None),
            1 => (2_000u64..100_000, 1u64..3_000)
                .prop_map(|(every, long)| Some((every, Duration::from_millis(long)))),
        ]
    };
    (
        any::<u64>(),
        ends,
        family,
        (link(), link()),
        (size(), size()),
        chunk,
        [rest(), rest()],
        1usize..64,
        cut,
    )
        .prop_map(
            |(
                seed,
                ends,
                family,
                (there, back),
                (client_sends, server_sends),
                chunk,
                rests,
                tx_ring,
                cut,
            )| Story {
                seed,
                ends,
                family,
                there,
                back,
                client_sends,
                server_sends,
                chunk,
                rests,
                tx_ring,
                cut,
            },
        )
}

/// Host `n` with the same patience everywhere: a dead peer is found also by a side that has nothing to send.
fn ours(n: u16, seed: u64) -> StackHost {
    let mut config = StackHost::config(n, seed);
    config.tcp.user_timeout = TIMEOUT;
    config.tcp.orphan_timeout = TIMEOUT;
    config.tcp.connect_timeout = TIMEOUT;
    let mut host = StackHost::with_config(config);
    let mut keepalive = Keepalive::default();
    (keepalive.idle, keepalive.interval, keepalive.count) =
        (Duration::from_secs(60), Duration::from_secs(60), 30);
    host.set_keepalive(Some(keepalive));
    host
}

fn foreign(n: u16, seed: u64) -> Foreign {
    let mut config = ForeignConfig::default();
    config.timeout = Some(TIMEOUT);
    config.keep_alive = Some(Duration::from_secs(30));
    Foreign::with_config(n, seed, config)
}

fn run(story: &Story) -> Result<(), TestCaseError> {
    let Story {
        seed,
        family,
        there,
        back,
        ..
    } = story.clone();
    let mut net = match story.ends {
        // Where nothing breaks, two of ours get on without keep-alive, which would cover up a timer that was lost.
        Ends::Ours if story.cut.is_none() => {
            let (mut client, mut server) = (ours(1, seed), ours(2, !seed));
            client.set_keepalive(None);
            server.set_keepalive(None);
            Pair::new(seed, client, server, there, back)
        }
        Ends::Ours => Pair::new(seed, ours(1, seed), ours(2, !seed), there, back),
        Ends::ForeignServer => Pair::new(seed, ours(1, seed), foreign(2, !seed), there, back),
        Ends::ForeignClient => Pair::new(seed, foreign(1, seed), ours(2, !seed), there, back),
    };
    let (client, server) = (net.client, net.server);
    net.set_tx_ring(client, story.tx_ring);
    let (to, from) = (Pattern::new(seed), Pattern::new(!seed));
    // smoltcp forgets what was received and not read when its TIME-WAIT is over.
    let resting = |app: Bulk, rest: Option<(u64, Duration)>| match (rest, story.ends) {
        (Some((every, long)), Ends::Ours) => app.resting(every, long),
        _ => app,
    };
    let connecting = Bulk::connect(family.socket(2, PORT))
        .sending(to, story.client_sends)
        .receiving(from, story.server_sends)
        .in_chunks_of(story.chunk);
    let listening = Bulk::listen(family.socket(2, PORT))
        .sending(from, story.server_sends)
        .receiving(to, story.client_sends)
        .in_chunks_of(story.chunk);
    let listening = net.spawn(server, resting(listening, story.rests[1]));
    let connecting = net.spawn(client, resting(connecting, story.rests[0]));
    // A server whose client never came has nothing to end.
    let over = |net: &mut dpdk_net_testkit::sim::Sim| {
        let (client, server) = (net.app(connecting), net.app(listening));
        client.finished()
            && (server.finished() || (client.outcome().is_err() && server.conn().is_none()))
    };
    let fail = |error: dpdk_net_testkit::sim::SimError| TestCaseError::fail(error.to_string());
    match story.cut {
        None => net.drive_until(LIMIT, over).map_err(fail)?,
        Some((at, long)) => {
            net.drive_for(at).map_err(fail)?;
            net.set_link_up(client, false);
            if let Some(long) = long {
                net.drive_for(long).map_err(fail)?;
                net.set_link_up(client, true);
            }
            net.drive_until(LIMIT, over).map_err(fail)?;
        }
    }
    let (client, server) = (net.app(connecting), net.app(listening));
    for (who, app) in [("client", client), ("server", server)] {
        match app.outcome() {
            Ok(()) => {}
            // An error of the stack ends a connection; bytes that are wrong, missing or too many never may.
            Err(AppError::Tcp(error)) => {
                prop_assert!(
                    error != Error::WouldBlock && error != Error::UnknownSocket,
                    "{who}: {error}"
                );
            }
            Err(error) => return Err(TestCaseError::fail(format!("{who}: {error}"))),
        }
    }
    // Three questions for a MAC address, or their answers, may get lost: then there never was a connection.
    let unresolved = client.tcp_error() == Some(&Error::HostUnreachable) && server.conn().is_none();
    // Where the wire never breaks, nothing else has an excuse.
    if story.cut.is_none() && (!unresolved || server.finished()) {
        prop_assert_eq!((client.outcome(), server.outcome()), (Ok(()), Ok(())));
        prop_assert_eq!(
            (client.received(), server.received()),
            (story.server_sends, story.client_sends)
        );
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_byte_arrives_once_and_in_order_or_both_sides_fail(story in story()) {
        run(&story)?;
    }
}

/// The server's second FIN is lost, all before it has arrived, and the client repeats its acknowledgment of that five times.
#[test]
fn a_lost_fin_is_sent_again_after_three_duplicate_acknowledgments() {
    let seed = 16_382_509_676_835_717_194;
    let (mut there, mut back) = (
        LinkConfig::delay(Duration::from_micros(16_705))
            .with_jitter(Duration::from_micros(8_276))
            .with_loss(0.023_687_598_240_042_05)
            .with_duplication(0.145_730_302_758_567_66),
        LinkConfig::delay(Duration::from_micros(102_768))
            .with_jitter(Duration::from_micros(961))
            .with_loss(0.075_109_254_754_521_08)
            .with_duplication(0.124_857_209_772_649_65)
            .with_corruption(0.020_324_532_369_177_72)
            .with_rate(25_240_342, 176),
    );
    there.reorder_delay = Duration::from_micros(17_920);
    back.reorder_delay = Duration::from_micros(5_470);
    run(&Story {
        seed,
        ends: Ends::Ours,
        family: Family::V4,
        there,
        back,
        client_sends: 146_599,
        server_sends: 74_208,
        chunk: 8_489,
        rests: [None; 2],
        tx_ring: 56,
        cut: None,
    })
    .unwrap();
}

/// What rests of readers have found: a byte that waits for a window to open behind another one that was lost, in LAST-ACK.
#[test]
fn a_byte_lost_while_the_window_closes_is_sent_again_after_the_application_has_closed() {
    let mut there =
        LinkConfig::delay(Duration::from_micros(13_468)).with_jitter(Duration::from_micros(294));
    there.reorder_delay = Duration::from_micros(1);
    let mut back = LinkConfig::perfect()
        .with_jitter(Duration::from_micros(1))
        .with_corruption(0.061_476_053_491_178_684)
        .with_rate(1_966_510, 12);
    back.reorder_delay = Duration::from_micros(1);
    run(&Story {
        seed: 6_785_944_382_119_373_643,
        ends: Ends::Ours,
        family: Family::V6,
        there,
        back,
        client_sends: 0,
        server_sends: 124_111,
        chunk: 6_343,
        rests: [
            Some((11_840, Duration::from_millis(2_546))),
            Some((78_620, Duration::from_millis(738))),
        ],
        tx_ring: 52,
        cut: None,
    })
    .unwrap();
}

/// Another: the right edge of the window moves back by one with the rounding of its scale, and the last byte comes with the FIN.
#[test]
fn a_fin_behind_a_byte_that_the_window_has_no_room_for_waits_for_it() {
    run(&Story {
        seed: 7_671_751_741_785_405_476,
        ends: Ends::Ours,
        family: Family::V4,
        there: LinkConfig::delay(Duration::from_micros(65_255))
            .with_jitter(Duration::from_micros(1_853))
            .with_loss(0.074_343_258_578_703_43),
        back: LinkConfig::delay(Duration::from_micros(15_712))
            .with_jitter(Duration::from_micros(7_566))
            .with_loss(0.023_170_365_576_422_81),
        client_sends: 120_312,
        server_sends: 1_863,
        chunk: 928,
        rests: [None, Some((10_584, Duration::from_millis(2_862)))],
        tx_ring: 61,
        cut: Some((
            Duration::from_millis(1_862),
            Some(Duration::from_millis(2_371)),
        )),
    })
    .unwrap();
}

/// A sender whose wire breaks in mid-stream; how it ended, and how long after the break.
fn sender_on_a_dead_link(family: Family, seed: u64) -> (Option<Error>, Duration) {
    let link = LinkConfig::delay(Duration::from_millis(5)).with_rate(10_000_000, 100);
    let mut net = Pair::new(seed, ours(1, seed), ours(2, !seed), link.clone(), link);
    let (client, server, pattern) = (net.client, net.server, Pattern::new(seed));
    let bytes = bulk_bytes(64 << 20);
    net.spawn(
        server,
        Bulk::listen(family.socket(2, PORT)).receiving(pattern, bytes),
    );
    let sender = net.spawn(
        client,
        Bulk::connect(family.socket(2, PORT)).sending(pattern, bytes),
    );
    net.drive_for(Duration::from_millis(500)).unwrap();
    assert!(net.app(sender).sent() > 0);
    net.set_link_up(client, false);
    let cut = net.now();
    net.drive_until(LIMIT, |net| net.app(sender).finished())
        .unwrap();
    (net.app(sender).tcp_error().cloned(), net.now() - cut)
}

#[test]
fn a_link_that_stays_dead_ends_the_connection_of_the_sender_in_time() {
    for family in Family::BOTH {
        for seed in seeds(&[1, 2, 3]) {
            let (error, after) = sender_on_a_dead_link(family, seed);
            // The neighbour does not answer any more either, which is told as the reason (as Linux).
            assert!(
                matches!(error, Some(Error::TimedOut | Error::HostUnreachable)),
                "{family:?}, seed {seed}: {error:?}"
            );
            // One back-off of the retransmission timer late at most.
            let limits = TIMEOUT - Duration::from_secs(1)..=TIMEOUT + Duration::from_secs(61);
            assert!(
                limits.contains(&after),
                "{family:?}, seed {seed}: after {after:?}"
            );
        }
    }
}

#[test]
fn connecting_to_nobody_fails_in_time() {
    for family in Family::BOTH {
        let link = LinkConfig::delay(Duration::from_millis(1));
        let mut net = Pair::new(1, ours(1, 1), ours(2, 2), link.clone(), link);
        let client = net.client;
        // No host 9: nobody answers ARP or NDP.
        let nobody = net.spawn(client, Bulk::connect(family.socket(9, PORT)));
        // Host 2 does not listen.
        let refused = net.spawn(client, Bulk::connect(family.socket(2, PORT)));
        let start = net.now();
        net.drive_until(LIMIT, |net| net.app(refused).finished())
            .unwrap();
        assert_eq!(
            net.app(refused).tcp_error(),
            Some(&Error::ConnectionRefused)
        );
        net.drive_until(LIMIT, |net| net.app(nobody).finished())
            .unwrap();
        let error = net.app(nobody).tcp_error();
        assert!(
            matches!(error, Some(Error::HostUnreachable | Error::TimedOut)),
            "{error:?}"
        );
        assert!(net.now() - start <= TIMEOUT + Duration::from_secs(61));
    }
}

#[test]
fn a_peer_that_never_answers_a_syn_is_given_up_with_timed_out() {
    for family in Family::BOTH {
        let link = LinkConfig::delay(Duration::from_millis(1));
        let mut net = Pair::new(1, ours(1, 1), ours(2, 2), link.clone(), link.clone());
        let (client, server) = (net.client, net.server);
        // The neighbour gets to be known, then goes deaf.
        let first = net.spawn(client, Bulk::connect(family.socket(2, PORT)));
        net.drive_until(LIMIT, |net| net.app(first).finished())
            .unwrap();
        net.set_downlink(server, LinkConfig::perfect().with_loss(1.0));
        let second = net.spawn(client, Bulk::connect(family.socket(2, PORT)));
        net.drive_until(LIMIT, |net| net.app(second).finished())
            .unwrap();
        let error = net.app(second).tcp_error();
        // Once its reachability is doubted, it may be found to be gone (RFC 4861 section 7.3).
        assert!(
            matches!(error, Some(Error::TimedOut | Error::HostUnreachable)),
            "{error:?}"
        );
    }
}

#[test]
fn nothing_is_left_of_connections_that_are_over() {
    let bad = LinkConfig::delay(Duration::from_millis(1)).with_loss(0.05);
    for seed in seeds(&[1, 2, 3]) {
        let mut net = Pair::new(
            seed,
            ours(1, seed),
            ours(2, !seed),
            bad.clone(),
            bad.clone(),
        );
        let (client, server) = (net.client, net.server);
        for port in 0..20 {
            let (there, back) = (Pattern::new(seed), Pattern::new(!seed));
            let at = Family::V6.socket(2, PORT + port);
            net.spawn(
                server,
                Bulk::listen(at)
                    .sending(back, 20_000)
                    .receiving(there, 30_000),
            );
            net.spawn(
                client,
                Bulk::connect(at)
                    .sending(there, 30_000)
                    .receiving(back, 20_000),
            );
        }
        net.drive_apps(LIMIT).unwrap();
        // TIME-WAIT, orphans and FIN-WAIT-2 end by themselves.
        net.drive_for(Duration::from_secs(600)).unwrap();
        for host in [client, server] {
            let stack = net.host::<StackHost>(host).stack();
            assert_eq!(
                (stack.tcp_count(), stack.tcp_orphans()),
                (0, 0),
                "seed {seed}"
            );
        }
    }
}
