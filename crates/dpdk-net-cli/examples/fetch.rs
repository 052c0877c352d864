//! Fetches pages by plain HTTP over a virtual device of its own, to stdout: a peer for `dpdk-net demo` where the other
//! end of the wire is a second DPDK process and no kernel.
//!
//! ```sh
//! dpdk-net demo --device memif=/tmp/demo.memif
//! fetch --vdev net_memif0,role=client,socket=/tmp/demo.memif,socket-abstract=no http://198.18.0.2/
//! ```
#![forbid(unsafe_code)]

use std::error::Error;
use std::io::Write;

use clap::Parser;
use dpdk_net::net::TcpStream;
use dpdk_net::rte::Eal;
use dpdk_net::{App, IdlePolicy};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

#[derive(Debug, Parser)]
struct Options {
    /// The virtual device, as given to EAL's --vdev
    #[arg(long)]
    vdev: String,
    /// Our address with its prefix length; repeat for several
    #[arg(long = "address", default_values = ["198.18.0.1/24", "fd00:198:18::1/64"])]
    addresses: Vec<String>,
    /// What to fetch, one after the other: http://HOST[:PORT]/PATH
    #[arg(required = true)]
    urls: Vec<String>,
}

/// The body that `url` answers with.
async fn fetch(url: &str) -> Result<Vec<u8>, Box<dyn Error>> {
    let (host, path) = url
        .strip_prefix("http://")
        .and_then(|rest| rest.split_once('/'))
        .ok_or("a URL is http://HOST[:PORT]/PATH")?;
    // The colons of an IPv6 address stand in brackets.
    let has_port = host
        .rsplit_once(':')
        .is_some_and(|(_, port)| !port.contains(']'));
    let authority = if has_port {
        host.to_owned()
    } else {
        format!("{host}:80")
    };
    let mut stream = TcpStream::connect(authority.as_str()).await?;
    let request = format!("GET /{path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut response = Vec::new();
    stream.read_to_end(&mut response).await?;
    let head = response
        .windows(4)
        .position(|four| four == b"\r\n\r\n")
        .ok_or("the response has no end of its header")?;
    if !response.starts_with(b"HTTP/1.1 200 ") {
        return Err(String::from_utf8_lossy(&response[..head]).into());
    }
    Ok(response.split_off(head + 4))
}

fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt()
        .with_env_filter("warn,dpdk=off,dpdk_net=warn")
        .with_writer(std::io::stderr)
        .init();
    let options = Options::parse();
    let eal = Eal::builder("fetch")
        .vdev(&options.vdev)
        .no_pci()
        .no_huge()
        .no_shconf()
        .no_telemetry()
        .file_prefix(format!("fetch-{}", std::process::id()));
    options
        .addresses
        .iter()
        .fold(App::builder().eal(eal), |app, address| app.address(address))
        .idle(IdlePolicy::Yield { after: 256 })
        .run(|_ctx| async move {
            for url in &options.urls {
                let body = fetch(url)
                    .await
                    .map_err(|error| format!("{url}: {error}"))?;
                std::io::stdout().lock().write_all(&body)?;
            }
            Ok(())
        })?
}
