//! Lists of lcores as EAL's `--lcores` has them, and as people do: `0-3,5`, `0@0,1@0`, `[0, 2]`.

use std::fmt;
use std::str::FromStr;

use serde_json::{Value as Json, json};

use crate::decode::{Reader, Setting};
use crate::tree::{Node, Value};

/// Lcores that EAL may have (`RTE_MAX_LCORE` is 128 as a rule; more is refused by it).
const MOST: u32 = 1024;

/// An lcore and the CPUs that it may run on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct LcoreMap {
    /// The lcore's number.
    pub lcore: u32,
    /// The CPUs. That of the same number where none is given.
    pub cpus: Vec<u32>,
}

/// Lcores and the CPUs that they run on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Lcores(pub Vec<LcoreMap>);

impl Lcores {
    /// All CPUs that lcores run on, each once, in order.
    pub fn cpus(&self) -> Vec<u32> {
        let mut cpus: Vec<u32> = self
            .0
            .iter()
            .flat_map(|map| map.cpus.iter().copied())
            .collect();
        cpus.sort_unstable();
        cpus.dedup();
        cpus
    }
}

/// `3`, `0-3`.
fn range(text: &str) -> Result<std::ops::RangeInclusive<u32>, String> {
    let number = |text: &str| {
        let text = text.trim();
        let number = text
            .parse::<u32>()
            .map_err(|_| format!("`{text}` is no lcore's or CPU's number"))?;
        if number >= MOST {
            return Err(format!("`{number}` is more than {}, the last", MOST - 1));
        }
        Ok(number)
    };
    match text.split_once('-') {
        Some((first, last)) => {
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(format!("`{text}` ends before it begins"));
            }
            Ok(first..=last)
        }
        None => number(text).map(|one| one..=one),
    }
}

/// Numbers and ranges between commas, which may be in parentheses.
fn set(text: &str) -> Result<Vec<u32>, String> {
    let text = text.trim();
    let inner = text
        .strip_prefix('(')
        .and_then(|text| text.strip_suffix(')'))
        .unwrap_or(text);
    let mut all = Vec::new();
    for part in inner.split(',') {
        all.extend(range(part)?);
    }
    Ok(all)
}

/// The parts between commas that are not in parentheses.
fn parts(text: &str) -> Vec<&str> {
    let (mut depth, mut start, mut parts) = (0_i32, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(text.get(start..at).unwrap_or_default());
                start = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(start..).unwrap_or_default());
    parts
}

impl FromStr for Lcores {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut maps: Vec<LcoreMap> = Vec::new();
        for part in parts(text) {
            let (lcores, cpus) = match part.split_once('@') {
                Some((lcores, cpus)) => (set(lcores)?, Some(set(cpus)?)),
                None => (set(part)?, None),
            };
            for lcore in lcores {
                if maps.iter().any(|map| map.lcore == lcore) {
                    return Err(format!("lcore {lcore} is there twice"));
                }
                maps.push(LcoreMap {
                    lcore,
                    cpus: cpus.clone().unwrap_or_else(|| vec![lcore]),
                });
            }
        }
        Ok(Self(maps))
    }
}

impl fmt::Display for Lcores {
    /// As EAL reads it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, map) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(",")?;
            }
            write!(f, "{}", map.lcore)?;
            match map.cpus.as_slice() {
                [cpu] if *cpu == map.lcore => {}
                [cpu] => write!(f, "@{cpu}")?,
                cpus => {
                    let cpus: Vec<String> = cpus.iter().map(u32::to_string).collect();
                    write!(f, "@({})", cpus.join(","))?;
                }
            }
        }
        Ok(())
    }
}

impl Setting for Lcores {
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self> {
        let text = match &node.value {
            Value::Text(text) => text.clone(),
            Value::Integer(lcore) => lcore.to_string(),
            Value::Array(items) if !items.is_empty() => {
                let mut numbers = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    match item.value {
                        Value::Integer(lcore) => numbers.push(lcore.to_string()),
                        _ => reader.element(index, item, |reader| {
                            reader.wrong_type(item, "the number of an lcore");
                        }),
                    }
                }
                if numbers.len() < items.len() {
                    return None;
                }
                numbers.join(",")
            }
            Value::Array(_) => {
                let help = "leave the key out: then there is one for each CPU";
                reader.bad_value(node, "it is empty", Some(help.to_owned()));
                return None;
            }
            _ => {
                reader.wrong_type(node, "a list of lcores, as in \"0-3,5\"");
                return None;
            }
        };
        let help =
            || Some("as in \"0-3,5\", or with the CPUs that they run on, \"0@2,1@3\"".to_owned());
        text.parse()
            .map_err(|why: String| reader.bad_value(node, why, help()))
            .ok()
    }

    fn schema() -> Json {
        json!({
            "anyOf": [
                { "type": "string", "pattern": r"^\s*[0-9(][0-9,@()\s-]*$" },
                { "type": "integer", "minimum": 0 },
                { "type": "array", "items": { "type": "integer", "minimum": 0 }, "minItems": 1 },
            ],
            "examples": ["0-3,5", "0@2,1@3"],
            "x-type": "a list of lcores",
        })
    }

    fn to_json(&self) -> Json {
        self.to_string().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_people_and_of_eal_are_read() {
        let shown = |text: &str| text.parse::<Lcores>().map(|lcores| lcores.to_string());
        assert_eq!(shown("0-3,5"), Ok("0,1,2,3,5".into()));
        assert_eq!(shown("0@2, 1@(4-5)"), Ok("0@2,1@(4,5)".into()));
        assert_eq!(shown("(0-1)@(2,3)"), Ok("0@(2,3),1@(2,3)".into()));
        assert_eq!("0@2,1@2,7".parse::<Lcores>().unwrap().cpus(), [2, 7]);
        for (bad, why) in [
            ("", "`` is no"),
            ("3-1", "ends before"),
            ("0,0", "twice"),
            ("0-99999", "more than"),
            ("0@", "is no lcore"),
            ("(0", "is no lcore"),
        ] {
            assert!(
                shown(bad).is_err_and(|error| error.contains(why)),
                "{bad}: {:?}",
                shown(bad)
            );
        }
    }
}
