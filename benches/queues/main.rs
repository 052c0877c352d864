//! Several workers that share a port: what packets cost that come to the wrong queue, what a second core brings, and what the
//! pieces cost that a model of many queues is made of.
//!
//! Both ends are workers of this library, over ports made of rings in one process. Every figure is of both ends together where
//! it does not say otherwise.
#![forbid(unsafe_code)]

mod bed;
mod cutter;
mod load;
mod pieces;

use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::time::Duration;

use anyhow::{Context, ensure};
use clap::Parser;
use dpdk_net::capture::{CaptureConfig, Filter, Instruction, Program};
use dpdk_net_bench::{Report, callgrind, median};
use serde::{Deserialize, Serialize};

use bed::Spreading;
use load::{Kind, Running};

/// Several workers that share a port: strays, a second core, and the pieces of a model of many queues.
#[derive(Debug, Parser)]
#[command(name = "queues")]
struct Args {
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
    /// Skip the instruction counts (they need valgrind and take minutes)
    #[arg(long)]
    no_instructions: bool,
    /// Runs of which the median is printed
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Divide the amounts by a hundred: to see that it works, not for figures
    #[arg(long)]
    smoke: bool,
    /// Run one case in this process, as JSON (EAL starts once a process)
    #[arg(long, hide = true)]
    case: Option<String>,
}

/// What one process measures.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Case {
    /// Nanoseconds and strays for each request or KiB, both ends on one thread.
    Traffic(Traffic),
    /// Requests a second of so many threads together, the first on this CPU.
    Cores {
        threads: u16,
        cpu: u16,
        seconds: f64,
    },
    /// Nanoseconds to claim and to release a flow.
    Claims { threads: usize, each: usize },
    /// Nanoseconds a packet through a ring.
    Ring {
        burst: usize,
        packets: usize,
        across: bool,
    },
    /// What one worker of so many learns, told to the others: for its instructions alone.
    News { workers: u16 },
    /// Resident bytes, see [`pieces::memory`].
    Memory,
}

#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
struct Traffic {
    queues: u16,
    /// Workers that know of each other; none is a worker by itself.
    peers: u16,
    spreading: Spreading,
    kind: Kind,
    connections: usize,
    /// Requests, or KiB.
    amount: usize,
    capture: Option<Capturing>,
}

/// What of the server's frames is captured.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
enum Capturing {
    /// A filter looks at each and takes none.
    Nothing,
    /// The first 96 bytes of each.
    Heads,
    /// All, with a filter that takes each.
    Whole,
}

impl Capturing {
    /// "udp" and "tcp", over IPv4 alone, as tcpdump compiles them.
    fn config(self) -> anyhow::Result<CaptureConfig> {
        let protocol = match self {
            Self::Nothing => 17,
            Self::Heads | Self::Whole => 6,
        };
        let program = [
            (0x28, 0, 0, 12),
            (0x15, 0, 3, 0x800),
            (0x30, 0, 0, 23),
            (0x15, 0, 1, protocol),
            (0x06, 0, 0, 65_535),
            (0x06, 0, 0, 0),
        ];
        let program = program.map(|(code, jt, jf, k)| Instruction { code, jt, jf, k });
        let filter = Filter {
            text: String::new(),
            program: Program::new(&program)?,
        };
        let mut config = CaptureConfig {
            filter: Some(filter),
            // Nobody reads: all has to fit.
            buffer: 64 * 1024 * 1024,
            ..CaptureConfig::default()
        };
        if let Self::Heads = self {
            config.snaplen = 96;
        }
        Ok(config)
    }
}

/// Connections of a thread.
const CONNECTIONS: usize = 100;
/// Bulk has fewer.
const STREAMS: usize = 8;

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(case) = &args.case {
        let figures = run(serde_json::from_str(case).context("a case")?)?;
        println!("{}", serde_json::to_string(&figures)?);
        return Ok(());
    }
    let bench = Bench {
        report: Report::new("queues", args.json),
        runs: args.runs,
        scale: if args.smoke { 100 } else { 1 },
        instructions: !args.no_instructions,
    };
    bench.strays()?;
    bench.alone()?;
    bench.cores()?;
    bench.captures()?;
    bench.pieces()
}

/// Runs a case in this process.
fn run(case: Case) -> anyhow::Result<Vec<f64>> {
    Ok(match case {
        Case::Traffic(traffic) => traffic.run()?.to_vec(),
        Case::Cores {
            threads,
            cpu,
            seconds,
        } => cores(threads, cpu, seconds)?,
        Case::Claims { threads, each } => pieces::claims(threads, each)?.to_vec(),
        Case::Ring {
            burst,
            packets,
            across,
        } => vec![pieces::ring(burst, packets, across)?],
        Case::News { workers } => {
            pieces::news(workers)?;
            Vec::new()
        }
        Case::Memory => pieces::memory()?.to_vec(),
    })
}

