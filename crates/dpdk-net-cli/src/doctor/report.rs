//! Findings as text for people and as JSON for programs.

use std::collections::BTreeMap;

use serde::Serialize;

use super::finding::{Finding, Level, Use, Verdict};
use crate::failure::Result;
use crate::output::{Colour, Paint};

/// As wide as the longest of the levels and of the checks.
const LEVEL: usize = 9;
const CHECK: usize = 11;
/// How wide what a finding means is set.
const MEANING: usize = 80;

/// One block a finding, then a verdict for each use.
pub(super) fn text(findings: &[Finding], wanted: Use, paint: Paint) -> String {
    let mut lines = Vec::new();
    for finding in findings {
        let level = finding.level_for(wanted);
        let shown = paint.paint(colour(level), &format!("{:LEVEL$}", level.name()));
        lines.push(format!("{shown}{:CHECK$}{}", finding.check, finding.what));
        let indent = " ".repeat(LEVEL + CHECK);
        let meaning = finding.meaning.as_deref().unwrap_or_default();
        let below = wrapped(meaning, MEANING);
        lines.extend(below.iter().map(|line| format!("{indent}{line}")));
        let commands = finding.command.iter().flat_map(|command| command.lines());
        lines.extend(commands.map(|line| {
            let command = paint.paint(Colour::Bold, line);
            format!("{indent}$ {command}")
        }));
    }
    lines.push(String::new());
    lines.extend(Use::ALL.map(|each| {
        let verdict = Verdict::of(findings, each);
        let counts = [(verdict.errors, "error"), (verdict.warnings, "warning")];
        let counts: Vec<String> = counts
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, name)| format!("{count} {name}{}", if *count == 1 { "" } else { "s" }))
            .collect();
        let (state, colour) = if verdict.ready {
            ("ready", Colour::Green)
        } else {
            ("not ready", Colour::Red)
        };
        let state = paint.paint(colour, state);
        let mark = if each == wanted { "*" } else { " " };
        let counts = if counts.is_empty() {
            String::new()
        } else {
            format!(" ({})", counts.join(", "))
        };
        format!("{mark} {:8}{state}{counts}", each.name())
    }));
    lines.join("\n") + "\n"
}

/// The text in lines of at most `width` characters, unless a word is longer.
fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}

fn colour(level: Level) -> Colour {
    match level {
        Level::Ok => Colour::Green,
        Level::Note => Colour::Cyan,
        Level::Warning => Colour::Yellow,
        Level::Error => Colour::Red,
    }
}

#[derive(Serialize)]
struct Report<'a> {
    #[serde(rename = "for")]
    wanted: Use,
    ready: bool,
    uses: BTreeMap<&'static str, Verdict>,
    findings: Vec<Shown<'a>>,
}

#[derive(Serialize)]
struct Shown<'a> {
    check: &'a str,
    /// For the use that was asked about.
    level: Level,
    #[serde(rename = "for")]
    uses: &'a [Use],
    what: &'a str,
    meaning: Option<&'a str>,
    command: Option<&'a str>,
}

/// An object with the findings and the verdicts.
pub(super) fn json(findings: &[Finding], wanted: Use) -> Result<String> {
    let report = Report {
        wanted,
        ready: Verdict::of(findings, wanted).ready,
        uses: Use::ALL
            .map(|each| (each.name(), Verdict::of(findings, each)))
            .into(),
        findings: findings
            .iter()
            .map(|finding| Shown {
                check: finding.check,
                level: finding.level_for(wanted),
                uses: finding.uses,
                what: &finding.what,
                meaning: finding.meaning.as_deref(),
                command: finding.command.as_deref(),
            })
            .collect(),
    };
    crate::output::json(&report)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings() -> Vec<Finding> {
        vec![
            Finding::ok("dpdk", "DPDK 22.11.11"),
            Finding::error("vfio", &[Use::Nic], "not loaded")
                .means("no NIC can be had")
                .mend("modprobe vfio-pci\nsecond"),
        ]
    }

    #[test]
    fn text_has_the_meaning_the_command_and_the_verdicts() {
        let text = text(&findings(), Use::Nic, Paint::off());
        let expected = "\
ok       dpdk       DPDK 22.11.11
error    vfio       not loaded
                    no NIC can be had
                    $ modprobe vfio-pci
                    $ second

  tap     ready
  af_xdp  ready
* nic     not ready (1 error)
";
        assert_eq!(text, expected);
    }

    #[test]
    fn long_meanings_are_wrapped_between_words() {
        assert_eq!(
            wrapped("aa bb  cc dddddddd e", 5),
            ["aa bb", "cc", "dddddddd", "e"]
        );
        assert!(wrapped("", 5).is_empty());
    }

    #[test]
    fn colours_are_there_only_when_wanted() {
        assert!(text(&findings(), Use::Nic, Paint::on()).contains("\u{1b}["));
        assert!(!text(&findings(), Use::Nic, Paint::off()).contains('\u{1b}'));
    }

    #[test]
    fn json_says_the_same() {
        let json = json(&findings(), Use::Tap).unwrap();
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["for"], "tap");
        assert_eq!(value["ready"], true);
        assert_eq!(value["uses"]["nic"]["errors"], 1);
        assert_eq!(value["findings"][1]["level"], "note");
        assert_eq!(value["findings"][1]["for"][0], "nic");
        assert_eq!(value["findings"][0]["command"], serde_json::Value::Null);
    }
}
