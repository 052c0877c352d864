//! JSON (RFC 8259) becomes a tree.

use std::collections::HashMap;

use jsonc_parser::ast;
use jsonc_parser::common::Ranged;
use jsonc_parser::errors::ParseErrorKind;
use jsonc_parser::{CollectOptions, ParseOptions};

use super::place;
use crate::problem::{Kind, Problem};
use crate::tree::{Entry, Node, Place, Source, Table, Value};

pub(super) fn parse(source: &Source, problems: &mut Vec<Problem>) -> Option<Node> {
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
    match jsonc_parser::parse_to_ast(source.text(), &CollectOptions::default(), &strict) {
        Ok(parsed) => match parsed.value {
            Some(value) => Some(tree(source, value, problems)),
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
            let (message, help) = told(error.kind());
            let mut problem =
                Problem::new(Kind::Syntax, message).at(&place(source, range.start..range.end), "");
            problem.help = help.map(str::to_owned);
            problems.push(problem);
            None
        }
    }
}

fn tree(source: &Source, value: ast::Value<'_>, problems: &mut Vec<Problem>) -> Node {
    let range = value.range();
    let place = |range: jsonc_parser::common::Range| place(source, range.start..range.end);
    let read = match value {
        ast::Value::StringLit(text) => Value::Text(text.value.into_owned()),
        ast::Value::NumberLit(number) => match number.value.parse() {
            Ok(integer) => Value::Integer(integer),
            Err(_) => match number.value.parse::<f64>() {
                Ok(float) if float.is_finite() && number.value.contains(['.', 'e', 'E']) => {
                    Value::Float(float)
                }
                _ => {
                    let problem = Problem::new(Kind::Syntax, "this number is too large");
                    problems.push(problem.at(&place(range), ""));
                    Value::Broken
                }
            },
        },
        ast::Value::BooleanLit(bool) => Value::Bool(bool.value),
        ast::Value::NullKeyword(_) => Value::Null,
        ast::Value::Array(array) => Value::Array(
            array
                .elements
                .into_iter()
                .map(|item| tree(source, item, problems))
                .collect(),
        ),
        ast::Value::Object(object) => {
            let mut table = Table::default();
            let mut seen: HashMap<String, Place> = HashMap::new();
            for property in object.properties {
                let key_place = place(property.name.range());
                let key = property.name.into_string();
                let node = tree(source, property.value, problems);
                if let Some(first) = seen.get(&key) {
                    let problem =
                        Problem::new(Kind::Syntax, format!("the key `{key}` is there twice"))
                            .at(&key_place, "again here")
                            .also(first, "first here")
                            .help("leave one of them out");
                    problems.push(problem);
                    continue;
                }
                seen.insert(key.clone(), key_place.clone());
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
        value: read,
        place: place(range),
    }
}

/// What is wrong, and what to do about it, where the parser does not say it or says it for other dialects.
fn told(kind: &ParseErrorKind) -> (String, Option<&'static str>) {
    let mut message = kind.to_string();
    if let Some(first) = message.get_mut(..1) {
        first.make_ascii_lowercase();
    }
    let help = match kind {
        ParseErrorKind::CommentsNotAllowed => "JSON has no comments; TOML has, behind #",
        ParseErrorKind::TrailingCommasNotAllowed => "leave the comma behind the last one out",
        ParseErrorKind::ExpectedComma => "write a comma here",
        ParseErrorKind::SingleQuotedStringsNotAllowed => "write \"...\"",
        ParseErrorKind::UnterminatedObject => "a closing brace is missing",
        ParseErrorKind::UnterminatedArray => "a closing bracket is missing",
        ParseErrorKind::HexadecimalNumbersNotAllowed => "write it in decimal",
        ParseErrorKind::UnexpectedToken => {
            "a JSON configuration is one object: { \"port\": [ ... ] }"
        }
        ParseErrorKind::NestingDepthExceeded => {
            return ("lists and objects are nested too deeply".to_owned(), None);
        }
        _ => return (message, None),
    };
    (message, Some(help))
}
