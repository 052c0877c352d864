//! The stack of dpdk-net under a virtual clock, behind the C interface through which packetdrill tests a stack that is no
//! kernel (`packetdrill --so_filename=libdpdk_net_packetdrill.so`).
//!
//! - [`host`]: one stack, its clock, its file descriptors and the packets it has sent. Plain and single-threaded; what can't
//!   be done yet says so.
//! - [`mod@bench`]: a host between threads: who moves the clock, and how a call blocks.
//! - [`sockopt`]: socket options and the layout of `struct tcp_info`.
//! - [`flags`]: what the string handed over at the start may say.
//! - [`abi`]: the C structure and the functions in it. The one module with `unsafe`.
//!
//! No device is driven here and no wall clock is read: the same calls give the same packets at the same times.
#![deny(unsafe_code)]

#[allow(unsafe_code)]
pub mod abi;
pub mod bench;
pub mod errno;
pub mod flags;
pub mod host;
pub mod sockopt;
