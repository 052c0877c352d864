//! Both ends on one worker of ours, each with a stack of its own over one of two ring ports.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::time::Instant;

use anyhow::Context;
use dpdk_net::net::{TcpListener, TcpStream};
use dpdk_net::{Worker, WorkerConfig};
use dpdk_net_bench::host::{address, config, queues};
use dpdk_net_rte::{Eal, Mempool, ring};

use crate::ends::{Case, Ends};

/// Seconds that a case takes.
pub(crate) fn run(case: Case) -> anyhow::Result<f64> {
    let eal = Eal::builder("tls")
        .no_huge()
        .memory_mb(512)
        .no_pci()
        .no_telemetry()
        .file_prefix(format!("bench-tls-{}", std::process::id()))
        .lcores("0")
        .init()?;
    let ports = ring::joined_ports(&eal, ["server", "client"], 1, 1024)?;
    let mut ends = Vec::new();
    for ((name, host), id) in [("server", 2), ("client", 1)].into_iter().zip(ports.ids()) {
        let pool = Mempool::builder(&eal, name).capacity(8191).build()?;
        let queues = queues(&eal, id, &pool)?;
        ends.push(WorkerConfig::new(&eal, queues, pool, config(host)));
    }
    let worker = Worker::serving(ends)?;
    let mut handles = worker.handles().cloned();
    let (server, client) = (handles.next(), handles.next());
    let (server, client) = (server.context("a server")?, client.context("a client")?);
    let both = Ends::new(case)?;
    let local = SocketAddr::new(address(2), 443);
    let own = both.clone();
    let prepared = worker.block_on(async {
        let listener = server.scope(TcpListener::bind(local)).await?;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(own.clone().serve(stream));
            }
        });
        let connect = move || TcpStream::connect(local);
        client.scope(both.prepare(connect)).await
    })?;
    let start = Instant::now();
    measured(&worker, pin!(client.scope(prepared.run())))?;
    Ok(start.elapsed().as_secs_f64())
}

/// What is measured: the worker until the client is done. Not generic: callgrind is told its name.
#[inline(never)]
fn measured(
    worker: &Worker,
    client: Pin<&mut dyn Future<Output = anyhow::Result<()>>>,
) -> anyhow::Result<()> {
    worker.block_on(client)
}
