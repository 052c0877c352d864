//! Traces as qlog, in the form of a sequence of JSON texts (RFC 7464): a record separator, a text, a line feed.
//!
//! The framing and the members of each record are those of draft-ietf-quic-qlog-main-schema. What TCP has in common with QUIC is
//! named as there (`recovery:metrics_updated`, `recovery:packet_lost`, ..), what is TCP's is in the namespace `tcp`. Times are in
//! milliseconds, amounts in bytes, `pacing_rate` in bits a second; sequence numbers are those on the wire.

use alloc::format;
use alloc::string::String;
use core::fmt::{self, Write};
use core::net::SocketAddr;

use super::event::{
    DropReason, ReceivedSegment, SentSegment, TraceData, TraceEnd, TraceEvent, TraceMetrics,
    TraceStart, TraceTimer,
};
use crate::tcp::TcpState;
use crate::tcp::info::CaState;
use crate::time::Instant;

/// What the events of the namespace `tcp` are described by.
const SCHEMA: &str = "https://github.com/dpdk-net/dpdk-net/blob/main/docs/tracing.md#tcp-1";

/// The first record of a file. `title` says what is traced, and `wall_clock` is the time of the reference time as RFC 3339 has it,
/// if it is known.
pub fn qlog_header(title: &str, wall_clock: Option<&str>) -> String {
    let mut out = String::from("\u{1e}{\"file_schema\":\"urn:ietf:params:qlog:file:sequential\",");
    out.push_str("\"serialization_format\":\"application/qlog+json-seq\",\"title\":");
    string(&mut out, title);
    out.push_str(",\"trace\":{\"vantage_point\":{\"name\":\"dpdk-net\",\"type\":\"unknown\"},\"event_schemas\":[");
    string(&mut out, SCHEMA);
    out.push_str(
        "],\"common_fields\":{\"protocol_types\":[\"TCP\"],\"time_format\":\"relative_to_epoch\",",
    );
    out.push_str("\"reference_time\":{\"clock_type\":\"monotonic\",\"epoch\":\"unknown\"");
    if let Some(time) = wall_clock {
        out.push_str(",\"wall_clock_time\":");
        string(&mut out, time);
    }
    out.push_str("}}}}\n");
    out
}

/// A JSON string.
fn string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c < ' ' => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// What has been written of a connection: metrics are told where they have changed.
#[derive(Debug)]
pub struct QlogConnection {
    local: SocketAddr,
    peer: SocketAddr,
    group: String,
    state: Option<TcpState>,
    congestion: Option<String>,
    metrics: Option<TraceMetrics>,
}

impl QlogConnection {
    /// Of a connection, the `number`th of its file: connections may have the same addresses and ports one after the other.
    pub fn new(number: usize, local: SocketAddr, peer: SocketAddr) -> Self {
        Self {
            local,
            peer,
            group: format!("{number}:{local}-{peer}"),
            state: None,
            congestion: None,
            metrics: None,
        }
    }

    /// What its events have as their `group_id`.
    pub fn group_id(&self) -> &str {
        &self.group
    }

    /// Appends an event, as a record; its time is told from `reference` on.
    pub fn write(&mut self, out: &mut String, reference: Instant, event: &TraceEvent) {
        let nanos = (event.at - reference).as_nanos();
        let name = name(&event.data);
        // Writing to a string does not fail.
        let _ = write!(
            out,
            "\u{1e}{{\"time\":{}.{:06},\"name\":\"{name}\",\"group_id\":\"{}\",\"data\":{{",
            nanos / 1_000_000,
            nanos % 1_000_000,
            self.group
        );
        let mut data = Members { out, first: true };
        let _ = self.data(&mut data, &event.data);
        out.push_str("}}\n");
    }

    fn data(&mut self, out: &mut Members<'_>, data: &TraceData) -> fmt::Result {
        match data {
            TraceData::Started(start) => {
                self.state = Some(start.state);
                self.started(out, start)
            }
            TraceData::Sent(segment) => sent(out, segment),
            TraceData::Received(segment) => received(out, segment),
            TraceData::Dropped(reason) => out.text("trigger", drop_reason(*reason)),
            TraceData::State(state) => {
                if let Some(old) = self.state.replace(*state) {
                    out.text("old", state_name(old))?;
                }
                out.text("new", state_name(*state))
            }
            TraceData::Congestion { state, phase } => {
                let new = congestion_name(*state, phase);
                if let Some(old) = &self.congestion {
                    out.text("old", old)?;
                }
                out.text("new", &new)?;
                self.congestion = Some(new);
                Ok(())
            }
            TraceData::Metrics(metrics) => {
                metrics_updated(out, self.metrics.replace(*metrics), metrics)
            }
            TraceData::Lost { start, end } => {
                out.number("seq", (*start).into())?;
                out.number("length", end.wrapping_sub(*start).into())
            }
            TraceData::Timer(timer) => {
                out.text("event_type", "expired")?;
                out.text("timer_type", timer_name(*timer))
            }
            TraceData::Reordering => Ok(()),
            TraceData::Missed(count) => out.number("count", *count),
            TraceData::Ended(TraceEnd::Closed(reason)) => out.text("trigger", reason.name()),
            TraceData::Ended(TraceEnd::Migrated(worker)) => {
                out.text("trigger", "migrated")?;
                out.number("worker", (*worker).into())
            }
            TraceData::Ended(TraceEnd::Stopped) => out.text("trigger", "stopped"),
        }
    }

