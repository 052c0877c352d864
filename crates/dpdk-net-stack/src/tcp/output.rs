//! Which segment a connection sends next, and how it is written (RFC 9293 section 3.8, RFC 1122 section 4.2.3.4).

use alloc::boxed::Box;

use dpdk_net_packet::MacAddr;
use dpdk_net_packet::gso::{Checksums, Large, MAX_HEADERS};
use dpdk_net_packet::tcp::{Flags, HEADER_LEN};

use super::cc::CongestionControl;
use super::flow::{Flow, FlowFlags, Wait};
use super::header::Header;
use super::options::{SynOptions, TIMESTAMPS_LEN, Timestamps, window_scale_for};
use super::pool::Pool;
use super::scoreboard::Blocks;
use super::segment::Control;
use super::sender::{Frto, Sender};
use super::{Settings, TcpState, seq};
use crate::config::Ecn;
use crate::large::LargeFrame;
use crate::time::{Duration, Instant};
use crate::tx::{TxMeta, TxSink};

/// Data in one frame at most: an IP packet has 65,535 bytes.
const MAX_LARGE: u32 = 65_535 - 60 - 60;

/// A segment that is to be written.
#[derive(Debug)]
pub(crate) struct Out {
    pub(crate) seq: u32,
    /// Bytes of data.
    pub(crate) len: u32,
    /// Bytes of data that a segment may hold: with more there are several in one.
    pub(crate) mss: u16,
    pub(crate) flags: Flags,
    pub(crate) window: u16,
    timestamps: Option<Timestamps>,
    pub(crate) blocks: Blocks,
    /// Marked as capable of ECN (RFC 3168 section 5): new data only.
    pub(crate) ect: bool,
    /// Data that was sent before.
    pub(crate) again: bool,
}

/// What a connection has to send.
#[derive(Debug)]
pub(crate) enum Next {
    Segment(Out),
    /// A SYN, or the answer to one.
    Syn(Control),
    /// Nothing now; the connection's own deadlines tell when to ask again.
    Nothing,
}

impl Flow {
    /// Decides what is sent next, and takes it for sent: there must be room for it. It may be up to so many segments in one.
    pub(crate) fn next_segment(
        &mut self,
        now: Instant,
        config: &Settings,
        pool: &mut Pool,
        segments: u32,
    ) -> Next {
        match self.state {
            TcpState::Closed => return Next::Nothing,
            TcpState::SynSent | TcpState::SynReceived => return self.next_syn(now, config),
            _ => {}
        }
        if !matches!(self.state, TcpState::TimeWait | TcpState::FinWait2)
            && (self.snd_una != self.write_end || self.has(FlowFlags::WRITE_SHUT))
            && let Some(out) = self.next_data(now, config, pool, segments)
        {
            return Next::Segment(out);
        }
        if self.has(FlowFlags::ACK_NOW) || self.ack_at <= now {
            let out = self.segment(now, self.snd_nxt, 0, Flags::ACK);
            if let Some(rare) = &mut self.rare
                && rare.owed_acks > 0
            {
                rare.owed_acks -= 1;
                self.flags.set(FlowFlags::ACK_NOW, rare.owed_acks > 0);
            }
            return Next::Segment(out);
        }
        Next::Nothing
    }

