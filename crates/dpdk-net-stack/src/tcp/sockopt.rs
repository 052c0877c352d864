//! Socket options of TCP: what a connection may choose beside what the configuration says for all, the bounds of each,
//! and what a change does to a connection that is under way.
//!
//! [`TcpOptions`] is the set of choices that a socket has before it connects or listens; a listener's are those of the
//! connections accepted from it. [`TcpOption`] is a change of one. Names are Linux', or those of tokio and socket2.

use super::cc::Algorithm;
use super::flow::{Flow, FlowFlags};
use super::rare::KeepaliveState;
use super::{Keepalive, Settings, Tcp, TcpState};
use crate::error::Error;
use crate::event::TcpId;
use crate::link::Link;
use crate::time::{Duration, Instant};

/// The least that a buffer is made, whatever is asked for: a smaller one could not hold a segment.
const MIN_BUFFER: u32 = 2 * 1024;
/// The most: what a window can tell (RFC 7323 section 2.3).
const MAX_BUFFER: u32 = (1 << 30) - 1;
/// What Linux takes for `TCP_MAXSEG`.
const MAX_SEGMENT: core::ops::RangeInclusive<u16> = 88..=32_767;

/// One option and its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TcpOption {
    /// `TCP_NODELAY`: Nagle's algorithm is off.
    NoDelay(bool),
    /// `TCP_QUICKACK`: every segment is acknowledged at once, until this is switched off again.
    QuickAck(bool),
    /// `SO_LINGER`: with zero, closing resets the connection; a longer time changes nothing, as closing never blocks.
    Linger(Option<Duration>),
    /// `IP_TTL`, `IPV6_UNICAST_HOPS`: 1 to 255.
    Ttl(u8),
    /// `IP_TOS`, `IPV6_TCLASS`: the upper six bits, the DSCP (RFC 2474), go into each packet. The lower two are ECN's,
    /// which is TCP's own business, and are passed over.
    Tos(u8),
    /// `SO_KEEPALIVE` with `TCP_KEEPIDLE`, `TCP_KEEPINTVL` and `TCP_KEEPCNT`; `None` is off.
    Keepalive(Option<Keepalive>),
    /// `TCP_USER_TIMEOUT` (RFC 5482): how long what was sent may be unacknowledged, and keep-alive probes unanswered;
    /// `None` is the configuration's.
    UserTimeout(Option<Duration>),
    /// `TCP_CONGESTION`.
    Congestion(Algorithm),
    /// `SO_RCVBUF`, in bytes of payload: the window is not tuned beyond. Less than 2 KiB is taken for that. Before the
    /// connection is made it also decides the window scale.
    RecvBuffer(u32),
    /// `SO_SNDBUF`, in bytes of payload: not tuned beyond. Less than 2 KiB is taken for that.
    SendBuffer(u32),
    /// `TCP_MAXSEG`: neither we nor the peer send more data in a segment, 88 to 32,767 bytes. The peer is told before
    /// the connection is made only.
    MaxSegment(u16),
    /// `SO_MAX_PACING_RATE` in bytes a second, not 0; `None` is no limit.
    MaxPacingRate(Option<u64>),
    /// `TCP_NOTSENT_LOWAT`: bytes that were written and not sent yet, at most. More can't be written, and a writer is
    /// woken when there are half as many. `None` is no limit.
    NotsentLowat(Option<u32>),
    /// `SO_REUSEADDR`: a connection may be opened from a local port whose last connection to the same peer is in
    /// TIME-WAIT here, where timestamps tell the two apart (RFC 6191). A listener may always take its port.
    ReuseAddr(bool),
}

