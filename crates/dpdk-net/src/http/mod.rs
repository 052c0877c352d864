//! HTTP clients over our connections: a [`Connector`] for hyper-util's client, for tonic, and for what is built on them.
//!
//! Servers need nothing from here: hyper takes a [`TcpStream`](crate::net::TcpStream) in a `TokioIo`, and `axum::serve` takes our
//! listener (feature `axum`).

mod connector;
mod happy_eyeballs;

pub use connector::{Connecting, ConnectionInfo, Connector};