    /// A segment with everything that rides on it, which is taken for told.
    #[inline]
    fn segment(&mut self, now: Instant, seq: u32, len: u32, flags: Flags) -> Out {
        let odd = self.busy.as_ref().is_some_and(|busy| busy.gaps.is_some())
            || self
                .rare
                .as_ref()
                .is_some_and(|rare| rare.duplicate.is_some());
        let blocks = if odd {
            self.sack_blocks()
        } else {
            Blocks::new()
        };
        if odd && let Some(rare) = &mut self.rare {
            rare.duplicate = None;
        }
        let mut flags = flags;
        if self.flags.intersects(FlowFlags::ECE | FlowFlags::CWR) {
            if self.has(FlowFlags::ECE) {
                flags = flags | Flags::ECE;
            }
            if self.has(FlowFlags::CWR) && len > 0 {
                flags = flags | Flags::CWR;
                self.flags.remove(FlowFlags::CWR);
            }
        }
        let window = self.advertise();
        self.acked = self.rcv_nxt;
        self.ack_at = Instant::MAX;
        self.flags.remove(FlowFlags::ACK_NOW);
        let odd = if blocks.is_empty() {
            0
        } else {
            4 + 8 * blocks.len() as u16
        };
        let mss = self.mss.saturating_sub(odd).max(1);
        let segments = segments_of(len, mss);
        self.segments_out = self.segments_out.wrapping_add(segments);
        if segments > 1 {
            // A receiver that puts segments together before it looks at them learns that there are no more for now.
            flags = flags | Flags::PSH;
        }
        if len > 0
            && let Some(sender) = &mut self.sender
        {
            let totals = &mut sender.totals;
            totals.data_segments = totals.data_segments.wrapping_add(segments);
        }
        Out {
            seq,
            len,
            mss,
            flags,
            window,
            timestamps: self.timestamps(now),
            blocks,
            ect: false,
            again: false,
        }
    }

    /// Bytes of options beside timestamps.
    fn odd_options(&self) -> u32 {
        let gaps = self.busy.as_ref().is_some_and(|busy| busy.gaps.is_some());
        let duplicate = self
            .rare
            .as_ref()
            .is_some_and(|rare| rare.duplicate.is_some());
        if !gaps && !duplicate {
            return 0;
        }
        match self.sack_blocks().len() as u32 {
            0 => 0,
            count => 4 + 8 * count,
        }
    }

    #[cold]
    fn new_sender(&mut self, now: Instant, config: &Settings) -> Box<Sender> {
        let algorithm = self.algorithm(config);
        let pacing_max = self.rare.as_ref().and_then(|rare| rare.pacing_max);
        let mss = self.mss.into();
        let mut sender = Box::new(Sender::new(algorithm, mss, now, pacing_max));
        if let Some(past) = self.past.take() {
            sender.resume(&past);
        } else if self.has(FlowFlags::SYN_LOST) {
            sender.control.set_cwnd(mss);
        }
        sender
    }

