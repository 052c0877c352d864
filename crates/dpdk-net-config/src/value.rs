//! Values as people write them: sizes, durations, lists of lcores, addresses, and words of a choice.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use dpdk_net_packet::MacAddr;
use serde_json::{Value as Json, json};

use crate::decode::{Reader, Setting, suggestion};
use crate::tree::{Node, Value};

impl Setting for bool {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Bool(bool) => Some(*bool),
            Value::Text(text)
                if matches!(
                    text.as_str(),
                    "true" | "false" | "on" | "off" | "yes" | "no"
                ) =>
            {
                let plain = matches!(text.as_str(), "true" | "on" | "yes");
                let help = format!("write {plain}, without quotation marks");
                reader.bad_value(node, "it is true or false", Some(help));
                None
            }
            _ => {
                reader.wrong_type(node, "true or false");
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "type": "boolean" })
    }

    fn to_json(&self) -> Json {
        (*self).into()
    }
}

macro_rules! integer {
    ($($ty:ty),*) => {
        $(
            impl Setting for $ty {
                fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
                    let Value::Integer(integer) = node.value else {
                        match &node.value {
                            Value::Text(text) if text.parse::<$ty>().is_ok() => {
                                let help = format!("write {text}, without quotation marks");
                                reader.bad_value(node, "it is a number", Some(help));
                            }
                            _ => reader.wrong_type(node, "an integer"),
                        }
                        return None;
                    };
                    let read = <$ty>::try_from(integer).ok();
                    if read.is_none() {
                        let why = format!("it may be {} to {}", <$ty>::MIN, <$ty>::MAX);
                        reader.bad_value(node, why, None);
                    }
                    read
                }

                fn schema() -> Json {
                    json!({ "type": "integer", "minimum": <$ty>::MIN, "maximum": <$ty>::MAX })
                }

                fn to_json(&self) -> Json {
                    (*self).into()
                }

                fn number(&self) -> Option<u64> {
                    Some((*self).into())
                }
            }
        )*
    };
}
integer!(u8, u16, u32, u64);

impl Setting for String {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        match &node.value {
            Value::Text(text) if text.contains('\0') => {
                reader.bad_value(node, "it has a NUL character", None);
                None
            }
            Value::Text(text) if text.is_empty() => {
                reader.bad_value(node, "it is empty", Some("leave the key out".to_owned()));
                None
            }
            Value::Text(text) => Some(text.clone()),
            _ => {
                reader.wrong_type(node, "a text");
                None
            }
        }
    }

    fn schema() -> Json {
        json!({ "type": "string", "minLength": 1 })
    }

    fn to_json(&self) -> Json {
        self.as_str().into()
    }
}

impl Setting for PathBuf {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        String::decode(node, reader).map(Self::from)
    }

    fn schema() -> Json {
        String::schema()
    }

    fn to_json(&self) -> Json {
        self.to_string_lossy().into_owned().into()
    }
}

/// What is written as a text, and read by `FromStr`.
macro_rules! text {
    ($ty:ty, $what:literal, $example:literal) => {
        impl Setting for $ty {
            fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
                let Value::Text(text) = &node.value else {
                    reader.wrong_type(node, concat!($what, ", as in \"", $example, "\""));
                    return None;
                };
                match text.parse::<Self>() {
                    Ok(read) => Some(read),
                    Err(_) => {
                        let why = concat!("it should be ", $what);
                        reader.bad_value(node, why, Some(concat!("as in \"", $example, "\"").to_owned()));
                        None
                    }
                }
            }

            fn schema() -> Json {
                json!({ "type": "string", "examples": [$example] })
            }

            fn to_json(&self) -> Json {
                self.to_string().into()
            }
        }
    };
}

text!(IpAddr, "an IP address", "198.18.0.1");
text!(SocketAddr, "an IP address and a port", "[::]:80");
text!(MacAddr, "a MAC address", "02:00:5e:10:00:01");

/// An amount of bytes: `"64 KiB"`, `"2MB"`, `65536`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Size(pub u64);

impl Size {
    /// In bytes; on machines whose addresses are shorter, as many as there can be.
    pub fn bytes(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }
}

/// Units of sizes with their bytes: those of 1,024 (IEC 80000-13), and those of 1,000.
const SIZES: [(&str, u64); 11] = [
    ("B", 1),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("bytes", 1),
];

