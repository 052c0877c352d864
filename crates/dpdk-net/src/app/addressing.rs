//! Where an application's addresses come from beside its settings: routers (SLAAC), DHCP servers, and the program while
//! it runs.
//!
//! What is found out is done to the stacks of all queues alike. The DHCP clients ([`dhcp`](crate::dhcp)) are at work
//! ([`client4`], [`client6`], [`leasing`]) on the first queue's worker; what servers and routers say of DNS is gathered in
//! [`dns`].

mod client4;
mod client6;
mod dns;
mod leasing;
mod stacks;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use dpdk_net_stack::{
    AddressInfo, Config, IfAddr, Lifetimes, Limits, Neighbor, Origin, Route, TcpConfig,
};
use tokio::sync::watch;

use super::context::Shared;
use super::signals::Signals;
use super::{AppBuilder, Context, PortBuilder};
use crate::dhcp::{v4, v6};
use crate::error::Error;
use crate::handle::Handle;
use crate::runtime::{JoinHandle, Runtime};
use crate::time;
use crate::worker::Worker;

use client4::Client4;
use client6::Client6;
pub(super) use dns::Gathered;
pub use dns::LearntDns;
pub(super) use leasing::Leases;
use leasing::{Leasing, Signs, Site, drive};
pub(super) use stacks::Stacks;

/// How often it is looked whether there are addresses, and what has become of their probing.
const LOOK: Duration = Duration::from_millis(20);
/// How long the clients' tasks may take to stop.
const STOP: Duration = Duration::from_millis(500);
/// What a message of a server may have, in bytes; more is cut off.
const MESSAGE: usize = 2_048;

/// Where addresses come from.
#[derive(Debug, Clone)]
pub(super) struct Addressing {
    dhcp4: Vec<(u16, v4::Config)>,
    dhcp6: Vec<(u16, v6::Config)>,
    slaac: BTreeSet<u16>,
    slaac_secret: Option<[u8; 16]>,
    neighbors: Vec<Neighbor>,
    timeout: Duration,
}

impl Default for Addressing {
    fn default() -> Self {
        Self {
            dhcp4: Vec::new(),
            dhcp6: Vec::new(),
            slaac: BTreeSet::new(),
            slaac_secret: None,
            neighbors: Vec::new(),
            timeout: Duration::from_secs(30),
        }
    }
}

/// Addresses from elsewhere.
impl PortBuilder {
    /// Has a DHCP server give the interface of a VLAN, 0 being the port itself, an IPv4 address, with routes, the MTU
    /// and DNS servers ([`Context::dns_servers`](super::Context::dns_servers)). The lease is renewed while the
    /// application runs and given back at its end. If it is lost the address goes, a warning says so, and the client
    /// begins anew; connections wait for the address to come back, or time out.
    pub fn dhcp4(mut self, vlan: u16, config: v4::Config) -> Self {
        self.addressing.dhcp4.push((vlan, config));
        self
    }

    /// As [`dhcp4`](Self::dhcp4), of IPv6 addresses, of settings alone, or of what routers say is to be had
    /// ([`v6::Mode`]). Routes come from routers: see [`slaac`](Self::slaac), without which they say nothing.
    pub fn dhcp6(mut self, vlan: u16, config: v6::Config) -> Self {
        self.addressing.dhcp6.push((vlan, config));
        self
    }

    /// Has the interface of a VLAN, 0 being the port itself, listen to routers: IPv6 addresses, routes, the MTU and DNS
    /// servers follow what they advertise (RFC 4861, RFC 4862).
    pub fn slaac(mut self, vlan: u16) -> Self {
        self.addressing.slaac.insert(vlan);
        self
    }

    /// Has the addresses that [`slaac`](Self::slaac) makes tell nothing of the machine, and be stable while this secret
    /// is the same (RFC 7217). Default: they are made of the MAC address.
    pub fn slaac_secret(mut self, secret: [u8; 16]) -> Self {
        self.addressing.slaac_secret = Some(secret);
        self
    }

    /// Adds a neighbour that is not asked for, never expires, and is not changed by what others say.
    pub fn neighbor(mut self, neighbor: Neighbor) -> Self {
        self.addressing.neighbors.push(neighbor);
        self
    }

    /// How long the program's start waits for the addresses that [`dhcp4`](Self::dhcp4), [`dhcp6`](Self::dhcp6) and
    /// [`slaac`](Self::slaac) are to bring: one of the family on each interface. Then it is [`Error::NoLease`].
    /// Default: 30 s.
    pub fn address_timeout(mut self, timeout: Duration) -> Self {
        self.addressing.timeout = timeout;
        self
    }
}

