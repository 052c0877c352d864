//! `docs/configuration.md` says what is so: its examples are the files of `examples/config`, which are read, and its reference is
//! made of the schema.
//!
//! `DPDK_NET_DOCS=write` writes both anew: look at the difference before it is committed.

use std::fmt::Write as _;
use std::fs;

use dpdk_net_config::{File, Format, schema};
use serde_json::Value as Json;

/// What decides whether the document is written.
const MODE_VAR: &str = "DPDK_NET_DOCS";
const DOCUMENT: &str = "../../docs/configuration.md";
const EXAMPLES: &str = "../../examples/config";
const BEGIN: &str = "<!-- reference -->\n";
const END: &str = "<!-- end of reference -->\n";

fn document() -> String {
    fs::read_to_string(DOCUMENT).unwrap()
}

/// Names of the examples, and their texts.
fn examples() -> Vec<(String, String)> {
    let mut all: Vec<_> = fs::read_dir(EXAMPLES)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read_to_string(entry.path()).unwrap())
        })
        .collect();
    all.sort();
    all
}

fn read(name: &str, text: &str, variables: Vec<(String, String)>) -> File {
    let read = File::parse(name, text, Format::of(name, text), variables);
    read.unwrap_or_else(|problems| panic!("{problems}"))
}

#[test]
fn each_example_is_read_and_fits_the_schema() {
    let validator = jsonschema::draft202012::new(&schema()).unwrap();
    let examples = examples();
    assert!(examples.len() >= 9);
    for (name, text) in examples {
        let file = read(&name, &text, Vec::new());
        // That of the layout of subsystems does so once it has been read.
        for json in [toml::from_str(&text).ok(), Some(file.to_json())]
            .into_iter()
            .flatten()
        {
            if let Err(error) = validator.validate(&json) {
                panic!("{name}: {error}");
            }
        }
    }
}

#[test]
fn the_variables_of_the_document_are_read() {
    let document = document();
    let lines = document
        .lines()
        .filter(|line| line.starts_with("DPDK_NET__"));
    let variables: Vec<(String, String)> = lines
        .map(|line| {
            let (name, value) = line.split_once('=').unwrap();
            let value = match value.strip_prefix('\'') {
                Some(quoted) => quoted.split('\'').next().unwrap(),
                None => value.split_whitespace().next().unwrap(),
            };
            (name.to_owned(), value.to_owned())
        })
        .collect();
    assert!(variables.len() >= 7);
    let text = fs::read_to_string(format!("{EXAMPLES}/tap.toml")).unwrap();
    let json = read("tap.toml", &text, variables).to_json();
    assert_eq!(json["listener"][1]["name"], "metrics");
    assert_eq!(json["app"]["greeting"], "hello");
}

#[test]
fn the_document_has_each_example_and_the_reference_of_the_schema() {
    let old = document();
    let new = with_reference(&with_examples(&old));
    for (name, _) in examples() {
        assert!(
            new.contains(&format!("<!-- example: {name} -->\n")),
            "{name} is not told of"
        );
    }
    if std::env::var(MODE_VAR).is_ok_and(|mode| mode == "write") {
        fs::write(DOCUMENT, new).unwrap();
        return;
    }
    let differs = old.lines().zip(new.lines()).find(|(old, new)| old != new);
    assert!(
        old == new,
        "{DOCUMENT} is not up to date ({differs:?}): {MODE_VAR}=write writes it"
    );
}

/// Puts each example's text into a block behind its marker.
fn with_examples(document: &str) -> String {
    let mut text = String::new();
    let mut lines = document.lines().peekable();
    while let Some(line) = lines.next() {
        writeln!(text, "{line}").unwrap();
        let name = line
            .strip_prefix("<!-- example: ")
            .and_then(|rest| rest.strip_suffix(" -->"));
        let Some(name) = name else { continue };
        let example = fs::read_to_string(format!("{EXAMPLES}/{name}")).unwrap();
        let language = name.rsplit('.').next().unwrap();
        write!(text, "```{language}\n{example}```\n").unwrap();
        // What was there before.
        if lines.peek().is_some_and(|next| next.starts_with("```")) {
            lines.next();
            while lines.next().is_some_and(|line| line != "```") {}
        }
    }
    text
}

fn with_reference(document: &str) -> String {
    let (before, rest) = document.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let mut reference = String::new();
    let schema = schema();
    for key in keys(&schema) {
        let section = &schema["properties"][key];
        write_section(&mut reference, key, section);
    }
    format!("{before}{BEGIN}{reference}{END}{after}")
}

fn keys(schema: &Json) -> Vec<&str> {
    let order = schema["x-order"].as_array().into_iter().flatten();
    order.map(|key| key.as_str().unwrap()).collect()
}

