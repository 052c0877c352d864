//! Deadlines of connections: what is armed, and what is done when it runs out.

use super::flow::{FlowFlags, Wait};
use super::trace::{CloseReason, TraceData, TraceTimer};
use super::{Tcp, TcpState, TimerKey};
use crate::error::Error;
use crate::event::TcpId;
use crate::link::Link;
use crate::time::Instant;

impl Wait {
    /// What runs out, as a trace tells it.
    fn traced(self) -> Option<TraceTimer> {
        Some(match self {
            Wait::Retransmit => TraceTimer::Retransmission,
            Wait::Probe => TraceTimer::TailLossProbe,
            Wait::Reorder => TraceTimer::Reordering,
            Wait::Persist => TraceTimer::Persist,
            Wait::Nothing => return None,
        })
    }
}

impl Tcp {
    /// Arms the flow's timer for the earliest of its deadlines.
    #[inline]
    pub(super) fn set_timer(&mut self, id: TcpId, retry: Instant) {
        let Some(flow) = self.flows.as_it_is(id) else {
            return;
        };
        let mut at = flow
            .wait_until
            .min(flow.ack_at)
            .min(flow.expires)
            .min(retry);
        if flow.flags.intersects(FlowFlags::PACED)
            && let Some(sender) = &flow.sender
        {
            at = at.min(sender.paced_from());
        }
        // Otherwise the retransmission timer looks after the patience in time.
        let own = flow
            .rare
            .as_ref()
            .is_some_and(|rare| rare.user_timeout.is_some());
        if (flow.backoff > 0 || own)
            && flow.has_unacknowledged()
            && !flow.has(FlowFlags::CONNECTING)
        {
            at = at.min(flow.unacknowledged_since() + self.settings.patience(flow));
        } else if let Some(rare) = &flow.rare
            && let Some(keepalive) = &rare.keepalive
            && flow.state.is_synchronized()
            && flow.state != TcpState::TimeWait
        {
            let config = keepalive.config;
            at = at.min(flow.heard + config.idle + config.interval * u32::from(keepalive.probes));
        }
        if retry < Instant::MAX {
            // What is due can't be sent before there is a way to the peer again.
            at = at.max(retry);
        }
        flow.arm(&mut self.wheel, at);
    }

    #[inline]
    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        match (self.wheel.next_deadline(), self.pool.next_look()) {
            (Some(timer), Some(look)) => Some(timer.min(look)),
            (timer, look) => timer.or(look),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant, link: &mut Link) {
        while let Some(key) = self.wheel.pop_expired(now) {
            match key {
                TimerKey::Flow(id) => self.flow_timer(now, link, id),
                TimerKey::Half(id) => self.half_timer(now, link, id),
                TimerKey::TimeWait(id) => self.remove_time_wait(id),
            }
        }
        if self.pool.is_due(now) {
            self.pool.look(now, &self.settings, &mut self.flows);
        }
    }

