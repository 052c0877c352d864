//! Parts of an application that are none of its queues' programs: they start before those and stop after them.

use std::error::Error as StdError;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

#[cfg(feature = "config")]
use dpdk_net_config::{Changes, File};

use super::Context;
use crate::capture::{Capture, CaptureConfig, CaptureError};
use crate::metrics::Registry;
use crate::trace::{ConnectionTracer, TraceOptions};

/// What a subsystem's work gives in the end.
pub type SubsystemResult = Result<(), Box<dyn StdError + Send + Sync>>;

/// A subsystem's work, on the control thread.
pub type SubsystemFuture<'a> = Pin<Box<dyn Future<Output = SubsystemResult> + 'a>>;

/// A part of an application with a life of its own: figures, a control socket, a capture, or what a user needs.
///
/// A worker waits for a subsystem only while that asks something of its shard: `Context::stats` lists every connection under the shard's
/// lock, which is for people; figures alone are `Handle::stats`.
///
/// All subsystems live on one thread beside the workers, the control thread, with a tokio runtime that has time, I/O and `spawn_local`;
/// it runs on the CPUs that the process had before EAL pinned anything. A subsystem begins its work in [`start`](Self::start), as a task, say, and
/// returns. They start one after the other, each after those that it names in [`after`](Self::after) and otherwise in the order in
/// which they were added, when all addresses can be used and before the first program is called; they stop in the reverse order,
/// after the last program has returned.
///
/// ```
/// use dpdk_net::app::{Application, Subsystem, SubsystemFuture};
///
/// /// Says every ten seconds how many connections there are.
/// struct Census;
///
/// impl Subsystem for Census {
///     fn name(&self) -> &str {
///         "census"
///     }
///
///     fn start<'a>(&'a mut self, app: &'a Application) -> SubsystemFuture<'a> {
///         let app = app.clone();
///         Box::pin(async move {
///             tokio::task::spawn_local(async move {
///                 loop {
///                     tokio::time::sleep(std::time::Duration::from_secs(10)).await;
///                     let handles = app.contexts().iter().map(|ctx| ctx.handle());
///                     let all: usize = handles.map(|handle| handle.connection_count()).sum();
///                     println!("{all} connections");
///                 }
///             });
///             Ok(())
///         })
///     }
/// }
/// ```
pub trait Subsystem: Send + 'static {
    /// What messages call it, and others that start after it.
    fn name(&self) -> &str;

    /// The names of those that have to run before it starts. One that is not there is not waited for.
    fn after(&self) -> &[&str] {
        &[]
    }

    /// Starts it. An error keeps the application from starting.
    fn start<'a>(&'a mut self, app: &'a Application) -> SubsystemFuture<'a>;

    /// Has it take over what has changed in the file ([`Application::file`] is the new one). An error is logged.
    #[cfg(feature = "config")]
    fn reload<'a>(&'a mut self, app: &'a Application, changes: &'a Changes) -> SubsystemFuture<'a> {
        let _ = (app, changes);
        Box::pin(async { Ok(()) })
    }

    /// Hears of each SIGHUP, also where the file says nothing new or has problems, after [`reload`](Self::reload): for what is in other
    /// files. An error is logged.
    #[cfg(feature = "config")]
    fn hangup<'a>(&'a mut self, app: &'a Application) -> SubsystemFuture<'a> {
        let _ = app;
        Box::pin(async { Ok(()) })
    }

    /// Stops it; tasks that it has spawned end anyway. An error is logged. It has five seconds.
    fn stop(&mut self) -> SubsystemFuture<'_> {
        Box::pin(async { Ok(()) })
    }
}

/// A running application, as its subsystems see it. Cheap to clone.
#[derive(Clone)]
pub struct Application {
    contexts: Arc<[Context]>,
    #[cfg(feature = "config")]
    file: Arc<parking_lot::RwLock<Option<Arc<File>>>>,
}

impl fmt::Debug for Application {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Application")
            .field("queues", &self.contexts.len())
            .finish_non_exhaustive()
    }
}

impl Application {
    pub(super) fn new(
        contexts: Vec<Context>,
        #[cfg(feature = "config")] file: Option<Arc<File>>,
    ) -> Self {
        Self {
            contexts: contexts.into(),
            #[cfg(feature = "config")]
            file: Arc::new(parking_lot::RwLock::new(file)),
        }
    }

