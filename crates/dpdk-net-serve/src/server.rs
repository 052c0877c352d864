//! Connections: accepted, served, and brought to an end without losing a request.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use futures_util::FutureExt;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, timeout_at};
use tower::Service;

use crate::activity::{Activity, Answering};
use crate::proxy::Connect;
use crate::timed::Timed;
use crate::{Peer, SiteService};

/// What a client may take of a server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time; further ones wait in the listener's backlog. 10,000 by default.
    pub connections: usize,
    /// How long the head of a request may take to come, from the connection's begin or the end of the request
    /// before it: against clients that send a byte now and then, and the time that an idle connection is kept.
    /// 30 s by default.
    pub header_timeout: Duration,
    /// How many bytes of a connection are buffered, and so about the most that a request's head may have: one that
    /// is not complete by then is answered with 431, as is one with more than 100 fields. At least 8 KiB; 64 KiB by
    /// default.
    pub header_bytes: usize,
    /// How long a client may read nothing of its response before the connection is cut. 60 s by default.
    pub write_timeout: Duration,
    /// How long requests that are being answered may go on once the server is to end; then they are cut. 10 s by
    /// default.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            header_timeout: Duration::from_secs(30),
            header_bytes: 64 << 10,
            write_timeout: Duration::from_secs(60),
            drain: Duration::from_secs(10),
        }
    }
}

/// How long a connection on which nothing moves is kept once the server is to end: a request may be on its way, and its client
/// can't know that nobody will read it. What is answered meanwhile says that the connection ends (RFC 9112 section 9.6). Counted
/// anew from the end of a response that had begun before, and so could not say it.
const LAST_REQUEST: Duration = Duration::from_millis(500);

/// hyper's own least for the buffer of a connection.
const MIN_HEADER_BYTES: usize = 8 << 10;

/// How far the server's life has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd)]
enum Phase {
    Serving,
    /// No further request on a connection.
    Draining,
    /// Nothing at all.
    Ended,
}

/// Tells when all must end. Whoever holds one is waited for, as long as connections may drain.
#[derive(Clone, Debug)]
pub(crate) struct Ending {
    phase: watch::Receiver<Phase>,
    /// The connection's place among [`Limits::connections`]: an upgraded one keeps it.
    _place: Option<Arc<OwnedSemaphorePermit>>,
}

impl Ending {
    /// Returns when the time to drain is over.
    pub(crate) async fn wait(&mut self) {
        self.reaches(Phase::Ended).await;
    }

    /// Whether the server is to end.
    fn has_begun(&self) -> bool {
        *self.phase.borrow() >= Phase::Draining
    }

    async fn reaches(&mut self, phase: Phase) {
        // An error means that the server is gone, and that is an end too.
        let _ = self.phase.wait_for(|now| *now >= phase).await;
    }
}

/// Accepts connections and answers their requests, until `shutdown` is ready. Then it accepts those that have come
/// already, lets every request that has begun be answered, closes connections once nothing has moved on them for half a second,
/// as a request may be on its way, and returns: at the latest [`Limits::drain`] later.
///
/// # Cancel safety
/// If dropped, no further connection is accepted and open ones are cut.
pub async fn serve<L, C>(
    mut listener: L,
    service: SiteService<C>,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) where
    L: Listener<Addr = SocketAddr>,
    C: Connect,
{
    let (phase, phases) = watch::channel(Phase::Serving);
    let room = Arc::new(Semaphore::new(
        limits.connections.min(Semaphore::MAX_PERMITS),
    ));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.header_bytes.max(MIN_HEADER_BYTES));
    let begin = |stream: L::Io, peer, place: Option<OwnedSemaphorePermit>| {
        let ending = Ending {
            phase: phases.clone(),
            _place: place.map(Arc::new),
        };
        let activity = Arc::new(Activity::default());
        let stream = Timed::limited(stream, limits.write_timeout, activity.clone());
        tokio::spawn(connection(&http, stream, peer, &service, ending, activity));
    };

    tokio::pin!(shutdown);
    loop {
        let next = async {
            let place = room.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        tokio::select! {
            (place, (stream, peer)) = next => begin(stream, peer, place.ok()),
            () = &mut shutdown => break,
        }
    }
    // Their clients have a connection, and may have sent a request on it: they would see it reset. All of them, whatever tokio
    // thinks of a task that does so much at a time.
    let mut waiting = Vec::new();
    while let Some(connection) = unconstrained(listener.accept()).now_or_never() {
        waiting.push(connection);
    }
    drop(listener);
    phase.send_replace(Phase::Draining);
    let end = Instant::now() + limits.drain;
    let served = async {
        for (stream, peer) in waiting {
            let place = room.clone().acquire_owned().await;
            begin(stream, peer, place.ok());
        }
    };
    let late = timeout_at(end, served).await.is_err();
    drop(phases);
    if late || timeout_at(end, phase.closed()).await.is_err() {
        tracing::info!("requests were cut: they took longer than the drain timeout");
        phase.send_replace(Phase::Ended);
        phase.closed().await;
    }
}

/// Serves one connection to its end.
fn connection<S, C>(
    http: &http1::Builder,
    stream: Timed<S>,
    peer: SocketAddr,
    service: &SiteService<C>,
    mut ending: Ending,
    activity: Arc<Activity>,
) -> impl Future<Output = ()> + Send + use<S, C>
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin + Send + 'static,
    C: Connect,
{
    let service = service.clone();
    let for_requests = ending.clone();
    let of_requests = activity.clone();
    let answer = service_fn(move |mut request: Request<Incoming>| {
        let extensions = request.extensions_mut();
        extensions.insert(Peer(peer));
        extensions.insert(for_requests.clone());
        let ending = for_requests.clone();
        let answering = Answering::new(of_requests.clone());
        let answered = service.clone().call(request);
        async move {
            let mut response = answered.await?;
            if ending.has_begun() && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            Ok::<_, std::convert::Infallible>(response.map(|body| answering.with(body)))
        }
    });
    let connection = http
        .serve_connection(TokioIo::new(stream), answer)
        .with_upgrades();
    async move {
        tokio::pin!(connection);
        let mut draining = ending.clone();
        let quiet = async {
            draining.reaches(Phase::Draining).await;
            loop {
                let before = activity.moved();
                tokio::time::sleep(LAST_REQUEST).await;
                if activity.moved() == before && !activity.is_busy() {
                    return;
                }
            }
        };
        let ended = tokio::select! {
            // First: what has come meanwhile is a request, or the begin of one.
            biased;
            ended = connection.as_mut() => ended,
            () = quiet => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    () = ending.wait() => Ok(()),
                }
            }
            () = ending.wait() => Ok(()),
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, %error, "connection ended early");
        }
    }
}
