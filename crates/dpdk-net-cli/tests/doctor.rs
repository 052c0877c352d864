//! The doctor on the machine that runs the tests: what it says, as what, and with which exit code.

use std::process::{Command, Output};

const PROGRAM: &str = env!("CARGO_BIN_EXE_dpdk-net");

fn dpdk_net(args: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(args)
        .env_remove("NO_COLOR")
        .output()
        .unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_exit_code_is_the_verdict_for_the_use_that_was_asked_about() {
    for wanted in ["tap", "af_xdp", "nic"] {
        let output = dpdk_net(&["doctor", "--for", wanted, "--json"]);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(report["for"], wanted);
        assert_eq!(report["uses"][wanted]["ready"], report["ready"]);
        assert_eq!(report["ready"].as_bool(), Some(output.status.success()));
        assert!(output.stderr.is_empty(), "DPDK was not started");
        let findings = report["findings"].as_array().unwrap();
        let has = |check| findings.iter().any(|finding| finding["check"] == check);
        for check in [
            "dpdk",
            "drivers",
            "kernel",
            "tun",
            "rights",
            "hugepages",
            "nic",
            "clock",
            "leftovers",
        ] {
            assert!(has(check), "{check}: {report}");
        }
    }
}

#[test]
fn colours_are_for_terminals_and_for_those_who_ask() {
    let escape = '\u{1b}';
    assert!(
        !text(&dpdk_net(&["doctor"])).contains(escape),
        "a pipe is no terminal"
    );
    assert!(text(&dpdk_net(&["doctor", "--color", "always"])).contains(escape));
    assert!(text(&dpdk_net(&["--color=always", "doctor", "--help"])).contains(escape));
    assert!(!text(&dpdk_net(&["--color=never", "doctor", "--help"])).contains(escape));
}

#[test]
fn an_unknown_use_is_a_mistake_on_the_command_line() {
    let output = dpdk_net(&["doctor", "--for", "fpga"]);
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(
        stderr.contains("nic") && stderr.contains("af_xdp"),
        "{stderr}"
    );
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let script = format!("'{PROGRAM}' doctor | true; exit ${{PIPESTATUS[0]}}");
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert_ne!(output.status.code(), Some(101), "no panic");
    assert!(output.stderr.is_empty());
}
