//! A reverse proxy, as nginx is one: requests come in over our port, HTTP/1.1 or HTTP/2, and go to one of several upstreams, over the
//! port too or over the kernel.
//!
//! Each upstream has its turn; one that fails is left out for a while, and an idempotent request is tried on another. Connections to them
//! are kept. Headers of one hop are taken out and `X-Forwarded-For` put in; WebSockets pass; each wait has its limit. The proxy itself is
//! the one of `dpdk-net run`, from `dpdk-net-serve`.
//!
//! Try it: `15_reverse_proxy --via kernel --to 127.0.0.1:8000 --to 127.0.0.1:8001`, then `curl http://198.18.0.2/`.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use dpdk_net::net::{TcpListener, TcpStream};
use dpdk_net_examples::Device;
use dpdk_net_serve::{Connect, Limits, Proxy, RouteRule, Site, SiteService, Target, serve};

#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    device: Device,
    /// TCP port
    #[arg(long, default_value_t = 80)]
    port: u16,
    /// How upstreams are reached
    #[arg(long, value_enum, default_value_t = Via::Kernel)]
    via: Via,
    /// An upstream; repeat for several
    #[arg(long, default_value = "127.0.0.1:8000")]
    to: Vec<SocketAddr>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Via {
    /// Over our port, by our connections
    Port,
    /// Over the kernel's network
    Kernel,
}

fn site(upstreams: &[SocketAddr]) -> Site {
    let mut proxy = Proxy::new(upstreams.iter().copied());
    proxy.body_limit = Some(64 << 20);
    proxy.connect_timeout = Duration::from_secs(2);
    proxy.response_timeout = Duration::from_secs(10);
    proxy.fail_for = Duration::from_secs(5);
    Site::new([RouteRule::new("/", Target::Proxy(proxy))])
}

async fn run<C: Connect>(
    options: &Options,
    connect: C,
    shutdown: impl Future<Output = ()>,
) -> anyhow::Result<()> {
    let service = SiteService::new(site(&options.to), connect)?;
    let listener = TcpListener::bind(("::", options.port)).await?;
    println!(
        "proxy on {:?} port {} to {:?}",
        options.device.addresses, options.port, options.to
    );
    serve(listener, service, Limits::default(), shutdown).await;
    Ok(())
}

fn main() -> anyhow::Result<()> {
    dpdk_net_examples::log();
    let options = Options::parse();
    options.device.app("reverse-proxy").run(|ctx| async move {
        let end = ctx.shutdown();
        match options.via {
            Via::Port => run(&options, |to: SocketAddr| TcpStream::connect(to), end).await,
            Via::Kernel => {
                let connect = |to: SocketAddr| tokio::net::TcpStream::connect(to);
                run(&options, connect, end).await
            }
        }
    })?
}
