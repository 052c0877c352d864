//! Amounts of bytes.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value as Json, json};

use super::split;
use crate::decode::{Reader, Setting};
use crate::suggest::nearest;
use crate::tree::{Node, Value};

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
                    || match nearest(unit, &units).as_slice() {
                        [one] => format!("did you mean `{one}`?"),
                        _ => format!("units are {}", units.join(", ")),
                    },
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
                .map_err(|_| "no amount of bytes is negative or so large".to_owned()),
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
                { "type": "string", "pattern": r"^\s*[0-9_]+(\.[0-9_]+)?\s*([kKmMgGtT]?[iI]?[bB]|[bB][yY][tT][eE][sS])?\s*$" },
            ],
            "examples": ["64 KiB"],
            "x-type": "a size",
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
