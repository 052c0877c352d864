//! Lengths of time.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Value as Json, json};

use super::split;
use crate::decode::{Reader, Setting};
use crate::suggest::nearest;
use crate::tree::{Node, Value};

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
                let units: Vec<&str> = TIMES.iter().map(|(name, _)| *name).collect();
                let help = match nearest(unit, &units).as_slice() {
                    [one] => format!("did you mean `{one}`?"),
                    _ => "units are ns, us, ms, s, min, h and days".to_owned(),
                };
                return Err(format!("`{unit}` is no unit of time: {help}"));
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
        const DAY: u128 = 86_400_000_000_000;
        if nanos > DAY && nanos.is_multiple_of(DAY) {
            return write!(f, "{} days", nanos / DAY);
        }
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
        let units: Vec<&str> = TIMES.iter().map(|(name, _)| *name).collect();
        let one = format!(r"[0-9_]+(\.[0-9_]+)?\s*({})", units.join("|"));
        let pattern = format!(r"^\s*(0+|({one}\s*)*{one})\s*$");
        json!({
            "anyOf": [
                { "type": "string", "pattern": pattern },
                { "const": 0 },
            ],
            "examples": ["200 ms"],
            "x-type": "a time",
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
