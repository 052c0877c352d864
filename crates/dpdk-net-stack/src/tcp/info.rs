//! What a connection tells of itself, for people and programs that watch it: the kernel's `struct tcp_info`.

use core::net::SocketAddr;
use core::num::NonZeroU64;

use super::cc::{Algorithm, CongestionControl};
use super::fast::Tab;
use super::flow::{Flow, FlowFlags, Wait};
use super::minisock::TcpTimer;
use super::sender::Phase;
use super::{Settings, Tcp, TcpState, seq};
use crate::error::Error;
use crate::event::TcpId;
use crate::listing::{ListPage, ListPlace};
use crate::stats::TcpCounters;
use crate::time::{Duration, Instant};

/// A connection in the list of all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TcpConnection {
    /// The local address and port.
    pub local: SocketAddr,
    /// The peer's address and port.
    pub peer: SocketAddr,
    /// The state.
    pub state: TcpState,
    /// Bytes received and not yet read.
    pub recv_queue: usize,
    /// Bytes written and not yet acknowledged.
    pub send_queue: usize,
    /// Whether the application has let go of it.
    pub orphan: bool,
}

/// Where loss recovery stands, in Linux' words (`tcpi_ca_state`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CaState {
    /// Nothing is amiss.
    Open,
    /// Segments arrived out of order, and none is thought lost yet.
    Disorder,
    /// The window was reduced for a congestion mark of the network.
    Cwr,
    /// Losses are being repaired.
    Recovery,
    /// The retransmission timer has expired.
    Loss,
}

/// A connection in detail, as `TCP_INFO` tells it. Windows and amounts are in bytes where the kernel counts segments,
/// unless said.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct TcpInfo {
    /// The local address and port.
    pub local: SocketAddr,
    /// The peer's address and port.
    pub peer: SocketAddr,
    /// The state.
    pub state: TcpState,
    /// Whether the application has let go of it.
    pub orphan: bool,
    /// Where loss recovery stands.
    pub ca_state: CaState,
    /// Timeouts in a row (`tcpi_backoff`, `tcpi_retransmits`).
    pub backoff: u8,
    /// Unanswered keep-alive or window probes.
    pub probes: u8,
    /// Whether both sides send timestamps (RFC 7323).
    pub timestamps: bool,
    /// Whether both sides take selective acknowledgments (RFC 2018).
    pub sack: bool,
    /// Whether explicit congestion notification is on (RFC 3168).
    pub ecn: bool,
    /// The peer's window scale, in bits.
    pub snd_wscale: u8,
    /// Our window scale, in bits.
    pub rcv_wscale: u8,
    /// The retransmission timeout, back-off included.
    pub rto: Duration,
    /// How late an ACK with nothing to ride on goes.
    pub ato: Duration,
    /// Bytes of data in a full segment that is sent, options deducted.
    pub snd_mss: u16,
    /// The largest segment that has come.
    pub rcv_mss: u16,
    /// The largest segment that the peer was told we take.
    pub advmss: u16,
    /// Segments sent and not acknowledged.
    pub unacked: u32,
    /// Of these, those that the peer has out of order.
    pub sacked: u32,
    /// Bytes thought lost and not sent again yet.
    pub lost: u32,
    /// Segments sent again and not acknowledged.
    pub retrans: u32,
    /// Time since the last data was sent, `None` if there was none.
    pub last_data_sent: Option<Duration>,
    /// Time since the peer was heard, or since the first of what is unacknowledged was written if that is later.
    pub last_heard: Duration,
    /// The smoothed round-trip time, zero before the first sample.
    pub rtt: Duration,
    /// Its mean deviation.
    pub rttvar: Duration,
    /// The last sample.
    pub rtt_latest: Duration,
    /// The least round-trip time of the last five minutes.
    pub min_rtt: Duration,
    /// The congestion window.
    pub snd_cwnd: u32,
    /// The slow start threshold, `None` where there is none.
    pub snd_ssthresh: Option<u32>,
    /// Whether the network was seen to deliver out of order (RFC 8985).
    pub reordering_seen: bool,
    /// What the receive buffer holds at most at present.
    pub rcv_space: u32,
    /// What the send buffer holds at most at present.
    pub snd_space: u32,
    /// What is left of the window that the peer was offered.
    pub rcv_wnd: u32,
    /// The window that the peer offers.
    pub snd_wnd: u32,
    /// Segments sent again, over all.
    pub total_retrans: u32,
    /// Duplicates that the peer told of (RFC 2883), over all.
    pub dsack_dups: u32,
    /// Bytes a second that sending is paced at, `None` if it is not.
    pub pacing_rate: Option<u64>,
    /// The bound on it that was set.
    pub max_pacing_rate: Option<u64>,
    /// Bytes a second of the latest sample of the delivery rate.
    pub delivery_rate: Option<u64>,
    /// Whether that sample tells what the application wrote rather than what the path carries.
    pub delivery_rate_app_limited: bool,
    /// Bytes that the peer acknowledged, cumulatively or selectively, over all.
    pub bytes_acked: u64,
    /// Bytes received in order, over all.
    pub bytes_received: u64,
    /// Bytes of data sent, those sent again included, over all.
    pub bytes_sent: u64,
    /// Bytes of data sent again, over all.
    pub bytes_retrans: u64,
    /// Segments sent, over all, SYNs and RSTs not counted.
    pub segs_out: u32,
    /// Segments received, over all.
    pub segs_in: u32,
    /// Segments sent with data, over all.
    pub data_segs_out: u32,
    /// Time during which something was unacknowledged (`tcpi_busy_time`).
    pub busy_time: Duration,
    /// Bytes written and not sent yet.
    pub notsent_bytes: u32,
    /// Bytes received in order and not yet read.
    pub recv_queue: u32,
    /// Bytes written and not yet acknowledged.
    pub send_queue: u32,
    /// Bytes received out of order.
    pub out_of_order: u32,
    /// Memory that the connection takes for what is queued in both directions, packet buffers included.
    pub memory: usize,
    /// The congestion control.
    pub congestion: Algorithm,
    /// The timer that runs.
    pub timer: Option<TcpTimer>,
    /// What it is doing, such as `slow start`; empty before anything was sent.
    pub congestion_phase: &'static str,
}

