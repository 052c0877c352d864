//! TOML 1.0 becomes a tree, and what the parser says of mistakes becomes what an operator understands.

use std::collections::BTreeSet;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{is_json, place};
use crate::problem::{Kind, Problem};
use crate::tree::{Entry, Node, Place, Source, Table, Value};

pub(super) fn parse(source: &Source, problems: &mut Vec<Problem>) -> Option<Node> {
    let text = source.text();
    let (table, mut errors) = DeTable::parse_recoverable(text);
    errors.sort_by_key(|error| error.span().map(|span| span.start));
    if !errors.is_empty() && is_json(text) {
        let problem = Problem::new(Kind::Syntax, "this is JSON, and read as TOML")
            .at(&place(source, 0..0), "")
            .help("files of JSON have names that end in .json");
        problems.push(problem);
        return None;
    }
    let mut reader = Reader {
        source,
        ends: text.match_indices('\n').map(|(at, _)| at).collect(),
        broken: BTreeSet::new(),
        problems,
    };
    let mut twice = Vec::new();
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        // What else is wrong with a line follows from the first thing.
        if !reader.broken.insert(reader.line(span.start)) {
            continue;
        }
        if error.message() == "duplicate key" {
            twice.push(span);
        } else {
            let problem = told(text, &span, error.message());
            reader.problems.push(problem.at_wide(source, span, text));
        }
    }
    let span = table.span();
    let value = reader.table(table.into_inner());
    let root = Node {
        value,
        place: place(source, span),
    };
    for span in twice {
        problems.push(duplicate(source, span, &root));
    }
    Some(root)
}

/// What the parser's messages mean to somebody who writes a file, and what to do.
fn told(text: &str, span: &Range<usize>, message: &str) -> Problem {
    let problem = |message: &str, help: &str| Problem::new(Kind::Syntax, message).help(help);
    let word = text.get(word(text, span)).unwrap_or_default();
    let at = text.get(span.clone()).unwrap_or_default();
    let is = |start: &str| message.starts_with(start);
    let setting = "a setting is written as key = value";
    if message.contains("recurs") {
        return Problem::new(Kind::Syntax, "lists and tables are nested too deeply");
    }
    if is("invalid unquoted key") {
        let help = match at {
            ":" => setting,
            ";" => "comments begin with #",
            _ => "keys are of letters, digits, - and _",
        };
        let message = format!("`{}` can't be part of a key", at.escape_debug());
        return problem(&message, help);
    }
    if is("key with no value") {
        return problem("there is no value for this key", setting);
    }
    if is("missing escaped value") || is("too few unicode") {
        return problem(
            "a backslash begins an escape, and there is none like this",
            "write \\\\ for a backslash, or the text between apostrophes, where it stands for itself",
        );
    }
    if is("invalid basic string") || is("invalid literal string") {
        return problem("this text has no end", "a quotation mark is missing");
    }
    if is("unclosed table") || is("unclosed array table") {
        return problem(
            "this header has no end",
            "headers are written as [name], or [[name]] where there may be several",
        );
    }
    if is("unexpected key or value") {
        return problem(
            "the line should end here",
            "each setting has a line of its own; comments begin with #",
        );
    }
    if is("missing comma") {
        return problem("there is no comma between two elements", "write one here");
    }
    let value = [
        "invalid boolean",
        "invalid float",
        "invalid integer",
        "string values must be quoted",
        "unexpected leading zero",
    ];
    if !value.iter().any(|start| is(start)) {
        return Problem::new(Kind::Syntax, message);
    }
    let plain = word.to_ascii_lowercase();
    match plain.as_str() {
        "" => problem("there is no value for this key", setting),
        "true" | "false" => problem(&format!("`{word}` is no value"), &format!("write {plain}")),
        _ if word.starts_with('0') && word.bytes().all(|b| b.is_ascii_digit()) => {
            let number = word.trim_start_matches('0');
            problem(
                &format!("`{word}` is no number"),
                &format!("write {number}, without leading zeros"),
            )
        }
        _ if word.starts_with(['\u{201c}', '\u{201d}', '\u{2018}', '\u{2019}']) => {
            problem("these are no quotation marks of TOML", "write \"...\"")
        }
        _ => problem(
            &format!("`{word}` is no value"),
            &format!("a text stands in quotation marks: \"{word}\""),
        ),
    }
}

/// The word around a span: all up to what ends a value.
fn word(text: &str, span: &Range<usize>) -> Range<usize> {
    let ends = |c: char| c.is_whitespace() || ",[]{}=#\"'".contains(c);
    let before = text.get(..span.start).unwrap_or_default();
    let after = text.get(span.start..).unwrap_or_default();
    let start = before.rfind(ends).map_or(0, |at| {
        at + before
            .get(at..)
            .and_then(|rest| rest.chars().next())
            .map_or(1, char::len_utf8)
    });
    let end = after.find(ends).map_or(text.len(), |at| span.start + at);
    start..end
}