/// Addresses of the first port from elsewhere.
impl AppBuilder {
    /// Has a DHCP server give an interface an IPv4 address. See [`PortBuilder::dhcp4`].
    pub fn dhcp4(self, vlan: u16, config: v4::Config) -> Self {
        self.on_first(|port| port.dhcp4(vlan, config))
    }

    /// Has a DHCPv6 server give an interface addresses, or settings. See [`PortBuilder::dhcp6`].
    pub fn dhcp6(self, vlan: u16, config: v6::Config) -> Self {
        self.on_first(|port| port.dhcp6(vlan, config))
    }

    /// Has an interface listen to routers. See [`PortBuilder::slaac`].
    pub fn slaac(self, vlan: u16) -> Self {
        self.on_first(|port| port.slaac(vlan))
    }

    /// What addresses by [`slaac`](Self::slaac) are made with. See [`PortBuilder::slaac_secret`].
    pub fn slaac_secret(self, secret: [u8; 16]) -> Self {
        self.on_first(|port| port.slaac_secret(secret))
    }

    /// Adds a neighbour that is known for good. See [`PortBuilder::neighbor`].
    pub fn neighbor(self, neighbor: Neighbor) -> Self {
        self.on_first(|port| port.neighbor(neighbor))
    }

    /// How long addresses from elsewhere are waited for. See [`PortBuilder::address_timeout`].
    pub fn address_timeout(self, timeout: Duration) -> Self {
        self.on_first(|port| port.address_timeout(timeout))
    }
}

/// What changes while the application runs. It changes for all queues of the port.
impl Context {
    fn stacks(&self) -> Stacks<'_> {
        Stacks(self.handles())
    }

    /// DNS servers and search list as DHCP servers and routers tell them, now and whatever they become.
    pub fn dns_servers(&self) -> watch::Receiver<LearntDns> {
        self.shared().dns().subscribe()
    }

    /// The addresses of all interfaces, with their states, where they are from, and for how much longer they are there.
    pub fn interface_addresses(&self) -> Vec<AddressInfo> {
        self.handle()
            .with(|state| state.stack.interface_addresses())
    }

    /// Adds an address to the interface of a VLAN, 0 being the port itself; it is probed before it is used. One that is
    /// there already gets these lifetimes.
    ///
    /// # Errors
    /// [`Error::Stack`]: as [`Stack::add_address`](dpdk_net_stack::Stack::add_address).
    pub fn add_address(
        &self,
        vlan: u16,
        address: IfAddr,
        lifetimes: Lifetimes,
    ) -> Result<(), Error> {
        self.stacks().add_address(vlan, address, lifetimes)
    }

    /// Removes an address from the interface of a VLAN, 0 being the port itself. Connections from it are not ended:
    /// they wait for it to come back, or for their timeouts, as on Linux.
    ///
    /// # Errors
    /// [`Error::Stack`]: as [`Stack::remove_address`](dpdk_net_stack::Stack::remove_address).
    pub fn remove_address(&self, vlan: u16, addr: IpAddr) -> Result<(), Error> {
        self.stacks().remove_address(vlan, addr)
    }

    /// Adds a route.
    ///
    /// # Errors
    /// [`Error::Stack`]: as [`Stack::add_route`](dpdk_net_stack::Stack::add_route).
    pub fn add_route(&self, route: Route) -> Result<(), Error> {
        self.stacks().add_route(route, Duration::MAX)
    }

    /// Removes a route that was configured or added.
    ///
    /// # Errors
    /// [`Error::Stack`]: as [`Stack::remove_route`](dpdk_net_stack::Stack::remove_route).
    pub fn remove_route(&self, route: &Route) -> Result<(), Error> {
        self.stacks().remove_route(route)
    }

    /// Enters a neighbour that is not asked for and never expires.
    ///
    /// # Errors
    /// [`Error::Stack`]: as [`Stack::set_neighbor`](dpdk_net_stack::Stack::set_neighbor).
    pub fn set_neighbor(&self, neighbor: Neighbor) -> Result<(), Error> {
        self.stacks().set_neighbor(neighbor)
    }

    /// The limits and settings of TCP that hold now.
    pub fn limits(&self) -> (Limits, TcpConfig) {
        self.handle().with(|state| {
            let stack = &state.stack;
            (stack.limits().clone(), stack.tcp_config().clone())
        })
    }

    /// Changes limits and settings of TCP, those that can be while the application runs:
    /// [`Stack::reconfigure`](dpdk_net_stack::Stack::reconfigure) says which.
    ///
    /// # Errors
    /// [`Error::Stack`] with the first that can't; nothing has changed then.
    pub fn reconfigure(&self, limits: &Limits, tcp: &TcpConfig) -> Result<(), Error> {
        self.stacks().reconfigure(limits, tcp)
    }

    /// Forgets a neighbour on the link of a VLAN, 0 being the untagged network; `false` if it was not known.
    pub fn remove_neighbor(&self, vlan: u16, addr: IpAddr) -> bool {
        self.stacks().remove_neighbor(vlan, addr)
    }
}

