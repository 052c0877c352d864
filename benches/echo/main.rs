//! Echo of 64 bytes over a pair of ring ports in one process: driver, stack, runtime and sockets, server side
//! only.
//!
//! One thread runs the server's worker; a bare client stack on the other port runs as a task of the same
//! runtime, and its time and instructions are taken off. So the figures are the server's alone.
#![forbid(unsafe_code)]

mod kernel;

use std::cell::RefCell;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use dpdk_net::Worker;
use dpdk_net::net::TcpListener;
use dpdk_net_bench::client::{Client, STEP, done, facing};
use dpdk_net_bench::host::eal;
use dpdk_net_bench::{Report, callgrind, median};
use dpdk_net_packet::MacAddr;
use dpdk_net_stack::{Config, IfAddr};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PORT: u16 = 7;
const REQUEST: [u8; 64] = [b'x'; 64];
const SERVER_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 2]);
const CLIENT_MAC: MacAddr = MacAddr([2, 0, 0, 0, 0, 1]);
/// The public rust-dpdk-net on the same task, measured when this project began: connections, ns, instructions.
const PUBLIC: &str = "the public rust-dpdk-net";
const PUBLIC_NS: [(usize, f64); 3] = [(10, 490.0), (1_000, 6_600.0), (10_000, 65_000.0)];
const PUBLIC_INSTRUCTIONS: f64 = 5_600.0;

/// Echo over net_ring: ns and instructions of the server per request.
#[derive(Debug, Parser)]
#[command(name = "echo")]
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
    /// Run one case in this process: FAMILY:CONNECTIONS:BUSY:REQUESTS (EAL starts once a process)
    #[arg(long, hide = true)]
    case: Option<String>,
}

/// What one run measured.
#[derive(Debug, Clone, Copy)]
struct Measured {
    /// The server's time a request.
    request_ns: f64,
    /// A turn of the loop with nothing to do, all connections open.
    idle_ns: f64,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(case) = &args.case {
        let parts: Vec<usize> = case.split(':').map(str::parse).collect::<Result<_, _>>()?;
        let [family, connections, busy, requests] = parts[..] else {
            anyhow::bail!("a case is FAMILY:CONNECTIONS:BUSY:REQUESTS, not {case:?}");
        };
        let measured = run(family == 6, connections, busy, requests)?;
        println!("{} {}", measured.request_ns, measured.idle_ns);
        return Ok(());
    }
    let report = Report::new("echo", args.json);
    let mut alone = None;
    for (family, connections) in [(4, 10), (4, 1_000), (4, 10_000), (6, 10)] {
        let name = format!("dpdk-net, IPv{family}, 10 busy of {connections}");
        let samples = (0..args.runs)
            .map(|_| in_process(family, connections, 10, 200_000))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let ns = median(samples.iter().map(|sample| sample.request_ns).collect());
        let idle = median(samples.iter().map(|sample| sample.idle_ns).collect());
        match PUBLIC_NS
            .iter()
            .find(|&&(n, _)| n == connections && family == 4)
        {
            Some(&(_, public)) => report.versus(&name, ns, "ns/request", PUBLIC, public),
            None => report.row(&name, ns, "ns/request"),
        }
        if family == 4 {
            match alone {
                None => alone = Some(ns),
                Some(ten) => report.versus(&name, ns, "ns/request", "10 busy of 10", ten),
            }
        }
        report.row(format!("{name}, idle loop"), idle, "ns/turn");
        if !args.no_instructions {
            let count = instructions(family, connections, 10)?;
            report.versus(&name, count, "instr/request", PUBLIC, PUBLIC_INSTRUCTIONS);
        }
        // More connections need more file descriptors than a process has by default.
        if family == 4 && connections <= 1_000 {
            let kernel = kernel::run(connections, 10, Duration::from_secs(1))?;
            let rival = format!("kernel TCP with tokio, 10 busy of {connections}, CPU time");
            report.versus(&name, ns, "ns/request", rival, kernel);
        }
    }
    Ok(())
}

