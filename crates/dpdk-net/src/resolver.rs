//! Names: which servers are asked for addresses, and asking them over this stack's own sockets.
//!
//! [`Dns`] is what the workers of a port have in common: the settings, which may change while it runs, and `/etc/hosts`. Each worker
//! has a resolver of its own, with its cache and its sockets, made anew when the settings change. The protocol is hickory-resolver's.
//!
//! What does not live here: strings that are addresses, and the call itself (`net/lookup.rs`); in which order addresses are tried
//! (`Stack::sort_destinations`).

mod hosts;
mod provider;

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::Resolver;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverOpts,
};
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::Name;
use parking_lot::{Mutex, RwLock};
use tokio::sync::OnceCell;

use self::hosts::Hosts;
use self::provider::{Provider, unscoped};
use crate::error::Error;
use crate::handle::Handle;

/// How names are resolved.
///
/// ```
/// use dpdk_net::ResolverConfig;
///
/// let mut config = ResolverConfig::with_servers(["198.18.0.1:53".parse().unwrap()]);
/// config.search = vec!["example.org".to_owned()];
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResolverConfig {
    /// DNS servers, with their ports (53 as a rule). Two are asked at a time, those first that have been quick so far; the scope id of a
    /// link-local address is its VLAN. Default: none, so that only what is known locally is found.
    pub servers: Vec<SocketAddr>,
    /// Domains that names are looked for in, in this order, if they have fewer dots than `ndots`, or are not found as they are. A
    /// name that ends with a dot is looked up as it is alone. Default: none.
    pub search: Vec<String>,
    /// With so many dots a name is looked up as it is before it is looked for in the `search` domains. Default: 1.
    pub ndots: usize,
    /// Whether `/etc/hosts` is asked before the servers. It is read once, when the first name is looked up. Default: yes.
    pub hosts: bool,
    /// How long servers may take to answer, each time that they are asked. Default: 5 s.
    pub timeout: Duration,
    /// How often they are asked, at least once. Default: 2.
    pub attempts: usize,
    /// Answers that a worker remembers, for as long as their servers allow. Default: 1,024.
    pub cache: usize,
}

impl Default for ResolverConfig {
    fn default() -> Self {
        Self {
            servers: Vec::new(),
            search: Vec::new(),
            ndots: 1,
            hosts: true,
            timeout: Duration::from_secs(5),
            attempts: 2,
            cache: 1_024,
        }
    }
}

impl ResolverConfig {
    /// The default with these servers.
    pub fn with_servers(servers: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self {
            servers: servers.into_iter().collect(),
            ..Self::default()
        }
    }
}

/// How the workers of a port resolve names. Clones are the same one; a change counts from the next lookup on.
#[derive(Clone, Default)]
pub struct Dns(Arc<RwLock<Arc<Settings>>>);

impl fmt::Debug for Dns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Dns").field(&self.0.read().config).finish()
    }
}

impl Dns {
    /// For workers that are to have these settings in common.
    ///
    /// # Errors
    /// [`Error::BadAddress`] for a search domain that is none, [`Error::BadValue`] for a timeout of 0.
    pub fn new(config: ResolverConfig) -> Result<Self, Error> {
        let settings = Settings::new(config, Learnt::default())?;
        Ok(Self(Arc::new(RwLock::new(Arc::new(settings)))))
    }

    /// The settings, without what DHCP servers and routers say.
    pub fn config(&self) -> ResolverConfig {
        self.0.read().configured.clone()
    }

    /// Takes servers and search domains that others say: they come after those of the settings. A domain that is none is left out.
    pub fn set_learnt(&self, servers: &[SocketAddr], search: &[String]) {
        let mut settings = self.0.write();
        let is_domain = |text: &&String| Name::from_utf8(text).is_ok();
        let learnt = Learnt {
            servers: servers.to_vec(),
            search: search.iter().filter(is_domain).cloned().collect(),
        };
        if learnt != settings.learnt
            && let Ok(new) = Settings::new(settings.configured.clone(), learnt)
        {
            *settings = Arc::new(new);
        }
    }

    /// Changes the settings. What was remembered of servers' answers is forgotten, unless nothing has changed.
    ///
    /// # Errors
    /// As [`new`](Self::new); the settings are as they were then.
    pub fn change(&self, change: impl FnOnce(&mut ResolverConfig)) -> Result<(), Error> {
        let mut settings = self.0.write();
        let mut config = settings.configured.clone();
        change(&mut config);
        if config != settings.configured {
            *settings = Arc::new(Settings::new(config, settings.learnt.clone())?);
        }
        Ok(())
    }

    fn current(&self) -> Arc<Settings> {
        self.0.read().clone()
    }
}

