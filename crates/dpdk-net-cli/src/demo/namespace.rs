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

/// Root that may make interfaces: in a container, root alone is not enough.
fn is_network_admin() -> bool {
    geteuid().is_root()
        && std::fs::read_to_string("/proc/self/status").is_ok_and(|status| has_net_admin(&status))
}

/// Whether `CapEff` of proc_pid_status(5) has CAP_NET_ADMIN, number 12.
fn has_net_admin(status: &str) -> bool {
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    line.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
        .is_some_and(|mask| mask & (1 << 12) != 0)
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
        remedies(|name| std::fs::read_to_string(Path::new("/proc/sys").join(name)).ok()),
    ))
}

/// The switches that can be in the way, those that are first. `sysctl` gives the value of one.
fn remedies(sysctl: impl Fn(&str) -> Option<String>) -> String {
    let switches = [
        ("kernel/unprivileged_userns_clone", "0", "1"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
        ("user/max_user_namespaces", "0", "10000"),
        ("user/max_net_namespaces", "0", "10000"),
    ];
    let mut remedies = vec!["run the demo as root: sudo dpdk-net demo".to_owned()];
    for (name, forbids, allows) in switches {
        if sysctl(name).is_some_and(|value| value.trim() == forbids) {
            remedies.push(format!(
                "or allow them: sysctl -w {}={allows}",
                name.replace('/', ".")
            ));
        }
    }
    if remedies.len() == 1 {
        remedies.push(
            "(in a container: start it with --cap-add NET_ADMIN --device /dev/net/tun)".into(),
        );
    }
    remedies.join("\n")
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

    #[test]
    fn the_effective_capabilities_decide() {
        assert!(has_net_admin(
            "CapPrm:\t0000000000000000\nCapEff:\t0000000000001000\n"
        ));
        assert!(!has_net_admin(
            "CapPrm:\t0000000000001000\nCapEff:\t0000000000000fff\n"
        ));
        assert!(!has_net_admin("Name:\tx\n"));
    }

    #[test]
    fn remedies_name_the_switch_that_is_in_the_way() {
        let text = remedies(|name| (name == "user/max_user_namespaces").then(|| "0\n".into()));
        assert!(
            text.contains("sysctl -w user.max_user_namespaces=10000"),
            "{text}"
        );
        assert!(!text.contains("apparmor"), "{text}");
        let text = remedies(|_| None);
        assert!(
            text.contains("sudo") && text.contains("container"),
            "{text}"
        );
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