/// One case in a process of its own.
fn in_process(
    family: u8,
    connections: usize,
    busy: usize,
    requests: usize,
) -> anyhow::Result<Measured> {
    let output = std::process::Command::new(std::env::current_exe()?)
        .args([
            "--case",
            &format!("{family}:{connections}:{busy}:{requests}"),
        ])
        .output()
        .context("running one case")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut figures = text
        .lines()
        .last()
        .unwrap_or_default()
        .split(' ')
        .map(str::parse);
    match (figures.next(), figures.next()) {
        (Some(Ok(request_ns)), Some(Ok(idle_ns))) => Ok(Measured {
            request_ns,
            idle_ns,
        }),
        _ => anyhow::bail!(
            "the case failed:\n{text}{}",
            String::from_utf8_lossy(&output.stderr)
        ),
    }
}

/// The server's instructions a request: all of the measured part less the client's.
fn instructions(family: u8, connections: usize, busy: usize) -> anyhow::Result<f64> {
    const REQUESTS: usize = 10_000;
    let case = format!("{family}:{connections}:{busy}:{REQUESTS}");
    let count = callgrind::run(&["--case".into(), case], "echo::measured", Some(STEP))?;
    Ok(count as f64 / REQUESTS as f64)
}

fn address(v6: bool, host: u8) -> IpAddr {
    if v6 {
        IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 1, 0, 0, 0, host.into()))
    } else {
        IpAddr::V4(Ipv4Addr::new(198, 18, 0, host))
    }
}

/// The configuration of one end. Checksums are computed and verified in software, as net_ring has no offload.
fn config(mac: MacAddr, addr: IpAddr) -> Config {
    let mut config = Config::new(mac);
    config.addresses = vec![IfAddr {
        addr,
        prefix_len: if addr.is_ipv6() { 64 } else { 24 },
    }];
    config.seed = [mac.0[5]; 32];
    config.dad = false;
    config
}

/// Opens `connections`, has `busy` of them do `requests` in all, then lets the worker idle.
fn run(v6: bool, connections: usize, busy: usize, requests: usize) -> anyhow::Result<Measured> {
    let (server, from) = (address(v6, 2), address(v6, 1));
    let local = SocketAddr::new(server, PORT);
    let stacks = [config(SERVER_MAC, server), config(CLIENT_MAC, from)];
    let (worker, client) = facing(&eal("echo")?, stacks, local, (&REQUEST, &REQUEST))?;
    worker.block_on(async {
        let listener = TcpListener::bind(local)
            .await
            .context("binding the server")?;
        tokio::spawn(serve(listener));
        client.borrow_mut().open(connections);
        done(&client).await
    })?;

    let start = Instant::now();
    client.borrow_mut().begin(busy, requests);
    measured(&worker, &client)?;
    let elapsed = client.borrow().finished_at() - start;
    let own = elapsed.saturating_sub(client.borrow().busy_time());
    let request_ns = own.as_nanos() as f64 / requests as f64;

    client.borrow_mut().rest();
    let (turns, start) = (worker.handle().stats().worker.turns, Instant::now());
    worker.block_on(async { tokio::time::sleep(Duration::from_millis(100)).await });
    let turns = worker.handle().stats().worker.turns - turns;
    let idle_ns = start.elapsed().as_nanos() as f64 / turns.max(1) as f64;
    Ok(Measured {
        request_ns,
        idle_ns,
    })
}

/// What is measured: the worker until the client has its answers.
#[inline(never)]
fn measured(worker: &Worker, client: &Rc<RefCell<Client>>) -> anyhow::Result<()> {
    worker.block_on(done(client))
}

/// The server: what anybody would write with tokio.
async fn serve(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        tokio::spawn(async move {
            let mut buf = [0; 64];
            while let Ok(len @ 1..) = stream.read(&mut buf).await {
                if stream.write_all(&buf[..len]).await.is_err() {
                    break;
                }
            }
        });
    }
}