/// What DHCP servers and routers say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Learnt {
    servers: Vec<SocketAddr>,
    search: Vec<String>,
}

/// Settings, until they change.
#[derive(Default)]
struct Settings {
    configured: ResolverConfig,
    learnt: Learnt,
    /// Both together.
    config: ResolverConfig,
    search: Vec<Name>,
    hosts: OnceCell<Hosts>,
}

impl Settings {
    fn new(configured: ResolverConfig, learnt: Learnt) -> Result<Self, Error> {
        let mut config = configured.clone();
        for server in &learnt.servers {
            if !config.servers.contains(server) {
                config.servers.push(*server);
            }
        }
        for domain in &learnt.search {
            if !config.search.contains(domain) {
                config.search.push(domain.clone());
            }
        }
        let domain = |text: &String| {
            let name = Name::from_utf8(text).map_err(|error| Error::BadAddress {
                what: "the search domain",
                given: text.clone(),
                why: error.to_string(),
            });
            name.map(|mut name| {
                name.set_fqdn(true);
                name
            })
        };
        if config.timeout.is_zero() {
            return Err(Error::BadValue {
                what: "the timeout of DNS servers in nanoseconds",
                given: 0,
                expected: "they need some time to answer".into(),
            });
        }
        Ok(Self {
            search: config.search.iter().map(domain).collect::<Result<_, _>>()?,
            hosts: OnceCell::new(),
            configured,
            learnt,
            config,
        })
    }

    /// What `/etc/hosts` says, read on a thread that may block.
    async fn hosts(&self) -> &Hosts {
        let read = || async {
            let read = crate::runtime::unblock(Hosts::from_system).await;
            read.unwrap_or_default()
        };
        self.hosts.get_or_init(read).await
    }

    fn resolver(&self, handle: &Handle, families: LookupIpStrategy) -> Option<Resolver<Provider>> {
        let server = |address: &SocketAddr| {
            let mut connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
            for connection in &mut connections {
                connection.port = address.port();
            }
            NameServerConfig::new(unscoped(*address).ip(), true, connections.into())
        };
        let servers = self.config.servers.iter().map(server).collect();
        let config = hickory_resolver::config::ResolverConfig::from_parts(
            None,
            self.search.clone(),
            servers,
        );
        let provider = Provider::new(handle, &self.config.servers);
        let mut options = ResolverOpts::default();
        options.ndots = self.config.ndots;
        options.timeout = self.config.timeout;
        // It counts those after the first.
        options.attempts = self.config.attempts.saturating_sub(1);
        options.cache_size = self.config.cache as u64;
        options.ip_strategy = families;
        options.use_hosts_file = ResolveHosts::Never;
        // The stack chooses ports at random, among those whose replies come to this worker's queue.
        options.os_port_selection = true;
        let builder = Resolver::builder_with_config(config, provider);
        // Without TLS and DNSSEC there is nothing that could fail.
        builder.with_options(options).build().ok()
    }
}

/// One worker's resolver.
#[derive(Default)]
pub(crate) struct Names {
    dns: Dns,
    /// Made at the first lookup, with what it was made for.
    made: Mutex<Option<Made>>,
}

#[derive(Clone)]
struct Made {
    settings: Arc<Settings>,
    families: LookupIpStrategy,
    resolver: Resolver<Provider>,
}

impl Names {
    pub(crate) fn new(dns: Dns) -> Self {
        Self {
            dns,
            made: Mutex::default(),
        }
    }

    pub(crate) fn dns(&self) -> &Dns {
        &self.dns
    }

    /// The worker has ended: its resolver's tasks with it.
    pub(crate) fn end(&self) {
        let made = self.made.lock().take();
        drop(made);
    }

    fn resolver(&self, handle: &Handle, settings: &Arc<Settings>) -> Option<Resolver<Provider>> {
        let families = families(handle);
        let mut made = self.made.lock();
        if let Some(made) = &*made
            && Arc::ptr_eq(&made.settings, settings)
            && made.families == families
        {
            return Some(made.resolver.clone());
        }
        let resolver = settings.resolver(handle, families)?;
        let new = Made {
            settings: settings.clone(),
            families,
            resolver: resolver.clone(),
        };
        let old = made.replace(new);
        drop(made);
        // Outside the lock: its tasks end.
        drop(old);
        Some(resolver)
    }
}

/// The families in which there is an address that reaches further than the link.
fn families(handle: &Handle) -> LookupIpStrategy {
    let addresses = handle.addresses();
    let v4 = addresses.iter().any(IpAddr::is_ipv4);
    let v6 = |addr: &IpAddr| matches!(addr, IpAddr::V6(v6) if !v6.is_unicast_link_local());
    match (v4, addresses.iter().any(v6)) {
        (true, false) => LookupIpStrategy::Ipv4Only,
        (false, true) => LookupIpStrategy::Ipv6Only,
        _ => LookupIpStrategy::Ipv4AndIpv6,
    }
}

