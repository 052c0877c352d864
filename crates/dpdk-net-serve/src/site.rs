//! What a site is: routes, and what each leads to. Plain data, checked before it is served.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use hyper::StatusCode;
use hyper::header::HeaderValue;

use crate::path::RequestPath;

/// A site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Where requests go. Of those that fit, one that names a host comes before one that does not, and then the
    /// one with the longest path is taken, in whatever order they are given.
    pub routes: Vec<RouteRule>,
    /// Believe what a request says in `X-Forwarded-*` and `Forwarded`: for a site behind another proxy. Otherwise
    /// these are overwritten. Off by default.
    pub trust_forwarded: bool,
    /// Log a line for each request with the target `access`. Off by default.
    pub access_log: bool,
    /// Clients come over TLS, which the listener speaks: upstreams are told so (`X-Forwarded-Proto: https`). Off by default.
    pub https: bool,
}

impl Site {
    /// A site of these routes.
    pub fn new(routes: impl IntoIterator<Item = RouteRule>) -> Self {
        Self {
            routes: routes.into_iter().collect(),
            trust_forwarded: false,
            access_log: false,
            https: false,
        }
    }

    /// Finds what cannot be served.
    ///
    /// # Errors
    /// The first route that is wrong, and why.
    pub fn check(&self) -> Result<(), SiteError> {
        for (at, rule) in self.routes.iter().enumerate() {
            let error = |problem: String| SiteError { route: at, problem };
            rule.check().map_err(error)?;
            let earlier = self.routes.iter().take(at);
            if earlier.clone().any(|other| other.key() == rule.key()) {
                return Err(error(format!(
                    "another route has the same host and path {}",
                    rule.path
                )));
            }
        }
        Ok(())
    }
}

/// One route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteRule {
    /// The host that the request must name, without a port, whatever its case; `None` for any.
    pub host: Option<String>,
    /// A prefix of whole segments, as it is once percent-decoded: `/a` fits `/a` and `/a/b`, and does not fit
    /// `/ab`. A slash at its end makes no difference.
    pub path: String,
    /// What it leads to.
    pub target: Target,
}

impl RouteRule {
    /// A route for any host.
    pub fn new(path: impl Into<String>, target: Target) -> Self {
        Self {
            host: None,
            path: path.into(),
            target,
        }
    }

    /// The same for one host.
    pub fn host(mut self, host: impl Into<String>) -> Self {
        self.host = Some(host.into());
        self
    }

    /// What tells routes apart.
    pub(crate) fn key(&self) -> (Option<String>, &str) {
        (
            self.host.as_deref().map(crate::host::normal),
            self.path.trim_end_matches('/'),
        )
    }

    fn check(&self) -> Result<(), String> {
        let path = &self.path;
        if !path.starts_with('/') {
            return Err(format!("the path `{path}` does not begin with `/`"));
        }
        // No request could have such a path, so the route would be dead.
        let is_plain = RequestPath::of_decoded(path.as_bytes().to_vec())
            .is_ok_and(|parsed| parsed.as_bytes() == path.as_bytes());
        if !is_plain {
            return Err(format!(
                "the path `{path}` has `.`, `..`, `//` or a control character in it"
            ));
        }
        if let Some(host) = &self.host
            && (host.is_empty() || host.contains(['/', ' ', '@']))
        {
            return Err(format!("`{host}` is not a host's name"));
        }
        self.target.check()
    }
}

/// What a route leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Files of a directory.
    Files(Files),
    /// Other servers.
    Proxy(Proxy),
    /// Another address.
    Redirect(Redirect),
    /// Always the same answer.
    Status(Status),
}

impl Target {
    fn check(&self) -> Result<(), String> {
        match self {
            Self::Files(files) => files.check(),
            Self::Proxy(proxy) => proxy.check(),
            Self::Redirect(redirect) => redirect.check(),
            Self::Status(status) => status.check(),
        }
    }
}

