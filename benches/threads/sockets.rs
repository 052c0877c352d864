//! Echo over ring ports: on the worker or by other threads, with a bare client stack as a task of the worker; and over the kernel's
//! loopback.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::Context;
use dpdk_net::net;
use dpdk_net::runtime::Tokio;
use dpdk_net_bench::client::{done, facing};
use dpdk_net_bench::cpu;
use dpdk_net_bench::host::{address, config, eal};
use rustix::thread::CpuSet;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::runtime::{Builder, Runtime};

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

/// On these CPUs, if any are named.
fn threads(cpus: Option<CpuSet>) -> anyhow::Result<Runtime> {
    Ok(Builder::new_multi_thread()
        .worker_threads(THREADS)
        .enable_all()
        .on_thread_start(move || cpus.iter().for_each(cpu::move_to))
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
    let [_, others] = cpu::first_and_others()?;
    let local = SocketAddr::new(address(2), 7);
    let stacks = [config(2), config(1)];
    let (worker, client) = facing::<Tokio>(&eal("threads")?, stacks, local, (&REQUEST, &REQUEST))?;
    let threads = threads(Some(others))?;
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
    let threads = threads(None)?;
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
