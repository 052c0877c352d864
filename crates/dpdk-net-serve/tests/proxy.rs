//! The proxy between a client and upstreams that answer, break off, or do not answer at all.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::routing::any;
use common::{
    Server, application, nobody, pattern, read_answer, read_head, request, upstream, within,
};
use dpdk_net_serve::{Limits, Proxy, RouteRule, Site, SiteService, Target, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

/// An upstream that answers with the head of the request as it got it.
async fn mirror() -> SocketAddr {
    upstream(|mut stream| async move {
        let head = read_head(&mut stream).await;
        let answer = format!(
            "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}",
            head.len()
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(key, _)| key.eq_ignore_ascii_case(name))
        .map(|(_, value)| value)
}

#[tokio::test]
async fn the_upstream_learns_who_asks_and_nothing_of_the_hop_before() {
    let server = Server::proxy(Proxy::new([mirror().await])).await;
    let answer = server
        .exchange(request(
            "GET",
            "/a%20b?q=1",
            &[
                "Keep-Alive: 5",
                "TE: trailers",
                "X-Forwarded-For: 1.2.3.4",
                "X-Other: x",
                "Proxy-Authorization: y",
            ],
        ))
        .await;
    let head = answer.text();
    assert!(head.starts_with("GET /a%20b?q=1 HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(head, "host"), Some("a.example"));
    assert_eq!(header(head, "x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(header(head, "x-forwarded-host"), Some("a.example"));
    assert_eq!(header(head, "x-forwarded-proto"), Some("http"));
    assert_eq!(header(head, "via"), Some("1.1 dpdk-net"));
    assert_eq!(header(head, "x-other"), Some("x"));
    for gone in ["connection", "keep-alive", "te", "proxy-authorization"] {
        assert_eq!(header(head, gone), None, "{gone}");
    }
}

#[tokio::test]
async fn a_prefix_can_be_left_out_and_the_host_be_the_upstreams() {
    let upstream = mirror().await;
    let proxy = Proxy {
        strip_prefix: true,
        preserve_host: false,
        ..Proxy::new([upstream])
    };
    let server = Server::start(Site::new([RouteRule::new("/api", Target::Proxy(proxy))])).await;
    for (path, asked) in [
        ("/api", "/"),
        ("/api/", "/"),
        ("/api/a%2Fb?q", "/a%2Fb?q"),
        ("/%61pi/x", "/x"),
        ("//api//x", "/x"),
    ] {
        let answer = server.get(path).await;
        let line = answer.text().lines().next().unwrap();
        assert_eq!(line, format!("GET {asked} HTTP/1.1"), "{path}");
        assert_eq!(
            header(answer.text(), "host"),
            Some(upstream.to_string().as_str())
        );
    }
}

#[tokio::test]
async fn large_bodies_pass_both_ways_with_a_length_and_in_chunks() {
    let echo = Router::new().route("/", any(|request: Request| async { request.into_body() }));
    let mut proxy = Proxy::new([application(echo).await]);
    proxy.body_limit = None;
    let server = Server::proxy(proxy).await;
    let body = pattern(8 << 20);

    let mut whole =
        request("POST", "/", &[&format!("Content-Length: {}", body.len())]).into_bytes();
    whole.extend_from_slice(&body);
    let mut chunked = request("POST", "/", &["Transfer-Encoding: chunked"]).into_bytes();
    for chunk in body.chunks(100_003) {
        chunked.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
        chunked.extend_from_slice(chunk);
        chunked.extend_from_slice(b"\r\n");
    }
    chunked.extend_from_slice(b"0\r\n\r\n");
    for request in [whole, chunked] {
        let (reader, mut writer) = TcpStream::connect(server.addr).await.unwrap().into_split();
        let writing = tokio::spawn(async move {
            writer.write_all(&request).await.unwrap();
            writer
        });
        let answer = read_answer(reader.reunite(writing.await.unwrap()).unwrap()).await;
        assert_eq!(answer.status, 200);
        assert!(
            answer.complete && answer.body == body,
            "{} bytes",
            answer.body.len()
        );
    }
}

#[tokio::test]
async fn a_body_is_passed_on_while_it_comes() {
    let seen = Arc::new(Notify::new());
    let go_on = seen.clone();
    let addr = upstream(move |mut stream| {
        let go_on = go_on.clone();
        async move {
            read_head(&mut stream).await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n")
                .await
                .unwrap();
            go_on.notified().await;
            stream.write_all(b"6\r\nsecond\r\n0\r\n\r\n").await.unwrap();
        }
    })
    .await;
    let server = Server::proxy(Proxy::new([addr])).await;
    let mut stream = TcpStream::connect(server.addr).await.unwrap();
    stream
        .write_all(request("GET", "/", &[]).as_bytes())
        .await
        .unwrap();
    let mut got = Vec::new();
    while !got.ends_with(b"first\r\n") {
        got.push(within(stream.read_u8()).await.unwrap());
    }
    seen.notify_one();
    let mut rest = String::new();
    within(stream.read_to_string(&mut rest)).await.unwrap();
    assert!(
        rest.contains("second") && rest.ends_with("0\r\n\r\n"),
        "{rest}"
    );
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_made_to_look_whole() {
    for head in [
        "Content-Length: 1000\r\n\r\nabc",
        "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let addr = upstream(move |mut stream| async move {
            read_head(&mut stream).await;
            stream
                .write_all(format!("HTTP/1.1 200 OK\r\n{head}").as_bytes())
                .await
                .unwrap();
        })
        .await;
        let server = Server::proxy(Proxy::new([addr])).await;
        let answer = server.get("/").await;
        assert_eq!(answer.status, 200);
        assert!(!answer.complete, "{head:?}: {answer:?}");
        assert_eq!(answer.body, b"abc", "{head:?}");
    }
}

#[tokio::test]
async fn an_answer_that_stands_still_is_cut() {
    let addr = upstream(|mut stream| async move {
        read_head(&mut stream).await;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc")
            .await
            .unwrap();
        std::future::pending::<()>().await;
    })
    .await;
    let mut proxy = Proxy::new([addr]);
    proxy.idle_timeout = Duration::from_millis(200);
    let answer = Server::proxy(proxy).await.get("/").await;
    assert!(answer.status == 200 && !answer.complete, "{answer:?}");
}

#[tokio::test]
async fn upstreams_that_do_not_answer_are_502_and_504() {
    let refused = Server::proxy(Proxy::new([nobody().await])).await;
    assert_eq!(refused.get("/").await.status, 502);

    let silent = upstream(|mut stream| async move {
        read_head(&mut stream).await;
        std::future::pending::<()>().await;
    })
    .await;
    let mut proxy = Proxy::new([silent]);
    proxy.response_timeout = Duration::from_millis(200);
    assert_eq!(Server::proxy(proxy).await.get("/").await.status, 504);

    let nonsense = upstream(|mut stream| async move {
        read_head(&mut stream).await;
        stream
            .write_all(b"220 mail.example ESMTP\r\n")
            .await
            .unwrap();
    })
    .await;
    assert_eq!(
        Server::proxy(Proxy::new([nonsense]))
            .await
            .get("/")
            .await
            .status,
        502
    );
}

#[tokio::test]
async fn connecting_takes_no_longer_than_it_may() {
    let mut proxy = Proxy::new(["127.0.0.1:9".parse().unwrap()]);
    proxy.connect_timeout = Duration::from_millis(200);
    let site = Site::new([RouteRule::new("/", Target::Proxy(proxy))]);
    // A network that swallows every SYN.
    let never = |_| std::future::pending::<std::io::Result<TcpStream>>();
    let service = SiteService::new(site, never).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(serve(
        listener,
        service,
        Limits::default(),
        std::future::pending(),
    ));
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream
        .write_all(request("GET", "/", &[]).as_bytes())
        .await
        .unwrap();
    assert_eq!(read_answer(stream).await.status, 504);
}

/// An upstream that counts its requests and answers.
async fn counting(count: Arc<AtomicUsize>) -> SocketAddr {
    let answer = move || {
        count.fetch_add(1, Ordering::SeqCst);
        async { "ok" }
    };
    application(Router::new().route("/", any(answer))).await
}

/// An upstream that counts its requests and hangs up on them.
async fn hanging_up(count: Arc<AtomicUsize>) -> SocketAddr {
    upstream(move |mut stream| {
        let count = count.clone();
        async move {
            read_head(&mut stream).await;
            count.fetch_add(1, Ordering::SeqCst);
        }
    })
    .await
}

#[tokio::test]
async fn a_dead_upstream_is_passed_over_and_then_left_out() {
    let count = Arc::new(AtomicUsize::new(0));
    let dead = Arc::new(AtomicUsize::new(0));
    let proxy = Proxy::new([
        hanging_up(dead.clone()).await,
        counting(count.clone()).await,
    ]);
    let server = Server::proxy(proxy).await;
    for _ in 0..6 {
        assert_eq!(server.get("/").await.text(), "ok");
    }
    assert_eq!(count.load(Ordering::SeqCst), 6);
    assert_eq!(dead.load(Ordering::SeqCst), 1, "asked once, then left out");
}

#[tokio::test]
async fn what_may_have_had_an_effect_is_not_sent_twice() {
    let (dead, alive) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    for (method, headers) in [
        ("POST", &["Content-Length: 0"][..]),
        ("PUT", &["Transfer-Encoding: chunked"]),
    ] {
        let proxy = Proxy::new([
            hanging_up(dead.clone()).await,
            counting(alive.clone()).await,
        ]);
        let server = Server::proxy(proxy).await;
        let request = request(method, "/", headers)
            + if method == "PUT" {
                "1\r\nx\r\n0\r\n\r\n"
            } else {
                ""
            };
        assert_eq!(server.exchange(&request).await.status, 502, "{method}");
        assert_eq!(alive.load(Ordering::SeqCst), 0, "{method}");
        assert_eq!(
            server.exchange(&request).await.status,
            200,
            "the next goes to the other"
        );
        alive.store(0, Ordering::SeqCst);
    }
    assert_eq!(dead.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn connections_to_an_upstream_are_used_again() {
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = accepted.clone();
    let addr = upstream(move |mut stream| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            while !read_head(&mut stream).await.is_empty() {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                    .await
                    .unwrap();
            }
        }
    })
    .await;
    let server = Server::proxy(Proxy::new([addr])).await;
    let mut client = TcpStream::connect(server.addr).await.unwrap();
    for _ in 0..5 {
        client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        read_head(&mut client).await;
        let mut body = [0; 2];
        within(client.read_exact(&mut body)).await.unwrap();
        assert_eq!(&body, b"ok");
    }
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_upgraded_connection_passes_bytes_both_ways() {
    let addr = upstream(|mut stream| async move {
        let head = read_head(&mut stream).await;
        assert_eq!(header(&head, "upgrade"), Some("websocket"));
        assert_eq!(header(&head, "connection"), Some("upgrade"));
        let answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Key: k\r\n\r\nhello";
        stream.write_all(answer).await.unwrap();
        let (mut reader, mut writer) = stream.split();
        tokio::io::copy(&mut reader, &mut writer).await.unwrap();
    })
    .await;
    let server = Server::proxy(Proxy::new([addr])).await;
    let mut client = TcpStream::connect(server.addr).await.unwrap();
    client
        .write_all(b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n")
        .await
        .unwrap();
    let head = read_head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(header(&head, "upgrade"), Some("websocket"));
    assert_eq!(header(&head, "x-key"), Some("k"));
    let mut got = [0; 5];
    within(client.read_exact(&mut got)).await.unwrap();
    assert_eq!(&got, b"hello");
    let sent = pattern(300_000);
    let expected = sent.clone();
    let (mut reader, mut writer) = client.into_split();
    let writing = tokio::spawn(async move {
        writer.write_all(&sent).await.unwrap();
        writer.shutdown().await.unwrap();
    });
    let mut got = Vec::new();
    within(reader.read_to_end(&mut got)).await.unwrap();
    writing.await.unwrap();
    assert!(got == expected, "{} of {} bytes", got.len(), expected.len());
}

#[tokio::test]
async fn only_websocket_is_upgraded_to() {
    let server = Server::proxy(Proxy::new([mirror().await])).await;
    let asked = "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\nUpgrade: h2c\r\nHTTP2-Settings: x\r\n\r\n";
    let answer = server.exchange(asked).await;
    assert_eq!(answer.status, 200);
    for gone in ["upgrade", "connection", "http2-settings"] {
        assert_eq!(header(answer.text(), gone), None, "{gone}");
    }
}

/// An upstream that answers one request on each connection as if more could follow, and hangs up on the second.
async fn forgetful(requests: Arc<AtomicUsize>) -> SocketAddr {
    upstream(move |mut stream| {
        let requests = requests.clone();
        async move {
            read_head(&mut stream).await;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .await
                .unwrap();
            // Not a moment before: until then the connection looks alive.
            if !read_head(&mut stream).await.is_empty() {
                requests.fetch_add(1, Ordering::SeqCst);
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_kept_connection_that_ends_as_it_is_used_is_nobodys_failure() {
    let lost = Arc::new(AtomicUsize::new(0));
    let server = Server::proxy(Proxy::new([forgetful(lost.clone()).await])).await;
    for _ in 0..6 {
        assert_eq!(server.get("/").await.text(), "ok");
    }
    assert!(lost.load(Ordering::SeqCst) > 0, "some were sent again");
    // What may have had an effect is not.
    let post = request("POST", "/", &["Content-Length: 0"]);
    assert_eq!(server.exchange(&post).await.status, 502);
}

#[tokio::test]
async fn an_upgrade_that_nobody_asked_for_is_refused() {
    let addr = upstream(|mut stream| async move {
        let head = read_head(&mut stream).await;
        assert_eq!(header(&head, "upgrade"), None);
        stream
            .write_all(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n",
            )
            .await
            .unwrap();
    })
    .await;
    let server = Server::proxy(Proxy::new([addr])).await;
    let answer = server.exchange(request("GET", "/", &["Upgrade: x"])).await;
    assert_eq!(answer.status, 502);
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_413() {
    let sink = Router::new().route(
        "/",
        any(|body: Bytes| async move { body.len().to_string() }),
    );
    let sink = sink.layer(axum::extract::DefaultBodyLimit::disable());
    let mut proxy = Proxy::new([application(sink).await]);
    proxy.body_limit = Some(10);
    let server = Server::proxy(proxy).await;
    let sized = |length: usize| {
        request("POST", "/", &[&format!("Content-Length: {length}")]) + &"x".repeat(length)
    };
    assert_eq!(server.exchange(sized(10)).await.text(), "10");
    assert_eq!(server.exchange(sized(11)).await.status, 413);
    let chunked =
        |chunks: &str| request("POST", "/", &["Transfer-Encoding: chunked"]) + chunks + "0\r\n\r\n";
    assert_eq!(
        server.exchange(chunked("a\r\n0123456789\r\n")).await.text(),
        "10"
    );
    assert_eq!(
        server
            .exchange(chunked("a\r\n0123456789\r\n1\r\nx\r\n"))
            .await
            .status,
        413
    );
}

#[tokio::test]
async fn a_client_that_does_not_send_its_body_is_408() {
    let sink = Router::new().route(
        "/",
        any(|body: Bytes| async move { body.len().to_string() }),
    );
    let mut proxy = Proxy::new([application(sink).await]);
    proxy.idle_timeout = Duration::from_millis(200);
    let server = Server::proxy(proxy).await;
    let answer = server
        .exchange(request("POST", "/", &["Content-Length: 5"]) + "ab")
        .await;
    assert_eq!(answer.status, 408, "{answer:?}");
    let after = server
        .exchange(request("POST", "/", &["Content-Length: 2"]) + "ab")
        .await;
    assert_eq!(after.text(), "2", "the upstream is not to blame");
}

#[tokio::test]
async fn answers_without_a_body_stay_so() {
    let app = Router::new()
        .route("/204", any(|| async { axum::http::StatusCode::NO_CONTENT }))
        .route(
            "/304",
            any(|| async { (axum::http::StatusCode::NOT_MODIFIED, [("etag", "\"x\"")]) }),
        )
        .route("/head", any(|| async { Body::from(vec![0; 1234]) }));
    let server = Server::proxy(Proxy::new([application(app).await])).await;
    assert_eq!(server.get("/204").await.status, 204);
    let unchanged = server.get("/304").await;
    assert_eq!(
        (unchanged.status, unchanged.header("etag")),
        (304, Some("\"x\""))
    );
    let head = server.exchange(request("HEAD", "/head", &[])).await;
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), Some("1234"));
}

#[tokio::test]
async fn what_servers_could_read_in_two_ways_is_refused() {
    let asked = Arc::new(AtomicUsize::new(0));
    let server = Server::proxy(Proxy::new([counting(asked.clone()).await])).await;
    for request in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, x\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(read_answer(stream).await.status, 400, "{request:?}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0);
    // The length is of no account beside chunks, and must not reach the upstream as if it were.
    let both = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n";
    let answer = server.exchange(both).await;
    assert!(matches!(answer.status, 200 | 400), "{answer:?}");
}