/// A number, which may have a fraction, and what comes after it.
fn split(text: &str) -> Option<(u64, u64, u64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == '_'));
    let (number, unit) = text.split_at(end.unwrap_or(text.len()));
    let number = number.replace('_', "");
    let (whole, fraction) = number.split_once('.').unwrap_or((&number, ""));
    if whole.is_empty() || fraction.len() > 9 || (number.contains('.') && fraction.is_empty()) {
        return None;
    }
    let scale = 10_u64.pow(fraction.len() as u32);
    let part = if fraction.is_empty() {
        0
    } else {
        fraction.parse().ok()?
    };
    Some((whole.parse().ok()?, part, scale, unit.trim()))
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (whole, part, scale, unit) = split(text).ok_or("it should be a size")?;
        let known = SIZES.iter().find(|(name, _)| *name == unit);
        let known = known.or_else(|| {
            SIZES
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(unit))
        });
        let factor = match known {
            Some((_, factor)) => *factor,
            None if unit.is_empty() => 1,
            None => {
                let units = ["B", "KiB", "MiB", "GiB", "TiB", "kB", "MB", "GB", "TB"];
                // `k`, `M` are 1,000 to some and 1,024 to others.
                let about = units
                    .iter()
                    .find(|name| name.len() == 3 && name[..1].eq_ignore_ascii_case(unit));
                let help = about.map_or_else(
                    || suggestion(unit, &units),
                    |name| {
                        format!(
                            "say `{name}` for powers of 1024, or `{}B` for powers of 1000",
                            &name[..1]
                        )
                    },
                );
                return Err(format!("`{unit}` is no unit of size: {help}"));
            }
        };
        let bytes = u128::from(whole) * u128::from(factor)
            + u128::from(part) * u128::from(factor) / u128::from(scale);
        u64::try_from(bytes)
            .map(Self)
            .map_err(|_| "it is too much".to_owned())
    }
}

impl fmt::Display for Size {
    /// In the largest unit in which it is whole.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["TiB", "GiB", "MiB", "KiB"];
        for (unit, shift) in units.iter().zip([40, 30, 20, 10]) {
            if self.0 != 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{} {unit}", self.0 >> shift);
            }
        }
        write!(f, "{} B", self.0)
    }
}

impl Setting for Size {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let result = match &node.value {
            Value::Integer(integer) => u64::try_from(*integer)
                .map(Self)
                .map_err(|_| "it is no amount of bytes".to_owned()),
            Value::Text(text) => text.parse(),
            _ => {
                reader.wrong_type(node, "a size in bytes, as in 65536 or \"64 KiB\"");
                return None;
            }
        };
        result
            .map_err(|why| {
                reader.bad_value(
                    node,
                    why,
                    Some("sizes are written as in 65536, \"64 KiB\" or \"2 GB\"".to_owned()),
                )
            })
            .ok()
    }

    fn schema() -> Json {
        json!({
            "anyOf": [
                { "type": "integer", "minimum": 0 },
                { "type": "string", "pattern": "^\\s*[0-9_]+(\\.[0-9]+)?\\s*(B|bytes|[kKMGT]i?B)?\\s*$" },
            ],
            "examples": ["64 KiB"],
        })
    }

    fn to_json(&self) -> Json {
        self.to_string().into()
    }

    fn number(&self) -> Option<u64> {
        Some(self.0)
    }

    fn show(number: u64) -> String {
        Size(number).to_string()
    }
}

/// A length of time: `"200 ms"`, `"1.5s"`, `"2 hours"`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Time(pub Duration);

/// Units of time with their nanoseconds.
const TIMES: [(&str, u64); 22] = [
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("sec", 1_000_000_000),
    ("secs", 1_000_000_000),
    ("second", 1_000_000_000),
    ("seconds", 1_000_000_000),
    ("m", 60_000_000_000),
    ("min", 60_000_000_000),
    ("mins", 60_000_000_000),
    ("minute", 60_000_000_000),
    ("minutes", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("hour", 3_600_000_000_000),
    ("hours", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
    ("day", 86_400_000_000_000),
    ("days", 86_400_000_000_000),
    ("millis", 1_000_000),
];

impl FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut total: u128 = 0;
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err("it should be a duration".to_owned());
        }
        while !rest.is_empty() {
            let (whole, part, scale, after) = split(rest).ok_or("it should be a duration")?;
            let end = after.find(|c: char| c.is_ascii_digit() || c.is_whitespace());
            let (unit, after) = after.split_at(end.unwrap_or(after.len()));
            if unit.is_empty() {
                if whole == 0 && part == 0 && total == 0 && after.is_empty() {
                    return Ok(Self(Duration::ZERO));
                }
                return Err("it needs a unit, such as ms or s".to_owned());
            }
            let Some((_, factor)) = TIMES.iter().find(|(name, _)| *name == unit) else {
                let units = ["ns", "us", "ms", "s", "min", "h", "days"];
                return Err(format!(
                    "`{unit}` is no unit of time: {}",
                    suggestion(unit, &units)
                ));
            };
            total += u128::from(whole) * u128::from(*factor)
                + u128::from(part) * u128::from(*factor) / u128::from(scale);
            rest = after.trim_start();
        }
        let nanos = u64::try_from(total).map_err(|_| "it is too long".to_owned())?;
        Ok(Self(Duration::from_nanos(nanos)))
    }
}

