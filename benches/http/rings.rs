//! The server on a worker, and a bare client stack on the other port as a task of the same runtime, whose time is taken off.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use anyhow::Context;
use dpdk_net::Worker;
use dpdk_net::net::TcpListener;
use dpdk_net_bench::client::{Client, done, facing};
use dpdk_net_bench::host::{address, config, eal};

/// ns a request, in a process of its own.
pub(crate) fn in_process(connections: usize, requests: usize) -> anyhow::Result<f64> {
    dpdk_net_bench::in_process(&format!("{connections}:{requests}"))
}

/// ns of the server a request, over so many connections with one request each at a time.
pub(crate) fn run(connections: usize, requests: usize) -> anyhow::Result<f64> {
    let local = SocketAddr::new(address(2), 80);
    let stacks = [config(2), config(1)];
    let conversation = (crate::REQUEST, crate::ANSWER);
    let (worker, client) = facing(&eal("http")?, stacks, local, conversation)?;
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
