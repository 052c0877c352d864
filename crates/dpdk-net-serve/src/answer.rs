//! Answers of our own: short texts.

use axum::body::Body;
use axum::response::Response;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderValue};

/// A status with a text; the status's own name where there is none.
pub(crate) fn text(status: StatusCode, body: impl Into<String>) -> Response {
    let mut body: String = body.into();
    if body.is_empty() {
        body = status.canonical_reason().unwrap_or("error").to_owned();
    }
    // RFC 9110 section 15: these have no content.
    let body = match status {
        StatusCode::NO_CONTENT | StatusCode::RESET_CONTENT | StatusCode::NOT_MODIFIED => {
            Body::empty()
        }
        _ => Body::from(body + "\n"),
    };
    let mut response = Response::new(body);
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// The same without a text of its own.
pub(crate) fn status(status: StatusCode) -> Response {
    text(status, "")
}
