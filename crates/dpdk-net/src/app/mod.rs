//! The application: from a command line to a served port and back to a clean machine.
//!
//! [`App`] brings up EAL, one port, its addresses and a [`Worker`](crate::Worker) on the calling thread, runs one async
//! closure on it, and takes everything down again in good order when the closure returns or SIGINT or SIGTERM comes.
//! What a step does: `builder.rs` collects the settings, `bring_up.rs` turns them into workers, `run.rs` runs one and
//! drains it, `addressing.rs` has addresses from elsewhere, `fleet.rs` does so for several, `program.rs` boxes the closure, `signals.rs` listens,
//! `context.rs` is what the closure gets.
//!
//! A program that needs another shape (several workers, a queue pair of its own making) builds
//! [`Worker`](crate::Worker)s itself: nothing here is private to `App`.

mod addressing;
mod bring_up;
mod builder;
#[cfg(feature = "config")]
mod configured;
mod context;
mod control;
#[cfg(feature = "control")]
mod control_socket;
mod figures;
mod fleet;
mod links;
mod listeners;
#[cfg(feature = "config")]
mod log;
mod port;
mod program;
#[cfg(feature = "prometheus")]
mod prometheus;
#[cfg(feature = "control")]
mod queue_figures;
mod queue_plan;
mod run;
mod signals;
mod subsystem;
#[cfg(feature = "control")]
mod telemetry;

pub use addressing::LearntDns;
pub use builder::AppBuilder;
#[cfg(feature = "config")]
pub use configured::{ConfiguredApp, Plan};
pub use context::Context;
pub use listeners::ListenerConfig;
pub use port::PortBuilder;
#[cfg(feature = "prometheus")]
pub use prometheus::{PrometheusConfig, Transport};
pub use subsystem::{Application, Subsystem, SubsystemFuture, SubsystemResult};

/// The entry to an application: [`App::builder`].
///
/// ```no_run
/// use dpdk_net::{App, net::TcpListener, rte::Eal};
/// use tokio::io::AsyncWriteExt;
///
/// fn main() -> Result<(), Box<dyn std::error::Error>> {
///     App::builder()
///         .eal(Eal::builder("hello").vdev("net_tap0,iface=tp0").no_huge())
///         .address("198.18.0.2/24")
///         .address("fd00::2/64")
///         .run(|ctx| async move {
///             let listener = TcpListener::bind("[::]:80").await?;
///             let mut shutdown = std::pin::pin!(ctx.shutdown());
///             loop {
///                 tokio::select! {
///                     accepted = listener.accept() => {
///                         let (mut stream, _) = accepted?;
///                         tokio::spawn(async move { stream.write_all(b"hello\n").await });
///                     }
///                     () = &mut shutdown => return Ok::<(), std::io::Error>(()),
///                 }
///             }
///         })??;
///     Ok(())
/// }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct App;

impl App {
    /// Starts with the defaults: see [`AppBuilder`] for each.
    pub fn builder() -> AppBuilder {
        AppBuilder::new()
    }

    /// Reads a TOML or JSON file that describes an application, with settings from the environment over it, and makes sure that this
    /// machine has what it asks for.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) with everything that is wrong.
    #[cfg(feature = "config")]
    pub fn from_file(path: impl AsRef<std::path::Path>) -> Result<ConfiguredApp, crate::Error> {
        ConfiguredApp::read(path.as_ref())
    }
}
