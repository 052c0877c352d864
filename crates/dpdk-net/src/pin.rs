//! Flow rules that bring a connection, or what comes to a port number, to the queue of one worker.
//!
//! Where a NIC takes no such rule, or no more of them, packets still find their worker: they are handed over
//! ([`peers`](crate::peers)). What then is done is a setting, [`FlowPolicy`].
//!
//! What does not live here: rules themselves ([`dpdk_net_rte::flow`]).

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use dpdk_net_packet::{FiveTuple, Protocol};
use dpdk_net_rte::flow::{FlowRules, Ipv4Item, Ipv6Item, Rule, TcpItem, UdpItem};

use crate::error::Error;

/// Whether flow rules are asked of the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FlowPolicy {
    /// They are not: what comes to the wrong queue is handed over.
    Off,
    /// They are, and what the port refuses is handed over. Default.
    #[default]
    Prefer,
    /// They are, and a refusal is an error.
    Pin,
}

/// What is to come to one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PinTarget {
    /// The packets of one flow, as they arrive: the source is the peer.
    Flow(FiveTuple),
    /// Everything of a protocol, TCP or UDP, to one of our addresses and a port. The unspecified address stands for all of its
    /// family.
    Port(Protocol, SocketAddr),
}

impl fmt::Display for PinTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flow(flow) => flow.fmt(f),
            Self::Port(protocol, addr) => write!(f, "{protocol} to {addr}"),
        }
    }
}

impl PinTarget {
    fn protocol(&self) -> Protocol {
        match self {
            Self::Flow(flow) => flow.protocol,
            Self::Port(protocol, _) => *protocol,
        }
    }

    /// Where it is for, and where it comes from if that counts.
    fn ends(&self) -> (SocketAddr, Option<SocketAddr>) {
        // Sockets of both families show IPv4 addresses as mapped ones, which are in no packet.
        let real = |addr: SocketAddr| SocketAddr::new(addr.ip().to_canonical(), addr.port());
        match self {
            Self::Flow(flow) => (real(flow.dst), Some(real(flow.src))),
            Self::Port(_, local) => (real(*local), None),
        }
    }

    /// The rule that brings it to a queue.
    ///
    /// # Errors
    /// [`Error::BadTarget`] for a protocol without ports or addresses of two families.
    pub fn rule(&self, queue: u16) -> Result<Rule, Error> {
        let bad = |why: &str| Error::BadTarget {
            target: self.to_string(),
            why: why.to_owned(),
        };
        let (to, from) = self.ends();
        let (port, from_port) = (to.port().into(), from.map(|from| from.port()));
        let tcp = TcpItem {
            src_port: from_port.map_or_else(Default::default, Into::into),
            dst_port: port,
            ..TcpItem::default()
        };
        let udp = UdpItem {
            src_port: tcp.src_port,
            dst_port: port,
        };
        let rule = match (to.ip(), from.map(|from| from.ip())) {
            (IpAddr::V4(dst), None | Some(IpAddr::V4(_))) => {
                let mut ip = Ipv4Item::default();
                if !dst.is_unspecified() {
                    ip.dst = dst.into();
                }
                if let Some(IpAddr::V4(src)) = from.map(|from| from.ip()) {
                    ip.src = src.into();
                }
                let ip = Rule::ingress().ipv4(ip);
                match self.protocol() {
                    Protocol::Tcp => ip.tcp(tcp).to_queue(queue),
                    Protocol::Udp => ip.udp(udp).to_queue(queue),
                    _ => return Err(bad("only TCP and UDP have ports")),
                }
            }
            (IpAddr::V6(dst), None | Some(IpAddr::V6(_))) => {
                let mut ip = Ipv6Item::default();
                if !dst.is_unspecified() {
                    ip.dst = dst.into();
                }
                if let Some(IpAddr::V6(src)) = from.map(|from| from.ip()) {
                    ip.src = src.into();
                }
                let ip = Rule::ingress().ipv6(ip);
                match self.protocol() {
                    Protocol::Tcp => ip.tcp(tcp).to_queue(queue),
                    Protocol::Udp => ip.udp(udp).to_queue(queue),
                    _ => return Err(bad("only TCP and UDP have ports")),
                }
            }
            _ => return Err(bad("its addresses are of two families")),
        };
        Ok(rule?)
    }
}

/// Something that comes to one queue. Dropping it lets it come where RSS sends it.
#[derive(Debug)]
#[must_use = "dropping it destroys the rule"]
pub struct QueuePin<F> {
    rule: Option<F>,
    refused: Option<String>,
}

impl<F> QueuePin<F> {
    /// The NIC's rule; `None` where packets are handed over instead.
    pub fn rule(&self) -> Option<&F> {
        self.rule.as_ref()
    }

    /// What the port said, where it refused.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }
}

/// Has `target` come to a queue, by a flow rule where the policy wants one and the port takes it.
///
/// # Errors
/// [`Error::BadTarget`], and with [`FlowPolicy::Pin`] the port's refusal.
pub fn pin<R: FlowRules>(
    rules: &R,
    policy: FlowPolicy,
    target: &PinTarget,
    queue: u16,
) -> Result<QueuePin<R::Flow>, Error> {
    let rule = target.rule(queue)?;
    if policy == FlowPolicy::Off {
        return Ok(QueuePin {
            rule: None,
            refused: None,
        });
    }
    match rules.create_flow(&rule) {
        Ok(flow) => Ok(QueuePin {
            rule: Some(flow),
            refused: None,
        }),
        Err(error) if policy == FlowPolicy::Pin => Err(error.into()),
        Err(error) => {
            tracing::info!(%target, queue, %error, "the port takes no flow rule for this: packets that come to other queues are handed over");
            Ok(QueuePin {
                rule: None,
                refused: Some(error.to_string()),
            })
        }
    }
}
