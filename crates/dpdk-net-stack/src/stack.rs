//! The stack of one queue: what its owner drives. What sockets call is in `tcp`, `udp` and `udp_segments`.
//!
//! The owner calls [`Stack::ingest`] with received frames, [`Stack::poll_transmit`] when there is room to send,
//! [`Stack::handle_timeout`] when [`Stack::next_timeout`] has come, and [`Stack::poll_event`] until it is empty. After any call
//! that may make something ready to be sent (ingest, a timeout, a call of a socket) `poll_transmit` is to be called.

mod addresses;
mod interfaces;
mod reconfigure;
mod tcp;
mod tcp_trace;
mod udp;
mod udp_segments;

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::config::{ChecksumOffload, Config, Limits};
use crate::error::Error;
use crate::event::Event;
use crate::icmp::{ErrorReport, Icmp, IcmpError};
use crate::large::{LargeFrame, TxMemory};
use crate::link::Link;
use crate::reassembly::Reassembler;
use crate::stats::{FrameCounters, Stats, TcpHistograms};
use crate::steer::{Steered, Steering};
use crate::strays::Strays;
use crate::tcp::{Keepalive, Tcp};
use crate::time::Instant;
use crate::tx::{FrameQueue, TxMeta, TxSink};
use crate::udp::UdpTable;

/// The TCP/IP stack of one RX/TX queue pair.
#[derive(Debug)]
pub struct Stack {
    pub(crate) link: Link,
    pub(crate) icmp: Icmp,
    pub(crate) reassembler: Reassembler,
    pub(crate) udp: UdpTable,
    pub(crate) tcp: Tcp,
    pub(crate) frames: FrameCounters,
    pub(crate) rx_checksum: bool,
    pub(crate) gro: bool,
    /// What it knows together with the other workers' stacks, if there are any.
    pub(crate) steered: Option<Steered>,
    pub(crate) strays: Strays,
    /// Frames to ourselves that are being taken in, while `link.loopback` gathers new ones.
    pub(crate) looping: FrameQueue,
    /// The time of the latest call that brought one.
    pub(crate) now: Instant,
    /// Whether datagrams go before segments this time.
    datagrams_first: bool,
    keepalive: Keepalive,
    limits: Limits,
}

/// Frames to ourselves that one call takes in.
const LOOPED_AT_ONCE: usize = 1024;

impl Stack {
    /// A stack with this configuration. An IPv6 link-local address is added if there is none.
    ///
    /// Errors: `BadConfig` with what is wrong.
    pub fn new(config: Config, now: Instant) -> Result<Self, Error> {
        config.validate()?;
        Ok(Stack {
            link: Link::new(&config, now),
            icmp: Icmp::new(&config),
            reassembler: Reassembler::new(&config),
            udp: UdpTable::new(&config),
            tcp: Tcp::new(&config, now),
            frames: FrameCounters::default(),
            rx_checksum: config.rx_checksum,
            gro: config.gro,
            steered: None,
            strays: Strays::default(),
            looping: FrameQueue::new(config.limits.reply_queue, config.limits.reply_queue_bytes),
            now,
            datagrams_first: false,
            keepalive: config.tcp.keepalive,
            limits: config.limits,
        })
    }

    /// One of several stacks with the same addresses, MAC address and seed, each of another worker
    /// ([`Config::worker`]) with a queue of its own. What they know together is in `steering`, which all of them are given.
    ///
    /// Errors: as [`new`](Self::new).
    pub fn with_steering(
        config: Config,
        steering: Arc<dyn Steering>,
        now: Instant,
    ) -> Result<Self, Error> {
        let worker = config.worker;
        let mut stack = Self::new(config, now)?;
        let steered = Steered { steering, worker };
        stack.tcp.set_steered(steered.clone());
        stack.udp.set_steered(steered.clone());
        stack.steered = Some(steered);
        stack.link.tell_news(worker);
        Ok(stack)
    }

    /// The worker has ended: nothing of this stack's is announced to the others any more, and nothing new will be. What comes for its
    /// connections and sockets is for nobody from now on. Dropping the stack does the same.
    pub fn leave_peers(&mut self) {
        if self.steered.take().is_some() {
            self.tcp.leave_peers();
            self.udp.leave_peers();
            self.link.tell_no_news();
        }
    }

    /// Has bulk that sockets write from now on written into memory that the sink can send from by reference, while there is
    /// some.
    pub fn set_tx_memory(&mut self, memory: Box<dyn TxMemory>) {
        self.tcp.set_tx_memory(memory);
    }

    /// Changes which checksums are left to the sink, from the next frame on.
    pub fn set_tx_checksum_offload(&mut self, offload: ChecksumOffload) {
        self.tcp.set_checksums(offload.of_tcp());
        self.udp.set_checksums(offload.of_udp());
    }

