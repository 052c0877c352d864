//! What the DHCP clients of both families have in common: where they are at work, and who drives them.
//!
//! A client is driven by a task of its own while the application runs, and by hand while the worker's last connections drain:
//! there is no runtime any more then. So a lease goes on, and is renewed, as long as anything is sent from its addresses, and is
//! given back after that (RFC 2131 section 4.4.6, RFC 8415 section 18.2.7).

use std::sync::Arc;
use std::time::Duration;

use dpdk_net_stack::Instant;
use tokio::sync::watch;

use super::super::context::Shared;
use super::{LOOK, Stacks};
use crate::handle::Handle;
use crate::net::UdpSocket;
use crate::time;

/// Where a client is at work: on the interface of a VLAN, by the first queue's stack, for those of all queues.
pub(super) struct Site {
    pub(super) shared: Arc<Shared>,
    pub(super) handle: Handle,
    pub(super) vlan: u16,
}

impl Site {
    pub(super) fn now(&self) -> Instant {
        self.handle.with(|state| state.now)
    }

    pub(super) fn stacks(&self) -> Stacks<'_> {
        Stacks(self.shared.handles())
    }

    /// For how long a client has nothing to do, if it is to do something next then.
    pub(super) fn idle(&self, probing: bool, next: Option<Instant>) -> Option<Duration> {
        match next {
            _ if probing => Some(LOOK),
            next => next.map(|at| at.saturating_duration_since(self.now())),
        }
    }
}

/// A client at work. What it does needs its worker's [`Handle`] to be current, and never waits.
pub(super) trait Leasing {
    /// Takes in what has come, and does what is due.
    fn step(&mut self);

    /// For how long there is nothing to do, if nothing comes; `None` is for ever.
    fn idle(&self) -> Option<Duration>;

    /// Where something may come from.
    fn socket(&self) -> Option<&UdpSocket>;

    /// The link was down and is up again.
    fn link_changed(&mut self);

    /// Gives back what it holds, and ends. Whether there was something.
    fn release(&mut self) -> bool;
}

/// What has a client's task stop, and look at the link anew.
#[derive(Clone)]
pub(super) struct Signs {
    pub(super) stop: watch::Receiver<bool>,
    /// Changes when the link has come up again.
    pub(super) links: watch::Receiver<u64>,
}

impl Signs {
    /// Waits until the client is to stop.
    pub(super) async fn stopped(&mut self) {
        // Who is gone has nothing more to say.
        let _ = self.stop.wait_for(|stop| *stop).await;
    }
}

/// Drives a client until it is to stop, and hands it back.
pub(super) async fn drive(mut client: Box<dyn Leasing>, mut signs: Signs) -> Box<dyn Leasing> {
    loop {
        client.step();
        let Signs { stop, links } = &mut signs;
        tokio::select! {
            () = readable(client.socket()) => {}
            () = sleep(client.idle()) => {}
            Ok(()) = links.changed() => client.link_changed(),
            _ = stop.wait_for(|stop| *stop) => return client,
        }
    }
}

/// Never ends without a socket.
async fn readable(socket: Option<&UdpSocket>) {
    let is_readable = match socket {
        Some(socket) => socket.readable().await.is_ok(),
        None => false,
    };
    if !is_readable {
        std::future::pending::<()>().await;
    }
}

/// Never ends if there is no time to wait for.
async fn sleep(wait: Option<Duration>) {
    match wait {
        Some(wait) => time::sleep(wait).await,
        None => std::future::pending().await,
    }
}

/// Clients without their tasks.
#[derive(Default)]
pub(in crate::app) struct Leases(Vec<(Handle, Box<dyn Leasing>)>);

impl Leases {
    pub(super) fn push(&mut self, handle: &Handle, client: Box<dyn Leasing>) {
        self.0.push((handle.clone(), client));
    }

    pub(in crate::app) fn append(&mut self, mut others: Self) {
        self.0.append(&mut others.0);
    }

    /// Keeps the leases for a little longer: to be called often.
    pub(in crate::app) fn keep(&mut self) {
        for (handle, client) in &mut self.0 {
            let _current = handle.enter();
            client.step();
        }
    }

    /// Gives the leases back. Whether there were any: the messages that say so are still to be sent.
    pub(in crate::app) fn give_back(self) -> bool {
        let mut any = false;
        for (handle, mut client) in self.0 {
            let _current = handle.enter();
            any |= client.release();
        }
        any
    }
}
