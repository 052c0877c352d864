//! The sections of a file. Each key is declared once: its type, its docs, its default and what it may be. The reader, the
//! schema and the effective plan are made of that.

mod dpdk;
mod flow;
mod network;
mod port;
mod service;
mod stack;
mod workers;

pub use dpdk::{Dpdk, Iova};
pub use flow::{
    Bits, FlowDirection, FlowEthernet, FlowIcmp, FlowIpv4, FlowIpv6, FlowRule, FlowTcp, FlowUdp,
    FlowVlan,
};
pub use network::{Dns, NameServer, Neighbor, Network, RouteEntry, VlanNetwork};
pub use port::{InterfaceDriver, OffloadWish, Offloads, Port, Rss, RssHash, RssKey};
pub use service::{
    AcceptOn, Certificate, ClientCertificates, Files, ListenAddr, Listener, Protocol, Proxy,
    Redirect, Route, Tls,
};
pub use stack::{Congestion, Ecn, Keepalive, Limits, Tcp, Udp};
pub use workers::{
    Control, Idle, Log, LogFormat, LogLevel, Metrics, PinPolicy, Runtime, Transport, Workers,
};

use crate::decode::section;

section! {
    /// What a dpdk-net application is told by its file.
    pub struct Config: Default {
        /// DPDK's environment abstraction layer: memory, buses, virtual devices.
        sub dpdk: Dpdk;
        /// The ports that are served, in their order. With one at least.
        list port: Port;
        /// Addresses, routes and names of the only port; with several ports each has a network of its own, `[port.network]`.
        sub network: Network;
        /// TCP.
        sub tcp: Tcp;
        /// UDP.
        sub udp: Udp;
        /// Bounds on what strangers can make the stack of each worker keep or send.
        sub limits: Limits;
        /// Lcores, and what runs on them.
        sub workers: Workers;
        /// Named addresses that the application listens on.
        list listener: Listener;
        /// What `dpdk-net run` does with requests; of several that fit the first.
        list route: Route;
        /// Figures.
        sub metrics: Metrics;
        /// Questions to the running application.
        sub control: Control;
        /// The log.
        sub log: Log;
        /// Whatever the application wants to be told: any table. dpdk-net does not look into it.
        opt app: Free;
    }
}

/// A table that somebody else reads.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Free(pub(crate) serde_json::Map<String, serde_json::Value>);

impl crate::decode::Setting for Free {
    fn decode(node: &crate::tree::Node, reader: &mut crate::decode::Reader) -> Option<Self> {
        match node.value.to_json() {
            serde_json::Value::Object(table) => {
                reader.remember_below(node);
                Some(Self(table))
            }
            _ => {
                reader.wrong_type(node, "a table");
                None
            }
        }
    }

    fn schema() -> serde_json::Value {
        serde_json::json!({ "type": "object" })
    }

    fn to_json(&self) -> serde_json::Value {
        self.0.clone().into()
    }
}
