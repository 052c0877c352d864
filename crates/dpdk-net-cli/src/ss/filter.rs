//! The words behind the options: `state established`, `dst 198.18.0.1`, `sport = :80`.

use std::net::IpAddr;

use serde_json::{Map, Value};

use crate::failure::{Failure, Result};

/// All states, by the names that `ss` takes, with what it calls them in its list.
const STATES: [(&str, &str); 11] = [
    ("established", "ESTAB"),
    ("syn-sent", "SYN-SENT"),
    ("syn-recv", "SYN-RECV"),
    ("fin-wait-1", "FIN-WAIT-1"),
    ("fin-wait-2", "FIN-WAIT-2"),
    ("time-wait", "TIME-WAIT"),
    ("closed", "UNCONN"),
    ("close-wait", "CLOSE-WAIT"),
    ("last-ack", "LAST-ACK"),
    ("listening", "LISTEN"),
    ("closing", "CLOSING"),
];

/// What a state is called in the list.
pub(super) fn label(state: &str) -> &str {
    let known = STATES.iter().find(|(name, _)| *name == state);
    known.map_or(state, |(_, label)| label)
}

/// Which sockets are wished.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Filter {
    /// States; without, those that the options ask for.
    pub(super) states: Option<Vec<&'static str>>,
    local: Option<String>,
    peer: Option<String>,
}

impl Filter {
    /// Reads the words.
    pub(super) fn parse(words: &[String]) -> Result<Self> {
        let mut filter = Self::default();
        let mut words = words.iter().map(String::as_str);
        while let Some(word) = words.next() {
            let mut next = || {
                let missing = || usage(&format!("`{word}` wants something behind it"));
                words.next().ok_or_else(missing)
            };
            match word {
                "and" | "&&" => {}
                "state" => filter
                    .states
                    .get_or_insert_default()
                    .extend(states(next()?)?),
                "exclude" | "excl" => {
                    let out = states(next()?)?;
                    let kept = filter.states.take().unwrap_or_else(every);
                    filter.states = Some(kept.into_iter().filter(|it| !out.contains(it)).collect());
                }
                "src" => set(&mut filter.local, next()?)?,
                "dst" => set(&mut filter.peer, next()?)?,
                "sport" | "dport" => {
                    let mut port = next()?;
                    if matches!(port, "=" | "==" | "eq") {
                        port = words.next().ok_or_else(|| usage("a port is missing"))?;
                    }
                    let port = port.strip_prefix(':').unwrap_or(port);
                    let number = port.parse::<u16>();
                    let number =
                        number.map_err(|_| usage(&format!("`{port}` is no port number")))?;
                    let place = if word == "sport" {
                        &mut filter.local
                    } else {
                        &mut filter.peer
                    };
                    port_of(place, number)?;
                }
                other => return Err(usage(&format!("`{other}` is not known here"))),
            }
        }
        for wrong in [&filter.local, &filter.peer].into_iter().flatten() {
            if !is_endpoint(wrong) {
                return Err(usage(&format!("{wrong:?} is no address or port")));
            }
        }
        Ok(filter)
    }

    /// Adds what a question says of it.
    pub(super) fn put(&self, question: &mut Map<String, Value>) {
        for (name, it) in [("local", &self.local), ("peer", &self.peer)] {
            if let Some(it) = it {
                question.insert(name.to_owned(), it.clone().into());
            }
        }
    }
}

fn usage(what: &str) -> Failure {
    Failure::usage(
        what,
        "a filter is of: state NAME, exclude NAME, src ADDRESS[/LENGTH][:PORT], dst ..., sport = :PORT, dport = :PORT",
    )
}

fn set(place: &mut Option<String>, text: &str) -> Result {
    match place {
        None => *place = Some(text.to_owned()),
        // `sport = :80 src 198.18.0.1`.
        Some(port) if port.starts_with(':') && !text.starts_with(':') => {
            let joined = if text.contains(':') && !text.starts_with('[') {
                format!("[{text}]{port}")
            } else {
                format!("{text}{port}")
            };
            *place = Some(joined);
        }
        Some(_) => return Err(usage("an address is given twice")),
    }
    Ok(())
}

fn port_of(place: &mut Option<String>, port: u16) -> Result {
    let address = place.take().filter(|address| !address.starts_with(':'));
    *place = Some(format!(":{port}"));
    address.map_or(Ok(()), |address| set(place, &address))
}

