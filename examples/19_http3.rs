//! HTTP/3: an axum site over h3 and quinn on our UDP, and over TLS on our TCP, where `Alt-Svc` tells clients of HTTP/3.
//!
//! Try it: `19_http3 --port 443`, then `curl --http3-only -k https://198.18.0.2/hello` with a curl that has HTTP/3, and
//! `curl -kv https://198.18.0.2/hello` with any.
#![forbid(unsafe_code)]

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::{HeaderValue, Request, Response, StatusCode, Version, header};
use axum::routing::{get, post};
use bytes::Buf;
use clap::Parser;
use dpdk_net::net::{TcpListener, TcpStream, UdpSocket};
use dpdk_net::quic;
use dpdk_net_examples::Device;
use dpdk_net_examples::filled::filled;
use futures_util::stream;
use h3::error::Code;
use h3::server::RequestStream;
use http_body_util::BodyExt;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Endpoint, Incoming, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tower::ServiceExt;

#[derive(Debug, Parser)]
struct Options {
    #[command(flatten)]
    device: Device,
    /// UDP and TCP port
    #[arg(long, default_value_t = 443)]
    port: u16,
    /// Certificates as PEM, the server's first; without them one is made that nobody trusts
    #[arg(long, requires = "key")]
    cert: Option<PathBuf>,
    /// The key as PEM
    #[arg(long, requires = "cert")]
    key: Option<PathBuf>,
}

/// The largest body that may be asked for.
const LARGEST: usize = 64 << 20;
/// Connections of HTTP/3 at a time, and of TLS over TCP.
const CONNECTIONS: usize = 10_000;
/// With more than so many of them a client has to show first that it is where it says (RFC 9000 section 8.1.2).
const TRUSTED: usize = 1_000;
/// Bytes of a request's fields.
const FIELDS: u64 = 64 << 10;
/// How long a client may take for the handshake of TLS.
const HANDSHAKE: Duration = Duration::from_secs(10);

async fn bytes(Path(length): Path<usize>) -> Result<Response<Body>, StatusCode> {
    (length <= LARGEST)
        .then(|| filled(length))
        .ok_or(StatusCode::PAYLOAD_TOO_LARGE)
}

async fn version(version: Version) -> String {
    format!("{version:?}\n")
}

fn site() -> Router {
    Router::new()
        .route("/hello", get(|| async { "hello\n" }))
        .route("/version", get(version))
        .route("/bytes/{length}", get(bytes))
        // As it comes in, so it goes out.
        .route("/echo", post(|body: Body| async { body }))
}

type Certificate = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn certificate(options: &Options) -> anyhow::Result<Certificate> {
    if let (Some(cert), Some(key)) = (&options.cert, &options.key) {
        let chain = CertificateDer::pem_file_iter(cert)
            .and_then(Iterator::collect)
            .with_context(|| format!("cannot read certificates from {}", cert.display()))?;
        let key = PrivateKeyDer::from_pem_file(key)
            .with_context(|| format!("cannot read a key from {}", key.display()))?;
        return Ok((chain, key));
    }
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    Ok((vec![made.cert.der().clone()], key))
}

fn tls((chain, key): Certificate, protocols: &[&str]) -> anyhow::Result<rustls::ServerConfig> {
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    config.alpn_protocols = protocols
        .iter()
        .map(|name| name.as_bytes().to_vec())
        .collect();
    Ok(config)
}

type Stream = RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

/// Has the site answer a request of HTTP/3; both bodies go on while they come.
async fn respond(site: Router, request: Request<()>, stream: Stream) -> anyhow::Result<()> {
    let (mut send, recv) = stream.split();
    let pieces = stream::try_unfold(recv, |mut recv| async move {
        let piece = recv.recv_data().await?;
        let piece = piece.map(|mut piece| piece.copy_to_bytes(piece.remaining()));
        Ok::<_, h3::error::StreamError>(piece.map(|piece| (piece, recv)))
    });
    let request = request.map(|()| Body::from_stream(pieces));
    // A router does not fail: its errors are responses.
    let response = site
        .oneshot(request)
        .await
        .unwrap_or_else(|error| match error {});
    let (head, mut body) = response.into_parts();
    send.send_response(Response::from_parts(head, ())).await?;
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => {
                // A stream that is only dropped ends as if the body were whole.
                send.stop_stream(Code::H3_INTERNAL_ERROR);
                return Err(error.into());
            }
        };
        match frame.into_data() {
            Ok(data) => send.send_data(data).await?,
            Err(frame) => {
                if let Ok(trailers) = frame.into_trailers() {
                    send.send_trailers(trailers).await?;
                }
            }
        }
    }
    send.finish().await?;
    Ok(())
}

