//! From what a caller names an address by to addresses: strings, names, and addresses themselves.

use std::borrow::Cow;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};

/// What can be resolved to socket addresses, as `tokio::net::ToSocketAddrs`: addresses with ports, also as text, and names with
/// ports, such as `"example.org:80"` and `("example.org", 80)`.
///
/// Names are looked up as [`lookup_host`] says. It is not to be implemented elsewhere.
pub trait ToSocketAddrs: sealed::Target {}

impl<T: sealed::Target + ?Sized> ToSocketAddrs for T {}

/// What is known of the addresses before anybody is asked.
#[derive(Debug)]
#[doc(hidden)]
pub enum Known<'a> {
    One(SocketAddr),
    Several(Vec<SocketAddr>),
    Name(Cow<'a, str>, u16),
}

mod sealed {
    use super::{Known, io};

    #[allow(unnameable_types, reason = "sealed")]
    pub trait Target {
        /// Errors: text that is neither address nor name.
        fn known(&self) -> io::Result<Known<'_>>;
    }
}

use sealed::Target;

macro_rules! addresses {
    ($($type:ty),*) => {$(
        impl Target for $type {
            fn known(&self) -> io::Result<Known<'_>> {
                Ok(Known::One((*self).into()))
            }
        }
    )*};
}

addresses!(
    SocketAddr,
    SocketAddrV4,
    SocketAddrV6,
    (IpAddr, u16),
    (Ipv4Addr, u16),
    (Ipv6Addr, u16)
);

impl Target for [SocketAddr] {
    fn known(&self) -> io::Result<Known<'_>> {
        Ok(Known::Several(self.to_vec()))
    }
}

impl Target for str {
    fn known(&self) -> io::Result<Known<'_>> {
        if let Ok(address) = self.parse() {
            return Ok(Known::One(address));
        }
        let invalid = |what| io::Error::new(io::ErrorKind::InvalidInput, what);
        let (host, port) = self.rsplit_once(':').ok_or_else(|| {
            invalid("invalid socket address: a port is missing, as in example.org:80")
        })?;
        let port = port.parse().map_err(|_| invalid("invalid port value"))?;
        named(host, port)
    }
}

impl Target for (&str, u16) {
    fn known(&self) -> io::Result<Known<'_>> {
        let (host, port) = *self;
        match host.parse::<IpAddr>() {
            Ok(ip) => Ok(Known::One((ip, port).into())),
            Err(_) => named(host, port),
        }
    }
}

impl Target for String {
    fn known(&self) -> io::Result<Known<'_>> {
        self.as_str().known()
    }
}

impl Target for (String, u16) {
    fn known(&self) -> io::Result<Known<'_>> {
        let (host, port) = self;
        match host.parse::<IpAddr>() {
            Ok(ip) => Ok(Known::One((ip, *port).into())),
            Err(_) => named(host, *port),
        }
    }
}

impl<T: Target + ?Sized> Target for &T {
    fn known(&self) -> io::Result<Known<'_>> {
        (**self).known()
    }
}

fn named(host: &str, port: u16) -> io::Result<Known<'_>> {
    if host.is_empty() {
        let missing = "invalid socket address: the host is missing";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, missing));
    }
    Ok(Known::Name(host.into(), port))
}

/// Addresses that were found.
enum Found {
    One(Option<SocketAddr>),
    Several(std::vec::IntoIter<SocketAddr>),
}

impl Iterator for Found {
    type Item = SocketAddr;

    fn next(&mut self) -> Option<SocketAddr> {
        match self {
            Self::One(address) => address.take(),
            Self::Several(addresses) => addresses.next(),
        }
    }
}

/// The addresses that `host` stands for, in the order in which they are to be tried.
///
/// Names are looked up in `/etc/hosts` and by the DNS servers of the worker's application
#[cfg_attr(
    feature = "resolver",
    doc = "([`AppBuilder::dns`](crate::AppBuilder::dns), [`Dns`](crate::Dns)),"
)]
#[cfg_attr(
    not(feature = "resolver"),
    doc = "(feature `resolver`; without it by the kernel's resolver, on a thread of its own),"
)]
/// over this worker's own sockets: IPv4 and IPv6 as far as the worker has addresses that reach further than its link, sorted by
/// RFC 6724. `localhost` is 127.0.0.1 and ::1.
///
/// # Errors
/// `InvalidInput` for what is neither address nor name, `NotFound` for a name that there is none of, `TimedOut` if no server has
/// answered, `HostUnreachable` if there are no servers; of a name also `NotConnected` on a thread without a worker.
///
/// # Panics
/// As tokio's: for a name, outside of a tokio runtime.
pub async fn lookup_host<T: ToSocketAddrs>(
    host: T,
) -> io::Result<impl Iterator<Item = SocketAddr>> {
    match host.known()? {
        Known::One(address) => Ok(Found::One(Some(address))),
        Known::Several(addresses) => Ok(Found::Several(addresses.into_iter())),
        // On the heap: names are few, and what connects to addresses need not be as large as their lookup.
        Known::Name(name, port) => {
            let found = Box::pin(by_name(name.into_owned(), port)).await?;
            Ok(Found::Several(found.into_iter()))
        }
    }
}

#[cfg(feature = "resolver")]
async fn by_name(name: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    let handle = crate::handle::Handle::current()?;
    let found = crate::resolver::addresses_of(&handle, &name).await?;
    let found = found.into_iter().map(|ip| SocketAddr::new(ip, port));
    Ok(found.collect())
}

#[cfg(not(feature = "resolver"))]
async fn by_name(name: String, port: u16) -> io::Result<Vec<SocketAddr>> {
    Ok(tokio::net::lookup_host((name, port)).await?.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_known_and_names_are_not() {
        let one = |known: io::Result<Known<'_>>| match known.unwrap() {
            Known::One(address) => address.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(one("198.18.0.1:80".known()), "198.18.0.1:80");
        assert_eq!(one("[fd00::1]:80".known()), "[fd00::1]:80");
        assert_eq!(one(("fd00::1", 80).known()), "[fd00::1]:80");
        assert_eq!(one(("198.18.0.1".to_owned(), 80).known()), "198.18.0.1:80");
        assert_eq!(one((&&(Ipv4Addr::LOCALHOST, 1)).known()), "127.0.0.1:1");
        let all: [SocketAddr; 2] = [([127, 0, 0, 1], 1).into(), ([127, 0, 0, 1], 2).into()];
        assert!(matches!(all[..].known(), Ok(Known::Several(it)) if it == all));
        for named in [
            "example.org:80".known(),
            "example.org:80".to_owned().known(),
            ("example.org", 80).known(),
        ] {
            assert!(matches!(named, Ok(Known::Name(name, 80)) if name == "example.org"));
        }
    }

    #[test]
    fn text_that_is_neither_is_refused() {
        for bad in [
            "example.org",
            "example.org:",
            "example.org:http",
            "example.org:70000",
            ":80",
            "",
        ] {
            let error = bad.known().unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::InvalidInput, "{bad}");
        }
        assert!(("", 80).known().is_err());
    }
}
