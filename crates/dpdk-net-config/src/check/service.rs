//! `[[listener]]`, `[[route]]` and where `[metrics]` are served.

use std::net::IpAddr;

use super::{Check, port_name};
use crate::problem::Kind;
use crate::sections::{Network, Protocol, Route, Tls, Transport};
use crate::suggest::suggestion;

pub(super) fn check(check: &mut Check<'_>) {
    listeners(check);
    metrics(check);
    let listeners: Vec<&str> = check
        .config
        .listener
        .iter()
        .map(|one| one.name.as_str())
        .collect();
    let routes = &check.config.route;
    for (index, one) in routes.iter().enumerate() {
        route(check, &format!("route[{index}]"), one, &listeners);
    }
    if !routes.is_empty() && listeners.is_empty() {
        let help = "add [[listener]] with name = \"http\" and address = \"[::]:80\"";
        let problem = check.tell("route", "there are routes, and nothing to listen on", help);
        problem.kind = Kind::MissingKey;
        problem.depends = vec!["listener".to_owned()];
    }
}

fn listeners(check: &mut Check<'_>) {
    let config = check.config;
    let listeners = &config.listener;
    let paths = |key: &'static str| {
        (0..listeners.len()).map(move |index| format!("listener[{index}].{key}"))
    };
    let names = listeners
        .iter()
        .map(|one| one.name.clone())
        .zip(paths("name"));
    check.unique(
        names.collect(),
        |name| format!("there are two listeners called {name}"),
        "give one of them another name",
    );
    let address = |one: &crate::sections::Listener| {
        (
            one.address.0,
            one.protocol.unwrap_or(Protocol::Tcp),
            one.port.clone(),
        )
    };
    let addresses = listeners.iter().map(address).zip(paths("address"));
    check.unique(
        addresses.collect(),
        |(addr, ..)| format!("two listeners have the address {addr}"),
        "give one of them another port",
    );
    let ports: Vec<String> = config
        .port
        .iter()
        .enumerate()
        .map(|(index, port)| port_name(port, index))
        .collect();
    for (index, listener) in listeners.iter().enumerate() {
        if let Some(settings) = &listener.tls {
            let at = format!("listener[{index}]");
            if listener.protocol == Some(Protocol::Udp) {
                check.conflict(
                    &format!("{at}.tls"),
                    &format!("{at}.protocol"),
                    "TLS goes over TCP",
                    "leave one of them out",
                );
            }
            tls(check, &format!("{at}.tls"), settings);
        }
        if let Some(port) = &listener.port
            && !ports.contains(port)
        {
            let known: Vec<&str> = ports.iter().map(String::as_str).collect();
            let path = format!("listener[{index}].port");
            let message = format!("there is no port called {port}");
            let problem = check.tell(&path, message, suggestion(port, &known));
            problem.depends = match ports.len() {
                0 => vec!["port".to_owned()],
                several => names_of_ports(several),
            };
            continue;
        }
        let addr = listener.address.0.ip();
        let networks = config.networks();
        let own: Vec<(&Network, String)> = networks
            .iter()
            .zip(&ports)
            .filter(|(_, name)| listener.port.as_ref().is_none_or(|port| port == *name))
            .map(|((_, _, network), name)| (*network, name.clone()))
            .collect();
        if addr.is_unspecified() || own.iter().any(|(network, _)| may_have(network, addr)) {
            continue;
        }
        let there: Vec<String> = own
            .iter()
            .flat_map(|(network, _)| network.addresses.iter().map(|cidr| cidr.addr.to_string()))
            .collect();
        let help = match there.as_slice() {
            [] => "\"[::]\" stands for all addresses".to_owned(),
            all => format!(
                "there are {}, and \"[::]\", which stands for all",
                all.join(", ")
            ),
        };
        let path = format!("listener[{index}].address");
        let problem = check.tell(&path, format!("no port has the address {addr}"), help);
        problem.depends = addresses_of(&networks);
        if networks.is_empty() {
            problem.depends.push("port".to_owned());
        }
    }
}

fn tls(check: &mut Check<'_>, at: &str, tls: &Tls) {
    if tls.client_certificates.is_some() && tls.client_ca.is_none() {
        check.lack(
            at,
            &["client_ca"],
            "it is not said whose certificates of clients are good",
            "client_ca = \"ca.pem\" has the authorities; without `client_certificates` nobody is asked for one",
        );
    }
    for (index, protocol) in tls.alpn.iter().enumerate() {
        if protocol.len() > 255 {
            check.tell(
                &format!("{at}.alpn[{index}]"),
                format!("`{protocol}` is no protocol for ALPN"),
                "it has at most 255 bytes, as in alpn = [\"h2\", \"http/1.1\"]",
            );
        }
    }
}

fn metrics(check: &mut Check<'_>) {
    let config = check.config;
    let metrics = &config.metrics;
    let Some(listen) = metrics.listen else {
        let given = [
            ("path", metrics.path.is_some()),
            ("transport", metrics.transport.is_some()),
        ];
        for (key, _) in given.iter().filter(|(_, given)| *given) {
            let message = format!("`{key}` is of no effect here");
            let help = "it goes with listen = \"127.0.0.1:9464\"";
            let problem = check.tell(&format!("metrics.{key}"), message, help);
            problem.depends = vec!["metrics.listen".to_owned()];
        }
        return;
    };
    if let Some(path) = &metrics.path
        && !is_path(path)
    {
        check.tell(
            "metrics.path",
            format!("`{path}` is no path"),
            "paths begin with a slash, and have no query: \"/metrics\"",
        );
    }
    let addr = listen.0.ip();
    let networks = config.networks();
    let has = |(_, _, network): &(_, _, &Network)| may_have(network, addr);
    if metrics.transport == Some(Transport::Stack)
        && !addr.is_unspecified()
        && !networks.is_empty()
        && !networks.iter().any(has)
    {
        let problem = check.tell(
            "metrics.listen",
            format!("no port has the address {addr}"),
            "with transport = \"stack\" it is one of a port's; \"[::]\" stands for all of the first port",
        );
        problem.depends = addresses_of(&networks);
        problem.depends.push("metrics.transport".to_owned());
    }
}

