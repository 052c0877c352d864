//! Connections that have something to send, and the sink that takes it.
//!
//! A connection's state machine is asked for a segment only with room for it in hand, and writes it straight into the
//! sink's buffer. Connections take turns: none sends more than [`TURN`] segments before the next one is asked.

use alloc::vec::Vec;
use core::net::IpAddr;

use dpdk_net_packet::{MacAddr, ethernet};

use super::Tcp;
use super::conn::{Emit, Wish};
use super::flow::FlowFlags;
use super::watch::{Sent, Watched};
use super::{TcpState, conn};
use crate::error::Error;
use crate::event::TcpId;
use crate::link::{Link, Lookup};
use crate::time::{Duration, Instant};
use crate::tx::{FrameQueue, TxSink};

/// Segments of one connection in a row.
const TURN: usize = 64;
/// When a connection that can't send for want of a neighbour or a route looks again.
const RETRY: Duration = Duration::from_millis(50);
/// How long a next hop's MAC address is used before it is looked up again, which also tells the neighbour cache that it
/// is in use.
const MAC_LIFETIME: Duration = Duration::from_millis(100);
/// No retransmission timer of the state machine runs for less (RFC 6298 section 2.4).
const MIN_RTO: Duration = Duration::from_secs(1);

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

/// Writes an Ethernet header and the packet into the sink.
struct ToSink<'a, S> {
    sink: &'a mut S,
    header: &'a [u8; ethernet::HEADER_LEN],
}

impl<S: TxSink> Emit for ToSink<'_, S> {
    fn emit<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let header = self.header;
        self.sink.send(ethernet::HEADER_LEN + len, |frame| {
            let (start, packet) = frame.split_at_mut(ethernet::HEADER_LEN);
            start.copy_from_slice(header);
            fill(packet)
        })
    }
}

/// Makes a frame of its own for the packet.
struct ToFrame<'a> {
    frame: Vec<u8>,
    header: &'a [u8; ethernet::HEADER_LEN],
}