impl Traffic {
    /// Nanoseconds and packets handed over, for each request or KiB.
    fn run(self) -> anyhow::Result<[f64; 2]> {
        let eal = bed::eal("0")?;
        let [mut server, mut client] = bed::sides(&eal, self.queues, self.peers, self.spreading)?;
        if self.kind == Kind::Fetch {
            bed::cut(&eal, &mut server)?;
        }
        let (servers, clients) = (
            std::mem::take(&mut server.workers),
            std::mem::take(&mut client.workers),
        );
        let running = Running::start(servers, clients, self.kind, self.connections)?;
        let capture = self.capture.map(Capturing::config).transpose()?;
        let _capture = capture.map(|config| running.capture(config)).transpose()?;
        let model = || server.wire.time() + client.wire.time();
        let before = model();
        let amount = match self.kind {
            Kind::Echo => self.amount,
            Kind::Bulk | Kind::Fetch => self.amount * 1_024,
        };
        let (time, strays) = running.carry(self.kind, amount)?;
        let own = time.saturating_sub(model() - before);
        Ok([own.as_nanos() as f64, strays as f64].map(|all| all / self.amount as f64))
    }
}

/// Requests a second of each thread: an lcore with a worker of the server, and one of the client of the same queue.
fn cores(threads: u16, cpu: u16, seconds: f64) -> anyhow::Result<Vec<f64>> {
    let lcores: Vec<String> = (0..threads).map(|n| format!("{n}@{}", cpu + n)).collect();
    let eal = bed::eal(&lcores.join(","))?;
    let [mut server, mut client] = bed::sides(&eal, threads, threads, Spreading::Direct)?;
    let barrier = Barrier::new(threads.into());
    let pairs = server.workers.drain(..).zip(client.workers.drain(..));
    let thread = |(server, client)| {
        let barrier = &barrier;
        move || {
            let running = Running::start(vec![server], vec![client], Kind::Echo, CONNECTIONS);
            barrier.wait();
            running?.rate(Duration::from_secs_f64(seconds))
        }
    };
    let mut work: Vec<_> = pairs.map(thread).collect();
    let first = work.remove(0);
    eal.scope(|scope| {
        let lcores = eal.worker_lcores().zip(work);
        let launched = lcores.map(|(lcore, work)| scope.launch(&lcore, work));
        let launched = launched.collect::<Result<Vec<_>, _>>()?;
        let mut rates = vec![first()?];
        for other in launched {
            rates.push(other.join()??);
        }
        Ok(rates)
    })?
}

/// The program of a case.
fn command(case: Case) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["--case", &serde_json::to_string(&case)?]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok(command)
}

