//! How a command ends that writes down what a service sends until it is told to end: the first signal has the service send what it
//! still holds, the second one waits for nothing any more.

use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use dpdk_net::control::ControlStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{sleep, timeout};

use crate::failure::{Failure, Result};

/// After so long it is said that something is waited for.
const SAID: Duration = Duration::from_secs(2);

/// How long what is being written has after the second signal, where whoever reads it does not.
const LAST: Duration = Duration::from_secs(1);

/// SIGINT, SIGTERM and SIGHUP, as what ends a command.
pub(crate) struct Ending {
    runtime: tokio::runtime::Runtime,
    signals: [Signal; 3],
}

/// Whether it was ended before the service had sent all.
#[derive(Clone, Debug, Default)]
pub(crate) struct Cut(Arc<AtomicBool>);

impl Cut {
    pub(crate) fn was_cut(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Ending {
    /// Signals are heard from here on.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn new() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.map_err(cannot)?;
        let of = |kind| signal(kind).map_err(cannot);
        let guard = runtime.enter();
        let signals = [
            of(SignalKind::interrupt())?,
            of(SignalKind::terminate())?,
            of(SignalKind::hangup())?,
        ];
        drop(guard);
        Ok(Self { runtime, signals })
    }

    /// They end what comes over this connection.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) fn begin(mut self, stream: &ControlStream) -> Result<Cut> {
        let connection = stream.get_ref().try_clone().map_err(cannot)?;
        let cut = Cut::default();
        let told = cut.clone();
        let hear = move || {
            self.runtime.block_on(async {
                any(&mut self.signals).await;
                finish(&connection);
                if timeout(SAID, any(&mut self.signals)).await.is_err() {
                    eprintln!("waiting for what the service still holds; Ctrl-C ends at once");
                    any(&mut self.signals).await;
                }
                told.0.store(true, Ordering::Relaxed);
                let _ = connection.shutdown(Shutdown::Both);
                sleep(LAST).await;
                eprintln!("error: what is to be written is not taken");
                std::process::exit(1);
            });
        };
        let thread = std::thread::Builder::new().name("signals".to_owned());
        thread.spawn(hear).map_err(cannot)?;
        Ok(cut)
    }
}

/// Has the service end: it sends what it still holds and closes.
pub(crate) fn finish(connection: &UnixStream) {
    // Where the connection is gone already, reading tells.
    let _ = connection.shutdown(Shutdown::Write);
}

fn cannot(error: std::io::Error) -> Failure {
    Failure::new(format!("cannot hear signals: {error}"), "")
}

async fn any(signals: &mut [Signal; 3]) {
    let [interrupt, terminate, hangup] = signals;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
}
