//! Runs scripts in packetdrill's language against the C interface, in virtual time, one connection a script. What the stack
//! sends must be what the script says, when it says, and nothing else.

#![allow(dead_code, unreachable_pub, reason = "each user takes a part of it")]

pub mod client;
pub mod script;
pub mod wire;

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::thread::{self, JoinHandle};

use client::{Client, Returned};
use script::{ACK, Action, Arg, Body, Event, Opt, Packet, SYN, Script, Tcp, When};
use wire::Segment;

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
}

type Outcome<T> = Result<T, String>;

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
    blocked: Option<(JoinHandle<Outcome<i64>>, i64)>,
    mtu: u32,
}

/// The call as it is handed to the thread that may block.
#[derive(Debug, Clone)]
struct Call {
    name: String,
    args: Vec<Arg>,
    result: Arg,
    errno: Option<i32>,
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
            Action::Code(code) => self.code(code),
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

    // ---- packets ----

    fn to_stack(&self, tcp: &Tcp) -> Outcome<Segment> {
        let connection = &self.connection;
        let (Some(local), Some(remote)) = (connection.local, connection.remote) else {
            return Err("there is no connection yet that this could belong to".into());
        };
        let offset = connection.offset.unwrap_or(0);
        let options = tcp.options.clone().unwrap_or_default();
        let options = options
            .into_iter()
            .map(|option| match option {
                Opt::Sack(blocks) => Opt::Sack(
                    blocks
                        .into_iter()
                        .map(|(a, b)| (a.wrapping_add(offset), b.wrapping_add(offset)))
                        .collect(),
                ),
                Opt::Ts(value, echo) => {
                    Opt::Ts(value, connection.stamps.get(&echo).copied().unwrap_or(echo))
                }
                other => other,
            })
            .collect();
        Ok(Segment {
            from: remote,
            to: local,
            ecn: 0,
            flags: tcp.flags,
            seq: tcp.seq,
            ack: tcp.ack.map_or(0, |ack| ack.wrapping_add(offset)),
            win: tcp.win.unwrap_or(0) as u16,
            options,
            payload: (0..tcp.len)
                .map(|at| (tcp.seq.wrapping_add(at)) as u8)
                .collect(),
        })
    }

    fn inject(&mut self, packet: &Packet) -> Outcome<()> {
        let bytes = match &packet.body {
            Body::Tcp(tcp) => {
                if tcp.flags & (SYN | ACK) == SYN && self.connection.remote.is_none() {
                    self.connection = Connection {
                        local: Some(SocketAddr::new(self.local_ip(), PORT)),
                        remote: Some(SocketAddr::new(self.remote_ip(), self.peer_port)),
                        ..Connection::default()
                    };
                    self.peer_port += 1;
                }
                let mut segment = self.to_stack(tcp)?;
                segment.ecn = packet.ecn.unwrap_or(0);
                segment.build()
            }
            Body::Icmp {
                about,
                kind,
                code,
                mtu,
            } => {
                let tcp = Tcp {
                    flags: ACK,
                    seq: 0,
                    len: 0,
                    ack: None,
                    win: None,
                    options: None,
                };
                let mut segment = self.to_stack(&tcp)?;
                std::mem::swap(&mut segment.from, &mut segment.to);
                segment.seq = about.wrapping_add(self.connection.offset.unwrap_or(0));
                let v6 = segment.from.is_ipv6();
                let (kind, code) = icmp_numbers(v6, kind, code)?;
                segment.icmp_error(kind, code, *mtu)
            }
        };
        let returned = self.client.netdev_send(&bytes);
        if returned.value != 0 {
            return Err(format!("netdev_send: {returned:?}"));
        }
        Ok(())
    }

    fn describe(&self, packet: &[u8]) -> String {
        match Segment::read(packet) {
            Ok(segment) => self.show(&segment),
            Err(error) => format!("{packet:02x?} ({error})"),
        }
    }