/// What a case printed.
fn figures(case: Case, child: std::process::Child) -> anyhow::Result<Vec<f64>> {
    let output = child.wait_with_output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let last = text.lines().last().unwrap_or_default();
    serde_json::from_str(last).with_context(|| {
        format!(
            "{case:?} failed:\n{text}{}",
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

struct Bench {
    report: Report,
    runs: usize,
    /// What amounts are divided by.
    scale: usize,
    instructions: bool,
}

impl Bench {
    /// Figures of cases, each the median of runs that take turns with those of the others.
    fn medians<const N: usize>(&self, cases: [Case; N]) -> anyhow::Result<[Vec<f64>; N]> {
        let mut samples: [Vec<Vec<f64>>; N] = std::array::from_fn(|_| Vec::new());
        for _ in 0..self.runs {
            for (case, samples) in cases.iter().zip(&mut samples) {
                let child = command(*case)?.spawn().context("running one case")?;
                samples.push(figures(*case, child)?);
            }
        }
        Ok(samples.map(|samples| {
            let len = samples.first().map_or(0, Vec::len);
            (0..len)
                .map(|at| median(samples.iter().map(|run| run[at]).collect()))
                .collect()
        }))
    }

    fn count<'a>(
        &self,
        case: Case,
        measured: &str,
        excluded: impl IntoIterator<Item = &'a str>,
    ) -> anyhow::Result<f64> {
        let args = ["--case".to_owned(), serde_json::to_string(&case)?];
        Ok(callgrind::run(&args, measured, excluded)? as f64)
    }

    /// Times and instructions of two ways that traffic goes, the second one to the first.
    fn compare(
        &self,
        names: [&str; 2],
        of: [Traffic; 2],
        units: [&'static str; 3],
        counted: usize,
    ) -> anyhow::Result<()> {
        let scaled = |traffic: Traffic, amount: usize| Traffic {
            amount: amount.max(traffic.connections),
            ..traffic
        };
        let times = self.medians(of.map(|of| Case::Traffic(scaled(of, of.amount / self.scale))))?;
        let strays = times[1][1];
        let [first, second] = times.map(|figures| figures[0]);
        self.report.row(names[0], first, units[0]);
        self.report
            .versus(names[1], second, units[0], names[0], first);
        if strays > 0.0 {
            self.report.row(names[1], strays, units[2]);
        }
        if self.instructions {
            let count = |of| {
                let of = scaled(of, counted / self.scale);
                let all = self.count(Case::Traffic(of), load::MEASURED, Some(bed::CARRY))?;
                anyhow::Ok(all / of.amount as f64)
            };
            let (first, second) = (count(of[0])?, count(of[1])?);
            self.report.row(names[0], first, units[1]);
            self.report
                .versus(names[1], second, units[1], names[0], first);
        }
        Ok(())
    }

    /// All packets come home, or each comes to any of four queues.
    fn strays(&self) -> anyhow::Result<()> {
        let traffic = |spreading, kind, connections, amount| Traffic {
            queues: 4,
            peers: 4,
            spreading,
            kind,
            connections,
            amount,
            capture: None,
        };
        let echo = |spreading| traffic(spreading, Kind::Echo, CONNECTIONS, 1_000_000);
        self.compare(
            [
                "echo, 4+4 workers, all come home",
                "echo, 4+4 workers, 3 of 4 are strays",
            ],
            [Spreading::Home, Spreading::Random].map(echo),
            ["ns/request", "instr/request", "strays/request"],
            20_000,
        )?;
        let bulk = |spreading| traffic(spreading, Kind::Bulk, STREAMS, 1 << 20);
        self.compare(
            [
                "bulk, 4+4 workers, all come home",
                "bulk, 4+4 workers, 3 of 4 are strays",
            ],
            [Spreading::Home, Spreading::Random].map(bulk),
            ["ns/KiB", "instr/KiB", "strays/KiB"],
            1 << 15,
        )
    }

    /// What it costs to have peers from whom nothing comes.
    fn alone(&self) -> anyhow::Result<()> {
        let echo = |peers| Traffic {
            queues: 1,
            peers,
            spreading: Spreading::Home,
            kind: Kind::Echo,
            connections: CONNECTIONS,
            amount: 1_000_000,
            capture: None,
        };
        self.compare(
            [
                "echo, 1+1 workers, no peers",
                "echo, 1+1 workers, each one of four",
            ],
            [0, 4].map(echo),
            ["ns/request", "instr/request", "strays/request"],
            20_000,
        )
    }

    /// One thread and two, and as a control two processes that share nothing.
    fn cores(&self) -> anyhow::Result<()> {
        let cpus = std::thread::available_parallelism()?.get();
        ensure!(cpus > 1, "a second thread needs a second CPU");
        let seconds = 2.0 / self.scale as f64;
        let case = |threads, cpu| Case::Cores {
            threads,
            cpu,
            seconds,
        };
        let (mut one, mut two, mut apart) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..self.runs {
            let start = |case| command(case)?.spawn().context("running one case");
            let rates = |case, child| anyhow::Ok(figures(case, child)?.iter().sum::<f64>());
            // Either CPU, as they may differ.
            for cpu in 0..2 {
                one.push(rates(case(1, cpu), start(case(1, cpu))?)?);
            }
            two.push(rates(case(2, 0), start(case(2, 0))?)?);
            let (first, second) = (start(case(1, 0))?, start(case(1, 1))?);
            let first = rates(case(1, 0), first)?;
            apart.push(first + rates(case(1, 1), second)?);
        }
        let one = median(one);
        let named = "echo, 1 thread, server and load";
        self.report.row(named, one, "requests/s");
        self.report.versus(
            "echo, 2 threads, server and load",
            median(two),
            "requests/s",
            named,
            one,
        );
        self.report.versus(
            "echo, 2 processes that share nothing",
            median(apart),
            "requests/s",
            named,
            one,
        );
        if self.instructions {
            let traffic = Case::Traffic(Traffic {
                queues: 1,
                peers: 1,
                spreading: Spreading::Direct,
                kind: Kind::Echo,
                connections: CONNECTIONS,
                amount: 20_000,
                capture: None,
            });
            let all = self.count(traffic, load::MEASURED, None)?;
            let server = self.count(traffic, load::MEASURED, Some(load::GENERATE))?;
            let row = "the load's share of a thread's instructions";
            self.report.row(row, 100.0 * (all - server) / all, "%");
        }
        Ok(())
    }

    /// What a worker executes for a request, itself and its driver, while its frames are captured.
    fn captures(&self) -> anyhow::Result<()> {
        if !self.instructions {
            return Ok(());
        }
        self.captures_of(
            Kind::Echo,
            20_000,
            "echo",
            "instr/request",
            &[load::GENERATE],
        )?;
        // What the server sends by large packets, which a model of a NIC cuts.
        let apart = [load::GENERATE, cutter::CUT];
        self.captures_of(Kind::Fetch, 40_000, "bulk with TSO", "instr/KiB", &apart)
    }

    fn captures_of(
        &self,
        kind: Kind,
        amount: usize,
        what: &str,
        unit: &'static str,
        apart: &[&str],
    ) -> anyhow::Result<()> {
        let connections = match kind {
            Kind::Echo => CONNECTIONS,
            Kind::Bulk | Kind::Fetch => STREAMS,
        };
        let amount = (amount / self.scale).max(connections);
        let count = |capture| {
            let traffic = Case::Traffic(Traffic {
                queues: 1,
                peers: 0,
                spreading: Spreading::Direct,
                kind,
                connections,
                amount,
                capture,
            });
            let apart = apart.iter().copied();
            let server = self.count(traffic, load::MEASURED, apart)?;
            anyhow::Ok(server / amount as f64)
        };
        let named = format!("{what}, nobody captures");
        let none = count(None)?;
        self.report.row(&named, none, unit);
        for (name, capture) in [
            ("a capture whose filter takes nothing", Capturing::Nothing),
            ("a capture of 96 bytes of each frame", Capturing::Heads),
            ("a capture of all of each frame", Capturing::Whole),
        ] {
            let with = count(Some(capture))?;
            let name = format!("{what}, {name}");
            self.report.versus(name, with, unit, &named, none);
        }
        Ok(())
    }

    /// What a model of many queues is made of.
    fn pieces(&self) -> anyhow::Result<()> {
        let claims = |threads| Case::Claims {
            threads,
            each: 400_000 / self.scale,
        };
        let [one, two] = self.medians([claims(1), claims(2)])?;
        for (at, what) in ["claim", "release"].into_iter().enumerate() {
            let named = format!("a table entry, {what}");
            self.report.row(&named, one[at], "ns");
            self.report.versus(
                format!("{named}, two threads at once"),
                two[at],
                "ns",
                &named,
                one[at],
            );
        }
        let packets = 3_200_000 / self.scale;
        let ring = |burst, across| Case::Ring {
            burst,
            packets,
            across,
        };
        let times = self.medians([
            ring(1, false),
            ring(8, false),
            ring(32, false),
            ring(8, true),
            ring(32, true),
        ])?;
        for ((burst, across), time) in [(1, false), (8, false), (32, false), (8, true), (32, true)]
            .into_iter()
            .zip(times)
        {
            let how = if across {
                "made on one core, freed on another"
            } else {
                "in and out, one core"
            };
            self.report.row(
                format!("a ring, {burst} at a time, {how}"),
                time[0],
                "ns/packet",
            );
        }
        if self.instructions {
            let each = 100_000;
            let case = Case::Claims { threads: 1, each };
            for (what, function) in [("claim", pieces::CLAIMS), ("release", pieces::RELEASES)] {
                let count = self.count(case, function, None)? / each as f64;
                self.report
                    .row(format!("a table entry, {what}"), count, "instr");
            }
            for burst in [1, 8, 32] {
                let packets = 32_000;
                let case = Case::Ring {
                    burst,
                    packets,
                    across: false,
                };
                let count = self.count(case, pieces::THROUGH_RING, None)? / packets as f64;
                self.report.row(
                    format!("a ring, {burst} at a time, in and out"),
                    count,
                    "instr/packet",
                );
            }
            for workers in [1, 2, 8, 32, 128] {
                let case = Case::News { workers };
                let count = self.count(case, pieces::TELL, None)? / f64::from(pieces::NEIGHBORS);
                let row = format!("a neighbour asks one of {workers} workers, who tells all");
                self.report.row(row, count, "instr");
            }
            let heard = self.count(Case::News { workers: 2 }, pieces::APPLY, None)?;
            let heard = heard / f64::from(pieces::NEIGHBORS);
            self.report
                .row("a worker hears of a neighbour", heard, "instr");
        }
        let [memory] = self.medians([Case::Memory])?;
        let rows = [
            ("the table of a port", "bytes"),
            ("ring and mailbox", "bytes/worker"),
            ("an mbuf with its room", "bytes"),
            ("stack and loop, one of 16, no sockets", "bytes/worker"),
        ];
        for ((row, unit), bytes) in rows.into_iter().zip(memory) {
            self.report.row(format!("memory, {row}"), bytes, unit);
        }
        Ok(())
    }
}
