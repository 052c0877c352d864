//! What others bring: hyper, the connector, async-io's and compio's own sockets, and what needs tokio's runtime.

use std::convert::Infallible;
use std::io::ErrorKind;
use std::time::{Duration, Instant};

use dpdk_net::http::Connector;
use dpdk_net::net::{TcpListener, TcpStream};
use dpdk_net::runtime::{Runtime, spawn_local};
use dpdk_net::time::timeout;
use http_body_util::{BodyExt, Empty, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use hyper_util::rt::TokioIo;
use tower_service::Service;

use crate::bed::run;
use crate::common::*;
use crate::sockets::{answer_names, ask, serve};

const TICK: Duration = Duration::from_millis(20);

/// A site that says what it was asked for.
async fn site(at: std::net::SocketAddr) {
    let listener = TcpListener::bind(at).await.unwrap();
    spawn_local(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let said = service_fn(|request: Request<Incoming>| async move {
                let path = request.uri().path().to_owned();
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(path))))
            });
            let connection = hyper::server::conn::http1::Builder::new();
            spawn_local(connection.serve_connection(TokioIo::new(stream), said)).unwrap();
        }
    })
    .unwrap();
}

/// Gets two pages over one connection.
async fn get_twice(stream: TokioIo<TcpStream>) {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
    let connection = spawn_local(connection).unwrap();
    for path in ["/first", "/second"] {
        let request = Request::get(path).header("host", "ours");
        let request = request.body(Empty::<Bytes>::new()).unwrap();
        let response = sender.send_request(request).await.unwrap();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, path);
    }
    drop(sender);
    connection.await.unwrap().unwrap();
}

pub(crate) fn hyper_serves_and_asks_over_http1<R: Runtime>() {
    run::<R, _, _>(|net| async move {
        for (server, _) in FAMILIES {
            site(at(server, 80)).await;
            let stream = net.client.scope(TcpStream::connect(at(server, 80)));
            get_twice(TokioIo::new(stream.await.unwrap())).await;
        }
    });
}

pub(crate) fn the_connector_looks_up_connects_and_gives_up_in_time<R: Runtime>() {
    run::<R, _, _>(|net| async move {
        let dns = |server| {
            let changed = net.client.dns().change(|config| {
                config.servers = vec![at(server, 53)];
            });
            changed.unwrap();
        };
        answer_names(at(SERVER_V4, 53), [198, 18, 0, 1]).await;
        dns(SERVER_V4);
        site(at(SERVER_V4, 80)).await;
        let mut connector = Connector::new().handle(net.client.clone());
        let uri = Uri::from_static("http://www.example.org/");
        get_twice(connector.call(uri).await.unwrap()).await;

        // Nobody has this address, and nobody answers for that name: its own timer ends both.
        let mut hasty = connector.connect_timeout(Some(TICK));
        let nowhere = Uri::from_static("http://198.18.0.99/");
        let late = hasty.call(nowhere).await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::TimedOut);
        dns("198.18.0.99");
        let nameless = Uri::from_static("http://other.example.org/");
        let late = hasty.call(nameless).await.unwrap_err();
        assert_eq!(late.kind(), ErrorKind::TimedOut);
    });
}

pub(crate) fn sockets_and_timers_of_async_io_work_beside_ours<R: Runtime>() {
    run::<R, _, _>(|net| async move {
        let started = Instant::now();
        async_io::Timer::after(TICK).await;
        assert!(started.elapsed() >= TICK);

        let theirs = async_io::Async::<std::net::UdpSocket>::bind(([127, 0, 0, 1], 0)).unwrap();
        let to = theirs.get_ref().local_addr().unwrap();
        let from = async_io::Async::<std::net::UdpSocket>::bind(([127, 0, 0, 1], 0)).unwrap();
        let got = spawn_local(async move {
            let mut buf = [0; 16];
            let (len, _) = theirs.recv_from(&mut buf).await.unwrap();
            buf[..len].to_vec()
        });
        // Ours has its turns meanwhile.
        let ours = serve(at(SERVER_V4, 0)).await;
        ask(&net, ours, pattern(10_000)).await;
        from.send_to(b"kernel", to).await.unwrap();
        assert_eq!(got.unwrap().await.unwrap(), b"kernel");
    });
}

pub(crate) fn what_needs_tokios_runtime_says_so_and_the_worker_goes_on<R: Runtime>() {
    run::<R, _, _>(|net| async move {
        let is_tokios = R::NAME == "tokio";
        let tasks = [
            spawn_local(async { drop(tokio::spawn(async {}).await) }),
            spawn_local(async { tokio::time::sleep(Duration::ZERO).await }),
            spawn_local(async { drop(tokio::net::UdpSocket::bind("127.0.0.1:0").await) }),
            // Its first connection is to be a task of tokio's.
            spawn_local(async {
                let listener = TcpListener::bind(at(SERVER_V4, 81)).await.unwrap();
                let served = axum::serve(listener, axum::Router::new());
                drop(timeout(10 * TICK, served.into_future()).await);
            }),
        ];
        let client = net.client.scope(TcpStream::connect(at(SERVER_V4, 81)));
        let _client = client.await.unwrap();
        for (number, task) in tasks.into_iter().enumerate() {
            let ended = task.unwrap().await;
            assert_eq!(ended.is_ok(), is_tokios, "{number}: {ended:?}");
            if let Err(error) = ended {
                assert!(error.is_panic(), "{number}: {error}");
                assert!(error.to_string().contains("reactor"), "{number}: {error}");
            }
        }
        let to = serve(at(SERVER_V6, 0)).await;
        ask(&net, to, pattern(1000)).await;
    });
}

#[test]
fn sockets_timers_and_tasks_of_compio_work_on_compio() {
    run::<dpdk_net::runtime::Compio, _, _>(|net| async move {
        let started = Instant::now();
        compio_runtime::time::sleep(TICK).await;
        assert!(started.elapsed() >= TICK);

        let theirs = compio_net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let to = theirs.local_addr().unwrap();
        let got = compio_runtime::spawn(async move {
            let received = theirs.recv_from(Vec::with_capacity(16)).await;
            (received.0.unwrap().0, received.1)
        });
        let ours = serve(at(SERVER_V4, 0)).await;
        ask(&net, ours, pattern(10_000)).await;
        let from = compio_net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        from.send_to(b"kernel".to_vec(), to).await.0.unwrap();
        let (len, buf) = got.await.unwrap();
        assert_eq!((len, &*buf), (6, &b"kernel"[..]));
    });
}