    /// A segment of the stack in the words of a script.
    fn show(&self, segment: &Segment) -> String {
        let flags: String = [
            (script::FIN, 'F'),
            (script::SYN, 'S'),
            (script::RST, 'R'),
            (script::PSH, 'P'),
            (script::ECE, 'E'),
            (script::CWR, 'W'),
            (script::URG, 'U'),
            (script::ACK, '.'),
        ]
        .into_iter()
        .filter(|(flag, _)| segment.flags & flag != 0)
        .map(|(_, c)| c)
        .collect();
        let offset = self.connection.offset.unwrap_or(segment.seq);
        let seq = segment.seq.wrapping_sub(offset);
        let len = segment.payload.len() as u32;
        format!(
            "{flags} {seq}:{}({len}) ack {} win {} {:?} ecn {}",
            seq.wrapping_add(len),
            segment.ack,
            segment.win,
            segment.options,
            segment.ecn
        )
    }

    /// Waits for the next packet; it must be this one, or the beginning of this one if more follows at the same time: a
    /// script may speak of what segmentation offload would send at once. Tells when it came.
    fn expect(&mut self, packet: &Packet) -> Outcome<i64> {
        let Body::Tcp(tcp) = &packet.body else {
            return Err("only TCP segments can be expected".into());
        };
        let mut rest = tcp.clone();
        let mut first = None;
        loop {
            let (at, len) = self.expect_part(packet, &rest)?;
            if *first.get_or_insert(at) != at {
                return Err(format!(
                    "a part of it came later, at {:.6} s",
                    at as f64 / 1e6
                ));
            }
            if len >= rest.len {
                return Ok(at);
            }
            rest.seq = rest.seq.wrapping_add(len);
            rest.len -= len;
        }
    }

    fn expect_part(&mut self, packet: &Packet, tcp: &Tcp) -> Outcome<(i64, u32)> {
        let (bytes, at) = loop {
            let (returned, bytes, at) = self.client.netdev_receive();
            match returned {
                Returned { value: 0, .. } if bytes.is_empty() => {
                    return Err("no packet comes any more".into());
                }
                Returned { value: 0, .. } => break (bytes, at - self.start),
                Returned { errno, .. } if errno == libc::EAGAIN => {}
                returned => return Err(format!("netdev_receive: {returned:?}")),
            }
        };
        let segment = Segment::read(&bytes)?;
        // The first segment of an active open tells where the connection is.
        if self.connection.active && self.connection.local.is_none() {
            self.connection.local = Some(segment.from);
            self.connection.remote = Some(segment.to);
        }
        let offset = *self
            .connection
            .offset
            .get_or_insert(segment.seq.wrapping_sub(tcp.seq));
        let mut wrong = Vec::new();
        if Some(segment.from) != self.connection.local || Some(segment.to) != self.connection.remote
        {
            wrong.push(format!("from {} to {}", segment.from, segment.to));
        }
        let part = !segment.payload.is_empty() && segment.payload.len() < tcp.len as usize;
        // What ends the data is in its last part alone.
        let ends = match part {
            true => script::FIN | script::PSH,
            false => 0,
        };
        if segment.flags & !ends != tcp.flags & !ends {
            wrong.push("the flags".into());
        }
        if segment.seq != tcp.seq.wrapping_add(offset) {
            wrong.push("the sequence number".into());
        }
        if !part && segment.payload.len() != tcp.len as usize {
            wrong.push("the length".into());
        }
        if segment.ack != tcp.ack.unwrap_or(0) {
            wrong.push("the acknowledgment".into());
        }
        if tcp.win.is_some_and(|win| win != u32::from(segment.win)) {
            wrong.push("the window".into());
        }
        if packet.ecn.is_some_and(|ecn| ecn != segment.ecn) {
            wrong.push("the ECN bits".into());
        }
        if let Some(expected) = &tcp.options
            && let Err(error) = self.compare_options(expected, &segment.options)
        {
            wrong.push(error);
        }
        if wrong.is_empty() {
            return Ok((at, segment.payload.len() as u32));
        }
        Err(format!(
            "wrong: {}. The stack sent at {:.6} s: {}",
            wrong.join(", "),
            at as f64 / 1e6,
            self.show(&segment)
        ))
    }

