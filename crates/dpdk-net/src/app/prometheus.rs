//! Figures for Prometheus: an HTTP server on the control thread, over the kernel's sockets or over the stack's own.
//!
//! A connection is for one request. How many there are at once, how long a request's head may be and how long one may take is bounded,
//! so a scraper that is slow, or that means ill, costs a place for some seconds; who comes while there is none waits in the listener's
//! backlog. Figures are read, and written as text in each format, at most ten times a second, however often they are asked for.

use std::cell::RefCell;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderValue, VARY};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::Context;
use super::subsystem::{Application, Subsystem, SubsystemFuture};
use crate::metrics::{Family, Format, to_text};
use crate::net::TcpListener;

/// Connections at a time.
const CONNECTIONS: usize = 32;

/// Bytes of a request's head at most (hyper's least), and its fields.
const HEAD: usize = 8 * 1024;
const FIELDS: usize = 64;

/// How long a request's head may take, and the connection as a whole.
const REQUEST: Duration = Duration::from_secs(2);
const WHOLE: Duration = Duration::from_secs(5);

/// How old figures may be that are told.
const AGE: Duration = Duration::from_millis(100);

/// Pause after the listener failed, as a rule for want of file descriptors.
const PAUSE: Duration = Duration::from_secs(1);

/// Over what figures are served.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Transport {
    /// The kernel's sockets: the packet path has nothing to do with it.
    #[default]
    Kernel,
    /// The application's own stack, at the first queue of the port that has the address.
    Stack,
}

/// Where and how figures are served: [`AppBuilder::prometheus`](crate::AppBuilder::prometheus).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct PrometheusConfig {
    /// The address. Who can connect to it can read all figures: there is no authentication.
    pub listen: SocketAddr,
    /// The path, which begins with a slash. Default: `/metrics`.
    pub path: String,
    /// Over what. Default: the kernel's sockets.
    pub transport: Transport,
}

impl PrometheusConfig {
    /// At this address, with the defaults.
    pub fn new(listen: impl Into<SocketAddr>) -> Self {
        Self {
            listen: listen.into(),
            path: "/metrics".to_owned(),
            transport: Transport::Kernel,
        }
    }

    /// Sets [`path`](Self::path).
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Sets [`transport`](Self::transport).
    #[must_use]
    pub fn transport(mut self, transport: Transport) -> Self {
        self.transport = transport;
        self
    }
}

/// The server, while the application runs.
pub(super) struct Prometheus {
    config: PrometheusConfig,
    task: Option<JoinHandle<()>>,
}

impl fmt::Debug for Prometheus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Prometheus").field(&self.config).finish()
    }
}

impl Prometheus {
    pub(super) fn new(config: PrometheusConfig) -> Self {
        Self { config, task: None }
    }

    async fn begin(&mut self, app: &Application) -> io::Result<()> {
        let PrometheusConfig {
            listen,
            ref path,
            transport,
        } = self.config;
        if !path.starts_with('/') {
            let message = format!("the path {path:?} does not begin with a slash");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        let service = Service {
            app: app.clone(),
            path: path.clone().into(),
            texts: Rc::default(),
        };
        let failed = |error: io::Error| {
            io::Error::new(error.kind(), format!("{listen} can't be bound: {error}"))
        };
        self.task = Some(match transport {
            Transport::Kernel => {
                let listener = tokio::net::TcpListener::bind(listen)
                    .await
                    .map_err(failed)?;
                let address = listener.local_addr()?;
                tracing::info!(%address, path, "figures are served");
                tokio::task::spawn_local(serve(service, async move || {
                    let (stream, _) = listener.accept().await?;
                    Ok(stream)
                }))
            }
            Transport::Stack => {
                let context = place(app, listen)?;
                let bound = context.handle().scope(TcpListener::bind(listen)).await;
                let listener = bound.map_err(failed)?;
                let address = listener.local_addr()?;
                tracing::info!(port = context.port_name(), %address, path, "figures are served over the stack");
                tokio::task::spawn_local(serve(service, async move || {
                    let (stream, _) = listener.accept().await?;
                    Ok(stream)
                }))
            }
        });
        Ok(())
    }
}

impl Subsystem for Prometheus {
    fn name(&self) -> &str {
        "metrics"
    }

    fn start<'a>(&'a mut self, app: &'a Application) -> SubsystemFuture<'a> {
        Box::pin(async move { Ok(self.begin(app).await?) })
    }

    fn stop(&mut self) -> SubsystemFuture<'_> {
        if let Some(task) = self.task.take() {
            task.abort();
        }
        Box::pin(async { Ok(()) })
    }
}

