//! Packets of a script: those that arrive are made, those that must leave are compared.

use std::net::SocketAddr;

use super::client::Returned;
use super::script::{self, ACK, Body, Opt, Packet, SYN, Tcp};
use super::wire::Segment;
use super::{Connection, Family, Outcome, PORT, Runner};

impl Runner {
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

    pub(super) fn inject(&mut self, packet: &Packet) -> Outcome<()> {
        let bytes = match &packet.body {
            Body::Tcp(tcp) => {
                if tcp.flags & (SYN | ACK) == SYN && self.connection.remote.is_none() {
                    self.connection = Connection {
                        local: Some(SocketAddr::new(self.local_ip(), PORT)),
                        remote: Some(SocketAddr::new(self.remote_ip(), self.peer_port)),
                        ..Connection::default()
                    };
                    self.peer_port += 1;
                } else if tcp.flags & (SYN | ACK) == SYN && !self.connection.active {
                    self.connection.again = self.connection.acknowledged;
                } else {
                    self.connection.acknowledged |= tcp.flags & ACK != 0;
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

    pub(super) fn describe(&self, packet: &[u8]) -> String {
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
    pub(super) fn expect(&mut self, packet: &Packet) -> Outcome<i64> {
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
        if self.connection.again && segment.flags & SYN != 0 {
            self.connection.offset = None;
            (self.connection.again, self.connection.acknowledged) = (false, false);
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
