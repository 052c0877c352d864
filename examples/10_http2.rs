//! HTTP/2 beside HTTP/1.1: an axum site as it is, and hyper's own HTTP/2 server for handlers that must not leave their thread.
//!
//! HTTP/2 in clear text is by prior knowledge (RFC 9113 section 3.3); over TLS it is agreed on by ALPN.
//!
//! Try it: `curl --http2-prior-knowledge http://198.18.0.2/hello`, `h2load -n 100000 -c 10 -m 10 http://198.18.0.2/hello`.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::http::{StatusCode, Version};
use axum::routing::{get, post};
use clap::Parser;
use dpdk_net::net::TcpListener;
use dpdk_net_examples::filled::filled;
use dpdk_net_examples::{Device, LocalExecutor};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioIo, TokioTimer};

#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    device: Device,
    /// TCP port of the site; hyper's server has the one after it
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u16).range(..65_535))]
    port: u16,
    /// Serve the site over the kernel too, on this address of the machine
    #[arg(long)]
    kernel: Option<IpAddr>,
}

/// The largest body that may be asked for.
const LARGEST: usize = 64 << 20;

async fn bytes(Path(length): Path<usize>) -> Result<Response<Body>, StatusCode> {
    (length <= LARGEST)
        .then(|| filled(length))
        .ok_or(StatusCode::PAYLOAD_TOO_LARGE)
}

async fn version(version: Version) -> String {
    format!("{version:?}\n")
}

fn site() -> Router {
    Router::new()
        .route("/hello", get(|| async { "hello\n" }))
        .route("/version", get(version))
        .route("/bytes/{length}", get(bytes))
        // As it comes in, so it goes out.
        .route("/echo", post(|body: Body| async { body }))
}

/// Serves HTTP/2 by itself. Nothing here is `Send`: the handler counts without a lock, and its tasks stay on the worker.
async fn local(listener: TcpListener) -> std::io::Result<()> {
    let served = Rc::new(Cell::new(0u64));
    loop {
        let (stream, peer) = listener.accept().await?;
        let served = served.clone();
        let service = service_fn(move |_: Request<Incoming>| {
            served.set(served.get() + 1);
            let text = format!("request {}\n", served.get());
            async move { Ok::<_, Infallible>(Response::new(text)) }
        });
        tokio::task::spawn_local(async move {
            let mut http = http2::Builder::new(LocalExecutor);
            http.timer(TokioTimer::new()).max_concurrent_streams(100);
            if let Err(error) = http.serve_connection(TokioIo::new(stream), service).await {
                eprintln!("{peer}: {error}");
            }
        });
    }
}

fn main() -> anyhow::Result<()> {
    dpdk_net_examples::log();
    let options = Options::parse();
    options.device.app("http2").run(|ctx| async move {
        let ours = TcpListener::bind(("::", options.port)).await?;
        let by_hyper = TcpListener::bind(("::", options.port + 1)).await?;
        if let Some(ip) = options.kernel {
            let theirs = tokio::net::TcpListener::bind(SocketAddr::new(ip, options.port)).await?;
            tokio::spawn(axum::serve(theirs, site()).into_future());
        }
        println!(
            "http on {:?} port {}",
            options.device.addresses, options.port
        );
        tokio::select! {
            served = axum::serve(ours, site()).with_graceful_shutdown(ctx.shutdown()) => served?,
            served = local(by_hyper) => served?,
        }
        anyhow::Ok(())
    })?
}
