//! A DHCPv6 client at work: its socket, and what a lease does to the stacks.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use dpdk_net_stack::{AddressState, IfAddr, Instant, Lifetimes};
use tokio::sync::watch;

use super::super::context::Shared;
use super::client4::sleep;
use super::dns::{LearntDns, Source};
use super::{LOOK, Stacks};
use crate::dhcp::v6::{
    self, CLIENT_PORT, Client, Event, Lease, Loss, Mode, SERVER_PORT, SERVERS, Settings,
};
use crate::handle::Handle;
use crate::net::UdpSocket;

/// How often it is looked whether a router has said what DHCPv6 is for.
const ROUTERS: Duration = Duration::from_millis(100);

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

impl Task {
    /// Runs until it is stopped.
    pub(super) async fn run(mut self, config: v6::Config, seed: u64) {
        let Some(socket) = self.open().await else {
            return;
        };
        let Some(config) = self.as_routers_say(config).await else {
            return;
        };
        let mut client = Client::new(config, seed, self.now());
        let mut lease: Option<Lease> = None;
        let mut probing = false;
        let mut buf = vec![0; 2_048];
        loop {
            client.handle_timeout(self.now());
            if probing {
                probing = self.look(&mut client, lease.as_ref());
            }
            while let Some(event) = client.poll_event() {
                match event {
                    Event::Offered(offered, since) => {
                        let taken = self.take(&mut client, offered, since);
                        if !taken.addresses.is_empty() {
                            tracing::info!(vlan = self.vlan, addresses = ?taken.addresses, "DHCPv6: leased");
                        }
                        (lease, probing) = (Some(taken), true);
                    }
                    Event::Renewed(renewed, since) => {
                        // There may be new ones, which are probed.
                        let taken = self.take(&mut client, renewed, since);
                        (lease, probing) = (Some(taken), true);
                    }
                    Event::Lost(addresses, loss) => {
                        self.give_up(&addresses, loss);
                        (lease, probing) = (None, false);
                    }
                    Event::Told(settings) => self.tell(&settings),
                }
            }
            while let Some(message) = client.poll_transmit() {
                self.send(&socket, &message);
            }
            if *self.stop.borrow() {
                client.release(self.now());
                while let Some(message) = client.poll_transmit() {
                    self.send(&socket, &message);
                }
                return;
            }
            let next = client.next_timeout();
            let wait = next.map(|at| at.saturating_duration_since(self.now()));
            let wait = if probing { Some(LOOK) } else { wait };
            tokio::select! {
                got = socket.recv_from(&mut buf) => {
                    if let Some(message) = got.ok().and_then(|(len, _)| buf.get(..len)) {
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

    /// A socket at the link-local address, once that may be used. `None` if it can't be, or if it is to stop before.
    async fn open(&mut self) -> Option<UdpSocket> {
        loop {
            let all = self.handle.with(|state| state.stack.interface_addresses());
            let own = all.iter().filter(|it| it.vlan == self.vlan);
            let link_local = own.filter_map(|it| match it.address.addr {
                IpAddr::V6(v6) if v6.is_unicast_link_local() => Some((v6, it.state)),
                _ => None,
            });
            let link_local: Vec<(Ipv6Addr, AddressState)> = link_local.collect();
            let usable = link_local.iter().find(|(_, state)| state.is_usable());
            if let Some(&(own, _)) = usable {
                let local = SocketAddrV6::new(own, CLIENT_PORT, 0, self.vlan.into());
                return match UdpSocket::open(local.into()) {
                    Ok(socket) => Some(socket),
                    Err(error) => {
                        tracing::warn!(vlan = self.vlan, %error, "DHCPv6: there is no socket for it");
                        None
                    }
                };
            }
            let is_lost = |(_, state): &(Ipv6Addr, AddressState)| *state == AddressState::Duplicate;
            if link_local.iter().all(is_lost) {
                tracing::warn!(
                    vlan = self.vlan,
                    "DHCPv6: no link-local address to speak from"
                );
                return None;
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = self.stop.wait_for(|stop| *stop) => return None,
            }
        }
    }

    /// The configuration with what is to be asked for, once a router has said so where it is left to them. `None` if it
    /// is to stop before.
    async fn as_routers_say(&mut self, config: v6::Config) -> Option<v6::Config> {
        if config.mode != Mode::AsRouters {
            return Some(config);
        }
        loop {
            let heard = self.handle.with(|state| state.stack.advertised(self.vlan));
            match heard {
                Some(heard) if heard.managed => return Some(config.mode(Mode::Stateful)),
                Some(heard) if heard.other => return Some(config.mode(Mode::Stateless)),
                _ => {}
            }
            tokio::select! {
                () = tokio::time::sleep(ROUTERS) => {}
                _ = self.stop.wait_for(|stop| *stop) => return None,
            }
        }
    }

    /// What has come of the probing. Whether it goes on.
    fn look(&self, client: &mut Client, lease: Option<&Lease>) -> bool {
        let addresses = lease.iter().flat_map(|lease| &lease.addresses);
        let addresses: Vec<Ipv6Addr> = addresses.map(|it| it.address).collect();
        let state = |address: &Ipv6Addr| self.stacks().state_of(self.vlan, (*address).into());
        let is = |address: &&Ipv6Addr, wanted| state(address) == Some(wanted);
        if let Some(taken) = addresses.iter().find(|it| is(it, AddressState::Duplicate)) {
            client.taken(self.now(), *taken);
            return false;
        }
        if addresses.iter().any(|it| is(&it, AddressState::Tentative)) {
            return true;
        }
        let gone = |it: &Ipv6Addr| state(it).is_none();
        let gone: Vec<Ipv6Addr> = addresses.into_iter().filter(gone).collect();
        client.unusable(self.now(), &gone);
        client.confirmed();
        false
    }

    /// Gives the stacks what is leased, and tells the client what they refuse. What is not named any more ends in its
    /// time. The lease with what they have taken.
    fn take(&self, client: &mut Client, mut lease: Lease, since: Instant) -> Lease {
        let mut refused = Vec::new();
        for withdrawn in &lease.withdrawn {
            // One that we do not have is gone all the same.
            let _ = self.stacks().end_lease(self.vlan, (*withdrawn).into());
        }
        for leased in &lease.addresses {
            // RFC 8415 section 18.2.10.1: what else is on the link, routers tell.
            let address = IfAddr {
                addr: leased.address.into(),
                prefix_len: 128,
            };
            let lifetimes = Lifetimes {
                preferred: leased.preferred,
                valid: leased.valid,
            };
            let taken = self
                .stacks()
                .lease_address(self.vlan, address, since, lifetimes);
            if let Err(error) = taken {
                tracing::warn!(vlan = self.vlan, %address, %error, "DHCPv6: the address can't be used");
                let _ = self.stacks().end_lease(self.vlan, address.addr);
                refused.push(leased.address);
            }
        }
        self.tell(&lease.settings);
        client.unusable(self.now(), &refused);
        lease.addresses.retain(|it| !refused.contains(&it.address));
        lease
    }

    fn tell(&self, settings: &Settings) {
        let dns = LearntDns::v6(&settings.resolvers, &settings.search, self.vlan);
        self.shared.dns().set(Source::Dhcp6(self.vlan), dns);
    }

    fn give_up(&self, addresses: &[Ipv6Addr], loss: Loss) {
        let why = match loss {
            Loss::Expired => "no server has renewed them",
            Loss::NotOnLink => "they are not of this link",
            Loss::Taken => "another host has one of them",
            Loss::Withdrawn => "the server has taken them back",
            Loss::Unusable => "they can't be used here",
        };
        tracing::warn!(
            vlan = self.vlan,
            ?addresses,
            "DHCPv6: addresses are given up: {why}; asking anew"
        );
        for address in addresses {
            // It may be gone already, its time being over.
            let _ = self.stacks().end_lease(self.vlan, (*address).into());
        }
        self.shared.dns().forget(Source::Dhcp6(self.vlan));
    }

    fn send(&self, socket: &UdpSocket, message: &[u8]) {
        let servers = SocketAddrV6::new(SERVERS, SERVER_PORT, 0, self.vlan.into());
        let sent: io::Result<usize> = socket.try_send_to(message, SocketAddr::V6(servers));
        if let Err(error) = sent {
            tracing::debug!(vlan = self.vlan, %error, "DHCPv6: a message was not sent");
        }
    }
}
