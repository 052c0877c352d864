//! A body of any length, of which nothing is made: each piece is the same bytes.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes};
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use hyper::body::{Frame, SizeHint};

static PIECE: [u8; 64 << 10] = [b'x'; 64 << 10];

/// The bytes that are left.
#[derive(Debug)]
struct Filled(usize);

impl hyper::body::Body for Filled {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let next = self.0.min(PIECE.len());
        self.0 -= next;
        let frame = || Ok(Frame::data(Bytes::from_static(&PIECE).slice(..next)));
        Poll::Ready((next > 0).then(frame))
    }

    fn is_end_stream(&self) -> bool {
        self.0 == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0 as u64)
    }
}

/// A response of so many times `x`. Whoever asks for it takes no memory of the server's by that.
pub fn filled(length: usize) -> Response {
    let kind = [(CONTENT_TYPE, "application/octet-stream")];
    (kind, Body::new(Filled(length))).into_response()
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use hyper::body::Body as _;

    use super::*;

    #[tokio::test]
    async fn it_is_as_long_as_it_says_and_made_of_one_piece() {
        for length in [0, 1, PIECE.len(), 1 << 30] {
            let mut body = filled(length).into_body();
            assert_eq!(body.size_hint().exact(), Some(length as u64));
            let mut got = 0;
            while let Some(frame) = body.frame().await {
                let data = frame.unwrap().into_data().unwrap();
                assert_eq!(data.as_ptr(), PIECE.as_ptr());
                got += data.len();
            }
            assert_eq!(got, length);
        }
    }
}
