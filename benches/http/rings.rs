//! The server on a worker, and a bare client stack on the other port as a task of the same runtime, whose time is taken off.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use anyhow::Context;
use dpdk_net::net::TcpListener;
use dpdk_net::{Worker, WorkerConfig};
use dpdk_net_bench::host::{address, config, queues};
use dpdk_net_rte::{Eal, Mempool, ring};

use crate::client::{self, Client, done};

/// ns a request, in a process of its own.
pub(crate) fn in_process(connections: usize, requests: usize) -> anyhow::Result<f64> {
    dpdk_net_bench::in_process(&format!("{connections}:{requests}"))
}

/// ns of the server a request, over so many connections with one request each at a time.
pub(crate) fn run(connections: usize, requests: usize) -> anyhow::Result<f64> {
    let eal = Eal::builder("http")
        .no_huge()
        .memory_mb(512)
        .no_pci()
        .no_telemetry()
        .file_prefix(format!("bench-http-{}", std::process::id()))
        .lcores("0")
        .init()?;
    let ports = ring::joined_ports(&eal, ["server", "client"], 1, 1024)?;
    let ids = ports.ids();
    let pool = |name: &str| Mempool::builder(&eal, name).capacity(8191).build();
    let (server_pool, client_pool) = (pool("server")?, pool("client")?);
    let server_queues = queues(&eal, ids[0], &server_pool)?;
    let client_queues = queues(&eal, ids[1], &client_pool)?;
    let worker = Worker::new(WorkerConfig::new(
        &eal,
        server_queues,
        server_pool,
        config(2),
    ))?;
    let local = SocketAddr::new(address(2), 80);
    let client = Client::new(
        &eal,
        client_queues,
        client_pool,
        config(1),
        local,
        (crate::REQUEST, crate::ANSWER),
    )?;
    let client = Rc::new(RefCell::new(client));
    worker.spawn_local(client::drive(client.clone()));
    worker.block_on(async {
        let listener = TcpListener::bind(local)
            .await
            .context("binding the server")?;
        tokio::spawn(axum::serve(listener, crate::site()).into_future());
        client.borrow_mut().open(connections);
        done(&client).await
    })?;
    let start = Instant::now();
    client.borrow_mut().begin(connections, requests);
    measured(&worker, &client)?;
    let mut client = client.borrow_mut();
    let own = (client.finished_at() - start).saturating_sub(client.busy_time());
    client.rest();
    Ok(own.as_nanos() as f64 / requests as f64)
}

/// What is measured: the worker until the client has its answers.
#[inline(never)]
fn measured(worker: &Worker, client: &Rc<RefCell<Client>>) -> anyhow::Result<()> {
    worker.block_on(done(client))
}
