//! A server of the Redis protocol over any byte stream.

mod commands;
mod reply;
mod request;
mod store;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use commands::{Arguments, Session, run};
use reply::encode;
use request::Request;
use store::Store;

/// Replies that wait for the client are written once there are so many bytes of them.
const WRITE_AT: usize = 64 << 10;

/// How far clients can make things grow.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Limits {
    /// Bytes that the store may take; writes are refused beyond
    #[arg(long, default_value_t = 1 << 30)]
    pub(crate) max_memory: usize,
    /// Bytes of a request, and of a value
    #[arg(long, default_value_t = 64 << 20)]
    pub(crate) max_request: usize,
    /// Bytes of a reply
    #[arg(long, default_value_t = 512 << 20)]
    pub(crate) max_reply: usize,
    /// Clients at a time
    #[arg(long, default_value_t = 10_000)]
    pub(crate) max_clients: usize,
}

/// How long a client may take none of its replies.
const UNREAD: Duration = Duration::from_secs(30);

/// Writes it all. A client that reads nothing of it does not keep it for ever: its connection ends.
async fn send(stream: &mut (impl AsyncWrite + Unpin), mut replies: &[u8]) -> std::io::Result<()> {
    while !replies.is_empty() {
        let written = timeout(UNREAD, stream.write(replies)).await??;
        if written == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        replies = &replies[written..];
    }
    Ok(())
}

/// How long a client that is left may take to end its side.
const LEAVE: Duration = Duration::from_secs(1);

/// Ends a connection. What its client still sends is read: a reset for it would overtake the last reply.
async fn leave(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    stream.shutdown().await?;
    let _ = timeout(LEAVE, tokio::io::copy(&mut stream, &mut tokio::io::sink())).await;
    Ok(())
}

/// What all connections have in common.
#[derive(Debug)]
pub(crate) struct Server {
    store: Mutex<Store>,
    clients: Semaphore,
    limits: Limits,
}

impl Server {
    pub(crate) fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self {
            store: Mutex::new(Store::new(limits)),
            clients: Semaphore::new(limits.max_clients.min(Semaphore::MAX_PERMITS)),
            limits,
        })
    }

    /// Answers what is in the input, as long as there are whole requests and little waits to be written. `false` if the client is
    /// to be left.
    fn answer(
        &self,
        input: &mut BytesMut,
        request: &mut Request,
        session: &mut Session,
        output: &mut BytesMut,
    ) -> bool {
        // A command that panicked has left a store that can be read: each change of it is whole.
        let mut store = self.store.lock().unwrap_or_else(PoisonError::into_inner);
        store.begin();
        while output.len() < WRITE_AT {
            match request.read(input, &self.limits) {
                Ok(false) => return true,
                Ok(true) => {}
                Err(wrong) => {
                    let reply = Err(format!("ERR Protocol error: {wrong}").into());
                    encode(session.resp3, self.limits.max_reply, reply, output);
                    return false;
                }
            }
            let (input_here, places) = (&input[..], &request.arguments[..]);
            if !places.is_empty() {
                let args = Arguments {
                    input: input_here,
                    places,
                };
                let reply = run(&mut store, session, args);
                encode(session.resp3, self.limits.max_reply, reply, output);
            }
            input.advance(request.at);
            (request.at, request.missing) = (0, None);
            request.arguments.clear();
            if session.quits {
                return false;
            }
        }
        true
    }

    /// Serves a client until it goes.
    pub(crate) async fn serve(
        self: Arc<Self>,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
    ) -> std::io::Result<()> {
        let Ok(_place) = self.clients.try_acquire() else {
            send(&mut stream, b"-ERR max number of clients reached\r\n").await?;
            return leave(stream).await;
        };
        let (mut input, mut output) = (BytesMut::with_capacity(16 << 10), BytesMut::new());
        let (mut request, mut session) = (Request::default(), Session::new());
        loop {
            let goes_on = self.answer(&mut input, &mut request, &mut session, &mut output);
            let more = output.len() >= WRITE_AT;
            send(&mut stream, &output).await?;
            output.clear();
            if !goes_on {
                return leave(stream).await;
            }
            // What was large goes once it is over.
            if output.capacity() > 4 * WRITE_AT {
                output = BytesMut::new();
            }
            if more {
                continue;
            }
            if input.is_empty() && input.capacity() > 4 * WRITE_AT {
                (input, request) = (BytesMut::new(), Request::default());
            }
            input.reserve(16 << 10);
            if stream.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
        }
    }
}
