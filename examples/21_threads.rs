//! A multi-thread runtime over one worker: the worker has the port and polls it, the requests are answered by the threads of tokio's
//! multi-thread runtime.
//!
//! - `/thread` tells which thread answers: the threads take the connections among themselves.
//! - `/echo` gives back what is posted.
//! - `/worker` has the worker spawn a future, which need not be `Send`, and waits for it.
//! - `/visits` asks a task on the worker, which alone has the counters, by a channel.
//!
//! What it costs to use sockets from other threads, and when it is worth it, is in `docs/threads.md`.
//!
//! Try it: `21_threads --threads 4`, then `curl http://198.18.0.2/thread`.
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::rc::Rc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::routing::{get, post};
use clap::Parser;
use dpdk_net::Handle;
use dpdk_net::channel::{self, Receiver, Sender};
use dpdk_net::net::TcpListener;
use dpdk_net_examples::Device;
use tokio::sync::oneshot;

#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    device: Device,
    /// TCP port
    #[arg(long, default_value_t = 80)]
    port: u16,
    /// Threads that answer requests
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: u16,
}

/// Where a visit is counted: what is sent is where the count goes to.
type Visits = Sender<oneshot::Sender<u64>>;

#[derive(Clone)]
struct Shared {
    worker: Handle,
    visits: Visits,
}

/// The name of the thread that runs this.
fn thread() -> String {
    let thread = std::thread::current();
    format!("{}\n", thread.name().unwrap_or("nameless"))
}

/// Something went wrong that the client has no part in.
fn unavailable(error: impl std::fmt::Display) -> (StatusCode, String) {
    (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n"))
}

type Answer = Result<String, (StatusCode, String)>;

async fn on_the_worker(State(shared): State<Shared>) -> Answer {
    let task = shared.worker.spawn_on(|| async {
        // An Rc may be held across an await here: the future is made on the worker and stays there.
        let steps = Rc::new(Cell::new(0));
        for _ in 0..3 {
            tokio::task::yield_now().await;
            steps.set(steps.get() + 1);
        }
        format!("{} steps on {}", steps.get(), thread())
    });
    task.map_err(unavailable)?.await.map_err(unavailable)
}

async fn visit(State(shared): State<Shared>) -> Answer {
    let (tell, told) = oneshot::channel();
    shared.visits.send(tell).await.map_err(unavailable)?;
    let count = told.await.map_err(unavailable)?;
    Ok(format!("{count}\n"))
}

/// Counts visits, until nobody can visit any more.
async fn count(mut visits: Receiver<oneshot::Sender<u64>>) {
    let (mut count, mut batch) = (0, Vec::new());
    while visits.recv_many(&mut batch, 64).await > 0 {
        for tell in batch.drain(..) {
            count += 1;
            // Whoever asked may be gone.
            let _ = tell.send(count);
        }
    }
}

fn site(shared: Shared) -> Router {
    Router::new()
        .route("/thread", get(|| async { thread() }))
        .route("/echo", post(|body: Bytes| async { body }))
        .route("/worker", get(on_the_worker))
        .route("/visits", get(visit))
        .layer(DefaultBodyLimit::max(64 << 20))
        .with_state(shared)
}

fn main() -> anyhow::Result<()> {
    dpdk_net_examples::log();
    let options = Options::parse();
    // It ends after the application, outside of any runtime.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.threads.into())
        .thread_name("http")
        .enable_all()
        .build()?;
    let threads = runtime.handle().clone();
    options.device.app("threads").run(|ctx| async move {
        let (visits, visited) = channel::bounded(1024);
        tokio::task::spawn_local(count(visited));
        let site = site(Shared {
            worker: ctx.handle().clone(),
            visits,
        });
        // Made on the worker, used by the threads.
        let listener = TcpListener::bind(("::", options.port)).await?;
        println!(
            "http on {:?} port {}, answered by {} threads",
            options.device.addresses, options.port, options.threads
        );
        let served = axum::serve(listener, site).with_graceful_shutdown(ctx.shutdown());
        threads.spawn(served.into_future()).await??;
        anyhow::Ok(())
    })?
}
