//! How connections come to be: listening, accepting, connecting.

use core::net::SocketAddr;

use super::flow::{Flow, FlowFlags};
use super::sockopt::{TcpOption, TcpOptions};
use super::table::{FlowKey, FlowRef};
use super::{AllKeys, ListenOptions, Tcp, TcpState, TimerKey, seq};
use crate::addr::{self, canonical};
use crate::error::{Error, NO_SUCH_SCOPE};
use crate::event::{ListenerId, Readiness, TcpId};
use crate::interfaces::{NextHop, Way};
use crate::link::Link;
use crate::steer::{Binding, RETURN_TRIES, Steered};
use crate::time::Instant;

impl Tcp {
    pub(crate) fn listen(
        &mut self,
        link: &Link,
        options: &ListenOptions,
    ) -> Result<ListenerId, Error> {
        options.options.check()?;
        let mut options = *options;
        options.local = canonical(options.local);
        let addr = options.local.ip();
        let scope = addr::scope(options.local);
        if !addr.is_unspecified() && !link.ifaces.is_bindable(addr, scope) {
            return Err(Error::AddrNotAvailable);
        }
        if options.local.port() == 0 {
            let (listeners, remote) = (&self.listeners, SocketAddr::new(addr, 0));
            let steered = self.steered.as_ref();
            let mut local = options.local;
            let port = self
                .ports
                .pick(addr, remote, |port| {
                    local.set_port(port);
                    let taken = |steered: &Steered| {
                        steered.is_taken(Binding::Listener, local, options.only_v6)
                    };
                    listeners.is_free(local, options.only_v6) && !steered.is_some_and(taken)
                })
                .ok_or(Error::AddrInUse)?;
            options.local.set_port(port);
        }
        let id = self.listeners.insert(&options)?;
        self.announce_listener(options.local, options.only_v6, true);
        Ok(id)
    }

    pub(crate) fn listener_local(&self, id: ListenerId) -> Option<SocketAddr> {
        self.listeners.map.get(id).map(|listener| listener.local)
    }

    pub(crate) fn set_listener_option(
        &mut self,
        id: ListenerId,
        option: TcpOption,
    ) -> Result<(), Error> {
        let listener = self.listeners.map.get_mut(id);
        let options = &mut listener.ok_or(Error::UnknownSocket)?.options;
        options.set(option)
    }

    pub(crate) fn listener_ttl(&self, id: ListenerId) -> Result<u8, Error> {
        let listener = self.listeners.map.get(id).ok_or(Error::UnknownSocket)?;
        Ok(listener.options.hop_limit())
    }

    pub(crate) fn accept(
        &mut self,
        now: Instant,
        id: ListenerId,
    ) -> Result<(TcpId, SocketAddr), Error> {
        let listener = self.listeners.map.get_mut(id).ok_or(Error::UnknownSocket)?;
        while let Some((flow_id, since)) = listener.queue.pop_front() {
            self.listeners.waiting -= 1;
            let Some(flow) = self.flows.get_mut(flow_id) else {
                continue;
            };
            flow.flags.remove(FlowFlags::UNACCEPTED);
            let delay = now.nanos_since(since) / 1_000;
            self.distributions.accept_delay.record(delay);
            let (peer, ready) = (flow.key.remote(), flow.readiness());
            // More wait: whoever accepts one for each event must not sleep on the others.
            if !listener.queue.is_empty() && !listener.event {
                listener.event = true;
                self.listener_events.push_back(id);
            }
            self.notify(flow_id, ready & (Readiness::READABLE | Readiness::CLOSED));
            return Ok((flow_id, peer));
        }
        Err(Error::WouldBlock)
    }

    pub(crate) fn listener_close(&mut self, now: Instant, link: &mut Link, id: ListenerId) {
        let Some(listener) = self.listeners.remove(id) else {
            return;
        };
        self.announce_listener(listener.local, listener.only_v6, false);
        for (flow, _) in listener.queue {
            self.orphan(flow);
            self.abort(now, link, flow, None);
            self.reap(flow);
        }
        self.drop_stale();
    }