    pub(super) fn flow_timer(&mut self, now: Instant, link: &mut Link, id: TcpId) {
        let Some(flow) = self.flows.as_it_is(id) else {
            return;
        };
        flow.timer_at = Instant::MAX;
        if let Some(at) = flow.calm_until(&self.settings.nanos, now) {
            flow.arm(&mut self.wheel, at);
            if let Some(rtt) = flow.rtt.latest() {
                self.distributions.rtt.record(rtt.as_micros() as u64);
            }
            return;
        }
        let Some(flow) = self.flows.get_mut(id) else {
            return;
        };
        let state = flow.state();
        self.stats.delayed_acks += u64::from(flow.ack_at <= now);
        if flow.expires <= now {
            match state {
                TcpState::SynSent | TcpState::SynReceived => self.time_out(now, id),
                TcpState::TimeWait => self.finish(now, id, CloseReason::Fin, None),
                // An orphan in FIN-WAIT-2.
                _ => self.finish(now, id, CloseReason::TimedOut, None),
            }
            return;
        }
        if flow.has_unacknowledged() {
            let patience = self.settings.patience(flow);
            if !flow.has(FlowFlags::CONNECTING) && flow.unacknowledged_since() + patience <= now {
                self.time_out(now, id);
                return;
            }
        } else if let Some(rare) = &mut flow.rare
            && let Some(keepalive) = &mut rare.keepalive
            && state.is_synchronized()
            && state != TcpState::TimeWait
            && flow.heard
                + keepalive.config.idle
                + keepalive.config.interval * u32::from(keepalive.probes)
                <= now
        {
            // As Linux: with a user timeout that decides, and not the count.
            let over = match rare.user_timeout {
                Some(timeout) => keepalive.probes > 0 && flow.heard + timeout <= now,
                None => keepalive.probes >= keepalive.config.count,
            };
            if over {
                self.stats.timeouts += 1;
                self.abort(now, link, id, Some(Error::TimedOut));
                return;
            }
            keepalive.probes = keepalive.probes.saturating_add(1);
            // RFC 1122 section 4.2.3.6: a sequence number that has been acknowledged draws an ACK.
            let mut probe = flow.ack(now);
            probe.seq = flow.snd_una.wrapping_sub(1);
            self.stats.keepalive_probes += 1;
            let _ = self.send_control(now, link, &probe);
            self.record(now, id, |_| TraceData::Timer(TraceTimer::Keepalive));
            self.record(now, id, |flow| {
                TraceData::Sent(probe.traced(flow.rcv_shift))
            });
        }
        let Some(flow) = self.flows.get_mut(id) else {
            return;
        };
        if flow.wait_until <= now {
            if flow.has(FlowFlags::TRACED)
                && let Some(timer) = flow.wait.traced()
                && let Some(trace) = self.traces.of(flow)
            {
                trace.push(now, TraceData::Timer(timer));
            }
            match flow.wait {
                Wait::Retransmit if !state.is_synchronized() => {
                    self.stats.retransmission_timeouts += 1;
                    if flow.backoff >= self.settings.syn_retries {
                        self.time_out(now, id);
                        return;
                    }
                    flow.backoff += 1;
                    flow.flags |= FlowFlags::SYN_DUE | FlowFlags::SYN_AGAIN;
                    flow.wait_until = Instant::MAX;
                    self.stats.retransmits += 1;
                    self.stats.syn_retransmits += 1;
                }
                Wait::Retransmit => {
                    self.stats.retransmission_timeouts += 1;
                    let reneged = flow
                        .busy
                        .as_ref()
                        .is_some_and(|busy| busy.sent.is_reneged());
                    self.stats.sack_reneging += u64::from(reneged);
                    self.adopt_path_mtu(now, link, id);
                    let Some(flow) = self.flows.get_mut(id) else {
                        return;
                    };
                    flow.on_retransmission_timeout(&self.settings, now);
                    self.stats.black_holes += u64::from(flow.suspect_black_hole(&self.settings));
                }
                Wait::Probe => {
                    // What was too large is sent again: no need to probe for what became of it.
                    let narrower = self.adopt_path_mtu(now, link, id);
                    let Some(flow) = self.flows.get_mut(id) else {
                        return;
                    };
                    if !narrower {
                        self.stats.tail_loss_probes += 1;
                        flow.flags |= FlowFlags::PROBE;
                    }
                    let rto = flow.retransmission_timeout(&self.settings);
                    (flow.wait, flow.wait_until) = (Wait::Retransmit, now + rto);
                }
                Wait::Reorder => flow.on_reorder_timer(&self.settings, now),
                Wait::Persist => {
                    self.stats.window_probes += 1;
                    flow.flags |= FlowFlags::PERSIST;
                    flow.wait_until = Instant::MAX;
                }
                Wait::Nothing => flow.wait_until = Instant::MAX,
            }
        }
        if let Some(flow) = self.flows.as_it_is(id)
            && flow.has(FlowFlags::TRACED)
        {
            self.observe(now, id);
        }
        if state == TcpState::TimeWait {
            self.set_timer(id, Instant::MAX);
        } else {
            self.mark_dirty(id);
        }
    }

    /// Makes a connection's segments smaller where others have found since that the path takes no more (RFC 1191 section 6.3,
    /// RFC 8201 section 5.2): asked when something seems lost, as its own ICMP error may have been too. Whether they are smaller.
    fn adopt_path_mtu(&mut self, now: Instant, link: &Link, id: TcpId) -> bool {
        let Some(flow) = self.flows.as_it_is(id) else {
            return false;
        };
        let mtu = link.path_mtu(now, &flow.key.way());
        let too_large = flow.largest_packet() > mtu;
        if too_large {
            self.narrow(id, mtu);
        }
        too_large
    }

    /// The peer has been silent for too long. If ICMP has said why, that is the error (as Linux).
    pub(super) fn time_out(&mut self, now: Instant, id: TcpId) {
        self.stats.timeouts += 1;
        let reason = self.flows.get_mut(id).and_then(|flow| {
            let (error, since) = flow.rare.as_mut()?.soft_error.take()?;
            (since == flow.snd_una).then_some(error)
        });
        let error = Some(reason.unwrap_or(Error::TimedOut));
        self.finish(now, id, CloseReason::TimedOut, error);
    }
}
