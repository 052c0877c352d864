//! From a tree to settings. Nothing stops at the first mistake: a value that can't be read is told, and what is read is as if it
//! had not been given, so that the rest can be looked at.

use std::fmt;

use serde_json::{Value as Json, json};

use crate::places::Places;
use crate::problem::{Kind, Problem};
use crate::tree::{Node, Place, Table, Value};

/// What is found while a tree is read.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) problems: Vec<Problem>,
    pub(crate) places: Places,
    /// Keys that are not known, and what is thought to be meant by them: these may be given after all.
    pub(crate) meant: Vec<String>,
    /// Whether there are mistakes of syntax: keys that are missing may be there.
    broken: bool,
    /// What the number that is read may be, if it is less than its type can hold.
    range: Option<(u64, u64)>,
    path: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    Key(String),
    Index(usize),
}

impl Reader {
    /// One for the tree with this root, of a text with mistakes of syntax or without.
    pub(crate) fn new(root: &Node, broken: bool) -> Self {
        Self {
            problems: Vec::new(),
            places: Places::new(root),
            meant: Vec::new(),
            broken,
            range: None,
            path: Vec::new(),
        }
    }

    /// Remembers where all values within the one being read are.
    pub(crate) fn remember_below(&mut self, node: &Node) {
        let path = self.path();
        self.places.insert_below(path, node);
    }

    /// The path of what is being read, as in `port[0].mtu`.
    pub(crate) fn path(&self) -> String {
        let mut text = String::new();
        for step in &self.path {
            match step {
                Step::Key(key) => {
                    if !text.is_empty() {
                        text.push('.');
                    }
                    text.push_str(key);
                }
                Step::Index(index) => text.push_str(&format!("[{index}]")),
            }
        }
        text
    }

    /// Whether it is the whole tree that is being read.
    pub(crate) fn is_root(&self) -> bool {
        self.path.is_empty()
    }

    /// Whether there are mistakes of syntax.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// The path without places in lists, as in `port.mtu`.
    pub(crate) fn generic_path(&self) -> String {
        let keys = self.path.iter().filter_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        });
        keys.collect::<Vec<_>>().join(".")
    }

    /// Reads an element of the list that is being read.
    pub(crate) fn element<T>(
        &mut self,
        index: usize,
        node: &Node,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        self.within(Step::Index(index), &node.place, read)
    }

    fn within<T>(&mut self, step: Step, place: &Place, read: impl FnOnce(&mut Self) -> T) -> T {
        self.path.push(step);
        let path = self.path();
        self.places.insert(path, place);
        let result = read(self);
        self.path.pop();
        result
    }

    /// Tells of a problem with the value that is being read.
    pub(crate) fn problem(&mut self, problem: Problem) {
        let path = self.path();
        let problem = if problem.path.is_empty() {
            problem.on(path)
        } else {
            problem
        };
        self.problems.push(problem);
    }

    /// Tells that a value is of the wrong type.
    pub(crate) fn wrong_type(&mut self, node: &Node, expected: &str) {
        self.wrong_type_but(node, expected, None);
    }

    /// The same, with what to do about it.
    pub(crate) fn wrong_type_but(&mut self, node: &Node, expected: &str, help: Option<String>) {
        if matches!(node.value, Value::Broken) {
            return;
        }
        let help = match &node.value {
            Value::Null => Some("leave the key out where its default is meant".to_owned()),
            _ => help,
        };
        let (name, kind) = (self.name(), node.value.kind());
        let message = format!("{name} should be {expected}, not {kind}");
        let mut problem = Problem::new(Kind::WrongType, message);
        if let Some(help) = help {
            problem = problem.help(help);
        }
        self.problem(problem.at(&node.place, format!("this is {kind}")));
    }

    /// What the number that is read may be: of its type's range what the key allows.
    pub(crate) fn allowed(&self, min: u64, max: u64) -> (u64, u64) {
        self.range.unwrap_or((min, max))
    }

    /// Tells that a value can't be.
    pub(crate) fn bad_value(&mut self, node: &Node, why: impl fmt::Display, help: Option<String>) {
        let message = format!("{} can't be {}: {why}", self.name(), node.value);
        let mut problem = Problem::new(Kind::BadValue, message).at(&node.place, "");
        if let Some(help) = help {
            problem = problem.help(help);
        }
        self.problem(problem);
    }

    /// How messages call what is being read.
    pub(crate) fn name(&self) -> String {
        let key = self.path.iter().rev().find_map(|step| match step {
            Step::Key(key) => Some(key.as_str()),
            Step::Index(_) => None,
        });
        match (key, self.path.last()) {
            (Some(key), Some(Step::Index(index))) => format!("`{key}[{index}]`"),
            (Some(key), _) => format!("`{key}`"),
            (None, _) => "a configuration".to_owned(),
        }
    }
}

