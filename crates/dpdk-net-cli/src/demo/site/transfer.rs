//! Bytes to try a connection with: a download and an upload of any size, and what SHA-256 they have.

use std::convert::Infallible;
use std::sync::LazyLock;
use std::time::Instant;

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde::Serialize;
use sha2::{Digest, Sha256};

const MAX_DOWNLOAD: u64 = 1 << 40;
/// A digest keeps a thread busy, so it is not had for a terabyte.
const MAX_DIGEST: u64 = 4 << 30;

/// The content of every download, over and over. Its length is prime, so that no buffer size divides it and a
/// shifted or repeated piece changes the digest.
const BLOCK_LENGTH: usize = 1_048_573;
static BLOCK: LazyLock<Bytes> = LazyLock::new(|| {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let next = || {
        // xorshift64: only to look random.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    std::iter::repeat_with(next).take(BLOCK_LENGTH).collect()
});

/// The pieces of a download of `length` bytes; none is copied.
fn pieces(length: u64) -> impl Iterator<Item = Bytes> {
    let mut left = length;
    std::iter::from_fn(move || {
        let size = BLOCK_LENGTH.min(usize::try_from(left).unwrap_or(BLOCK_LENGTH));
        left -= size as u64;
        (size > 0).then(|| BLOCK.slice(..size))
    })
}

/// `GET /download/SIZE`
pub(super) async fn download(Path(size): Path<String>) -> Response {
    match parse_size(&size, MAX_DOWNLOAD) {
        Ok(length) => {
            let headers = [
                (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
                (header::CONTENT_LENGTH, length.to_string()),
                (header::CACHE_CONTROL, "no-store".to_owned()),
            ];
            let body = Body::from_stream(stream::iter(pieces(length).map(Ok::<_, Infallible>)));
            (headers, body).into_response()
        }
        Err(reason) => (StatusCode::BAD_REQUEST, reason).into_response(),
    }
}

/// `GET /download/SIZE/sha256`, in the form of `sha256sum`
pub(super) async fn digest(Path(size): Path<String>) -> Response {
    let length = match parse_size(&size, MAX_DIGEST) {
        Ok(length) => length,
        Err(reason) => return (StatusCode::BAD_REQUEST, reason).into_response(),
    };
    let work = tokio::task::spawn_blocking(move || {
        let mut digest = Sha256::new();
        pieces(length).for_each(|piece| digest.update(&piece));
        hex(&digest.finalize())
    });
    match work.await {
        Ok(digest) => format!("{digest}  {length}\n").into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// What came in by `POST /upload`.
#[derive(Debug, Serialize)]
pub(super) struct Upload {
    bytes: u64,
    sha256: String,
    seconds: f64,
}

/// `POST /upload`
pub(super) async fn upload(body: Body) -> Response {
    let started = Instant::now();
    let mut body = body.into_data_stream();
    let mut digest = Sha256::new();
    let mut bytes = 0;
    while let Some(piece) = body.next().await {
        match piece {
            Ok(piece) => {
                bytes += piece.len() as u64;
                digest.update(&piece);
            }
            Err(error) => {
                let reason = format!("the upload broke off after {bytes} bytes: {error}\n");
                return (StatusCode::BAD_REQUEST, reason).into_response();
            }
        }
    }
    let sha256 = hex(&digest.finalize());
    Json(Upload {
        bytes,
        sha256,
        seconds: started.elapsed().as_secs_f64(),
    })
    .into_response()
}

/// `4096`, `100MiB`, `2GB`: a number of bytes up to `limit`.
fn parse_size(text: &str, limit: u64) -> Result<u64, String> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit {
        "" | "B" => Some(1),
        "kB" | "KB" => Some(1_000),
        "MB" => Some(1_000_000),
        "GB" => Some(1_000_000_000),
        "KiB" => Some(1 << 10),
        "MiB" => Some(1 << 20),
        "GiB" => Some(1 << 30),
        "TiB" => Some(1 << 40),
        _ => None,
    };
    let size = factor.and_then(|factor| number.parse::<u64>().ok()?.checked_mul(factor));
    size.filter(|size| *size <= limit).ok_or_else(|| {
        format!("`{text}` is no size: give a number of bytes such as 4096, 100MiB or 2GB, up to {} GiB\n", limit >> 30)
    })
}

pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write;
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_decimal_and_binary_units() {
        assert_eq!(parse_size("100MiB", MAX_DOWNLOAD), Ok(104_857_600));
        assert_eq!(parse_size("2GB", MAX_DOWNLOAD), Ok(2_000_000_000));
        assert_eq!(parse_size("1TiB", MAX_DOWNLOAD), Ok(MAX_DOWNLOAD));
        assert!(parse_size("1025GiB", MAX_DOWNLOAD).is_err());
        assert!(parse_size("18446744073709551615TiB", MAX_DOWNLOAD).is_err());
        assert!(parse_size("MiB", MAX_DOWNLOAD).is_err());
        assert!(parse_size("1 MiB", MAX_DOWNLOAD).is_err());
    }

    #[test]
    fn the_pieces_of_a_download_add_up() {
        for length in [
            0,
            1,
            BLOCK_LENGTH as u64,
            BLOCK_LENGTH as u64 + 1,
            10_000_000,
        ] {
            assert_eq!(
                pieces(length).map(|piece| piece.len() as u64).sum::<u64>(),
                length
            );
        }
    }
}
