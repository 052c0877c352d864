//! A file that was found, as tower-http's `ServeDir` is given it: by its descriptor. The compressed forms that lie beside it are
//! opened below the root when one is asked for.

use std::fs::{self, Metadata};
use std::future::{Ready, ready};
use std::io::{self, SeekFrom};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::{StatusCode, Uri};
use tokio::io::{AsyncRead, AsyncSeek, ReadBuf};
use tower::ServiceExt;
use tower_http::services::ServeDir;
use tower_http::services::fs::{Backend, File};

use super::beneath::Root;
use crate::{answer, path};

/// A regular file, and where it was found.
#[derive(Debug)]
pub(super) struct Regular {
    root: Root,
    /// Below the root.
    path: PathBuf,
    file: fs::File,
    metadata: Metadata,
}

impl Regular {
    /// `None` if it is none: a device or a pipe could block for ever.
    pub(super) fn new(root: Root, path: PathBuf, file: fs::File) -> io::Result<Option<Self>> {
        let metadata = file.metadata()?;
        Ok(metadata.is_file().then_some(Self {
            root,
            path,
            file,
            metadata,
        }))
    }

    #[cfg(test)]
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Answers a request with it.
    pub(super) async fn serve(self, mut request: Request) -> Response {
        let name = stand_in(&self.path);
        let Ok(uri) = Uri::try_from(format!("/{}", path::encode(name.as_bytes()))) else {
            return answer::status(StatusCode::NOT_FOUND);
        };
        *request.uri_mut() = uri;
        let service = ServeDir::with_backend("", Beside::new(self, name))
            .append_index_html_on_directories(false)
            .precompressed_zstd()
            .precompressed_br()
            .precompressed_gzip();
        match service.oneshot(request).await {
            Ok(response) => response.map(Body::new),
            Err(never) => match never {},
        }
    }
}

/// The name that a file has for `ServeDir`, which takes UTF-8 alone: of its own it needs the extension, for the type.
fn stand_in(path: &Path) -> String {
    match path.extension().and_then(|it| it.to_str()) {
        Some(extension) => format!("file.{extension}"),
        None => "file".to_owned(),
    }
}

/// The file and what lies beside it.
#[derive(Clone, Debug)]
struct Beside(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    root: Root,
    path: PathBuf,
    name: String,
    metadata: Metadata,
    /// Until it is read.
    file: Mutex<Option<fs::File>>,
}

impl Beside {
    fn new(found: Regular, name: String) -> Self {
        Self(Arc::new(Inner {
            root: found.root,
            path: found.path,
            name,
            metadata: found.metadata,
            file: Mutex::new(Some(found.file)),
        }))
    }
}

impl Inner {
    /// What a name that was asked for has beyond the file's own.
    fn extension<'a>(&self, asked: &'a Path) -> Option<&'a str> {
        asked.file_name()?.to_str()?.strip_prefix(&self.name)
    }

    fn take(&self) -> io::Result<Opened> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let file = file.take().ok_or(io::ErrorKind::NotFound)?;
        Ok(Opened::new(file, self.metadata.clone()))
    }

    /// Opens the form of the file with one more extension. Blocking.
    fn form(&self, extension: &str) -> io::Result<Opened> {
        let mut path = self.path.clone().into_os_string();
        path.push(extension);
        // One that is a link to elsewhere is none: then the file is served as it is.
        let file = self.root.at(Path::new(&path))?;
        let file = file.ok_or(io::ErrorKind::NotFound)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(Opened::new(file, metadata))
    }
}

type Later<T> = Pin<Box<dyn Future<Output = io::Result<T>> + Send>>;

impl Backend for Beside {
    type File = Opened;
    type Metadata = Metadata;
    type OpenFuture = Later<Opened>;
    type MetadataFuture = Later<Metadata>;

    fn open(&self, path: PathBuf) -> Later<Opened> {
        let inner = self.0.clone();
        match inner.extension(&path).map(str::to_owned) {
            Some(none) if none.is_empty() => Box::pin(ready(inner.take())),
            Some(more) => Box::pin(blocking(move || inner.form(&more))),
            None => Box::pin(ready(Err(io::ErrorKind::NotFound.into()))),
        }
    }

    fn metadata(&self, path: PathBuf) -> Later<Metadata> {
        if self.0.extension(&path) == Some("") {
            return Box::pin(ready(Ok(self.0.metadata.clone())));
        }
        let opened = self.open(path);
        Box::pin(async move { Ok(opened.await?.metadata) })
    }
}

/// Does what may wait where that harms nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|error| Err(io::Error::other(error)))
}

/// A file that is being read.
#[derive(Debug)]
struct Opened {
    file: tokio::fs::File,
    metadata: Metadata,
}

impl Opened {
    fn new(file: fs::File, metadata: Metadata) -> Self {
        Self {
            file: file.into(),
            metadata,
        }
    }
}

impl AsyncRead for Opened {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.file).poll_read(cx, buf)
    }
}

impl AsyncSeek for Opened {
    fn start_seek(mut self: Pin<&mut Self>, position: SeekFrom) -> io::Result<()> {
        Pin::new(&mut self.file).start_seek(position)
    }

    fn poll_complete(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<u64>> {
        Pin::new(&mut self.file).poll_complete(cx)
    }
}

impl File for Opened {
    type Metadata = Metadata;
    type MetadataFuture<'a> = Ready<io::Result<Metadata>>;

    fn metadata(&self) -> Ready<io::Result<Metadata>> {
        ready(Ok(self.metadata.clone()))
    }
}
