//! What a proxy takes out of a message's headers and puts in (RFC 9110 section 7.6).

use std::net::{IpAddr, SocketAddr};

use hyper::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, HeaderName, HeaderValue,
    PROXY_AUTHORIZATION, TE, TRANSFER_ENCODING, UPGRADE, VIA,
};
use hyper::http::uri::Authority;
use hyper::{HeaderMap, Version};

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// `websocket`, if a message asks to change to it, or says that it does (RFC 9110 section 7.8, RFC 6455). Of other
/// protocols nothing is passed on: by `h2c` a client could have requests answered that no route has seen.
pub(super) fn upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let is_asked = options(headers).any(|option| option == "upgrade");
    let protocol = headers.get(UPGRADE).filter(|_| is_asked)?;
    protocol
        .as_bytes()
        .eq_ignore_ascii_case(b"websocket")
        .then(|| protocol.clone())
}

/// Puts it back in, of the hop that follows.
pub(super) fn set_upgrade(headers: &mut HeaderMap, protocol: HeaderValue) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, protocol);
}

/// The options of `Connection`, in lower case.
fn options(headers: &HeaderMap) -> impl Iterator<Item = String> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|option| option.trim().to_ascii_lowercase())
}

/// Takes out what is for one hop only: what `Connection` names, and what is known to be (RFC 9110 section 7.6.1).
pub(super) fn strip(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = options(headers)
        .filter_map(|option| option.parse().ok())
        .collect();
    for name in named {
        // A client must not take out what frames the message, or says whom it is for.
        if name != HOST && name != CONTENT_LENGTH {
            headers.remove(name);
        }
    }
    // `Expect` is met by our own server, which asks for the body once it is read. Credentials for a proxy are ours.
    for name in [
        CONNECTION,
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHORIZATION,
        TE,
        TRANSFER_ENCODING,
        UPGRADE,
        EXPECT,
    ] {
        headers.remove(name);
    }
}

/// What a request's upstream is told of where it came from.
pub(super) struct Forwarded<'a> {
    pub(super) peer: Option<SocketAddr>,
    pub(super) host: Option<&'a Authority>,
    /// Of the request as it came.
    pub(super) version: Version,
    /// Whether what the request says itself is believed.
    pub(super) trust: bool,
    /// Whether it came over TLS.
    pub(super) https: bool,
}

/// Adds `X-Forwarded-*` and `Via`.
pub(super) fn forward(headers: &mut HeaderMap, forwarded: Forwarded<'_>) {
    if !forwarded.trust {
        for name in [
            FORWARDED,
            X_FORWARDED_FOR,
            X_FORWARDED_HOST,
            X_FORWARDED_PROTO,
        ] {
            headers.remove(name);
        }
    }
    if let Some(peer) = forwarded.peer {
        let peer = unmapped(peer.ip()).to_string();
        append(headers, X_FORWARDED_FOR, &peer);
    }
    if let Some(host) = forwarded.host
        && !headers.contains_key(X_FORWARDED_HOST)
        && let Ok(host) = HeaderValue::from_str(host.as_str())
    {
        headers.insert(X_FORWARDED_HOST, host);
    }
    if !headers.contains_key(X_FORWARDED_PROTO) {
        let scheme = if forwarded.https { "https" } else { "http" };
        headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static(scheme));
    }
    // RFC 9110 section 7.6.3: a gateway says so to the upstream.
    let received = match forwarded.version {
        Version::HTTP_2 => "2.0 dpdk-net",
        Version::HTTP_10 => "1.0 dpdk-net",
        _ => "1.1 dpdk-net",
    };
    append(headers, VIA, received);
}

/// Makes one line of cookies that came as several: HTTP/2 may split them, and HTTP/1.1 may not (RFC 9113 section 8.2.3).
pub(super) fn join_cookies(headers: &mut HeaderMap) {
    let crumbs: Vec<&[u8]> = headers
        .get_all(COOKIE)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    if crumbs.len() > 1
        && let Ok(cookies) = HeaderValue::from_bytes(&crumbs.join(&b"; "[..]))
    {
        headers.insert(COOKIE, cookies);
    }
}

