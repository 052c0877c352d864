//! The list, in ss(8)'s columns and words.

use std::fmt::Write;

use serde_json::Value;

use super::filter::label;

/// A line of the list.
pub(super) struct Socket {
    kind: &'static str,
    state: String,
    recv_queue: u64,
    send_queue: u64,
    local: String,
    peer: String,
    queue: String,
    timer: Option<String>,
    info: Option<Value>,
}

/// What is shown.
#[derive(Clone, Copy)]
pub(super) struct Show {
    /// A column with the protocol.
    pub(super) kinds: bool,
    pub(super) header: bool,
    pub(super) info: bool,
    /// Which timer runs.
    pub(super) timers: bool,
    pub(super) memory: bool,
    /// Rates as numbers.
    pub(super) exact: bool,
}

impl Socket {
    /// As the control socket tells it. What is missing is left out.
    pub(super) fn from_json(socket: &Value) -> Self {
        let text = |name: &str| socket[name].as_str().unwrap_or("").to_owned();
        let number = |name: &str| socket[name].as_u64().unwrap_or(0);
        let local = text("local");
        // A listener has the other family's wildcard, as ss has it.
        let any = if local.starts_with('[') {
            "[::]:*"
        } else {
            "0.0.0.0:*"
        };
        Self {
            kind: if socket["protocol"] == "udp" {
                "udp"
            } else {
                "tcp"
            },
            state: label(&text("state")).to_owned(),
            recv_queue: number("recv_queue"),
            send_queue: number("send_queue"),
            peer: socket["peer"].as_str().unwrap_or(any).to_owned(),
            local,
            queue: format!("{}/{}", text("port"), number("queue")),
            timer: timer(&socket["timer"]),
            info: socket.get("info").cloned(),
        }
    }
}

/// All of them, in columns.
pub(super) fn text(sockets: &[Socket], show: Show) -> String {
    let header = [
        "Netid",
        "State",
        "Recv-Q",
        "Send-Q",
        "Local Address:Port",
        "Peer Address:Port",
    ];
    let rows: Vec<[String; 6]> = sockets
        .iter()
        .map(|it| {
            [
                it.kind.to_owned(),
                it.state.clone(),
                it.recv_queue.to_string(),
                it.send_queue.to_string(),
                it.local.clone(),
                it.peer.clone(),
            ]
        })
        .collect();
    let mut widths = header.map(str::len);
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let mut text = String::new();
    let mut line = |cells: [&str; 6], behind: &str, more: &str| {
        let mut line = String::new();
        for (index, (cell, width)) in cells.iter().zip(widths).enumerate() {
            match index {
                0 if !show.kinds => {}
                // Addresses end where their ports do, as ss has it.
                2..=4 => drop(write!(line, "{cell:>width$} ")),
                _ => drop(write!(line, "{cell:<width$} ")),
            }
        }
        line.push_str(behind);
        text.push_str(line.trim_end());
        text.push('\n');
        if !more.is_empty() {
            text.push_str(&format!("\t {more}\n"));
        }
    };
    if show.header {
        line(header, "", "");
    }
    for (socket, row) in sockets.iter().zip(&rows) {
        let mut more = Vec::new();
        if let Some(info) = &socket.info {
            if show.memory {
                more.push(memory(socket, info));
            }
            if show.info {
                more.push(format!(
                    "{} queue:{}",
                    details(info, show.exact),
                    socket.queue
                ));
            }
        }
        let timer = socket.timer.as_deref().filter(|_| show.timers);
        line(
            row.each_ref().map(String::as_str),
            timer.unwrap_or(""),
            &more.join(" "),
        );
    }
    text
}

/// Which timer runs, as ss has it: what for, when it runs out, how often it has in a row.
fn timer(timer: &Value) -> Option<String> {
    let kind = timer["kind"].as_str()?;
    let after = span(timer["expires_us"].as_u64()? / 1000);
    Some(format!("timer:({kind},{after},{})", timer["retransmits"]))
}

/// Milliseconds in ss's words: `1min59sec`, `12sec`, `1.250ms` for a second and a quarter, `204ms`.
fn span(millis: u64) -> String {
    let (minutes, seconds, rest) = (millis / 60_000, millis / 1000 % 60, millis % 1000);
    match (minutes, seconds) {
        (0, 0) => format!("{rest}ms"),
        (0, 1..=9) if rest > 0 => format!("{seconds}.{rest:03}ms"),
        (0, _) => format!("{seconds}sec"),
        (1..=9, 1..) => format!("{minutes}min{seconds}sec"),
        _ => format!("{minutes}min"),
    }
}

