//! Running other programs: what is run is shown, and a failure says which command failed.

use std::fmt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};

/// A mistake on the command line of `cargo xtask`: reported with a pointer to the help, exit code 2.
#[derive(Debug)]
pub(crate) struct Usage(pub(crate) String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

/// The `cargo` that runs this program, so that a `+toolchain` given to it holds for what it starts.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(workspace_root());
    command
}

/// The directory of the workspace's `Cargo.toml`.
pub(crate) fn workspace_root() -> PathBuf {
    let xtask = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().map_or(xtask.clone(), PathBuf::from)
}

/// Where cargo puts what it builds, whatever sets it (environment, configuration, default).
pub(crate) fn target_dir() -> Result<PathBuf> {
    let mut metadata = cargo();
    metadata.args(["metadata", "--format-version=1", "--no-deps", "--offline"]);
    let output = metadata
        .stderr(Stdio::inherit())
        .output()
        .context("cannot run `cargo metadata`")?;
    let json = String::from_utf8(output.stdout).context("`cargo metadata` did not write UTF-8")?;
    string_field(&json, "target_directory")
        .map(PathBuf::from)
        .context("`cargo metadata` names no target_directory")
}

/// The value of the last top-level-looking `"name":"value"` in a JSON text; enough for a path.
fn string_field(json: &str, name: &str) -> Option<String> {
    let start = json.rfind(&format!("\"{name}\":\""))? + name.len() + 4;
    let mut value = String::new();
    let mut chars = json[start..].chars();
    loop {
        match chars.next()? {
            '"' => return Some(value),
            '\\' => value.push(chars.next()?),
            other => value.push(other),
        }
    }
}

/// Shows `command` and runs it to its end; an exit code other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let line = show(command);
    eprintln!("+ {line}");
    let status = command
        .status()
        .with_context(|| format!("cannot run `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

/// Becomes `command`: signals reach it directly and its exit code is ours. Returns only on failure.
pub(crate) fn exec(command: &mut Command) -> anyhow::Error {
    let line = show(command);
    eprintln!("+ {line}");
    anyhow::Error::new(command.exec()).context(format!("cannot run `{line}`"))
}

/// Whether `command` runs and exits with 0, its output kept from the terminal.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// The command as one would type it.
pub(crate) fn show(command: &Command) -> String {
    let mut line = String::new();
    for word in std::iter::once(command.get_program()).chain(command.get_args()) {
        let word = word.to_string_lossy();
        if !line.is_empty() {
            line.push(' ');
        }
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
        if !word.is_empty() && word.chars().all(plain) {
            line.push_str(&word);
        } else {
            line.push('\'');
            line.push_str(&word.replace('\'', "'\\''"));
            line.push('\'');
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shown_command_can_be_pasted_into_a_shell() {
        let mut command = Command::new("echo");
        command.args(["plain-1.2", "two words", "it's", ""]);
        assert_eq!(show(&command), r"echo plain-1.2 'two words' 'it'\''s' ''");
    }

    #[test]
    fn a_string_field_is_unescaped_and_the_last_one_wins() {
        let json =
            r#"{"packages":[{"target_directory":"no"}],"target_directory":"/a \"b\"\\c","x":1}"#;
        assert_eq!(
            string_field(json, "target_directory").as_deref(),
            Some(r#"/a "b"\c"#)
        );
        assert_eq!(string_field(json, "absent"), None);
        assert_eq!(string_field(r#"{"cut":"off"#, "cut"), None);
    }
}
