//! An HTTP server of routes: static files, a reverse proxy, redirects and fixed answers.
//!
//! What is served is a plain [`Site`]; [`SiteService`] answers requests from it, and [`serve`] accepts connections
//! and hands their requests over. Neither knows what carries the bytes: a listener is anything that `axum::serve`
//! takes, and the way to an upstream is a function from an address to a stream. So the same code runs on dpdk-net's
//! sockets, and on the kernel's in tests.
//!
//! ```no_run
//! use dpdk_net_serve::{Files, Limits, RouteRule, Site, SiteService, Target, serve};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let site = Site::new([RouteRule::new("/", Target::Files(Files::new("/srv/www")))]);
//! let service = SiteService::new(site, tokio::net::TcpStream::connect)?;
//! let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
//! serve(listener, service, Limits::default(), std::future::pending()).await;
//! # Ok(())
//! # }
//! ```
//!
//! HTTP/1.1, 1.0 and HTTP/2 by prior knowledge (RFC 9113 section 3.3) of clients, HTTP/1.1 to upstreams, without TLS on
//! that side. TLS with clients is the listener's, which says so in [`Site::https`]. What a client may take of the server is in
//! [`Limits`], what an upstream may, in [`Proxy`].
//!
//! On several workers each has a service of its own: the connections to upstreams that it keeps belong to the
//! worker's thread.
#![forbid(unsafe_code)]

mod access;
mod activity;
mod answer;
mod body;
mod files;
mod host;
mod path;
mod proxy;
mod routes;
mod server;
mod service;
mod site;
mod stall;
mod tapped;
mod timed;

pub use proxy::Connect;
pub use server::{Limits, serve, serve_with_last};
pub use service::{Peer, SiteService};
pub use site::{Files, Proxy, Redirect, RouteRule, Site, SiteError, Status, Symlinks, Target};
