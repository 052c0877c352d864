//! Which route a request takes.

use crate::host;
use crate::path::RequestPath;

/// A route, its prefix without the slash at its end.
#[derive(Debug)]
pub(crate) struct Route<T> {
    host: Option<String>,
    pub(crate) prefix: String,
    pub(crate) target: T,
}

/// The routes, the one to be tried first before the others.
#[derive(Debug)]
pub(crate) struct Routes<T>(Vec<Route<T>>);

impl<T> Routes<T> {
    /// Those of `(host, path, target)`.
    pub(crate) fn new(routes: impl IntoIterator<Item = (Option<String>, String, T)>) -> Self {
        let mut routes: Vec<Route<T>> = routes
            .into_iter()
            .map(|(host, path, target)| Route {
                host: host.as_deref().map(host::normal),
                prefix: path.trim_end_matches('/').to_owned(),
                target,
            })
            .collect();
        routes.sort_by_key(|route| (route.host.is_none(), std::cmp::Reverse(route.prefix.len())));
        Self(routes)
    }

    /// The route of a request, and what its path has beyond the route's.
    pub(crate) fn find<'a>(
        &'a self,
        host: Option<&str>,
        path: &'a RequestPath,
    ) -> Option<(&'a Route<T>, &'a [u8])> {
        let host = host.map(host::normal);
        self.0
            .iter()
            .filter(|route| route.host.is_none() || route.host == host)
            .find_map(|route| Some((route, path.beyond(&route.prefix)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_comes_before_none_and_a_long_path_before_a_short_one() {
        let routes = Routes::new([
            (None, "/".into(), "any"),
            (None, "/api/v1".into(), "any v1"),
            (None, "/api/".into(), "any api"),
            (Some("A.example".into()), "/".into(), "a"),
        ]);
        let find = |host, path: &str| {
            let path = RequestPath::parse(path).unwrap();
            let (route, rest) = routes.find(host, &path)?;
            Some((route.target, String::from_utf8(rest.to_vec()).unwrap()))
        };
        let is = |target, rest: &str| Some((target, rest.to_owned()));
        assert_eq!(find(None, "/x"), is("any", "/x"));
        assert_eq!(find(Some("b.example"), "/api/v1/x"), is("any v1", "/x"));
        assert_eq!(find(Some("b.example"), "/api"), is("any api", ""));
        assert_eq!(find(Some("b.example"), "/apis"), is("any", "/apis"));
        assert_eq!(find(Some("a.EXAMPLE"), "/api/v1"), is("a", "/api/v1"));
        let guarded = find(None, "/%61pi//v1/x");
        assert_eq!(guarded, is("any v1", "/x"), "however it is written");
        assert!(
            Routes::<()>::new([])
                .find(None, &RequestPath::parse("/").unwrap())
                .is_none()
        );
    }
}
