//! The service and its load: workers of both sides on one thread, echo and bulk over their sockets.

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use dpdk_net::capture::{Capture, CaptureConfig};
use dpdk_net::net::{TcpListener, TcpStream};
use dpdk_net::{Handle, Reactor, Worker, WorkerConfig};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::bed::SERVER;

/// What is measured, as callgrind names it.
pub(crate) const MEASURED: &str = "queues::load::measured";
/// What of it is the load generator.
pub(crate) const GENERATE: &str = "queues::load::generate";
const PORT: u16 = 7;
const REQUEST: usize = 64;
/// Bytes that are written and read at a time in bulk.
const CHUNK: usize = 64 * 1024;
/// No run may take longer: minutes under callgrind.
const LIMIT: Duration = Duration::from_secs(300);

/// What connections carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Kind {
    /// A request of 64 bytes at a time, echoed.
    Echo,
    /// Bytes from client to server.
    Bulk,
    /// Bytes from server to client, as many as that asks for.
    Fetch,
}

type Load = Pin<Box<dyn Future<Output = anyhow::Result<()>>>>;

/// A part of the load generator, told from the server by the function that polls it.
struct Generator(Load);

impl Future for Generator {
    type Output = anyhow::Result<()>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        generate(self.0.as_mut(), cx)
    }
}

#[inline(never)]
fn generate(
    load: Pin<&mut dyn Future<Output = anyhow::Result<()>>>,
    cx: &mut Context<'_>,
) -> Poll<anyhow::Result<()>> {
    load.poll(cx)
}

/// A thread's workers, with the connections of its clients open.
pub(crate) struct Running {
    worker: Worker,
    /// Of all workers, of both sides.
    handles: Vec<Handle>,
    servers: Vec<Handle>,
    streams: Vec<(Handle, TcpStream)>,
}

impl Running {
    /// Starts a listener on each server worker, and opens so many connections from all clients together. Each has been used
    /// once then.
    pub(crate) fn start(
        servers: Vec<WorkerConfig>,
        clients: Vec<WorkerConfig>,
        kind: Kind,
        connections: usize,
    ) -> anyhow::Result<Self> {
        let worker = Worker::serving(servers)?;
        let mut handles = Vec::new();
        for client in clients {
            let reactor = Reactor::new(client)?;
            handles.push(reactor.handle());
            worker.spawn_local(Generator(Box::pin(async move {
                reactor.await;
                Ok(())
            })));
        }
        let servers: Vec<Handle> = worker.handles().cloned().collect();
        let all = handles.iter().chain(&servers).cloned().collect();
        let listening = servers.clone();
        let opening = async {
            let at = SocketAddr::from(([198, 18, 0, SERVER], PORT));
            for handle in servers {
                let listener = handle.scope(TcpListener::bind(at)).await?;
                tokio::task::spawn_local(handle.scope(serve(listener, kind)));
            }
            let mut streams = Vec::new();
            for handle in handles.iter().cycle().take(connections) {
                let mut stream = handle.scope(TcpStream::connect(at)).await?;
                if kind == Kind::Echo {
                    ask(&mut stream, 1).await?;
                }
                streams.push((handle.clone(), stream));
            }
            anyhow::Ok(streams)
        };
        let streams = worker.block_on(async { tokio::time::timeout(LIMIT, opening).await });
        let streams = streams.context("connections are open in time")??;
        Ok(Self {
            worker,
            handles: all,
            servers: listening,
            streams,
        })
    }

    /// Has all queues of the servers captured, for as long as what is returned lives. Nobody reads.
    pub(crate) fn capture(&self, config: CaptureConfig) -> anyhow::Result<Capture> {
        Ok(Capture::of_handles("server", &self.servers, config)?)
    }

    /// Packets that were handed over until now.
    fn strays(&self) -> u64 {
        let stats = self.handles.iter().map(Handle::stats);
        stats.map(|stats| stats.worker.handed_over).sum()
    }

    /// Has all connections together carry so many requests, or bytes; the time that took, and the packets that were handed
    /// over.
    pub(crate) fn carry(mut self, kind: Kind, amount: usize) -> anyhow::Result<(Duration, u64)> {
        let each = amount / self.streams.len().max(1);
        let loads = std::mem::take(&mut self.streams)
            .into_iter()
            .map(|(handle, mut stream)| {
                Generator(Box::pin(handle.scope(async move {
                    match kind {
                        Kind::Echo => ask(&mut stream, each).await,
                        Kind::Bulk => pour(&mut stream, each).await,
                        Kind::Fetch => fetch(&mut stream, each).await,
                    }
                })))
            })
            .collect();
        let (start, strays) = (Instant::now(), self.strays());
        measured(&self.worker, loads)?;
        Ok((start.elapsed(), self.strays() - strays))
    }

