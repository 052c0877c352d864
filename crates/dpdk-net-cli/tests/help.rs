//! What the program says of itself: help, manual pages, completions.

use std::process::{Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_dpdk-net");
const COMMANDS: [&str; 14] = [
    "demo",
    "run",
    "check",
    "schema",
    "capture",
    "devices",
    "doctor",
    "ss",
    "stats",
    "top",
    "trace",
    "plot",
    "completions",
    "man",
];

fn dpdk_net(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).output().unwrap()
}

fn text(args: &[&str]) -> String {
    let output = dpdk_net(args);
    assert!(output.status.success(), "{args:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn each_command_teaches_by_examples_and_names_its_exit_codes() {
    let program = text(&["--help"]);
    for command in COMMANDS {
        assert!(
            program.contains(&format!("  {command} ")),
            "{command}: {program}"
        );
        let help = text(&[command, "--help"]);
        for part in ["Examples:\n", "Exit code: 0", "--color"] {
            assert!(help.contains(part), "{command}, {part}: {help}");
        }
        let short = text(&[command, "-h"]);
        assert!(short.len() < help.len(), "{command}: -h is a summary");
    }
}

#[test]
fn completions_know_the_commands_and_their_options() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = text(&["completions", shell]);
        for part in COMMANDS.iter().chain(&["probe", "file-prefix"]) {
            assert!(script.contains(part), "{shell}: {part}");
        }
    }
    let output = dpdk_net(&["completions", "tcsh"]);
    assert_eq!(output.status.code(), Some(2));
    // bash at least takes them.
    let mut bash = Command::new("bash")
        .arg("-n")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let script = text(&["completions", "bash"]);
    std::io::Write::write_all(&mut bash.stdin.take().unwrap(), script.as_bytes()).unwrap();
    assert!(bash.wait().unwrap().success());
}

#[test]
fn there_is_a_page_for_the_program_and_for_each_command() {
    let directory = tempfile::tempdir().unwrap();
    let out = directory.path().join("man1");
    text(&["man", "--out", out.to_str().unwrap()]);
    let mut names: Vec<String> = std::fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    let mut expected: Vec<String> = COMMANDS
        .iter()
        .map(|name| format!("dpdk-net-{name}.1"))
        .collect();
    expected.push("dpdk-net.1".into());
    expected.sort();
    assert_eq!(names, expected);
    for name in &names {
        let page = std::fs::read_to_string(out.join(name)).unwrap();
        let title = format!(
            ".TH \"{}\" \"1\" \"\" \"dpdk-net {}\" \"dpdk-net\"\n",
            name.trim_end_matches(".1"),
            env!("CARGO_PKG_VERSION")
        );
        assert!(page.starts_with(&title), "{page}");
        for section in [
            ".TH",
            ".SH NAME",
            ".SH SYNOPSIS",
            ".SH DESCRIPTION",
            ".SH OPTIONS",
            ".SH EXAMPLES",
            "EXIT STATUS",
            "SEE ALSO",
        ] {
            assert!(page.contains(section), "{name}: {section}: {page}");
        }
    }
    let doctor = std::fs::read_to_string(out.join("dpdk-net-doctor.1")).unwrap();
    assert_eq!(text(&["man", "doctor"]), doctor);
}

#[test]
fn pages_that_cannot_be_written_or_do_not_exist_are_refused() {
    let output = dpdk_net(&["man", "--out", "/proc/none"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let output = dpdk_net(&["man", "nonsense"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains(&COMMANDS.join(", ")), "{stderr}");
}