    /// One without queues.
    #[cfg(all(test, feature = "control"))]
    pub(super) fn nowhere() -> Self {
        Self::new(
            Vec::new(),
            #[cfg(feature = "config")]
            None,
        )
    }

    /// Those of all queues, in the order of ports and queues; at least one. They have no listeners.
    pub fn contexts(&self) -> &[Context] {
        &self.contexts
    }

    /// The file that the application was made of, as it was read last.
    #[cfg(feature = "config")]
    pub fn file(&self) -> Option<Arc<File>> {
        self.file.read().clone()
    }

    #[cfg(feature = "config")]
    pub(super) fn set_file(&self, file: Arc<File>) {
        *self.file.write() = Some(file);
    }

    /// Begins a capture of all queues of all ports: see [`capture`](crate::capture).
    ///
    /// # Errors
    /// [`CaptureError`].
    pub fn capture(&self, config: CaptureConfig) -> Result<Capture, CaptureError> {
        let targets = self.contexts.iter();
        let targets = targets.map(|context| context.target(context.queue(), context.handle()));
        Capture::start(targets.collect(), config)
    }

    /// Traces connections of all queues of all ports.
    ///
    /// # Errors
    /// As [`Handle::trace`](crate::Handle::trace).
    pub fn trace(&self, options: &TraceOptions) -> std::io::Result<ConnectionTracer> {
        let handles = self.contexts.iter().map(Context::handle);
        ConnectionTracer::of(handles.map(crate::Handle::shard), options)
    }

    /// All its figures. Nothing but collectors of its own where there is no context.
    pub fn metrics(&self) -> Registry {
        let first = self.contexts.first();
        first.map_or_else(
            || Registry::new(Vec::new()),
            |context| context.metrics().clone(),
        )
    }

    /// Ends the application as a signal would.
    pub fn request_shutdown(&self) {
        if let Some(context) = self.contexts.first() {
            context.request_shutdown();
        }
    }
}

/// The order in which subsystems start: by what each has to be after, and otherwise as they are.
///
/// # Errors
/// The names of those that wait for each other.
pub(super) fn in_order(
    mut waiting: Vec<Box<dyn Subsystem>>,
) -> Result<Vec<Box<dyn Subsystem>>, Vec<String>> {
    let mut ordered: Vec<Box<dyn Subsystem>> = Vec::with_capacity(waiting.len());
    while !waiting.is_empty() {
        let free = waiting.iter().position(|one| {
            let mut others = waiting.iter().filter(|other| other.name() != one.name());
            !others.any(|other| one.after().contains(&other.name()))
        });
        match free {
            Some(next) => ordered.push(waiting.remove(next)),
            None => return Err(waiting.iter().map(|one| one.name().to_owned()).collect()),
        }
    }
    Ok(ordered)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Named(&'static str, &'static [&'static str]);

    impl Subsystem for Named {
        fn name(&self) -> &str {
            self.0
        }

        fn after(&self) -> &[&str] {
            self.1
        }

        fn start<'a>(&'a mut self, _: &'a Application) -> SubsystemFuture<'a> {
            Box::pin(async { Ok(()) })
        }
    }

    fn order(all: Vec<Named>) -> Result<Vec<String>, Vec<String>> {
        let boxed = all
            .into_iter()
            .map(|one| Box::new(one) as Box<dyn Subsystem>);
        let ordered = in_order(boxed.collect())?;
        Ok(ordered.iter().map(|one| one.name().to_owned()).collect())
    }

    #[test]
    fn each_starts_after_those_it_names_and_otherwise_in_the_order_given() {
        let given = vec![
            Named("top", &["metrics", "control"]),
            Named("metrics", &[]),
            Named("control", &["metrics", "not there"]),
            Named("last", &[]),
        ];
        assert_eq!(order(given).unwrap(), ["metrics", "control", "top", "last"]);
    }

    #[test]
    fn those_that_wait_for_each_other_are_told() {
        let given = vec![Named("a", &["b"]), Named("b", &["a"]), Named("c", &[])];
        assert_eq!(order(given).unwrap_err(), ["a", "b"]);
    }
}
