//! The benchmark of several workers, run for a moment: every case works and every row has a figure. What the figures are is
//! not looked at.

mod common;

#[test]
fn every_row_of_queues_has_a_figure() {
    let rows = common::rows(env!("CARGO_BIN_EXE_queues"), &["--no-instructions"]);
    // Without a second CPU there is no comparison of one thread with two.
    for what in [
        "strays",
        "one of four",
        "2 threads",
        "a table entry",
        "a ring",
        "memory",
    ] {
        assert!(
            common::count(&rows, what) > 0,
            "no row tells of {what}: {rows:?}"
        );
    }
}