impl TcpOption {
    /// Whether the value is one that the option can have.
    fn check(&self) -> Result<(), Error> {
        let refuse = |why| Err(Error::InvalidInput(why));
        match *self {
            TcpOption::Ttl(0) => refuse("a time to live of 0 goes nowhere; 1 to 255 is possible"),
            TcpOption::Keepalive(Some(k))
                if k.idle.is_zero() || k.interval.is_zero() || k.count == 0 =>
            {
                refuse("keep-alive times and count must not be zero")
            }
            TcpOption::Keepalive(Some(k)) if k.idle.max(k.interval) > MAX_KEEPALIVE => {
                refuse("keep-alive times are 32,767 seconds at most")
            }
            TcpOption::UserTimeout(Some(time)) if time < Duration::from_millis(1) => {
                refuse("a user timeout is at least a millisecond; None is the default")
            }
            TcpOption::RecvBuffer(size) | TcpOption::SendBuffer(size)
                if !(1..=MAX_BUFFER).contains(&size) =>
            {
                refuse("a socket's buffer size is 1 byte to 1 GiB - 1")
            }
            TcpOption::MaxSegment(size) if !MAX_SEGMENT.contains(&size) => {
                refuse("a largest segment is 88 to 32,767 bytes")
            }
            TcpOption::MaxPacingRate(Some(0)) => {
                refuse("a pacing rate of 0 would send nothing; None is no limit")
            }
            TcpOption::NotsentLowat(Some(0)) => {
                refuse("with a low-water mark of 0 nothing could be written; None is no limit")
            }
            _ => Ok(()),
        }
    }
}

/// Linux' bound on `TCP_KEEPIDLE` and `TCP_KEEPINTVL`.
const MAX_KEEPALIVE: Duration = Duration::from_secs(32_767);

/// What a socket chooses. `None` is what the configuration says for all, or no limit where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct TcpOptions {
    /// See [`TcpOption::NoDelay`].
    pub nodelay: Option<bool>,
    /// See [`TcpOption::QuickAck`].
    pub quickack: bool,
    /// See [`TcpOption::Linger`].
    pub linger: Option<Duration>,
    /// See [`TcpOption::Ttl`]; `None` is 64.
    pub ttl: Option<u8>,
    /// See [`TcpOption::Tos`].
    pub tos: u8,
    /// See [`TcpOption::Keepalive`].
    pub keepalive: Option<Keepalive>,
    /// See [`TcpOption::UserTimeout`].
    pub user_timeout: Option<Duration>,
    /// See [`TcpOption::Congestion`].
    pub congestion: Option<Algorithm>,
    /// See [`TcpOption::RecvBuffer`].
    pub recv_buffer: Option<u32>,
    /// See [`TcpOption::SendBuffer`].
    pub send_buffer: Option<u32>,
    /// See [`TcpOption::MaxSegment`].
    pub max_segment: Option<u16>,
    /// See [`TcpOption::MaxPacingRate`].
    pub max_pacing_rate: Option<u64>,
    /// See [`TcpOption::NotsentLowat`].
    pub notsent_lowat: Option<u32>,
    /// See [`TcpOption::ReuseAddr`].
    pub reuseaddr: bool,
}

impl TcpOptions {
    /// Changes one.
    ///
    /// Errors: `InvalidInput` for a value that the option can't have.
    pub fn set(&mut self, option: TcpOption) -> Result<(), Error> {
        option.check()?;
        match option {
            TcpOption::NoDelay(on) => self.nodelay = Some(on),
            TcpOption::QuickAck(on) => self.quickack = on,
            TcpOption::Linger(linger) => self.linger = linger,
            TcpOption::Ttl(ttl) => self.ttl = Some(ttl),
            TcpOption::Tos(tos) => self.tos = tos & DSCP,
            TcpOption::Keepalive(keepalive) => self.keepalive = keepalive,
            TcpOption::UserTimeout(timeout) => self.user_timeout = timeout,
            TcpOption::Congestion(algorithm) => self.congestion = Some(algorithm),
            TcpOption::RecvBuffer(size) => self.recv_buffer = Some(size.max(MIN_BUFFER)),
            TcpOption::SendBuffer(size) => self.send_buffer = Some(size.max(MIN_BUFFER)),
            TcpOption::MaxSegment(size) => self.max_segment = Some(size),
            TcpOption::MaxPacingRate(rate) => self.max_pacing_rate = rate,
            TcpOption::NotsentLowat(bytes) => self.notsent_lowat = bytes,
            TcpOption::ReuseAddr(on) => self.reuseaddr = on,
        }
        Ok(())
    }

    /// With one changed, as [`set`](Self::set).
    pub fn with(mut self, option: TcpOption) -> Result<Self, Error> {
        self.set(option)?;
        Ok(self)
    }

