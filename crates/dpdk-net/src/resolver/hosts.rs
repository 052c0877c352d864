//! `/etc/hosts`: names and their addresses, as in hosts(5).

use std::collections::HashMap;
use std::net::IpAddr;

/// Bytes of it that are read, so that nothing is read without end.
const MOST: usize = 16 << 20;

/// What it says.
#[derive(Debug, Default)]
pub(super) struct Hosts(HashMap<String, Vec<IpAddr>>);

impl Hosts {
    /// The system's. Nothing if it can't be read.
    pub(super) fn from_system() -> Self {
        use std::io::Read;
        let mut bytes = Vec::new();
        let read = std::fs::File::open("/etc/hosts")
            .and_then(|file| file.take(MOST as u64).read_to_end(&mut bytes));
        if let Err(error) = read {
            tracing::debug!(%error, "/etc/hosts is not read");
        }
        Self::parse(&String::from_utf8_lossy(&bytes))
    }

    /// A line is an address and its names; what is behind `#` is a comment. Lines that are none are left out.
    fn parse(text: &str) -> Self {
        let mut hosts: HashMap<String, Vec<IpAddr>> = HashMap::new();
        for line in text.lines() {
            let line = line.split('#').next().unwrap_or(line);
            let mut words = line.split_whitespace();
            let Some(Ok(address)) = words.next().map(str::parse::<IpAddr>) else {
                continue;
            };
            for name in words {
                let addresses = hosts.entry(key(name)).or_default();
                if !addresses.contains(&address) {
                    addresses.push(address);
                }
            }
        }
        Self(hosts)
    }

    /// The addresses of a name.
    pub(super) fn get(&self, name: &str) -> Option<&[IpAddr]> {
        self.0.get(&key(name)).map(Vec::as_slice)
    }
}

/// Neither case nor a dot at the end makes a difference.
fn key(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_addresses_of_all_their_lines() {
        let hosts = Hosts::parse(
            "127.0.0.1\tlocalhost\n\
             # 198.18.0.9 commented.example\n\
             198.18.0.3  one.example One # two.example\n\
             fd00::3 ONE\r\n\
             198.18.0.3 one\n\
             nonsense one\n\
             fe80::1%eth0 one\n\
             198.18.0.4\n",
        );
        let one: [IpAddr; 2] = ["198.18.0.3".parse().unwrap(), "fd00::3".parse().unwrap()];
        assert_eq!(hosts.get("one"), Some(&one[..]));
        assert_eq!(hosts.get("One.Example."), Some(&one[..1]));
        assert!(hosts.get("localhost").is_some());
        for none in ["two.example", "commented.example", "nonsense", ""] {
            assert_eq!(hosts.get(none), None, "{none}");
        }
    }
}
