//! Request and response of 64 bytes between two stacks in memory: no device, no runtime, no clock.
//!
//! Both ends run in one thread and in virtual time, so an instruction count repeats exactly. A row is the
//! cost of one request and its response at both ends together.
#![forbid(unsafe_code)]

mod memory;
mod ours;
mod shared_set;

use clap::Parser;
use dpdk_net_bench::{Report, callgrind, median};

/// The stack in memory: ns and instructions per request, both ends.
#[derive(Debug, Parser)]
#[command(name = "stack")]
struct Args {
    /// Print a JSON object a line
    #[arg(long)]
    json: bool,
    /// Skip the instruction counts (they need valgrind and take minutes)
    #[arg(long)]
    no_instructions: bool,
    /// Largest number of connections
    #[arg(long, default_value_t = 100_000)]
    max_connections: usize,
    /// Runs of which the median is printed
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Run one case without timing it: ENGINE:FAMILY:CONNECTIONS:ACTIVE:REQUESTS (used under callgrind)
    #[arg(long, hide = true)]
    case: Option<String>,
    /// Print the memory of one idle connection: ENGINE:FAMILY:CONNECTIONS:new|used (each in a process of its own)
    #[arg(long, hide = true)]
    memory: Option<String>,
    /// Idle connections of which the memory is measured; 0 skips it
    #[arg(long, default_value_t = 1_000_000)]
    idle_connections: usize,
}

/// Who carries the requests.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Engine {
    Ours,
    /// The same, with the active connections traced.
    Traced,
    SharedSet,
}

/// One measured situation.
#[derive(Debug, Clone, Copy)]
struct Case {
    engine: Engine,
    v6: bool,
    connections: usize,
    active: usize,
}

impl Case {
    fn name(&self) -> String {
        let family = if self.v6 { "IPv6" } else { "IPv4" };
        let who = match self.engine {
            Engine::Ours => "dpdk-net",
            Engine::Traced => "dpdk-net, traced",
            Engine::SharedSet => "smoltcp, one SocketSet",
        };
        let active = if self.active == self.connections {
            String::from("all active")
        } else {
            format!("{} active", self.active)
        };
        format!(
            "{who}, {family}, {} connections, {active}",
            self.connections
        )
    }

    /// Nanoseconds a request over `requests` requests, after the connections were made.
    fn run(&self, requests: usize) -> anyhow::Result<f64> {
        match self.engine {
            Engine::Ours => ours::run(false, self.v6, self.connections, self.active, requests),
            Engine::Traced => ours::run(true, self.v6, self.connections, self.active, requests),
            Engine::SharedSet => shared_set::run(self.v6, self.connections, self.active, requests),
        }
    }

    /// Requests to time: enough for a tenth of a second or so.
    fn requests(&self) -> usize {
        match self.engine {
            Engine::Ours => 200_000.max(self.active * 5),
            // No more than what is recorded has room for.
            Engine::Traced => 5_000 * self.active,
            Engine::SharedSet => (50_000_000 / self.connections.max(100)).clamp(2_000, 200_000),
        }
    }

    /// Instructions a request, both ends, without the making of connections.
    fn instructions(&self) -> anyhow::Result<f64> {
        let (engine, measured, least) = match self.engine {
            Engine::Ours => ("ours", "stack::ours::requests", 20_000),
            Engine::Traced => ("traced", "stack::ours::requests", 20_000),
            Engine::SharedSet => ("shared", "stack::shared_set::requests", 2_000),
        };
        let requests = self.active.clamp(least, 100_000);
        let family = if self.v6 { 6 } else { 4 };
        let case = format!(
            "{engine}:{family}:{}:{}:{requests}",
            self.connections, self.active
        );
        let count = callgrind::run(&["--case".into(), case], measured, None)?;
        Ok(count as f64 / requests as f64)
    }