/// The address of a peer on a socket of both families.
fn unmapped(addr: IpAddr) -> IpAddr {
    addr.to_canonical()
}

/// Adds a member to a list, which may be spread over several lines (RFC 9110 section 5.3).
fn append(headers: &mut HeaderMap, name: HeaderName, member: &str) {
    let mut list: Vec<&[u8]> = headers
        .get_all(&name)
        .iter()
        .map(HeaderValue::as_bytes)
        .collect();
    list.push(member.as_bytes());
    if let Ok(value) = HeaderValue::from_bytes(&list.join(&b", "[..])) {
        headers.insert(name, value);
    }
}

/// Names the host that the request is for. Nothing if it cannot be written.
pub(super) fn set_host(headers: &mut HeaderMap, host: &Authority) -> Option<()> {
    headers.insert(HOST, HeaderValue::from_str(host.as_str()).ok()?);
    Some(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(fields: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn what_is_for_one_hop_goes_and_the_rest_stays() {
        let mut headers = map(&[
            ("connection", "keep-alive, X-Secret"),
            ("connection", "Host, Content-Length"),
            ("x-secret", "1"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "close"),
            ("proxy-authorization", "Basic x"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("host", "a.example"),
            ("content-length", "3"),
            ("accept", "*/*"),
        ]);
        strip(&mut headers);
        let mut left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-length", "host"]);
    }

    #[test]
    fn cookies_that_came_in_crumbs_go_on_in_one_line() {
        let mut headers = map(&[("cookie", "a=b"), ("cookie", "c=d; e=f")]);
        join_cookies(&mut headers);
        assert_eq!(headers.get_all(COOKIE).iter().count(), 1);
        assert_eq!(headers[COOKIE], "a=b; c=d; e=f");
    }

    #[test]
    fn an_upgrade_is_one_only_if_connection_says_so() {
        assert_eq!(upgrade(&map(&[("upgrade", "websocket")])), None);
        assert_eq!(upgrade(&map(&[("connection", "upgrade")])), None);
        let to_http2 = map(&[("connection", "upgrade"), ("upgrade", "h2c")]);
        assert_eq!(upgrade(&to_http2), None);
        let asked = map(&[
            ("connection", "Keep-Alive, Upgrade"),
            ("upgrade", "websocket"),
        ]);
        assert_eq!(upgrade(&asked).unwrap(), "websocket");
    }

    #[test]
    fn what_a_stranger_says_of_its_origin_is_overwritten() {
        let forged = [
            ("forwarded", "for=1.2.3.4"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil"),
            ("via", "1.0 fred"),
        ];
        let host = Authority::from_static("a.example:8080");
        let told = |trust| {
            let mut headers = map(&forged);
            let peer = Some("[::ffff:198.18.0.7]:4000".parse().unwrap());
            forward(
                &mut headers,
                Forwarded {
                    peer,
                    host: Some(&host),
                    version: Version::HTTP_11,
                    trust,
                    https: false,
                },
            );
            move |name: &str| {
                headers
                    .get(name)
                    .map(|value| value.to_str().unwrap().to_owned())
            }
        };
        let stranger = told(false);
        assert_eq!(stranger("forwarded"), None);
        assert_eq!(stranger("x-forwarded-for").unwrap(), "198.18.0.7");
        assert_eq!(stranger("x-forwarded-proto").unwrap(), "http");
        assert_eq!(stranger("x-forwarded-host").unwrap(), "a.example:8080");
        assert_eq!(stranger("via").unwrap(), "1.0 fred, 1.1 dpdk-net");
        let friend = told(true);
        assert_eq!(friend("x-forwarded-for").unwrap(), "1.2.3.4, 198.18.0.7");
        assert_eq!(friend("x-forwarded-proto").unwrap(), "https");
        assert_eq!(friend("x-forwarded-host").unwrap(), "evil");
    }
}
