//! `[[listener]]` and `[[route]]`: what is listened on, and what `dpdk-net run` serves there.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use crate::decode::section;
use crate::value::{Size, Time, Written, choice};

choice! {
    /// The protocol of a listener.
    pub enum Protocol {
        /// TCP.
        Tcp = "tcp",
        /// UDP.
        Udp = "udp",
    }
}

choice! {
    /// Which workers accept.
    pub enum AcceptOn {
        /// Each accepts what comes to its own queue.
        Each = "each",
        /// The first queue's accepts everything.
        First = "first",
    }
}

/// An address to listen on that has to be given: `[::]:80`, `198.18.0.2:443`; `:80` is all addresses of both families.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ListenAddr(pub SocketAddr);

impl fmt::Display for ListenAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Written for ListenAddr {
    const WHAT: &'static str = "an address and a port";
    const EXAMPLES: &'static [&'static str] = &["[::]:80", ":80", "198.18.0.2:80"];
    const PATTERN: &'static str = ":[0-9]{1,5}$";

    fn read(text: &str) -> Result<Self, String> {
        let whole = match text.strip_prefix(':').or_else(|| text.strip_prefix("*:")) {
            Some(port) => format!("[::]:{port}"),
            None => text.to_owned(),
        };
        match whole.parse::<SocketAddr>() {
            Ok(address) if address.port() == 0 => Err("its port is 1 to 65535".to_owned()),
            Ok(address) => Ok(Self(address)),
            Err(_) => Err(match text.parse::<IpAddr>() {
                Ok(IpAddr::V4(ip)) => format!("it has no port: \"{ip}:80\", say"),
                Ok(IpAddr::V6(ip)) => format!("it has no port: \"[{ip}]:80\", say"),
                Err(_) => "it should be an IP address and a port".to_owned(),
            }),
        }
    }
}

choice! {
    /// Whether clients are asked for certificates.
    pub enum ClientCertificates {
        /// Who has none is refused.
        Required = "required",
        /// Who has none is let in; one that is shown has to be good.
        Optional = "optional",
    }
}

section! {
    /// A certificate and its key, in PEM files.
    pub struct Certificate {
        /// The certificate, with those of its issuers behind it.
        need certificate: PathBuf;
        /// Its private key.
        need key: PathBuf;
    }
}

section! {
    /// TLS on a listener. SIGHUP has the files read anew.
    pub struct Tls {
        /// The certificate in PEM, with those of its issuers behind it.
        need certificate: PathBuf;
        /// Its private key in PEM.
        need key: PathBuf;
        /// Further certificates: a client gets the one with the name that it asks for (SNI), and the first where none has it.
        list more: Certificate;
        /// Authorities in PEM: clients are asked for certificates that these have signed, at each connection, as sessions are not resumed then.
        opt client_ca: PathBuf;
        /// Whether they have to have one.
        opt client_certificates: ClientCertificates { default: "required" };
        /// Protocols, the best first (ALPN). For HTTP/2 and 1.1 by default.
        list alpn: String;
    }
}

section! {
    /// A named address that the application listens on.
    pub struct Listener {
        /// What the application calls it.
        need name: String;
        /// Address and port: `[::]:80` and `:80` for all addresses of both families, `0.0.0.0:80` for those of IPv4.
        need address: ListenAddr;
        /// The protocol.
        opt protocol: Protocol { default: "tcp" };
        /// Connections that may wait to be accepted, on each worker.
        opt backlog: u32 { range: Some((1, 65_536)), default: "1024" };
        /// Which workers accept.
        opt accept: AcceptOn { default: "each" };
        /// The port, by its name, where there are several. All by default.
        opt port: String;
        /// TLS, with this certificate. Without it by default.
        opt tls: Tls;
    }
}

section! {
    /// A directory.
    pub struct Files {
        /// The directory.
        need root: PathBuf;
        /// The file that stands for a directory.
        opt index: String { default: "index.html" };
        /// Whether directories without such a file are listed.
        opt listing: bool { default: "false" };
    }
}

section! {
    /// Servers that requests are passed on to.
    pub struct Proxy: Default {
        /// Their addresses, as in `http://198.18.0.1:8080`; several take turns.
        list upstreams: String;
        /// How long a connection to one may take.
        opt connect_timeout: Time { range: Some((1_000, 3_600_000_000)), default: "5 s" };
        /// How long its response may take to begin.
        opt response_timeout: Time { range: Some((1_000, 3_600_000_000)), default: "1 min" };
        /// The largest body of a request.
        opt body_limit: Size { range: Some((0, 1 << 40)), default: "1 GiB" };
    }
}

section! {
    /// Another address.
    pub struct Redirect {
        /// Where to.
        need to: String;
        /// The status: 301, 302, 303, 307 or 308.
        opt status: u16 { range: Some((300, 399)), default: "308" };
    }
}

section! {
    /// A route: hosts and paths, and one of `files`, `proxy`, `redirect` and `status`, which says what they get.
    pub struct Route: Default {
        /// The listener, by its name. All by default.
        opt listener: String;
        /// The host that is asked for. Any by default.
        opt host: String;
        /// What the path begins with.
        opt path: String { default: "/" };
        /// A directory that is served.
        opt files: Files;
        /// Servers that requests are passed on to.
        opt proxy: Proxy;
        /// Another address, to which clients are sent.
        opt redirect: Redirect;
        /// Answer with this status alone.
        opt status: u16 { range: Some((200, 599)) };
    }
}
