//! Both ends on one worker of ours, each with a stack of its own over one of two ring ports.

use std::future::Future;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::time::Instant;

use anyhow::Context;
use dpdk_net::net::{TcpListener, TcpStream};
use dpdk_net::{Worker, WorkerConfig};
use dpdk_net_bench::host::{address, config, eal, joined};

use crate::ends::{Case, Ends};

/// Seconds that a case takes.
pub(crate) fn run(case: Case) -> anyhow::Result<f64> {
    let eal = eal("tls")?;
    let hosts = joined(&eal)?.into_iter().zip([2, 1]);
    let ends =
        hosts.map(|((queues, pool), host)| WorkerConfig::new(&eal, queues, pool, config(host)));
    let worker = Worker::serving(ends.collect())?;
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