    fn compare_options(&mut self, expected: &[Opt], found: &[Opt]) -> Outcome<()> {
        if expected.len() != found.len() {
            return Err("the options".into());
        }
        for pair in expected.iter().zip(found) {
            match pair {
                (Opt::Ts(value, echo), Opt::Ts(live, live_echo)) => {
                    if echo != live_echo {
                        return Err(format!("the echoed timestamp {live_echo}"));
                    }
                    self.connection.stamps.insert(*value, *live);
                }
                // What the script says of IPv4 holds for IPv6 with its longer header.
                (Opt::Mss(1460), Opt::Mss(1440)) if self.family == Family::V6 => {}
                (a, b) if a == b => {}
                _ => return Err("the options".into()),
            }
        }
        Ok(())
    }

    // ---- system calls ----

    fn start_blocking(&mut self, call: Call, until: i64) -> Outcome<()> {
        self.join()?;
        self.note(&call);
        let client = self.client;
        let fds = self.fds.clone();
        let start = self.start;
        let addr = self.socket_addr(self.remote_ip());
        let bound = self.socket_addr(self.local_ip());
        let script_fd = call.result.int().unwrap_or(-1);
        let (tell, told) = std::sync::mpsc::channel();
        let is_accept = call.name == "accept";
        let thread = thread::spawn(move || {
            // SAFETY: asks for the number of this thread.
            let _ = tell.send(unsafe { libc::syscall(libc::SYS_gettid) });
            let fd = perform(&client, &fds, &call, addr, bound)?;
            let at = client.now() - start;
            // An accepted descriptor is told by its number: it is the next free one.
            if is_accept && fd.is_some_and(|fd| i64::from(fd) != script_fd) {
                return Err(format!("accept gave {fd:?}, the script says {script_fd}"));
            }
            Ok(at)
        });
        if is_accept {
            self.fds.insert(script_fd, script_fd as i32);
        }
        let id = told.recv().map_err(|error| error.to_string())?;
        // As packetdrill does it: the call is under way once its thread sleeps, or is done.
        while !thread.is_finished() {
            let stat = std::fs::read_to_string(format!("/proc/self/task/{id}/stat"));
            let state = stat.ok().and_then(|stat| {
                let (_, rest) = stat.rsplit_once(')')?;
                rest.trim_start().chars().next()
            });
            if state == Some('S') {
                break;
            }
            thread::yield_now();
        }
        self.blocked = Some((thread, until));
        Ok(())
    }

    fn join_if_done(&mut self) -> Outcome<()> {
        if self
            .blocked
            .as_ref()
            .is_some_and(|(thread, _)| thread.is_finished())
        {
            return self.join();
        }
        Ok(())
    }

    /// Waits for the call that was left blocked, which must be over by now.
    fn join(&mut self) -> Outcome<()> {
        let Some((thread, until)) = self.blocked.take() else {
            return Ok(());
        };
        let patience = std::time::Instant::now();
        while !thread.is_finished() {
            if patience.elapsed().as_secs() >= 2 {
                return Err("a call that should be over by now still blocks".into());
            }
            thread::yield_now();
        }
        let at = thread
            .join()
            .map_err(|_| "the thread of the blocking call panicked")??;
        if (at - until).abs() > TOLERANCE {
            return Err(format!(
                "the blocking call should return at {:.6} s, and did at {:.6} s",
                until as f64 / 1e6,
                at as f64 / 1e6
            ));
        }
        Ok(())
    }

    /// What a call means for the packets that follow.
    fn note(&mut self, call: &Call) {
        if call.name == "connect" && self.connection.local.is_none() {
            self.connection.active = true;
        }
        if call.name == "socket" {
            self.connection = Connection::default();
        }
    }

