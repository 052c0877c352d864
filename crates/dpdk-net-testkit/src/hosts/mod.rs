//! Hosts for the simulated network: the stack of this project, and smoltcp as the peer that nobody here wrote.

mod foreign;
mod ours;

pub use foreign::{Foreign, ForeignConfig};
pub use ours::StackHost;
