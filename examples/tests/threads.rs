//! The example whose requests are answered by a multi-thread runtime, with curl as its peer.

mod common;

use std::collections::HashSet;

use common::{Bed, START, stop};

fn threads_answer(bed: &Bed) {
    let mut site = bed.start("21_threads", &["--port", "8080", "--threads", "3"]);
    site.wait_for("answered by 3 threads", START).unwrap();
    for host in common::HOSTS {
        let url = |path: &str| format!("'http://{host}:8080{path}'");
        let curl = |path: &str| bed.shell(&format!("curl -sS -m 50 {}", url(path)));
        assert_eq!(curl("/thread"), "http\n");
        assert_eq!(curl("/worker"), "3 steps on main\n");

        // Eight at a time, each over a connection of its own: every visit is counted once.
        let many = format!(
            "for i in $(seq 8); do (for j in $(seq 10); do curl -sS {}; done) & done; wait",
            url("/visits")
        );
        let counts = bed.shell(&many);
        let counts: HashSet<u32> = counts.lines().map(|line| line.parse().unwrap()).collect();
        let first = counts.iter().min().copied().unwrap();
        assert_eq!(counts, (first..first + 80).collect());

        // And bytes both ways at once.
        let echoed = bed.shell(&format!(
            "for i in $(seq 4); do (seq $i 400000 | curl -sS --data-binary @- {} | sha256sum) & done; wait",
            url("/echo")
        ));
        let expected = bed.shell("for i in $(seq 4); do seq $i 400000 | sha256sum; done");
        let sorted = |text: &str| {
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        assert_eq!(sorted(&echoed), sorted(&expected));
    }
    stop(site);
}

#[test]
fn threads_answer_over_one_worker_and_have_it_run_tasks() {
    threads_answer(&Bed::tap());
}

#[test]
fn threads_answer_where_one_frame_in_a_hundred_is_lost() {
    threads_answer(&Bed::lossy(0.01));
}
