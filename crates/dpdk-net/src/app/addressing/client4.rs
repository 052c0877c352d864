//! A DHCPv4 client at work: its socket, and what a lease does to the stacks.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use dpdk_net_stack::{AddressState, IfAddr, Instant, Lifetimes, Route};

use super::MESSAGE;
use super::dns::{LearntDns, Source};
use super::leasing::{Leasing, Site};
use crate::dhcp::v4::{self, CLIENT_PORT, Client, Event, Lease, Loss, SERVER_PORT, To};
use crate::net::UdpSocket;

/// The client of one interface.
pub(super) struct Client4 {
    site: Site,
    client: Client,
    open: Option<Open>,
    lease: Option<Lease>,
    /// Whether the lease's address is being probed.
    probing: bool,
    buf: Vec<u8>,
}

/// The socket, and the address that it is bound to. There is one only while something is under way.
struct Open {
    socket: UdpSocket,
    from: Ipv4Addr,
}

impl Leasing for Client4 {
    fn step(&mut self) {
        loop {
            self.client.handle_timeout(self.site.now());
            if self.probing {
                self.probing = self.look();
            }
            while let Some(event) = self.client.poll_event() {
                self.on_event(event);
            }
            self.transmit();
            if !self.client.listens() {
                self.open = None;
            }
            let Some(open) = &self.open else { return };
            let Ok((len, from)) = open.socket.try_recv_from(&mut self.buf) else {
                return;
            };
            if from.port() == SERVER_PORT
                && let Some(message) = self.buf.get(..len)
            {
                self.client.receive(self.site.now(), message);
            }
        }
    }

    fn idle(&self) -> Option<Duration> {
        self.site.idle(self.probing, self.client.next_timeout())
    }

    fn socket(&self) -> Option<&UdpSocket> {
        self.open.as_ref().map(|open| &open.socket)
    }

    fn link_changed(&mut self) {
        self.client.link_changed(self.site.now());
    }

    fn release(&mut self) -> bool {
        self.client.release(self.site.now());
        // The server finds out by itself that the lease is over, if it does not hear of it.
        self.transmit()
    }
}

impl Client4 {
    pub(super) fn new(site: Site, config: v4::Config, seed: u64) -> Self {
        Self {
            client: Client::new(config, seed, site.now()),
            site,
            open: None,
            lease: None,
            probing: false,
            buf: vec![0; MESSAGE],
        }
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Offered(offered, since) => {
                self.probing = self.take(None, &offered, since);
                self.lease = self.probing.then_some(offered);
            }
            Event::Renewed(renewed, since) => {
                let before = self.lease.take();
                self.take(before.as_ref(), &renewed, since);
                self.lease = Some(renewed);
            }
            Event::Lost(address, loss) => {
                let lease = self.lease.take();
                self.give_up(address, loss, lease);
                self.probing = false;
            }
        }
    }

    /// Sends what the client has to say. Whether there was anything.
    fn transmit(&mut self) -> bool {
        let mut any = false;
        while let Some(message) = self.client.poll_transmit() {
            any = true;
            if let Err(error) = self.send(&message) {
                tracing::debug!(vlan = self.site.vlan, %error, "DHCPv4: a message was not sent");
            }
        }
        any
    }

    /// What has come of the probing. Whether it goes on.
    fn look(&mut self) -> bool {
        let (site, client) = (&self.site, &mut self.client);
        let Some(lease) = &self.lease else {
            return false;
        };
        match site.stacks().state_of(site.vlan, lease.address.into()) {
            Some(AddressState::Tentative) => return true,
            Some(AddressState::Duplicate) => client.taken(site.now()),
            None => client.unusable(site.now()),
            _ => {
                let Lease {
                    address,
                    server,
                    valid,
                    ..
                } = lease;
                tracing::info!(vlan = site.vlan, %address, %server, ?valid, "DHCPv4: leased");
                client.confirmed();
            }
        }
        false
    }

    /// Gives the stacks what is leased, and takes from them what is not any more. Whether the stacks take it.
    fn take(&mut self, before: Option<&Lease>, lease: &Lease, since: Instant) -> bool {
        let vlan = self.site.vlan;
        let stacks = self.site.stacks();
        let address = IfAddr {
            addr: lease.address.into(),
            prefix_len: lease.prefix_len,
        };
        let lifetimes = Lifetimes::of(lease.valid);
        let leased = stacks.lease_address(vlan, address, since, lifetimes);
        if let Err(error) = leased {
            tracing::warn!(vlan, %address, %error, "DHCPv4: the address can't be used");
            let _ = stacks.end_lease(vlan, address.addr);
            self.client.unusable(self.site.now());
            return false;
        }
        let old = before.map(|before| self.routes(before)).unwrap_or_default();
        let new = self.routes(lease);
        for route in old.iter().filter(|route| !new.contains(route)) {
            let _ = stacks.end_leased_route(route);
        }
        for route in new {
            // With the lease it ends too: see `give_up`.
            if let Err(error) = stacks.lease_route(route) {
                tracing::warn!(vlan, dest = %route.dest, %error, "DHCPv4: a route can't be used");
            }
        }
        let _ = stacks.set_ipv4_mtu(vlan, lease.mtu);
        let dns = LearntDns::v4(&lease.resolvers, &lease.search);
        self.site.shared.dns().set(Source::Dhcp4(vlan), dns);
        true
    }

    /// A lease's routes, as the stacks have them.
    fn routes(&self, lease: &Lease) -> Vec<Route> {
        let route = |route: &v4::Route| Route {
            dest: route.dest.into(),
            prefix_len: route.prefix_len,
            gateway: route.gateway.map(Into::into),
            vlan: Some(self.site.vlan).filter(|vlan| *vlan != 0),
        };
        lease.routes.iter().map(route).collect()
    }

    fn give_up(&self, address: Ipv4Addr, loss: Loss, lease: Option<Lease>) {
        let why = match loss {
            Loss::Expired => "no server has renewed it",
            Loss::Refused => "the server has refused it",
            Loss::Taken => "another host has it",
            Loss::Replaced => "the server has another one for us",
            Loss::Unusable => "it can't be used here",
        };
        let vlan = self.site.vlan;
        tracing::warn!(vlan, %address, "DHCPv4: the address is given up: {why}; asking anew");
        let stacks = self.site.stacks();
        // It may be gone already, its time being over.
        let _ = stacks.end_lease(vlan, address.into());
        for route in lease.iter().flat_map(|lease| self.routes(lease)) {
            let _ = stacks.end_leased_route(&route);
        }
        let _ = stacks.set_ipv4_mtu(vlan, None);
        self.site.shared.dns().forget(Source::Dhcp4(vlan));
    }

    fn send(&mut self, message: &v4::Message) -> io::Result<()> {
        let (open, vlan) = (&mut self.open, self.site.vlan);
        let (from, server) = match message.to {
            To::Unconfigured => (Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST),
            To::Broadcast(from) => (from, Ipv4Addr::BROADCAST),
            To::Server { from, server } => (from, server),
        };
        if open.as_ref().is_none_or(|open| open.from != from) {
            // The old one goes first: both have the same port.
            *open = None;
            let socket = if from.is_unspecified() {
                UdpSocket::unconfigured(vlan, CLIENT_PORT)?
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