    fn call(&mut self, call: &Call) -> Outcome<()> {
        self.note(call);
        let addr = self.socket_addr(self.remote_ip());
        let bound = self.socket_addr(self.local_ip());
        let mut call = call.clone();
        if call.name == "socket" {
            let domain = match self.family {
                Family::V4 => libc::AF_INET,
                Family::V6 | Family::Mapped => libc::AF_INET6,
            };
            if let Some(first) = call.args.first_mut() {
                *first = Arg::Int(domain.into());
            }
        }
        let opened = perform(&self.client, &self.fds, &call, addr, bound)?;
        if let Some(fd) = opened {
            self.fds.insert(call.result.int()?, fd);
        }
        Ok(())
    }

    /// Assertions about `struct tcp_info`: lines of `assert name == number`, joined by `and`.
    fn code(&mut self, code: &str) -> Outcome<()> {
        // The newest descriptor is the connection under test.
        let fd = *self
            .fds
            .iter()
            .max_by_key(|(script, _)| **script)
            .map(|(_, fd)| fd)
            .ok_or("there is no socket to ask")?;
        let (returned, info) = self
            .client
            .getsockopt(fd, libc::IPPROTO_TCP, libc::TCP_INFO, 256);
        if returned.value != 0 {
            return Err(format!("TCP_INFO: {returned:?}"));
        }
        for line in code.split(['\n', ';']) {
            let line = line.trim();
            let Some(conditions) = line.strip_prefix("assert ") else {
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                return Err(format!("'{line}': only assertions are understood"));
            };
            // What comes after a comma is a message.
            let conditions = conditions.split(',').next().unwrap_or_default();
            for condition in conditions.split(" and ") {
                check(&info, condition)?;
            }
        }
        Ok(())
    }
}

/// Checks one comparison.
fn check(info: &[u8], condition: &str) -> Outcome<()> {
    let parts: Vec<&str> = condition
        .trim_matches(|c: char| c.is_whitespace() || c == '(' || c == ')')
        .split_whitespace()
        .collect();
    let [name, operator, value] = parts[..] else {
        return Err(format!(
            "'{condition}': name, operator and value are expected"
        ));
    };
    let (at, width) = field(name).ok_or(format!("'{name}' is no field of tcp_info"))?;
    let mut bytes = [0; 8];
    bytes[..width].copy_from_slice(info.get(at..at + width).ok_or("tcp_info is too short")?);
    let found = u64::from_ne_bytes(bytes);
    let value = match value {
        "TCP_CA_Open" => 0,
        "TCP_CA_Disorder" => 1,
        "TCP_CA_CWR" => 2,
        "TCP_CA_Recovery" => 3,
        "TCP_CA_Loss" => 4,
        number => number
            .parse::<u64>()
            .map_err(|_| format!("'{number}' is no number"))?,
    };
    let holds = match operator {
        "==" => found == value,
        "!=" => found != value,
        "<" => found < value,
        "<=" => found <= value,
        ">" => found > value,
        ">=" => found >= value,
        _ => return Err(format!("'{operator}' is no comparison")),
    };
    if holds {
        Ok(())
    } else {
        Err(format!("{name} is {found}, not {operator} {value}"))
    }
}

