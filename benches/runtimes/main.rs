//! One echo server of 64 bytes on each runtime, over a pair of ring ports in one process: the server's time and instructions a request.
//!
//! As the benchmark `echo`: a bare client stack on the other port runs as a task of the same runtime, and its share is taken off.
#![forbid(unsafe_code)]

#[path = "../echo/client.rs"]
mod client;

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use anyhow::Context;
use clap::Parser;
use dpdk_net::net::TcpListener;
use dpdk_net::runtime::{Compio, Local, Runtime, RuntimeKind, Smol, Tokio, spawn_local};
use dpdk_net::{Worker, WorkerConfig};
use dpdk_net_bench::host::{address, config, queues};
use dpdk_net_bench::{Report, callgrind, median};
use dpdk_net_rte::{Eal, Mempool, ring};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use client::{Client, done};

const REQUEST: [u8; 64] = [b'x'; 64];
/// The function whose instructions are the client's, as callgrind names it.
const STEP: &str = "runtimes::client::Client::step";
/// Under callgrind.
const REQUESTS: usize = 10_000;

/// Echo over net_ring on each runtime: ns and instructions of the server a request
#[derive(Debug, Parser)]
#[command(name = "runtimes")]
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
    /// Requests of a run
    #[arg(long, default_value_t = 200_000)]
    requests: usize,
    /// Run one case in this process: RUNTIME:CONNECTIONS:REQUESTS (EAL starts once a process)
    #[arg(long, hide = true)]
    case: Option<String>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    if let Some(case) = &args.case {
        let parts: Vec<&str> = case.split(':').collect();
        let [runtime, connections, requests] = parts[..] else {
            anyhow::bail!("a case is RUNTIME:CONNECTIONS:REQUESTS, not {case:?}");
        };
        let (connections, requests) = (connections.parse()?, requests.parse()?);
        let ns = match runtime.parse()? {
            RuntimeKind::Tokio => run::<Tokio>(connections, requests)?,
            RuntimeKind::Local => run::<Local>(connections, requests)?,
            RuntimeKind::Smol => run::<Smol>(connections, requests)?,
            RuntimeKind::Compio => run::<Compio>(connections, requests)?,
            other => anyhow::bail!("there is no case for {other}"),
        };
        println!("{ns}");
        return Ok(());
    }
    let report = Report::new("runtimes", args.json);
    for connections in [1, 10, 100] {
        let mut tokio = None;
        for &runtime in RuntimeKind::ALL {
            let row = format!("echo on {runtime}, {connections} connections");
            let runs = (0..args.runs).map(|_| in_process(runtime, connections, args.requests));
            let ns = median(runs.collect::<anyhow::Result<_>>()?);
            let instructions = if args.no_instructions {
                None
            } else {
                let case = format!("{runtime}:{connections}:{REQUESTS}");
                let measured = format!("runtimes::measured_on_{runtime}");
                let count = callgrind::run(&["--case".into(), case], &measured, Some(STEP))?;
                Some(count as f64 / REQUESTS as f64)
            };
            let Some((first_ns, first_instructions)) = tokio else {
                report.row(&row, ns, "ns/request");
                if let Some(count) = instructions {
                    report.row(&row, count, "instr/request");
                }
                tokio = Some((ns, instructions));
                continue;
            };
            let rival = format!("tokio, {connections} connections");
            report.versus(&row, ns, "ns/request", &rival, first_ns);
            if let (Some(count), Some(first)) = (instructions, first_instructions) {
                report.versus(&row, count, "instr/request", &rival, first);
            }
        }
    }
    Ok(())
}

/// One case in a process of its own.
fn in_process(runtime: RuntimeKind, connections: usize, requests: usize) -> anyhow::Result<f64> {
    let output = std::process::Command::new(std::env::current_exe()?)
        .args(["--case", &format!("{runtime}:{connections}:{requests}")])
        .output()
        .context("running one case")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let figure = text.lines().last().and_then(|line| line.parse().ok());
    figure.with_context(|| {
        let told = String::from_utf8_lossy(&output.stderr);
        format!("the case failed:\n{text}{told}")
    })
}

/// A runtime, and the function in which it is measured: callgrind knows each by a name of its own.
trait Case: Runtime {
    fn measured(worker: &Worker<Self>, client: &Rc<RefCell<Client>>) -> anyhow::Result<()>;
}

macro_rules! case {
    ($runtime:ident $name:ident) => {
        /// What is measured: the worker until the client has its answers.
        #[inline(never)]
        fn $name(worker: &Worker<$runtime>, client: &Rc<RefCell<Client>>) -> anyhow::Result<()> {
            worker.block_on(done(client))
        }

        impl Case for $runtime {
            fn measured(worker: &Worker<Self>, client: &Rc<RefCell<Client>>) -> anyhow::Result<()> {
                $name(worker, client)
            }
        }
    };
}

case!(Tokio measured_on_tokio);
case!(Local measured_on_local);
case!(Smol measured_on_smol);
case!(Compio measured_on_compio);

/// ns of the server a request.
fn run<R: Case>(connections: usize, requests: usize) -> anyhow::Result<f64> {
    let eal = Eal::builder("runtimes")
        .no_huge()
        .memory_mb(512)
        .no_pci()
        .no_telemetry()
        .file_prefix(format!("bench-runtimes-{}", std::process::id()))
        .lcores("0")
        .init()?;
    let ports = ring::joined_ports(&eal, ["server", "client"], 1, 1024)?;
    let ids = ports.ids();
    let pool = |name: &str| Mempool::builder(&eal, name).capacity(8191).build();
    let (server_pool, client_pool) = (pool("server")?, pool("client")?);
    let server_queues = queues(&eal, ids[0], &server_pool)?;
    let client_queues = queues(&eal, ids[1], &client_pool)?;
    let worker = Worker::<R>::on(vec![WorkerConfig::new(
        &eal,
        server_queues,
        server_pool,
        config(2),
    )])?;
    let local = SocketAddr::new(address(2), 7);
    let client = Client::new(
        &eal,
        client_queues,
        client_pool,
        config(1),
        local,
        (&REQUEST, &REQUEST),
    )?;
    let client = Rc::new(RefCell::new(client));
    worker.spawn_local(client::drive(client.clone()));
    worker.block_on(async {
        let listener = TcpListener::bind(local)
            .await
            .context("binding the server")?;
        spawn_local(serve(listener))?;
        client.borrow_mut().open(connections);
        done(&client).await
    })?;
    let start = Instant::now();
    client.borrow_mut().begin(connections, requests);
    R::measured(&worker, &client)?;
    let mut client = client.borrow_mut();
    let own = (client.finished_at() - start).saturating_sub(client.busy_time());
    client.rest();
    Ok(own.as_nanos() as f64 / requests as f64)
}

async fn serve(listener: TcpListener) {
    while let Ok((mut stream, _)) = listener.accept().await {
        let connection = async move {
            let mut buf = [0; 64];
            while let Ok(len @ 1..) = stream.read(&mut buf).await {
                if stream.write_all(&buf[..len]).await.is_err() {
                    break;
                }
            }
        };
        if spawn_local(connection).is_err() {
            return;
        }
    }
}