    fn started(&self, out: &mut Members<'_>, start: &TraceStart) -> fmt::Result {
        for (name, at) in [("local", self.local), ("remote", self.peer)] {
            out.name(name)?;
            write!(out.out, "{{\"ip\":\"{}\",\"port\":{}}}", at.ip(), at.port())?;
        }
        out.text("state", state_name(start.state))?;
        out.number("initial_seq", start.iss.into())?;
        out.number("remote_initial_seq", start.irs.into())?;
        out.number("unacknowledged_seq", start.snd_una.into())?;
        out.number("next_seq", start.snd_nxt.into())?;
        out.number("remote_next_seq", start.rcv_nxt.into())?;
        out.number("mss", start.mss.into())?;
        out.flag("timestamps", start.timestamps)?;
        out.flag("sack", start.sack)?;
        out.flag("ecn", start.ecn)?;
        out.number("window_scale", start.rcv_wscale.into())?;
        out.number("remote_window_scale", start.snd_wscale.into())?;
        out.text("congestion_control", start.congestion.name())
    }
}

/// The members of a JSON object, one after the other.
struct Members<'a> {
    out: &'a mut String,
    first: bool,
}

impl Members<'_> {
    fn name(&mut self, name: &str) -> fmt::Result {
        if !core::mem::take(&mut self.first) {
            self.out.push(',');
        }
        write!(self.out, "\"{name}\":")
    }

    fn number(&mut self, name: &str, value: u64) -> fmt::Result {
        self.name(name)?;
        write!(self.out, "{value}")
    }

    fn flag(&mut self, name: &str, value: bool) -> fmt::Result {
        self.name(name)?;
        write!(self.out, "{value}")
    }

    /// A member that is there only where it is true.
    fn mark(&mut self, name: &str, value: bool) -> fmt::Result {
        if value { self.flag(name, true) } else { Ok(()) }
    }

    fn text(&mut self, name: &str, value: &str) -> fmt::Result {
        self.name(name)?;
        string(self.out, value);
        Ok(())
    }

    /// Microseconds as milliseconds.
    fn millis(&mut self, name: &str, micros: u32) -> fmt::Result {
        self.name(name)?;
        write!(self.out, "{}.{:03}", micros / 1_000, micros % 1_000)
    }

    fn flags(&mut self, flags: u8) -> fmt::Result {
        const NAMES: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];
        self.name("flags")?;
        self.out.push('[');
        let set = NAMES
            .iter()
            .enumerate()
            .filter(|(bit, _)| flags >> bit & 1 != 0);
        for (index, (_, name)) in set.enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(self.out, "{comma}\"{name}\"")?;
        }
        self.out.push(']');
        Ok(())
    }

    fn sack(&mut self, blocks: &[(u32, u32)]) -> fmt::Result {
        if blocks.is_empty() {
            return Ok(());
        }
        self.name("sack")?;
        for (index, (start, end)) in blocks.iter().enumerate() {
            let before = if index > 0 { "," } else { "[" };
            write!(self.out, "{before}[{start},{end}]")?;
        }
        self.out.push(']');
        Ok(())
    }
}

fn name(data: &TraceData) -> &'static str {
    match data {
        TraceData::Started(_) => "tcp:connection_started",
        TraceData::Sent(_) => "tcp:segment_sent",
        TraceData::Received(_) => "tcp:segment_received",
        TraceData::Dropped(_) => "tcp:segment_dropped",
        TraceData::State(_) => "tcp:connection_state_updated",
        TraceData::Congestion { .. } => "recovery:congestion_state_updated",
        TraceData::Metrics(_) => "recovery:metrics_updated",
        TraceData::Lost { .. } => "recovery:packet_lost",
        TraceData::Timer(_) => "recovery:loss_timer_updated",
        TraceData::Reordering => "tcp:reordering_seen",
        TraceData::Missed(_) => "tcp:events_missed",
        TraceData::Ended(TraceEnd::Closed(_)) => "tcp:connection_closed",
        TraceData::Ended(_) => "tcp:trace_ended",
    }
}

