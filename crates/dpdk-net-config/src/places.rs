//! Where each setting was written, so that what is found out about it later is told with its line.

use std::collections::BTreeMap;

use crate::decode::join;
use crate::tree::{Node, Place, Table, Value};

/// Where each setting was written, by its path.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    by_path: BTreeMap<String, Place>,
    /// For what is nowhere: the start of the text.
    start: Place,
}

impl Places {
    /// None yet, of the tree with this root.
    pub(crate) fn new(root: &Node) -> Self {
        let start = Place {
            source: root.place.source.clone(),
            span: 0..0,
        };
        Self {
            by_path: BTreeMap::new(),
            start,
        }
    }

    pub(crate) fn insert(&mut self, path: String, place: &Place) {
        self.by_path.insert(path, place.clone());
    }

    /// Remembers where all values within one are that somebody else reads.
    pub(crate) fn insert_below(&mut self, path: String, node: &Node) {
        match &node.value {
            Value::Table(Table { entries }) => {
                for entry in entries {
                    self.insert_below(join(&path, &entry.key), &entry.node);
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.insert_below(format!("{path}[{index}]"), item);
                }
            }
            _ => {}
        }
        self.insert(path, &node.place);
    }

    /// Where a setting is, or else the nearest that it is, or would be, in.
    pub(crate) fn nearest(&self, path: &str) -> &Place {
        let mut path = path;
        loop {
            if let Some(place) = self.by_path.get(path) {
                return place;
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = path.get(..end).unwrap_or_default(),
                None => return &self.start,
            }
        }
    }
}
