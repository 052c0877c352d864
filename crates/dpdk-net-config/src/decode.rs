//! From a tree to settings. Nothing stops at the first mistake: a value that can't be read is told, and what is read is as if it
//! had not been given, so that the rest can be looked at.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::{Value as Json, json};

use crate::problem::{Kind, Problem};
use crate::tree::{Entry, Node, Place, Table, Value};

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
        let start = Place {
            source: root.place.source.clone(),
            span: 0..0,
        };
        let by_path = BTreeMap::new();
        Self {
            problems: Vec::new(),
            places: Places { by_path, start },
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

    /// The path without places in lists, as in `port.mtu`.
    fn generic_path(&self) -> String {
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
        problem.help = help;
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

/// Reads a table, and tells of keys that nobody knows. `None` where it is no table.
pub(crate) fn table<'a>(node: &'a Node, known: &[&str], reader: &mut Reader) -> Option<&'a Table> {
    let Value::Table(table) = &node.value else {
        if reader.path.is_empty() {
            let help = "as in { \"port\": [ { \"vdev\": \"net_tap0\" } ] }";
            reader.wrong_type_but(node, "an object with sections", Some(help.to_owned()));
            return None;
        }
        let help = match &node.value {
            Value::Array(items) if matches!(items.first(), Some(item) if matches!(item.value, Value::Table(_))) =>
            {
                let path = reader.generic_path();
                Some(format!(
                    "there is only one: write [{path}], in JSON an object"
                ))
            }
            _ => None,
        };
        reader.wrong_type_but(node, "a table", help);
        return None;
    };
    for entry in &table.entries {
        let key = entry.key.as_str();
        if known.contains(&key) {
            continue;
        }
        let is_section = matches!(entry.node.value, Value::Table(_) | Value::Array(_));
        let message = match (reader.path.is_empty(), is_section) {
            // What stands behind a broken header is in no section.
            (true, false) if reader.broken => continue,
            (true, false) => format!("`{key}` is in no section"),
            (true, true) => format!("there is no section `{key}`"),
            (false, _) => format!("{} has no key `{key}`", reader.name()),
        };
        let path = reader.path();
        let near = nearest(key, known);
        let help = match apart(entry, known) {
            Some(apart) => format!("parts of a path stand between two underscores: {apart}"),
            None if near.is_empty() => elsewhere(key, reader).unwrap_or_else(|| all_of(known)),
            None => {
                reader
                    .meant
                    .extend(near.iter().map(|near| join(&path, near)));
                did_you_mean(&near)
            }
        };
        let problem = Problem::new(Kind::UnknownKey, message)
            .on(join(&path, key))
            .at(&entry.key_place, "not known")
            .help(help);
        reader.problem(problem);
    }
    Some(table)
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

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// The nearest of what is known, or all of it.
pub(crate) fn suggestion(given: &str, known: &[&str]) -> String {
    match nearest(given, known).as_slice() {
        [] => all_of(known),
        near => did_you_mean(near),
    }
}

fn all_of(known: &[&str]) -> String {
    match known {
        [] => "there is none".to_owned(),
        known => format!("known here: {}", known.join(", ")),
    }
}

fn did_you_mean(near: &[&str]) -> String {
    match near {
        [one] => format!("did you mean `{one}`?"),
        some => {
            let some: Vec<String> = some.iter().map(|key| format!("`{key}`")).collect();
            format!("did you mean one of {}?", some.join(", "))
        }
    }
}

/// What of the known may have been meant: one that takes few changes, or else those that have a part in common with it.
pub(crate) fn nearest<'a>(given: &str, known: &[&'a str]) -> Vec<&'a str> {
    let plain = |text: &str| text.to_lowercase().replace(['-', '_', ' '], "");
    let distance = |key: &str| strsim::damerau_levenshtein(&plain(given), &plain(key));
    let alike = |key: &str| {
        let pairs = key.chars().zip(given.chars());
        pairs.take_while(|(a, b)| a == b).count()
    };
    let best =
        (known.iter().copied()).min_by_key(|key| (distance(key), std::cmp::Reverse(alike(key))));
    let limit = (given.chars().count() / 3).clamp(1, 4);
    // A word of one letter is as near to any other.
    let worth = |key: &str| distance(key) < plain(key).chars().count();
    match best {
        Some(best) if distance(best) <= limit && worth(best) => vec![best],
        // A word of it may be enough: `descriptors` for `rx_descriptors`.
        _ => {
            let has =
                |whole: &str, part: &str| part.len() > 2 && plain(whole).contains(&plain(part));
            let parts = known.iter().copied();
            parts
                .filter(|key| has(key, given) || has(given, key))
                .collect()
        }
    }
}
