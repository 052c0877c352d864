//! A DHCPv4 client at work: its socket, and what a lease does to the stacks.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use dpdk_net_stack::{AddressState, IfAddr, Instant, Lifetimes, Route};
use tokio::sync::watch;

use super::super::context::Shared;
use super::dns::{LearntDns, Source};
use super::{LOOK, Stacks};
use crate::dhcp::v4::{self, CLIENT_PORT, Client, Event, Lease, Loss, SERVER_PORT, To};
use crate::handle::Handle;
use crate::net::UdpSocket;

/// The client of one interface.
pub(super) struct Task {
    pub(super) shared: Arc<Shared>,
    pub(super) handle: Handle,
    pub(super) vlan: u16,
    /// Says when to give the lease back.
    pub(super) stop: watch::Receiver<bool>,
    /// Changes when the link has come up again.
    pub(super) links: watch::Receiver<u64>,
}

/// The socket, and the address that it is bound to. There is one only while something is under way.
struct Open {
    socket: UdpSocket,
    from: Ipv4Addr,
}

impl Task {
    /// Runs until it is stopped.
    pub(super) async fn run(mut self, config: v4::Config, seed: u64) {
        let mut client = Client::new(config, seed, self.now());
        let mut open: Option<Open> = None;
        let mut lease: Option<Lease> = None;
        let mut probing = false;
        let mut buf = vec![0; 2_048];
        loop {
            let now = self.now();
            client.handle_timeout(now);
            if probing {
                probing = self.look(&mut client, lease.as_ref());
            }
            while let Some(event) = client.poll_event() {
                match event {
                    Event::Offered(offered, since) => {
                        probing = self.take(&mut client, None, &offered, since);
                        lease = probing.then_some(offered);
                    }
                    Event::Renewed(renewed, since) => {
                        self.take(&mut client, lease.as_ref(), &renewed, since);
                        lease = Some(renewed);
                    }
                    Event::Lost(address, loss) => {
                        self.give_up(address, loss, lease.take());
                        probing = false;
                    }
                }
            }
            while let Some(message) = client.poll_transmit() {
                if let Err(error) = self.send(&mut open, &message) {
                    tracing::debug!(vlan = self.vlan, %error, "DHCPv4: a message was not sent");
                }
            }
            if !client.listens() {
                open = None;
            }
            if *self.stop.borrow() {
                client.release(self.now());
                while let Some(message) = client.poll_transmit() {
                    // The server finds out by itself that the lease is over, if it does not hear of it.
                    let _ = self.send(&mut open, &message);
                }
                return;
            }
            let next = client.next_timeout();
            let wait = next.map(|at| at.saturating_duration_since(self.now()));
            let wait = if probing { Some(LOOK) } else { wait };
            tokio::select! {
                got = receive(open.as_ref(), &mut buf) => {
                    if let Some(message) = got.and_then(|len| buf.get(..len)) {
                        client.receive(self.now(), message);
                    }
                }
                () = sleep(wait) => {}
                Ok(()) = self.links.changed() => client.link_changed(self.now()),
                changed = self.stop.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
            }
        }
    }

    fn now(&self) -> Instant {
        self.handle.with(|state| state.now)
    }

