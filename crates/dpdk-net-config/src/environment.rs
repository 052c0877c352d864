//! Settings from environment variables, over those of the file: `DPDK_NET__TCP__TIME_WAIT=30s`,
//! `DPDK_NET__PORT__0__MTU=9000`.
//!
//! After the prefix `DPDK_NET__` comes the setting's path in any case, its parts between two underscores; a number is a
//! place in a list, and the one after the last adds to it. The value is read as TOML, `["10.0.0.2/24"]` for one; what is
//! no TOML value is a text. An empty one is refused: it may be a script's mistake as well as a wish for the default.

use std::sync::Arc;

use toml::de::DeValue;

use crate::problem::{Kind, Problem};
use crate::tree::{Entry, Node, Place, Table, Text, Value};

/// What the names of variables begin with.
pub const PREFIX: &str = "DPDK_NET__";

/// Elements that a list can be given by variables: so many places, and no more, can be meant by mistake.
const MOST: usize = 1024;

/// Parts that a path may have: those in `[app]` may go deeper than any of ours.
const DEEPEST: usize = 32;

/// Puts the settings of `variables`, in any order, over those of `root`.
pub(crate) fn apply(
    root: &mut Node,
    variables: impl IntoIterator<Item = (String, String)>,
    problems: &mut Vec<Problem>,
) {
    if !matches!(root.value, Value::Table(_)) {
        // Nothing has a place in it; what it is instead is told when it is read.
        return;
    }
    let mut ours: Vec<(String, String, String)> = variables
        .into_iter()
        .filter_map(|(name, text)| {
            let path = name.strip_prefix(PREFIX)?.to_lowercase();
            Some((path, name, text))
        })
        .collect();
    // So that elements that are added come one after the other, and tables before what is in them.
    ours.sort_by_cached_key(|(path, name, _)| {
        let parts = path.split("__");
        let numbers = parts.map(|part| (part.parse::<usize>().unwrap_or(0), part.to_owned()));
        (numbers.collect::<Vec<_>>(), name.clone())
    });
    let mut before: Option<String> = None;
    for (path, name, text) in ours {
        let source = Arc::new(Text::new(format!("${name}"), text.clone()));
        let place = Place {
            source,
            span: 0..text.len(),
        };
        let parts: Vec<&str> = path.split("__").collect();
        let set = match &before {
            Some(before) if *before == path => Err(problem(
                &place,
                "another variable sets the same",
                "their names differ in case alone: unset one of them",
            )),
            _ if parts.len() > DEEPEST => Err(problem(
                &place,
                format!("the variable's name has more than {DEEPEST} parts"),
                "no setting is that deep",
            )),
            _ if text.trim().is_empty() => Err(problem(
                &place,
                "the variable is empty",
                "unset it: then what the file says counts",
            )),
            _ => set(root, &parts, value(&text, &place), &place),
        };
        if let Err(problem) = set {
            let shown = parts.get(..DEEPEST).unwrap_or(&parts);
            problems.push(problem.on(setting(shown)));
        }
        before = Some(path);
    }
}

fn problem(place: &Place, message: impl Into<String>, help: impl Into<String>) -> Box<Problem> {
    let problem = Problem::new(Kind::Environment, message);
    Box::new(problem.at(place, "").help(help))
}

/// The setting that a path's parts lead to, as messages have it: `port[0].mtu`.
fn setting(parts: &[&str]) -> String {
    let mut path = String::new();
    for part in parts {
        match (is_index(part), path.is_empty()) {
            (true, _) => path.push_str(&format!("[{part}]")),
            (false, true) => path.push_str(part),
            (false, false) => path.push_str(&format!(".{part}")),
        }
    }
    path
}

/// The value that a variable's text is.
fn value(text: &str, place: &Place) -> Node {
    let parsed = DeValue::parse(text).map(|parsed| parsed.into_inner());
    let value = match parsed {
        Ok(parsed) => plain(parsed, place),
        Err(_) => Value::Text(text.to_owned()),
    };
    Node {
        value,
        place: place.clone(),
    }
}

/// A value whose parts are all at one place: the variable's.
fn plain(value: DeValue<'_>, place: &Place) -> Value {
    let node = |value: DeValue<'_>| Node {
        value: plain(value, place),
        place: place.clone(),
    };
    match value {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(integer) => i128::from_str_radix(integer.as_str(), integer.radix())
            .map_or(Value::Text(integer.as_str().to_owned()), Value::Integer),
        DeValue::Float(float) => (float.as_str().replace('_', "").parse())
            .map_or(Value::Text(float.as_str().to_owned()), Value::Float),
        DeValue::Boolean(bool) => Value::Bool(bool),
        DeValue::Datetime(date) => Value::Text(date.to_string()),
        DeValue::Array(items) => Value::Array(
            items
                .into_iter()
                .map(|item| node(item.into_inner()))
                .collect(),
        ),
        DeValue::Table(table) => Value::Table(Table {
            entries: table
                .into_iter()
                .map(|(key, value)| Entry {
                    key: key.into_inner().into_owned(),
                    key_place: place.clone(),
                    node: node(value.into_inner()),
                })
                .collect(),
        }),
    }
}

/// Sets what `parts` leads to.
fn set(node: &mut Node, parts: &[&str], new: Node, place: &Place) -> Result<(), Box<Problem>> {
    let Some((&part, rest)) = parts.split_first() else {
        *node = new;
        return Ok(());
    };
    if part.is_empty() {
        return Err(problem(
            place,
            "the variable's name has an empty part",
            "parts of the path stand between two underscores: DPDK_NET__TCP__TIME_WAIT",
        ));
    }
    match &mut node.value {
        Value::Array(items) => {
            let (len, index) = (items.len(), part.parse::<usize>());
            let index = index.ok().filter(|index| *index <= len && *index < MOST);
            let Some(index) = index else {
                let help = match len {
                    0 => "0 adds the first element".to_owned(),
                    1 => "0 is there, 1 adds one".to_owned(),
                    len => format!("0 to {} are there, {len} adds one", len - 1),
                };
                let message =
                    format!("the variable's name has `{part}` where the place in a list is needed");
                return Err(problem(place, message, help));
            };
            if index == len {
                items.push(empty(rest, place));
            }
            match items.get_mut(index) {
                Some(item) => set(item, rest, new, place),
                None => Ok(()),
            }
        }
        Value::Table(table) => {
            if table.get(part).is_none() {
                table.entries.push(Entry {
                    key: part.to_owned(),
                    key_place: place.clone(),
                    node: empty(rest, place),
                });
            }
            match table.get_mut(part) {
                Some(entry) => set(&mut entry.node, rest, new, place),
                None => Ok(()),
            }
        }
        // Told when it is read.
        Value::Broken => Ok(()),
        other => Err(problem(
            place,
            format!("the variable sets `{part}` in what is {}", other.kind()),
            "only tables and lists have something in them: set the whole",
        )),
    }
}

/// Whether a part of a path is a place in a list, were it one that no list has.
fn is_index(part: &str) -> bool {
    !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit())
}

/// What the rest of a path leads on from: a list before a number, or else a table.
fn empty(rest: &[&str], place: &Place) -> Node {
    let list = rest.first().is_some_and(|part| is_index(part));
    Node {
        value: if list {
            Value::Array(Vec::new())
        } else {
            Value::Table(Table::default())
        },
        place: place.clone(),
    }
}
