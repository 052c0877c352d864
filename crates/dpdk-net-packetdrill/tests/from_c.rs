//! The shared object as a C program finds it: the structure, the calling convention and the order of calls are those of a
//! compiled C program that does what packetdrill does (`tests/c/driver.c`).

use std::path::{Path, PathBuf};
use std::process::Command;

/// Cargo puts the shared object beside the tests.
fn directory() -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    test.parent().expect("a directory").to_path_buf()
}

fn driver(directory: &Path) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/c/driver.c");
    let program = directory.join("driver");
    let compiler = std::env::var("CC").unwrap_or("cc".into());
    let output = Command::new(&compiler)
        .args(["-Wall", "-Wextra", "-Werror", "-O1", "-g", "-o"])
        .args([&program, &source])
        .args(["-lpthread", "-ldl"])
        .output()
        .unwrap_or_else(|error| panic!("{compiler}: {error}"));
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{complaints}");
    program
}

fn drive(preloaded: bool) {
    let object = directory().join("libdpdk_net_packetdrill.so");
    let directory = tempfile::tempdir().expect("a directory for the program");
    let mut command = Command::new(driver(directory.path()));
    command.arg(&object);
    if preloaded {
        command.arg("preloaded").env("LD_PRELOAD", &object);
    }
    let output = command.output().expect("the program runs");
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {complaints}", output.status);
    assert_eq!(output.stdout, b"as it should be\n");
}

#[test]
fn a_c_program_plays_scripts_as_packetdrill_does() {
    drive(false);
}

#[test]
fn preloaded_the_c_library_s_getsockopt_knows_our_sockets() {
    drive(true);
}
