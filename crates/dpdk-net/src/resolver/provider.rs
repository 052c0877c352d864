//! What hickory-resolver talks to servers by: sockets, tasks and timers of one worker, whatever its runtime.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use hickory_resolver::net::runtime::{DnsTcpStream, DnsUdpSocket, RuntimeProvider, Spawn, Time};
use parking_lot::Mutex;
use tokio::io::ReadBuf;
use tokio::task::JoinSet;

use crate::error::worker_gone;
use crate::handle::Handle;
use crate::net::{TcpStream, UdpSocket};
use crate::runtime::{self, JoinHandle};
use crate::shard::Shard;
use crate::time;

/// How long a TCP connection to a server may take to be made, if nothing else is said.
const CONNECT: Duration = Duration::from_secs(5);

/// Makes sockets.
#[derive(Clone)]
pub(super) struct Provider {
    /// The shard has the resolver, which has this: it must not keep the shard alive.
    shard: Weak<Shard>,
    /// The servers as they were given, with the scopes of link-local ones.
    servers: Arc<[SocketAddr]>,
    tasks: Tasks,
}

/// The resolver's tasks. They end with it.
#[derive(Clone, Default)]
pub(super) struct Tasks(Arc<Mutex<Running>>);

#[derive(Default)]
struct Running {
    own: Vec<JoinHandle<()>>,
    /// Those of a thread that runs no worker, and has entered one's handle.
    others: JoinSet<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.own.iter().for_each(JoinHandle::abort);
    }
}

impl Spawn for Tasks {
    fn spawn_bg(&mut self, future: impl Future<Output = ()> + Send + 'static) {
        let mut running = self.0.lock();
        if !runtime::is_here() {
            while running.others.try_join_next().is_some() {}
            // Without a runtime there the task goes, and who asked is told that there is no answer.
            if let Ok(tokio) = tokio::runtime::Handle::try_current() {
                running.others.spawn_on(future, &tokio);
            }
            return;
        }
        running.own.retain(|task| !task.is_finished());
        if let Ok(task) = runtime::spawn_local(future) {
            running.own.push(task);
        }
    }
}

/// hickory-resolver knows servers by address and port.
pub(super) fn unscoped(server: SocketAddr) -> SocketAddr {
    SocketAddr::new(server.ip(), server.port())
}

impl Provider {
    pub(super) fn new(handle: &Handle, servers: &[SocketAddr]) -> Self {
        Self {
            shard: Arc::downgrade(handle.shard()),
            servers: servers.into(),
            tasks: Tasks::default(),
        }
    }

    /// The worker, and a server's address as it was given.
    fn toward(&self, server: SocketAddr) -> io::Result<(Handle, SocketAddr)> {
        let handle = Handle::new(self.shard.upgrade().ok_or_else(worker_gone)?);
        let mut servers = self.servers.iter();
        let given = servers.find(|given| unscoped(**given) == server);
        Ok((handle, given.copied().unwrap_or(server)))
    }
}

type Made<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

impl RuntimeProvider for Provider {
    type Handle = Tasks;
    type Timer = Timer;
    type Udp = Socket;
    type Tcp = TcpStream;

    fn create_handle(&self) -> Tasks {
        self.tasks.clone()
    }

    fn connect_tcp(
        &self,
        server: SocketAddr,
        _: Option<SocketAddr>,
        limit: Option<Duration>,
    ) -> Made<TcpStream> {
        let toward = self.toward(server);
        Box::pin(async move {
            let (handle, server) = toward?;
            let connect = handle.scope(TcpStream::connect(server));
            let limit = limit.unwrap_or(CONNECT);
            let stream = time::timeout(limit, connect).await??;
            stream.set_nodelay(true)?;
            Ok(stream)
        })
    }

    /// A socket that has the server as its peer, though others need not: its replies come to the worker's own queue, nobody else's
    /// are taken for them, and a server that is not there is known at once by its host's ICMP error.
    fn bind_udp(&self, _: SocketAddr, server: SocketAddr) -> Made<Socket> {
        let toward = self.toward(server);
        Box::pin(async move {
            let (handle, server) = toward?;
            let socket = handle.scope(UdpSocket::connected(server)).await?;
            Ok(Socket(socket))
        })
    }
}

/// A UDP socket whose peer is a server.
pub(super) struct Socket(UdpSocket);

impl DnsUdpSocket for Socket {
    type Time = Timer;

    fn poll_recv_from(
        &self,
        cx: &mut Context<'_>,
        buf: &mut [u8],
    ) -> Poll<io::Result<(usize, SocketAddr)>> {
        let mut buf = ReadBuf::new(buf);
        let from = ready!(self.0.poll_recv_from(cx, &mut buf))?;
        Poll::Ready(Ok((buf.filled().len(), unscoped(from))))
    }

    fn poll_send_to(
        &self,
        cx: &mut Context<'_>,
        buf: &[u8],
        _: SocketAddr,
    ) -> Poll<io::Result<usize>> {
        self.0.poll_send(cx, buf)
    }
}

impl DnsTcpStream for TcpStream {
    type Time = Timer;
}

/// Timers of the worker.
#[derive(Debug, Clone, Copy)]
pub struct Timer;

impl Time for Timer {
    fn delay_for<'a>(duration: Duration) -> Pin<Box<dyn Future<Output = ()> + Send + 'a>> {
        Box::pin(time::sleep(duration))
    }

    fn timeout<'a, F>(
        duration: Duration,
        future: F,
    ) -> Pin<Box<dyn Future<Output = io::Result<F::Output>> + Send + 'a>>
    where
        F: Future + Send + 'static + 'a,
    {
        Box::pin(async move { Ok(time::timeout(duration, future).await?) })
    }
}
