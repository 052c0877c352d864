//! Settings from environment variables, over those of the file: `DPDK_NET__TCP__TIME_WAIT=30s`,
//! `DPDK_NET__PORT__0__MTU=9000`.
//!
//! After the prefix `DPDK_NET__` comes the setting's path in any case, its parts between two underscores; a number is a
//! place in a list, and the one after the last adds to it. The value is read as TOML, `["10.0.0.2/24"]` for one; what is
//! no TOML value is a text.

use std::sync::Arc;

use miette::NamedSource;
use toml::de::DeValue;

use crate::problem::{Kind, Problem};
use crate::tree::{Entry, Node, Place, Table, Value};

/// What the names of variables begin with.
pub const PREFIX: &str = "DPDK_NET__";

/// Elements that a list can be given by variables: so many places, and no more, can be meant by mistake.
const MOST: usize = 1024;

/// Puts the settings of `variables`, in any order, over those of `root`.
pub(crate) fn apply(
    root: &mut Node,
    variables: impl IntoIterator<Item = (String, String)>,
    problems: &mut Vec<Problem>,
) {
    let mut ours: Vec<(String, String)> = variables
        .into_iter()
        .filter(|(name, _)| name.starts_with(PREFIX))
        .collect();
    // So that elements that are added come one after the other, and tables before what is in them.
    ours.sort_by_cached_key(|(name, _)| {
        let numbers = name
            .split("__")
            .map(|part| (part.parse::<usize>().unwrap_or(0), part.to_owned()));
        numbers.collect::<Vec<_>>()
    });
    for (name, text) in ours {
        let source = Arc::new(NamedSource::new(format!("${name}"), text.clone()));
        let place = Place {
            source,
            span: 0..text.len(),
        };
        let path = name.get(PREFIX.len()..).unwrap_or_default().to_lowercase();
        let parts: Vec<&str> = path.split("__").collect();
        let node = value(&text, &place);
        if let Err(problem) = set(root, &parts, node, &place) {
            problems.push(*problem);
        }
    }
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
        DeValue::Float(float) => float
            .as_str()
            .parse()
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
        let problem = Problem::new(Kind::Environment, "the variable's name has an empty part");
        return Err(Box::new(problem.at(place, "").help(
            "parts of the path stand between two underscores: DPDK_NET__TCP__TIME_WAIT",
        )));
    }
    if let Value::Array(items) = &mut node.value {
        let (len, index) = (items.len(), part.parse::<usize>());
        let index = index.ok().filter(|index| *index <= len && *index < MOST);
        let Some(index) = index else {
            let message =
                format!("the variable's name has `{part}` where the place in a list is needed");
            let help = match len {
                0 => "0 adds the first element".to_owned(),
                len => format!("0 to {} are there, {len} adds one", len - 1),
            };
            return Err(Box::new(
                Problem::new(Kind::Environment, message)
                    .at(place, "")
                    .help(help),
            ));
        };
        if index == len {
            items.push(empty(rest, place));
        }
        return match items.get_mut(index) {
            Some(item) => set(item, rest, new, place),
            None => Ok(()),
        };
    }
    if !matches!(node.value, Value::Table(_)) {
        // A text that a table takes the place of, say: what the table lacks is told when it is read.
        *node = empty(parts, place);
    }
    let Value::Table(table) = &mut node.value else {
        return Ok(());
    };
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

/// What the rest of a path leads on from: a list before a number, or else a table.
fn empty(rest: &[&str], place: &Place) -> Node {
    let list = rest
        .first()
        .is_some_and(|part| part.parse::<usize>().is_ok());
    Node {
        value: if list {
            Value::Array(Vec::new())
        } else {
            Value::Table(Table::default())
        },
        place: place.clone(),
    }
}
