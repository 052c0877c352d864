//! Runs scripts in packetdrill's language, as far as the test runner of this crate knows it: `packet-script FILE...`.

#[path = "../tests/runner/mod.rs"]
mod runner;

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut failed = false;
    for path in std::env::args().skip(1) {
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => {
                eprintln!("{path}: {error}");
                failed = true;
                continue;
            }
        };
        for family in runner::families(&text) {
            match runner::run(&text, family) {
                Ok(()) => println!("{path} {family:?}: as it should be"),
                Err(error) => {
                    println!("{path} {family:?}: {error}");
                    failed = true;
                }
            }
        }
    }
    ExitCode::from(u8::from(failed))
}