/// Where a field of `struct tcp_info` is, and how many bytes it has.
fn field(name: &str) -> Option<(usize, usize)> {
    Some(match name {
        "tcpi_state" => (0, 1),
        "tcpi_ca_state" => (1, 1),
        "tcpi_retransmits" => (2, 1),
        "tcpi_probes" => (3, 1),
        "tcpi_backoff" => (4, 1),
        "tcpi_options" => (5, 1),
        "tcpi_rto" => (8, 4),
        "tcpi_snd_mss" => (16, 4),
        "tcpi_rcv_mss" => (20, 4),
        "tcpi_unacked" => (24, 4),
        "tcpi_sacked" => (28, 4),
        "tcpi_lost" => (32, 4),
        "tcpi_retrans" => (36, 4),
        "tcpi_rtt" => (68, 4),
        "tcpi_snd_ssthresh" => (76, 4),
        "tcpi_snd_cwnd" => (80, 4),
        "tcpi_advmss" => (84, 4),
        "tcpi_total_retrans" => (100, 4),
        "tcpi_bytes_acked" => (120, 8),
        "tcpi_bytes_received" => (128, 8),
        "tcpi_notsent_bytes" => (144, 4),
        "tcpi_min_rtt" => (148, 4),
        "tcpi_dsack_dups" => (216, 4),
        _ => return None,
    })
}

fn icmp_numbers(v6: bool, kind: &str, code: &str) -> Outcome<(u8, u8)> {
    Ok(match (v6, kind, code) {
        (false, "unreachable", "net_unreachable") => (3, 0),
        (false, "unreachable", "host_unreachable") => (3, 1),
        (false, "unreachable", "protocol_unreachable") => (3, 2),
        (false, "unreachable", "port_unreachable") => (3, 3),
        (false, "unreachable", "frag_needed") => (3, 4),
        (true, "unreachable", "net_unreachable") => (1, 0),
        (true, "unreachable", "host_unreachable" | "address_unreachable") => (1, 3),
        (true, "unreachable", "port_unreachable") => (1, 4),
        // So that one script serves both families.
        (true, "packet_too_big", _) | (true, "unreachable", "frag_needed") => (2, 0),
        (false, "packet_too_big", _) => (3, 4),
        _ => return Err(format!("icmp {kind} {code} is not known")),
    })
}

fn bytes_of_option(value: &Arg, len: Option<i64>) -> Outcome<Vec<u8>> {
    Ok(match value {
        Arg::Text(text) => text.clone().into_bytes(),
        Arg::Struct(fields) => {
            let mut bytes = Vec::new();
            for (name, value) in fields {
                let value = value.int()?;
                // struct timeval has 64-bit words, struct linger has ints.
                if name.starts_with("tv_") {
                    bytes.extend(value.to_ne_bytes());
                } else {
                    bytes.extend((value as i32).to_ne_bytes());
                }
            }
            bytes
        }
        other => match len {
            Some(8) => other.int()?.to_ne_bytes().to_vec(),
            _ => (other.int()? as i32).to_ne_bytes().to_vec(),
        },
    })
}