/// A value that a setting can have.
pub(crate) trait Setting: Sized {
    /// Reads it; what is wrong is told to the reader.
    fn decode(node: &Node, reader: &mut Reader) -> Option<Self>;

    /// The JSON Schema of what is taken.
    fn schema() -> Json;

    /// As a file would have it.
    fn to_json(&self) -> Json;

    /// The number that it is, for what is limited to a range.
    fn number(&self) -> Option<u64> {
        None
    }

    /// Writes a number as people would.
    fn show(number: u64) -> String {
        number.to_string()
    }
}

/// What is known of a key beside its type.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attributes {
    /// The least and the largest number that it may be.
    pub(crate) range: Option<(u64, u64)>,
    /// What it is where it is not given, as people write it; empty where that takes a sentence.
    pub(crate) default: &'static str,
    /// Whether a reload makes it effective.
    pub(crate) live: bool,
}

impl Attributes {
    pub(crate) const NONE: Self = Self {
        range: None,
        default: "",
        live: false,
    };
}

/// Reads a value that has to be within a range.
fn ranged<T: Setting>(node: &Node, attributes: &Attributes, reader: &mut Reader) -> Option<T> {
    reader.range = attributes.range;
    let read = T::decode(node, reader);
    reader.range = None;
    let read = read?;
    match (attributes.range, read.number()) {
        (Some((min, max)), Some(number)) if !(min..=max).contains(&number) => {
            let why = format!("it may be {} to {}", T::show(min), T::show(max));
            reader.bad_value(node, why, None);
            None
        }
        _ => Some(read),
    }
}

/// Where a table's key is read from.
pub(crate) struct Slot<'a> {
    pub(crate) table: &'a Table,
    /// The table itself.
    pub(crate) whole: &'a Node,
    pub(crate) key: &'static str,
    pub(crate) attributes: &'static Attributes,
}

impl Slot<'_> {
    /// What `read` makes of it, or what `absent` does.
    fn read<T>(
        &self,
        reader: &mut Reader,
        read: impl FnOnce(&Node, &mut Reader) -> Option<T>,
        absent: impl FnOnce(&mut Reader) -> Option<T>,
    ) -> Option<T> {
        match self.table.get(self.key) {
            Some(entry) => {
                let (step, node) = (Step::Key(self.key.to_owned()), &entry.node);
                reader.within(step, &node.place, |reader| read(node, reader))
            }
            None => absent(reader),
        }
    }
}

/// A setting that may be left out.
pub(crate) mod opt {
    use super::*;

    pub(crate) type Of<T> = Option<T>;

    pub(crate) fn read<T: Setting>(slot: &Slot<'_>, reader: &mut Reader) -> Option<Of<T>> {
        let read = |node: &Node, reader: &mut Reader| Some(ranged(node, slot.attributes, reader));
        slot.read(reader, read, |_| Some(None))
    }

    pub(crate) fn schema<T: Setting>() -> Json {
        T::schema()
    }

    pub(crate) fn to_json<T: Setting>(value: &Of<T>) -> Option<Json> {
        value.as_ref().map(T::to_json)
    }

    pub(crate) const NEEDED: bool = false;
}

/// Several of a kind, none of which has to be there.
pub(crate) mod list {
    use super::*;

    pub(crate) type Of<T> = Vec<T>;