    /// Hands frames to `sink` until it or the stack is empty, and tells how many. A sink that is full loses nothing:
    /// what is left is handed over by a later call.
    pub fn poll_transmit<S: TxSink>(&mut self, now: Instant, sink: &mut S) -> usize {
        self.advance(now);
        let mut counting = Counting {
            sink,
            frames: 0,
            bytes: 0,
        };
        let mut looped = 0;
        loop {
            self.link.replies.drain_into(&mut counting);
            // Neither kind may starve the other: they take turns in going first.
            self.datagrams_first = !self.datagrams_first;
            if self.datagrams_first {
                self.send_datagrams(&mut counting);
            }
            self.tcp.transmit(now, &mut self.link, &mut counting);
            if !self.datagrams_first {
                self.send_datagrams(&mut counting);
            }
            // Segments may have asked for neighbours, or owed something.
            self.link.replies.drain_into(&mut counting);
            if self.link.loopback.is_empty() || looped >= LOOPED_AT_ONCE {
                break;
            }
            looped += self.ingest_looped(now);
        }
        let Counting { frames, bytes, .. } = counting;
        self.frames.tx_frames += frames as u64;
        self.frames.tx_bytes += bytes;
        frames
    }

    fn send_datagrams<S: TxSink>(&mut self, sink: &mut S) {
        if !self.link.datagrams.is_empty() && self.link.datagrams.drain_into(sink) > 0 {
            self.udp.on_drained();
        }
    }

    /// When [`handle_timeout`](Self::handle_timeout) must be called at the latest; calling it before does no harm.
    pub fn next_timeout(&self) -> Option<Instant> {
        if !self.link.loopback.is_empty() {
            return Some(self.now);
        }
        [
            self.tcp.next_timeout(),
            self.link.next_timeout(),
            self.reassembler.next_timeout(),
        ]
        .into_iter()
        .flatten()
        .min()
    }

    /// Does what has become due: retransmits, delayed ACKs, neighbours that do not answer, fragments that never became
    /// whole.
    pub fn handle_timeout(&mut self, now: Instant) {
        self.advance(now);
        self.tcp.handle_timeout(now, &mut self.link);
        let mut reports: Vec<ErrorReport> = Vec::new();
        self.link
            .handle_timeout(now, &mut |report| reports.push(report));
        self.take_mtus();
        for report in &reports {
            self.report(now, report);
        }
        let (icmp, link) = (&mut self.icmp, &mut self.link);
        self.reassembler.handle_timeout(now, &mut |at, first| {
            let error = IcmpError::ReassemblyTimeExceeded;
            icmp.send_error(now, link, at, first, false, error);
        });
    }

    /// The next event, until there is none. Events are hints: what they tell may have passed already.
    #[inline(always)]
    pub fn poll_event(&mut self) -> Option<Event> {
        let event = self.tcp.poll_event();
        if event.is_some() {
            event
        } else {
            self.poll_other_event()
        }
    }

    /// The next event that is not of a connection.
    #[inline(never)]
    fn poll_other_event(&mut self) -> Option<Event> {
        if let Some(event) = self.tcp.poll_listener_event() {
            return Some(event);
        }
        let (id, ready) = self.udp.poll_event()?;
        Some(Event::Udp(id, ready))
    }

    /// What has been counted.
    #[inline]
    pub fn stats(&self) -> Stats {
        Stats {
            frames: self.frames.snapshot(),
            tcp: self.tcp.stats.snapshot(),
            udp: self.udp.stats.snapshot(),
            icmp: self.icmp.stats.snapshot(),
            neighbors: self.link.neighbors.stats.snapshot(),
            link: self.link.stats.snapshot(),
            reassembly: self.reassembler.stats.snapshot(),
        }
    }

    /// Distributions that TCP has measured.
    pub fn tcp_histograms(&self) -> TcpHistograms {
        self.tcp.distributions.snapshot()
    }

    #[inline]
    pub(crate) fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
    }

    /// Has TCP follow what routers and DHCP servers say of the link's MTU. To be called after what may have told one.
    pub(crate) fn take_mtus(&mut self) {
        if core::mem::take(&mut self.link.ifaces.mtus_changed) {
            self.tcp.set_mtus(&self.link.ifaces);
        }
    }

    /// Tells a socket of an ICMP error, or of a neighbour that does not answer.
    pub(crate) fn report(&mut self, now: Instant, report: &ErrorReport) {
        match report.protocol {
            dpdk_net_packet::Protocol::Tcp => self.tcp.on_error(now, &mut self.link, report),
            dpdk_net_packet::Protocol::Udp => self.udp.on_error(now, &mut self.link, report),
            _ => {}
        }
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        self.leave_peers();
    }
}

/// Counts what a sink takes.
struct Counting<'a, S> {
    sink: &'a mut S,
    frames: usize,
    bytes: u64,
}

impl<S: TxSink> TxSink for Counting<'_, S> {
    #[inline]
    fn capacity(&mut self) -> usize {
        self.sink.capacity()
    }

    #[inline]
    fn send<R>(&mut self, len: usize, meta: TxMeta, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        self.frames += 1;
        self.bytes += len as u64;
        self.sink.send(len, meta, fill)
    }

    #[inline]
    fn large_segments(&mut self) -> usize {
        self.sink.large_segments()
    }

    fn references(&self) -> bool {
        self.sink.references()
    }

    fn send_large(&mut self, large: &LargeFrame<'_>) {
        // As many as there are on the wire.
        let (gso, count) = (large.gso(), large.gso().count());
        self.frames += count;
        self.bytes += (gso.headers().len() * count + gso.payload_len()) as u64;
        self.sink.send_large(large);
    }
}