/// Serves a connection of HTTP/3 until its client goes.
async fn serve(site: Router, incoming: Incoming) -> anyhow::Result<()> {
    let connection = h3_quinn::Connection::new(incoming.await?);
    let mut http = h3::server::builder()
        .max_field_section_size(FIELDS)
        .build(connection)
        .await?;
    while let Some(resolver) = http.accept().await? {
        let site = site.clone();
        tokio::spawn(async move {
            let answered = async {
                let (request, stream) = resolver.resolve_request().await?;
                respond(site, request, stream).await
            };
            // A client that no longer wants an answer is nothing to report.
            if let Err(error) = answered.await {
                tracing::debug!(%error, "a request was not answered");
            }
        });
    }
    Ok(())
}

async fn accept(endpoint: Endpoint, site: Router) {
    while let Some(incoming) = endpoint.accept().await {
        let open = endpoint.open_connections();
        if open >= CONNECTIONS {
            incoming.refuse();
        } else if open >= TRUSTED && !incoming.remote_address_validated() {
            // It comes again with a token. A client that can't be told so is refused.
            let _ = incoming.retry();
        } else {
            let site = site.clone();
            tokio::spawn(async move {
                if let Err(error) = serve(site, incoming).await {
                    tracing::debug!(%error, "a connection of HTTP/3 has ended");
                }
            });
        }
    }
}

/// Serves a connection of HTTP/2 or HTTP/1.1, whichever the client agrees on.
async fn serve_tls(stream: TcpStream, tls: TlsAcceptor, site: Router) -> anyhow::Result<()> {
    let stream = timeout(HANDSHAKE, tls.accept(stream)).await??;
    let mut http = auto::Builder::new(TokioExecutor::new());
    http.http1().timer(TokioTimer::new());
    http.http2().timer(TokioTimer::new());
    http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(site))
        .await
        .map_err(|error| anyhow::anyhow!(error))
}

fn main() -> anyhow::Result<()> {
    dpdk_net_examples::log();
    let options = Options::parse();
    let (chain, key) = certificate(&options)?;
    let for_quic = tls((chain.clone(), key.clone_key()), &["h3"])?;
    let for_quic = ServerConfig::with_crypto(Arc::new(QuicServerConfig::try_from(for_quic)?));
    let for_tcp = TlsAcceptor::from(Arc::new(tls((chain, key), &["h2", "http/1.1"])?));
    // Clients keep it in mind for a day (RFC 7838).
    let told = HeaderValue::try_from(format!("h3=\":{}\"; ma=86400", options.port))?;
    let tells = axum::middleware::map_response(move |mut response: Response<Body>| {
        response.headers_mut().insert(header::ALT_SVC, told.clone());
        std::future::ready(response)
    });
    let over_tcp = site().layer(tells);

    options.device.app("http3").run(|ctx| async move {
        let socket = UdpSocket::bind(("::", options.port)).await?;
        let endpoint = quic::server(for_quic, socket)?;
        tokio::spawn(accept(endpoint.clone(), site()));
        let listener = TcpListener::bind(("::", options.port)).await?;
        println!(
            "http/3 on {:?} port {}",
            options.device.addresses, options.port
        );
        let mut shutdown = pin!(ctx.shutdown());
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            // Without a place for it a connection waits in the backlog.
            let next = async {
                let place = room.clone().acquire_owned().await;
                (place, listener.accept().await)
            };
            tokio::select! {
                (place, accepted) = next => {
                    let (stream, peer) = accepted?;
                    let serving = serve_tls(stream, for_tcp.clone(), over_tcp.clone());
                    tokio::spawn(async move {
                        let _place = place;
                        if let Err(error) = serving.await {
                            tracing::debug!(%peer, %error, "a connection has ended");
                        }
                    });
                }
                () = &mut shutdown => break,
            }
        }
        // H3_NO_ERROR, RFC 9114 section 8.1.
        endpoint.close(0x100_u32.into(), b"");
        endpoint.wait_idle().await;
        anyhow::Ok(())
    })?
}