fn sent(out: &mut Members<'_>, segment: &SentSegment) -> fmt::Result {
    out.number("seq", segment.seq.into())?;
    out.number("length", segment.len.into())?;
    out.flags(segment.flags)?;
    out.number("ack", segment.ack.into())?;
    out.number("window", segment.window.into())?;
    out.mark("retransmission", segment.again)?;
    out.mark("ect", segment.ect)?;
    if let Some(len) = segment.segment_len {
        out.number("segment_length", len.into())?;
    }
    out.sack(segment.sack.as_slice())
}

fn received(out: &mut Members<'_>, segment: &ReceivedSegment) -> fmt::Result {
    out.number("seq", segment.seq.into())?;
    out.number("length", segment.len.into())?;
    out.flags(segment.flags)?;
    out.number("ack", segment.ack.into())?;
    out.number("window", segment.window.into())?;
    out.mark("ce", segment.ce)?;
    if segment.pieces > 1 {
        out.number("pieces", segment.pieces.into())?;
    }
    out.sack(segment.sack.as_slice())
}

/// Those that differ from the old ones, with the names that qlog's QUIC events have for them.
fn metrics_updated(
    out: &mut Members<'_>,
    old: Option<TraceMetrics>,
    new: &TraceMetrics,
) -> fmt::Result {
    let first = old.is_none();
    let old = old.unwrap_or_default();
    let times = [
        ("smoothed_rtt", old.srtt, new.srtt),
        ("rtt_variance", old.rttvar, new.rttvar),
        ("latest_rtt", old.latest_rtt, new.latest_rtt),
        ("min_rtt", old.min_rtt, new.min_rtt),
        ("retransmission_timeout", old.rto, new.rto),
    ];
    for (name, old, new) in times {
        if old != new {
            out.millis(name, new)?;
        }
    }
    let amounts = [
        ("congestion_window", old.cwnd, new.cwnd),
        ("bytes_in_flight", old.in_flight, new.in_flight),
        ("lost_bytes", old.lost, new.lost),
        ("unsent_bytes", old.unsent, new.unsent),
        ("send_window", old.snd_wnd, new.snd_wnd),
        ("receive_window", old.rcv_wnd, new.rcv_wnd),
        ("pto_count", old.backoff.into(), new.backoff.into()),
    ];
    for (name, old, new) in amounts {
        if old != new {
            out.number(name, new.into())?;
        }
    }
    // Without one there is none to tell.
    if new.ssthresh != u32::MAX && (first || old.ssthresh != new.ssthresh) {
        out.number("ssthresh", new.ssthresh.into())?;
    }
    if old.pacing_rate != new.pacing_rate {
        out.number("pacing_rate", new.pacing_rate.saturating_mul(8))?;
    }
    Ok(())
}

fn state_name(state: TcpState) -> &'static str {
    match state {
        TcpState::Closed => "closed",
        TcpState::SynSent => "syn_sent",
        TcpState::SynReceived => "syn_received",
        TcpState::Established => "established",
        TcpState::FinWait1 => "fin_wait_1",
        TcpState::FinWait2 => "fin_wait_2",
        TcpState::CloseWait => "close_wait",
        TcpState::Closing => "closing",
        TcpState::LastAck => "last_ack",
        TcpState::TimeWait => "time_wait",
    }
}

/// Recovery where something is being repaired, otherwise what congestion control is doing.
fn congestion_name(state: CaState, phase: &str) -> String {
    match state {
        CaState::Recovery => "recovery".into(),
        CaState::Loss => "loss".into(),
        CaState::Cwr => "congestion_window_reduced".into(),
        CaState::Open | CaState::Disorder if phase.is_empty() => "idle".into(),
        CaState::Open => phase.replace(' ', "_"),
        CaState::Disorder => format!("disorder_{}", phase.replace(' ', "_")),
    }
}

fn timer_name(timer: TraceTimer) -> &'static str {
    match timer {
        TraceTimer::Retransmission => "rto",
        TraceTimer::TailLossProbe => "tlp",
        TraceTimer::Reordering => "rack",
        TraceTimer::Persist => "persist",
        TraceTimer::Keepalive => "keepalive",
    }
}

fn drop_reason(reason: DropReason) -> &'static str {
    match reason {
        DropReason::Unexpected => "unexpected",
        DropReason::Challenged => "challenged",
        DropReason::OutOfWindow => "out_of_window",
        DropReason::OldTimestamp => "old_timestamp",
        DropReason::Reset => "reset",
        DropReason::NoReader => "no_reader",
    }
}
