//! The benchmark of several workers, run for a moment: every case works and every row has a figure. What the figures are is
//! not looked at.

use std::process::Command;

#[test]
fn every_row_of_queues_has_a_figure() {
    let output = Command::new(env!("CARGO_BIN_EXE_queues"))
        .args(["--json", "--smoke", "--no-instructions", "--runs", "1"])
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
    // Without a second CPU there is no comparison of one thread with two.
    for what in [
        "strays",
        "one of four",
        "2 threads",
        "a table entry",
        "a ring",
        "memory",
    ] {
        let there = rows
            .iter()
            .any(|row| row["row"].as_str().unwrap().contains(what));
        assert!(there, "no row tells of {what}: {text}");
    }
}
