//! Bulk transfers over networks that lose, reorder, duplicate and corrupt: every byte arrives once and in order.
//!
//! 64 MiB in each direction at the same time over one connection (`DPDK_NET_SIM_BYTES` sets another size), between two stacks of this
//! project and between one of them and smoltcp, as client and as server, over IPv4 and IPv6. Smaller transfers repeat it with more
//! seeds. A run that fails prints its seed; `DPDK_NET_SIM_SEED` repeats it.

use std::time::Duration;

use dpdk_net_testkit::addr::Family;
use dpdk_net_testkit::apps::{Bulk, Pattern};
use dpdk_net_testkit::hosts::{Foreign, StackHost};
use dpdk_net_testkit::sim::{LinkConfig, Pair, bulk_bytes, seeds};

const PORT: u16 = 7000;
const FULL: u64 = 64 << 20;
const SMALL: u64 = 1 << 20;
/// Virtual time that a transfer may take.
const LIMIT: Duration = Duration::from_secs(4 * 3600);

/// Who is at the two ends.
#[derive(Clone, Copy, Debug)]
enum Ends {
    Ours,
    ForeignServer,
    ForeignClient,
}

/// The wire without what makes it bad.
fn wire() -> LinkConfig {
    LinkConfig::delay(Duration::from_micros(500)).with_rate(1_000_000_000, 512)
}

fn loss() -> LinkConfig {
    wire().with_loss(0.01)
}

fn reordering() -> LinkConfig {
    wire().with_reordering(0.02, Duration::from_millis(2))
}

fn duplication() -> LinkConfig {
    wire().with_duplication(0.01)
}

fn corruption() -> LinkConfig {
    wire().with_corruption(0.01)
}

fn everything() -> LinkConfig {
    wire()
        .with_jitter(Duration::from_micros(200))
        .with_loss(0.01)
        .with_reordering(0.02, Duration::from_millis(2))
        .with_duplication(0.01)
        .with_corruption(0.01)
}

fn pair(ends: Ends, seed: u64, link: LinkConfig) -> Pair {
    let back = link.clone();
    match ends {
        Ends::Ours => Pair::new(
            seed,
            StackHost::new(1, seed),
            StackHost::new(2, !seed),
            link,
            back,
        ),
        Ends::ForeignServer => Pair::new(
            seed,
            StackHost::new(1, seed),
            Foreign::new(2, !seed),
            link,
            back,
        ),
        Ends::ForeignClient => Pair::new(
            seed,
            Foreign::new(1, seed),
            StackHost::new(2, !seed),
            link,
            back,
        ),
    }
}

/// Moves `bytes` in each direction at the same time, and sees both connections to their end.
fn transfer(ends: Ends, link: LinkConfig, family: Family, seed: u64, bytes: u64) {
    let mut net = pair(ends, seed, link.clone());
    net.keep_trace(40);
    let (client, server) = (net.client, net.server);
    let (there, back) = (Pattern::new(seed), Pattern::new(!seed));
    let listening = Bulk::listen(family.socket(2, PORT))
        .sending(back, bytes)
        .receiving(there, bytes);
    let connecting = Bulk::connect(family.socket(2, PORT))
        .sending(there, bytes)
        .receiving(back, bytes);
    let (listening, connecting) = (net.spawn(server, listening), net.spawn(client, connecting));
    net.drive_apps(LIMIT)
        .unwrap_or_else(|error| panic!("{ends:?}, {family:?}, seed {seed}: {error}"));
    assert_eq!(
        (
            net.app(listening).received(),
            net.app(connecting).received()
        ),
        (bytes, bytes)
    );
    let (sent, _) = net.link_stats(client);
    let happened = |probability: f64, count: u64| {
        assert!(probability == 0.0 || count > 0, "the wire was too good")
    };
    happened(link.loss, sent.lost);
    happened(link.reorder, sent.reordered);
    happened(link.duplicate, sent.duplicated);
    happened(link.corrupt, sent.corrupted);
}

macro_rules! full_size {
    ($($ends:ident: $module:ident;)*) => {$(
        mod $module {
            use super::*;

            full_size!(@families $ends, loss, reordering, duplication, corruption, everything);
        }
    )*};
    (@families $ends:ident, $($bad:ident),*) => {
        mod ipv4 {
            use super::*;
            $(full_size!(@test $ends, $bad, Family::V4);)*
        }
        mod ipv6 {
            use super::*;
            $(full_size!(@test $ends, $bad, Family::V6);)*
        }
    };
    (@test $ends:ident, $bad:ident, $family:expr) => {
        #[test]
        fn $bad() {
            for seed in seeds(&[1]) {
                transfer(Ends::$ends, super::super::$bad(), $family, seed, bulk_bytes(FULL));
            }
        }
    };
}

full_size! {
    Ours: ours_to_ours;
    ForeignServer: ours_to_smoltcp;
    ForeignClient: smoltcp_to_ours;
}

#[test]
fn many_seeds() {
    for seed in seeds(&[2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37]) {
        for ends in [Ends::Ours, Ends::ForeignServer, Ends::ForeignClient] {
            for family in Family::BOTH {
                transfer(ends, everything(), family, seed, bulk_bytes(SMALL));
            }
        }
    }
}
