//! SIGINT and SIGTERM, heard by a thread of their own.
//!
//! The worker must hear the second signal also after its runtime is gone and it drives its last frames by
//! hand, so the signals can't hang on that runtime.

use std::thread::JoinHandle;

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{oneshot, watch};

use crate::affinity::Affinity;
use crate::error::Error;

/// What was heard so far.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Heard {
    pub(super) count: u32,
    /// The first signal's name.
    pub(super) first: &'static str,
}

/// Listens until dropped.
#[derive(Debug)]
pub(super) struct Signals {
    heard: watch::Receiver<Heard>,
    hangups: watch::Receiver<u64>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Signals {
    /// Has SIGHUP end nobody from now on: who reads a file again on it may get it before anybody listens.
    #[cfg(feature = "config")]
    pub(super) fn hold_hangup() -> Result<(), Error> {
        let runtime = Builder::new_current_thread().enable_io().build();
        let runtime = runtime.map_err(Error::Runtime)?;
        let _context = runtime.enter();
        // What was installed stays.
        signal(SignalKind::hangup())
            .map(drop)
            .map_err(Error::Signals)
    }

    /// Starts to listen, to SIGHUP too if it is of use. The thread gets the CPUs of `affinity`, not those of the calling lcore.
    pub(super) fn listen(affinity: Affinity, hangup: bool) -> Result<Self, Error> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(Error::Runtime)?;
        let (mut interrupt, mut terminate) = {
            let _context = runtime.enter();
            (
                signal(SignalKind::interrupt()).map_err(Error::Signals)?,
                signal(SignalKind::terminate()).map_err(Error::Signals)?,
            )
        };
        let mut hangup = {
            let _context = runtime.enter();
            let hangup = hangup.then(|| signal(SignalKind::hangup()));
            hangup.transpose().map_err(Error::Signals)?
        };
        let (sender, heard) = watch::channel(Heard::default());
        let (hung_up, hangups) = watch::channel(0);
        let (stop, mut stopped) = oneshot::channel::<()>();
        let thread = std::thread::Builder::new()
            .name("dpdk-net-signal".to_owned())
            .spawn(move || {
                affinity.apply();
                runtime.block_on(async move {
                    loop {
                        let name = tokio::select! {
                            Some(()) = interrupt.recv() => "SIGINT",
                            Some(()) = terminate.recv() => "SIGTERM",
                            Some(()) = next(&mut hangup) => {
                                hung_up.send_modify(|count| *count += 1);
                                continue;
                            }
                            _ = &mut stopped => return,
                            else => return,
                        };
                        sender.send_modify(|heard| {
                            if heard.count == 0 {
                                heard.first = name;
                            }
                            heard.count += 1;
                        });
                    }
                });
            })
            .map_err(Error::Signals)?;
        Ok(Self {
            heard,
            hangups,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// How often SIGHUP was heard, none of which this has seen.
    pub(super) fn hangups(&self) -> watch::Receiver<u64> {
        self.hangups.clone()
    }

    /// What was heard so far.
    pub(super) fn heard(&self) -> Heard {
        *self.heard.borrow()
    }

    /// What is heard from now on.
    pub(super) fn watch(&self) -> watch::Receiver<Heard> {
        self.heard.clone()
    }

    /// Waits until more than `count` signals were heard.
    pub(super) async fn more_than(&self, count: u32) -> Heard {
        let mut heard = self.heard.clone();
        let result = heard
            .wait_for(|heard| heard.count > count)
            .await
            .map(|h| *h);
        match result {
            Ok(heard) => heard,
            // The thread is gone, so no signal will come.
            Err(_) => std::future::pending().await,
        }
    }
}

/// The next of a signal that may not be listened to.
async fn next(signal: &mut Option<Signal>) -> Option<()> {
    match signal {
        Some(signal) => signal.recv().await,
        None => std::future::pending().await,
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            // It does not panic; and if it did, there is nobody left to tell.
            let _ = thread.join();
        }
    }
}
