//! Connections that have something to send, and the sink that takes it.
//!
//! A connection is asked for a segment only with room for it in hand, and writes it straight into the sink's buffer.
//! Connections take turns: none sends more than [`TURN`] segments before the next one is asked.

use alloc::vec;
use alloc::vec::Vec;

use dpdk_net_packet::gso::Checksums;
use dpdk_net_packet::{MacAddr, ethernet};

use super::chunk::COPY_BELOW;
use super::flow::{Flow, FlowFlags};
use super::output::Next;
use super::{Tcp, TcpState};
use crate::emit;
use crate::error::Error;
use crate::event::{Readiness, TcpId};
use crate::interfaces::Hop;
use crate::link::{Link, Lookup};
use crate::time::{Duration, Instant};
use crate::tx::{TxMeta, TxSink};

/// Segments of one connection in a row.
const TURN: usize = 64;
/// When a connection that can't send for want of a neighbour or a route looks again.
const RETRY: Duration = Duration::from_millis(50);
/// How long a next hop's MAC address is used before it is looked up again, which also tells the neighbour cache that it
/// is in use.
const MAC_LIFETIME: Duration = Duration::from_millis(100);

/// How a turn ended.
enum Turn {
    /// Nothing is left to send for now.
    Done,
    /// There is more, but others come first.
    More,
    /// There is more, but no room.
    Full,
    /// There is more to ourselves, but what is there has to be taken in first.
    LoopFull,
}

/// Where a connection's segments go.
#[derive(Clone, Copy)]
enum To {
    /// To its next hop, whose MAC address it knows.
    Ready,
    /// Nowhere yet: this neighbour is being asked for.
    Pending(Hop),
    /// To ourselves.
    Local,
    NoRoute,
}

impl Tcp {
    /// Hands segments to `sink` until it is full or no connection has any left.
    pub(crate) fn transmit<S: TxSink>(&mut self, now: Instant, link: &mut Link, sink: &mut S) {
        // Flows to ourselves for which there is no room: asked again they would have the same answer.
        let mut looping = Vec::new();
        while sink.capacity() > 0 {
            let Some(id) = self.dirty.pop_front() else {
                break;
            };
            let Some(flow) = self.flows.as_it_is(id) else {
                continue;
            };
            flow.flags.remove(FlowFlags::DIRTY);
            if now < flow.mac_until
                && let Some(sent) = flow.send_all(now, &self.settings)
            {
                let (from, checksums) = (link.ifaces.mac(), self.checksums);
                sink.send(flow.frame_len(&sent), meta(flow, checksums), |frame| {
                    flow.write_all(now, &sent, from, frame, checksums);
                });
                self.stats.tx_segments += 1;
                flow.arm_calm(&mut self.wheel, &self.settings.nanos, now);
                continue;
            }
            let turn = self.turn(now, link, id, sink);
            if matches!(turn, Turn::Done) {
                continue;
            }
            let Some(flow) = self.flows.as_it_is(id) else {
                continue;
            };
            flow.flags |= FlowFlags::DIRTY;
            match turn {
                Turn::More => self.dirty.push_back(id),
                Turn::LoopFull => looping.push(id),
                // Whoever filled the sink has had its turn: were it first again, it might be the only one for ever.
                _ => {
                    self.dirty.push_back(id);
                    break;
                }
            }
        }
        self.dirty.extend(looping);
    }

    /// Sends the RST that is owed; `false` if there was no room.
    fn send_owed(&mut self, now: Instant, link: &mut Link, id: TcpId) -> bool {
        let Some(flow) = self.flows.get_mut(id) else {
            return true;
        };
        let (reset, orphan) = (flow.reset(now), flow.has(FlowFlags::ORPHAN));
        if self.send_control(now, link, &reset) == Err(Error::NoBufferSpace) {
            return false;
        }
        // Its trace has told of the RST when the connection ended.
        if orphan {
            self.free(id);
        } else if let Some(flow) = self.flows.get_mut(id) {
            flow.flags.remove(FlowFlags::RESET_OWED);
        }
        true
    }