impl fmt::Display for Time {
    /// In the largest unit in which it is whole.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let units = [
            ("h", 3_600_000_000_000),
            ("min", 60_000_000_000),
            ("s", 1_000_000_000),
            ("ms", 1_000_000),
            ("us", 1_000),
        ];
        for (unit, size) in units {
            if nanos != 0 && nanos.is_multiple_of(size) {
                return write!(f, "{} {unit}", nanos / size);
            }
        }
        match nanos {
            0 => f.write_str("0 s"),
            nanos => write!(f, "{nanos} ns"),
        }
    }
}

impl Setting for Time {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let help =
            || Some("durations are written as in \"200 ms\", \"1.5 s\" or \"2 h\"".to_owned());
        match &node.value {
            Value::Text(text) => text
                .parse()
                .map_err(|why: String| reader.bad_value(node, why, help()))
                .ok(),
            Value::Integer(0) => Some(Self(Duration::ZERO)),
            Value::Integer(_) | Value::Float(_) => {
                reader.bad_value(node, "it needs a unit, such as ms or s", help());
                None
            }
            _ => {
                reader.wrong_type(node, "a duration, as in \"200 ms\"");
                None
            }
        }
    }

    fn schema() -> Json {
        json!({
            "anyOf": [
                { "type": "string", "pattern": "^\\s*([0-9_]+(\\.[0-9]+)?\\s*[a-zµμ]*\\s*)+$" },
                { "const": 0 },
            ],
            "examples": ["200 ms"],
        })
    }

    fn to_json(&self) -> Json {
        self.to_string().into()
    }

    /// In microseconds.
    fn number(&self) -> Option<u64> {
        Some(u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX))
    }

    fn show(number: u64) -> String {
        Time(Duration::from_micros(number)).to_string()
    }
}

/// An address with the length of its prefix: `198.18.0.2/24`, `fd00::2/64`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// The address.
    pub addr: IpAddr,
    /// Length of the prefix, in bits.
    pub prefix_len: u8,
}

impl Cidr {
    /// Whether `other` is within the prefix.
    pub fn contains(&self, other: IpAddr) -> bool {
        let shift = |width: u32| width - u32::from(self.prefix_len);
        match (self.addr, other) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                (own.to_bits() ^ other.to_bits())
                    .checked_shr(shift(32))
                    .unwrap_or(0)
                    == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                (own.to_bits() ^ other.to_bits())
                    .checked_shr(shift(128))
                    .unwrap_or(0)
                    == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((addr, len)) = text.split_once('/') else {
            return Err(match text.parse::<IpAddr>() {
                Ok(IpAddr::V4(_)) => format!("it has no prefix length: \"{text}/24\", say"),
                Ok(IpAddr::V6(_)) => format!("it has no prefix length: \"{text}/64\", say"),
                Err(_) => "it should be an address with a prefix length".to_owned(),
            });
        };
        let addr: IpAddr = addr
            .parse()
            .map_err(|_| format!("`{addr}` is no IP address"))?;
        let most = if addr.is_ipv4() { 32 } else { 128 };
        let prefix_len = len
            .parse()
            .ok()
            .filter(|len: &u8| *len <= most)
            .ok_or_else(|| format!("the prefix length is 0 to {most}"))?;
        Ok(Self { addr, prefix_len })
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.addr, self.prefix_len)
    }
}

/// What is written as a text, and says itself what is wrong with it.
macro_rules! telling_text {
    ($ty:ty, $what:literal, $example:literal) => {
        impl Setting for $ty {
            fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
                let Value::Text(text) = &node.value else {
                    reader.wrong_type(node, concat!($what, ", as in \"", $example, "\""));
                    return None;
                };
                text.parse()
                    .map_err(|why: String| {
                        reader.bad_value(node, why, Some(concat!("as in \"", $example, "\"").to_owned()))
                    })
                    .ok()
            }

            fn schema() -> Json {
                json!({ "type": "string", "examples": [$example] })
            }

            fn to_json(&self) -> Json {
                self.to_string().into()
            }
        }
    };
}
telling_text!(Cidr, "an address with a prefix length", "198.18.0.2/24");

