//! `cargo xtask conformance`: the table of what the RFCs require and which test shows it, made of the tests.
//!
//! A test's documentation has a paragraph `SECTION REQUIREMENTS: words.` for each thing it shows; lists at the head of a
//! file name what does not apply, is not met, or is shown by a test elsewhere.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::process::Usage;

const TESTS: &str = "crates/dpdk-net-stack/tests/conformance";
const TABLE: &str = "docs/conformance.md";

const HEAD: &str = "\
# Conformance

What the RFCs require of a TCP, and the test that shows it. Made by `cargo xtask conformance` from the tests in
`crates/dpdk-net-stack/tests/conformance`; a test of its own fails if this file is not what they say. Numbers such as
MUST-36 are those of RFC 9293, appendix B; `-` stands for behaviour that an RFC describes without such a word. Most tests
run for IPv4 and for IPv6. One alone: `cargo nextest run -p dpdk-net-stack --test conformance NAME`.
";

/// `cargo xtask conformance [--check]`.
pub(crate) fn command(args: &[String]) -> Result<()> {
    let root = root();
    let table = table(&root)?;
    let path = root.join(TABLE);
    match args {
        [] => fs::write(&path, table).with_context(|| format!("writing {}", path.display())),
        [check] if check == "--check" => {
            if fs::read_to_string(&path).unwrap_or_default() == table {
                Ok(())
            } else {
                bail!("{TABLE} is not what the tests say: run `cargo xtask conformance`")
            }
        }
        _ => Err(Usage("conformance takes --check or nothing".into()).into()),
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// One line of the table.
struct Row {
    section: String,
    requirements: String,
    words: String,
    shown: String,
}

fn table(root: &Path) -> Result<String> {
    let dir = root.join(TESTS);
    let mut files: Vec<(u32, PathBuf)> = Vec::new();
    for entry in fs::read_dir(&dir).with_context(|| format!("reading {}", dir.display()))? {
        let path = entry?.path();
        let stem = path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .unwrap_or("");
        if let Some(number) = stem
            .strip_prefix("rfc")
            .and_then(|number| number.parse().ok())
            .filter(|_| path.is_file())
        {
            files.push((number, path));
        }
    }
    files.sort();
    // RFC 9293 is what the others add to.
    if let Some(at) = files.iter().position(|(number, _)| *number == 9293) {
        let first = files.remove(at);
        files.insert(0, first);
    }
    let names = names_of_tests(&root.join("crates/dpdk-net-stack"))?;
    let mut out = String::from(HEAD);
    let mut tests = BTreeSet::new();
    for (number, path) in &files {
        let (title, file) = rfc(path, &names)?;
        writeln!(out, "\n## {}", title.trim_start_matches("//! "))?;
        for (heading, column, rows) in [
            (None, "test", &file.shown),
            (Some("Not applicable"), "why", &file.not_applicable),
            (Some("Not met"), "why", &file.not_met),
        ] {
            if rows.is_empty() {
                continue;
            }
            if let Some(heading) = heading {
                writeln!(out, "\n{heading}:")?;
            }
            if column == "test" {
                writeln!(
                    out,
                    "\n| section | requirement | what | test |\n|---|---|---|---|"
                )?;
            } else {
                writeln!(
                    out,
                    "\n| section | requirement | what and why |\n|---|---|---|"
                )?;
            }
            for row in rows {
                let Row {
                    section,
                    requirements,
                    words,
                    shown,
                } = row;
                let words = words.replace('|', "\\|");
                write!(out, "| {section} | {requirements} | {words} |")?;
                if column == "test" {
                    write!(out, " `{shown}` |")?;
                    tests.insert(format!("{number}{shown}"));
                }
                writeln!(out)?;
            }
        }
    }
    writeln!(out, "\n{} tests in {} files.", tests.len(), files.len())?;
    Ok(out)
}

/// Reads the tests of one RFC: a file, and where they are many a directory of its name beside it.
fn rfc(path: &Path, names: &BTreeSet<String>) -> Result<(String, File)> {
    let mut paths = vec![path.to_owned()];
    let parts = path.with_extension("");
    if parts.is_dir() {
        for entry in fs::read_dir(&parts).with_context(|| format!("reading {}", parts.display()))? {
            paths.push(entry?.path());
        }
        paths[1..].sort();
    }
    let mut title = None;
    let mut all = File::default();
    for path in paths {
        let source =
            fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let file = rows(&source, names).with_context(|| format!("in {}", path.display()))?;
        title = title.or_else(|| source.lines().next().map(str::to_owned));
        all.shown.extend(file.shown);
        all.not_applicable.extend(file.not_applicable);
        all.not_met.extend(file.not_met);
    }
    all.shown.sort_by_key(|row| order(&row.section));
    Ok((title.unwrap_or_default(), all))
}

#[derive(Default)]
struct File {
    shown: Vec<Row>,
    not_applicable: Vec<Row>,
    not_met: Vec<Row>,
}

/// Reads a file of tests.
fn rows(source: &str, names: &BTreeSet<String>) -> Result<File> {
    let mut file = File::default();
    let mut list = "";
    let mut items: Vec<(&str, String)> = Vec::new();
    for line in source.lines().map_while(|line| line.strip_prefix("//!")) {
        let line = line.trim();
        if let Some(heading) = line.strip_suffix(':')
            && matches!(heading, "Not applicable" | "Not met" | "Shown elsewhere")
        {
            list = heading;
        } else if let Some(item) = line.strip_prefix("- ").filter(|_| !list.is_empty()) {
            items.push((list, item.to_owned()));
        } else if let Some((_, item)) = items.last_mut().filter(|_| !line.is_empty()) {
            *item = format!("{item} {line}");
        }
    }
    for (list, item) in items {
        let Some(mut row) = row(&item) else {
            bail!("no `SECTION REQUIREMENTS: words` in the list of the head: {item}");
        };
        match list {
            "Not applicable" => file.not_applicable.push(row),
            "Not met" => file.not_met.push(row),
            _ => {
                let Some((words, name)) = row.words.rsplit_once(" | ") else {
                    bail!("no test is named: {item}");
                };
                let name = name.trim_matches('`').to_owned();
                if !names.contains(&name) {
                    bail!("there is no test {name}");
                }
                row.words = words.to_owned();
                row.shown = name;
                file.shown.push(row);
            }
        }
    }
    let mut paragraphs: Vec<String> = vec![String::new()];
    for line in source.lines().map(str::trim) {
        if let Some(doc) = line.strip_prefix("///").map(str::trim) {
            match paragraphs.last_mut() {
                Some(last) if !doc.is_empty() && !last.is_empty() => {
                    last.push(' ');
                    last.push_str(doc);
                }
                Some(last) if !doc.is_empty() => last.push_str(doc),
                _ => paragraphs.push(String::new()),
            }
        } else if let Some(name) = line.strip_prefix("fn s").and_then(test_name) {
            let mut found: Vec<Row> = paragraphs.iter().filter_map(|text| row(text)).collect();
            if found.is_empty() {
                bail!("{name} does not say in its documentation what it shows");
            }
            found.iter_mut().for_each(|row| row.shown.clone_from(&name));
            file.shown.append(&mut found);
            paragraphs = vec![String::new()];
        } else if !line.starts_with("#[") {
            paragraphs = vec![String::new()];
        }
    }
    Ok(file)
}

/// The name of a test, whose function begins with `s` and a section; `rest` is what follows the `s`.
fn test_name(rest: &str) -> Option<String> {
    rest.starts_with(|c: char| c.is_ascii_digit())
        .then(|| format!("s{}", rest.split('(').next().unwrap_or_default()))
}

/// Reads `SECTION REQUIREMENTS: words`.
fn row(text: &str) -> Option<Row> {
    let (head, words) = text.split_once(": ")?;
    let (section, requirements) = head.split_once(' ')?;
    let is_section = section.split('.').all(|part| {
        part.parse::<u8>().is_ok() || part.len() == 1 && part.starts_with(char::is_uppercase)
    });
    let is_requirement = |text: &str| {
        ["MUST", "SHOULD", "MAY", "SHLD-", "REC-", "-"]
            .iter()
            .any(|word| text.starts_with(word))
    };
    (is_section && requirements.split(", ").all(is_requirement)).then(|| Row {
        section: section.to_owned(),
        requirements: requirements.to_owned(),
        words: words.to_owned(),
        shown: String::new(),
    })
}

/// Sections in their order: 3.10 after 3.9, appendices last.
fn order(section: &str) -> Vec<u32> {
    section
        .split('.')
        .map(|part| {
            part.parse().unwrap_or_else(|_| {
                1_000 + u32::from(part.as_bytes().first().copied().unwrap_or(0))
            })
        })
        .collect()
}

/// All functions of the crate's sources and tests.
fn names_of_tests(dir: &Path) -> Result<BTreeSet<String>> {
    let mut names = BTreeSet::new();
    let mut dirs = vec![dir.join("src"), dir.join("tests")];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).with_context(|| format!("reading {}", dir.display()))? {
            let path = entry?.path();
            if path.is_dir() {
                dirs.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let source = fs::read_to_string(&path)
                    .with_context(|| format!("reading {}", path.display()))?;
                let functions = source
                    .lines()
                    .filter_map(|line| line.trim().strip_prefix("fn "));
                names.extend(
                    functions.filter_map(|rest| rest.split(['(', '<']).next().map(str::to_owned)),
                );
            }
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_conformance_is_what_the_tests_say() {
        command(&["--check".into()]).unwrap();
    }

    #[test]
    fn a_paragraph_is_read_and_prose_is_not_taken_for_one() {
        let found = row("3.8.6.1 MUST-36, SHLD-29: A window | a question.").unwrap();
        assert_eq!(
            (
                &found.section[..],
                &found.requirements[..],
                &found.words[..]
            ),
            ("3.8.6.1", "MUST-36, SHLD-29", "A window | a question.")
        );
        assert!(row("8 MUST NOT: Data is let go.").is_some());
        assert!(row("A.1 -: compartments").is_some());
        for prose in ["An ACK: something", "3.2 of them: many", "no colon", ""] {
            assert!(row(prose).is_none(), "{prose}");
        }
    }

    #[test]
    fn a_test_that_does_not_say_what_it_shows_is_an_error() {
        let good = "/// 3.1 MUST-1: Words.\nfn s3_1_must_1_words(family) {";
        assert_eq!(rows(good, &BTreeSet::new()).unwrap().shown.len(), 1);
        let bad = "/// Words.\nfn s3_1_must_1_words(family) {";
        assert!(rows(bad, &BTreeSet::new()).is_err());
    }

    #[test]
    fn sections_are_in_their_order() {
        let mut sections = vec!["3.10.7", "A.1", "3.9", "3.10", "4"];
        sections.sort_by_key(|section| order(section));
        assert_eq!(sections, ["3.9", "3.10", "3.10.7", "4", "A.1"]);
    }
}
