//! The reverse proxy: a request goes to one of several upstreams, its answer comes back, and bodies pass as they come.

mod connect;
mod headers;
mod tunnel;
mod upstreams;

use std::error::Error as _;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::response::Response;
use hyper::http::Extensions;
use hyper::http::request::Parts;
use hyper::http::uri::{Authority, PathAndQuery, Scheme};
use hyper::{StatusCode, Uri, Version};
use hyper_util::client::legacy::{Client, Error};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::{Instant, timeout_at};

pub use self::connect::Connect;
use self::connect::{Answered, Connector};
use self::headers::Forwarded;
use self::upstreams::Upstreams;
use crate::body::{Fault, Idle, Upload, Watched};
use crate::server::Ending;
use crate::{Proxy, answer, path};

/// The upstreams of a route, and the connections to them.
pub(crate) struct ProxyTarget<C: Connect> {
    proxy: Proxy,
    upstreams: Upstreams,
    client: Client<Connector<C>, Body>,
}

/// What of a request the proxy goes by beside the request itself.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    pub(crate) peer: Option<SocketAddr>,
    /// The host and port that the client asked for.
    pub(crate) authority: Option<Authority>,
    pub(crate) trust_forwarded: bool,
    /// Whether the client came over TLS.
    pub(crate) https: bool,
    /// The route's path without the slash at its end, and what the request's has beyond it.
    pub(crate) prefix: &'a str,
    pub(crate) rest: &'a [u8],
}

impl<C: Connect> std::fmt::Debug for ProxyTarget<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("ProxyTarget").field(&self.proxy).finish()
    }
}

impl<C: Connect> ProxyTarget<C> {
    pub(crate) fn new(proxy: Proxy, connect: Arc<C>) -> Self {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(proxy.keep_alive_for)
            .pool_max_idle_per_host(proxy.keep_alive)
            .set_host(false)
            .build(Connector::new(connect, proxy.connect_timeout));
        Self {
            upstreams: Upstreams::new(&proxy.upstreams, proxy.fail_for),
            proxy,
            client,
        }
    }

    /// Answers a request from one of the upstreams.
    pub(crate) async fn serve(&self, request: Request, context: Context<'_>) -> Response {
        let announced = request.body().size_hint().lower();
        let limit = self.proxy.body_limit;
        if limit.is_some_and(|limit| announced > limit) {
            return answer::status(StatusCode::PAYLOAD_TOO_LARGE);
        }
        let (mut parts, body) = request.into_parts();
        let upgrade = headers::upgrade(&parts.headers);
        let client_side = parts.extensions.remove::<hyper::upgrade::OnUpgrade>();
        let ending = parts.extensions.remove::<Ending>();
        let Some(target) = self.target(&parts.uri, &context) else {
            return answer::status(StatusCode::BAD_REQUEST);
        };
        headers::strip(&mut parts.headers);
        headers::forward(
            &mut parts.headers,
            Forwarded {
                peer: context.peer,
                host: context.authority.as_ref(),
                version: parts.version,
                trust: context.trust_forwarded,
                https: context.https,
            },
        );
        headers::join_cookies(&mut parts.headers);
        if let Some(protocol) = &upgrade {
            headers::set_upgrade(&mut parts.headers, protocol.clone());
        }
        let upload = Upload::new(self.proxy.idle_timeout);
        let is_empty = body.is_end_stream();
        let body = Body::new(Watched::new(body, upload.clone(), limit));

        let mut response = match self
            .send(&parts, &target, context.authority, body, is_empty, &upload)
            .await
        {
            Ok(response) => response,
            Err(status) => return answer::status(status),
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let server_side = hyper::upgrade::on(&mut response);
            let agreed = headers::upgrade(response.headers()).filter(|_| upgrade.is_some());
            let (Some(client_side), Some(protocol)) = (client_side, agreed) else {
                // RFC 9110 section 7.8: nobody asked for that protocol.
                return answer::status(StatusCode::BAD_GATEWAY);
            };
            let idle = self.proxy.tunnel_idle_timeout;
            tokio::spawn(tunnel::run(client_side, server_side, idle, ending));
            headers::strip(response.headers_mut());
            headers::set_upgrade(response.headers_mut(), protocol);
            return response;
        }
        headers::strip(response.headers_mut());
        *response.version_mut() = Version::HTTP_11;
        response.map(|body| Body::new(Idle::new(body, self.proxy.idle_timeout)))
    }

    /// The path and query that the upstream is asked for.
    fn target(&self, uri: &Uri, context: &Context<'_>) -> Option<PathAndQuery> {
        let whole = uri.path_and_query()?;
        if !self.proxy.strip_prefix {
            return Some(whole.clone());
        }
        // As it was written where that can be told, so that an encoded slash stays one.
        let written = whole
            .path()
            .strip_prefix(context.prefix)
            .filter(|rest| rest.starts_with('/') && !rest.starts_with("//"));
        let mut target = written.map_or_else(|| path::encode(context.rest), str::to_owned);
        if target.is_empty() {
            target.push('/');
        }
        if let Some(query) = whole.query() {
            target.push('?');
            target.push_str(query);
        }
        PathAndQuery::try_from(target).ok()
    }

