//! Packets that came to this stack and belong to another worker's.
//!
//! A packet for which nothing here is responsible is looked up in what all workers know together
//! ([`Steering`](crate::Steering)) before it is answered with a RST or a port unreachable, or dropped. If somebody else is
//! responsible it is noted here instead, and the owner of the stacks hands it over. What was taken from another worker is
//! dealt with for good, whatever has changed meanwhile: so nothing goes round in circles.
//!
//! Packets of connections and sockets that are here cost nothing of this.

use alloc::sync::Arc;
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use dpdk_net_packet::{FrameBuf, IpPacket, MacAddr, Protocol, Transport, ethernet, udp};

use crate::addr;
use crate::icmp::{ErrorKind, ErrorReport};
use crate::interfaces::IfIndex;
use crate::stack::Stack;
use crate::steer::{Binding, Owner, Steered, Workers, arriving};
use crate::tcp::table::FlowKey;
use crate::time::Instant;

/// A frame that is for other workers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stray {
    /// The frame.
    pub frame: StrayFrame,
    /// Who is to have it, each a copy. This stack has taken its own where it has use for it too.
    pub workers: Workers,
}

/// Which frame it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StrayFrame {
    /// The one with this index among those that [`Stack::ingest`] was given.
    Given(usize),
    /// One that was made of a packet which came in fragments, tag and all, longer than the MTU as a rule.
    Made(Vec<u8>),
}

/// What has been noted.
#[derive(Debug, Default)]
pub(crate) struct Strays {
    noted: Vec<Stray>,
    /// Whose the packet at hand is.
    workers: Workers,
    /// Whether packets may be noted now: they may not where they come from another worker, or from ourselves.
    open: bool,
    /// How many of the frames given have come to be handled, the batch at hand included.
    pub(crate) begun: u64,
}

impl Stack {
    /// Takes in frames, in their order. Replies are queued inside, in bounds, until
    /// [`poll_transmit`](Stack::poll_transmit). Where there are other workers, [`strays`](Stack::strays) tells afterwards
    /// which of them are theirs.
    #[inline]
    pub fn ingest<B: FrameBuf>(&mut self, now: Instant, frames: &[B]) {
        if self.steered.is_some() {
            self.open_strays();
        }
        let bytes = self.take_in(now, frames);
        self.frames.rx_frames += frames.len() as u64;
        self.frames.rx_bytes += bytes;
    }

    /// As [`ingest`](Stack::ingest), frames that another worker had noted as this one's. They are handled here for good. Frames and bytes
    /// have been counted by the worker whose queue they came to.
    pub fn ingest_handed<B: FrameBuf>(&mut self, now: Instant, frames: &[B]) {
        self.frames.strays_taken += frames.len() as u64;
        self.close_strays();
        self.take_in(now, frames);
    }

    /// The number of `other`'s worker, if both are stacks of workers that share a port.
    pub fn worker_of_peer(&self, other: &Stack) -> Option<u16> {
        let (own, other) = (self.steered.as_ref()?, other.steered.as_ref()?);
        Arc::ptr_eq(&own.steering, &other.steering).then_some(other.worker)
    }

