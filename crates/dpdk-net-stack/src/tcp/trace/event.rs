//! What a trace tells of a connection, event by event.
//!
//! Sequence numbers are those on the wire. Amounts are in bytes, times of round trips in microseconds.

use super::super::TcpState;
use super::super::cc::Algorithm;
use super::super::info::CaState;
use super::super::scoreboard::Blocks;
use crate::error::Error;
use crate::time::Instant;

/// Something that happened to a traced connection.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceEvent {
    /// When.
    pub at: Instant,
    /// What.
    pub data: TraceData,
}

/// What happened to a traced connection.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum TraceData {
    /// The trace begins: with the connection, or in its midst.
    Started(TraceStart),
    /// A segment, or several in one, was given out to be sent.
    Sent(SentSegment),
    /// A segment came, or several that were put together before TCP saw them.
    Received(ReceivedSegment),
    /// What came last was not taken, for this reason.
    Dropped(DropReason),
    /// The connection is in another state.
    State(TcpState),
    /// Loss recovery or congestion control is in another phase.
    Congestion {
        /// Where loss recovery stands.
        state: CaState,
        /// What the congestion control is doing: `slow start`, `congestion avoidance`..
        phase: &'static str,
    },
    /// Figures of the sender have changed.
    Metrics(TraceMetrics),
    /// These bytes are thought lost.
    Lost {
        /// The first of them.
        start: u32,
        /// After the last.
        end: u32,
    },
    /// A timer has run out.
    Timer(TraceTimer),
    /// The network was seen to deliver out of order (RFC 8985 section 6.2).
    Reordering,
    /// So many events are missing here: nobody had taken those before them.
    Missed(u64),
    /// The last event.
    Ended(TraceEnd),
}

/// Where a connection stands when its trace begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceStart {
    /// The state.
    pub state: TcpState,
    /// Our initial sequence number.
    pub iss: u32,
    /// The peer's; 0 while it is not known.
    pub irs: u32,
    /// SND.UNA: the oldest sequence number that is not acknowledged.
    pub snd_una: u32,
    /// SND.NXT: the next sequence number to be sent.
    pub snd_nxt: u32,
    /// RCV.NXT: the next sequence number that the peer is to send.
    pub rcv_nxt: u32,
    /// Bytes of data in a full segment.
    pub mss: u16,
    /// Whether timestamps are on (RFC 7323).
    pub timestamps: bool,
    /// Whether the peer takes selective acknowledgments (RFC 2018).
    pub sack: bool,
    /// Whether ECN is on (RFC 3168).
    pub ecn: bool,
    /// Our window scale, in bits.
    pub rcv_wscale: u8,
    /// The peer's.
    pub snd_wscale: u8,
    /// The congestion control.
    pub congestion: Algorithm,
}

/// A segment that is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct SentSegment {
    /// Its sequence number.
    pub seq: u32,
    /// Bytes of data.
    pub len: u32,
    /// The acknowledgment number.
    pub ack: u32,
    /// TCP's flags as in the header: FIN 1, SYN 2, RST 4, PSH 8, ACK 16, URG 32, ECE 64, CWR 128.
    pub flags: u8,
    /// The window offered, scaled.
    pub window: u32,
    /// Whether its data was sent before, or the same SYN.
    pub again: bool,
    /// Whether it is marked as capable of ECN.
    pub ect: bool,
    /// Data of each of the segments that it is cut into, if it is more than one.
    pub segment_len: Option<u16>,
    /// SACK blocks: the first sequence number of each and the one after its last.
    pub sack: SackBlocks,
}

/// A segment that came.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReceivedSegment {
    /// Its sequence number.
    pub seq: u32,
    /// Bytes of data.
    pub len: u32,
    /// The acknowledgment number.
    pub ack: u32,
    /// TCP's flags, as in [`SentSegment::flags`].
    pub flags: u8,
    /// The window that it offers, scaled.
    pub window: u32,
    /// Whether it was marked as having met congestion (RFC 3168 section 5).
    pub ce: bool,
    /// How many pieces of payload there are: more than one where segments were put together.
    pub pieces: u16,
    /// SACK blocks.
    pub sack: SackBlocks,
}