/// Whether it is the path of a URL alone.
fn is_path(text: &str) -> bool {
    text.starts_with('/') && !text.contains(['?', '#']) && !text.contains(char::is_whitespace)
}

/// Where the addresses of these networks stand, or would.
fn addresses_of<T, U>(networks: &[(String, T, U)]) -> Vec<String> {
    let keys = ["addresses", "vlans", "dhcp4", "dhcp6", "slaac"];
    let all = networks
        .iter()
        .map(|(at, ..)| at.as_str())
        .chain(["network"]);
    all.flat_map(|at| keys.map(|key| format!("{at}.{key}")))
        .collect()
}

/// Where the names of so many ports stand, whichever of these keys they have.
fn names_of_ports(ports: usize) -> Vec<String> {
    let keys = ["name", "vdev", "interface", "pci"];
    (0..ports)
        .flat_map(|index| keys.map(|key| format!("port[{index}].{key}")))
        .collect()
}

/// Whether a network has the address, or may come to have it.
fn may_have(network: &Network, addr: IpAddr) -> bool {
    let mut own = network
        .addresses
        .iter()
        .chain(network.vlans.iter().flat_map(|vlan| &vlan.addresses));
    let on = |asked: Option<bool>| asked == Some(true);
    let link_local = matches!(addr, IpAddr::V6(v6) if v6.is_unicast_link_local());
    own.any(|cidr| cidr.addr == addr)
        || link_local
        || (addr.is_ipv4() && on(network.dhcp4))
        || (addr.is_ipv6() && (on(network.dhcp6) || on(network.slaac)))
}

fn route(check: &mut Check<'_>, at: &str, route: &Route, listeners: &[&str]) {
    let targets = [
        ("files", route.files.is_some()),
        ("proxy", route.proxy.is_some()),
        ("redirect", route.redirect.is_some()),
        ("status", route.status.is_some()),
    ];
    let targets: Vec<&str> = targets
        .iter()
        .filter(|(_, given)| *given)
        .map(|(key, _)| *key)
        .collect();
    match targets.as_slice() {
        [] => {
            check.lack(
                at,
                &["files", "proxy", "redirect", "status"],
                "the route does not say what is served",
                "one of files = { root = \"/srv/www\" }, proxy = { upstreams = [\"http://198.18.0.1:8080\"] }, redirect = { to = \"...\" } and status = 404",
            );
        }
        [_] => {}
        [first, second, ..] => check.conflict(
            &format!("{at}.{second}"),
            &format!("{at}.{first}"),
            "a route serves one thing",
            "write a route for each, with a `path` or `host` that tells them apart",
        ),
    }
    if let Some(name) = &route.listener
        && !listeners.contains(&name.as_str())
    {
        let message = format!("there is no listener called {name}");
        let help = suggestion(name, listeners);
        let problem = check.tell(&format!("{at}.listener"), message, help);
        if listeners.is_empty() {
            problem.depends = vec!["listener".to_owned()];
        }
    }
    if let Some(path) = &route.path
        && !is_path(path)
    {
        check.tell(
            &format!("{at}.path"),
            format!("`{path}` is no path"),
            "paths begin with a slash, and have no query: \"/api\"",
        );
    }
    if let Some(host) = &route.host
        && (host.contains(['/', ' ']) || host.contains(':'))
    {
        check.tell(
            &format!("{at}.host"),
            format!("`{host}` is no host name"),
            "the name alone, without scheme, port and path",
        );
    }
    if let Some(status) = route.redirect.as_ref().and_then(|redirect| redirect.status)
        && ![301, 302, 303, 307, 308].contains(&status)
    {
        check.tell(
            &format!("{at}.redirect.status"),
            format!("{status} is no status of a redirect"),
            "301 and 308 are for good, 302, 303 and 307 for this time; 307 and 308 keep the method, 303 is GET",
        );
    }
    if let Some(proxy) = &route.proxy {
        if proxy.upstreams.is_empty() {
            check.lack(
                &format!("{at}.proxy"),
                &["upstreams"],
                "there is nobody to pass requests on to",
                "upstreams = [\"http://198.18.0.1:8080\"]",
            );
        }
        for (index, upstream) in proxy.upstreams.iter().enumerate() {
            if let Some(why) = bad_upstream(upstream) {
                check.tell(
                    &format!("{at}.proxy.upstreams[{index}]"),
                    format!("`{upstream}` can't be an upstream: {why}"),
                    "as in \"http://198.18.0.1:8080\"",
                );
            }
        }
    }
}

/// What is wrong with an upstream's address.
fn bad_upstream(text: &str) -> Option<&'static str> {
    let Some(authority) = text.strip_prefix("http://") else {
        return Some(match text.split_once("://") {
            Some(("https", _)) => "upstreams are spoken to without TLS, http://",
            Some(_) => "the scheme is http",
            None => "it has no scheme",
        });
    };
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    if authority.is_empty() {
        return Some("it has no host");
    }
    if authority.contains(['/', '?', '#', '@']) || authority.contains(char::is_whitespace) {
        return Some("it is a host and a port, without a path");
    }
    let port = match authority.rsplit_once(':') {
        Some((_, port)) if !port.contains(']') => port,
        _ => return None,
    };
    (port.parse::<u16>().ok().filter(|port| *port > 0))
        .is_none()
        .then_some("its port is 1 to 65535")
}
