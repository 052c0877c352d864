//! The TCP/IP stack of one queue, sans-io.
//!
//! [`Stack`] holds everything of one RX/TX queue pair. It reads no clock, owns no buffer of a NIC, wakes no task and
//! writes no log: frames and the time come in as arguments, frames go out through a [`TxSink`], and what became ready
//! is told as an [`Event`]. So it runs in virtual time, and a run can be repeated.
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

mod config;
mod error;
mod event;
mod time;
mod tx;

pub use config::{
    Config, ConfigError, IfAddr, Limits, MAX_MTU, MIN_MTU, Route, TcpConfig, UdpConfig,
};
pub use error::Error;
pub use event::{Event, ListenerId, Readiness, TcpId, UdpId};
pub use time::{Duration, Instant};
pub use tx::TxSink;
