//! What differs between two states of a file, and what of it can change while the application runs.

use std::fmt;

use serde_json::Value as Json;

use crate::decode::Setting;
use crate::file::File;
use crate::sections::Config;

/// A setting that changed.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// Its path, as in `tcp.time_wait`.
    pub path: String,
    /// What it was; nothing if it was not given.
    pub from: Option<Json>,
    /// What it is to be; nothing for the default.
    pub to: Option<Json>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |value: &Option<Json>| {
            value
                .as_ref()
                .map_or("the default".to_owned(), Json::to_string)
        };
        write!(
            f,
            "{}: from {} to {}",
            self.path,
            show(&self.from),
            show(&self.to)
        )
    }
}

/// Everything that changed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    /// What becomes effective at once.
    pub live: Vec<Change>,
    /// What takes a restart.
    pub restart: Vec<Change>,
}

impl Changes {
    /// From one state of a file to another.
    pub fn between(old: &File, new: &File) -> Self {
        let mut changes = Self::default();
        let (old, new) = (old.to_json(), new.to_json());
        compare(
            Some(&old),
            Some(&new),
            String::new(),
            &Config::schema(),
            false,
            &mut changes,
        );
        changes
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.live.is_empty() && self.restart.is_empty()
    }
}

fn compare(
    old: Option<&Json>,
    new: Option<&Json>,
    path: String,
    schema: &Json,
    live: bool,
    changes: &mut Changes,
) {
    if old == new {
        return;
    }
    let live = live || schema.get("x-live").is_some();
    let table = |value: Option<&Json>| value.is_none_or(Json::is_object);
    let properties = schema.get("properties").and_then(Json::as_object);
    if let (Some(properties), true, true) = (properties, table(old), table(new)) {
        for (key, schema) in properties {
            let path = if path.is_empty() {
                key.clone()
            } else {
                format!("{path}.{key}")
            };
            let get = |value: Option<&Json>| value.and_then(|value| value.get(key)).cloned();
            let (old, new) = (get(old), get(new));
            compare(old.as_ref(), new.as_ref(), path, schema, live, changes);
        }
        return;
    }
    if let (Some(Json::Array(old)), Some(Json::Array(new)), Some(items), false) =
        (old, new, schema.get("items"), live)
        && old.len() == new.len()
    {
        for (index, (old, new)) in old.iter().zip(new).enumerate() {
            compare(
                Some(old),
                Some(new),
                format!("{path}[{index}]"),
                items,
                live,
                changes,
            );
        }
        return;
    }
    let change = Change {
        path,
        from: old.cloned(),
        to: new.cloned(),
    };
    if live {
        changes.live.push(change);
    } else {
        changes.restart.push(change);
    }
}
