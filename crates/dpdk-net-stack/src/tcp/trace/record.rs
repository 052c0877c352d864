//! The trace of one connection: what has been recorded and not taken, and what its figures were when they were looked at last.

use alloc::vec::Vec;
use core::net::SocketAddr;

use dpdk_net_packet::tcp::{Flags, Segment};

use super::event::{
    ReceivedSegment, SackBlocks, SentSegment, TraceData, TraceEnd, TraceEvent, TraceMetrics,
    TraceStart,
};
use crate::tcp::cc::{CongestionControl, initial_window};
use crate::tcp::flow::{Flow, FlowFlags};
use crate::tcp::info::CaState;
use crate::tcp::options::SegmentOptions;
use crate::tcp::output::{Next, Out};
use crate::tcp::segment::Control;
use crate::tcp::table::FlowKey;
use crate::tcp::{Settings, TcpState, seq};
use crate::time::{Duration, Instant};

/// The codepoint of an IP packet that met congestion (RFC 3168 section 5).
const CE: u8 = 3;
/// Ranges told of as lost at a time at most: beyond them neighbours are told as one.
const MOST_LOST: usize = 64;

/// What is known of a handshake that the peer began, once it is complete.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handshake {
    /// When its SYN was answered last.
    pub(crate) at: Instant,
    /// The window field of its SYN, and that of the answer.
    pub(crate) windows: (u16, u16),
    /// The answer had been sent before.
    pub(crate) again: bool,
}

/// The trace of a connection.
#[derive(Debug)]
pub(crate) struct Trace {
    key: FlowKey,
    events: Vec<TraceEvent>,
    /// Events that may wait.
    room: usize,
    /// Events for which there was no room, since the last that there was room for.
    missed: u64,
    ended: bool,
    state: TcpState,
    congestion: (CaState, &'static str),
    metrics: TraceMetrics,
    reordering: bool,
    /// The scoreboard's count of what was ever lost, and the ranges that are told of and not sent again.
    marked_lost: u32,
    lost: Vec<(u32, u32)>,
    /// Our SYN has been sent.
    syn_sent: bool,
}

impl Trace {
    fn new(flow: &Flow, state: TcpState, room: usize) -> Self {
        Trace {
            key: flow.key,
            events: Vec::new(),
            room,
            missed: 0,
            ended: false,
            state,
            congestion: (CaState::Open, ""),
            metrics: TraceMetrics::default(),
            reordering: false,
            marked_lost: 0,
            lost: Vec::new(),
            syn_sent: false,
        }
    }

    pub(super) fn begin(now: Instant, flow: &Flow, settings: &Settings, room: usize) -> Self {
        let mut trace = Trace::new(flow, flow.state, room);
        trace.push(now, TraceData::Started(flow.trace_start(settings)));
        trace.observe(now, flow, settings);
        trace
    }

    /// A trace that begins with the SYN of a connection whose handshake is complete. The segment that completed it comes next.
    pub(super) fn begin_with(
        handshake: &Handshake,
        flow: &Flow,
        settings: &Settings,
        room: usize,
    ) -> Self {
        let Handshake { at, windows, again } = *handshake;
        let mut trace = Trace::new(flow, TcpState::SynReceived, room);
        let begin = TraceStart {
            state: TcpState::SynReceived,
            snd_una: flow.iss,
            ..flow.trace_start(settings)
        };
        let ecn = |flags: Flags| if begin.ecn { flags } else { Flags(0) };
        let answer = (Flags::SYN | Flags::ACK) | ecn(Flags::ECE);
        trace.push(at, TraceData::Started(begin));
        trace.push(
            at,
            TraceData::Received(ReceivedSegment {
                seq: flow.irs,
                len: 0,
                ack: 0,
                flags: (Flags::SYN | ecn(Flags::ECE | Flags::CWR)).0,
                window: windows.0.into(),
                ce: false,
                pieces: 1,
                sack: SackBlocks::default(),
            }),
        );
        trace.push(
            at,
            TraceData::Sent(SentSegment {
                seq: flow.iss,
                len: 0,
                ack: flow.irs.wrapping_add(1),
                flags: answer.0,
                window: windows.1.into(),
                again,
                ect: false,
                segment_len: None,
                sack: SackBlocks::default(),
            }),
        );
        trace
    }

