//! Test beds of dpdk-net: a simulated network in virtual time, foreign peers, and fixtures around the kernel.
//!
//! - [`sim`]: hosts on one Ethernet segment whose links delay, lose, reorder, duplicate, corrupt and limit frames, all from one
//!   seed. No clock, no socket, no thread: a run is repeated exactly.
//! - [`hosts`]: what can be put on the segment: the stack of this project, and smoltcp as the peer that nobody here wrote.
//! - [`nic`]: a model of a NIC with offloads, for hosts to sit behind.
//! - [`pieces`]: received frames in pieces of memory, with anything said about them.
//! - [`by_hand`]: a stack played frame by frame, without a network.
//! - [`apps`]: small applications for the hosts, which check every byte.
//! - [`frames`]: frames made by hand, valid or not.
//! - [`addr`]: the address plan of simulations and beds.
//! - `flow` (feature `flow`): a model of a NIC's flow rules.
//! - `relay` (feature `vdev`): forwards frames between two interfaces of the kernel and does to them what the simulated links do.
//! - `bed` (feature `vdev`): network namespaces, veth pairs and programs of the kernel's side, cleaned up when dropped.
//!
//! A dev-dependency only. Helpers panic when they are misused, with a message that says how; what a stack under test does wrong is
//! a value ([`sim::SimError`]).
#![forbid(unsafe_code)]

pub mod addr;
pub mod apps;
#[cfg(feature = "vdev")]
pub mod bed;
pub mod by_hand;
#[cfg(feature = "flow")]
pub mod flow;
pub mod frames;
pub mod hosts;
pub mod nic;
pub mod pieces;
#[cfg(feature = "vdev")]
pub mod relay;
pub mod sim;

pub use dpdk_net_stack::Instant;
pub use pieces::Pieces;