/// Makes the call and compares. Gives the descriptor where one was opened.
fn perform(
    client: &Client,
    fds: &HashMap<i64, i32>,
    call: &Call,
    remote: SocketAddr,
    local: SocketAddr,
) -> Outcome<Option<i32>> {
    let args = &call.args;
    let arg = |index: usize| {
        args.get(index)
            .ok_or(format!("{} needs more arguments", call.name))
    };
    let int = |index: usize| arg(index)?.int();
    let fd_of = |script: i64| {
        fds.get(&script)
            .copied()
            .ok_or(format!("the descriptor {script} is not open"))
    };
    let fd = |index: usize| fd_of(int(index)?);
    let flags = |index: usize| args.get(index).map_or(Ok(0), Arg::int).map(|f| f as i32);
    let filler = |len: i64| -> Vec<u8> { (0..len).map(|at| at as u8).collect() };
    let mut opened = false;
    let returned = match call.name.as_str() {
        "socket" => {
            opened = true;
            client.socket(int(0)? as i32, int(1)? as i32, int(2)? as i32)
        }
        "bind" => client.bind(fd(0)?, local),
        "listen" => client.listen(fd(0)?, int(1)? as i32),
        "accept" => {
            opened = true;
            client.accept(fd(0)?)
        }
        "connect" => client.connect(fd(0)?, remote),
        "read" => client.read(fd(0)?, int(2)? as usize).0,
        "recv" | "recvfrom" => client.recv(fd(0)?, int(2)? as usize, flags(3)?).0,
        "write" => client.write(fd(0)?, &filler(int(2)?)),
        "send" | "sendto" => client.send(fd(0)?, &filler(int(2)?), flags(3)?),
        "writev" => {
            let Arg::List(list) = arg(1)? else {
                return Err("writev needs a list".into());
            };
            let mut parts = Vec::new();
            for piece in list {
                match piece {
                    Arg::Struct(fields) => {
                        let len = fields.iter().find(|(name, _)| name == "iov_len");
                        parts.push(filler(len.map_or(Ok(0), |(_, len)| len.int())?));
                    }
                    other => return Err(format!("no piece: {other:?}")),
                }
            }
            client.writev(fd(0)?, &parts)
        }
        "close" => client.close(fd(0)?),
        "shutdown" => client.shutdown(fd(0)?, int(1)? as i32),
        "fcntl" => {
            let result = client.fcntl(fd(0)?, int(1)? as i32, flags(2)?);
            // Which other flags a file has is not what a script wants to know.
            if int(1)? == i64::from(libc::F_GETFL) && result.value >= 0 {
                let wanted = call.result.int()?;
                let value = result.value & i64::from(libc::O_NONBLOCK | libc::O_RDWR);
                return match value == wanted {
                    true => Ok(None),
                    false => Err(format!("the flags are {value:#o}")),
                };
            }
            result
        }
        "ioctl" => {
            let (returned, value) = client.ioctl(fd(0)?, int(1)? as u64);
            if returned.value == 0 && i64::from(value) != int(2)? {
                return Err(format!("it tells {value}"));
            }
            returned
        }
        "getsockopt" => {
            let room = arg(4)?.int()? as usize;
            let (returned, value) = client.getsockopt(fd(0)?, int(1)? as i32, int(2)? as i32, room);
            let expected = arg(3)?;
            if returned.value == 0 && *expected != Arg::Any {
                let expected = bytes_of_option(expected, Some(room as i64))?;
                if !value.starts_with(&expected) {
                    return Err(format!("it tells {value:?}, not {expected:?}"));
                }
            }
            returned
        }
        "setsockopt" => {
            let value = bytes_of_option(arg(3)?, args.get(4).and_then(|len| len.int().ok()))?;
            client.setsockopt(fd(0)?, int(1)? as i32, int(2)? as i32, &value)
        }
        "poll" => {
            let Arg::List(list) = arg(0)? else {
                return Err("poll needs a list".into());
            };
            let mut entries = Vec::new();
            let mut expected = Vec::new();
            for entry in list {
                let Arg::Struct(fields) = entry else {
                    return Err("poll needs a list of structures".into());
                };
                let get = |name: &str| {
                    let found = fields.iter().find(|(field, _)| field == name);
                    found.map_or(Ok(0), |(_, value)| value.int())
                };
                entries.push(libc::pollfd {
                    fd: fd_of(get("fd")?)?,
                    events: get("events")? as i16,
                    revents: 0,
                });
                expected.push(get("revents")? as i16);
            }
            let returned = client.poll(&mut entries, int(2)? as i32);
            let found: Vec<i16> = entries.iter().map(|entry| entry.revents).collect();
            if found != expected {
                return Err(format!("poll finds {found:?}, not {expected:?}"));
            }
            returned
        }
        other => return Err(format!("the call {other} is not known")),
    };
    let expected = match &call.result {
        Arg::Any => returned.value,
        result => result.int()?,
    };
    let as_expected = if opened && expected >= 0 {
        returned.value >= 0
    } else {
        returned.value == expected
    };
    if !as_expected || call.errno.is_some_and(|errno| errno != returned.errno) {
        let error = std::io::Error::from_raw_os_error(returned.errno);
        return Err(format!(
            "{} returns {} ({error})",
            call.name, returned.value
        ));
    }
    Ok((opened && expected >= 0).then_some(returned.value as i32))
}