    pub(crate) fn connect(
        &mut self,
        now: Instant,
        link: &mut Link,
        local: Option<SocketAddr>,
        remote: SocketAddr,
        options: &TcpOptions,
    ) -> Result<TcpId, Error> {
        options.check()?;
        let remote = canonical(remote);
        let local = local.map(canonical);
        if remote.port() == 0 {
            return Err(Error::InvalidInput(
                "a connection needs a remote port other than 0",
            ));
        }
        let scope = addr::scope(remote);
        if link.ifaces.by_vlan(scope).is_none() {
            return Err(NO_SUCH_SCOPE);
        }
        let mut way = Way::to(remote.ip(), scope);
        match link.ifaces.next_hop(&way) {
            NextHop::NoRoute | NextHop::Link(..) => return Err(Error::NetworkUnreachable),
            NextHop::Local(_) | NextHop::Neighbor(_) => {}
        }
        match local {
            Some(local) if !local.ip().is_unspecified() => {
                let addr = local.ip();
                if addr.is_ipv4() != remote.is_ipv4() {
                    return Err(Error::InvalidInput(
                        "local and remote address are of different families",
                    ));
                }
                if !link.ifaces.is_bindable(addr, addr::scope(local)) {
                    return Err(Error::AddrNotAvailable);
                }
                if addr::is_link_local(addr) {
                    let own = addr::scope(local);
                    if addr::is_link_local(remote.ip()) && own != scope {
                        return Err(Error::InvalidInput(
                            "local and remote address are link-local and of different scopes",
                        ));
                    }
                    way.scope = own;
                }
                way.src = addr;
            }
            _ => {
                let sourced = link.ifaces.with_source(&way);
                way = sourced.ok_or(Error::AddrNotAvailable)?;
            }
        }
        let local_at = |port| addr::socket_addr(way.src, port, way.scope);
        if self.flows.len() >= self.settings.max_connections {
            self.stats.too_many += 1;
            return Err(Error::NoBufferSpace);
        }
        let port = match local.map_or(0, |local| local.port()) {
            0 => self.ephemeral_port(now, local_at(0), remote)?,
            port => {
                let key = FlowKey::new(local_at(port), remote);
                let free = match self.lookup(&key) {
                    None => true,
                    Some(FlowRef::TimeWait(id)) => {
                        options.reuseaddr && self.time_waits.may_reopen(now, id)
                    }
                    Some(_) => false,
                };
                if !free || !self.listeners.is_free(local_at(port), false) {
                    return Err(Error::AddrInUse);
                }
                port
            }
        };
        let key = FlowKey::new(local_at(port), remote);
        let tci = link.tci(&key.way());
        let mut isn = self.initial_sequence(now, &key);
        if let Some(FlowRef::TimeWait(id)) = self.lookup(&key) {
            if let Some(old) = self.time_waits.entries.get(id) {
                isn = seq::max(isn, old.snd_nxt.wrapping_add(65_537));
            }
            self.stats.time_wait_reused += 1;
            self.remove_time_wait(id);
        }
        self.claim(&key).map_err(|_| Error::AddrInUse)?;
        let ts_offset = self.timestamp_offset(&key);
        let (wheel, settings) = (&mut self.wheel, &self.settings);
        let expires = now + settings.connect_timeout;
        let id = self.flows.insert_with_key(|id| {
            let timer = wheel.insert(TimerKey::Flow(id));
            let mut flow = Flow::new((id, key), TcpState::SynSent, timer, isn, settings, now);
            flow.flags |= FlowFlags::CONNECTING | FlowFlags::SYN_DUE;
            flow.ts_offset = ts_offset;
            flow.expires = expires;
            flow.tci = tci;
            flow.adopt(now, options);
            flow
        });
        self.enter(&key, FlowRef::Conn(id));
        self.stats.active_opens += 1;
        if self.traces.is_watching() {
            self.watch(now, id, None);
        }
        self.mark_dirty(id);
        Ok(id)
    }

    /// RFC 6056: a port that no other connection to this peer uses, and no listener; if there are several workers, one that
    /// brings what comes back to the queue of this one, where such a port is found soon.
    ///
    /// Where there is none, one whose last connection is in TIME-WAIT and can be told from a new one by its timestamps
    /// (RFC 6191, Linux' `tcp_tw_reuse`).
    fn ephemeral_port(
        &mut self,
        now: Instant,
        mut local: SocketAddr,
        remote: SocketAddr,
    ) -> Result<u16, Error> {
        let addr = local.ip();
        let (table, listeners, time_waits) = (&self.table, &self.listeners, &self.time_waits);
        let steered = self.steered.as_ref();
        let keys = AllKeys {
            flows: &self.flows,
            syn_queue: &self.syn_queue,
            time_waits,
        };
        let scope = addr::scope(local);
        let returns = |port| {
            let local = addr::socket_addr(addr, port, scope);
            let flow = FlowKey::new(local, remote).arriving();
            steered.is_none_or(|steered| steered.returns_here(&flow))
        };
        let mut is_free = |port, reopen| {
            local.set_port(port);
            // A connection to itself is nobody's intent.
            (port != remote.port() || addr != remote.ip())
                && match table.get(&FlowKey::new(local, remote), &keys) {
                    None => true,
                    Some(FlowRef::TimeWait(id)) => reopen && time_waits.may_reopen(now, id),
                    Some(_) => false,
                }
                && listeners.is_free(local, false)
                && steered.is_none_or(|steered| {
                    let flow = FlowKey::new(local, remote).arriving();
                    !steered.is_taken(Binding::Listener, local, false)
                        && steered.steering.claim(steered.worker, &flow).is_ok()
                })
        };
        let ports = &mut self.ports;
        let mut homeward = None;
        if steered.is_some() {
            homeward = ports.pick_within(RETURN_TRIES, addr, remote, |port| {
                returns(port) && is_free(port, false)
            });
        }
        homeward
            .or_else(|| ports.pick(addr, remote, |port| is_free(port, false)))
            .or_else(|| ports.pick(addr, remote, |port| is_free(port, true)))
            .ok_or(Error::AddrNotAvailable)
    }
}