impl Problem {
    /// At a span, or at the whole word that the span is in.
    fn at_wide(self, source: &Source, span: Range<usize>, text: &str) -> Self {
        let word = word(text, &span);
        let wide = self.message.ends_with("is no value") || self.message.ends_with("is no number");
        self.at(&place(source, if wide { word } else { span }), "")
    }
}

/// That a key is there a second time, with the first.
fn duplicate(source: &Source, span: Range<usize>, root: &Node) -> Problem {
    let text = source.text();
    let key = text.get(span.clone()).unwrap_or_default();
    let start = text
        .get(..span.start)
        .unwrap_or_default()
        .rfind('\n')
        .map_or(0, |at| at + 1);
    let line = text
        .get(start..)
        .and_then(|rest| rest.lines().next())
        .unwrap_or_default();
    let is_header = line.trim_start().starts_with('[');
    let (what, help) = match is_header {
        true => (
            "section",
            "write its keys in one place; [[name]] is for what there may be several of",
        ),
        false => ("key", "leave one of them out"),
    };
    let message = format!("the {what} `{key}` is there twice");
    let problem = Problem::new(Kind::Syntax, message)
        .at(&place(source, span.clone()), "again here")
        .help(help);
    // The parser does not say where the first is. A header is written the same; a key of that name is the nearest before.
    let first = match is_header {
        true => text
            .get(..start)
            .and_then(|before| before.find(line.trim()))
            .map(|at| {
                let from = at + line.trim().find(key).unwrap_or_default();
                place(source, from..from + key.len())
            }),
        false => before(root, key, span.start).cloned(),
    };
    match first {
        Some(first) => problem.also(&first, "first here"),
        None => problem,
    }
}

/// The last key of this name that begins before an offset.
fn before<'a>(node: &'a Node, key: &str, end: usize) -> Option<&'a Place> {
    let later = |one: Option<&'a Place>, other: Option<&'a Place>| {
        one.into_iter()
            .chain(other)
            .max_by_key(|place| place.span.start)
    };
    match &node.value {
        Value::Table(table) => table.entries.iter().fold(None, |found, entry| {
            let own =
                (entry.key == key && entry.key_place.span.start < end).then_some(&entry.key_place);
            later(later(found, own), before(&entry.node, key, end))
        }),
        Value::Array(items) => items
            .iter()
            .fold(None, |found, item| later(found, before(item, key, end))),
        _ => None,
    }
}

struct Reader<'a> {
    source: &'a Source,
    /// Where lines end.
    ends: Vec<usize>,
    /// Lines with a mistake: values there are not what was meant.
    broken: BTreeSet<usize>,
    problems: &'a mut Vec<Problem>,
}

impl Reader<'_> {
    fn line(&self, at: usize) -> usize {
        self.ends.partition_point(|end| *end < at)
    }

    fn table(&mut self, table: DeTable<'_>) -> Value {
        let mut entries: Vec<Entry> = table
            .into_iter()
            .map(|(key, value)| Entry {
                key_place: place(self.source, key.span()),
                key: key.into_inner().into_owned(),
                node: self.value(value),
            })
            .collect();
        // The parser sorts them by name.
        entries.sort_by_key(|entry| entry.key_place.span.start);
        Value::Table(Table { entries })
    }

    fn value(&mut self, value: Spanned<DeValue<'_>>) -> Node {
        let place = place(self.source, value.span());
        if !self.broken.is_empty() {
            let lines = self.line(place.span.start)..=self.line(place.span.end);
            if self.broken.range(lines).next().is_some() {
                let value = Value::Broken;
                return Node { value, place };
            }
        }
        let value = match value.into_inner() {
            DeValue::String(text) => Value::Text(text.into_owned()),
            DeValue::Integer(integer) => {
                match i128::from_str_radix(integer.as_str(), integer.radix()) {
                    Ok(integer) => Value::Integer(integer),
                    Err(_) => {
                        let problem = Problem::new(Kind::Syntax, "this number is too large");
                        self.problems.push(problem.at(&place, ""));
                        Value::Broken
                    }
                }
            }
            DeValue::Float(float) => float
                .as_str()
                .replace('_', "")
                .parse()
                .map_or(Value::Broken, Value::Float),
            DeValue::Boolean(bool) => Value::Bool(bool),
            DeValue::Datetime(date) => Value::Date(date.to_string()),
            DeValue::Array(items) => {
                Value::Array(items.into_iter().map(|item| self.value(item)).collect())
            }
            DeValue::Table(table) => self.table(table),
        };
        Node { value, place }
    }
}