    /// Checks values that were not given through [`set`](Self::set).
    pub(crate) fn check(&self) -> Result<(), Error> {
        self.each(|option| option.check())
    }

    /// Calls `f` with each that is chosen, until one fails.
    fn each(&self, mut f: impl FnMut(TcpOption) -> Result<(), Error>) -> Result<(), Error> {
        let chosen = [
            self.nodelay.map(TcpOption::NoDelay),
            self.quickack.then_some(TcpOption::QuickAck(true)),
            self.linger.map(|time| TcpOption::Linger(Some(time))),
            self.ttl.map(TcpOption::Ttl),
            (self.tos != 0).then_some(TcpOption::Tos(self.tos)),
            self.keepalive
                .map(|times| TcpOption::Keepalive(Some(times))),
            self.user_timeout
                .map(|time| TcpOption::UserTimeout(Some(time))),
            self.congestion.map(TcpOption::Congestion),
            self.recv_buffer.map(TcpOption::RecvBuffer),
            self.send_buffer.map(TcpOption::SendBuffer),
            self.max_segment.map(TcpOption::MaxSegment),
            self.max_pacing_rate
                .map(|rate| TcpOption::MaxPacingRate(Some(rate))),
            self.notsent_lowat
                .map(|bytes| TcpOption::NotsentLowat(Some(bytes))),
        ];
        chosen.into_iter().flatten().try_for_each(&mut f)
    }

    pub(crate) fn hop_limit(&self) -> u8 {
        self.ttl.unwrap_or(64)
    }

    /// The window scale is made for a window of this size.
    pub(crate) fn most_recv(&self, config: &Settings) -> usize {
        self.recv_buffer
            .map_or(config.recv_buffer, |size| size as usize)
    }

    /// The window offered at first.
    pub(crate) fn first_window(&self, config: &Settings) -> u16 {
        let window = self.recv_buffer.unwrap_or(config.initial_recv_window());
        u16::try_from(window).unwrap_or(u16::MAX)
    }

    /// The MSS to offer (RFC 6691) where segments come in with this tag, 0 for none.
    pub(crate) fn offered_mss(&self, config: &Settings, tci: u16, v6: bool) -> u16 {
        let mss = config.offered_mss(tci, v6);
        self.max_segment.map_or(mss, |most| most.min(mss))
    }
}

/// The DSCP's bits of the former TOS octet (RFC 2474 section 3).
const DSCP: u8 = 0xfc;

impl Flow {
    /// Takes over what a socket chose, before the handshake or at its end.
    pub(crate) fn adopt(&mut self, now: Instant, options: &TcpOptions) {
        if *options == TcpOptions::default() {
            return;
        }
        // They were checked when the socket was made.
        let _ = options.each(|option| {
            self.set_option(now, option);
            Ok(())
        });
    }

    /// Does what a change of an option does. `true` if it may let something be sent, or moves a timer.
    fn set_option(&mut self, now: Instant, option: TcpOption) -> bool {
        match option {
            TcpOption::NoDelay(on) => self.flags.set(FlowFlags::NODELAY, on),
            TcpOption::QuickAck(on) => {
                self.flags.set(FlowFlags::QUICKACK, on);
                if on && self.ack_at != Instant::MAX {
                    self.flags |= FlowFlags::ACK_NOW;
                }
            }
            TcpOption::Linger(linger) => self.rare().linger = linger,
            TcpOption::Ttl(ttl) => self.ttl = ttl,
            TcpOption::Tos(tos) => self.tos = tos & DSCP,
            TcpOption::Keepalive(keepalive) => {
                self.rare().keepalive = keepalive.map(|config| KeepaliveState { config, probes: 0 })
            }
            TcpOption::UserTimeout(timeout) => {
                if self.has(FlowFlags::CONNECTING)
                    && let Some(timeout) = timeout
                {
                    self.expires = self.expires.min(now + timeout);
                }
                self.rare().user_timeout = timeout;
            }
            TcpOption::Congestion(algorithm) => {
                self.rare().congestion = Some(algorithm);
                let mss = self.mss.into();
                if let Some(sender) = &mut self.sender {
                    sender.control.switch(algorithm, mss, now);
                }
            }
            TcpOption::RecvBuffer(size) => {
                let size = size.max(MIN_BUFFER);
                self.rare().recv_max = Some(size);
                // What was offered stays offered: the edge of the window never moves back.
                self.recv_max = size;
            }
            TcpOption::SendBuffer(size) => {
                let size = size.max(MIN_BUFFER);
                self.rare().send_max = Some(size);
                self.send_max = size;
            }
            TcpOption::MaxSegment(size) => self.rare().max_segment = Some(size),
            TcpOption::MaxPacingRate(rate) => {
                self.rare().pacing_max = rate;
                if let Some(sender) = &mut self.sender {
                    sender.limit_pacing(now, rate);
                }
            }
            TcpOption::NotsentLowat(bytes) => self.rare().notsent_lowat = bytes,
            TcpOption::ReuseAddr(_) => return false,
        }
        true
    }

