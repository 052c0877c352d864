//! The access log: a line for each request, when its response has been sent or has broken off.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use http_body::{Body as _, Frame, SizeHint};
use hyper::http::request::Parts;
use percent_encoding::{CONTROLS, utf8_percent_encode};
use tokio::time::Instant;

/// What is known of a request before it is answered.
#[derive(Debug)]
pub(crate) struct Entry {
    peer: Option<SocketAddr>,
    method: String,
    host: String,
    path: String,
    started: Instant,
}

impl Entry {
    pub(crate) fn new(parts: &Parts, peer: Option<SocketAddr>, host: &str) -> Self {
        Self {
            peer,
            method: parts.method.to_string(),
            host: host.to_owned(),
            // What has no place in a URL (RFC 3986 section 2.1) is encoded: a line stays a line, and a terminal is left alone.
            path: utf8_percent_encode(parts.uri.path(), CONTROLS).to_string(),
            started: Instant::now(),
        }
    }

    /// The response, which writes the line when its body is dropped.
    pub(crate) fn attach(self, response: Response) -> Response {
        let status = response.status().as_u16();
        response.map(|body| {
            Body::new(Logged {
                expected: body.size_hint().exact(),
                body,
                entry: self,
                status,
                bytes: 0,
                ended: false,
            })
        })
    }
}

#[derive(Debug)]
struct Logged {
    body: Body,
    entry: Entry,
    status: u16,
    bytes: u64,
    /// As many as there are, where that is known: what has them all is not asked for more.
    expected: Option<u64>,
    ended: bool,
}

impl http_body::Body for Logged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                self.bytes += frame.data_ref().map_or(0, Bytes::len) as u64;
            }
            Poll::Ready(None) => self.ended = true,
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        let entry = &self.entry;
        tracing::info!(
            target: "access",
            peer = entry.peer.map(tracing::field::display),
            method = entry.method,
            host = entry.host,
            path = entry.path,
            status = self.status,
            bytes = self.bytes,
            complete = self.ended || self.body.is_end_stream() || self.expected == Some(self.bytes),
            ms = u64::try_from(entry.started.elapsed().as_millis()).unwrap_or(u64::MAX),
        );
    }
}
