//! `dpdk-net-relay`: a bad network between two interfaces. The relay itself is [`dpdk_net_testkit::relay`]; here are its command
//! line, its signals and what it prints.
#![forbid(unsafe_code)]

mod settings;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use dpdk_net_testkit::relay::{DirectionStats, Relay, RelayStats, Running};
use signal_hook::consts::{SIGINT, SIGTERM};

use settings::Settings;

/// How often signals and the end of `--for` are looked for.
const POLL: Duration = Duration::from_millis(20);

fn main() -> ExitCode {
    match run(Settings::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("dpdk-net-relay: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(settings: Settings) -> Result<(), Box<dyn std::error::Error>> {
    // Taken first, so that a signal that comes early still ends with the counters.
    let told = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&told))?;
    }
    let (there, back) = settings.links()?;
    let (left, right) = (settings.left.clone(), settings.right.clone());
    println!("there ({left} -> {right}): {}", settings::describe(&there));
    println!("back  ({right} -> {left}): {}", settings::describe(&back));
    let relay = Relay::new(left, right)
        .there(there)
        .back(back)
        .seed(settings.seed)
        .mtu(settings.mtu)
        .start()?;
    println!("seed {}; relaying, end with Ctrl-C", settings.seed);
    let stats = wait(relay, &told, &settings)?;
    print(&stats);
    Ok(())
}

/// Until a signal, the end of the time, or the loss of an interface.
fn wait(relay: Running, told: &AtomicBool, settings: &Settings) -> std::io::Result<RelayStats> {
    let started = Instant::now();
    let mut next = settings.every.map(|every| (every, started + every));
    let mut warned = false;
    while !told.load(Ordering::Relaxed)
        && settings
            .duration
            .is_none_or(|limit| started.elapsed() < limit)
        && !relay.has_failed()
    {
        std::thread::sleep(POLL);
        if !warned {
            warned = warn(&relay.stats());
        }
        if let Some((every, at)) = &mut next
            && Instant::now() >= *at
        {
            *at += *every;
            print(&relay.stats());
        }
    }
    let so_far = relay.stats();
    relay.stop().inspect_err(|_| print(&so_far))
}

/// Says what makes the figures wrong, once; whether it did.
fn warn(stats: &RelayStats) -> bool {
    let sides = [("left", &stats.there), ("right", &stats.back)];
    let Some((side, _)) = sides
        .iter()
        .find(|(_, direction)| direction.unfinished > 0 || direction.oversize > 0)
    else {
        return false;
    };
    eprintln!(
        "dpdk-net-relay: warning: frames that arrive at the {side} interface have a wrong transport checksum or are longer than \
         the MTU: their sender leaves checksums and segmentation to hardware, and there is none. Switch that off where they come \
         from, at the other end of the veth pair: ethtool -K INTERFACE tx off (and give --mtu if the MTU is not 1500)"
    );
    true
}

type Counter = fn(&DirectionStats) -> u64;

/// The counters as a table; those that are zero both ways and tell of a fault are left out.
fn print(stats: &RelayStats) {
    const ALWAYS: [(&str, Counter); 6] = [
        ("received", |s| s.link.offered),
        ("lost", |s| s.link.lost),
        ("corrupted", |s| s.link.corrupted),
        ("duplicated", |s| s.link.duplicated),
        ("reordered", |s| s.link.reordered),
        ("queue full", |s| s.link.queue_full),
    ];
    const FAULTS: [(&str, Counter); 5] = [
        ("longer than --max-frame", |s| s.link.too_long),
        ("no room in memory", |s| s.no_room),
        ("not taken by the interface", |s| s.send_failed),
        ("longer than the MTU", |s| s.oversize),
        ("bad checksum on arrival", |s| s.unfinished),
    ];
    let row = |name: &str, there: u64, back: u64| println!("{name:<28} {there:>12} {back:>12}");
    println!("{:<28} {:>12} {:>12}", "frames", "there", "back");
    for (name, count) in ALWAYS {
        row(name, count(&stats.there), count(&stats.back));
    }
    for (name, count) in FAULTS {
        if count(&stats.there) + count(&stats.back) > 0 {
            row(name, count(&stats.there), count(&stats.back));
        }
    }
    row("sent", stats.there.sent, stats.back.sent);
    row("sent, bytes", stats.there.sent_bytes, stats.back.sent_bytes);
    let micros = |s: &DirectionStats| s.latest.as_micros() as u64;
    row(
        "sent late at worst, us",
        micros(&stats.there),
        micros(&stats.back),
    );
}
