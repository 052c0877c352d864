//! Sockets that are listening when the programs start, each known by a name.
//!
//! They are bound on each worker, in the order in which they were asked for, once its addresses may be used; what can't be bound
//! keeps the application from starting.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;

use parking_lot::Mutex;

use crate::error::Error;
use crate::net::{TcpListener, TcpSocket, UdpSocket};
#[cfg(feature = "tls")]
use crate::tls::{TlsConfig, TlsListener};

/// What is listened on: see [`AppBuilder::listener`](crate::AppBuilder::listener).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct ListenerConfig {
    /// What the application calls it.
    pub name: String,
    /// Address and port.
    pub address: SocketAddr,
    /// Whether it is a UDP socket.
    pub udp: bool,
    /// Connections that may wait to be accepted, on each queue. Default: 1024.
    pub backlog: u32,
    /// Whether the first queue of the port has it alone: what comes to others is handed over. Default: each queue has its own.
    pub first_queue_only: bool,
    /// The port, by the name that the application has for it. Default: all ports.
    pub port: Option<String>,
    /// With TLS: [`Context::tls_listener`](crate::Context::tls_listener) has it then. Default: without.
    #[cfg(feature = "tls")]
    pub tls: Option<TlsConfig>,
}

impl ListenerConfig {
    /// A TCP listener on each queue of each port.
    pub fn tcp(name: impl Into<String>, address: SocketAddr) -> Self {
        Self {
            name: name.into(),
            address,
            udp: false,
            backlog: 1024,
            first_queue_only: false,
            port: None,
            #[cfg(feature = "tls")]
            tls: None,
        }
    }

    /// A UDP socket on each queue of each port.
    pub fn udp(name: impl Into<String>, address: SocketAddr) -> Self {
        Self {
            udp: true,
            ..Self::tcp(name, address)
        }
    }

    /// A TCP listener with TLS on each queue of each port. All queues share what it is configured with, and so the keys of session tickets.
    #[cfg(feature = "tls")]
    pub fn tls(name: impl Into<String>, address: SocketAddr, config: TlsConfig) -> Self {
        Self {
            tls: Some(config),
            ..Self::tcp(name, address)
        }
    }

    /// Whether this queue of this port has it.
    fn is_for(&self, port: &str, queue: u16) -> bool {
        self.port.as_ref().is_none_or(|own| own == port) && (!self.first_queue_only || queue == 0)
    }
}

/// Finds what can't be told apart, and what is for a port that is not there, once those are known.
pub(super) fn check(configs: &[ListenerConfig], ports: Option<&[String]>) -> Result<(), Error> {
    for (index, config) in configs.iter().enumerate() {
        let refuse = |why: String| Error::Listen {
            name: config.name.clone(),
            address: config.address,
            source: io::Error::new(io::ErrorKind::InvalidInput, why),
        };
        let mut before = configs.iter().take(index);
        if before.any(|other| other.name == config.name) {
            return Err(refuse("another one has this name".to_owned()));
        }
        #[cfg(feature = "tls")]
        if config.udp && config.tls.is_some() {
            return Err(refuse("TLS goes over TCP, and this is UDP".to_owned()));
        }
        if let (Some(port), Some(ports)) = (&config.port, ports)
            && !ports.contains(port)
        {
            return Err(refuse(format!("there is no port called {port}")));
        }
    }
    Ok(())
}

/// A socket that nobody has taken yet.
#[derive(Debug)]
enum Bound {
    Tcp(TcpListener),
    #[cfg(feature = "tls")]
    Tls(Box<TlsListener>),
    Udp(UdpSocket),
}

/// What one queue's program finds listening.
#[derive(Debug, Default)]
pub(super) struct Listeners(Mutex<HashMap<String, Bound>>);

impl Listeners {
    /// Binds what this queue of this port has, on the worker whose task this is.
    pub(super) async fn bind(
        configs: &[ListenerConfig],
        port: &str,
        queue: u16,
    ) -> Result<Self, Error> {
        let mut all = HashMap::new();
        for config in configs.iter().filter(|config| config.is_for(port, queue)) {
            let bound = bind(config).await.map_err(|source| Error::Listen {
                name: config.name.clone(),
                address: config.address,
                source,
            })?;
            all.insert(config.name.clone(), bound);
        }
        Ok(Self(Mutex::new(all)))
    }

    pub(super) fn tcp(&self, name: &str) -> io::Result<TcpListener> {
        self.take(name, "a TCP listener", |bound| match bound {
            Bound::Tcp(listener) => Ok(listener),
            other => Err(other),
        })
    }

    #[cfg(feature = "tls")]
    pub(super) fn tls(&self, name: &str) -> io::Result<TlsListener> {
        self.take(name, "a TCP listener with TLS", |bound| match bound {
            Bound::Tls(listener) => Ok(*listener),
            other => Err(other),
        })
    }

    pub(super) fn udp(&self, name: &str) -> io::Result<UdpSocket> {
        self.take(name, "a UDP socket", |bound| match bound {
            Bound::Udp(socket) => Ok(socket),
            other => Err(other),
        })
    }

    fn take<T>(
        &self,
        name: &str,
        what: &str,
        wanted: impl FnOnce(Bound) -> Result<T, Bound>,
    ) -> io::Result<T> {
        let mut all = self.0.lock();
        let Some(bound) = all.remove(name) else {
            return Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("nothing called {name:?} listens on this queue, or it was taken before"),
            ));
        };
        wanted(bound).map_err(|other| {
            all.insert(name.to_owned(), other);
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("what listens as {name:?} is not {what}"),
            )
        })
    }
}

async fn bind(config: &ListenerConfig) -> io::Result<Bound> {
    if config.udp {
        return UdpSocket::bind(config.address).await.map(Bound::Udp);
    }
    let socket = match config.address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.bind(config.address)?;
    let listener = socket.listen(config.backlog)?;
    #[cfg(feature = "tls")]
    if let Some(tls) = &config.tls {
        return Ok(Bound::Tls(Box::new(TlsListener::new(
            listener,
            tls.clone(),
        ))));
    }
    Ok(Bound::Tcp(listener))
}