    /// Tries upstreams until one answers. A request goes to a second one only if it may be made twice (RFC 9110
    /// section 9.2.2), and if there is no body of which some may be gone already.
    async fn send(
        &self,
        parts: &Parts,
        target: &PathAndQuery,
        host: Option<Authority>,
        body: Body,
        is_empty: bool,
        upload: &Arc<Upload>,
    ) -> Result<Response, StatusCode> {
        let may_repeat = is_empty && parts.method.is_idempotent();
        let mut body = Some(body);
        let mut tried = Vec::new();
        let mut stale = 0;
        let mut last = StatusCode::BAD_GATEWAY;
        let mut same = None;
        while let Some(at) = same
            .take()
            .or_else(|| self.upstreams.pick(&tried, Instant::now()))
        {
            let Some(upstream) = self.upstreams.authority(at) else {
                break;
            };
            let body = match body.take() {
                Some(body) => body,
                None if may_repeat => Body::empty(),
                None => break,
            };
            let host = host.as_ref().filter(|_| self.proxy.preserve_host);
            let request = request(parts, target, upstream, host.unwrap_or(upstream), body)
                .ok_or(StatusCode::BAD_REQUEST)?;
            let failed = match self.exchange(request, upload).await {
                Ok(response) => {
                    self.upstreams.succeeded(at);
                    return Ok(response);
                }
                Err(failed) => failed,
            };
            match failed {
                Failed::Client(status) => return Err(status),
                Failed::Stale if stale < STALE => {
                    stale += 1;
                    same = Some(at);
                    continue;
                }
                Failed::Stale => {}
                // It has the request, and another would have it too.
                Failed::Slow => {
                    self.failed(at, upstream, "it did not answer in time");
                    return Err(StatusCode::GATEWAY_TIMEOUT);
                }
                Failed::Broken { status, reason } => {
                    self.failed(at, upstream, &reason);
                    last = status;
                }
            }
            tried.push(at);
        }
        Err(last)
    }

    fn failed(&self, at: usize, upstream: &Authority, reason: &str) {
        if self.upstreams.failed(at, Instant::now()) {
            tracing::warn!(%upstream, reason, "upstream failed");
        }
    }

    /// One request to one upstream, up to the headers of the response.
    async fn exchange(&self, request: Request, upload: &Upload) -> Result<Response, Failed> {
        upload.begin();
        let response = self.client.request(request);
        tokio::pin!(response);
        // Whether the client or the upstream is waited for changes while nothing wakes us: look at least so often.
        let look = self.proxy.idle_timeout.min(self.proxy.response_timeout);
        loop {
            let deadline = upload.deadline(self.proxy.response_timeout);
            let wake = deadline.min(Instant::now() + look);
            match timeout_at(wake, &mut response).await {
                Ok(Ok(mut response)) => {
                    if let Some(answered) = response.extensions_mut().remove::<Answered>() {
                        answered.set();
                    }
                    return Ok(response.map(Body::new));
                }
                Ok(Err(error)) => return Err(Failed::of(&error, upload)),
                Err(_) if upload.deadline(self.proxy.response_timeout) > Instant::now() => {}
                Err(_) if upload.waits_for_client() => {
                    return Err(Failed::Client(StatusCode::REQUEST_TIMEOUT));
                }
                Err(_) => return Err(Failed::Slow),
            }
        }
    }
}

/// How often a request that met a connection at its end is tried on another of the same upstream.
const STALE: u32 = 2;

/// Why an exchange failed.
enum Failed {
    /// By the client, which gets this status if it still listens.
    Client(StatusCode),
    /// On a connection that had been used before: the upstream closed it as the request came, as it may at any time
    /// (RFC 9112 section 9.3.1). That says nothing of the upstream.
    Stale,
    /// The upstream took the request and did not answer in time.
    Slow,
    /// The upstream could not be reached, broke off or answered nonsense.
    Broken { status: StatusCode, reason: String },
}

impl Failed {
    fn of(error: &Error, upload: &Upload) -> Self {
        match upload.fault() {
            Some(Fault::TooLarge) => return Self::Client(StatusCode::PAYLOAD_TOO_LARGE),
            Some(Fault::Client) => return Self::Client(StatusCode::BAD_REQUEST),
            None => {}
        }
        let mut extensions = Extensions::new();
        if let Some(connection) = error.connect_info() {
            connection.get_extras(&mut extensions);
        }
        let is_used = extensions.get::<Answered>().is_some_and(Answered::get);
        let mut cause = error.source();
        let mut timed_out = false;
        let mut ended = false;
        let mut reason = error.to_string();
        while let Some(error) = cause {
            if let Some(error) = error.downcast_ref::<io::Error>() {
                timed_out |= error.kind() == io::ErrorKind::TimedOut;
                ended |= matches!(
                    error.kind(),
                    io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
                );
            }
            let of_http = error.downcast_ref::<hyper::Error>();
            ended |= of_http.is_some_and(hyper::Error::is_incomplete_message);
            reason = error.to_string();
            cause = error.source();
        }
        if is_used && ended {
            return Self::Stale;
        }
        Self::Broken {
            status: if error.is_connect() && timed_out {
                StatusCode::GATEWAY_TIMEOUT
            } else {
                StatusCode::BAD_GATEWAY
            },
            reason,
        }
    }
}

fn request(
    parts: &Parts,
    target: &PathAndQuery,
    upstream: &Authority,
    host: &Authority,
    body: Body,
) -> Option<Request> {
    let uri = Uri::builder()
        .scheme(Scheme::HTTP)
        .authority(upstream.clone())
        .path_and_query(target.clone())
        .build()
        .ok()?;
    let mut request = Request::new(body);
    *request.method_mut() = parts.method.clone();
    *request.uri_mut() = uri;
    *request.headers_mut() = parts.headers.clone();
    headers::set_host(request.headers_mut(), host)?;
    Some(request)
}
