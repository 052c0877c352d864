//! An axum application, unmodified: `axum::serve` takes our listener as it takes tokio's.
//!
//! Try it: `ip address add 198.18.0.1/24 dev tp0`, then `curl http://198.18.0.2/hello/you`.
#![forbid(unsafe_code)]

use std::time::Duration;

use axum::Router;
use axum::extract::Path;
use axum::routing::get;
use clap::Parser;
use dpdk_net::net::TcpListener;
use dpdk_net_examples::Device;

#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    device: Device,
    /// TCP port
    #[arg(long, default_value_t = 80)]
    port: u16,
}

async fn hello(Path(name): Path<String>) -> String {
    format!("hello, {name}\n")
}

/// tokio's timers work beside the stack.
async fn slow() -> &'static str {
    tokio::time::sleep(Duration::from_millis(200)).await;
    "that took a while\n"
}

fn main() -> anyhow::Result<()> {
    dpdk_net_examples::log();
    let options = Options::parse();
    options.device.app("axum").run(|ctx| async move {
        let site = Router::new()
            .route("/hello/{name}", get(hello))
            .route("/slow", get(slow));
        let listener = TcpListener::bind(format!("[::]:{}", options.port)).await?;
        println!(
            "http on {:?} port {}",
            options.device.addresses, options.port
        );
        axum::serve(listener, site)
            .with_graceful_shutdown(ctx.shutdown())
            .await?;
        anyhow::Ok(())
    })?
}
