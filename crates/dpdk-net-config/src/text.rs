//! TOML and JSON become trees. What is no TOML, or no JSON, is told here, all of it as far as the parser can go on.

use std::ops::Range;
use std::sync::Arc;

use jsonc_parser::ast;
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions};
use miette::NamedSource;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::problem::{Kind, Problem};
use crate::tree::{Entry, Node, Place, Source, Table, Value};

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// TOML 1.0.
    Toml,
    /// JSON (RFC 8259); comments and trailing commas are no part of it.
    Json,
}

impl Format {
    /// What a file with this name and content is: by its ending `.toml` or `.json`, or else by whether it begins with a
    /// brace.
    pub fn of(name: &str, text: &str) -> Self {
        let ending = name.rsplit_once('.').map(|(_, ending)| ending);
        match ending {
            Some(ending) if ending.eq_ignore_ascii_case("toml") => Self::Toml,
            Some(ending) if ending.eq_ignore_ascii_case("json") => Self::Json,
            _ if text.trim_start().starts_with('{') => Self::Json,
            _ => Self::Toml,
        }
    }
}

/// The tree of a text. What could be read of it is there beside the problems.
pub(crate) fn parse(
    name: &str,
    text: &str,
    format: Format,
    problems: &mut Vec<Problem>,
) -> Option<Node> {
    let source = Arc::new(NamedSource::new(name, text.to_owned()));
    match format {
        Format::Toml => Some(toml(&source, problems)),
        Format::Json => json(&source, problems),
    }
}

fn place(source: &Source, span: Range<usize>) -> Place {
    Place {
        source: source.clone(),
        span,
    }
}

fn toml(source: &Source, problems: &mut Vec<Problem>) -> Node {
    let (table, errors) = DeTable::parse_recoverable(source.inner());
    for error in errors {
        let span = error.span().unwrap_or(0..0);
        let message = error.message();
        let problem = Problem::new(Kind::Syntax, message).at(&place(source, span), "");
        problems.push(match message {
            "duplicate key" => problem.help("leave one of them out"),
            _ => problem,
        });
    }
    let span = table.span();
    Node {
        value: toml_table(source, table.into_inner(), problems),
        place: place(source, span),
    }
}

fn toml_table(source: &Source, table: DeTable<'_>, problems: &mut Vec<Problem>) -> Value {
    let mut entries: Vec<Entry> = table
        .into_iter()
        .map(|(key, value)| Entry {
            key_place: place(source, key.span()),
            key: key.into_inner().into_owned(),
            node: toml_value(source, value, problems),
        })
        .collect();
    // The parser sorts them by name.
    entries.sort_by_key(|entry| entry.key_place.span.start);
    Value::Table(Table { entries })
}

fn toml_value(source: &Source, value: Spanned<DeValue<'_>>, problems: &mut Vec<Problem>) -> Node {
    let place = place(source, value.span());
    let value = match value.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(integer) => {
            match i128::from_str_radix(integer.as_str(), integer.radix()) {
                Ok(integer) => Value::Integer(integer),
                Err(_) => {
                    problems.push(
                        Problem::new(Kind::Syntax, "this number is too large").at(&place, ""),
                    );
                    Value::Null
                }
            }
        }
        DeValue::Float(float) => match float.as_str().replace('_', "").parse() {
            Ok(float) => Value::Float(float),
            Err(_) => Value::Null,
        },
        DeValue::Boolean(bool) => Value::Bool(bool),
        // There is no setting that is a date: it is shown as what was written, and refused as a text that is none of those wanted.
        DeValue::Datetime(date) => Value::Text(date.to_string()),
        DeValue::Array(items) => Value::Array(
            items
                .into_iter()
                .map(|item| toml_value(source, item, problems))
                .collect(),
        ),
        DeValue::Table(table) => toml_table(source, table, problems),
    };
    Node { value, place }
}

fn json(source: &Source, problems: &mut Vec<Problem>) -> Option<Node> {
    let strict = ParseOptions {
        allow_comments: false,
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    match jsonc_parser::parse_to_ast(source.inner(), &CollectOptions::default(), &strict) {
        Ok(parsed) => match parsed.value {
            Some(value) => Some(json_value(source, value, problems)),
            None => {
                let problem = Problem::new(Kind::Syntax, "there is nothing in this file")
                    .at(&place(source, 0..0), "")
                    .help("an empty JSON configuration is `{}`");
                problems.push(problem);
                None
            }
        },
        Err(error) => {
            let range = error.range();
            let mut message = error.kind().to_string();
            if let Some(first) = message.get_mut(..1) {
                first.make_ascii_lowercase();
            }
            problems.push(
                Problem::new(Kind::Syntax, message).at(&place(source, range.start..range.end), ""),
            );
            None
        }
    }
}

fn json_value(source: &Source, value: ast::Value<'_>, problems: &mut Vec<Problem>) -> Node {
    let range = value.range();
    let place = |range: jsonc_parser::common::Range| place(source, range.start..range.end);
    let value = match value {
        ast::Value::StringLit(text) => Value::Text(text.value.into_owned()),
        ast::Value::NumberLit(number) => match number.value.parse() {
            Ok(integer) => Value::Integer(integer),
            Err(_) => number.value.parse().map_or(Value::Null, Value::Float),
        },
        ast::Value::BooleanLit(bool) => Value::Bool(bool.value),
        ast::Value::NullKeyword(_) => Value::Null,
        ast::Value::Array(array) => Value::Array(
            array
                .elements
                .into_iter()
                .map(|item| json_value(source, item, problems))
                .collect(),
        ),
        ast::Value::Object(object) => {
            let mut table = Table::default();
            for property in object.properties {
                let key_place = place(property.name.range());
                let key = property.name.into_string();
                let node = json_value(source, property.value, problems);
                if let Some(first) = table.get(&key) {
                    let problem =
                        Problem::new(Kind::Syntax, format!("the key `{key}` is there twice"))
                            .at(&key_place, "again here")
                            .also(&first.key_place, "first here")
                            .help("leave one of them out");
                    problems.push(problem);
                    continue;
                }
                table.entries.push(Entry {
                    key,
                    key_place,
                    node,
                });
            }
            Value::Table(table)
        }
    };
    Node {
        value,
        place: place(range),
    }
}
