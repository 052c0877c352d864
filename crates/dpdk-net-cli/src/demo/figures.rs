//! The figures that the site shows, in the form of `/stats`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use dpdk_net::Snapshot;
use dpdk_net::stack::Stats;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

/// Connections listed; the total counts them all.
const LISTED: usize = 100;

/// Names and counts, in the order in which they are declared.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counters(Vec<(&'static str, u64)>);

impl Serialize for Counters {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, count) in &self.0 {
            map.serialize_entry(name, count)?;
        }
        map.end()
    }
}

/// The stack's counters, by what they count.
#[derive(Clone, Debug, Default, Serialize)]
struct StackFigures {
    frames: Counters,
    tcp: Counters,
    udp: Counters,
    icmp: Counters,
    neighbors: Counters,
    link: Counters,
    reassembly: Counters,
}

impl StackFigures {
    fn new(stats: &Stats) -> Self {
        Self {
            frames: Counters(stats.frames.iter().collect()),
            tcp: Counters(stats.tcp.iter().collect()),
            udp: Counters(stats.udp.iter().collect()),
            icmp: Counters(stats.icmp.iter().collect()),
            neighbors: Counters(stats.neighbors.iter().collect()),
            link: Counters(stats.link.iter().collect()),
            reassembly: Counters(stats.reassembly.iter().collect()),
        }
    }
}

/// What `/stats` answers.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Figures {
    uptime_ms: u64,
    port_name: String,
    addresses: Vec<String>,
    stack: StackFigures,
    worker: Counters,
    port: Option<Counters>,
    connections: Connections,
}

#[derive(Clone, Debug, Default, Serialize)]
struct Connections {
    total: usize,
    orphans: usize,
    by_state: BTreeMap<String, usize>,
    list: Vec<Connection>,
}

#[derive(Clone, Debug, Serialize)]
struct Connection {
    peer: SocketAddr,
    local: SocketAddr,
    state: String,
    unread: usize,
    unacknowledged: usize,
}

impl Figures {
    /// Puts a snapshot into words; `port_name` and `addresses` are what the demo was told.
    pub(crate) fn new(snapshot: &Snapshot, port_name: &str, addresses: &[String]) -> Self {
        let mut by_state = BTreeMap::new();
        for connection in &snapshot.connections {
            *by_state
                .entry(format!("{:?}", connection.state))
                .or_insert(0) += 1;
        }
        Self {
            uptime_ms: u64::try_from(snapshot.uptime.as_millis()).unwrap_or(u64::MAX),
            port_name: port_name.to_owned(),
            addresses: addresses.to_vec(),
            stack: StackFigures::new(&snapshot.stack),
            worker: Counters(snapshot.worker.iter().collect()),
            port: snapshot.port.as_ref().map(|port| {
                Counters(vec![
                    ("rx_packets", port.rx_packets),
                    ("tx_packets", port.tx_packets),
                    ("rx_bytes", port.rx_bytes),
                    ("tx_bytes", port.tx_bytes),
                    ("rx_missed", port.rx_missed),
                    ("rx_errors", port.rx_errors),
                    ("tx_errors", port.tx_errors),
                    ("rx_no_mbuf", port.rx_no_mbuf),
                ])
            }),
            connections: Connections {
                total: snapshot.connections.len(),
                orphans: snapshot.tcp_orphans,
                by_state,
                list: snapshot
                    .connections
                    .iter()
                    .take(LISTED)
                    .map(|connection| Connection {
                        peer: connection.peer,
                        local: connection.local,
                        state: format!("{:?}", connection.state),
                        unread: connection.recv_queue,
                        unacknowledged: connection.send_queue,
                    })
                    .collect(),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_keep_their_order_in_json() {
        let counters = Counters(vec![("zeta", 1), ("alpha", 2)]);
        assert_eq!(
            serde_json::to_string(&counters).unwrap(),
            r#"{"zeta":1,"alpha":2}"#
        );
    }
}
