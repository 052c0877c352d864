//! The log that a file asks for, and what of it changes with the file.

use std::fs::OpenOptions;
use std::io::IsTerminal;
use std::sync::Arc;

use dpdk_net_config::{Changes, File, LogFormat};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, fmt, reload};

use super::subsystem::{Application, Subsystem, SubsystemFuture};
use crate::error::Error;

/// What is logged where the file does not say.
const FILTER: &str = "info";

/// Changes the running log's filter.
pub(super) struct Log(reload::Handle<EnvFilter, Registry>);

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
            return Ok(Some(Self(handle)));
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
            if let Some(file) = app.file() {
                self.0.reload(filter(&file)?)?;
            }
            Ok(())
        })
    }
}
