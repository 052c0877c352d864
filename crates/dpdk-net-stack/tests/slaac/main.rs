//! Addresses, routes and DNS servers from what routers advertise: RFC 4861 section 6.3, RFC 4862 section 5.5, RFC 4191,
//! RFC 7217, RFC 7559 and RFC 8106.

#[path = "../common/mod.rs"]
mod common;

mod addresses;
mod hostile;
mod moved;
mod routers;

use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;

use common::*;
use dpdk_net_packet::{
    MacAddr, Network, Parsed, Protocol, Transport, checksum, ethernet, ipv6, parse,
};
use dpdk_net_stack::{
    AddressState, Config, Duration, Instant, Neighbor, Origin, Stack, SteeringTable, UdpOptions,
    Vlan,
};

const NOW: Instant = Instant::from_secs(1_000);
const ALL_NODES: &str = "ff02::1";
const ROUTER: &str = "fe80::1";
/// The address that host 1 makes of `fd00:7::/64`.
const MADE: &str = "fd00:7::ff:fe00:1";

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn v6(text: &str) -> Ipv6Addr {
    text.parse().unwrap()
}

fn secs(secs: u64) -> Instant {
    NOW + Duration::from_secs(secs)
}

/// A router's message.
#[derive(Clone)]
struct Ra {
    from: &'static str,
    mac: MacAddr,
    hop_limit: u8,
    flags: u8,
    lifetime: u16,
    options: Vec<u8>,
}

/// From the router with this address, whose MAC address tells it.
fn ra(from: &'static str) -> Ra {
    Ra {
        from,
        mac: mac(v6(from).segments()[7] + 100),
        hop_limit: 255,
        flags: 0,
        lifetime: 1_800,
        options: Vec::new(),
    }
}

impl Ra {
    fn with(mut self, option: &[u8]) -> Self {
        self.options.extend_from_slice(option);
        self
    }

    /// On the link and for addresses, valid and preferred for so many seconds.
    fn prefix(self, prefix: &str, valid: u32, preferred: u32) -> Self {
        self.prefix_with(prefix, 0xc0, valid, preferred)
    }

    fn prefix_with(self, prefix: &str, flags: u8, valid: u32, preferred: u32) -> Self {
        let (prefix, len) = prefix.split_once('/').unwrap();
        let mut option = vec![3, 4, len.parse().unwrap(), flags];
        option.extend(valid.to_be_bytes());
        option.extend(preferred.to_be_bytes());
        option.extend([0; 4]);
        option.extend(v6(prefix).octets());
        self.with(&option)
    }

    fn mtu(self, mtu: u32) -> Self {
        let mut option = vec![5, 1, 0, 0];
        option.extend(mtu.to_be_bytes());
        self.with(&option)
    }

    fn own_mac(self) -> Self {
        let mut option = vec![1, 1];
        option.extend(self.mac.0);
        self.with(&option)
    }

    fn resolver(self, addr: &str, lifetime: u32) -> Self {
        let mut option = vec![25, 3, 0, 0];
        option.extend(lifetime.to_be_bytes());
        option.extend(v6(addr).octets());
        self.with(&option)
    }

    fn message(&self) -> Vec<u8> {
        let mut message = vec![134, 0, 0, 0, 64, self.flags];
        message.extend(self.lifetime.to_be_bytes());
        message.extend([0; 8]);
        message.extend(&self.options);
        message
    }

    fn frame(&self) -> Vec<u8> {
        frame_of(
            self.mac,
            (v6(self.from), v6(ALL_NODES)),
            self.hop_limit,
            self.message(),
        )
    }
}

fn frame_of(
    mac: MacAddr,
    (src, dst): (Ipv6Addr, Ipv6Addr),
    hop_limit: u8,
    mut message: Vec<u8>,
) -> Vec<u8> {
    checksum::fill_icmpv6(src, dst, &mut message);
    let mut frame = vec![0; ethernet::HEADER_LEN + ipv6::HEADER_LEN];
    let to = MacAddr::from_ipv6_multicast(dst);
    ethernet::write_header(&mut frame, to, mac, ethernet::TYPE_IPV6);
    let header = ipv6::Header {
        hop_limit,
        ..ipv6::Header::new(src, dst, Protocol::Icmpv6, message.len())
    };
    header.write(&mut frame[ethernet::HEADER_LEN..]);
    frame.extend(message);
    frame
}

fn bare(change: impl Fn(&mut Config)) -> Config {
    let mut config = Config::new(mac(1));
    config.slaac = true;
    config.dad = false;
    change(&mut config);
    config
}

fn stack() -> Stack {
    Stack::new(bare(|_| {}), NOW).unwrap()
}

fn sent(stack: &mut Stack, now: Instant) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    stack.poll_transmit(now, &mut frames);
    frames
}

/// Lets time pass until then; what was sent meanwhile, and when.
fn run(stack: &mut Stack, until: Instant) -> Vec<(Instant, Vec<u8>)> {
    let mut frames = Vec::new();
    while let Some(now) = stack.next_timeout().filter(|at| *at <= until) {
        stack.handle_timeout(now);
        frames.extend(sent(stack, now).into_iter().map(|frame| (now, frame)));
    }
    stack.handle_timeout(until);
    frames.extend(sent(stack, until).into_iter().map(|frame| (until, frame)));
    frames
}

fn hear(stack: &mut Stack, now: Instant, ra: &Ra) {
    stack.handle_timeout(now);
    stack.ingest(now, &[ra.frame()]);
}

/// Addresses other than link-local ones.
fn made(stack: &Stack) -> Vec<(IpAddr, AddressState)> {
    let all = stack.interface_addresses().into_iter();
    let global =
        all.filter(|it| !matches!(it.address.addr, IpAddr::V6(a) if a.is_unicast_link_local()));
    global.map(|it| (it.address.addr, it.state)).collect()
}

/// Preferred and valid lifetime of the address, in seconds.
fn left(stack: &Stack, addr: &str) -> (u64, u64) {
    let all = stack.interface_addresses();
    let found = all.iter().find(|it| it.address.addr == ip(addr)).unwrap();
    assert_eq!(found.origin, Origin::Advertised);
    (
        found.lifetimes.preferred.as_secs(),
        found.lifetimes.valid.as_secs(),
    )
}

/// The MAC address that a datagram there goes to; `None` if nothing leaves.
fn way_to(stack: &mut Stack, now: Instant, to: &str) -> Option<MacAddr> {
    let id = stack.udp_bind(UdpOptions::new(Family::V6.any(0))).unwrap();
    let to = std::net::SocketAddr::new(ip(to), 9);
    let _ = stack.udp_send(now, id, b"x", Some(to));
    stack.udp_close(id);
    let frames = sent(stack, now);
    frames.iter().find_map(|frame| match parse(frame).unwrap() {
        Parsed {
            dst_mac,
            network: Network::Ip(_, Transport::Udp(_)),
            ..
        } => Some(dst_mac),
        _ => None,
    })
}

/// When routers were asked for, and from which address.
fn solicitations(frames: &[(Instant, Vec<u8>)]) -> Vec<(Instant, IpAddr, usize)> {
    let solicitation = |(at, frame): &(Instant, Vec<u8>)| match parse(frame).unwrap().network {
        Network::Ip(ip, Transport::Icmpv6(message)) if message.kind() == 133 => {
            assert_eq!(
                (ip.hop_limit(), ip.dst()),
                (255, "ff02::2".parse().unwrap())
            );
            Some((*at, ip.src(), message.bytes().len()))
        }
        _ => None,
    };
    frames.iter().filter_map(solicitation).collect()
}
