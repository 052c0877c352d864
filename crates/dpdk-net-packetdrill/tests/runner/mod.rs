//! Runs scripts in packetdrill's language against the C interface, in virtual time, one connection a script. What the stack
//! sends must be what the script says, when it says, and nothing else.

#![allow(dead_code, unreachable_pub, reason = "each user takes a part of it")]

mod calls;
pub mod client;
mod packets;
pub mod script;
mod tcp_info;
pub mod wire;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::thread::JoinHandle;

use calls::Call;
use client::Client;
use script::{Action, Event, Script, When};

/// How far off an event may be, as packetdrill has it.
const TOLERANCE: i64 = 4_000;
/// And in hundredths of the time since the event before, where that is more.
const TOLERANCE_PERCENT: f64 = 12.5;
const PORT: u16 = 8080;

/// Which addresses a script is run with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
    /// IPv4 through an IPv6 socket.
    Mapped,
}

#[derive(Debug, Default)]
struct Connection {
    local: Option<SocketAddr>,
    remote: Option<SocketAddr>,
    /// The stack's sequence numbers less those of the script, once one was seen.
    offset: Option<u32>,
    /// Timestamps of the stack by those that the script calls them.
    stamps: HashMap<u32, u32>,
    active: bool,
    /// The peer has acknowledged our SYN.
    acknowledged: bool,
    /// The peer has sent a SYN for one more connection between the same: if that is answered with a SYN, numbers begin anew.
    again: bool,
}

type Outcome<T> = Result<T, String>;
/// When a call returned, and the descriptor that it opened: the script's and the stack's.
type Returned = (i64, Option<(i64, i32)>);

#[derive(Debug)]
pub struct Runner {
    client: Client,
    family: Family,
    fds: HashMap<i64, i32>,
    connection: Connection,
    /// The port that the peer will use next.
    peer_port: u16,
    start: i64,
    /// Time of the event before, as the script counts.
    last: i64,
    /// The call that may block: its thread, which tells when it returned and the descriptor that it opened, and when it should.
    blocked: Option<(JoinHandle<Outcome<Returned>>, i64)>,
    mtu: u32,
}

/// Runs one script.
pub fn run(text: &str, family: Family) -> Outcome<()> {
    let script = script::parse(text)?;
    let flags = script.options.get("so_flags").map_or("", String::as_str);
    let flags = match script.options.get("mtu") {
        Some(mtu) => format!("{flags},mtu={mtu}"),
        None => flags.to_string(),
    };
    let client = Client::new(&flags);
    let mut runner = Runner {
        client,
        family,
        fds: HashMap::new(),
        connection: Connection::default(),
        peer_port: 40_000,
        start: client.now(),
        last: 0,
        blocked: None,
        mtu: 1500,
    };
    let strict = script
        .options
        .get("strict")
        .is_none_or(|strict| strict != "off");
    let result = runner.run(&script, strict);
    if result.is_ok() {
        client.free();
    }
    result
}

/// The families that a script is meant for.
pub fn families(text: &str) -> Vec<Family> {
    match script::parse(text).map(|script| script.options.get("ip_version").cloned()) {
        Ok(Some(version)) if version == "ipv4" => vec![Family::V4],
        Ok(Some(version)) if version == "ipv6" => vec![Family::V6],
        _ => vec![Family::V4, Family::V6, Family::Mapped],
    }
}

impl Runner {
    fn run(&mut self, script: &Script, strict: bool) -> Outcome<()> {
        for event in &script.events {
            self.event(event)
                .map_err(|error| format!("line {}: {error}", event.line))?;
        }
        self.join()
            .map_err(|error| format!("at the end: {error}"))?;
        if strict {
            let (returned, packet, _) = self.client.netdev_receive();
            if returned.value == 0 && !packet.is_empty() {
                return Err(format!(
                    "at the end: a packet that the script does not have: {}",
                    self.describe(&packet)
                ));
            }
        }
        Ok(())
    }

    fn now(&self) -> i64 {
        self.client.now() - self.start
    }

    fn local_ip(&self) -> IpAddr {
        match self.family {
            Family::V4 | Family::Mapped => "192.168.7.9".parse().expect("an address"),
            Family::V6 => "fd3d:fa7b:d17d::9".parse().expect("an address"),
        }
    }

    fn remote_ip(&self) -> IpAddr {
        match self.family {
            Family::V4 | Family::Mapped => "192.0.2.1".parse().expect("an address"),
            Family::V6 => "2001:db8::1".parse().expect("an address"),
        }
    }

    /// As a socket of the family under test has it.
    fn socket_addr(&self, ip: IpAddr) -> SocketAddr {
        match (ip, self.family) {
            (IpAddr::V4(v4), Family::Mapped) => SocketAddr::new(v4.to_ipv6_mapped().into(), PORT),
            _ => SocketAddr::new(ip, PORT),
        }
    }

    fn event(&mut self, event: &Event) -> Outcome<()> {
        let (first, last) = match event.when {
            When::At(at) => (at, at),
            When::After(time) => (self.last + time, self.last + time),
            When::Between(first, last) => (first, last),
            When::AfterBetween(first, last) => (self.last + first, self.last + last),
            When::Any => (i64::MIN, i64::MAX),
        };
        let outbound = matches!(&event.action, Action::Packet(packet) if !packet.inbound);
        if outbound {
            let Action::Packet(packet) = &event.action else {
                return Ok(());
            };
            let at = self.expect(packet)?;
            let slack = TOLERANCE
                .max(((first.saturating_sub(self.last)) as f64 * TOLERANCE_PERCENT / 100.0) as i64);
            if at < first.saturating_sub(slack) || at > last.saturating_add(slack) {
                return Err(format!(
                    "expected at {:.6} s, but it came at {:.6} s",
                    first as f64 / 1e6,
                    at as f64 / 1e6
                ));
            }
            self.last = if event.when == When::Any || first != last {
                at
            } else {
                first
            };
            return Ok(());
        }
        if event.when != When::Any {
            self.sleep_until(first)?;
            self.last = first;
        }
        match &event.action {
            Action::Packet(packet) => self.inject(packet),
            Action::Call {
                name,
                args,
                result,
                errno,
                until,
            } => {
                self.join_if_done()?;
                let call = Call {
                    name: name.clone(),
                    args: args.clone(),
                    result: result.clone(),
                    errno: *errno,
                };
                match until {
                    Some(until) => {
                        let until = match event.when {
                            When::After(time) => first - time + until,
                            _ => *until,
                        };
                        self.start_blocking(call, until)
                    }
                    None => {
                        self.join()?;
                        self.call(&call)
                    }
                }
            }
            Action::Code(code) => {
                self.join_if_done()?;
                self.code(code)
            }
            Action::Command => Ok(()),
        }
    }

    fn sleep_until(&self, at: i64) -> Outcome<()> {
        let wait = at - self.now();
        if wait < -TOLERANCE {
            return Err(format!(
                "its time {:.6} s is past: it is {:.6} s",
                at as f64 / 1e6,
                self.now() as f64 / 1e6
            ));
        }
        if wait > 0 {
            let mut left = wait;
            while left > 0 {
                let part = left.min(1_000_000_000);
                self.client.usleep(part as u32);
                left -= part;
            }
        }
        Ok(())
    }
}
