//! What packetdrill's `--so_flags` may say: `name=value` pairs, separated by commas or blanks.

use core::net::IpAddr;
use core::time::Duration;

use dpdk_net_packet::MacAddr;
use dpdk_net_stack::{Config, CongestionAlgorithm, Ecn, TcpConfig};

/// How the host is set up.
#[derive(Debug, Clone)]
pub struct Flags {
    /// The configuration of the stack; addresses and routes are filled in by the host.
    pub config: Config,
    /// Addresses of the host; at most one a family is used, the last.
    pub local: Vec<IpAddr>,
    /// Whether sockets acknowledge every segment at once until they are told otherwise (`TCP_QUICKACK`).
    pub quickack: bool,
}

/// The names understood, for the message about others.
const NAMES: &str = "local, mtu, seed, quickack, congestion, ecn, sack, timestamps, nodelay, recv_buffer, recv_window, send_buffer, \
     send_room, initial_rto, min_rto, max_rto, peer_ack_delay, ack_delay, syn_retries, syn_ack_retries, connect_timeout, \
     user_timeout, orphan_timeout, fin_wait2_timeout, time_wait, challenge_acks_per_second";

impl Default for Flags {
    /// The timers of Linux, which public scripts were written for: a retransmission timeout of 200 ms at least, ACKs
    /// delayed by 40 ms, and a receive buffer that makes the window scale 8. Linux acknowledges the first segments of a
    /// connection at once, and scripts rarely go beyond, so sockets start with `TCP_QUICKACK`. The seed is fixed.
    fn default() -> Self {
        let mut config = Config::new(MacAddr([0x02, 0, 0, 0, 0, 1]));
        config.dad = false;
        config.seed = [0x5a; 32];
        config.tcp.min_rto = Duration::from_millis(200);
        config.tcp.ack_delay = Duration::from_millis(40);
        config.tcp.recv_buffer = 15 << 20;
        Flags {
            config,
            local: Vec::new(),
            quickack: true,
        }
    }
}

fn number<T: core::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
    value
        .parse()
        .map_err(|_| format!("{name}={value}: a number is expected"))
}

fn switch(name: &str, value: &str) -> Result<bool, String> {
    match value {
        "on" | "1" => Ok(true),
        "off" | "0" => Ok(false),
        _ => Err(format!("{name}={value}: on or off is expected")),
    }
}

/// A time with its unit: `200ms`, `5s`, `500us`.
fn time(name: &str, value: &str) -> Result<Duration, String> {
    let digits = value.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let count: Option<u64> = digits.parse().ok();
    match (count, &value[digits.len()..]) {
        (Some(count), "us") => Ok(Duration::from_micros(count)),
        (Some(count), "ms") => Ok(Duration::from_millis(count)),
        (Some(count), "s") => Ok(Duration::from_secs(count)),
        _ => Err(format!(
            "{name}={value}: a time with its unit is expected, as 500us, 200ms or 5s"
        )),
    }
}

fn set(flags: &mut Flags, name: &str, value: &str) -> Result<(), String> {
    let config = &mut flags.config;
    let tcp: &mut TcpConfig = &mut config.tcp;
    match name {
        "quickack" => flags.quickack = switch(name, value)?,
        "local" => {
            let addr = value
                .parse()
                .map_err(|_| format!("local={value}: an IP address is expected"))?;
            flags.local.push(addr);
        }
        "mtu" => config.mtu = number(name, value)?,
        "seed" => config.seed = [number(name, value)?; 32],
        "congestion" => {
            tcp.congestion = value
                .parse::<CongestionAlgorithm>()
                .map_err(|error| error.to_string())?;
        }
        "ecn" => {
            tcp.ecn = match value {
                "off" | "0" => Ecn::Off,
                "request" | "1" => Ecn::Request,
                "accept" | "2" => Ecn::Accept,
                _ => return Err(format!("ecn={value}: off, request or accept is expected")),
            }
        }
        "sack" => tcp.sack = switch(name, value)?,
        "timestamps" => tcp.timestamps = switch(name, value)?,
        "nodelay" => tcp.nodelay = switch(name, value)?,
        "recv_buffer" => tcp.recv_buffer = number(name, value)?,
        "recv_window" => tcp.recv_window = number(name, value)?,
        "send_buffer" => tcp.send_buffer = number(name, value)?,
        "send_room" => tcp.send_room = number(name, value)?,
        "initial_rto" => tcp.initial_rto = time(name, value)?,
        "min_rto" => tcp.min_rto = time(name, value)?,
        "max_rto" => tcp.max_rto = time(name, value)?,
        "peer_ack_delay" => tcp.peer_ack_delay = time(name, value)?,
        "ack_delay" => tcp.ack_delay = time(name, value)?,
        "syn_retries" => tcp.syn_retries = number(name, value)?,
        "syn_ack_retries" => tcp.syn_ack_retries = number(name, value)?,
        "connect_timeout" => tcp.connect_timeout = time(name, value)?,
        "user_timeout" => tcp.user_timeout = time(name, value)?,
        "orphan_timeout" => tcp.orphan_timeout = time(name, value)?,
        "fin_wait2_timeout" => tcp.fin_wait2_timeout = time(name, value)?,
        "time_wait" => tcp.time_wait = time(name, value)?,
        "challenge_acks_per_second" => tcp.challenge_acks_per_second = number(name, value)?,
        _ => return Err(format!("'{name}' is not known; there are {NAMES}")),
    }
    Ok(())
}

/// Reads the string. The error says which pair can't be used, and what is expected.
pub fn parse(text: &str) -> Result<Flags, String> {
    let mut flags = Flags::default();
    let separators = |c: char| c == ',' || c.is_whitespace();
    for pair in text.split(separators).filter(|pair| !pair.is_empty()) {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| format!("'{pair}': name=value is expected, with a name of {NAMES}"))?;
        set(&mut flags, name, value)?;
    }
    flags.config.validate().map_err(|error| error.to_string())?;
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_read() {
        let flags = parse("local=192.168.7.7,min_rto=5ms sack=off,ecn=request,seed=3").unwrap();
        assert_eq!(flags.local, ["192.168.7.7".parse::<IpAddr>().unwrap()]);
        assert_eq!(flags.config.tcp.min_rto, Duration::from_millis(5));
        assert!(!flags.config.tcp.sack);
        assert_eq!(flags.config.tcp.ecn, Ecn::Request);
        assert_eq!(flags.config.seed, [3; 32]);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (text, part) in [
            ("mtu", "name=value"),
            ("mtu=x", "a number"),
            ("mtu=5", "out of range"),
            ("min_rto=5", "unit"),
            ("sack=maybe", "on or off"),
            ("congestion=vegas", "vegas"),
            ("local=here", "IP address"),
            ("colour=red", "not known"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
