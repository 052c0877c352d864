//! The demo's web site: an ordinary axum application that knows nothing of the stack below it.
//!
//! A page with live figures, the figures as JSON, a health check, and a download and an upload of any size to
//! try a connection with (`transfer`).

mod transfer;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse};
use axum::routing::{get, post};

use super::figures::Figures;

const PAGE: &str = include_str!("page.html");

const NOT_FOUND: &str = "\
Nothing here. There are:
  GET  /                        the page
  GET  /stats                   its figures as JSON
  GET  /healthz                 `ok`
  GET  /download/SIZE           SIZE bytes, such as /download/100MiB
  GET  /download/SIZE/sha256    the SHA-256 of these bytes
  POST /upload                  takes any number of bytes; answers with the count and the SHA-256
";

/// Where the figures come from.
pub(crate) type Source = Arc<dyn Fn() -> Figures + Send + Sync>;

/// The site. `figures` is asked for each `/stats`.
pub(crate) fn router(figures: Source) -> Router {
    Router::new()
        .route("/", get(|| async { Html(PAGE) }))
        .route("/stats", get(stats))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/download/{size}", get(transfer::download))
        .route("/download/{size}/sha256", get(transfer::digest))
        .route("/upload", post(transfer::upload).put(transfer::upload))
        .fallback(|| async { (StatusCode::NOT_FOUND, NOT_FOUND) })
        .with_state(figures)
}

async fn stats(State(figures): State<Source>) -> impl IntoResponse {
    ([(header::CACHE_CONTROL, "no-store")], axum::Json(figures()))
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use sha2::{Digest, Sha256};
    use tokio::io::AsyncWriteExt;
    use tokio::process::Command;

    use super::*;
    use crate::demo::figures::Figures;

    /// The site on the kernel's loopback; what is tested here does not depend on the stack below.
    async fn site() -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let site = router(Arc::new(Figures::default));
        tokio::spawn(async move { axum::serve(listener, site).await });
        base
    }

    async fn curl(args: &[&str], input: &[u8]) -> Vec<u8> {
        let mut child = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "60"])
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let (output, ()) = tokio::join!(child.wait_with_output(), async move {
            stdin.write_all(input).await.unwrap();
        });
        output.unwrap().stdout
    }

    fn hex(bytes: &[u8]) -> String {
        transfer::hex(&Sha256::digest(bytes))
    }

    #[tokio::test]
    async fn the_page_needs_nothing_from_elsewhere() {
        let page = String::from_utf8(curl(&[&site().await], b"").await).unwrap();
        assert!(page.contains("<title>dpdk-net</title>"));
        assert!(page.contains("prefers-color-scheme"), "light and dark");
        for elsewhere in ["src=\"http", "href=\"http", "@import", "url(http"] {
            assert!(!page.contains(elsewhere), "{elsewhere}");
        }
    }

    #[tokio::test]
    async fn health_figures_and_unknown_paths() {
        let base = site().await;
        assert_eq!(curl(&[&format!("{base}/healthz")], b"").await, b"ok\n");
        let figures: serde_json::Value =
            serde_json::from_slice(&curl(&[&format!("{base}/stats")], b"").await).unwrap();
        assert!(figures["stack"].is_object(), "{figures}");
        let unknown = curl(
            &["--write-out", "%{http_code}", &format!("{base}/nope")],
            b"",
        )
        .await;
        assert!(String::from_utf8(unknown).unwrap().ends_with("404"));
    }

    #[tokio::test]
    async fn a_download_has_the_size_and_the_digest_it_promises() {
        let base = site().await;
        for (size, length) in [("0", 0), ("1", 1), ("3MiB", 3 << 20), ("2MB", 2_000_000)] {
            let body = curl(&[&format!("{base}/download/{size}")], b"").await;
            assert_eq!(body.len(), length, "{size}");
            let digest = curl(&[&format!("{base}/download/{size}/sha256")], b"").await;
            assert_eq!(
                String::from_utf8(digest).unwrap(),
                format!("{}  {length}\n", hex(&body)),
                "{size}"
            );
        }
    }

    #[tokio::test]
    async fn a_bad_size_is_refused_with_a_reason() {
        let base = site().await;
        for size in ["many", "-1", "2TiB", "99999999999999999999"] {
            let answer = curl(
                &[
                    "--write-out",
                    "%{http_code}",
                    &format!("{base}/download/{size}"),
                ],
                b"",
            )
            .await;
            let answer = String::from_utf8(answer).unwrap();
            assert!(
                answer.contains("100MiB") && answer.ends_with("400"),
                "{size}: {answer}"
            );
        }
    }

    #[tokio::test]
    async fn an_upload_is_counted_and_digested() {
        let base = site().await;
        let sent: Vec<u8> = (0..3_000_001_u32).map(|i| (i % 253) as u8).collect();
        for method in ["POST", "PUT"] {
            let args = [
                "--request",
                method,
                "--data-binary",
                "@-",
                &format!("{base}/upload"),
            ];
            let answer: serde_json::Value =
                serde_json::from_slice(&curl(&args, &sent).await).unwrap();
            assert_eq!(answer["bytes"], sent.len());
            assert_eq!(answer["sha256"], hex(&sent));
        }
    }
}
