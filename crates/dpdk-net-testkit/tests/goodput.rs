//! Goodput of one bulk transfer against loss and delay, for each congestion control: a table kept in
//! `tests/goodput/*.txt`, so that a change which costs goodput shows.
//!
//! Two stacks of this project, a link with a queue of a bandwidth-delay product and of 100 packets at least, in virtual
//! time and from fixed seeds: the same code gives the same figures. By default the rows that take little are run;
//! `DPDK_NET_GOODPUT=whole` runs all of them, `DPDK_NET_GOODPUT=write` does and writes the tables anew. Beside the tables
//! there are bounds that no rewriting moves.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use dpdk_net_stack::CongestionAlgorithm as Algorithm;
use dpdk_net_testkit::addr::Family;
use dpdk_net_testkit::apps::{Bulk, Pattern};
use dpdk_net_testkit::hosts::StackHost;
use dpdk_net_testkit::sim::{LinkConfig, Pair, seeds};

const PORT: u16 = 7000;
/// What decides how much is run, and whether the tables are written.
const MODE_VAR: &str = "DPDK_NET_GOODPUT";
/// More than any run can carry.
const ENDLESS: u64 = 1 << 40;
/// Bytes of a full frame.
const FRAME: u64 = 1514;
/// Share by which a row may fall short of the table, and an absolute one for rows of a few segments a second.
const SLACK: (f64, f64) = (0.10, 0.05);

/// The directions in which frames are lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Lossy {
    Data,
    Both,
    /// Both, in front of the bottleneck.
    InFront,
}

/// One row of a table.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Row {
    mbit: u64,
    one_way_ms: u64,
    /// In percent.
    loss: f64,
    lossy: Lossy,
}

impl Row {
    /// A queue of a bandwidth-delay product, of 100 packets at least.
    fn bottleneck(&self, link: LinkConfig) -> LinkConfig {
        let product = self.mbit * 1_000_000 / 8 * 2 * self.one_way_ms / 1_000;
        let queue = (product / FRAME).max(100) as usize;
        link.with_rate(self.mbit * 1_000_000, queue)
    }

    /// Two hosts that send over the bottleneck, and what is lost in each direction: behind it, or in front of it, where
    /// what is lost does not take the link's time (as with netem).
    fn pair(&self, seed: u64, hosts: (StackHost, StackHost)) -> Pair {
        let loss = self.loss / 100.0;
        let back = match self.lossy {
            Lossy::Data => 0.0,
            Lossy::Both | Lossy::InFront => loss,
        };
        let delay = LinkConfig::delay(Duration::from_millis(self.one_way_ms));
        if self.lossy != Lossy::InFront {
            let link = self.bottleneck(delay);
            let back = link.clone().with_loss(back);
            return Pair::new(seed, hosts.0, hosts.1, link.with_loss(loss), back);
        }
        let (up, down) = (
            delay.with_loss(loss),
            self.bottleneck(LinkConfig::perfect()),
        );
        let mut net = Pair::new(seed, hosts.0, hosts.1, up.clone(), up);
        for host in [net.client, net.server] {
            net.set_downlink(host, down.clone());
        }
        net
    }

    /// Goodput in Mbit/s of one run.
    fn run(&self, algorithm: Algorithm, seed: u64) -> f64 {
        let time = self.time();
        let host = |n, seed| {
            let mut config = StackHost::config(n, seed);
            config.tcp.congestion = algorithm;
            StackHost::with_config(config)
        };
        let mut net = self.pair(seed, (host(1, seed), host(2, !seed)));
        let (client, server, pattern) = (net.client, net.server, Pattern::new(seed));
        let sink = net.spawn(
            server,
            Bulk::listen(Family::V4.socket(2, PORT)).receiving(pattern, ENDLESS),
        );
        net.spawn(
            client,
            Bulk::connect(Family::V4.socket(2, PORT)).sending(pattern, ENDLESS),
        );
        // From when the connection is there: a SYN that is lost costs a second, whatever is sent afterwards.
        let limit = Duration::from_secs(60);
        net.drive_until(limit, |net| net.app(sink).conn().is_some())
            .and_then(|()| net.drive_for(time))
            .unwrap_or_else(|error| panic!("{self:?}, {algorithm}, seed {seed}: {error}"));
        net.app(sink).received() as f64 * 8.0 / time.as_secs_f64() / 1e6
    }

    fn time(&self) -> Duration {
        Duration::from_secs(if self.one_way_ms > 5 { 10 } else { 5 })
    }

    /// Chance makes rows with loss noisy: these are the mean of several runs.
    fn goodput(&self, algorithm: Algorithm) -> f64 {
        let seeds = seeds(if self.loss > 0.0 { &[1, 2, 3] } else { &[1] });
        let sum: f64 = seeds.iter().map(|seed| self.run(algorithm, *seed)).sum();
        sum / seeds.len() as f64
    }

    /// The row as the table has it, without its figure.
    fn name(&self, algorithm: Algorithm) -> String {
        let lossy = match self.lossy {
            Lossy::Data => "data",
            Lossy::Both => "both ways",
            Lossy::InFront => "in front",
        };
        format!(
            "{:>5} | {:>4} Mbit/s | {:>2} ms | {:>4} % | {lossy:9}",
            algorithm.name(),
            self.mbit,
            self.one_way_ms,
            self.loss
        )
    }
}

/// How much is run.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Quick,
    Whole,
    Write,
}

