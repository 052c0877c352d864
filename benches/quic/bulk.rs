//! Bulk over one stream of quinn, both ends on one thread.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use anyhow::Context;
use dpdk_net::net::UdpSocket;
use dpdk_net::{IdlePolicy, Reactor, Worker, WorkerConfig, quic};
use dpdk_net_bench::cpu;
use dpdk_net_bench::host::{address, config, eal, joined};
use quinn::{ClientConfig, Endpoint, ServerConfig};
use rustls::RootCertStore;
use rustls_pki_types::PrivateKeyDer;

const NAME: &str = "server.test";
const PORT: u16 = 4433;
/// What a sender writes at a time.
const PIECE: usize = 64 << 10;

/// What a run has come to.
pub(crate) struct Figures {
    pub(crate) megabytes_per_second: f64,
    pub(crate) cpu_ns_per_kilobyte: f64,
}

/// A run in a process of its own.
pub(crate) fn in_process(case: &str, megabytes: usize) -> anyhow::Result<Figures> {
    let output = std::process::Command::new(std::env::current_exe()?)
        .args(["--case", case, "--megabytes", &megabytes.to_string()])
        .output()
        .context("running one case")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let figures = text.lines().last().and_then(|line| {
        let (megabytes_per_second, cpu) = line.split_once(' ')?;
        Some(Figures {
            megabytes_per_second: megabytes_per_second.parse().ok()?,
            cpu_ns_per_kilobyte: cpu.parse().ok()?,
        })
    });
    figures.with_context(|| {
        let told = String::from_utf8_lossy(&output.stderr);
        format!("the case failed:\n{text}{told}")
    })
}

fn configs() -> anyhow::Result<(ServerConfig, ClientConfig)> {
    let made = rcgen::generate_simple_self_signed(vec![NAME.to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let certificate = made.cert.der().clone();
    let mut roots = RootCertStore::empty();
    roots.add(certificate.clone())?;
    Ok((
        ServerConfig::with_single_cert(vec![certificate], key)?,
        ClientConfig::with_root_certificates(Arc::new(roots))?,
    ))
}

/// Sends so many bytes from one endpoint to the other, and prints the figures.
async fn measure(
    server: Endpoint,
    client: Endpoint,
    to: SocketAddr,
    bytes: usize,
) -> anyhow::Result<()> {
    let receiver = tokio::spawn(async move {
        let connection = server.accept().await.context("a connection")?.await?;
        let mut stream = connection.accept_uni().await?;
        let mut received = 0;
        while let Some(chunk) = stream.read_chunk(usize::MAX, true).await? {
            received += chunk.bytes.len();
        }
        anyhow::ensure!(received == bytes, "{received} of {bytes} bytes came");
        connection.close(0_u32.into(), b"");
        anyhow::Ok(())
    });
    let connection = client.connect(to, NAME)?.await?;
    let mut stream = connection.open_uni().await?;
    let thread = rustix::thread::gettid();
    let (start, used) = (Instant::now(), cpu::of_thread(thread)?);
    let piece = vec![7; PIECE];
    let mut left = bytes;
    while left > 0 {
        let some = left.min(PIECE);
        stream.write_all(&piece[..some]).await?;
        left -= some;
    }
    stream.finish()?;
    receiver.await??;
    let (time, used) = (start.elapsed(), cpu::of_thread(thread)? - used);
    let per_second = bytes as f64 / 1e6 / time.as_secs_f64();
    println!(
        "{per_second} {}",
        used.as_nanos() as f64 / (bytes as f64 / 1e3)
    );
    Ok(())
}

pub(crate) fn kernel(bytes: usize) -> anyhow::Result<()> {
    let (server, client) = configs()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(on_task(async move {
        let local = SocketAddr::from(([127, 0, 0, 1], 0));
        let server = Endpoint::server(server, local)?;
        let mut endpoint = Endpoint::client(local)?;
        endpoint.set_default_client_config(client);
        let to = server.local_addr()?;
        measure(server, endpoint, to, bytes).await
    }))
}

/// Runs it as a task: a runtime polls what it blocks on less often than its tasks.
async fn on_task(
    work: impl Future<Output = anyhow::Result<()>> + Send + 'static,
) -> anyhow::Result<()> {
    tokio::spawn(work).await?
}

pub(crate) fn ours(bytes: usize) -> anyhow::Result<()> {
    let (server, client) = configs()?;
    let eal = eal("quic")?;
    let [ours, theirs] = joined(&eal)?;
    let side = |(queues, pool), host| {
        let worker = WorkerConfig::new(&eal, queues, pool, config(host));
        worker.idle(IdlePolicy::Yield { after: 100 })
    };
    let worker = Worker::new(side(ours, 1))?;
    let reactor = Reactor::new(side(theirs, 2))?;
    let theirs = reactor.handle();
    let reactor = worker.spawn_local(reactor);
    let outcome = worker.block_on(on_task(async move {
        let to = SocketAddr::new(address(1), PORT);
        let server = quic::server(server, UdpSocket::bind(to).await?)?;
        let any = SocketAddr::new(address(2), 0);
        let mut endpoint = quic::client(theirs.scope(UdpSocket::bind(any)).await?)?;
        endpoint.set_default_client_config(client);
        measure(server, endpoint, to, bytes).await
    }));
    reactor.abort();
    outcome
}