    pub(super) fn key(&self) -> FlowKey {
        self.key
    }

    /// The local address and port, and the peer's.
    pub(super) fn ends(&self) -> (SocketAddr, SocketAddr) {
        (self.key.local(), self.key.remote())
    }

    pub(crate) fn push(&mut self, at: Instant, data: TraceData) {
        if self.events.len() >= self.room {
            self.missed += 1;
            return;
        }
        self.tell_missed(at);
        self.events.push(TraceEvent { at, data });
    }

    fn tell_missed(&mut self, at: Instant) {
        if self.missed > 0 {
            let data = TraceData::Missed(core::mem::take(&mut self.missed));
            self.events.push(TraceEvent { at, data });
        }
    }

    /// The last event, for which there always is room.
    pub(super) fn end(&mut self, at: Instant, end: TraceEnd) {
        self.tell_missed(at);
        let data = TraceData::Ended(end);
        self.events.push(TraceEvent { at, data });
        self.ended = true;
    }

    /// Takes what has been recorded into `events`, which is empty and whose memory is used from now on. `false` after the last.
    pub(super) fn take(&mut self, events: &mut Vec<TraceEvent>) -> bool {
        if let Some(at) = self.events.last().map(|last| last.at) {
            self.tell_missed(at);
        }
        core::mem::swap(&mut self.events, events);
        !self.ended
    }

    /// What has not been taken.
    pub(super) fn into_events(self) -> Vec<TraceEvent> {
        self.events
    }

