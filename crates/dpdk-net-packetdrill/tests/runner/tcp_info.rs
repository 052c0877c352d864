//! Assertions of a script about `struct tcp_info`.

use super::{Outcome, Runner};

impl Runner {
    /// Assertions about `struct tcp_info`: lines of `assert name == number`, joined by `and`.
    pub(super) fn code(&mut self, code: &str) -> Outcome<()> {
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