/// What is queued, what the buffers may hold, and what all takes.
fn memory(socket: &Socket, info: &Value) -> String {
    let number = |name: &str| info[name].as_u64().unwrap_or(0);
    format!(
        "mem:(r{},rb{},w{},tb{},o{},a{})",
        socket.recv_queue,
        number("rcv_space"),
        socket.send_queue,
        number("snd_space"),
        number("out_of_order"),
        number("memory"),
    )
}

/// The second line, in ss's order.
fn details(info: &Value, exact: bool) -> String {
    let number = |name: &str| info[name].as_u64().filter(|it| *it > 0);
    let is = |name: &str| info[name] == true;
    let millis = |name: &str| number(name).map(|it| it as f64 / 1000.0);
    let mss = number("snd_mss").unwrap_or(1);
    let segments = |name: &str| number(name).map(|it| it.div_ceil(mss));
    let mut words: Vec<String> = Vec::new();
    let mut add = |word: Option<String>| words.extend(word);
    let flag = |name: &str, word: &str| is(name).then(|| word.to_owned());
    add(flag("timestamps", "ts"));
    add(flag("sack", "sack"));
    add(flag("ecn", "ecn"));
    add(info["congestion"].as_str().map(str::to_owned));
    let shifts = (info["snd_wscale"].as_u64(), info["rcv_wscale"].as_u64());
    if let (Some(sending), Some(receiving)) = shifts
        && sending + receiving > 0
    {
        add(Some(format!("wscale:{sending},{receiving}")));
    }
    add(millis("rto_us").map(|it| format!("rto:{it}")));
    add(number("backoff").map(|it| format!("backoff:{it}")));
    let deviation = millis("rttvar_us").unwrap_or(0.0);
    add(millis("rtt_us").map(|it| format!("rtt:{it}/{deviation}")));
    add(millis("ato_us").map(|it| format!("ato:{it}")));
    for (name, word) in [
        ("snd_mss", "mss"),
        ("rcv_mss", "rcvmss"),
        ("advmss", "advmss"),
    ] {
        add(number(name).map(|it| format!("{word}:{it}")));
    }
    add(number("cwnd").map(|it| format!("cwnd:{}", (it / mss).max(1))));
    add(segments("ssthresh").map(|it| format!("ssthresh:{it}")));
    for name in [
        "bytes_sent",
        "bytes_retrans",
        "bytes_acked",
        "bytes_received",
        "segs_out",
        "segs_in",
        "data_segs_out",
    ] {
        add(number(name).map(|it| format!("{name}:{it}")));
    }
    // A window each round trip.
    if let (Some(window), Some(rtt)) = (number("cwnd"), number("rtt_us")) {
        add(Some(format!(
            "send {}bps",
            rate(window as f64 * 8e6 / rtt as f64, exact)
        )));
    }
    add(millis("last_data_sent_us").map(|it| format!("lastsnd:{it:.0}")));
    add(millis("last_heard_us").map(|it| format!("lastack:{it:.0}")));
    let bits = |bytes: u64| rate(bytes as f64 * 8.0, exact);
    if let Some(pace) = number("pacing_rate") {
        let most =
            number("max_pacing_rate").map_or(String::new(), |it| format!("/{}bps", bits(it)));
        add(Some(format!("pacing_rate {}bps{most}", bits(pace))));
    }
    add(number("delivery_rate").map(|it| format!("delivery_rate {}bps", bits(it))));
    add(flag("delivery_rate_app_limited", "app_limited"));
    add(millis("busy_us").map(|it| format!("busy:{it:.0}ms")));
    add(number("unacked").map(|it| format!("unacked:{it}")));
    let (again, ever) = (
        number("retrans").unwrap_or(0),
        number("total_retrans").unwrap_or(0),
    );
    add((again + ever > 0).then(|| format!("retrans:{again}/{ever}")));
    add(segments("lost_bytes").map(|it| format!("lost:{it}")));
    add(number("sacked").map(|it| format!("sacked:{it}")));
    add(number("dsack_dups").map(|it| format!("dsack_dups:{it}")));
    add(flag("reordering_seen", "reord_seen"));
    add(number("rcv_space").map(|it| format!("rcv_space:{it}")));
    add(number("notsent").map(|it| format!("notsent:{it}")));
    add(millis("min_rtt_us").map(|it| format!("minrtt:{it}")));
    add(number("snd_wnd").map(|it| format!("snd_wnd:{it}")));
    let state = info["ca_state"].as_str().filter(|it| *it != "open");
    add(state.map(|it| format!("ca_state:{it}")));
    words.join(" ")
}

