//! The log that a file asks for, and what of it changes with the file.

use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::sync::{Arc, OnceLock};

use dpdk_net_config::{Changes, File, LogFormat};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use super::subsystem::{Application, Subsystem, SubsystemFuture};
use crate::error::Error;

/// What is logged where the file does not say.
const FILTER: &str = "info";

/// The log that runs, if it is ours: a process has one.
static RUNNING: OnceLock<Running> = OnceLock::new();

/// What changes the filter of the log that runs.
#[derive(Clone)]
pub(super) struct Running(reload::Handle<EnvFilter, Registry>);

/// The log that runs.
///
/// # Errors
/// Where the program has a log of its own.
pub(super) fn running() -> Result<&'static Running, String> {
    let none = || "the log is the program's own".to_owned();
    RUNNING.get().ok_or_else(none)
}

impl Running {
    /// The filter, as it can be given to [`set_filter`](Self::set_filter).
    pub(super) fn filter(&self) -> Result<String, String> {
        let filter = self.0.with_current(|filter| filter.to_string());
        filter.map_err(|error| error.to_string())
    }

    /// Takes another filter.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(super) fn set_filter(&self, text: &str) -> Result<(), String> {
        let filter =
            EnvFilter::try_new(text).map_err(|error| format!("{text:?} is no filter: {error}"))?;
        self.0.reload(filter).map_err(|error| error.to_string())
    }
}

/// Has the filter of the running log follow the file.
pub(super) struct Log {
    running: Running,
    /// The file's filter that was taken over last.
    applied: Option<String>,
}

impl Log {
    /// Starts the log, unless the program has one already: then that stays, and a warning says that the file's `[log]` is of no
    /// effect.
    ///
    /// # Errors
    /// [`Error::Config`] for a filter that can't be read or a file that can't be opened.
    pub(super) fn start(file: &File) -> Result<Option<Self>, Error> {
        let log = &file.config().log;
        let (filter, handle) = reload::Layer::new(filter(file)?);
        let writer = match &log.file {
            None => BoxMakeWriter::new(std::io::stderr),
            Some(path) => {
                let opened = OpenOptions::new().append(true).create(true).open(path);
                let opened = opened.map_err(|error| {
                    let message = format!("{} can't be written: {error}", path.display());
                    let help = "the user that runs this needs the right to";
                    Error::from(file.refuse("log.file", message, help))
                })?;
                BoxMakeWriter::new(Arc::new(opened))
            }
        };
        let colours = log.file.is_none()
            && std::io::stderr().is_terminal()
            && std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty());
        let lines = fmt::layer().with_writer(writer).with_ansi(colours);
        let lines = match log.format {
            None | Some(LogFormat::Text) => lines.boxed(),
            Some(LogFormat::Pretty) => lines.pretty().boxed(),
            Some(LogFormat::Json) => lines.json().boxed(),
        };
        if Registry::default()
            .with(filter)
            .with(lines)
            .try_init()
            .is_ok()
        {
            let running = RUNNING.get_or_init(|| Running(handle)).clone();
            return Ok(Some(Self {
                running,
                applied: log.filter.clone(),
            }));
        }
        if *log != Default::default() {
            tracing::warn!("the program has a log of its own: [log] is of no effect");
        }
        Ok(None)
    }
}

/// The filter that a file asks for.
fn filter(file: &File) -> Result<EnvFilter, Error> {
    let text = file.config().log.filter.as_deref().unwrap_or(FILTER);
    EnvFilter::try_new(text).map_err(|error| {
        let message = format!("`filter` can't be \"{text}\": {error}");
        let help = "a level (error, warn, info, debug, trace), or levels by target: \"warn,dpdk_net=debug\"";
        file.refuse("log.filter", message, help).into()
    })
}

impl Subsystem for Log {
    fn name(&self) -> &str {
        "log"
    }

    fn start<'a>(&'a mut self, _: &'a Application) -> SubsystemFuture<'a> {
        Box::pin(async { Ok(()) })
    }

    fn reload<'a>(&'a mut self, app: &'a Application, _: &'a Changes) -> SubsystemFuture<'a> {
        Box::pin(async move {
            let Some(file) = app.file() else {
                return Ok(());
            };
            // One that was set by the control socket stays, where the file says what it said.
            let wanted = &file.config().log.filter;
            if *wanted != self.applied {
                self.running.0.reload(filter(&file)?)?;
                self.applied.clone_from(wanted);
            }
            Ok(())
        })
    }
}
