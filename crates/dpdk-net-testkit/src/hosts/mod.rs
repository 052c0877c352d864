//! Hosts for the simulated network: smoltcp as the peer that nobody here wrote.

mod foreign;

pub use foreign::{Foreign, ForeignConfig};
