//! Connections: accepted, served, and brought to an end without losing a request.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::serve::Listener;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use hyper::body::Incoming;
use hyper::header::{CONNECTION, HeaderValue};
use hyper::service::service_fn;
use hyper::{Request, StatusCode, Version};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, timeout, timeout_at};
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
    /// before it: against clients that send a byte now and then, and the time that an idle connection is kept, in HTTP/2 up to
    /// twice of it. 30 s by default.
    pub header_timeout: Duration,
    /// How many bytes of a connection are buffered, and so about the most that a request's head may have: one that
    /// is not complete by then is answered with 431, as is one with more than 100 fields. In HTTP/2, the most that the fields of a
    /// request may have. At least 8 KiB; 64 KiB by default.
    pub header_bytes: usize,
    /// Requests at a time on a connection of HTTP/2 (SETTINGS_MAX_CONCURRENT_STREAMS). 100 by default.
    pub streams: u32,
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
            streams: 100,
            write_timeout: Duration::from_secs(60),
            drain: Duration::from_secs(10),
        }
    }
}

/// How long a connection on which nothing moves is kept once the server is to end: a request may be on its way, and its client
/// can't know that nobody will read it. What is answered meanwhile says that the connection ends (RFC 9112 section 9.6). Counted
/// anew from the end of a response that had begun before, and so could not say it. As long the next of the last connections may take.
const LAST_REQUEST: Duration = Duration::from_millis(500);

/// hyper's own least for the buffer of a connection.
const MIN_HEADER_BYTES: usize = 8 << 10;

/// How much of a response of HTTP/2 is held for a client that does not take it; each of its requests may have so much.
const MAX_SEND_BYTES: usize = 64 << 10;

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
    listener: L,
    service: SiteService<C>,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
) where
    L: Listener<Addr = SocketAddr>,
    C: Connect,
{
    let nobody = |_| stream::empty();
    serve_with_last(listener, service, limits, shutdown, nobody).await;
}

/// As [`serve`], for a listener that has connections under way which it can't give out yet, as one of TLS has while it shakes hands. Once
/// the server is to end, and what has come is accepted, `last` stops listening and gives those that are still to come: they are served for
/// as long as the next one takes no longer than half a second, and within [`Limits::drain`].
///
/// # Cancel safety
/// As [`serve`].
pub async fn serve_with_last<L, C, S>(
    mut listener: L,
    service: SiteService<C>,
    limits: Limits,
    shutdown: impl Future<Output = ()>,
    last: impl FnOnce(L) -> S,
) where
    L: Listener<Addr = SocketAddr>,
    C: Connect,
    S: Stream<Item = (L::Io, SocketAddr)>,
{
    let (phase, phases) = watch::channel(Phase::Serving);
    let room = Arc::new(Semaphore::new(
        limits.connections.min(Semaphore::MAX_PERMITS),
    ));
    let http = http(&limits);
    let header_timeout = limits.header_timeout;
    let begin = |stream: L::Io, peer, place: Option<OwnedSemaphorePermit>| {
        let ending = Ending {
            phase: phases.clone(),
            _place: place.map(Arc::new),
        };
        let activity = Arc::new(Activity::default());
        let stream = Timed::limited(stream, limits.write_timeout, activity.clone());
        let ends = (ending, header_timeout);
        tokio::spawn(connection(&http, stream, peer, &service, ends, activity));
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
    let last = last(listener);
    phase.send_replace(Phase::Draining);
    let end = Instant::now() + limits.drain;
    let served = async {
        for (stream, peer) in waiting {
            let place = room.clone().acquire_owned().await;
            begin(stream, peer, place.ok());
        }
        tokio::pin!(last);
        while let Ok(Some((stream, peer))) = timeout(LAST_REQUEST, last.next()).await {
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

/// Both versions within these limits.
fn http(limits: &Limits) -> auto::Builder<TokioExecutor> {
    let header_bytes = limits.header_bytes.max(MIN_HEADER_BYTES);
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(header_bytes);
    http.http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams)
        .max_send_buf_size(MAX_SEND_BYTES)
        .max_header_list_size(u32::try_from(header_bytes).unwrap_or(u32::MAX));
    http
}

/// Serves one connection to its end: its own, the server's, or that of the time for which it may be without a request.
fn connection<S, C>(
    http: &auto::Builder<TokioExecutor>,
    stream: Timed<S>,
    peer: SocketAddr,
    service: &SiteService<C>,
    (mut ending, unused_for): (Ending, Duration),
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
        // HTTP/2 has no such field: there the connection says that it ends (RFC 9113 section 8.2.2).
        let by_field = request.version() < Version::HTTP_2;
        if !by_field {
            of_requests.set_http2();
        }
        let answered = service.clone().call(request);
        async move {
            let mut response = answered.await?;
            if by_field
                && ending.has_begun()
                && response.status() != StatusCode::SWITCHING_PROTOCOLS
            {
                let close = HeaderValue::from_static("close");
                response.headers_mut().insert(CONNECTION, close);
            }
            Ok::<_, std::convert::Infallible>(response.map(|body| answering.with(body)))
        }
    });
    let connection = http
        .serve_connection_with_upgrades(TokioIo::new(stream), answer)
        .into_owned();
    async move {
        tokio::pin!(connection);
        let mut draining = ending.clone();
        let quiet = async {
            draining.reaches(Phase::Draining).await;
            // GOAWAY comes twice, and only the second ends the requests: none is lost that was on its way (RFC 9113 section 6.8).
            while !activity.is_http2() {
                let before = activity.moved();
                tokio::time::sleep(LAST_REQUEST).await;
                if activity.moved() == before && !activity.is_busy() {
                    return;
                }
            }
        };
        let unused = async {
            tokio::select! {
                () = quiet => {}
                // hyper has no such limit before it knows the version, nor in HTTP/2.
                () = activity.unused(unused_for) => {}
            }
        };
        let ended = tokio::select! {
            // First: what has come meanwhile is a request, or the begin of one.
            biased;
            ended = connection.as_mut() => ended,
            () = unused => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = connection.as_mut() => ended,
                    // A client need not answer to a GOAWAY.
                    () = activity.unused(unused_for) => Ok(()),
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
