//! The site as a service: from a request to the route that answers it.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::{Body, HttpBody};
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use hyper::header::{ALLOW, CONTENT_LENGTH, HeaderValue, LOCATION, TRANSFER_ENCODING};
use hyper::{Method, StatusCode};

use crate::access::Entry;
use crate::files::FileTarget;
use crate::path::RequestPath;
use crate::proxy::{self, Connect, ProxyTarget};
use crate::routes::{Route, Routes};
use crate::{Redirect, Site, SiteError, Status, Target, answer, host, path};

/// The peer of a request's connection, among the request's extensions: what the access log and `X-Forwarded-For`
/// have. [`serve`](crate::serve) puts it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer(pub SocketAddr);

/// Answers requests from a [`Site`]. Cheap to clone; clones share the connections to upstreams.
pub struct SiteService<C: Connect> {
    inner: Arc<Inner<C>>,
}

struct Inner<C: Connect> {
    routes: Routes<Served<C>>,
    trust_forwarded: bool,
    access_log: bool,
    https: bool,
}

enum Served<C: Connect> {
    Files(FileTarget),
    Proxy(Box<ProxyTarget<C>>),
    Redirect(Redirect),
    Status(Status),
}

impl<C: Connect> SiteService<C> {
    /// The service of a site, with the way to its upstreams. Looks at the directories of [`Files`](crate::Files).
    ///
    /// # Errors
    /// The first route that cannot be served, and why.
    pub fn new(site: Site, connect: C) -> Result<Self, SiteError> {
        site.check()?;
        let connect = Arc::new(connect);
        let mut routes = Vec::with_capacity(site.routes.len());
        for (at, rule) in site.routes.into_iter().enumerate() {
            let target = match rule.target {
                Target::Files(files) => {
                    let root = files.root.display().to_string();
                    let target = FileTarget::new(files).map_err(|error| SiteError {
                        route: at,
                        problem: format!("{root}: {error}"),
                    })?;
                    Served::Files(target)
                }
                Target::Proxy(proxy) => {
                    Served::Proxy(Box::new(ProxyTarget::new(proxy, connect.clone())))
                }
                Target::Redirect(redirect) => Served::Redirect(redirect),
                Target::Status(status) => Served::Status(status),
            };
            routes.push((rule.host, rule.path, target));
        }
        Ok(Self {
            inner: Arc::new(Inner {
                routes: Routes::new(routes),
                trust_forwarded: site.trust_forwarded,
                access_log: site.access_log,
                https: site.https,
            }),
        })
    }
}

impl<C: Connect> Clone for SiteService<C> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
        }
    }
}

impl<C: Connect> std::fmt::Debug for SiteService<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("SiteService")
            .field(&self.inner.routes)
            .finish()
    }
}

impl<C: Connect> std::fmt::Debug for Served<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Files(files) => files.fmt(f),
            Self::Proxy(proxy) => proxy.fmt(f),
            Self::Redirect(redirect) => redirect.fmt(f),
            Self::Status(status) => status.fmt(f),
        }
    }
}

impl<C, B> tower::Service<hyper::Request<B>> for SiteService<C>
where
    C: Connect,
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<axum::BoxError>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: hyper::Request<B>) -> Self::Future {
        let inner = self.inner.clone();
        Box::pin(async move { Ok(inner.answer(request.map(Body::new)).await) })
    }
}

impl<C: Connect> Inner<C> {
    async fn answer(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let peer = parts.extensions.get::<Peer>().map(|peer| peer.0);
        let authority = host::authority(&parts);
        let name = match &authority {
            Ok(Some(authority)) => authority.host(),
            _ => "-",
        };
        let entry = self.access_log.then(|| Entry::new(&parts, peer, name));
        let response = match authority {
            Ok(authority) => {
                self.route(Request::from_parts(parts, body), peer, authority)
                    .await
            }
            Err(host::BadHost) => answer::status(StatusCode::BAD_REQUEST),
        };
        match entry {
            Some(entry) => entry.attach(response),
            None => response,
        }
    }

    async fn route(
        &self,
        request: Request,
        peer: Option<SocketAddr>,
        authority: Option<hyper::http::uri::Authority>,
    ) -> Response {
        // Neither is for an origin: a tunnel to anywhere, and an echo of headers that are not the asker's.
        if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
            let mut response = answer::status(StatusCode::METHOD_NOT_ALLOWED);
            let allowed = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS");
            response.headers_mut().insert(ALLOW, allowed);
            return response;
        }
        // RFC 9112 section 6.1: one of them is a lie, and servers disagree on which (request smuggling).
        let headers = request.headers();
        if headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH) {
            return answer::status(StatusCode::BAD_REQUEST);
        }
        let Ok(decoded) = RequestPath::parse(request.uri().path()) else {
            return answer::status(StatusCode::BAD_REQUEST);
        };
        let host = authority.as_ref().map(|authority| authority.host());
        let Some((route, rest)) = self.routes.find(host, &decoded) else {
            return answer::status(StatusCode::NOT_FOUND);
        };
        let Route { prefix, target, .. } = route;
        match target {
            Served::Files(files) => files.serve(request, decoded.as_bytes(), rest).await,
            Served::Proxy(proxy) => {
                let context = proxy::Context {
                    peer,
                    authority,
                    trust_forwarded: self.trust_forwarded,
                    https: self.https,
                    prefix,
                    rest,
                };
                proxy.serve(request, context).await
            }
            Served::Redirect(redirect) => redirected(redirect, rest, request.uri().query()),
            Served::Status(status) => answer::text(
                StatusCode::from_u16(status.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
                status.body.clone(),
            ),
        }
    }
}

fn redirected(redirect: &Redirect, rest: &[u8], query: Option<&str>) -> Response {
    let mut to = redirect.to.clone();
    if redirect.keep_path {
        // One slash between the two, whichever brings it.
        if to.ends_with('/') && rest.first() == Some(&b'/') {
            to.pop();
        }
        to.push_str(&path::encode(rest));
        if let Some(query) = query {
            to.push('?');
            to.push_str(query);
        }
    }
    let status = StatusCode::from_u16(redirect.status).unwrap_or(StatusCode::PERMANENT_REDIRECT);
    match HeaderValue::try_from(to) {
        Ok(to) => {
            let mut response = answer::status(status);
            response.headers_mut().insert(LOCATION, to);
            response
        }
        Err(_) => answer::status(StatusCode::BAD_REQUEST),
    }
}
