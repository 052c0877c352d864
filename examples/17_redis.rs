//! A server of the Redis protocol, RESP2 and RESP3: strings, lists, sets and hashes in memory, with pipelines and inline commands.
//!
//! There is one store a program, which all workers share: a client's connections come to whichever queue RSS takes them to, and have to
//! find the same keys there. It is locked once for what a connection has sent at a time, so a command, `MSET` too, is whole or not there.
//! On one worker nobody else ever holds the lock.
//!
//! What a client can make grow has a bound: a request, a reply, the store, and how many clients there are.
//!
//! Try it: `redis-cli -h 198.18.0.2`, `redis-benchmark -h 198.18.0.2 -t set,get,incr,lpush,mset -P 16`.
#![forbid(unsafe_code)]

mod redis;

use std::net::IpAddr;
use std::pin::pin;

use clap::Parser;
use dpdk_net_examples::Device;

use redis::{Limits, Server};

#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    device: Device,
    /// TCP port
    #[arg(long, default_value_t = 6379)]
    port: u16,
    /// Serve over the kernel too, on this address of the machine
    #[arg(long)]
    kernel: Option<IpAddr>,
    #[command(flatten)]
    limits: Limits,
}

fn main() -> anyhow::Result<()> {
    dpdk_net_examples::log();
    let options = Options::parse();
    options.device.app("redis").run(|ctx| async move {
        let server = Server::new(options.limits);
        if let Some(ip) = options.kernel {
            let listener = tokio::net::TcpListener::bind((ip, options.port)).await?;
            let server = server.clone();
            tokio::spawn(async move {
                while let Ok((stream, _)) = listener.accept().await {
                    let _ = stream.set_nodelay(true);
                    tokio::spawn(server.clone().serve(stream));
                }
            });
        }
        let listener = dpdk_net::net::TcpListener::bind(("::", options.port)).await?;
        println!(
            "redis on {:?} port {}",
            options.device.addresses, options.port
        );
        let mut shutdown = pin!(ctx.shutdown());
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    let (stream, peer) = accepted?;
                    stream.set_nodelay(true)?;
                    let client = server.clone().serve(stream);
                    tokio::spawn(async move {
                        if let Err(error) = client.await {
                            eprintln!("{peer}: {error}");
                        }
                    });
                }
                () = &mut shutdown => return anyhow::Ok(()),
            }
        }
    })?
}
