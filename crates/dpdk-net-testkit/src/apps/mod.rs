//! Applications for simulated hosts: small, and strict about what they receive.
//!
//! They run on every host that has TCP ([`TcpHost`](crate::sim::TcpHost)) and do all they can whenever they are polled, until
//! every operation would block. What they find wrong is an [`AppError`](crate::sim::AppError), never a panic.

mod bulk;
mod echo;
mod pattern;
mod request;

pub use bulk::Bulk;
pub use echo::EchoServer;
pub use pattern::Pattern;
pub use request::RequestClient;

/// Bytes that an application moves with one call.
const CHUNK: usize = 16 * 1024;