impl Flow {
    pub(crate) fn connection(&self) -> TcpConnection {
        TcpConnection {
            local: self.key.local(),
            peer: self.key.remote(),
            state: self.state(),
            recv_queue: self.recv_queue(),
            send_queue: self.send_queue(),
            orphan: self.has(FlowFlags::ORPHAN),
        }
    }

    pub(crate) fn ca_state(&self) -> CaState {
        let Some(sender) = &self.sender else {
            return CaState::Open;
        };
        match sender.phase {
            Phase::Loss => CaState::Loss,
            Phase::Recovery => CaState::Recovery,
            Phase::Open
                if sender
                    .ecn_high
                    .is_some_and(|high| !seq::has_passed(high, self.snd_una, self.snd_nxt)) =>
            {
                CaState::Cwr
            }
            Phase::Open
                if sender.dupacks > 0
                    || self
                        .busy
                        .as_ref()
                        .is_some_and(|busy| busy.sent.sacked() > 0) =>
            {
                CaState::Disorder
            }
            Phase::Open => CaState::Open,
        }
    }

    /// Counts a segment that is sent again.
    #[cold]
    pub(crate) fn count_again(&self, stats: &mut TcpCounters, segments: u32) {
        let segments = u64::from(segments);
        stats.retransmits += segments;
        match self.sender.as_ref().map(|sender| sender.phase) {
            Some(Phase::Recovery) => stats.fast_retransmits += segments,
            Some(Phase::Loss) => stats.slow_start_retransmits += segments,
            _ => {}
        }
    }

    /// Bytes written and not sent yet.
    pub(crate) fn unsent(&self) -> u32 {
        self.data_left(self.snd_nxt)
    }