fn mode() -> Mode {
    match std::env::var(MODE_VAR).as_deref() {
        Err(_) | Ok("") => Mode::Quick,
        Ok("whole") => Mode::Whole,
        Ok("write") => Mode::Write,
        Ok(other) => panic!("{MODE_VAR}={other}: it is \"whole\" or \"write\""),
    }
}

/// 200 Mbit/s, as the requirement has it.
fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for lossy in [Lossy::Data, Lossy::Both] {
        for one_way_ms in [0, 1, 20] {
            for loss in [0.0, 0.1, 1.0, 3.0, 10.0] {
                if loss > 0.0 || lossy == Lossy::Data {
                    rows.push(Row {
                        mbit: 200,
                        one_way_ms,
                        loss,
                        lossy,
                    });
                }
            }
        }
    }
    rows
}

fn table_path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/goodput")
        .join(format!("{name}.txt"))
}

/// Runs rows, compares them with the table and with the least each may have, and prints all of them if one falls short.
fn compare(name: &str, rows: Vec<(Algorithm, Row, f64)>) {
    let mode = mode();
    let path = table_path(name);
    let table = std::fs::read_to_string(&path).unwrap_or_default();
    let mut text = String::new();
    let mut short = Vec::new();
    for (algorithm, row, least) in rows {
        let row_name = row.name(algorithm);
        let kept: Option<f64> = table
            .lines()
            .find_map(|line| line.strip_prefix(&row_name)?.strip_prefix(" | "))
            .map(|figure| figure.trim().parse().expect("a figure in the table"));
        // What a row costs is how much it carries. One that is bounded is always among them.
        let cheap = kept.is_some_and(|mbits| mbits * row.time().as_secs_f64() < 100.0);
        let bounded = (row.one_way_ms, row.loss, row.lossy) == (1, 3.0, Lossy::Data);
        if mode == Mode::Quick && !cheap && !bounded {
            continue;
        }
        let mbits = row.goodput(algorithm);
        let line = format!("{row_name} | {mbits:7.2}");
        eprintln!("{line}");
        let _ = writeln!(text, "{line}");
        if mbits < least {
            short.push(format!("{line}: {least:.2} are the least"));
        }
        match kept {
            _ if mode == Mode::Write => {}
            Some(kept) if mbits >= kept * (1.0 - SLACK.0) - SLACK.1 => {}
            Some(kept) => short.push(format!("{line}: the table has {kept}")),
            None => short.push(format!("{line}: not in the table")),
        }
    }
    assert!(!text.is_empty(), "no row of {} was run", path.display());
    if mode == Mode::Write {
        std::fs::write(&path, &text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
    assert!(
        short.is_empty(),
        "fell short:\n{}\nall:\n{text}(to write the table anew: {MODE_VAR}=write)",
        short.join("\n")
    );
}

/// A model of CUBIC with SACK and RACK, Mbit/s by one-way delay in ms and loss in %; a tenth less is the least.
const MODEL: [(u64, f64, f64); 3] = [(1, 1.0, 77.0), (1, 3.0, 43.5), (20, 1.0, 4.05)];

fn least(algorithm: Algorithm, row: &Row) -> f64 {
    if row.loss == 0.0 {
        // The headers take 5 %; slow start and the handshake their time.
        return if row.one_way_ms == 20 { 170.0 } else { 185.0 };
    }
    if algorithm == Algorithm::Bbr && (row.loss == 1.0 || row.loss == 3.0) {
        return 150.0;
    }
    let model = MODEL
        .iter()
        .find(|(one_way, loss, _)| (*one_way, *loss) == (row.one_way_ms, row.loss));
    match model {
        Some((_, _, mbits)) if algorithm == Algorithm::Cubic => mbits * 0.9,
        _ => 0.0,
    }
}

fn of(algorithm: Algorithm) -> Vec<(Algorithm, Row, f64)> {
    rows()
        .into_iter()
        .map(|row| (algorithm, row, least(algorithm, &row)))
        .collect()
}

#[test]
fn goodput_of_cubic_is_as_the_table_has_it() {
    compare("cubic", of(Algorithm::Cubic));
}

#[test]
fn goodput_of_newreno_is_as_the_table_has_it() {
    compare("reno", of(Algorithm::NewReno));
}

#[test]
fn goodput_of_bbr_is_as_the_table_has_it() {
    compare("bbr", of(Algorithm::Bbr));
}

/// One stream of a kernel at 100 Mbit/s with loss both ways of 0.1, 1, 3 and 10 %, by one-way delay in ms.
const KERNEL: [(Algorithm, u64, [f64; 4]); 4] = [
    (Algorithm::Cubic, 1, [78.0, 38.0, 13.5, 0.6]),
    (Algorithm::Cubic, 20, [20.0, 3.2, 1.7, 0.5]),
    (Algorithm::Bbr, 1, [94.0, 94.0, 94.0, 90.0]),
    (Algorithm::Bbr, 20, [93.0, 92.0, 92.0, 85.0]),
];

#[test]
fn goodput_is_not_below_that_of_a_kernel() {
    let mut rows = Vec::new();
    for (algorithm, one_way_ms, figures) in KERNEL {
        for (loss, least) in [0.1, 1.0, 3.0, 10.0].into_iter().zip(figures) {
            let row = Row {
                mbit: 100,
                one_way_ms,
                loss,
                lossy: Lossy::InFront,
            };
            // Their seeds and their time are not known.
            rows.push((algorithm, row, least * 0.95));
        }
    }
    compare("kernel", rows);
}