    fn parse(text: &str) -> anyhow::Result<(Self, usize)> {
        let parts: Vec<&str> = text.split(':').collect();
        let [engine, family, connections, active, requests] = parts[..] else {
            anyhow::bail!("a case is ENGINE:FAMILY:CONNECTIONS:ACTIVE:REQUESTS, not {text:?}");
        };
        let engine = match engine {
            "ours" => Engine::Ours,
            "traced" => Engine::Traced,
            _ => Engine::SharedSet,
        };
        let case = Self {
            engine,
            v6: family == "6",
            connections: connections.parse()?,
            active: active.parse()?,
        };
        Ok((case, requests.parse()?))
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(case) = &args.case {
        let (case, requests) = Case::parse(case)?;
        case.run(requests)?;
        return Ok(());
    }
    if let Some(case) = &args.memory {
        let (case, used) = case.rsplit_once(':').unwrap_or((case, "new"));
        let (case, _) = Case::parse(&format!("{case}:0:0"))?;
        let bytes = memory::run(case.engine, case.v6, case.connections, used == "used")?;
        println!("{bytes}");
        return Ok(());
    }
    let report = Report::new("stack", args.json);
    let sizes = [1, 1_000, 10_000, 100_000];
    for v6 in [false, true] {
        for connections in sizes.into_iter().filter(|&n| n <= args.max_connections) {
            for active in [connections, 10] {
                if active > connections || (active == 10 && connections == 10) {
                    continue;
                }
                // IPv6 differs by its headers alone: the small and the large case show it.
                if v6 && (active != connections || connections == 10_000) {
                    continue;
                }
                measure(
                    &report,
                    &args,
                    Case {
                        engine: Engine::Ours,
                        v6,
                        connections,
                        active,
                    },
                )?;
            }
        }
    }
    if args.max_connections >= 1_000 {
        let case = Case {
            engine: Engine::Traced,
            v6: false,
            connections: 1_000,
            active: 10,
        };
        measure(&report, &args, case)?;
    }
    if args.idle_connections > 0 {
        measure_memory(&report, args.idle_connections)?;
    }
    Ok(())
}

/// Prints what an idle connection costs, beside a socket of smoltcp's.
fn measure_memory(report: &Report, connections: usize) -> anyhow::Result<()> {
    let measure = |case: &str| -> anyhow::Result<f64> {
        let output = std::process::Command::new(std::env::current_exe()?)
            .args(["--memory", case])
            .output()?;
        anyhow::ensure!(
            output.status.success(),
            "{case}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(String::from_utf8(output.stdout)?.trim().parse()?)
    };
    // Its memory is the same however many there are.
    let rival = measure("shared:4:10000:new")?;
    let rival_name = "smoltcp, a socket with two buffers of 4 KiB";
    for (family, version) in [("IPv4", 4), ("IPv6", 6)] {
        for (use_, name) in [
            ("new", "idle from the start"),
            ("used", "idle after a request"),
        ] {
            let bytes = measure(&format!("ours:{version}:{connections}:{use_}"))?;
            report.versus(
                format!("dpdk-net, {family}, {connections} connections, {name}"),
                bytes,
                "bytes/connection",
                rival_name,
                rival,
            );
        }
    }
    Ok(())
}

/// Prints the rows of one case, beside the shared set where that ends within a reasonable time.
fn measure(report: &Report, args: &Args, case: Case) -> anyhow::Result<()> {
    // Every packet scans the set: at 100,000 connections making them alone would take minutes.
    let rival = (case.connections <= 10_000).then_some(Case {
        engine: Engine::SharedSet,
        ..case
    });
    let time = |case: Case, runs: usize| -> anyhow::Result<f64> {
        let samples = (0..runs)
            .map(|_| case.run(case.requests()))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(median(samples))
    };
    let ns = time(case, args.runs)?;
    match rival {
        Some(rival) => report.versus(case.name(), ns, "ns/request", rival.name(), time(rival, 1)?),
        None => report.row(case.name(), ns, "ns/request"),
    }
    if args.no_instructions {
        return Ok(());
    }
    let instructions = case.instructions()?;
    match rival.filter(|rival| rival.connections <= 1_000) {
        Some(rival) => report.versus(
            case.name(),
            instructions,
            "instr/request",
            rival.name(),
            rival.instructions()?,
        ),
        None => report.row(case.name(), instructions, "instr/request"),
    }
    Ok(())
}
