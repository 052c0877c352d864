//! One connection that sends, for tests of loss recovery: what leaves is seen segment by segment, and acknowledgments are
//! made by hand. Sequence numbers count from the first byte; the path takes [`RTT`], and the clock is the test's.

use alloc::vec;
use alloc::vec::Vec;

use dpdk_net_packet::MacAddr;

use super::ack::Acknowledgment;
use super::cc::CongestionControl;
use super::flow::{Flow, FlowFlags, Wait};
use super::options::{SegmentOptions, Timestamps};
use super::output::Next;
use super::receive::Context;
use super::sender::Phase;
use super::table::FlowKey;
use super::{Tcp, TcpState, TimerKey};
use crate::config::Config;
use crate::event::TcpId;
use crate::time::{Duration, Instant};

pub(super) const MSS: u32 = 1_000;
pub(super) const RTT: Duration = Duration::from_millis(40);
/// Where the stream starts: sequence numbers wrap on the way.
const START: u32 = u32::MAX - 20_000;

pub(super) struct Rig {
    pub(super) tcp: Tcp,
    pub(super) flow: Flow,
    pub(super) now: Instant,
}

/// A segment that left: its first byte and how many, and whether it was sent before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Left {
    pub(super) start: u32,
    pub(super) len: u32,
    pub(super) again: bool,
    pub(super) at: Instant,
}

impl Rig {
    /// A connection with SACK and timestamps that knows the round-trip time, with nothing outstanding.
    pub(super) fn new() -> Self {
        let now = Instant::from_secs(100);
        let config = Config::new(MacAddr([2, 0, 0, 0, 0, 1]));
        let mut tcp = Tcp::new(&config, now);
        let [local, remote] = ["198.18.0.1:80", "198.18.0.2:5000"].map(|at| at.parse().unwrap());
        let timer = tcp.wheel.insert(TimerKey::Flow(TcpId::default()));
        let of = (TcpId::default(), FlowKey::new(local, remote));
        let state = TcpState::Established;
        let mut flow = Flow::new(of, state, timer, START, &tcp.settings, now);
        flow.flags |= FlowFlags::SACK | FlowFlags::TIMESTAMPS | FlowFlags::NODELAY;
        (flow.snd_una, flow.snd_nxt, flow.write_end) = (START, START, START);
        (flow.snd_wnd, flow.max_snd_wnd) = (1 << 20, 1 << 20);
        (flow.mss, flow.peer_mss) = (MSS as u16, MSS as u16 + 12);
        let mut rig = Rig { tcp, flow, now };
        for _ in 0..4 {
            let sent = rig.send(1);
            rig.pass(RTT);
            let end = sent[0].start + MSS;
            rig.ack(end, sent[0].at, &[]);
        }
        rig
    }

    /// The application writes so many bytes.
    pub(super) fn write(&mut self, bytes: u32) {
        let end = self.flow.write_end;
        let busy = self.flow.busy_mut(&mut self.tcp.pool);
        if busy.send.end() != end {
            busy.send.reset(end);
        }
        busy.send.write(&vec![0; bytes as usize], &mut None);
        self.flow.write_end = end.wrapping_add(bytes);
    }

    /// Writes so many segments, and has leave what may.
    pub(super) fn send(&mut self, segments: u32) -> Vec<Left> {
        self.write(segments * MSS);
        self.out()
    }

    /// What leaves now.
    pub(super) fn out(&mut self) -> Vec<Left> {
        let mut left = Vec::new();
        let (settings, pool) = (&self.tcp.settings, &mut self.tcp.pool);
        while let Next::Segment(out) = self.flow.next_segment(self.now, settings, pool, 0) {
            if out.len > 0 {
                left.push(Left {
                    start: out.seq.wrapping_sub(START),
                    len: out.len,
                    again: out.again,
                    at: self.now,
                });
            }
        }
        left
    }

    /// As many more may be in flight as there are.
    pub(super) fn open_window(&mut self, segments: u32) {
        let sender = self.flow.sender.as_mut().unwrap();
        sender.control.set_cwnd(segments * MSS);
    }

    /// The peer has everything before `ack` and these ranges, and echoes the timestamp of what left at `echo`.
    pub(super) fn ack(&mut self, ack: u32, echo: Instant, sack: &[(u32, u32)]) {
        let echo = super::flow::timestamp_clock(echo).wrapping_add(self.flow.ts_offset);
        let at = |seq: u32| START.wrapping_add(seq);
        let options = SegmentOptions {
            timestamps: Some(Timestamps { value: 1, echo }),
            sack: sack.iter().map(|&(from, to)| (at(from), at(to))).collect(),
        };
        let mut context = Context {
            now: self.now,
            config: &self.tcp.settings,
            pool: &mut self.tcp.pool,
            arrived: None,
            lro_segment: 0,
            stats: &mut self.tcp.stats,
            rtts: &mut self.tcp.distributions.rtt,
        };
        let segment = Acknowledgment {
            seq: 0,
            ack: at(ack),
            window: u16::MAX,
            has_data: false,
            echo: false,
            options: &options,
        };
        self.flow.snd_shift = 4;
        self.flow.acknowledge(&mut context, &segment);
    }

    pub(super) fn pass(&mut self, time: Duration) {
        self.now += time;
    }

    /// Waits for the timer, lets it run out, and has leave what may.
    pub(super) fn time_out(&mut self) -> Vec<Left> {
        self.now = self.now.max(self.flow.wait_until);
        let settings = &self.tcp.settings;
        match self.flow.wait {
            Wait::Retransmit => {
                self.flow.on_retransmission_timeout(settings, self.now);
                let found = self.flow.suspect_black_hole(settings);
                self.tcp.stats.black_holes += u64::from(found);
            }
            Wait::Probe => {
                self.flow.flags |= FlowFlags::PROBE;
                let rto = self.flow.retransmission_timeout(settings);
                (self.flow.wait, self.flow.wait_until) = (Wait::Retransmit, self.now + rto);
            }
            Wait::Reorder => self.flow.on_reorder_timer(settings, self.now),
            Wait::Persist | Wait::Nothing => panic!("{:?}", self.flow.wait),
        }
        self.out()
    }

    /// Lets time pass until the retransmission timer has run out; what left last then, and nothing before, counts.
    pub(super) fn retransmission_timeout(&mut self) -> Vec<Left> {
        while self.flow.wait != Wait::Retransmit {
            self.time_out();
        }
        self.time_out()
    }

    pub(super) fn window(&self) -> u32 {
        self.flow.sender.as_ref().unwrap().window() / MSS
    }

    pub(super) fn phase(&self) -> Phase {
        self.flow.sender.as_ref().unwrap().phase
    }

    /// Recoveries and timeouts that were found to be in vain: by timestamps, by DSACK, by F-RTO.
    pub(super) fn undone(&self) -> [u64; 3] {
        let stats = self.tcp.stats.snapshot();
        [
            stats.undone_by_timestamp,
            stats.undone_by_dsack,
            stats.spurious_timeouts,
        ]
    }
}
