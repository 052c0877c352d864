//! What TCP tells the other workers, and asks them: whose a 4-tuple is, and who listens.

use core::net::SocketAddr;

use super::Tcp;
use super::options::SynOptions;
use super::table::{FlowKey, FlowRef};
use crate::steer::{Binding, Owner, Steered, Workers, taken_by};
use crate::time::Instant;

impl Tcp {
    pub(crate) fn set_steered(&mut self, steered: Steered) {
        self.steered = Some(steered);
    }

    /// Takes back all that was announced, whatever state it is in.
    pub(crate) fn leave_peers(&mut self) {
        for listener in self.listeners.map.values() {
            self.announce_listener(listener.local, listener.only_v6, false);
        }
        let Some(Steered { steering, worker }) = self.steered.take() else {
            return;
        };
        let flows = self.flows.values().map(|flow| &flow.key);
        let half = self.syn_queue.entries.values().map(|half| &half.key);
        let time_wait = self.time_waits.entries.values().map(|entry| &entry.key);
        for key in flows.chain(half).chain(time_wait) {
            steering.release(worker, &key.arriving());
        }
    }

    /// Announces a flow that is going to be entered into the table.
    ///
    /// Errors: the worker that has the 4-tuple.
    pub(super) fn claim(&self, key: &FlowKey) -> Result<(), u16> {
        match &self.steered {
            Some(steered) => steered.steering.claim(steered.worker, &key.arriving()),
            None => Ok(()),
        }
    }

    /// Takes a flow out of the table, if its 4-tuple still stands for it.
    pub(super) fn leave(&mut self, key: &FlowKey, flow: FlowRef) {
        if self.table.remove(key, flow) {
            self.release(key);
        }
    }

    /// Takes back what [`claim`](Self::claim) announced.
    pub(super) fn release(&self, key: &FlowKey) {
        if let Some(steered) = &self.steered {
            steered.steering.release(steered.worker, &key.arriving());
        }
    }

    /// Whether a segment of no flow here is of a flow of another worker.
    pub(super) fn is_elsewhere(&mut self, key: &FlowKey) -> bool {
        let Some(steered) = &self.steered else {
            return false;
        };
        match steered.owner(&key.arriving()) {
            Owner::Nobody => return false,
            Owner::Worker(worker) if self.may_stray => self.strayed = Workers::only(worker),
            // It has gone on, or is on its way here: it will be sent again.
            Owner::Worker(_) | Owner::Here => self.stats.strays_dropped += 1,
        }
        true
    }

    /// What lost a race for a 4-tuple is the other's.
    pub(super) fn stray_to(&mut self, worker: u16) {
        if self.may_stray {
            self.strayed = Workers::only(worker);
        } else {
            self.stats.strays_dropped += 1;
        }
    }

    /// Whether a segment that would open a connection is for a listener of another worker. Which of several it is, is the same
    /// for all segments of the connection.
    pub(super) fn is_for_listener_elsewhere(&mut self, key: &FlowKey) -> bool {
        let Some(steered) = self.steered.as_ref().filter(|_| self.may_stray) else {
            return false;
        };
        let listening = steered.bound(Binding::Listener, key.local());
        self.strayed = Workers::NONE;
        if let Some(worker) = listening.pick(self.table.hash(key)) {
            self.strayed = Workers::only(worker);
        }
        !self.strayed.is_empty()
    }

    /// A cookie, which may come back to any worker.
    pub(super) fn make_cookie(
        &mut self,
        now: Instant,
        key: &FlowKey,
        irs: u32,
        peer: &SynOptions,
    ) -> u32 {
        let cookie = self.cookies.make(now, key, irs, peer);
        if let Some(steered) = &self.steered {
            steered.steering.cookies_sent(self.cookies.until);
        }
        cookie
    }

    /// What a SYN offered that was answered with `isn`, by whichever worker, if that is a cookie for it.
    pub(super) fn read_cookie(
        &mut self,
        now: Instant,
        key: &FlowKey,
        irs: u32,
        isn: u32,
    ) -> Option<SynOptions> {
        if let Some(steered) = &self.steered {
            self.cookies.until = steered.steering.cookies_until();
        }
        self.cookies.read(now, key, irs, isn)
    }

    /// Announces a listener, or that there is none any more.
    pub(super) fn announce_listener(&self, local: SocketAddr, only_v6: bool, on: bool) {
        let Some(Steered { steering, worker }) = &self.steered else {
            return;
        };
        for at in taken_by(local, only_v6) {
            let binding = Binding::Listener(at);
            if on {
                steering.bind(*worker, &binding);
            } else {
                steering.unbind(*worker, &binding);
            }
        }
    }
}
