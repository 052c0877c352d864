//! One echo server of 64 bytes on each runtime, over a pair of ring ports in one process: the server's time and instructions a request.
//!
//! As the benchmark `echo`: a bare client stack on the other port runs as a task of the same runtime, and its share is taken off.
#![forbid(unsafe_code)]

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use anyhow::Context;
use clap::Parser;
use dpdk_net::Worker;
use dpdk_net::net::TcpListener;
use dpdk_net::runtime::{Compio, Local, Runtime, RuntimeKind, Smol, Tokio, spawn_local};
use dpdk_net_bench::client::{Client, STEP, done, facing};
use dpdk_net_bench::host::{address, config, eal};
use dpdk_net_bench::{Report, callgrind, in_process, median};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const REQUEST: [u8; 64] = [b'x'; 64];
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
            let runs = (0..args.runs)
                .map(|_| in_process(&format!("{runtime}:{connections}:{}", args.requests)));
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
    let local = SocketAddr::new(address(2), 7);
    let stacks = [config(2), config(1)];
    let (worker, client) = facing::<R>(&eal("runtimes")?, stacks, local, (&REQUEST, &REQUEST))?;
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