/// Whether the service takes it: a network, a port, or both.
fn is_endpoint(text: &str) -> bool {
    let (network, port) = match text.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((network, "")) => (network, None),
            Some((network, behind)) => match behind.strip_prefix(':') {
                Some(port) => (network, Some(port)),
                None => return false,
            },
            None => return false,
        },
        // One colon is before a port, more are an IPv6 address's.
        None if text.matches(':').count() == 1 => {
            let (network, port) = text.split_once(':').unwrap_or((text, ""));
            (network, Some(port))
        }
        None => (text, None),
    };
    let is_port = port.is_none_or(|port| port == "*" || port.parse::<u16>().is_ok());
    let is_network = matches!(network, "" | "*") || is_prefix(network);
    !text.is_empty() && is_port && is_network
}

fn is_prefix(text: &str) -> bool {
    let (address, length) = match text.split_once('/') {
        Some((address, length)) => (address, Some(length)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<IpAddr>() else {
        return false;
    };
    let bits = if address.is_ipv4() { 32 } else { 128 };
    length.is_none_or(|length| length.parse().is_ok_and(|length: u8| length <= bits))
}

fn every() -> Vec<&'static str> {
    STATES.iter().map(|(name, _)| *name).collect()
}

/// The states that a word stands for, as ss(8) has them.
fn states(word: &str) -> Result<Vec<&'static str>> {
    let without = |out: &[&str]| {
        let all = every().into_iter();
        Ok(all.filter(|it| !out.contains(it)).collect())
    };
    match word {
        "all" => Ok(every()),
        "connected" => without(&["listening", "closed"]),
        "synchronized" => without(&["listening", "closed", "syn-sent"]),
        "bucket" => Ok(vec!["syn-recv", "time-wait"]),
        "big" => without(&["syn-recv", "time-wait"]),
        "listen" => Ok(vec!["listening"]),
        "syn-rcv" => Ok(vec!["syn-recv"]),
        "unconnected" => Ok(vec!["closed"]),
        name => match STATES.iter().find(|(known, _)| *known == name) {
            Some((name, _)) => Ok(vec![name]),
            None => Err(Failure::usage(
                format!("there is no state `{name}`"),
                format!(
                    "{}, all, connected, synchronized, bucket, big",
                    every().join(", ")
                ),
            )),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Filter> {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        Filter::parse(&words)
    }

    fn ends(text: &str) -> (Option<String>, Option<String>) {
        let filter = parse(text).unwrap();
        (filter.local, filter.peer)
    }

    #[test]
    fn states_add_up_and_can_be_excluded() {
        let states = |text| parse(text).unwrap().states.unwrap();
        assert_eq!(states("state established"), ["established"]);
        assert_eq!(
            states("state bucket state closing"),
            ["syn-recv", "time-wait", "closing"]
        );
        assert_eq!(states("state bucket exclude time-wait"), ["syn-recv"]);
        assert!(!states("exclude listening").contains(&"listening"));
        assert_eq!(states("exclude listening").len(), STATES.len() - 1);
        assert_eq!(parse("").unwrap().states, None);
    }

    #[test]
    fn addresses_and_ports_come_together() {
        let of = |local: &str, peer: &str| {
            let some = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            (some(local), some(peer))
        };
        assert_eq!(
            ends("src 198.18.0.2 and dst 198.18.0.0/24"),
            of("198.18.0.2", "198.18.0.0/24")
        );
        assert_eq!(ends("sport = :80"), of(":80", ""));
        assert_eq!(ends("dport eq 443 dst fd00::1"), of("", "[fd00::1]:443"));
        assert_eq!(ends("dst 198.18.0.1 dport 443"), of("", "198.18.0.1:443"));
        for end in [
            "198.18.0.1:80",
            "[fd00::/8]:443",
            "[fd00::1]",
            "fd00::/8",
            "*:80",
            ":80",
            "198.18.0.1:*",
        ] {
            assert_eq!(ends(&format!("dst {end}")), of("", end));
        }
    }

    #[test]
    fn what_is_not_known_is_refused_with_what_is() {
        for (text, why) in [
            ("state open", "no state `open`"),
            ("state", "wants something"),
            ("sport = http", "no port number"),
            ("sport =", "a port is missing"),
            ("or", "`or` is not known"),
            ("src 1.1.1.1 src 2.2.2.2", "twice"),
            ("dst nowhere", "\"nowhere\" is no address or port"),
            ("src 198.18.0.1:http", "is no address or port"),
            ("dst 198.18.0.0/33", "is no address or port"),
            ("dst [fd00::1", "is no address or port"),
            ("dst [fd00::1]80", "is no address or port"),
            ("dst 198.18.0.1:80 dport 443", "is no address or port"),
        ] {
            let failure = parse(text).unwrap_err();
            assert_eq!(failure.exit_code(), 2);
            assert!(failure.to_string().contains(why), "{text}: {failure}");
        }
    }
}