    /// Data, new or again, and the FIN.
    fn next_data(
        &mut self,
        now: Instant,
        config: &Settings,
        pool: &mut Pool,
        segments: u32,
    ) -> Option<Out> {
        if self.sender.is_none() {
            self.sender = Some(self.new_sender(now, config));
        }
        self.busy_mut(pool);
        let idle = self.snd_una == self.snd_nxt;
        let mss = u32::from(self.mss)
            .saturating_sub(self.odd_options())
            .max(1);
        let limit = mss * segments.clamp(1, (MAX_LARGE / mss).max(1));
        let flight = self.in_flight();
        let fin_due = self.has(FlowFlags::WRITE_SHUT) && !self.has(FlowFlags::FIN_SENT);
        let (Some(busy), Some(sender)) = (&mut self.busy, &mut self.sender) else {
            return None;
        };
        let unsent = if seq::lt(self.snd_nxt, self.write_end) {
            self.write_end.wrapping_sub(self.snd_nxt)
        } else {
            0
        };
        let probing = self.flags.contains(FlowFlags::PROBE);

        // What is lost goes first (RFC 6675 section 5).
        if busy.sent.lost() > 0 {
            if sender.frto == Frto::Probing && unsent == 0 {
                sender.frto = Frto::Off;
            }
            let hold = sender.frto == Frto::Probing;
            let fits = sender.window() >= flight.saturating_add(mss) || flight == 0;
            if !hold && !fits {
                self.flags |= FlowFlags::CWND_LIMITED;
            }
            if !hold && fits && is_paced(sender, now, &mut self.flags) {
                let room = sender.window().saturating_sub(flight).max(mss) / mss * mss;
                if let Some((start, end)) = busy.sent.next_lost(limit.min(room)) {
                    return Some(self.send_again(now, config, start, end));
                }
            }
            if !hold {
                return None;
            }
        }

        // New data, as far as both windows reach.
        let by_peer = self
            .snd_una
            .wrapping_add(self.snd_wnd)
            .wrapping_sub(self.snd_nxt);
        let by_peer = if (by_peer as i32) < 0 { 0 } else { by_peer };
        let mut by_path = sender.window().saturating_sub(flight);
        if flight == 0 || probing {
            by_path = by_path.max(mss);
        }
        if unsent > 0 {
            if idle && self.backoff == 0 {
                let since = now - sender.last_sent;
                let rto = self.rtt.rto(config.min_rto, config.max_rto);
                if since > rto && sender.delivered > 0 {
                    // RFC 5681 section 4.1.
                    sender.control.on_idle_restart(now, since, rto, mss);
                }
            }
            // A full segment, all there is, or half of the largest window the peer has ever had (RFC 1122 section
            // 4.2.3.4). Nagle: a short one only if nothing is unacknowledged.
            let usable = by_peer.min(by_path);
            let mut len = unsent.min(sender.burst(limit, mss)).min(usable);
            let short_may_go = self
                .flags
                .intersects(FlowFlags::NODELAY | FlowFlags::WRITE_SHUT | FlowFlags::SHORT)
                || idle;
            if len > mss && !(len == unsent && short_may_go) {
                len = len / mss * mss;
            }
            let all = len == unsent;
            let worth = len >= mss
                || all && short_may_go
                || len > 0 && len >= self.max_snd_wnd / 2 && by_peer < mss;
            if len > 0 && worth && (probing || is_paced(sender, now, &mut self.flags)) {
                let fin = all && fin_due;
                return Some(self.send_new(now, config, (len, mss), fin));
            }
            if len > 0 && worth {
                return self.probe_tail(now, config, mss, probing);
            }
            if by_path < mss.min(unsent) && by_path < by_peer {
                self.flags |= FlowFlags::CWND_LIMITED;
            } else if idle && by_peer < mss.min(unsent) {
                // Nothing will come by itself: the peer is asked (RFC 9293 section 3.8.6.1).
                return self.ask_for_window(now, config, by_peer.min(unsent).min(mss));
            }
        } else if fin_due {
            return Some(self.send_new(now, config, (0, mss), true));
        }
        if unsent == 0 && flight < sender.window() {
            sender.set_app_limited(flight);
        }
        self.probe_tail(now, config, mss, probing)
    }

    /// Sends bytes, and perhaps the FIN, for the first time.
    #[inline]
    fn send_new(
        &mut self,
        now: Instant,
        config: &Settings,
        (len, mss): (u32, u32),
        fin: bool,
    ) -> Out {
        let idle = self.snd_una == self.snd_nxt;
        let start = self.snd_nxt;
        let data_end = start.wrapping_add(len);
        let end = data_end.wrapping_add(u32::from(fin));
        let flight = self.in_flight();
        if let (Some(busy), Some(sender)) = (&mut self.busy, &mut self.sender) {
            let record = sender.stamp(now, (start, end), flight, idle);
            busy.sent.push_segments(record, len, mss);
            sender.pace(now, end.wrapping_sub(start));
            if self.flags.contains(FlowFlags::PROBE) {
                sender.probe = Some((end, false));
            }
        }
        self.snd_nxt = end;
        let probe = self.has(FlowFlags::PROBE);
        self.flags
            .remove(FlowFlags::PROBE | FlowFlags::PERSIST | FlowFlags::SHORT);
        let mut flags = Flags::ACK;
        if len > 0 && data_end == self.write_end {
            flags = flags | Flags::PSH;
        }
        if fin {
            flags = flags | Flags::FIN;
            self.flags |= FlowFlags::FIN_SENT;
            self.state = match self.state {
                TcpState::CloseWait => TcpState::LastAck,
                TcpState::Established => TcpState::FinWait1,
                other => other,
            };
        }
        if probe {
            // After the probe the retransmission timer runs (RFC 8985 section 7.3).
            (self.wait, self.wait_until) =
                (Wait::Retransmit, now + self.retransmission_timeout(config));
        } else if idle || matches!(self.wait, Wait::Nothing | Wait::Persist | Wait::Probe) {
            self.restart_timer(config, now, None);
        }
        let ect = self.has(FlowFlags::ECN) && len > 0;
        let mut out = self.segment(now, start, len, flags);
        out.ect = ect;
        out
    }