    pub(crate) fn read<T: Setting>(slot: &Slot<'_>, reader: &mut Reader) -> Option<Of<T>> {
        let read = |node: &Node, reader: &mut Reader| {
            let Value::Array(items) = &node.value else {
                let help = match &node.value {
                    Value::Table(_) => format!(
                        "there may be several: write [[{}]], in JSON a list of objects",
                        reader.generic_path()
                    ),
                    Value::Text(text) => format!("write it in brackets: [\"{text}\"]"),
                    _ => "lists stand in brackets: [..., ...]".to_owned(),
                };
                reader.wrong_type_but(node, "a list", Some(help));
                return Some(Vec::new());
            };
            let read = |(index, item): (usize, &Node)| {
                reader.element(index, item, |reader| ranged(item, slot.attributes, reader))
            };
            // Each is read, also where one before it could not be. A list that lacks one has other places than the file.
            let read: Vec<Option<T>> = items.iter().enumerate().map(read).collect();
            Some(read.into_iter().collect::<Option<_>>().unwrap_or_default())
        };
        slot.read(reader, read, |_| Some(Vec::new()))
    }

    pub(crate) fn schema<T: Setting>() -> Json {
        json!({ "type": "array", "items": T::schema() })
    }

    pub(crate) fn to_json<T: Setting>(value: &Of<T>) -> Option<Json> {
        (!value.is_empty()).then(|| value.iter().map(T::to_json).collect())
    }

    pub(crate) const NEEDED: bool = false;
}

/// A setting that has to be there.
pub(crate) mod need {
    use super::*;

    pub(crate) type Of<T> = T;

    pub(crate) fn read<T: Setting>(slot: &Slot<'_>, reader: &mut Reader) -> Option<Of<T>> {
        let read = |node: &Node, reader: &mut Reader| ranged(node, slot.attributes, reader);
        slot.read(reader, read, |reader| {
            let (name, key) = (reader.name(), slot.key);
            let path = join(&reader.path(), key);
            if !reader.broken && !reader.meant.contains(&path) {
                let message = format!("{name} has no `{key}`");
                let problem = Problem::new(Kind::MissingKey, message).on(path);
                let label = format!("`{key}` has to be given here");
                reader.problem(problem.at(&slot.whole.place, label));
            }
            None
        })
    }

    pub(crate) fn schema<T: Setting>() -> Json {
        T::schema()
    }

    pub(crate) fn to_json<T: Setting>(value: &Of<T>) -> Option<Json> {
        Some(value.to_json())
    }

    pub(crate) const NEEDED: bool = true;
}

/// A table of settings each of which may be left out.
pub(crate) mod sub {
    use super::*;

    pub(crate) type Of<T> = T;

    pub(crate) fn read<T: Setting + Default>(
        slot: &Slot<'_>,
        reader: &mut Reader,
    ) -> Option<Of<T>> {
        let read =
            |node: &Node, reader: &mut Reader| Some(T::decode(node, reader).unwrap_or_default());
        slot.read(reader, read, |_| Some(T::default()))
    }

    pub(crate) fn schema<T: Setting>() -> Json {
        T::schema()
    }

    pub(crate) fn to_json<T: Setting>(value: &Of<T>) -> Option<Json> {
        let json = value.to_json();
        json.as_object()
            .is_none_or(|table| !table.is_empty())
            .then_some(json)
    }

    pub(crate) const NEEDED: bool = false;
}

/// The lines of a doc comment as one.
pub(crate) fn prose(docs: &[&str]) -> String {
    let lines: Vec<&str> = docs.iter().map(|line| line.trim()).collect();
    lines.join(" ")
}

/// One key's part of a table's schema. What JSON Schema has no word for begins with `x-`: the default as people write it,
/// whether a reload makes it effective, the range of what is written as a text with a unit, what that text is, the docs of a
/// table itself, and the order of its keys.
pub(crate) fn property(
    mut schema: Json,
    docs: &[&str],
    attributes: &Attributes,
    show: fn(u64) -> String,
) -> Json {
    if let Some(schema) = schema.as_object_mut() {
        // Of a table there is more to say than of the key.
        let whole = schema.insert("description".to_owned(), prose(docs).into());
        if let Some(whole) = whole {
            schema.insert("x-table".to_owned(), whole);
        }
        if !attributes.default.is_empty() {
            schema.insert("x-default".to_owned(), attributes.default.into());
        }
        if attributes.live {
            schema.insert("x-live".to_owned(), true.into());
        }
        let numbers = schema.get("type").is_some_and(|kind| kind == "integer");
        match attributes.range {
            Some((min, max)) if numbers => {
                schema.insert("minimum".to_owned(), min.into());
                schema.insert("maximum".to_owned(), max.into());
            }
            Some((min, max)) => {
                schema.insert("x-range".to_owned(), json!([show(min), show(max)]));
            }
            None => {}
        }
    }
    schema
}

