//! The host that a request is for (RFC 9112 section 3.2, RFC 9113 section 8.3.1).

use hyper::header::HOST;
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Method, Version};

/// A request that names no host, or several.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadHost;

/// A name as hosts are compared: in lower case, without the dot that ends a full name.
pub(crate) fn normal(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// The authority of a request as it was given, with the port: of the target where that is absolute, of `Host`
/// otherwise. `None` only in HTTP/1.0, which knows no `Host`. HTTP/2 may do without `Host`, and must not name another one in it.
pub(crate) fn authority(parts: &Parts) -> Result<Option<Authority>, BadHost> {
    let mut hosts = parts.headers.get_all(HOST).iter();
    let header = match (hosts.next(), hosts.next()) {
        (None, _) if parts.version < Version::HTTP_11 => None,
        (None, _) if parts.version == Version::HTTP_2 && parts.uri.authority().is_some() => None,
        (Some(host), None) => {
            let host = Authority::try_from(host.as_bytes()).map_err(|_| BadHost)?;
            if host.as_str().contains('@') {
                return Err(BadHost);
            }
            Some(host)
        }
        _ => return Err(BadHost),
    };
    if parts.version == Version::HTTP_2
        && let Some(target) = parts.uri.authority()
        && (target.as_str().contains('@') || header.as_ref().is_some_and(|host| host != target))
    {
        return Err(BadHost);
    }
    match parts.uri.authority() {
        Some(target) if parts.method != Method::CONNECT => Ok(Some(target.clone())),
        _ => Ok(header),
    }
}

#[cfg(test)]
mod tests {
    use hyper::Request;

    use super::*;

    fn host(uri: &str, hosts: &[&str], version: Version) -> Result<Option<String>, BadHost> {
        let mut request = Request::builder().uri(uri).version(version);
        for host in hosts {
            request = request.header(HOST, *host);
        }
        let (parts, ()) = request.body(()).unwrap().into_parts();
        Ok(authority(&parts)?.map(|authority| normal(authority.host())))
    }

    #[test]
    fn the_target_comes_before_the_header() {
        let v11 = Version::HTTP_11;
        let name = |name: &str| Ok(Some(name.to_owned()));
        assert_eq!(host("/", &["A.Example:8080"], v11), name("a.example"));
        assert_eq!(host("/", &["a.example."], v11), name("a.example"));
        assert_eq!(
            host("http://b.example/", &["a.example"], v11),
            name("b.example")
        );
        assert_eq!(host("/", &["[::1]:80"], v11), name("[::1]"));
        assert_eq!(host("/", &[], Version::HTTP_10), Ok(None));
    }

    #[test]
    fn http2_names_it_in_the_target_and_nowhere_else_differently() {
        let v2 = Version::HTTP_2;
        let at = "http://a.example/";
        assert_eq!(host(at, &[], v2), Ok(Some("a.example".to_owned())));
        assert_eq!(host(at, &["A.example"], v2), host(at, &[], v2));
        assert_eq!(host("/", &["a.example"], v2), host(at, &[], v2));
        assert_eq!(host(at, &["b.example"], v2), Err(BadHost));
        assert_eq!(host("http://user@a.example/", &[], v2), Err(BadHost));
        assert_eq!(host("/", &[], v2), Err(BadHost));
    }

    #[test]
    fn none_several_and_malformed_ones_are_refused() {
        let v11 = Version::HTTP_11;
        for hosts in [&[][..], &["a", "b"], &["a b"], &["user@a"], &[""]] {
            assert_eq!(host("/", hosts, v11), Err(BadHost), "{hosts:?}");
        }
    }
}