/// Files of a directory. The route's path stands for the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// The directory; it must exist when the service is made.
    pub root: PathBuf,
    /// The file that stands for a directory, `index.html` by default.
    pub index: Option<String>,
    /// List directories that have no index. Off by default.
    pub listing: bool,
    /// Which symbolic links are followed.
    pub symlinks: Symlinks,
    /// Serve names that begin with a dot. `.well-known` (RFC 8615) is served in any case. Off by default.
    pub dotfiles: bool,
}

/// Which symbolic links are followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Symlinks {
    /// Those whose target is below the root too.
    #[default]
    Within,
    /// All, wherever they lead.
    Follow,
    /// None.
    Deny,
}

impl Files {
    /// The files below `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            index: Some("index.html".into()),
            listing: false,
            symlinks: Symlinks::default(),
            dotfiles: false,
        }
    }

    fn check(&self) -> Result<(), String> {
        if let Some(index) = &self.index
            && (index.is_empty() || index.starts_with('.') || index.contains(['/', '\0']))
        {
            return Err(format!("the index `{index}` is not the name of a file"));
        }
        if !self.root.is_dir() {
            return Err(format!("{} is not a directory", self.root.display()));
        }
        Ok(())
    }
}

/// Other servers that answer, in turn. They speak HTTP/1.1 without TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Where they are; at least one.
    pub upstreams: Vec<SocketAddr>,
    /// Leave the route's path out of what the upstream is asked for. Off by default.
    pub strip_prefix: bool,
    /// Send the request's own `Host`, not the upstream's address. On by default.
    pub preserve_host: bool,
    /// How large a request's body may be, in bytes; more is answered with 413. 1 MiB by default, no bound for none.
    pub body_limit: Option<u64>,
    /// How long connecting may take; then 504. 5 s by default.
    pub connect_timeout: Duration,
    /// How long the upstream may take from the last byte of the request to the headers of its response; then 504.
    /// 60 s by default.
    pub response_timeout: Duration,
    /// How long nothing may come of a body, from the client (then 408) or from the upstream (then the connection
    /// is cut, since the answer has begun). 60 s by default.
    pub idle_timeout: Duration,
    /// How long nothing may pass through an upgraded connection (WebSocket). 10 min by default.
    pub tunnel_idle_timeout: Duration,
    /// How long an upstream that failed is left out while there is another. 10 s by default.
    pub fail_for: Duration,
    /// How many idle connections to each upstream are kept. 32 by default.
    pub keep_alive: usize,
    /// How long an idle connection is kept. 30 s by default.
    pub keep_alive_for: Duration,
}

impl Proxy {
    /// A proxy for these.
    pub fn new(upstreams: impl IntoIterator<Item = SocketAddr>) -> Self {
        Self {
            upstreams: upstreams.into_iter().collect(),
            strip_prefix: false,
            preserve_host: true,
            body_limit: Some(1 << 20),
            connect_timeout: Duration::from_secs(5),
            response_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(60),
            tunnel_idle_timeout: Duration::from_secs(600),
            fail_for: Duration::from_secs(10),
            keep_alive: 32,
            keep_alive_for: Duration::from_secs(30),
        }
    }

    fn check(&self) -> Result<(), String> {
        if self.upstreams.is_empty() {
            return Err("a proxy needs at least one upstream".into());
        }
        if let Some(bad) = self.upstreams.iter().find(|addr| addr.port() == 0) {
            return Err(format!("the upstream {bad} has no port"));
        }
        let timeouts = [
            (self.connect_timeout, "connect"),
            (self.response_timeout, "response"),
            (self.idle_timeout, "idle"),
            (self.tunnel_idle_timeout, "tunnel idle"),
        ];
        match timeouts.iter().find(|(timeout, _)| timeout.is_zero()) {
            Some((_, name)) => Err(format!("a {name} timeout of zero lets nothing through")),
            None => Ok(()),
        }
    }
}

/// Another address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Redirect {
    /// What goes into `Location`: an absolute URL, or a path.
    pub to: String,
    /// 301, 302, 303, 307 or 308.
    pub status: u16,
    /// Append what the request's path has beyond the route's, and its query.
    pub keep_path: bool,
}

