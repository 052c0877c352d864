//! One host: a stack, a clock, file descriptors, and the IP packets that it has sent. Nothing here blocks or waits: a call
//! that can't be finished yet says so, and may be tried again after time has passed or a packet has come.
//!
//! Packets go in and out without a link layer. The stack speaks Ethernet: the header is put on and taken off here, all
//! remote addresses lie behind one gateway whose MAC address is known, and what the stack says to neighbours (ARP,
//! neighbour discovery, group membership) stays inside.

mod calls;
mod data;
mod epoll;
mod fd;
mod number;

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::collections::{HashSet, VecDeque};

use dpdk_net_packet::MacAddr;
use dpdk_net_stack::{
    Config, Duration, Error, Event, IfAddr, Instant, ListenerId, Route, Stack, TxMeta, TxSink,
};

pub use calls::{Attempt, Call, Outcome, PollFd, Queues};
pub use epoll::{EpollEvent, Watch};
pub use fd::{Descriptor, Kind, Settings};

use crate::errno::Errno;
use crate::flags::Flags;
use fd::Descriptors;

/// The address of the host where nothing else is said, in packetdrill's range of local addresses.
pub const LOCAL_V4: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 2);
/// The same for IPv6.
pub const LOCAL_V6: Ipv6Addr = Ipv6Addr::new(0xfd3d, 0xfa7b, 0xd17d, 0, 0, 0, 0, 2);
/// The routers: everything remote is behind them.
const GATEWAY_V4: [Ipv4Addr; 2] = [
    Ipv4Addr::new(192, 168, 0, 1),
    Ipv4Addr::new(192, 168, 255, 254),
];
const GATEWAY_V6: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 1);
const GATEWAY_MAC: MacAddr = MacAddr([0x02, 0, 0, 0, 0, 0xfe]);

/// Packets kept until they are taken; while there are so many the stack is not asked for more.
const MAX_SENT: usize = 16_384;
/// Timers that fire at one moment, at most, before time is moved on by force.
const MAX_AT_ONCE: usize = 4_096;
const ETHERNET: usize = 14;

/// An IP packet that the host has sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// When.
    pub at: Instant,
    /// The packet, from the IP header on.
    pub packet: Vec<u8>,
}

/// Takes frames from the stack.
struct Sink<'a> {
    sent: &'a mut VecDeque<Sent>,
    now: Instant,
}

impl TxSink for Sink<'_> {
    fn capacity(&mut self) -> usize {
        MAX_SENT.saturating_sub(self.sent.len())
    }

    /// What Linux makes of the round trips that scripts have, and marks with PSH (`tcp_tso_autosize`).
    fn large_segments(&mut self) -> usize {
        self.capacity().min(2)
    }

    fn send<R>(&mut self, len: usize, _meta: TxMeta, fill: impl FnOnce(&mut [u8]) -> R) -> R {
        let mut frame = vec![0; len];
        let result = fill(&mut frame);
        if is_for_peers(&frame) {
            self.sent.push_back(Sent {
                at: self.now,
                packet: frame.split_off(ETHERNET),
            });
        }
        result
    }
}

/// Whether a frame is an IP packet that has to do with hosts rather than with the link: no ARP, neighbour discovery or
/// group membership (ICMPv6 types 130 to 143, also behind a hop-by-hop header; IGMP).
fn is_for_peers(frame: &[u8]) -> bool {
    let packet = frame.get(ETHERNET..).unwrap_or_default();
    match frame.get(12..ETHERNET) {
        Some([0x08, 0x00]) => packet.get(9) != Some(&2),
        Some([0x86, 0xdd]) => match packet.get(6) {
            Some(0) => false,
            Some(58) => !matches!(packet.get(40), Some(130..=143)),
            Some(_) => true,
            None => false,
        },
        _ => false,
    }
}

/// The host.
#[derive(Debug)]
pub struct Host {
    flags: Flags,
    stack: Stack,
    now: Instant,
    pub(crate) fds: Descriptors,
    sent: VecDeque<Sent>,
    /// Listeners with a connection to accept.
    acceptable: HashSet<ListenerId>,
}

impl Host {
    /// A host with the addresses that the flags name, and default ones beside.
    pub fn new(flags: Flags, now: Instant) -> Result<Self, Error> {
        let stack = new_stack(&flags, now)?;
        Ok(Host {
            flags,
            stack,
            now,
            fds: Descriptors::default(),
            sent: VecDeque::new(),
            acceptable: HashSet::new(),
        })
    }

    /// The time.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// The stack, for its counters.
    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// What the stack was configured with.
    pub fn config(&self) -> &Config {
        &self.flags.config
    }

    pub(crate) fn stack_mut(&mut self) -> &mut Stack {
        &mut self.stack
    }

    /// The descriptors.
    pub fn descriptor(&self, fd: i32) -> Result<&Descriptor, Errno> {
        self.fds.get(fd)
    }

    /// When something will happen by itself.
    pub fn next_timeout(&self) -> Option<Instant> {
        self.stack.next_timeout()
    }

    /// Has the stack send what it has to send, and hear of timers that are due, without moving the clock.
    pub fn run(&mut self) {
        for _ in 0..MAX_AT_ONCE {
            let sent = self.sent.len();
            self.stack.poll_transmit(
                self.now,
                &mut Sink {
                    sent: &mut self.sent,
                    now: self.now,
                },
            );
            // Of connections readiness can be asked; of listeners only an event tells.
            while let Some(event) = self.stack.poll_event() {
                if let Event::Listener(id) = event {
                    self.acceptable.insert(id);
                }
            }
            let due = self.stack.next_timeout().is_some_and(|at| at <= self.now);
            if due {
                self.stack.handle_timeout(self.now);
            } else if self.sent.len() == sent {
                break;
            }
        }
    }

