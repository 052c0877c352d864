//! A TCP echo server: the same code as with tokio, but for the import.
//!
//! Try it: `ip address add 198.18.0.1/24 dev tp0`, then `nc 198.18.0.2 7`.
#![forbid(unsafe_code)]

use std::pin::pin;

use clap::Parser;
use dpdk_net::net::TcpListener;
use dpdk_net_examples::Device;

#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    device: Device,
}

fn main() -> anyhow::Result<()> {
    dpdk_net_examples::log();
    let options = Options::parse();
    options.device.app("echo").run(|ctx| async move {
        let listener = TcpListener::bind("[::]:7").await?;
        println!("echo on {:?} port 7", options.device.addresses);
        // SIGINT and SIGTERM; the application then drains its connections.
        let mut shutdown = pin!(ctx.shutdown());
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (mut stream, _peer) = accepted?;
                    tokio::spawn(async move {
                        let (mut reader, mut writer) = stream.split();
                        tokio::io::copy(&mut reader, &mut writer).await
                    });
                }
                () = &mut shutdown => return anyhow::Ok(()),
            }
        }
    })?
}
