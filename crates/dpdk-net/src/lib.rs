//! tokio networking on DPDK.
//!
//! A service owns a NIC, or one queue pair of it, and is still written like any tokio program: [`net`] has
//! `TcpListener`, `TcpStream` and `UdpSocket` with tokio's names and semantics, over a TCP/IP stack in user
//! space. [`App`] brings everything up and takes it down; a [`Worker`] is the same for those who bring
//! their own queue pair.
//!
//! ```no_run
//! use dpdk_net::{App, net::TcpListener, rte::Eal};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! App::builder()
//!     .eal(Eal::builder("echo").vdev("net_tap0,iface=tp0").no_huge())
//!     .address("198.18.0.2/24")
//!     .run(|_ctx| async {
//!         let listener = TcpListener::bind("0.0.0.0:7").await?;
//!         loop {
//!             let (mut stream, _) = listener.accept().await?;
//!             tokio::spawn(async move {
//!                 let (mut rx, mut tx) = stream.split();
//!                 tokio::io::copy(&mut rx, &mut tx).await
//!             });
//!         }
//!         # #[allow(unreachable_code)]
//!         # Ok::<(), std::io::Error>(())
//!     })??;
//! # Ok(())
//! # }
//! ```
//!
//! # How it runs
//! One thread, as a rule one DPDK lcore, runs packets, TCP and the program's tasks to completion: a turn
//! of the worker receives a burst, runs the stack, sends what is ready and wakes the tasks it concerns;
//! then those run. The runtime is tokio's current-thread one, so `tokio::spawn`, `tokio::time`, kernel
//! sockets, files and `spawn_blocking` work beside it. A task that computes for long without an `.await`
//! keeps its worker from the NIC: that belongs into `spawn_blocking`.
//!
//! # Features
//! - `config`, on by default: [`App::from_file`].
//! - `control`, on by default: [`AppBuilder::control_socket`], and its client.
//! - `axum`: `axum::serve` takes our `TcpListener`.
//! - `connector`: `http::Connector`, for HTTP clients and gRPC over our connections.
//! - `metrics` (default): counters and histograms; without it they are compiled out and read as zero.
//! - `metrics-facade`, `opentelemetry`: the figures of [`metrics`] through the facade of that name, or as OpenTelemetry's instruments.
//! - `prometheus` (with `config`): the figures served over HTTP.
//! - `futures-io`: the futures-io traits on `TcpStream`.
//! - `resolver` (default): names are looked up over our own sockets ([`Dns`], [`net::lookup_host`]).
//! - `stream`: `TcpListener::into_stream`.
//! - `tls`: [`tls`], TLS with rustls on listeners and connections.
//! - `tonic`: tonic's server takes our connections.
#![forbid(unsafe_code)]

#[doc(hidden)]
#[path = "private.rs"]
pub mod __private;
mod affinity;
pub mod app;
#[cfg(feature = "axum")]
pub mod axum;
pub mod capture;
pub mod channel;
#[cfg(feature = "control")]
pub mod control;
mod device;
pub mod dhcp;
mod drops;
mod error;
mod events;
mod handle;
#[cfg(feature = "connector")]
pub mod http;
mod idle;
pub mod metrics;
pub mod net;
pub mod peers;
mod pin;
#[cfg(feature = "quinn")]
pub mod quic;
#[cfg(feature = "resolver")]
mod resolver;
pub mod runtime;
mod shard;
mod stats;
mod sync;
pub mod threads;
pub mod time;
#[cfg(feature = "tls")]
pub mod tls;
#[cfg(feature = "tonic")]
mod tonic;
pub mod trace;
mod wakers;
mod worker;

#[cfg(feature = "config")]
pub use app::ConfiguredApp;
pub use app::{App, AppBuilder, Context, ListenerConfig, PortBuilder};
pub use device::{BURST, SendMemory, Transmit};
pub use dpdk_net_macros::main;
pub use error::Error;
pub use handle::{EnterGuard, Handle, Scope};
pub use idle::IdlePolicy;
pub use pin::{FlowPolicy, PinTarget, QueuePin, pin};
#[cfg(feature = "resolver")]
pub use resolver::{Dns, ResolverConfig};
pub use stats::{PoolLevel, ShardStats, Snapshot, WorkerHistograms, WorkerStats, WorkerThread};
pub use worker::{Drained, Driver, Reactor, Worker, WorkerConfig};

#[cfg(feature = "config")]
#[doc(no_inline)]
pub use dpdk_net_config as config;
#[doc(no_inline)]
pub use dpdk_net_packet as packet;
#[doc(no_inline)]
pub use dpdk_net_rte as rte;
#[doc(no_inline)]
pub use dpdk_net_stack as stack;