/// A table of a file: a struct whose fields are its keys, each declared once with its docs, what it may be and what it is
/// by default. One that has no keys that have to be there is `: Default`.
macro_rules! section {
    (
        $(#[doc = $doc:literal])*
        pub struct $name:ident $(: $derive:ident)? {
            $(
                $(#[doc = $field_doc:literal])*
                $kind:ident $field:ident: $ty:ty $({ $($attribute:ident: $value:expr),+ $(,)? })?;
            )*
        }
    ) => {
        $(#[doc = $doc])*
        #[derive(Debug, Clone, PartialEq $(, $derive)?)]
        #[non_exhaustive]
        pub struct $name {
            $(
                $(#[doc = $field_doc])*
                pub $field: $crate::decode::$kind::Of<$ty>,
            )*
        }

        impl $crate::decode::Setting for $name {
            fn decode(
                node: &$crate::tree::Node,
                reader: &mut $crate::decode::Reader,
            ) -> Option<Self> {
                let table = $crate::table::read(node, &[$(stringify!($field)),*], reader)?;
                $(
                    let $field = {
                        const ATTRIBUTES: $crate::decode::Attributes = {
                            #[allow(unused_mut)] // Of a key that says nothing.
                            let mut attributes = $crate::decode::Attributes::NONE;
                            $($(attributes.$attribute = $value;)+)?
                            attributes
                        };
                        let slot = $crate::decode::Slot {
                            table,
                            whole: node,
                            key: stringify!($field),
                            attributes: &ATTRIBUTES,
                        };
                        $crate::decode::$kind::read::<$ty>(&slot, reader)
                    };
                )*
                Some(Self { $($field: $field?,)* })
            }

            fn schema() -> serde_json::Value {
                let mut properties = serde_json::Map::new();
                let mut needed: Vec<&str> = Vec::new();
                $(
                    {
                        const ATTRIBUTES: $crate::decode::Attributes = {
                            #[allow(unused_mut)] // Of a key that says nothing.
                            let mut attributes = $crate::decode::Attributes::NONE;
                            $($(attributes.$attribute = $value;)+)?
                            attributes
                        };
                        let schema = $crate::decode::$kind::schema::<$ty>();
                        let docs: &[&str] = &[$($field_doc),*];
                        let property = $crate::decode::property(
                            schema,
                            docs,
                            &ATTRIBUTES,
                            <$ty as $crate::decode::Setting>::show,
                        );
                        properties.insert(stringify!($field).to_owned(), property);
                        if $crate::decode::$kind::NEEDED {
                            needed.push(stringify!($field));
                        }
                    }
                )*
                $crate::decode::object(&[$($doc),*], properties, &[$(stringify!($field)),*], &needed)
            }

            fn to_json(&self) -> serde_json::Value {
                let mut table = serde_json::Map::new();
                $(
                    if let Some(json) = $crate::decode::$kind::to_json::<$ty>(&self.$field) {
                        table.insert(stringify!($field).to_owned(), json);
                    }
                )*
                table.into()
            }
        }
    };
}
pub(crate) use section;

/// A table's schema.
pub(crate) fn object(
    docs: &[&str],
    properties: serde_json::Map<String, Json>,
    order: &[&str],
    needed: &[&str],
) -> Json {
    let mut schema = json!({
        "type": "object",
        "description": prose(docs),
        "properties": properties,
        "additionalProperties": false,
        "x-order": order,
    });
    if let (false, Some(schema)) = (needed.is_empty(), schema.as_object_mut()) {
        schema.insert("required".to_owned(), needed.into());
    }
    schema
}

pub(crate) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}
