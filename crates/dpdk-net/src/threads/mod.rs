//! Work for a worker, from other threads and other workers.
//!
//! A worker's sockets can be used from any thread ([`Handle::enter`], [`Handle::scope`]): the call takes the worker's lock, for which
//! the worker gives way between two turns. What does many operations on one connection is better brought to the worker:
//! [`Handle::spawn_on`] has it make a future there, which need not be `Send`, and runs it beside the worker's other tasks.
//! [`channel`](crate::channel) is for values that go on between workers.
//!
//! ```no_run
//! use dpdk_net::net::TcpStream;
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # async fn ask(worker: dpdk_net::Handle) -> Result<(), Box<dyn std::error::Error>> {
//! let task = worker.spawn_on(|| async {
//!     let mut stream = TcpStream::connect("198.18.0.1:7").await?;
//!     stream.write_all(b"hello").await?;
//!     let mut answer = [0; 5];
//!     stream.read_exact(&mut answer).await?;
//!     Ok::<_, std::io::Error>(answer)
//! })?;
//! let answer = task.await??;
//! # let _ = answer;
//! # Ok(())
//! # }
//! ```

pub(crate) mod mailbox;

use std::fmt;
use std::future::Future;
use std::io;

use crate::channel::ring::Refused;
use crate::handle::Handle;
use crate::runtime;

pub use crate::runtime::{JoinError, JoinHandle};

/// A task could not be spawned on a worker. The closure is given back.
pub struct SpawnError<F> {
    why: Why,
    closure: F,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    NoSuchWorker { asked: usize, workers: usize },
    NoRuntime,
    Ended,
    Full,
}

impl<F> SpawnError<F> {
    pub(crate) fn no_such_worker(asked: usize, workers: usize, closure: F) -> Self {
        Self {
            why: Why::NoSuchWorker { asked, workers },
            closure,
        }
    }

    /// Whether the port has no worker of that number.
    pub fn is_no_such_worker(&self) -> bool {
        matches!(self.why, Why::NoSuchWorker { .. })
    }

    /// Whether the worker has ended.
    pub fn is_worker_ended(&self) -> bool {
        self.why == Why::Ended
    }

    /// Whether as many tasks wait to be spawned there as may: it can be tried again once the worker has had its turn.
    pub fn is_full(&self) -> bool {
        self.why == Why::Full
    }

    /// What was to be spawned.
    pub fn into_closure(self) -> F {
        self.closure
    }
}

impl<F> fmt::Debug for SpawnError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SpawnError").field(&self.why).finish()
    }
}

impl<F> fmt::Display for SpawnError<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.why {
            Why::NoSuchWorker { asked, workers } => write!(
                f,
                "there is no worker {asked}: the port has {workers}, counted from 0"
            ),
            Why::NoRuntime => f.write_str(
                "this handle's reactor is not run by a Worker, so it has no runtime to spawn on",
            ),
            Why::Ended => f.write_str("the worker has ended"),
            Why::Full => write!(
                f,
                "{} tasks wait to be spawned on the worker already: try again after its next turn",
                mailbox::MAILBOX
            ),
        }
    }
}

impl<F> std::error::Error for SpawnError<F> {}

impl<F> From<SpawnError<F>> for io::Error {
    fn from(error: SpawnError<F>) -> Self {
        let kind = match error.why {
            Why::NoSuchWorker { .. } => io::ErrorKind::NotFound,
            Why::NoRuntime => io::ErrorKind::Unsupported,
            Why::Ended => io::ErrorKind::NotConnected,
            Why::Full => io::ErrorKind::WouldBlock,
        };
        Self::new(kind, error.to_string())
    }
}

/// Puts a task into a worker's mailbox.
pub(crate) fn spawn_on<M, F>(
    worker: &Handle,
    make: M,
) -> Result<JoinHandle<F::Output>, SpawnError<M>>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future + 'static,
    F::Output: Send + 'static,
{
    let mailbox = worker.shard().mailbox();
    if !mailbox.is_served() {
        let why = Why::NoRuntime;
        return Err(SpawnError { why, closure: make });
    }
    let (promise, join) = runtime::promise();
    // Taken where the mailbox takes it.
    let mut closure = Some(make);
    let put = mailbox.put(|| {
        let make = closure.take();
        let worker = worker.clone();
        Box::new(move || {
            if let Some(make) = make {
                let run = async move { make().await };
                runtime::spawn_task(promise.task(worker.scope(run)));
            }
        })
    });
    match (put, closure) {
        (Err(refused), Some(closure)) => {
            let why = match refused {
                Refused::Full => Why::Full,
                Refused::Closed => Why::Ended,
            };
            Err(SpawnError { why, closure })
        }
        _ => Ok(join),
    }
}
