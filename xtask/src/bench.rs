//! `bench`: the benchmarks of the `dpdk-net-bench` package, each a program that prints a row per figure.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::{self, Usage};
use crate::setup::{self, Scope};

pub(crate) fn command(args: &[String]) -> Result<()> {
    let manifest = process::workspace_root().join("benches/Cargo.toml");
    let names = names(
        &fs::read_to_string(&manifest)
            .with_context(|| format!("cannot read {}", manifest.display()))?,
    );
    let (own, passed_on) = match args.iter().position(|arg| arg == "--") {
        Some(at) => (&args[..at], &args[at + 1..]),
        None => (args, &args[args.len()..]),
    };
    let mut json = false;
    let mut chosen: Vec<&str> = Vec::new();
    for arg in own {
        match arg.as_str() {
            "--json" => json = true,
            "--list" => {
                names.iter().for_each(|name| println!("{name}"));
                return Ok(());
            }
            flag if flag.starts_with('-') => {
                return Err(Usage(format!(
                    "`bench` does not know `{flag}`; options of a benchmark go after `--`"
                ))
                .into());
            }
            name if names.iter().any(|known| known == name) => chosen.push(name),
            other => {
                return Err(Usage(format!(
                    "there is no benchmark `{other}`; there are: {}",
                    names.join(", ")
                ))
                .into());
            }
        }
    }
    if chosen.is_empty() {
        if names.is_empty() {
            bail!("{} declares no [[bin]]", manifest.display());
        }
        chosen = names.iter().map(String::as_str).collect();
    }

    setup::ensure(Scope::Everything, false)?;
    let mut build = process::cargo();
    build.args(["build", "--release", "--package", "dpdk-net-bench"]);
    for name in &chosen {
        build.args(["--bin", name]);
    }
    process::run(&mut build)?;
    let programs = process::target_dir()?.join("release");
    for name in chosen {
        let mut bench = Command::new(programs.join(name));
        bench.args(json.then_some("--json")).args(passed_on);
        process::run(&mut bench)?;
    }
    Ok(())
}

/// The benchmarks are the programs that the manifest declares: the `name` of each `[[bin]]` table.
fn names(manifest: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut table = "";
    for line in manifest.lines().map(str::trim) {
        if line.starts_with('[') {
            table = line;
        } else if table == "[[bin]]"
            && let Some((key, value)) = line.split_once('=')
            && key.trim() == "name"
        {
            names.push(value.trim().trim_matches('"').to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::names;

    #[test]
    fn only_names_of_programs_are_taken_from_the_manifest() {
        let manifest = r#"
            [package]
            name = "dpdk-net-bench"
            [[bin]]
            name = "stack"
            path = "stack/main.rs"
            [dependencies]
            name = "1"
            [[bin]]
            path = "echo/main.rs"
            name="echo"
        "#;
        assert_eq!(names(manifest), ["stack", "echo"]);
    }
}