impl Redirect {
    /// A permanent redirect (308) to one address.
    pub fn new(to: impl Into<String>) -> Self {
        Self {
            to: to.into(),
            status: 308,
            keep_path: false,
        }
    }

    fn check(&self) -> Result<(), String> {
        if !matches!(self.status, 301 | 302 | 303 | 307 | 308) {
            return Err(format!(
                "{} is not the status of a redirect: 301, 302, 303, 307 or 308",
                self.status
            ));
        }
        if self.to.is_empty() || HeaderValue::from_str(&self.to).is_err() {
            return Err(format!("`{}` cannot be redirected to", self.to));
        }
        Ok(())
    }
}

/// Always the same answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// 200 to 599.
    pub status: u16,
    /// The text of the body.
    pub body: String,
}

impl Status {
    /// An answer.
    pub fn new(status: u16, body: impl Into<String>) -> Self {
        Self {
            status,
            body: body.into(),
        }
    }

    fn check(&self) -> Result<(), String> {
        match StatusCode::from_u16(self.status) {
            Ok(_) if (200..600).contains(&self.status) => Ok(()),
            _ => Err(format!(
                "{} is not the status of an answer: 200 to 599",
                self.status
            )),
        }
    }
}

/// What of a [`Site`] cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteError {
    /// Which of [`Site::routes`].
    pub route: usize,
    /// What is wrong with it.
    pub problem: String,
}

impl fmt::Display for SiteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "route {}: {}", self.route, self.problem)
    }
}

impl std::error::Error for SiteError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(routes: Vec<RouteRule>) -> String {
        Site::new(routes).check().unwrap_err().to_string()
    }

    fn gone(path: &str) -> RouteRule {
        RouteRule::new(path, Target::Status(Status::new(410, "")))
    }

    #[test]
    fn what_cannot_be_served_is_named_with_its_route() {
        let target = |target| vec![RouteRule::new("/", target)];
        let redirect = |status, to: &str| {
            target(Target::Redirect(Redirect {
                status,
                ..Redirect::new(to)
            }))
        };
        let mut no_time = Proxy::new(["127.0.0.1:80".parse().unwrap()]);
        no_time.idle_timeout = Duration::ZERO;
        for (routes, expected) in [
            (
                vec![gone("/"), gone("x")],
                "route 1: the path `x` does not begin",
            ),
            (vec![gone("/a/../b")], "`..`"),
            (vec![gone("/a//b")], "`//`"),
            (vec![gone("/a"), gone("/a/")], "same host and path /a/"),
            (
                vec![gone("/").host("A.example"), gone("/").host("a.example.")],
                "same host",
            ),
            (vec![gone("/").host("http://a")], "not a host's name"),
            (
                target(Target::Files(Files::new("/nonexistent"))),
                "/nonexistent is not a directory",
            ),
            (
                target(Target::Files(Files {
                    index: Some("../x".into()),
                    ..Files::new("/")
                })),
                "index `../x`",
            ),
            (
                target(Target::Proxy(Proxy::new([]))),
                "at least one upstream",
            ),
            (
                target(Target::Proxy(Proxy::new(["[::1]:0".parse().unwrap()]))),
                "[::1]:0 has no port",
            ),
            (target(Target::Proxy(no_time)), "idle timeout of zero"),
            (redirect(200, "/"), "200 is not the status of a redirect"),
            (redirect(301, "a\nb"), "cannot be redirected to"),
            (
                target(Target::Status(Status::new(101, ""))),
                "101 is not the status",
            ),
        ] {
            let problem = problem(routes);
            assert!(
                problem.contains(expected),
                "{problem:?} should say {expected:?}"
            );
        }
    }

    #[test]
    fn the_same_path_at_two_hosts_is_two_routes() {
        let routes = [
            gone("/"),
            gone("/").host("a.example"),
            gone("/").host("b.example"),
        ];
        assert_eq!(Site::new(routes).check(), Ok(()));
    }
}
