//! A DHCPv6 client at work: its socket, and what a lease does to the stacks.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::time::Duration;

use dpdk_net_stack::{AddressState, IfAddr, Instant, Lifetimes};

use super::dns::{LearntDns, Source};
use super::leasing::{Leasing, Signs, Site};
use super::{LOOK, MESSAGE};
use crate::dhcp::v6::{
    self, CLIENT_PORT, Client, Event, Lease, Loss, Mode, SERVER_PORT, SERVERS, Settings,
};
use crate::net::UdpSocket;
use crate::time;

/// How often it is looked whether a router has said what DHCPv6 is for.
const ROUTERS: Duration = Duration::from_millis(100);

/// The client of one interface.
pub(super) struct Client6 {
    site: Site,
    client: Client,
    socket: UdpSocket,
    lease: Option<Lease>,
    /// Whether addresses of the lease are being probed.
    probing: bool,
    buf: Vec<u8>,
}

impl Leasing for Client6 {
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
            let Ok((len, _)) = self.socket.try_recv_from(&mut self.buf) else {
                return;
            };
            if let Some(message) = self.buf.get(..len) {
                self.client.receive(self.site.now(), message);
            }
        }
    }

    fn idle(&self) -> Option<Duration> {
        self.site.idle(self.probing, self.client.next_timeout())
    }

    fn socket(&self) -> Option<&UdpSocket> {
        Some(&self.socket)
    }

    fn link_changed(&mut self) {
        self.client.link_changed(self.site.now());
    }

    fn release(&mut self) -> bool {
        self.client.release(self.site.now());
        self.transmit()
    }
}

impl Client6 {
    /// A client, once there is an address that it can speak from, and a router has said what it is for where that is left to
    /// them. `None` if it can't be, or if it is to stop before.
    pub(super) async fn start(
        site: Site,
        config: v6::Config,
        seed: u64,
        mut signs: Signs,
    ) -> Option<Self> {
        let socket = open(&site, &mut signs).await?;
        let config = as_routers_say(&site, config, &mut signs).await?;
        Some(Self {
            client: Client::new(config, seed, site.now()),
            site,
            socket,
            lease: None,
            probing: false,
            buf: vec![0; MESSAGE],
        })
    }

    fn on_event(&mut self, event: Event) {
        match event {
            Event::Offered(offered, since) => {
                let taken = self.take(offered, since);
                if !taken.addresses.is_empty() {
                    tracing::info!(vlan = self.site.vlan, addresses = ?taken.addresses, "DHCPv6: leased");
                }
                (self.lease, self.probing) = (Some(taken), true);
            }
            Event::Renewed(renewed, since) => {
                // There may be new ones, which are probed.
                let taken = self.take(renewed, since);
                (self.lease, self.probing) = (Some(taken), true);
            }
            Event::Lost(addresses, loss) => {
                self.give_up(&addresses, loss);
                (self.lease, self.probing) = (None, false);
            }
            Event::Told(settings) => self.tell(&settings),
        }
    }

    /// Sends what the client has to say. Whether there was anything.
    fn transmit(&mut self) -> bool {
        let mut any = false;
        while let Some(message) = self.client.poll_transmit() {
            any = true;
            self.send(&message);
        }
        any
    }

    /// What has come of the probing. Whether it goes on.
    fn look(&mut self) -> bool {
        let (site, client) = (&self.site, &mut self.client);
        let addresses = self.lease.iter().flat_map(|lease| &lease.addresses);
        let addresses: Vec<Ipv6Addr> = addresses.map(|it| it.address).collect();
        let state = |address: &Ipv6Addr| site.stacks().state_of(site.vlan, (*address).into());
        let is = |address: &&Ipv6Addr, wanted| state(address) == Some(wanted);
        if let Some(taken) = addresses.iter().find(|it| is(it, AddressState::Duplicate)) {
            client.taken(site.now(), *taken);
            return false;
        }
        if addresses.iter().any(|it| is(&it, AddressState::Tentative)) {
            return true;
        }
        let gone = |it: &Ipv6Addr| state(it).is_none();
        let gone: Vec<Ipv6Addr> = addresses.into_iter().filter(gone).collect();
        client.unusable(site.now(), &gone);
        client.confirmed();
        false
    }

