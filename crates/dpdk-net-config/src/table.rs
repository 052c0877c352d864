//! A table's keys: what nobody knows among them is told with what may have been meant, or where it belongs.

use serde_json::Value as Json;

use crate::decode::{Reader, join};
use crate::problem::{Kind, MOST_SHOWN, Problem};
use crate::suggest::{all_of, did_you_mean, nearest};
use crate::tree::{Entry, Node, Table, Value};

/// Reads a table, and tells of keys that nobody knows. `None` where it is no table.
pub(crate) fn read<'a>(node: &'a Node, known: &[&str], reader: &mut Reader) -> Option<&'a Table> {
    let Value::Table(table) = &node.value else {
        no_table(node, reader);
        return None;
    };
    for entry in &table.entries {
        if !known.contains(&entry.key.as_str()) {
            unknown(entry, known, reader);
        }
    }
    Some(table)
}

fn no_table(node: &Node, reader: &mut Reader) {
    if reader.is_root() {
        let help = "as in { \"port\": [ { \"vdev\": \"net_tap0\" } ] }";
        reader.wrong_type_but(node, "an object with sections", Some(help.to_owned()));
        return;
    }
    let first = match &node.value {
        Value::Array(items) => items.first().map(|item| &item.value),
        _ => None,
    };
    let help = matches!(first, Some(Value::Table(_))).then(|| {
        let path = reader.generic_path();
        format!("there is only one: write [{path}], in JSON an object")
    });
    reader.wrong_type_but(node, "a table", help);
}

fn unknown(entry: &Entry, known: &[&str], reader: &mut Reader) {
    let (key, path) = (entry.key.as_str(), reader.path());
    let is_section = matches!(entry.node.value, Value::Table(_) | Value::Array(_));
    let message = match (reader.is_root(), is_section) {
        // What stands behind a broken header is in no section.
        (true, false) if reader.is_broken() => return,
        (true, false) => format!("`{key}` is in no section"),
        (true, true) => format!("there is no section `{key}`"),
        (false, _) => format!("{} has no key `{key}`", reader.name()),
    };
    let near = nearest(key, known);
    let help = match apart(entry, known) {
        Some(apart) => format!("parts of a path stand between two underscores: {apart}"),
        None if near.is_empty() => elsewhere(key, reader).unwrap_or_else(|| all_of(known)),
        None => {
            let meant = near.iter().map(|near| join(&path, near));
            reader.meant.extend(meant);
            did_you_mean(&near)
        }
    };
    let problem = Problem::new(Kind::UnknownKey, message)
        .on(join(&path, key))
        .at(&entry.key_place, "not known")
        .help(help);
    reader.problem(problem);
}

/// A variable's part that is two with one underscore between, as they should be written.
fn apart(entry: &Entry, known: &[&str]) -> Option<String> {
    let (first, rest) = known.iter().find_map(|known| {
        let rest = entry.key.strip_prefix(known)?.strip_prefix('_')?;
        Some((known, rest))
    })?;
    let variable = entry.key_place.is_environment();
    variable.then(|| format!("{first}__{rest}").to_uppercase())
}

/// Where a key is known that is not where it was given.
fn elsewhere(key: &str, reader: &mut Reader) -> Option<String> {
    if reader.problems.len() >= MOST_SHOWN {
        return None;
    }
    let mut sections = Vec::new();
    find_sections(&crate::file::schema(), key, "", &mut sections);
    let here = reader.generic_path();
    // Where it belongs further in, it may be meant for there.
    let inner = sections.iter().find_map(|section| match here.as_str() {
        "" => Some(section.as_str()),
        here => section.strip_prefix(here)?.strip_prefix('.'),
    });
    if let Some(inner) = inner {
        let path = join(&reader.path(), inner);
        reader.meant.push(join(&path, key));
    }
    let quoted: Vec<String> = sections
        .iter()
        .map(|section| format!("`{section}`"))
        .collect();
    match quoted.as_slice() {
        [] => None,
        all if all.len() > 4 => None,
        all => Some(format!("it is a key of {}", all.join(", "))),
    }
}

/// The sections of a schema that have a key.
fn find_sections(schema: &Json, key: &str, path: &str, found: &mut Vec<String>) {
    let schema = schema.get("items").unwrap_or(schema);
    let Some(properties) = schema.get("properties").and_then(Json::as_object) else {
        return;
    };
    if properties.contains_key(key) && !path.is_empty() {
        found.push(path.to_owned());
    }
    for (name, inner) in properties {
        find_sections(inner, key, &join(path, name), found);
    }
}
