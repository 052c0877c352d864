//! What a packet is: the buffer trait, checked views over header bytes, the 5-tuple, checksums and the RSS hash.
//!
//! Everything here is `no_std`, allocates nothing and is free of `unsafe`. A *view* borrows bytes whose length and
//! internal length fields have been checked, so that its accessors can't fail; whatever is malformed is told apart in
//! [`ParseError`], one cause each, so that it can be counted by cause.
//!
//! [`parse`] is the one pass that a demultiplexer needs: Ethernet, IPv4 or IPv6 with its extension headers, and the
//! transport header. What a protocol *does* with a packet lives in `dpdk-net-stack`; buffers that come from DPDK live
//! in `dpdk-net-rte`.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(feature = "alloc")]
extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod arp;
#[cfg(feature = "alloc")]
pub mod bpf;
pub mod checksum;
mod error;
pub mod ethernet;
mod flow;
mod frame;
pub mod gso;
pub mod icmp;
pub mod ip;
pub mod ipv4;
pub mod ipv6;
mod mac;
pub mod ndp;
mod parse;
#[cfg(feature = "alloc")]
pub mod pcapng;
pub mod tcp;
pub mod toeplitz;
pub mod udp;

pub use error::ParseError;
pub use flow::{FiveTuple, Protocol};
pub use frame::{ChecksumVerdict, FrameBuf, FrameSegment, RxMeta};
pub use ip::{Fragment, IpPacket};
pub use mac::{MacAddr, ParseMacError};
pub use parse::{Network, Parsed, Transport, parse, parse_checked};
