//! A Unix socket by which who runs the application asks it questions: a line of JSON each way.
//!
//! `{"command":"stats"}` is answered with `{"version":1,"ok":true,"result":..}`, anything else with `"ok":false` and an
//! `error`. Some commands are answered with such a line and then with bytes of their own until one side closes the
//! connection. Only the user that the application runs as, and root, are heard. What a connection may send, how long it
//! may be silent and how many there may be is bounded.
//!
//! What can be asked is in `command.rs`, the commands are in `commands/`. The client is `crate::control`.

mod command;
mod commands;
mod details;
mod endpoint;
mod place;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use self::command::{Reply, answer};
use self::place::Place;
use super::subsystem::{Application, Subsystem, SubsystemFuture};
use crate::control::{LONGEST_QUESTION, VERSION};

/// Connections at a time; further ones are told so.
const CONNECTIONS: usize = 16;
/// How long a connection may be silent, and an answer may take to be read.
const SILENCE: Duration = Duration::from_secs(60);

/// How long captures and traces have at the end of the application.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The socket, while the application runs.
#[derive(Debug)]
pub(super) struct ControlSocket {
    path: PathBuf,
    place: Option<Place>,
}

impl ControlSocket {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, place: None }
    }
}

impl Subsystem for ControlSocket {
    fn name(&self) -> &str {
        "control"
    }

    fn start<'a>(&'a mut self, app: &'a Application) -> SubsystemFuture<'a> {
        Box::pin(async move {
            let (place, listener) = Place::take(&self.path).map_err(|error| {
                io::Error::new(error.kind(), format!("{}: {error}", self.path.display()))
            })?;
            self.place = Some(place);
            listener.set_nonblocking(true)?;
            let listener = UnixListener::from_std(listener)?;
            tokio::task::spawn_local(accept(listener, app.clone()));
            Ok(())
        })
    }

    fn stop(&mut self) -> SubsystemFuture<'_> {
        Box::pin(async {
            // The workers have ended, and with them what is captured and traced: it only has to be written.
            let captures = crate::capture::all_ended(LAST_WORDS);
            tokio::join!(captures, commands::trace::all_written(LAST_WORDS));
            if let Some(place) = self.place.take() {
                place.leave()?;
            }
            Ok(())
        })
    }
}

async fn accept(listener: UnixListener, app: Application) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "the control socket accepts nobody for a moment");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        if !is_ours(&stream) {
            tracing::warn!("somebody else's process was refused at the control socket");
            turn_away(
                &stream,
                "only root and the user that the application runs as are heard",
            );
            continue;
        }
        let Ok(place) = room.clone().try_acquire_owned() else {
            turn_away(
                &stream,
                &format!("{CONNECTIONS} connections are open: close one"),
            );
            continue;
        };
        let app = app.clone();
        tokio::task::spawn_local(async move {
            // One that broke off has nobody left to tell.
            let _ = serve(stream, &app).await;
            drop(place);
        });
    }
}

/// Says why; a connection that has just been made has room for that.
fn turn_away(stream: &UnixStream, why: &str) {
    let _ = stream.try_write(format!("{}\n", failure(why)).as_bytes());
}

/// Whether the peer is root or the application's own user.
fn is_ours(stream: &UnixStream) -> bool {
    let own = rustix::process::geteuid().as_raw();
    stream
        .peer_cred()
        .is_ok_and(|peer| peer.uid() == 0 || peer.uid() == own)
}

/// Answers one connection's questions, in their order.
async fn serve(stream: UnixStream, app: &Application) -> io::Result<()> {
    let (rx, mut tx) = stream.into_split();
    let mut rx = BufReader::new(rx);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut rx).take(LONGEST_QUESTION as u64);
        let read = bounded.read_until(b'\n', &mut line);
        let Ok(read) = timeout(SILENCE, read).await else {
            return Ok(());
        };
        if read? == 0 {
            return Ok(());
        }
        let whole = line.last() == Some(&b'\n') || line.len() < LONGEST_QUESTION;
        let reply = match whole {
            true => answer(&line, app),
            false => Err(format!("a question has at most {LONGEST_QUESTION} bytes")),
        };
        let (answer, stream) = match reply {
            Ok(Reply::Value(result)) => (success(&result), None),
            Ok(Reply::Stream(result, stream)) => (success(&result), Some(stream)),
            Err(error) => (failure(&error), None),
        };
        let text = format!("{answer}\n");
        match timeout(SILENCE, tx.write_all(text.as_bytes())).await {
            Ok(written) => written?,
            Err(_) => return Ok(()),
        }
        if let Some(stream) = stream {
            let whole = rx.into_inner().reunite(tx).map_err(io::Error::other)?;
            return stream(whole).await;
        }
        if !whole {
            return Ok(());
        }
    }
}

fn success(result: &Value) -> Value {
    json!({ "version": VERSION, "ok": true, "result": result })
}

fn failure(error: &str) -> Value {
    json!({ "version": VERSION, "ok": false, "error": error })
}
