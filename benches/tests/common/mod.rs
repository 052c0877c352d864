//! Running a benchmark for a moment.

use std::process::Command;

/// The rows of a benchmark, each of which has a figure.
pub(crate) fn rows(program: &str, args: &[&str]) -> Vec<serde_json::Value> {
    let output = Command::new(program)
        .args(["--json", "--smoke", "--runs", "1"])
        .args(args)
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    let text = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<serde_json::Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    for row in &rows {
        assert!(row["value"].as_f64().unwrap() > 0.0, "{row}");
    }
    rows
}

/// How many rows tell of `what`.
pub(crate) fn count(rows: &[serde_json::Value], what: &str) -> usize {
    let of = |row: &&serde_json::Value| row["row"].as_str().unwrap().contains(what);
    rows.iter().filter(of).count()
}
