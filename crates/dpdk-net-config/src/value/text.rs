//! What is written as a text, has one type in Rust, and says itself what is wrong with it.

use std::fmt;
use std::net::IpAddr;

use dpdk_net_packet::MacAddr;
use serde_json::{Value as Json, json};

use crate::decode::{Reader, Setting};
use crate::tree::{Node, Value};

/// A value that is written as a text. Its `Display` writes what `read` reads.
pub(crate) trait Written: Sized + fmt::Display {
    /// What it is, with its article.
    const WHAT: &'static str;
    /// How it may be written, the most usual first.
    const EXAMPLES: &'static [&'static str];
    /// What every one of them fits, as a regular expression of a JSON Schema. A text that fits may still be none.
    const PATTERN: &'static str;

    /// Reads it.
    ///
    /// # Errors
    /// What is wrong with it, as in "it has no prefix length".
    fn read(text: &str) -> Result<Self, String>;
}

impl<T: Written> Setting for T {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let Value::Text(text) = &node.value else {
            let example = T::EXAMPLES.first().copied().unwrap_or_default();
            reader.wrong_type(node, &format!("{}, as in \"{example}\"", T::WHAT));
            return None;
        };
        let help = || {
            let quoted: Vec<String> = T::EXAMPLES.iter().map(|e| format!("\"{e}\"")).collect();
            Some(format!("it is written as in {}", quoted.join(" or ")))
        };
        T::read(text)
            .map_err(|why| reader.bad_value(node, why, help()))
            .ok()
    }

    fn schema() -> Json {
        json!({
            "type": "string",
            "pattern": T::PATTERN,
            "examples": T::EXAMPLES,
            "x-type": T::WHAT,
        })
    }

    fn to_json(&self) -> Json {
        self.to_string().into()
    }
}

impl Written for IpAddr {
    const WHAT: &'static str = "an IP address";
    const EXAMPLES: &'static [&'static str] = &["198.18.0.1", "fd00::1"];
    const PATTERN: &'static str = "^[0-9A-Fa-f:.]+$";

    fn read(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| match text.split_once('/') {
            Some((addr, _)) if addr.parse::<Self>().is_ok() => {
                format!("it is an address alone, without a prefix length: \"{addr}\"")
            }
            _ => "it should be an IP address".to_owned(),
        })
    }
}

impl Written for MacAddr {
    const WHAT: &'static str = "a MAC address";
    const EXAMPLES: &'static [&'static str] = &["02:00:5e:10:00:01"];
    const PATTERN: &'static str = "^[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}$";

    fn read(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|_| "it should be a MAC address, six bytes in hexadecimal".to_owned())
    }
}