/// A section's keys, then the sections in it.
fn write_section(text: &mut String, path: &str, schema: &Json) {
    let (header, table) = match schema.get("items") {
        Some(items) => (format!("[[{path}]]"), items),
        None => (format!("[{path}]"), schema),
    };
    writeln!(text, "\n### `{header}`\n\n{}\n", about(schema, table)).unwrap();
    let mut inner: Vec<(&str, &Json)> = Vec::new();
    // Choices, each with the keys that have it.
    let mut words: Vec<(Vec<&str>, &Json)> = Vec::new();
    let keys = keys(table);
    if !keys.is_empty() {
        writeln!(text, "| key | value | default | |\n|---|---|---|---|").unwrap();
    }
    for key in keys {
        let property = &table["properties"][key];
        let value = property.get("items").unwrap_or(property);
        if value.get("properties").is_some() {
            // The same as outside.
            let shared = path == "port" && key == "network";
            if !shared {
                inner.push((key, property));
            }
            let at = if shared {
                "network".to_owned()
            } else {
                format!("{path}.{key}")
            };
            let list = property.get("items").is_some();
            let header = if list {
                format!("[[{at}]]")
            } else {
                format!("[{at}]")
            };
            let description = property["description"].as_str().unwrap();
            let live = live(property);
            writeln!(text, "| `{key}` | `{header}` | | {description}{live} |").unwrap();
            continue;
        }
        if let Some(choice) = value.get("enum") {
            match words.iter_mut().find(|(_, other)| other["enum"] == *choice) {
                Some((keys, _)) => keys.push(key),
                None => words.push((vec![key], value)),
            }
        }
        write_key(text, key, property, table);
    }
    for (keys, value) in words {
        write_words(text, &keys, value);
    }
    for (key, schema) in inner {
        write_section(text, &format!("{path}.{key}"), schema);
    }
}

fn live(property: &Json) -> &'static str {
    if property["x-live"] == true {
        " `live`"
    } else {
        ""
    }
}

/// What a section is: what its key says, and its table where that says more.
fn about(schema: &Json, table: &Json) -> String {
    let key = schema["description"].as_str().unwrap();
    let whole = schema["x-table"].as_str().or(table["description"].as_str());
    match whole {
        Some(whole) if whole.starts_with(key.trim_end_matches('.')) => whole.to_owned(),
        Some(whole) if whole.len() > key.len() => format!("{key} {whole}"),
        _ => key.to_owned(),
    }
}

fn write_key(text: &mut String, key: &str, property: &Json, table: &Json) {
    let mut value = kind(property.get("items").unwrap_or(property));
    if let Some(range) = property.get("x-range").and_then(Json::as_array) {
        let bound = |at: usize| range[at].as_str().unwrap();
        write!(value, ", {} to {}", bound(0), bound(1)).unwrap();
    }
    if property.get("items").is_some() {
        value = format!("list: {value}");
    }
    let required = table["required"]
        .as_array()
        .into_iter()
        .flatten()
        .any(|one| one == key);
    let default = match property["x-default"].as_str() {
        Some(default) => default,
        None if required => "**required**",
        None => "",
    };
    let live = live(property);
    let description = property["description"].as_str().unwrap();
    writeln!(
        text,
        "| `{key}` | {value} | {default} | {description}{live} |"
    )
    .unwrap();
}

/// What a value is, in a few words.
fn kind(schema: &Json) -> String {
    let text = |name: &str| schema[name].as_str();
    if let Some(words) = schema["enum"].as_array() {
        let words: Vec<String> = words
            .iter()
            .map(|word| format!("`{}`", word.as_str().unwrap()))
            .collect();
        return words.join(", ");
    }
    match (text("x-type"), text("type")) {
        (Some(kind), _) => kind.to_owned(),
        (_, Some("boolean")) => "true or false".to_owned(),
        (_, Some("integer")) => format!("{} to {}", schema["minimum"], schema["maximum"]),
        (_, Some("string")) => "a text".to_owned(),
        (_, Some("object")) => "any table".to_owned(),
        other => panic!("{other:?} has no name: {schema}"),
    }
}

/// What the words of a choice mean, once for all keys of a section that have it.
fn write_words(text: &mut String, keys: &[&str], value: &Json) {
    let words = value["enum"].as_array().unwrap();
    if words.len() < 2 {
        return;
    }
    let names: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
    let names = if keys.len() > 3 {
        "Each of them".to_owned()
    } else {
        names.join(", ")
    };
    writeln!(text, "\n{names}:\n\n| | |\n|---|---|").unwrap();
    let meanings = value["enumDescriptions"].as_array().unwrap();
    for (word, meaning) in words.iter().zip(meanings) {
        writeln!(
            text,
            "| `{}` | {} |",
            word.as_str().unwrap(),
            meaning.as_str().unwrap()
        )
        .unwrap();
    }
}
