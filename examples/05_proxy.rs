//! Kernel sockets and ours in one task: a TCP proxy from the DPDK port to a service on this machine.
//!
//! Try it: `python3 -m http.server --bind 127.0.0.1 8000`, then `curl http://198.18.0.2/`.
#![forbid(unsafe_code)]

use std::net::SocketAddr;
use std::pin::pin;

use clap::Parser;
use dpdk_net_examples::Device;

#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    device: Device,
    /// TCP port on the DPDK side
    #[arg(long, default_value_t = 80)]
    port: u16,
    /// The service that the kernel reaches
    #[arg(long, default_value = "127.0.0.1:8000")]
    to: SocketAddr,
}

async fn proxy(mut outside: dpdk_net::net::TcpStream, to: SocketAddr) -> std::io::Result<()> {
    let mut inside = tokio::net::TcpStream::connect(to).await?;
    tokio::io::copy_bidirectional(&mut outside, &mut inside).await?;
    Ok(())
}

fn main() -> anyhow::Result<()> {
    dpdk_net_examples::log();
    let options = Options::parse();
    options.device.app("proxy").run(|ctx| async move {
        let listener = dpdk_net::net::TcpListener::bind(format!("[::]:{}", options.port)).await?;
        println!(
            "proxy from {:?} port {} to {}",
            options.device.addresses, options.port, options.to
        );
        let mut shutdown = pin!(ctx.shutdown());
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (stream, peer) = accepted?;
                    tokio::spawn(async move {
                        if let Err(error) = proxy(stream, options.to).await {
                            eprintln!("{peer}: {error}");
                        }
                    });
                }
                () = &mut shutdown => return anyhow::Ok(()),
            }
        }
    })?
}
