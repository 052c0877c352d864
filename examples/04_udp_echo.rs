//! A UDP echo server.
//!
//! Try it: `ip address add 198.18.0.1/24 dev tp0`, then `nc -u 198.18.0.2 7`.
#![forbid(unsafe_code)]

use std::pin::pin;

use clap::Parser;
use dpdk_net::net::UdpSocket;
use dpdk_net_examples::Device;

#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    device: Device,
}

fn main() -> anyhow::Result<()> {
    dpdk_net_examples::log();
    let options = Options::parse();
    options.device.app("udp-echo").run(|ctx| async move {
        let socket = UdpSocket::bind("[::]:7").await?;
        println!("UDP echo on {:?} port 7", options.device.addresses);
        let mut shutdown = pin!(ctx.shutdown());
        let mut datagram = vec![0; 65_535];
        loop {
            tokio::select! {
                received = socket.recv_from(&mut datagram) => {
                    let (length, from) = received?;
                    // Not to a service that would answer in turn: a forged sender could set two echoing for ever.
                    if from.port() >= 1024 {
                        socket.send_to(&datagram[..length], from).await?;
                    }
                }
                () = &mut shutdown => return anyhow::Ok(()),
            }
        }
    })?
}