    /// A segment came, and payload behind it.
    pub(crate) fn received(
        &mut self,
        now: Instant,
        flow: &Flow,
        (ecn, segment): (u8, &Segment<'_>),
        more: impl ExactSizeIterator<Item = usize>,
    ) {
        let pieces = 1 + more.len();
        let len = segment.payload().len() + more.sum::<usize>();
        // The window of a SYN is not scaled (RFC 7323 section 2.2).
        let shift = if segment.flags().syn() {
            0
        } else {
            flow.snd_shift
        };
        self.push(
            now,
            TraceData::Received(ReceivedSegment {
                seq: segment.seq(),
                len: len as u32,
                ack: segment.ack(),
                flags: segment.flags().0,
                window: u32::from(segment.window()) << shift,
                ce: ecn == CE,
                pieces: pieces as u16,
                sack: SackBlocks(SegmentOptions::of(segment).sack),
            }),
        );
    }

    /// A segment leaves.
    pub(crate) fn sent(&mut self, now: Instant, flow: &Flow, next: &Next) {
        match next {
            Next::Segment(out) => self.sent_segment(now, flow, out),
            Next::Syn(control) => {
                let again = core::mem::replace(&mut self.syn_sent, true);
                let syn = SentSegment {
                    again,
                    ..control.traced(0)
                };
                self.push(now, TraceData::Sent(syn));
            }
            Next::Nothing => {}
        }
    }

    fn sent_segment(&mut self, now: Instant, flow: &Flow, out: &Out) {
        if out.again {
            self.sent_again(out.seq, out.seq.wrapping_add(out.len));
        }
        self.push(
            now,
            TraceData::Sent(SentSegment {
                seq: out.seq,
                len: out.len,
                ack: flow.rcv_nxt,
                flags: out.flags.0,
                window: u32::from(out.window) << flow.rcv_shift,
                again: out.again,
                ect: out.ect,
                segment_len: (out.segments() > 1).then_some(out.mss),
                sack: SackBlocks(out.blocks.clone()),
            }),
        );
    }

    /// What is sent again may be lost again.
    fn sent_again(&mut self, start: u32, end: u32) {
        let mut left = Vec::with_capacity(self.lost.len());
        for &(from, to) in &self.lost {
            if seq::le(to, start) || seq::le(end, from) {
                left.push((from, to));
                continue;
            }
            if seq::lt(from, start) {
                left.push((from, start));
            }
            if seq::lt(end, to) {
                left.push((end, to));
            }
        }
        self.lost = left;
    }

    /// Records what has changed since the last time.
    pub(crate) fn observe(&mut self, now: Instant, flow: &Flow, settings: &Settings) {
        if let Some(busy) = &flow.busy {
            let marked = busy.sent.marked_lost();
            if marked != self.marked_lost {
                self.marked_lost = marked;
                let ranges = busy.sent.lost_ranges(MOST_LOST);
                for &(start, end) in &ranges {
                    self.tell_lost(now, start, end);
                }
                self.lost = ranges;
            }
        }
        if flow.state != self.state {
            self.state = flow.state;
            self.push(now, TraceData::State(flow.state));
        }
        let congestion = (flow.ca_state(), flow.congestion_phase());
        if congestion != self.congestion && flow.sender.is_some() {
            self.congestion = congestion;
            let (state, phase) = congestion;
            self.push(now, TraceData::Congestion { state, phase });
        }
        let reordering = flow
            .sender
            .as_ref()
            .is_some_and(|sender| sender.has_seen_reordering());
        if reordering && !self.reordering {
            self.push(now, TraceData::Reordering);
        }
        self.reordering = reordering;
        let metrics = flow.trace_metrics(settings);
        if metrics != self.metrics {
            self.metrics = metrics;
            self.push(now, TraceData::Metrics(metrics));
        }
    }

    /// Tells what of a lost range is news.
    fn tell_lost(&mut self, now: Instant, mut start: u32, end: u32) {
        let known = core::mem::take(&mut self.lost);
        for &(from, to) in &known {
            if seq::le(to, start) || seq::le(end, from) {
                continue;
            }
            if seq::lt(start, from) {
                self.push(now, TraceData::Lost { start, end: from });
            }
            start = to;
        }
        if seq::lt(start, end) {
            self.push(now, TraceData::Lost { start, end });
        }
        self.lost = known;
    }
}

impl Control {
    /// As it is told in a trace; it was sent with a window of this scale.
    pub(crate) fn traced(&self, shift: u8) -> SentSegment {
        SentSegment {
            seq: self.seq,
            len: 0,
            ack: self.ack,
            flags: self.flags.0,
            window: u32::from(self.window) << shift,
            again: false,
            ect: false,
            segment_len: None,
            sack: SackBlocks::default(),
        }
    }
}

fn micros(duration: Duration) -> u32 {
    u32::try_from(duration.as_micros()).unwrap_or(u32::MAX)
}

impl Flow {
    fn trace_start(&self, settings: &Settings) -> TraceStart {
        TraceStart {
            state: self.state,
            iss: self.iss,
            irs: self.irs,
            snd_una: self.snd_una,
            snd_nxt: self.snd_nxt,
            rcv_nxt: self.rcv_nxt,
            mss: self.mss,
            timestamps: self.has(FlowFlags::TIMESTAMPS),
            sack: self.has(FlowFlags::SACK),
            ecn: self.has(FlowFlags::ECN),
            rcv_wscale: self.rcv_shift,
            snd_wscale: self.snd_shift,
            congestion: self.algorithm(settings),
        }
    }

    fn congestion_phase(&self) -> &'static str {
        self.sender
            .as_ref()
            .map_or("", |sender| sender.control.phase())
    }

    fn trace_metrics(&self, settings: &Settings) -> TraceMetrics {
        let sender = self.sender.as_deref();
        TraceMetrics {
            cwnd: sender.map_or(initial_window(self.mss.into()), |sender| sender.window()),
            ssthresh: sender.map_or(u32::MAX, |sender| sender.control.ssthresh()),
            in_flight: self.in_flight(),
            lost: self.busy.as_ref().map_or(0, |busy| busy.sent.lost()),
            unsent: self.unsent(),
            snd_wnd: self.snd_wnd,
            rcv_wnd: self.rcv_window(),
            srtt: micros(self.rtt.srtt().unwrap_or_default()),
            rttvar: micros(self.rtt.rttvar()),
            latest_rtt: micros(self.rtt.latest().unwrap_or_default()),
            min_rtt: micros(self.rtt.min_rtt().unwrap_or_default()),
            rto: micros(self.retransmission_timeout(settings)),
            backoff: self.backoff,
            pacing_rate: sender.and_then(|sender| sender.pacing_rate()).unwrap_or(0),
        }
    }
}