    fn stacks(&self) -> Stacks<'_> {
        Stacks(self.shared.handles())
    }

    /// What has come of the probing. Whether it goes on.
    fn look(&self, client: &mut Client, lease: Option<&Lease>) -> bool {
        let Some(lease) = lease else { return false };
        match self.stacks().state_of(self.vlan, lease.address.into()) {
            Some(AddressState::Tentative) => return true,
            Some(AddressState::Duplicate) => client.taken(self.now()),
            None => client.unusable(self.now()),
            _ => {
                let Lease {
                    address,
                    server,
                    valid,
                    ..
                } = lease;
                tracing::info!(vlan = self.vlan, %address, %server, ?valid, "DHCPv4: leased");
                client.confirmed();
            }
        }
        false
    }

    /// Gives the stacks what is leased, and takes from them what is not any more. Whether the stacks take it.
    fn take(
        &self,
        client: &mut Client,
        before: Option<&Lease>,
        lease: &Lease,
        since: Instant,
    ) -> bool {
        let stacks = self.stacks();
        let address = IfAddr {
            addr: lease.address.into(),
            prefix_len: lease.prefix_len,
        };
        let lifetimes = Lifetimes::of(lease.valid);
        let leased = stacks.lease_address(self.vlan, address, since, lifetimes);
        if let Err(error) = leased {
            tracing::warn!(vlan = self.vlan, %address, %error, "DHCPv4: the address can't be used");
            let _ = stacks.end_lease(self.vlan, address.addr);
            client.unusable(self.now());
            return false;
        }
        let routes = |lease: &Lease| -> Vec<Route> {
            let route = |route: &v4::Route| Route {
                dest: route.dest.into(),
                prefix_len: route.prefix_len,
                gateway: route.gateway.map(Into::into),
                vlan: Some(self.vlan).filter(|vlan| *vlan != 0),
            };
            lease.routes.iter().map(route).collect()
        };
        let (old, new) = (before.map(routes).unwrap_or_default(), routes(lease));
        for route in old.iter().filter(|route| !new.contains(route)) {
            let _ = stacks.end_leased_route(route);
        }
        for route in new {
            // With the lease it ends too: see `give_up`.
            if let Err(error) = stacks.lease_route(route) {
                tracing::warn!(vlan = self.vlan, dest = %route.dest, %error, "DHCPv4: a route can't be used");
            }
        }
        let _ = stacks.set_ipv4_mtu(self.vlan, lease.mtu);
        let dns = LearntDns::v4(&lease.resolvers, &lease.search);
        self.shared.dns().set(Source::Dhcp4(self.vlan), dns);
        true
    }

    fn give_up(&self, address: Ipv4Addr, loss: Loss, lease: Option<Lease>) {
        let why = match loss {
            Loss::Expired => "no server has renewed it",
            Loss::Refused => "the server has refused it",
            Loss::Taken => "another host has it",
            Loss::Replaced => "the server has another one for us",
            Loss::Unusable => "it can't be used here",
        };
        tracing::warn!(vlan = self.vlan, %address, "DHCPv4: the address is given up: {why}; asking anew");
        let stacks = self.stacks();
        // It may be gone already, its time being over.
        let _ = stacks.end_lease(self.vlan, address.into());
        for route in lease.iter().flat_map(|lease| &lease.routes) {
            let route = Route {
                dest: route.dest.into(),
                prefix_len: route.prefix_len,
                gateway: route.gateway.map(Into::into),
                vlan: Some(self.vlan).filter(|vlan| *vlan != 0),
            };
            let _ = stacks.end_leased_route(&route);
        }
        let _ = stacks.set_ipv4_mtu(self.vlan, None);
        self.shared.dns().forget(Source::Dhcp4(self.vlan));
    }

    fn send(&self, open: &mut Option<Open>, message: &v4::Message) -> io::Result<()> {
        let (from, server) = match message.to {
            To::Unconfigured => (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST),
            To::Broadcast(from) => (from, Ipv4Addr::BROADCAST),
            To::Server { from, server } => (from, server),
        };
        if open.as_ref().is_none_or(|open| open.from != from) {
            // The old one goes first: both have the same port.
            *open = None;
            let socket = if from.is_unspecified() {
                UdpSocket::unconfigured(self.vlan, CLIENT_PORT)?
            } else {
                let socket = UdpSocket::open(SocketAddr::from((from, CLIENT_PORT)))?;
                socket.set_broadcast(true)?;
                socket
            };
            *open = Some(Open { socket, from });
        }
        if let Some(open) = open {
            let to = SocketAddr::from((server, SERVER_PORT));
            open.socket.try_send_to(&message.bytes, to)?;
        }
        Ok(())
    }
}

/// The length of the next message of a server; `None` for what is none. Never ends without a socket.
async fn receive(open: Option<&Open>, buf: &mut [u8]) -> Option<usize> {
    let Some(open) = open else {
        return std::future::pending().await;
    };
    let got = open.socket.recv_from(buf).await;
    got.ok()
        .filter(|(_, from)| from.port() == SERVER_PORT)
        .map(|(len, _)| len)
}

/// Never ends if there is no time to wait for.
pub(super) async fn sleep(wait: Option<std::time::Duration>) {
    match wait {
        Some(wait) => tokio::time::sleep(wait).await,
        None => std::future::pending().await,
    }
}