    pub(crate) fn info(&self, now: Instant, config: &Settings) -> TcpInfo {
        let (busy, sender, rare) = (
            self.busy.as_deref(),
            self.sender.as_deref(),
            self.rare.as_deref(),
        );
        let keepalive = rare.and_then(|rare| rare.keepalive);
        let probes = if self.wait == Wait::Persist {
            self.backoff
        } else {
            keepalive.map_or(0, |keepalive| keepalive.probes)
        };
        let past = self.past.as_deref();
        let rate = sender.and_then(|sender| sender.rate);
        let (delivery_rate, app_limited) = match past {
            Some(past) => (past.rate.map(NonZeroU64::get), past.app_limited),
            None => (
                rate.and_then(|rate| rate.bytes_per_second()),
                rate.is_some_and(|rate| rate.app_limited),
            ),
        };
        let totals = sender.map(|sender| sender.totals);
        let totals = totals.or(past.map(|past| past.totals)).unwrap_or_default();
        let delivered = sender.map(|sender| sender.delivered);
        let delivered = delivered
            .or(past.map(|past| past.delivered))
            .unwrap_or_default();
        // What the sender has not been told.
        let calm = self.is_calm();
        let tab = if calm { self.tab } else { Tab::default() };
        let alone = calm && self.snd_una != self.snd_nxt;
        let data_segments = totals.data_segments.wrapping_add(tab.segments);
        let gaps = busy.and_then(|busy| busy.gaps.as_deref());
        TcpInfo {
            local: self.key.local(),
            peer: self.key.remote(),
            state: self.state(),
            orphan: self.has(FlowFlags::ORPHAN),
            ca_state: self.ca_state(),
            backoff: self.backoff,
            probes,
            timestamps: self.has(FlowFlags::TIMESTAMPS),
            sack: self.has(FlowFlags::SACK),
            ecn: self.has(FlowFlags::ECN),
            snd_wscale: self.snd_shift,
            rcv_wscale: self.rcv_shift,
            rto: self.retransmission_timeout(config),
            ato: config.ack_delay,
            snd_mss: self.mss,
            rcv_mss: self.rcv_mss,
            advmss: self.offered_mss(config),
            unacked: busy.map_or(0, |busy| busy.sent.len() as u32) + u32::from(alone),
            sacked: busy.map_or(0, |busy| busy.sent.sacked_records()),
            lost: busy.map_or(0, |busy| busy.sent.lost()),
            retrans: busy.map_or(0, |busy| busy.sent.sent_again_records()),
            last_data_sent: sender
                .map(|sender| sender.last_sent.max(tab.sent_at))
                .or(past.map(|past| past.last_sent))
                .filter(|_| data_segments > 0)
                .map(|at| now - at),
            last_heard: now - self.heard,
            rtt: self.rtt.srtt().unwrap_or_default(),
            rttvar: self.rtt.rttvar(),
            rtt_latest: self.rtt.latest().unwrap_or_default(),
            min_rtt: self.rtt.min_rtt().unwrap_or_default(),
            snd_cwnd: sender.map_or(super::cc::initial_window(self.mss.into()), |sender| {
                sender.window()
            }),
            snd_ssthresh: sender
                .map(|sender| sender.control.ssthresh())
                .filter(|threshold| *threshold != u32::MAX),
            reordering_seen: sender.is_some_and(|sender| sender.has_seen_reordering()),
            rcv_space: self.recv_max,
            snd_space: self.send_max,
            rcv_wnd: self.rcv_window(),
            snd_wnd: self.snd_wnd,
            total_retrans: totals.retransmits,
            dsack_dups: totals.duplicates,
            pacing_rate: sender.and_then(|sender| sender.pacing_rate()),
            max_pacing_rate: rare.and_then(|rare| rare.pacing_max),
            delivery_rate,
            delivery_rate_app_limited: app_limited,
            bytes_acked: delivered + u64::from(tab.acked),
            bytes_received: self.received,
            bytes_sent: totals.bytes + u64::from(tab.bytes),
            bytes_retrans: totals.bytes_again,
            segs_out: self.segments_out,
            segs_in: self.segments_in,
            data_segs_out: data_segments,
            busy_time: match (sender, past) {
                (Some(sender), _) => sender.busy_time(now, &tab, alone),
                (None, past) => Duration::from_nanos(past.map_or(0, |past| past.busy_nanos)),
            },
            notsent_bytes: self.unsent(),
            recv_queue: self.recv_queue() as u32,
            send_queue: self.send_queue() as u32,
            out_of_order: gaps.map_or(0, |gaps| gaps.assembler.bytes() as u32),
            memory: busy.map_or(0, |busy| {
                busy.send.heap_bytes()
                    + busy.recv.heap_bytes()
                    + busy.sent.heap_bytes()
                    + busy
                        .gaps
                        .as_ref()
                        .map_or(0, |gaps| gaps.assembler.heap_bytes())
            }),
            timer: self.timer(now, config),
            congestion: self.algorithm(config),
            congestion_phase: sender.map_or("", |sender| sender.control.phase()),
        }
    }
}

impl Tcp {
    pub(crate) fn info(&self, now: Instant, id: TcpId) -> Result<TcpInfo, Error> {
        Ok(self.held(id)?.info(now, &self.settings))
    }

    /// Some of them from a place on.
    pub(crate) fn infos(
        &self,
        now: Instant,
        from: ListPlace,
        most: usize,
    ) -> ListPage<(TcpId, TcpInfo)> {
        let settings = &self.settings;
        self.flows.page(from, most, |flow| flow.info(now, settings))
    }
}
