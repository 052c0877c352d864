//! Where the demo runs: in the open as root, else in a user and network namespace of its own.
//!
//! The namespace is made by becoming `unshare`, which becomes this program again: the process id stays, so
//! signals and the exit code are the demo's own, and everything in the namespace goes with the process.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::process::geteuid;

use super::args::DemoArgs;
use super::device::Rights;
use crate::failure::{Failure, Result};
use crate::machine::Machine;
use crate::machine::process::Process;

/// Tells the second incarnation that it is one.
const MARK: &str = "DPDK_NET_DEMO_NAMESPACE";

const UNSHARE: [&str; 4] = ["--user", "--map-root-user", "--net", "--"];

/// Where the demo runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In the namespaces that it was started in.
    Here,
    /// In a namespace of its own, reached by `nsenter`.
    Namespace,
}

impl Place {
    /// What goes before a command for it to reach the demo.
    pub(crate) fn prefix(self) -> String {
        match self {
            Self::Here => String::new(),
            Self::Namespace => {
                format!(
                    "nsenter --target {} --user --net --preserve-credentials ",
                    std::process::id()
                )
            }
        }
    }
}

/// Makes sure of the rights that the device takes; may become another process on the way.
pub(crate) fn enter(args: &DemoArgs) -> Result<Place> {
    let inside = std::env::var_os(MARK).is_some();
    let here = if inside {
        Place::Namespace
    } else {
        Place::Here
    };
    match args.device.rights() {
        Rights::User => Ok(here),
        _ if is_network_admin() => Ok(here),
        Rights::Root => Err(Failure::new(
            format!(
                "--device {} takes root, and this is user {}",
                args.device,
                geteuid().as_raw()
            ),
            "run it with sudo, or try --device tap, which makes do without",
        )),
        Rights::OwnNamespace if inside => Err(Failure::new(
            "the namespace gave no right to make network devices",
            "a security policy (AppArmor, SELinux, seccomp) takes it away: run the demo as root",
        )),
        Rights::OwnNamespace => {
            probe()?;
            Err(become_namespaced())
        }
    }
}

fn is_network_admin() -> bool {
    Process::read(&Machine::here()).is_some_and(|process| process.is_network_admin())
}

/// Tries whether a namespace can be had, so that a refusal is explained.
fn probe() -> Result {
    let tried = Command::new("unshare")
        .args(UNSHARE)
        .arg("true")
        .stdin(Stdio::null())
        .output();
    let output = tried.map_err(|error| {
        Failure::new(
            format!("this is not root, and `unshare`, which would make a namespace to be root in, does not run: {error}"),
            "run the demo as root, or install util-linux",
        )
    })?;
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr);
    Err(Failure::new(
        format!(
            "this is not root, and user namespaces are forbidden here: {}",
            reason.trim()
        ),
        remedies(&Machine::here()),
    ))
}

/// What may let the demo run, the switches that are in the way first.
fn remedies(machine: &Machine) -> String {
    let mut remedies = vec!["run the demo as root: sudo dpdk-net demo".to_owned()];
    let switches = switches_in_the_way(machine);
    remedies.extend(
        switches
            .iter()
            .map(|command| format!("or allow them: {command}")),
    );
    if remedies.len() == 1 {
        remedies.push(
            "(in a container: start it with --cap-add NET_ADMIN --device /dev/net/tun)".into(),
        );
    }
    remedies.join("\n")
}

/// The commands, for root, that allow user namespaces where a switch forbids them.
pub(crate) fn switches_in_the_way(machine: &Machine) -> Vec<String> {
    let switches = [
        ("kernel/unprivileged_userns_clone", "0", "1"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
        ("user/max_user_namespaces", "0", "10000"),
        ("user/max_net_namespaces", "0", "10000"),
    ];
    let forbids =
        |name: &str, value| machine.text(format!("/proc/sys/{name}")).as_deref() == Some(value);
    switches
        .into_iter()
        .filter(|(name, value, _)| forbids(name, value))
        .map(|(name, _, allows)| format!("sysctl -w {}={allows}", name.replace('/', ".")))
        .collect()
}

/// Becomes this program in new namespaces; returns only when that fails.
fn become_namespaced() -> Failure {
    let failed = |error: std::io::Error| {
        Failure::new(
            format!("cannot start again in a namespace: {error}"),
            "run the demo as root",
        )
    };
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => return failed(error),
    };
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let mut command = Command::new("unshare");
    command
        .args(UNSHARE)
        .arg(program)
        .args(arguments)
        .env(MARK, "1");
    if std::env::var_os("RUNTIME_DIRECTORY").is_none() {
        // Root's default would be /var/run, where the namespace's root has no rights.
        command.env("RUNTIME_DIRECTORY", runtime_directory());
    }
    failed(command.exec())
}

/// Where DPDK makes its directory for one who is not root.
fn runtime_directory() -> OsString {
    std::env::var_os("XDG_RUNTIME_DIR")
        .filter(|directory| Path::new(directory).is_dir())
        .unwrap_or_else(|| std::env::temp_dir().into_os_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::fake::Fake;

    #[test]
    fn remedies_name_the_switch_that_is_in_the_way() {
        let fake = Fake::empty();
        let text = remedies(&fake.machine());
        assert!(
            text.contains("sudo") && text.contains("container"),
            "{text}"
        );
        fake.file("/proc/sys/user/max_user_namespaces", "0\n");
        let text = remedies(&fake.machine());
        assert!(
            text.contains("sysctl -w user.max_user_namespaces=10000"),
            "{text}"
        );
        assert!(!text.contains("apparmor"), "{text}");
    }

    #[test]
    fn commands_into_the_namespace_keep_the_users_own_credentials() {
        assert_eq!(Place::Here.prefix(), "");
        let prefix = Place::Namespace.prefix();
        assert!(
            prefix.starts_with(&format!("nsenter --target {} ", std::process::id())),
            "{prefix}"
        );
        assert!(prefix.ends_with("--preserve-credentials "), "{prefix}");
    }
}
