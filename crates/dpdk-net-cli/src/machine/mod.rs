//! The machine as /proc and /sys show it, read below a root directory: `/`, or a tree that a test has made.
//!
//! Facts only. What they mean for the demo is said by `demo::preflight`, which refuses, and by `doctor`, which
//! explains. Nothing here starts DPDK or changes anything.

#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod hugepages;
pub(crate) mod interfaces;
pub(crate) mod locks;
pub(crate) mod names;
pub(crate) mod pci;
pub(crate) mod plugins;
pub(crate) mod process;
pub(crate) mod tun;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use dpdk_net::config::cpu_list;
use dpdk_net::rte::Eal;

/// Where files are looked for, and what of this process is not in a file.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    root: PathBuf,
    /// DPDK's release, as in `DPDK 22.11.11`.
    pub(crate) dpdk: String,
    /// Where DPDK loads its drivers from.
    pub(crate) plugins: Option<PathBuf>,
    /// The directories in which programs are looked for.
    pub(crate) path: Vec<PathBuf>,
    /// The directory with DPDK's directory of each file prefix.
    pub(crate) runtime: PathBuf,
}

impl Machine {
    /// This machine.
    pub(crate) fn here() -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        Self {
            root: "/".into(),
            dpdk: Eal::dpdk_version(),
            plugins: Eal::plugin_dir(),
            path: std::env::split_paths(&path).collect(),
            runtime: runtime_directory(),
        }
    }

    /// Where the absolute path `path` is to be found.
    pub(crate) fn at(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    pub(crate) fn exists(&self, path: impl AsRef<Path>) -> bool {
        self.at(path).exists()
    }

    /// The text of a file without the white space around it; `None` if it cannot be read.
    pub(crate) fn text(&self, path: impl AsRef<Path>) -> Option<String> {
        let bytes = fs::read(self.at(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// The number that is all of a file's text.
    pub(crate) fn number(&self, path: impl AsRef<Path>) -> Option<u64> {
        self.text(path)?.parse().ok()
    }

    /// The names in a directory, sorted; none if it cannot be read.
    pub(crate) fn names(&self, path: impl AsRef<Path>) -> Vec<String> {
        let entries = fs::read_dir(self.at(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .collect();
        names.sort();
        names
    }

    /// The last part of what a symbolic link points to: how sysfs names a device's driver.
    pub(crate) fn link_name(&self, path: impl AsRef<Path>) -> Option<String> {
        let target = fs::read_link(self.at(path)).ok()?;
        Some(target.file_name()?.to_str()?.to_owned())
    }

    /// Whether a program can be found by name.
    pub(crate) fn has_program(&self, name: &str) -> bool {
        self.path
            .iter()
            .any(|directory| self.exists(directory.join(name)))
    }

    /// The CPUs or nodes of a list such as `0-3,8`.
    pub(crate) fn list(&self, path: impl AsRef<Path>) -> Vec<u32> {
        let list = self.text(path);
        list.map_or_else(Vec::new, |text| cpu_list(&text).into_iter().collect())
    }
}

/// DPDK's `eal_get_runtime_dir`: which directory holds one for each file prefix.
pub(crate) fn runtime_directory() -> PathBuf {
    let variable = |name| std::env::var_os(name).filter(|value: &OsString| !value.is_empty());
    let parent = variable("RUNTIME_DIRECTORY").unwrap_or_else(|| {
        if rustix::process::getuid().is_root() {
            "/var/run".into()
        } else {
            variable("XDG_RUNTIME_DIR").unwrap_or_else(|| "/tmp".into())
        }
    });
    Path::new(&parent).join("dpdk")
}

#[cfg(test)]
mod tests {
    use super::fake::Fake;

    #[test]
    fn files_are_read_below_the_root() {
        let fake = Fake::empty();
        fake.file("/sys/a/number", " 7\n")
            .link("/sys/a/driver", "../../drivers/ice");
        let machine = fake.machine();
        assert_eq!(machine.number("/sys/a/number"), Some(7));
        assert_eq!(machine.link_name("/sys/a/driver").as_deref(), Some("ice"));
        assert_eq!(machine.names("/sys/a"), ["driver", "number"]);
        assert_eq!(machine.text("/sys/none"), None);
        assert!(!machine.has_program("ip"));
    }
}
