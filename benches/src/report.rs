//! Rows of figures: as aligned text for people, as JSON lines for programs.

use std::io::Write;

use serde::Serialize;

/// One figure.
#[derive(Debug, Clone, Serialize)]
pub struct Row {
    /// The benchmark, as `cargo xtask bench NAME` names it.
    pub bench: &'static str,
    /// What was measured.
    pub row: String,
    /// The figure.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
    /// What `ratio` compares with, where there is something.
    pub vs: Option<String>,
    /// `value` divided by the other's figure: below 1 is better where the unit is a cost.
    pub ratio: Option<f64>,
}

/// Prints rows as they are measured.
#[derive(Debug)]
pub struct Report {
    bench: &'static str,
    json: bool,
}

impl Report {
    /// A report of the benchmark `bench`; `json` chooses JSON lines.
    pub fn new(bench: &'static str, json: bool) -> Self {
        Self { bench, json }
    }

    /// Prints a figure that stands alone.
    pub fn row(&self, row: impl Into<String>, value: f64, unit: &'static str) {
        self.print(&Row {
            bench: self.bench,
            row: row.into(),
            value,
            unit,
            vs: None,
            ratio: None,
        });
    }

    /// Prints a figure and its ratio to `other`, the figure of `vs` in the same unit.
    pub fn versus(
        &self,
        row: impl Into<String>,
        value: f64,
        unit: &'static str,
        vs: impl Into<String>,
        other: f64,
    ) {
        let ratio = (other > 0.0).then(|| value / other);
        self.print(&Row {
            bench: self.bench,
            row: row.into(),
            value,
            unit,
            vs: Some(vs.into()),
            ratio,
        });
    }

    fn print(&self, row: &Row) {
        let line = if self.json {
            // A row has no map with non-string keys and no non-finite number: it always serialises.
            serde_json::to_string(row).unwrap_or_default()
        } else {
            let mut line = format!("{:<58} {:>14.1} {:<14}", row.row, row.value, row.unit);
            if let (Some(vs), Some(ratio)) = (&row.vs, row.ratio) {
                line += &format!(" {ratio:>7.3} x {vs}");
            }
            line
        };
        let mut out = std::io::stdout().lock();
        // A reader that went away (`| head`) is no reason to fail.
        let _ = writeln!(out, "{}", line.trim_end());
        let _ = out.flush();
    }
}