    /// One connection's turn.
    #[inline(never)]
    fn turn<S: TxSink>(&mut self, now: Instant, link: &mut Link, id: TcpId, sink: &mut S) -> Turn {
        let Some(flow) = self.flows.get(id) else {
            return Turn::Done;
        };
        if flow.has(FlowFlags::RESET_OWED) && !self.send_owed(now, link, id) {
            return Turn::Full;
        }
        let Some(flow) = self.flows.get_mut(id) else {
            return Turn::Done;
        };
        if flow.state() == TcpState::Closed {
            return Turn::Done;
        }
        // If pacing still holds something back, it says so again.
        flow.flags.remove(FlowFlags::PACED);
        let to = if now < flow.mac_until {
            To::Ready
        } else {
            let (to, at) = match link.lookup(now, &flow.key.way()) {
                Lookup::Ready(at, mac) => {
                    (flow.mac, flow.mac_until) = (mac, now + MAC_LIFETIME);
                    (To::Ready, Some(at))
                }
                Lookup::Local(at) => (To::Local, Some(at)),
                Lookup::Pending(hop) => (To::Pending(hop), Some(hop.at)),
                Lookup::NoRoute => (To::NoRoute, None),
            };
            if let Some(at) = at {
                flow.tci = link.ifaces.get(at).tci;
            }
            to
        };
        let dst = match to {
            To::Ready => flow.mac,
            To::Local => link.ifaces.mac(),
            To::Pending(_) | To::NoRoute => MacAddr::ZERO,
        };
        let macs = (dst, link.ifaces.mac());
        let (tci, state) = (flow.tci, flow.state);
        let (checksums, most) = (self.checksums, if self.gso { TURN } else { 1 });
        let (settings, pool, stats) = (&self.settings, &mut self.pool, &mut self.stats);
        let traces = &mut self.traces;
        let mut ask = |flow: &mut Flow, segments: usize| {
            let segments = u32::try_from(segments).unwrap_or(u32::MAX);
            let next = flow.next_segment(now, settings, pool, segments);
            match &next {
                Next::Nothing => {}
                Next::Segment(out) => {
                    stats.tx_segments += u64::from(out.segments());
                    if out.again {
                        flow.count_again(stats, out.segments());
                    }
                }
                Next::Syn(_) => stats.tx_segments += 1,
            }
            if flow.has(FlowFlags::TRACED)
                && let Some(trace) = traces.of(flow)
            {
                trace.sent(now, flow, &next);
            }
            next
        };
        let mut left = TURN;
        let mut retry = Instant::MAX;
        let turn = match to {
            To::Ready => loop {
                if sink.capacity() == 0 {
                    break Turn::Full;
                }
                if left == 0 {
                    break Turn::More;
                }
                let next = ask(flow, sink.large_segments().min(left).min(most));
                let Some(len) = frame_len(flow, &next) else {
                    break Turn::Done;
                };
                left -= match &next {
                    Next::Segment(out)
                        if (out.segments() > 1
                            || out.len as usize >= COPY_BELOW && sink.references())
                            && flow.send_large(
                                out,
                                macs,
                                meta(flow, checksums),
                                checksums,
                                sink,
                            ) =>
                    {
                        left.min(out.segments() as usize)
                    }
                    Next::Segment(_) => {
                        sink.send(len, meta(flow, checksums), |frame| {
                            write(flow, &next, macs, frame, checksums);
                        });
                        1
                    }
                    _ => {
                        sink.send(len, TxMeta::tagged(tci), |frame| {
                            write(flow, &next, macs, frame, checksums);
                        });
                        1
                    }
                };
            },
            To::Local => loop {
                let largest = ethernet::HEADER_LEN + usize::from(settings.mtu);
                if !link.loopback.has_room(largest) {
                    break Turn::LoopFull;
                }
                if left == 0 {
                    break Turn::More;
                }
                let next = ask(flow, 1);
                let Some(len) = frame_len(flow, &next) else {
                    break Turn::Done;
                };
                link.loopback.push_with(len, TxMeta::tagged(tci), |frame| {
                    write(flow, &next, macs, frame, checksums);
                });
                left -= 1;
            },
            To::Pending(_) | To::NoRoute => {
                // One segment waits for its neighbour, or is lost for want of a route; the timers bring the next. One that
                // would push another one out is better not made yet.
                let hop = match to {
                    To::Pending(hop) => Some(hop),
                    _ => None,
                };
                if hop.is_none_or(|hop| link.neighbors.has_room(hop)) {
                    let next = ask(flow, 1);
                    if let (Some(len), Some(hop)) = (frame_len(flow, &next), hop) {
                        let mut frame = vec![0; len];
                        write(flow, &next, macs, &mut frame, Checksums::ALL);
                        link.queue_pending(hop, frame);
                    }
                }
                retry = now + RETRY;
                Turn::Done
            }
        };
        // With a bound on what is not sent, sending makes room to write.
        if flow.rare.is_some() && flow.is_writable_again() {
            flow.flags.remove(FlowFlags::BLOCKED);
            flow.notify(id, Readiness::WRITABLE, &mut self.events);
        }
        let after = flow.state;
        if flow.has(FlowFlags::TRACED) {
            self.observe(now, id);
        }
        if after != state {
            self.flows.moved(state, after);
        }
        self.set_timer(id, retry);
        if retry == Instant::MAX
            && let Some(flow) = self.flows.as_it_is(id)
        {
            flow.settle(&self.settings);
        }
        turn
    }
}

/// What comes with the frames of a connection's segments.
#[inline(always)]
fn meta(flow: &Flow, checksums: Checksums) -> TxMeta {
    TxMeta {
        checksum: (!checksums.transport).then(|| flow.key.l4()),
        ..TxMeta::tagged(flow.tci)
    }
}

/// Bytes of the frame that the segment makes; `None` if there is none.
#[inline]
fn frame_len(flow: &Flow, next: &Next) -> Option<usize> {
    match next {
        Next::Segment(out) => Some(flow.frame_len_of(out)),
        Next::Syn(control) => Some(flow.key.header_len() + control.bytes().0),
        Next::Nothing => None,
    }
}

/// Writes the frame, to and from these.
#[inline]
fn write(
    flow: &Flow,
    next: &Next,
    (dst, src): (MacAddr, MacAddr),
    frame: &mut [u8],
    checksums: Checksums,
) {
    match next {
        Next::Segment(out) => flow.write(out, (dst, src), frame, checksums),
        Next::Syn(control) => {
            let (len, bytes) = control.bytes();
            let at = emit::write_headers(frame, (src, dst), &control.meta(), 0, len);
            frame[at..].copy_from_slice(&bytes[..len]);
        }
        Next::Nothing => {}
    }
}
