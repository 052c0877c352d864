//! From a tree to settings. Nothing stops at the first mistake: a value that can't be read is told, and what is read is as if it
//! had not been given, so that the rest can be looked at.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value as Json, json};

use crate::problem::{Kind, Problem};
use crate::tree::{Node, Place, Table, Value};

/// Where each setting was written, by its path.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    by_path: BTreeMap<String, Place>,
    /// For what is nowhere: the start of the text.
    start: Place,
}

impl Places {
    fn insert(&mut self, path: String, place: &Place) {
        self.by_path.insert(path, place.clone());
    }

    /// Remembers where all values within one are that somebody else reads.
    fn insert_below(&mut self, path: String, node: &Node) {
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

/// What is found while a tree is read.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) problems: Vec<Problem>,
    pub(crate) places: Places,
    path: Vec<Step>,
}

#[derive(Debug, Clone)]
enum Step {
    Key(String),
    Index(usize),
}

impl Reader {
    /// One for the tree with this root.
    pub(crate) fn new(root: &Node) -> Self {
        let start = Place {
            source: root.place.source.clone(),
            span: 0..0,
        };
        let by_path = BTreeMap::new();
        Self {
            problems: Vec::new(),
            places: Places { by_path, start },
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
        let name = self.name();
        let message = format!("{name} should be {expected}, not {}", node.value.kind());
        self.problem(
            Problem::new(Kind::WrongType, message)
                .at(&node.place, format!("this is {}", node.value.kind())),
        );
    }

    /// Tells that a value can't be.
    pub(crate) fn bad_value(&mut self, node: &Node, why: impl fmt::Display, help: Option<String>) {
        let message = format!("{} can't be {}: {why}", self.name(), node.value);
        let mut problem = Problem::new(Kind::BadValue, message).at(&node.place, "");
        problem.help = help;
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
    let read = T::decode(node, reader)?;
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
                reader.wrong_type(node, "a list");
                return Some(Vec::new());
            };
            let read = |(index, item): (usize, &Node)| {
                let step = Step::Index(index);
                reader.within(step, &item.place, |reader| {
                    ranged(item, slot.attributes, reader)
                })
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
            let message = format!("{name} has no `{key}`");
            let problem = Problem::new(Kind::MissingKey, message);
            reader.problem(problem.at(&slot.whole.place, format!("`{key}` has to be given here")));
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

/// One key's part of a table's schema.
pub(crate) fn property(mut schema: Json, docs: &[&str], attributes: &Attributes) -> Json {
    let docs: Vec<&str> = docs.iter().map(|line| line.trim()).collect();
    if let Some(schema) = schema.as_object_mut() {
        schema.insert("description".to_owned(), docs.join(" ").into());
        if !attributes.default.is_empty() {
            schema.insert("x-default".to_owned(), attributes.default.into());
        }
        if attributes.live {
            schema.insert("x-live".to_owned(), true.into());
        }
        let numbers = schema.get("type").is_some_and(|kind| kind == "integer");
        if let Some((min, max)) = attributes.range.filter(|_| numbers) {
            schema.insert("minimum".to_owned(), min.into());
            schema.insert("maximum".to_owned(), max.into());
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
                let table = $crate::decode::table(node, &[$(stringify!($field)),*], reader)?;
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
                        let property = $crate::decode::property(schema, docs, &ATTRIBUTES);
                        properties.insert(stringify!($field).to_owned(), property);
                        if $crate::decode::$kind::NEEDED {
                            needed.push(stringify!($field));
                        }
                    }
                )*
                $crate::decode::object(&[$($doc),*], properties, &needed)
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
    needed: &[&str],
) -> Json {
    let docs: Vec<&str> = docs.iter().map(|line| line.trim()).collect();
    let mut schema = json!({
        "type": "object",
        "description": docs.join(" "),
        "properties": properties,
        "additionalProperties": false,
    });
    if let (false, Some(schema)) = (needed.is_empty(), schema.as_object_mut()) {
        schema.insert("required".to_owned(), needed.into());
    }
    schema
}

/// Reads a table, and tells of keys that nobody knows. `None` where it is no table.
pub(crate) fn table<'a>(node: &'a Node, known: &[&str], reader: &mut Reader) -> Option<&'a Table> {
    let Value::Table(table) = &node.value else {
        reader.wrong_type(node, "a table");
        return None;
    };
    for entry in &table.entries {
        if known.contains(&entry.key.as_str()) {
            continue;
        }
        let message = match reader.path.is_empty() {
            true => format!("there is no section `{}`", entry.key),
            false => format!("{} has no key `{}`", reader.name(), entry.key),
        };
        let problem = Problem::new(Kind::UnknownKey, message)
            .on(join(&reader.path(), &entry.key))
            .at(&entry.key_place, "not known")
            .help(suggestion(&entry.key, known));
        reader.problem(problem);
    }
    Some(table)
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// The nearest of what is known, or all of it.
pub(crate) fn suggestion(given: &str, known: &[&str]) -> String {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_', ' '], "");
    let distance = |key: &&str| strsim::damerau_levenshtein(&plain(given), &plain(key));
    let alike = |key: &str| {
        key.chars()
            .zip(given.chars())
            .take_while(|(a, b)| a == b)
            .count()
    };
    let nearest = known
        .iter()
        .min_by_key(|key| (distance(key), std::cmp::Reverse(alike(key))));
    let limit = (given.chars().count() / 3).clamp(1, 4);
    match nearest {
        Some(nearest) if distance(nearest) <= limit => format!("did you mean `{nearest}`?"),
        // A word of it may be enough: `descriptors` for `rx_descriptors`.
        _ => {
            let about: Vec<&&str> = known
                .iter()
                .filter(|key| {
                    given.len() > 2
                        && (plain(key).contains(&plain(given))
                            || plain(given).contains(&plain(key)))
                })
                .collect();
            match about.as_slice() {
                [] => format!("known here: {}", known.join(", ")),
                [one] => format!("did you mean `{one}`?"),
                some => {
                    let some: Vec<String> = some.iter().map(|key| format!("`{key}`")).collect();
                    format!("did you mean one of {}?", some.join(", "))
                }
            }
        }
    }
}
