//! The benchmark of other threads, run for a moment: every case works and every row has a figure. What the figures are is not looked at.

mod common;

#[test]
fn every_row_of_threads_has_a_figure() {
    let rows = common::rows(env!("CARGO_BIN_EXE_threads"), &[]);
    for what in ["on the worker", "by 2 threads", "spawn_on", "channel"] {
        assert!(common::count(&rows, what) >= 2, "{what}: {rows:?}");
    }
}
