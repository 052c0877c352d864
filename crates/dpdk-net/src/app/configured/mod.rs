//! An application that a file describes: `App::from_file`.
//!
//! The file's settings become those of an [`AppBuilder`], nothing else, so that both ways make the same application. What the
//! machine or a port refuses afterwards is told with the file's line. What does not live here: reading files (the crate
//! `dpdk-net-config`), and running (`fleet.rs`, `control.rs`).

mod certificates;
mod devices;
#[cfg(test)]
mod effects;
mod explain;
mod flow;
mod live;
mod plan;
mod settings;

use std::fmt;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;

use dpdk_net_config::{File, Machine, Problem};

use super::fleet;
use super::log::Log;
use super::{AppBuilder, Context, Subsystem};
use crate::error::Error;
pub use plan::Plan;

/// An application as its file describes it, made by [`App::from_file`](super::App::from_file).
///
/// ```no_run
/// use dpdk_net::App;
///
/// fn main() -> Result<(), dpdk_net::Error> {
///     App::from_file("dpdk-net.toml")?.run(|ctx| async move {
///         let Ok(listener) = ctx.listener("http") else { return };
///         while let Ok((stream, peer)) = listener.accept().await {
///             println!("{peer} came to queue {} of {}", ctx.queue_id(), ctx.port_name());
///             drop(stream);
///         }
///     })?;
///     Ok(())
/// }
/// ```
#[must_use = "an application does nothing until it is run"]
pub struct ConfiguredApp {
    file: Arc<File>,
    machine: Machine,
    builder: AppBuilder,
}

impl fmt::Debug for ConfiguredApp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConfiguredApp")
            .field("file", &self.file.name())
            .field("builder", &self.builder)
            .finish_non_exhaustive()
    }
}

impl ConfiguredApp {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self, Error> {
        Self::new(File::read(path)?, Machine::this())
    }

    /// From a file that was read, for a machine.
    ///
    /// # Errors
    /// [`Error::Config`] with everything that the machine does not have.
    pub fn new(file: File, machine: Machine) -> Result<Self, Error> {
        File::refused(machine.check(&file))?;
        let builder = settings::builder(&file, &machine)?;
        let builder = certificates::read(&file, builder)?;
        let file = Arc::new(file);
        let builder = builder.subsystem(live::Live::new(file.clone()));
        Ok(Self {
            builder: builder.file(file.clone()),
            file,
            machine,
        })
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// What the file comes to on this machine.
    pub fn plan(&self) -> Plan<'_> {
        Plan {
            file: &self.file,
            machine: &self.machine,
        }
    }

    /// What may not be as the file means it, though nothing refuses it; [`run`](Self::run) writes it to the log.
    pub fn warnings(&self) -> Vec<Problem> {
        let mut warnings = self.file.warnings();
        warnings.extend(self.machine.warnings(&self.file));
        warnings
    }

    /// What EAL will be given.
    pub fn eal_arguments(&self) -> Vec<String> {
        settings::eal(&self.file, &self.machine).arguments()
    }

    /// Starts EAL and opens the ports, to see whether they have what the file asks for, and goes no further. Who serves which queue,
    /// as a text. DPDK can be started once in a process.
    ///
    /// # Errors
    /// As [`run`](Self::run), as far as it comes.
    pub fn probe(self) -> Result<String, Error> {
        fleet::probe(self.builder).map_err(|error| explain::explain(&self.file, error))
    }

    /// Adds a part of the application that is started before its programs, and stopped after them.
    pub fn subsystem(mut self, subsystem: impl Subsystem) -> Self {
        self.builder = self.builder.subsystem(subsystem);
        self
    }

    /// Changes what no file says.
    pub fn configure(mut self, change: impl FnOnce(AppBuilder) -> AppBuilder) -> Self {
        self.builder = change(self.builder);
        self
    }

    /// Starts the log, brings everything up, and runs `program` for each queue of each port, as
    /// [`AppBuilder::run_each`] does; SIGHUP has the file read anew. [`Context::port_name`] and [`Context::queue_id`] say which queue it is, and
    /// [`Context::listener`] has the file's listeners.
    ///
    /// # Errors
    /// As [`AppBuilder::run_each`]; what can be blamed on a line of the file is [`Error::Config`].
    pub fn run<F, Fut>(self, program: F) -> Result<Vec<Result<Fut::Output, Error>>, Error>
    where
        F: Fn(Context) -> Fut + Sync,
        Fut: Future,
        Fut::Output: Send,
    {
        let log = Log::start(&self.file)?;
        for warning in self.warnings() {
            let (place, remedy) = (self.file.place(warning.path()), warning.remedy());
            tracing::warn!(%place, remedy, "{warning}");
        }
        let builder = match log {
            Some(log) => self.builder.subsystem(log),
            None => self.builder,
        };
        builder
            .run_each(program)
            .map_err(|error| explain::explain(&self.file, error))
    }
}