/// An address that is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Wanted {
    vlan: u16,
    is_v6: bool,
}

/// What has been tried for it.
struct Tried<'a> {
    addressing: &'a Addressing,
    wanted: Wanted,
}

impl fmt::Display for Tried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Wanted { vlan, is_v6 } = self.wanted;
        let mut ways = Vec::new();
        if is_v6 {
            let asks = |(at, config): &(u16, v6::Config)| *at == vlan && config.asks_addresses();
            if self.addressing.slaac.contains(&vlan) {
                ways.push("SLAAC");
            }
            if self.addressing.dhcp6.iter().any(asks) {
                ways.push("DHCPv6");
            }
        } else {
            ways.push("DHCPv4");
        }
        let family = if is_v6 { "IPv6" } else { "IPv4" };
        let ways = ways.join(" and ");
        match vlan {
            0 => write!(f, "{family} on the port itself, by {ways}"),
            vlan => write!(f, "{family} in VLAN {vlan}, by {ways}"),
        }
    }
}

impl Addressing {
    /// Whether there may be addresses though none was given.
    pub(super) fn brings_some(&self) -> bool {
        !self.wanted().is_empty()
    }

    /// Checks what can be checked before anything is started.
    pub(super) fn check(&self) -> Result<(), Error> {
        let v4 = self.dhcp4.iter().map(|(_, config)| config.check());
        let v6 = self.dhcp6.iter().map(|(_, config)| config.check());
        let bad = |why| Error::BadDhcp { why };
        v4.chain(v6).collect::<Result<(), _>>().map_err(bad)?;
        let is_twice = |vlans: Vec<u16>| {
            let all: BTreeSet<&u16> = vlans.iter().collect();
            all.len() < vlans.len()
        };
        let listens = |vlan: &u16| self.slaac.contains(vlan);
        let mut follow = self
            .dhcp6
            .iter()
            .filter(|(_, config)| config.mode == v6::Mode::AsRouters);
        if !follow.all(|(vlan, _)| listens(vlan)) {
            return Err(bad(
                "where routers say what DHCPv6 is for, AppBuilder::slaac has them heard",
            ));
        }
        if is_twice(self.dhcp4.iter().map(|(vlan, _)| *vlan).collect())
            || is_twice(self.dhcp6.iter().map(|(vlan, _)| *vlan).collect())
        {
            return Err(bad("an interface has one client of each family"));
        }
        Ok(())
    }

    /// Tells the stack's configuration of it.
    pub(super) fn configure(&self, config: &mut Config) -> Result<(), Error> {
        config.neighbors.extend_from_slice(&self.neighbors);
        config.slaac_secret = self.slaac_secret.or(config.slaac_secret);
        let vlans = self.dhcp4.iter().map(|(vlan, _)| *vlan);
        let vlans = vlans.chain(self.dhcp6.iter().map(|(vlan, _)| *vlan));
        for vlan in vlans.chain(self.slaac.iter().copied()) {
            let listens = self.slaac.contains(&vlan);
            if vlan == 0 {
                config.slaac |= listens;
            } else if let Some(known) = config.vlans.iter_mut().find(|known| known.id == vlan) {
                known.slaac |= listens;
            } else {
                return Err(Error::BadValue {
                    what: "the VLAN that is to get an address",
                    given: vlan.into(),
                    expected: "it has to be one that AppBuilder::vlan has named".into(),
                });
            }
        }
        Ok(())
    }

    fn wanted(&self) -> BTreeSet<Wanted> {
        let v4 = self.dhcp4.iter().map(|(vlan, _)| (*vlan, false));
        let stateful = self
            .dhcp6
            .iter()
            .filter(|(_, config)| config.asks_addresses());
        let v6 = stateful.map(|(vlan, _)| *vlan);
        let v6 = v6
            .chain(self.slaac.iter().copied())
            .map(|vlan| (vlan, true));
        let all = v4.chain(v6);
        all.map(|(vlan, is_v6)| Wanted { vlan, is_v6 }).collect()
    }

    /// Those of the wanted addresses that a stack does not have yet.
    fn missing(&self, handle: &Handle) -> Vec<Wanted> {
        let has = handle.with(|state| state.stack.interface_addresses());
        let mut wanted: Vec<Wanted> = self.wanted().into_iter().collect();
        wanted.retain(|wanted| {
            !has.iter().any(|it| {
                it.vlan == wanted.vlan
                    && it.address.addr.is_ipv6() == wanted.is_v6
                    && it.state.is_usable()
                    && !matches!(it.address.addr, IpAddr::V6(v6) if v6.is_unicast_link_local())
            })
        });
        wanted
    }