/// The addresses of a host, those first that are to be tried first.
pub(crate) async fn addresses_of(handle: &Handle, name: &str) -> Result<Vec<IpAddr>, Error> {
    let settings = handle.shard().names().dns.current();
    if settings.config.hosts
        && let Some(addresses) = settings.hosts().await.get(name)
    {
        return Ok(sorted(handle, addresses.to_vec()));
    }
    if is_localhost(name) {
        return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
    }
    if settings.config.servers.is_empty() {
        return Err(Error::NoNameServers { name: name.into() });
    }
    let names = handle.shard().names();
    let resolver = names.resolver(handle, &settings);
    let found = match resolver {
        Some(resolver) => resolver.lookup_ip(name).await,
        None => Err(NetError::NoConnections),
    };
    let mut addresses: Vec<IpAddr> = match found {
        Ok(found) => found.into_iter().collect(),
        Err(error) => return Err(refusal(name, &error)),
    };
    if addresses.is_empty() {
        return Err(Error::UnknownName { name: name.into() });
    }
    let mut seen = std::collections::HashSet::new();
    addresses.retain(|address| seen.insert(*address));
    Ok(sorted(handle, addresses))
}

fn sorted(handle: &Handle, mut addresses: Vec<IpAddr>) -> Vec<IpAddr> {
    handle.with(|state| state.stack.sort_destinations(&mut addresses));
    addresses
}

/// RFC 6761 section 6.3: never asked of servers.
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or(name);
    last.eq_ignore_ascii_case("localhost")
}

/// Why there is no answer.
fn refusal(name: &str, error: &NetError) -> Error {
    let name = name.to_owned();
    if let NetError::Dns(DnsError::NoRecordsFound(none)) = error
        && let ResponseCode::NXDomain | ResponseCode::NoError = none.response_code
    {
        return Error::UnknownName { name };
    }
    if let NetError::Proto(error) = error {
        return Error::BadAddress {
            what: "the name",
            given: name,
            why: error.to_string(),
        };
    }
    let timed_out = match error {
        NetError::Timeout => true,
        NetError::Io(error) => error.kind() == std::io::ErrorKind::TimedOut,
        _ => false,
    };
    Error::NameNotResolved {
        name,
        why: match error {
            NetError::Dns(DnsError::NoRecordsFound(none)) => {
                format!("the server says {}", none.response_code)
            }
            _ if timed_out => "no server has answered in time".into(),
            error => error.to_string(),
        },
        timed_out,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn localhost_is_whatever_ends_with_it() {
        let yes = ["localhost", "LocalHost.", "a.b.localhost"];
        assert!(yes.into_iter().all(is_localhost));
        assert!(
            !["notlocalhost", "localhost.example.org", ""]
                .into_iter()
                .any(is_localhost)
        );
    }

    #[test]
    fn what_is_learnt_comes_after_what_is_set_and_goes_by_itself() {
        let server = |last: u8| SocketAddr::from(([198, 18, 0, last], 53));
        let dns = Dns::new(ResolverConfig::with_servers([server(1)])).unwrap();
        dns.set_learnt(
            &[server(2), server(1)],
            &["example.net".into(), "a..b".into()],
        );
        let used = || dns.current().config.clone();
        assert_eq!(used().servers, [server(1), server(2)]);
        assert_eq!(used().search, ["example.net"]);
        dns.change(|config| config.servers = vec![server(3)])
            .unwrap();
        assert_eq!(used().servers, [server(3), server(2), server(1)]);
        dns.set_learnt(&[], &[]);
        assert_eq!(used(), dns.config());
        assert_eq!(used().servers, [server(3)]);
    }

    #[test]
    fn settings_change_together_for_all_who_have_them_or_not_at_all() {
        let dns = Dns::new(ResolverConfig::default()).unwrap();
        let other = dns.clone();
        let before = dns.current();
        other.change(|_| {}).unwrap();
        assert!(Arc::ptr_eq(&dns.current(), &before), "nothing has changed");
        other
            .change(|config| config.search = vec!["example.org".into()])
            .unwrap();
        assert_eq!(dns.config().search, ["example.org"]);
        let refused = other.change(|config| config.search = vec!["a..b".into()]);
        let refused = refused.unwrap_err().to_string();
        assert!(
            refused.contains("search domain") && refused.contains("a..b"),
            "{refused}"
        );
        let refused = other
            .change(|config| config.timeout = Duration::ZERO)
            .unwrap_err();
        assert!(matches!(refused, Error::BadValue { .. }));
        assert_eq!(dns.config().search, ["example.org"]);
    }
}