/// SACK blocks of a segment, in its order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SackBlocks(pub(crate) Blocks);

impl SackBlocks {
    /// The blocks: the first sequence number of each and the one after its last.
    pub fn as_slice(&self) -> &[(u32, u32)] {
        &self.0
    }
}

/// Figures of a connection.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TraceMetrics {
    /// The congestion window.
    pub cwnd: u32,
    /// The slow start threshold; `u32::MAX` where there is none.
    pub ssthresh: u32,
    /// Bytes sent and neither acknowledged nor SACKed nor thought lost.
    pub in_flight: u32,
    /// Bytes thought lost and not sent again yet.
    pub lost: u32,
    /// Bytes written and not sent yet.
    pub unsent: u32,
    /// The window that the peer offers.
    pub snd_wnd: u32,
    /// What is left of the window that the peer was offered.
    pub rcv_wnd: u32,
    /// The smoothed round-trip time, in microseconds.
    pub srtt: u32,
    /// Its mean deviation, in microseconds.
    pub rttvar: u32,
    /// The last sample, in microseconds.
    pub latest_rtt: u32,
    /// The least of the last five minutes, in microseconds.
    pub min_rtt: u32,
    /// The retransmission timeout, back-off included, in microseconds.
    pub rto: u32,
    /// Timeouts in a row.
    pub backoff: u8,
    /// The rate that sending is paced at, in bytes a second; 0 if it is not.
    pub pacing_rate: u64,
}

/// Why a segment is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum DropReason {
    /// It has no place in the state that the connection is in.
    Unexpected,
    /// Out of place: the peer is told where we stand (RFC 5961).
    Challenged,
    /// Outside the window, or a duplicate.
    OutOfWindow,
    /// Its timestamp is older than what has come (RFC 7323 section 5).
    OldTimestamp,
    /// A RST, which ends the connection.
    Reset,
    /// Data for which there is no application any more.
    NoReader,
}

/// A timer of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TraceTimer {
    /// The retransmission timeout (RFC 6298).
    Retransmission,
    /// The tail loss probe's (RFC 8985 section 7).
    TailLossProbe,
    /// What was overtaken for so long is lost (RFC 8985 section 6.2).
    Reordering,
    /// The peer's window is too small (RFC 9293 section 3.8.6.1).
    Persist,
    /// The peer has been silent (RFC 1122 section 4.2.3.6).
    Keepalive,
}

/// Why a trace ends.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum TraceEnd {
    /// The connection is over, or in TIME-WAIT.
    Closed(CloseReason),
    /// The connection has moved to this worker; a trace of new connections there goes on with it.
    Migrated(u16),
    /// Whoever had asked for it has enough.
    Stopped,
}

/// Why a connection is over.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CloseReason {
    /// Both sides have sent a FIN.
    Fin,
    /// The peer has sent a RST.
    ResetByPeer,
    /// The peer was silent for too long.
    TimedOut,
    /// This side has sent a RST: the application wanted it, data that had come was never read, or there was no room for it to
    /// finish by itself.
    Aborted,
    /// The application let go of it before it was established.
    GivenUp,
    /// The network says that it can't be.
    Failed(Error),
}

impl CloseReason {
    /// In one word, for logs: `fin`, `reset_by_peer`, `timed_out`, `aborted`, `given_up`, `failed`.
    pub fn name(&self) -> &'static str {
        match self {
            CloseReason::Fin => "fin",
            CloseReason::ResetByPeer => "reset_by_peer",
            CloseReason::TimedOut => "timed_out",
            CloseReason::Aborted => "aborted",
            CloseReason::GivenUp => "given_up",
            CloseReason::Failed(_) => "failed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_takes_no_more_memory_than_is_said() {
        // `Stack::tcp_trace`, `TraceOptions::events` and docs/tracing.md have the figure.
        assert!(size_of::<TraceEvent>() <= 80, "{}", size_of::<TraceEvent>());
    }
}