    /// Waits until a stack has an address of each kind that is wanted.
    pub(super) async fn wait(&self, handle: &Handle, signals: &Signals) -> Result<(), Error> {
        let start = Instant::now();
        loop {
            let missing = self.missing(handle);
            if missing.is_empty() || signals.heard().count > 0 {
                return Ok(());
            }
            if start.elapsed() >= self.timeout {
                let tried = |&wanted: &Wanted| {
                    let addressing = self;
                    Tried { addressing, wanted }.to_string()
                };
                let tried: Vec<String> = missing.iter().map(tried).collect();
                return Err(Error::NoLease {
                    tried: tried.join("; "),
                    waited: start.elapsed(),
                });
            }
            time::sleep(LOOK).await;
        }
    }

    /// Starts the clients on the worker that has the first queue.
    pub(super) fn start<R: Runtime>(
        &self,
        worker: &Worker<R>,
        handle: &Handle,
        shared: &Arc<Shared>,
    ) -> Result<Running, Error> {
        let mac = handle.with(|state| state.stack.mac());
        let (stop, stopped) = watch::channel(false);
        let (link, links) = watch::channel(0);
        let signs = Signs {
            stop: stopped,
            links,
        };
        let site = |vlan| Site {
            shared: shared.clone(),
            handle: handle.clone(),
            vlan,
        };
        let seed = || {
            let mut seed = [0; 8];
            getrandom::fill(&mut seed).map_err(Error::Random)?;
            Ok::<u64, Error>(u64::from_le_bytes(seed))
        };
        let mut tasks = Vec::new();
        for (vlan, config) in self.dhcp4.clone() {
            let client = Client4::new(site(vlan), v4::Config { mac, ..config }, seed()?);
            let signs = signs.clone();
            let run = async move { Some(drive(Box::new(client), signs).await) };
            tasks.push(worker.spawn_local(handle.scope(run)));
        }
        for (vlan, config) in self.dhcp6.clone() {
            let (site, seed, signs) = (site(vlan), seed()?, signs.clone());
            let config = v6::Config { mac, ..config };
            let run = async move {
                let client = Client6::start(site, config, seed, signs.clone()).await?;
                Some(drive(Box::new(client), signs).await)
            };
            tasks.push(worker.spawn_local(handle.scope(run)));
        }
        let mut watchers = Vec::new();
        if !(self.dhcp4.is_empty() && self.dhcp6.is_empty() && self.slaac.is_empty()) {
            watchers.push(worker.spawn_local(watch_link(shared.clone(), link)));
        }
        #[cfg(feature = "resolver")]
        if self.brings_some() || !self.dhcp6.is_empty() {
            let learnt = dns::tell_resolver(shared.dns().subscribe(), handle.dns().clone());
            watchers.push(worker.spawn_local(learnt));
        }
        if !self.slaac.is_empty() {
            let vlans = self.slaac.iter().copied().collect();
            let watch = dns::watch_routers(shared.clone(), handle.clone(), vlans);
            watchers.push(worker.spawn_local(watch));
        }
        Ok(Running {
            handle: handle.clone(),
            stop,
            tasks,
            watchers,
        })
    }
}

/// How often the link's state is looked at.
const LINK: Duration = Duration::from_millis(500);

/// Tells the stacks when the link has come up again, and counts how often for the clients: it may be another one then.
async fn watch_link(shared: Arc<Shared>, ups: watch::Sender<u64>) {
    let mut was_up = true;
    loop {
        time::sleep(LINK).await;
        let Ok(link) = shared.port().link() else {
            continue;
        };
        if link.up && !was_up {
            Stacks(shared.handles()).link_changed();
            ups.send_modify(|ups| *ups += 1);
        }
        was_up = link.up;
    }
}

/// Whether an address came with the application's settings: it is there for good.
pub(super) fn was_given(info: &AddressInfo) -> bool {
    info.origin == Origin::Configured && info.lifetimes.valid == Duration::MAX
}

/// The clients at work.
pub(super) struct Running {
    handle: Handle,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<Option<Box<dyn Leasing>>>>,
    watchers: Vec<JoinHandle<()>>,
}

impl Running {
    /// Ends the tasks. What is leased still is.
    pub(super) async fn stop(self) -> Leases {
        self.watchers.iter().for_each(JoinHandle::abort);
        self.stop.send_replace(true);
        let until = Instant::now() + STOP;
        let mut leases = Leases::default();
        for task in self.tasks {
            // A task that panicked, or takes too long, has nothing to give back.
            if let Ok(Ok(Some(client))) = time::timeout_at(until, task).await {
                leases.push(&self.handle, client);
            }
        }
        leases
    }
}