    /// Sends bytes, and perhaps the FIN, again.
    fn send_again(&mut self, now: Instant, config: &Settings, start: u32, end: u32) -> Out {
        let timestamp = self.timestamp(now);
        let flight = self.in_flight();
        if let (Some(busy), Some(sender)) = (&mut self.busy, &mut self.sender) {
            let stamp = sender.stamp(now, (start, end), flight, false);
            busy.sent.sent_again(start, end, stamp);
            sender.on_retransmit(timestamp, end.wrapping_sub(start));
            sender.pace(now, end.wrapping_sub(start));
        }
        // RFC 6298 section 5.1: the timer runs whenever something is outstanding; a retransmission does not put it off.
        if matches!(self.wait, Wait::Nothing | Wait::Persist) {
            self.restart_timer(config, now, None);
        }
        self.again(now, start, end)
    }

    fn again(&mut self, now: Instant, start: u32, end: u32) -> Out {
        let fin = self.has(FlowFlags::FIN_SENT) && end == self.write_end.wrapping_add(1);
        let len = end.wrapping_sub(start) - u32::from(fin);
        let mut flags = Flags::ACK;
        if len > 0 && start.wrapping_add(len) == self.write_end {
            flags = flags | Flags::PSH;
        }
        if fin {
            flags = flags | Flags::FIN;
        }
        let mut out = self.segment(now, start, len, flags);
        out.again = true;
        out
    }

    /// A probe of the tail for which there is no new data: the last segment again (RFC 8985 section 7.3).
    fn probe_tail(
        &mut self,
        now: Instant,
        config: &Settings,
        mss: u32,
        probing: bool,
    ) -> Option<Out> {
        if !probing {
            return None;
        }
        self.flags.remove(FlowFlags::PROBE);
        let last = *self.busy.as_ref()?.sent.back()?;
        let start = seq::max(last.start, last.end.wrapping_sub(mss));
        let (start, end) = (start, last.end);
        let out = self.send_again(now, config, start, end);
        if let Some(sender) = &mut self.sender {
            sender.probe = Some((self.snd_nxt, true));
        }
        (self.wait, self.wait_until) =
            (Wait::Retransmit, now + self.retransmission_timeout(config));
        Some(out)
    }

    /// The peer's window is too small for what there is: wait for it to open, and ask from time to time.
    fn ask_for_window(&mut self, now: Instant, config: &Settings, room: u32) -> Option<Out> {
        if self.has(FlowFlags::PERSIST) {
            self.flags.remove(FlowFlags::PERSIST);
            self.backoff = self.backoff.saturating_add(1);
            let wait = self.persist_timeout(config);
            (self.wait, self.wait_until) = (Wait::Persist, now + wait);
            if room > 0 {
                // The window is open, if only a little: what fits is sent rather than nothing for ever.
                let out = self.send_new(now, config, (room, room), false);
                return Some(out);
            }
            // RFC 9293 section 3.8.6.1: a sequence number that has been acknowledged draws an ACK with the window.
            return Some(self.segment(now, self.snd_una.wrapping_sub(1), 0, Flags::ACK));
        }
        if self.wait != Wait::Persist {
            let wait = self.persist_timeout(config);
            (self.wait, self.wait_until) = (Wait::Persist, now + wait);
        }
        None
    }

