//! HTTP clients over our connections: pooling, HTTP/2, what goes wrong.
#![cfg(feature = "connector")]

mod common;

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use common::*;
use dpdk_net::http::{ConnectionInfo, Connector};
use dpdk_net::net::TcpListener;
use futures_util::FutureExt;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, Uri, Version};
use hyper_util::client::legacy::{Builder, Client};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tower::timeout::error::Elapsed;
use tower::util::BoxCloneSyncService;
use tower::{ServiceBuilder, ServiceExt};
use tower_service::Service;

type HttpClient = Client<Connector, Empty<Bytes>>;

/// A server of HTTP/1.1 and HTTP/2 that says what it was asked for.
fn serve(listener: TcpListener) -> tokio::task::JoinHandle<()> {
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let service = service_fn(|request: Request<Incoming>| async move {
                    let body = Full::new(Bytes::from(request.uri().path().to_owned()));
                    Ok::<_, Infallible>(Response::new(body))
                });
                auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await
            });
        }
    })
}

fn builder() -> Builder {
    let mut builder = Client::builder(TokioExecutor::new());
    builder.pool_timer(TokioTimer::new());
    builder
}

fn url(to: SocketAddr, path: &str) -> Uri {
    format!("http://{to}{path}").parse().unwrap()
}

/// Gets a page that echoes its path; the connection that it came over.
async fn get(client: &HttpClient, to: SocketAddr, path: &str) -> (Version, ConnectionInfo) {
    let response = client.get(url(to, path)).await.unwrap();
    let version = response.version();
    let connection = *response.extensions().get::<ConnectionInfo>().unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(body, path);
    (version, connection)
}

#[test]
fn a_pooled_client_keeps_its_connection_in_both_families() {
    run(|net| async move {
        let server = serve(TcpListener::bind("[::]:80").await.unwrap());
        let client: HttpClient = builder().build(Connector::new().handle(net.client.clone()));
        for (server_ip, client_ip) in FAMILIES {
            let to = at(server_ip, 80);
            let (version, first) = get(&client, to, "/first").await;
            assert_eq!(version, Version::HTTP_11);
            assert_eq!((first.peer, first.local.ip()), (to, at(client_ip, 0).ip()));
            assert_eq!(get(&client, to, "/second").await.1, first);
        }
        server.abort();
    });
}

#[test]
fn requests_of_http2_share_one_connection() {
    run(|net| async move {
        let server = serve(TcpListener::bind("[::]:80").await.unwrap());
        let mut builder = builder();
        let client: HttpClient = builder
            .http2_only(true)
            .build(Connector::new().handle(net.client.clone()));
        let to = at(SERVER_V6, 80);
        let first = get(&client, to, "/first").await;
        assert_eq!(first.0, Version::HTTP_2);
        let all: Vec<_> = (0..100)
            .map(|i| {
                let client = client.clone();
                tokio::spawn(async move { get(&client, to, &format!("/{i}")).await })
            })
            .collect();
        for one in all {
            assert_eq!(one.await.unwrap(), first);
        }
        server.abort();
    });
}

#[test]
fn a_client_on_another_thread_connects_through_the_worker_that_it_was_given() {
    run(|net| async move {
        let server = serve(TcpListener::bind("[::]:80").await.unwrap());
        let (done, fetched) = tokio::sync::oneshot::channel();
        let there = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let without: HttpClient = builder().build(Connector::new());
                let error = without.get(url(at(SERVER_V4, 80), "/")).await.unwrap_err();
                assert!(error.is_connect());
                let client: HttpClient = builder().build(Connector::new().handle(net.client));
                get(&client, at(SERVER_V4, 80), "/from-afar").await;
            });
            done.send(()).unwrap();
        });
        fetched.await.unwrap();
        there.join().unwrap();
        server.abort();
    });
}

/// Connects as a client would.
async fn connect(mut connector: Connector, to: &str) -> io::Result<ConnectionInfo> {
    let stream = connector.call(to.parse().unwrap()).await?.into_inner();
    assert!(stream.nodelay()?);
    Ok(ConnectionInfo {
        local: stream.local_addr()?,
        peer: stream.peer_addr()?,
    })
}

#[test]
fn what_goes_wrong_is_told() {
    run(|net| async move {
        let client = Connector::new().handle(net.client.clone());
        let kind = |result: io::Result<_>| result.map(|_| ()).unwrap_err().kind();
        let refused = connect(client.clone(), "http://198.18.0.1:81/").await;
        assert_eq!(kind(refused), io::ErrorKind::ConnectionRefused);
        let secure = connect(client.clone(), "https://198.18.0.1/").await;
        assert_eq!(kind(secure), io::ErrorKind::InvalidInput);
        // Nobody has that address, and the stack asks for its neighbour longer than this.
        let short = Duration::from_millis(50);
        let nobody = client.clone().connect_timeout(Some(short));
        let late = connect(nobody, "http://198.18.0.77/").await;
        assert_eq!(kind(late), io::ErrorKind::TimedOut);
        let prepared = client
            .clone()
            .prepare(|_| Err(io::ErrorKind::PermissionDenied.into()));
        let denied = connect(prepared, "http://198.18.0.1/").await;
        assert_eq!(kind(denied), io::ErrorKind::PermissionDenied);
        let _listener = TcpListener::bind("[::]:80").await.unwrap();
        let not_ours = client.clone().local_address("198.18.0.99".parse().unwrap());
        let not_ours = connect(not_ours, "http://198.18.0.1/").await;
        assert_eq!(kind(not_ours), io::ErrorKind::AddrNotAvailable);
        let ours = client.local_address(CLIENT_V6.parse().unwrap());
        let other_family = connect(ours.clone(), "http://198.18.0.1/").await;
        assert_eq!(kind(other_family), io::ErrorKind::InvalidInput);
        let connected = connect(ours, "http://[fd00::1]/").await.unwrap();
        assert_eq!(connected.local.ip(), at(CLIENT_V6, 0).ip());
    });
}

#[test]
fn layers_of_tower_are_put_around_it() {
    run(|net| async move {
        let server = serve(TcpListener::bind("[::]:80").await.unwrap());
        let connector = Connector::new().handle(net.client.clone());
        let layered = |limit| {
            ServiceBuilder::new()
                .timeout(limit)
                .concurrency_limit(1)
                .service(connector.clone())
        };
        let client: Client<_, Empty<Bytes>> =
            builder().build(BoxCloneSyncService::new(layered(Duration::from_secs(30))));
        for (server_ip, client_ip) in FAMILIES {
            let response = client.get(url(at(server_ip, 80), "/page")).await.unwrap();
            let connection = *response.extensions().get::<ConnectionInfo>().unwrap();
            assert_eq!(connection.local.ip(), at(client_ip, 0).ip());
            let body = response.into_body().collect().await.unwrap().to_bytes();
            assert_eq!(body, "/page");
        }

        // Nobody has this address.
        let nowhere = || Uri::from_static("http://198.18.0.77/");
        let mut hasty = layered(Duration::from_millis(20));
        let late = hasty.ready().await.unwrap().call(nowhere()).await;
        assert!(late.unwrap_err().is::<Elapsed>());

        let mut first = layered(Duration::from_secs(30));
        let mut second = first.clone();
        let connecting = first.ready().await.unwrap().call(nowhere());
        assert!(second.ready().now_or_never().is_none(), "one at a time");
        drop(connecting);
        assert!(second.ready().now_or_never().is_some());
        server.abort();
    });
}
