//! Figures that go up and down: read when they are asked for, from what is there anyway. Nothing here is on the packet path.

use crate::gauges;
use crate::listing::ListPlace;
use crate::metrics::Metric;
use crate::neighbor::NeighborState;
use crate::stack::Stack;

gauges! {
    /// TCP connections by state (RFC 9293 section 3.3.2), listeners not counted.
    pub struct TcpStates {
        /// Those that are over and that their application still holds.
        closed,
        /// SYN-SENT.
        syn_sent,
        /// SYN-RECEIVED, those in the SYN queue included.
        syn_received,
        /// ESTABLISHED.
        established,
        /// FIN-WAIT-1.
        fin_wait_1,
        /// FIN-WAIT-2.
        fin_wait_2,
        /// CLOSE-WAIT.
        close_wait,
        /// CLOSING.
        closing,
        /// LAST-ACK.
        last_ack,
        /// TIME-WAIT.
        time_wait,
    }
}

gauges! {
    /// What TCP has.
    pub struct TcpGauges {
        /// Connections in ESTABLISHED or CLOSE-WAIT.
        current_established = "TcpCurrEstab",
        /// Connections that their application let go of and that finish by themselves, TIME-WAIT not counted.
        orphans,
        /// Connections in the SYN queue.
        half_open,
        /// Connections in accept queues.
        unaccepted,
        /// Listeners.
        listeners,
        /// Connections that have buffers, or had lately.
        buffered,
        /// Bytes by which buffers may hold more than their first size, as they are in use.
        buffer_growth: Bytes,
        /// Timers that run.
        timers,
    }
}

gauges! {
    /// What UDP has.
    pub struct UdpGauges {
        /// Sockets.
        sockets,
    }
}

gauges! {
    /// The neighbour cache: entries by state (RFC 4861 section 7.3.2), and what waits for them.
    pub struct NeighborGauges {
        /// Neighbours being asked for.
        incomplete,
        /// Neighbours known to be there a short time ago.
        reachable,
        /// Neighbours known once.
        stale,
        /// Neighbours used while stale, to be probed soon.
        delay,
        /// Neighbours being probed.
        probe,
        /// Neighbours entered by hand.
        permanent,
        /// Bytes of packets that wait for a neighbour.
        pending: Bytes,
    }
}

gauges! {
    /// The way out.
    pub struct LinkGauges {
        /// Frames of the stack itself, such as ACKs, RSTs and ARP, that wait for the sink.
        replies_queued,
        /// Bytes of these.
        replies_queued_bytes: Bytes,
        /// Datagrams of sockets that wait for the sink; those to be cut count as one.
        datagrams_queued,
        /// Bytes of these.
        datagrams_queued_bytes: Bytes,
    }
}

gauges! {
    /// Reassembly of fragments.
    pub struct ReassemblyGauges {
        /// Packets in the making, or given up and remembered until their time is up.
        packets,
        /// Bytes that they are charged with.
        memory: Bytes,
    }
}

/// What a stack has at present.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Gauges {
    /// TCP connections by state.
    pub tcp_states: TcpStates,
    /// TCP.
    pub tcp: TcpGauges,
    /// UDP.
    pub udp: UdpGauges,
    /// ARP and neighbour discovery.
    pub neighbors: NeighborGauges,
    /// The way out.
    pub link: LinkGauges,
    /// Reassembly of fragments.
    pub reassembly: ReassemblyGauges,
}

impl Gauges {
    /// Each gauge with the name of its group: that of the field here.
    pub fn metrics(&self) -> impl Iterator<Item = (&'static str, &'static Metric, u64)> + use<> {
        fn of<T>(group: &'static str) -> impl Fn((T, u64)) -> (&'static str, T, u64) {
            move |(metric, value)| (group, metric, value)
        }
        (self.tcp_states.metrics().map(of("tcp_states")))
            .chain(self.tcp.metrics().map(of("tcp")))
            .chain(self.udp.metrics().map(of("udp")))
            .chain(self.neighbors.metrics().map(of("neighbors")))
            .chain(self.link.metrics().map(of("link")))
            .chain(self.reassembly.metrics().map(of("reassembly")))
    }
}

impl Stack {
    /// What there is at present. Takes as long whatever the number of connections and listeners is; of neighbours it looks at each.
    pub fn gauges(&self) -> Gauges {
        Gauges {
            neighbors: self.neighbor_gauges(),
            ..self.gauges_at_once()
        }
    }

    /// The same, but for the neighbours by state: takes as long whatever there is. [`count_neighbors`](Self::count_neighbors) counts
    /// those piece by piece.
    pub fn gauges_at_once(&self) -> Gauges {
        let link = &self.link;
        Gauges {
            tcp_states: self.tcp.states(),
            tcp: self.tcp.gauges(),
            udp: UdpGauges {
                sockets: self.udp.len() as u64,
            },
            neighbors: self.neighbors_at_once(),
            link: LinkGauges {
                replies_queued: link.replies.len() as u64,
                replies_queued_bytes: link.replies.bytes() as u64,
                datagrams_queued: link.datagrams.len() as u64,
                datagrams_queued_bytes: link.datagrams.bytes() as u64,
            },
            reassembly: ReassemblyGauges {
                packets: self.reassembler.len() as u64,
                memory: self.reassembler.bytes() as u64,
            },
        }
    }

    fn neighbors_at_once(&self) -> NeighborGauges {
        NeighborGauges {
            pending: self.link.neighbors.pending_bytes() as u64,
            ..NeighborGauges::default()
        }
    }

    fn neighbor_gauges(&self) -> NeighborGauges {
        let mut gauges = self.neighbors_at_once();
        let mut from = Some(ListPlace::START);
        while let Some(place) = from {
            from = self.count_neighbors(place, &mut gauges);
        }
        gauges
    }

    /// Adds the neighbours of one page of [`neighbor_infos`](Self::neighbor_infos) to what has been counted; where it goes on.
    pub fn count_neighbors(
        &self,
        from: ListPlace,
        gauges: &mut NeighborGauges,
    ) -> Option<ListPlace> {
        let (neighbors, next) = self.link.neighbors(self.now, from);
        for neighbor in neighbors {
            let count = match neighbor.state {
                NeighborState::Incomplete => &mut gauges.incomplete,
                NeighborState::Reachable => &mut gauges.reachable,
                NeighborState::Stale => &mut gauges.stale,
                NeighborState::Delay => &mut gauges.delay,
                NeighborState::Probe => &mut gauges.probe,
                NeighborState::Static => &mut gauges.permanent,
            };
            *count += 1;
        }
        next
    }
}
