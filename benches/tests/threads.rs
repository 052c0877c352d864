//! The benchmark of other threads, run for a moment: every case works and every row has a figure. What the figures are is not looked at.

use std::process::Command;

#[test]
fn every_row_of_threads_has_a_figure() {
    let output = Command::new(env!("CARGO_BIN_EXE_threads"))
        .args(["--json", "--smoke", "--runs", "1"])
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
    for what in ["on the worker", "by 2 threads", "spawn_on", "channel"] {
        let of = |row: &&serde_json::Value| row["row"].as_str().unwrap().contains(what);
        assert!(rows.iter().filter(of).count() >= 2, "{what}: {text}");
    }
}