/// Where a route leads: a network, or `default`, which is all of the gateway's family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Destination {
    /// Everything.
    Default,
    /// A network.
    Network(Cidr),
}

impl FromStr for Destination {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "default" {
            return Ok(Self::Default);
        }
        let network: Cidr = text.parse()?;
        let host = match network.addr {
            IpAddr::V4(addr) => {
                let mask = u32::MAX
                    .checked_shl(32 - u32::from(network.prefix_len))
                    .unwrap_or(0);
                (addr.to_bits() & !mask != 0)
                    .then(|| IpAddr::V4(Ipv4Addr::from_bits(addr.to_bits() & mask)))
            }
            IpAddr::V6(addr) => {
                let mask = u128::MAX
                    .checked_shl(128 - u32::from(network.prefix_len))
                    .unwrap_or(0);
                (addr.to_bits() & !mask != 0)
                    .then(|| IpAddr::V6(Ipv6Addr::from_bits(addr.to_bits() & mask)))
            }
        };
        match host {
            Some(addr) => Err(format!(
                "it has bits behind the prefix: {addr}/{} is meant?",
                network.prefix_len
            )),
            None => Ok(Self::Network(network)),
        }
    }
}

impl fmt::Display for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Network(network) => network.fmt(f),
        }
    }
}

telling_text!(Destination, "a network, or \"default\"", "10.0.0.0/8");

/// A PCI address, `0000:01:00.0`; the domain may be left out.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct PciAddress(String);

impl PciAddress {
    /// With its domain, in lower case, as the kernel and DPDK write it.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PciAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let malformed = || {
            "it should be a PCI address: domain, bus, device and function in hexadecimal".to_owned()
        };
        let lower = text.to_lowercase();
        let whole = match lower.matches(':').count() {
            1 => format!("0000:{lower}"),
            _ => lower,
        };
        let (front, function) = whole.rsplit_once('.').ok_or_else(malformed)?;
        let parts: Vec<&str> = front.split(':').collect();
        let digits =
            |text: &str, len| text.len() == len && text.bytes().all(|b| b.is_ascii_hexdigit());
        match parts.as_slice() {
            [domain, bus, device]
                if digits(domain, 4)
                    && digits(bus, 2)
                    && digits(device, 2)
                    && u8::from_str_radix(device, 16).is_ok_and(|device| device < 32)
                    && matches!(function.as_bytes(), [b'0'..=b'7']) =>
            {
                Ok(Self(whole))
            }
            _ => Err(malformed()),
        }
    }
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

telling_text!(PciAddress, "a PCI address", "0000:01:00.0");
telling_text!(crate::sections::RssKey, "an RSS key", "symmetric");

/// A choice of words.
macro_rules! choice {
    (
        $(#[doc = $doc:literal])*
        pub enum $name:ident {
            $(
                $(#[doc = $word_doc:literal])*
                $variant:ident = $word:literal
            ),* $(,)?
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $name {
            $(
                $(#[doc = $word_doc])*
                $variant,
            )*
        }

        impl $name {
            /// Each of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant),*];

            /// The word of it.
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.word())
            }
        }

        impl $crate::decode::Setting for $name {
            fn decode(
                node: &$crate::tree::Node,
                reader: &mut $crate::decode::Reader,
            ) -> Option<Self> {
                $crate::value::word(node, reader, Self::ALL, Self::word)
            }

            fn schema() -> serde_json::Value {
                serde_json::json!({ "enum": [$($word),*] })
            }

            fn to_json(&self) -> serde_json::Value {
                self.word().into()
            }
        }
    };
}
pub(crate) use choice;

/// Reads one of several words.
pub(crate) fn word<T: Copy>(
    node: &Node,
    reader: &mut Reader,
    all: &[T],
    name: fn(T) -> &'static str,
) -> Option<T> {
    let words: Vec<&str> = all.iter().map(|one| name(*one)).collect();
    let Value::Text(text) = &node.value else {
        let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        reader.wrong_type(node, &format!("one of {}", quoted.join(", ")));
        return None;
    };
    let found = all.iter().find(|one| name(**one) == text);
    if found.is_none() {
        let why = format!("it is one of {}", words.join(", "));
        let near = suggestion(text, &words);
        reader.bad_value(node, why, near.starts_with("did").then_some(near));
    }
    found.copied()
}