    /// RFC 1122 section 4.2.2.17: as the retransmission timeout, backed off the same way. No shorter than a peer may take to tell
    /// of its window by itself, and no longer than lets it answer before it is given up for its silence.
    fn persist_timeout(&self, config: &Settings) -> Duration {
        let least = Duration::from_millis(200);
        let first = self.rtt.rto(config.min_rto, config.max_rto).max(least);
        let longest = config.max_rto.min(config.patience(self) / 2).max(least);
        (first * (1u32 << self.backoff.min(16))).min(longest)
    }

    /// The SYN of a connection opened from here, or the SYN-ACK where both opened at once.
    fn next_syn(&mut self, now: Instant, config: &Settings) -> Next {
        if !self.has(FlowFlags::SYN_DUE) {
            return Next::Nothing;
        }
        self.flags.remove(FlowFlags::SYN_DUE);
        let answer = self.state == TcpState::SynReceived;
        let flags = if answer {
            Flags::SYN | Flags::ACK
        } else {
            Flags::SYN
        };
        let mut control = Control::new(
            self.key,
            flags,
            self.iss,
            if answer { self.rcv_nxt } else { 0 },
        );
        control.hop_limit = self.ttl;
        control.tos = self.tos;
        control.window = u16::try_from(self.recv_max).unwrap_or(u16::MAX);
        control.options = SynOptions {
            mss: Some(self.offered_mss(config)),
            wscale: (!answer || self.snd_shift > 0 || self.rcv_shift > 0)
                .then(|| window_scale_for(self.most_recv(config))),
            sack: config.sack && (!answer || self.has(FlowFlags::SACK)),
            timestamps: (config.timestamps && (!answer || self.has(FlowFlags::TIMESTAMPS))).then(
                || Timestamps {
                    value: self.timestamp(now),
                    echo: if answer { self.ts_recent } else { 0 },
                },
            ),
        };
        // RFC 3168 section 6.1.1; without it from the second SYN on, in case something on the way drops such.
        if !answer && config.ecn == Ecn::Request && !self.has(FlowFlags::SYN_AGAIN) {
            control.flags = control.flags | Flags::ECE | Flags::CWR;
            self.flags |= FlowFlags::ECN_ASKED;
        }
        self.snd_nxt = self.iss.wrapping_add(1);
        self.tune_at = now;
        let wait = config.syn_timeout(self.backoff);
        (self.wait, self.wait_until) = (Wait::Retransmit, now + wait);
        Next::Syn(control)
    }

    /// Bytes of the frame that a segment of this connection makes.
    #[inline]
    pub(crate) fn frame_len_of(&self, out: &Out) -> usize {
        self.key.header_len() + out.segment_len()
    }

    /// Writes the frame of a segment of this connection, to and from these.
    #[inline]
    pub(crate) fn write(
        &self,
        out: &Out,
        macs: (MacAddr, MacAddr),
        frame: &mut [u8],
        checksums: Checksums,
    ) {
        let at = self.key.header_len() + out.header_len();
        let Some((headers, data)) = frame.split_at_mut_checked(at) else {
            return;
        };
        self.write_headers(out, macs, headers, checksums.ip);
        if out.len > 0
            && let Some(busy) = &self.busy
        {
            busy.send.copy_to(out.seq, data);
        }
        if let Some(segment) = frame.get_mut(self.key.header_len()..) {
            self.key.complete(segment, checksums.transport);
        }
    }

