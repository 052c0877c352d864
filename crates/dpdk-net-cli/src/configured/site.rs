//! The site that a file's routes are.

use std::io;
use std::net::SocketAddr;

use dpdk_net::config::{Config, File, Problem, Protocol, Route};
use dpdk_net::net::lookup_host;
use dpdk_net_serve::{Files, Proxy, Redirect, RouteRule, Site, Status, Target};

/// What of the routes can't be served, each by itself or beside the others of a listener, as far as that can be told before names
/// are resolved.
pub(super) fn check(file: &File) -> Vec<Problem> {
    let config = file.config();
    let mut problems: Vec<(usize, String)> = Vec::new();
    for name in served(config) {
        let routes = config.route.iter().enumerate();
        let (places, routes): (Vec<usize>, Vec<&Route>) =
            routes.filter(|(_, route)| is_for(route, name)).unzip();
        // Any address will do: it is not about that.
        let any = || vec![SocketAddr::from(([127, 0, 0, 1], 80))];
        let site = Site::new(routes.into_iter().map(|route| rule(route, any())));
        if let Err(error) = site.check() {
            let place = places.get(error.route).copied().unwrap_or_default();
            problems.push((place, error.problem));
        }
    }
    problems.sort();
    problems.dedup();
    let problem = |(index, why): &(usize, String)| {
        let path = format!("route[{index}]");
        file.refuse(
            &path,
            format!("the route can't be served: {why}"),
            "tell it from the others by `host` or `path`, or leave it out",
        )
    };
    problems.iter().map(problem).collect()
}

/// The names of TCP listeners that routes are for.
pub(super) fn served(config: &Config) -> Vec<&str> {
    let tcp = config.listener.iter();
    let tcp = tcp.filter(|listener| listener.protocol != Some(Protocol::Udp));
    tcp.map(|listener| listener.name.as_str())
        .filter(|name| config.route.iter().any(|route| is_for(route, name)))
        .collect()
}

fn is_for(route: &Route, listener: &str) -> bool {
    route.listener.as_deref().is_none_or(|own| own == listener)
}

/// The site of a listener. Names of upstreams are resolved now.
///
/// # Errors
/// That of a name that can't be resolved, with the name.
pub(super) async fn site(config: &Config, listener: &str) -> io::Result<Site> {
    let mut rules = Vec::new();
    for route in config.route.iter().filter(|route| is_for(route, listener)) {
        let mut upstreams = Vec::new();
        for upstream in route.proxy.iter().flat_map(|proxy| &proxy.upstreams) {
            upstreams.extend(resolve(upstream).await.map_err(|error| {
                io::Error::new(error.kind(), format!("upstream {upstream}: {error}"))
            })?);
        }
        rules.push(rule(route, upstreams));
    }
    let mut site = Site::new(rules);
    site.access_log = config.log.access == Some(true);
    Ok(site)
}

async fn resolve(upstream: &str) -> io::Result<Vec<SocketAddr>> {
    let authority = upstream.strip_prefix("http://").unwrap_or(upstream);
    let authority = authority.strip_suffix('/').unwrap_or(authority);
    let has_port = authority
        .rsplit_once(':')
        .is_some_and(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let whole = match has_port {
        true => authority.to_owned(),
        false => format!("{authority}:80"),
    };
    Ok(lookup_host(whole.as_str()).await?.collect())
}

fn rule(route: &Route, upstreams: Vec<SocketAddr>) -> RouteRule {
    let target = if let Some(settings) = &route.files {
        let mut files = Files::new(&settings.root);
        files.listing = settings.listing == Some(true);
        if let Some(index) = &settings.index {
            files.index = Some(index.clone());
        }
        Target::Files(files)
    } else if let Some(settings) = &route.proxy {
        let mut proxy = Proxy::new(upstreams);
        proxy.body_limit = Some(settings.body_limit.map_or(1 << 30, |limit| limit.0));
        if let Some(timeout) = settings.connect_timeout {
            proxy.connect_timeout = timeout.0;
        }
        if let Some(timeout) = settings.response_timeout {
            proxy.response_timeout = timeout.0;
        }
        Target::Proxy(proxy)
    } else if let Some(settings) = &route.redirect {
        let mut redirect = Redirect::new(&settings.to);
        if let Some(status) = settings.status {
            redirect.status = status;
        }
        Target::Redirect(redirect)
    } else {
        let status = route.status.unwrap_or(404);
        Target::Status(Status::new(status, format!("{status}\n")))
    };
    let rule = RouteRule::new(route.path.as_deref().unwrap_or("/"), target);
    match &route.host {
        Some(host) => rule.host(host),
        None => rule,
    }
}