    /// The options as they stand.
    fn options(&self, config: &Settings) -> TcpOptions {
        let rare = self.rare.as_ref();
        TcpOptions {
            nodelay: Some(self.has(FlowFlags::NODELAY)),
            quickack: self.has(FlowFlags::QUICKACK),
            linger: rare.and_then(|rare| rare.linger),
            ttl: Some(self.ttl),
            tos: self.tos,
            keepalive: rare.and_then(|rare| rare.keepalive.map(|state| state.config)),
            user_timeout: rare.and_then(|rare| rare.user_timeout),
            congestion: Some(self.algorithm(config)),
            recv_buffer: Some(self.recv_max),
            send_buffer: Some(self.send_max),
            max_segment: Some(self.mss),
            max_pacing_rate: rare.and_then(|rare| rare.pacing_max),
            notsent_lowat: rare.and_then(|rare| rare.notsent_lowat),
            reuseaddr: false,
        }
    }

    /// The congestion control that it has, or will have.
    pub(crate) fn algorithm(&self, config: &Settings) -> Algorithm {
        let chosen = self.rare.as_ref().and_then(|rare| rare.congestion);
        chosen.unwrap_or(config.congestion)
    }

    /// The most that the connection may hold unread, ever.
    pub(crate) fn most_recv(&self, config: &Settings) -> usize {
        let chosen = self.rare.as_ref().and_then(|rare| rare.recv_max);
        chosen.map_or(config.recv_buffer, |size| size as usize)
    }

    /// The MSS to offer in a SYN.
    pub(crate) fn offered_mss(&self, config: &Settings) -> u16 {
        let mss = config.offered_mss(self.tci, self.key.is_v6());
        let most = self.rare.as_ref().and_then(|rare| rare.max_segment);
        most.map_or(mss, |most| most.min(mss))
    }
}

impl Tcp {
    pub(crate) fn set_option(
        &mut self,
        now: Instant,
        link: &Link,
        id: TcpId,
        option: TcpOption,
    ) -> Result<(), Error> {
        option.check()?;
        let flow = self.held_mut(id)?;
        let changed = flow.set_option(now, option);
        if matches!(option, TcpOption::MaxSegment(_)) && flow.state() != TcpState::SynSent {
            self.narrow(id, link.path_mtu(now, &self.held(id)?.key.way()));
        }
        if changed {
            // Egress sends what may go now, and sets the timers.
            self.mark_dirty(id);
        }
        Ok(())
    }

    pub(crate) fn defaults(&self, chosen: &TcpOptions, v6: bool) -> TcpOptions {
        let config = &self.settings;
        TcpOptions {
            nodelay: Some(chosen.nodelay.unwrap_or(config.nodelay)),
            ttl: Some(chosen.hop_limit()),
            congestion: Some(chosen.congestion.unwrap_or(config.congestion)),
            recv_buffer: Some(chosen.recv_buffer.unwrap_or(config.initial_recv_window())),
            send_buffer: Some(chosen.send_buffer.unwrap_or(config.initial_send_buffer())),
            max_segment: Some(chosen.offered_mss(config, 0, v6)),
            ..*chosen
        }
    }

    pub(crate) fn options(&self, id: TcpId) -> Result<TcpOptions, Error> {
        Ok(self.held(id)?.options(&self.settings))
    }
}
