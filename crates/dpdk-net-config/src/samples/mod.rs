//! A good value of every key, each in a file that has little else: for tests of whatever reads a configuration.
//!
//! A test holds the table to the schema: a key that is not here fails it. What a file needs beside a key to be complete is
//! its frame.

mod keys;

use std::sync::OnceLock;

use serde_json::Value as Json;
use toml::{Table, Value};

/// A key with a value that it can have.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// The key's path, with the first element of each list, as in `port[0].flow[0].queue`.
    pub path: String,
    /// A complete file in which the key has the value.
    pub toml: String,
    /// The value, as [`File::to_json`](crate::File::to_json) has it.
    pub json: Json,
}

/// A sample for each key, in the order of the sections.
///
/// # Panics
/// If the table is not well-formed: it is a constant, so no caller sees that.
pub fn samples() -> &'static [Sample] {
    static SAMPLES: OnceLock<Vec<Sample>> = OnceLock::new();
    SAMPLES.get_or_init(|| {
        let own = keys::KEYS
            .iter()
            .map(|(frame, path, value)| sample(frame, path, value));
        // That of the only port may stand outside: what is in `[network]` is also in `[port.network]`.
        let inner = (keys::KEYS.iter())
            .filter(|(_, path, _)| path.starts_with("network."))
            .map(|(frame, path, value)| {
                let frame = frame.replace("network", "port[0].network");
                sample(&frame, &format!("port[0].{path}"), value)
            });
        own.chain(inner).collect()
    })
}

/// The frame's settings, then the key's.
fn sample(frame: &str, path: &str, value: &str) -> Sample {
    let mut file = Table::new();
    for line in frame.lines().filter(|line| !line.trim().is_empty()) {
        let (path, value) = line.split_once(" = ").unwrap_or((line, "{}"));
        put(&mut file, path.trim(), read(value));
    }
    let value = read(value);
    let json = serde_json::to_value(&value).unwrap_or_default();
    put(&mut file, path, value);
    Sample {
        path: path.to_owned(),
        toml: file.to_string(),
        json,
    }
}

/// A value of TOML.
fn read(text: &str) -> Value {
    text.parse()
        .unwrap_or_else(|error| panic!("`{text}` is no value: {error}"))
}

/// Puts a value at a path of keys and places in lists; what is on the way is made.
fn put(table: &mut Table, path: &str, value: Value) {
    let (step, rest) = match path.split_once('.') {
        Some((step, rest)) => (step, Some(rest)),
        None => (path, None),
    };
    let (key, index) = match step.strip_suffix(']').and_then(|step| step.split_once('[')) {
        Some((key, index)) => (key, index.parse().ok()),
        None => (step, None),
    };
    let slot = table.entry(key);
    let node = match index {
        None => slot.or_insert_with(|| Table::new().into()),
        Some(index) => {
            let Value::Array(items) = slot.or_insert_with(|| Vec::<Value>::new().into()) else {
                panic!("`{key}` is no list")
            };
            while items.len() <= index {
                items.push(Table::new().into());
            }
            &mut items[index]
        }
    };
    match (rest, node) {
        (None, node) => *node = value,
        (Some(rest), Value::Table(table)) => put(table, rest, value),
        (Some(rest), _) => panic!("`{rest}` is in what is no table"),
    }
}
