//! The site that a file's routes are.

use std::io;
use std::net::SocketAddr;

use dpdk_net::config::{Config, File, Problem, Protocol, Route, Runtime};
use dpdk_net::net::lookup_host;
use dpdk_net_serve::{Files, Proxy, Redirect, RouteRule, Site, Status, Target};

/// What of the routes can't be served, each by itself or beside the others of a listener, as far as that can be told before names
/// are resolved.
pub(super) fn check(file: &File) -> Vec<Problem> {
    let config = file.config();
    let runtime = config.workers.runtime.filter(|it| *it != Runtime::Tokio);
    if runtime.is_some() && !served(config).is_empty() {
        return vec![file.refuse(
            "workers.runtime",
            "routes are served on tokio's runtime alone",
            "leave the key out; a program of your own chooses its runtime",
        )];
    }
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

/// Whether the listener of this name has TLS.
pub(super) fn is_https(config: &Config, listener: &str) -> bool {
    let mut all = config.listener.iter();
    all.any(|one| one.name == listener && one.tls.is_some())
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
    site.https = is_https(config, listener);
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use dpdk_net::config::Format;
    use dpdk_net_serve::{SiteService, Target};
    use tokio::net::TcpStream;

    /// A file with a route.
    fn text(route: &str) -> String {
        format!(
            "[[port]]\nvdev = \"net_tap0\"\n[network]\naddresses = [\"198.18.0.2/24\"]\n\
             [[listener]]\nname = \"http\"\naddress = \":80\"\n[[route]]\n{route}\n"
        )
    }

    /// The rule that a route of a file becomes.
    fn made(route: &str) -> RouteRule {
        let file = File::parse("site.toml", &text(route), Format::Toml, []);
        let file = file.unwrap_or_else(|problems| panic!("{problems}"));
        rule(
            &file.config().route[0],
            vec![SocketAddr::from(([127, 0, 0, 1], 8080))],
        )
    }

    #[test]
    fn each_key_of_a_route_is_what_the_server_is_told() {
        let made_of = made("host = \"a.example\"\npath = \"/x\"\nstatus = 204");
        assert_eq!(
            (made_of.host.as_deref(), made_of.path.as_str()),
            (Some("a.example"), "/x")
        );
        assert!(matches!(made_of.target, Target::Status(status) if status.status == 204));

        let Target::Files(files) = made("files = { root = \"/srv\" }").target else {
            panic!("files are served");
        };
        assert_eq!(
            (files.index.as_deref(), files.listing),
            (Some("index.html"), false)
        );
        let Target::Files(files) =
            made("files = { root = \"/srv\", index = \"home.html\", listing = true }").target
        else {
            panic!("files are served");
        };
        assert_eq!(
            (files.root.to_str(), files.index.as_deref()),
            (Some("/srv"), Some("home.html"))
        );
        assert!(files.listing);

        let upstreams = "upstreams = [\"http://198.18.0.1:8080\"]";
        let given =
            "connect_timeout = \"1 s\", response_timeout = \"2 s\", body_limit = \"10 MiB\"";
        let Target::Proxy(proxy) = made(&format!("proxy = {{ {upstreams}, {given} }}")).target
        else {
            panic!("it is passed on");
        };
        assert_eq!(proxy.connect_timeout, Duration::from_secs(1));
        assert_eq!(proxy.response_timeout, Duration::from_secs(2));
        assert_eq!(proxy.body_limit, Some(10 << 20));
        let Target::Proxy(proxy) = made(&format!("proxy = {{ {upstreams} }}")).target else {
            panic!("it is passed on");
        };
        assert_eq!(proxy.body_limit, Some(1 << 30), "as the reference says");
        assert_eq!(proxy.connect_timeout, Duration::from_secs(5));
        assert_eq!(proxy.response_timeout, Duration::from_secs(60));

        let Target::Redirect(redirect) = made("redirect = { to = \"/new\", status = 302 }").target
        else {
            panic!("it is sent elsewhere");
        };
        assert_eq!((redirect.to.as_str(), redirect.status), ("/new", 302));
    }

    #[test]
    fn a_redirect_has_a_status_that_the_server_takes_or_the_file_is_refused() {
        for status in 300..400 {
            let route = format!("redirect = {{ to = \"/new\", status = {status} }}");
            let file = File::parse("site.toml", &text(&route), Format::Toml, []);
            let mut redirect = Redirect::new("/new");
            redirect.status = status;
            let site = Site::new([RouteRule::new("/", Target::Redirect(redirect))]);
            let served = SiteService::new(site, TcpStream::connect::<SocketAddr>);
            assert_eq!(file.is_ok(), served.is_ok(), "{status}");
        }
    }
}
