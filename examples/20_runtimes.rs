//! One HTTP server, on whichever runtime it is told to run.
//!
//! It asks for nothing of tokio's runtime: tasks are spawned by `runtime::spawn_local`, time is `dpdk_net::time`. hyper, tokio's traits
//! and `select!` need no runtime.
//!
//! Try it: `20_runtimes --runtime local`, then `ip address add 198.18.0.1/24 dev tp0` and `curl http://198.18.0.2:8080/you`.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::pin::pin;
use std::time::Duration;

use clap::Parser;
use dpdk_net::Context;
use dpdk_net::net::TcpListener;
use dpdk_net::runtime::{RuntimeKind, spawn_local};
use dpdk_net::time;
use dpdk_net_examples::Device;
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;

#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    device: Device,
    /// What tasks run on: tokio, local, smol or compio
    #[arg(long, default_value_t)]
    runtime: RuntimeKind,
    #[arg(long, default_value_t = 8080)]
    port: u16,
}

/// Says who was asked for; `/slow` takes 50 ms for it.
async fn answer(
    runtime: RuntimeKind,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    if request.uri().path() == "/slow" {
        time::sleep(Duration::from_millis(50)).await;
    }
    let text = format!("{runtime} serves {}\n", request.uri().path());
    Ok(Response::new(Full::new(text.into())))
}

async fn serve(ctx: Context, runtime: RuntimeKind, port: u16) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("::", port)).await?;
    println!("http on port {port}, on {runtime}");
    let mut shutdown = pin!(ctx.shutdown());
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let (stream, _peer) = accepted?;
                let service = service_fn(move |request| answer(runtime, request));
                let connection = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service);
                spawn_local(connection)?;
            }
            () = &mut shutdown => return Ok(()),
        }
    }
}

fn main() -> anyhow::Result<()> {
    dpdk_net_examples::log();
    let Options {
        device,
        runtime,
        port,
    } = Options::parse();
    let app = device.app("runtimes").runtime(runtime);
    app.run(move |ctx| serve(ctx, runtime, port))?
}