    /// Gives the stacks what is leased, and tells the client what they refuse. What is not named any more ends in its
    /// time. The lease with what they have taken.
    fn take(&mut self, mut lease: Lease, since: Instant) -> Lease {
        let (stacks, vlan) = (self.site.stacks(), self.site.vlan);
        let mut refused = Vec::new();
        for withdrawn in &lease.withdrawn {
            // One that we do not have is gone all the same.
            let _ = stacks.end_lease(vlan, (*withdrawn).into());
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
            let taken = stacks.lease_address(vlan, address, since, lifetimes);
            if let Err(error) = taken {
                tracing::warn!(vlan, %address, %error, "DHCPv6: the address can't be used");
                let _ = stacks.end_lease(vlan, address.addr);
                refused.push(leased.address);
            }
        }
        self.tell(&lease.settings);
        self.client.unusable(self.site.now(), &refused);
        lease.addresses.retain(|it| !refused.contains(&it.address));
        lease
    }

    fn tell(&self, settings: &Settings) {
        let vlan = self.site.vlan;
        let dns = LearntDns::v6(&settings.resolvers, &settings.search, vlan);
        self.site.shared.dns().set(Source::Dhcp6(vlan), dns);
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
            vlan = self.site.vlan,
            ?addresses,
            "DHCPv6: addresses are given up: {why}; asking anew"
        );
        for address in addresses {
            // It may be gone already, its time being over.
            let _ = self
                .site
                .stacks()
                .end_lease(self.site.vlan, (*address).into());
        }
        self.site.shared.dns().forget(Source::Dhcp6(self.site.vlan));
    }

    fn send(&self, message: &[u8]) {
        let servers = SocketAddrV6::new(SERVERS, SERVER_PORT, 0, self.site.vlan.into());
        let sent: io::Result<usize> = self.socket.try_send_to(message, SocketAddr::V6(servers));
        if let Err(error) = sent {
            tracing::debug!(vlan = self.site.vlan, %error, "DHCPv6: a message was not sent");
        }
    }
}

/// A socket at the link-local address, once that may be used. `None` if it can't be, or if it is to stop before.
async fn open(site: &Site, signs: &mut Signs) -> Option<UdpSocket> {
    loop {
        let all = site.handle.with(|state| state.stack.interface_addresses());
        let own = all.iter().filter(|it| it.vlan == site.vlan);
        let link_local = own.filter_map(|it| match it.address.addr {
            IpAddr::V6(v6) if v6.is_unicast_link_local() => Some((v6, it.state)),
            _ => None,
        });
        let link_local: Vec<(Ipv6Addr, AddressState)> = link_local.collect();
        let usable = link_local.iter().find(|(_, state)| state.is_usable());
        if let Some(&(own, _)) = usable {
            let local = SocketAddrV6::new(own, CLIENT_PORT, 0, site.vlan.into());
            return match UdpSocket::open(local.into()) {
                Ok(socket) => Some(socket),
                Err(error) => {
                    tracing::warn!(vlan = site.vlan, %error, "DHCPv6: there is no socket for it");
                    None
                }
            };
        }
        let is_lost = |(_, state): &(Ipv6Addr, AddressState)| *state == AddressState::Duplicate;
        if link_local.iter().all(is_lost) {
            tracing::warn!(
                vlan = site.vlan,
                "DHCPv6: no link-local address to speak from"
            );
            return None;
        }
        tokio::select! {
            () = time::sleep(LOOK) => {}
            () = signs.stopped() => return None,
        }
    }
}

/// The configuration with what is to be asked for, once a router has said so where it is left to them. `None` if it
/// is to stop before.
async fn as_routers_say(site: &Site, config: v6::Config, signs: &mut Signs) -> Option<v6::Config> {
    if config.mode != Mode::AsRouters {
        return Some(config);
    }
    loop {
        let heard = site.handle.with(|state| state.stack.advertised(site.vlan));
        match heard {
            Some(heard) if heard.managed => return Some(config.mode(Mode::Stateful)),
            Some(heard) if heard.other => return Some(config.mode(Mode::Stateless)),
            _ => {}
        }
        tokio::select! {
            () = time::sleep(ROUTERS) => {}
            () = signs.stopped() => return None,
        }
    }
}