/// A rate with three digits and a prefix, as ss has it, or as a number.
fn rate(bits: f64, exact: bool) -> String {
    let (factor, prefix) = match bits {
        _ if exact => return format!("{bits:.0}"),
        b if b > 1e12 => (1e12, "T"),
        b if b > 1e9 => (1e9, "G"),
        b if b > 1e6 => (1e6, "M"),
        b if b > 1e3 => (1e3, "k"),
        _ => (1.0, ""),
    };
    let scaled = bits / factor;
    let decimals = match scaled {
        s if s >= 99.95 => 0,
        s if s >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{scaled:.decimals$}");
    let text = if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.')
    } else {
        &text
    };
    format!("{text}{prefix}")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const SHOW: Show = Show {
        kinds: false,
        header: true,
        info: true,
        timers: true,
        memory: false,
        exact: false,
    };

    fn socket(info: Value) -> Socket {
        Socket::from_json(&json!({
            "protocol": "tcp", "port": "net_tap0", "queue": 1, "state": "established", "local": "198.18.0.2:80",
            "peer": "198.18.0.1:40000", "recv_queue": 0, "send_queue": 12, "info": info,
            "timer": { "kind": "on", "expires_us": 204_900, "retransmits": 2 },
        }))
    }

    #[test]
    fn a_connection_is_shown_in_the_words_of_ss() {
        let info = json!({
            "timestamps": true, "sack": true, "ecn": false, "congestion": "cubic", "snd_wscale": 7, "rcv_wscale": 6,
            "rto_us": 204000, "rtt_us": 1250, "rttvar_us": 625, "ato_us": 40000, "snd_mss": 1448, "rcv_mss": 536,
            "advmss": 1448, "cwnd": 14480, "ssthresh": null, "bytes_acked": 5, "retrans": 1, "total_retrans": 3,
            "lost_bytes": 1449, "ca_state": "recovery", "backoff": 0,
        });
        let text = text(&[socket(info)], SHOW);
        let wanted = "\
State      Recv-Q Send-Q Local Address:Port Peer Address:Port
ESTAB           0     12      198.18.0.2:80 198.18.0.1:40000 timer:(on,204ms,2)
\t ts sack cubic wscale:7,6 rto:204 rtt:1.25/0.625 ato:40 mss:1448 rcvmss:536 advmss:1448 cwnd:10 bytes_acked:5 \
send 92.7Mbps retrans:1/3 lost:2 ca_state:recovery queue:net_tap0/1
";
        let squeezed = |text: &str| {
            text.split(' ')
                .filter(|it| !it.is_empty())
                .collect::<Vec<_>>()
                .join(" ")
        };
        assert_eq!(squeezed(&text), squeezed(wanted));
    }

    #[test]
    fn a_listener_has_a_wildcard_for_a_peer_and_kinds_are_told_apart() {
        let listener = |local: &str, protocol: &str| {
            Socket::from_json(
                &json!({ "protocol": protocol, "state": "listening", "local": local, "send_queue": 128 }),
            )
        };
        let sockets = [listener("[::]:80", "tcp"), listener("198.18.0.2:53", "udp")];
        let show = Show {
            kinds: true,
            header: false,
            ..SHOW
        };
        let text = text(&sockets, show);
        let lines: Vec<Vec<&str>> = text
            .lines()
            .map(|line| line.split_whitespace().collect())
            .collect();
        assert_eq!(lines[0], ["tcp", "LISTEN", "0", "128", "[::]:80", "[::]:*"]);
        assert_eq!(
            lines[1],
            ["udp", "LISTEN", "0", "128", "198.18.0.2:53", "0.0.0.0:*"]
        );
    }

    #[test]
    fn timers_are_told_as_ss_tells_them() {
        for (millis, wanted) in [
            (0, "0ms"),
            (999, "999ms"),
            (1_250, "1.250ms"),
            (9_000, "9sec"),
            (12_345, "12sec"),
            (60_000, "1min"),
            (119_999, "1min59sec"),
            (7_200_000, "120min"),
        ] {
            assert_eq!(span(millis), wanted, "{millis}");
        }
        assert_eq!(timer(&Value::Null), None);
    }

    #[test]
    fn rates_have_three_digits_and_a_prefix() {
        for (bits, wanted) in [
            (0.0, "0"),
            (999.0, "999"),
            (1_500.0, "1.5k"),
            (92_672_000.0, "92.7M"),
            (1e10, "10G"),
            (123_456_789.0, "123M"),
        ] {
            assert_eq!(rate(bits, false), wanted, "{bits}");
        }
        assert_eq!(rate(92_672_000.4, true), "92672000");
    }
}
