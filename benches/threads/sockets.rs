//! Echo over ring ports: on the worker or by other threads, with a bare client stack as a task of the worker; and over the kernel's
//! loopback.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Instant;

use anyhow::Context;
use dpdk_net::{Worker, WorkerConfig, net};
use dpdk_net_bench::host::{address, config, queues};
use dpdk_net_rte::{Eal, Mempool, ring};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

use crate::client::{self, Client, done};

const REQUEST: [u8; 64] = [b'x'; 64];
const THREADS: usize = 2;

/// Who answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answering {
    /// Tasks of the worker.
    Worker,
    /// Tasks of a multi-thread runtime, over the worker.
    Threads,
    /// Tasks of a multi-thread runtime, over the kernel's TCP.
    Kernel,
}

impl Answering {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Threads => "threads",
            Self::Kernel => "kernel",
        }
    }

    pub(crate) fn of(name: &str) -> anyhow::Result<Self> {
        let all = [Self::Worker, Self::Threads, Self::Kernel];
        let found = all.into_iter().find(|it| it.name() == name);
        found.with_context(|| format!("nobody answers as {name:?}"))
    }
}

/// EAL on one lcore, without hugepages and devices.
pub(crate) fn eal() -> anyhow::Result<Eal> {
    Ok(Eal::builder("threads")
        .no_huge()
        .memory_mb(512)
        .no_pci()
        .no_telemetry()
        .file_prefix(format!("bench-threads-{}", std::process::id()))
        .lcores("0")
        .init()?)
}

fn threads() -> anyhow::Result<Runtime> {
    Ok(Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .build()?)
}

async fn echo(mut stream: impl AsyncRead + AsyncWrite + Unpin) {
    let mut buf = [0; 64];
    while let Ok(len @ 1..) = stream.read(&mut buf).await {
        if stream.write_all(&buf[..len]).await.is_err() {
            break;
        }
    }
}

async fn serve(listener: net::TcpListener) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::spawn(echo(stream));
    }
}

/// ns from answer to answer, over so many connections with one request each at a time.
pub(crate) fn run(who: Answering, connections: usize, requests: usize) -> anyhow::Result<f64> {
    if who == Answering::Kernel {
        return kernel(connections, requests);
    }
    let eal = eal()?;
    let ports = ring::joined_ports(&eal, ["server", "client"], 1, 1024)?;
    let ids = ports.ids();
    let pool = |name: &str| Mempool::builder(&eal, name).capacity(8191).build();
    let (server_pool, client_pool) = (pool("server")?, pool("client")?);
    let server_queues = queues(&eal, ids[0], &server_pool)?;
    let client_queues = queues(&eal, ids[1], &client_pool)?;
    let server = WorkerConfig::new(&eal, server_queues, server_pool, config(2));
    let worker = Worker::new(server)?;
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
    let threads = threads()?;
    worker.block_on(async {
        let listener = net::TcpListener::bind(local).await?;
        if who == Answering::Worker {
            tokio::spawn(serve(listener));
        } else {
            threads.spawn(serve(listener));
        }
        client.borrow_mut().open(connections);
        done(&client).await
    })?;
    let start = Instant::now();
    client.borrow_mut().begin(connections, requests);
    worker.block_on(done(&client))?;
    let elapsed = client.borrow().finished_at() - start;
    client.borrow_mut().rest();
    // Its tasks have sockets of the worker.
    threads.shutdown_background();
    Ok(elapsed.as_nanos() as f64 / requests as f64)
}

/// Both ends are tasks of one multi-thread runtime.
fn kernel(connections: usize, requests: usize) -> anyhow::Result<f64> {
    let threads = threads()?;
    threads.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let local = listener.local_addr()?;
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let _ = stream.set_nodelay(true);
                tokio::spawn(echo(stream));
            }
        });
        let each = requests / connections;
        let mut clients = tokio::task::JoinSet::new();
        let start = Instant::now();
        for _ in 0..connections {
            clients.spawn(async move {
                let mut stream = tokio::net::TcpStream::connect(local).await?;
                stream.set_nodelay(true)?;
                let mut buf = REQUEST;
                for _ in 0..each {
                    stream.write_all(&REQUEST).await?;
                    stream.read_exact(&mut buf).await?;
                }
                std::io::Result::Ok(())
            });
        }
        while let Some(client) = clients.join_next().await {
            client??;
        }
        Ok(start.elapsed().as_nanos() as f64 / (each * connections) as f64)
    })
}
