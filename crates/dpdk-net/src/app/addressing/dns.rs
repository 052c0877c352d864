//! What servers and routers say of DNS, gathered.

use std::collections::BTreeMap;
use std::net::{SocketAddr, SocketAddrV6};
use std::sync::Arc;
use std::time::Duration;

use dpdk_net_stack::Advertised;
use parking_lot::Mutex;
use tokio::sync::watch;

use super::super::context::Shared;
use crate::handle::Handle;
use crate::time;

/// Where DNS servers listen.
const PORT: u16 = 53;
/// How often it is looked whether routers say something else.
const LOOK: Duration = Duration::from_millis(100);

/// DNS servers and the search list, as DHCP servers and routers tell them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct LearntDns {
    /// The servers, those of DHCPv4 first, then DHCPv6's, then routers'. A link-local one has the VLAN of its interface
    /// as its scope.
    pub servers: Vec<SocketAddr>,
    /// Domains to look names up in.
    pub search: Vec<String>,
}

impl LearntDns {
    pub(super) fn v4(servers: &[std::net::Ipv4Addr], search: &[String]) -> Self {
        let socket = |server: &std::net::Ipv4Addr| SocketAddr::from((*server, PORT));
        Self {
            servers: servers.iter().map(socket).collect(),
            search: search.to_vec(),
        }
    }

    pub(super) fn v6(servers: &[std::net::Ipv6Addr], search: &[String], vlan: u16) -> Self {
        let socket = |server: &std::net::Ipv6Addr| {
            let scope = if server.is_unicast_link_local() {
                vlan.into()
            } else {
                0
            };
            SocketAddr::from(SocketAddrV6::new(*server, PORT, 0, scope))
        };
        Self {
            servers: servers.iter().map(socket).collect(),
            search: search.to_vec(),
        }
    }

    fn add(&mut self, other: &Self) {
        for server in &other.servers {
            if !self.servers.contains(server) {
                self.servers.push(*server);
            }
        }
        for name in &other.search {
            if !self.search.contains(name) {
                self.search.push(name.clone());
            }
        }
    }
}

/// Who says it, in the order of precedence.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Dhcp4(u16),
    Dhcp6(u16),
    Routers(u16),
}

/// What all of them say.
#[derive(Debug)]
pub(in crate::app) struct Gathered {
    by_source: Mutex<BTreeMap<Source, LearntDns>>,
    all: watch::Sender<LearntDns>,
}

impl Default for Gathered {
    fn default() -> Self {
        Self {
            by_source: Mutex::default(),
            all: watch::Sender::new(LearntDns::default()),
        }
    }
}

impl Gathered {
    /// What is known, and whatever it becomes.
    pub(in crate::app) fn subscribe(&self) -> watch::Receiver<LearntDns> {
        self.all.subscribe()
    }

    /// Takes what one says in place of what it said before.
    pub(super) fn set(&self, source: Source, dns: LearntDns) {
        let mut all = LearntDns::default();
        {
            let mut by_source = self.by_source.lock();
            by_source.insert(source, dns);
            by_source.values().for_each(|dns| all.add(dns));
        }
        self.all.send_if_modified(|known| {
            let is_new = *known != all;
            *known = all;
            is_new
        });
    }

    /// Forgets what one has said.
    pub(super) fn forget(&self, source: Source) {
        self.set(source, LearntDns::default());
    }
}

/// Has names looked up with what is known, as long as it runs.
#[cfg(feature = "resolver")]
pub(super) async fn tell_resolver(mut known: watch::Receiver<LearntDns>, resolver: crate::Dns) {
    loop {
        {
            let learnt = known.borrow_and_update();
            resolver.set_learnt(&learnt.servers, &learnt.search);
        }
        if known.changed().await.is_err() {
            return;
        }
    }
}

/// Gathers what routers say on the interfaces of these VLANs, as long as it runs.
pub(super) async fn watch_routers(shared: Arc<Shared>, handle: Handle, vlans: Vec<u16>) {
    let mut seen = None;
    loop {
        let version = handle.with(|state| state.stack.network_version());
        if seen != Some(version) {
            seen = Some(version);
            for vlan in &vlans {
                let heard = handle.with(|state| state.stack.advertised(*vlan));
                let Advertised {
                    resolvers, search, ..
                } = heard.unwrap_or_default();
                let search: Vec<String> = search.iter().map(|name| name.to_string()).collect();
                let dns = LearntDns::v6(&resolvers, &search, *vlan);
                shared.dns().set(Source::Routers(*vlan), dns);
            }
        }
        time::sleep(LOOK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_gathered_once_and_forgotten_with_who_said_it() {
        let gathered = Gathered::default();
        let mut seen = gathered.subscribe();
        let name = |text: &str| vec![text.to_owned()];
        let v6 = ["fd00::53".parse().unwrap(), "fe80::1".parse().unwrap()];
        gathered.set(Source::Routers(5), LearntDns::v6(&v6, &name("lab"), 5));
        let v4 = ["198.18.0.53".parse().unwrap()];
        gathered.set(Source::Dhcp4(0), LearntDns::v4(&v4, &name("corp")));
        gathered.set(Source::Dhcp6(0), LearntDns::v6(&v6[..1], &name("lab"), 0));
        let servers = ["198.18.0.53:53", "[fd00::53]:53", "[fe80::1%5]:53"];
        let servers: Vec<SocketAddr> = servers.iter().map(|text| text.parse().unwrap()).collect();
        assert_eq!(seen.borrow_and_update().servers, servers);
        assert_eq!(seen.borrow().search, ["corp", "lab"]);
        gathered.forget(Source::Dhcp4(0));
        assert_eq!(seen.borrow_and_update().servers, servers[1..]);
        gathered.forget(Source::Dhcp4(0));
        assert!(!seen.has_changed().unwrap(), "nothing new");
    }
}