    /// Writes the headers alone; TCP's checksum is zero.
    #[inline]
    fn write_headers(
        &self,
        out: &Out,
        (dst, src): (MacAddr, MacAddr),
        headers: &mut [u8],
        checksum: bool,
    ) {
        let ip = Header {
            dst,
            src,
            ttl: self.ttl,
            traffic_class: self.tos | (u8::from(out.ect) * 2),
            len: out.segment_len(),
            checksum,
        };
        let Some(tcp) = self.key.write_header(headers, &ip) else {
            return;
        };
        if let Some((fixed, options)) = tcp.split_first_chunk_mut::<HEADER_LEN>() {
            let ports = self.key.ports();
            fixed[0..4].copy_from_slice(&ports.to_be_bytes());
            fixed[4..8].copy_from_slice(&out.seq.to_be_bytes());
            fixed[8..12].copy_from_slice(&self.rcv_nxt.to_be_bytes());
            fixed[12] = ((out.header_len() / 4) << 4) as u8;
            fixed[13] = out.flags.0;
            fixed[14..16].copy_from_slice(&out.window.to_be_bytes());
            fixed[16..20].fill(0);
            out.write_options(options);
        }
    }

    /// Hands over several segments in one, or one by reference. `false`, and nothing is done, if it can't be that.
    pub(crate) fn send_large<S: TxSink>(
        &self,
        out: &Out,
        macs: (MacAddr, MacAddr),
        meta: TxMeta,
        checksums: Checksums,
        sink: &mut S,
    ) -> bool {
        let mut headers = [0; MAX_HEADERS];
        let len = self.key.header_len() + out.header_len();
        let (Some(headers), Some(busy)) = (headers.get_mut(..len), &self.busy) else {
            return false;
        };
        self.write_headers(out, macs, headers, false);
        let Some(gso) = Large::new(headers, self.key.l4(), out.mss, out.len as usize) else {
            return false;
        };
        let large = LargeFrame::of_stream(gso, meta, checksums, &busy.send, out.seq);
        sink.send_large(&large);
        true
    }
}

/// Segments that so much data takes; one without any.
#[inline]
fn segments_of(len: u32, mss: u16) -> u32 {
    if len <= u32::from(mss) {
        1
    } else {
        len.div_ceil(mss.into())
    }
}

impl Out {
    #[inline]
    fn options_len(&self) -> usize {
        let timestamps = if self.timestamps.is_some() {
            TIMESTAMPS_LEN
        } else {
            0
        };
        let blocks = if self.blocks.is_empty() {
            0
        } else {
            4 + 8 * self.blocks.len()
        };
        timestamps + blocks
    }

    /// Bytes of the TCP header.
    #[inline]
    fn header_len(&self) -> usize {
        HEADER_LEN + self.options_len()
    }

    /// Bytes of the segment: header, options and data.
    #[inline]
    pub(crate) fn segment_len(&self) -> usize {
        self.header_len() + self.len as usize
    }

    /// How many segments it is.
    #[inline]
    pub(crate) fn segments(&self) -> u32 {
        segments_of(self.len, self.mss)
    }

    #[inline]
    fn write_options(&self, options: &mut [u8]) {
        let mut at = 0;
        if let Some(timestamps) = &self.timestamps
            && let Some(place) = options.first_chunk_mut::<TIMESTAMPS_LEN>()
        {
            *place = timestamps.bytes();
            at = TIMESTAMPS_LEN;
        }
        if self.blocks.is_empty() {
            return;
        }
        if let Some(place) = options.get_mut(at..at + 4) {
            place.copy_from_slice(&[1, 1, 5, (2 + 8 * self.blocks.len()) as u8]);
            at += 4;
        }
        for &(start, end) in &self.blocks {
            if let Some(place) = options.get_mut(at..at + 8) {
                place[..4].copy_from_slice(&start.to_be_bytes());
                place[4..].copy_from_slice(&end.to_be_bytes());
                at += 8;
            }
        }
    }
}

/// Whether pacing lets something leave now; if not, the connection is asked again when it does.
#[inline]
fn is_paced(sender: &Sender, now: Instant, flags: &mut FlowFlags) -> bool {
    let may = sender.paced_from() <= now;
    flags.set(FlowFlags::PACED, !may);
    may
}
