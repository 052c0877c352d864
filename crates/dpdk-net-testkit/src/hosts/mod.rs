//! Hosts for the simulated network: the stack of this project, and smoltcp as the peer that nobody here wrote.

mod foreign;
mod on_vlan;
mod ours;

pub use foreign::{Foreign, ForeignConfig};
pub use on_vlan::OnVlan;
pub(crate) use ours::Sink;
pub use ours::StackHost;