    /// What of the frames given to the last [`ingest`](Stack::ingest) is for other workers, in their order. It is lost unless
    /// it is taken before the next one.
    pub fn strays(&mut self) -> impl Iterator<Item = Stray> + '_ {
        self.strays.noted.drain(..)
    }

    fn open_strays(&mut self) {
        self.strays.noted.clear();
        self.strays.begun = 0;
        (self.strays.open, self.tcp.may_stray) = (true, true);
    }

    /// What comes in from now on is dealt with here.
    pub(crate) fn close_strays(&mut self) {
        (self.strays.open, self.tcp.may_stray) = (false, false);
    }

    /// The other workers, if what comes in now may be theirs.
    fn open(&self) -> Option<&Steered> {
        self.steered.as_ref().filter(|_| self.strays.open)
    }

    fn stray_to(&mut self, workers: Workers) -> bool {
        self.strays.workers = self.strays.workers.union(workers);
        !workers.is_empty()
    }

    /// A frame of a batch of so many has been handled: notes it if it is others'.
    #[inline]
    pub(crate) fn note_stray(&mut self, index: usize, batch: usize) {
        if self.steered.is_some() {
            let first = self.strays.begun - batch as u64;
            self.note(StrayFrame::Given(first as usize + index));
        }
    }

    #[inline(never)]
    fn note(&mut self, frame: StrayFrame) {
        let workers = self.take_workers();
        if !workers.is_empty() {
            self.frames.strays += 1;
            self.strays.noted.push(Stray { frame, workers });
        }
    }

    fn take_workers(&mut self) -> Workers {
        let of_tcp = core::mem::take(&mut self.tcp.strayed);
        self.frames.strays_tcp += u64::from(!of_tcp.is_empty());
        core::mem::take(&mut self.strays.workers).union(of_tcp)
    }

    /// A segment of a connection was dealt with that was not just what was expected: it may have been the SYN of another one,
    /// whose listener is elsewhere.
    #[inline]
    pub(crate) fn note_stray_syn(&mut self, index: usize, batch: usize) {
        if !self.tcp.strayed.is_empty() {
            self.note_stray(index, batch);
        }
    }

    /// A packet that came in fragments has been handled: notes it if it is others'.
    pub(crate) fn note_stray_packet(
        &mut self,
        at: IfIndex,
        (src, dst): (MacAddr, MacAddr),
        packet: &[u8],
    ) {
        let workers = self.take_workers();
        if workers.is_empty() {
            return;
        }
        let mut frame =
            Vec::with_capacity(ethernet::HEADER_LEN + ethernet::VLAN_TAG_LEN + packet.len());
        frame.extend_from_slice(&dst.0);
        frame.extend_from_slice(&src.0);
        let vlan = self.link.ifaces.get(at).vlan;
        if vlan != 0 {
            frame.extend_from_slice(&ethernet::TYPE_VLAN.to_be_bytes());
            frame.extend_from_slice(&vlan.to_be_bytes());
        }
        let kind = match packet.first() {
            Some(0x40..=0x4f) => ethernet::TYPE_IPV4,
            _ => ethernet::TYPE_IPV6,
        };
        frame.extend_from_slice(&kind.to_be_bytes());
        frame.extend_from_slice(packet);
        self.strays.workers = workers;
        self.frames.strays_reassembled += 1;
        self.note(StrayFrame::Made(frame));
    }

    /// Whom a datagram is for, and who can be asked about it, if it may be others'.
    fn asked_for(
        &self,
        ip: &IpPacket<'_>,
        datagram: &udp::Datagram<'_>,
        vlan: u16,
    ) -> Option<(&Steered, SocketAddr)> {
        let to = addr::socket_addr(ip.dst(), datagram.dst_port(), vlan);
        Some((self.open()?, to))
    }

    /// Whether a datagram that no socket here takes is for one of another worker: the one whose peer its sender is, or one of
    /// those that are bound to its address or port.
    pub(crate) fn datagram_strays(
        &mut self,
        at: IfIndex,
        ip: &IpPacket<'_>,
        datagram: &udp::Datagram<'_>,
    ) -> bool {
        let vlan = self.link.ifaces.get(at).vlan;
        let Some((steered, to)) = self.asked_for(ip, datagram, vlan) else {
            return false;
        };
        let from = addr::socket_addr(ip.src(), datagram.src_port(), vlan);
        let worker = match steered.owner(&arriving(Protocol::Udp, to, from)) {
            Owner::Worker(worker) => Some(worker),
            // Which of several it is must be the same for all of a sender.
            Owner::Here | Owner::Nobody => {
                let hash = self.tcp.table.hash(&FlowKey::new(to, from));
                steered.bound(Binding::Udp, to).pick(hash)
            }
        };
        let strays = self.stray_to(worker.map_or(Workers::NONE, Workers::only));
        self.frames.strays_udp += u64::from(strays);
        strays
    }

    /// A datagram to a group or broadcast address goes to all workers that have a socket for it.
    pub(crate) fn group_datagram_strays(
        &mut self,
        at: IfIndex,
        ip: &IpPacket<'_>,
        datagram: &udp::Datagram<'_>,
    ) -> bool {
        let vlan = self.link.ifaces.get(at).vlan;
        let Some((steered, to)) = self.asked_for(ip, datagram, vlan) else {
            return false;
        };
        let workers = steered.receivers(to, vlan);
        let strays = self.stray_to(workers);
        self.frames.strays_group += u64::from(strays);
        strays
    }

    /// Whether a packet to a group that was not joined here is to be handled all the same, as it is for other workers.
    pub(crate) fn is_for_others(
        &mut self,
        at: IfIndex,
        ip: &IpPacket<'_>,
        transport: &Transport<'_>,
    ) -> bool {
        match transport {
            Transport::Udp(_) | Transport::Fragment => self.is_joined_elsewhere(at, ip.dst()),
            // A router's question for a group that another worker reports.
            Transport::Other(Protocol::Igmp) => self.open().is_some() && ip.dst().is_multicast(),
            _ => false,
        }
    }

    /// Whether sockets of other workers have joined a group.
    fn is_joined_elsewhere(&self, at: IfIndex, group: IpAddr) -> bool {
        let vlan = self.link.ifaces.get(at).vlan;
        let open = self.open().filter(|_| group.is_multicast());
        open.is_some_and(|steered| steered.is_joined_elsewhere(group, vlan))
    }

    /// Whether an ICMP error is about a packet that another worker sent, and of no concern here.
    pub(crate) fn error_strays(&mut self, report: &ErrorReport) -> bool {
        let Some(steered) = self.open() else {
            return false;
        };
        let ErrorReport { local, remote, .. } = *report;
        let key = FlowKey::new(local, remote);
        let is_here = match report.protocol {
            Protocol::Tcp => self.tcp.lookup(&key).is_some(),
            Protocol::Udp => self.udp.is_connected(local, remote),
            _ => true,
        };
        if is_here {
            return false;
        }
        if let Owner::Worker(worker) = steered.owner(&arriving(report.protocol, local, remote)) {
            self.frames.strays_icmp += 1;
            return self.stray_to(Workers::only(worker));
        }
        // Whose datagram it was that was too large is not known; what the path takes is of use to all that send there.
        if report.protocol == Protocol::Udp && matches!(report.kind, ErrorKind::PacketTooBig { .. })
        {
            let workers = steered.bound(Binding::Udp, local);
            let strays = self.stray_to(workers);
            self.frames.strays_icmp += u64::from(strays);
        }
        false
    }
}