impl Emit for ToFrame<'_> {
    fn emit<R>(&mut self, len: usize, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        self.frame.clear();
        self.frame.extend_from_slice(self.header);
        self.frame.resize(ethernet::HEADER_LEN + len, 0);
        fill(&mut self.frame[ethernet::HEADER_LEN..])
    }
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
            let Some(flow) = self.flows.get_mut(id) else {
                continue;
            };
            flow.flags.remove(FlowFlags::DIRTY);
            let turn = self.turn(now, link, id, sink);
            if matches!(turn, Turn::Done) {
                continue;
            }
            let Some(flow) = self.flows.get_mut(id) else {
                continue;
            };
            flow.flags |= FlowFlags::DIRTY;
            match turn {
                Turn::More => self.dirty.push_back(id),
                Turn::LoopFull => looping.push(id),
                _ => {
                    self.dirty.push_front(id);
                    break;
                }
            }
        }
        self.dirty.extend(looping);
    }

    /// Sends what is owed whatever the state machine says; `false` if there was no room.
    fn send_owed(&mut self, now: Instant, link: &mut Link, id: TcpId) -> bool {
        let Some(flow) = self.flows.get_mut(id) else {
            return true;
        };
        if flow.has(FlowFlags::RESET_OWED) {
            let (reset, orphan) = (flow.reset(), flow.has(FlowFlags::ORPHAN));
            if self.send_control(now, link, &reset) == Err(Error::NoBufferSpace) {
                return false;
            }
            if orphan {
                self.free(id);
            } else if let Some(flow) = self.flows.get_mut(id) {
                flow.flags.remove(FlowFlags::RESET_OWED);
            }
        } else if flow.has(FlowFlags::ACK_OWED) {
            let ack = flow.ack();
            if self.send_control(now, link, &ack) == Err(Error::NoBufferSpace) {
                return false;
            }
            if let Some(flow) = self.flows.get_mut(id) {
                flow.flags.remove(FlowFlags::ACK_OWED);
            }
        }
        true
    }

    /// One connection's turn.
    fn turn<S: TxSink>(&mut self, now: Instant, link: &mut Link, id: TcpId, sink: &mut S) -> Turn {
        let Some(flow) = self.flows.get(id) else {
            return Turn::Done;
        };
        if flow
            .flags
            .intersects(FlowFlags::RESET_OWED | FlowFlags::ACK_OWED)
            && !self.send_owed(now, link, id)
        {
            return Turn::Full;
        }
        let Some(flow) = self.flows.get_mut(id) else {
            return Turn::Done;
        };
        if flow.has(FlowFlags::OVER) || flow.state() == TcpState::TimeWait {
            return Turn::Done;
        }
        let wish = match flow.rests(now, self.config.ack_delay) {
            Some(wish) => wish,
            None => match self.send_segments(now, link, id, sink) {
                Ok(wish) => wish,
                Err(turn) => return turn,
            },
        };
        self.set_timer(id, wish);
        Turn::Done
    }

    /// Sends what a connection has, within its turn; tells when it wants to run again, or how the turn ended before.
    #[inline(always)]
    fn send_segments<S: TxSink>(
        &mut self,
        now: Instant,
        link: &mut Link,
        id: TcpId,
        sink: &mut S,
    ) -> Result<Wish, Turn> {
        let Some(flow) = self.flows.get_mut(id) else {
            return Err(Turn::Done);
        };
        let remote = flow.key.remote_addr();
        let to = if now < flow.mac_until {
            Lookup::Ready(flow.mac)
        } else {
            let to = link.lookup(now, remote);
            if let Lookup::Ready(mac) = to {
                (flow.mac, flow.mac_until) = (mac, now + MAC_LIFETIME);
            }
            to
        };
        let mut header = [0; ethernet::HEADER_LEN];
        let dst = match to {
            Lookup::Ready(mac) => mac,
            Lookup::Local => link.iface.mac,
            Lookup::Pending(_) | Lookup::NoRoute => MacAddr::ZERO,
        };
        let kind = if remote.is_ipv6() {
            ethernet::TYPE_IPV6
        } else {
            ethernet::TYPE_IPV4
        };
        ethernet::write_header(&mut header, dst, link.iface.mac, kind);
        Ok(match to {
            Lookup::Ready(_) => {
                let mut left = TURN;
                loop {
                    if sink.capacity() == 0 {
                        return Err(Turn::Full);
                    }
                    let out = ToSink {
                        sink: &mut *sink,
                        header: &header,
                    };
                    let (sent, wish) = self.run(now, id, out);
                    left -= 1;
                    if wish != Wish::Now {
                        break wish;
                    }
                    // A state machine that wants to run and then has nothing to say would be asked for ever.
                    if sent.count == 0 {
                        break Wish::At(now + RETRY);
                    }
                    if left == 0 {
                        return Err(Turn::More);
                    }
                }
            }
            Lookup::Local => match self.loop_back(now, &mut link.loopback, id, &header) {
                Some(wish) => wish,
                None => return Err(Turn::LoopFull),
            },
            // A segment that would push another one out is better not made yet.
            Lookup::Pending(hop) if !link.neighbors.has_room(hop) => Wish::At(now + RETRY),
            Lookup::Pending(hop) => self.run_aside(now, link, id, Some(hop), &header),
            Lookup::NoRoute => self.run_aside(now, link, id, None, &header),
        })
    }

    /// Asks for one segment; tells what was sent and when the connection wants to run again.
    fn run<E: Emit>(&mut self, now: Instant, id: TcpId, to: E) -> (Sent, Wish) {
        let mut sent = Sent::default();
        let Some(flow) = self.flows.get_mut(id) else {
            return (sent, Wish::Never);
        };
        let Some(engine) = self.engines.get_mut(usize::from(flow.engine)) else {
            return (sent, Wish::Never);
        };
        flow.conn.egress(
            engine,
            now,
            &mut Watched {
                to,
                sent: &mut sent,
                key: flow.key,
                snd_max: flow.snd_max,
                checksum: self.tx_checksum,
            },
        );
        sent.apply(flow);
        self.stats.tx_segments += u64::from(sent.count);
        if sent.count == 1 && flow.state() == TcpState::Established {
            // The common case needs no asking: all is sent and acknowledged, and only the retransmission timer runs. It is
            // asked for when it may have expired.
            let queued = flow.conn.send_queue() as u32;
            let end = flow.snd_una(TcpState::Established).wrapping_add(queued);
            if sent.was_last(flow.snd_max, end) {
                if queued == 0 {
                    return (sent, Wish::Never);
                } else if sent.data > 0 {
                    return (sent, Wish::At(now + MIN_RTO));
                }
            }
        }
        let mut wish = flow.conn.next_deadline(engine, now);
        if wish == Wish::Never && flow.conn.send_queue() > 0 {
            // It does not probe a window that was closed before there was anything to send, and drops its retransmission
            // timer when a window opens. An ACK sets off the one, the third duplicate the other. The count has to begin
            // anew, which it does with a change of the window.
            for changed in [0, 1, 0, 0, 0, 0] {
                let ack = flow.last_ack(changed);
                flow.conn.ingress_ack(engine, now, &ack);
                wish = flow.conn.next_deadline(engine, now);
                if wish != Wish::Never {
                    break;
                }
            }
        }
        (sent, wish)
    }

    /// To an address of our own; `None` if there is more than fits now.
    fn loop_back(
        &mut self,
        now: Instant,
        queue: &mut FrameQueue,
        id: TcpId,
        header: &[u8; ethernet::HEADER_LEN],
    ) -> Option<Wish> {
        let largest =
            ethernet::HEADER_LEN + usize::from(self.engines.first().map_or(0, conn::Engine::mtu));
        for _ in 0..TURN {
            if !queue.has_room(largest) {
                return None;
            }
            let mut out = ToFrame {
                frame: Vec::new(),
                header,
            };
            let (sent, wish) = self.run(now, id, &mut out);
            if sent.count > 0 {
                queue.push(out.frame.len(), |frame| frame.copy_from_slice(&out.frame));
            }
            if wish != Wish::Now {
                return Some(wish);
            }
            if sent.count == 0 {
                return Some(Wish::At(now + RETRY));
            }
        }
        None
    }

    /// With no way to the peer yet: one segment waits for its neighbour, or is lost for want of a route.
    fn run_aside(
        &mut self,
        now: Instant,
        link: &mut Link,
        id: TcpId,
        hop: Option<IpAddr>,
        header: &[u8; ethernet::HEADER_LEN],
    ) -> Wish {
        let mut out = ToFrame {
            frame: Vec::new(),
            header,
        };
        let (sent, wish) = self.run(now, id, &mut out);
        if sent.count > 0
            && let Some(hop) = hop
        {
            link.queue_pending(hop, out.frame);
        }
        if wish == Wish::Now {
            Wish::At(now + RETRY)
        } else {
            wish
        }
    }
}
