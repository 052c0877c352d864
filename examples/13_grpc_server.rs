//! A gRPC server: tonic, on our connections. All four kinds of methods, deadlines, TLS.
//!
//! Try it: `13_grpc_server --port 50051`, then `14_grpc_client` on another machine, or any gRPC client with `proto/numbers.proto`.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use dpdk_net::net::TcpListener;
use dpdk_net_examples::Device;
use dpdk_net_examples::numbers::Number;
use dpdk_net_examples::numbers::numbers_server::{Numbers, NumbersServer};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use tonic::transport::{Identity, Server, ServerTlsConfig};
use tonic::{Request, Response, Status, Streaming};

#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    device: Device,
    /// TCP port
    #[arg(long, default_value_t = 50_051)]
    port: u16,
    /// Our certificate, as PEM: the server then speaks TLS
    #[arg(long, requires = "key")]
    cert: Option<PathBuf>,
    /// Its key
    #[arg(long, requires = "cert")]
    key: Option<PathBuf>,
}

#[derive(Debug)]
struct Service;

type Numbered = Pin<Box<dyn Stream<Item = Result<Number, Status>> + Send>>;

fn number(value: Option<u64>) -> Result<Number, Status> {
    value
        .map(|value| Number { value })
        .ok_or_else(|| Status::out_of_range("the number has more than 64 bits"))
}

#[tonic::async_trait]
impl Numbers for Service {
    async fn square(&self, request: Request<Number>) -> Result<Response<Number>, Status> {
        let peer = request.remote_addr();
        let value = request.into_inner().value;
        let mut response = Response::new(number(value.checked_mul(value))?);
        if let Some(peer) = peer.and_then(|peer| peer.to_string().parse().ok()) {
            response.metadata_mut().insert("peer", peer);
        }
        Ok(response)
    }

    type CountStream = Numbered;

    async fn count(&self, request: Request<Number>) -> Result<Response<Numbered>, Status> {
        let numbers = 1..=request.into_inner().value;
        // As fast as the client takes them: HTTP/2's flow control holds the stream back.
        Ok(Response::new(Box::pin(stream::iter(
            numbers.map(|value| Ok(Number { value })),
        ))))
    }

    async fn sum(&self, request: Request<Streaming<Number>>) -> Result<Response<Number>, Status> {
        let add =
            |sum: u64, next: Number| async move { Ok(number(sum.checked_add(next.value))?.value) };
        let value = request.into_inner().try_fold(0, add).await?;
        Ok(Response::new(Number { value }))
    }

    type AccumulateStream = Numbered;

    async fn accumulate(
        &self,
        request: Request<Streaming<Number>>,
    ) -> Result<Response<Numbered>, Status> {
        let sums = request.into_inner().scan(Some(0u64), |sum, next| {
            let next = next.and_then(|next| {
                *sum = sum.and_then(|sum| sum.checked_add(next.value));
                number(*sum)
            });
            std::future::ready(Some(next))
        });
        Ok(Response::new(Box::pin(sums)))
    }

    async fn wait(&self, request: Request<Number>) -> Result<Response<Number>, Status> {
        let number = request.into_inner();
        if number.value > 60_000 {
            return Err(Status::invalid_argument("longer than a minute"));
        }
        tokio::time::sleep(Duration::from_millis(number.value)).await;
        Ok(Response::new(number))
    }
}

fn tls(options: &Options) -> anyhow::Result<Option<ServerTlsConfig>> {
    let (Some(cert), Some(key)) = (&options.cert, &options.key) else {
        return Ok(None);
    };
    let read = |path: &PathBuf| {
        std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
    };
    let identity = Identity::from_pem(read(cert)?, read(key)?);
    Ok(Some(ServerTlsConfig::new().identity(identity)))
}

fn main() -> anyhow::Result<()> {
    dpdk_net_examples::log();
    let options = Options::parse();
    let mut server = Server::builder()
        .max_concurrent_streams(1_000)
        .http2_keepalive_interval(Some(Duration::from_secs(30)));
    if let Some(tls) = tls(&options)? {
        server = server.tls_config(tls)?;
    }
    options.device.app("grpc-server").run(|ctx| async move {
        let listener = TcpListener::bind(("::", options.port)).await?;
        println!(
            "grpc on {:?} port {}",
            options.device.addresses, options.port
        );
        server
            .add_service(NumbersServer::new(Service))
            .serve_with_incoming_shutdown(listener.into_stream(), ctx.shutdown())
            .await?;
        anyhow::Ok(())
    })?
}
