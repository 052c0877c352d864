//! A file as a tree of values that know where they were written, whatever its format was.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use miette::NamedSource;

/// A text that settings come from: a file, or an environment variable.
pub(crate) type Source = Arc<NamedSource<String>>;

/// Where something was written.
#[derive(Debug, Clone)]
pub struct Place {
    pub(crate) source: Source,
    pub(crate) span: Range<usize>,
}

impl Place {
    /// The name of the file or the environment variable.
    pub fn source_name(&self) -> &str {
        self.source.name()
    }

    /// Whether it is an environment variable's text.
    pub(crate) fn is_environment(&self) -> bool {
        self.source_name().starts_with('$')
    }

    /// Line and column, both counted from 1; the column in characters.
    pub fn line_column(&self) -> (usize, usize) {
        let text = self.source.inner();
        let before = text.get(..self.span.start).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        (line, column)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.line_column();
        write!(f, "{}:{line}:{column}", self.source_name())
    }
}

/// A value.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Null,
    Bool(bool),
    Integer(i128),
    Float(f64),
    Text(String),
    Array(Vec<Node>),
    Table(Table),
}

/// A value and where it was written.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) place: Place,
}

/// Keys with their values, in the order in which they were written.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub(crate) entries: Vec<Entry>,
}

#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_place: Place,
    pub(crate) node: Node,
}

impl Table {
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    pub(crate) fn get_mut(&mut self, key: &str) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.key == key)
    }
}

impl Value {
    /// What people call it, with its article.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a number",
            Self::Text(_) => "a text",
            Self::Array(_) => "a list",
            Self::Table(_) => "a table",
        }
    }

    /// The value without its places.
    pub(crate) fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match self {
            Self::Null => Json::Null,
            Self::Bool(bool) => Json::Bool(*bool),
            Self::Integer(integer) => match (i64::try_from(*integer), u64::try_from(*integer)) {
                (Ok(signed), _) => signed.into(),
                (_, Ok(unsigned)) => unsigned.into(),
                _ => Json::String(integer.to_string()),
            },
            Self::Float(float) => (*float).into(),
            Self::Text(text) => text.as_str().into(),
            Self::Array(items) => items.iter().map(|item| item.value.to_json()).collect(),
            Self::Table(table) => {
                let entries = table.entries.iter();
                let pairs = entries.map(|entry| (entry.key.clone(), entry.node.value.to_json()));
                Json::Object(pairs.collect())
            }
        }
    }
}

impl fmt::Display for Value {
    /// As a message quotes it: short.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bool(bool) => bool.fmt(f),
            Self::Integer(integer) => integer.fmt(f),
            Self::Float(float) => float.fmt(f),
            Self::Text(text) if text.chars().count() > 60 => {
                let start: String = text.chars().take(57).collect();
                write!(f, "\"{}...\"", start.escape_debug())
            }
            Self::Text(text) => write!(f, "\"{}\"", text.escape_debug()),
            other => f.write_str(other.kind()),
        }
    }
}
