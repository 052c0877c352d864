//! Clients of HTTP/2 by prior knowledge, of the same server.

mod common;

use std::time::Duration;

use axum::http::HeaderMap;
use common::*;
use dpdk_net_serve::{Limits, Proxy, RouteRule, Site, Status, Target};
use hyper::client::conn::http2;
use hyper::{Request, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

type Body = axum::body::Body;

async fn client(server: &Server) -> (http2::SendRequest<Body>, tokio::task::JoinHandle<bool>) {
    let stream = TcpStream::connect(server.addr).await.unwrap();
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    (sender, tokio::spawn(async { connection.await.is_ok() }))
}

fn get(path: &str) -> hyper::http::request::Builder {
    Request::get(format!("http://a.example{path}"))
}

async fn text(body: hyper::body::Incoming) -> String {
    let bytes = axum::body::to_bytes(Body::new(body), usize::MAX).await;
    String::from_utf8(bytes.unwrap().to_vec()).unwrap()
}

#[tokio::test]
async fn requests_of_one_connection_are_proxied_as_http_1_1() {
    let told = |headers: HeaderMap| async move {
        let get = |name| headers.get_all(name).iter();
        let list = |name| get(name).map(|v| v.to_str().unwrap()).collect::<Vec<_>>();
        format!("{:?} {:?} {:?}", list("host"), list("via"), list("cookie"))
    };
    let router = axum::Router::new().route("/told", axum::routing::get(told));
    let proxy = Proxy::new([application(router).await]);
    let server = Server::proxy(proxy).await;
    let (mut sender, _connection) = client(&server).await;
    for _ in 0..20 {
        let request = get("/told").header("cookie", "a=1").header("cookie", "b=2");
        let request = request.body(Body::empty()).unwrap();
        let response = within(sender.send_request(request)).await.unwrap();
        assert_eq!(response.version(), Version::HTTP_2);
        assert_eq!(
            text(response.into_body()).await,
            r#"["a.example"] ["2.0 dpdk-net"] ["a=1; b=2"]"#
        );
    }
    let other = get("/told").header("host", "b.example");
    let other = other.body(Body::empty()).unwrap();
    let response = within(sender.send_request(other)).await.unwrap();
    assert_eq!(response.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn a_body_passes_both_ways_as_it_comes() {
    let echo = axum::routing::post(|body: Body| async { body });
    let upstream = application(axum::Router::new().route("/", echo)).await;
    let server = Server::proxy(Proxy::new([upstream])).await;
    let (mut sender, _connection) = client(&server).await;
    let body = pattern(900_000);
    let request = Request::post("http://a.example/").body(Body::from(body.clone()));
    let response = within(sender.send_request(request.unwrap())).await.unwrap();
    let got = axum::body::to_bytes(Body::new(response.into_body()), usize::MAX);
    assert!(within(got).await.unwrap() == body);
}

fn gone() -> Site {
    Site::new([RouteRule::new(
        "/",
        Target::Status(Status::new(410, "gone")),
    )])
}

#[tokio::test]
async fn a_server_that_ends_says_so_and_answers_what_has_begun() {
    let slow = axum::routing::get(|| async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        "done"
    });
    let upstream = application(axum::Router::new().route("/", slow)).await;
    let mut server = Server::proxy(Proxy::new([upstream])).await;
    let (mut sender, connection) = client(&server).await;
    let request = get("/").body(Body::empty()).unwrap();
    let answer = tokio::spawn(sender.send_request(request));
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.stop();
    let response = within(answer).await.unwrap().unwrap();
    assert_eq!(text(response.into_body()).await, "done");
    assert!(within(connection).await.unwrap(), "it ends in good order");
    server.ended().await;
}

#[tokio::test]
async fn a_connection_that_asks_for_nothing_is_ended() {
    let limits = Limits {
        header_timeout: Duration::from_millis(200),
        ..Limits::default()
    };
    let server = Server::with_limits(gone(), limits).await;
    // One that has not even said which version it speaks, one that goes quiet, and one that answers no GOAWAY.
    for sent in [
        &b"PRI * HTTP/2.0\r\n"[..],
        b"",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0",
    ] {
        let mut stream = TcpStream::connect(server.addr).await.unwrap();
        stream.write_all(sent).await.unwrap();
        let mut got = Vec::new();
        within(stream.read_to_end(&mut got)).await.ok();
    }
    let (mut sender, connection) = client(&server).await;
    let request = get("/").body(Body::empty()).unwrap();
    let response = within(sender.send_request(request)).await.unwrap();
    assert_eq!(response.status(), StatusCode::GONE);
    assert!(within(connection).await.unwrap());
}

#[tokio::test]
async fn fields_beyond_the_limit_are_refused() {
    let limits = Limits {
        header_bytes: 8 << 10,
        ..Limits::default()
    };
    let server = Server::with_limits(gone(), limits).await;
    let (mut sender, _connection) = client(&server).await;
    let request = get("/").header("x-large", "x".repeat(9 << 10));
    let refused = within(sender.send_request(request.body(Body::empty()).unwrap())).await;
    let status = refused.map(|response| response.status());
    assert!(
        status
            .as_ref()
            .is_ok_and(|status| *status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE)
            || status.is_err(),
        "{status:?}"
    );
    let request = get("/").body(Body::empty()).unwrap();
    let response = within(sender.send_request(request)).await.unwrap();
    assert_eq!(response.status(), StatusCode::GONE);
}
