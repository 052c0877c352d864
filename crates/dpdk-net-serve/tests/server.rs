//! Connections: clients that dawdle, and an end that loses nothing.

mod common;

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::serve::Listener;
use common::{Server, read_answer, read_head, request, upstream, within};
use dpdk_net_serve::{
    Files, Limits, Proxy, RouteRule, Site, SiteService, Status, Target, serve, serve_with_last,
};
use futures_util::{StreamExt, stream};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};

fn hello() -> Site {
    Site::new([RouteRule::new(
        "/",
        Target::Status(Status::new(200, "hello")),
    )])
}

#[tokio::test]
async fn a_head_that_does_not_come_ends_the_connection() {
    let limits = Limits {
        header_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let server = Server::with_limits(hello(), limits).await;
    for begun in ["", "GET / HT", "GET / HTTP/1.1\r\nHost: a\r\n"] {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        stream.write_all(begun.as_bytes()).await.unwrap();
        let answer = read_answer(stream).await;
        assert!(matches!(answer.status, 0 | 408), "{begun:?}: {answer:?}");
    }
}

#[tokio::test]
async fn a_head_that_does_not_end_is_refused() {
    let server = Server::start(hello()).await;
    let long = request("GET", "/", &[&format!("X-Long: {}", "x".repeat(300_000))]);
    assert_eq!(server.exchange(long).await.status, 431);
    let many: Vec<String> = (0..200).map(|n| format!("X-{n}: x")).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(
        server.exchange(request("GET", "/", &many)).await.status,
        431
    );
    assert_eq!(server.get("/").await.text(), "hello\n");
}

#[tokio::test]
async fn a_client_that_stops_reading_loses_its_place() {
    let directory = tempfile::tempdir().unwrap();
    let file = fs::File::create(directory.path().join("large")).unwrap();
    file.set_len(1 << 30).unwrap();
    let site = Site::new([RouteRule::new(
        "/",
        Target::Files(Files::new(directory.path())),
    )]);
    let limits = Limits {
        connections: 1,
        write_timeout: Duration::from_millis(300),
        ..Limits::default()
    };
    let server = Server::with_limits(site, limits).await;
    let mut lazy = TcpStream::connect(server.addr).await.unwrap();
    lazy.write_all(request("GET", "/large", &[]).as_bytes())
        .await
        .unwrap();
    read_head(&mut lazy).await;
    // There is room for one: this answer comes only because the other connection was cut.
    assert_eq!(server.get("/none").await.status, 404);
}

#[tokio::test]
async fn a_request_that_has_begun_is_answered_after_the_end_was_asked_for() {
    let (begun, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (at_upstream, may_finish) = (begun.clone(), finish.clone());
    let addr = upstream(move |mut stream| {
        let (begun, finish) = (at_upstream.clone(), may_finish.clone());
        async move {
            read_head(&mut stream).await;
            begun.notify_one();
            finish.notified().await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nlate")
                .await
                .unwrap();
        }
    })
    .await;
    let mut server = Server::proxy(Proxy::new([addr])).await;
    let mut idle = TcpStream::connect(server.addr).await.unwrap();
    idle.write_all(b"GET /.. HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    read_head(&mut idle).await;

    let mut busy = TcpStream::connect(server.addr).await.unwrap();
    busy.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .unwrap();
    within(begun.notified()).await;
    server.stop();
    // The idle one ends at once, while the other goes on.
    let mut rest = Vec::new();
    within(idle.read_to_end(&mut rest)).await.unwrap();
    finish.notify_one();
    let answer = read_answer(busy).await;
    assert_eq!((answer.status, answer.text()), (200, "late"));
    assert!(answer.complete);
    let addr = server.addr;
    server.ended().await;
    assert!(
        TcpStream::connect(addr).await.is_err(),
        "nobody listens any more"
    );
}

#[tokio::test]
async fn a_request_after_a_response_that_had_begun_before_the_end_is_answered() {
    let (begun, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (at_upstream, may_finish) = (begun.clone(), finish.clone());
    let addr = upstream(move |mut stream| {
        let (begun, finish) = (at_upstream.clone(), may_finish.clone());
        async move {
            let head = read_head(&mut stream).await;
            let part = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 9\r\n\r\nlong ";
            stream.write_all(part).await.unwrap();
            if head.starts_with("GET /slow") {
                begun.notify_one();
                finish.notified().await;
            }
            stream.write_all(b"body").await.unwrap();
        }
    })
    .await;
    let mut server = Server::proxy(Proxy::new([addr])).await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n");
    stream.write_all(ask("/slow").as_bytes()).await.unwrap();
    within(begun.notified()).await;
    let head = read_head(&mut stream).await;
    assert!(!head.to_ascii_lowercase().contains("connection: close"));
    // One that asks nothing is closed: whoever is quiet by now has been so for long enough.
    let mut idle = TcpStream::connect(server.addr).await.unwrap();
    idle.write_all(ask("/..").as_bytes()).await.unwrap();
    read_head(&mut idle).await;
    server.stop();
    let mut rest = Vec::new();
    within(idle.read_to_end(&mut rest)).await.unwrap();

    finish.notify_one();
    let mut body = [0; 9];
    within(stream.read_exact(&mut body)).await.unwrap();
    assert_eq!(&body, b"long body");
    stream.write_all(ask("/next").as_bytes()).await.unwrap();
    let next = read_answer(stream).await;
    assert_eq!((next.status, next.text()), (200, "long body"));
    assert_eq!(next.header("connection"), Some("close"));
    server.ended().await;
}

#[tokio::test]
async fn connections_in_the_backlog_are_served_before_the_end() {
    let service = SiteService::new(hello(), TcpStream::connect::<std::net::SocketAddr>).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = TcpStream::connect(addr).await.unwrap();
        client
            .write_all(request("GET", "/", &[]).as_bytes())
            .await
            .unwrap();
        clients.push(client);
    }
    within(serve(
        listener,
        service,
        Limits::default(),
        std::future::ready(()),
    ))
    .await;
    for client in clients {
        assert_eq!(read_answer(client).await.text(), "hello\n");
    }
}

/// Connections that have come already.
struct Waiting(mpsc::UnboundedReceiver<DuplexStream>);

impl Listener for Waiting {
    type Io = DuplexStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (DuplexStream, SocketAddr) {
        match self.0.recv().await {
            Some(stream) => (stream, SocketAddr::from(([198, 18, 0, 1], 1))),
            None => std::future::pending().await,
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(SocketAddr::from(([198, 18, 0, 2], 80)))
    }
}

#[tokio::test]
async fn a_long_backlog_is_served_before_the_end_and_no_more_of_it_at_a_time_than_allowed() {
    let service = SiteService::new(hello(), TcpStream::connect::<SocketAddr>).unwrap();
    let (arrive, waiting) = mpsc::unbounded_channel();
    let mut clients = Vec::new();
    // More than tokio lets a task take at a time, and more than there is room for.
    for _ in 0..300 {
        let (mut client, stream) = duplex(4096);
        let ask = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        client.write_all(ask).await.unwrap();
        arrive.send(stream).unwrap();
        clients.push(client);
    }
    let limits = Limits {
        connections: 10,
        ..Limits::default()
    };
    let ready = std::future::ready(());
    within(serve(Waiting(waiting), service, limits, ready)).await;
    for mut client in clients {
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("\r\n\r\nhello\n"), "{answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn connections_that_are_under_way_at_the_end_are_served_and_nobody_waits_for_ever() {
    let service = SiteService::new(hello(), TcpStream::connect::<SocketAddr>).unwrap();
    let (_arrive, waiting) = mpsc::unbounded_channel();
    let (mut clients, mut ends) = (Vec::new(), Vec::new());
    for _ in 0..3 {
        let (client, end) = duplex(4096);
        clients.push(client);
        ends.push(end);
    }
    let peer = SocketAddr::from(([198, 18, 0, 1], 1));
    // Each takes a while, as a handshake does; one that never ends is behind them.
    let last = move |listener: Waiting| {
        drop(listener);
        let late = stream::iter(ends).then(move |end| async move {
            tokio::time::sleep(Duration::from_millis(400)).await;
            (end, peer)
        });
        late.chain(stream::pending())
    };
    let asks = async {
        for mut client in clients {
            let ask = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";
            client.write_all(ask).await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(answer.ends_with("\r\n\r\nhello\n"), "{answer:?}");
        }
    };
    let begun = tokio::time::Instant::now();
    let ready = std::future::ready(());
    let served = serve_with_last(Waiting(waiting), service, Limits::default(), ready, last);
    tokio::join!(served, asks);
    let took = begun.elapsed();
    assert!(took < Limits::default().drain / 2, "{took:?}");
}

#[tokio::test]
async fn what_does_not_end_in_time_is_cut_tunnels_too() {
    let addr = upstream(|mut stream| async move {
        let head = read_head(&mut stream).await;
        if head.contains("/ws") {
            let answer =
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
            stream.write_all(answer).await.unwrap();
        }
        std::future::pending::<()>().await;
    })
    .await;
    let site = Site::new([RouteRule::new("/", Target::Proxy(Proxy::new([addr])))]);
    let limits = Limits {
        drain: Duration::from_millis(200),
        ..Limits::default()
    };
    let mut server = Server::with_limits(site, limits).await;
    let mut waiting = TcpStream::connect(server.addr).await.unwrap();
    waiting
        .write_all(request("GET", "/", &[]).as_bytes())
        .await
        .unwrap();
    let mut tunnel = TcpStream::connect(server.addr).await.unwrap();
    tunnel
        .write_all(
            b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        )
        .await
        .unwrap();
    assert!(read_head(&mut tunnel).await.starts_with("HTTP/1.1 101 "));
    server.stop();
    server.ended().await;
    assert_eq!(read_answer(waiting).await.status, 0);
    assert_eq!(within(tunnel.read(&mut [0; 8])).await.unwrap_or(0), 0);
}

#[tokio::test]
async fn a_tunnel_keeps_its_place_among_the_connections() {
    let addr = upstream(|mut stream| async move {
        if !read_head(&mut stream).await.contains("/ws") {
            return;
        }
        let answer =
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        let _ = stream.read(&mut [0; 8]).await;
    })
    .await;
    let site = Site::new([
        RouteRule::new("/", Target::Status(Status::new(200, "hello"))),
        RouteRule::new("/ws", Target::Proxy(Proxy::new([addr]))),
    ]);
    let limits = Limits {
        connections: 1,
        ..Limits::default()
    };
    let server = Server::with_limits(site, limits).await;
    let mut tunnel = TcpStream::connect(server.addr).await.unwrap();
    tunnel
        .write_all(
            b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        )
        .await
        .unwrap();
    assert!(read_head(&mut tunnel).await.starts_with("HTTP/1.1 101 "));
    let next = server.get("/");
    tokio::pin!(next);
    let early = tokio::time::timeout(Duration::from_millis(300), &mut next).await;
    assert!(early.is_err(), "there is room for one");
    drop(tunnel);
    assert_eq!(next.await.text(), "hello\n");
}

/// Keeps what is logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_access_log_has_a_line_for_each_request_if_it_is_wanted() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let quiet = Server::start(hello()).await;
    quiet.get("/quiet").await;
    let mut site = hello();
    site.access_log = true;
    let mut server = Server::start(site).await;
    server.get("/a%20b").await;
    server.get("/..").await;
    server.stop();
    server.ended().await;
    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let access: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("access:"))
        .collect();
    assert_eq!(access.len(), 2, "{text}");
    for part in [
        "peer=127.0.0.1:",
        "method=\"GET\"",
        "host=\"a.example\"",
        "path=\"/a%20b\"",
        "status=200",
        "bytes=6",
        "complete=true",
    ] {
        assert!(access[0].contains(part), "{part}: {}", access[0]);
    }
    assert!(access[1].contains("status=400"), "{}", access[1]);
}
