//! Files of a directory. Where a path leads is found out in `resolve`, on a blocking thread, and only what lies below the root is
//! opened (`beneath`); ranges, conditions and precompressed forms of a file are tower-http's `ServeDir`'s, which is given the file
//! itself (`regular`).

mod beneath;
mod listing;
mod regular;
mod resolve;

use std::io;
use std::sync::Arc;

use axum::extract::Request;
use axum::response::Response;
use hyper::header::{ALLOW, HeaderValue, LOCATION, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, StatusCode};

use self::resolve::{Found, resolve};
use crate::{Files, answer, path};

/// The files of a route.
#[derive(Clone, Debug)]
pub(crate) struct FileTarget {
    files: Arc<Files>,
}

impl FileTarget {
    /// Follows the root's own links once and for all.
    pub(crate) fn new(mut files: Files) -> io::Result<Self> {
        files.root = files.root.canonicalize()?;
        Ok(Self {
            files: files.into(),
        })
    }

    /// Answers a request; `rest` is what its path has beyond the route's.
    pub(crate) async fn serve(&self, request: Request, decoded: &[u8], rest: &[u8]) -> Response {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = answer::status(StatusCode::METHOD_NOT_ALLOWED);
            let allowed = HeaderValue::from_static("GET, HEAD");
            response.headers_mut().insert(ALLOW, allowed);
            return response;
        }
        let files = self.files.clone();
        let wanted = rest.to_vec();
        let found = tokio::task::spawn_blocking(move || resolve(&files, &wanted)).await;
        let mut response = match found {
            Ok(Ok(Found::File(file))) => file.serve(request).await,
            Ok(Ok(Found::Listing(entries))) => listing::page(decoded, &entries),
            Ok(Ok(Found::NoSlash)) => add_slash(decoded, request.uri().query()),
            Ok(Ok(Found::Nothing)) => answer::status(StatusCode::NOT_FOUND),
            Ok(Err(error)) => failed(&error),
            Err(_) => answer::status(StatusCode::INTERNAL_SERVER_ERROR),
        };
        // What a file is, its name says: browsers are not to guess from what is in it.
        let nosniff = HeaderValue::from_static("nosniff");
        response
            .headers_mut()
            .insert(X_CONTENT_TYPE_OPTIONS, nosniff);
        response
    }
}

/// A directory's own relative links work from below it only.
fn add_slash(decoded: &[u8], query: Option<&str>) -> Response {
    let mut location = path::encode(decoded) + "/";
    if let Some(query) = query {
        location.push('?');
        location.push_str(query);
    }
    let Ok(location) = HeaderValue::try_from(location) else {
        return answer::status(StatusCode::NOT_FOUND);
    };
    let mut response = answer::status(StatusCode::MOVED_PERMANENTLY);
    response.headers_mut().insert(LOCATION, location);
    response
}

fn failed(error: &io::Error) -> Response {
    match error.kind() {
        io::ErrorKind::NotFound
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::InvalidFilename
        | io::ErrorKind::InvalidInput => answer::status(StatusCode::NOT_FOUND),
        io::ErrorKind::PermissionDenied => answer::status(StatusCode::FORBIDDEN),
        _ => {
            tracing::warn!(%error, "a file could not be served");
            answer::status(StatusCode::INTERNAL_SERVER_ERROR)
        }
    }
}
