//! A dpdk-net configuration file becomes checked settings.
//!
//! [`File::read`] takes TOML or JSON, which have the same sections and keys ([`schema()`]), and JSON in the layout of SPDK's
//! `subsystems`; settings from the environment are put over it ([`PREFIX`]). It is strict at every level, and tells of everything
//! that is wrong at once ([`Problems`]), with the lines that it is about and what was probably meant.
//!
//! A [`File`] knows where each setting was written, so that what the machine refuses later, a port with fewer queues, say, is
//! told with the line that asked for it ([`File::refuse`]).
//!
//! What does not live here: DPDK. What a setting does is the business of the crate `dpdk-net`.
#![forbid(unsafe_code)]

mod check;
mod decode;
mod environment;
mod file;
mod lcores;
mod machine;
mod places;
mod problem;
mod reload;
#[cfg(feature = "samples")]
pub mod samples;
mod sections;
mod spdk;
mod suggest;
mod table;
mod text;
mod tree;
mod value;

pub use environment::PREFIX;
pub use file::{File, schema};
pub use lcores::{LcoreMap, Lcores};
pub use machine::{KernelNet, Machine, NumaNode, cpu_list};
pub use problem::{Problem, Problems};
pub use reload::{Change, Changes};
pub use sections::*;
pub use text::Format;
pub use tree::Place;
pub use value::{Cidr, Destination, PciAddress, Size, Time};
