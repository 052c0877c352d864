//! A gRPC client: tonic's channel over our connections. All four kinds of methods, a deadline, TLS.
//!
//! Try it: `14_grpc_client http://198.18.0.1:50051`, with a server of `proto/numbers.proto` there.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use dpdk_net::http::Connector;
use dpdk_net_examples::Device;
use dpdk_net_examples::numbers::Number;
use dpdk_net_examples::numbers::numbers_client::NumbersClient;
use futures_util::{StreamExt, TryStreamExt, stream};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint};
use tonic::{Code, Request};

#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    device: Device,
    /// Certificates that are trusted, as PEM
    #[arg(long)]
    ca: Option<PathBuf>,
    /// The server
    #[arg(default_value = "http://198.18.0.1:50051")]
    url: String,
}

async fn connect(options: &Options) -> anyhow::Result<Channel> {
    let mut endpoint = Endpoint::from_shared(options.url.clone())?
        .connect_timeout(Duration::from_secs(20))
        .timeout(Duration::from_secs(20));
    if let Some(ca) = &options.ca {
        let ca = std::fs::read(ca).with_context(|| format!("cannot read {}", ca.display()))?;
        let tls = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(ca));
        endpoint = endpoint.tls_config(tls)?;
    }
    // tonic adds TLS around it.
    let connector = Connector::new().enforce_http(false);
    Ok(endpoint.connect_with_connector(connector).await?)
}

fn numbers(values: impl IntoIterator<Item = u64>) -> impl Iterator<Item = Number> {
    values.into_iter().map(|value| Number { value })
}

async fn all_kinds(channel: Channel) -> anyhow::Result<()> {
    let mut client = NumbersClient::new(channel);

    let square = client.square(Number { value: 12 }).await?.into_inner();
    println!("square {}", square.value);

    let counted = client.count(Number { value: 10_000 }).await?.into_inner();
    let counted = counted
        .try_fold(0, |count, _| async move { Ok(count + 1) })
        .await?;
    println!("count {counted}");

    let sum = client.sum(stream::iter(numbers(1..=1_000).collect::<Vec<_>>()));
    println!("sum {}", sum.await?.into_inner().value);

    // Each number goes once the sum of those before has come: so the two directions take turns.
    let (next, outgoing) = tokio::sync::mpsc::channel(1);
    let outgoing = tokio_stream::wrappers::ReceiverStream::new(outgoing);
    next.send(Number { value: 1 }).await?;
    let mut sums = client.accumulate(outgoing).await?.into_inner();
    for value in 2..=100 {
        let sum = sums.next().await.context("the server has ended")??;
        ensure!(
            sum.value == (value - 1) * value / 2,
            "{sum:?} after {value}"
        );
        next.send(Number { value }).await?;
    }
    drop(next);
    let last = sums
        .try_fold(0, |_, sum| async move { Ok(sum.value) })
        .await?;
    println!("accumulate {last}");

    let mut late = Request::new(Number { value: 10_000 });
    late.set_timeout(Duration::from_millis(100));
    match client.wait(late).await {
        Err(status) if matches!(status.code(), Code::DeadlineExceeded | Code::Cancelled) => {
            println!("deadline exceeded");
        }
        other => bail!("a deadline of 100 ms gave {other:?}"),
    }

    match client.square(Number { value: u64::MAX }).await {
        Err(status) if status.code() == Code::OutOfRange => println!("{}", status.message()),
        other => bail!("what is out of range gave {other:?}"),
    }
    Ok(())
}

fn main() -> anyhow::Result<()> {
    dpdk_net_examples::log();
    let options = Options::parse();
    let app = options.device.app("grpc-client");
    app.run(|_ctx| async move { all_kinds(connect(&options).await?).await })?
}