/// The first queue of the port that has the address; of several the first one's, where it stands for all.
fn place(app: &Application, listen: SocketAddr) -> io::Result<&Context> {
    let mut contexts = app.contexts().iter().filter(|ctx| ctx.queue() == 0);
    let (ip, any) = (listen.ip(), listen.ip().is_unspecified());
    contexts
        .find(|ctx| any || ctx.addresses().contains(&ip))
        .ok_or_else(|| {
            let message = format!("no port has the address {ip}");
            io::Error::new(io::ErrorKind::AddrNotAvailable, message)
        })
}

/// Serves the connections that `accept` brings, until it is aborted.
async fn serve<S, F>(service: Service, accept: F)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    F: AsyncFn() -> io::Result<S>,
{
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    // Ends with this task.
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let Ok(place) = room.clone().acquire_owned().await else {
            return;
        };
        let stream = tokio::select! {
            accepted = accept() => match accepted {
                Ok(stream) => stream,
                Err(error) => {
                    tracing::warn!(%error, "the server of figures accepts nobody for a moment");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            },
            // Those that have ended are let go of.
            Some(_) = connections.join_next() => continue,
        };
        let service = service.clone();
        connections.spawn_local(async move {
            let answer = service_fn(|request| std::future::ready(service.answer(&request)));
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(REQUEST)
                .max_buf_size(HEAD)
                .max_headers(FIELDS)
                .keep_alive(false)
                .serve_connection(TokioIo::new(stream), answer);
            // One that broke off or took too long has nobody left to tell.
            let _ = timeout(WHOLE, pin!(connection)).await;
            drop(place);
        });
    }
}

/// What is answered.
#[derive(Clone)]
struct Service {
    app: Application,
    path: Arc<str>,
    texts: Rc<RefCell<Texts>>,
}

/// What was written last, in each format: whoever asks while the figures are the same gets the same bytes.
#[derive(Default)]
struct Texts {
    families: Option<Arc<[Family]>>,
    prometheus: Option<Bytes>,
    open_metrics: Option<Bytes>,
}

impl Texts {
    fn of(&mut self, families: Arc<[Family]>, format: Format) -> Bytes {
        let known = self.families.as_ref();
        if !known.is_some_and(|known| Arc::ptr_eq(known, &families)) {
            *self = Self::default();
        }
        let families = &*self.families.insert(families);
        let text = match format {
            Format::Prometheus => &mut self.prometheus,
            Format::OpenMetrics => &mut self.open_metrics,
        };
        text.get_or_insert_with(|| to_text(families, format).into())
            .clone()
    }
}

impl Service {
    fn answer(&self, request: &Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        let known = [&*self.path, "/healthz"];
        let path = request.uri().path();
        if !known.contains(&path) {
            let text = format!(
                "there is nothing at this path; figures are at {}\n",
                self.path
            );
            return Ok(plain(StatusCode::NOT_FOUND, text));
        }
        // hyper leaves the body out of what answers HEAD.
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let text = format!("{} is of no use here, GET and HEAD are\n", request.method());
            let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, text);
            let allow = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(ALLOW, allow);
            return Ok(response);
        }
        if path == &*self.path {
            return Ok(self.figures(request));
        }
        let ending = (self.app.contexts().iter()).any(Context::is_shutting_down);
        Ok(match ending {
            false => plain(StatusCode::OK, "ok\n".to_owned()),
            true => plain(
                StatusCode::SERVICE_UNAVAILABLE,
                "shutting down\n".to_owned(),
            ),
        })
    }

    fn figures(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let accept = request.headers().get_all(ACCEPT).iter();
        let accept: Vec<&str> = accept.filter_map(|value| value.to_str().ok()).collect();
        let format = Format::accepted(&accept.join(","));
        let families = self.app.metrics().recent(AGE);
        let text = self.texts.borrow_mut().of(families, format);
        let mut response = Response::new(Full::new(text));
        let headers = response.headers_mut();
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static(format.content_type()),
        );
        headers.insert(VARY, HeaderValue::from_static("accept"));
        response
    }
}

fn plain(status: StatusCode, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(text.into()));
    *response.status_mut() = status;
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Registry;

    #[test]
    fn one_reading_is_written_once_in_each_format() {
        let registry = Registry::new(Vec::new());
        let mut texts = Texts::default();
        let families = registry.recent(Duration::from_secs(3600));
        let formats = [Format::Prometheus, Format::OpenMetrics];
        let first = formats.map(|format| texts.of(families.clone(), format));
        assert_ne!(first[0], first[1]);
        for (format, first) in formats.into_iter().zip(&first) {
            let again = registry.recent(Duration::from_secs(3600));
            let again = texts.of(again, format);
            assert_eq!((again.as_ptr(), again.len()), (first.as_ptr(), first.len()));
        }
        // Another reading is another text.
        let later: Arc<[Family]> = registry.gather().into();
        for (format, first) in formats.into_iter().zip(&first) {
            let text = texts.of(later.clone(), format);
            assert_ne!(text.as_ptr(), first.as_ptr());
            assert_ne!(&text, first, "the uptime is another one");
        }
    }
}