    /// Moves the clock to the next thing that happens by itself, `until` at the latest, and lets it happen. Tells whether
    /// the clock is now at `until`.
    pub fn step(&mut self, until: Instant) -> bool {
        let floor = self.now;
        let next = self.stack.next_timeout().unwrap_or(until).min(until);
        self.now = next.max(floor);
        let before = self.sent.len();
        self.stack.handle_timeout(self.now);
        self.run();
        // A timer that stays due without doing anything must not stop the clock.
        if self.now == floor && self.sent.len() == before && floor < until {
            let next = self.stack.next_timeout().unwrap_or(until);
            if next <= floor {
                self.now = (floor + Duration::from_micros(1)).min(until);
            }
        }
        self.now >= until
    }

    /// The oldest packet not taken yet.
    pub fn take_sent(&mut self) -> Option<Sent> {
        let sent = self.sent.pop_front()?;
        if self.sent.len() + 1 == MAX_SENT {
            self.run();
        }
        Some(sent)
    }

    /// Whether packets wait to be taken.
    pub fn has_sent(&self) -> bool {
        !self.sent.is_empty()
    }

    /// A packet arrives from the network.
    pub fn receive(&mut self, packet: &[u8]) -> Result<(), Errno> {
        let (ethertype, src, dst) = addresses(packet).ok_or(Errno(libc::EINVAL))?;
        self.use_local(dst);
        self.know(src);
        let mut frame = Vec::with_capacity(ETHERNET + packet.len());
        frame.extend_from_slice(&self.flags.config.mac.0);
        frame.extend_from_slice(&GATEWAY_MAC.0);
        frame.extend_from_slice(&ethertype);
        frame.extend_from_slice(packet);
        self.stack.ingest(self.now, &[frame.as_slice()]);
        self.run();
        Ok(())
    }

    /// A remote host on the link itself is reached directly, so its MAC address must be known.
    pub(crate) fn know(&mut self, remote: IpAddr) {
        let remote = remote.to_canonical();
        let host = !remote.is_unspecified() && !remote.is_multicast() && !remote.is_loopback();
        let own = self.stack.addresses().iter().any(|own| own.addr == remote);
        if host && !own {
            self.stack.add_neighbor(remote, GATEWAY_MAC);
        }
    }

    /// Takes `addr` for the host's own. packetdrill draws its local address by lot and tells it only by using it. While
    /// there is no socket in the stack, the stack is made anew with that address; later it stays as it is.
    pub(crate) fn use_local(&mut self, addr: IpAddr) -> bool {
        let addr = addr.to_canonical();
        if self.stack.addresses().iter().any(|own| own.addr == addr) {
            return true;
        }
        let group = addr.is_unspecified() || addr.is_multicast() || addr.is_loopback();
        if group || self.fds.any_in_stack() || self.stack.tcp_count() > 0 {
            return false;
        }
        let mut flags = self.flags.clone();
        flags.local.retain(|own| own.is_ipv4() != addr.is_ipv4());
        flags.local.push(addr);
        match new_stack(&flags, self.now) {
            Ok(stack) => {
                self.flags = flags;
                self.stack = stack;
                true
            }
            Err(_) => false,
        }
    }
}

/// EtherType, source and destination of an IP packet.
fn addresses(packet: &[u8]) -> Option<([u8; 2], IpAddr, IpAddr)> {
    match packet.first()? >> 4 {
        4 => {
            let at = |from: usize| -> Option<IpAddr> {
                let bytes: [u8; 4] = packet.get(from..from + 4)?.try_into().ok()?;
                Some(IpAddr::from(bytes))
            };
            Some(([0x08, 0x00], at(12)?, at(16)?))
        }
        6 => {
            let at = |from: usize| -> Option<IpAddr> {
                let bytes: [u8; 16] = packet.get(from..from + 16)?.try_into().ok()?;
                Some(IpAddr::from(bytes))
            };
            Some(([0x86, 0xdd], at(8)?, at(24)?))
        }
        _ => None,
    }
}

fn new_stack(flags: &Flags, now: Instant) -> Result<Stack, Error> {
    let mut config = flags.config.clone();
    let last = |v4: bool| {
        flags
            .local
            .iter()
            .rev()
            .find(|a| a.is_ipv4() == v4)
            .copied()
    };
    let v4 = last(true).unwrap_or(IpAddr::V4(LOCAL_V4));
    let v6 = last(false).unwrap_or(IpAddr::V6(LOCAL_V6));
    let gateway_v4 = if v4 == IpAddr::V4(GATEWAY_V4[0]) {
        GATEWAY_V4[1]
    } else {
        GATEWAY_V4[0]
    };
    config.addresses.push(IfAddr::new(v4, 16)?);
    config.addresses.push(IfAddr::new(v6, 48)?);
    for gateway in [IpAddr::V4(gateway_v4), IpAddr::V6(GATEWAY_V6)] {
        config.routes.push(Route::default_via(gateway));
    }
    // The gateway may be outside of the prefix of an address that somebody chose.
    config.routes.push(Route {
        dest: IpAddr::V4(gateway_v4),
        prefix_len: 32,
        gateway: None,
        vlan: None,
    });
    let mut stack = Stack::new(config, now)?;
    stack.add_neighbor(IpAddr::V4(gateway_v4), GATEWAY_MAC);
    stack.add_neighbor(IpAddr::V6(GATEWAY_V6), GATEWAY_MAC);
    Ok(stack)
}
