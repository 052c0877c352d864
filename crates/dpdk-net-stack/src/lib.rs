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

mod addr;
mod arp;
mod coalesce;
mod config;
mod dad;
mod emit;
mod error;
mod event;
mod fragment;
mod gauges;
mod icmp;
mod iface;
mod ingest;
mod interfaces;
mod large;
mod lifetime;
mod limit;
mod link;
mod listing;
pub mod metrics;
mod multicast;
mod ndp;
mod neighbor;
mod news;
mod random;
mod reassembly;
mod routes;
mod sip;
mod slaac;
mod source;
mod stack;
mod stats;
mod steer;
mod strays;
mod tcp;
#[cfg(test)]
mod test_frames;
mod time;
mod tx;
mod udp;
pub mod wheel;

pub use config::{
    ChecksumOffload, Config, ConfigError, Ecn, IfAddr, Limits, MAX_MTU, MAX_VLANS, MIN_MTU,
    Neighbor, Route, TcpConfig, UdpConfig, Vlan,
};
pub use error::Error;
pub use event::{Event, ListenerId, Readiness, TcpId, UdpId};
pub use gauges::{
    Gauges, LinkGauges, NeighborGauges, ReassemblyGauges, TcpGauges, TcpStates, UdpGauges,
};
pub use icmp::IcmpStats;
pub use iface::{AddressInfo, AddressState, Origin};
pub use large::{LargeFrame, Piece, Pieces, TxBuffer, TxMemory};
pub use lifetime::Lifetimes;
pub use link::LinkStats;
pub use listing::{ListPage, ListPlace};
pub use neighbor::{NeighborInfo, NeighborState, NeighborStats};
pub use news::NeighborNews;
pub use reassembly::ReassemblyStats;
pub use routes::RouteInfo;
pub use slaac::Advertised;
pub use stack::Stack;
pub use stats::{FrameStats, Stats, TcpHistograms, TcpStats};
pub use steer::{Binding, MAX_WORKERS, Steering, SteeringStats, SteeringTable, Workers};
pub use strays::{Stray, StrayFrame};
pub use tcp::cc::Algorithm as CongestionAlgorithm;
pub use tcp::info::{CaState, TcpConnection, TcpInfo};
pub use tcp::listener::HalfId;
pub use tcp::listener::ListenerInfo;
pub use tcp::minisock::{TcpMinisocket, TcpTimer, TcpTimerKind};
pub use tcp::parcel::{ImportError, TcpParcel};
pub use tcp::report::{Reports, TcpReport, TcpReported, TcpTotals};
pub use tcp::sockopt::{TcpOption, TcpOptions};
pub use tcp::time_wait::TimeWaitId;
pub use tcp::trace::{
    CloseReason, DropReason, MAX_TRACE_EVENTS, MAX_TRACES, QlogConnection, ReceivedSegment,
    SackBlocks, SentSegment, TraceBudget, TraceData, TraceEnd, TraceEvent, TraceFilter, TraceId,
    TraceMetrics, TraceStart, TraceTimer, TraceWatchId, TracesPresent, qlog_header,
};
pub use tcp::{Keepalive, ListenOptions, TcpState};
pub use time::{Duration, Instant};
pub use tx::{TxMeta, TxSink};
pub use udp::{
    MtuDiscovery, UDP_MAX_SEGMENTS, UdpOptions, UdpRecv, UdpSend, UdpSocketInfo, UdpStats,
};