    /// Requests a second, as many as there are in this time.
    pub(crate) fn rate(mut self, time: Duration) -> anyhow::Result<f64> {
        let (stop, count) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0_u64)));
        let loads: Vec<Generator> = std::mem::take(&mut self.streams)
            .into_iter()
            .map(|(handle, mut stream)| {
                let (stop, count) = (stop.clone(), count.clone());
                Generator(Box::pin(handle.scope(async move {
                    while !stop.get() {
                        ask(&mut stream, 1).await?;
                        count.set(count.get() + 1);
                    }
                    Ok(())
                })))
            })
            .collect();
        self.worker.block_on(async {
            let start = Instant::now();
            let tasks: Vec<_> = loads.into_iter().map(tokio::task::spawn_local).collect();
            tokio::time::sleep(time).await;
            let rate = count.get() as f64 / start.elapsed().as_secs_f64();
            stop.set(true);
            for task in tasks {
                task.await??;
            }
            Ok(rate)
        })
    }
}

#[inline(never)]
fn measured(worker: &Worker, loads: Vec<Generator>) -> anyhow::Result<()> {
    worker.block_on(async {
        let tasks: Vec<_> = loads.into_iter().map(tokio::task::spawn_local).collect();
        let all = async {
            for task in tasks {
                task.await??;
            }
            Ok(())
        };
        let limited = tokio::time::timeout(LIMIT, all).await;
        limited.context("the load is carried in time")?
    })
}

async fn serve(listener: TcpListener, kind: Kind) {
    while let Ok((stream, _)) = listener.accept().await {
        tokio::task::spawn_local(async move {
            let _ = match kind {
                Kind::Echo => echo(stream).await,
                Kind::Bulk => swallow(stream).await,
                Kind::Fetch => give(stream).await,
            };
        });
    }
}

async fn echo(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buf = [0; REQUEST];
    loop {
        match stream.read(&mut buf).await? {
            0 => return Ok(()),
            len => stream.write_all(&buf[..len]).await?,
        }
    }
}

async fn swallow(mut stream: TcpStream) -> std::io::Result<()> {
    let mut buf = vec![0; CHUNK];
    while stream.read(&mut buf).await? > 0 {}
    Ok(())
}

/// Sends as many bytes as it is asked for.
async fn give(mut stream: TcpStream) -> std::io::Result<()> {
    let (chunk, mut left) = (vec![7; CHUNK], stream.read_u64().await? as usize);
    while left > 0 {
        let len = left.min(CHUNK);
        stream.write_all(&chunk[..len]).await?;
        left -= len;
    }
    stream.shutdown().await
}

/// Asks for so many bytes, and reads them.
async fn fetch(stream: &mut TcpStream, bytes: usize) -> anyhow::Result<()> {
    stream.write_u64(bytes as u64).await?;
    let (mut buf, mut came) = (vec![0; CHUNK], 0);
    loop {
        match stream.read(&mut buf).await? {
            0 => break,
            len => came += len,
        }
    }
    anyhow::ensure!(came == bytes, "{came} of {bytes} bytes came");
    Ok(())
}

async fn ask(stream: &mut TcpStream, requests: usize) -> anyhow::Result<()> {
    let mut buf = [b'x'; REQUEST];
    for _ in 0..requests {
        stream.write_all(&buf).await?;
        stream.read_exact(&mut buf).await?;
    }
    Ok(())
}

/// Sends so many bytes, and waits until the server has read them.
async fn pour(stream: &mut TcpStream, bytes: usize) -> anyhow::Result<()> {
    let chunk = vec![7; CHUNK];
    let mut left = bytes;
    while left > 0 {
        let len = left.min(CHUNK);
        stream.write_all(&chunk[..len]).await?;
        left -= len;
    }
    stream.shutdown().await?;
    let answered = stream.read(&mut [0]).await?;
    anyhow::ensure!(answered == 0, "the server sends nothing in bulk");
    Ok(())
}
