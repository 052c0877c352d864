//! Unmodified hyper and axum over our sockets.

mod common;

use std::convert::Infallible;

use common::*;
use dpdk_net::net::{TcpListener, TcpStream};
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

/// A GET over a connection of its own; returns status and body.
async fn get(net: &Net, to: std::net::SocketAddr, path: &str) -> (u16, Vec<u8>) {
    let stream = net.client.scope(TcpStream::connect(to)).await.unwrap();
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let request = Request::get(path)
        .header("host", "test")
        .body(Full::<Bytes>::default())
        .unwrap();
    let response = sender.send_request(request).await.unwrap();
    let status = response.status().as_u16();
    let body = response
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes()
        .to_vec();
    drop(sender);
    connection.await.unwrap().unwrap();
    (status, body)
}

#[test]
fn an_unmodified_hyper_server_and_client_talk_in_both_families() {
    run(|net| async move {
        let listener = TcpListener::bind("[::]:80").await.unwrap();
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(async move {
                    let service =
                        hyper::service::service_fn(|request: Request<Incoming>| async move {
                            let body = format!("you asked for {}", request.uri().path());
                            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(body))))
                        });
                    hyper::server::conn::http1::Builder::new()
                        .serve_connection(TokioIo::new(stream), service)
                        .await
                });
            }
        });
        for (server_ip, _) in FAMILIES {
            let (status, body) = get(&net, at(server_ip, 80), "/here").await;
            assert_eq!((status, body), (200, b"you asked for /here".to_vec()));
        }
        server.abort();
    });
}

#[cfg(feature = "axum")]
mod with_axum {
    use super::*;
    use axum::extract::ConnectInfo;
    use axum::serve::ListenerExt;
    use axum::{Router, routing};
    use dpdk_net::axum::PeerAddr;
    use std::net::SocketAddr;

    #[test]
    fn axum_serves_a_large_body_and_takes_one() {
        run(|net| async move {
            let page = pattern(1 << 20);
            let served = page.clone();
            let app = Router::new()
                .route("/page", routing::get(move || async move { served }))
                .route(
                    "/length",
                    routing::post(|body: Bytes| async move { body.len().to_string() }),
                );
            let listener = TcpListener::bind(at(SERVER_V6, 80)).await.unwrap();
            let server = tokio::spawn(axum::serve(listener, app).into_future());
            let (status, body) = get(&net, at(SERVER_V6, 80), "/page").await;
            assert_eq!(status, 200);
            assert!(body == page);
            let (status, _) = get(&net, at(SERVER_V6, 80), "/nowhere").await;
            assert_eq!(status, 404);

            let stream = net
                .client
                .scope(TcpStream::connect(at(SERVER_V6, 80)))
                .await
                .unwrap();
            let (mut sender, connection) =
                hyper::client::conn::http1::handshake(TokioIo::new(stream))
                    .await
                    .unwrap();
            tokio::spawn(connection);
            let request = Request::post("/length")
                .header("host", "test")
                .body(Full::new(Bytes::from(page)))
                .unwrap();
            let response = sender.send_request(request).await.unwrap();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, "1048576");
            server.abort();
        });
    }

    #[test]
    fn axum_shuts_down_gracefully_after_the_request_in_flight() {
        run(|net| async move {
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            let app = Router::new().route(
                "/slow",
                routing::get(|| async {
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                    "done"
                }),
            );
            let listener = TcpListener::bind(at(SERVER_V4, 80)).await.unwrap();
            let server = tokio::spawn(
                axum::serve(listener, app)
                    .with_graceful_shutdown(async move {
                        let _ = stopped.await;
                    })
                    .into_future(),
            );
            let request = get(&net, at(SERVER_V4, 80), "/slow");
            let stop_soon = async {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                stop.send(()).unwrap();
            };
            let ((status, body), ()) = tokio::join!(request, stop_soon);
            assert_eq!((status, body), (200, b"done".to_vec()));
            server.await.unwrap().unwrap();
            let refused = net
                .client
                .scope(TcpStream::connect(at(SERVER_V4, 80)))
                .await;
            assert_eq!(
                refused.unwrap_err().kind(),
                std::io::ErrorKind::ConnectionRefused
            );
        });
    }

    #[test]
    fn axum_tells_a_handler_its_peer() {
        run(|net| async move {
            let ours = Router::new().route(
                "/",
                routing::get(
                    |ConnectInfo(PeerAddr(peer)): ConnectInfo<PeerAddr>| async move {
                        peer.ip().to_string()
                    },
                ),
            );
            let listener = TcpListener::bind(at(SERVER_V4, 80)).await.unwrap();
            let service = ours.into_make_service_with_connect_info::<PeerAddr>();
            let first = tokio::spawn(axum::serve(listener, service).into_future());

            // A program that was written for SocketAddr keeps it.
            let theirs = Router::new().route(
                "/",
                routing::get(|ConnectInfo(peer): ConnectInfo<SocketAddr>| async move {
                    peer.ip().to_string()
                }),
            );
            let listener = TcpListener::bind(at(SERVER_V4, 81))
                .await
                .unwrap()
                .tap_io(|_| ());
            let service = theirs.into_make_service_with_connect_info::<SocketAddr>();
            let second = tokio::spawn(axum::serve(listener, service).into_future());

            for port in [80, 81] {
                let (_, body) = get(&net, at(SERVER_V4, port), "/").await;
                assert_eq!(body, CLIENT_V4.as_bytes());
            }
            first.abort();
            second.abort();
        });
    }
}
