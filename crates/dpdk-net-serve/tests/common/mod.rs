//! A site on the kernel's loopback, and clients and upstreams that write what they like.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use dpdk_net_serve::{Limits, Proxy, RouteRule, Site, SiteService, Target, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Longer than anything takes on a busy machine: a test that hangs fails.
const PATIENCE: Duration = Duration::from_secs(50);

/// A running server.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) async fn start(site: Site) -> Self {
        Self::with_limits(site, Limits::default()).await
    }

    pub(crate) async fn with_limits(site: Site, limits: Limits) -> Self {
        let service = SiteService::new(site, TcpStream::connect::<SocketAddr>).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let shutdown = async move { drop(stopped.await) };
        let task = tokio::spawn(serve(listener, service, limits, shutdown));
        Self {
            addr,
            stop: Some(stop),
            task,
        }
    }

    /// One proxy for everything.
    pub(crate) async fn proxy(proxy: Proxy) -> Self {
        Self::start(Site::new([RouteRule::new("/", Target::Proxy(proxy))])).await
    }

    /// Tells it to end.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Waits for its end.
    pub(crate) async fn ended(self) {
        within(self.task).await.unwrap();
    }

    /// One request on a connection of its own.
    pub(crate) async fn exchange(&self, request: impl AsRef<[u8]>) -> Answer {
        let mut stream = TcpStream::connect(self.addr).await.unwrap();
        // A server that has answered may close before it has read everything.
        let _ = stream.write_all(request.as_ref()).await;
        read_answer(stream).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.exchange(request("GET", path, &[])).await
    }
}

/// Waits, and fails the test rather than hang.
pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .expect("it hangs")
}

/// The head of a request that ends its connection.
pub(crate) fn request(method: &str, path: &str, headers: &[&str]) -> String {
    let mut request =
        format!("{method} {path} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n");
    for header in headers {
        request.push_str(header);
        request.push_str("\r\n");
    }
    request + "\r\n"
}

/// What came back, the body without its chunks.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
    /// Whether the body is as long as was announced.
    pub(crate) complete: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self
            .head
            .lines()
            .skip(1)
            .filter_map(|line| line.split_once(':'));
        lines
            .find(|(key, _)| key.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.trim())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

/// Reads to the end of the connection. Status 0 where nothing came at all.
pub(crate) async fn read_answer(mut stream: TcpStream) -> Answer {
    let mut bytes = Vec::new();
    // A reset shows as what is missing.
    let _ = within(stream.read_to_end(&mut bytes)).await;
    parse(&bytes)
}

fn parse(bytes: &[u8]) -> Answer {
    let end = bytes
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .unwrap_or(bytes.len());
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let rest = bytes.get(end + 4..).unwrap_or_default();
    let status = head
        .split(' ')
        .nth(1)
        .map_or(0, |status| status.parse().unwrap());
    let mut answer = Answer {
        status,
        head,
        body: rest.to_vec(),
        complete: true,
    };
    if answer.header("transfer-encoding") == Some("chunked") {
        (answer.body, answer.complete) = dechunk(rest);
    } else if let Some(length) = answer.header("content-length") {
        answer.complete = length.parse() == Ok(rest.len());
    }
    answer
}

fn dechunk(mut rest: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(line) = rest.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&rest[..line]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        rest = &rest[line + 2..];
        if size == 0 {
            return (body, true);
        }
        if rest.len() < size + 2 {
            body.extend_from_slice(rest);
            return (body, false);
        }
        body.extend_from_slice(&rest[..size]);
        rest = &rest[size + 2..];
    }
    (body, false)
}

/// An upstream that does as it is told with each connection.
pub(crate) async fn upstream<F, R>(serve: F) -> SocketAddr
where
    F: Fn(TcpStream) -> R + Send + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(stream));
        }
    });
    addr
}

/// An upstream that is an axum application.
pub(crate) async fn application(router: axum::Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    addr
}

/// An address at which nobody listens.
pub(crate) async fn nobody() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

/// Reads up to the end of a request's head; gives it as text.
pub(crate) async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match within(stream.read_u8()).await {
            Ok(byte) => head.push(byte),
            Err(_) => break,
        }
    }
    String::from_utf8(head).unwrap()
}

/// Bytes that do not repeat soon.
pub(crate) fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i % 251 + i / 65_521) as u8).collect()
}
